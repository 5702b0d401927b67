"""The last layer at some bins against the whole layer, and the loss of a batch by both."""

from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.network.kernels.projection import project_active
from skdc.objectives import (
    OBJECTIVES,
    Objective,
    Outputs,
    Targets,
    one_hot_labels,
    resolve_objective,
)
from skdc.signal import Framing
from skdc.training import batch_loss
from skdc.training.banks import Batch, make_targets


def whole_layer(states, weight, bias, active, bands):
    """All vectors, of which those asked for are taken one by one, and zeros behind them."""
    n_bins = active.shape[-1]
    vectors = torch.stack(
        [
            nn.functional.linear(states[..., g, :], weight, bias).unflatten(-1, (n_bins, -1))
            for g in range(len(bands))
        ]
    )  # (bands, mixtures, frames, bins, dim)
    band_of = [g for g, (first, end) in enumerate(bands) for _ in range(first, end)]
    n_most = int(active.sum((1, 2)).max())
    found = (0 * vectors.sum()).repeat(len(active), n_most, vectors.shape[-1])
    for i, bins in enumerate(active):
        for place, (t, f) in enumerate(bins.nonzero().tolist()):
            found[i, place] = vectors[band_of[f], i, t, f]
    return found


def values_and_gradients(project, states, layer, active, bands):
    states = states.clone().requires_grad_()
    layer.zero_grad()
    vectors = project(states, layer.weight, layer.bias, active, bands)
    sum((i + 1) * own.sin().sum() for i, own in enumerate(vectors)).backward()
    return [*vectors, states.grad, layer.weight.grad.clone(), layer.bias.grad.clone()]


@settings(max_examples=30)
@given(
    n_mixtures=st.integers(1, 3),
    n_frames=st.integers(1, 70),
    n_bins=st.sampled_from([1, 5, 8, 9, 33]),
    dim=st.sampled_from([1, 3, 40, 400]),
    n_bands=st.integers(1, 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_the_whole_layer(
    n_mixtures, n_frames, n_bins, dim, n_bands, share, seed
):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    layer = nn.Linear(4, n_bins * dim, dtype=torch.float64)
    edges = sorted({0, n_bins, *(n_bins * g // n_bands for g in range(n_bands))})
    bands = tuple(pairwise(edges))
    states, active = (
        draw(n_mixtures, n_frames, len(bands), 4) - 0.5,
        draw(n_mixtures, n_frames, n_bins) < share,
    )
    expected = values_and_gradients(whole_layer, states, layer, active, bands)
    got = values_and_gradients(project_active, states, layer, active, bands)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_half_precision_is_no_worse_than_the_whole_layer():
    torch.manual_seed(0)
    layer, states = nn.Linear(64, 129 * 20), torch.randn(3, 50, 1, 64)
    active = torch.rand(3, 50, 129) < 0.3

    def whole(states, weight, bias, active, _):
        with torch.autocast("cpu", torch.bfloat16):
            vectors = nn.functional.linear(states.squeeze(2), weight, bias).unflatten(
                -1, (129, -1)
            )
        taken = [own[bins] for own, bins in zip(vectors, active, strict=True)]
        return nn.utils.rnn.pad_sequence(taken, batch_first=True)

    def some(states, *others):
        return project_active(states.bfloat16(), *others)

    exact = values_and_gradients(project_active, states, layer, active, ((0, 129),))
    theirs = values_and_gradients(whole, states, layer, active, ((0, 129),))
    ours = values_and_gradients(some, states, layer, active, ((0, 129),))
    assert ours[0].dtype == torch.bfloat16
    for own, other, right in zip(ours, theirs, exact, strict=True):
        error, their_error = ((x.float() - right).norm() / right.norm() for x in (own, other))
        assert error < max(1.2 * their_error, 0.004)


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_loss_of_a_batch_is_that_of_all_bins(objective):
    torch.manual_seed(0)
    framing = Framing(64, 16)
    sources = torch.randn(4, 2, framing.segment_samples(30)) * torch.rand(4, 2, 1)
    sources[1] = 0.0  # a mixture of silence has no bin that counts
    batch = make_targets(sources.sum(1), sources, framing, with_spectrograms=True)
    network = EmbeddingNetwork(NetworkConfig(33, 5, 8, n_masks=2)).double()
    values: tuple[Any, ...] = tuple(
        x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in batch
    )
    batch = Batch(*values)
    assert network.mask_head is not None
    assert batch.mixture is not None
    assert batch.sources is not None
    assert 0 < (batch.weights > 0).double().mean() < 1
    objective = resolve_objective(objective)
    states = network.states(batch.features)
    plain = objective(
        Outputs(network.embed(states).flatten(1, 2), network.mask_head(states).flatten(1, 2)),
        Targets(
            one_hot_labels(batch.labels, 2).flatten(1, 2),
            batch.weights.flatten(1),
            batch.mixture.flatten(1),
            batch.sources.movedim(1, -1).flatten(1, 2),
        ),
    ).mean()
    loss = batch_loss(network, batch, objective)
    torch.testing.assert_close(loss, plain)
    parameters = list(network.parameters())
    gradients = (torch.autograd.grad(x, parameters, allow_unused=True) for x in (loss, plain))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)


class PointsOfAllMixtures(Objective):
    """An objective of one's own that does not think of the axis of mixtures."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})

    def __init__(self, axes):
        self.axes = axes

    def __call__(self, outputs: Outputs, targets: Targets) -> Tensor:
        assert outputs.embeddings is not None
        return (outputs.embeddings.sum(-1) * targets.weights).sum(self.axes)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("axes", [(0, 1), 0])
def test_an_objective_without_one_loss_a_mixture_is_refused(axes, device):
    framing = Framing(64, 16)
    sources = torch.randn(4, 2, framing.segment_samples(30))
    batch = make_targets(sources.sum(1), sources, framing)
    batch = batch._replace(
        features=batch.features.to(device),
        labels=batch.labels.to(device),
        weights=batch.weights.to(device),
    )
    network = EmbeddingNetwork(NetworkConfig(33, 5, 8)).to(device)
    with pytest.raises(ValueError, match=r"of 4 mixtures, expected \(4,\): one a mixture"):
        batch_loss(network, batch, PointsOfAllMixtures(axes))
