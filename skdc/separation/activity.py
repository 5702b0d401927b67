"""Who speaks when, and what is still heard of who does not.

A mask never takes everything from a source that is silent: what is left sounds like an echo of who
speaks. Where a source has next to nothing for a second, it counts as silent, and what it has goes
to the loudest one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["quieten"]

# Chosen on held-out conversations.
_SILENT_DB = -15.0


def quieten(masks: Tensor, spectrogram: Tensor, n_smoothed: int) -> tuple[Tensor, Tensor]:
    """Find where sources are silent, and silence them there.

    Parameters
    ----------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
    spectrogram : Tensor of shape (n_frames, n_bins)
        Spectrogram of the mixture; complex, or its magnitude.
    n_smoothed : int
        Frames over which energy is averaged.

    Returns
    -------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
        With the same sum over the sources.
    energy : float32 Tensor of shape (n_sources, n_frames)
        What each has of each frame then: 0 where it is silent.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation.activity import quieten
    >>> masks = torch.tensor([[[0.9], [0.9], [0.2]], [[0.1], [0.1], [0.8]]])
    >>> quieten(masks, torch.ones(3, 1), 1)[0].squeeze(-1)
    tensor([[1.0000, 1.0000, 0.2000],
            [0.0000, 0.0000, 0.8000]])
    """
    energy = (masks * spectrogram.abs()).square().sum(-1)  # (sources, frames)
    half = n_smoothed // 2
    smooth = functional.avg_pool1d(
        energy.unsqueeze(1), 2 * half + 1, stride=1, padding=half, count_include_pad=False
    ).squeeze(1)  # (sources, 1, frames) -> (sources, frames)
    loudest, which = smooth.max(0)
    silent = smooth < loudest * 10 ** (_SILENT_DB / 10)
    takes = functional.one_hot(which, len(masks)).T.unsqueeze(-1)  # (sources, frames, 1)
    freed = (masks * silent.unsqueeze(-1)).sum(0)  # (frames, bins)
    masks = torch.where(silent.unsqueeze(-1), 0.0, masks + takes * freed)
    return masks, (masks * spectrogram.abs()).square().sum(-1)
