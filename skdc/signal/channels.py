"""How much the channels of a recording have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft, next_fast_len, rfft

from skdc.signal.demands import as_array

__all__ = ["channel_similarity", "mean_power_ratio"]

_LONGEST_S = 60.0
# Sound takes this long for 7 m.
_LONGEST_DELAY_S = 0.02
# A channel that is weaker than the other by more than this holds nothing of its own.
_WEAK = 0.05


def channel_similarity(channels: ArrayLike, rate: int) -> float:
    """Largest correlation of two channels, whatever the delay between them.

    Parameters
    ----------
    channels : array of shape (2, n_samples)
        The first minute counts.
    rate : int
        Hz.

    Returns
    -------
    float
        Largest absolute coefficient of correlation at delays up to 20 ms. 1 where one channel has
        no signal of its own: it is silent, or weaker than the other by 26 dB.

    Raises
    ------
    ValueError
        If there are not two channels, or no samples.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import channel_similarity
    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> round(channel_similarity([noise[0], np.roll(noise[0], 80)], 8000), 1)
    1.0
    >>> channel_similarity(noise, 8000) < 0.1
    True
    """
    samples = as_array(channels, "channels")
    if samples.ndim != 2 or len(samples) != 2 or not samples.size:
        raise ValueError(f"channels have shape {samples.shape}; give (2, n_samples), not empty")
    samples = _without_offset(samples[:, : int(_LONGEST_S * rate)]).astype(np.float32)
    levels = np.sqrt(np.square(samples).mean(axis=1, dtype=np.float64))
    if levels.min() <= _WEAK * levels.max():
        return 1.0
    # The sound of one may come first in either channel.
    n_delays = max(1, int(_LONGEST_DELAY_S * rate))
    n_fft = next_fast_len(samples.shape[1] + n_delays, real=True)
    first, second = rfft(samples, n_fft)
    products = irfft(first * second.conj(), n_fft)
    nearest = np.concatenate([products[: n_delays + 1], products[-n_delays:]])
    return float(np.abs(nearest).max() / (samples.shape[1] * levels.prod()))


def mean_power_ratio(channels: ArrayLike) -> float:
    """Power of the mean of channels, over the mean of their powers.

    Parameters
    ----------
    channels : array of shape (n_channels, n_samples)

    Returns
    -------
    float
        1 where all channels are alike, ``1 / n_channels`` where they have nothing in common, and 0
        where they cancel each other. 1 of silence. Constant offsets do not count.

    Raises
    ------
    ValueError
        If there is no axis of channels, or no samples.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import mean_power_ratio
    >>> tone = np.sin(np.arange(8000))
    >>> mean_power_ratio([tone, -tone])
    0.0
    """
    samples = as_array(channels, "channels")
    if samples.ndim != 2 or not samples.size:
        raise ValueError(
            f"channels have shape {samples.shape}; give (n_channels, n_samples), not empty"
        )
    samples = _without_offset(samples)
    power = float(np.square(samples).mean())
    return float(np.square(samples.mean(axis=0)).mean()) / power if power else 1.0


def _without_offset(channels: NDArray[Any]) -> NDArray[np.float64]:
    """Take the mean off each channel, and bring the largest sample of all to 1."""
    # Relative to the first sample, so that nothing is left of what is constant.
    samples = channels.astype(np.float64)
    samples -= samples[:, :1]
    samples -= samples.mean(axis=1, keepdims=True)
    return samples / (np.abs(samples).max() or 1.0)
