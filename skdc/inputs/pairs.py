"""Mixtures to learn from or to score with, and their sources or labels, in step."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdc.exceptions import AudioWarning
from skdc.inputs.containers import NamedItems, as_reference_items, label_item
from skdc.inputs.format import AudioFormat
from skdc.inputs.lazy import check_pair_headers, is_lazy
from skdc.inputs.waveforms import Mixtures, as_samples, check_mixtures, scale_samples
from skdc.signal import active_level, count_sounding
from skdc.signal.extents import find_extent, pcm_scale
from skdc.signal.storage import ArrayStore

__all__ = ["CheckedPairs", "check_pairs", "hold_out"]

# A mixture of which its sources explain less energy than this holds something else, -20 dB of it;
# and one of which they explain hardly any belongs to others.
_SHARE_OF_SUM = 0.99
_SHARE_OF_OTHERS = 0.01
# Gains that differ less from 1, and offsets of a smaller part of the root mean square, come from
# rounding and from what else a mixture holds.
_GAIN_ERROR = 0.05
_OFFSET_ERROR = 0.1
_TINY = float(np.finfo(np.float32).tiny)


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


class CheckedReferences(NamedTuple):
    """What belongs to mixtures: their sources or labels.

    Attributes
    ----------
    arrays : list of arrays
        Either float32 ``(n_sources, n_samples)`` with the scale of the checked mixtures, or int64
        ``(n_frames, n_bins)``.
    offsets : list of float
        Sum of what was taken off the sources of each mixture, PCM scaled to +-1; 0 for labels.
    """

    arrays: list[NDArray[Any]]
    offsets: list[float]


def check_references(
    y: Any, mixtures: Mixtures, audio: AudioFormat, *, name: str = "y"
) -> CheckedReferences:
    """Check the labels that belong to mixtures.

    Parameters
    ----------
    y : array-like
        For each mixture its reference sources ``(n_sources, n_samples)``, or its label map,
        integer ``(n_frames, n_bins)`` with -1 for bins of no source. One form for all.
    mixtures : Mixtures
        What `check_mixtures` gave.
    audio : AudioFormat
    name : str, default="y"
        What errors call it.

    Returns
    -------
    CheckedReferences

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
    labels = y.labels if isinstance(y, NamedItems) else None
    if len(items) != n_mixtures:
        raise ValueError(
            f"{name} has {len(items)} items, but there are {n_mixtures} mixtures: one each"
        )
    offsets = []
    with ArrayStore(on_disk=is_lazy(y)) as store:
        for index, item in enumerate(items):
            length, peak = mixtures.lengths[index], mixtures.peaks[index]
            label = label_item(labels, name, index)
            array, offset = _check_reference(item, label, length, peak, audio)
            store.append(array)
            offsets.append(offset)
        references = store.arrays()
    kinds = {array.dtype.kind for array in references}
    if len(kinds) > 1:
        raise ValueError(f"{name} mixes reference sources and label maps; give one form for all")
    return CheckedReferences(references, offsets)


def _check_reference(
    item: Any, label: str, n_samples: int, peak: float, audio: AudioFormat
) -> tuple[NDArray[Any], float]:
    """Check what belongs to one mixture, which came in with `n_samples` and this peak.

    Gives the sum of what was taken off the sources, too.
    """
    n_frames = audio.framing.frame_count(audio.network_length(n_samples))
    shape = n_frames, audio.framing.n_bins
    array = as_samples(item, label, label_shape=shape)
    if array.shape == shape and array.dtype.kind in "iu":
        return _check_label_map(array, label), 0.0
    if array.ndim != 2:
        raise ValueError(
            f"{label} has shape {array.shape}; give reference sources (n_sources, n_samples) "
            f"or an integer label map {shape} (n_frames, n_bins)"
        )
    if array.shape[0] < 1:
        raise ValueError(f"{label} has no sources")
    if array.shape[1] != n_samples:
        raise ValueError(
            f"{label} has {array.shape[1]} samples but its mixture has {n_samples}; sources "
            f"must be as long as their mixture (label maps are integer, {shape} here)"
        )
    offset, own_peak = find_extent(array)
    if not own_peak > 0:
        raise ValueError(f"{label} is silent: all its sources are 0; leave the mixture out")
    taken_off = float(offset.sum()) / pcm_scale(array.dtype)[1]
    return scale_samples(array, peak, audio, offset), taken_off


def _check_label_map(array: NDArray[np.integer], label: str) -> NDArray[np.int64]:
    """Check the labels of one mixture's bins, and number them from 0."""
    if array.min() < -1:
        raise ValueError(
            f"{label} holds the label {array.min()}; labels are 0, 1, ... and -1 for none"
        )
    # Labels have no identity beyond their mixture, so any numbers become 0, 1, ...
    present, labels = np.unique(array, return_inverse=True)
    if present[-1] < 0:
        raise ValueError(f"{label} labels no bin: all are -1; leave the mixture out")
    # The inverse is flat in some versions of NumPy: (n_frames * n_bins,) -> (n_frames, n_bins)
    return labels.reshape(array.shape).astype(np.int64) - int(present[0] < 0)


def check_pairs(
    X: Any,
    y: Any,
    audio: AudioFormat,
    *,
    names: tuple[str, str] = ("X", "y"),
    is_remixed: bool | None = None,
) -> CheckedPairs:
    """Check mixtures to learn from or to score with, and their labels.

    Parameters
    ----------
    X, y
        As for `check_mixtures` and `check_references`; a silent mixture is refused.
    audio : AudioFormat
        With a framing that hears phases, mixtures may have several channels, and their sources
        are what the first of them hears.
    names : tuple of two str, default=("X", "y")
        What errors call them.
    is_remixed : bool, optional
        Whether training mixes the sources anew where it can, and does not use the mixtures; None
        where nothing is trained.

    Returns
    -------
    CheckedPairs

    Raises
    ------
    ValueError, TypeError
        As those do, or if mixtures of several channels were to be mixed anew.

    Warns
    -----
    AudioWarning
        If mixtures have nothing to do with their sources, or are the sum of them but for an
        offset; with ``is_remixed=True`` also if they hold more than the sum of them, and with
        False if they are the sum of them but for a gain. Otherwise levels do not matter.
    """
    on_disk = is_lazy(X) or is_lazy(y)
    if on_disk:
        check_pair_headers(X, y, audio, names=names)
    mixtures = check_mixtures(
        X,
        audio,
        name=names[0],
        have_references=True,
        has_channels=audio.framing.hears_phases,
    )
    references, offsets = check_references(y, mixtures, audio, name=names[1])
    if references[0].dtype.kind == "f":
        heard = [np.atleast_2d(x) for x in mixtures.waveforms]  # (channels, samples)
        own_names = X.labels if isinstance(X, NamedItems) else None
        labels = [label_item(own_names, names[0], i) for i in range(len(heard))]
        arrays = [label for label, x in zip(labels, heard, strict=True) if len(x) > 1]
        if is_remixed and arrays:
            raise ValueError(
                f"{arrays[0]} is of several microphones, and the sources of those cannot be mixed "
                "anew; set remix=False to train on such mixtures as they are, or give "
                "fit_recordings recordings of single speakers, to have rooms simulated"
            )
        sums = []
        for index, ((x, *_), sources) in enumerate(zip(heard, references, strict=True)):
            total = sources.sum(0)
            # Without their means, of which parts may have been taken off.
            mean, peak = np.array([x.mean(), total.mean()], np.float64), mixtures.peaks[index]
            power = float(x @ x) / len(x) - mean[0] ** 2
            energy = float(total @ total) / len(x) - mean[1] ** 2
            gain = (float(x @ total) / len(x) - mean[0] * mean[1]) / max(energy, _TINY)
            # Sources are compared to what the first of several microphones has.
            offset = mixtures.offsets[index].flat[0] - gain * offsets[index]
            offset += peak * (mean[0] - gain * mean[1])
            share = gain**2 * energy / max(power, _TINY)
            sums.append((share, gain, offset, abs(offset) / max(peak * power**0.5, _TINY)))
        if is_remixed and any(share < _SHARE_OF_SUM for share, *_ in sums):
            is_remixed = _can_be_remixed(references, audio.sample_rate)
        _warn_of_other_sums(
            *np.array(sums, np.float64).T, labels=labels, names=names, is_remixed=is_remixed
        )
    return CheckedPairs(mixtures, references, on_disk)


def _can_be_remixed(references: Sequence[NDArray[Any]], sample_rate: int) -> bool:
    """Whether as many sources sound as the largest mixture has; otherwise none is mixed anew."""
    levels = [[active_level(source, sample_rate) for source in own] for own in references]
    counts, n_sounding = count_sounding(levels)
    return n_sounding >= max(counts)


def _warn_of_other_sums(
    shares: NDArray[np.float64],
    gains: NDArray[np.float64],
    offsets: NDArray[np.float64],
    parts: NDArray[np.float64],
    *,
    labels: Sequence[str],
    names: tuple[str, str],
    is_remixed: bool | None,
) -> None:
    """Warn of mixtures that are not the sum of their sources.

    `parts` holds for each mixture the share of its energy that the sum explains, the gain that
    brings the sum nearest to it, and what constant is then left, in all and as a part of the root
    mean square.
    """
    X, y = names
    unrelated, other = (np.flatnonzero(shares < s) for s in (_SHARE_OF_OTHERS, _SHARE_OF_SUM))
    is_sum = shares >= _SHARE_OF_SUM
    scaled = np.flatnonzero(is_sum & (np.abs(gains - 1) > _GAIN_ERROR))
    moved = np.flatnonzero(is_sum & (parts > _OFFSET_ERROR))
    if is_remixed is False and len(scaled):
        warnings.warn(
            f"{_listed(labels, scaled, 'is', 'are')} the sum of the sources in {y} times a gain, "
            f"{gains[scaled[0]]:.3g} in {labels[scaled[0]]}; if that is not meant, multiply {y} "
            "by the gain of its mixture",
            AudioWarning,
            stacklevel=4,
        )
    if len(moved):
        warnings.warn(
            f"{_listed(labels, moved, 'is', 'are')} the sum of the sources in {y} plus a "
            f"constant, {offsets[moved[0]]:.3g} in {labels[moved[0]]}; it is taken off here, but "
            f"if that is not meant, subtract it from {X}",
            AudioWarning,
            stacklevel=4,
        )
    if len(unrelated):
        warnings.warn(
            f"{_listed(labels, unrelated, 'has', 'have')} nothing in common with the sum of the "
            f"sources in {y}; check that {X} and {y} are in the same order",
            AudioWarning,
            stacklevel=4,
        )
    elif is_remixed and len(other):
        warnings.warn(
            f"{_listed(labels, other, 'has', 'have')} more than the sum of the sources in {y}, "
            f"such as noise or an echo, and with remix=True training uses {y} alone; set "
            f"remix=False to train on {X} as they are",
            AudioWarning,
            stacklevel=4,
        )


def _listed(labels: Sequence[str], indices: NDArray[np.intp], one: str, several: str) -> str:
    """Name items as the subject of a verb, which is given for one and for several of them."""
    others = f" and {len(indices) - 1} more" if len(indices) > 1 else ""
    return f"{labels[indices[0]]}{others} {several if others else one}"


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
    kept : CheckedPairs
    held_out : CheckedPairs

    Raises
    ------
    ValueError
        If there are fewer than two mixtures.
    """
    n_mixtures = len(pairs.references)
    if n_mixtures < 2:
        raise ValueError(
            "n_iter_no_change sets a tenth of the mixtures aside, but there is only 1; give more, "
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
