"""Who is who in a long recording: the clusters of all its stretches, assigned to voices at once.

A recording is cut into stretches, and each of these is clustered by itself. Three things tell
which cluster of which stretch is which voice: how like the clusters of all stretches sound, where
the energy of two neighbours' overlap lies, and whether two clusters of one stretch are a single
voice that clustering cut in two. They are weighed against each other over the whole recording: a
hidden Markov model whose states are the maps from a stretch's clusters to the voices.

Where two assignments explain the clusters about as well, the one whose voices differ more is
right: a voice that speaks most of the time can be cut in two halves, which are alike, and the
other voice be given to one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = [
    "MOST_MAPS",
    "Evidence",
    "assign_voices",
    "best_maps",
    "compare_voices",
    "link_odds",
    "map_odds",
    "voice_vectors",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_MAPS = 32
"""Up to so many maps of clusters to voices, each is weighed: there are 27 of three to three."""

# Starts of each kind.
_N_STARTS = 8
_MAX_ITER = 20
# A cosine of 1 between two voices costs this part of all weights. Chosen on held-out conversations
# of people who sound alike, as what follows: from 0.1 to 0.3 there is next to no difference.
_ALIKE_VOICES = 0.15
# A voice that has less than this part of all weights might as well be missing: it is what sounds
# unlike the rest of another voice.
_LEAST_SHARE = 0.01
# That one voice alone follows another one alone costs this part of the mean weight of a cluster:
# it takes place when people change, and in nearly all stretches where one voice was cut in two.
_JUMP = 0.4
_TOLERANCE = 1e-9
_TINY = 1e-30


class Evidence(NamedTuple):
    """What the stretches of a recording say about their voices, in natural logarithms of odds.

    Attributes
    ----------
    vectors : float64 array of shape (n_stretches, n_clusters, dim)
        Unit vector of each cluster's voice.
    weights : float64 array of shape (n_stretches, n_clusters)
        How much the likeness of the vector to that of a voice (their cosine) counts.
    alike : float64 array of shape (n_stretches, n_clusters, n_clusters)
        For two clusters to be one voice, as far as the stretch alone tells; symmetric.
    shared : float64 array of shape (n_stretches, n_clusters, n_clusters)
        For each cluster of the stretch before (second axis) to be the voice of each of this one
        (third axis), by what the stretches share; zeros for the first.
    """

    vectors: FloatArray
    weights: FloatArray
    alike: FloatArray
    shared: FloatArray


def assign_voices(
    evidence: Evidence, n_voices: int, *, seed: int = 0, must_differ: bool = True
) -> tuple[IntArray, float]:
    """Find the voice of every cluster of every stretch.

    In turn: given the vectors of the voices, the best sequence of maps of clusters to voices, by
    Viterbi's algorithm; given this, the vectors, as means. It starts from clusters that are surely
    two voices, from the mean of all beside what is least like it, and from others at random. The
    best on all these ways is kept, where voices that are alike count against it, and it need not
    be where a way ends: a voice that is hardly heard is found soon, and then lost to one half of a
    voice that is heard nearly all the time. Therefore one voice more than there are is looked for,
    too, as far as there are maps enough: then both halves and the other voice are found, and any
    two of these are taken for one. The time is linear in the number of stretches.

    Parameters
    ----------
    evidence : Evidence
    n_voices : int
        At least 1. Above 3, clusters of a stretch are different voices as far as there are enough.
    seed : int, default=0
        Seed of the starts.
    must_differ : bool, default=True
        Whether voices that are alike count against an assignment. It is right where it is known
        that there are so many voices; else what is left of the others looks like one more.

    Returns
    -------
    voices : int64 array of shape (n_stretches, n_clusters)
        From 0 to ``n_voices - 1``. Two clusters of a stretch have the same number where they are
        one voice.
    score : float
        Logarithm of the odds of this assignment, given the vectors of its own voices, less what it
        loses where two of them are alike.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.separation.voices import Evidence, assign_voices
    >>> vectors = np.eye(2)[[[0, 1], [1, 0], [0, 0]]]
    >>> none = np.zeros((3, 2, 2))
    >>> evidence = Evidence(vectors, np.ones((3, 2)), none, none)
    >>> voices, _ = assign_voices(evidence, 2)
    >>> bool(voices[0, 0] == voices[1, 1] == voices[2, 0] == voices[2, 1] != voices[0, 1])
    True
    """
    n_clusters = evidence.weights.shape[1]
    if n_voices**n_clusters > MOST_MAPS:
        return _follow(evidence, n_voices)
    merged: list[IntArray] = []
    if must_differ and n_voices > 1 and (n_voices + 1) ** n_clusters <= MOST_MAPS:
        more, _ = _search(evidence, n_voices + 1, _starts(evidence, n_voices + 1, seed))
        for one, other in combinations(range(n_voices + 1), 2):
            voices = np.where(more == other, one, more)
            merged.append(voices - (voices > other))
    starts = _starts(evidence, n_voices, seed)
    return _search(evidence, n_voices, starts, merged, must_differ=must_differ)


def _search(
    evidence: Evidence,
    n_voices: int,
    starts: Iterable[FloatArray],
    given: Sequence[IntArray] = (),
    *,
    must_differ: bool = False,
) -> tuple[IntArray, float]:
    """Give the best of some given assignments and of all on the ways from voices to start with.

    The voices of those given are started with, too.

    Each counts with the vectors of its own voices, not with those by which it was found: these
    may be less alike, and then it would seem better than it is.
    """
    n_clusters = evidence.weights.shape[1]
    maps = np.array(list(product(range(n_voices), repeat=n_clusters)))  # (n_maps, n_clusters)
    links = link_odds(maps, maps, evidence.shared) - _JUMP * evidence.weights.mean() * _jumps(maps)
    starts = np.stack([*starts, *(voice_vectors(evidence, own, n_voices) for own in given)])
    best = np.zeros((len(given) + len(starts), *evidence.weights.shape), dtype=np.int64)
    best_scores = np.full(len(best), -np.inf)
    ways = (
        (len(given) + which, found) for which, found in _improve(evidence, maps, links, starts)
    )
    for which, found in chain([(np.arange(len(given)), np.array(given))] if given else [], ways):
        scores = _scores(evidence, found, maps, links, n_voices, must_differ=must_differ)
        better = scores > best_scores[which]
        best[which[better]], best_scores[which[better]] = found[better], scores[better]
    winner = best_scores.argmax()
    return best[winner], float(best_scores[winner])


def _scores(
    evidence: Evidence,
    voices: IntArray,
    maps: IntArray,
    links: FloatArray,
    n_voices: int,
    *,
    must_differ: bool,
) -> FloatArray:
    """Give what each of several assignments has for it, with the vectors of its own voices."""
    directions = voice_vectors(evidence, voices, n_voices)
    number = n_voices ** np.arange(voices.shape[-1])[::-1]  # of a map among all, by its voices
    chosen = voices @ number  # (assignments, stretches)
    odds = np.take_along_axis(_odds(evidence, maps, directions), chosen[..., None], axis=-1)
    steps = links[np.arange(1, len(links)), chosen[:, :-1], chosen[:, 1:]]
    scores: FloatArray = odds.sum((1, 2)) + steps.sum(1)
    if must_differ:
        likeness, least = compare_voices(evidence, voices, directions)
        # A voice that hardly anybody has is as good as another one.
        likeness = np.where(least <= _LEAST_SHARE, 1.0, np.maximum(0.0, likeness))
        scores -= _ALIKE_VOICES * evidence.weights.sum() * likeness
    return scores


def _improve(
    evidence: Evidence, maps: IntArray, links: FloatArray, directions: FloatArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield assignments that explain the clusters better and better, from voices to start with.

    Each time it is those of all ways that go on, and which ways these are. The first ones are left
    out: they are by the voices of a few clusters, not of the recording.
    """
    which = np.arange(len(directions))
    chosen, score = best_maps(_odds(evidence, maps, directions), links)
    for _ in range(_MAX_ITER):
        found = voice_vectors(evidence, maps[chosen], directions.shape[1])
        # A voice that has lost all that it had stays where it was.
        directions = np.where(found.any(-1, keepdims=True), found, directions)
        before = score
        chosen, score = best_maps(_odds(evidence, maps, directions), links)
        yield which, maps[chosen]
        goes_on = score > before + _TOLERANCE * np.abs(before)
        if not goes_on.any():
            return
        which, directions = which[goes_on], directions[goes_on]
        chosen, score = chosen[goes_on], score[goes_on]


def compare_voices(
    evidence: Evidence, voices: IntArray, directions: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Say how alike voices are, and how little the one that is heard least has of the speech.

    Parameters
    ----------
    evidence : Evidence
    voices : int64 array of shape (..., n_stretches, n_clusters)
        The voice of each cluster; of several assignments at once, where there are more axes.
    directions : float64 array of shape (..., n_voices, dim)
        Unit vectors of the voices.

    Returns
    -------
    likeness : float64 array of shape (...)
        The largest cosine of two of them; -1 where there is one.
    share : float64 array of shape (...)
        The least part of all weights that one of them has.
    """
    n_voices = directions.shape[-2]
    # (..., voices, voices) -> (..., pairs)
    cosines = (directions @ directions.swapaxes(-1, -2))[..., ~np.eye(n_voices, dtype=bool)]
    heard = _of_voice(voices, n_voices) @ evidence.weights.flatten()
    share = heard.min(-1) / np.maximum(heard.sum(-1), _TINY)
    return cosines.max(-1, initial=-1.0), share


def _jumps(maps: IntArray) -> NDArray[np.bool_]:
    """Say which maps are of one voice alone each, but not of the same, (n_maps, n_maps)."""
    is_alone = (maps == maps[:, :1]).all(1)
    return is_alone[:, None] & is_alone & (maps[:, None, 0] != maps[:, 0])


def _starts(evidence: Evidence, n_voices: int, seed: int) -> Iterator[FloatArray]:
    """Give vectors of voices to start from, each (n_voices, dim)."""
    rng = np.random.default_rng(seed)
    if n_voices == 1:
        yield _draw_voices(evidence, 1, rng)
        return
    n_clusters = evidence.alike.shape[1]
    first, second = np.triu_indices(n_clusters, k=1)
    pairs = evidence.alike[:, first, second]  # (n_stretches, n_pairs)
    if n_clusters > 1:
        # Two clusters of the stretches that most surely hold two voices.
        for stretch in pairs.min(1).argsort(kind="stable")[:_N_STARTS]:
            pair = pairs[stretch].argmin()
            surest = evidence.vectors[stretch, [first[pair], second[pair]]]
            yield _draw_voices(evidence, n_voices, rng, list(surest))
    # What is unlike the mean of all, which is that of a voice that is heard nearly all the time.
    whole = voice_vectors(evidence, np.zeros(evidence.weights.shape, dtype=np.int64), 1)
    # (stretches, clusters, dim) -> (stretches * clusters, dim)
    vectors = evidence.vectors.reshape(-1, evidence.vectors.shape[-1])
    unlike = evidence.weights.flatten() * (1 - vectors @ whole[0])
    for other in unlike.argsort(kind="stable")[::-1][:_N_STARTS]:
        yield _draw_voices(evidence, n_voices, rng, [whole[0], vectors[other]])
    for _ in range(_N_STARTS):
        yield _draw_voices(evidence, n_voices, rng)


def _draw_voices(
    evidence: Evidence,
    n_voices: int,
    rng: np.random.Generator,
    given: Sequence[FloatArray] = (),
) -> FloatArray:
    """Draw vectors of clusters, far from each other and from those given, as k-means++ does."""
    # (stretches, clusters, dim) -> (stretches * clusters, dim)
    vectors = evidence.vectors.reshape(-1, evidence.vectors.shape[-1])
    weights = evidence.weights.flatten() + 1e-12
    drawn: list[FloatArray] = list(given)
    nearest = np.ones(len(vectors))
    for one in drawn:
        nearest = np.minimum(nearest, np.clip(1 - vectors @ one, 0, None))
    while len(drawn) < n_voices:
        mass = weights * nearest + 1e-12
        drawn.append(vectors[rng.choice(len(vectors), p=mass / mass.sum())])
        nearest = np.minimum(nearest, np.clip(1 - vectors @ drawn[-1], 0, None))
    return np.stack(drawn)


def _odds(evidence: Evidence, maps: IntArray, directions: FloatArray) -> FloatArray:
    # (..., voices, dim) -> (..., stretches, clusters, voices)
    cosines = evidence.vectors @ directions.swapaxes(-1, -2)[..., None, :, :]
    likeness = evidence.weights[..., None] * cosines
    return map_odds(likeness, evidence.alike, maps)


def map_odds(likeness: FloatArray, alike: FloatArray, maps: IntArray) -> FloatArray:
    """Give what each map of clusters to voices has for it, by itself.

    Parameters
    ----------
    likeness : float64 array of shape (..., n_stretches, n_clusters, n_voices)
        What each cluster has for being each voice; of several cases at once, where there are more
        axes.
    alike : float64 array of shape (n_stretches, n_clusters, n_clusters)
        What two clusters have for being one voice.
    maps : int64 array of shape (n_maps, n_clusters)

    Returns
    -------
    float64 array of shape (..., n_stretches, n_maps)
    """
    merged = np.triu(maps[:, :, None] == maps[:, None, :], k=1)  # (n_maps, clusters, clusters)
    odds = np.einsum("kij,sij->ks", alike, merged)
    # One cluster after the other: all of them at once are large where there are many ways.
    for cluster, voices in enumerate(maps.T):
        odds = odds + likeness[..., cluster, voices]
    return odds


def link_odds(before: IntArray, now: IntArray, shared: FloatArray) -> FloatArray:
    """Give what each map of a stretch has for it after each map of the stretch before.

    Parameters
    ----------
    before, now : int64 arrays of shape (n_maps, n_clusters)
    shared : float64 array of shape (n_stretches, n_clusters, n_clusters)
        As in `Evidence`.

    Returns
    -------
    float64 array of shape (n_stretches, n_maps before, n_maps now)
    """
    # (before, now, clusters before, clusters now)
    same = before[:, None, :, None] == now[None, :, None, :]
    return np.tensordot(shared, same, axes=([1, 2], [2, 3]))


def voice_vectors(evidence: Evidence, voices: IntArray, n_voices: int) -> FloatArray:
    """Give the vectors of voices, each the mean of what is assigned to it.

    Parameters
    ----------
    evidence : Evidence
    voices : int64 array of shape (..., n_stretches, n_clusters)
        The voice of each cluster; of several assignments at once, where there are more axes.
    n_voices : int

    Returns
    -------
    float64 array of shape (..., n_voices, dim)
        Unit vectors; zeros where a voice has nothing.
    """
    weighted = evidence.weights[..., None] * evidence.vectors
    # (stretches, clusters, dim) -> (stretches * clusters, dim)
    sums = _of_voice(voices, n_voices) @ weighted.reshape(-1, weighted.shape[-1])
    return sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), _TINY)


def _of_voice(voices: IntArray, n_voices: int) -> FloatArray:
    """Give 1 where a cluster is of a voice, else 0: (..., n_voices, n_stretches * n_clusters)."""
    # (..., stretches, clusters) -> (..., 1, stretches * clusters)
    flat = voices.reshape(*voices.shape[:-2], 1, -1)
    return (flat == np.arange(n_voices)[:, None]).astype(np.float64)


def best_maps(
    odds: FloatArray, links: Sequence[FloatArray] | FloatArray
) -> tuple[IntArray, FloatArray]:
    """Find the best sequence of maps, by Viterbi's algorithm.

    Parameters
    ----------
    odds : float64 array of shape (..., n_stretches, n_maps)
        What each map has for it within each stretch; of several cases at once, where there are
        more axes.
    links : sequence of float64 arrays of shape (n_maps, n_maps)
        One a stretch: what each map (second axis) has for it after each of the stretch before
        (first axis). That of the first is not used.

    Returns
    -------
    chosen : int64 array of shape (..., n_stretches)
        Indices of maps.
    score : float64 array of shape (...)
        The sum of what they have for them.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.separation.voices import best_maps
    >>> links = np.array([[[0, 0], [0, 0]], [[0, 3], [3, 0]]])
    >>> chosen, score = best_maps(np.array([[1.0, 0], [0, 0]]), links)
    >>> chosen.tolist(), float(score)
    ([0, 1], 4.0)
    """
    *leading, n_stretches, n_maps = odds.shape
    cases = odds.reshape(-1, n_stretches, n_maps)  # (cases, stretches, maps)
    every = np.arange(len(cases))
    total = cases[:, 0]
    came_from = np.zeros((n_stretches, len(cases), n_maps), dtype=np.int64)
    for k in range(1, n_stretches):
        paths = total[..., None] + links[k]  # (cases, before, now)
        came_from[k] = paths.argmax(1)
        total = paths.max(1) + cases[:, k]
    chosen = np.zeros((len(cases), n_stretches), dtype=np.int64)
    chosen[:, -1] = total.argmax(1)
    for k in range(n_stretches - 1, 0, -1):
        chosen[:, k - 1] = came_from[k][every, chosen[:, k]]
    # (cases, stretches) -> (..., stretches)
    return chosen.reshape(*leading, n_stretches), total.max(1).reshape(leading)


def _follow(evidence: Evidence, n_voices: int) -> tuple[IntArray, float]:
    """Give each stretch the order that fits best what came before it."""
    sums = np.zeros((n_voices, evidence.vectors.shape[2]))
    voices: list[IntArray] = []
    score = 0.0
    for vectors, weights, shared in zip(
        evidence.vectors, evidence.weights, evidence.shared, strict=True
    ):
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        gains = (vectors @ (sums / np.maximum(norms, 1e-9)).T) * weights[:, None]
        if voices:
            # (before, now) -> (now, voice): a voice is where its cluster was.
            gains = gains + shared.T @ (voices[-1][:, None] == np.arange(n_voices))
        own = gains.argmax(1)
        clusters, different = linear_sum_assignment(gains, maximize=True)
        own[clusters] = different
        score += float(gains[np.arange(len(own)), own].sum())
        voices.append(own)
        np.add.at(sums, own, weights[:, None] * vectors)
    return np.stack(voices), score
