"""What the network hears of recordings: from spectrograms to the states of its trunk."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

import torch
from torch import Tensor

from skdc import signal
from skdc.exceptions import AudioWarning
from skdc.network import EmbeddingNetwork
from skdc.separation.speeds import at_speed, of_width
from skdc.separation.stretches import STRETCH_S
from skdc.signal import Balance, Framing

__all__ = ["Hearing", "Sound"]

# In those that are longer than a stretch, silence is left out where there is so much beside half a
# second around all that is said.
_LEAST_SILENCE_S, _AROUND_S = 3.0, 0.5
# Frames in one pass of the LSTM. More would take memory and hardly save time.
_FRAMES_TOGETHER = 4_096


class Sound(NamedTuple):
    """A spectrogram that the network is to hear.

    Attributes
    ----------
    spectrogram : complex Tensor of shape (n_frames, n_bins)
        Without bangs and hum, and balanced.
    lift : Tensor of shape (1, n_bins)
        By how much its features are lifted, see `skdc.signal.band_lift`.
    """

    spectrogram: Tensor
    lift: Tensor


@dataclass(frozen=True)
class Hearing:
    """A trained network, and how it is given spectrograms.

    Parameters
    ----------
    network, framing, precision, sample_rate
        As for `skdc.separation.Separator`.
    speed : float, default=1.0
        That at which recordings are heard; 0.9 is a tenth slower, and all voices a tenth lower.

    Examples
    --------
    >>> import torch
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> from skdc.separation.hearing import Hearing
    >>> from skdc.signal import Balance, Framing
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5)).eval()
    >>> hearing = Hearing(network, Framing())
    >>> [(sound, states)] = hearing.states(hearing.sounds([torch.rand(4000)]))
    >>> sound.spectrogram.shape, states.shape
    (torch.Size([64, 129]), torch.Size([1, 64, 1, 16]))
    """

    network: EmbeddingNetwork
    framing: Framing
    precision: str = "float32"
    sample_rate: int = 8000
    speed: float = 1.0

    def sounds(self, waveforms: Iterable[Tensor]) -> Iterator[Sound]:
        """Give the spectrogram of each, without what would be all that is heard.

        Parameters
        ----------
        waveforms : iterable of Tensor of shape (n_samples,)
            On any device.

        Yields
        ------
        Sound
            On the network's device.
        """
        device, framing = self.network.device, at_speed(self.framing, self.speed)
        for waveform in waveforms:
            spectrogram = framing.undisturbed(framing.stft(waveform[:].to(device)))
            yield self.sound(of_width(spectrogram, self.framing.n_bins))

    def sound(self, spectrogram: Tensor) -> Sound:
        """Balance a spectrogram, and find what bands are missing in it.

        Parameters
        ----------
        spectrogram : complex Tensor of shape (n_frames, n_bins)

        Returns
        -------
        Sound
        """
        gains, lift = self.balance(spectrogram)
        return Sound(gains * spectrogram, lift)

    def balance(self, spectrogram: Tensor) -> Balance:
        """Tell what makes a spectrogram one that the network knows.

        Parameters
        ----------
        spectrogram : complex Tensor of shape (n_frames, n_bins)

        Returns
        -------
        skdc.signal.Balance
            Only networks for voices have a tilt evened: other sounds may be as different.
        """
        network = self.network
        # Relative to the level of the whole, for a causal network too: relative to the level so
        # far, noise before the first word is as loud as speech.
        return signal.find_balance(
            spectrogram,
            network.input_mean,
            network.input_scale,
            evens_tilt=network.is_for_voices,
        )

    @torch.no_grad()
    def states(self, sounds: Iterable[Sound]) -> Iterator[tuple[Sound, Tensor]]:
        """Give each sound, and the states of the trunk.

        Neighbours of as many frames go through the LSTM together, in up to half the time, and
        each gets what it would get alone, but for the rounding of some trunks. The layer after it
        would round differently for all of them together, so each has states of its own, laid out
        as if alone.

        Where there is long silence, which is unknown from training, the states of the frames in
        which somebody speaks are those of the sound without it.

        Parameters
        ----------
        sounds : iterable of Sound

        Yields
        ------
        sound : Sound
        states : Tensor of shape (1, n_frames, n_bands, width)
        """
        for n_frames, group in groupby(sounds, lambda sound: len(sound.spectrogram)):
            for sound, states in self._states_of_group(group, self.n_together(n_frames)):
                if (spoken := self.spoken(sound.spectrogram)) is not None:
                    without = Sound(sound.spectrogram[spoken], sound.lift)
                    ((_, states[:, spoken]),) = self._states_of_group(iter([without]), 1)
                yield sound, states

    def spoken(self, spectrogram: Tensor) -> Tensor | None:
        """Find the frames near which somebody may be speaking.

        Parameters
        ----------
        spectrogram : complex Tensor of shape (n_frames, n_bins)

        Returns
        -------
        bool Tensor of shape (n_frames,) or None
            None where it is nearly all.
        """
        if len(spectrogram) <= self.n_frames(STRETCH_S):
            return None
        spoken = signal.spoken_frames(spectrogram, self.n_frames(_AROUND_S))
        n_silent = int((~spoken).sum())
        return spoken if n_silent >= self.n_frames(_LEAST_SILENCE_S) else None

    def autocast(self) -> torch.autocast:
        """Context in which the network computes in its precision."""
        device = self.network.device
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    @staticmethod
    def n_together(n_frames: int) -> int:
        """Give the number of spectrograms of so many frames in one pass of the LSTM."""
        return max(1, _FRAMES_TOGETHER // n_frames)

    def n_frames(self, seconds: float) -> int:
        """Give the number of frames that begin in so many seconds."""
        return round(seconds * self.sample_rate / self.framing.hop_length)

    def _states_of_group(
        self, sounds: Iterator[Sound], n_together: int
    ) -> Iterator[tuple[Sound, Tensor]]:
        """Do this for sounds of one length, so many at once, fewer where memory is short."""
        waiting = list(islice(sounds, n_together))
        while waiting:
            batch = waiting[:n_together]
            try:
                spectrograms, lifts = map(torch.stack, zip(*batch, strict=True))
                with self.autocast():
                    states = self.network.states(self.framing.features(spectrograms, lift=lifts))
            except torch.cuda.OutOfMemoryError:  # of any device but the CPU
                if len(batch) == 1:
                    raise
                n_together = len(batch) // 2
                warnings.warn(
                    f"the device {str(batch[0].spectrogram.device)!r} has too little memory for "
                    f"{len(batch)} stretches of a recording at once: going on with {n_together}, "
                    "which takes longer and gives the same sources",
                    AudioWarning,
                    stacklevel=2,
                )
                continue
            for sound, own_states in zip(batch, states.split(1), strict=True):
                yield sound, own_states.contiguous()
            waiting = waiting[len(batch) :]
            del batch, spectrograms, lifts, states  # before memory is needed for the next ones
            waiting = waiting or list(islice(sounds, n_together))
