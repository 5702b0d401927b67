"""The last layer at some bins against the whole layer, and the loss of a batch by both."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skdc.mixing import Framing, make_targets
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.objectives import Outputs, Targets, one_hot_labels, resolve_objective
from skdc.projection import project_active
from skdc.training import batch_loss


def whole_layer(states, weight, bias, active):
    """All vectors, of which those asked for are taken one by one."""
    n_bins = active.shape[-1]
    vectors = nn.functional.linear(states, weight, bias).unflatten(-1, (n_bins, -1))
    return [
        torch.stack([own[t, f] for t, f in bins.nonzero().tolist()]) if bins.any() else own[:0, 0]
        for own, bins in zip(vectors, active, strict=True)
    ]


def values_and_gradients(project, states, layer, active):
    states = states.clone().requires_grad_()
    layer.zero_grad()
    vectors = project(states, layer.weight, layer.bias, active)
    sum((i + 1) * own.sin().sum() for i, own in enumerate(vectors)).backward()
    return [*vectors, states.grad, layer.weight.grad.clone(), layer.bias.grad.clone()]


@settings(max_examples=30, deadline=None)
@given(
    n_mixtures=st.integers(1, 3),
    n_frames=st.integers(1, 70),
    n_bins=st.sampled_from([1, 5, 8, 9, 33]),
    dim=st.sampled_from([1, 3, 40, 400]),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_the_whole_layer(
    n_mixtures, n_frames, n_bins, dim, share, seed
):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    layer = nn.Linear(4, n_bins * dim, dtype=torch.float64)
    states, active = (
        draw(n_mixtures, n_frames, 4) - 0.5,
        draw(n_mixtures, n_frames, n_bins) < share,
    )
    expected = values_and_gradients(whole_layer, states, layer, active)
    got = values_and_gradients(project_active, states, layer, active)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_half_precision_is_no_worse_than_the_whole_layer():
    torch.manual_seed(0)
    layer, states = nn.Linear(64, 129 * 20), torch.randn(3, 50, 64)
    active = torch.rand(3, 50, 129) < 0.3

    def whole(states, weight, bias, active):
        with torch.autocast("cpu", torch.bfloat16):
            vectors = nn.functional.linear(states, weight, bias).unflatten(-1, (129, -1))
        return [own[bins] for own, bins in zip(vectors, active, strict=True)]

    def some(states, *others):
        return project_active(states.bfloat16(), *others)

    exact = values_and_gradients(project_active, states, layer, active)
    theirs = values_and_gradients(whole, states, layer, active)
    ours = values_and_gradients(some, states, layer, active)
    assert ours[0].dtype == torch.bfloat16
    for own, other, right in zip(ours, theirs, exact, strict=True):
        error, their_error = ((x.float() - right).norm() / right.norm() for x in (own, other))
        assert error < max(1.2 * their_error, 0.004)


@pytest.mark.parametrize("objective", ["affinity", "balanced_affinity", "whitened_kmeans"])
def test_loss_of_a_batch_is_that_of_all_bins(objective):
    torch.manual_seed(0)
    framing = Framing(64, 16)
    sources = torch.randn(4, 2, framing.segment_samples(30)) * torch.rand(4, 2, 1)
    sources[1] = 0.0  # a mixture of silence has no bin that counts
    batch = make_targets(sources.sum(1), sources, framing)
    network = EmbeddingNetwork(NetworkConfig(33, 5, 8)).double()
    batch = batch._replace(features=batch.features.double(), weights=batch.weights.double())
    assert 0 < (batch.weights > 0).double().mean() < 1
    vectors = network.project(batch.features).flatten(1, 2)
    labels = one_hot_labels(batch.labels, 2).flatten(1, 2)
    targets = Targets(labels, batch.weights.flatten(1))
    plain = resolve_objective(objective)(Outputs(vectors), targets).mean()
    loss = batch_loss(network, batch, objective)
    torch.testing.assert_close(loss, plain)
    parameters = list(network.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(plain, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
