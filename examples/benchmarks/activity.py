"""Who speaks when: the rule for separated sources against the true sources, in lists of mixtures.

Each mixture is taken twice: as it is, and as a conversation, in which the second talker begins a
second before the first has ended. An error is a stretch of a source that is missed or wrongly
heard, as a part of all speech of the sources (the diarisation error rate, without a collar).

Run: ``python examples/benchmarks/activity.py 2spk-valid.csv --limit 60``
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from skdc import load_pretrained
from skdc.datasets import load_mixture_list
from skdc.metrics import best_permutation
from skdc.signal import find_turns, turns

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("lists", nargs="+", metavar="LIST.csv")
parser.add_argument("--model", default="speech-8k", help="name or file of a model")
parser.add_argument("--limit", type=int, default=60, help="mixtures (default: %(default)s)")
parser.add_argument("--own", type=float, nargs="+", default=[turns._BELOW_OWN_DB])
parser.add_argument("--others", type=float, nargs="+", default=[turns._BELOW_OTHERS_DB])
args = parser.parse_args()
separator = load_pretrained(args.model)
rate = separator.sample_rate


def frames(sources):
    """Whether each source is heard, every 10 ms."""
    heard = np.zeros((len(sources), sources.shape[-1] * 100 // rate + 1), bool)
    for source, start, stop in find_turns(sources, rate):
        heard[source, round(100 * start) : round(100 * stop)] = True
    return heard


def conversation(sources):
    """Let each source begin a second before the one before it ends."""
    step = max(sources.shape[-1] - rate, rate)
    moved = np.zeros((len(sources), step * (len(sources) - 1) + sources.shape[-1]))
    for index, source in enumerate(sources):
        moved[index, index * step : index * step + len(source)] = source
    return moved


for path in args.lists:
    pairs: dict[str, list[tuple[NDArray[np.floating], NDArray[np.float32]]]] = {
        "mixtures": [],
        "conversations": [],
    }
    for item in load_mixture_list(path, sample_rate=rate)[: args.limit]:
        _, sources = item.load()
        for name, true in (("mixtures", sources), ("conversations", conversation(sources))):
            found = separator.predict(true.sum(axis=0), n_sources=len(true))
            pairs[name].append((true, found))
    for own in args.own:
        for others in args.others:
            for name, items in pairs.items():
                # The true sources are judged alone, by their own levels.
                turns._BELOW_OWN_DB, turns._BELOW_OTHERS_DB = 25.0, 200.0
                truths = [frames(true) for true, _ in items]
                turns._BELOW_OWN_DB, turns._BELOW_OTHERS_DB = own, others
                missed = wrong = total = 0
                for truth, (_, found) in zip(truths, items, strict=True):
                    heard = frames(found)
                    agreement = [[np.sum(t & h) for h in heard] for t in truth]
                    heard = heard[best_permutation(agreement)]
                    missed += np.sum(truth & ~heard)
                    wrong += np.sum(heard & ~truth)
                    total += np.sum(truth)
                print(
                    f"{path.rsplit('/', 1)[-1]} {name:14} own {own:g} dB, others {others:g} dB: "
                    f"error {100 * (missed + wrong) / total:.1f} % "
                    f"(missed {100 * missed / total:.1f}, wrong {100 * wrong / total:.1f})"
                )
