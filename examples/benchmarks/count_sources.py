"""How many talkers are counted: table of the numbers found in the mixtures of lists.

Run: ``python examples/benchmarks/count_sources.py 2spk-valid.csv 3spk-valid.csv --limit 60``
"""

import argparse
from collections import Counter

from skdc import load_pretrained
from skdc.datasets import load_mixture_list

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("lists", nargs="+", metavar="LIST.csv", help="mixtures, as for skdc evaluate")
parser.add_argument("--limit", type=int, help="mixtures of each list")
parser.add_argument("--alone", action="store_true", help="count in the first source of each")
args = parser.parse_args()

separator = load_pretrained().set_params(n_sources=None)
for path in args.lists:
    items = load_mixture_list(path, sample_rate=separator.sample_rate)[: args.limit]
    counts: Counter[int] = Counter()
    for item in items:
        mixture, sources = item.load()
        counts[len(separator.predict_masks(sources[0] if args.alone else mixture))] += 1
    found = ", ".join(f"{counts[n]} x {n}" for n in sorted(counts))
    print(f"{path}: {found}")
