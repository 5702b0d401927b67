"""What goes out for mixtures that came in: arrays at their rate, of their length and scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from skdc.inputs.format import AudioFormat
from skdc.inputs.waveforms import Mixtures
from skdc.separation import Separability, Separator

__all__ = [
    "full_band_sources",
    "mixture_labels",
    "mixture_masks",
    "network_band_sources",
    "to_arrays",
]


def to_arrays(found: Iterable[Tensor]) -> Iterator[NDArray[Any]]:
    """Bring tensors to NumPy, from any device."""
    return (tensor.cpu().numpy() for tensor in found)


def mixture_masks(
    separator: Separator, mixtures: Mixtures, audio: AudioFormat, n_sources: int | None
) -> Iterator[NDArray[Any]]:
    """Give the masks of each mixture, ``(n_sources, n_frames, n_bins)``."""
    return to_arrays(separator.masks(mixtures.tensors(), repeat(n_sources)))


def mixture_labels(
    separator: Separator, mixtures: Mixtures, audio: AudioFormat, n_sources: int | None
) -> Iterator[NDArray[Any]]:
    """Give the number of the source of each bin of each mixture, ``(n_frames, n_bins)``."""
    return to_arrays(separator.labels(mixtures.tensors(), repeat(n_sources)))


def network_band_sources(
    separator: Separator,
    mixtures: Mixtures,
    audio: AudioFormat,
    n_sources: int | None,
    found: Iterable[Separability] | None = None,
) -> Iterator[NDArray[Any]]:
    """Give the sources of each mixture as the network hears them, ``(n_sources, n_samples)``.

    Parameters
    ----------
    separator : Separator
    mixtures : Mixtures
    audio : AudioFormat
    n_sources : int or None
        None estimates it.
    found : iterable of Separability, optional
        As for `Separator.separate`.

    Yields
    ------
    float32 array
    """
    separated = separator.separate(mixtures.tensors(), repeat(n_sources), found)
    for index, sources in enumerate(to_arrays(separated)):
        yield mixtures.restore(index, sources, audio)


def full_band_sources(
    separator: Separator,
    mixtures: Mixtures,
    audio: AudioFormat,
    n_sources: int | None,
    found: Iterable[Separability] | None = None,
) -> Iterator[NDArray[Any]]:
    """Give the sources of each mixture with all its frequencies and channels.

    Parameters
    ----------
    separator, mixtures, audio, n_sources, found
        As for `network_band_sources`; the recordings of `mixtures` are kept.

    Yields
    ------
    float32 array of shape (n_sources, n_samples) or (n_sources, n_channels, n_samples)
    """
    recordings = [mixtures.channels(i, audio.rate) for i in range(len(mixtures.lengths))]
    separated = separator.separate_full_band(
        mixtures.tensors(), repeat(n_sources), recordings, audio.sample_rate, found
    )
    for index, sources in enumerate(to_arrays(separated)):
        yield mixtures.restore_channels(index, sources)
