"""Who is who in a stream: the voice of each cluster, by all that was heard so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skdc.metrics import best_permutation
from skdc.network.voice import VoiceHead
from skdc.separation.activity import (
    MOMENT_S,
    Heard,
    OwnVoices,
    cut_moments,
    follow_voices,
    latest_voices,
    quieten,
)
from skdc.separation.evidence import Clue, faint_level, take_clue, weigh
from skdc.separation.stretches import OVERLAP_S, STRETCH_S, Stretch
from skdc.separation.voices import Evidence, assign_voices, voice_vectors

__all__ = ["LiveVoices"]

# To learn the voices from more stretches takes longer: up to 0.1 s from so many.
_MOST_STRETCHES = 24
# The voices are learnt from so much first, and from then on where stretches end.
_FIRST_S = 3.0


class _Remembered(NamedTuple):
    """A stretch that is over."""

    clue: Clue
    places: NDArray[np.int64]  # of each cluster in each frame: (n_clusters, n_frames)


class LiveVoices:
    """Tell which source each cluster of a stream belongs to, by the voices.

    Clusters of the last seconds are one voice cut in two where nobody else spoke in these, and
    who begins to speak then may be in any of them. So a stream is cut into the stretches of a long
    recording (`skdc.separation.identity`). Each time that one is over, the voices are learnt from
    all that are remembered. By these it is said each half moment whose voice each cluster has, by
    Viterbi's algorithm over the moments since the last stretch. What was given to a source before
    tells which voice it has.

    Parameters
    ----------
    head : VoiceHead
    n_voices : int
        As many as clusters, at most 3.
    frame_s : float
        Seconds from frame to frame.
    seed : int, default=0
        Seed of the search for voices.
    reluctance : float, default=0.0
        How much two clusters have against being one voice in a moment, beside what they have in a
        recording that is separated as a whole; a logarithm of odds.

    Attributes
    ----------
    n_step : int
        Frames after which it is said anew whose voices are heard: half a moment.

    Examples
    --------
    >>> import torch
    >>> from skdc.network.voice import VoiceHead
    >>> from skdc.separation.live_voices import LiveVoices
    >>> voices = LiveVoices(VoiceHead(5, dim=3), n_voices=2, frame_s=0.25)
    >>> masks = torch.full((2, 1, 5), 0.5)  # of the next frame
    >>> spectrogram = torch.ones(1, 5, dtype=torch.complex64)
    >>> voices.follow(masks, spectrogram, torch.eye(2), n_new=1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        head: VoiceHead,
        n_voices: int,
        frame_s: float,
        *,
        seed: int = 0,
        reluctance: float = 0.0,
    ) -> None:
        self._head, self._seed, self._reluctance = head, seed, reluctance
        self._frame_s = frame_s
        self._n_moment, self._n_stretch, self._n_overlap, self._n_first = (
            max(1, round(seconds / frame_s))
            for seconds in (MOMENT_S, STRETCH_S, OVERLAP_S, _FIRST_S)
        )
        self.n_step = max(1, self._n_moment // 2)
        self._odds = tuple(head.odds.tolist())
        self._places = np.arange(n_voices)
        self._remembered: list[_Remembered] = []
        self._directions: NDArray[np.float64] | None = None
        self._own: OwnVoices | None = None
        # What came since the present stretch began, with the end of the one before it; how many
        # frames that has, and the places in the first of them.
        self._masks: list[Tensor] = []
        self._spectrograms: list[Tensor] = []
        self._given = [np.zeros((n_voices, 0), dtype=np.int64)]
        self._n_shared, self._before = 0, self._places
        self._moments: NDArray[np.float16] | None = None  # those of frames that have sources
        self._n_since = 0
        self._peak = 0.0

    def follow(
        self, masks: Tensor, spectrogram: Tensor, centroids: Tensor, n_new: int
    ) -> NDArray[np.int64]:
        """Take the next frames, and give the source that each cluster belongs to in them.

        Parameters
        ----------
        masks : Tensor of shape (n_clusters, n_shown, n_bins)
            Those of the next frames, and of any that were read ahead.
        spectrogram : complex64 Tensor of shape (n_shown, n_bins)
            That of the mixture.
        centroids : Tensor of shape (n_clusters, embedding_dim)
        n_new : int
            How many of them are the next ones; all of these get the same places.

        Returns
        -------
        int64 array of shape (n_clusters,)
            Two clusters have the same source where they are one voice.
        """
        self._n_since += n_new
        n_open = n_new + sum(map(len, self._spectrograms))
        clue, is_over = None, False
        if n_open >= self._n_moment and self._n_since >= self.n_step:
            self._n_since, is_over = 0, n_open >= self._n_stretch
            heard = torch.cat([*self._masks, masks], dim=1)  # (clusters, frames, bins)
            clue = self._clue(heard, torch.cat([*self._spectrograms, spectrogram]), centroids)
            if clue is not None:
                self._moments = clue.moments[: len(cut_moments(n_open, self._n_moment))]
                self._places = self._whose(clue, is_over=is_over)
        # Copies, as a part of a tensor keeps the whole.
        self._masks.append(masks[:, :n_new].clone())
        self._spectrograms.append(spectrogram[:n_new].clone())
        self._given.append(np.repeat(self._places[:, None], n_new, axis=1))
        if is_over:
            self._begin_next(clue)
        return self._places

    def _clue(self, masks: Tensor, spectrogram: Tensor, centroids: Tensor) -> Clue | None:
        """Take from the stretch since the last one what tells of its voices; None in silence."""
        peak = max(self._peak, float(spectrogram.abs().max()))
        if peak < torch.finfo(torch.float32).tiny:
            return None
        # Energies are relative to the loudest bin so far, so that they fit into float32.
        scale = (self._peak / peak) ** 2
        if scale < 1:
            self._remembered = [
                _Remembered(
                    clue._replace(energy=clue.energy * scale, shared=clue.shared * scale), places
                )
                for clue, places in self._remembered
            ]
        self._peak = peak
        spectrogram = spectrogram / peak
        _, energy = quieten(masks, spectrogram, self._n_moment)
        before = masks[:, : self._n_shared] if self._n_shared else None
        # Nobody counts, so the states are not needed.
        stretch = Stretch(0, self._n_shared, spectrogram, masks[:0], masks, centroids)
        return take_clue(stretch, energy, before, self._head, None, self._n_moment, self._moments)

    def _whose(self, clue: Clue, *, is_over: bool) -> NDArray[np.int64]:
        """Give the source of each cluster at the end of what was heard."""
        clues = [clue_ for clue_, _ in self._remembered] + [clue]
        faint = faint_level(clues, self._frame_s)
        evidence = weigh(clues, self._frame_s, faint, odds=self._odds)
        heard = [Heard(each.moments, each.energy, each.nearness) for each in clues]
        n_voices = len(self._places)
        n_heard = clue.energy.shape[1]
        if is_over or (self._directions is None and n_heard >= self._n_first):
            voices, _ = assign_voices(evidence, n_voices, seed=self._seed)
            directions = voice_vectors(evidence, voices, n_voices)
            followed, own = follow_voices(
                evidence, voices, directions, heard, self._n_moment, faint
            )
            order = self._order(clues, followed)
            self._directions = directions[order]
            self._own = None if own is None else OwnVoices(*(part[order] for part in own))
        if self._directions is None:
            return self._places
        latest = Evidence(*(part[-1:] for part in evidence))
        return latest_voices(
            latest,
            self._directions,
            self._own,
            heard[-1],
            self._n_moment,
            faint,
            self._before,
            self._reluctance,
        )

    def _order(self, clues: list[Clue], followed: list[NDArray[np.uint8]]) -> NDArray[np.intp]:
        """Give the voice of each source: the one whose energy it mostly had."""
        n_voices = len(self._places)
        shared = np.zeros((n_voices, n_voices))  # (sources, voices)
        given = [places for _, places in self._remembered]
        given.append(np.concatenate(self._given, axis=1))
        for clue, voices, places in zip(clues, followed, given, strict=True):
            n_given = places.shape[1]  # what was read ahead has no sources yet
            np.add.at(shared, (places, voices[:, :n_given]), clue.energy[:, :n_given])
        return best_permutation(shared / max(shared.sum(), np.finfo(np.float64).tiny))

    def _begin_next(self, clue: Clue | None) -> None:
        """Remember a stretch, if anything was heard, and begin the next one with the end of it."""
        places = np.concatenate(self._given, axis=1)
        if clue is not None:
            self._remembered.append(_Remembered(clue, places))
        self._masks = [torch.cat(self._masks, dim=1)[:, -self._n_overlap :].clone()]
        self._spectrograms = [torch.cat(self._spectrograms)[-self._n_overlap :].clone()]
        self._given = [places[:, -self._n_overlap :]]
        self._before, self._moments = self._given[0][:, 0], None
        self._n_shared = len(self._spectrograms[0]) if self._remembered else 0
        if len(self._remembered) > _MOST_STRETCHES:
            self._forget()

    def _forget(self) -> None:
        """Forget the stretch that is missed least, but not the last one.

        How much it is missed is the largest part of what one of the voices has said that is in it,
        so that neither who has not spoken for long is forgotten nor what was said before a pause.
        """
        faint = faint_level([clue for clue, _ in self._remembered], self._frame_s)
        frames = np.zeros((len(self._remembered), len(self._places)))
        for own, (clue, places) in zip(frames, self._remembered, strict=True):
            energy = clue.energy[:, : places.shape[1]]
            np.add.at(own, places, energy / (energy + faint))
        missed = frames / np.maximum(frames.sum(0), np.finfo(np.float64).tiny)
        least = int(missed.max(1)[:-1].argmin())
        del self._remembered[least]
        # The one after it has nothing in common with the one that is before it now.
        clue, places = self._remembered[least]
        clue = clue._replace(shared=np.zeros_like(clue.shared))
        self._remembered[least] = _Remembered(clue, places)
