"""What it gains, and costs, to separate each two of three sources again: `pair_sweeps`.

Run: python examples/benchmarks/pairs.py SPEECH --model speech-8k speech-2mix-8k [--limit 100]

SPEECH is a folder of recordings with lists of mixtures. Times are those of the processor, beside
each other for every mixture.
"""

from __future__ import annotations

import argparse

from keyword_values import add_arguments, measure


def main() -> None:
    """Print a table with a row for each model and list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, ["3spk-valid"])
    parser.add_argument("--sweeps", type=int, nargs="+", default=[0, 1, 2, 3])
    args = parser.parse_args()
    columns = [f"{n} sweeps" for n in args.sweeps]
    print("| model | list | " + " | ".join(columns) + " | times the time |")
    print("| --- | --- | " + "---: | " * len(columns) + "--- |")
    for found in measure(args, "pair_sweeps", args.sweeps):
        print(f"| {' | '.join(found.cells())} | {found.times()} |", flush=True)


if __name__ == "__main__":
    main()
