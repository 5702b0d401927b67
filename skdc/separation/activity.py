"""Who speaks when, and what is still heard of who does not.

A mask never takes everything from a source that is silent: what is left sounds like an echo of who
speaks. Where a source has next to nothing for a second, it counts as silent, and what it has goes
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

__all__ = ["Heard", "cut_moments", "follow_voices", "quieten"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_SILENT_DB = -15.0
# What follows are logarithms of odds, fitted to held-out conversations by logistic regression.
# Most were then chosen again, with the models of bands, by how much energy is in the right output;
# see examples/benchmarks/voice_odds.py.
# For the cosine of a cluster with a voice, in a moment and over its whole stretch.
_OF_MOMENT = 20.0
_OF_STRETCH = 14.0
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
    moments : array of shape (n_moments, n_clusters, dim)
        Unit vector of the voice of each cluster in each moment (`cut_moments`); there may be none.
    energy : array of shape (n_clusters, n_frames)
        What each cluster has of each frame.
    nearness : array of shape (n_clusters, n_clusters)
        Cosines of the centroids.
    """

    moments: NDArray[Any]
    energy: NDArray[Any]
    nearness: NDArray[Any]


def quieten(masks: Tensor, spectrogram: Tensor, n_smoothed: int) -> tuple[Tensor, Tensor]:
    """Find where sources are silent, and silence them there.

    Parameters
    ----------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
    spectrogram : Tensor of shape (n_frames, n_bins)
        Spectrogram of the mixture; complex, or its magnitude.
    n_smoothed : int
        Frames over which energy is averaged.

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
    half = n_smoothed // 2
    smooth = functional.avg_pool1d(
        energy.unsqueeze(1), 2 * half + 1, stride=1, padding=half, count_include_pad=False
    ).squeeze(1)  # (sources, 1, frames) -> (sources, frames)
    loudest, which = smooth.max(0)
    silent = smooth < loudest * 10 ** (_SILENT_DB / 10)
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
) -> list[NDArray[np.uint8]]:
    """Say whose voice is heard in each cluster, moment by moment.

    In a moment, either every cluster is a voice of its own, or what two clusters have is one
    voice, because nobody else speaks. Which it is, and whose voice, is found by Viterbi's
    algorithm over the moments of the whole recording, given what the voices are like. Within a
    stretch, clusters do not exchange their voices.

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
    list of uint8 array of shape (n_clusters, n_frames)
        One a stretch; that of `voices` in all frames where no stretch has vectors of moments.

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
    >>> follow_voices(evidence, np.array([[0, 1]]), np.eye(2), heard, 1, 1e-9)
    [array([[0, 0, 0],
           [1, 0, 1]], dtype=uint8)]
    """
    if not len(heard[0].moments):  # as in all others then
        return [
            np.repeat(own[:, None], stretch.energy.shape[1], axis=1).astype(np.uint8)
            for own, stretch in zip(voices, heard, strict=True)
        ]
    odds: list[FloatArray] = []
    links: list[FloatArray] = []
    candidates: list[IntArray] = []
    for k, (own, stretch) in enumerate(zip(voices, heard, strict=True)):
        maps = _moment_maps(own, len(directions))
        before = candidates[-1] if candidates else maps
        candidates.append(maps)
        in_stretch = _OF_STRETCH * evidence.vectors[k] @ directions.T  # (clusters, voices)
        likeness = _OF_MOMENT * stretch.moments.astype(np.float64) @ directions.T + in_stretch
        energy = _energy_of_moments(stretch.energy, length)  # (moments, clusters)
        gains = map_odds(likeness, _one_voice_odds(energy, stretch.nearness), maps)
        spoken = energy.sum(1, keepdims=True)
        # Where hardly anything is heard, nothing is told.
        odds.append(gains * spoken / (spoken + length * faint))
        (first,) = link_odds(before, maps, evidence.shared[k : k + 1])
        links += [first, *[_change_odds(maps)] * (len(gains) - 1)]
    chosen, _ = best_maps(np.concatenate(odds), links)
    ends = np.cumsum([len(each) for each in odds])
    followed = []
    for maps, stretch, own in zip(candidates, heard, np.split(chosen, ends[:-1]), strict=True):
        n_frames = stretch.energy.shape[1]
        # Each frame is of the moment whose middle is nearest to it.
        middles = cut_moments(n_frames, length) + (length - 1) / 2
        nearest = np.abs(np.arange(n_frames)[:, None] - middles).argmin(1)
        followed.append(maps[own][nearest].T.astype(np.uint8))
    return followed


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
