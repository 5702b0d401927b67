"""Waveforms from one sample rate to another."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

__all__ = ["resample", "resampling_blocks", "resampling_span"]

_BLOCK = 1 << 18


def resample(waveform: NDArray[np.floating], from_rate: int, to_rate: int) -> NDArray[np.floating]:
    """Resample along the last axis with a linear-phase low-pass filter.

    Parameters
    ----------
    waveform : array of shape (..., n_samples)
        Floating.
    from_rate, to_rate : int
        Sample rates in Hz.

    Returns
    -------
    array of shape (..., ceil(n_samples * to_rate / from_rate))
        The dtype stays. Where the rates are equal, this is the waveform itself.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import resample
    >>> resample(np.zeros((2, 44100)), 44100, 8000).shape
    (2, 8000)
    """
    if from_rate == to_rate:
        return waveform
    common = math.gcd(from_rate, to_rate)
    return resample_poly(waveform, to_rate // common, from_rate // common, axis=-1)


def resampling_blocks(
    n_samples: int, from_rate: int, to_rate: int
) -> Iterator[tuple[slice, slice, slice]]:
    """Cut a recording into blocks that resample one by one to the same samples as the whole.

    Parameters
    ----------
    n_samples : int
        Length of the recording.
    from_rate, to_rate : int
        Sample rates in Hz.

    Yields
    ------
    taken : slice
        Samples of the recording to resample, with a margin as long as the filter.
    given : slice
        Samples of the result that come of them.
    kept : slice
        Where these are in the resampled block.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import resample, resampling_blocks
    >>> waveform, parts = np.random.default_rng(0).standard_normal(600_000), []
    >>> for taken, _, kept in resampling_blocks(600_000, 44100, 8000):
    ...     parts.append(resample(waveform[taken], 44100, 8000)[kept])
    >>> len(parts), np.array_equal(np.concatenate(parts), resample(waveform, 44100, 8000))
    (3, True)
    """
    common = math.gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    n_margin = _margin(up, down)
    n_block = max(1, _BLOCK // down) * down
    for start in range(0, n_samples, n_block):
        first, stop = max(0, start - n_margin), min(start + n_block, n_samples)
        taken = slice(first, min(stop + n_margin, n_samples))
        begin, offset = start * up // down, first * up // down
        given = slice(begin, -(-stop * up // down))
        yield taken, given, slice(begin - offset, given.stop - offset)


def resampling_span(
    start: int, stop: int, n_samples: int, from_rate: int, to_rate: int
) -> tuple[slice, slice]:
    """Say what of a recording to resample to get some samples of the result.

    Parameters
    ----------
    start, stop : int
        First sample of the result that is wanted, and the end of what is wanted.
    n_samples : int
        Length of the recording.
    from_rate, to_rate : int
        Sample rates in Hz.

    Returns
    -------
    taken : slice
        Samples of the recording to resample, with a margin as long as the filter.
    kept : slice
        Where what is wanted is in the resampled part.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import resample, resampling_span
    >>> waveform = np.random.default_rng(0).standard_normal(600_000)
    >>> taken, kept = resampling_span(5000, 7000, 600_000, 44100, 8000)
    >>> part = resample(waveform[taken], 44100, 8000)[kept]
    >>> np.array_equal(part, resample(waveform, 44100, 8000)[5000:7000])
    True
    """
    common = math.gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    n_margin = _margin(up, down)
    first = max(0, start // up * down - n_margin)
    taken = slice(first, min(-(-stop // up) * down + n_margin, n_samples))
    offset = first // down * up
    return taken, slice(start - offset, stop - offset)


def _margin(up: int, down: int) -> int:
    """Give the samples on each side of a block that those of its result depend on.

    `resample_poly` has a filter of 10 * max(up, down) taps on each side, at `up` times the rate.
    Blocks and margins are multiples of `down`, so that samples of the result stay in place.
    """
    return 0 if up == down else (10 * max(up, down) // (up * down) + 2) * down
