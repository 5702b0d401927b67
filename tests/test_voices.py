"""Who is who in a long recording: against all assignments there are, where these are few."""

from __future__ import annotations

import itertools
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from skdc.separation import activity
from skdc.separation.activity import (
    Heard,
    OwnVoices,
    _own_likeness,
    _own_voices,
    cut_moments,
    follow_voices,
    quieten,
)
from skdc.separation.pieces import AssignedPieces
from skdc.separation.voices import (
    Evidence,
    assign_voices,
    best_maps,
    compare_voices,
    link_odds,
    map_odds,
    voice_vectors,
)

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


def naive_score(evidence: Evidence, voices: Any, n_voices: int, must_differ: bool = True) -> float:
    """What an assignment has for it, term by term, with the voices at their best."""
    n_stretches, n_clusters, dim = evidence.vectors.shape
    score, jumps = 0.0, 0
    sums: dict[int, FloatArray] = {}
    for k, i in itertools.product(range(n_stretches), range(n_clusters)):
        voice, weighted = voices[k][i], evidence.weights[k, i] * evidence.vectors[k, i]
        sums[voice] = sums.get(voice, np.zeros(dim)) + weighted
        for j in range(n_clusters):
            if i < j and voices[k][j] == voice:
                score += evidence.alike[k, i, j]
            if k and voices[k - 1][j] == voice:
                score += evidence.shared[k, j, i]
        if k and i == 0 and len({*voices[k]}) == len({*voices[k - 1]}) == 1:
            jumps += voices[k][0] != voices[k - 1][0]
    score += sum(float(np.linalg.norm(total)) for total in sums.values())
    score -= 0.4 * float(evidence.weights.mean()) * jumps
    if not must_differ:
        return score
    units = [total / max(float(np.linalg.norm(total)), 1e-9) for total in sums.values()]
    cosines = [float(one @ other) for one, other in itertools.combinations(units, 2)]
    weight = float(evidence.weights.sum())
    shares = [evidence.weights[np.asarray(voices) == v].sum() / weight for v in range(n_voices)]
    likeness = max([0.0, *cosines]) if min(shares) > 0.01 else 1.0
    return score - 0.15 * float(evidence.weights.sum()) * likeness


def best_of_all(evidence: Evidence, n_voices: int, must_differ: bool = True) -> float:
    n_stretches, n_clusters, _ = evidence.vectors.shape
    maps = list(itertools.product(range(n_voices), repeat=n_clusters))
    every = itertools.product(maps, repeat=n_stretches)
    return max(naive_score(evidence, one, n_voices, must_differ) for one in every)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_hardly_any_assignment_of_a_few_stretches_is_better(seed: int) -> None:
    # The evidence contradicts itself everywhere.
    evidence = random_evidence(seed, 4, 2)
    voices, score = assign_voices(evidence, 2, seed=seed, must_differ=False)
    assert_allclose(score, naive_score(evidence, voices, 2, must_differ=False), rtol=1e-9)
    assert score >= 0.93 * best_of_all(evidence, 2, must_differ=False)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
@example(91)
def test_no_assignment_of_a_few_stretches_is_much_better_where_there_are_voices(seed: int) -> None:
    evidence, _ = conversation(4, 2, noise=1.0, alone=0.3, seed=seed)
    _, score = assign_voices(evidence, 2, seed=seed)
    assert_allclose(score, best_of_all(evidence, 2), rtol=0.01)


@given(st.integers(0, 10_000), st.sampled_from([(2, 2), (2, 3), (3, 2), (3, 3), (1, 4)]))
@settings(max_examples=30)
def test_an_assignment_counts_with_the_voices_that_it_has(
    seed: int, numbers: tuple[int, int]
) -> None:
    # Not with those by which it was found, which may be less alike.
    n_clusters, n_voices = numbers
    evidence = random_evidence(seed, 12, n_clusters)
    voices, score = assign_voices(evidence, n_voices, seed=seed)
    assert_allclose(score, naive_score(evidence, voices, n_voices), rtol=1e-9)


def test_hardly_ever_is_another_assignment_better_at_all() -> None:
    better = []
    for seed in range(100):
        evidence, _ = conversation(4, 2, noise=1.0, alone=0.3, seed=seed)
        _, score = assign_voices(evidence, 2, seed=seed)
        if score < (1 - 1e-6) * best_of_all(evidence, 2):
            better.append(seed)
    assert len(better) <= 1  # seed 91


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


def test_several_cases_at_once_are_each_as_they_are_alone() -> None:
    rng = np.random.default_rng(0)
    evidence = random_evidence(0, 7, 2)
    maps = np.array(list(itertools.product(range(3), repeat=2)))
    odds, links = rng.normal(size=(2, 5, 7, 9)), rng.normal(size=(7, 9, 9))
    voices = rng.integers(0, 3, (2, 5, 7, 2))
    directions = voice_vectors(evidence, voices, 3)
    likeness = rng.normal(size=(2, 5, 7, 2, 3))
    of_maps = map_odds(likeness, evidence.alike, maps)
    chosen, scores = best_maps(odds, links)
    compared = compare_voices(evidence, voices, directions)
    for case in itertools.product(range(2), range(5)):
        assert_allclose(directions[case], voice_vectors(evidence, voices[case], 3))
        assert_allclose(of_maps[case], map_odds(likeness[case], evidence.alike, maps))
        alone, score = best_maps(odds[case], links)
        assert chosen[case].tolist() == alone.tolist()
        assert_allclose(scores[case], score)
        for several, one in zip(
            compared, compare_voices(evidence, voices[case], directions[case]), strict=True
        ):
            assert_allclose(several[case], one)


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


@pytest.mark.parametrize("share", [0.03, 0.05, 0.08])
@pytest.mark.parametrize("spread", [0.5, 0.6, 0.7])
def test_a_voice_that_is_hardly_heard_is_not_lost(spread: float, share: float) -> None:
    # The voice that is heard nearly all the time differs from itself, always in the same way: as
    # two halves of it, the clusters are explained well, and the other voice goes to one of them.
    for seed in range(10):
        rng = np.random.default_rng(seed)
        own, way = unit(rng.normal(size=(2, 32))), unit(rng.normal(size=32))
        true = np.repeat(rng.random((120, 1)) < share, 2, axis=1).astype(int)
        differs = spread * rng.normal(size=(120, 1, 1)) * way * (true == 0)[..., None]
        noise = 0.8 * rng.normal(size=(120, 2, 32)) / np.sqrt(32)
        evidence = Evidence(
            unit(own[true] + differs + noise),
            np.full((120, 2), 10.0),
            np.full((120, 2, 2), 3.0) * (1 - np.eye(2)),
            np.zeros((120, 2, 2)),
        )
        _, score = assign_voices(evidence, 2)
        assert score >= naive_score(evidence, true, 2) * (1 - 1e-9)


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


def moments_of_voices(
    true: Any, means: FloatArray, spread: FloatArray, seed: int
) -> tuple[Evidence, list[Heard]]:
    """Stretches of one frame a moment, whose clusters are the voices that `true` says."""
    rng = np.random.default_rng(seed)
    moments = unit(means[true] + rng.normal(size=(*true.shape, len(spread))) * spread)
    energy = rng.uniform(0.2, 1.0, true.shape)
    n_clusters = true.shape[2]
    none = np.zeros((len(true), n_clusters, n_clusters))
    evidence = Evidence(unit(moments.mean(1)), np.ones(none.shape[:2]), none, none)
    return evidence, [
        Heard(own, loud.T, none[0]) for own, loud in zip(moments, energy, strict=True)
    ]


def test_voices_of_a_recording_are_those_of_linear_discriminant_analysis() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(3, size=(20, 6, 2))
    _, heard = moments_of_voices(true, unit(rng.normal(size=(3, 5))), rng.uniform(size=5), 1)
    heard = [one._replace(energy=np.ones_like(one.energy)) for one in heard]
    vectors = np.concatenate([one.moments.reshape(-1, 5) for one in heard])
    energies = [one.energy.T for one in heard]
    found = _own_voices(list(true), heard, energies, 3, 1e-9)
    assert found is not None
    expected = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2)
    expected.fit(vectors, true.flatten())
    assert_allclose(found[0], expected.coef_, rtol=1e-6)
    assert_allclose(-found[1] + np.log(expected.priors_), expected.intercept_, rtol=1e-6)


def test_what_is_too_weak_tells_nothing_of_voices() -> None:
    true = np.tile([[[0, 1]]], (20, 4, 1))
    _, heard = moments_of_voices(true, np.eye(2, 4), np.full(4, 0.1), 0)
    energies = [one.energy.T for one in heard]
    # Clusters that have next to nothing of their moment, and moments of next to nothing.
    strange = np.full((4, 2, 4), 100.0)
    weak, faint = np.array([[1e-6, 1e-2]] * 4), np.full((4, 2), 1e-10)
    for energy, told in ((faint, strange), (weak, strange * [[[1], [0]]] + heard[0].moments)):
        loud = np.where(energy > 1e-3, energy, 0)
        more = [*heard, Heard(told, energy.T, np.zeros((2, 2)))]
        same = [*heard, Heard(heard[0].moments, loud.T, np.zeros((2, 2)))]
        rows = [*true, true[0]]
        found = _own_voices(rows, more, [*energies, energy], 2, 1e-9)
        without = _own_voices(rows, same, [*energies, loud], 2, 1e-9)
        assert found is not None
        assert without is not None
        assert_allclose(found[0], without[0], rtol=1e-3)
        assert_allclose(found[1], without[1], rtol=1e-3)


def test_voices_that_are_hardly_heard_stay_as_they_were() -> None:
    true = np.zeros((20, 4, 2), dtype=int)
    true[0, 0] = 1
    _, heard = moments_of_voices(true, np.eye(2, 4), np.full(4, 0.1), 0)
    energies = [one.energy.T for one in heard]
    assert _own_voices(list(true), heard, energies, 2, 1e-9) is None
    # Nor is there anything to learn where all vectors are the same.
    same = [one._replace(moments=np.ones((4, 2, 4))) for one in heard]
    assert _own_voices([1 - true[0] * [0, 1]] * 20, same, energies, 2, 1e-9) is None


def test_alike_voices_are_followed_by_what_tells_them_apart_in_the_recording() -> None:
    # They differ along one axis a little, and from themselves along another one a lot.
    means = unit(np.array([[1.0, 0.25, 0], [1.0, -0.25, 0]]))
    spread = np.array([0.05, 0.12, 0.5])
    true = np.repeat(np.repeat([0, 1], 20)[:, None, None], 8, axis=1).repeat(2, axis=2)
    true = np.random.default_rng(1).permutation(true)
    evidence, heard = moments_of_voices(true, means, spread, 2)
    # One person speaks at a time, so the centroids of both clusters are the same.
    heard = [one._replace(nearness=np.ones((2, 2))) for one in heard]
    # The directions that were found are somewhat wrong.
    directions = unit(means + np.array([[0, 0, 0.35], [0, 0, -0.35]]))
    own = true[:, 0]

    def wrong() -> float:
        followed, _ = follow_voices(evidence, own, directions, heard, 1, 1e-9)
        return float(np.mean([(b != a.T).mean() for a, b in zip(followed, true, strict=True)]))

    with patch.object(activity, "_OWN_PASSES", 0):
        before = wrong()
    assert wrong() < 0.3 * before
    assert before > 0.05


def test_voices_are_also_told_apart_by_what_is_not_in_their_vectors() -> None:
    # Vectors of voices that say little, beside three numbers more that say a lot.
    rng = np.random.default_rng(0)
    true = np.repeat(rng.permutation(np.repeat([0, 1], 20))[:, None, None], 8, axis=1)
    true = true.repeat(2, axis=2)
    means = unit(np.array([[1.0, 0.2, 0], [1.0, -0.2, 0]]))
    evidence, heard = moments_of_voices(true, means, np.array([0.1, 0.6, 0.1]), 2)
    heard = [one._replace(nearness=np.ones((2, 2))) for one in heard]

    def wrong(heard: list[Heard]) -> float:
        followed, _ = follow_voices(evidence, true[:, 0], means, heard, 1, 1e-9)
        return float(np.mean([(b != a.T).mean() for a, b in zip(followed, true, strict=True)]))

    more = [
        one._replace(
            moments=np.concatenate(
                [one.moments, 3 * own[..., None] + rng.normal(size=(8, 2, 3))], axis=-1
            )
        )
        for one, own in zip(heard, true, strict=True)
    ]
    assert wrong(heard) > 0.02
    assert wrong(more) < 0.3 * wrong(heard)


def test_what_a_weak_cluster_tells_counts_in_part() -> None:
    rng = np.random.default_rng(0)
    moments, energy = rng.normal(size=(4, 2, 3)), np.array([[1, 1], [1, 0.05], [1, 1e-9], [0, 0]])
    directions, offsets = rng.normal(size=(2, 3)), rng.normal(size=2)
    heard = [Heard(moments, energy.T, np.zeros((2, 2)))]
    learnt = OwnVoices(directions, offsets, np.zeros((2, 3)), np.full(2, 0.5))
    (found,) = _own_likeness(learnt, heard, [energy], 0.3)
    for m, c, v in itertools.product(range(4), range(2), range(2)):
        own = [moments[k, c] @ directions[v] - offsets[v] for k in range(4)]
        whole = sum(energy[k, c] * own[k] for k in range(4)) / energy[:, c].sum()
        share = energy[m, c] / max(energy[m].sum(), 1e-30)
        expected = 0.5 * min(share / 0.1, 1) * (own[m] + 0.3 * whole)
        assert_allclose(found[m, c, v], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_sources", [1, 2, 3])
def test_sources_are_silent_where_they_have_next_to_nothing_for_long_enough(
    n_sources: int,
) -> None:
    rng = np.random.default_rng(n_sources)
    # Levels that change by half seconds, 50 dB up and down, and silence of all in the end.
    levels = np.repeat(rng.uniform(-50, 0, (n_sources, 10)), 14, axis=1)
    masks = 10 ** (levels[..., None] / 20) * rng.uniform(0.5, 1, (n_sources, 140, 5))
    masks /= masks.sum(0)
    magnitude = rng.uniform(0, 1, (140, 5))
    magnitude[120:] = 0.0
    found, energy = quieten(
        torch.from_numpy(masks).float(), torch.from_numpy(magnitude).float(), 31
    )
    power = ((masks * magnitude) ** 2).sum(-1)  # (sources, frames)
    n_silent = 0
    for t in range(140):
        silent, loudest = set(), 0
        for half in (15, 5):
            near = [p[max(0, t - half) : t + half + 1].mean() for p in power]
            loudest = int(np.argmax(near))
            silent |= {c for c, p in enumerate(near) if p < max(near) * 10**-1.5}
        silent -= {loudest}
        n_silent += len(silent)
        for c in range(n_sources):
            expected = 0.0 if c in silent else masks[c, t]
            if c == loudest:
                expected = masks[c, t] + sum(masks[d, t] for d in silent)
            assert_allclose(found[c, t], np.broadcast_to(expected, 5), rtol=1e-5)
    assert (n_silent > 20) == (n_sources > 1)
    assert_allclose(found.sum(0), 1.0, rtol=1e-5)
    assert_allclose(energy, ((found.numpy() * magnitude) ** 2).sum(-1), rtol=1e-4)


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


def follow_one_way(
    evidence: Evidence, heard: list[Heard], directions: FloatArray, path: Any, length: int
) -> float:
    """What one choice of voices for every moment has for it, term by term."""
    score, moments = 0.0, iter(path)
    before: Any = None
    for k, stretch in enumerate(heard):
        for m, start in enumerate(cut_moments(stretch.energy.shape[1], length)):
            own = next(moments)
            energy = stretch.energy[:, start : start + length].sum(1)
            gain = 0.0
            for c, voice in enumerate(own):
                gain += 20 * stretch.moments[m, c] @ directions[voice]
                gain += 14 * evidence.vectors[k, c] @ directions[voice]
            for c, d in itertools.combinations(range(len(own)), 2):
                if own[c] == own[d]:
                    share = min(energy[c], energy[d]) / (energy[c] + energy[d])
                    gain += -2.5 + 4 * stretch.nearness[c, d] - 1.6 * np.log10(share + 1e-3)
            score += gain * energy.sum() / (energy.sum() + length * 0.5)
            if m and own != before:
                score -= 1000 if sorted(own) == sorted(before) else 1.5
            if k and not m:
                score += sum(
                    evidence.shared[k, c, d]
                    for c, d in itertools.product(range(len(own)), repeat=2)
                    if before[c] == own[d]
                )
            before = own
    return score


@given(st.integers(0, 10_000), st.integers(2, 3))
@settings(max_examples=25)
def test_no_other_way_to_follow_voices_is_better(seed: int, n_clusters: int) -> None:
    rng = np.random.default_rng(seed)
    evidence, length = random_evidence(seed, 2, n_clusters), 4
    directions = unit(rng.normal(size=(2, 4)))
    heard = [
        Heard(
            unit(rng.normal(size=(2, n_clusters, 4))),
            rng.exponential(size=(n_clusters, 6)) ** 4,
            rng.uniform(-1, 1, (n_clusters, n_clusters)),
        )
        for _ in range(2)
    ]
    heard = [one._replace(nearness=(one.nearness + one.nearness.T) / 2) for one in heard]
    own = rng.integers(2, size=(2, n_clusters))
    found, _ = follow_voices(evidence, own, directions, heard, length, 0.5)
    # Moments begin at frames 0 and 2; their middles are 1.5 and 3.5.
    assert all((one[:, :3] == one[:, :1]).all() for one in found)
    assert all((one[:, 3:] == one[:, 3:4]).all() for one in found)
    path = [tuple(one[:, frame].tolist()) for one in found for frame in (0, 5)]
    maps = list(itertools.product(range(2), repeat=n_clusters))
    every = (
        follow_one_way(evidence, heard, directions, one, length)
        for one in itertools.product(maps, repeat=4)
    )
    assert_allclose(
        follow_one_way(evidence, heard, directions, path, length), max(every), rtol=1e-9
    )


@pytest.mark.parametrize(("n_clusters", "n_voices"), [(2, 2), (3, 3), (4, 4), (5, 5), (7, 7)])
def test_who_is_silent_leaves_everything_to_who_speaks(n_clusters: int, n_voices: int) -> None:
    directions = np.eye(n_voices)
    none = np.zeros((1, n_clusters, n_clusters))
    evidence = Evidence(np.eye(n_voices)[None, :n_clusters], np.ones((1, n_clusters)), none, none)
    energy = np.ones((n_clusters, 30))
    energy[1:, 10:20] = 0.05
    moments = np.stack([np.eye(n_voices)[:n_clusters]] * 5)
    moments[2] = directions[0]  # all that is heard from frame 10 to 19 is the first voice
    heard = [Heard(moments, energy, np.zeros((n_clusters, n_clusters)))]
    own = np.arange(n_clusters)[None]
    (found,), _ = follow_voices(evidence, own, directions, heard, 10, 1e-9)
    assert found.dtype == np.uint8
    assert (found[:, 0] == own[0]).all()
    assert (found[:, -1] == own[0]).all()
    # Beyond five clusters there are too many ways.
    assert (found[:, 15] == (0 if n_clusters < 6 else own[0])).all()


def test_without_vectors_of_moments_every_cluster_keeps_its_voice() -> None:
    none = np.zeros((0, 2, 0), dtype=np.float16)
    evidence = random_evidence(0, 1, 2)
    heard = [Heard(none, np.ones((2, 3)), np.zeros((2, 2)))]
    (found,), _ = follow_voices(evidence, np.array([[1, 0]]), np.eye(2, 4), heard, 1, 1.0)
    assert found.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_a_voice_that_speaks_most_of_the_time_is_not_cut_in_two() -> None:
    # One voice has two ways to sound, and is alone nearly always; the other one says little.
    rng = np.random.default_rng(0)
    axes = np.eye(32)
    loud, quiet = axes[0], unit(0.3 * axes[0] + axes[1])
    ways = unit(np.stack([loud + 0.25 * axes[2], loud - 0.25 * axes[2]]))
    kind = np.array([0, 1] * 30)
    vectors = np.stack([ways[kind], ways[kind]], 1)
    speaks = np.arange(3, 60, 18)  # in these stretches the other one speaks, too
    vectors[speaks, 1] = quiet
    vectors = unit(vectors + 0.3 * rng.normal(size=vectors.shape) / np.sqrt(32))
    alike = np.full((60, 2, 2), 6.0)
    alike[speaks] = -1.0
    evidence = Evidence(vectors, np.full((60, 2), 40.0), alike, np.zeros((60, 2, 2)))
    voices, _ = assign_voices(evidence, 2)
    assert (voices[:, 0] == voices[0, 0]).all()
    assert (voices[speaks, 1] != voices[0, 0]).all()


def test_odds_of_maps_and_links_term_by_term() -> None:
    rng = np.random.default_rng(0)
    likeness, alike = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3, 3))
    alike += alike.swapaxes(1, 2)
    maps = np.array([[0, 1, 1], [1, 1, 1]])
    odds = map_odds(likeness, alike, maps)
    lone = likeness[1, 0, 0] + likeness[1, 1, 1] + likeness[1, 2, 1]
    assert_allclose(odds[1, 0], lone + alike[1, 1, 2])
    assert_allclose(odds[0, 1], likeness[0, :, 1].sum() + alike[0][np.triu_indices(3, 1)].sum())
    shared = rng.normal(size=(1, 3, 3))
    (links,) = link_odds(maps[:1], maps, shared)
    assert_allclose(links[0, 0], shared[0, 0, 0] + shared[0, 1:, 1:].sum())
    assert_allclose(links[0, 1], shared[0, 1:].sum())


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
