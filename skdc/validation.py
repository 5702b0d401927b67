"""Checks of what users pass, before any work starts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_array

from skdc.checks import (
    CheckedRecordings,
    as_array,
    as_float,
    check_duration,
    check_finite,
    check_waveform,
)
from skdc.lazy import check_headers, check_pair_headers, is_lazy
from skdc.signal import Framing, frame_count, resample
from skdc.storage import ArrayStore

__all__ = [
    "AudioWarning",
    "CheckedPairs",
    "Mixtures",
    "check_mixtures",
    "check_pairs",
    "check_recordings",
    "check_references",
    "hold_out",
]

FloatArray = NDArray[np.float32]
Container = Literal["array", "list", "single"]


class AudioWarning(UserWarning):
    """Something about a recording that will be heard in its sources."""


class Mixtures(NamedTuple):
    """Mixtures as every method works on them.

    Attributes
    ----------
    waveforms : list of float32 arrays of shape (n_samples_i,)
        Scaled to a peak of 1, so that no level over- or underflows; silent ones stay zero.
    peaks : list of float
        What the waveforms were divided by.
    lengths : list of int
        Samples that came in, at the input rate.
    container : {"array", "list", "single"}
        What came in, and so what goes out.
    """

    waveforms: list[FloatArray]
    peaks: list[float]
    lengths: list[int]
    container: Container

    def restore(
        self, index: int, sources: FloatArray, sample_rate: int, input_rate: int | None
    ) -> FloatArray:
        """Bring the sources of mixture `index` to the rate, length and scale that it came in.

        Parameters
        ----------
        index : int
        sources : float32 array of shape (n_sources, n_samples)
        sample_rate, input_rate
            As for `check_mixtures`.

        Returns
        -------
        float32 array of shape (n_sources, lengths[index])
        """
        if input_rate is not None:
            sources = resample(sources, sample_rate, input_rate)[:, : self.lengths[index]]
        return (sources * self.peaks[index]).astype(np.float32)

    def collect(self, results: list[NDArray[Any]]) -> Any:
        """Put one result a mixture into what the mixtures came in.

        Parameters
        ----------
        results : list of arrays

        Returns
        -------
        array, list of arrays, or the only array
            A list also where results differ in shape.
        """
        if self.container == "single":
            return results[0]
        if self.container == "array" and len({result.shape for result in results}) == 1:
            return np.stack(results)
        return results

    def take(self, indices: NDArray[np.integer]) -> Mixtures:
        """Give the mixtures of these indices."""
        waveforms, peaks, lengths = (
            [items[i] for i in indices] for items in (self.waveforms, self.peaks, self.lengths)
        )
        return Mixtures(waveforms, peaks, lengths, self.container)


class CheckedPairs(NamedTuple):
    """Mixtures and what belongs to them.

    Attributes
    ----------
    mixtures : Mixtures
    references : list of arrays
        float32 ``(n_sources, n_samples)`` or int64 ``(n_frames, n_bins)``, one a mixture.
    on_disk : bool
        Whether they came from files, and so may be more than memory holds.
    """

    mixtures: Mixtures
    references: list[NDArray[Any]]
    on_disk: bool = False


def _check_peak(waveform: NDArray[np.floating], name: str, allow_silence: bool) -> float:
    """Give the peak, 1 for silence; silence may be refused, and clipping gives a warning."""
    peak = float(np.abs(waveform).max())
    if peak == 0:
        if not allow_silence:
            raise ValueError(f"{name} is silent: all its samples are 0; leave it out")
        warnings.warn(f"{name} is silent; so are its sources", AudioWarning, stacklevel=5)
        return 1.0
    # Clipping leaves runs of equal samples at the peak; loud but sound audio touches it once.
    at_peak = np.abs(waveform) >= 0.9999 * peak
    share = float(np.mean(at_peak[1:] & at_peak[:-1])) if len(waveform) > 1 else 0.0
    if 0.005 < share < 0.5:
        warnings.warn(
            f"{name} looks clipped: {100 * share:.1f} % of its samples stay at its peak; "
            "its sources will be distorted",
            AudioWarning,
            stacklevel=5,
        )
    return peak


def check_mixtures(
    X: Any,
    framing: Framing,
    sample_rate: int = 8000,
    input_rate: int | None = None,
    *,
    name: str = "X",
    allow_silence: bool = True,
) -> Mixtures:
    """Check mixtures and bring them to one form.

    Parameters
    ----------
    X : array-like
        Array ``(n_mixtures, n_samples)``, list of arrays ``(n_samples_i,)``, or one array
        ``(n_samples,)``. Integer PCM is scaled to +-1 by its type. What comes from files goes to
        a temporary one.
    framing : Framing
        A mixture must last at least one window.
    sample_rate : int, default=8000
        Rate to work at, Hz.
    input_rate : int, optional
        Rate of `X`, Hz, where it differs.
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
    """
    items, container = as_items(X, name)
    peaks, lengths = [], []
    with ArrayStore(on_disk=is_lazy(X)) as store:
        for index, item in enumerate(items):
            label = name if container == "single" else f"{name}[{index}]"
            waveform = check_waveform(item, label)
            check_duration(label, len(waveform), framing, sample_rate, input_rate)
            peak = _check_peak(waveform, label, allow_silence)
            scaled = waveform / peak
            if input_rate is not None:
                scaled = resample(scaled, input_rate, sample_rate)
            store.append(scaled.astype(np.float32))
            peaks.append(peak)
            lengths.append(len(waveform))
        waveforms = store.arrays()
    return Mixtures(waveforms, peaks, lengths, container)


def as_items(X: Any, name: str) -> tuple[Sequence[Any], Container]:
    """Give mixtures one by one, and the container that they came in."""
    if sparse.issparse(X):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required: waveforms are dense; "
            f"use {name}.toarray()"
        )
    if is_lazy(X):
        return X, "list"
    if isinstance(X, list | tuple):
        if not len(X):
            raise ValueError(f"{name} is empty; give at least one mixture")
        # Rows of numbers of equal length are an array written as lists; arrays are recordings.
        is_array = isinstance(X[0], list | tuple) and len({np.size(row) for row in X}) == 1
        if not is_array and not np.isscalar(X[0]):
            return X, "list"
    array = np.asarray(X)
    if array.ndim == 0:
        raise TypeError(
            f"{name} is of type {type(X).__name__}; give an array (n_mixtures, n_samples), a list "
            "of arrays (n_samples_i,), or one such array"
        )
    if array.dtype == object and array.ndim == 1 and len(array) and not np.isscalar(array[0]):
        return list(array), "list"
    if array.ndim == 1:
        return [array], "single"
    if array.ndim == 3:
        raise ValueError(
            f"Found array with dim 3, while dim <= 2 is required: {name} has shape {array.shape}; "
            "mixtures are (n_mixtures, n_samples), one channel each; mix stereo down to mono first"
        )
    # scikit-learn's own texts for what is left: empty, complex, not numeric, of more dimensions.
    dtype = "numeric" if array.dtype.kind not in "iub" else None
    return check_array(X, input_name=name, dtype=dtype, ensure_all_finite=False), "array"


def check_references(
    y: Any,
    mixtures: Mixtures,
    framing: Framing,
    sample_rate: int = 8000,
    input_rate: int | None = None,
    *,
    name: str = "y",
) -> list[NDArray[Any]]:
    """Check the labels that belong to mixtures.

    Parameters
    ----------
    y : array-like
        For each mixture its reference sources ``(n_sources, n_samples)``, or its label map,
        integer ``(n_frames, n_bins)`` with -1 for bins of no source. One form for all.
    mixtures : Mixtures
        What `check_mixtures` gave.
    framing, sample_rate, input_rate, name
        As for `check_mixtures`.

    Returns
    -------
    list of arrays
        float32 ``(n_sources, n_samples)`` with the scale of the checked mixtures, or int64
        ``(n_frames, n_bins)``.

    Raises
    ------
    ValueError
        If there is no `y`, or an item's shape does not fit its mixture, it holds NaN or infinity,
        all its sources are silent or no bin is labelled. The message names the item.
    TypeError
        If `y` or an item is not numeric.
    """
    n_mixtures = len(mixtures.waveforms)
    if y is None:
        raise ValueError(
            f"requires {name} to be passed, but the target {name} is None: give reference sources "
            "(n_mixtures, n_sources, n_samples) or label maps (n_mixtures, n_frames, n_bins)"
        )
    items = as_reference_items(y, mixtures.container, name)
    if len(items) != n_mixtures:
        raise ValueError(
            f"{name} has {len(items)} items, but there are {n_mixtures} mixtures: one each"
        )
    with ArrayStore(on_disk=is_lazy(y)) as store:
        for index, item in enumerate(items):
            how = index, mixtures, framing, sample_rate, input_rate
            store.append(_check_reference(item, f"{name}[{index}]", *how))
        references = store.arrays()
    kinds = {array.dtype.kind for array in references}
    if len(kinds) > 1:
        raise ValueError(f"{name} mixes reference sources and label maps; give one form for all")
    return references


def _check_reference(
    item: Any,
    label: str,
    index: int,
    mixtures: Mixtures,
    framing: Framing,
    sample_rate: int,
    input_rate: int | None,
) -> NDArray[Any]:
    """Check what belongs to one mixture."""
    waveform, peak = mixtures.waveforms[index], mixtures.peaks[index]
    array = as_array(item, label)
    check_finite(array, label)
    shape = (frame_count(len(waveform), framing.hop_length), framing.win_length // 2 + 1)
    if array.dtype.kind in "iu" and array.shape == shape:
        if array.min() < -1:
            raise ValueError(
                f"{label} holds the label {array.min()}; labels are 0, 1, ... and -1 for none"
            )
        # Labels have no identity beyond their mixture, so any numbers become 0, 1, ...
        present, labels = np.unique(array, return_inverse=True)
        if present[-1] < 0:
            raise ValueError(f"{label} labels no bin: all are -1; leave the mixture out")
        return labels.reshape(shape).astype(np.int64) - int(present[0] < 0)
    if array.ndim != 2:
        raise ValueError(
            f"{label} has shape {array.shape}; give reference sources (n_sources, n_samples) "
            f"or an integer label map {shape} (n_frames, n_bins)"
        )
    if array.shape[0] < 1:
        raise ValueError(f"{label} has no sources")
    sources = as_float(array) / peak
    if input_rate is not None:
        sources = resample(sources, input_rate, sample_rate)
    if sources.shape[1] != len(waveform):
        raise ValueError(
            f"{label} has {array.shape[1]} samples but its mixture has "
            f"{round(len(waveform) * (input_rate or sample_rate) / sample_rate)}; sources "
            f"must be as long as their mixture (label maps are integer, {shape} here)"
        )
    if not np.abs(sources).max() > 0:
        raise ValueError(f"{label} is silent: all its sources are 0; leave the mixture out")
    return sources.astype(np.float32)


def as_reference_items(y: Any, container: Container, name: str) -> Sequence[Any]:
    """Give references one by one."""
    if is_lazy(y):
        return y
    try:
        items = list(y)
    except TypeError as error:
        raise TypeError(
            f"{name} is of type {type(y).__name__}; give an array (n_mixtures, n_sources, "
            "n_samples) or a list of arrays (n_sources, n_samples_i)"
        ) from error
    # One mixture may come without a list around it, and then so may its references.
    if container == "single" and items and as_array(items[0], f"{name}[0]").ndim == 1:
        return [y]
    return items


def check_pairs(
    X: Any,
    y: Any,
    framing: Framing,
    sample_rate: int = 8000,
    input_rate: int | None = None,
    *,
    names: tuple[str, str] = ("X", "y"),
) -> CheckedPairs:
    """Check mixtures to learn from or to score with, and their labels.

    Parameters
    ----------
    X, y
        As for `check_mixtures` and `check_references`; a silent mixture is refused.
    framing, sample_rate, input_rate
        As for `check_mixtures`.
    names : tuple of two str, default=("X", "y")
        What errors call them.

    Returns
    -------
    CheckedPairs

    Raises
    ------
    ValueError, TypeError
        As those do.
    """
    how = framing, sample_rate, input_rate
    check_pair_headers(X, y, *how, names=names)
    mixtures = check_mixtures(X, *how, name=names[0], allow_silence=False)
    references = check_references(y, mixtures, *how, name=names[1])
    return CheckedPairs(mixtures, references, is_lazy(X) or is_lazy(y))


def hold_out(
    pairs: CheckedPairs, random_state: np.random.RandomState
) -> tuple[CheckedPairs, CheckedPairs]:
    """Set a tenth of the mixtures aside, at least one.

    Parameters
    ----------
    pairs : CheckedPairs
    random_state : RandomState

    Returns
    -------
    kept, held_out : CheckedPairs

    Raises
    ------
    ValueError
        If there are fewer than two mixtures.
    """
    n_mixtures = len(pairs.references)
    if n_mixtures < 2:
        raise ValueError(
            "early_stopping sets a tenth of the mixtures aside, but there is only 1; give more, "
            "or X_val and y_val"
        )
    order = random_state.permutation(n_mixtures)
    n_held_out = max(1, n_mixtures // 10)

    kept, held_out = (
        CheckedPairs(
            pairs.mixtures.take(chosen), [pairs.references[i] for i in chosen], pairs.on_disk
        )
        for chosen in (order[n_held_out:], order[:n_held_out])
    )
    return kept, held_out


def check_recordings(
    recordings: Any,
    speakers: Any = None,
    sample_rate: int = 8000,
    input_rate: int | None = None,
) -> CheckedRecordings:
    """Check recordings of single speakers, as far as they need not be read for that.

    Parameters
    ----------
    recordings : sequence of arrays of shape (n_samples_i,)
    speakers : sequence, optional
        One a recording.
    sample_rate, input_rate
        As for `check_mixtures`.

    Returns
    -------
    CheckedRecordings
        Float32 arrays scaled to a peak of 1. Taking one out of it raises a ValueError if it is
        empty, not one-dimensional, or holds NaN or infinity.

    Raises
    ------
    ValueError
        If there are none, or speakers of another number, or if the header of a file tells that it
        cannot be used.
    """
    if not len(recordings):
        raise ValueError("recordings is empty; give at least one recording a speaker")
    if speakers is not None and len(speakers) != len(recordings):
        raise ValueError(
            f"got {len(speakers)} speakers for {len(recordings)} recordings: one each"
        )
    if is_lazy(recordings):
        check_headers(recordings, "recordings", input_rate or sample_rate)
    return CheckedRecordings(recordings, sample_rate, input_rate)
