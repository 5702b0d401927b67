"""Recordings as every method works on them: checked, of peak 1, at the network's rate."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdc.exceptions import AudioWarning
from skdc.inputs.containers import Container, as_items
from skdc.inputs.format import AudioFormat
from skdc.inputs.lazy import is_lazy
from skdc.signal import resample, resampling_blocks
from skdc.storage import ArrayStore

__all__ = [
    "Mixtures",
    "as_samples",
    "check_mixtures",
    "find_peak",
    "read_samples",
    "scale_samples",
]

FloatArray = NDArray[np.float32]

_PCM_TYPES = (np.int8, np.int16, np.int32, np.uint8)


def as_samples(
    item: Any, name: str, *, is_mono: bool = False, label_shape: tuple[int, int] | None = None
) -> NDArray[Any]:
    """Read an item and check it: finite real samples, in the type that they came in.

    Parameters
    ----------
    item : array-like
    name : str
        What errors call it.
    is_mono : bool, default=False
        Whether it must be of shape ``(n_samples,)`` with at least one sample.
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
    try:
        samples = np.asarray(item)
    except ValueError as error:
        raise ValueError(f"{name} is not an array of samples: {error}") from error
    if samples.shape == label_shape and samples.dtype.kind in "iu":
        return samples
    if is_mono and samples.ndim != 1:
        raise ValueError(
            f"{name} has shape {samples.shape}; a recording is one channel of shape "
            "(n_samples,): mix stereo down to mono first, for instance with x.mean(axis=...)"
        )
    if is_mono and not len(samples):
        raise ValueError(f"{name} is empty; give at least one window of samples")
    if np.iscomplexobj(samples):
        raise ValueError(f"Complex data not supported: {name} is complex; give real samples")
    if samples.dtype.kind in "ub" and samples.dtype != np.uint8:
        raise TypeError(
            f"{name} has dtype {samples.dtype}; PCM is int8, int16, int32 or uint8: convert it to "
            "one of these, or to floating samples within +-1"
        )
    if samples.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {samples.dtype}; give floating or integer samples")
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        what = "NaN" if np.isnan(samples).any() else "infinity"
        raise ValueError(f"{name} contains {what}; every sample must be a finite number")
    return samples


def read_samples(item: Any, name: str, *, is_mono: bool = False) -> NDArray[np.floating]:
    """Bring samples to float32, if they are that or float16, or else to float64.

    Parameters
    ----------
    item : array-like
        Samples of any shape; integer PCM is scaled to +-1.
    name : str
        What errors call it.
    is_mono : bool, default=False
        Whether it must be of shape ``(n_samples,)`` with at least one sample.

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
    samples = as_samples(item, name, is_mono=is_mono)
    is_single = samples.dtype.kind == "f" and samples.dtype.itemsize <= 4
    silence, full_scale = _pcm_scale(samples.dtype)
    shifted = np.subtract(samples, silence, dtype=np.float64)
    return (shifted / full_scale).astype(np.float32 if is_single else np.float64)


def find_peak(samples: NDArray[Any]) -> float:
    """Give the largest absolute sample of checked samples, PCM scaled to +-1 by its type."""
    silence, full_scale = _pcm_scale(samples.dtype)
    return max(float(samples.max()) - silence, silence - float(samples.min())) / full_scale


def scale_samples(samples: NDArray[Any], peak: float, audio: AudioFormat) -> FloatArray:
    """Divide checked samples by a peak, and bring them to the network's rate.

    Parameters
    ----------
    samples : array of shape (..., n_samples)
        In the type that they came in.
    peak : float
        In units of `find_peak`.
    audio : AudioFormat

    Returns
    -------
    float32 array of shape (..., audio.network_length(n_samples))
    """
    silence, full_scale = _pcm_scale(samples.dtype)
    n_samples = samples.shape[-1]
    scaled = np.empty((*samples.shape[:-1], audio.network_length(n_samples)), np.float32)
    # In blocks, because float64 takes twice the memory of what is kept.
    rates = audio.rate, audio.sample_rate
    for taken, given, kept in resampling_blocks(n_samples, *rates):
        block = np.subtract(samples[..., taken], silence, dtype=np.float64)
        block /= full_scale * peak
        if audio.rate != audio.sample_rate:
            block = resample(block, *rates)
        scaled[..., given] = block[..., kept]
    return scaled


def _pcm_scale(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Give silence and full scale in samples of a type."""
    if dtype == np.uint8:  # 8-bit WAV is unsigned
        return 128.0, 128.0
    # int64 is what NumPy makes of a list of numbers.
    is_pcm = dtype.type in _PCM_TYPES
    return 0.0, -float(np.iinfo(dtype).min) if is_pcm else 1.0


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
            waveform = as_samples(item, label, is_mono=True)
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
    silence, full_scale = _pcm_scale(waveform.dtype)
    near = 0.9999 * peak * full_scale
    at_peak = np.greater_equal(waveform, silence + near, signature="dd->?", casting="unsafe")
    at_peak |= np.less_equal(waveform, silence - near, signature="dd->?", casting="unsafe")
    share = float(np.mean(at_peak[1:] & at_peak[:-1])) if len(waveform) > 1 else 0.0
    if 0.005 < share < 0.5:
        warnings.warn(
            f"{name} looks clipped: {100 * share:.1f} % of its samples stay at its peak; "
            "its sources will be distorted",
            AudioWarning,
            stacklevel=5,
        )
    return peak
