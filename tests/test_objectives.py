"""Objectives: naive oracles, gradients, invariances, degenerate labels and weights."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skdc.objectives import (
    OBJECTIVES,
    affinity_loss,
    one_hot_labels,
    partition_weights,
    whitened_kmeans_loss,
)

ALL = pytest.mark.parametrize("objective", list(OBJECTIVES.values()), ids=list(OBJECTIVES))
balanced_affinity_loss = OBJECTIVES["balanced_affinity"]


def naive_affinity(embeddings, labels, weights):
    """Mean over all weighted pairs of bins of (their affinity - that of their labels) squared."""
    unit = [v / math.sqrt(sum(x * x for x in v)) for v in np.asarray(embeddings)]
    total = loss = 0.0
    for i, j in itertools.product(range(len(unit)), repeat=2):
        pair = weights[i] * weights[j]
        affinity = sum(a * b for a, b in zip(unit[i], unit[j], strict=True))
        loss += pair * (affinity - float(labels[i] == labels[j] >= 0)) ** 2
        total += pair
    return loss / total if total > 0 else 0.0


def naive_balanced_weights(labels, weights):
    """w_i / sqrt(d_i), d_i the weight of all bins of the source of bin i."""
    balanced = []
    for label, weight in zip(labels, weights, strict=True):
        size = sum(w for other, w in zip(labels, weights, strict=True) if other == label >= 0)
        balanced.append(weight / math.sqrt(size) if size > 0 else 0.0)
    return balanced


def numerical_gradient(function, embeddings, step=1e-5):
    gradient = np.zeros_like(embeddings)
    for index in np.ndindex(*embeddings.shape):
        difference = np.zeros_like(embeddings)
        difference[index] = step
        rise = function(embeddings + difference) - function(embeddings - difference)
        gradient[index] = rise / (2 * step)
    return gradient


@st.composite
def problems(draw, max_points=9):
    """Embeddings of any norm, labels with gaps and unlabelled rows, weights with zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_points = draw(st.integers(1, max_points))
    n_sources = draw(st.integers(1, 4))
    embeddings = rng.standard_normal((n_points, draw(st.integers(1, 4))))
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings *= rng.uniform(0.5, 3, size=(n_points, 1)) / norms
    labels = rng.integers(-1, n_sources, size=n_points)
    weights = rng.uniform(0, 2, size=n_points) * (rng.random(n_points) < 0.8)
    return embeddings, labels, weights, n_sources


def evaluate(objective, embeddings, labels, weights, n_sources):
    """Loss and gradient in float64."""
    vectors = torch.from_numpy(embeddings).requires_grad_()
    one_hot = one_hot_labels(torch.from_numpy(labels), n_sources).double()
    loss = objective(vectors, one_hot, torch.from_numpy(weights))
    loss.backward()
    return loss.item(), vectors.grad.numpy()


@given(problem=problems())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("is_balanced", [False, True])
def test_low_rank_affinity_and_its_gradient_against_all_pairs(is_balanced, problem):
    embeddings, labels, weights, _ = problem
    objective = balanced_affinity_loss if is_balanced else affinity_loss
    loss, gradient = evaluate(objective, *problem)
    pair_weights = naive_balanced_weights(labels, weights) if is_balanced else weights
    expected = naive_affinity(embeddings, labels, pair_weights)
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-12)
    slope = numerical_gradient(lambda v: naive_affinity(v, labels, pair_weights), embeddings)
    error = np.linalg.norm(gradient - slope)
    assert error <= 1e-5 * np.linalg.norm(slope) + 1e-9


def random_problem(n_points=40, dim=5, n_sources=3, leading=(), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(*leading, n_points, dim, generator=generator, dtype=dtype)
    labels = torch.randint(n_sources, (*leading, n_points), generator=generator)
    weights = torch.rand(*leading, n_points, generator=generator, dtype=dtype)
    return embeddings, one_hot_labels(labels, n_sources).to(dtype), weights


@ALL
def test_gradients_pass_gradcheck(objective):
    embeddings, labels, weights = random_problem(7, 3, 2, leading=(2,))
    labels[0, 2] = 0.0
    weights[1, 3] = 0.0
    embeddings.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: objective(v, labels, weights), embeddings)


def test_a_second_derivative_is_refused_rather_than_wrong():
    embeddings, labels, weights = random_problem()
    embeddings.requires_grad_()
    loss = affinity_loss(embeddings, labels, weights)
    # Squared, so that the gradient of the loss itself depends on the embeddings.
    (gradient,) = torch.autograd.grad(loss.square(), embeddings, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def dense_whitened(embeddings, labels, weights):
    V = embeddings / embeddings.norm(dim=-1, keepdim=True)
    W = torch.diag(weights / weights.sum())
    Y = labels[:, (labels * weights[:, None]).sum(0) > 0]
    explained = (
        torch.linalg.inv(V.T @ W @ V + 1e-5 * torch.eye(V.shape[1], dtype=V.dtype))
        @ (V.T @ W @ Y)
        @ torch.linalg.inv(Y.T @ W @ Y)
        @ (Y.T @ W @ V)
    )
    return 1 - torch.trace(explained) / Y.shape[1]


@given(problem=problems(max_points=30))
@settings(max_examples=100, deadline=None)
def test_whitened_kmeans_against_dense_inverses(problem):
    embeddings, labels, weights, n_sources = problem
    loss, gradient = evaluate(whitened_kmeans_loss, *problem)
    assert np.isfinite(gradient).all()
    assert -1e-9 <= loss <= 1 + 1e-9
    one_hot = one_hot_labels(torch.from_numpy(labels), n_sources).double()
    tensors = torch.from_numpy(embeddings), one_hot, torch.from_numpy(weights)
    if (one_hot * tensors[2][:, None]).sum() > 0:
        assert loss == pytest.approx(dense_whitened(*tensors).item(), abs=1e-8)


@ALL
def test_ideal_embeddings_cost_nothing(objective):
    _, labels, weights = random_problem(100, n_sources=3)
    rng = np.random.default_rng(0)
    # Any orthonormal directions serve, in more dimensions than there are sources too.
    directions = torch.from_numpy(np.linalg.qr(rng.standard_normal((6, 3)))[0].T)
    loss = objective((labels @ directions * 2.5).requires_grad_(), labels, weights)
    # The ridge of the whitened objective leaves its own size.
    assert 0 <= loss.item() < (1e-4 if objective is whitened_kmeans_loss else 1e-12)
    loss.backward()


def test_loss_is_never_negative_in_float32():
    for seed in range(50):
        _, labels, weights = random_problem(500, n_sources=3, seed=seed, dtype=torch.float32)
        assert affinity_loss(labels, labels, weights) >= 0


@ALL
def test_identical_embeddings_of_two_equal_sources_score_one_half(objective):
    labels = one_hot_labels(torch.arange(100) % 2, 2).double()
    embeddings = torch.tensor([3.0, -4.0, 1.0], dtype=torch.float64).expand(100, 3)
    loss = objective(embeddings, labels, torch.ones(100, dtype=torch.float64))
    assert loss.item() == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("n_sources", [2, 3, 5])
def test_identical_embeddings_under_the_whitened_objective(n_sources):
    labels = one_hot_labels(torch.arange(60) % n_sources, n_sources)
    loss = whitened_kmeans_loss(torch.ones(60, 4), labels, torch.ones(60))
    assert loss.item() == pytest.approx(1 - 1 / n_sources, abs=1e-4)


def test_random_embeddings_of_many_dimensions_score_about_one_half():
    embeddings, labels, _ = random_problem(4000, 100, 2)
    loss = affinity_loss(embeddings, labels, torch.ones(4000, dtype=torch.float64))
    assert loss.item() == pytest.approx(0.5, abs=0.02)


@ALL
def test_rotating_the_embeddings_changes_nothing(objective):
    embeddings, labels, weights = random_problem()
    rng = np.random.default_rng(1)
    rotation = torch.from_numpy(np.linalg.qr(rng.standard_normal((5, 5)))[0])
    torch.testing.assert_close(
        objective(embeddings @ rotation, labels, weights), objective(embeddings, labels, weights)
    )


@ALL
def test_names_and_number_of_absent_sources_change_nothing(objective):
    embeddings, labels, weights = random_problem()
    expected = objective(embeddings, labels, weights)
    torch.testing.assert_close(objective(embeddings, labels[:, [2, 0, 1]], weights), expected)
    # Absent sources before, between and behind.
    wide = torch.zeros(40, 7, dtype=torch.float64)
    wide[:, [1, 4, 5]] = labels
    torch.testing.assert_close(objective(embeddings, wide, weights), expected)


@ALL
def test_length_of_vectors_order_of_bins_and_scale_of_weights_change_nothing(objective):
    embeddings, labels, weights = random_problem()
    expected = objective(embeddings, labels, weights)
    lengths = 0.1 + torch.arange(40, dtype=torch.float64)[:, None]
    torch.testing.assert_close(objective(embeddings * lengths, labels, weights), expected)
    torch.testing.assert_close(objective(embeddings, labels, weights * 37.0), expected)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        objective(embeddings[order], labels[order], weights[order]), expected
    )


@ALL
def test_bins_of_no_weight_count_for_nothing(objective):
    embeddings, labels, weights = random_problem()
    weights[25:] = 0.0
    embeddings.requires_grad_()
    loss = objective(embeddings, labels, weights)
    loss.backward()
    torch.testing.assert_close(loss, objective(embeddings[:25], labels[:25], weights[:25]))
    assert not embeddings.grad[25:].any()
    assert embeddings.grad[:25].any()


@ALL
@pytest.mark.parametrize("vectors", ["random", "zero"])
def test_no_weight_at_all_gives_zero_loss_and_gradient(objective, vectors):
    embeddings, labels, weights = random_problem(leading=(2,), dtype=torch.float32)
    if vectors == "zero":
        embeddings[0] = 0.0
    weights[0] = 0.0
    embeddings.requires_grad_()
    loss = objective(embeddings, labels, weights)
    loss.sum().backward()
    assert loss[0] == 0
    assert loss[1] > 0
    assert not embeddings.grad[0].any()
    assert bool(embeddings.grad.isfinite().all())


@ALL
def test_bins_without_any_label_do_no_harm(objective):
    embeddings, _, weights = random_problem()
    loss = objective(embeddings.requires_grad_(), torch.zeros(40, 3).double(), weights)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(embeddings.grad.isfinite().all())


@ALL
def test_gradient_is_across_the_vectors(objective):
    # Only directions matter, so no gradient may point along a vector.
    embeddings, labels, weights = random_problem()
    objective(embeddings.requires_grad_(), labels, weights).backward()
    along = (embeddings * embeddings.grad).sum(-1)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


@ALL
@pytest.mark.parametrize("leading", [(1,), (4,), (2, 3)])
def test_leading_axes_are_independent_mixtures(objective, leading):
    embeddings, labels, weights = random_problem(leading=leading)
    losses = objective(embeddings, labels, weights)
    assert losses.shape == leading
    for index in itertools.product(*map(range, leading)):
        one = objective(embeddings[index], labels[index], weights[index])
        assert one.shape == ()
        torch.testing.assert_close(losses[index], one)


@ALL
def test_bfloat16_is_within_one_percent(objective):
    embeddings, labels, weights = random_problem(3000, 20, 2, dtype=torch.float32)
    embeddings = (embeddings + 2 * labels @ torch.eye(2, 20)).requires_grad_()
    expected = objective(embeddings, labels, weights)
    (slope,) = torch.autograd.grad(expected, embeddings)
    rounded = embeddings.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(rounded, labels, weights)
    loss.backward()
    assert loss.dtype == torch.float32
    assert rounded.grad.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    assert (rounded.grad.float() - slope).norm() < 0.02 * slope.norm()


@ALL
def test_autocast_leaves_the_arithmetic_of_float32_inputs_alone(objective):
    embeddings, labels, weights = random_problem(3000, 20, 2, dtype=torch.float32)
    expected = objective(embeddings, labels, weights)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objective(embeddings, labels, weights), expected)


def test_inputs_are_left_as_they_were():
    tensors = random_problem()
    before = [tensor.clone() for tensor in tensors]
    for objective in OBJECTIVES.values():
        objective(*tensors)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@given(problem=problems(max_points=30))
@settings(max_examples=50, deadline=None)
def test_partition_weights_against_a_loop(problem):
    _, labels, weights, n_sources = problem
    one_hot = one_hot_labels(torch.from_numpy(labels), n_sources)
    got = partition_weights(one_hot, torch.from_numpy(weights))
    np.testing.assert_allclose(got, naive_balanced_weights(labels, weights), rtol=1e-12)


def test_balance_makes_the_size_of_a_source_count_less():
    # One source of 90 bins and one of 10, which is put where the other one is.
    labels = one_hot_labels((torch.arange(100) < 10).long(), 2).double()
    same = torch.ones(100, 2, dtype=torch.float64)
    weights = torch.ones(100, dtype=torch.float64)
    plain = affinity_loss(same, labels, weights).item()
    balanced = balanced_affinity_loss(same, labels, weights).item()
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


@ALL
def test_descent_reaches_separate_sources(objective):
    embeddings, labels, weights = random_problem(60, 4, 2)
    embeddings.requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        objective(embeddings, labels, weights).backward()
        optimizer.step()
    assert objective(embeddings, labels, weights) < 0.01
