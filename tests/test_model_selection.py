"""Splits by speaker."""

from __future__ import annotations

import itertools
import time
from typing import Any, Self

import numpy as np
import pytest
from conftest import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_score,
    cross_validate,
    learning_curve,
)

from skdc.model_selection import SpeakerDisjointSplit

Pairs = list[tuple[str, str]]

COUPLES: Pairs = [(f"{i}a", f"{i}b") for i in range(5)]
EVERYBODY: Pairs = list(itertools.combinations("abcdefgh", 2))


def speakers_of(groups: Any, indices: NDArray[np.intp]) -> set[Any]:
    return {speaker for i in indices for speaker in groups[i]}


def splits(cv: SpeakerDisjointSplit, groups: Any) -> list[tuple[list[int], list[int]]]:
    found = cv.split(np.zeros((len(groups), 10)), groups=groups)
    return [(train.tolist(), test.tolist()) for train, test in found]


@given(
    groups=st.lists(
        st.lists(st.integers(0, 30), min_size=1, max_size=3, unique=True), min_size=4, max_size=60
    ),
    n_splits=st.integers(2, 4),
    seed=st.integers(0, 100),
)
@settings(max_examples=60)
def test_no_speaker_is_on_both_sides(groups: list[list[int]], n_splits: int, seed: int) -> None:
    cv = SpeakerDisjointSplit(n_splits, shuffle=True, random_state=seed)
    X = np.zeros((len(groups), 1))
    try:
        found = list(cv.split(X, groups=groups))
    except ValueError as error:
        assert "use fewer splits" in str(error)  # noqa: PT017
        return
    assert len(found) == n_splits
    tested: set[int] = set()
    for train, test in found:
        assert len(train)
        assert len(test)
        heard, new = speakers_of(groups, train), speakers_of(groups, test)
        assert not heard & new
        assert not tested & {*test.tolist()}
        tested |= {*test.tolist()}
        # Nothing is left out but what has to be.
        for i in {*range(len(groups))} - {*train.tolist()} - {*test.tolist()}:
            assert {*groups[i]} - new


def test_couples_lose_nothing() -> None:
    for n_splits in (2, 3, 4, 5):
        for cv in (
            SpeakerDisjointSplit(n_splits),
            SpeakerDisjointSplit(n_splits, shuffle=True, random_state=0),
        ):
            found = splits(cv, 3 * COUPLES)
            assert sorted(i for _, test in found for i in test) == list(range(15))
            assert all(len(train) + len(test) == 15 for train, test in found)


def test_everybody_with_everybody() -> None:
    found = splits(SpeakerDisjointSplit(2, shuffle=True, random_state=0), EVERYBODY)
    assert [(len(train), len(test)) for train, test in found] == [(6, 6), (6, 6)]
    assert len(splits(SpeakerDisjointSplit(4), EVERYBODY)) == 4


def test_few_mixtures_of_a_chain_are_lost() -> None:
    chain = [(i, (i + 1) % 100) for i in range(100)]
    for seed in range(3):
        cv = SpeakerDisjointSplit(5, shuffle=True, random_state=seed)
        assert sum(len(test) for _, test in splits(cv, chain)) > 50  # chance gives 20


def test_order_is_reproducible() -> None:
    def shuffled(seed: int) -> SpeakerDisjointSplit:
        return SpeakerDisjointSplit(2, shuffle=True, random_state=seed)

    assert splits(shuffled(0), EVERYBODY) == splits(shuffled(0), EVERYBODY)
    assert splits(shuffled(0), EVERYBODY) != splits(shuffled(1), EVERYBODY)
    assert splits(SpeakerDisjointSplit(2), EVERYBODY) == splits(SpeakerDisjointSplit(2), EVERYBODY)


@pytest.mark.parametrize("groups", [np.array(EVERYBODY), [list(pair) for pair in EVERYBODY]])
def test_groups_may_be_an_array_or_lists(groups: Any) -> None:
    expected = splits(SpeakerDisjointSplit(2), EVERYBODY)
    assert splits(SpeakerDisjointSplit(2), groups) == expected


def test_groups_may_be_a_data_frame() -> None:
    expected = splits(SpeakerDisjointSplit(2), EVERYBODY)
    assert splits(SpeakerDisjointSplit(2), Table(EVERYBODY)) == expected


def test_a_large_corpus_takes_no_time() -> None:
    groups = np.random.default_rng(0).integers(0, 1000, (20_000, 2))
    start = time.process_time()
    assert len(list(SpeakerDisjointSplit().split(groups, groups=groups))) == 5
    assert time.process_time() - start < 10


def test_numbers_of_speakers_may_differ() -> None:
    groups = [("a",), ("a", "b"), ("c", "d", "e"), ("c", "b")]
    assert splits(SpeakerDisjointSplit(2), groups) == [([2], [0, 1]), ([0, 1], [2])]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, "requires groups to be passed"),
        (COUPLES[:3], "groups has 3 items, but there are 5 mixtures"),
        (["ann", "bob", "cyn", "dan", "eve"], r"groups\[0\] is 'ann'; give the speakers"),
        ([*COUPLES[:4], ()], r"groups\[4\] is \(\); give the speakers"),
        ([*COUPLES[:4], 7], r"groups\[4\] is 7; give the speakers"),
        ([*COUPLES[:4], {"x"}], r"groups\[4\] is \{'x'\}; give the speakers"),
        ([*COUPLES[:4], [["a"], ["b"]]], r"groups\[4\] is \[\['a'\], .*can name speakers"),
        ([*COUPLES[:4], (("a", []), "b")], r"groups\[4\] is .*can name speakers"),
        (5 * [("a", "b")], "2 speakers of 5 mixtures fall into 1 groups .* use fewer splits"),
    ],
)
def test_refuses_what_cannot_be_split(groups: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(SpeakerDisjointSplit().split(np.zeros((5, 10)), groups=groups))


def test_refuses_bad_parameters() -> None:
    with pytest.raises(ValueError, match="n_splits=1; it is an integer of 2 or more"):
        SpeakerDisjointSplit(1)
    with pytest.raises(ValueError, match=r"n_splits=2\.5"):
        SpeakerDisjointSplit(2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="random_state has no effect without shuffle=True"):
        SpeakerDisjointSplit(random_state=0)


def test_shows_its_parameters() -> None:
    assert repr(SpeakerDisjointSplit(3)) == (
        "SpeakerDisjointSplit(n_splits=3, random_state=None, shuffle=False)"
    )
    assert SpeakerDisjointSplit(3).get_n_splits() == 3


class Counting(BaseEstimator):
    def __init__(self, factor: int = 1) -> None:
        self.factor = factor

    def fit(self, X: Any, y: Any) -> Self:
        self.n_fitted_ = len(X)
        return self

    def score(self, X: Any, y: Any) -> float:
        return float(self.factor * self.n_fitted_)


@pytest.mark.parametrize("groups", [EVERYBODY, np.array(EVERYBODY)], ids=["list", "array"])
@pytest.mark.parametrize("is_ragged", [False, True])
def test_in_scikit_learn(groups: Any, is_ragged: bool) -> None:
    X: Any = np.zeros((28, 10))
    y: Any = np.zeros((28, 2, 10))
    if is_ragged:
        X = [np.zeros(10 + i) for i in range(28)]
        y = [np.zeros((2, 10 + i)) for i in range(28)]
    cv = SpeakerDisjointSplit(2)
    assert cross_val_score(Counting(), X, y, groups=groups, cv=cv).tolist() == [6, 6]
    assert cross_validate(Counting(), X, y, groups=groups, cv=cv)["test_score"].tolist() == [6, 6]
    search = GridSearchCV(Counting(), {"factor": [1, 3]}, cv=cv).fit(X, y, groups=groups)
    assert search.best_params_ == {"factor": 3}
    assert search.n_splits_ == 2
    sizes, *_ = learning_curve(Counting(), X, y, groups=groups, cv=cv, train_sizes=[0.5, 1.0])
    assert sizes.tolist() == [3, 6]


def test_with_metadata_routing() -> None:
    with config_context(enable_metadata_routing=True):
        scores = cross_val_score(
            Counting(),
            np.zeros((28, 10)),
            np.zeros((28, 2, 10)),
            params={"groups": EVERYBODY},
            cv=SpeakerDisjointSplit(2),
        )
    assert scores.tolist() == [6, 6]
