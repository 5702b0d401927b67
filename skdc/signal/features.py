"""What the network sees of a spectrogram: its features, and which bins count."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["activity", "log_magnitude"]

_FEATURE_FLOOR_DB = 40.0


def log_magnitude(spectrogram: Tensor) -> Tensor:
    """Level-invariant log-magnitude features.

    The magnitude is taken relative to its root mean square over the recording, and floored
    smoothly 40 dB below it: neither the gain of the recording nor the noise floor of its codec
    shows.

    Parameters
    ----------
    spectrogram : Tensor of shape (..., n_frames, n_bins)
        Complex.

    Returns
    -------
    Tensor of shape (..., n_frames, n_bins)
        ``log(|X| / rms + 0.01)``, natural logarithm; constant for a silent recording.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import log_magnitude, stft
    >>> spectrogram = stft(torch.rand(4000, dtype=torch.float64))
    >>> bool(torch.allclose(log_magnitude(spectrogram), log_magnitude(100 * spectrogram)))
    True
    """
    magnitude = spectrogram.abs()
    tiny = torch.finfo(magnitude.dtype).tiny
    # Divided by the peak first: squares of very small or large numbers are not within the range of
    # floats.
    magnitude = magnitude / magnitude.amax(dim=(-2, -1), keepdim=True).clamp_min(tiny)
    rms = magnitude.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    return torch.log(magnitude / rms.clamp_min(tiny) + 10 ** (-_FEATURE_FLOOR_DB / 20))


def activity(spectrogram: Tensor, *, threshold_db: float = 40.0) -> Tensor:
    """Find the bins that are loud enough to belong to a source.

    Parameters
    ----------
    spectrogram : Tensor of shape (..., n_frames, n_bins)
        Complex spectrogram, or its magnitude.
    threshold_db : float, default=40.0
        Bins further than this below the loudest bin of the same recording are inactive, dB
        ([1]_ uses 40).

    Returns
    -------
    bool Tensor of shape (..., n_frames, n_bins)
        All False for a silent recording.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306).

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import activity
    >>> activity(torch.tensor([[1.0, 0.1, 0.001]]))
    tensor([[ True,  True, False]])
    """
    magnitude = spectrogram.abs()
    peak = magnitude.amax(dim=(-2, -1), keepdim=True)
    return (magnitude > peak * 10 ** (-threshold_db / 20)) & (magnitude > 0)
