"""The voice head: one vector for who speaks, from the states of a stretch and a source's share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from skdc.network.pooling import attentive_statistics

__all__ = ["VoiceHead"]

# Units of its one hidden layer.
_HIDDEN = 128
# What is weaker than this part of a source's level is as good as silent.
_FLOOR = 1e-2
# Heads that were saved before each had odds of its own.
_EARLIER_ODDS = (-6.0, 11.0, 5.0)


class VoiceHead(nn.Module):
    """Give a source a unit vector: near for one voice, far for two, whoever speaks besides.

    Each frame's states, beside what the source has of the frame, go through a hidden layer;
    attention weighs the frames, those where the source is loud more; mean and spread over the
    frames (`attentive_statistics`) give the vector of length `dim`.

    Attributes
    ----------
    odds : Tensor of shape (3,)
        Logarithm of the odds that the two sources of a few seconds are one voice that was cut in
        two: a constant, and so much for the cosine of their vectors and for that of their
        centroids.
    """

    odds: Tensor

    def __init__(self, bands: tuple[tuple[int, int], ...], width: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.n_bins = bands[-1][1]
        self.hidden = nn.Linear(len(bands) * width + self.n_bins, _HIDDEN)
        self.attention = nn.Linear(_HIDDEN, 1)
        self.out = nn.Linear(2 * _HIDDEN, dim)
        self.register_buffer("odds", self.out.bias.new_tensor(_EARLIER_ODDS))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        earlier = torch.tensor(_EARLIER_ODDS, device="cpu")
        state_dict.setdefault(f"{prefix}odds", earlier)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, states: Tensor, shares: Tensor) -> Tensor:
        """Give the vectors of sources, float32 ``(n_sources, dim)`` of unit norm.

        Takes the states of the mixture of each source ``(n_sources, n_frames, n_bands, width)``,
        and the magnitude times mask of each source ``(n_sources, n_frames, n_bins)``, whose level
        does not matter.
        """
        return self.tell(self.hear(states), shares)

    def hear(self, states: Tensor) -> Tensor:
        """Give what the states have in the hidden layer, ``(n_sources, n_frames, n_hidden)``.

        It is the same for all sources of a mixture and for all parts of a stretch, and takes most
        of the time.
        """
        n_states = self.hidden.in_features - self.n_bins
        # (sources, frames, bands, width) -> (sources, frames, bands * width)
        return functional.linear(
            states.float().flatten(2), self.hidden.weight[:, :n_states], self.hidden.bias
        )

    def tell(self, heard: Tensor, shares: Tensor) -> Tensor:
        """Give the vectors of sources from what `hear` gave and from their shares."""
        shares = shares.float()
        tiny = torch.finfo(shares.dtype).tiny
        shares = shares / shares.amax((1, 2), keepdim=True).clamp_min(tiny)
        energy = shares.square()
        level = energy.mean((1, 2), keepdim=True).sqrt().clamp_min(tiny)
        spectrum = torch.log(shares / level + _FLOOR)
        own = functional.linear(spectrum, self.hidden.weight[:, -self.n_bins :])
        hidden = functional.relu(heard + own)
        scores = self.attention(hidden).squeeze(-1)  # (sources, frames)
        pooled = attentive_statistics(hidden, scores, energy.sum(-1))
        return functional.normalize(self.out(pooled), dim=-1)
