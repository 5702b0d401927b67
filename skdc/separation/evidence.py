"""What the stretches of a recording tell of their voices, gathered one after the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from skdc.network.count import CountHead
from skdc.network.voice import VoiceHead
from skdc.separation.activity import cut_moments
from skdc.separation.counts import count_logits
from skdc.separation.stretches import Stretch
from skdc.separation.voices import Evidence

__all__ = ["Clue", "faint_level", "take_clue", "weigh"]

FloatArray = NDArray[np.float64]

# What follows was chosen on held-out conversations, see examples/benchmarks/voice_odds.py: the
# likeness of two vectors counts so much for each second of speech, and for so many seconds at
# most.
_LIKENESS_A_SECOND = 4.0
_MOST_SECONDS = 5.0
# Without a voice head, the odds of two clusters to be one voice: see `VoiceHead.odds`.
_ODDS_WITHOUT_HEAD = (2.8, 0.0, 9.2)
# The cosine of two voices is so much more than the 5th percentile of all cosines, and the more
# they have in common, the more the rest counts.
_COMMON_PERCENTILE = 5
_COMMON_MARGIN = 0.05
_MOST_COMMON = 0.6
_MOST_COMPARED = 500
# For all of what two stretches share.
_SHARED = 8.0
# Speech that is weaker than the loudest second of the recording by more than this counts less.
_FAINT_DB = 30.0
_N_BANDS = 32
_ENVELOPE_FLOOR = 1e-4
# The scale of the envelopes of moments beside unit vectors. With 0.1 or 0.3 all is the same.
_OF_ENVELOPE = 0.2
_TINY = 1e-30


class Clue(NamedTuple):
    """What is kept of a stretch, on the CPU: little, as a recording of hours has thousands.

    Attributes
    ----------
    vectors : float32 array of shape (n_clusters, dim)
        What tells the voice of each cluster.
    energy : float32 array of shape (n_clusters, n_frames)
        What each has of each frame, 0 where it is silent.
    nearness : float32 array of shape (n_clusters, n_clusters)
        Cosines of the centroids.
    shared : float32 array of shape (n_clusters, n_clusters)
        Energy of the overlap by the cluster that has it in the stretch before (first axis) and in
        this one (second axis); zeros for the first stretch.
    moments : float16 array of shape (n_moments, n_clusters, dim + n_bands)
        What tells the voice of each cluster in each moment of the stretch, and, scaled, its
        spectral envelope, which differs from day to day and from microphone to microphone, but
        tells voices of one recording apart; no moments without a voice head.
    several : float
        How probable it is that several talk; 0 without a count head.
    """

    vectors: NDArray[np.float32]
    energy: NDArray[np.float32]
    nearness: NDArray[np.float32]
    shared: NDArray[np.float32]
    moments: NDArray[np.float16]
    several: float


def take_clue(
    stretch: Stretch,
    energy: Tensor,
    before: Tensor | None,
    head: VoiceHead | None,
    count_head: CountHead | None,
    n_moment: int,
    known: NDArray[np.float16] | None = None,
) -> Clue:
    """Take from a stretch what tells of its voices.

    Parameters
    ----------
    stretch : Stretch
    energy : Tensor of shape (n_clusters, n_frames)
        What each cluster has of each frame.
    before : Tensor of shape (n_clusters, overlap, n_bins) or None
        Masks of the stretch before it where the two overlap; None for the first.
    head : VoiceHead or None
        None: the vectors are spectral envelopes.
    count_head : CountHead or None
        Tells whether several talk.
    n_moment : int
        Frames of a moment; at most those of the stretch.
    known : float16 array of shape (n_known, n_clusters, dim + n_bands), optional
        The first moments, where they were taken before.

    Returns
    -------
    Clue
    """
    magnitude = stretch.spectrogram.abs()
    shares = stretch.masks * magnitude  # (clusters, frames, bins)
    n_clusters = len(shares)
    moments = np.zeros((0, n_clusters, 0), dtype=np.float16)
    if head is None:
        vectors = _envelopes(shares)
    else:
        with torch.no_grad():
            vectors = head(shares)
        moments = _moments(shares, head, n_moment, known)
    shared = magnitude.new_zeros(n_clusters, n_clusters)
    if before is not None:
        now, power = (x[..., : stretch.overlap, :] for x in (stretch.masks, magnitude.square()))
        # Over frames f and bins b of the overlap: (clusters before, clusters now)
        shared = torch.einsum("ifb,jfb,fb->ij", before, now, power)
    several = 0.0
    if count_head is not None:
        logits = count_logits(count_head, stretch.spectrogram, stretch.states)
        several = 1 - float(logits.softmax(-1)[0])
    units = functional.normalize(stretch.centroids, dim=-1)
    vectors, energy, nearness, shared = (
        x.float().cpu() for x in (vectors, energy, units @ units.T, shared)
    )
    return Clue(
        vectors.numpy(), energy.numpy(), nearness.numpy(), shared.numpy(), moments, several
    )


@torch.no_grad()
def _moments(
    shares: Tensor, head: VoiceHead, length: int, known: NDArray[np.float16] | None
) -> NDArray[np.float16]:
    """Give what tells the voice of each cluster in each moment, after those that are known."""
    n_known = 0 if known is None else len(known)
    starts = cut_moments(shares.shape[1], length)[n_known:]
    if not len(starts) and known is not None:
        return known
    joined = torch.cat([shares[:, start : start + length] for start in starts])
    told = torch.cat([head(joined), _OF_ENVELOPE * _envelopes(joined)], -1)
    # (moments * clusters, dim + bands) -> (moments, clusters, dim + bands)
    moments = told.unflatten(0, (-1, len(shares))).half().cpu().numpy()
    return moments if known is None else np.concatenate([known, moments])


def _envelopes(shares: Tensor) -> Tensor:
    """Give the mean logarithm of each source's spectrum in bands, loud frames counting more."""
    # (clusters, frames, bins) -> (clusters, frames, bands)
    bands = functional.adaptive_avg_pool1d(shares.square(), min(_N_BANDS, shares.shape[-1]))
    level = bands.mean((1, 2), keepdim=True).clamp_min(torch.finfo(bands.dtype).tiny)
    bands = bands / level
    weights = bands.sum(-1, keepdim=True).sqrt()
    total = weights.sum(1).clamp_min(torch.finfo(bands.dtype).tiny)
    return (weights * torch.log(bands + _ENVELOPE_FLOOR)).sum(1) / total


def weigh(
    clues: list[Clue], frame_s: float, faint: float, *, odds: tuple[float, ...] | None
) -> Evidence:
    """Turn what was gathered of a recording into odds.

    Parameters
    ----------
    clues : list of Clue
        One a stretch.
    frame_s : float
        Seconds from frame to frame.
    faint : float
        What `faint_level` gives of them.
    odds : tuple of three floats or None
        Those of the voice head that the vectors of the clues are from; None without one.

    Returns
    -------
    Evidence
    """
    vectors, nearness, shared = (
        np.array([getattr(clue, name) for clue in clues], dtype=np.float64)
        for name in ("vectors", "nearness", "shared")
    )
    # Seconds in which each cluster speaks, (stretches, clusters); those of faint speech in part.
    seconds = np.stack([(c.energy / (c.energy + faint)).sum(1) for c in clues]) * frame_s
    if odds is None:
        # What all envelopes have in common is no voice, but the microphone and speech as such.
        mass = seconds[..., None] + _TINY
        vectors = vectors - (mass * vectors).sum((0, 1)) / mass.sum((0, 1))
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)
    common = 0.0 if odds is None else _common(vectors, seconds)
    # (stretches, clusters, dim) with itself -> (stretches, clusters, clusters)
    cosines = (vectors @ vectors.swapaxes(1, 2) - common) / (1 - common)
    constant, by_voice, by_centroid = odds or _ODDS_WITHOUT_HEAD
    alike = constant + by_voice * cosines + by_centroid * nearness
    # Who is hardly there says nothing.
    spoken = np.minimum(seconds, 1)
    alike = alike * np.minimum(spoken[:, :, None], spoken[:, None, :])
    total = shared.sum((1, 2), keepdims=True)
    shared = _SHARED * shared / (total + _frames_a_second(frame_s) * faint)
    weights = _LIKENESS_A_SECOND * np.minimum(seconds, _MOST_SECONDS) / (1 - common) ** 2
    return Evidence(vectors, weights, alike, shared)


def _common(vectors: FloatArray, seconds: FloatArray) -> float:
    """Estimate the cosine of different voices, which is large where all sound of one microphone.

    A few of all pairs are of different voices, if there are any.
    """
    stretch, cluster = np.nonzero(seconds >= 1)
    step = max(1, len(stretch) // _MOST_COMPARED)
    stretch, chosen = stretch[::step], vectors[stretch, cluster][::step]
    cosines = (chosen @ chosen.T)[stretch[:, None] != stretch]
    if not len(cosines):
        return 0.0
    least = np.percentile(cosines, _COMMON_PERCENTILE) + _COMMON_MARGIN
    return float(np.clip(least, 0, _MOST_COMMON))


def _frames_a_second(frame_s: float) -> int:
    return max(1, round(1 / frame_s))


def faint_level(clues: list[Clue], frame_s: float) -> float:
    """Give the energy of a frame that counts half, by the loudest second of the recording.

    Parameters
    ----------
    clues : list of Clue
        One a stretch.
    frame_s : float
        Seconds from frame to frame.

    Returns
    -------
    float
    """
    second = _frames_a_second(frame_s)
    sums = (
        np.convolve(clue.energy.sum(0), np.full(second, 1 / second), "same").max()
        for clue in clues
    )
    return float(max(sums)) * 10 ** (-_FAINT_DB / 10) + _TINY
