"""What is far louder than speech: bangs, such as a knock at the microphone, and hum.

Levels, features and clusters that are relative to the loudest of a recording would be those of the
disturbance, and not of the speech beside it. So it is turned down where a recording is analysed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from skdc.signal.features import relative_to_peak

__all__ = ["LiveGains", "bang_gains", "hum_gains"]

# Where one frame is louder than what lasts by more than the first, there is a bang, and frames
# that are louder by more than the second are part of it. No frame of 800 mixtures of speech is
# louder by more than the first.
_BANG_DB, _PART_DB = 16.0, 8.0
# There are bangs beside what comes and goes, as speech does: where what lasts is more than what
# nine tenths of the frames have, by this. Else it is noise, and what is louder may be speech.
_MODULATION_DB, _QUIET_PART = 6.0, 0.1
# Bands with less than this, relative to the loudest one, count as if they had so much: in bands
# that are all but empty, next to nothing is loud.
_EMPTY_DB = -30.0
# What is louder still, no recording can hold.
_LARGEST = 1e12
# A band hums where what it never falls below, but in a fifth of the frames, is more than its
# neighbours' by the first, and more than the mean power of the sixteenth part of all bands that
# are the loudest by the second. In 400 mixtures of speech the latter is 1.3 dB at most.
_PAUSES = 0.2
_HUM_DB = 12.0
_LOUD_DB = 4.0
_LOUDEST_PART = 16
# Neighbours are so many bands on each side, as a part of all.
_NEIGHBOURS = 10
# A vowel may be steady in fewer frames.
_FEWEST_STEADY = 40


class _LastingLevels(NamedTuple):
    """How loud it is for longer than a bang.

    Attributes
    ----------
    bands : Tensor of shape (..., 1, n_bins)
        Magnitudes; all of them 0 in silence.
    loudness : Tensor of shape (..., 1, 1)
        The loudness of a frame, relative to these.
    is_steady : bool Tensor of shape (..., 1, 1)
        Whether all is about as loud, as noise is.
    """

    bands: Tensor
    loudness: Tensor
    is_steady: Tensor

    def excess(self, spectrogram: Tensor) -> Tensor:
        """Give the power of each frame relative to what lasts, (..., n_frames, 1)."""
        tiny = torch.finfo(self.bands.dtype).tiny
        ratios = spectrogram.abs() / self.bands.clamp_min(tiny)
        excess = ratios.square().mean(-1, keepdim=True) / self.loudness.clamp_min(tiny)
        # In silence and in noise there is nothing to compare with.
        is_told = (self.bands[..., :1] > 0) & ~self.is_steady
        return torch.where(is_told, excess.clamp_max(_LARGEST), 1.0)


def bang_gains(spectrogram: Tensor, n_lasting: int) -> Tensor:
    """Find bangs, and how far they are to be turned down.

    The level of a band is what it reaches in `n_lasting` frames, and the loudness of a frame the
    mean of its power in all bands, each relative to its level, so that clicks show, too, which
    have little power where speech has most. A frame that is louder by 16 dB than what is reached
    in `n_lasting` frames is a bang, and then each that is louder by 8 dB is to be as loud as that.
    Where what is reached in `n_lasting` frames is less than 6 dB more than what all frames but a
    tenth have, it is noise, and what is louder may be speech.

    Parameters
    ----------
    spectrogram : Tensor of shape (..., n_frames, n_bins)
        Complex spectrogram, or its magnitude.
    n_lasting : int
        What lasts so many frames is no bang; at most a quarter of all frames.

    Returns
    -------
    Tensor of shape (..., n_frames, 1)
        To multiply the spectrogram with: 1 in all frames where there is no bang, and where what
        lasts is silence.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import bang_gains
    >>> frames = torch.tensor([1.0, 1.0, 50.0, 1.0, 0.1, 0.1, 1.0, 0.1]).unsqueeze(-1)
    >>> bang_gains(frames, n_lasting=2).flatten()
    tensor([1.0000, 1.0000, 0.0200, 1.0000, 1.0000, 1.0000, 1.0000, 1.0000])
    """
    n_lasting = min(n_lasting, spectrogram.shape[-2] // 4)
    if n_lasting < 1:
        return torch.ones_like(spectrogram.abs()[..., :1])
    return _excess_gains(_lasting_levels(spectrogram, n_lasting).excess(spectrogram))


def hum_gains(spectrogram: Tensor) -> Tensor:
    """Find bands that hum louder than people speak, and how far they are to be turned down.

    Hum of the mains, the whistle of a device and rumble never stop, as speech does. A band hums
    where what it has in four fifths of the frames is 12 dB more than its neighbours have, the
    median of a tenth of all bands on each side. Where one of them is louder by 4 dB than the bands
    in which speech is loudest, all are turned down to their neighbours.

    Parameters
    ----------
    spectrogram : Tensor of shape (..., n_frames, n_bins)
        Complex spectrogram, or its magnitude.

    Returns
    -------
    Tensor of shape (..., 1, n_bins)
        To multiply the spectrogram with: 1 in all bands where none hums that loudly, and where
        there are less than 40 frames.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import hum_gains
    >>> frames = torch.rand(50, 64)
    >>> frames[:, 5] = 100.0
    >>> gains = hum_gains(frames)
    >>> bool(gains[0, 5] < 0.02), int((gains == 1).sum())
    (True, 63)
    """
    magnitude = spectrogram.abs()
    n_frames, n_bins = magnitude.shape[-2:]
    n_beside = n_bins // _NEIGHBOURS
    if n_frames < _FEWEST_STEADY or not n_beside:
        return torch.ones_like(magnitude[..., :1, :])
    power = relative_to_peak(magnitude)[0].square()
    steady = power.kthvalue(max(1, int(_PAUSES * n_frames)), dim=-2).values  # (..., n_bins)
    loudest = power.mean(-2).topk(max(1, n_bins // _LOUDEST_PART)).values[..., -1:]
    # A band and those beside it: (..., n_bins + 2 * n_beside) -> (..., n_bins, 1 + 2 * n_beside)
    padded = functional.pad(steady.reshape(-1, 1, n_bins), (n_beside, n_beside), mode="reflect")
    # The median, which torch has no deterministic kernel for on GPUs
    beside = padded.unfold(-1, 2 * n_beside + 1, 1).kthvalue(n_beside + 1, dim=-1).values
    beside = beside.reshape(steady.shape)
    beside = beside.clamp_min(1 / _LARGEST)
    hums = steady > beside * 10 ** (_HUM_DB / 10)
    is_loud = (hums & (steady > loudest * 10 ** (_LOUD_DB / 10))).any(-1, keepdim=True)
    tiny = torch.finfo(power.dtype).tiny
    gains = torch.where(hums & is_loud, (beside / steady.clamp_min(tiny)).sqrt(), 1.0)
    return gains.unsqueeze(-2)


class LiveGains:
    """Both gains for frames as they come, by these and those before them.

    Parameters
    ----------
    n_lasting : int
        As for `bang_gains`.
    n_interval : int
        Frames after which it is found out again what lasts, and what hums. Then all frames that
        are remembered get gains anew.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import LiveGains
    >>> gains = LiveGains(n_lasting=2, n_interval=9)
    >>> frames = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 1.0, 0.1, 50.0]).unsqueeze(-1)
    >>> gains.of_last(frames[:8], 1).flatten()
    tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    >>> gains.of_last(frames, 1).flatten()
    tensor([0.0200])
    """

    def __init__(self, n_lasting: int, n_interval: int) -> None:
        self._n_lasting, self._n_interval = n_lasting, n_interval
        self._n_since = 0
        # What lasted when that was found out last, the gains of bands that hum, and the excess of
        # all frames that were remembered then and came since
        self._found: tuple[_LastingLevels, Tensor, Tensor] | None = None

    def of_last(self, frames: Tensor, n_new: int) -> Tensor:
        """Give the gains of the last frames of a spectrogram.

        Parameters
        ----------
        frames : Tensor of shape (n_frames, n_bins)
            What is remembered, up to the last ones; complex, or magnitudes.
        n_new : int
            How many of them are new.

        Returns
        -------
        Tensor of shape (n_last, n_bins)
            Those of the new ones, or of all frames, where it was found out again what lasts.
        """
        if len(frames) < 4 * self._n_lasting:  # too few to tell bangs from the beginning of speech
            return hum_gains(frames).expand(n_new, -1)
        self._n_since += n_new
        if self._found is None or self._n_since >= self._n_interval:
            self._n_since = 0
            levels = _lasting_levels(frames, self._n_lasting)
            excess = levels.excess(frames)  # (n_frames, 1)
            gains = _excess_gains(excess)
            of_hum = hum_gains(gains * frames)
        else:
            levels, of_hum, excess = self._found
            excess = torch.cat([excess, levels.excess(frames[-n_new:])])
            gains = _excess_gains(excess)[-n_new:]
        self._found = levels, of_hum, excess
        return gains * of_hum


def _lasting_levels(spectrogram: Tensor, n_lasting: int) -> _LastingLevels:
    """Find the levels that are reached in so many frames."""
    relative, peak = relative_to_peak(spectrogram.abs())
    peak = peak.clamp_min(torch.finfo(peak.dtype).tiny)
    bands = _reached(relative, n_lasting)  # (..., 1, n_bins)
    bands = bands.maximum(bands.amax(-1, keepdim=True) * 10 ** (_EMPTY_DB / 20)) * peak
    levels = _LastingLevels(bands, torch.ones_like(peak), torch.zeros_like(peak, dtype=torch.bool))
    loudness = levels.excess(spectrogram)  # (..., n_frames, 1)
    lasting = _reached(loudness, n_lasting)
    n_quiet = max(1, int(_QUIET_PART * loudness.shape[-2]))
    quiet = loudness.kthvalue(n_quiet, dim=-2, keepdim=True).values
    is_steady = lasting <= quiet * 10 ** (_MODULATION_DB / 10)
    return _LastingLevels(bands, lasting, is_steady)


def _reached(values: Tensor, n_frames: int) -> Tensor:
    """Give what is reached in so many frames, (..., 1, n_bins)."""
    return values.topk(n_frames, dim=-2).values[..., -1:, :]


def _excess_gains(excess: Tensor) -> Tensor:
    """Give the gains of frames of this excess."""
    largest = excess.amax(-2, keepdim=True)
    is_part = (largest > 10 ** (_BANG_DB / 10)) & (excess > 10 ** (_PART_DB / 10))
    return torch.where(is_part, excess.rsqrt(), 1.0)
