"""Checks of one recording, and the samples in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdc.mixing import Framing

__all__ = ["as_array", "as_float", "check_duration", "check_finite", "check_waveform"]

# Recordings come as int8...int32 PCM; int64 is what NumPy makes of a list of numbers.
_PCM_TYPES = (np.int8, np.int16, np.int32)


def as_float(waveform: NDArray[Any]) -> NDArray[np.floating]:
    """Give samples as float64, integer PCM scaled to +-1 by its type."""
    if waveform.dtype == np.uint8:  # 8-bit WAV is unsigned, silence at 128
        return (waveform.astype(np.float64) - 128) / 128
    if waveform.dtype.type in _PCM_TYPES:
        return waveform.astype(np.float64) / -float(np.iinfo(waveform.dtype).min)
    return waveform.astype(np.float64)


def check_finite(waveform: NDArray[Any], name: str) -> None:
    """Raise an error that names the item if its samples are not finite real numbers."""
    if np.iscomplexobj(waveform):
        raise ValueError(f"Complex data not supported: {name} is complex; give real samples")
    if waveform.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {waveform.dtype}; give floating or integer samples")
    if waveform.dtype.kind == "f" and not np.isfinite(waveform).all():
        what = "NaN" if np.isnan(waveform).any() else "infinity"
        raise ValueError(f"{name} contains {what}; every sample must be a finite number")


def as_array(item: Any, name: str) -> NDArray[Any]:
    """Give an array, or a ValueError that names the item."""
    try:
        return np.asarray(item)
    except ValueError as error:
        raise ValueError(f"{name} is not an array of samples: {error}") from error


def check_waveform(item: Any, name: str) -> NDArray[np.floating]:
    """Check one recording and give it as float64."""
    waveform = as_array(item, name)
    if waveform.ndim != 1:
        raise ValueError(
            f"{name} has shape {waveform.shape}; a recording is one channel of shape "
            "(n_samples,): mix stereo down to mono first, for instance with x.mean(axis=...)"
        )
    if not len(waveform):
        raise ValueError(f"{name} is empty; give at least one window of samples")
    check_finite(waveform, name)
    return as_float(waveform)


def check_duration(
    name: str, n_samples: int, framing: Framing, sample_rate: int, input_rate: int | None
) -> None:
    """Raise an error that names the item if it is shorter than a window."""
    rate = input_rate or sample_rate
    if -(-n_samples * sample_rate // rate) < framing.win_length:
        raise ValueError(
            f"{name} has {n_samples} samples; at least "
            f"{-(-framing.win_length * rate // sample_rate)} (one window, "
            f"{1000 * framing.win_length / sample_rate:g} ms) are needed: leave it out or pad it "
            "with zeros"
        )
