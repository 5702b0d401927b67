"""Who speaks when, and what is still heard of who does not.

A mask never takes everything from a source that is silent: what is left sounds like an echo of who
speaks. Where a source has next to nothing for a while, it counts as silent, and what it has goes
to the loudest one. What has more, but the voice of another, is found moment by moment, once it is
known what the voices of the recording are like.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from skdc.separation.voices import MOST_MAPS, Evidence, best_maps, link_odds, map_odds

__all__ = [
    "MOMENT_S",
    "Heard",
    "OwnVoices",
    "cut_moments",
    "follow_voices",
    "latest_voices",
    "quieten",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOMENT_S = 1.0
"""Seconds of a moment: in as many it shows who is silent, and what a voice is like."""

# A source is silent where it has less of the loudest one's energy than this, over the time of a
# moment or over a third of it, in which the ends of a longer silence are found.
_SILENT_DB = -15.0
_PARTS_OF_MOMENT = (1, 3)
# What follows are logarithms of odds, fitted to held-out conversations by logistic regression.
# Most were then chosen again, with the models of bands, by how much energy is in the right output;
# see examples/benchmarks/voice_odds.py.
# For the cosine of a cluster with a voice in a moment; that over its whole stretch counts for so
# many moments more.
_OF_MOMENT = 20.0
_OF_STRETCH = 0.7
# Then what the voices are like in this very recording is learnt, and they are followed by that, so
# many times. The last time the stretch counts less, so that the ends of turns are found: moments
# that go by themselves before all is learnt learn their own mistakes, such as another voice for
# each mood of someone who is alone for long.
_OWN_PASSES = 3
_OF_STRETCH_AT_LAST = 0.2
# It is learnt from clusters with more than this share of the energy of a moment, as many vectors
# of each voice, and a covariance of which so much is replaced by a multiple of the identity. Its
# logarithms of odds count half, because each moment overlaps by half with the next one, and those
# of clusters with less than that share in part. Chosen on other held-out conversations, of people
# who sound alike.
_LEAST_TELLING = 0.1
_FEWEST_LEARNT = 20
# To say how different they are, fewer vectors of each are enough.
_FEWEST_TOLD = 4
_SHRINKAGE = 0.2
_OF_OWN = 0.5
# That two clusters are one voice in a moment: a constant, and so much for the cosine of their
# centroids and for the decimal logarithm of the weaker one's share of their energy.
_ONE_VOICE = (-2.5, 4.0, -1.6)
_LEAST_SHARE = 1e-3
# What a change costs from one moment to the next, and an exchange of voices, which is forbidden.
_CHANGE = -1.5
_EXCHANGE = -1e3
_TINY = 1e-30


class Heard(NamedTuple):
    """What is heard in a stretch.

    Attributes
    ----------
    moments : array of shape (n_moments, n_clusters, dim + n_more)
        Unit vector of the voice of each cluster in each moment (`cut_moments`), and any numbers
        more that tell voices apart within one recording; there may be no moments.
    energy : array of shape (n_clusters, n_frames)
        What each cluster has of each frame.
    nearness : array of shape (n_clusters, n_clusters)
        Cosines of the centroids.
    """

    moments: NDArray[Any]
    energy: NDArray[Any]
    nearness: NDArray[Any]


class OwnVoices(NamedTuple):
    """What the voices of one recording are like, by all moments in which they are heard.

    The vectors of all moments of a voice are taken for normally distributed, with one covariance
    for all voices (linear discriminant analysis). Up to what all voices have in common, the
    logarithm of the probability of a vector is then its product with the `directions`, less the
    `offsets`.

    Attributes
    ----------
    directions : float64 array of shape (n_voices, dim + n_more)
    offsets : float64 array of shape (n_voices,)
    means : float64 array of shape (n_voices, dim + n_more)
        Mean of the vectors of each voice.
    shares : float64 array of shape (n_voices,)
        What part of all moments each voice has; they sum to 1.
    """

    directions: FloatArray
    offsets: FloatArray
    means: FloatArray
    shares: FloatArray

    def distances(self) -> FloatArray:
        """Give the squared Mahalanobis distance of each two means, (n_voices, n_voices)."""
        products = self.means @ self.directions.T
        squares = products.diagonal()
        return squares[:, None] + squares - 2 * products


def quieten(masks: Tensor, spectrogram: Tensor, n_smoothed: int) -> tuple[Tensor, Tensor]:
    """Find where sources are silent, and silence them there.

    Parameters
    ----------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
    spectrogram : Tensor of shape (n_frames, n_bins)
        Spectrogram of the mixture; complex, or its magnitude.
    n_smoothed : int
        Frames over which energy is averaged, and over a third of them once more.

    Returns
    -------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
        With the same sum over the sources.
    energy : float32 Tensor of shape (n_sources, n_frames)
        What each has of each frame then: 0 where it is silent.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation.activity import quieten
    >>> masks = torch.tensor([[[0.9], [0.9], [0.2]], [[0.1], [0.1], [0.8]]])
    >>> quieten(masks, torch.ones(3, 1), 1)[0].squeeze(-1)
    tensor([[1.0000, 1.0000, 0.2000],
            [0.0000, 0.0000, 0.8000]])
    """
    energy = (masks * spectrogram.abs()).square().sum(-1)  # (sources, frames)
    silent = torch.zeros_like(energy, dtype=torch.bool)
    for divisor in _PARTS_OF_MOMENT:
        half = n_smoothed // divisor // 2
        smooth = functional.avg_pool1d(
            energy.unsqueeze(1), 2 * half + 1, stride=1, padding=half, count_include_pad=False
        ).squeeze(1)  # (sources, 1, frames) -> (sources, frames)
        loudest, which = smooth.max(0)
        silent |= smooth < loudest * 10 ** (_SILENT_DB / 10)
    # Who is the loudest just now is not silent, and has what the others had.
    silent.scatter_(0, which.unsqueeze(0), False)
    takes = functional.one_hot(which, len(masks)).T.unsqueeze(-1)  # (sources, frames, 1)
    freed = (masks * silent.unsqueeze(-1)).sum(0)  # (frames, bins)
    masks = torch.where(silent.unsqueeze(-1), 0.0, masks + takes * freed)
    return masks, (masks * spectrogram.abs()).square().sum(-1)


def cut_moments(n_frames: int, length: int) -> NDArray[np.int64]:
    """Give the first frames of moments, each of which begins in the middle of the one before it.

    Parameters
    ----------
    n_frames : int
        Frames of the stretch.
    length : int
        Frames of a moment; at most `n_frames`.

    Returns
    -------
    int64 array of shape (n_moments,)

    Examples
    --------
    >>> from skdc.separation.activity import cut_moments
    >>> cut_moments(100, 40).tolist()
    [0, 20, 40, 60]
    """
    return np.arange(0, n_frames - length + 1, max(1, length // 2))


def follow_voices(
    evidence: Evidence,
    voices: IntArray,
    directions: FloatArray,
    heard: Sequence[Heard],
    length: int,
    faint: float,
) -> tuple[list[NDArray[np.uint8]], OwnVoices | None]:
    """Say whose voice is heard in each cluster, moment by moment.

    In a moment, either every cluster is a voice of its own, or what two clusters have is one
    voice, because nobody else speaks. Which it is, and whose voice, is found by Viterbi's
    algorithm over the moments of the whole recording, given what the voices are like. From what is
    found it is learnt what tells these very voices apart, which may be alike, and by this they are
    found again. Within a stretch, clusters do not exchange their voices.

    Parameters
    ----------
    evidence : Evidence
        What the stretches tell.
    voices : int64 array of shape (n_stretches, n_clusters)
        The voice of each cluster over the whole stretch.
    directions : float64 array of shape (n_voices, dim)
        Unit vectors of the voices of the recording.
    heard : sequence of Heard
        One a stretch.
    length : int
        Frames of a moment.
    faint : float
        Energy of a frame that counts half.

    Returns
    -------
    followed : list of uint8 array of shape (n_clusters, n_frames)
        One a stretch; that of `voices` in all frames where no stretch has vectors of moments.
    own : OwnVoices or None
        What the voices that were followed are like; None where no stretch has vectors of moments,
        and where a voice is hardly heard.

    Examples
    --------
    One stretch of three frames, each of them a moment. In the second frame the faint cluster has
    the voice of the loud one.

    >>> import numpy as np
    >>> from skdc.separation.activity import Heard, follow_voices
    >>> from skdc.separation.voices import Evidence
    >>> none = np.zeros((1, 2, 2))
    >>> evidence = Evidence(np.eye(2)[None], np.ones((1, 2)), none, none)
    >>> energy = np.array([[9.0, 9, 9], [9, 1, 9]])
    >>> moments = np.eye(2)[[[0, 1], [0, 0], [0, 1]]]
    >>> heard = [Heard(moments, energy, np.zeros((2, 2)))]
    >>> followed, _ = follow_voices(evidence, np.array([[0, 1]]), np.eye(2), heard, 1, 1e-9)
    >>> followed
    [array([[0, 0, 0],
           [1, 0, 1]], dtype=uint8)]
    """
    if not len(heard[0].moments):  # as in all others then
        unchanged = [
            np.repeat(own[:, None], stretch.energy.shape[1], axis=1).astype(np.uint8)
            for own, stretch in zip(voices, heard, strict=True)
        ]
        return unchanged, None
    faint *= length  # from here on that of a moment
    energies = [_energy_of_moments(stretch.energy, length) for stretch in heard]
    candidates = [_moment_maps(own, len(directions)) for own in voices]
    links: list[FloatArray] = []
    for k, (energy, maps) in enumerate(zip(energies, candidates, strict=True)):
        (first,) = link_odds(candidates[max(k - 1, 0)], maps, evidence.shared[k : k + 1])
        links += [first, *[_change_odds(maps)] * (len(energy) - 1)]
    ends = np.cumsum([len(energy) for energy in energies])[:-1]
    one_voice = [
        _one_voice_odds(energy, stretch.nearness)
        for energy, stretch in zip(energies, heard, strict=True)
    ]
    # Where hardly anything is heard, nothing is told.
    spoken = np.concatenate([energy.sum(1, keepdims=True) for energy in energies])
    told = spoken / (spoken + faint)  # (all moments, 1)

    def follow(likeness: Sequence[FloatArray]) -> list[IntArray]:
        """Give the voices of each stretch, (moments, clusters)."""
        odds = [map_odds(*own) for own in zip(likeness, one_voice, candidates, strict=True)]
        chosen, _ = best_maps(np.concatenate(odds) * told, links)
        return [maps[own] for maps, own in zip(candidates, np.split(chosen, ends), strict=True)]

    found = follow(_likeness(evidence, directions, heard))
    learnt = _own_voices(found, heard, energies, len(directions), faint)
    for left in reversed(range(_OWN_PASSES)):
        if learnt is None:
            break
        of_stretch = _OF_STRETCH if left else _OF_STRETCH_AT_LAST
        again = follow(_own_likeness(learnt, heard, energies, of_stretch))
        learnt = _own_voices(again, heard, energies, len(directions), faint)
        # No voice may be lost on the way.
        found = found if learnt is None else again
    followed = []
    for maps, stretch in zip(found, heard, strict=True):
        n_frames = stretch.energy.shape[1]
        # Each frame is of the moment whose middle is nearest to it.
        middles = cut_moments(n_frames, length) + (length - 1) / 2
        nearest = np.abs(np.arange(n_frames)[:, None] - middles).argmin(1)
        followed.append(maps[nearest].T.astype(np.uint8))
    told_apart = _own_voices(found, heard, energies, len(directions), faint, _FEWEST_TOLD)
    return followed, told_apart


def latest_voices(
    evidence: Evidence,
    directions: FloatArray,
    own: OwnVoices | None,
    heard: Heard,
    length: int,
    faint: float,
    before: IntArray,
    reluctance: float,
) -> IntArray:
    """Say whose voice is heard in each cluster at the end of a stretch, given the voices.

    Parameters
    ----------
    evidence : Evidence
        What this stretch tells.
    directions : float64 array of shape (n_voices, dim)
        Unit vectors of the voices.
    own : OwnVoices or None
        What `follow_voices` has learnt of them.
    heard : Heard
        With at least one moment.
    length : int
        Frames of a moment.
    faint : float
        Energy of a frame that counts half.
    before : int64 array of shape (n_clusters,)
        The voice that each cluster had before the stretch.
    reluctance : float
        How much two clusters have against being one voice, beside what they have for it.

    Returns
    -------
    int64 array of shape (n_clusters,)
    """
    maps = _moment_maps(before, len(directions))
    energy = _energy_of_moments(heard.energy, length)
    if own is None:
        (likeness,) = _likeness(evidence, directions, [heard])
    else:
        (likeness,) = _own_likeness(own, [heard], [energy], _OF_STRETCH)
    spoken = energy.sum(1, keepdims=True)  # (moments, 1)
    odds = map_odds(likeness, _one_voice_odds(energy, heard.nearness) - reluctance, maps)
    odds *= spoken / (spoken + faint * length)
    odds[0] += np.where((maps == before).all(1), 0.0, _CHANGE)
    chosen, _ = best_maps(odds, [_change_odds(maps)] * len(odds))
    latest: IntArray = maps[chosen[-1]]
    return latest


def _likeness(
    evidence: Evidence, directions: FloatArray, heard: Sequence[Heard]
) -> list[FloatArray]:
    """Give what clusters have for being each voice, one (moments, clusters, voices) a stretch."""
    dim = directions.shape[1]
    return [
        _OF_MOMENT * (stretch.moments[..., :dim] + _OF_STRETCH * vectors) @ directions.T
        for vectors, stretch in zip(evidence.vectors, heard, strict=True)
    ]


def _own_likeness(
    learnt: OwnVoices,
    heard: Sequence[Heard],
    energies: Sequence[FloatArray],
    of_stretch: float,
) -> list[FloatArray]:
    """Give the same by what is learnt of the recording; the stretch counts for so many moments."""
    likeness = []
    for stretch, energy in zip(heard, energies, strict=True):
        own = stretch.moments @ learnt.directions.T - learnt.offsets
        weights = energy[..., None]
        whole = (weights * own).sum(0) / np.maximum(weights.sum(0), _TINY)
        telling = np.minimum(_shares(energy) / _LEAST_TELLING, 1.0)
        likeness.append(_OF_OWN * telling[..., None] * (own + of_stretch * whole))
    return likeness


def _own_voices(
    voices: Sequence[IntArray],
    heard: Sequence[Heard],
    energies: Sequence[FloatArray],
    n_voices: int,
    faint: float,
    fewest: int = _FEWEST_LEARNT,
) -> OwnVoices | None:
    """Learn what the voices are like; None where one of them has fewer vectors than so many."""
    dim = heard[0].moments.shape[-1]
    counts = np.zeros(n_voices, dtype=np.int64)
    weights, sums = np.zeros(n_voices), np.zeros((n_voices, dim))
    products = np.zeros((dim, dim))
    for own, stretch, energy in zip(voices, heard, energies, strict=True):
        shares = _shares(energy)
        is_heard = energy.sum(1, keepdims=True) > faint  # (moments, 1)
        # What is too weak to sound like anybody tells nothing.
        shares = np.where((shares > _LEAST_TELLING) & is_heard, shares, 0.0)
        of_voice = shares[..., None] * (own[..., None] == np.arange(n_voices))
        # (moments, clusters, voices or dim) -> (moments * clusters, voices or dim)
        of_voice = of_voice.reshape(-1, n_voices)
        vectors = stretch.moments.astype(np.float64).reshape(-1, dim)
        counts += np.count_nonzero(of_voice, axis=0)
        weights += of_voice.sum(0)
        sums += of_voice.T @ vectors
        products += (shares.reshape(-1, 1) * vectors).T @ vectors
    if counts.min() < fewest:
        return None
    means = sums / weights[:, None]
    covariance = (products - sums.T @ means) / weights.sum()
    level = covariance.trace() / dim
    if not level > _TINY:
        return None
    covariance *= 1 - _SHRINKAGE
    covariance.flat[:: dim + 1] += _SHRINKAGE * level
    directions = np.linalg.solve(covariance, means.T).T
    offsets = 0.5 * (means * directions).sum(1)
    return OwnVoices(directions, offsets, means, weights / weights.sum())


def _moment_maps(own: IntArray, n_voices: int) -> IntArray:
    """Give the maps of clusters to voices that a moment of a stretch may have.

    The result has the shape (n_maps, n_clusters). All there are, where they are few. Else the map
    of the stretch, also with one cluster given to the voice of another, or all to one voice; and
    that of the stretch alone where these are many, too.
    """
    n_clusters = len(own)
    if n_voices**n_clusters <= MOST_MAPS:
        return np.array(list(product(range(n_voices), repeat=n_clusters)))
    maps = [own, *(np.full_like(own, voice) for voice in own)]
    for i, j in permutations(range(n_clusters), 2):
        maps.append(np.where(np.arange(n_clusters) == i, own[j], own))
    return np.array(maps if len(maps) <= MOST_MAPS else maps[:1])


def _energy_of_moments(energy: NDArray[Any], length: int) -> FloatArray:
    """Give what each cluster has of each moment, (n_moments, n_clusters)."""
    starts = cut_moments(energy.shape[1], length)
    sums = np.cumsum(np.pad(energy.astype(np.float64), ((0, 0), (1, 0))), axis=1)
    return (sums[:, starts + length] - sums[:, starts]).T


def _shares(energy: FloatArray) -> FloatArray:
    """Give what part of each moment's energy each cluster has, (n_moments, n_clusters)."""
    return energy / np.maximum(energy.sum(1, keepdims=True), _TINY)


def _one_voice_odds(energy: FloatArray, nearness: NDArray[Any]) -> FloatArray:
    """Give the odds that two clusters are one voice, (n_moments, n_clusters, n_clusters)."""
    constant, by_centroid, by_share = _ONE_VOICE
    one, other = energy[:, :, None], energy[:, None, :]
    share = np.minimum(one, other) / np.maximum(one + other, _TINY)
    return constant + by_centroid * nearness + by_share * np.log10(share + _LEAST_SHARE)


def _change_odds(maps: IntArray) -> FloatArray:
    """Give what each map has for it after each one within a stretch, (n_maps, n_maps)."""
    changes = (maps[:, None] != maps).any(-1)
    in_order = np.sort(maps, axis=1)
    exchanges = changes & (in_order[:, None] == in_order).all(-1)
    return np.where(exchanges, _EXCHANGE, np.where(changes, _CHANGE, 0.0))
