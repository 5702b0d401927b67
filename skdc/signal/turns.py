"""Who speaks when: stretches of separated sources in which each is heard."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_closing, binary_opening

__all__ = ["Turn", "find_turns", "to_rttm"]

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


class Turn(NamedTuple):
    """A stretch in which a source is heard.

    Attributes
    ----------
    source : int
        From 0.
    start_s, stop_s : float
        Seconds.
    """

    source: int
    start_s: float
    stop_s: float


def find_turns(sources: ArrayLike, rate: int) -> list[Turn]:
    """Find when each of the sources of a recording is heard.

    A source is heard in frames that are less than 25 dB below its own active level, and less than
    9 dB below the loudest source at that time. Pauses of up to 0.3 s are closed, and stretches of
    less than 0.1 s left out.

    Parameters
    ----------
    sources : array of shape (n_sources, n_samples) or (n_sources, n_channels, n_samples)
    rate : int
        Hz.

    Returns
    -------
    list of Turn
        By their starts, exact to some 20 ms.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import find_turns
    >>> tone = np.sin(np.arange(8000))
    >>> first, second = np.r_[tone, 0 * tone], np.r_[0.01 * tone, tone]
    >>> find_turns([first, second], 8000)
    [Turn(source=0, start_s=0.0, stop_s=1.02), Turn(source=1, start_s=0.98, stop_s=2.0)]
    """
    signals = np.asarray(sources)
    hop = max(1, round(_HOP_S * rate))
    n_frames = -(-signals.shape[-1] // hop)
    if not n_frames:
        return []
    powers = np.stack([_powers(np.atleast_2d(signal), hop, n_frames) for signal in signals])
    own = np.array([[_active_power(power)] for power in powers])  # (n_sources, 1)
    is_heard = (powers > 0) & (powers > own * 10 ** (-_BELOW_OWN_DB / 10))
    is_heard &= powers > powers.max(axis=0) * 10 ** (-_BELOW_OTHERS_DB / 10)
    turns = []
    for source, heard in enumerate(is_heard):
        edges = np.flatnonzero(np.diff(_without_short(heard), prepend=False, append=False))
        for start, stop in edges.reshape(-1, 2).tolist():  # (2 * n_turns,) -> (n_turns, 2)
            end = min(stop * hop, signals.shape[-1])
            turns.append(Turn(source, round(start * hop / rate, 3), round(end / rate, 3)))
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


def _powers(channels: NDArray[np.floating], hop: int, n_frames: int) -> NDArray[np.float64]:
    """Give the power of each frame of a source ``(n_channels, n_samples)``."""
    power = np.zeros(n_frames)
    n_whole = channels.shape[1] // hop
    for channel in channels:
        # (n_samples,) -> (n_whole, hop), and what is left at the end
        frames = channel[: n_whole * hop].reshape(n_whole, hop)
        power[:n_whole] += np.einsum("fh,fh->f", frames, frames)
        power[n_whole:] += np.square(channel[n_whole * hop :]).sum()
    width = min(_N_SMOOTHED, n_frames)
    return np.convolve(power, np.full(width, 1 / width), mode="same")


def _active_power(power: NDArray[np.float64]) -> float:
    """Mean power of the frames within 30 dB of the loudest."""
    return float(power[power >= 1e-3 * power.max()].mean())


def _without_short(heard: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Close short pauses, and then leave short stretches out."""
    pause, turn = (round(s / _HOP_S) for s in (_SHORTEST_PAUSE_S, _SHORTEST_TURN_S))
    # Nothing is heard before and after the recording.
    padded = np.pad(heard, pause)
    closed = binary_closing(padded, np.ones(pause + 1))
    opened: NDArray[np.bool_] = binary_opening(closed, np.ones(turn))[pause : pause + len(heard)]
    return opened
