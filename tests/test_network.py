"""The embedding network: unit norm, precision, causality, what it stores."""

from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from skdc.network import BLSTM, BandBLSTM, EmbeddingNetwork, NetworkConfig, recurrent
from skdc.network.kernels.lstm import train_lstm


def small_network(seed=0, **changes):
    settings = {"n_bins": 9, "embedding_dim": 4, "hidden_size": 6, "n_layers": 2} | changes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddingNetwork(NetworkConfig(**settings)).eval()


def random_features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_embeddings_are_unit_vectors_one_a_bin(bidirectional, n_layers):
    network = small_network(bidirectional=bidirectional, n_layers=n_layers)
    embeddings = network(random_features(3, 11, 9))
    assert embeddings.shape == (3, 11, 9, 4)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(3, 11, 9))


def test_call_is_the_projection_normalised():
    network = small_network()
    features = random_features(2, 5, 9)
    projected = network.project(features)
    expected = projected / projected.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(network(features), expected)


def test_only_the_unidirectional_network_is_causal():
    features = random_features(1, 20, 9)
    changed = features.clone()
    changed[:, 10:] += 1.0
    for bidirectional in (False, True):
        network = small_network(bidirectional=bidirectional)
        same = torch.equal(network(features)[:, :10], network(changed)[:, :10])
        assert same is not bidirectional


def test_input_statistics_whiten_the_features():
    network = small_network()
    features = 5 + 3 * random_features(4, 50, 9)
    network.set_input_statistics(features)
    flat = features.reshape(-1, 9)
    torch.testing.assert_close(network.input_mean, flat.mean(0))
    torch.testing.assert_close(network.input_scale, flat.std(0, correction=0))
    plain = small_network()  # the same weights
    torch.testing.assert_close(
        network(features), plain((features - network.input_mean) / network.input_scale)
    )


@pytest.mark.parametrize("features", [torch.zeros(2, 8, 9), torch.full((1, 1, 9), 3.0)])
def test_bins_without_spread_stay_finite(features):
    network = small_network()
    network.set_input_statistics(features)
    assert torch.equal(network.input_scale, torch.ones(9))
    assert bool(network(features).isfinite().all())


def test_configuration_round_trip():
    config = NetworkConfig(33, 7, 5, 1, bidirectional=False, trunk=BLSTM(dropout=0.25))
    assert NetworkConfig.from_dict(config.as_dict()) == config
    assert EmbeddingNetwork(config).config == config


def test_numpy_sizes_become_plain_numbers():
    sizes: dict[str, Any] = {"hidden_size": np.int64(6), "n_layers": np.int8(2)}
    config = NetworkConfig(**sizes)
    assert type(config.hidden_size) is int
    assert EmbeddingNetwork(config)(random_features(1, 3, 129)).shape == (1, 3, 129, 40)


def test_state_dict_holds_the_statistics():
    network = small_network(seed=0)
    network.set_input_statistics(2 + random_features(3, 30, 9))
    assert {"input_mean", "input_scale"} <= network.state_dict().keys()
    other = small_network(seed=1)
    features = random_features(1, 6, 9)
    assert not torch.equal(other(features), network(features))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(features), network(features))


def test_bfloat16_arithmetic_is_close_to_float32():
    network = small_network(hidden_size=32)
    features = random_features(3, 40, 9)
    expected = network(features)
    with torch.autocast("cpu", torch.bfloat16):
        assert network.project(features).dtype == torch.bfloat16
        got = network(features)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.norm(dim=-1), torch.ones(3, 40, 9))
    cosines = (got * expected).sum(-1)
    assert cosines.mean() > 0.999


@pytest.mark.parametrize("is_training", [True, False])
def test_processors_whose_lstm_has_no_bfloat16_compute_it_in_float32(is_training, monkeypatch):
    # Without AVX-512 torch raises "could not create a primitive descriptor".
    monkeypatch.setattr(recurrent, "_runs_in", lambda dtype: dtype == torch.float32)
    network = small_network(hidden_size=32).train(is_training)
    features = random_features(3, 40, 9)
    with torch.set_grad_enabled(is_training):
        expected = network.states(features)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(network.states(features), expected)
            assert network.project(features).dtype == torch.bfloat16


@pytest.mark.parametrize("is_training", [True, False])
def test_lstms_do_not_train_in_float16_on_gpus(is_training, monkeypatch):
    seen = []

    def forward(lstm, inputs, state=None):
        seen.append((inputs.dtype, torch.is_autocast_enabled("cuda")))
        return inputs, state

    monkeypatch.setattr(torch.nn.LSTM, "forward", forward)
    lstm = recurrent.TrunkLSTM(4, 6)
    with FakeTensorMode(), torch.set_grad_enabled(is_training):
        inputs = torch.zeros(2, 3, 4, dtype=torch.bfloat16, device="cuda")
        torch.set_autocast_enabled("cuda", True)
        try:
            lstm(inputs)
        finally:
            torch.set_autocast_enabled("cuda", False)
        lstm(inputs.double())
    cast = (torch.float32, False) if is_training else (torch.bfloat16, True)
    assert seen == [cast, (torch.float64, False)]


@pytest.mark.parametrize(
    ("hidden_size", "precision", "is_training", "is_own"),
    [
        (520, torch.bfloat16, True, True),
        (520, torch.bfloat16, False, False),
        (520, None, True, False),
        (32, torch.bfloat16, True, False),
    ],
)
def test_wide_layers_train_in_bfloat16_by_products_of_our_own(
    hidden_size, precision, is_training, is_own, monkeypatch
):
    network = small_network(hidden_size=hidden_size, n_layers=1)
    calls = []

    def noted(*args):
        calls.append("own")
        return train_lstm(*args)

    monkeypatch.setattr(recurrent, "train_lstm", noted)
    autocast = torch.autocast("cpu", precision, enabled=precision is not None)
    with autocast, torch.set_grad_enabled(is_training):
        network.project(random_features(2, 3, 9))
    assert calls == (["own"] if is_own else [])


def test_wide_layers_learn_in_bfloat16_what_they_learn_in_float32():
    network = small_network(hidden_size=512, n_layers=2)
    features = random_features(3, 20, 9)
    gradients = []
    for is_half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            projected = network.project(features)
        assert projected.dtype == (torch.bfloat16 if is_half else torch.float32)
        projected.float().sin().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
        network.zero_grad()
    for (name, _), full, half in zip(network.named_parameters(), *gradients, strict=True):
        assert (half - full).norm() < 0.03 * full.norm(), name


def test_forget_gates_start_open():
    network = small_network(hidden_size=50)
    for name, parameter in network.trunk.named_parameters():
        if name.startswith("bias_ih"):
            gates = parameter.reshape(4, 50).mean(1)
            torch.testing.assert_close(gates, torch.tensor([0.0, 1.0, 0.0, 0.0]), atol=0.1, rtol=0)


def test_dropout_acts_in_training_only():
    network = small_network(trunk=BLSTM(dropout=0.5))
    features = random_features(2, 10, 9)
    assert torch.equal(network(features), network(features))
    network.train()
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(network(features), network(features))


def test_one_layer_with_dropout_makes_no_warning():
    # Warnings are errors here, and torch warns of dropout that has nothing to act between.
    network = small_network(n_layers=1, trunk=BLSTM(dropout=0.5)).train()
    features = random_features(2, 10, 9)
    assert torch.equal(network(features), network(features))


def test_one_mixture_gives_the_same_alone_and_in_a_batch():
    network = small_network()
    features = random_features(5, 15, 9)
    torch.testing.assert_close(network(features)[3], network(features[3:4])[0])


# -- the weights of two networks ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trunk": BandBLSTM(n_bands=2)}, r"trunk is BLSTM\(\) here but BandBLSTM\(n_bands=2\)"),
        ({"trunk": BLSTM(residual=True)}, r"trunk is BLSTM\(\) here but BLSTM\(residual=True\)"),
        ({"hidden_size": 5}, "hidden_size is 6 here but 5 there"),
        ({"embedding_dim": 3}, "embedding_dim is 4 here but 3 there"),
        ({"bidirectional": False}, "bidirectional is True here but False there"),
        ({"n_layers": 1}, "n_layers is 2 here but 1 there"),
        ({"n_layers": 3}, "n_layers is 2 here but 3 there"),
        ({"n_bins": 5, "n_masks": 3}, "n_bins is 9 here but 5 there, n_masks is 2 here but 3"),
    ],
    ids=str,
)
def test_weights_that_do_not_belong_together_are_not_averaged(changes, message):
    network = small_network(n_masks=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    other = small_network(seed=1, **({"n_masks": 2} | changes))
    expected = f"do not belong together: .*{message}.*; give a network of the same configuration"
    with pytest.raises(ValueError, match=expected):
        network.average_with(other, 0.5)
    with pytest.raises(ValueError, match=expected):
        network.take_weights(other)
    assert all(torch.equal(value, before[k]) for k, value in network.state_dict().items())


@pytest.mark.parametrize("share", [float("nan"), -0.1, 1.1, True, "0.5", None, 1j], ids=repr)
def test_what_is_no_share_of_weights(share):
    network, other = small_network(), small_network(seed=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"share=.* must be a number from 0 to 1"):
        network.average_with(other, share)
    assert all(torch.equal(value, before[k]) for k, value in network.state_dict().items())


def test_the_mean_of_two_networks():
    network, other = small_network(trunk=BLSTM(dropout=0.2)), small_network(seed=1, n_masks=2)
    own, their = ({k: v.clone() for k, v in n.state_dict().items()} for n in (network, other))
    network.average_with(other, np.float32(0.25))
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, 0.75 * own[name] + 0.25 * their[name])
