"""Long silence, which is no part of what is said."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from skdc.signal.features import relative_to_peak

__all__ = ["spoken_frames"]

_SILENT_DB = 30.0


def spoken_frames(spectrogram: Tensor, n_around: int) -> Tensor:
    """Find the frames in which, or near which, somebody may be speaking.

    Parameters
    ----------
    spectrogram : Tensor of shape (n_frames, n_bins)
        Complex spectrogram, or its magnitude.
    n_around : int
        At least 1. A frame is silent where all within so many frames of it are weaker by 30 dB or
        more than what is reached in so many frames in all.

    Returns
    -------
    bool Tensor of shape (n_frames,)
        All True for a silent recording.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import spoken_frames
    >>> frames = torch.zeros(9, 1)
    >>> frames[2:4] = 1.0
    >>> spoken_frames(frames, 1).int().tolist()
    [0, 1, 1, 1, 1, 0, 0, 0, 0]
    """
    power = relative_to_peak(spectrogram.abs())[0].square().sum(-1)  # (n_frames,)
    lasting = power.topk(min(n_around, len(power))).values[-1]
    is_loud = (power >= lasting * 10 ** (-_SILENT_DB / 10)).to(power.dtype)
    # (n_frames,) -> (1, 1, n_frames) -> (n_frames,)
    near = functional.max_pool1d(is_loud[None, None], 2 * n_around + 1, 1, n_around)
    return near.flatten() > 0
