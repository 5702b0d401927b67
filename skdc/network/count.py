"""The count head: how many talk, from the states of a stretch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from skdc.network.pooling import attentive_statistics

__all__ = ["CountHead"]

# Units of its hidden layers.
_HIDDEN = 96


class CountHead(nn.Module):
    """Say how probable each number of talkers is.

    Each frame's states go through a hidden layer; attention weighs the frames, loud ones more;
    mean and spread over the frames (`attentive_statistics`) go through a second one.

    Parameters
    ----------
    bands : tuple of (int, int)
        First bin, and one past the last bin, of each band.
    width : int
        Numbers in a state of a band.
    most : int
        The largest number that it knows.

    Examples
    --------
    >>> import torch
    >>> from skdc.network.count import CountHead
    >>> head = CountHead(((0, 129),), width=16, most=4)
    >>> head(torch.zeros(3, 50, 1, 16), torch.rand(3, 50)).shape
    torch.Size([3, 4])
    """

    def __init__(self, bands: tuple[tuple[int, int], ...], width: int, most: int) -> None:
        super().__init__()
        self.most = most
        self.frame = nn.Linear(len(bands) * width, _HIDDEN)
        self.attention = nn.Linear(_HIDDEN, 1)
        self.pooled = nn.Linear(2 * _HIDDEN, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, most)

    def forward(self, states: Tensor, energy: Tensor) -> Tensor:
        """Give the logits of the numbers from 1 to `most`.

        Parameters
        ----------
        states : Tensor of shape (n_mixtures, n_frames, n_bands, width)
        energy : Tensor of shape (n_mixtures, n_frames)
            Energy of the mixture's frames; the level does not matter.

        Returns
        -------
        float32 Tensor of shape (n_mixtures, most)
        """
        # (mixtures, frames, bands, width) -> (mixtures, frames, bands * width)
        hidden = functional.relu(self.frame(states.float().flatten(2)))
        pooled = attentive_statistics(hidden, self.attention(hidden).squeeze(-1), energy.float())
        logits: Tensor = self.out(functional.relu(self.pooled(pooled)))
        return logits
