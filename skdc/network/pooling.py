"""From all frames of a stretch to one vector."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["attentive_statistics"]


def attentive_statistics(hidden: Tensor, scores: Tensor, energy: Tensor) -> Tensor:
    """Give mean and spread over the frames, weighted by attention [1]_.

    Parameters
    ----------
    hidden : float32 Tensor of shape (n_items, n_frames, n_units)
    scores : float32 Tensor of shape (n_items, n_frames)
        Logits of the attention.
    energy : float32 Tensor of shape (n_items, n_frames)
        Energy of the frames: loud ones count more. The level does not matter.

    Returns
    -------
    float32 Tensor of shape (n_items, 2 * n_units)

    References
    ----------
    .. [1] Okabe, Koshinaka, Shinoda, "Attentive statistics pooling for deep speaker embedding",
       Interspeech 2018, equations 4 to 6 (arXiv:1803.10963).

    Examples
    --------
    >>> import torch
    >>> from skdc.network.pooling import attentive_statistics
    >>> hidden = torch.tensor([[[1.0], [3.0]]])
    >>> attentive_statistics(hidden, torch.zeros(1, 2), torch.ones(1, 2))
    tensor([[2.0000, 1.0000]])
    """
    loudness = energy / energy.amax(1, keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
    # Half its logarithm: frames count by magnitude where the attention knows no better.
    weights = (scores + 0.5 * torch.log(loudness + 1e-3)).softmax(1).unsqueeze(-1)
    mean = (weights * hidden).sum(1)
    variance = (weights * (hidden - mean.unsqueeze(1)).square()).sum(1)
    return torch.cat([mean, (variance + 1e-4).sqrt()], -1)
