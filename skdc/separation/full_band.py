"""Masks of a network's band for all of a recording: its rate, its frequencies, its channels.

A network hears one channel up to half its own sample rate. Its masks are stretched over the
spectrogram of the recording, and what lies above its band is shared, frame by frame, as it shared
the upper bins of its band. The masks still sum to 1, so that sources sum to the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skdc.separation.stretches import Stretch, fade
from skdc.signal import Framing, resynthesise, share_rest

__all__ = [
    "Recording",
    "SourceBlocks",
    "full_band_masks",
    "full_band_pieces",
    "full_framing",
    "share_upper_bins",
    "stretch_masks",
]

# From where on a network's masks tell how to share what lies above its band, and where they end,
# as parts of its band: 3 kHz and 3.8 kHz at 8 kHz. The filter of the resampling takes away what
# lies between that and its edge.
_FIRST_COUNTED = 0.75
_LAST_HEARD = 0.95
# The louder source gets more than its share of the power. Where a bin of power P is shared as m
# and 1 - m, the sources have (m**2 + (1 - m)**2) P, which is less than P, and least for equal
# shares. The exponent is as small as keeps the sources' power above the band within 1 dB of the
# mixture's, because with every larger one SI-SDR falls: `examples/benchmarks/full_band.py`.
_SHARE_EXPONENT = 1.2


@dataclass(frozen=True)
class Recording:
    """A recording at its own rate, with all its channels.

    Parameters
    ----------
    rate : int
        Hz.
    n_samples : int
        Length.
    read : callable
        ``read(start, stop)`` gives samples from `start` to `stop` as a float32 Tensor of shape
        ``(n_channels, stop - start)``.
    """

    rate: int
    n_samples: int
    read: Callable[[int, int], Tensor]


@dataclass(frozen=True)
class SourceBlocks:
    """The sources of a recording, made block by block each time they are gone through.

    Parameters
    ----------
    masks : iterable of (int, int, Tensor)
        The pieces that `full_band_pieces` takes; it must be possible to go through them again.
    n_sources : int
        Sources of each piece.
    recording, framing, network_rate, phase_iterations
        As for `full_band_pieces`.
    """

    masks: Iterable[tuple[int, int, Tensor]]
    n_sources: int
    recording: Recording
    framing: Framing
    network_rate: int
    phase_iterations: int = 0

    def __iter__(self) -> Iterator[Tensor]:
        return fade(
            full_band_pieces(
                self.masks, self.recording, self.framing, self.network_rate, self.phase_iterations
            )
        )


def full_framing(framing: Framing, network_rate: int, rate: int) -> Framing:
    """Give frames of about the same duration at another rate.

    The hop is the next length that is fast to transform, and the window keeps the ratio to the
    hop; it is the framing itself where both rates are equal.
    """
    if rate == network_rate:
        return framing
    hop = next_fast_len(-(-framing.hop_length * rate // network_rate), real=True)
    window = 2 * round(framing.win_length * hop / framing.hop_length / 2)
    return Framing(window, hop, framing.activity_threshold_db)


def stretch_masks(masks: Tensor, frames: Tensor, bins: Tensor) -> Tensor:
    """Interpolate masks ``(n_sources, n_frames, n_bins)`` linearly in time and frequency.

    The new frames ``(n_new_frames,)`` and bins ``(n_new_bins,)`` are given, in float64, in frames
    and bins of the masks; what lies outside gets the value at the edge. The result sums to 1 over
    the sources where the masks do.
    """
    for axis, positions in ((1, frames), (2, bins)):
        last = masks.shape[axis] - 1
        positions = positions.clamp(0, last)
        below = positions.floor().long()
        above = (below + 1).clamp(max=last)
        shape = [1, 1, 1]
        shape[axis] = len(positions)
        # (n_positions,) -> (1, n_positions, 1) or (1, 1, n_positions)
        part = (positions - below).to(masks.dtype).view(shape)
        masks = torch.lerp(masks.index_select(axis, below), masks.index_select(axis, above), part)
    return masks


def share_upper_bins(masks: Tensor, power: Tensor, first: int, last: int) -> Tensor:
    """Share the uppermost bins of a frame as those below them were shared.

    From bin `last` on, the shares of a frame go with the sources' powers between `first` and
    `last`, raised to 1.2; they are equal where there is no power. Masks are of shape ``(n_sources,
    n_frames, n_bins)``, and the power of the mixture of ``(n_frames, n_bins)``.
    """
    heard = power[:, first:last]
    tiny = torch.finfo(power.dtype).tiny
    # Power of each source in the frame, with a little for all: (n_sources, n_frames, 1)
    parts = (masks[:, :, first:last].square() * heard).sum(-1, keepdim=True) + tiny
    # Divided first, so that no power over- or underflows.
    shares = (parts / parts.sum(0)) ** _SHARE_EXPONENT
    shares = shares / shares.sum(0)
    n_above = masks.shape[-1] - last
    return torch.cat([masks[..., :last], shares.expand(-1, -1, n_above)], dim=-1)


def full_band_masks(stretch: Stretch, masks: Tensor, *, is_higher: bool) -> Tensor:
    """Give the masks of a stretch by which a recording is divided.

    Parameters
    ----------
    stretch : Stretch
    masks : Tensor of shape (n_sources, n_frames, n_bins)
    is_higher : bool
        Whether the rate of the recording is higher than that of the network. Then the last bins
        stand for all that lies above.

    Returns
    -------
    Tensor of shape (n_sources, n_frames, n_bins)
    """
    if not is_higher:
        return masks
    top = masks.shape[-1] - 1
    power = stretch.spectrogram.abs().square()
    return share_upper_bins(masks, power, int(_FIRST_COUNTED * top), int(_LAST_HEARD * top))


def full_band_pieces(
    pieces: Iterable[tuple[int, int, Tensor]],
    recording: Recording,
    framing: Framing,
    network_rate: int,
    phase_iterations: int = 0,
) -> Iterator[tuple[int, int, Tensor]]:
    """Separate a recording by the masks of its stretches, stretch by stretch.

    Parameters
    ----------
    pieces : iterable of (int, int, Tensor of shape (n_sources, n_frames_i, n_bins))
        First frame of each stretch, frames that the one before it covers too, and masks by
        `full_band_masks`; frames and bins are those of the network.
    recording : Recording
    framing : Framing
        The network's.
    network_rate : int
        Hz.
    phase_iterations : int, default=0
        As for `skdc.signal.resynthesise`.

    Yields
    ------
    start, overlap : int
        First sample of the stretch in the recording, and how many samples the one before it covers
        too.
    sources : float32 Tensor of shape (n_sources, n_channels, n_samples_i)
        Sums to the recording.
    """
    full = full_framing(framing, network_rate, recording.rate)
    step = Fraction(framing.hop_length * recording.rate, network_rate)  # samples a network frame
    # Hz of a bin of the recording, over Hz of one of the network
    bin_ratio = recording.rate / full.win_length * framing.win_length / network_rate
    bins = torch.arange(full.n_bins, dtype=torch.float64, device="cpu") * bin_ratio
    previous_stop = 0
    for first, _, masks in pieces:
        n_frames = masks.shape[1]
        start = int(first * step)
        # The last frame of a recording lies at its end or beyond.
        stop = min(int((first + n_frames - 1) * step), recording.n_samples)
        samples = recording.read(start, stop).to(masks.device)  # (n_channels, n)
        count = full.frame_count(stop - start)
        places = start + torch.arange(count, device="cpu") * full.hop_length
        frames = places.double() / float(step) - first
        masks = stretch_masks(masks, frames.to(masks.device), bins.to(masks.device))
        yield start, max(previous_stop - start, 0), _masked(masks, samples, full, phase_iterations)
        previous_stop = stop


def _masked(masks: Tensor, samples: Tensor, framing: Framing, phase_iterations: int) -> Tensor:
    """Divide all channels by the same masks: ``(n_sources, n_channels, n_samples)``."""
    n_channels, n_samples = samples.shape
    sources = samples.new_empty(len(masks), n_channels, n_samples)
    # One at a time: spectrograms take several times the memory of what they are made of.
    for channel, waveform in enumerate(samples):
        spectrogram = framing.stft(waveform)
        for source, mask in enumerate(masks):
            sources[source, channel] = resynthesise(
                mask, spectrogram, n_samples, framing, phase_iterations
            )
    if phase_iterations:
        share_rest(sources, samples)
    sources[0] += samples - sources.sum(0)  # what the rounding of the transforms left
    return sources
