"""The LSTM's own backward pass against torch's, in double and in half precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skdc.network.kernels.lstm import train_lstm


def make_trunk(*sizes, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return nn.LSTM(*sizes, batch_first=True, **options).to(dtype)


def gradients_of(run, trunk, inputs):
    """Outputs, and gradients of a smooth function of them by weights and inputs."""
    inputs = inputs.clone().requires_grad_()
    trunk.zero_grad()
    torch.manual_seed(1)
    outputs = run(inputs)
    outputs.to(inputs.dtype).sin().sum().backward()
    return [outputs.detach(), inputs.grad, *(weight.grad.clone() for weight in trunk.parameters())]


@settings(max_examples=25, deadline=None)
@given(
    n_mixtures=st.integers(1, 4),
    n_frames=st.integers(1, 6),
    n_features=st.integers(1, 5),
    size=st.integers(1, 5),
    n_layers=st.integers(1, 3),
    is_bidirectional=st.booleans(),
)
def test_values_and_gradients_are_those_of_torch(
    n_mixtures, n_frames, n_features, size, n_layers, is_bidirectional
):
    trunk = make_trunk(n_features, size, n_layers, bidirectional=is_bidirectional)
    inputs = torch.randn(n_mixtures, n_frames, n_features, dtype=torch.float64)
    expected = gradients_of(lambda x: trunk(x)[0], trunk, inputs)
    got = gradients_of(lambda x: train_lstm(trunk, x, torch.float64), trunk, inputs)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_extreme_inputs_stay_finite():
    trunk = make_trunk(3, 4, dtype=torch.float32)
    inputs = 1e4 * torch.randn(2, 5, 3)
    expected = gradients_of(lambda x: trunk(x)[0], trunk, inputs)
    got = gradients_of(lambda x: train_lstm(trunk, x, torch.float32), trunk, inputs)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def half_precision_by_torch(trunk, inputs):
    with torch.autocast("cpu", torch.bfloat16):
        return trunk(inputs)[0]


@pytest.mark.parametrize("is_packed", [True, False])
def test_half_precision_is_no_worse_than_torch(is_packed, monkeypatch):
    if not is_packed:
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    trunk = make_trunk(20, 64, 2, bidirectional=True, dtype=torch.float32)
    inputs = torch.randn(4, 50, 20)
    exact = gradients_of(lambda x: trunk(x)[0], trunk, inputs)
    theirs = gradients_of(lambda x: half_precision_by_torch(trunk, x), trunk, inputs)
    ours = gradients_of(lambda x: train_lstm(trunk, x), trunk, inputs)
    assert ours[0].dtype == torch.bfloat16
    for own, other, right in zip(ours, theirs, exact, strict=True):
        error, their_error = ((x.float() - right).norm() / right.norm() for x in (own, other))
        assert error < max(1.2 * their_error, 0.004)


def test_drops_between_layers_while_training_as_torch_does():
    trunk = make_trunk(3, 4, 3, bidirectional=True, dropout=0.5)
    inputs = torch.randn(2, 6, 3, dtype=torch.float64)
    expected = gradients_of(lambda x: trunk(x)[0], trunk, inputs)
    got = gradients_of(lambda x: train_lstm(trunk, x, torch.float64), trunk, inputs)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    trunk.eval()
    torch.testing.assert_close(train_lstm(trunk, inputs, torch.float64), trunk(inputs)[0])


def test_gradients_do_not_share_memory():
    trunk = make_trunk(3, 4)
    train_lstm(trunk, torch.randn(2, 6, 3, dtype=torch.float64), torch.float64).sum().backward()
    memory = {weight.grad.data_ptr() for weight in trunk.parameters()}
    assert len(memory) == len(list(trunk.parameters()))


def test_a_second_backward_pass_gives_the_same():
    trunk = make_trunk(3, 4, 2)
    outputs = train_lstm(trunk, torch.randn(2, 6, 3, dtype=torch.float64), torch.float64)
    total = outputs.square().sum()
    once = torch.autograd.grad(total, trunk.parameters(), retain_graph=True)
    again = torch.autograd.grad(total, trunk.parameters())
    for first, second in zip(once, again, strict=True):
        assert torch.equal(first, second)
