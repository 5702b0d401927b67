"""Training batches, made on the device: segments, levels and partners are random.

A bank holds every recording in one flat tensor; a batch is a handful of random numbers, one gather
and a short-time Fourier transform. Batch number `step` is a pure function of the seed and the
step, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from skdc import signal
from skdc.signal import Framing, active_level, count_sounding
from skdc.signal.storage import ArrayStore
from skdc.training.acoustics import add_noise, add_rooms, draw_some
from skdc.training.mixing import DynamicMixing, check_speaker_count, mixture_counts
from skdc.training.pairs import hear_in_pairs

__all__ = [
    "Batch",
    "BatchSource",
    "MixtureBank",
    "SourceBank",
    "make_bank",
    "make_targets",
    "step_seed",
]


# Share of the mixtures of pairs of microphones that only one of them hears.
_SINGLE_SHARE = 0.1
# Random numbers and counts are on the CPU, whatever torch's default device is.
_EXACT: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


class Batch(NamedTuple):
    """What one training step needs.

    Attributes
    ----------
    features : float32 Tensor of shape (n_mixtures, n_frames, n_features)
        As `skdc.signal.Framing.features` gives them.
    labels : int64 Tensor of shape (n_mixtures, n_frames, n_bins)
        Source of each bin, negative for none.
    weights : float32 Tensor of shape (n_mixtures, n_frames, n_bins)
        0 for bins that are inactive or of no source.
    n_sources : int
        Largest number of sources of a mixture.
    mixture : float32 Tensor of shape (n_mixtures, n_frames, n_bins) or None
        Magnitude of the mixture, where it was asked for.
    sources : float32 Tensor of shape (n_mixtures, n_sources, n_frames, n_bins) or None
        Truncated phase-sensitive targets, where they were asked for: the real part of each
        source in the direction of the mixture, clipped to 0...magnitude.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    n_sources: int
    mixture: Tensor | None = None
    sources: Tensor | None = None


class BatchSource(Protocol):
    """Where batches come from: a `SourceBank` or a `MixtureBank`."""

    framing: Framing
    n_mixture_samples: int
    has_waveforms: bool
    digest: str

    def batch(
        self,
        n_mixtures: int,
        n_frames: int,
        *,
        seed: int,
        step: int,
        with_spectrograms: bool = False,
    ) -> Batch:
        """Make batch number `step`.

        Parameters
        ----------
        n_mixtures, n_frames : int
            Size of the batch.
        seed, step : int
            The batch is a function of these two.
        with_spectrograms : bool, default=False
            As for `make_targets`; not where the references are label maps.

        Returns
        -------
        Batch
        """
        ...


def step_seed(seed: int, step: int) -> int:
    """Give the seed of one step of a run, for torch's generators.

    Parameters
    ----------
    seed, step : int
        Not negative.

    Returns
    -------
    int
        A number of 32 bits, since torch's generator on the CPU ignores any others. Other seeds
        and other steps give unrelated numbers.

    Examples
    --------
    >>> from skdc.training.banks import step_seed
    >>> step_seed(0, 1) == step_seed(1, 0)
    False
    """
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0])


def _generator(seed: int, step: int) -> torch.Generator:
    # On the CPU, so that the same seed gives the same batches on every device.
    return torch.Generator("cpu").manual_seed(step_seed(seed, step))


def _draw(end: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw integers from 0 to below `end`."""
    return torch.randint(end, shape, generator=generator, device="cpu")


def make_targets(
    mixtures: Tensor, sources: Tensor, framing: Framing, *, with_spectrograms: bool = False
) -> Batch:
    """Turn waveforms into features, labels and weights.

    Parameters
    ----------
    mixtures : Tensor of shape (n_mixtures, n_samples) or (n_mixtures, 2, n_samples)
        What one microphone or a pair of them heard, at an ordinary level: the squares of what is
        to count must be numbers of this precision.
    sources : Tensor of shape (n_mixtures, n_sources, n_samples)
        Reference sources, as the first microphone hears them; silent ones pad mixtures of fewer
        sources.
    framing : Framing
    with_spectrograms : bool, default=False
        Whether to give the magnitude of the mixture and the targets of the sources too.

    Returns
    -------
    Batch

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import Framing
    >>> from skdc.training.banks import make_targets
    >>> sources = torch.rand(4, 2, 6336)
    >>> make_targets(sources.sum(1), sources, Framing()).labels.shape
    torch.Size([4, 100, 129])
    """
    spectrogram, magnitude, features = _hear(mixtures, framing)
    parts = framing.stft(sources)  # (mixtures, sources, frames, bins)
    magnitudes = _magnitude(parts)
    # Where all sources are silent there may be noise, which is of none of them.
    is_of_source = magnitudes.amax(1) > 0
    batch = Batch(
        features,
        signal.dominant_source(magnitudes),
        (framing.activity(magnitude) & is_of_source).float(),
        sources.shape[1],
    )
    if not with_spectrograms:
        return batch
    targets = _in_phase(parts, spectrogram.unsqueeze(1), magnitude.unsqueeze(1))
    return batch._replace(mixture=magnitude, sources=targets)


def _magnitude(spectrogram: Tensor) -> Tensor:
    """Give the magnitude in a third of the time of `abs`, where squares are in range."""
    return spectrogram.real.square().addcmul_(spectrogram.imag, spectrogram.imag).sqrt_()


def _in_phase(parts: Tensor, mixture: Tensor, magnitude: Tensor) -> Tensor:
    """Give ``phase_sensitive_masks(parts, mixture) * magnitude``, with fewer passes."""
    length = magnitude.clamp_min(torch.finfo(magnitude.dtype).tiny)
    targets = (parts.real * mixture.real).addcmul_(parts.imag, mixture.imag).div_(length)
    return targets.clamp_(torch.zeros_like(magnitude), magnitude)


def _hear(mixtures: Tensor, framing: Framing) -> tuple[Tensor, Tensor, Tensor]:
    """Give the spectrogram of the first microphone, its magnitude, and what the network sees.

    All are ``(mixtures, frames, ...)``. The magnitude is computed once for all that needs it.
    """
    first, other = framing.stft(mixtures), None
    if mixtures.ndim == 3:
        first, other = first.unbind(1)  # (mixtures, 2, frames, bins)
    magnitude = _magnitude(first)
    return first, magnitude, framing.features(first if framing.hears_phases else magnitude, other)


class SourceBank:
    """Single-speaker recordings, mixed anew for every batch: dynamic mixing.

    Every recording is brought to the same active level and laid end to end with the others of its
    speaker. A mixture takes a random stretch of each of several different speakers, speakers
    weighted by how much they speak, at random relative levels. With a framing that hears phases,
    two microphones in a simulated room hear it; in one mixture of ten the second one is silent, so
    that the network also serves a single microphone.

    Parameters
    ----------
    sources : sequence of arrays of shape (n_samples,)
        Recordings of one speaker each; silent ones are left out.
    speakers : sequence of hashables, optional
        Speaker of each recording: nobody is mixed with themselves. Without it, every recording
        counts as a speaker.
    n_sources : int or sequence of int, default=2
        Sources of a mixture; from a sequence, one is drawn for each mixture. Those of `mixing`
        come first.
    mixing : DynamicMixing, optional
        Levels, speeds and partners.
    sample_rate : int, default=8000
        Hz; for measuring levels and for the times of rooms.
    framing : Framing, optional
    device : torch.device, optional
        Where the bank lives and batches are made; the CPU by default.
    on_disk : bool, default=False
        Whether the bank lives in a temporary file instead, for more than memory holds. Batches
        are the same.

    Attributes
    ----------
    digest : str
        Differs where recordings, speakers or the way of mixing differ.

    Raises
    ------
    ValueError
        If there are fewer speakers than a mixture needs.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.training.banks import SourceBank
    >>> rng = np.random.default_rng(0)
    >>> bank = SourceBank(rng.standard_normal((3, 16000)), speakers=["ann", "bob", "cyn"])
    >>> bank.batch(4, 100, seed=0, step=0).features.shape
    torch.Size([4, 100, 129])
    """

    has_waveforms = True

    def __init__(
        self,
        sources: Sequence[NDArray[np.floating]],
        speakers: Sequence[Hashable] | None = None,
        *,
        n_sources: int | Sequence[int] = 2,
        mixing: DynamicMixing | None = None,
        sample_rate: int = 8000,
        framing: Framing | None = None,
        device: torch.device | None = None,
        on_disk: bool = False,
    ) -> None:
        self.framing = framing or Framing()
        self.mixing = mixing or DynamicMixing()
        self.mixing.check()
        counts = mixture_counts(n_sources, self.mixing)
        self._counts = torch.tensor(counts, device="cpu")
        self._max_sources = max(counts)
        self._sample_rate = sample_rate
        self._speeds = torch.from_numpy(np.array(self.mixing.speeds, dtype=float, ndmin=1))
        by_speaker: dict[Hashable, list[int]] = {}
        for index in range(len(sources)):
            speaker = index if speakers is None else speakers[index]
            by_speaker.setdefault(speaker, []).append(index)
        lengths, spectra = [], []
        digest = hashlib.blake2b(repr((self._counts.tolist(), self.mixing)).encode())
        with ArrayStore(on_disk) as store:
            for indices in by_speaker.values():
                length, power = 0, torch.zeros(self.framing.n_bins, **_EXACT)
                # Each recording is accessed once, because that may read a file.
                for i in indices:
                    source = sources[i]
                    level = active_level(source, sample_rate)
                    if level == 0:
                        continue
                    recording = np.asarray(np.asarray(source) * (0.1 / level), np.float32)
                    store.append(recording)
                    digest.update(recording.data)
                    length += len(recording)
                    if self.mixing.similar_share > 0:
                        magnitude = self.framing.stft(torch.from_numpy(recording)).abs()
                        power += magnitude.square().sum(0)
                lengths += [length] * (length > 0)
                spectra += [power.clamp_min(1e-12).log()] * (length > 0)
                digest.update(repr(length).encode())
            check_speaker_count(len(lengths), counts, "speakers that are not silent")
            flat = torch.from_numpy(store.flat())
        self.digest = digest.hexdigest()[:32]
        self._lengths = torch.tensor(lengths, device="cpu")
        self._offsets = self._lengths.cumsum(0) - self._lengths
        self._chances = self._lengths.double()
        self._similar = self._near_speakers(spectra) if self.mixing.similar_share > 0 else None
        self._device = device or torch.device("cpu")
        self._flat = flat if on_disk else flat.to(self._device)
        self.n_mixture_samples = int(len(flat) / float(self._counts.float().mean()))

    def _near_speakers(self, spectra: list[Tensor]) -> Tensor:
        """Which speakers are among the quarter nearest to each: (n_speakers, n_speakers)."""
        shapes = torch.stack(spectra)  # (n_speakers, n_bins)
        # Without the level and the amount of speech, which say nothing about the voice.
        shapes = shapes - shapes.mean(1, keepdim=True)
        distances = torch.cdist(shapes, shapes)
        distances.fill_diagonal_(torch.inf)
        n_near = min(len(shapes) - 1, max(self._max_sources - 1, len(shapes) // 4))
        near = torch.zeros_like(distances, dtype=torch.bool)
        return near.scatter_(1, distances.argsort(1)[:, :n_near], True)

    def _draw_speakers(self, n_mixtures: int, generator: torch.Generator) -> Tensor:
        """Draw the speakers of mixtures: (n_mixtures, n_sources), all different in a row."""
        chances = self._chances.expand(n_mixtures, -1)
        speakers = torch.multinomial(chances, self._max_sources, generator=generator)
        if self._similar is None or self._max_sources == 1:
            return speakers
        is_similar = draw_some(n_mixtures, self.mixing.similar_share, generator)
        near = self._chances * self._similar[speakers[:, 0]]
        others = torch.multinomial(near, self._max_sources - 1, generator=generator)
        speakers[:, 1:] = torch.where(is_similar[:, None], others, speakers[:, 1:])
        return speakers

    def mixtures(
        self, n_mixtures: int, n_samples: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw mixtures and their sources.

        Parameters
        ----------
        n_mixtures, n_samples : int
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        mixtures : Tensor of shape (n_mixtures, n_samples) or (n_mixtures, 2, n_samples)
            The sum of the sources, with noise where `mixing` adds it; as two microphones hear it
            where the framing hears phases.
        sources : Tensor of shape (n_mixtures, n_sources, n_samples)
            As the first microphone hears them.
        """
        shape = (n_mixtures, self._max_sources)
        speaker = self._draw_speakers(n_mixtures, generator)
        length = self._lengths[speaker]
        start = (torch.rand(shape, generator=generator, **_EXACT) * length).long()
        gain_db = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu") - 0.5
        gain_db = gain_db * self.mixing.level_range_db
        gain = 10 ** (gain_db / 20)
        count = self._counts[_draw(len(self._counts), (n_mixtures,), generator)]
        gain = gain * (torch.arange(self._max_sources, device="cpu") < count[:, None])

        device, offset = self._flat.device, self._offsets[speaker]
        gain = gain.to(device, non_blocking=True).unsqueeze(-1)
        if len(self._speeds) == 1 and self._speeds[0] == 1:
            stretches = self._stretches(start, length, offset, n_samples)
        else:
            speed = _draw(len(self._speeds), shape, generator)
            stretches = torch.empty(*shape, n_samples, dtype=torch.float32, device=device)
            for index, value in enumerate(self._speeds.tolist()):
                own = speed == index  # (mixtures, sources)
                if not bool(own.any()):  # some libraries have no transform of no waveforms
                    continue
                n_read = max(2, round(n_samples * value))
                read = self._stretches(start[own], length[own], offset[own], n_read)
                stretches[own] = _played_faster(read, n_samples)
        sources = (stretches * gain).to(self._device)
        room: dict[str, Any] = {"sample_rate": self._sample_rate, "generator": generator}
        if self.framing.hears_phases:
            images = hear_in_pairs(sources, self.mixing.room_share, **room)
            mixtures, sources = images.sum(1), images[:, :, 0]
        else:
            if self.mixing.room_share > 0:
                sources = add_rooms(sources, self.mixing.room_share, **room)
            mixtures = sources.sum(1)
        if self.mixing.noise_share > 0:
            mixtures = add_noise(mixtures, self.mixing.noise_share, generator=generator)
        if self.framing.hears_phases:
            is_single = draw_some(n_mixtures, _SINGLE_SHARE, generator)
            mixtures[is_single.to(mixtures.device), 1] = 0.0
        return mixtures, sources

    def _stretches(self, start: Tensor, length: Tensor, offset: Tensor, n_samples: int) -> Tensor:
        """Read from where each speaker's audio begins: (...) -> (..., n_samples)."""
        device = self._flat.device
        ends = start + n_samples > length  # before the segment does
        if bool(ends.all()):
            # The segment goes on at the beginning of the speaker's audio.
            start, length, offset = (
                tensor.to(device, non_blocking=True).unsqueeze(-1)
                for tensor in (start, length, offset)
            )
            position = (start + torch.arange(n_samples, device=device)) % length + offset
            return self._flat[position]
        # Most segments are whole, and copied without the place of every sample:
        # (n_all - n_samples + 1, n_samples) -> (..., n_samples)
        place = torch.where(ends, 0, start + offset).to(device, non_blocking=True)
        stretches = self._flat.unfold(0, n_samples, 1)[place]
        if bool(ends.any()):
            stretches[ends] = self._stretches(start[ends], length[ends], offset[ends], n_samples)
        return stretches

    def batch(
        self,
        n_mixtures: int,
        n_frames: int,
        *,
        seed: int,
        step: int,
        with_spectrograms: bool = False,
    ) -> Batch:
        """Make batch number `step`; see `BatchSource.batch`."""
        n_samples = self.framing.segment_samples(n_frames)
        mixtures, sources = self.mixtures(n_mixtures, n_samples, _generator(seed, step))
        return make_targets(mixtures, sources, self.framing, with_spectrograms=with_spectrograms)


def _played_faster(waveforms: Tensor, n_samples: int) -> Tensor:
    """Resample waveforms to a number of samples, by their Fourier transform.

    Pitch and tempo change together, as on a tape that runs at another speed.
    """
    n_read = waveforms.shape[-1]
    if n_read == n_samples:
        return waveforms
    spectrum = torch.fft.rfft(waveforms)
    n_kept = min(n_read, n_samples) // 2 + 1
    spectrum = functional.pad(spectrum[..., :n_kept], (0, n_samples // 2 + 1 - n_kept))
    return torch.fft.irfft(spectrum, n_samples) * (n_samples / n_read)


class MixtureBank:
    """Given mixtures with given references: random segments of them, without dynamic mixing.

    Parameters
    ----------
    mixtures : sequence of arrays of shape (n_samples,)
        With a framing that hears phases, also of shape (n_channels, n_samples): each segment is
        that of the first microphone and of another one, drawn at random.
    references : sequence of arrays
        For each mixture its sources, floating of shape (n_sources, n_samples), or its label map,
        integer of shape (n_frames, n_bins).
    framing : Framing, optional
    device : torch.device, optional
        Where the bank lives and batches are made; the CPU by default.
    on_disk : bool, default=False
        Whether mixtures and references stay where they are, mapped from a file, instead of being
        copied; they must not change then.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.training.banks import MixtureBank
    >>> sources = np.random.default_rng(0).standard_normal((3, 2, 8000))
    >>> bank = MixtureBank(list(sources.sum(1)), list(sources))
    >>> bank.batch(5, 50, seed=0, step=0).labels.shape
    torch.Size([5, 50, 129])
    """

    def __init__(
        self,
        mixtures: Sequence[NDArray[np.floating]],
        references: Sequence[NDArray[np.generic]],
        *,
        framing: Framing | None = None,
        device: torch.device | None = None,
        on_disk: bool = False,
    ) -> None:
        self.framing = framing or Framing()
        self._device = device or torch.device("cpu")

        def keep(item: NDArray[np.generic]) -> Tensor:
            kind = np.int64 if np.issubdtype(np.asarray(item).dtype, np.integer) else np.float32
            if on_disk:
                return torch.from_numpy(np.asarray(item, kind))
            return torch.as_tensor(np.array(item, kind), device=self._device)

        self._mixtures = [keep(np.asarray(x, np.float32)) for x in mixtures]
        self._references = [keep(y) for y in references]
        self._is_labels = not self._references[0].is_floating_point()
        self.has_waveforms = not self._is_labels
        digest = hashlib.blake2b()
        for item in (*self._mixtures, *self._references):
            digest.update(repr(tuple(item.shape)).encode())
            digest.update(item.cpu().contiguous().numpy().data)
        self.digest = digest.hexdigest()[:32]
        counts = (int(y.max()) + 1 if self._is_labels else len(y) for y in self._references)
        self.n_sources = max(1, *counts)
        self._lengths = torch.tensor([x.shape[-1] for x in self._mixtures], **_EXACT)
        self.n_mixture_samples = int(self._lengths.sum())

    def batch(
        self,
        n_mixtures: int,
        n_frames: int,
        *,
        seed: int,
        step: int,
        with_spectrograms: bool = False,
    ) -> Batch:
        """Make batch number `step`, as `BatchSource.batch`: mixtures by length, segments anywhere.

        Mixtures that are shorter than a segment are padded with zeros.
        """
        segments, targets = self._segments(n_mixtures, n_frames, _generator(seed, step))
        # A recording may have any level: a power of two brings it to an ordinary one and back.
        peak = segments.abs().amax((1, 2), keepdim=True)  # (mixtures, 1, 1)
        level = torch.where(peak > 0, peak.log2().floor().clamp_min(-120).exp2(), 1.0)
        segments = segments / level
        segments = segments if self.framing.hears_phases else segments[:, 0]
        if self._is_labels:
            _, magnitude, features = _hear(segments, self.framing)
            weights = (self.framing.activity(magnitude) & (targets >= 0)).float()
            return Batch(features, targets, weights, self.n_sources)
        batch = make_targets(
            segments, targets / level, self.framing, with_spectrograms=with_spectrograms
        )
        if batch.mixture is None or batch.sources is None:
            return batch
        return batch._replace(
            mixture=batch.mixture * level, sources=batch.sources * level.unsqueeze(-1)
        )

    def _segments(
        self, n_mixtures: int, n_frames: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw segments, and what belongs to each: sources, or a label map of -1 where it ended.

        Segments are ``(n_mixtures, n_heard, n_samples)``, sources ``(n_mixtures, n_sources,
        n_samples)``, and label maps ``(n_mixtures, n_frames, n_bins)``.
        """
        hop = self.framing.hop_length
        n_samples = self.framing.segment_samples(n_frames)
        device = self._mixtures[0].device
        n_heard = 2 if self.framing.hears_phases else 1
        segments = torch.zeros(n_mixtures, n_heard, n_samples, dtype=torch.float32, device=device)
        if self._is_labels:
            targets = torch.full((n_mixtures, n_frames, self.framing.n_bins), -1, device=device)
        else:
            targets = torch.zeros(
                n_mixtures, self.n_sources, n_samples, dtype=torch.float32, device=device
            )
        chosen = torch.multinomial(
            self._lengths, n_mixtures, replacement=True, generator=generator
        )
        places = torch.rand(n_mixtures, generator=generator, dtype=torch.float32, device="cpu")
        # A microphone beside the first one, where there are several.
        others = torch.rand(
            n_heard - 1, n_mixtures, generator=generator, dtype=torch.float32, device="cpu"
        ).tolist()
        for i, (item, place) in enumerate(zip(chosen.tolist(), places.tolist(), strict=True)):
            mixture, reference = torch.atleast_2d(self._mixtures[item]), self._references[item]
            # Segments start on a frame, so that label maps can be cut along with the waveform.
            n_starts = max(0, mixture.shape[-1] - n_samples) // hop + 1
            frame = int(place * n_starts)
            segment = mixture[:, frame * hop :][:, :n_samples]  # (channels, samples)
            if len(segment) > 1:
                segment = segment[[0, 1 + int(others[0][i] * (len(segment) - 1))]]
            # A second microphone that is not there hears nothing.
            segments[i, : len(segment), : segment.shape[1]] = segment
            if self._is_labels:
                cut = reference[frame : frame + n_frames]
                targets[i, : len(cut)] = cut
            else:
                cut = reference[:, frame * hop :][:, :n_samples]
                targets[i, : cut.shape[0], : cut.shape[1]] = cut
        return segments.to(self._device), targets.to(self._device)


def make_bank(
    mixtures: Sequence[NDArray[np.floating]],
    references: Sequence[NDArray[np.generic]],
    *,
    remix: bool | DynamicMixing = True,
    sample_rate: int = 8000,
    framing: Framing | None = None,
    device: torch.device | None = None,
    on_disk: bool = False,
) -> BatchSource:
    """Make the bank that given mixtures are trained on from.

    Parameters
    ----------
    mixtures, references
        As for `MixtureBank`.
    remix : bool or DynamicMixing, default=True
        Mix the reference sources anew, as many as sound in one of the mixtures, as far as that can
        be done: not label maps, and not where fewer sources sound than a mixture has. The sources
        of a single mixture are mixed at other levels and from other places.
    sample_rate, framing, device, on_disk
        As for the banks.

    Returns
    -------
    SourceBank or MixtureBank

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.training.banks import make_bank
    >>> sources = np.random.default_rng(0).standard_normal((3, 2, 8000))
    >>> type(make_bank(list(sources.sum(1)), list(sources))).__name__
    'SourceBank'
    """
    mixing = remix if isinstance(remix, DynamicMixing) else None
    is_labels = np.issubdtype(np.asarray(references[0]).dtype, np.integer)
    if remix and not is_labels:
        levels = [[active_level(source, sample_rate) for source in own] for own in references]
        counts, n_sounding = count_sounding(levels)
        if n_sounding >= max(mixture_counts(counts, mixing)):
            return SourceBank(
                [source for own in references for source in own],
                n_sources=counts,
                mixing=mixing,
                sample_rate=sample_rate,
                framing=framing,
                device=device,
                on_disk=on_disk,
            )
    if mixing is not None:
        why = "label maps have no sources" if is_labels else "too few sources sound"
        warnings.warn(
            f"remix={mixing} changes nothing, because {why} to mix; training uses the mixtures as "
            "they are, as remix=False says",
            stacklevel=3,
        )
    return MixtureBank(mixtures, references, framing=framing, device=device, on_disk=on_disk)
