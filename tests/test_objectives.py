"""Objectives and their gradients against naive oracles: loops over all points and pairs."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skdc.objectives import (
    Outputs,
    Targets,
    WhitenedKMeans,
    one_hot_labels,
    resolve_objective,
)

SUM = "0.5 * deep_lda + attractor_masks + 2 * mask_inference"


def unit(embeddings):
    return np.array([v / math.sqrt(sum(x * x for x in v)) for v in embeddings])


def pair_error(embeddings, labels, weights, apart=0.0):
    """Mean over all weighted pairs of points of (their affinity - its target) squared."""
    vectors = unit(embeddings)
    total = loss = 0.0
    for i, j in itertools.product(range(len(vectors)), repeat=2):
        pair = weights[i] * weights[j]
        is_same = labels[i] @ labels[j] == 1
        loss += pair * (vectors[i] @ vectors[j] - (1.0 if is_same else apart)) ** 2
        total += pair
    return loss / total if total > 0 else 0.0


def naive_affinity(outputs, targets):
    return pair_error(outputs.embeddings, targets.labels, targets.weights)


def naive_balanced_weights(labels, weights):
    """w_i / sqrt(d_i), d_i the weight of all points of the source of point i."""
    balanced = []
    for label, weight in zip(labels, weights, strict=True):
        size = sum(w for other, w in zip(labels, weights, strict=True) if other @ label == 1)
        balanced.append(weight / math.sqrt(size) if size > 0 else 0.0)
    return np.array(balanced)


def naive_balanced_affinity(outputs, targets):
    weights = naive_balanced_weights(targets.labels, targets.weights)
    return pair_error(outputs.embeddings, targets.labels, weights)


def naive_simplex_affinity(outputs, targets):
    weights = np.where(targets.labels.any(1), targets.weights, 0.0)
    n_present = sum(1 for column in targets.labels.T if (column * weights).sum() > 0)
    apart = -1 / (n_present - 1) if n_present > 1 else 1.0
    return pair_error(outputs.embeddings, targets.labels, weights, apart)


def naive_deep_lda(outputs, targets):
    V = unit(outputs.embeddings)
    weights = np.where(targets.labels.any(1), targets.weights, 0.0)
    if weights.sum() == 0:
        return 0.0
    mean = (weights[:, None] * V).sum(0) / weights.sum()
    within = around_mean = 0.0
    for v, y, w in zip(V, targets.labels, weights, strict=True):
        if w == 0:
            continue
        own = weights * (targets.labels @ y)
        within += w * np.square(v - (own[:, None] * V).sum(0) / own.sum()).sum()
        around_mean += w * np.square(v - mean).sum()
    return (within / weights.sum() + 1e-5) / (around_mean / weights.sum() + 1e-5)


def naive_attractor_masks(outputs, targets, sharpness=3.0, error="absolute", n_iter=0):
    V, (labels, weights, mixture, sources) = unit(outputs.embeddings), targets
    loss, total = 0.0, (weights * mixture).sum()
    powers = np.zeros(labels.shape[1])
    attractors = {}
    counted = weights * mixture ** (1.5 if n_iter else 1)
    for c in range(labels.shape[1]):
        share = counted * labels[:, c]
        if share.sum() > 0:
            attractors[c] = (share[:, None] * V).sum(0) / share.sum()
    for _ in range(n_iter if attractors else 0):
        members: dict[int, list[int]] = {c: [] for c in attractors}
        for i, v in enumerate(V):
            members[min(attractors, key=lambda c: np.square(v - attractors[c]).sum())].append(i)
        attractors = {
            c: np.average(V[own], axis=0, weights=counted[own])
            for c, own in members.items()
            if counted[own].sum() > 0
        }
    for i, v in enumerate(V):
        near = {c: math.exp(-sharpness * np.square(v - a).sum()) for c, a in attractors.items()}
        for c in range(labels.shape[1]):
            mask = near[c] / sum(near.values()) if c in near else 0.0
            loss += weights[i] * abs(mask * mixture[i] - sources[i, c])
            powers[c] += weights[i] * (mask * mixture[i] - sources[i, c]) ** 2
    if total == 0:
        return 0.0
    if error == "absolute":
        return loss / total
    decades = np.log10(1 + 1e4 * powers / (weights * mixture**2).sum())
    return decades.sum() / 4 / max(1, len(attractors))


def naive_mask_inference(outputs, targets, error="absolute"):
    _, weights, mixture, sources = targets
    total = (weights * mixture ** (1 if error == "absolute" else 2)).sum()
    if total == 0:
        return 0.0
    masks = np.exp(outputs.masks) / np.exp(outputs.masks).sum(1, keepdims=True)
    n_masks, n_sources = masks.shape[1], sources.shape[1]
    losses = []
    for order in itertools.permutations(range(n_masks)):
        loss = 0.0
        for c, mask in enumerate(order):
            wanted = sources[:, c] if c < n_sources else np.zeros(len(mixture))
            if error == "absolute":
                loss += (weights * abs(masks[:, mask] * mixture - wanted)).sum() / total
            else:
                power = (weights * (masks[:, mask] * mixture - wanted) ** 2).sum()
                loss += math.log10(1 + 1e4 * power / total) / 4 / n_masks
        losses.append(loss)
    return min(losses)


ORACLES: dict[str, Callable[..., Any]] = {
    "affinity": naive_affinity,
    "balanced_affinity": naive_balanced_affinity,
    "simplex_affinity": naive_simplex_affinity,
    "deep_lda": naive_deep_lda,
    "attractor_masks": naive_attractor_masks,
    "attractor_masks(sharpness=0)": partial(naive_attractor_masks, sharpness=0),
    "attractor_masks(sharpness=10)": partial(naive_attractor_masks, sharpness=10),
    "attractor_masks(error='distortion')": partial(naive_attractor_masks, error="distortion"),
    "attractor_masks(n_iter=3)": partial(naive_attractor_masks, n_iter=3),
    "attractor_masks(error='distortion', n_iter=1)": partial(
        naive_attractor_masks, error="distortion", n_iter=1
    ),
    "mask_inference": naive_mask_inference,
    "mask_inference(error='distortion')": partial(naive_mask_inference, error="distortion"),
    SUM: lambda *both: (
        0.5 * naive_deep_lda(*both)
        + naive_attractor_masks(*both)
        + 2 * naive_mask_inference(*both)
    ),
}


def numerical_gradient(function, values, step=1e-6):
    gradient = np.zeros_like(values)
    for index in np.ndindex(*values.shape):
        difference = np.zeros_like(values)
        difference[index] = step
        rise = function(values + difference) - function(values - difference)
        gradient[index] = rise / (2 * step)
    return gradient


@st.composite
def problems(draw, max_points=9):
    """Embeddings of any norm, labels with gaps and unlabelled rows, zeros in weights, silence."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_points, n_sources = draw(st.integers(1, max_points)), draw(st.integers(1, 4))
    embeddings = rng.standard_normal((n_points, draw(st.integers(1, 4))))
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings *= rng.uniform(0.5, 3, size=(n_points, 1)) / norms
    masks = rng.standard_normal((n_points, draw(st.integers(n_sources, 4))))
    labels = rng.integers(-1, n_sources, size=n_points)
    weights = rng.uniform(0, 2, size=n_points) * (rng.random(n_points) < 0.8)
    mixture = rng.uniform(0, 3, size=n_points) * (rng.random(n_points) < 0.9)
    sources = mixture[:, None] * np.clip(rng.normal(0.5, 0.7, (n_points, n_sources)), 0, 1)
    one_hot = one_hot_labels(torch.from_numpy(labels), n_sources).double().numpy()
    values: tuple[Any, ...] = (embeddings, masks, one_hot, weights, mixture, sources)
    return Outputs(*values[:2]), Targets(*values[2:])


def torch_losses(objective, outputs, targets):
    """Losses of NumPy arrays, and the gradients of the embeddings and masks."""
    outputs = Outputs(*(torch.from_numpy(x).requires_grad_() for x in outputs))
    losses = objective(outputs, Targets(*map(torch.from_numpy, targets)))
    losses.sum().backward()
    return losses.detach().numpy(), [
        np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in outputs
    ]


@pytest.mark.parametrize("name", ORACLES)
@given(problem=problems())
@settings(max_examples=50)
def test_value_and_gradient_against_the_naive_oracle(name, problem):
    outputs, targets = problem
    # On a line, unit vectors are 1 or -1 and attractors are often the same: which of them k-means
    # takes is then up to the last digit.
    assume("n_iter" not in name or outputs.embeddings.shape[1] > 1)
    loss, gradients = torch_losses(resolve_objective(name), outputs, targets)
    oracle = ORACLES[name]
    assert loss == pytest.approx(oracle(outputs, targets), rel=1e-5, abs=1e-9)
    for field, gradient in zip(outputs._fields, gradients, strict=True):
        slope = numerical_gradient(
            lambda x, field=field: oracle(outputs._replace(**{field: x}), targets),
            getattr(outputs, field),
        )
        assert np.linalg.norm(gradient - slope) <= 1e-5 * np.linalg.norm(slope) + 1e-7


def dense_whitened_kmeans(embeddings, labels, weights):
    """Whitened k-means for autograd: finite differences would lose digits in the inverses."""
    V = embeddings / embeddings.norm(dim=-1, keepdim=True)
    W = torch.diag(weights / weights.sum())
    Y = labels[:, (labels * weights[:, None]).sum(0) > 0]
    explained = (
        torch.linalg.inv(V.T @ W @ V + 1e-5 * torch.eye(V.shape[1], dtype=V.dtype))
        @ (V.T @ W @ Y)
        @ torch.linalg.inv(Y.T @ W @ Y)
        @ (Y.T @ W @ V)
    )
    return 1 - torch.trace(explained) / max(1, Y.shape[1])


@given(problem=problems(max_points=30))
@settings(max_examples=100)
def test_whitened_kmeans_and_its_gradient_against_dense_inverses(problem):
    outputs, targets = problem
    loss, (gradient, _) = torch_losses(WhitenedKMeans(), outputs, targets)
    assert -1e-9 <= loss <= 1 + 1e-9
    if not targets.weights.any():
        assert loss == 0
        return
    embeddings, labels, weights = map(torch.from_numpy, (outputs.embeddings, *targets[:2]))
    expected = dense_whitened_kmeans(embeddings.requires_grad_(), labels, weights)
    (slope,) = torch.autograd.grad(expected, embeddings)
    assert loss == pytest.approx(expected.item(), rel=1e-5, abs=1e-9)
    # The dense inverse is exact to 1e-6 where points span few dimensions.
    assert np.linalg.norm(gradient - slope.numpy()) <= 1e-5 * slope.norm() + 1e-6
