"""The voice head: one vector for who speaks, from what a source has of a spectrogram."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from skdc.network.pooling import attentive_statistics

__all__ = ["VoiceHead"]

# Units of its layers, and how far those see: neighbours that are 1, 2 and 4 steps away.
_UNITS = 192
_DILATIONS = (1, 2, 4)
_KERNEL = 3
# Frames that are a step of the layers.
_FOLD = 2
# What is weaker than this part of a source's level is as good as silent.
_FLOOR = 1e-2
# Until it is trained: odds that fit most voices.
_ODDS = (-6.0, 11.0, 5.0)


class VoiceHead(nn.Module):
    """Give a source a unit vector: near for one voice, far for two, whoever speaks besides.

    It hears what the source has of the spectrogram, and nothing of the network that separated it,
    so that it serves all networks of one framing. Two frames at a time go through a linear layer
    and three dilated convolutions along time with residual links, as in a time-delay network [1]_.
    Attention weighs the steps, those where the source is loud more; mean and spread over the steps
    (`attentive_statistics`) give the vector of length `dim`.

    Attributes
    ----------
    odds : Tensor of shape (3,)
        Logarithm of the odds that the two sources of a few seconds are one voice that was cut in
        two: a constant, and so much for the cosine of their vectors and for that of their
        centroids.

    References
    ----------
    .. [1] Snyder, Garcia-Romero, Sell, Povey, Khudanpur, "X-vectors: robust DNN embeddings for
       speaker recognition", ICASSP 2018.
    """

    odds: Tensor

    def __init__(self, n_bins: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.frames = nn.Linear(_FOLD * n_bins, _UNITS)
        self.norms = nn.ModuleList(nn.LayerNorm(_UNITS) for _ in _DILATIONS)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(_UNITS, _UNITS, _KERNEL, padding=dilation, dilation=dilation)
            for dilation in _DILATIONS
        )
        self.attention = nn.Linear(_UNITS, 1)
        self.out = nn.Linear(2 * _UNITS, dim)
        self.register_buffer("odds", self.out.bias.new_tensor(_ODDS))

    def forward(self, shares: Tensor) -> Tensor:
        """Give the vectors of sources, float32 ``(n_sources, dim)`` of unit norm.

        Takes the magnitude times mask of each source, ``(n_sources, n_frames, n_bins)``, whose
        level does not matter.
        """
        shares = shares.float()
        tiny = torch.finfo(shares.dtype).tiny
        shares = shares / shares.amax((1, 2), keepdim=True).clamp_min(tiny)
        missing = -shares.shape[1] % _FOLD
        # (sources, frames, bins) -> (sources, steps, fold * bins)
        shares = functional.pad(shares, (0, 0, 0, missing)).unflatten(1, (-1, _FOLD)).flatten(2)
        loudness = shares.square().mean(-1)  # (sources, steps)
        # The level where the source is loud, so that silence around it changes nothing.
        level = loudness.square().sum(1) / loudness.sum(1).clamp_min(tiny)
        spectrum = torch.log(shares / level.sqrt().clamp_min(tiny)[:, None, None] + _FLOOR)
        hidden = functional.relu(self.frames(spectrum))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            # Along time: (sources, steps, units) -> (sources, units, steps) and back
            hidden = hidden + functional.relu(convolution(norm(hidden).mT).mT)
        scores = self.attention(hidden).squeeze(-1)
        pooled = attentive_statistics(hidden, scores, loudness)
        return functional.normalize(self.out(pooled), dim=-1)
