"""What goes out for mixtures that came in: arrays at their rate, of their length and scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skdc.inputs.format import AudioFormat
from skdc.inputs.waveforms import Mixtures
from skdc.separation import Separability, Separator
from skdc.separation.full_band import SourceBlocks
from skdc.separation.stretches import join

__all__ = [
    "RestoredBlocks",
    "full_band_blocks",
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

    Where `n_sources` is None, it is estimated; `found` is as for `Separator.separate`.
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

    The recordings of the mixtures are kept; sources are of shape ``(n_sources, n_samples)`` or
    ``(n_sources, n_channels, n_samples)``.
    """
    separated = _separated(separator, mixtures, audio, n_sources, found)
    for index, blocks in enumerate(separated):
        sources = join(blocks, mixtures.lengths[index])
        yield mixtures.restore_channels(index, sources.cpu().numpy())


def full_band_blocks(
    separator: Separator,
    mixtures: Mixtures,
    audio: AudioFormat,
    n_sources: int | None,
    found: Iterable[Separability] | None = None,
) -> Iterator[RestoredBlocks]:
    """Give what `full_band_sources` does, block by block."""
    separated = _separated(separator, mixtures, audio, n_sources, found)
    for index, blocks in enumerate(separated):
        yield RestoredBlocks(index, blocks, mixtures)


@dataclass(frozen=True)
class RestoredBlocks:
    """The sources of one of the mixtures, made block by block each time they are gone through."""

    index: int
    blocks: SourceBlocks
    mixtures: Mixtures

    @property
    def n_sources(self) -> int:
        """Number of sources."""
        return self.blocks.n_sources

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Give arrays ``(n_sources, n_channels, n_samples_i)``, without channels for mono."""
        for block in self.blocks:
            yield self.mixtures.restore_channels(self.index, block.cpu().numpy())


def _separated(
    separator: Separator,
    mixtures: Mixtures,
    audio: AudioFormat,
    n_sources: int | None,
    found: Iterable[Separability] | None,
) -> Iterator[SourceBlocks]:
    recordings = [mixtures.channels(i, audio.rate) for i in range(len(mixtures.lengths))]
    return separator.separate_full_band(
        mixtures.tensors(), repeat(n_sources), recordings, audio.sample_rate, found
    )
