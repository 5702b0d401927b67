"""Recordings as every method works on them: checked, of peak 1, at the network's rate."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdc.exceptions import AudioWarning
from skdc.inputs.containers import Container, as_array, as_items
from skdc.inputs.format import AudioFormat
from skdc.inputs.lazy import is_lazy
from skdc.storage import ArrayStore

__all__ = [
    "Mixtures",
    "as_samples",
    "check_mixtures",
    "check_waveform",
    "find_peak",
    "read_samples",
    "scale_samples",
]

FloatArray = NDArray[np.float32]

# Recordings come as int8...int32 PCM; int64 is what NumPy makes of a list of numbers.
_PCM_TYPES = (np.int8, np.int16, np.int32)
# Samples that are converted to float64 at a time, so that checks take little memory.
_BLOCK = 1 << 16


def as_samples(item: Any, name: str) -> NDArray[Any]:
    """Give an array of finite real samples, in the type that it came in.

    Parameters
    ----------
    item : array-like
    name : str
        What errors call it.

    Returns
    -------
    array
        Floating, int8...int64 or uint8; not copied.

    Raises
    ------
    ValueError
        If it is ragged or complex, or holds NaN or infinity.
    TypeError
        If it is not numeric, or of a type that audio does not come in.
    """
    samples = as_array(item, name)
    if np.iscomplexobj(samples):
        raise ValueError(f"Complex data not supported: {name} is complex; give real samples")
    if samples.dtype.kind not in "fi" and samples.dtype != np.uint8:
        known = samples.dtype.kind in "ub"
        advice = (
            "PCM is int8, int16, int32 or uint8: convert it to one of these, or to floating "
            "samples within +-1"
            if known
            else "give floating or integer samples"
        )
        raise TypeError(f"{name} has dtype {samples.dtype}; {advice}")
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        what = "NaN" if np.isnan(samples).any() else "infinity"
        raise ValueError(f"{name} contains {what}; every sample must be a finite number")
    return samples


def check_waveform(item: Any, name: str) -> NDArray[Any]:
    """Check one recording: one channel of finite samples, at least one.

    Parameters
    ----------
    item : array-like of shape (n_samples,)
    name : str
        What errors call it.

    Returns
    -------
    array of shape (n_samples,)
        In the type that it came in.

    Raises
    ------
    ValueError, TypeError
        As `as_samples` does, or if it is empty or not one-dimensional.
    """
    waveform = as_array(item, name)
    if waveform.ndim != 1:
        raise ValueError(
            f"{name} has shape {waveform.shape}; a recording is one channel of shape "
            "(n_samples,): mix stereo down to mono first, for instance with x.mean(axis=...)"
        )
    if not len(waveform):
        raise ValueError(f"{name} is empty; give at least one window of samples")
    return as_samples(waveform, name)


def read_samples(item: Any, name: str) -> NDArray[np.floating]:
    """Bring samples to float32, if they are that or float16, or else to float64.

    Parameters
    ----------
    item : array-like
        Samples of any shape; integer PCM is scaled to +-1.
    name : str
        What errors call it.

    Returns
    -------
    float32 or float64 array

    Raises
    ------
    ValueError, TypeError
        If samples are not finite real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.inputs import read_samples
    >>> read_samples(np.array([16384, -32768], dtype=np.int16), "X[0]")
    array([ 0.5, -1. ])
    """
    samples = as_samples(item, name)
    is_single = samples.dtype.kind == "f" and samples.dtype.itemsize <= 4
    return _to_float(samples).astype(np.float32 if is_single else np.float64)


def find_peak(samples: NDArray[Any]) -> float:
    """Give the largest absolute sample of checked samples, PCM scaled to +-1 by its type."""
    return max(float(np.abs(block).max()) for _, block in _blocks(samples))


def scale_samples(samples: NDArray[Any], peak: float, audio: AudioFormat) -> FloatArray:
    """Divide checked samples by a peak, and bring them to the network's rate.

    Parameters
    ----------
    samples : array of shape (..., n_samples)
        In the type that they came in.
    peak : float
    audio : AudioFormat

    Returns
    -------
    float32 array of shape (..., audio.network_length(n_samples))
    """
    if audio.rate != audio.sample_rate:
        return audio.to_network(_to_float(samples) / peak).astype(np.float32)
    scaled = np.empty(samples.shape, np.float32)
    for part, block in _blocks(samples):
        scaled[..., part] = block / peak
    return scaled


def _to_float(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Give samples as float64, integer PCM scaled to +-1 by its type."""
    if samples.dtype == np.uint8:  # 8-bit WAV is unsigned, silence at 128
        return (samples.astype(np.float64) - 128) / 128
    if samples.dtype.type in _PCM_TYPES:
        return samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float64)


def _blocks(samples: NDArray[Any]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Stretches of the last axis, and their samples as float64."""
    for start in range(0, samples.shape[-1], _BLOCK):
        part = slice(start, start + _BLOCK)
        yield part, _to_float(samples[..., part])


class Mixtures(NamedTuple):
    """Mixtures as every method works on them.

    Attributes
    ----------
    waveforms : list of float32 arrays of shape (n_samples_i,)
        Scaled to a peak of 1, so that no level over- or underflows; silent ones stay zero.
    peaks : list of float
        What the waveforms were divided by.
    lengths : list of int
        Numbers of samples that came in, at the input rate.
    container : {"array", "list", "single"}
        What came in, and so what goes out.
    """

    waveforms: list[FloatArray]
    peaks: list[float]
    lengths: list[int]
    container: Container

    def restore(self, index: int, sources: FloatArray, audio: AudioFormat) -> FloatArray:
        """Bring the sources of mixture `index` to the rate, length and scale that it came in.

        Parameters
        ----------
        index : int
        sources : float32 array of shape (n_sources, n_samples)
        audio : AudioFormat

        Returns
        -------
        float32 array of shape (n_sources, lengths[index])
        """
        restored = audio.from_network(sources, self.lengths[index])
        return (restored * self.peaks[index]).astype(np.float32)

    def take(self, indices: NDArray[np.integer]) -> Mixtures:
        """Give the mixtures of these indices."""
        waveforms, peaks, lengths = (
            [items[i] for i in indices] for items in (self.waveforms, self.peaks, self.lengths)
        )
        return Mixtures(waveforms, peaks, lengths, self.container)


def check_mixtures(
    X: Any, audio: AudioFormat, *, name: str = "X", allow_silence: bool = True
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
    allow_silence : bool, default=True
        Whether a mixture of zeros passes, with a warning.

    Returns
    -------
    Mixtures

    Raises
    ------
    ValueError
        If a mixture is empty, too short, not one-dimensional, complex, silent where that is not
        allowed, or holds NaN or infinity. The message names the item.
    TypeError
        If `X` is sparse, not numeric, or no array or list.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.inputs import AudioFormat, check_mixtures
    >>> checked = check_mixtures(np.full(8000, -0.25), AudioFormat())
    >>> checked.peaks, checked.container
    ([0.25], 'single')
    """
    items, container = as_items(X, name)
    peaks, lengths = [], []
    with ArrayStore(on_disk=is_lazy(X)) as store:
        for index, item in enumerate(items):
            label = name if container == "single" else f"{name}[{index}]"
            waveform = check_waveform(item, label)
            audio.check_duration(label, len(waveform))
            peak = _check_peak(waveform, label, allow_silence)
            store.append(scale_samples(waveform, peak, audio))
            peaks.append(peak)
            lengths.append(len(waveform))
        waveforms = store.arrays()
    return Mixtures(waveforms, peaks, lengths, container)


def _check_peak(waveform: NDArray[Any], name: str, allow_silence: bool) -> float:
    """Give the peak, 1 for silence; silence may be refused, and clipping gives a warning."""
    peak = find_peak(waveform)
    if peak == 0:
        if not allow_silence:
            raise ValueError(f"{name} is silent: all its samples are 0; leave it out")
        warnings.warn(f"{name} is silent; so are its sources", AudioWarning, stacklevel=5)
        return 1.0
    # Clipping leaves runs of equal samples at the peak; loud but sound audio touches it once.
    at_peak = np.empty(len(waveform), dtype=bool)
    for part, block in _blocks(waveform):
        at_peak[part] = np.abs(block) >= 0.9999 * peak
    share = float(np.mean(at_peak[1:] & at_peak[:-1])) if len(waveform) > 1 else 0.0
    if 0.005 < share < 0.5:
        warnings.warn(
            f"{name} looks clipped: {100 * share:.1f} % of its samples stay at its peak; "
            "its sources will be distorted",
            AudioWarning,
            stacklevel=5,
        )
    return peak
