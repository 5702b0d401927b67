"""What `predict` gains, and costs, by the values of one of its keywords, side by side."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdc import load_pretrained
from skdc.datasets import load_mixture_list
from skdc.metrics import si_sdr_improvement

__all__ = ["Measured", "add_arguments", "measure"]


class Measured(NamedTuple):
    """Improvements of a model on a list."""

    model: str
    mixtures: str  # the name of the list, and how many of it
    gains: NDArray[np.float64]  # (n_mixtures, n_values), dB
    seconds: NDArray[np.float64]  # (n_values,), of the processor

    def cells(self) -> list[str]:
        """Give the cells of a row of a table: model, list, and the mean for each value."""
        means = [f"{gain:.2f} dB" for gain in self.gains.mean(axis=0)]
        return [self.model, self.mixtures, *means]

    def times(self) -> str:
        """Give the time for each value, relative to the first."""
        return ", ".join(f"{t:.1f}" for t in self.seconds / self.seconds[0])


def add_arguments(parser: argparse.ArgumentParser, subsets: Sequence[str]) -> None:
    """Declare the models and the lists."""
    parser.add_argument("speech", type=Path)
    parser.add_argument("--subset", nargs="+", default=subsets)
    parser.add_argument("--model", nargs="+", default=["speech-8k"], help="names or files")
    parser.add_argument("--limit", type=int, help="mixtures of each list (default: all)")


def measure(args: argparse.Namespace, keyword: str, values: Sequence[Any]) -> Iterator[Measured]:
    """Separate each mixture with each value in turn."""
    for name in args.model:
        separator = load_pretrained(name)
        for subset in args.subset:
            path = args.speech / "mixtures" / f"{subset}.csv"
            items = load_mixture_list(path, sample_rate=separator.sample_rate)[: args.limit]
            rows, seconds = [], np.zeros(len(values))
            for mixture, sources in (item.load() for item in items):
                row = []
                for index, value in enumerate(values):
                    began = time.process_time()
                    how: dict[str, Any] = {"n_sources": len(sources), keyword: value}
                    found = separator.predict(mixture, **how)
                    seconds[index] += time.process_time() - began
                    row.append(si_sdr_improvement(sources, found, mixture).mean())
                rows.append(row)
            yield Measured(name, f"{subset} ({len(items)})", np.array(rows), seconds)
