"""How well the voice head tells two people of one sex from one person.

Run: ``python examples/benchmarks/voice_pairs.py SPEECH --split valid``

Makes single voices and mixtures of two people of a split, 5 s each, half of each, separates them
into two sources, and compares the vectors of all sources of different examples that are of one
sex. Prints the equal error rate: the share of pairs of one person that are taken for two people,
and that of pairs of two people that are taken for one, where the threshold makes both the same.
SPEECH is a folder of recordings with `utterances.csv`, whose table has the columns split, speaker,
sex, path.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skdc import load_pretrained
from skdc.datasets import load_corpus
from skdc.datasets.tables import read_table
from skdc.training.heads import SECONDS, Voices
from skdc.training.voices import _Examples


def equal_error_rate(cosines: NDArray[np.floating], is_one: NDArray[np.bool_]) -> float:
    """Give the share of mistakes of both kinds at the threshold where it is the same."""
    of_one = is_one[np.argsort(cosines)]
    # With the threshold above each pair: those of one person below it, those of two above it.
    lost = np.cumsum(of_one) / of_one.sum()
    merged = 1 - np.cumsum(~of_one) / (~of_one).sum()
    nearest = np.abs(lost - merged).argmin()
    return float(lost[nearest] + merged[nearest]) / 2


def main() -> None:
    """Print a line for women, for men, and for both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, metavar="SPEECH")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--model", default="speech-8k", help="name or file of a model")
    args = parser.parse_args()
    separator = load_pretrained(args.model, device="cpu").pipeline()
    head = separator.network.voice_head
    if head is None:
        raise ValueError(f"{args.model} has no voice head; skdc voices trains one")
    _, rows = read_table(args.root / "utterances.csv", ("speaker", "sex"))
    sexes = {row["speaker"]: row["sex"] for _, row in rows}
    recordings, speakers = load_corpus(args.root, args.split)
    voices = Voices(recordings, speakers, round(SECONDS * separator.sample_rate), seed=0)
    found, owners = _Examples(separator, voices, args.examples, progress=False).vectors(head)
    vectors, labels = found.numpy(), owners.numpy()
    sex = np.array([sexes[str(voices.names[label][0])] for label in labels])
    one, other = np.triu_indices(len(labels), 1)
    # The sources 2i and 2i + 1 are of one example.
    apart = (one // 2 != other // 2) & (sex[one] == sex[other])
    for name in ("f", "m", "fm"):
        chosen = apart & np.isin(sex[one], list(name))
        i, j = one[chosen], other[chosen]
        rate = equal_error_rate((vectors[i] * vectors[j]).sum(1), labels[i] == labels[j])
        print(f"{' and '.join(name)}: {100 * rate:.1f} % of {chosen.sum()} pairs")


if __name__ == "__main__":
    main()
