"""One way of cutting waveforms into frames, as a value that is passed around."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from skdc.signal import disturbances, features, spectra

__all__ = ["Framing"]

# The time constant of the running level, in lengths of the window: 6.4 s with windows of 64 ms.
_LEVEL_WINDOWS = 100
# What lasts so many lengths of the window is no bang: half a second with windows of 64 ms.
_LASTING_WINDOWS = 8


@dataclass(frozen=True)
class Framing:
    """How waveforms are cut into frames and what counts as active.

    Parameters
    ----------
    win_length, hop_length : int, default=256 and 64
        Window and hop in samples (32 ms and 8 ms at 8 kHz).
    activity_threshold_db : float, default=40.0
        Bins further than this below the loudest one carry no weight, dB.
    is_causal : bool, default=False
        Whether the features of a frame depend on that frame and earlier ones alone: they are
        relative to the level so far, instead of that of the whole recording.
    hears_phases : bool, default=False
        Whether the features of a frame also have the phases of a second microphone.
    """

    win_length: int = 256
    hop_length: int = 64
    activity_threshold_db: float = 40.0
    is_causal: bool = False
    hears_phases: bool = False

    def __post_init__(self) -> None:
        # Small integers of NumPy would overflow where numbers of samples are computed.
        for name in ("win_length", "hop_length"):
            if isinstance(value := getattr(self, name), Integral):
                object.__setattr__(self, name, int(value))

    def stft(self, waveform: Tensor) -> Tensor:
        """`skdc.signal.stft` with this framing."""
        return spectra.stft(waveform, win_length=self.win_length, hop_length=self.hop_length)

    def istft(self, spectrogram: Tensor, n_samples: int) -> Tensor:
        """`skdc.signal.istft` with this framing."""
        return spectra.istft(
            spectrogram, n_samples, win_length=self.win_length, hop_length=self.hop_length
        )

    def features(
        self,
        spectrogram: Tensor,
        other: Tensor | None = None,
        *,
        level: Tensor | None = None,
        lift: Tensor | None = None,
    ) -> Tensor:
        """Give what the network sees of a spectrogram.

        Parameters
        ----------
        spectrogram : complex Tensor of shape (..., n_frames, n_bins)
        other : complex Tensor of shape (..., n_frames, n_bins), optional
            What a second microphone heard. Without it, it is as silent.
        level : Tensor of shape (..., 1, 1) or (..., n_frames, 1), optional
            As for `skdc.signal.log_magnitude`; by default that of the recording or that so far.
        lift : Tensor of shape (..., 1, n_bins), optional
            What `skdc.signal.band_lift` gives, to be added to the magnitudes.

        Returns
        -------
        Tensor of shape (..., n_frames, n_bins) or (..., n_frames, 3 * n_bins)
            `skdc.signal.log_magnitude` and, with `hears_phases`, `skdc.signal.phase_differences`.
        """
        if level is None and self.is_causal:
            level = self.level_so_far(spectrogram)[0]
        magnitudes = features.log_magnitude(spectrogram, level=level)
        if lift is not None:
            magnitudes += lift
        if not self.hears_phases:
            return magnitudes
        if other is None:
            other = torch.zeros_like(spectrogram)
        return torch.cat([magnitudes, features.phase_differences(spectrogram, other)], dim=-1)

    def level_so_far(
        self, spectrogram: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`skdc.signal.running_root_mean_square`, over about a hundred windows."""
        time_constant = _LEVEL_WINDOWS * self.win_length / self.hop_length
        return features.running_root_mean_square(
            spectrogram, time_constant=time_constant, state=state
        )

    def activity(self, spectrogram: Tensor) -> Tensor:
        """`skdc.signal.activity` with this threshold."""
        return features.activity(spectrogram, threshold_db=self.activity_threshold_db)

    def undisturbed(self, spectrogram: Tensor) -> Tensor:
        """Turn down bangs and hum that are louder than speech, see `skdc.signal.disturbances`."""
        spectrogram = spectrogram * disturbances.bang_gains(spectrogram, self.n_lasting)
        return spectrogram * disturbances.hum_gains(spectrogram)

    @property
    def n_lasting(self) -> int:
        """Frames after which what is loud is no bang: those of eight windows."""
        return _LASTING_WINDOWS * self.win_length // self.hop_length

    @property
    def n_bins(self) -> int:
        """Number of frequency bins of a frame."""
        return self.win_length // 2 + 1

    def frame_count(self, n_samples: int) -> int:
        """`skdc.signal.frame_count` with this framing."""
        return spectra.frame_count(n_samples, self.hop_length)

    def segment_samples(self, n_frames: int) -> int:
        """Waveform length that gives exactly `n_frames` frames (at least 2)."""
        return (n_frames - 1) * self.hop_length
