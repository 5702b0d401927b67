"""From a mixture's waveform to its sources: embed, cluster, mask, resynthesise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, tee
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from skdc import signal
from skdc.exceptions import AudioWarning
from skdc.network import EmbeddingNetwork
from skdc.network.count import CountHead
from skdc.separation.activity import MOMENT_S, quieten
from skdc.separation.clustering import (
    SPREAD_OF_ONE,
    find_centroids,
    loudest_first,
    of_number,
    seeded,
    soft_assign,
)
from skdc.separation.counts import (
    are_fewer,
    are_several,
    count_logits,
    frame_energy,
    one_voice_odds,
)
from skdc.separation.evidence import Clue, take_clue
from skdc.separation.full_band import Recording, SourceBlocks, full_band_masks
from skdc.separation.hearing import Hearing, Sound
from skdc.separation.identity import identify
from skdc.separation.pairs import PAIR_SWEEPS, separate_pairs
from skdc.separation.pieces import AssignedPieces, giving_back_memory
from skdc.separation.quality import Separability
from skdc.separation.speeds import SPEEDS, at_speed, put_together
from skdc.separation.stretches import OVERLAP_S, STRETCH_S, Stretch, fade, join, spans, stitch
from skdc.signal import Framing
from skdc.signal.storage import Spool

__all__ = ["Separator"]

# Both were chosen on held-out mixtures: there 2 is 0.1 dB better than 3, and better than 1.5.
_SOFT_MASK_SHARPNESS = 2.0
_COUNT_PROBES = 5
# Recordings up to this are one stretch; longer ones are cut, so that who is alone for a while is
# not taken for two.
_LONGEST_WHOLE_S = 30.0


class Projection(NamedTuple):
    """What the network gives for a stretch of a mixture."""

    sound: Sound
    states: Tensor  # (1, frames, bands, width)
    vectors: Tensor  # (frames, bins, dim), along each bin's embedding
    masks: Tensor | None  # (masks, frames, bins), of the mask head

    @property
    def spectrogram(self) -> Tensor:
        """That of the sound: ``(frames, bins)``."""
        return self.sound.spectrogram


class Waveform(Protocol):
    """A mixture, which a Tensor of shape ``(n_samples,)`` is, or what reads its parts as used."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


@dataclass(frozen=True)
class Separator:
    """A trained network and how its embeddings become sources.

    Parameters
    ----------
    network : EmbeddingNetwork
        In evaluation mode.
    framing : Framing
        What the network was trained with.
    precision : {"float32", "bfloat16"}, default="float32"
        Precision of the network's arithmetic.
    mask : {"soft", "binary", "head"}, default="soft"
        Each bin shared by how near each cluster is, or given to its nearest cluster alone, or
        shared as the network's mask head says, where there are as many sources as that has masks;
        any other number is separated as with ``"soft"``, but its pairs by the head of two masks.
    seed : int, default=0
        Seed of the clustering, the same for every mixture.
    pair_sweeps : int, default=2
        Times that each two of three or more sources are separated again from their sum; see
        `skdc.separation.pairs`. A clusterer of the caller's own does without.
    clusterer : scikit-learn clusterer, optional
        What groups the embeddings instead of k-means; cloned for each mixture. Where it has a
        `random_state` of None, `seed` takes its place.
    sample_rate : int, default=8000
        Rate of the mixtures, Hz: long ones are cut into stretches of some seconds.
    spread_of_one : float, default=0.43
        How far the embeddings of a single talker spread, where their number is to be found and
        the network has no count head; see `skdc.separation.estimate_n_clusters`.
    noise : bool, default=False
        Whether to keep noise out of the sources: masks and sources have one more, the last, which
        is what the noise head takes to be no speech.
    phase_iterations : int, default=0
        Times that the frames of each source are made to agree on their phases; see
        `skdc.signal.resynthesise`.
    speeds : int, default=1
        Number of speeds at which the network hears each mixture; see `skdc.separation.speeds`.
    report : callable, optional
        Called with the seconds of a mixture that were done since the last call.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import Framing
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> from skdc.separation import Separator
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5)).eval()
    >>> mixture = torch.rand(4000) - 0.5
    >>> separator = Separator(network, Framing())
    >>> [sources.shape for sources in separator.separate([mixture, mixture], [2, 3])]
    [torch.Size([2, 4000]), torch.Size([3, 4000])]
    """

    network: EmbeddingNetwork
    framing: Framing
    precision: str = "float32"
    mask: str = "soft"
    seed: int = 0
    pair_sweeps: int = PAIR_SWEEPS
    clusterer: Any = None
    sample_rate: int = 8000
    spread_of_one: float = SPREAD_OF_ONE
    noise: bool = False
    phase_iterations: int = 0
    speeds: int = 1
    report: Callable[[float], object] | None = None

    @property
    def hearing(self) -> Hearing:
        """How the network is given spectrograms."""
        return Hearing(self.network, self.framing, self.precision, self.sample_rate)

    def embed(self, mixtures: Iterable[Tensor]) -> Iterator[Tensor]:
        """Embed every bin of mixtures.

        Parameters
        ----------
        mixtures : iterable of Tensor of shape (n_samples,)
            On any device.

        Yields
        ------
        float32 Tensor of shape (n_frames, n_bins, embedding_dim)
            Unit norm; on the network's device.
        """
        for projection in self._projections(mixtures):
            yield functional.normalize(projection.vectors.float(), dim=-1)
            self._report(len(projection.spectrogram))

    def states(self, mixtures: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the states of the trunk, for heads that hear all of a mixture.

        Parameters
        ----------
        mixtures : iterable of Tensor of shape (n_samples,)
            On any device.

        Yields
        ------
        states : Tensor of shape (1, n_frames, n_bands, width)
        energy : Tensor of shape (1, n_frames)
            Energy of each frame of the mixture.
        """
        for sound, states in self.hearing.states(self.hearing.sounds(mixtures)):
            yield states, frame_energy(sound.spectrogram)

    def labels(
        self, mixtures: Sequence[Tensor], n_sources: Iterable[int | None]
    ) -> Iterator[Tensor]:
        """Cluster the bins of mixtures.

        Parameters
        ----------
        mixtures : sequence of Tensor of shape (n_samples,)
        n_sources : iterable of int or None
            Number of clusters of each; None estimates it.

        Returns
        -------
        iterator of int64 Tensor of shape (n_frames, n_bins)
        """
        return map(signal.dominant_source, self.masks(mixtures, n_sources))

    def masks(
        self, mixtures: Sequence[Tensor], n_sources: Iterable[int | None]
    ) -> Iterator[Tensor]:
        """Give masks of the sources of mixtures.

        Parameters
        ----------
        mixtures : sequence of Tensor of shape (n_samples,)
        n_sources : iterable of int or None
            Number of sources of each; None estimates it.

        Yields
        ------
        float32 Tensor of shape (n_sources, n_frames, n_bins)
            Sums to 1 in every bin.
        """
        counts = list(islice(n_sources, len(mixtures)))
        found = self.stretches(mixtures, counts)
        for mixture, count, parts in zip(mixtures, counts, found, strict=True):
            pieces, _ = self._assigned(parts, count, self._with_noise)
            yield stitch(pieces, self.framing.frame_count(len(mixture)))

    def separate(
        self,
        mixtures: Sequence[Tensor],
        n_sources: Iterable[int | None],
        found: Iterable[Separability] | None = None,
    ) -> Iterator[Tensor]:
        """Separate mixtures, in memory that does not grow with their length but for the result.

        Parameters
        ----------
        mixtures : sequence of Tensor of shape (n_samples,)
        n_sources : iterable of int or None
            Number of sources of each; None estimates it.
        found : iterable of Separability, optional
            One a mixture, to be filled with how clearly it was divided.

        Yields
        ------
        float32 Tensor of shape (n_sources, n_samples)
            With the mixture's scale; sums to it.
        """
        hop = self.framing.hop_length
        counts = list(islice(n_sources, len(mixtures)))
        all_parts = self._watched(self.stretches(mixtures, counts), found)
        for mixture, count, (parts, item) in zip(mixtures, counts, all_parts, strict=True):
            pieces, _ = self._assigned(parts, count, partial(self._sources, mixture), item)
            in_samples = (
                (start * hop, (overlap - 1) * hop, piece) for start, overlap, piece in pieces
            )
            yield join(fade(in_samples), len(mixture))

    def separate_full_band(
        self,
        mixtures: Sequence[Waveform],
        n_sources: Iterable[int | None],
        recordings: Iterable[Recording],
        sample_rate: int,
        found: Iterable[Separability] | None = None,
    ) -> Iterator[SourceBlocks]:
        """Separate recordings at their own rates, with all their frequencies and channels.

        Parameters
        ----------
        mixtures : sequence of Waveform
            What the network hears of each: one channel at its own rate.
        n_sources : iterable of int or None
            Number of sources of each; None estimates it.
        recordings : iterable of Recording
            One a mixture.
        sample_rate : int
            Rate of the mixtures, Hz.
        found : iterable of Separability, optional
            As for `separate`.

        Yields
        ------
        SourceBlocks
            float32 Tensors of shape ``(n_sources, n_channels, n_samples_i)``, which sum to the
            recording.
        """
        counts = list(islice(n_sources, len(mixtures)))
        all_parts = self._watched(self.stretches(mixtures, counts), found)
        for recording, count, (parts, item) in zip(recordings, counts, all_parts, strict=True):
            is_higher = recording.rate > sample_rate
            above = partial(self._full_band_masks, is_higher=is_higher)
            masks, n_sources_found = self._assigned(parts, count, above, item)
            yield SourceBlocks(
                masks, n_sources_found, recording, self.framing, sample_rate, self.phase_iterations
            )

    def _watched(
        self, all_parts: Iterable[Iterator[Stretch]], found: Iterable[Separability] | None
    ) -> Iterator[tuple[Iterator[Stretch], Separability | None]]:
        if found is None:
            yield from ((parts, None) for parts in all_parts)
            return
        heads = self._own_count_head(), self.network.voice_head
        for parts, item in zip(all_parts, found, strict=True):
            yield item.watch(parts, self.framing, *heads), item

    def _with_noise(self, stretch: Stretch, masks: Tensor) -> Tensor:
        """Take what is noise from the masks of a stretch, and add a mask for it, if asked for."""
        if not self.noise:
            return masks
        if self.network.noise_head is None:
            raise ValueError(
                "noise=True needs a model with a noise head, but this one has none; fit_voices, "
                "or skdc voices, trains one"
            )
        with torch.no_grad():
            speech = self.network.noise_head(stretch.states, stretch.spectrogram[None])
        return torch.cat([masks * speech, 1 - speech])

    def _full_band_masks(self, stretch: Stretch, masks: Tensor, *, is_higher: bool) -> Tensor:
        masks = self._with_noise(stretch, masks)
        return full_band_masks(stretch, masks, is_higher=is_higher)

    def _sources(self, mixture: Tensor, stretch: Stretch, masks: Tensor) -> Tensor:
        masks = self._with_noise(stretch, masks)
        part = self._segment(mixture, stretch.start, stretch.start + len(stretch.spectrogram))
        part = part.to(masks.device)
        spectrogram = self.framing.stft(part)  # as loud as it is
        sources = signal.resynthesise(
            masks, spectrogram, len(part), self.framing, self.phase_iterations
        )
        if self.phase_iterations:
            signal.share_rest(sources, part.to(sources))
        return sources

    def stretches(
        self, mixtures: Sequence[Waveform], n_clusters: Iterable[int | None]
    ) -> Iterator[Iterator[Stretch]]:
        """Cut mixtures into stretches, and cluster each by itself.

        Parameters
        ----------
        mixtures : sequence of Waveform
        n_clusters : iterable of int or None
            Clusters of each stretch of a mixture; None estimates their number.

        Yields
        ------
        iterator of Stretch
            Those of a mixture, a single one where it is short; to be taken in this order.
        """
        cut = [list(self._spans(self.framing.frame_count(len(x)))) for x in mixtures]
        segments = (
            self._segment(mixture, start, stop)
            for mixture, cuts in zip(mixtures, cut, strict=True)
            for start, stop, _ in cuts
        )
        at_each_speed = zip(SPEEDS[: self.speeds], tee(segments, self.speeds), strict=True)
        projections = zip(*(self._projections(own, at) for at, own in at_each_speed), strict=True)
        for mixture, cuts, count in zip(mixtures, cut, n_clusters, strict=False):
            n_kept = None
            if len(cuts) > 1 and count is None:
                n_kept = self._most_clusters(mixture, cuts)
            if self.clusterer is None:
                count = count or n_kept
            yield self._clustered(cuts, count, n_kept, projections)

    def _spans(self, n_frames: int) -> Iterable[tuple[int, int, int]]:
        if n_frames <= self.framing.frame_count(round(_LONGEST_WHOLE_S * self.sample_rate)):
            return [(0, n_frames, 0)]
        return spans(n_frames, self.hearing.n_frames(STRETCH_S), self.hearing.n_frames(OVERLAP_S))

    def _most_clusters(self, mixture: Waveform, cuts: Sequence[tuple[int, int, int]]) -> int:
        """Give the most sources that are found in one of some stretches, but at least two.

        A voice that two clusters share is found out later; two voices in a cluster are not.
        """
        probes = cuts[:: -(-len(cuts) // _COUNT_PROBES)]
        parts = self._projections(self._segment(mixture, *cut[:2]) for cut in probes)
        counts = (
            self._heard_count([part])[0]
            or len(self.centroids(part.vectors, part.spectrogram.abs(), None))
            for part in parts
        )
        return max(2, *counts)

    def _assigned(
        self,
        parts: Iterator[Stretch],
        n_sources: int | None,
        make: Callable[[Stretch, Tensor], Tensor],
        item: Separability | None = None,
    ) -> tuple[Iterable[tuple[int, int, Tensor]], int]:
        """Make something of the masks of each stretch, and put it where its voices belong.

        Gives the pieces, and the number of sources. What to be careful about is noted in the item;
        where there is none, it is a warning.
        """
        first = next(parts)
        if (second := next(parts, None)) is None:
            # A recording of a single stretch is as its clusters are, ordered as long ones are.
            energy = (first.masks * first.spectrogram.abs()).square().sum((1, 2))  # (n_sources,)
            masks = first.masks[energy.argsort(descending=True, stable=True)]
            return [(0, 0, make(first, masks))], len(masks) + self.noise
        head = self.network.voice_head
        count_head = self._own_count_head() if n_sources is None else None
        clues: list[Clue] = []
        places: list[tuple[int, int]] = []
        made = Spool()
        before: Tensor | None = None
        n_moment = self.hearing.n_frames(MOMENT_S)
        for stretch in giving_back_memory(chain([first, second], parts)):
            masks, energy = quieten(stretch.masks, stretch.spectrogram, n_moment)
            if before is not None:
                before = before[:, before.shape[1] - stretch.overlap :]
            clues.append(take_clue(stretch, energy, before, head, count_head, n_moment))
            places.append((stretch.start, stretch.overlap))
            made.append(make(stretch, masks).cpu().numpy())
            before = stretch.masks
        identity = identify(
            clues,
            n_sources,
            self.framing.hop_length / self.sample_rate,
            n_moment,
            odds=None if head is None else tuple(head.odds.tolist()),
            seed=self.seed,
        )
        for note in identity.notes():
            if item is None:
                warnings.warn(note, AudioWarning, stacklevel=2)
            else:
                item.notes.append(note)
        device = self.network.device
        pieces = AssignedPieces(places, made, identity.voices, identity.n_voices, device)
        return pieces, identity.n_voices + self.noise

    def _clustered(
        self,
        cuts: Iterable[tuple[int, int, int]],
        n_clusters: int | None,
        n_kept: int | None,
        projections: Iterator[tuple[Projection, ...]],
    ) -> Iterator[Stretch]:
        """Cluster stretches, and keep as many clusters of each as of the others, if so asked.

        Takes what is heard of each at all speeds.
        """
        # The cuts come first in zip, so that no projection of the next mixture is taken.
        parts = zip(cuts, projections, strict=False)
        is_of_pairs = self.own_pair_sweeps and (n_clusters is None or n_clusters > 2)
        for cut, heard in parts:
            # Pairs of neighbours go through the network together.
            n_more = self.hearing.n_together(cut[1] - cut[0]) - 1 if is_of_pairs else 0
            group = [(cut, heard), *islice(parts, n_more)]
            found = self._found([heard for _, heard in group], n_clusters)
            for (cut, (part, *_)), (own, *masks) in zip(group, found, strict=True):
                start, stop, overlap = cut
                if n_kept is not None:
                    kept = [of_number(each, own, n_kept) for each in masks]
                    masks, own = [each for each, _ in kept], kept[0][1]
                settled = self._settled(masks[0])
                first = None if settled is masks[-1] else masks[-1]
                yield Stretch(start, overlap, part.spectrogram, part.states, settled, own, first)
                self._report(stop - start - overlap)

    def _found(
        self, heard: Sequence[tuple[Projection, ...]], n_clusters: int | None
    ) -> Iterator[tuple[Tensor, ...]]:
        """Give a vector of each source of some stretches, the masks, and those of the first speed.

        Takes what is heard at all speeds; where that is one, its masks are all there are.
        """
        found: list[list[tuple[Tensor, Tensor]]] = []
        counts = [n_clusters] * len(heard)
        for parts in zip(*heard, strict=True):
            pairs = zip(parts, counts, strict=True)
            found.append(list(self._pairs_again([(p, *self._masks(p, n)) for p, n in pairs])))
            # A clusterer of the caller's own may find another number, which then does not count.
            is_own = self.clusterer is not None
            counts = [None if is_own else len(masks) for masks, _ in found[0]]
        framings = [at_speed(self.framing, speed) for speed in SPEEDS[: self.speeds]]
        for parts, of_stretch in zip(heard, zip(*found, strict=True), strict=True):
            first, own = of_stretch[0]
            if len(parts) == 1 or len(first) == 1:
                yield own, first
                continue
            spectrograms = [part.spectrogram for part in parts]
            masks = put_together([masks for masks, _ in of_stretch], spectrograms, framings)
            totals = (masks * spectrograms[0].abs()).sum((1, 2))  # (n_sources,)
            order = totals.argsort(descending=True, stable=True)  # as `loudest_first` has it
            yield own[order], masks[order], first[order]

    def _pairs_again(
        self, found: Sequence[tuple[Projection, Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give better masks of three and more sources, and their vectors; those of fewer as are.

        Takes some stretches, with masks and a vector for each source of each.
        """
        n_sweeps = self.own_pair_sweeps
        if not n_sweeps or all(len(masks) < 3 for _, masks, _ in found):
            return ((masks, centroids) for _, masks, centroids in found)

        def split(sums: Sequence[tuple[int, Tensor]]) -> Iterator[Tensor]:
            wholes = ((found[index][0].sound, kept) for index, kept in sums)
            pairs = (Sound(kept * sound.spectrogram, sound.lift) for sound, kept in wholes)
            yield from (self._masks(part, 2)[0] for part in self._heard(pairs))

        magnitudes = [part.spectrogram.abs() for part, _, _ in found]
        all_masks = separate_pairs([masks for _, masks, _ in found], magnitudes, split, n_sweeps)
        return (
            (masks, centroids)
            if len(masks) < 3
            else loudest_first(part.spectrogram, part.vectors, masks)
            for (part, _, centroids), masks in zip(found, all_masks, strict=True)
        )

    def _report(self, n_frames: int) -> None:
        if self.report is not None:
            self.report(n_frames * self.framing.hop_length / self.sample_rate)

    def _masks(self, part: Projection, n_sources: int | None) -> tuple[Tensor, Tensor]:
        """Masks of the sources of a stretch, and a vector for each source."""
        if n_sources is None:
            n_sources, tried = self._heard_count([part])
            if n_sources in tried:
                return tried[n_sources]
        heard = part.masks
        if heard is not None and n_sources == len(heard):
            return loudest_first(part.spectrogram, part.vectors, heard)
        # Where there are three, a pair of them may have next to nothing.
        centroids = self.centroids(part.vectors, part.spectrogram.abs(), n_sources)
        if heard is not None and len(centroids) == len(heard):
            return loudest_first(part.spectrogram, part.vectors, heard)
        # Pairs are separated from soft ones, whatever `mask` says.
        return soft_assign(part.vectors, centroids, _SOFT_MASK_SHARPNESS), centroids

    def _settled(self, masks: Tensor) -> Tensor:
        """Give each bin to the source that has most of it, where `mask` asks for that."""
        if self.mask != "binary":
            return masks
        return signal.binary_masks(signal.dominant_source(masks), len(masks))

    @property
    def own_pair_sweeps(self) -> int:
        """Times that pairs are separated again; never by a clusterer that has its own number."""
        return self.pair_sweeps if self.clusterer is None else 0

    def _own_count_head(self) -> CountHead | None:
        """Give the count head; None where a clusterer of the caller's own says how many talk."""
        return None if self.clusterer is not None else self.network.count_head

    def count(self, sounds: Iterable[Sound]) -> int | None:
        """Give the number of sources that are heard in several microphones together.

        Parameters
        ----------
        sounds : iterable of Sound
            One of each microphone.

        Returns
        -------
        int or None
            The likeliest if the microphones are taken for independent witnesses; None without a
            count head, or with a clusterer of the caller's own.
        """
        # Not all at once: the batch would need several times the memory of one.
        return self._heard_count([part for sound in sounds for part in self._heard([sound])])[0]

    @torch.no_grad()
    def _heard_count(
        self, parts: Sequence[Projection]
    ) -> tuple[int | None, dict[int | None, tuple[Tensor, Tensor]]]:
        """Give the number of sources of what one or more microphones hear; None without a head.

        Also gives what `_masks` gave of the first one for the numbers that were tried.
        """
        if (head := self._own_count_head()) is None:
            return None, {}
        logits = torch.stack([count_logits(head, p.spectrogram, p.states) for p in parts]).sum(0)
        number = 1 + int(logits.argmax())
        first = parts[0]
        if number == 2 or self.network.voice_head is None or not bool(first.spectrogram.any()):
            return number, {}
        n_tried = max(number, 2)
        masks, centroids = self._masks(first, n_tried)
        shares = masks * first.spectrogram.abs()
        odds = one_voice_odds(self.network.voice_head, shares, centroids)
        if number == 1:
            number += are_several(logits, odds)
        else:
            number -= are_fewer(logits, number, odds)
        return number, {n_tried: (masks, centroids)}

    def centroids(
        self, vectors: Tensor, magnitude: Tensor, n_sources: int | None, **options: Any
    ) -> Tensor:
        """Cluster what the network makes of a mixture.

        Parameters
        ----------
        vectors : Tensor of shape (n_frames, n_bins, embedding_dim)
            As `step` gives them.
        magnitude : Tensor of shape (n_frames, n_bins)
            That of the mixture: quiet bins do not count, and loud ones count more.
        n_sources : int or None
            Clusters; None estimates their number.
        **options
            As for `skdc.separation.find_centroids`.

        Returns
        -------
        float32 Tensor of shape (n_sources, embedding_dim)
        """
        magnitude = signal.to_unit_peak(magnitude)
        return find_centroids(
            vectors,
            self.framing.activity(magnitude),
            n_sources,
            weights=signal.bin_weights(magnitude),
            spread_of_one=self.spread_of_one,
            seed=self.seed,
            clusterer=None if self.clusterer is None else seeded(self.clusterer, self.seed),
            **options,
        )

    def _projections(
        self, segments: Iterable[Tensor], speed: float = SPEEDS[0]
    ) -> Iterator[Projection]:
        """Give the spectrogram of each segment, and what the network gives for it."""
        return self._heard(replace(self.hearing, speed=speed).sounds(segments))

    @torch.no_grad()
    def _heard(self, sounds: Iterable[Sound]) -> Iterator[Projection]:
        """Give what the network gives for sounds."""
        for sound, states in self.hearing.states(sounds):
            yield Projection(sound, states, *self._read_out(states))

    def _read_out(self, states: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the vectors of bins, and the masks of the mask head, where they are asked for."""
        with self.hearing.autocast():
            vectors = self.network.embed(states).squeeze(0)
            if self.mask != "head":
                return vectors, None
            if self.network.mask_head is None:
                raise ValueError(
                    "mask='head' needs a network with a mask head, but this one has none; fit "
                    "with an objective such as 'mask_inference + whitened_kmeans', or use "
                    "mask='soft'"
                )
            # (1, frames, bins, masks) -> (masks, frames, bins)
            masks = self.network.mask_head(states).squeeze(0).float().softmax(-1).movedim(-1, 0)
        return vectors, masks

    @torch.no_grad()
    def step(self, features: Tensor, state: Any = None) -> tuple[Tensor, Tensor | None, Any]:
        """Take a block of frames through the network, going on from those before it.

        Parameters
        ----------
        features : Tensor of shape (n_frames, n_bins)
            Log-magnitude features, lifted where bands are missing.
        state : object, optional
            What this gave with the block before; None at the beginning.

        Returns
        -------
        vectors : Tensor of shape (n_frames, n_bins, embedding_dim)
            Along each bin's embedding, of any length.
        masks : float32 Tensor of shape (n_masks, n_frames, n_bins) or None
            Those of the mask head, where `mask` asks for them.
        state : object
            For the next block; None where the network is not causal.
        """
        with self.hearing.autocast():
            states, state = self.network.step(features.unsqueeze(0), state)
        return *self._read_out(states), state

    def cluster_masks(self, vectors: Tensor, centroids: Tensor) -> Tensor:
        """Share bins among clusters, or give each to its nearest, as `mask` says.

        Parameters
        ----------
        vectors : Tensor of shape (n_frames, n_bins, embedding_dim)
        centroids : float32 Tensor of shape (n_sources, embedding_dim)

        Returns
        -------
        float32 Tensor of shape (n_sources, n_frames, n_bins)
        """
        return self._settled(soft_assign(vectors, centroids, _SOFT_MASK_SHARPNESS))

    def _segment(self, mixture: Waveform, start: int, stop: int) -> Tensor:
        # The samples whose transform has the frames from `start` to `stop`.
        hop = self.framing.hop_length
        return mixture[start * hop : (stop - 1) * hop]
