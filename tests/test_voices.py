"""Who is who in a long recording: against all assignments there are, where these are few."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from skdc.separation.activity import cut_moments, follow_voices
from skdc.separation.pipeline import AssignedPieces
from skdc.separation.voices import Evidence, assign_voices, best_maps

FloatArray = NDArray[np.float64]


def unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def random_evidence(seed: int, n_stretches: int, n_clusters: int) -> Evidence:
    rng = np.random.default_rng(seed)
    square = (n_stretches, n_clusters, n_clusters)
    alike = rng.normal(0, 2, square)
    return Evidence(
        unit(rng.normal(size=(n_stretches, n_clusters, 4))),
        rng.uniform(0, 3, (n_stretches, n_clusters)),
        alike + alike.swapaxes(1, 2),
        rng.uniform(0, 2, square) * (np.arange(n_stretches) > 0)[:, None, None],
    )


def naive_score(evidence: Evidence, voices: Any) -> float:
    """What an assignment has for it, term by term, with the voices at their best."""
    n_stretches, n_clusters, dim = evidence.vectors.shape
    score = 0.0
    sums: dict[int, FloatArray] = {}
    for k, i in itertools.product(range(n_stretches), range(n_clusters)):
        voice, weighted = voices[k][i], evidence.weights[k, i] * evidence.vectors[k, i]
        sums[voice] = sums.get(voice, np.zeros(dim)) + weighted
        for j in range(n_clusters):
            if i < j and voices[k][j] == voice:
                score += evidence.alike[k, i, j]
            if k and voices[k - 1][j] == voice:
                score += evidence.shared[k, j, i]
    return score + sum(float(np.linalg.norm(total)) for total in sums.values())


def best_of_all(evidence: Evidence, n_voices: int) -> float:
    n_stretches, n_clusters, _ = evidence.vectors.shape
    maps = list(itertools.product(range(n_voices), repeat=n_clusters))
    every = itertools.product(maps, repeat=n_stretches)
    return max(naive_score(evidence, one) for one in every)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_hardly_any_assignment_of_a_few_stretches_is_better(seed: int) -> None:
    # The evidence contradicts itself everywhere.
    evidence = random_evidence(seed, 4, 2)
    voices, score = assign_voices(evidence, 2, seed=seed)
    assert_allclose(score, naive_score(evidence, voices), rtol=1e-6)
    assert score >= 0.93 * best_of_all(evidence, 2)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_no_assignment_of_a_few_stretches_is_better_where_there_are_voices(seed: int) -> None:
    evidence, _ = conversation(4, 2, noise=1.0, alone=0.3, seed=seed)
    _, score = assign_voices(evidence, 2, seed=seed)
    assert_allclose(score, best_of_all(evidence, 2), rtol=1e-6)


@pytest.mark.parametrize(("n_clusters", "n_voices"), [(1, 2), (2, 2), (2, 3), (3, 2)])
def test_best_maps_is_the_best_of_all(n_clusters: int, n_voices: int) -> None:
    rng = np.random.default_rng(0)
    n_maps = n_voices**n_clusters
    odds, links = rng.normal(size=(4, n_maps)), rng.normal(size=(4, n_maps, n_maps))
    chosen, score = best_maps(odds, links)

    def value(path: Any) -> float:
        own = sum(odds[k, s] for k, s in enumerate(path))
        return float(own + sum(links[k, path[k - 1], path[k]] for k in range(1, 4)))

    best = max(itertools.product(range(n_maps), repeat=4), key=value)
    assert chosen.tolist() == list(best)
    assert_allclose(score, value(best))


def conversation(
    n_stretches: int, n_voices: int, noise: float, alone: float, seed: int = 0
) -> tuple[Evidence, NDArray[np.int64]]:
    """Evidence of a recording of which it is known who is who."""
    rng = np.random.default_rng(seed)
    own = unit(rng.normal(size=(n_voices, 32)))
    true = np.stack([rng.permutation(n_voices) for _ in range(n_stretches)])
    is_alone = rng.random(n_stretches) < alone
    true[is_alone] = true[is_alone, :1]
    same = (true[:, :, None] == true[:, None, :]) & ~np.eye(n_voices, dtype=bool)
    evidence = Evidence(
        unit(own[true] + noise * rng.normal(size=(n_stretches, n_voices, 32)) / np.sqrt(32)),
        np.full((n_stretches, n_voices), 10.0),
        np.where(same, 3.0, -3.0),
        np.zeros((n_stretches, n_voices, n_voices)),
    )
    return evidence, true


def renamed(voices: Any, true: Any, n_voices: int) -> Any:
    """Number the voices as the truth does, as far as that can be."""
    orders = [np.array(order) for order in itertools.permutations(range(n_voices))]
    return max((order[voices] for order in orders), key=lambda names: (names == true).sum())


@pytest.mark.parametrize("n_voices", [1, 2, 3, 4, 5])
def test_voices_are_found_again(n_voices: int) -> None:
    # Who is alone is found up to three voices.
    evidence, true = conversation(60, n_voices, noise=0.7, alone=0.3 if n_voices < 4 else 0)
    voices, _ = assign_voices(evidence, n_voices)
    assert (renamed(voices, true, n_voices) == true).all()


@pytest.mark.parametrize(("n_clusters", "n_voices"), [(5, 3), (3, 5), (2, 9), (6, 1)])
def test_any_numbers_of_clusters_and_voices_go_together(n_clusters: int, n_voices: int) -> None:
    voices, score = assign_voices(random_evidence(0, 20, n_clusters), n_voices)
    assert voices.shape == (20, n_clusters)
    assert 0 <= voices.min() <= voices.max() < n_voices
    assert np.isfinite(score)


def test_two_who_never_meet_are_told_apart() -> None:
    evidence, true = conversation(40, 2, noise=1.0, alone=1.0)
    voices, _ = assign_voices(evidence, 2)
    assert (renamed(voices, true, 2) == true).all()


def test_what_stretches_share_decides_where_voices_do_not() -> None:
    evidence, true = conversation(200, 2, noise=0.5, alone=0)
    # Nobody can be told by voice in the middle third.
    doubtful = slice(70, 130)
    evidence.weights[doubtful] = 0.1
    shared = 4.0 * (true[:-1, :, None] == true[1:, None, :])
    evidence.shared[1:] = shared
    voices, _ = assign_voices(evidence, 2)
    assert (renamed(voices, true, 2) == true).all()


def test_one_mistake_is_not_carried_on() -> None:
    evidence, true = conversation(100, 2, noise=0.7, alone=0)
    evidence.shared[1:] = 3.0 * (true[:-1, :, None] == true[1:, None, :])
    evidence.shared[50] = evidence.shared[50][::-1]  # tells the opposite
    voices, _ = assign_voices(evidence, 2)
    assert (renamed(voices, true, 2) == true).all()


def test_silence_is_assigned_too() -> None:
    nothing = Evidence(
        np.zeros((3, 2, 4)), np.zeros((3, 2)), np.zeros((3, 2, 2)), np.zeros((3, 2, 2))
    )
    voices, score = assign_voices(nothing, 2)
    assert voices.shape == (3, 2)
    assert np.isfinite(score)


def test_the_seed_repeats_the_result() -> None:
    evidence = random_evidence(3, 30, 2)
    first, again = (assign_voices(evidence, 2, seed=5)[0] for _ in range(2))
    assert (first == again).all()


def naive_follow(
    own: Any, energy: FloatArray, moments: Any, length: int, directions: FloatArray
) -> list[list[int]]:
    """What `follow_voices` gives, frame by frame."""
    voices = []
    starts = range(0, energy.shape[1] - length + 1, max(1, length // 2))
    for frame in range(energy.shape[1]):
        distances = [abs(frame - (start + (length - 1) / 2)) for start in starts]
        moment = int(np.argmin(distances))
        part = slice(starts[moment], starts[moment] + length)
        heard = energy[:, part].sum(1)
        loudest = int(heard.argmax())
        column = []
        for cluster, voice in enumerate(own):
            vector = moments[moment, cluster]
            other = own[loudest]
            closer = vector @ directions[other] > vector @ directions[voice] + 0.1
            is_faint = heard[cluster] < heard[loudest] * 10**-0.7
            column.append(int(other if is_faint and closer else voice))
        voices.append(column)
    return np.array(voices).T.tolist()


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(2, 4))
@settings(max_examples=60)
def test_faint_clusters_follow_the_voice_that_is_in_them(
    seed: int, length: int, n_clusters: int
) -> None:
    rng = np.random.default_rng(seed)
    energy = rng.exponential(size=(n_clusters, 20)) ** 4
    moments = unit(rng.normal(size=(len(cut_moments(20, length)), n_clusters, 5)))
    own, directions = rng.integers(3, size=n_clusters), unit(rng.normal(size=(3, 5)))
    found = follow_voices(own, energy, moments.astype(np.float32), length, directions)
    assert found.tolist() == naive_follow(own, energy, moments, length, directions)


def test_without_vectors_of_moments_every_cluster_keeps_its_voice() -> None:
    none = np.zeros((0, 2, 0), dtype=np.float32)
    found = follow_voices(np.array([1, 0]), np.ones((2, 3)), none, 1, np.eye(2))
    assert found.tolist() == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("shape", [(2, 9), (2, 33), (2, 9, 4)])
def test_pieces_go_where_their_voices_belong_and_keep_their_sum(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    made = rng.normal(size=shape).astype(np.float32)
    voices = np.array([[1] * 9, [0] * 5 + [1] * 4])
    pieces = AssignedPieces([(0, 0)], [made], [voices], 3, torch.device("cpu"))
    ((start, overlap, placed),) = pieces
    assert (start, overlap, *placed.shape) == (0, 0, 3, *shape[1:])
    assert_allclose(placed.sum(0), made.sum(0), rtol=1e-5, atol=1e-6)
    half = shape[1] // 2
    # Frames 0 to 4 and 5 to 8, and samples by where they lie among them.
    assert_allclose(placed[0, : half + 1], made[1, : half + 1], atol=1e-6)
    assert_allclose(placed[0, half + 4 :], 0, atol=1e-6)
    assert_allclose(placed[1, half + 4 :], made[:, half + 4 :].sum(0), atol=1e-6)
    assert not placed[2].any()
