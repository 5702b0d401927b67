"""What each objective is for, at inputs whose value is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_objectives import naive_balanced_weights

from skdc.objectives import (
    Affinity,
    AttractorMasks,
    BalancedAffinity,
    DeepLDA,
    MaskInference,
    Outputs,
    SimplexAffinity,
    Targets,
    WhitenedKMeans,
    affinity_loss,
    attractors,
    one_hot_labels,
    partition_weights,
    whitened_kmeans_loss,
)
from skdc.separation import soft_assign

SIMPLEX = torch.tensor(  # corners of a regular tetrahedron
    [[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64
)


def labels_and_weights(n_points=100, n_sources=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(n_sources, (n_points,), generator=generator)
    weights = torch.rand(n_points, generator=generator, dtype=torch.float64)
    return one_hot_labels(labels, n_sources).double(), weights


@pytest.mark.parametrize(
    "objective", [Affinity(), BalancedAffinity(), WhitenedKMeans(), DeepLDA()]
)
def test_orthogonal_sources_cost_nothing(objective):
    labels, weights = labels_and_weights()
    # Any orthonormal directions serve, in more dimensions than there are sources too.
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 3)))[0].T
    embeddings = (labels @ torch.from_numpy(directions) * 2.5).requires_grad_()
    loss = objective(Outputs(embeddings), Targets(labels, weights))
    # The ridge of 1e-5 leaves its own size.
    assert -1e-15 <= loss.item() < (1e-12 if "Affinity" in repr(objective) else 1e-4)
    loss.backward()


@pytest.mark.parametrize("objective", [SimplexAffinity(), DeepLDA()])
def test_corners_of_a_simplex_cost_nothing(objective):
    labels, weights = labels_and_weights(n_sources=4)
    loss = objective(Outputs(labels @ SIMPLEX), Targets(labels, weights))
    assert loss.item() == pytest.approx(0.0, abs=2e-5)
    # Opposite points for two.
    two = (labels[:, :2] > 0).any(1)
    opposite = labels[two] @ torch.tensor([[1.0], [-1.0], [0.0], [0.0]], dtype=torch.float64)
    loss = objective(Outputs(opposite), Targets(labels[two], weights[two]))
    assert loss.item() == pytest.approx(0.0, abs=2e-5)


def test_affinity_is_never_negative_in_float32():
    for seed in range(50):
        labels, weights = (x.float() for x in labels_and_weights(500, seed=seed))
        assert affinity_loss(labels, labels, weights) >= 0


@pytest.mark.parametrize("objective", [Affinity(), BalancedAffinity(), WhitenedKMeans()])
def test_identical_embeddings_of_two_equal_sources_score_one_half(objective):
    labels = one_hot_labels(torch.arange(100) % 2, 2).double()
    embeddings = torch.tensor([3.0, -4.0, 1.0], dtype=torch.float64).expand(100, 3)
    loss = objective(Outputs(embeddings), Targets(labels, torch.ones(100)))
    assert loss.item() == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("n_sources", [1, 2, 3, 5])
def test_identical_embeddings_under_the_whitened_objectives(n_sources):
    targets = Targets(one_hot_labels(torch.arange(60) % n_sources, n_sources), torch.ones(60))
    same = Outputs(torch.ones(60, 4))
    assert WhitenedKMeans()(same, targets).item() == pytest.approx(1 - 1 / n_sources, abs=1e-4)
    assert DeepLDA()(same, targets).item() == pytest.approx(1.0, abs=0.2)


def test_functions_are_the_objectives():
    labels, weights = labels_and_weights()
    embeddings = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)).double()
    both = Outputs(embeddings), Targets(labels, weights)
    assert torch.equal(affinity_loss(embeddings, labels, weights), Affinity()(*both))
    assert torch.equal(whitened_kmeans_loss(embeddings, labels, weights), WhitenedKMeans()(*both))


def test_embeddings_that_are_not_finite_have_no_finite_whitened_loss():
    labels, weights = labels_and_weights(40, 2)
    embeddings = torch.ones(40, 4)
    embeddings[3, 1] = torch.nan
    assert not whitened_kmeans_loss(embeddings, labels, weights).isfinite()


def test_random_embeddings_of_many_dimensions_score_about_one_half():
    labels, _ = labels_and_weights(4000, 2)
    embeddings = torch.randn(4000, 100, generator=torch.Generator().manual_seed(0))
    assert affinity_loss(embeddings, labels, torch.ones(4000)).item() == pytest.approx(
        0.5, abs=0.02
    )


def test_one_source_has_one_target_under_both_affinities():
    embeddings = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    both = Outputs(embeddings), Targets(torch.ones(50, 1), torch.ones(50))
    torch.testing.assert_close(SimplexAffinity()(*both), Affinity()(*both))


def test_one_source_leaves_deep_lda_nothing_to_tell_apart():
    embeddings = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = DeepLDA()(Outputs(embeddings), Targets(torch.ones(50, 1), torch.ones(50)))
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max() < 1e-6


@given(seed=st.integers(0, 2**32 - 1), n_sources=st.integers(1, 4), n_points=st.integers(1, 30))
@settings(max_examples=50)
def test_partition_weights_against_a_loop(seed, n_sources, n_points):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, n_sources, size=n_points)
    weights = rng.uniform(0, 2, size=n_points) * (rng.random(n_points) < 0.8)
    one_hot = one_hot_labels(torch.from_numpy(labels), n_sources)
    got = partition_weights(one_hot, torch.from_numpy(weights))
    np.testing.assert_allclose(got, naive_balanced_weights(one_hot.numpy(), weights), rtol=1e-12)


def test_balance_makes_the_size_of_a_source_count_less():
    # One source of 90 points and one of 10, which is put where the other one is.
    labels = one_hot_labels((torch.arange(100) < 10).long(), 2).double()
    both = Outputs(torch.ones(100, 2).double()), Targets(labels, torch.ones(100))
    plain, balanced = Affinity()(*both).item(), BalancedAffinity()(*both).item()
    # Shares of the pairs of different sources: 2 * 90 * 10 / 100^2, and with the square roots.
    assert plain == pytest.approx(0.18)
    share = 2 * math.sqrt(90 * 10) / (math.sqrt(90) + math.sqrt(10)) ** 2
    assert balanced == pytest.approx(share)
    assert balanced > plain


def test_one_hot_labels_against_a_loop():
    labels = torch.tensor([[0, 3, -1], [2, 2, -7]])
    got = one_hot_labels(labels, 4)
    assert got.dtype == torch.float32
    for i, j, source in itertools.product(range(2), range(3), range(4)):
        assert float(got[i, j, source]) == (labels[i, j] == source)


def masks_problem(n_points=80, n_sources=2, seed=0):
    labels, weights = labels_and_weights(n_points, n_sources, seed)
    generator = torch.Generator().manual_seed(seed)
    mixture = torch.rand(n_points, generator=generator, dtype=torch.float64)
    shares = torch.rand(n_points, n_sources, generator=generator, dtype=torch.float64)
    return Targets(labels, weights, mixture, mixture[:, None] * shares)


def test_attractor_masks_are_the_masks_of_separation_with_the_true_centroids():
    targets = masks_problem(n_sources=3)._replace(weights=torch.ones(80).double())
    embeddings = torch.randn(80, 5, generator=torch.Generator().manual_seed(1)).double()
    vectors = embeddings / embeddings.norm(dim=-1, keepdim=True)
    share = targets.labels * targets.mixture[:, None]
    centroids = (share / share.sum(0)).T @ vectors
    masks = soft_assign(embeddings, centroids, sharpness=3.0).T
    error = (masks * targets.mixture[:, None] - targets.sources).abs().sum()
    loss = AttractorMasks()(Outputs(embeddings), targets)
    torch.testing.assert_close(loss, error / targets.mixture.sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("n_sources", [1, 2, 3, 5])
def test_each_point_moves_to_its_nearest_attractor_and_the_first_of_several(n_sources):
    nearness = torch.randint(3, (2, n_sources, 50), generator=torch.Generator().manual_seed(0))
    found = attractors._nearest(nearness.double())
    # NumPy gives the first of several.
    expected = np.eye(n_sources)[nearness.numpy().argmax(1)].swapaxes(1, 2)
    np.testing.assert_array_equal(found, expected)


def test_a_source_without_points_has_no_mask_but_a_target():
    targets = masks_problem()
    targets.labels[:] = torch.tensor([1.0, 0.0])
    embeddings = torch.randn(80, 5, generator=torch.Generator().manual_seed(1)).double()
    weighted = targets.weights * targets.mixture
    masked = (weighted - targets.weights * targets.sources[:, 0]).sum()
    missed = (targets.weights * targets.sources[:, 1]).sum()
    loss = AttractorMasks()(Outputs(embeddings), targets)
    torch.testing.assert_close(loss, (masked + missed) / weighted.sum())
    # Without any labels there are no masks at all.
    nobody = targets._replace(labels=torch.zeros_like(targets.labels))
    loss = AttractorMasks()(Outputs(embeddings), nobody)
    torch.testing.assert_close(
        loss, (targets.weights[:, None] * targets.sources).sum() / weighted.sum()
    )


def test_sharper_masks_of_opposite_vectors_are_nearer_to_binary_ones():
    targets = masks_problem()
    targets = targets._replace(sources=targets.labels * targets.mixture[:, None])
    opposite = Outputs(targets.labels @ torch.tensor([[1.0], [-1.0]]).double())
    losses = [AttractorMasks(sharpness)(opposite, targets).item() for sharpness in (0, 1, 3, 10)]
    assert losses[0] == pytest.approx(1.0)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-10


def test_masks_of_a_head_may_come_in_any_order():
    targets = masks_problem(n_sources=3)
    targets = targets._replace(sources=targets.labels * targets.mixture[:, None])
    for order in itertools.permutations(range(3)):
        masks = 100 * (2 * targets.labels[:, order] - 1)
        loss = MaskInference()(Outputs(masks=masks), targets)
        assert loss.item() == pytest.approx(0.0, abs=1e-12)


def test_masks_in_excess_are_to_be_silent():
    targets = masks_problem()
    targets = targets._replace(sources=targets.labels * targets.mixture[:, None])
    logits = 100 * (2 * targets.labels - 1)
    for extra, expected in ((-100.0, 0.0), (100.0, 1.0)):
        masks = torch.cat([torch.full((80, 1), extra).double(), logits], -1)
        loss = MaskInference()(Outputs(masks=masks), targets)
        assert loss.item() == pytest.approx(expected, abs=1e-12)
