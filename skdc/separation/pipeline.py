"""From a mixture's waveform to its sources: embed, cluster, mask, resynthesise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor
from torch.nn import functional

from skdc import signal
from skdc.network import EmbeddingNetwork
from skdc.separation import windows
from skdc.separation.clustering import assign, find_centroids, soft_assign
from skdc.separation.full_band import Recording, full_band_pieces
from skdc.separation.quality import Separability
from skdc.separation.windows import Window
from skdc.signal import Framing

__all__ = ["Separator"]

# Both were chosen on held-out mixtures: there 2 is 0.1 dB better than 3, and better than 1.5.
_SOFT_MASK_SHARPNESS = 2.0
_COUNT_PROBES = 5
# Frames in one pass of the LSTM. More would take memory and hardly save time.
_FRAMES_TOGETHER = 16_384


Projection = tuple[Tensor, Tensor, Tensor | None]


@dataclass(frozen=True)
class Separator:
    """A trained network and how its embeddings become sources.

    Parameters
    ----------
    network : EmbeddingNetwork
        In evaluation mode.
    framing : Framing
        What the network was trained with.
    precision : {"float32", "bfloat16"}, default="float32"
        Precision of the network's arithmetic.
    mask : {"soft", "binary", "head"}, default="soft"
        Each bin shared by how near each cluster is, or given to its nearest cluster alone, or
        shared as the network's mask head says, where there are as many sources as that has masks;
        any other number is separated as with ``"soft"``.
    seed : int, default=0
        Seed of the clustering, the same for every mixture.
    clusterer : scikit-learn clusterer, optional
        What groups the embeddings instead of k-means; cloned for each mixture. Where it has a
        `random_state` of None, `seed` takes its place.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import Framing
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> from skdc.separation import Separator
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5)).eval()
    >>> mixture = torch.rand(4000) - 0.5
    >>> separator = Separator(network, Framing())
    >>> [sources.shape for sources in separator.separate([mixture, mixture], [2, 3])]
    [torch.Size([2, 4000]), torch.Size([3, 4000])]
    """

    network: EmbeddingNetwork
    framing: Framing
    precision: str = "float32"
    mask: str = "soft"
    seed: int = 0
    clusterer: Any = None

    def embed(self, mixtures: Iterable[Tensor]) -> Iterator[Tensor]:
        """Embed every bin of mixtures.

        Parameters
        ----------
        mixtures : iterable of Tensor of shape (n_samples,)
            On any device.

        Yields
        ------
        float32 Tensor of shape (n_frames, n_bins, embedding_dim)
            Unit norm; on the network's device.
        """
        for _, vectors, _ in self._projections(mixtures):
            yield functional.normalize(vectors.float(), dim=-1)

    def labels(
        self, mixtures: Sequence[Tensor], n_sources: Iterable[int | None]
    ) -> Iterator[Tensor]:
        """Cluster the bins of mixtures.

        Parameters
        ----------
        mixtures : sequence of Tensor of shape (n_samples,)
        n_sources : iterable of int or None
            Number of clusters of each; None estimates it.

        Returns
        -------
        iterator of int64 Tensor of shape (n_frames, n_bins)
        """
        return (masks.argmax(0) for masks in self.masks(mixtures, n_sources))

    def masks(
        self, mixtures: Sequence[Tensor], n_sources: Iterable[int | None]
    ) -> Iterator[Tensor]:
        """Give masks of the sources of mixtures.

        Parameters
        ----------
        mixtures : sequence of Tensor of shape (n_samples,)
        n_sources : iterable of int or None
            Number of sources of each; None estimates it.

        Yields
        ------
        float32 Tensor of shape (n_sources, n_frames, n_bins)
            Sums to 1 in every bin.
        """
        for mixture, parts in zip(mixtures, self._windows(mixtures, n_sources), strict=True):
            yield windows.stitch(parts, self.framing.frame_count(len(mixture)))

    def separate(
        self,
        mixtures: Sequence[Tensor],
        n_sources: Iterable[int | None],
        found: Iterable[Separability] | None = None,
    ) -> Iterator[Tensor]:
        """Separate mixtures, in memory that does not grow with their length but for the result.

        Parameters
        ----------
        mixtures : sequence of Tensor of shape (n_samples,)
        n_sources : iterable of int or None
            Number of sources of each; None estimates it.
        found : iterable of Separability, optional
            One a mixture, to be filled with how clearly it was divided.

        Yields
        ------
        float32 Tensor of shape (n_sources, n_samples)
            With the mixture's scale; sums to it.
        """
        all_parts = self._watched(self._windows(mixtures, n_sources), found)
        for mixture, parts in zip(mixtures, all_parts, strict=True):
            yield windows.crossfade(self._pieces(mixture, parts), len(mixture))

    def separate_full_band(
        self,
        mixtures: Sequence[Tensor],
        n_sources: Iterable[int | None],
        recordings: Iterable[Recording],
        sample_rate: int,
        found: Iterable[Separability] | None = None,
    ) -> Iterator[Tensor]:
        """Separate recordings at their own rates, with all their frequencies and channels.

        Parameters
        ----------
        mixtures : sequence of Tensor of shape (n_samples,)
            What the network hears of each: one channel at its own rate.
        n_sources : iterable of int or None
            Number of sources of each; None estimates it.
        recordings : iterable of Recording
            One a mixture.
        sample_rate : int
            Rate of the mixtures, Hz.
        found : iterable of Separability, optional
            As for `separate`.

        Yields
        ------
        float32 Tensor of shape (n_sources, n_channels, n_samples)
            Sums to the recording.
        """
        all_parts = self._watched(self._windows(mixtures, n_sources), found)
        for parts, recording in zip(all_parts, recordings, strict=True):
            pieces = full_band_pieces(parts, recording, self.framing, sample_rate)
            yield windows.crossfade(pieces, recording.n_samples)

    def _watched(
        self, all_parts: Iterable[Iterator[Window]], found: Iterable[Separability] | None
    ) -> Iterator[Iterator[Window]]:
        if found is None:
            yield from all_parts
            return
        for parts, item in zip(all_parts, found, strict=True):
            yield item.watch(parts, self.framing)

    def _pieces(
        self, mixture: Tensor, parts: Iterable[Window]
    ) -> Iterator[tuple[int, int, Tensor]]:
        """First sample, overlap in samples and sources of each window of a mixture."""
        hop = self.framing.hop_length
        for window in parts:
            masked = signal.apply_masks(window.masks, window.spectrogram)
            n_samples = len(
                self._segment(mixture, window.start, window.start + len(window.spectrogram))
            )
            sources = self.framing.istft(masked, n_samples)
            yield window.start * hop, (window.overlap - 1) * hop, sources

    def _windows(
        self, mixtures: Sequence[Tensor], n_sources: Iterable[int | None]
    ) -> Iterator[Iterator[Window]]:
        """Masks of the windows of each mixture, linked; to be taken in this order."""
        spans = [list(windows.spans(self.framing.frame_count(len(x)))) for x in mixtures]
        projections = self._projections(
            self._segment(mixture, start, stop)
            for mixture, cuts in zip(mixtures, spans, strict=True)
            for start, stop, _ in cuts
        )
        for mixture, cuts, count in zip(mixtures, spans, n_sources, strict=False):
            if len(cuts) > 1 and count is None:
                # The largest number that is found in some of the windows, because a speaker may
                # begin late.
                probes = cuts[:: -(-len(cuts) // _COUNT_PROBES)]
                parts = self._projections(self._segment(mixture, *cut[:2]) for cut in probes)
                count = max(len(self._centroids(*part[:2], None)) for part in parts)
            yield self._linked(cuts, count, projections)

    def _linked(
        self,
        cuts: Iterable[tuple[int, int, int]],
        n_sources: int | None,
        projections: Iterator[Projection],
    ) -> Iterator[Window]:
        previous: Window | None = None
        # The cuts come first in zip, so that no projection of the next mixture is taken.
        for (start, _, overlap), (spectrogram, vectors, heard) in zip(
            cuts, projections, strict=False
        ):
            masks, centroids = self._masks(spectrogram, vectors, heard, n_sources)
            window = Window(start, overlap, masks, centroids, spectrogram)
            previous = window if previous is None else windows.link(previous, window)
            yield previous

    def _masks(
        self,
        spectrogram: Tensor,
        vectors: Tensor,
        heard: Tensor | None,
        n_sources: int | None,
    ) -> tuple[Tensor, Tensor]:
        """Masks of the sources of a window, and a vector for each source."""
        if heard is not None and n_sources == len(heard):
            return _loudest_first(spectrogram, vectors, heard)
        centroids = self._centroids(spectrogram, vectors, n_sources)
        if heard is not None and len(centroids) == len(heard):
            return _loudest_first(spectrogram, vectors, heard)
        if self.mask == "binary":
            return signal.binary_masks(assign(vectors, centroids), len(centroids)), centroids
        return soft_assign(vectors, centroids, _SOFT_MASK_SHARPNESS), centroids

    def _centroids(self, spectrogram: Tensor, vectors: Tensor, n_sources: int | None) -> Tensor:
        return find_centroids(
            vectors,
            self.framing.activity(spectrogram),
            n_sources,
            # Loud bins are more reliable, and errors in them are heard most.
            weights=spectrogram.abs(),
            seed=self.seed,
            clusterer=self._new_clusterer(),
        )

    @torch.no_grad()
    def _projections(self, segments: Iterable[Tensor]) -> Iterator[Projection]:
        """Give the spectrogram of each segment, a vector along each bin's embedding, and masks.

        The masks are those of the mask head, None where another kind is asked for.

        Neighbours of as many frames go through the LSTM together, in up to half the time, and
        each gets what it would get alone. The layer after it would round differently for all of
        them together, so it has them one by one, laid out as if alone.
        """
        device = self.network.input_mean.device
        for n_frames, group in groupby(segments, lambda x: self.framing.frame_count(len(x))):
            while batch := list(islice(group, max(1, _FRAMES_TOGETHER // n_frames))):
                spectrograms = [self.framing.stft(segment.to(device)) for segment in batch]
                with self.autocast():
                    states = self.network.states(signal.log_magnitude(torch.stack(spectrograms)))
                for spectrogram, own_states in zip(spectrograms, states.split(1), strict=True):
                    own_states = own_states.contiguous()
                    with self.autocast():
                        vectors = self.network.embed(own_states).squeeze(0)
                        masks = self._head_masks(own_states) if self.mask == "head" else None
                    yield spectrogram, vectors, masks

    def _head_masks(self, states: Tensor) -> Tensor:
        if self.network.mask_head is None:
            raise ValueError(
                "mask='head' needs a network with a mask head, but this one has none; fit with an "
                "objective such as 'mask_inference + whitened_kmeans', or use mask='soft'"
            )
        # (1, frames, bins, masks) -> (masks, frames, bins)
        return self.network.mask_head(states).squeeze(0).float().softmax(-1).movedim(-1, 0)

    def autocast(self) -> torch.autocast:
        """Context in which the network computes in its precision."""
        device = self.network.input_mean.device
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _segment(self, mixture: Tensor, start: int, stop: int) -> Tensor:
        # The samples whose transform has the frames from `start` to `stop`.
        hop = self.framing.hop_length
        return mixture[start * hop : (stop - 1) * hop]

    def _new_clusterer(self) -> Any:
        if self.clusterer is None:
            return None
        clusterer = clone(self.clusterer)
        if clusterer.get_params().get("random_state", 0) is None:
            clusterer.set_params(random_state=self.seed)
        return clusterer


def _loudest_first(spectrogram: Tensor, vectors: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Order masks as clusters are ordered, and give the mean vector of each source's bins.

    A bin counts by what the source has of it, so that the vectors are as centroids are:
    (sources, embedding_dim).
    """
    shares = masks * spectrogram.abs()  # (sources, frames, bins)
    totals = shares.sum((1, 2))  # (sources,)
    order = totals.argsort(descending=True, stable=True)
    units = functional.normalize(vectors.float(), dim=-1)  # (frames, bins, dim)
    sums = torch.einsum("cfb,fbk->ck", shares, units)
    means = sums / totals.clamp_min(torch.finfo(totals.dtype).tiny).unsqueeze(-1)
    return masks[order], means[order]
