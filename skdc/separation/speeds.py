"""A mixture heard at several speeds, and what is heard at each put together.

At another speed voices are higher or lower and their frames lie elsewhere, so that a network makes
other mistakes. A window of 0.9 times the length, with a hop as much shorter, has bins that lie as
much further apart: it shows a mixture as the network's window would show it a tenth slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from skdc.separation.pairs import in_order
from skdc.signal import Framing, to_unit_peak

__all__ = ["MOST_SPEEDS", "SPEEDS", "at_speed", "certainty", "of_width", "put_together"]

# All three were chosen on held-out mixtures; the first speeds gain most.
SPEEDS = (1.0, 0.9, 1.09, 0.8, 1.2)
# By how much more the masks of one speed count than those of another: e to the power of so many
# times the difference of their certainty. Numbers from 5 to 50 gain as much within 0.1 dB.
_TRUST = 15.0
# A mean is less sure than each of what it is the mean of. 1.25 to 2 gain as much within 0.1 dB.
_SHARPENED = 1.5

MOST_SPEEDS = len(SPEEDS)
"""The most speeds at which a mixture can be heard."""


def at_speed(framing: Framing, speed: float) -> Framing:
    """Give the framing that shows a mixture at another speed.

    Parameters
    ----------
    framing : Framing
        What the network was trained with.
    speed : float
        0.9 shows everything a tenth slower and lower.

    Returns
    -------
    Framing
        Its windows have an even number of samples.

    Examples
    --------
    >>> from skdc.separation.speeds import at_speed
    >>> from skdc.signal import Framing
    >>> slower = at_speed(Framing(win_length=512, hop_length=256), 0.9)
    >>> slower.win_length, slower.hop_length
    (460, 230)
    """
    win_length = 2 * round(speed * framing.win_length / 2)
    hop_length = max(1, round(framing.hop_length * win_length / framing.win_length))
    return replace(framing, win_length=win_length, hop_length=hop_length)


def of_width(spectrogram: Tensor, n_bins: int) -> Tensor:
    """Leave out the highest bins, or add silent ones.

    Parameters
    ----------
    spectrogram : Tensor of shape (..., n_bins_before)
    n_bins : int

    Returns
    -------
    Tensor of shape (..., n_bins)
    """
    return functional.pad(spectrogram, (0, n_bins - spectrogram.shape[-1]))


def certainty(masks: Tensor, power: Tensor) -> Tensor:
    """Tell how clearly masks divide a mixture.

    Parameters
    ----------
    masks : float Tensor of shape (n_sources, n_frames, n_bins)
        Two or more, which sum to 1.
    power : float Tensor of shape (n_frames, n_bins)

    Returns
    -------
    float Tensor of shape ()
        How far the largest share of a bin is above an equal one, 0...1: mean over the bins,
        weighted by their power. 0 for silence.
    """
    equal = 1 / len(masks)
    excess = ((masks.amax(0) - equal) * power).sum() / (1 - equal)
    return excess / power.sum().clamp_min(torch.finfo(power.dtype).tiny)


def put_together(
    masks: Sequence[Tensor], spectrograms: Sequence[Tensor], framings: Sequence[Framing]
) -> Tensor:
    """Give the masks that those of several speeds have in common.

    Parameters
    ----------
    masks : sequence of float Tensors of shape (n_sources_i, n_frames_i, n_bins)
        Those of each speed, of a mixture of two or more sources, in any order; they sum to 1.
        Where there are not as many sources as at the first one, they do not count.
    spectrograms : sequence of complex Tensors of shape (n_frames_i, n_bins)
        What the network heard at each speed.
    framings : sequence of Framing
        That of each speed.

    Returns
    -------
    float Tensor of shape (n_sources, n_frames_0, n_bins)
        In the frames, the bins and the order of the first. They sum to 1.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation.speeds import at_speed, put_together
    >>> from skdc.signal import Framing
    >>> framing = Framing(win_length=8, hop_length=4)
    >>> masks, heard = torch.eye(2)[:, :, None].expand(2, 2, 5), torch.ones(2, 5) + 0j
    >>> other = masks.roll(1, 0)  # the same sources in another order
    >>> both = put_together([masks, other], [heard, heard], [framing, framing])
    >>> torch.allclose(both, masks)
    True
    """
    views = [
        view
        for view in zip(masks, spectrograms, framings, strict=True)
        if len(view[0]) == len(masks[0])
    ]
    powers = [to_unit_peak(spectrogram.abs()).square() for _, spectrogram, _ in views]
    trusts = [
        _TRUST * certainty(own, power) for (own, *_), power in zip(views, powers, strict=True)
    ]
    first, (weight, *weights) = masks[0], torch.stack(trusts).softmax(0)
    magnitude, whole = spectrograms[0].abs(), weight * first
    for (own, _, framing), weight in zip(views[1:], weights, strict=True):
        ordered = in_order(first, _in_grid(own, framing, first, framings[0]), magnitude)
        # What this speed does not reach is as the first one has it.
        n_known = _n_known(framing, framings[0], first.shape[-1])
        whole[..., :n_known] += weight * ordered[..., :n_known]
        whole[..., n_known:] += weight * first[..., n_known:]
    sharper = whole.clamp_min(0).pow(_SHARPENED)
    return sharper / sharper.sum(0, keepdim=True)


def _n_known(framing: Framing, first: Framing, n_bins: int) -> int:
    """Give the number of the first one's bins that lie below the highest one of a framing."""
    return min(n_bins, 1 + (n_bins - 1) * first.win_length // framing.win_length)


def _in_grid(masks: Tensor, framing: Framing, first: Tensor, first_framing: Framing) -> Tensor:
    """Read masks of shape (n_sources, n_frames, n_bins) at the frames and bins of others."""
    _, n_frames, n_bins = first.shape
    between_frames = first_framing.hop_length / framing.hop_length
    between_bins = framing.win_length / first_framing.win_length
    # The highest bins of a slower mixture are empty: nothing is above the highest frequency.
    masks = masks[..., : framing.n_bins]
    return _read(_read(masks, 1, n_frames, between_frames), 2, n_bins, between_bins)


def _read(values: Tensor, dim: int, number: int, step: float) -> Tensor:
    """Read values along a dimension at so many places, a step apart, by straight lines."""
    places = step * torch.arange(number, dtype=values.dtype, device=values.device)
    places = places.clamp_max(values.shape[dim] - 1)
    before = places.long()
    after = (before + 1).clamp_max(values.shape[dim] - 1)
    shape = [1] * values.dim()
    shape[dim] = number
    # (n_places,) -> along `dim` alone
    share = (places - before).reshape(shape)
    return torch.lerp(values.index_select(dim, before), values.index_select(dim, after), share)
