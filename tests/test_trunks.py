"""The seam of the trunks: names, objects of the user's own, what is stored, growing."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import Tensor, nn

from skdc import DeepClusteringSeparator
from skdc.network import (
    BLSTM,
    TRUNKS,
    BandBLSTM,
    EmbeddingNetwork,
    NetworkConfig,
    Trunk,
    TrunkModule,
    resolve_trunk,
    trunk_from_dict,
    trunk_to_dict,
)
from skdc.network.interface import State

SOURCES = np.random.default_rng(0).standard_normal((3, 2, 640))
MIXTURES = SOURCES.sum(axis=1)


class Halves(Trunk):
    """The lower and the upper half of the bins, each smoothed over frames by itself."""

    def __init__(self, kernel_size: int = 3) -> None:
        self.kernel_size = kernel_size

    def check(self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool) -> None:
        if not bidirectional:
            raise ValueError("Halves looks at later frames; set bidirectional=True")

    def build(
        self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool
    ) -> TrunkModule:
        return _Halves(n_bins, hidden_size, int(self.kernel_size))


class _Halves(TrunkModule):
    def __init__(self, n_bins: int, size: int, kernel_size: int) -> None:
        super().__init__()
        self.bands = ((0, n_bins // 2), (n_bins // 2, n_bins))
        self.width = size
        self.smooth = nn.ModuleList(
            nn.Conv1d(end - first, size, kernel_size, padding="same") for first, end in self.bands
        )

    def forward(self, features: Tensor, state: State = None) -> tuple[Tensor, State]:
        # (mixtures, frames, bins of a band) -> (mixtures, bins of it, frames)
        # -> (mixtures, size, frames)
        parts = [
            smooth(features[..., first:end].mT)
            for smooth, (first, end) in zip(self.smooth, self.bands, strict=True)
        ]
        # -> (mixtures, bands, size, frames) -> (mixtures, frames, bands, size)
        return torch.stack(parts, 1).permute(0, 3, 1, 2).tanh(), None


@pytest.fixture(scope="module")
def fitted() -> DeepClusteringSeparator:
    return make_separator(trunk=Halves(kernel_size=5)).fit(MIXTURES, SOURCES)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRUNKS, "halves", Halves)


# -- names and objects ---------------------------------------------------------------------------


def test_a_name_is_the_trunk_with_its_defaults() -> None:
    assert resolve_trunk("band_blstm") == BandBLSTM()
    assert resolve_trunk("blstm") == BLSTM()
    own = BLSTM(dropout=0.1)
    assert resolve_trunk(own) is own


@pytest.mark.parametrize("name", TRUNKS)
def test_a_name_and_its_object_train_alike(name: str) -> None:
    by_name, by_object = (
        make_separator(trunk=trunk).fit(MIXTURES, SOURCES) for trunk in (name, TRUNKS[name]())
    )
    assert_array_equal(by_name.predict(MIXTURES), by_object.predict(MIXTURES))


@pytest.mark.parametrize(
    ("trunk", "error", "message"),
    [
        (
            "lstm",
            ValueError,
            r"trunk='lstm' is unknown; the names are \['band_blstm', 'blstm', 'phase_blstm'\]",
        ),
        ("", ValueError, "trunk='' is unknown"),
        (BLSTM, TypeError, r"trunk=BLSTM is a class; give an instance of it, BLSTM\(\)"),
        (Halves, TypeError, r"trunk=Halves is a class; give an instance of it, Halves\(\)"),
        (None, TypeError, "trunk=None must be one of the names .* or an instance of a subclass"),
        (nn.LSTM(3, 4), TypeError, r"trunk=LSTM\(3, 4\) must be one of the names"),
        ({"name": "blstm"}, TypeError, "must be one of the names"),
    ],
)
def test_what_is_no_trunk_is_refused_by_every_method(
    trunk: Any, error: type[Exception], message: str, fitted: DeepClusteringSeparator
) -> None:
    with pytest.raises(error, match=message):
        make_separator(trunk=trunk).fit(MIXTURES, SOURCES)
    with pytest.raises(error, match=message):
        pickle.loads(pickle.dumps(fitted)).set_params(trunk=trunk).predict(MIXTURES)


def test_trunks_are_equal_if_class_and_parameters_are() -> None:
    assert BLSTM(dropout=0.1) == BLSTM(dropout=0.1) != BLSTM(dropout=0.2)
    assert BLSTM() != BandBLSTM()
    assert BLSTM() != "blstm"
    assert NetworkConfig(trunk=Halves()) == NetworkConfig(trunk=Halves())


# -- a trunk of the user's own -------------------------------------------------------------------


def test_heads_follow_the_bands_of_a_trunk(fitted: DeepClusteringSeparator) -> None:
    assert fitted.network_.embed.bands == ((0, 16), (16, 33))
    assert fitted.transform(MIXTURES[0]).shape[1:] == (33, 4)
    with torch.no_grad():
        changed = torch.zeros(1, 9, 33)
        changed[..., 20] = 1.0
        before, after = (fitted.network_(x)[0] for x in (torch.zeros(1, 9, 33), changed))
    assert torch.equal(before[:, :16], after[:, :16])
    assert not torch.equal(before[:, 16:], after[:, 16:])


def test_its_parameters_are_searched() -> None:
    search = GridSearchCV(
        make_separator(trunk=Halves()),
        {"trunk__kernel_size": np.array([1, 7])},
        cv=2,
        error_score="raise",
    ).fit(MIXTURES, SOURCES)
    (weights, _) = search.best_estimator_.network_.trunk.smooth
    assert weights.kernel_size == (search.best_params_["trunk__kernel_size"],)


def test_its_own_check_comes_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skdc.separator.check_pairs", None)
    with pytest.raises(ValueError, match="Halves looks at later frames"):
        make_separator(trunk=Halves(), bidirectional=False).fit(MIXTURES, SOURCES)


def test_a_change_of_the_parameter_leaves_the_network(fitted: DeepClusteringSeparator) -> None:
    separator = pickle.loads(pickle.dumps(fitted))
    separator.trunk.kernel_size = 9
    assert separator.network_.config.trunk == Halves(kernel_size=5)
    assert_array_equal(separator.predict(MIXTURES), fitted.predict(MIXTURES))
    with pytest.raises(ValueError, match="kernel_size is 9 but was 5"):
        separator.partial_fit(MIXTURES, SOURCES)


def test_it_is_pickled_and_cloned_without_a_name(fitted: DeepClusteringSeparator) -> None:
    arrived = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(arrived.predict(MIXTURES), fitted.predict(MIXTURES))
    assert arrived.trunk == clone(fitted).trunk == Halves(kernel_size=5)


def test_it_resumes_from_a_checkpoint_without_a_name(
    fitted: DeepClusteringSeparator, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    separator = clone(fitted).set_params(max_epochs=2)
    whole = clone(separator).fit(MIXTURES, SOURCES)
    clone(separator).fit(MIXTURES, SOURCES, checkpoint=path, time_limit=1e-9)
    separator.fit(MIXTURES, SOURCES, checkpoint=path)
    assert_array_equal(separator.predict(MIXTURES), whole.predict(MIXTURES))
    separator.set_params(trunk__kernel_size=3)
    with pytest.raises(ValueError, match=r"trunk\.kernel_size is 3 here but 5 there"):
        separator.fit(MIXTURES, SOURCES, checkpoint=path)


# -- model files ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("named")
def test_a_trunk_with_a_name_is_stored(fitted: DeepClusteringSeparator, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    arrived = DeepClusteringSeparator.load(path, device="cpu")
    assert arrived.trunk == Halves(kernel_size=5)
    assert_array_equal(arrived.predict(MIXTURES), fitted.predict(MIXTURES))


@pytest.mark.parametrize("is_set_back", [False, True])
def test_a_trunk_without_a_name_is_not_stored(
    is_set_back: bool, fitted: DeepClusteringSeparator, tmp_path: Path
) -> None:
    separator = pickle.loads(pickle.dumps(fitted))
    if is_set_back:  # the network is of the trunk that it was fitted with
        separator.set_params(trunk="blstm")
    path = tmp_path / "model.safetensors"
    message = (
        r"trunk=Halves\(kernel_size=5\) cannot be stored: model files hold no code; give its "
        r"class a name, skdc\.network\.TRUNKS\['my_trunk'\] = Halves, here and wherever"
    )
    with pytest.raises(TypeError, match=message):
        separator.save(path)
    assert not path.exists()


def test_a_file_whose_trunk_is_not_here_says_so(
    fitted: DeepClusteringSeparator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    with monkeypatch.context() as patch:
        patch.setitem(TRUNKS, "halves", Halves)
        fitted.save(path)
    with pytest.raises(ValueError, match=r"its trunk is 'halves', but .* has only .*'blstm'"):
        DeepClusteringSeparator.load(path)
    monkeypatch.setitem(TRUNKS, "halves", BLSTM)
    with pytest.raises(ValueError, match=r"its trunk 'halves' has no such parameters: .*kernel_s"):
        DeepClusteringSeparator.load(path)


@pytest.mark.parametrize(
    "trunk",
    [BLSTM(), BLSTM(0.5, True), BandBLSTM(np.int64(3), dropout=np.float64(0.25))],  # type: ignore[arg-type]
)
def test_plain_values_of_a_trunk(trunk: Trunk) -> None:
    values = trunk_to_dict(trunk)
    assert {type(value) for value in values.values()} <= {str, int, float, bool}
    assert trunk_from_dict(values) == trunk


@pytest.mark.parametrize("values", [{}, {"dropout": 0.1}])
def test_plain_values_without_a_name(values: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"has no name, only .*: a table \[trunk\] needs name = \"b"
    ):
        trunk_from_dict(values)


# -- growing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("trunk", [BLSTM(), BLSTM(residual=True)], ids=repr)
def test_a_trained_trunk_grows_without_a_step_back(trunk: Trunk, bidirectional: bool) -> None:
    separator = make_separator(trunk=trunk, n_layers=2, bidirectional=bidirectional)
    trained = separator.fit(MIXTURES, SOURCES).network_
    config = replace(trained.config, n_layers=4, trunk=BLSTM(residual=True))
    with torch.random.fork_rng(devices=[]):
        grown = EmbeddingNetwork(config).eval()
    loaded = grown.load_state_dict(trained.state_dict(), strict=False)
    assert loaded.unexpected_keys == []
    assert {name.split(".")[1] for name in loaded.missing_keys} == {"adding", "norms", "gates"}
    features = torch.randn(2, 30, 33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(grown.states(features), trained.states(features))
    # The added layers can learn: their gates have gradients.
    grown(features)[..., 0].sum().backward()
    gates = [gate.grad for gate in grown.trunk.gates]  # type: ignore[union-attr]
    assert all(gradient is not None and bool(gradient.any()) for gradient in gates)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_blocks_of_bands_are_added_without_a_step_back(bidirectional: bool) -> None:
    trunk = BandBLSTM(n_bands=4, fold=1 + bidirectional, attention=bidirectional)
    separator = make_separator(trunk=trunk, hidden_size=8, bidirectional=bidirectional)
    trained = separator.fit(MIXTURES, SOURCES).network_
    wanted = BandBLSTM(**{**trunk.get_params(), "dropout": 0.1})
    with torch.random.fork_rng(devices=[]):
        grown = EmbeddingNetwork(replace(trained.config, n_layers=3, trunk=wanted)).eval()
    grown.take_weights(trained)
    features = torch.randn(2, 30, 33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(grown.states(features), trained.states(features))
    # The added blocks learn, and the next training step is of all of them.
    separator.set_params(n_layers=3, trunk=wanted, warm_start=True).fit(MIXTURES, SOURCES)
    parameters = separator.network_.trunk.named_parameters()
    added = {k: bool(p.any()) for k, p in parameters if ".2." in k and "project.weight" in k}
    assert len(added) == 2 + bidirectional
    assert all(added.values())
    assert separator.history_[-1]["epoch"] == 2
    for changed in ({"n_layers": 2}, {"trunk": BandBLSTM(n_bands=5)}):
        with pytest.raises(ValueError, match=r"cannot train on from the present weights: .*n_"):
            pickle.loads(pickle.dumps(separator)).set_params(**changed).fit(MIXTURES, SOURCES)
