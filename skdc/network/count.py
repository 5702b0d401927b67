"""The count head: how many talk, from the states of a stretch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from skdc.network.pooling import attentive_statistics

__all__ = ["CountHead"]

# Units of its hidden layers.
_HIDDEN = 96


class CountHead(nn.Module):
    """Say how probable each number of talkers, from 1 to `most`, is.

    Each frame's states, of some width in each of the bands, go through a hidden layer; attention
    weighs the frames, loud ones more; mean and spread over the frames (`attentive_statistics`) go
    through a second one.
    """

    def __init__(self, bands: tuple[tuple[int, int], ...], width: int, most: int) -> None:
        super().__init__()
        self.most = most
        self.frame = nn.Linear(len(bands) * width, _HIDDEN)
        self.attention = nn.Linear(_HIDDEN, 1)
        self.pooled = nn.Linear(2 * _HIDDEN, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, most)

    def forward(self, states: Tensor, energy: Tensor) -> Tensor:
        """Give the logits of the numbers from 1 to `most`, float32 ``(n_mixtures, most)``.

        Takes the states ``(n_mixtures, n_frames, n_bands, width)`` and the energy of the frames
        ``(n_mixtures, n_frames)``, whose level does not matter.
        """
        # (mixtures, frames, bands, width) -> (mixtures, frames, bands * width)
        hidden = functional.relu(self.frame(states.float().flatten(2)))
        pooled = attentive_statistics(hidden, self.attention(hidden).squeeze(-1), energy.float())
        logits: Tensor = self.out(functional.relu(self.pooled(pooled)))
        return logits
