"""One candidate in a process of its own: prepares a case, runs it when told, tells the time.

Started by `compare.py` with the interpreter of the candidate's environment. Reads commands and
writes answers, each a line of JSON; what the candidate itself prints goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import shrink

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_mb() -> float:
    """Most memory that the process has held, in 2**20 bytes."""
    line = next(x for x in STATUS.read_text("ascii").splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


class Worker:
    """The state between commands: what `prepare` gave."""

    run: Callable[[], object]
    figures: Callable[[object], dict[str, float]]
    result: object = None

    def prepare(
        self, kind: str, module: str, settings: dict[str, Any], options: dict[str, Any]
    ) -> dict[str, float]:
        """Load the candidate and make its inputs."""
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        torch.manual_seed(0)
        candidate = importlib.import_module(f"candidates.{module}")
        # What is done once in a process (thread pools, kernels) belongs to no case.
        tiny, _ = getattr(candidate, kind)(shrink(options), **settings)
        tiny()
        del tiny
        self.run, self.figures = getattr(candidate, kind)(options, **settings)
        return {}

    def first(self) -> dict[str, float]:
        """Run for the first time; measures how far the peak rises above what was held before."""
        is_linux = CLEAR.exists()
        if is_linux:
            CLEAR.write_text("5", "ascii")  # the peak is now what is held now
            before = peak_mb()
        self.result = self.run()
        return {"extra_peak_mb": round(peak_mb() - before, 1)} if is_linux else {}

    def turn(self, at_least: float) -> dict[str, list[float]]:
        """Run for some seconds, at least once, and time each run."""
        times: list[float] = []
        while sum(times) < at_least:
            start = time.perf_counter()
            self.result = self.run()
            times.append(time.perf_counter() - start)
        return {"seconds": times}

    def describe(self) -> dict[str, float]:
        """Other numbers, of the last result."""
        return self.figures(self.result)


def main() -> None:
    """Answer commands until there are none."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is for the driver to tell
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
