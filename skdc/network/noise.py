"""The noise head: how much of each bin is speech, from the states and from what goes on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from skdc.network.heads import BinHead

__all__ = ["NoiseHead"]

# Numbers that the states give each bin, beside a first logit, and units of the hidden layers.
_HEARD = 4
_UNITS = 16
# Shares of the frames that are quieter than the levels that each bin is compared to.
_QUIETER = (0.05, 0.15, 0.3, 0.5, 0.8)
# What lies 60 dB below the mean of a stretch is silence, whatever is in it.
_SILENCE = 1e-6
# Features are logarithms of powers over this, which makes them about 1.
_SCALE = 4.0
# At first nearly everything is speech.
_FIRST_LOGIT = 3.0


class NoiseHead(nn.Module):
    """Tell how much of each bin is speech, whoever speaks; the rest is noise.

    Noise that goes on shows in the quiet moments of each frequency. So beside what the states say,
    the head sees how far each bin lies above five quantiles of its frequency's level, over the
    frames of the stretch, and how far these lie apart. Two layers of convolutions look at this for
    a bin and its neighbours, two frames and two bins to each side, and correct what the states
    say. The level of the recording does not matter.

    Parameters
    ----------
    bands : tuple of (int, int)
        First bin, and one past the last bin, of each band of the trunk.
    width : int
        Numbers in a state.

    Examples
    --------
    >>> import torch
    >>> from skdc.network.noise import NoiseHead
    >>> head = NoiseHead(((0, 40), (40, 129)), width=16)
    >>> head(torch.zeros(3, 50, 2, 16), torch.ones(3, 50, 129)).shape
    torch.Size([3, 50, 129])
    """

    def __init__(self, bands: tuple[tuple[int, int], ...], width: int) -> None:
        super().__init__()
        self.states = BinHead(bands, width, 1 + _HEARD)
        self.near = nn.Conv2d(_HEARD + len(_QUIETER) + 1, _UNITS, 3, padding=1)
        self.around = nn.Conv2d(_UNITS, _UNITS, 3, padding=1)
        self.out = nn.Conv2d(_UNITS, 1, 1)
        with torch.no_grad():
            logits = slice(None, None, 1 + _HEARD)  # the first number of each bin
            self.states.weight[logits] = 0.0
            self.states.bias[logits] = _FIRST_LOGIT
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)
        self.register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
            _take_a_single_layer
        )

    def forward(self, states: Tensor, spectrogram: Tensor) -> Tensor:
        """Give how much of each bin is speech, 0...1, float32 ``(n_mixtures, n_frames, n_bins)``.

        Takes the states ``(n_mixtures, n_frames, n_bands, width)`` and the spectrogram
        ``(n_mixtures, n_frames, n_bins)``, complex or its magnitude.
        """
        own = self.states(states.float())
        seen = torch.cat([own[..., 1:], _above_quantiles(spectrogram)], dim=-1)
        # (mixtures, frames, bins, numbers) -> (mixtures, numbers, frames, bins). The numbers of a
        # bin still lie together: convolutions of few channels are twice as fast then.
        seen = seen.movedim(-1, 1)
        hidden = functional.relu(self.around(functional.relu(self.near(seen))))
        # (mixtures, 1, frames, bins) -> (mixtures, frames, bins)
        return torch.sigmoid(own[..., 0] + self.out(hidden).squeeze(1))


def _take_a_single_layer(head: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Take the weights of heads that are a linear layer on the states; shares stay the same."""
    if f"{prefix}weight" not in state:
        return
    begun = {name: torch.zeros_like(weights) for name, weights in head.state_dict().items()}
    for name in ("weight", "bias"):
        begun[f"states.{name}"][:: 1 + _HEARD] = state.pop(prefix + name)
    state.update({prefix + name: weights for name, weights in begun.items()})


def _above_quantiles(spectrogram: Tensor) -> Tensor:
    """Tell how far bins lie above quantiles of their frequency, and how far these lie apart.

    The spectrogram ``(n_mixtures, n_frames, n_bins)`` gives ``(n_mixtures, n_frames, n_bins, 6)``.
    """
    magnitude = spectrogram.abs().float()
    # Squares of very small or large numbers are not within the range of floats.
    peak = magnitude.amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    power = (magnitude / peak).square()
    mean = power.mean((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    level = torch.log(power / mean + _SILENCE) / _SCALE
    shares = torch.tensor(_QUIETER, dtype=level.dtype, device=level.device)
    # (quantiles, mixtures, bins) -> (mixtures, 1, bins, quantiles)
    quantiles = torch.quantile(level, shares, dim=1).movedim(0, -1).unsqueeze(1)
    apart = quantiles[..., 3:4] - quantiles[..., :1]
    return torch.cat([level.unsqueeze(-1) - quantiles, apart.expand_as(level.unsqueeze(-1))], -1)
