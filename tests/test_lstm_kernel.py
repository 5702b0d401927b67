"""The LSTM's own backward pass, and weights laid out beforehand, against torch's LSTM."""

import pickle
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skdc.network import BLSTM, BandBLSTM, Trunk, recurrent
from skdc.network.kernels.cells import LSTMCells, pieces
from skdc.network.kernels.lstm import train_lstm
from skdc.network.kernels.packed import PackedLSTM
from skdc.network.recurrent import TrunkLSTM, copy_for_frames, packed_copy


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


@settings(max_examples=25)
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


@pytest.mark.skipif(
    not recurrent._runs_in(torch.bfloat16),
    reason="torch's LSTM does not run in bfloat16 on this processor",
)
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


# -- inference with weights that were laid out beforehand -----------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "trunk",
    [BLSTM(), BLSTM(residual=True), BandBLSTM(n_bands=4)],
    ids=["stacked", "residual", "bands"],
)
def test_a_packed_copy_gives_the_same_bits(trunk: Trunk, precision: str) -> None:
    module = trunk.build(33, hidden_size=12, n_layers=3, bidirectional=True).eval()
    copy = packed_copy(module, getattr(torch, precision))
    in_half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    for shape in ((1, 1, 33), (1, 47, 33), (3, 8, 33)):
        features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), in_half:
            torch.testing.assert_close(copy(features)[0], module(features)[0], rtol=0, atol=0)


def test_a_packed_copy_stays_as_it_is_while_the_network_learns() -> None:
    trunk = TrunkLSTM(5, 4)
    copy = packed_copy(trunk, torch.float32)
    inputs = torch.randn(1, 6, 5)
    with torch.no_grad():
        expected, _ = trunk(inputs)
        for weight in trunk.parameters():
            weight.add_(1)
        torch.testing.assert_close(copy(inputs)[0], expected, rtol=0, atol=0)
        assert not torch.allclose(trunk(inputs)[0], expected)


def test_a_copy_for_frames_gives_the_same_frame_by_frame_and_learns_nothing() -> None:
    trunk = TrunkLSTM(5, 4, n_layers=2, bidirectional=False).eval()
    copy = copy_for_frames(trunk)
    inputs = torch.randn(3, 6, 5)
    with torch.no_grad():
        expected, _ = trunk(inputs)
        for weight in trunk.parameters():
            weight.add_(1)
        whole, _ = copy(inputs)
        torch.testing.assert_close(whole, expected)
        first, state = copy(inputs[:, :1])
        frames = [first]
        for frame in inputs[:, 1:].split(1, dim=1):
            outputs, state = copy(frame, state)
            frames.append(outputs)
        torch.testing.assert_close(torch.cat(frames, dim=1), expected)
    matrices = [weight for weight in copy.parameters() if weight.dim() == 2]
    assert all(weight.T.is_contiguous() for weight in matrices)
    again = pickle.loads(pickle.dumps(deepcopy(copy)))
    with torch.no_grad():
        torch.testing.assert_close(again(inputs)[0], expected)


def test_a_copy_for_frames_leaves_layers_of_others_as_they_are() -> None:
    linear, lstm = copy_for_frames(nn.Sequential(nn.Linear(5, 4), TrunkLSTM(4, 3)))
    assert isinstance(linear, nn.Linear)
    assert isinstance(lstm, TrunkLSTM)
    assert linear.weight.is_contiguous()
    assert not lstm.all_weights[0][1].is_contiguous()


def test_packed_copies_can_be_copied_and_pickled() -> None:
    packed = packed_copy(TrunkLSTM(5, 4), torch.float32)
    inputs = torch.randn(1, 6, 5)
    with torch.no_grad():
        for again in (deepcopy(packed), pickle.loads(pickle.dumps(packed))):
            torch.testing.assert_close(again(inputs)[0], packed(inputs)[0], rtol=0, atol=0)


def test_what_cannot_be_packed_stays_an_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not PackedLSTM.is_possible(TrunkLSTM(5, 4, bidirectional=False), torch.float32)
    trunk = TrunkLSTM(5, 4)
    assert PackedLSTM.is_possible(trunk, torch.float32)
    assert not PackedLSTM.is_possible(trunk.to("meta"), torch.float32)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    trunk = TrunkLSTM(5, 4)
    inputs = torch.randn(1, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(packed_copy(trunk, torch.float32)(inputs), trunk(inputs))


def test_copies_have_their_weights_flattened_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = BandBLSTM(n_bands=4).build(33, hidden_size=4, n_layers=2, bidirectional=True)
    n_lstms = sum(isinstance(part, TrunkLSTM) for part in trunk.modules())
    ways: list[Any] = [deepcopy, lambda module: pickle.loads(pickle.dumps(module))]
    for travel in ways:
        flattened: list[list[int]] = []
        monkeypatch.setattr(
            TrunkLSTM,
            "flatten_parameters",
            lambda lstm, seen=flattened: seen.append([id(w) for w in lstm._flat_weights]),
        )
        copy = travel(trunk)
        lstms = [part for part in copy.modules() if isinstance(part, TrunkLSTM)]
        # Once each, and after the copy had weights of its own.
        assert flattened == [[id(w) for w in lstm.parameters()] for lstm in lstms]
        assert len(lstms) == n_lstms


# -- many sequences, piece by piece ---------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 30, 10_000])
@pytest.mark.parametrize("shape", [(1, 70, 5), (3, 40, 1), (80, 1, 4)])
def test_many_sequences_give_what_torch_gives(
    together: int, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skdc.network.kernels.cells._TOGETHER", together)
    lstm = TrunkLSTM(6, 4)
    sequences = torch.randn(*shape, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, _ = lstm(sequences.flatten(0, 1))
        assert LSTMCells.is_faster(lstm, len(expected))
        cells = LSTMCells(lstm)
        got = torch.zeros(*shape, 8)
        # What is written to the pieces of one reaches all of the other.
        for own, place in zip(pieces(sequences), pieces(got), strict=True):
            steps = own.permute(2, 0, 1, 3)  # (n, m, length, size) -> (length, n, m, size)
            outputs = 2 * cells(steps.flatten(1, 2))
            place += outputs.unflatten(1, own.shape[:2]).permute(1, 2, 0, 3)
    torch.testing.assert_close(got.flatten(0, 1), expected)


def test_extreme_sequences_stay_finite() -> None:
    lstm = TrunkLSTM(6, 4)
    inputs = 1e4 * torch.randn(5, 70, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = 2 * LSTMCells(lstm)(inputs)
        torch.testing.assert_close(got.transpose(0, 1), lstm(inputs.transpose(0, 1))[0])


def test_where_sequences_do_not_run_in_pieces() -> None:
    lstm = TrunkLSTM(6, 4)
    assert not LSTMCells.is_faster(lstm, 1000)  # gradients
    with torch.no_grad():
        assert LSTMCells.is_faster(lstm, 1000)
        assert not LSTMCells.is_faster(lstm, 10)
        for other in (
            TrunkLSTM(6, 4, bidirectional=False),
            TrunkLSTM(6, 4, 2),
            TrunkLSTM(6, 4).double(),
            TrunkLSTM(6, 4).to("meta"),
        ):
            assert not LSTMCells.is_faster(other, 1000)
        with torch.autocast("cpu", torch.bfloat16):
            assert not LSTMCells.is_faster(lstm, 1000)
