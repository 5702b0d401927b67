"""From a mixture's waveform to its sources: embed, cluster, mask, resynthesise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from sklearn.base import clone
from torch import Tensor

from skdc import dsp
from skdc.clustering import cluster_bins, soft_assign
from skdc.mixing import Framing
from skdc.network import EmbeddingNetwork

__all__ = ["Embedded", "Separator"]

_SOFT_MASK_SHARPNESS = 5.0


class Embedded(NamedTuple):
    """A mixture seen by the network.

    Attributes
    ----------
    spectrogram : complex64 Tensor of shape (n_frames, n_bins)
    embeddings : float32 Tensor of shape (n_frames, n_bins, embedding_dim)
        Unit norm.
    """

    spectrogram: Tensor
    embeddings: Tensor


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
    mask : {"binary", "soft"}, default="binary"
        Each bin to its nearest cluster alone, or shared by how near each cluster is.
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
    mask: str = "binary"
    seed: int = 0
    clusterer: Any = None

    def autocast(self) -> torch.autocast:
        """Context in which the network computes in its precision."""
        device = self.network.input_mean.device
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    @torch.no_grad()
    def embed(self, mixture: Tensor) -> Embedded:
        """Embed every bin of a mixture.

        Parameters
        ----------
        mixture : Tensor of shape (n_samples,)
            On any device.

        Returns
        -------
        Embedded
            On the network's device.
        """
        device = self.network.input_mean.device
        spectrogram = self.framing.stft(mixture.to(device))
        with self.autocast():
            embeddings = self.network(dsp.log_magnitude(spectrogram).unsqueeze(0)).squeeze(0)
        return Embedded(spectrogram, embeddings)

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
        return self._cluster(mixture, n_sources)[1]

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
        embedded, labels, centroids = self._cluster(mixture, n_sources)
        if self.mask == "binary":
            return dsp.binary_masks(labels, len(centroids))
        shares = soft_assign(embedded.embeddings, centroids, _SOFT_MASK_SHARPNESS)
        return shares.movedim(-1, 0)

    def sources(self, mixture: Tensor, masks: Tensor) -> Tensor:
        """Waveforms that masks cut out of a mixture.

        Parameters
        ----------
        mixture : Tensor of shape (n_samples,)
        masks : Tensor of shape (n_sources, n_frames, n_bins)

        Returns
        -------
        float32 Tensor of shape (n_sources, n_samples)
            With the mixture's scale; sums to it where the masks sum to 1.
        """
        spectrogram = self.framing.stft(mixture.to(masks.device))
        return self.framing.istft(dsp.apply_masks(masks, spectrogram), len(mixture))

    def separate(self, mixture: Tensor, n_sources: int | None) -> Tensor:
        """Separate a mixture.

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
        return self.sources(mixture, self.masks(mixture, n_sources))

    def _cluster(self, mixture: Tensor, n_sources: int | None) -> tuple[Embedded, Tensor, Tensor]:
        embedded = self.embed(mixture)
        labels, centroids = cluster_bins(
            embedded.embeddings,
            self.framing.activity(embedded.spectrogram),
            n_sources,
            seed=self.seed,
            clusterer=self._new_clusterer(),
        )
        return embedded, labels, centroids

    def _new_clusterer(self) -> Any:
        if self.clusterer is None:
            return None
        clusterer = clone(self.clusterer)
        if clusterer.get_params().get("random_state", 0) is None:
            clusterer.set_params(random_state=self.seed)
        return clusterer
