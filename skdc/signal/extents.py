"""Where the samples of a recording lie: full scale of its type, constant offset and peak."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

__all__ = ["Extent", "OffsetRemover", "find_extent", "pcm_scale"]

_BLOCK_SAMPLES = 65_536
# Smallest offset that is taken off, as a part of the root mean square of the rest: one of 0.3 does
# not harm separation yet, and noise of few samples has means of some percent.
_SMALLEST_OFFSET = 0.1
# Seconds that the offset of a stream is followed in: voices have nothing so slow.
_FOLLOWED_S = 0.5
_PCM_TYPES = (np.int8, np.int16, np.int32, np.uint8)


class Extent(NamedTuple):
    """Where the samples of a recording lie.

    Attributes
    ----------
    offset : float64 array of shape (...)
        Constant offset of each channel, in units of the recording's type.
    peak : float
        Largest absolute sample without it, PCM scaled to +-1 by its type.
    """

    offset: NDArray[np.float64]
    peak: float


def find_extent(samples: NDArray[Any]) -> Extent:
    """Find offset and peak of checked samples ``(..., n_samples)``.

    The offset is the mean of a channel where that is more than 10 % of what varies around it, root
    mean square; 0 otherwise, so that recordings without an offset stay as they are. A channel that
    does not vary is all offset.
    """
    silence, full_scale = pcm_scale(samples.dtype)
    starts = range(0, samples.shape[-1], _BLOCK_SAMPLES)
    ends = []
    for start in starts:
        block = samples[..., start : start + _BLOCK_SAMPLES]
        ends.append((block.min(-1), block.max(-1)))
    # (n_blocks, 2, ...) -> (...)
    lowest, highest = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
    lowest, highest = lowest.astype(np.float64), highest.astype(np.float64)
    total, squares = np.zeros_like(lowest), np.zeros_like(lowest)
    # Shifted and scaled to 0...1, so that a large offset takes no digits from a small signal and
    # no square over- or underflows; in blocks, because float64 takes twice the memory and more.
    reach = np.where(highest > lowest, highest - lowest, 1.0)
    for start in starts:
        block = samples[..., start : start + _BLOCK_SAMPLES].astype(np.float64)
        block -= lowest[..., None]
        block /= reach[..., None]
        total += block.sum(-1)
        squares += np.einsum("...t,...t->...", block, block)
    mean = total / samples.shape[-1]
    spread = np.sqrt(np.maximum(squares / samples.shape[-1] - mean**2, 0)) * reach
    offset = lowest - silence + mean * reach
    offset = np.where(np.abs(offset) > _SMALLEST_OFFSET * spread, offset, 0.0)
    zero = silence + offset
    return Extent(offset, float(np.maximum(highest - zero, zero - lowest).max()) / full_scale)


class OffsetRemover:
    """Take the constant offset off a recording while it comes in, and put it back into sources.

    It is found from the first samples, and then followed: a mean in which the last half second
    weighs most. The 10 % of what varies around it that `find_extent` leaves are left here too, of
    any offset, so that a recording that has none stays as it is and nothing ever jumps.

    Parameters
    ----------
    rate : int
        Hz.
    n_first : int
        Samples that the offset is found from. They are kept back until all of them are there.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal.extents import OffsetRemover
    >>> noise = np.random.default_rng(0).standard_normal(24000)
    >>> np.array_equal(OffsetRemover(8000, 8000).push(noise), noise)
    True
    >>> remover = OffsetRemover(8000, 8000)
    >>> found = remover.push(noise + 5)
    >>> round(float(found.mean()), 1)
    0.1
    >>> sources = np.stack([0.2 * found, 0.8 * found])
    >>> np.allclose(remover.put_back(sources).sum(axis=0), noise + 5)
    True
    """

    def __init__(self, rate: int, n_first: int) -> None:
        self._share = 1 / (_FOLLOWED_S * rate)
        self._n_first = max(1, n_first)
        self._waiting = np.zeros(0)
        self._state: NDArray[np.float64] | None = None
        self._taken_off = np.zeros(0)  # of the samples that were not put back yet

    def push(self, samples: NDArray[np.floating]) -> NDArray[np.float64]:
        """Take the samples that come next, and give those that are ready, without their offset.

        They are the same, to the bit, in whatever pieces they come.
        """
        if self._state is not None:
            return self._without(samples.astype(np.float64))
        self._waiting = np.concatenate([self._waiting, samples])
        return self._begin() if len(self._waiting) >= self._n_first else np.zeros(0)

    def finish(self) -> NDArray[np.float64]:
        """Give what still waits, as nothing more comes."""
        return np.zeros(0) if self._state is not None or not len(self._waiting) else self._begin()

    def put_back(self, sources: NDArray[np.floating]) -> NDArray[np.floating]:
        """Share the offset of the samples that come next equally among their sources.

        They are of shape ``(n_sources, n_samples)``.
        """
        taken_off, self._taken_off = np.split(self._taken_off, [sources.shape[1]])
        return sources + (taken_off / len(sources)).astype(sources.dtype)

    def _begin(self) -> NDArray[np.float64]:
        first, rest = np.split(self._waiting, [self._n_first])
        self._waiting = rest[:0]
        means = np.array([[first.mean()], [np.square(first).mean()]])
        # What a filter that has had these means for long remembers
        self._state = (1 - self._share) * means
        offset = np.repeat(_excess(*means), len(first))
        self._taken_off = np.concatenate([self._taken_off, offset])
        return np.concatenate([first - offset, self._without(rest)])

    def _without(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(samples):
            return samples
        series = np.stack([samples, samples**2])
        numerator, denominator = [self._share], [1.0, self._share - 1]
        means, self._state = lfilter(numerator, denominator, series, axis=1, zi=self._state)
        offset = _excess(*means)
        self._taken_off = np.concatenate([self._taken_off, offset])
        return samples - offset


def _excess(mean: NDArray[np.float64], power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give by how much means are more than what may be left."""
    spread = np.sqrt(np.maximum(power - mean**2, 0))
    excess: NDArray[np.float64] = np.maximum(np.abs(mean) - _SMALLEST_OFFSET * spread, 0)
    return np.copysign(excess, mean)


def pcm_scale(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Give silence and full scale in samples of a type."""
    if dtype == np.uint8:  # 8-bit WAV is unsigned
        return 128.0, 128.0
    # int64 is what NumPy makes of a list of numbers.
    is_pcm = dtype.type in _PCM_TYPES
    return 0.0, -float(np.iinfo(dtype).min) if is_pcm else 1.0
