"""Recordings as every method works on them: checked, of peak 1, at the network's rate."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from skdc.exceptions import AudioWarning
from skdc.inputs.containers import Container, NamedItems, as_items, label_item
from skdc.inputs.format import AudioFormat
from skdc.inputs.lazy import is_lazy
from skdc.inputs.long import LongRecording
from skdc.inputs.rates import seems_slowed
from skdc.separation import Recording
from skdc.signal import resample, resampling_blocks, resampling_span
from skdc.signal.demands import as_array, check_channels, check_finite
from skdc.signal.extents import Extent, find_extent, pcm_scale
from skdc.signal.storage import ArrayStore

__all__ = [
    "Mixtures",
    "as_channels",
    "as_samples",
    "check_mixtures",
    "read_samples",
    "scale_samples",
    "warn_of_rate",
]

FloatArray = NDArray[np.float32]

_BLOCK_SAMPLES = 65_536
# Rows of an array that are as few and as much alike are most likely channels.
_FEW_CHANNELS = 8
_SAME_RECORDING = 0.98
_MANY_SAMPLES = 1000
_GIVE_SAMPLES = "give floating or integer samples; skdc.audio.read_audio reads files"


def as_samples(
    item: Any,
    name: str,
    *,
    is_mono: bool = False,
    any_level: bool = False,
    label_shape: tuple[int, int] | None = None,
) -> NDArray[Any]:
    """Read an item and check it: finite real samples, in the type that they came in.

    Parameters
    ----------
    item : array-like
    name : str
        What errors call it.
    is_mono : bool, default=False
        Whether it must be of shape ``(n_samples,)`` with at least one sample.
    any_level : bool, default=False
        Whether samples may be larger than float32 holds, because they are scaled first.
    label_shape : tuple of two int, optional
        Shape that integers are taken for a label map at; they are given as they are.

    Returns
    -------
    array
        Floating, int8...int64 or uint8; not copied.

    Raises
    ------
    ValueError
        If it is ragged or complex, of another shape, or holds NaN or infinity.
    TypeError
        If it is not numeric, or of a type that audio does not come in.
    """
    is_array = isinstance(item, np.ndarray | LongRecording)
    is_masked = isinstance(item, np.ma.MaskedArray)
    samples: Any = item if is_array and not is_masked else as_array(item, name)
    if samples.shape == label_shape and samples.dtype.kind in "iu":
        return samples
    if is_mono and not samples.ndim and samples.dtype.kind not in "fiu":
        raise TypeError(f"{name} is of type {type(item).__name__}; {_GIVE_SAMPLES}")
    if is_mono and samples.ndim != 1:
        raise ValueError(
            f"{name} has shape {samples.shape}; a recording is one channel of shape "
            "(n_samples,): mix stereo down to mono first, for instance with x.mean(axis=...)"
        )
    if is_mono and not samples.shape[0]:
        raise ValueError(f"{name} is empty; give at least one window of samples")
    if samples.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} is complex; give real samples")
    if samples.dtype.kind in "ub" and samples.dtype != np.uint8:
        raise TypeError(
            f"{name} has dtype {samples.dtype}; PCM is int8, int16, int32 or uint8: convert it to "
            "one of these, or to floating samples within +-1"
        )
    if samples.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {samples.dtype}; {_GIVE_SAMPLES}")
    # One that is not in memory is checked as it is read.
    if samples.dtype.kind == "f" and not isinstance(item, LongRecording):
        check_finite(samples, name, any_level=any_level)
    checked: NDArray[Any] = samples
    return checked


def as_channels(item: Any, name: str) -> NDArray[Any]:
    """Read ``(n_samples,)`` or ``(n_channels, n_samples)`` and check it as `as_samples` does.

    Raises the same errors, and a ValueError if it seems to be transposed.
    """
    if isinstance(item, list | tuple):
        item = as_array(item, name)
    has_channels = getattr(item, "ndim", 0) == 2
    samples = as_samples(item, name, is_mono=not has_channels)
    if has_channels:
        check_channels(samples, name)
    return samples


def read_samples(item: Any, name: str, *, is_mono: bool = False) -> NDArray[np.floating]:
    """Bring samples to float32, if they are that or float16, or else to float64.

    They may be of any shape where they need not be mono; integer PCM is scaled to +-1. Errors are
    those of `as_samples`.
    """
    samples = as_samples(item, name, is_mono=is_mono)
    is_single = samples.dtype.kind == "f" and samples.dtype.itemsize <= 4
    silence, full_scale = pcm_scale(samples.dtype)
    shifted = np.subtract(samples, silence, dtype=np.float64)
    return (shifted / full_scale).astype(np.float32 if is_single else np.float64)


def scale_samples(
    samples: NDArray[Any],
    peak: float,
    audio: AudioFormat,
    offset: NDArray[np.float64] | float = 0.0,
) -> FloatArray:
    """Take the offset off checked samples, divide by a peak, and bring to the network's rate.

    The samples ``(..., n_samples)`` are in the type that they came in, offset and peak as in
    `Extent`. Gives float32 of shape ``(..., audio.network_length(n_samples))``.
    """
    silence, full_scale = pcm_scale(samples.dtype)
    zero = np.asarray(silence + offset)[..., None]
    n_samples = samples.shape[-1]
    scaled = np.empty((*samples.shape[:-1], audio.network_length(n_samples)), np.float32)
    # In blocks, because float64 takes twice the memory of what is kept.
    rates = audio.rate, audio.sample_rate
    for taken, given, kept in resampling_blocks(n_samples, *rates):
        block = np.subtract(samples[..., taken], zero, dtype=np.float64)
        block /= full_scale * peak
        if audio.rate != audio.sample_rate:
            block = resample(block, *rates)
        scaled[..., given] = block[..., kept]
    return scaled


class HeardWaveform:
    """What the network hears of a recording that is not in memory, made when it is used.

    ``heard[start:stop]`` is the same, to the bit, as of what `scale_samples` gives for the whole
    recording, its channels mixed down.
    """

    def __init__(
        self,
        recording: LongRecording,
        peak: float,
        audio: AudioFormat,
        offset: NDArray[np.float64],
    ) -> None:
        self._recording = recording
        self._peak, self._audio, self._offset = peak, audio, offset

    def __len__(self) -> int:
        return self._audio.network_length(self._recording.shape[-1])

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, _ = part.indices(len(self))
        rates = self._audio.rate, self._audio.sample_rate
        taken, kept = resampling_span(start, stop, self._recording.shape[-1], *rates)
        part_heard = self._recording[..., taken]
        scaled = scale_samples(part_heard, self._peak, self._audio, self._offset)[..., kept]
        return torch.from_numpy(scaled if scaled.ndim == 1 else scaled.mean(axis=0))

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.floating]:
        """Read it all, for what takes arrays only."""
        return np.asarray(self[:].numpy(), dtype)


class Mixtures(NamedTuple):
    """Mixtures as every method works on them.

    Attributes
    ----------
    waveforms : list of float32 arrays of shape (n_samples_i,), or of `HeardWaveform`
        With channels that stay apart, ``(n_channels_i, n_samples_i)``. Without constant offset,
        which would look like the loudest source of all; scaled to a peak of 1, so that no level
        over- or underflows; silent ones stay zero.
    peaks : list of float
        What the waveforms were divided by.
    offsets : list of float64 arrays of shape () or (n_channels_i,)
        What was taken off them, PCM scaled to +-1 by its type.
    lengths : list of int
        Numbers of samples that came in, at the input rate.
    container : {"array", "list", "single"}
        What came in, and so what goes out.
    recordings : list of arrays of shape (n_samples_i,) or (n_channels_i, n_samples_i)
        As they came in, where they are kept.
    """

    waveforms: list[Any]
    peaks: list[float]
    offsets: list[NDArray[np.float64]]
    lengths: list[int]
    container: Container
    recordings: Sequence[NDArray[Any]] = ()

    def restore(self, index: int, sources: FloatArray, audio: AudioFormat) -> FloatArray:
        """Bring the sources of mixture `index` to the rate, length and scale that it came in.

        They share its offset, so that they sum to it: ``(n_sources, lengths[index])``.
        """
        restored = audio.from_network(sources, self.lengths[index])
        restored = restored * self.peaks[index]
        if offset := self.offsets[index]:
            restored = restored + offset / len(sources)
        return restored.astype(np.float32)

    def tensors(self) -> list[Any]:
        """Give the waveforms as tensors."""
        return [x if isinstance(x, HeardWaveform) else torch.from_numpy(x) for x in self.waveforms]

    def channels(self, index: int, rate: int) -> Recording:
        """Give a recording that is kept, at its rate in Hz, to be read with all its channels.

        It is without offset, and has a peak between 0.5 and 1: divided by a power of two, which
        rounds nothing.
        """
        recording, offset = self.recordings[index], self.offsets[index][..., None]
        silence, full_scale = pcm_scale(recording.dtype)
        exponent = np.frexp(self.peaks[index])[1]

        def read(start: int, stop: int) -> Tensor:
            # (n_samples,) -> (1, n_samples)
            samples = np.atleast_2d(recording[..., start:stop]) - np.float64(silence)
            samples = samples / full_scale - offset
            return torch.from_numpy(np.ldexp(samples, -exponent).astype(np.float32))

        return Recording(rate, self.lengths[index], read)

    def restore_channels(self, index: int, sources: FloatArray) -> FloatArray:
        """Bring sources of what `channels` gives to the scale that came in.

        They are of shape ``(n_sources, n_channels, lengths[index])``, and go without the axis of
        the channels where none came in.
        """
        restored = np.ldexp(sources, np.frexp(self.peaks[index])[1], out=sources)
        if (offset := self.offsets[index]).any():
            restored += (offset / len(sources))[..., None]
        return restored if self.recordings[index].ndim == 2 else restored[:, 0]

    def take(self, indices: NDArray[np.integer]) -> Mixtures:
        """Give the mixtures of these indices."""
        waveforms, peaks, offsets, lengths = (
            [items[i] for i in indices]
            for items in (self.waveforms, self.peaks, self.offsets, self.lengths)
        )
        return Mixtures(waveforms, peaks, offsets, lengths, self.container)


def check_mixtures(
    X: Any,
    audio: AudioFormat,
    *,
    name: str = "X",
    have_references: bool = False,
    keep_recordings: bool = False,
    has_channels: bool = False,
) -> Mixtures:
    """Check mixtures and bring them to one form.

    Parameters
    ----------
    X : array-like
        Array ``(n_mixtures, n_samples)``, list of arrays ``(n_samples_i,)``, or one array
        ``(n_samples,)``. Integer PCM is scaled to +-1 by its type. What comes from files goes to
        a temporary one.
    audio : AudioFormat
        Framing and rates; a mixture must last at least one window.
    name : str, default="X"
        What errors call it.
    have_references : bool, default=False
        Whether they are to learn from or to score with. Then a mixture of zeros is refused, which
        else passes with a warning; else rows that seem to be channels give a warning.
    keep_recordings : bool, default=False
        Whether to keep the items as they came in, too. They may then have several channels,
        ``(n_channels, n_samples_i)``, whose mean is the mixture.
    has_channels : bool, default=False
        Whether items may have several channels, which stay apart: the waveforms are of shape
        ``(n_channels, n_samples_i)`` then.

    Returns
    -------
    Mixtures

    Raises
    ------
    ValueError
        If a mixture is empty, too short, not one-dimensional, complex, silent where it has
        references, or holds NaN or infinity. The message names the item.
    TypeError
        If `X` is sparse, not numeric, or no array or list.
    """
    items, container = as_items(X, name, has_channels=has_channels)
    labels = X.labels if isinstance(X, NamedItems) else None
    if container == "array" and not have_references:
        advice = f"[{name}]" if keep_recordings else f"{name}.mean(axis=0)"
        _warn_of_channels(items, name, advice)
    peaks, offsets, lengths, recordings = [], [], [], []
    long_ones: list[tuple[int, HeardWaveform]] = []
    with ArrayStore(on_disk=is_lazy(X)) as store:
        for index, item in enumerate(items):
            label = name if container == "single" else label_item(labels, name, index)
            if keep_recordings or has_channels:
                waveform = as_channels(item, label)
            else:
                waveform = as_samples(item, label, is_mono=True)
            if keep_recordings:
                recordings.append(waveform)
            audio.check_duration(label, waveform.shape[-1])
            extent = find_extent(waveform)
            peak = _check_peak(waveform, extent, label, not have_references)
            if isinstance(waveform, LongRecording):
                parts = HeardWaveform(waveform, peak, audio, extent.offset)
                long_ones.append((index, parts))
            else:
                scaled = scale_samples(waveform, peak, audio, extent.offset)
                heard = scaled.mean(axis=0) if scaled.ndim == 2 and keep_recordings else scaled
                if index == 0 and audio.input_rate is None:
                    warn_of_rate(np.atleast_2d(heard)[0], audio, label)
                store.append(heard)
            peaks.append(peak)
            offsets.append(extent.offset / pcm_scale(waveform.dtype)[1])
            lengths.append(waveform.shape[-1])
        waveforms: list[Any] = store.arrays()
    for index, parts in long_ones:
        waveforms.insert(index, parts)
    return Mixtures(waveforms, peaks, offsets, lengths, container, recordings)


def warn_of_rate(waveform: FloatArray, audio: AudioFormat, name: str) -> None:
    """Warn where a recording of no stated rate seems to be at a higher one than the network.

    One recording of several is looked at: they have the same rate, and the warning says all.
    """
    if seems_slowed(waveform, audio.sample_rate):
        warnings.warn(
            f"{name} is so deep and slow, at {audio.sample_rate} Hz, that it seems to be at a "
            "higher rate; give that as input_rate, or resample it (hum and wind that are louder "
            "than speech look the same)",
            AudioWarning,
            stacklevel=5,
        )


def _warn_of_channels(rows: Sequence[Any], name: str, advice: str) -> None:
    """Warn where the rows of an array seem to be the channels of one recording."""
    if not 2 <= len(rows) <= _FEW_CHANNELS or len(rows[0]) < _MANY_SAMPLES:
        return
    # Some thousand samples from all over tell as much as all.
    step = len(rows[0]) // _MANY_SAMPLES
    samples = np.asarray([row[::step] for row in rows], dtype=np.float64)
    if not np.isfinite(samples).all() or not np.ptp(samples, axis=1).min():
        return
    if np.atleast_2d(np.corrcoef(samples))[0, 1:].min() > _SAME_RECORDING:
        warnings.warn(
            f"the {len(rows)} rows of {name} are nearly the same, but are taken for as many "
            f"mixtures; if they are the channels of one recording, give {advice}",
            AudioWarning,
            stacklevel=6,
        )


def _check_peak(waveform: NDArray[Any], extent: Extent, name: str, allow_silence: bool) -> float:
    """Give the peak, 1 for silence; silence may be refused, and clipping gives a warning."""
    offset, peak = extent.offset, extent.peak
    if peak == 0:
        if not allow_silence:
            what = f"the same, {np.ravel(offset)[0]:.3g}" if offset.any() else "0"
            raise ValueError(f"{name} is silent: all its samples are {what}; leave it out")
        warnings.warn(f"{name} is silent; so are its sources", AudioWarning, stacklevel=5)
        return 1.0
    # Clipping leaves runs of equal samples at the peak; loud but sound audio touches it once.
    silence, full_scale = pcm_scale(waveform.dtype)
    zero = (silence + offset)[..., None]
    near = 0.9999 * peak * full_scale
    n_at_peak = n_pairs = 0
    last = np.zeros((*waveform.shape[:-1], 0), dtype=bool)
    for start in range(0, waveform.shape[-1], _BLOCK_SAMPLES):
        block = waveform[..., start : start + _BLOCK_SAMPLES]
        at_peak = np.greater_equal(block, zero + near, signature="dd->?", casting="unsafe")
        at_peak |= np.less_equal(block, zero - near, signature="dd->?", casting="unsafe")
        at_peak = np.concatenate([last, at_peak], axis=-1)
        runs = at_peak[..., 1:] & at_peak[..., :-1]
        n_at_peak += int(np.count_nonzero(runs))
        n_pairs += runs.size
        last = at_peak[..., -1:]
    share = n_at_peak / n_pairs if n_pairs else 0.0
    if 0.005 < share < 0.5:
        warnings.warn(
            f"{name} looks clipped: {100 * share:.1f} % of its samples stay at its peak; "
            "its sources will be distorted",
            AudioWarning,
            stacklevel=5,
        )
    return peak
