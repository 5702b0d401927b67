"""What the displays share: the way to matplotlib, checks, and the bins of a mixture."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skdc.inputs import read_samples
from skdc.signal import Framing, apply_masks, dominant_source, resample
from skdc.signal.extents import find_extent

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = [
    "as_axes",
    "as_waveforms",
    "at_network_rate",
    "check_length",
    "choose_bins",
    "embed_and_label",
    "import_pyplot",
    "separate_once",
    "without_offset",
]

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]


def import_pyplot() -> Any:
    """Import `matplotlib.pyplot`.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If matplotlib is not installed, with the command that installs it.

    Examples
    --------
    >>> from skdc.display import import_pyplot
    >>> import_pyplot().__name__
    'matplotlib.pyplot'
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            'pictures need matplotlib; install it with: pip install "skdc[plot]"'
        ) from error
    return pyplot


def as_axes(ax: Any, panels: list[str]) -> NDArray[np.object_]:
    """Give the axes to draw on, one a panel, as an object array of shape ``(n_panels,)``.

    Axes of a grid, such as `subplots` gives, stand for the place that they take: it is divided
    where there are more panels. Raises a ValueError if the numbers of axes and panels differ.
    """
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) == 1 < len(panels) and (place := axes[0].get_subplotspec()) is not None:
        axes[0].set_axis_off()
        grid = place.subgridspec(1, len(panels))
        parts = [axes[0].figure.add_subplot(grid[0, i]) for i in range(len(panels))]
        axes = np.array(parts, dtype=object)
    if len(axes) != len(panels):
        raise ValueError(
            f"ax has {len(axes)} axes, but there are {len(panels)} panels: {', '.join(panels)}"
        )
    return axes


def as_waveforms(value: Any, name: str, n_dims: int) -> FloatArray:
    """Give a waveform, ``n_dims=1``, or several of one length, ``n_dims=2``, as float64.

    Integer PCM is scaled to +-1. Raises a ValueError that names it if it has another shape, or is
    empty, and the errors of `read_samples`.
    """
    array = read_samples(value, name).astype(np.float64)
    if array.ndim != n_dims or not array.size:
        expected = "(n_samples,)" if n_dims == 1 else "(n_sources, n_samples)"
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}")
    return array


def check_length(signals: FloatArray, mixture: FloatArray, name: str) -> None:
    """Raise a ValueError if signals are not as long as their mixture."""
    if signals.shape[1] != len(mixture):
        raise ValueError(
            f"{name} have {signals.shape[1]} samples, but the mixture has {len(mixture)}"
        )


def at_network_rate(
    estimator: DeepClusteringSeparator, mixture: ArrayLike, references: ArrayLike | None
) -> tuple[DeepClusteringSeparator, FloatArray, FloatArray | None]:
    """Bring signals, at the estimator's `input_rate` where that is set, to its network's rate.

    Gives the estimator for signals at that rate, with ``output="sources"``, and the mixture
    ``(n_samples,)`` and the references ``(n_sources, n_samples)`` or None. Raises a ValueError if
    shapes do not fit.
    """
    # A shallow copy shares the network and leaves the caller's parameters alone.
    separator = copy.copy(estimator).set_params(output="sources", input_rate=None)
    rates = (estimator.input_rate or separator.sample_rate), separator.sample_rate
    signal = as_waveforms(mixture, "mixture", 1)
    if references is None:
        return separator, _resampled(signal, *rates), None
    sources = as_waveforms(references, "references", 2)
    check_length(sources, signal, "references")
    return separator, _resampled(signal, *rates), _resampled(sources, *rates)


def _resampled(signals: FloatArray, rate: int, new_rate: int) -> FloatArray:
    # An offset would begin and end with a jump.
    varying, offset = without_offset(signals)
    return resample(varying, rate, new_rate) + offset


def without_offset(signals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give signals ``(..., n_samples)`` as networks hear them, and what was taken off.

    A constant offset is no sound, and would be the loudest bin of a spectrogram.
    """
    offset = find_extent(signals).offset[..., None]
    return (signals - offset).astype(signals.dtype, copy=False), offset


def separate_once(
    separator: DeepClusteringSeparator, mixture: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Give the sources of a mixture and their masks in one pass of the network.

    Parameters
    ----------
    separator : DeepClusteringSeparator
        Fitted.
    mixture : array of shape (n_samples,)
        At the separator's `sample_rate`, and with no `input_rate` set.

    Returns
    -------
    estimates : array of shape (n_sources, n_samples)
        In the dtype of the mixture.
    masks : float32 array of shape (n_sources, n_frames, n_bins)
    """
    masks = separator.predict_masks(mixture)
    framing = Framing(separator.win_length, separator.hop_length)
    varying, offset = without_offset(mixture)
    masked = apply_masks(torch.from_numpy(masks), framing.stft(torch.from_numpy(varying)))
    # They share the offset, as those of `predict` do.
    estimates = framing.istft(masked, len(mixture)).numpy() + offset / len(masks)
    return estimates.astype(mixture.dtype, copy=False), masks


def embed_and_label(
    estimator: DeepClusteringSeparator, mixture: ArrayLike, references: ArrayLike | None
) -> tuple[FloatArray, IntArray]:
    """Embed the bins of a mixture, and tell whose they are.

    Gives float32 embeddings ``(n_frames, n_bins, embedding_dim)`` and integer labels ``(n_frames,
    n_bins)``: the dominant source, or without references the source that the estimator puts a bin
    with; -1 for inactive bins.
    """
    separator, signal, sources = at_network_rate(estimator, mixture, references)
    framing = Framing(separator.win_length, separator.hop_length, separator.activity_threshold_db)
    if sources is None:
        labels = separator.set_params(output="labels").predict(signal)
    else:
        varying, _ = without_offset(sources)
        labels = dominant_source(framing.stft(torch.from_numpy(varying))).numpy()
    varying, _ = without_offset(signal)
    active = framing.activity(framing.stft(torch.from_numpy(varying))).numpy()
    return separator.transform(signal), np.where(active, labels, -1)


def choose_bins(
    embeddings: ArrayLike,
    labels: ArrayLike,
    max_bins: int,
    random_state: int | np.random.RandomState | None,
) -> tuple[FloatArray, IntArray]:
    """Draw at most `max_bins` of the bins that belong to a source, in the order of the bins.

    Takes embeddings ``(..., embedding_dim)`` and labels ``(...)``, negative for bins to leave out;
    gives ``(n_chosen, embedding_dim)`` and ``(n_chosen,)``. Raises a ValueError if shapes do not
    fit together, labels are no integers, less than two bins belong to a source, one of these has
    an embedding with NaN or infinity, or less than two are to be drawn; a TypeError if `max_bins`
    is no integer.
    """
    vectors, sources = np.asarray(embeddings, dtype=np.float64), np.asarray(labels)
    if vectors.ndim < 2 or vectors.shape[:-1] != sources.shape:
        raise ValueError(
            f"embeddings have shape {vectors.shape} and labels {sources.shape}; expected "
            "(..., embedding_dim) and (...), one label a bin"
        )
    if sources.dtype.kind not in "iu":
        raise ValueError(f"labels have dtype {sources.dtype}; give integers, negative for none")
    if not isinstance(max_bins, Integral):
        raise TypeError(f"max_bins is {max_bins!r}; give an integer of at least 2")
    if max_bins < 2:
        raise ValueError(f"max_bins is {max_bins}; give at least 2")
    (candidates,) = np.nonzero(sources.ravel() >= 0)
    if len(candidates) < 2:
        raise ValueError(f"{len(candidates)} bins belong to a source; at least 2 can be drawn")
    rows = vectors.reshape(-1, vectors.shape[-1])  # (..., embedding_dim) -> (n_all, embedding_dim)
    unusable = ~np.isfinite(rows[candidates]).all(axis=1)
    if unusable.any():
        place = np.unravel_index(candidates[unusable][0], sources.shape)
        raise ValueError(
            f"embeddings[{', '.join(map(str, place))}] contains NaN or infinity; give finite "
            "numbers, or the bin a negative label, which leaves it out"
        )
    if len(candidates) > max_bins:
        drawn = check_random_state(random_state).permutation(len(candidates))[:max_bins]
        candidates = candidates[np.sort(drawn)]
    return rows[candidates], sources.ravel()[candidates]
