"""Heads: from the states of a frame to some numbers for each of its bins."""

from __future__ import annotations

from torch import Tensor, nn

from skdc.network.kernels.bands import linear_bands
from skdc.network.kernels.projection import project_active

__all__ = ["BinHead"]


class BinHead(nn.Module):
    """A linear layer that gives each bin some numbers, from the states of the bin's band.

    As the embedding head it gives each bin its vector; as the mask head, one number a mask.

    Parameters
    ----------
    bands : tuple of (int, int)
        First bin, and one past the last bin, of each band.
    width : int
        Numbers in a state.
    n_outputs : int
        Numbers for each bin.

    Attributes
    ----------
    weight : Tensor of shape (n_bins * n_outputs, width)
    bias : Tensor of shape (n_bins * n_outputs,)

    Examples
    --------
    >>> import torch
    >>> from skdc.network.heads import BinHead
    >>> head = BinHead(((0, 40), (40, 129)), width=16, n_outputs=20)
    >>> head(torch.zeros(3, 50, 2, 16)).shape
    torch.Size([3, 50, 129, 20])
    """

    def __init__(self, bands: tuple[tuple[int, int], ...], width: int, n_outputs: int) -> None:
        super().__init__()
        self.bands = bands
        self.n_outputs = n_outputs
        # The start values are those of torch's own linear layer.
        layer = nn.Linear(width, bands[-1][1] * n_outputs)
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, states: Tensor) -> Tensor:
        """Give every bin its numbers, ``(n_mixtures, n_frames, n_bins, n_outputs)``.

        Takes the states ``(n_mixtures, n_frames, n_bands, width)``.
        """
        flat = linear_bands(
            [states[..., index, :] for index in range(len(self.bands))],
            [self._of_band(self.weight, band) for band in self.bands],
            [self._of_band(self.bias, band) for band in self.bands],
        )
        # (mixtures, frames, bins * outputs) -> (mixtures, frames, bins, outputs)
        return flat.unflatten(-1, (-1, self.n_outputs))

    def _of_band(self, values: Tensor, band: tuple[int, int]) -> Tensor:
        first, end = band
        return values[first * self.n_outputs : end * self.n_outputs]

    def active(self, states: Tensor, active: Tensor) -> Tensor:
        """Give some of the bins their numbers, on the CPU, and spend no time on the others.

        Gives ``forward(states)[i][active[i]]`` for each mixture, and zeros behind it up to the
        number of the mixture with most bins: ``(n_mixtures, n_most, n_outputs)``.
        """
        return project_active(states, self.weight, self.bias, active, self.bands)
