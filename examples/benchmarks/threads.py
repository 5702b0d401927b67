"""One fitted separator used by several threads at once: how many calls fail or give other results.

Run: ``python examples/benchmarks/threads.py --calls 4000 --threads 6``, and with
``--model speech-8k`` to try a bundled model instead of a small one that is fitted here.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from skdc import DeepClusteringSeparator, load_pretrained

METHODS = ("predict", "transform", "predict_masks", "score")


def count_failures(n_calls: int, n_threads: int, model: str | None = None) -> Counter[str]:
    """Call the methods of one separator from several threads, and compare with one thread."""
    sources = np.random.default_rng(0).standard_normal((4, 2, 640)).astype(np.float32)
    mixtures = sources.sum(axis=1)
    separator = (
        load_pretrained(model, device="cpu")
        if model
        else DeepClusteringSeparator(
            embedding_dim=4,
            hidden_size=8,
            n_layers=2,
            win_length=64,
            hop_length=16,
            segment_frames=20,
            batch_size=4,
            max_epochs=1,
            device="cpu",
            random_state=0,
        ).fit(mixtures, sources)
    )

    def call(number: int) -> Any:
        name, item = METHODS[number % len(METHODS)], number // len(METHODS) % len(mixtures)
        if name == "score":
            return separator.score(mixtures[item : item + 1], sources[item : item + 1])
        return getattr(separator, name)(mixtures[item])

    expected = [call(number) for number in range(len(METHODS) * len(mixtures))]

    def try_call(number: int) -> str:
        try:
            found = call(number)
        except Exception as error:  # noqa: BLE001 - counted
            return f"{type(error).__name__}: {str(error)[:80]}"
        return "" if np.array_equal(found, expected[number % len(expected)]) else "other result"

    with ThreadPoolExecutor(n_threads) as pool:
        return Counter(filter(None, pool.map(try_call, range(n_calls))))


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; give the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--model", help="name or file of a model (default: a small new one)")
    args = parser.parse_args(arguments)
    failures = count_failures(args.calls, args.threads, args.model)
    for what, number in failures.most_common():
        print(f"{number:6d} {what}")
    print(f"{failures.total()} failures of {args.calls} calls from {args.threads} threads")
    return failures.total()


if __name__ == "__main__":
    sys.exit(bool(main()))
