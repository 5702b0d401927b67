"""What the average of two networks gains that were trained on from the same weights.

Run: ``python examples/benchmarks/averaging.py SPEECH ONE.safetensors OTHER.safetensors``

Two networks that went on from one, each with mixtures of its own, end at two points of one valley,
and their average can be better than both (Wortsman et al., "Model soups", 2022). Prints the SI-SDR
improvement of the averages on the first mixtures of each list. ``-o`` writes the one of
``--share``, with the heads, the parameters and the curve of ONE; the odds of its voice head and
the estimate of quality are those of ONE until ``skdc voices`` and ``quality.py`` fit them anew.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path

from skdc import DeepClusteringSeparator, load_pretrained
from skdc.datasets import load_mixture_list
from skdc.datasets.mixture_lists import load_mixtures
from skdc.persistence import narrowest_weights


def averaged(
    one: DeepClusteringSeparator, other: DeepClusteringSeparator, share: float
) -> DeepClusteringSeparator:
    """Give `one` with so much of the weights of `other`; its heads stay as they are."""
    result = deepcopy(one)
    result.network_.for_masks().average_with(other.network_, share)
    return result


def main() -> None:
    """Print a line for each share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, metavar="SPEECH")
    parser.add_argument("one", help="name or file of a model")
    parser.add_argument("other", help="name or file of a model of the same shape")
    parser.add_argument("--subset", nargs="+", default=["2spk-valid", "3spk-valid"])
    parser.add_argument("--limit", type=int, help="mixtures of each list (default: all)")
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.25, 0.5, 0.75, 1])
    parser.add_argument("-o", "--output", metavar="MODEL", help="write the average of --share")
    parser.add_argument("--share", type=float, default=0.5, help="(default: %(default)s)")
    args = parser.parse_args()
    one, other = (load_pretrained(name) for name in (args.one, args.other))
    lists = {}
    for name in args.subset:
        path = args.root / "mixtures" / f"{name}.csv"
        items = load_mixture_list(path, sample_rate=None)[: args.limit]
        lists[name] = load_mixtures(items, one.sample_rate)
    print(f"share of {args.other}: SI-SDR improvement, dB, on {', '.join(lists)}")
    for share in args.shares:
        model = averaged(one, other, share)
        scores = []
        for mixtures, references in lists.values():
            model.set_params(n_sources=len(references[0]))
            scores.append(model.score(mixtures, references))
        print(f"{share:5.2f}{''.join(f'{score:8.2f}' for score in scores)}", flush=True)
    if args.output:
        weights = narrowest_weights(one.network_.state_dict())
        averaged(one, other, args.share).save(args.output, weights=weights)


if __name__ == "__main__":
    main()
