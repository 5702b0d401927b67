"""Mixtures to learn from or to score with, and their sources or labels, in step."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdc.exceptions import AudioWarning
from skdc.inputs.containers import as_reference_items
from skdc.inputs.format import AudioFormat
from skdc.inputs.lazy import check_pair_headers, is_lazy
from skdc.inputs.waveforms import (
    Mixtures,
    as_samples,
    check_mixtures,
    find_extent,
    scale_samples,
)
from skdc.storage import ArrayStore

__all__ = ["CheckedPairs", "check_pairs", "check_references", "hold_out"]

# A mixture of which its sources explain less energy than this holds something else, -20 dB of it;
# and one of which they explain hardly any belongs to others.
_SHARE_OF_SUM = 0.99
_SHARE_OF_OTHERS = 0.01
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


def check_references(
    y: Any, mixtures: Mixtures, audio: AudioFormat, *, name: str = "y"
) -> list[NDArray[Any]]:
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
    list of arrays
        Either float32 ``(n_sources, n_samples)`` with the scale of the checked mixtures, or int64
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
            length, peak = mixtures.lengths[index], mixtures.peaks[index]
            store.append(_check_reference(item, f"{name}[{index}]", length, peak, audio))
        references = store.arrays()
    kinds = {array.dtype.kind for array in references}
    if len(kinds) > 1:
        raise ValueError(f"{name} mixes reference sources and label maps; give one form for all")
    return references


def _check_reference(
    item: Any, label: str, n_samples: int, peak: float, audio: AudioFormat
) -> NDArray[Any]:
    """Check what belongs to one mixture, which came in with `n_samples` and this peak."""
    n_frames = audio.framing.frame_count(audio.network_length(n_samples))
    shape = n_frames, audio.framing.n_bins
    array = as_samples(item, label, label_shape=shape)
    if array.shape == shape and array.dtype.kind in "iu":
        return _check_label_map(array, label)
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
    return scale_samples(array, peak, audio, offset)


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
    is_remixed: bool = False,
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
    is_remixed : bool, default=False
        Whether the sources are mixed anew and the mixtures not used.

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
        If mixtures have nothing to do with their sources; with `is_remixed`, also if they hold
        more than the sum of them.
    """
    on_disk = is_lazy(X) or is_lazy(y)
    if on_disk:
        check_pair_headers(X, y, audio, names=names)
    mixtures = check_mixtures(
        X,
        audio,
        name=names[0],
        allow_silence=False,
        has_channels=audio.framing.hears_phases,
    )
    references = check_references(y, mixtures, audio, name=names[1])
    if references[0].dtype.kind == "f":
        heard = [np.atleast_2d(x) for x in mixtures.waveforms]  # (channels, samples)
        arrays = [f"{names[0]}[{i}]" for i, x in enumerate(heard) if len(x) > 1]
        if is_remixed and arrays:
            raise ValueError(
                f"{arrays[0]} is of several microphones, and the sources of those cannot be mixed "
                "anew; set remix=False to train on such mixtures as they are, or give "
                "fit_recordings recordings of single speakers, to have rooms simulated"
            )
        # Share of the energy of each mixture that the sum of its sources explains, whatever the
        # level of either.
        shares = [
            float(x @ total) ** 2 / max(float(x @ x) * float(total @ total), _TINY)
            for (x, *_), total in zip(
                heard, (sources.sum(0) for sources in references), strict=True
            )
        ]
        _warn_of_other_sums(np.array(shares), names, is_remixed)
    return CheckedPairs(mixtures, references, on_disk)


def _warn_of_other_sums(
    shares: NDArray[np.float64], names: tuple[str, str], is_remixed: bool
) -> None:
    X, y = names
    unrelated, other = (np.flatnonzero(shares < s) for s in (_SHARE_OF_OTHERS, _SHARE_OF_SUM))
    if len(unrelated):
        warnings.warn(
            f"{_listed(X, unrelated)} nothing in common with the sum of the sources in {y}; check "
            f"that {X} and {y} are in the same order",
            AudioWarning,
            stacklevel=4,
        )
    elif is_remixed and len(other):
        warnings.warn(
            f"{_listed(X, other)} more than the sum of the sources in {y}, such as noise or an "
            f"echo, and with remix=True training uses {y} alone; set remix=False to train on {X} "
            "as they are",
            AudioWarning,
            stacklevel=4,
        )


def _listed(name: str, indices: NDArray[np.intp]) -> str:
    others = f" and {len(indices) - 1} more" if len(indices) > 1 else ""
    return f"{name}[{indices[0]}]{others} {'have' if others else 'has'}"


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
