"""How recordings are mixed, and how many speakers that takes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

__all__ = [
    "DynamicMixing",
    "check_speaker_count",
    "mixing_of_recordings",
    "mixture_counts",
    "possible_counts",
]


class DynamicMixing(BaseEstimator):
    """How recordings are mixed anew for every training step.

    Parameters
    ----------
    level_range_db : float, default=5.0
        Largest level difference between two sources of a mixture, dB.
    speeds : tuple of float, default=(1.0,)
        Each source is played at one of these speeds, drawn at random: 0.9 and 1.1 make other
        voices of the speakers there are. More voices help where speakers are few.
    similar_share : float, default=0.0
        Share of the mixtures, 0...1, whose later sources are drawn from the quarter of the
        speakers whose average spectrum is nearest to that of the first: the pairs that are hard
        to tell apart, mostly of one sex.
    n_sources : int, tuple of int or None, default=None
        Numbers of sources of a mixture, one drawn for each; ``(1, 2, 3)`` trains on one to three
        talkers. None takes those of the mixtures that `fit` was given.
    noise_share : float, default=0.0
        Share of the mixtures, 0...1, that have noise, 3 to 25 dB below the speech. The sources
        stay clean: the network learns to look past the noise.
    room_share : float, default=0.0
        Share of the mixtures, 0...1, whose sources are heard in a room of 0.1 to 0.5 s
        reverberation time. Each source then has its room with it. With a trunk that hears phases,
        all mixtures are heard by two microphones in a room, and this is the share of the rooms
        whose walls reflect, with 0.1 to 0.6 s.

    Examples
    --------
    >>> from skdc.training import DynamicMixing
    >>> DynamicMixing(speeds=(0.9, 1.0, 1.1), similar_share=0.25)
    DynamicMixing(similar_share=0.25, speeds=(0.9, 1.0, 1.1))
    """

    def __init__(
        self,
        level_range_db: float = 5.0,
        speeds: Sequence[float] = (1.0,),
        similar_share: float = 0.0,
        n_sources: int | Sequence[int] | None = None,
        noise_share: float = 0.0,
        room_share: float = 0.0,
    ) -> None:
        self.level_range_db = level_range_db
        self.speeds = speeds
        self.similar_share = similar_share
        self.n_sources = n_sources
        self.noise_share = noise_share
        self.room_share = room_share

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If one is no number, or none of its range.
        """
        speeds = _numbers(self.speeds)
        if not speeds.size or not np.all((speeds >= 0.5) & (speeds <= 2.0)):
            raise ValueError(f"speeds={self.speeds!r} must be one or several numbers of 0.5 to 2")
        for name in ("similar_share", "noise_share", "room_share"):
            share = getattr(self, name)
            if not _is_number(share) or not 0 <= share <= 1:
                raise ValueError(f"{name}={share!r} must lie between 0 and 1")
        level_range_db = self.level_range_db
        if not _is_number(level_range_db) or not 0 <= level_range_db < np.inf:
            raise ValueError(f"level_range_db={level_range_db!r} must be finite and not negative")
        if self.n_sources is not None:
            counts = _numbers(self.n_sources)
            if not counts.size or counts.dtype.kind not in "iu" or counts.min() < 1:
                raise ValueError(
                    f"n_sources={self.n_sources!r} must be one or several ints from 1"
                )


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _numbers(values: object) -> NDArray[np.number]:
    """Give one or several numbers as ``(n,)``; nothing where they are anything else."""
    try:
        numbers = np.array(values, ndmin=1)
    except ValueError:  # ragged
        return np.empty(0)
    return numbers if numbers.ndim == 1 and numbers.dtype.kind in "iuf" else np.empty(0)


def mixing_of_recordings(remix: bool | DynamicMixing) -> DynamicMixing | None:
    """Give how recordings of single speakers are mixed; None as by default.

    Parameters
    ----------
    remix : bool or DynamicMixing
        The parameter of the separator.

    Returns
    -------
    DynamicMixing or None

    Warns
    -----
    UserWarning
        If it is False, because nothing can be learnt from recordings that are not mixed.

    Examples
    --------
    >>> from skdc.training.mixing import mixing_of_recordings
    >>> mixing_of_recordings(True) is None
    True
    """
    if remix is False:
        warnings.warn(
            "remix=False changes nothing, because recordings of single speakers have to be mixed; "
            "give fit mixtures and their sources to train on mixtures as they are",
            stacklevel=3,
        )
    return remix if isinstance(remix, DynamicMixing) else None


def mixture_counts(
    n_sources: int | Sequence[int], mixing: DynamicMixing | None = None
) -> tuple[int, ...]:
    """Give the numbers of sources that mixtures are made of, one of which is drawn for each.

    Parameters
    ----------
    n_sources : int or sequence of int
        For mixtures of which `mixing` does not say it.
    mixing : DynamicMixing, optional

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> from skdc.training import DynamicMixing
    >>> from skdc.training.mixing import mixture_counts
    >>> mixture_counts(2), mixture_counts(2, DynamicMixing(n_sources=(1, 2, 2)))
    ((2,), (1, 2, 2))
    """
    if mixing is not None and mixing.n_sources is not None:
        n_sources = mixing.n_sources
    return tuple(np.array(n_sources, ndmin=1).tolist())


def possible_counts(n_speakers: int, counts: Sequence[int]) -> tuple[int, ...]:
    """Give the numbers of sources that so many speakers are enough for.

    Parameters
    ----------
    n_speakers : int
    counts : sequence of int
        Wanted numbers of sources, as `mixture_counts` gives them.

    Returns
    -------
    tuple of int
        Those of them that are possible, or where none is, the number of speakers.

    Examples
    --------
    >>> from skdc.training.mixing import possible_counts
    >>> possible_counts(3, (1, 2, 2, 3, 4)), possible_counts(2, (3, 4))
    ((1, 2, 2, 3), (2,))
    """
    return tuple(count for count in counts if count <= n_speakers) or (n_speakers,)


def check_speaker_count(n_speakers: int, counts: Sequence[int], what: str = "speakers") -> None:
    """Check that there are enough speakers, because nobody is mixed with themselves.

    Parameters
    ----------
    n_speakers : int
    counts : sequence of int
        Numbers of sources, as `mixture_counts` gives them.
    what : str, default="speakers"
        What there are `n_speakers` of, for the message.

    Raises
    ------
    ValueError
        If there are fewer than the largest mixtures need; the message says what to do.

    Examples
    --------
    >>> from skdc.training.mixing import check_speaker_count
    >>> check_speaker_count(2, (1, 2))
    """
    if n_speakers >= (most := max(counts)):
        return
    fewer = sorted(set(possible_counts(n_speakers, counts)))
    given = tuple(fewer) if len(fewer) > 1 else fewer[0]
    hint = f", or mix fewer: remix=DynamicMixing(n_sources={given})" if n_speakers > 1 else ""
    raise ValueError(
        f"got recordings of {n_speakers} {what}; mixtures of {most} sources need at least {most} "
        f"different ones. Give recordings of more speakers{hint}"
    )
