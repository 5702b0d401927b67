"""Who speaks when: stretches of separated sources in which each is heard."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_closing, binary_opening

from skdc.signal.demands import as_array, check_finite
from skdc.signal.levels import active_power

__all__ = ["Turn", "TurnFinder", "find_turns", "to_rttm"]

_HOP_S = 0.01
# Frames are averaged over this many hops.
_N_SMOOTHED = 5
# How far the level of a frame may lie below the active level of its source, and below that of the
# loudest source in the same frame, where it may be what masks have let through. Chosen on
# held-out mixtures and conversations.
_BELOW_OWN_DB = 25.0
_BELOW_OTHERS_DB = 9.0
# Pauses within words and sentences are closed, and clicks left out.
_SHORTEST_PAUSE_S = 0.3
_SHORTEST_TURN_S = 0.1
# What is left of a frame without its offset, as a part of its power, and is no more than this is
# rounding.
_ROUNDING = 1e-12


class Turn(NamedTuple):
    """A stretch in which a source is heard.

    Attributes
    ----------
    source : int
        From 0, the index into the sources. RTTM, ``skdc separate --json`` and the files of the
        sources count from 1.
    start_s, stop_s : float
        Seconds.
    """

    source: int
    start_s: float
    stop_s: float


def find_turns(sources: ArrayLike, rate: int) -> list[Turn]:
    """Find when each of the sources of a recording is heard.

    A source is heard in frames that are less than 25 dB below its own active level, and less than
    9 dB below the loudest source at that time; a constant offset is not heard. Pauses of up to
    0.3 s are closed, and stretches of less than 0.1 s left out.

    Parameters
    ----------
    sources : array of shape (n_sources, n_samples) or (n_sources, n_channels, n_samples)
        Floating or integer PCM, at any level.
    rate : int
        Hz.

    Returns
    -------
    list of Turn
        By their starts, exact to some 20 ms.

    Raises
    ------
    ValueError
        If the sources are of another shape, or hold NaN, infinity or more than float32 does.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import find_turns
    >>> tone = np.sin(np.arange(8000))
    >>> first, second = np.r_[tone, 0 * tone], np.r_[0.01 * tone, tone]
    >>> find_turns([first, second], 8000)
    [Turn(source=0, start_s=0.0, stop_s=1.02), Turn(source=1, start_s=0.98, stop_s=2.0)]
    """
    signals = as_array(sources, "sources")
    finder = TurnFinder(len(signals), rate)
    finder.add(signals)
    return finder.turns()


class TurnFinder:
    """Do what `find_turns` does for sources that come block by block.

    Parameters
    ----------
    n_sources : int
    rate : int
        Hz.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import TurnFinder
    >>> finder = TurnFinder(2, 8000)
    >>> tone = np.sin(np.arange(8000))
    >>> finder.add(np.stack([tone, 0 * tone]))
    >>> finder.add(np.stack([0 * tone, tone]))
    >>> [turn.source for turn in finder.turns()]
    [0, 1]
    """

    def __init__(self, n_sources: int, rate: int) -> None:
        self._n_sources, self._rate = n_sources, rate
        self._hop = max(1, round(_HOP_S * rate))
        self._n_samples = 0
        # Sums of each frame, as `_frame_sums` gives them of a block, and what begins the next one.
        self._sums: list[NDArray[np.float64]] = []
        self._rest: NDArray[Any] | None = None

    def add(self, sources: NDArray[Any]) -> None:
        """Add what follows.

        Parameters
        ----------
        sources : array of shape (n_sources, n_samples) or (n_sources, n_channels, n_samples)
            Floating or integer PCM, in every block the same.

        Raises
        ------
        ValueError
            If they are of another shape or number, or hold NaN, infinity or more than float32
            does.
        """
        if sources.ndim not in (2, 3) or len(sources) != self._n_sources:
            raise ValueError(
                f"sources have shape {sources.shape}; give (n_sources, n_samples) or "
                "(n_sources, n_channels, n_samples), of as many sources in every block"
            )
        check_finite(sources, "sources")
        # (n_sources, n_samples) -> (n_sources, n_channels, n_samples)
        block = sources[:, None] if sources.ndim == 2 else sources
        self._n_samples += block.shape[-1]
        if self._rest is not None:
            block = np.concatenate([self._rest, block], axis=-1)
        n_used = block.shape[-1] // self._hop * self._hop
        self._sums.append(_frame_sums(block[..., :n_used], self._hop))
        self._rest = block[..., n_used:].copy()

    def turns(self) -> list[Turn]:
        """Find the turns in all that was added.

        Returns
        -------
        list of Turn
            As `find_turns` gives them.
        """
        parts, lengths = list(self._sums), [self._hop] * (self._n_samples // self._hop)
        if self._rest is not None and (n_rest := self._rest.shape[-1]):
            parts.append(_frame_sums(self._rest, n_rest))
            lengths.append(n_rest)
        if not lengths:
            return []
        whole = _powers(np.concatenate(parts, axis=-1), np.array(lengths))
        width = min(_N_SMOOTHED, whole.shape[1])
        weights = np.full(width, 1 / width)
        powers = np.stack([np.convolve(row, weights, mode="same") for row in whole])
        own = np.array([[active_power(power)] for power in powers])  # (n_sources, 1)
        is_heard = (powers > 0) & (powers > own * 10 ** (-_BELOW_OWN_DB / 10))
        is_heard &= powers > powers.max(axis=0) * 10 ** (-_BELOW_OTHERS_DB / 10)
        turns = []
        for source, heard in enumerate(is_heard):
            edges = np.flatnonzero(np.diff(_without_short(heard), prepend=False, append=False))
            for start, stop in edges.reshape(-1, 2).tolist():  # (2 * n_turns,) -> (n_turns, 2)
                end = min(stop * self._hop, self._n_samples) / self._rate
                turns.append(Turn(source, round(start * self._hop / self._rate, 3), round(end, 3)))
        return sorted(turns, key=lambda turn: (turn.start_s, turn.source))


def to_rttm(turns: Sequence[Turn], name: str) -> str:
    r"""Write turns as RTTM, which tools for the diarisation of speech read.

    Parameters
    ----------
    turns : sequence of Turn
    name : str
        Name of the recording; spaces become ``_``.

    Returns
    -------
    str
        A line each: ``SPEAKER name 1 start duration <NA> <NA> speaker <NA> <NA>``, in seconds;
        speakers are ``1``, ``2``, ... in the order of the sources.

    Examples
    --------
    >>> from skdc.signal import Turn, to_rttm
    >>> to_rttm([Turn(0, 0.5, 2.0)], "my talk")
    'SPEAKER my_talk 1 0.500 1.500 <NA> <NA> 1 <NA> <NA>\n'
    """
    name = re.sub(r"\s", "_", name) or "_"
    return "".join(
        f"SPEAKER {name} 1 {turn.start_s:.3f} {turn.stop_s - turn.start_s:.3f} <NA> <NA> "
        f"{turn.source + 1} <NA> <NA>\n"
        for turn in turns
    )


def _frame_sums(sources: NDArray[Any], hop: int) -> NDArray[np.float64]:
    """Give sums and sums of squares of whole frames, (2, n_sources, n_channels, n_frames)."""
    # (n_sources, n_channels, n_samples) -> (n_sources, n_channels, n_frames, hop)
    frames = sources.reshape(*sources.shape[:2], -1, hop)
    # In float64, which holds the squares of whatever the samples are.
    exact: dict[str, Any] = {"dtype": np.float64, "casting": "same_kind"}
    squares = np.einsum("scfh,scfh->scf", frames, frames, **exact)
    return np.stack([np.einsum("scfh->scf", frames, **exact), squares])


def _powers(frame_sums: NDArray[np.float64], lengths: NDArray[np.integer]) -> NDArray[np.float64]:
    """Give the power of each frame, (n_sources, n_frames), of all channels without their means."""
    sums, squares = frame_sums
    mean = sums.sum(axis=-1, keepdims=True) / lengths.sum()
    powers = squares - mean * (2 * sums - lengths * mean)
    return np.where(powers > _ROUNDING * squares, powers, 0).sum(axis=1)


def _without_short(heard: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Close short pauses, and then leave short stretches out."""
    pause, turn = (round(s / _HOP_S) for s in (_SHORTEST_PAUSE_S, _SHORTEST_TURN_S))
    # Nothing is heard before and after the recording.
    padded = np.pad(heard, pause)
    closed = binary_closing(padded, np.ones(pause + 1))
    opened: NDArray[np.bool_] = binary_opening(closed, np.ones(turn))[pause : pause + len(heard)]
    return opened
