"""Timing several things side by side: alternating runs, medians, ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def alternate(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each candidate, run in turns so that drift meets all alike."""
    for work in candidates.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, work in candidates.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, medians: dict[str, float], base: str) -> None:
    """Print medians, and how much longer each took than `base`."""
    print(title)
    for name, seconds in medians.items():
        print(f"  {name:32s} {1000 * seconds:9.1f} ms   {seconds / medians[base]:6.2f} x {base}")
