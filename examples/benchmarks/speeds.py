"""What it gains, and costs, to hear each mixture at several speeds: `speeds`.

Run: python examples/benchmarks/speeds.py SPEECH --model speech-8k speech-2mix-8k [--limit 100]

SPEECH is a folder of recordings with lists of mixtures. Times are those of the processor, beside
each other for every mixture. With several speeds the expected improvement is that of one.
"""

from __future__ import annotations

import argparse

import numpy as np
from keyword_values import add_arguments, measure


def main() -> None:
    """Print a table with a row for each model and list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, ["2spk-valid", "3spk-valid"])
    parser.add_argument("--speeds", type=int, nargs="+", default=[1, 2, 3, 5])
    args = parser.parse_args()
    columns = [f"{n} speed{'s' if n > 1 else ''}" for n in args.speeds]
    print("| model | list | " + " | ".join(columns) + " | 1 dB better, worse | times the time |")
    print("| --- | --- | " + "---: | " * len(columns) + "--- | --- |")
    for found in measure(args, "speeds", args.speeds):
        more = found.gains[:, -1] - found.gains[:, 0]
        moved = f"{np.mean(more > 1):.0%}, {np.mean(more < -1):.0%}"
        print(f"| {' | '.join(found.cells())} | {moved} | {found.times()} |", flush=True)


if __name__ == "__main__":
    main()
