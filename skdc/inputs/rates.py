"""Recordings that are at another rate than they are taken for, as their spectrum tells."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from skdc.signal import bang_gains

__all__ = ["seems_slowed"]

_FRAME_S = 0.064
_SHORTEST_S = 1.0
_LONGEST_S = 60.0
# Frames weaker than the strongest by more than this, as a part of its power, are pauses.
_PAUSE = 1e-3
# None of 2,357 recordings and mixtures of speech at 8 kHz has both figures below these; of the
# same, and of 2,547 other words at 44.1 kHz, read as if they were at 8 kHz, 84 to 97 % have.
_LOWEST_MEDIAN_HZ = 150.0
_LOWEST_CENTRE_HZ = 130.0
# Speech that is in order has more of its power above this, whatever rumbles beside it.
_UPPER_HZ = 500.0
_LEAST_UPPER_PART = 0.05
# What is loud for fewer frames is a knock, say, which is deep.
_LASTING_FRAMES = 8


def seems_slowed(samples: NDArray[np.floating], rate: int) -> bool:
    """Whether speech seems to be at a much higher rate than it is taken for, Hz.

    Played at a rate that is too low, speech becomes slow and deep. The rule finds recordings at
    44.1 and 48 kHz that are taken for 8 kHz; where the ratio is smaller, deep voices and wrong
    rates are not told apart, and it says nothing.

    It is true where half of the power of the samples ``(n_samples,)`` lies below 150 Hz, next to
    nothing above 500 Hz, and the centre of a frame's spectrum (the mean of the logarithmic
    frequency, weighted by power) below 130 Hz in half of the frames that are no pauses. Less than
    a second says nothing.
    """
    if len(samples) < _SHORTEST_S * rate:
        return False
    n = round(_FRAME_S * rate)
    # (n_samples,) -> (n_frames, n); the rest at the end is left out
    frames = samples[: int(_LONGEST_S * rate)]
    frames = frames[: len(frames) // n * n].reshape(-1, n)
    magnitude = torch.from_numpy(np.abs(np.fft.rfft(frames * np.hanning(n))[:, 1:]))  # no offset
    magnitude = magnitude * bang_gains(magnitude, _LASTING_FRAMES)
    power = np.square(magnitude.numpy())
    total = power.sum(axis=1)
    if not total.any():
        return False
    hz = np.arange(1, n // 2 + 1) * rate / n
    rising = np.cumsum(power.sum(axis=0))
    if hz[np.searchsorted(rising, rising[-1] / 2)] >= _LOWEST_MEDIAN_HZ:
        return False
    if power[:, hz > _UPPER_HZ].sum() > _LEAST_UPPER_PART * power.sum():
        return False
    spoken = power[total > _PAUSE * total.max()]
    centres = np.exp(spoken @ np.log(hz) / spoken.sum(axis=1))
    return bool(np.median(centres) < _LOWEST_CENTRE_HZ)
