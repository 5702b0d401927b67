"""What it gains, and costs, to separate each two of three sources again: `pair_sweeps`.

Run: python examples/benchmarks/pairs.py SPEECH --model speech-8k speech-2mix-8k [--limit 100]

SPEECH is a folder of recordings with lists of mixtures. Times are those of the processor, beside
each other for every mixture.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from skdc import load_pretrained
from skdc.datasets import load_mixture_list
from skdc.metrics import si_sdr_improvement


def main() -> None:
    """Print a table with a row for each model and list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("--subset", nargs="+", default=["3spk-valid"])
    parser.add_argument("--model", nargs="+", default=["speech-8k"], help="names or files")
    parser.add_argument("--limit", type=int, help="mixtures of each list (default: all)")
    parser.add_argument("--sweeps", type=int, nargs="+", default=[0, 1, 2, 3])
    args = parser.parse_args()
    columns = [f"{n} sweeps" for n in args.sweeps]
    print("| model | list | " + " | ".join(columns) + " | times the time |")
    print("| --- | --- | " + "---: | " * len(columns) + "--- |")
    for name in args.model:
        separator = load_pretrained(name)
        for subset in args.subset:
            path = args.speech / "mixtures" / f"{subset}.csv"
            items = load_mixture_list(path, sample_rate=separator.sample_rate)[: args.limit]
            gains, seconds = [], np.zeros(len(args.sweeps))
            for mixture, sources in (item.load() for item in items):
                row = []
                for index, n in enumerate(args.sweeps):
                    began = time.process_time()
                    found = separator.predict(mixture, n_sources=len(sources), pair_sweeps=n)
                    seconds[index] += time.process_time() - began
                    row.append(si_sdr_improvement(sources, found, mixture).mean())
                gains.append(row)
            means = " | ".join(f"{gain:.2f} dB" for gain in np.mean(gains, axis=0))
            times = ", ".join(f"{t:.1f}" for t in seconds / seconds[0])
            print(f"| {name} | {subset} ({len(items)}) | {means} | {times} |", flush=True)


if __name__ == "__main__":
    main()
