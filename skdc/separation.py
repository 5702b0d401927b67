"""From a mixture's waveform to its sources: embed, cluster, mask, resynthesise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor
from torch.nn import functional

from skdc import dsp, windows
from skdc.clustering import assign, find_centroids, soft_assign
from skdc.mixing import Framing
from skdc.network import EmbeddingNetwork
from skdc.windows import Window

__all__ = ["Separator"]

# Chosen on held-out mixtures.
_SOFT_MASK_SHARPNESS = 3.0
_COUNT_PROBES = 5


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
        Of the network's arithmetic.
    mask : {"soft", "binary"}, default="soft"
        Each bin shared by how near each cluster is, or to its nearest cluster alone.
    seed : int, default=0
        Of the clustering, the same for every mixture.
    clusterer : scikit-learn clusterer, optional
        What groups the embeddings instead of k-means; cloned for each mixture. Where it has a
        `random_state` of None, `seed` takes its place.

    Examples
    --------
    >>> import torch
    >>> from skdc.mixing import Framing
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> from skdc.separation import Separator
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5)).eval()
    >>> mixture = torch.rand(4000) - 0.5
    >>> separator = Separator(network, Framing())
    >>> separator.separate(mixture, 2).shape
    torch.Size([2, 4000])
    """

    network: EmbeddingNetwork
    framing: Framing
    precision: str = "float32"
    mask: str = "soft"
    seed: int = 0
    clusterer: Any = None

    def autocast(self) -> torch.autocast:
        """Context in which the network computes in its precision."""
        device = self.network.input_mean.device
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    @torch.no_grad()
    def embed(self, mixture: Tensor) -> Tensor:
        """Embed every bin of a mixture.

        Parameters
        ----------
        mixture : Tensor of shape (n_samples,)
            On any device.

        Returns
        -------
        float32 Tensor of shape (n_frames, n_bins, embedding_dim)
            Unit norm; on the network's device.
        """
        _, vectors = self._project(mixture)
        return functional.normalize(vectors.float(), dim=-1)

    @torch.no_grad()
    def _project(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Spectrogram of a mixture, and for each bin a vector along its embedding."""
        spectrogram = self.framing.stft(mixture.to(self.network.input_mean.device))
        with self.autocast():
            vectors = self.network.project(dsp.log_magnitude(spectrogram).unsqueeze(0))
        return spectrogram, vectors.squeeze(0)

    def labels(self, mixture: Tensor, n_sources: int | None) -> Tensor:
        """Cluster the bins of a mixture.

        Parameters
        ----------
        mixture : Tensor of shape (n_samples,)
        n_sources : int or None
            Number of clusters; None estimates it.

        Returns
        -------
        int64 Tensor of shape (n_frames, n_bins)
        """
        return self.masks(mixture, n_sources).argmax(0)

    def masks(self, mixture: Tensor, n_sources: int | None) -> Tensor:
        """Masks of the sources of a mixture.

        Parameters
        ----------
        mixture : Tensor of shape (n_samples,)
        n_sources : int or None
            Number of sources; None estimates it.

        Returns
        -------
        float32 Tensor of shape (n_sources, n_frames, n_bins)
            Sums to 1 in every bin.
        """
        n_frames = self.framing.frame_count(len(mixture))
        return windows.stitch(self._windows(mixture, n_sources), n_frames)

    def separate(self, mixture: Tensor, n_sources: int | None) -> Tensor:
        """Separate a mixture, in memory that does not grow with its length but for the result.

        Parameters
        ----------
        mixture : Tensor of shape (n_samples,)
        n_sources : int or None
            Number of sources; None estimates it.

        Returns
        -------
        float32 Tensor of shape (n_sources, n_samples)
            With the mixture's scale; sums to it.
        """
        return windows.crossfade(self._pieces(mixture, n_sources), len(mixture))

    def _pieces(self, mixture: Tensor, n_sources: int | None) -> Iterator[tuple[int, int, Tensor]]:
        """First sample, overlap in samples and sources of each window of a mixture."""
        hop = self.framing.hop_length
        for window in self._windows(mixture, n_sources):
            masked = dsp.apply_masks(window.masks, window.spectrogram)
            n_samples = len(
                self._segment(mixture, window.start, window.start + len(window.spectrogram))
            )
            sources = self.framing.istft(masked, n_samples)
            yield window.start * hop, (window.overlap - 1) * hop, sources

    def _windows(self, mixture: Tensor, n_sources: int | None) -> Iterator[Window]:
        """Masks of each window of a mixture, linked."""
        spans = list(windows.spans(self.framing.frame_count(len(mixture))))
        if len(spans) > 1 and n_sources is None:
            # The largest number in any of some windows: people may join late.
            probes = spans[:: -(-len(spans) // _COUNT_PROBES)]
            n_sources = max(len(self._window(mixture, None, *span).centroids) for span in probes)
        previous: Window | None = None
        for span in spans:
            window = self._window(mixture, n_sources, *span)
            previous = window if previous is None else windows.link(previous, window)
            yield previous

    def _window(
        self, mixture: Tensor, n_sources: int | None, start: int, stop: int, overlap: int
    ) -> Window:
        spectrogram, vectors = self._project(self._segment(mixture, start, stop))
        centroids = find_centroids(
            vectors,
            self.framing.activity(spectrogram),
            n_sources,
            # Loud bins are the surer ones, and it is they that are heard.
            weights=spectrogram.abs(),
            seed=self.seed,
            clusterer=self._new_clusterer(),
        )
        if self.mask == "binary":
            masks = dsp.binary_masks(assign(vectors, centroids), len(centroids))
        else:
            masks = soft_assign(vectors, centroids, _SOFT_MASK_SHARPNESS)
        return Window(start, overlap, masks, centroids, spectrogram)

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
