"""Cross-validation that tests on speakers who were not trained on."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

__all__ = ["SpeakerDisjointSplit"]


class SpeakerDisjointSplit(BaseCrossValidator):
    """K folds of speakers: nobody who is tested on is heard in training.

    Speakers are dealt into folds. A split tests on the mixtures whose speakers are all of one
    fold, and trains on those that hold no speaker of it. Mixtures that straddle, with speakers
    inside and outside the fold, take no part in that split. Speakers who are mixed with each other
    are kept in one fold as far as folds of about as many speakers allow, so that few are lost.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to deal in random order, rather than in that of the mixtures.
    random_state : int, RandomState or None, default=None
        Seed of the order, with `shuffle`.

    Notes
    -----
    Where everybody is mixed with everybody, a fifth of the speakers make a twenty-fifth of the
    two-speaker mixtures, and a split of five trains on sixteen of twenty-five. With few speakers
    use few splits, or deal out the speakers first and then make mixtures for each side. Not every
    mixture is tested, so `sklearn.model_selection.cross_val_predict` does not take these splits.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.model_selection import SpeakerDisjointSplit
    >>> speakers = [("ann", "bob"), ("cyn", "dan"), ("bob", "ann"), ("bob", "cyn")]
    >>> X = np.zeros((4, 8000))
    >>> for train, test in SpeakerDisjointSplit(2).split(X, groups=speakers):
    ...     print(train, test)
    [1] [0 2]
    [0 2] [1]
    """

    __metadata_request__split: ClassVar[dict[str, bool]] = {"groups": True}

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        if not isinstance(n_splits, int | np.integer) or n_splits < 2:
            raise ValueError(f"n_splits={n_splits!r}; it is an integer of 2 or more")
        if not shuffle and random_state is not None:
            raise ValueError("random_state has no effect without shuffle=True; set that too")
        self.n_splits = int(n_splits)
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Give the number of splits.

        Parameters
        ----------
        X, y, groups : ignored

        Returns
        -------
        int
        """
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Give the indices of each split.

        Parameters
        ----------
        X : sequence of n_mixtures
            Mixtures; only their number counts.
        y : ignored
        groups : sequence of n_mixtures sequences of hashables
            The speakers of each mixture, such as ``[("ann", "bob"), ...]``, or an array
            ``(n_mixtures, n_sources)``.

        Yields
        ------
        train, test : int arrays
            Indices of mixtures, in order.

        Raises
        ------
        ValueError
            If there are no `groups`, they do not fit `X`, or the speakers do not make that many
            folds with a mixture in each.
        """
        mixtures = _check_groups(groups, len(X))
        for fold in self._folds(mixtures):
            inside = [len(speakers & fold) for speakers in mixtures]
            is_test = [n == len(speakers) for n, speakers in zip(inside, mixtures, strict=True)]
            yield np.flatnonzero(np.equal(inside, 0)), np.flatnonzero(is_test)

    def _folds(self, mixtures: list[frozenset[int]]) -> list[set[int]]:
        order: Sequence[int] = range(len(mixtures))
        if self.shuffle:
            order = check_random_state(self.random_state).permutation(len(mixtures))
        units = _join([mixtures[i] for i in order], self.n_splits)
        n_groups = sum(n > 0 for n in units.values())
        if n_groups < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits}, but the {sum(map(len, units))} speakers of "
                f"{len(mixtures)} mixtures fall into {n_groups} groups with a mixture of their "
                "own; use fewer splits or mixtures of more speakers"
            )
        # Units with many mixtures are dealt first, so that each fold has mixtures to test on.
        folds: list[set[int]] = [set() for _ in range(self.n_splits)]
        for unit in sorted(units, key=lambda unit: -units[unit]):
            min(folds, key=len).update(unit)
        return folds


def _join(mixtures: list[frozenset[int]], n_splits: int) -> dict[frozenset[int], int]:
    """Join the speakers of mixtures into units no larger than a fold; count mixtures in each."""
    unit_of = {speaker: frozenset({speaker}) for speakers in mixtures for speaker in speakers}
    largest = len(unit_of) // n_splits
    for speakers in mixtures:
        unit = frozenset().union(*(unit_of[speaker] for speaker in speakers))
        if len(unit) <= max(largest, len(speakers)):
            unit_of.update(dict.fromkeys(unit, unit))
    counts = dict.fromkeys(unit_of.values(), 0)
    for speakers in mixtures:
        unit = unit_of[min(speakers)]
        counts[unit] += speakers <= unit
    return counts


def _check_groups(groups: Any, n_mixtures: int) -> list[frozenset[int]]:
    """Give the speakers of each mixture as numbers, in order of appearance."""
    if groups is None:
        raise ValueError(
            "requires groups to be passed, but groups is None: give the speakers of each "
            'mixture, such as groups=[("ann", "bob"), ...]'
        )
    if hasattr(groups, "__array__"):  # also a data frame, which is gone through by columns
        groups = np.asarray(groups)
    if len(groups) != n_mixtures:
        raise ValueError(f"groups has {len(groups)} items, but there are {n_mixtures} mixtures")
    numbers: dict[Hashable, int] = {}
    mixtures = []
    for index, speakers in enumerate(groups):
        is_sequence = isinstance(speakers, Sequence | np.ndarray)
        if not is_sequence or isinstance(speakers, str | bytes) or not len(speakers):
            raise ValueError(
                f"groups[{index}] is {speakers!r}; give the speakers of the mixture, such as "
                '("ann", "bob")'
            )
        try:
            mixtures.append(frozenset(numbers.setdefault(name, len(numbers)) for name in speakers))
        except TypeError as error:  # a list within the list, say
            raise ValueError(
                f"groups[{index}] is {speakers!r}, not all of which can name speakers; give "
                'a string or a number for each, such as ("ann", "bob")'
            ) from error
    return mixtures
