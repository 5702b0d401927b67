"""Who is who in a long recording, how many there are, and whose voices are hard to tell apart."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdc.separation.activity import Heard, OwnVoices, follow_voices
from skdc.separation.evidence import Clue, faint_level, weigh
from skdc.separation.voices import Evidence, assign_voices, compare_voices, voice_vectors

__all__ = ["Identity", "identify"]

FloatArray = NDArray[np.float64]

# Logarithm of the odds that two voices of a recording are two people: a constant, and so much for
# the cosine of their vectors, for that of their means over all moments in which they are heard,
# and for the logarithm of their squared Mahalanobis distance there. Logistic regression on
# held-out recordings of one and of two people, of one, two and five minutes; see docs/trials.md.
_TWO_PEOPLE = (2.14, -6.84, -4.09, 1.08)
# A voice counts that has so much of all moments; the host of an interview has 4 % and more.
_LEAST_MOMENTS = 0.03
# Where stretches have no vectors of moments, two voices are one if they are more alike, and none
# where they have less than this part of the speech. There are several at all where such a part of
# the speech is in stretches of which two clusters are surely two voices, by the cosine of their
# centroids: at most 6 % in recordings of one person, 28 % and more in turns of 2 to 12 s.
_ONE_VOICE = 0.55
_LEAST_SHARE = 0.02
_TWO_VOICES = 0.5
_SEPARABLE_SHARE = 0.15
# Alike or not, there are two voices where the count head is so sure to hear several talkers
# at once in such a part of the speech. In 26 held-out recordings of one talker that was at most
# 10 %, in conversations of whose time a third overlaps 12 % and more, with `speech-8k` 41 %: the
# part asked for lies above the least of these, so that one talker is never counted twice.
_SEVERAL = 0.88
_SEVERAL_SHARE = 0.15
_MOST_COUNTED = 5
# Voices are so alike that parts of them may be in each other's place, see docs/trust.md.
_ALIKE = -2.0
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_TINY = 1e-30


class Identity(NamedTuple):
    """Who is who in a recording.

    Attributes
    ----------
    voices : list of uint8 array of shape (n_clusters, n_frames)
        The voice of each cluster in each frame of each stretch; 0 is the loudest over the whole
        recording.
    n_voices : int
    alike : tuple of tuple of two int
        The voices, two by two, that are so alike that parts of them may be in each other's place.
        None are told without a voice head.
    """

    voices: list[NDArray[np.uint8]]
    n_voices: int
    alike: tuple[tuple[int, int], ...]

    def notes(self) -> list[str]:
        """Say for each two voices that are alike what to be careful about."""
        return [
            f"the voices of the {_ordinal(i)} and the {_ordinal(j)} source are so alike that "
            "parts of each may be in the other one, or that they are one voice"
            for i, j in self.alike
        ]


class _Found(NamedTuple):
    """An assignment of the stretches to voices, and what followed from it."""

    followed: list[NDArray[np.uint8]]
    odds: dict[tuple[int, int], float]  # of two voices to be two people; without a voice head {}
    are_told_apart: bool


def identify(
    clues: list[Clue],
    n_voices: int | None,
    frame_s: float,
    n_moment: int,
    *,
    odds: tuple[float, ...] | None,
    seed: int,
) -> Identity:
    """Say who is who in a recording.

    Parameters
    ----------
    clues : list of Clue
        One a stretch.
    n_voices : int or None
        None: as many as are told apart.
    frame_s : float
        Seconds from frame to frame.
    n_moment : int
        Frames of a moment.
    odds : tuple of three floats or None
        Those of the voice head that the vectors of the clues are from (`VoiceHead.odds`); None
        where they are from none.
    seed : int
        Seed of the search for voices.

    Returns
    -------
    Identity
    """
    faint = faint_level(clues, frame_s)
    evidence = weigh(clues, frame_s, faint, odds=odds)
    heard = [Heard(clue.moments, clue.energy, clue.nearness) for clue in clues]

    def find(number: int, *, must_differ: bool = True) -> _Found:
        voices, _ = assign_voices(evidence, number, seed=seed, must_differ=must_differ)
        directions = voice_vectors(evidence, voices, number)
        followed, own = follow_voices(evidence, voices, directions, heard, n_moment, faint)
        if not len(heard[0].moments):
            likeness, least = compare_voices(evidence, voices, directions)
            are_told_apart = bool(likeness < _ONE_VOICE and least > _LEAST_SHARE)
            return _Found(followed, {}, are_told_apart and _are_separable(clues, evidence))
        if own is None:
            return _Found(followed, {}, False)
        odds = _odds_of_two_people(directions, own)
        are_told_apart = own.shares.min() > _LEAST_MOMENTS and min(odds.values(), default=0) > 0
        return _Found(followed, odds, are_told_apart)

    found = find(n_voices or 1)
    if n_voices is None:
        n_voices = 1
        # Envelopes alone tell no more voices than were found at once.
        most = _MOST_COUNTED if len(heard[0].moments) else len(heard[0].energy)
        for number in range(2, most + 1):
            more = find(number, must_differ=number == 2)
            is_certain = number == 2 and _several_talk(clues, evidence)
            if not is_certain and not more.are_told_apart:
                break
            found, n_voices = more, number
    loudness = np.zeros(n_voices)
    for clue, own in zip(clues, found.followed, strict=True):
        np.add.at(loudness, own, clue.energy)
    rank = np.argsort(np.argsort(-loudness, kind="stable")).astype(np.uint8)
    alike = sorted(
        (min(rank[i], rank[j]), max(rank[i], rank[j]))
        for (i, j), odds in found.odds.items()
        if odds < _ALIKE
    )
    return Identity([rank[own] for own in found.followed], n_voices, tuple(alike))


def _ordinal(index: int) -> str:
    return _ORDINALS[index] if index < len(_ORDINALS) else f"{index + 1}th"


def _several_talk(clues: list[Clue], evidence: Evidence) -> bool:
    """Whether several talk at once in a part of the speech."""
    return _share([clue.several > _SEVERAL for clue in clues], evidence) > _SEVERAL_SHARE


def _are_separable(clues: list[Clue], evidence: Evidence) -> bool:
    """Whether a part of the speech is in stretches that hold two voices, by their centroids."""
    hold_two = [clue.nearness.min(initial=1.0) < _TWO_VOICES for clue in clues]
    return _share(hold_two, evidence) > _SEPARABLE_SHARE


def _share(are_meant: list[bool], evidence: Evidence) -> float:
    """Give the part of the speech that is in some of the stretches."""
    return float(np.average(are_meant, weights=evidence.weights.sum(1) + _TINY))


def _odds_of_two_people(directions: FloatArray, own: OwnVoices) -> dict[tuple[int, int], float]:
    """Give the logarithm of the odds that two voices are two people, for each two of them."""
    constant, *by_figure = _TWO_PEOPLE
    odds = constant + np.tensordot(by_figure, _figures(directions, own), axes=1)
    return {(i, j): float(odds[i, j]) for i, j in combinations(range(len(odds)), 2)}


def _figures(directions: FloatArray, own: OwnVoices) -> FloatArray:
    """Give what the odds follow from, for each two voices, (3, n_voices, n_voices).

    `directions`, (n_voices, dim), are those of the voices by whole stretches.
    """
    # The first numbers of a moment are the vector of the voice head.
    means = own.means[:, : directions.shape[1]]
    means = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _TINY)
    distances = np.log(np.maximum(own.distances(), _TINY))
    return np.stack([directions @ directions.T, means @ means.T, distances])
