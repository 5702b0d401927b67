"""Checks of recordings, and the samples in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from skdc.signal import Framing, resample

__all__ = [
    "CheckedRecordings",
    "as_array",
    "as_float",
    "check_duration",
    "check_finite",
    "check_waveform",
]

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


class CheckedRecordings(Sequence[NDArray[np.float32]]):
    """Recordings of single speakers, each checked when it is used.

    Parameters
    ----------
    recordings : sequence of arrays of shape (n_samples_i,)
    sample_rate, input_rate
        As for `skdc.validation.check_mixtures`.
    """

    def __init__(self, recordings: Any, sample_rate: int, input_rate: int | None) -> None:
        self._recordings = recordings
        self._rates = input_rate, sample_rate

    def __len__(self) -> int:
        return len(self._recordings)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.float32]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Give a recording scaled to a peak of 1, so that no level over- or underflows."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        waveform = check_waveform(self._recordings[index], f"recordings[{index}]")
        waveform = waveform / (np.abs(waveform).max() or 1.0)
        input_rate, sample_rate = self._rates
        if input_rate is not None:
            waveform = resample(waveform, input_rate, sample_rate)
        return waveform.astype(np.float32)
