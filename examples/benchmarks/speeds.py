"""What it gains, and costs, to hear each mixture at several speeds: `speeds`.

Run: python examples/benchmarks/speeds.py SPEECH --model speech-8k speech-2mix-8k [--limit 100]

SPEECH is a folder of recordings with lists of mixtures. Times are those of the processor, beside
each other for every mixture. With several speeds the expected improvement is that of one.
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
    parser.add_argument("--subset", nargs="+", default=["2spk-valid", "3spk-valid"])
    parser.add_argument("--model", nargs="+", default=["speech-8k"], help="names or files")
    parser.add_argument("--limit", type=int, help="mixtures of each list (default: all)")
    parser.add_argument("--speeds", type=int, nargs="+", default=[1, 2, 3, 5])
    args = parser.parse_args()
    columns = [f"{n} speed{'s' if n > 1 else ''}" for n in args.speeds]
    print("| model | list | " + " | ".join(columns) + " | 1 dB better, worse | times the time |")
    print("| --- | --- | " + "---: | " * len(columns) + "--- | --- |")
    for name in args.model:
        separator = load_pretrained(name)
        for subset in args.subset:
            path = args.speech / "mixtures" / f"{subset}.csv"
            items = load_mixture_list(path, sample_rate=separator.sample_rate)[: args.limit]
            rows, seconds = [], np.zeros(len(args.speeds))
            for mixture, sources in (item.load() for item in items):
                row = []
                for index, n in enumerate(args.speeds):
                    began = time.process_time()
                    found = separator.predict(mixture, n_sources=len(sources), speeds=n)
                    seconds[index] += time.process_time() - began
                    row.append(si_sdr_improvement(sources, found, mixture).mean())
                rows.append(row)
            gains = np.array(rows)  # (mixtures, speeds)
            means = " | ".join(f"{gain:.2f} dB" for gain in gains.mean(axis=0))
            more = gains[:, -1] - gains[:, 0]
            moved = f"{np.mean(more > 1):.0%}, {np.mean(more < -1):.0%}"
            times = ", ".join(f"{t:.1f}" for t in seconds / seconds[0])
            print(
                f"| {name} | {subset} ({len(items)}) | {means} | {moved} | {times} |", flush=True
            )


if __name__ == "__main__":
    main()
