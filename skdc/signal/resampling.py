"""Waveforms from one sample rate to another."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

__all__ = ["resample"]


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
