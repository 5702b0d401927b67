"""Waveforms to spectrograms and back; labels and masks of their bins.

Pure functions of torch tensors with any leading axes, on any device. A waveform is
``(..., n_samples)``, a spectrogram ``(..., n_frames, n_bins)``; sources, where there are several,
sit on the axis before those.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "apply_masks",
    "binary_masks",
    "dominant_source",
    "frame_count",
    "istft",
    "phase_sensitive_masks",
    "root_hann",
    "stft",
]


def root_hann(win_length: int, like: Tensor) -> Tensor:
    """Give the square root of a periodic Hann window, in the precision of a tensor."""
    # It is used for analysis and for synthesis: the product of both is the Hann window, and its
    # copies, one hop apart, add to a constant.
    dtype = torch.float64 if like.dtype in (torch.float64, torch.complex128) else torch.float32
    return torch.hann_window(win_length, dtype=dtype, device=like.device).sqrt()


def frame_count(n_samples: int, hop_length: int = 64) -> int:
    """Count the frames that `stft` gives for a waveform.

    Parameters
    ----------
    n_samples : int
        Length of the waveform in samples, at least 1.
    hop_length : int, default=64
        Samples from one frame to the next (8 ms at 8 kHz).

    Returns
    -------
    int
        ``ceil(n_samples / hop_length) + 1``: frames are centred on samples 0, `hop_length`, ...
        and the last one lies at or beyond the end.

    Examples
    --------
    >>> from skdc.signal import frame_count
    >>> frame_count(8000)
    126
    """
    return -(-n_samples // hop_length) + 1


def stft(waveform: Tensor, *, win_length: int = 256, hop_length: int = 64) -> Tensor:
    """Short-time Fourier transform with a square-root Hann window.

    Frames are centred (the waveform is padded with zeros on both sides), so that every sample is
    covered by full windows and `istft` reconstructs waveforms of any length.

    Parameters
    ----------
    waveform : Tensor of shape (..., n_samples)
        Real, float32 or float64.
    win_length : int, default=256
        Window and transform length in samples (32 ms at 8 kHz), even.
    hop_length : int, default=64
        Samples from one frame to the next (8 ms at 8 kHz), at most half of `win_length`.

    Returns
    -------
    Tensor of shape (..., n_frames, n_bins)
        Complex; ``n_frames = frame_count(n_samples, hop_length)`` and
        ``n_bins = win_length // 2 + 1``.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import stft
    >>> stft(torch.ones(2, 8000)).shape
    torch.Size([2, 126, 129])
    """
    n_samples = waveform.shape[-1]
    leading = waveform.shape[:-1]
    # Up to a multiple of the hop, so that the last samples do not lie where the last window is
    # nearly 0: dividing by its envelope there would magnify whatever masking left.
    padding = -n_samples % hop_length
    # (..., n_samples) -> (n_items, n_samples + padding)
    flat = functional.pad(waveform.reshape(-1, n_samples), (0, padding))
    spectrogram = torch.stft(
        flat,
        win_length,
        hop_length,
        window=root_hann(win_length, waveform),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )  # (n_items, n_bins, n_frames)
    spectrogram = spectrogram.transpose(-1, -2)  # (n_items, n_frames, n_bins)
    return spectrogram.reshape(*leading, *spectrogram.shape[-2:])  # (..., n_frames, n_bins)


def istft(
    spectrogram: Tensor, n_samples: int, *, win_length: int = 256, hop_length: int = 64
) -> Tensor:
    """Inverse of `stft`: overlap-add with the same window.

    Parameters
    ----------
    spectrogram : Tensor of shape (..., n_frames, n_bins)
        Complex, as `stft` gives it.
    n_samples : int
        Length of the waveform to give back.
    win_length, hop_length : int
        As given to `stft`.

    Returns
    -------
    Tensor of shape (..., n_samples)
        Real. ``istft(stft(x), len(x))`` equals ``x`` up to rounding.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import istft, stft
    >>> waveform = torch.linspace(-1, 1, 1000, dtype=torch.float64)
    >>> bool(torch.allclose(istft(stft(waveform), 1000), waveform))
    True
    """
    leading = spectrogram.shape[:-2]
    # (..., n_frames, n_bins) -> (n_items, n_bins, n_frames)
    flat = spectrogram.reshape(-1, *spectrogram.shape[-2:]).transpose(-1, -2)
    waveform = torch.istft(
        flat,
        win_length,
        hop_length,
        window=root_hann(win_length, spectrogram),
        center=True,
        length=n_samples,
    )
    return waveform.reshape(*leading, n_samples)  # (n_items, n_samples) -> (..., n_samples)


def dominant_source(sources: Tensor) -> Tensor:
    """Ideal labels: the source of largest magnitude in each bin.

    Parameters
    ----------
    sources : Tensor of shape (..., n_sources, n_frames, n_bins)
        Complex spectrograms of the sources, their magnitudes, or their masks.

    Returns
    -------
    int64 Tensor of shape (..., n_frames, n_bins)
        Index of the dominant source; the first one where they tie.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import dominant_source
    >>> dominant_source(torch.tensor([[[1.0, 0.0]], [[0.5, 2.0]]]))
    tensor([[0, 1]])
    """
    # A running maximum over the few sources: far cheaper than argmax, which gathers across them.
    largest = sources.select(-3, 0).abs()
    labels = torch.zeros(largest.shape, dtype=torch.int64, device=sources.device)
    for index in range(1, sources.shape[-3]):
        magnitude = sources.select(-3, index).abs()
        labels.masked_fill_(magnitude > largest, index)
        largest = torch.maximum(largest, magnitude)
    return labels


def binary_masks(labels: Tensor, n_sources: int) -> Tensor:
    """Turn labels, one for each bin, into binary masks, one for each source.

    Parameters
    ----------
    labels : int Tensor of shape (..., n_frames, n_bins)
        Source of each bin; negative where a bin belongs to none.
    n_sources : int
        Number of masks.

    Returns
    -------
    float32 Tensor of shape (..., n_sources, n_frames, n_bins)
        1 where the label names the source, else 0. With the labels of `dominant_source`, the ideal
        binary masks.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import binary_masks
    >>> binary_masks(torch.tensor([[0, 1, -1]]), 2)
    tensor([[[1., 0., 0.]],
    <BLANKLINE>
            [[0., 1., 0.]]])
    """
    sources = torch.arange(n_sources, device=labels.device)[:, None, None]  # (n_sources, 1, 1)
    # (..., 1, n_frames, n_bins) == (n_sources, 1, 1) -> (..., n_sources, n_frames, n_bins)
    return (labels.unsqueeze(-3) == sources).to(torch.float32)


def phase_sensitive_masks(sources: Tensor, mixture: Tensor) -> Tensor:
    """Oracle masks that minimise the squared error given the mixture's phase.

    Parameters
    ----------
    sources : Tensor of shape (..., n_sources, n_frames, n_bins)
        Complex spectrograms of the sources.
    mixture : Tensor of shape (..., n_frames, n_bins)
        Complex spectrogram of the mixture.

    Returns
    -------
    Tensor of shape (..., n_sources, n_frames, n_bins)
        ``Re(S / X)`` clipped to 0...1 ([1]_, truncated); 0 where the mixture is 0.

    References
    ----------
    .. [1] Erdogan, Hershey, Watanabe, Le Roux, "Phase-sensitive and recognition-boosted speech
       separation using deep recurrent neural networks", ICASSP 2015.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import phase_sensitive_masks
    >>> sources = torch.tensor([[[1.0 + 0j]], [[1.0 + 0j]]])
    >>> phase_sensitive_masks(sources, sources.sum(0)).flatten()
    tensor([0.5000, 0.5000])
    """
    mixture = mixture.unsqueeze(-3)  # (..., 1, n_frames, n_bins)
    length = mixture.abs()
    length = length.clamp_min(torch.finfo(length.dtype).tiny)
    # Part by part, which takes a third of the time of dividing complex numbers.
    cosine, sine = mixture.real / length, mixture.imag / length
    in_phase = sources.real * cosine + sources.imag * sine
    return in_phase.div_(length).clamp_(0.0, 1.0)


def apply_masks(masks: Tensor, spectrogram: Tensor) -> Tensor:
    """Multiply the mixture by the mask of each source.

    Parameters
    ----------
    masks : Tensor of shape (..., n_sources, n_frames, n_bins)
        Real.
    spectrogram : Tensor of shape (..., n_frames, n_bins)
        Complex spectrogram of the mixture.

    Returns
    -------
    Tensor of shape (..., n_sources, n_frames, n_bins)
        Complex; sums to the mixture where the masks sum to 1.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import apply_masks
    >>> apply_masks(torch.ones(2, 5, 3), torch.ones(5, 3, dtype=torch.complex64)).shape
    torch.Size([2, 5, 3])
    """
    return masks * spectrogram.unsqueeze(-3)  # (..., n_sources, n_frames, n_bins)
