"""What all objectives have in common: invariances, precisions, degenerate labels and weights."""

import itertools

import numpy as np
import pytest
import torch
from test_objectives import SUM

from skdc.objectives import (
    OBJECTIVES,
    AttractorMasks,
    MaskInference,
    Outputs,
    Targets,
    one_hot_labels,
    resolve_objective,
    unit_vectors,
)

DISTORTIONS = ["attractor_masks(error='distortion')", "mask_inference(error='distortion')"]
MOVED = "attractor_masks(n_iter=2)"
NAMES = [*OBJECTIVES, *DISTORTIONS, SUM, MOVED]
ALL = pytest.mark.parametrize("objective", [resolve_objective(n) for n in NAMES], ids=NAMES)
EMBEDDING_NAMES = [n for n in OBJECTIVES if "masks" not in resolve_objective(n).needs]
OF_EMBEDDINGS = pytest.mark.parametrize(
    "objective", [resolve_objective(n) for n in EMBEDDING_NAMES], ids=EMBEDDING_NAMES
)
OF_SPECTROGRAMS = pytest.mark.parametrize(
    "objective",
    [
        AttractorMasks(),
        AttractorMasks(error="distortion"),
        MaskInference(),
        MaskInference("distortion"),
    ],
)


def random_problem(n_points=40, dim=5, n_sources=3, leading=(), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, of=torch.rand):
        return of(*leading, n_points, *shape, generator=generator, dtype=dtype)

    outputs = Outputs(draw(dim, of=torch.randn), draw(n_sources, of=torch.randn))
    labels = torch.randint(n_sources, (*leading, n_points), generator=generator)
    one_hot, mixture = one_hot_labels(labels, n_sources).to(dtype), draw()
    shares = (one_hot + 0.3 * draw(n_sources)).clamp(max=1.0)
    return outputs, Targets(one_hot, draw(), mixture, mixture.unsqueeze(-1) * shares)


def gradients_of(losses, outputs):
    found = torch.autograd.grad(losses.sum(), list(outputs), materialize_grads=True)
    return Outputs(*found)


def with_gradients(outputs):
    return Outputs(*(x.detach().clone().requires_grad_() for x in outputs))


def each(function, *tuples):
    return type(tuples[0])(*(function(*fields) for fields in zip(*tuples, strict=True)))


def in_columns(tensor):
    """Give the same numbers in another order in memory."""
    return tensor if tensor.ndim < 2 else tensor.mT.contiguous().mT


@ALL
def test_gradients_pass_gradcheck(objective):
    outputs, targets = random_problem(7, 3, 2, leading=(2,))
    targets.labels[0, 2] = 0.0
    targets.weights[1, 3] = 0.0
    assert torch.autograd.gradcheck(
        lambda *both: objective(Outputs(*both), targets), tuple(with_gradients(outputs))
    )


@OF_EMBEDDINGS
def test_a_second_derivative_is_refused_rather_than_wrong(objective):
    outputs, targets = random_problem()
    embeddings = outputs.embeddings.requires_grad_()
    # Squared, so that the gradient of the loss itself depends on the embeddings.
    loss = objective(outputs, targets).square()
    (gradient,) = torch.autograd.grad(loss, embeddings, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@ALL
def test_leading_axes_are_independent_mixtures(objective):
    for leading in [(1,), (4,), (2, 3)]:
        outputs, targets = random_problem(leading=leading)
        targets.weights[..., ::3] = 0.0
        losses = objective(outputs, targets)
        assert losses.shape == leading
        for index in itertools.product(*map(range, leading)):
            one = objective(*(each(lambda x, i=index: x[i], part) for part in (outputs, targets)))
            assert one.shape == ()
            torch.testing.assert_close(losses[index], one)


@ALL
@pytest.mark.parametrize("leading", [(0,), (2, 0)])
def test_no_mixtures_have_no_losses(objective, leading):
    assert objective(*random_problem(leading=leading)).shape == leading


@ALL
def test_points_of_all_mixtures_at_once_are_the_same(objective, monkeypatch):
    # As on a GPU, where points of no weight are not left out.
    outputs, targets = random_problem(700, leading=(3,))
    targets.weights[:, ::2] = 0.0
    targets.weights[1] = 0.0
    outputs = with_gradients(outputs)
    losses = objective(outputs, targets)
    gradients = gradients_of(losses, outputs)
    whole = [unit_vectors._Part(slice(None), slice(None))]
    monkeypatch.setattr(unit_vectors, "_parts", lambda weights, embedding_dim: whole)
    all_at_once = objective(outputs, targets)
    torch.testing.assert_close(all_at_once, losses)
    each(torch.testing.assert_close, gradients_of(all_at_once, outputs), gradients)


@ALL
def test_names_of_sources_change_nothing(objective):
    outputs, targets = random_problem()
    order = [2, 0, 1]
    renamed = targets._replace(labels=targets.labels[:, order], sources=targets.sources[:, order])
    torch.testing.assert_close(objective(outputs, renamed), objective(outputs, targets))


@ALL
def test_absent_sources_change_nothing(objective):
    outputs, targets = random_problem()
    outputs = outputs._replace(masks=torch.cat([outputs.masks, outputs.embeddings[:, :2]], -1))
    expected = objective(outputs, targets)
    # Before, between and behind.
    labels, sources = torch.zeros(2, 40, 5, dtype=torch.float64)
    labels[:, [1, 2, 4]], sources[:, [1, 2, 4]] = targets.labels, targets.sources
    wide = targets._replace(labels=labels, sources=sources)
    torch.testing.assert_close(objective(outputs, wide), expected)


@OF_EMBEDDINGS
def test_rotation_and_length_of_vectors_change_nothing(objective):
    outputs, targets = random_problem()
    expected = objective(outputs, targets)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    lengths = 0.1 + torch.arange(40, dtype=torch.float64)[:, None]
    for change in (torch.from_numpy(rotation).__rmatmul__, lengths.__mul__):
        changed = Outputs(change(outputs.embeddings))
        torch.testing.assert_close(objective(changed, targets), expected)


@ALL
def test_order_of_points_and_scale_of_weights_and_signals_change_nothing(objective):
    outputs, targets = random_problem()
    expected = objective(outputs, targets)
    heavy = targets._replace(weights=37.0 * targets.weights)
    torch.testing.assert_close(objective(outputs, heavy), expected)
    loud = targets._replace(mixture=1e4 * targets.mixture, sources=1e4 * targets.sources)
    torch.testing.assert_close(objective(outputs, loud), expected)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = (each(lambda x: x[order], part) for part in (outputs, targets))
    torch.testing.assert_close(objective(*shuffled), expected)


@OF_EMBEDDINGS
def test_gradient_is_across_the_vectors(objective):
    # Only directions matter, so no gradient may point along a vector.
    outputs, targets = random_problem()
    outputs = with_gradients(outputs)
    gradient = gradients_of(objective(outputs, targets), outputs).embeddings
    along = (outputs.embeddings * gradient).sum(-1)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


@ALL
def test_points_of_no_weight_count_for_nothing(objective):
    outputs, targets = random_problem()
    targets.weights[25:] = 0.0
    outputs = with_gradients(outputs)
    loss = objective(outputs, targets)
    part = objective(*(each(lambda x: x[:25], part) for part in (outputs, targets)))
    torch.testing.assert_close(loss, part)
    gradients = gradients_of(loss, outputs)
    assert not any(gradient[25:].any() for gradient in gradients)
    assert any(gradient[:25].any() for gradient in gradients)


@ALL
@pytest.mark.parametrize("vectors", ["random", "zero"])
def test_no_weight_at_all_gives_zero_loss_and_gradient(objective, vectors):
    outputs, targets = random_problem(leading=(2,), dtype=torch.float32)
    targets.weights[0] = 0.0
    if vectors == "zero":
        outputs.embeddings[0] = 0.0
    outputs = with_gradients(outputs)
    losses = objective(outputs, targets)
    assert losses[0] == 0
    assert losses[1] > 0
    for gradient in gradients_of(losses, outputs):
        assert not gradient[0].any()
        assert bool(gradient.isfinite().all())


@OF_SPECTROGRAMS
def test_silence_gives_zero_loss_and_gradient(objective):
    outputs, targets = random_problem()
    silence = torch.zeros(40, dtype=torch.float64)
    outputs = with_gradients(outputs)
    loss = objective(outputs, targets._replace(mixture=silence, sources=silence.expand(3, 40).T))
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients_of(loss, outputs))


@ALL
def test_no_points_give_zero_loss(objective):
    outputs, targets = random_problem(n_points=0, leading=(2,))
    outputs = with_gradients(outputs)
    losses = objective(outputs, targets)
    assert losses.tolist() == [0, 0]
    gradients_of(losses, outputs)


@ALL
@pytest.mark.parametrize(("n_columns", "is_labelled"), [(1, 1.0), (3, 1.0), (3, 0.0)])
def test_a_single_source_and_points_without_any_label_do_no_harm(
    objective, n_columns, is_labelled
):
    outputs, targets = random_problem()
    labels = torch.zeros(40, n_columns, dtype=torch.float64)
    labels[:, 0] = is_labelled
    sources = labels * targets.mixture[:, None] if is_labelled else targets.sources
    outputs = with_gradients(outputs)
    loss = objective(outputs, targets._replace(labels=labels, sources=sources))
    assert bool(loss.isfinite())
    assert all(bool(gradient.isfinite().all()) for gradient in gradients_of(loss, outputs))


@OF_EMBEDDINGS
def test_zero_vectors_get_no_gradient(objective):
    outputs, targets = random_problem()
    outputs.embeddings[7] = 0.0
    outputs = with_gradients(outputs)
    gradient = gradients_of(objective(outputs, targets), outputs).embeddings
    assert bool(gradient.isfinite().all())
    assert not gradient[7].any()


@ALL
def test_bfloat16_is_within_one_percent(objective):
    outputs, targets = random_problem(3000, 20, 2, dtype=torch.float32)
    wanted = outputs.embeddings + 2 * targets.labels @ torch.eye(2, 20)
    outputs = with_gradients(Outputs(wanted.bfloat16().float(), outputs.masks.bfloat16().float()))
    expected = objective(outputs, targets)
    slopes = gradients_of(expected, outputs)
    rounded = with_gradients(each(torch.Tensor.bfloat16, outputs))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(rounded, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    for gradient, slope in zip(gradients_of(loss, rounded), slopes, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert (gradient.float() - slope).norm() <= 0.02 * slope.norm()


@ALL
def test_autocast_leaves_the_arithmetic_of_float32_inputs_alone(objective):
    outputs, targets = random_problem(3000, 20, 2, dtype=torch.float32)
    expected = objective(outputs, targets)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objective(outputs, targets), expected)


@ALL
def test_float64_targets_go_with_float32_outputs(objective):
    outputs, targets = random_problem(dtype=torch.float32)
    loss = objective(outputs, each(torch.Tensor.double, targets))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, objective(outputs, targets))


@ALL
@pytest.mark.parametrize("shape", [(40, 5), (40, 1), (1, 5), (1, 1)])
@pytest.mark.parametrize("along_points", [False, True])
def test_inputs_are_left_as_they_were(objective, shape, along_points):
    problem = random_problem(*shape)
    if along_points:
        problem = [each(in_columns, part) for part in problem]
    before = [each(torch.clone, part) for part in problem]
    outputs = with_gradients(problem[0])
    gradients_of(objective(outputs, problem[1]), outputs)
    objective(*problem)
    for part, copies in zip(problem, before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(part, copies, strict=True))


@ALL
def test_order_in_memory_changes_nothing(objective):
    outputs, targets = random_problem(300)
    outputs, targets = with_gradients(outputs), targets._replace(weights=targets.weights.round())
    losses = objective(outputs, targets)
    turned = with_gradients(each(in_columns, outputs))
    found = objective(turned, each(in_columns, targets))
    torch.testing.assert_close(found, losses)
    each(torch.testing.assert_close, gradients_of(found, turned), gradients_of(losses, outputs))


@ALL
def test_cost_is_linear_in_points(objective):
    # All pairs would take 160 GB.
    outputs, targets = random_problem(200_000, 3, 2, dtype=torch.float32)
    outputs = with_gradients(outputs)
    loss = objective(outputs, targets)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients_of(loss, outputs))


@pytest.mark.parametrize("name", [name for name in NAMES if name != MOVED])
def test_descent_reaches_separate_sources(name):
    # Attractors that k-means moves say nothing of the true ones until they come near to these.
    objective = resolve_objective(name)
    outputs, targets = random_problem(60, 4, 2)
    targets = targets._replace(sources=targets.labels * targets.mixture[:, None])
    outputs = with_gradients(outputs)
    optimizer = torch.optim.Adam(outputs, lr=0.1)
    first = objective(outputs, targets).item()
    for _ in range(200):
        optimizer.zero_grad()
        objective(outputs, targets).backward()
        optimizer.step()
    # Masks of opposite unit vectors are not quite 0 and 1.
    assert objective(outputs, targets) < 0.05 * first
