"""How the odds that two voices of a recording are two people were chosen.

Run: ``python examples/benchmarks/two_people.py SPEECH --minutes 1 2 5``

Makes recordings of one person and conversations of two people of one sex (see `conversations.py`),
looks for two voices in each, and fits by logistic regression how the odds that these are two
people follow from what `skdc.separation.identity` knows of them: the cosine of their vectors, that
of their means over all moments, and the logarithm of their squared Mahalanobis distance. Prints
the coefficients, and how many recordings are told right with them, by recordings that they were
not fitted to, and with those of the library.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from conversations import KINDS, Corpus, Turns, make, one_person
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from skdc import load_pretrained
from skdc.exceptions import AudioWarning
from skdc.separation import Separator, identity
from skdc.separation.activity import OwnVoices

N_FOLDS = 10


def figures(separator: Separator, recording: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the three figures of two voices of a recording."""
    found: list[NDArray[np.float64]] = []

    give = identity._figures

    def listen(directions: NDArray[np.float64], own: OwnVoices) -> NDArray[np.float64]:
        every = give(directions, own)
        found.append(every[:, 0, 1])
        return every

    with patch.object(identity, "_figures", listen), warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # of one person, both voices are alike
        list(separator.separate([torch.from_numpy(recording)], [2]))
    # Nothing is known of a voice that is hardly heard: it is no voice.
    return found[0] if found else np.array([1.0, 1.0, 0.0])


def main() -> None:
    """Print the coefficients and what they tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, metavar="SPEECH")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0])
    parser.add_argument("--pairs", type=int, default=12, help="of each of m+m, f+f")
    parser.add_argument("--kinds", nargs="+", default=["interview", "turns_and_pauses"])
    args = parser.parse_args()
    separator = load_pretrained(device="cpu").pipeline()
    corpus = Corpus(args.root, args.split, one_day=True)
    people = [[who, who] for who in sorted(corpus.sexes)]
    recordings: list[tuple[Callable[..., Turns], list[str], int]] = [
        (one_person, who, number) for number, who in enumerate(people)
    ]
    recordings += [
        (KINDS[name], corpus.draw_pair(np.random.default_rng(seed), sexes), seed)
        for name, sexes, seed in product(args.kinds, ("mm", "ff"), range(args.pairs))
    ]
    rows, are_two, groups = [], [], []
    for (group, (kind, speakers, seed)), minutes in product(enumerate(recordings), args.minutes):
        sources = make(corpus, kind, speakers, 60 * minutes, seed)
        rows.append(figures(separator, sources.sum(axis=0)))
        are_two.append(kind is not one_person)
        groups.append(group)
        print(kind.__name__, *speakers, minutes, *(f"{x:.2f}" for x in rows[-1]), flush=True)
    x, y = np.stack(rows), np.array(are_two)
    model = LogisticRegression(C=100)
    told = cross_val_predict(model, x, y, groups=groups, cv=GroupKFold(N_FOLDS))
    constant, *by_figure = identity._TWO_PEOPLE
    model.fit(x, y)
    print("coefficients", np.round([*model.intercept_, *model.coef_[0]], 2).tolist())
    for name, answers in (
        ("fitted to others", told),
        ("the library's", constant + x @ by_figure > 0),
    ):
        right = [f"{(answers[y == two] == two).sum()} of {(y == two).sum()}" for two in (0, 1)]
        print(f"{name}: one person {right[0]}, two people {right[1]}")


if __name__ == "__main__":
    main()
