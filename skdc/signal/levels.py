"""The level of speech without its pauses: a quick estimate, and the one of ITU-T P.56."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter1d
from scipy.signal import cheby2, lfilter, sosfilt

from skdc.signal.demands import as_array, check_finite

__all__ = ["active_level", "active_power", "active_speech_level", "count_sounding"]

_TIME_CONSTANT_S = 0.03
_HANGOVER_S = 0.2
_MARGIN_DB = 15.9
# Silence added at the end, so that the hangover after the last word counts like any other.
_TAIL_S = 0.35
# Thresholds 3 dB apart (the standard asks for 6 dB or less), from the peak of the envelope down.
_N_THRESHOLDS = 20
# The band of the measurement: less than 0.25 dB is lost within, and 50 dB and more far outside.
_BAND_HZ = (200.0, 5500.0)
_RIPPLE_DB = 0.25
_STOP_DB = 50.0
_ORDER = 5


def active_level(waveform: NDArray[np.floating], sample_rate: int) -> float:
    """Root mean square of the parts of a recording where somebody speaks.

    Parameters
    ----------
    waveform : array of shape (n_samples,)
        At least one sample.
    sample_rate : int
        Hz.

    Returns
    -------
    float
        Level over the 20 ms frames within 30 dB of the loudest one; 0 for silence. A simple
        stand-in for the active speech level of ITU-T P.56.

    Raises
    ------
    ValueError
        If the waveform has no sample, or more than one axis.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import active_level
    >>> speech = np.r_[np.zeros(800), np.full(800, 0.5), np.zeros(800)]
    >>> active_level(speech, 8000)
    0.5
    """
    if np.ndim(waveform) != 1 or not len(waveform):
        raise ValueError(f"waveform has shape {np.shape(waveform)}; give (n_samples,), not empty")
    n = max(1, min(len(waveform), int(sample_rate) // 50))
    # (n_samples,) -> (n_frames, samples of 20 ms); the rest at the end is left out
    frames = np.asarray(waveform[: len(waveform) // n * n], dtype=np.float64).reshape(-1, n)
    power = np.square(frames).mean(axis=1)
    return float(np.sqrt(active_power(power)))


def count_sounding(levels: Sequence[Sequence[float]]) -> tuple[list[int], int]:
    """Count the sources of mixtures, of which silent ones fill up those of mixtures with fewer.

    Parameters
    ----------
    levels : sequence of sequence of float
        Active level of each source of each mixture.

    Returns
    -------
    counts : list of int
        Those of each mixture above 0; at least two, where there are two: mixtures of one teach
        little.
    n_sounding : int
        Those of all mixtures above 0.

    Examples
    --------
    >>> from skdc.signal import count_sounding
    >>> count_sounding([[0.1, 0.2, 0.0], [0.1, 0.0], [0.3]])
    ([2, 2, 1], 4)
    """
    heard = [sum(level > 0 for level in own) for own in levels]
    counts = [min(len(own), max(2, n)) for own, n in zip(levels, heard, strict=True)]
    return counts, sum(heard)


def active_power(power: NDArray[np.float64]) -> np.float64:
    """Give the mean power of the frames that are within 30 dB of the loudest one.

    Parameters
    ----------
    power : float64 array of shape (n_frames,)
        That of each frame.

    Returns
    -------
    float64
    """
    mean: np.float64 = power[power >= 1e-3 * power.max()].mean()
    return mean


def active_speech_level(waveform: ArrayLike, sample_rate: int) -> float:
    """Root mean square of a recording while somebody speaks, by ITU-T P.56, method B.

    The recording is filtered to 200-5500 Hz. Its envelope (30 ms) is held for 200 ms; speech is
    active while that is above a threshold. The level is the energy over the active time, for the
    threshold that lies 15.9 dB below that very level.

    Parameters
    ----------
    waveform : array-like of shape (n_samples,)
        Speech without much noise.
    sample_rate : int
        Hz, 1000 or more. Below 12.1 kHz there is no upper limit to the band.

    Returns
    -------
    float
        In units of the waveform; 0 for silence.

    Raises
    ------
    ValueError
        If the waveform is not one-dimensional or holds NaN or infinity, or if the rate is lower.

    See Also
    --------
    skdc.signal.active_level : A simpler and faster stand-in.

    References
    ----------
    .. [1] ITU-T Recommendation P.56 (2011), Objective measurement of active speech level.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.signal import active_speech_level
    >>> tone = np.sqrt(2) * np.sin(np.arange(8000))
    >>> pauses = np.concatenate([tone, np.zeros(8000), tone, np.zeros(8000)])
    >>> round(active_speech_level(tone, 8000), 2), round(active_speech_level(pauses, 8000), 2)
    (0.88, 0.88)
    """
    samples = as_array(waveform, "waveform", np.float64)
    if samples.ndim != 1:
        raise ValueError(f"waveform has shape {samples.shape}; give (n_samples,)")
    check_finite(samples, "waveform")
    if sample_rate < 1000:
        raise ValueError(f"sample_rate is {sample_rate!r}; give 1000 Hz or more")
    tail = np.zeros(math.ceil(_TAIL_S * sample_rate))
    speech = _band(np.concatenate([samples, tail]), sample_rate)
    energy = float(np.square(speech).sum())
    if energy == 0:
        return 0.0
    power = np.square(_held_envelope(speech, sample_rate))
    thresholds = 2.0 ** (np.frexp(power.max())[1] - np.arange(1, _N_THRESHOLDS + 1))
    active = np.array([np.count_nonzero(power >= threshold) for threshold in thresholds])
    levels = 10 * np.log10(energy / active)  # A_j of the standard, dB
    margins = levels - 10 * np.log10(thresholds)  # A_j - C_j
    return float(10 ** (_level_at_margin(levels, margins) / 20))


def _band(samples: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    low, high = _BAND_HZ
    # A Chebyshev filter of type II is specified by the edge of its stop band, and the standard by
    # that of the pass band. Their ratio follows from the Chebyshev polynomial of the order, which
    # has this value where the analogue filter attenuates by the ripple.
    gain = 10 ** (-_RIPPLE_DB / 10)
    polynomial = math.sqrt(gain / (1 - gain) * (10 ** (_STOP_DB / 10) - 1))
    ratio = math.cosh(math.acosh(polynomial) / _ORDER)
    for btype, edge, factor in (("highpass", low, 1 / ratio), ("lowpass", high, ratio)):
        if edge * 2.2 < sample_rate:
            warped = factor * math.tan(math.pi * edge / sample_rate)
            stop = math.atan(warped) * sample_rate / math.pi
            sections = cheby2(_ORDER, _STOP_DB, stop, btype, output="sos", fs=sample_rate)
            samples = sosfilt(sections, samples)
    return samples


def _held_envelope(speech: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    decay = math.exp(-1 / (_TIME_CONSTANT_S * sample_rate))
    envelope = lfilter([(1 - decay) ** 2], [1, -2 * decay, decay**2], np.abs(speech))
    n = math.ceil(_HANGOVER_S * sample_rate) + 1
    # The largest value of this sample and the n - 1 before it.
    held: NDArray[np.float64] = maximum_filter1d(
        envelope, n, mode="constant", origin=n - 1 - n // 2
    )
    return held


def _level_at_margin(levels: NDArray[np.float64], margins: NDArray[np.float64]) -> float:
    below = margins < _MARGIN_DB
    crossings = np.flatnonzero(below[:-1] & ~below[1:])
    if not crossings.size:
        return float(levels[-1] if below[-1] else levels[0])
    j = crossings[0]
    fraction = (_MARGIN_DB - margins[j]) / (margins[j + 1] - margins[j])
    return float(levels[j] + fraction * (levels[j + 1] - levels[j]))
