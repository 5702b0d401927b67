"""The transforms of `skdc.signal.spectra` for audio that comes bit by bit."""

from __future__ import annotations

import torch
from torch import Tensor

from skdc.signal.framing import Framing
from skdc.signal.spectra import root_hann

__all__ = ["FrameReader", "FrameWriter"]


class FrameReader:
    """Turn blocks of a waveform into the frames that `skdc.signal.stft` gives for all of it.

    Parameters
    ----------
    framing : Framing
        Window and hop.

    Attributes
    ----------
    n_samples : int
        Samples that came so far.
    n_ready : int
        Frames that can be taken.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import Framing, FrameReader
    >>> waveform, reader = torch.rand(4000), FrameReader(Framing())
    >>> for block in waveform.split(300):
    ...     reader.push(block)
    >>> reader.finish()
    >>> frames = reader.take(reader.n_ready)
    >>> torch.allclose(frames, Framing().stft(waveform), atol=1e-4)
    True
    """

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        # What the frames to come are made of. The first frame is centred on the first sample.
        self._samples = torch.zeros(framing.win_length // 2, dtype=torch.float32, device="cpu")
        self._window = root_hann(framing.win_length, self._samples)
        self.n_samples = 0

    def push(self, samples: Tensor) -> None:
        """Add the samples that come next.

        Parameters
        ----------
        samples : float32 Tensor of shape (n_new_samples,)
        """
        self.n_samples += len(samples)
        self._samples = torch.cat([self._samples.to(samples.device), samples])

    def finish(self) -> None:
        """Let the waveform end here."""
        # `stft` pads up to a multiple of the hop, and from there half a window.
        n_after = -self.n_samples % self._framing.hop_length + self._framing.win_length // 2
        self._samples = torch.cat([self._samples, self._samples.new_zeros(n_after)])

    @property
    def n_ready(self) -> int:
        """Frames whose samples have all come."""
        n_beyond = len(self._samples) - self._framing.win_length
        return max(0, n_beyond // self._framing.hop_length + 1)

    def take(self, n_frames: int) -> Tensor:
        """Give the next frames.

        Parameters
        ----------
        n_frames : int
            From 1 to `n_ready`.

        Returns
        -------
        complex64 Tensor of shape (n_frames, n_bins)
        """
        win_length, hop = self._framing.win_length, self._framing.hop_length
        used = self._samples[: (n_frames - 1) * hop + win_length]
        self._samples = self._samples[n_frames * hop :]
        # The product is a new tensor, laid out the same way wherever the blocks were cut: the
        # transform gives the same digits. (n_frames, win_length)
        self._window = self._window.to(used.device)
        frames = used.unfold(0, win_length, hop) * self._window
        return torch.fft.rfft(frames)


class FrameWriter:
    """Turn frames into the waveform that `skdc.signal.istft` gives for all of them.

    Parameters
    ----------
    framing : Framing
        Window and hop.

    Attributes
    ----------
    n_samples : int or None
        Length of the whole waveform, to be set when it is known, before the last frames are
        added: no more samples are given.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import Framing, FrameWriter
    >>> waveform, writer = torch.rand(2, 4000), FrameWriter(Framing())
    >>> writer.n_samples = 4000
    >>> parts = [writer.add(part) for part in Framing().stft(waveform).split(10, dim=1)]
    >>> parts.append(writer.finish())
    >>> torch.allclose(torch.cat(parts, dim=1), waveform, atol=1e-5)
    True
    """

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._n_given = -(framing.win_length // 2)  # the first frame begins before the waveform
        self.n_samples: int | None = None
        self._window: Tensor | None = None
        self._sums: Tensor | None = None
        self._weights: Tensor | None = None

    def add(self, frames: Tensor) -> Tensor:
        """Add the frames that come next.

        Parameters
        ----------
        frames : complex64 Tensor of shape (n_sources, n_frames, n_bins)

        Returns
        -------
        float32 Tensor of shape (n_sources, n_samples)
            The samples that no later frame changes.
        """
        win_length, hop = self._framing.win_length, self._framing.hop_length
        n_sources, n_frames, _ = frames.shape
        if self._window is None:
            self._window = root_hann(win_length, frames)
        pieces = torch.fft.irfft(frames, n=win_length) * self._window
        squared = self._window.square()
        sums = pieces.new_zeros(n_sources, n_frames * hop + win_length - hop)
        weights = pieces.new_zeros(sums.shape[-1])
        if self._sums is not None and self._weights is not None:
            sums[:, : win_length - hop] = self._sums
            weights[: win_length - hop] = self._weights
        for index in range(n_frames):
            covered = slice(index * hop, index * hop + win_length)
            sums[:, covered] += pieces[:, index]
            weights[covered] += squared
        n_final = n_frames * hop
        self._sums, self._weights = sums[:, n_final:], weights[n_final:]
        return self._give(sums[:, :n_final], weights[:n_final])

    def finish(self) -> Tensor:
        """Give the samples that are left after the last frame.

        Returns
        -------
        float32 Tensor of shape (n_sources, n_samples_left)
            Up to `n_samples`, or to the end of the last frame.
        """
        if self._sums is None or self._weights is None:
            raise ValueError("no frames were added; there is nothing to finish")
        return self._give(self._sums, self._weights)

    def _give(self, sums: Tensor, weights: Tensor) -> Tensor:
        first = max(0, -self._n_given)
        last = len(weights)
        if self.n_samples is not None:
            last = min(last, max(0, self.n_samples - self._n_given))
        self._n_given += len(weights)
        # Where no window reaches, there is nothing to divide.
        weights = weights.clamp_min(torch.finfo(weights.dtype).tiny)
        return (sums / weights)[:, first:last]
