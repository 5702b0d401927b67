"""Bands that a recording lacks, such as what a telephone leaves out.

A network that has never heard such recordings is misled by what is always silent far more than by
not hearing it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from skdc.signal.features import FEATURE_FLOOR

__all__ = ["band_lift", "heard_frames"]

# A band is missing where less than the first is left of how far features rise above their floor,
# and less than the second of how much they vary: there is nothing, or steady noise.
_LEFT, _VARIES = 0.6, 0.4
# This part of the bins has what is said as it is expected; what they have less is pauses.
_WHOLE_BINS = 0.9
# Once a band is missing, all is lifted that is lower than expected by more than this.
_LEAST_LIFT = 0.5
# A band is as wide as one part of so many of the spectrum, an edge of a band one of so many.
_BANDS, _EDGES = 16, 48
# Frames with less than this of the mean power are silent.
_SILENT = 1e-3


def band_lift(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Tell by how much to lift the features of bands that are missing in all of a recording.

    The mean of such bins, over the frames that are not silent, becomes what is expected, so that
    they tell the network nothing.

    Parameters
    ----------
    features : float32 or float64 Tensor of shape (..., n_frames, n_bins)
        As `skdc.signal.log_magnitude` gives them.
    mean, scale : Tensor of shape (n_bins,)
        What is expected: mean and standard deviation of the features of the training mixtures.

    Returns
    -------
    Tensor of shape (..., 1, n_bins)
        To be added to the features, at least 0. All zeros where no band is missing.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import band_lift, log_magnitude
    >>> magnitudes = torch.rand(100, 32)
    >>> features = log_magnitude(magnitudes)
    >>> expected = features.mean(0), features.std(0)
    >>> magnitudes[:, 20:] = 0.0
    >>> lift = band_lift(log_magnitude(magnitudes), *expected)
    >>> lift.shape, bool((lift[:, 20:] > 0).all()), bool((lift[:, :20] == 0).all())
    (torch.Size([1, 32]), True, True)
    """
    heard = heard_frames(features).unsqueeze(-1).to(features.dtype)  # (..., n_frames, 1)
    n_heard = heard.sum(-2, keepdim=True).clamp_min(1.0)
    above = (features - FEATURE_FLOOR) * heard
    left = above.sum(-2, keepdim=True) / n_heard  # (..., 1, n_bins)
    spread = ((above - left).square() * heard).sum(-2, keepdim=True) / n_heard
    room = (mean - FEATURE_FLOOR).expand_as(left)
    # How much of the time somebody speaks, relative to training
    shares = _smooth(left, _BANDS) / _smooth(room, _BANDS).clamp_min(torch.finfo(room.dtype).tiny)
    speaking = shares.quantile(_WHOLE_BINS, dim=-1, keepdim=True).clamp(0.0, 1.0)
    is_low = shares < _LEFT * speaking
    is_steady = _smooth(spread.sqrt(), _BANDS) < _VARIES * _smooth(scale.expand_as(left), _BANDS)
    is_missing = (is_low & is_steady).any(dim=-1, keepdim=True)
    lift = _smooth(speaking * room - left, _EDGES)
    return torch.where(is_missing & (lift > _LEAST_LIFT), lift, 0.0)


def heard_frames(features: Tensor) -> Tensor:
    """Find the frames that are not silent.

    Parameters
    ----------
    features : float Tensor of shape (..., n_frames, n_bins)
        As `skdc.signal.log_magnitude` gives them.

    Returns
    -------
    bool Tensor of shape (..., n_frames)
    """
    power = (features.exp() - math.exp(FEATURE_FLOOR)).square().mean(-1)
    return power > _SILENT


def _smooth(values: Tensor, n_parts: int) -> Tensor:
    """Take the mean of neighbouring bins: ``(..., 1, n_bins)``."""
    n_bins = values.shape[-1]
    width = n_bins // n_parts | 1
    # (..., 1, bins) -> (items, 1, bins), and back
    items = values.reshape(-1, 1, n_bins)
    smooth = functional.avg_pool1d(items, width, 1, width // 2, count_include_pad=False)
    return smooth.reshape(values.shape)
