"""The trunk of bands: its bands, its shapes, causality, and that it learns and resumes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from test_resuming import Stop, stop_at
from test_training import (
    CONFIG,
    Watched,
    assert_same_weights,
    make_bank,
    make_network,
    without_time,
)
from torch import Tensor

from skdc import DeepClusteringSeparator
from skdc.network import BLSTM, BandBLSTM, Trunk, TrunkModule
from skdc.network.band_blstm import split_bands
from skdc.training import train

N_BINS = 33
SOURCES = np.random.default_rng(0).standard_normal((3, 2, 640))
MIXTURES = SOURCES.sum(axis=1)

WAYS = [
    {},
    {"n_bands": 5},
    {"fold": 3},
    {"attention": True},
    {"n_bands": 1, "fold": 2, "attention": True},
]


def build(trunk: Trunk, *, bidirectional: bool = True, n_layers: int = 2) -> TrunkModule:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return trunk.build(N_BINS, 8, n_layers, bidirectional).eval()


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, N_BINS, generator=torch.Generator().manual_seed(1))


# -- bands ---------------------------------------------------------------------------------------


@given(n_bands=st.integers(1, 90), n_more=st.integers(0, 900))
def test_bands_cover_all_bins_in_order(n_bands: int, n_more: int) -> None:
    n_bins = 2 * n_bands + n_more
    bands = split_bands(n_bins, n_bands)
    assert len(bands) == n_bands
    assert [k for first, end in bands for k in range(first, end)] == list(range(n_bins))
    widths = np.array([end - first for first, end in bands])
    assert widths.min() >= 2
    # Where edges fall between bins, a band may be one wider than the next.
    assert np.diff(widths).min(initial=0) >= -2


@pytest.mark.parametrize(("n_bins", "n_bands"), [(129, 16), (257, 32), (513, 24)])
def test_bands_are_as_wide_as_on_the_mel_scale(n_bins: int, n_bands: int) -> None:
    edges = np.array([first for first, _ in split_bands(n_bins, n_bands)] + [n_bins])
    mels = 2595 * np.log10(1 + 4000 * edges / n_bins / 700)
    ideal = np.linspace(0, mels[-1], n_bands + 1)
    # Half a bin of rounding, in mels, is more at the bottom than anywhere else.
    assert np.abs(mels - ideal).max() <= 0.5 * mels[1] / edges[1] + 1


# -- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("n_frames", [1, 2, 12, 13])
def test_states_of_every_frame_and_band(way: dict[str, Any], n_frames: int) -> None:
    trunk = build(BandBLSTM(**way))
    states, state = trunk(features(3, n_frames))
    assert trunk.bands == split_bands(N_BINS, BandBLSTM(**way).n_bands)
    assert states.shape == (3, n_frames, len(trunk.bands), trunk.width)
    assert trunk.width == 8
    assert state is None
    assert bool(states.isfinite().all())


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("n_frames", [1, 7])
def test_states_are_those_of_sequences_taken_one_by_one(
    way: dict[str, Any], n_frames: int
) -> None:
    trunk: Any = build(BandBLSTM(**way))
    given_features = features(2, n_frames)
    fold, n_bands = trunk.fold, len(trunk.bands)
    n_steps = -(-n_frames // fold)
    for mixture, states in zip(given_features, trunk(given_features)[0], strict=True):
        frames = [*mixture] + [torch.zeros(N_BINS)] * (n_steps * fold - n_frames)
        at = {}
        for step in range(n_steps):
            for band, (first, end) in enumerate(trunk.bands):
                own = [frame[first:end] for frame in frames[step * fold : (step + 1) * fold]]
                at[step, band] = trunk.read[band](torch.cat(own))
        for block in trunk.blocks:
            for step in range(n_steps):
                add(block.along_bands, at, [(step, band) for band in range(n_bands)])
            for band in range(n_bands):
                add(block.along_steps, at, [(step, band) for step in range(n_steps)])
            if block.attention is not None:
                at = attended(block.attention, at, n_steps, n_bands)
        for frame in range(n_frames):
            for band in range(n_bands):
                unfolded = trunk.unfold(at[frame // fold, band]).split(8)[frame % fold]
                torch.testing.assert_close(states[frame, band], trunk.norm(unfolded))


def add(layer: Any, at: dict[Any, Tensor], places: list[Any]) -> None:
    """Run an LSTM along the vectors at some places, in their order, and add what it gives."""
    sequence = torch.stack([at[place] for place in places])
    outputs, _ = layer.lstm(layer.norm(sequence)[None])
    for place, output in zip(places, outputs[0], strict=True):
        at[place] = at[place] + layer.project(output)


def attended(layer: Any, at: dict[Any, Tensor], n_steps: int, n_bands: int) -> dict[Any, Tensor]:
    """Softmax of inner products, for each head and pair of steps by itself."""
    read = {place: layer.read(layer.norm(vector)) for place, vector in at.items()}
    taken = {place: torch.zeros(8) for place in at}
    size = 8 // layer.n_heads
    for head in range(layer.n_heads):
        starts = [8 * part + size * head for part in range(3)]
        q, k, v = (slice(start, start + size) for start in starts)
        for step in range(n_steps):
            products = [
                sum(read[step, band][q] @ read[other, band][k] for band in range(n_bands))
                for other in range(n_steps)
            ]
            shares = (torch.stack(products) / (n_bands * size) ** 0.5).softmax(0)
            for band in range(n_bands):
                values = torch.stack([read[other, band][v] for other in range(n_steps)])
                taken[step, band][size * head : size * (head + 1)] = shares @ values
    return {place: vector + layer.project(taken[place]) for place, vector in at.items()}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_frame_and_bin_counts(way: dict[str, Any]) -> None:
    trunk = build(BandBLSTM(**way))
    given_features = features(1, 7).requires_grad_()
    # From one frame's states in one band to all frames and bins.
    trunk(given_features)[0][0, 3, -1, 0].backward()
    assert given_features.grad is not None
    assert bool((given_features.grad != 0).all())


def test_a_block_more_is_a_layer_more() -> None:
    sizes = [
        sum(p.numel() for p in build(BandBLSTM(), n_layers=n).parameters()) for n in (1, 2, 3)
    ]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0]
    # The bands share the weights of blocks, and have their own only where they are read.
    few, many = (build(BandBLSTM(n_bands=n)) for n in (2, 16))
    assert [p.shape for p in few.blocks.parameters()] == [  # type: ignore[union-attr]
        p.shape
        for p in many.blocks.parameters()  # type: ignore[union-attr]
    ]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_half_precision_is_close(way: dict[str, Any]) -> None:
    trunk = build(BandBLSTM(**way))
    expected = trunk(features(2, 12))[0]
    with torch.autocast("cpu", torch.bfloat16):
        got = trunk(features(2, 12))[0].float()
    cosines = torch.cosine_similarity(got, expected, dim=-1)
    assert cosines.mean() > 0.99


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_without_gradients_states_are_the_same(way: dict[str, Any], bidirectional: bool) -> None:
    if not bidirectional and (way.get("fold") or way.get("attention")):
        return
    trunk = build(BandBLSTM(**way), bidirectional=bidirectional)
    with torch.no_grad():
        for parameter in trunk.parameters():  # norms and biases that are not ones and zeros
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator()))
    for shape in ((1, 150), (20, 13), (70, 4)):  # enough for many sequences to run in pieces
        given_features = features(*shape)
        before = given_features.clone()
        expected, state = trunk(given_features)
        for without_gradients in (torch.no_grad, torch.inference_mode):
            with without_gradients():
                got, own_state = trunk(given_features)
            torch.testing.assert_close(got, expected.detach())
            torch.testing.assert_close(own_state, state)
            assert torch.equal(given_features, before)


def test_dropout_acts_in_training_only() -> None:
    trunk = build(BandBLSTM(dropout=0.5, attention=True))
    assert torch.equal(trunk(features(1, 9))[0], trunk(features(1, 9))[0])
    trunk.train()
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(trunk(features(1, 9))[0], trunk(features(1, 9))[0])
        with torch.no_grad():
            assert not torch.equal(trunk(features(9, 99))[0], trunk(features(9, 99))[0])


# -- causality -----------------------------------------------------------------------------------


TRUNKS = [BandBLSTM(n_bands=4), BLSTM(), BLSTM(residual=True)]


@pytest.mark.parametrize("trunk", TRUNKS, ids=repr)
def test_later_frames_change_earlier_states_only_where_both_ways_are_read(trunk: Trunk) -> None:
    before, after = features(2, 20), features(2, 20)
    after[:, 11:] += 1.0
    for bidirectional in (False, True):
        built = with_open_gates(build(trunk, bidirectional=bidirectional, n_layers=4))
        same = torch.equal(built(before)[0][:, :11], built(after)[0][:, :11])
        assert same is not bidirectional


def with_open_gates(trunk: TrunkModule) -> TrunkModule:
    """The layers of a residual BLSTM add nothing at first; let them."""
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if name.startswith("gates"):
                parameter.fill_(0.7)
    return trunk


@pytest.mark.parametrize("trunk", TRUNKS, ids=repr)
@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_blocks_with_a_state_are_the_whole(trunk: Trunk, sizes: list[int]) -> None:
    built = with_open_gates(build(trunk, bidirectional=False, n_layers=4))
    given_features = features(2, sum(sizes))
    with torch.no_grad():
        whole, state_after_whole = built(given_features)
        state, parts = None, []
        for block in given_features.split(sizes, dim=1):
            states, state = built(block, state)
            parts.append(states)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(state, state_after_whole)


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trunk", "changes", "message"),
    [
        (BandBLSTM(n_bands=0), {}, "'n_bands' parameter of BandBLSTM must be an int.* Got 0"),
        (BandBLSTM(n_bands=4.0), {}, "'n_bands' parameter of BandBLSTM must be an int"),  # type: ignore[arg-type]
        (BandBLSTM(fold=0), {}, "'fold' parameter of BandBLSTM must be an int.* Got 0"),
        (BandBLSTM(attention="yes"), {}, "'attention' parameter of BandBLSTM must be"),  # type: ignore[arg-type]
        (BandBLSTM(dropout=1.0), {}, r"'dropout' parameter of BandBLSTM .* \[0.0, 1.0\)"),
        (BLSTM(dropout=-0.1), {}, "'dropout' parameter of BLSTM must be .* Got -0.1"),
        (BLSTM(dropout="0.1"), {}, "'dropout' parameter of BLSTM must be .* Got '0.1'"),  # type: ignore[arg-type]
        (BLSTM(residual=2), {}, "'residual' parameter of BLSTM must be .* Got 2"),  # type: ignore[arg-type]
        (BandBLSTM(n_bands=17), {}, "n_bands=17 takes at least 34 bins, but a frame has 33"),
        ("band_blstm", {"win_length": 32}, "n_bands=16 takes at least 32 bins, but .* has 17"),
        (BandBLSTM(attention=True), {"bidirectional": False}, "attention=True looks at later"),
        (BandBLSTM(fold=2), {"bidirectional": False}, "fold=2 takes later frames"),
    ],
)
def test_wrong_parameters_are_refused_before_any_work(
    trunk: Any, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("check_pairs", "check_recordings"):
        monkeypatch.setattr(f"skdc.separator.{place}", None)  # calling it would be a TypeError
    separator = make_separator(trunk=trunk, **changes)
    ways: list[Any] = [separator.fit, separator.partial_fit, separator.fit_recordings]
    for work in ways:
        with pytest.raises(ValueError, match=message):
            work(MIXTURES, SOURCES)


def test_building_refuses_too() -> None:
    with pytest.raises(ValueError, match="n_bands=20 takes at least 40 bins"):
        build(BandBLSTM(n_bands=20))


# -- the separator -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> DeepClusteringSeparator:
    trunk = BandBLSTM(n_bands=np.int64(6), fold=2, attention=True)  # type: ignore[arg-type]
    return make_separator(trunk=trunk).fit(MIXTURES, SOURCES)


def two_bands(n_samples: int) -> NDArray[Any]:
    """Sources that share no frequencies."""
    spectra = np.fft.rfft(np.random.default_rng(0).standard_normal((4, 2, n_samples)))
    middle = spectra.shape[-1] // 2
    spectra[:, 0, middle:] = 0
    spectra[:, 1, :middle] = 0
    return np.fft.irfft(spectra)


def test_it_learns_an_easy_problem() -> None:
    sources = two_bands(2000)
    separator = make_separator(trunk="band_blstm", learning_rate=0.02, max_epochs=12)
    separator.fit(sources.sum(1), sources)
    assert separator.history_[-1]["loss"] < 0.2 < separator.history_[0]["loss"]
    assert separator.score(sources.sum(1), sources) > 15


def test_a_mixture_alone_and_in_a_batch(fitted: DeepClusteringSeparator) -> None:
    together = fitted.predict(MIXTURES)
    for mixture, sources in zip(MIXTURES, together, strict=True):
        assert_allclose(fitted.predict(mixture), sources, atol=1e-5)
    assert_allclose(together.sum(1), MIXTURES, atol=1e-5)


def test_model_files_and_pickles_and_clones(
    fitted: DeepClusteringSeparator, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    expected = fitted.predict(MIXTURES)
    for other in (DeepClusteringSeparator.load(path), pickle.loads(pickle.dumps(fitted))):
        assert_array_equal(other.predict(MIXTURES), expected)
        assert other.trunk == fitted.trunk
        assert other.trunk is not fitted.trunk
    copied = clone(fitted)
    assert copied.trunk == fitted.trunk
    assert copied.trunk is not fitted.trunk
    copied.set_params(trunk__n_bands=3)
    assert fitted.trunk.n_bands == 6  # type: ignore[union-attr]
    # The network that was fitted is another matter than the parameter.
    fitted_bands = fitted.network_.trunk.bands
    assert clone(fitted).fit(MIXTURES, SOURCES).network_.trunk.bands == fitted_bands


def test_a_grid_over_the_number_of_bands() -> None:
    separator = make_separator(trunk=BandBLSTM())
    grid = {"trunk__n_bands": np.arange(2, 6, 2), "trunk__fold": [1, 2]}
    search = GridSearchCV(separator, grid, cv=2, error_score="raise").fit(MIXTURES, SOURCES)
    best = search.best_estimator_
    assert best.trunk.get_params() == BandBLSTM().get_params() | {
        name.removeprefix("trunk__"): value for name, value in search.best_params_.items()
    }
    assert len(best.network_.trunk.bands) == search.best_params_["trunk__n_bands"]
    trunks = {"trunk": ["blstm", "band_blstm", BLSTM(residual=True)]}
    search = GridSearchCV(separator, trunks, cv=2, error_score="raise").fit(MIXTURES, SOURCES)
    assert search.best_params_["trunk"] in trunks["trunk"]


def test_training_goes_on_with_the_same_trunk_only(fitted: DeepClusteringSeparator) -> None:
    separator = pickle.loads(pickle.dumps(fitted)).set_params(trunk__dropout=0.1)
    assert separator.partial_fit(MIXTURES, SOURCES).n_iter_ == fitted.n_iter_ + 1
    with pytest.raises(ValueError, match="n_bands is 5 but was 6"):
        separator.set_params(trunk__n_bands=5).partial_fit(MIXTURES, SOURCES)
    with pytest.raises(ValueError, match="name is blstm but was band_blstm"):
        separator.set_params(trunk="blstm").partial_fit(MIXTURES, SOURCES)


# -- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trunk", "changes"),
    [
        (BandBLSTM(n_bands=3, dropout=0.2), {"bidirectional": False}),
        (BandBLSTM(n_bands=3, fold=2, attention=True, dropout=0.2), {}),
    ],
)
def test_stopped_and_resumed_is_the_same_run(
    trunk: Trunk, changes: dict[str, Any], tmp_path: Path
) -> None:
    changes, path = changes | {"trunk": trunk}, tmp_path / "run.safetensors"
    whole = make_network(**changes)
    history = train(whole, make_bank(), CONFIG)
    for step in (2, 6, 13):
        with pytest.raises(Stop, match="by the test"):
            train(
                make_network(**changes),
                Watched(make_bank(), stop_at(step)),
                CONFIG,
                checkpoint=path,
            )
    resumed = make_network(seed=5, **changes)
    assert without_time(train(resumed, make_bank(), CONFIG, checkpoint=path)) == without_time(
        history
    )
    assert_same_weights(resumed, whole)


def test_the_checkpoint_of_another_trunk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train(make_network(trunk=BandBLSTM(n_bands=3)), make_bank(), CONFIG, checkpoint=path)
    with pytest.raises(ValueError, match=r"trunk\.n_bands is 4 here but 3 there"):
        train(make_network(trunk=BandBLSTM(n_bands=4)), make_bank(), CONFIG, checkpoint=path)
