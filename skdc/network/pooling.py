"""From all frames of a stretch to one vector."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["attentive_statistics"]


def attentive_statistics(hidden: Tensor, scores: Tensor, energy: Tensor) -> Tensor:
    """Give mean and spread over the frames, weighted by attention [1]_.

    Takes hidden units ``(n_items, n_frames, n_units)`` and, of each frame ``(n_items, n_frames)``,
    the logits of the attention and the energy: loud frames count more, and the level does not
    matter. All are float32, as are the statistics ``(n_items, 2 * n_units)``.

    References
    ----------
    .. [1] Okabe, Koshinaka, Shinoda, "Attentive statistics pooling for deep speaker embedding",
       Interspeech 2018, equations 4 to 6 (arXiv:1803.10963).
    """
    loudness = energy / energy.amax(1, keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
    # Half its logarithm: frames count by magnitude where the attention knows no better.
    weights = (scores + 0.5 * torch.log(loudness + 1e-3)).softmax(1).unsqueeze(-1)
    mean = (weights * hidden).sum(1)
    variance = (weights * (hidden - mean.unsqueeze(1)).square()).sum(1)
    return torch.cat([mean, (variance + 1e-4).sqrt()], -1)
