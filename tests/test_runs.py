"""Runs of the separator and their files: whose checkpoint it is, interrupts, seeds, hold-out."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import interrupted, make_separator
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skdc import DeepClusteringSeparator, load_pretrained
from skdc.display import AffinityDisplay, EmbeddingDisplay
from skdc.exceptions import InterruptedWarning
from skdc.model_file import read_tensors
from skdc.network import BLSTM, EmbeddingNetwork, NetworkConfig
from skdc.objectives import Affinity, Objective, WeightedSum
from skdc.persistence import make_network
from skdc.training import TrainingConfig, trainer
from skdc.training.checkpoint import RunFile
from skdc.training.noise import train_noise_head

RNG = np.random.default_rng(0)
SOURCES = RNG.standard_normal((8, 2, 2000)) * RNG.random((8, 2, 20)).repeat(100, axis=2)
MIXTURES = SOURCES.sum(axis=1)
RECORDINGS = list(SOURCES.reshape(16, 2000))


class Scaled(Objective):
    """Affinity times a factor."""

    needs = frozenset({"embeddings"})

    def __init__(self, scale=1.0):
        self.scale = scale

    def __call__(self, outputs, targets):
        return self.scale * Affinity()(outputs, targets)


def weights(separator):
    return {name: value.clone() for name, value in separator.network_.state_dict().items()}


def are_equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


# -- whose checkpoint it is ----------------------------------------------------------------------


def test_what_no_gradient_reaches_needs_no_state(tmp_path):
    def fit(n_epochs):
        separator = make_separator(objective="mask_inference", max_epochs=n_epochs)
        return separator.fit(MIXTURES, SOURCES, checkpoint=tmp_path / "run")

    first = weights(fit(1))
    assert not are_equal(weights(fit(2)), first)


def test_what_a_finished_run_ignores_is_told(path):
    separator = make_separator(max_epochs=2).fit(MIXTURES[:6], SOURCES[:6], checkpoint=path)
    held_out = {"X_val": MIXTURES[6:], "y_val": SOURCES[6:]}
    both = (
        r"^the run of the checkpoint '.*' is finished, .* by max_epochs=1, because it has trained "
        r"for 2 already and by the mixtures of the validation, which it did without; set max_epo"
    )
    for changes, more, message in [
        ({"max_epochs": 1}, {}, r"is asked by max_epochs=1, because .* already; set max_epochs"),
        ({"max_epochs": 2}, held_out, "is asked by the mixtures of the validation, which it did"),
        ({"max_epochs": 1}, held_out, both),
    ]:
        again = clone(separator).set_params(**changes)
        with pytest.warns(UserWarning, match=message):
            again.fit(MIXTURES[:6], SOURCES[:6], checkpoint=path, **more)
        assert are_equal(weights(again), weights(separator))
    # Nothing is ignored of a run that goes on, nor of one that has measured.
    separator.set_params(max_epochs=3)
    separator.fit(MIXTURES[:6], SOURCES[:6], checkpoint=path, **held_out)
    separator.fit(MIXTURES[:6], SOURCES[:6], checkpoint=path, **held_out)
    assert "validation_loss" in separator.history_[-1]


def test_the_best_epoch_is_that_of_mixtures_that_are_given(tmp_path):
    held_out = {"X_val": MIXTURES[6:], "y_val": SOURCES[6:]}
    path = tmp_path / "run"
    first = make_separator(max_epochs=2)
    first.fit(MIXTURES[:6], SOURCES[:6], checkpoint=path, **held_out)
    on = make_separator(max_epochs=9).fit(MIXTURES[:6], SOURCES[:6], checkpoint=path)
    assert not are_equal(weights(on), weights(first))


def test_a_finished_run_keeps_its_best_epoch_also_where_nothing_is_validated(tmp_path):
    path = tmp_path / "run"
    held_out = {"X_val": MIXTURES[6:], "y_val": SOURCES[6:]}
    first = make_separator(max_epochs=4, learning_rate=0.05)
    first.fit(MIXTURES[:6], SOURCES[:6], checkpoint=path, **held_out)
    best = int(np.argmax([row["validation_si_sdr_improvement"] for row in first.history_]))
    assert best < 3
    again = clone(first).fit(MIXTURES[:6], SOURCES[:6], checkpoint=path)
    assert are_equal(weights(again), weights(first))
    assert RunFile.read(path).best is not None


def test_objectives_of_other_parameters_make_another_run(tmp_path):
    path = tmp_path / "run"
    runs = [Scaled(2.0), WeightedSum([Scaled(2.0), Affinity()], [1.0, 0.5])]
    others = [Scaled(3.0), WeightedSum([Scaled(2.0), Affinity()], [1.0, 0.25])]
    for objective, other in zip(runs, others, strict=True):
        separator = make_separator(objective=objective).fit(MIXTURES, SOURCES, checkpoint=path)
        assert (
            separator.set_params(max_epochs=2).fit(MIXTURES, SOURCES, checkpoint=path).n_iter_ == 2
        )
        with pytest.raises(ValueError, match=r"is of another run: objective is '.*Scaled\(scale"):
            separator.set_params(objective=other).fit(MIXTURES, SOURCES, checkpoint=path)
        path.unlink()


def test_the_best_epoch_is_not_chosen_by_two_sets_of_mixtures(tmp_path):
    path = tmp_path / "run"
    fitting = MIXTURES[:4], SOURCES[:4]
    first, second = (
        {"X_val": MIXTURES[part], "y_val": SOURCES[part]} for part in (slice(4, 6), slice(6, 8))
    )
    make_separator().fit(*fitting, checkpoint=path, **first)
    before = path.read_bytes()
    message = "is of another run: the mixtures of the validation differ.*another file"
    with pytest.raises(ValueError, match=message):
        make_separator(max_epochs=2).fit(*fitting, checkpoint=path, **second)
    noisy = {"X_val": first["X_val"] + 0.01 * second["X_val"], "y_val": first["y_val"]}
    with pytest.raises(ValueError, match=message):
        make_separator(max_epochs=2).fit(*fitting, checkpoint=path, **noisy)
    assert path.read_bytes() == before
    # With the same, or without any, it goes on; and from then on with others.
    assert make_separator(max_epochs=2).fit(*fitting, checkpoint=path, **first).n_iter_ == 2
    assert make_separator(max_epochs=3).fit(*fitting, checkpoint=path).n_iter_ == 3
    assert make_separator(max_epochs=4).fit(*fitting, checkpoint=path, **second).n_iter_ == 4


def test_after_a_finished_run_a_warm_start_has_a_seed_of_its_own(tmp_path):
    separator = make_separator(random_state=None, warm_start=True)
    seeds = []
    for _ in range(3):
        separator.fit(MIXTURES, SOURCES, checkpoint=tmp_path / "run")
        seeds.append(RunFile.read(tmp_path / "run").identity["seed"])
    assert len(set(seeds)) == 3


@pytest.mark.parametrize(
    ("changes", "items", "message"),
    [
        ({}, slice(4, 8), "the data differs"),
        ({"random_state": 9}, slice(4), "seed is"),
        ({"objective": "whitened_kmeans"}, slice(4), "objective is 'whitened_kmeans' here but"),
        ({"learning_rate": 0.1}, slice(4), r"learning_rate is 0\.1 here but 0\.001 there"),
        ({"batch_size": 3}, slice(4), "batch_size is 3"),
        ({"segment_frames": (20, 30)}, slice(4), "segment_frames"),
        ({"hidden_size": 9}, slice(4), r"network\.hidden_size is 9"),
        ({"embedding_dim": 3}, slice(4), r"network\.embedding_dim is 3"),
        ({"bidirectional": False}, slice(4), r"network\.bidirectional is False"),
        ({"activity_threshold_db": 30.0}, slice(4), r"framing\.activity_threshold_db"),
        ({"remix": False}, slice(4), "the data differs"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(changes, items, message, path):
    make_separator().fit(MIXTURES[:4], SOURCES[:4], checkpoint=path)
    before = path.read_bytes()
    other = make_separator(**changes)
    with pytest.raises(ValueError, match=f"is of another run: .*{message}.*another file"):
        other.fit(MIXTURES[items], SOURCES[items], checkpoint=path)
    assert not hasattr(other, "network_")
    assert path.read_bytes() == before


@pytest.mark.parametrize("changes", [{"max_epochs": 3}, {"verbose": 0}])
def test_what_only_says_when_to_stop_may_change(changes, path):
    make_separator().fit(MIXTURES, SOURCES, checkpoint=path, time_limit=1e5)
    longer = make_separator(**changes)
    longer.fit(MIXTURES, SOURCES, checkpoint=path, time_limit=1e6)
    assert longer.n_iter_ == changes.get("max_epochs", 1)


def test_a_search_does_not_share_a_checkpoint_between_its_fits(path):
    search = GridSearchCV(
        make_separator(), {"learning_rate": [1e-4, 1e-2]}, cv=2, error_score="raise"
    )
    with pytest.raises(ValueError, match="is of another run"):
        search.fit(MIXTURES, SOURCES, checkpoint=path)


def test_two_runs_do_not_share_a_checkpoint(path, monkeypatch):
    expected = weights(make_separator().fit(MIXTURES, SOURCES))
    other, step, refused = make_separator(learning_rate=0.1), trainer.Trainer.train_step, []

    def meanwhile(run):
        # At once, before its data are looked at.
        for name in ("fit", "fit_recordings"):
            with pytest.raises(BlockingIOError, match=r"is writing to .*, the checkpoint of a tr"):
                getattr(other, name)(None, None, checkpoint=path)
        # As where both have begun at the same time.
        with pytest.raises(BlockingIOError, match="wait until it has ended, or give another"):
            trainer.train(run.network, run.data, run.config, checkpoint=path)
        refused.append(run.step)
        return step(run)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "train_step", meanwhile)
        separator = make_separator().fit(MIXTURES, SOURCES, checkpoint=path)
    assert refused
    assert are_equal(weights(separator), expected)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    # It goes on from there once the first has ended.
    make_separator(max_epochs=2).fit(MIXTURES, SOURCES, checkpoint=path)


def test_recordings_know_their_run_too(path):
    speakers = list("abcdefgh") * 2
    separator = make_separator().fit_recordings(RECORDINGS, speakers, checkpoint=path)
    again = clone(separator).fit_recordings(RECORDINGS, speakers, checkpoint=path)
    assert are_equal(weights(separator), weights(again))
    with pytest.raises(ValueError, match="the data differs"):
        clone(separator).fit_recordings(RECORDINGS, list("aabbccddeeffgghh"), checkpoint=path)


# -- going on ------------------------------------------------------------------------------------


def test_a_warm_start_goes_on_from_a_finished_run_in_its_file(path):
    separator = make_separator(warm_start=True, max_epochs=2)
    first = weights(separator.fit(MIXTURES, SOURCES, checkpoint=path))
    hours = separator.history_[-1]["hours"]
    separator.fit(MIXTURES, SOURCES, checkpoint=path)
    assert not are_equal(weights(separator), first)
    assert [row["epoch"] for row in separator.history_] == [1, 2, 3, 4]
    assert separator.history_[-1]["hours"] == pytest.approx(2 * hours)
    # As without a file.
    plain = make_separator(warm_start=True, max_epochs=2).fit(MIXTURES, SOURCES)
    assert are_equal(weights(plain.fit(MIXTURES, SOURCES)), weights(separator))


def test_a_warm_start_refuses_the_file_of_a_run_from_other_weights(path):
    make_separator(max_epochs=2).fit(MIXTURES, SOURCES, checkpoint=path)
    other = make_separator(warm_start=True).fit(MIXTURES, SOURCES)
    with pytest.raises(ValueError, match=r"it began with other weights|seed is"):
        other.fit(MIXTURES, SOURCES, checkpoint=path)


def test_a_trained_network_grows(path):
    separator = make_separator(n_layers=2).fit(MIXTURES, SOURCES)
    embeddings = separator.transform(MIXTURES)
    separator.set_params(n_layers=4, trunk=BLSTM(residual=True), warm_start=True)
    with pytest.MonkeyPatch.context() as patch:
        # As it is before the first step: the added layers add nothing yet.
        patch.setattr(trainer.Trainer, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt, match="at once"):
            separator.fit(MIXTURES, SOURCES)
    assert separator.network_.config.n_layers == 2
    grown = EmbeddingNetwork(
        replace(separator.network_.config, n_layers=4, trunk=BLSTM(residual=True))
    )
    grown.take_weights(separator.network_)
    features = torch.randn(2, 30, separator.network_.config.n_bins)
    with torch.no_grad():
        torch.testing.assert_close(grown(features), separator.network_(features))
    separator.fit(MIXTURES, SOURCES)
    assert separator.network_.config.n_layers == 4
    assert separator.history_[-1]["epoch"] == 2
    assert np.abs(separator.transform(MIXTURES) - embeddings).max() > 0
    separator.set_params(n_layers=5).fit(MIXTURES, SOURCES)
    separator.set_params(n_layers=3)
    with pytest.raises(ValueError, match="n_layers is 3 but was 5"):
        separator.fit(MIXTURES, SOURCES)
    stacked = make_separator(n_layers=3).fit(MIXTURES, SOURCES)
    stacked.set_params(n_layers=4, trunk=BLSTM(residual=True), warm_start=True)
    with pytest.raises(ValueError, match="n_layers is 4 but was 3"):
        stacked.fit(MIXTURES, SOURCES)


@pytest.mark.parametrize(
    ("begun", "changes", "message"),
    [
        ("mask_inference", {"n_sources": 3}, r": n_sources is 3 but was 2 \("),
        ("affinity", {"objective": "mask_inference"}, "the masks of the objective is 2 but was 0"),
    ],
)
def test_what_another_mask_head_comes_from_is_named(begun, changes, message):
    separator = make_separator(objective=begun, warm_start=True).fit(MIXTURES, SOURCES)
    with pytest.raises(ValueError, match=f"cannot train on from the present weights.*{message}"):
        separator.set_params(**changes).fit(MIXTURES, SOURCES)


def test_masks_for_fewer_sources_than_there_are_say_what_to_set():
    y = np.concatenate([SOURCES, SOURCES[::-1, :1]], axis=1)
    with pytest.raises(ValueError, match=r"gives 2 masks, expected 3 .* to 8; set n_sources=3"):
        make_separator(objective="affinity + mask_inference").fit(y.sum(axis=1), y)
    many = np.concatenate([SOURCES] * 5, axis=1)[:2, :9]
    separator = make_separator(objective="mask_inference", n_sources=9)
    with pytest.raises(ValueError, match="for 8 sources at most, but there are 9; give mixtures"):
        separator.fit(many.sum(axis=1), many)


def test_recordings_are_mixed_also_where_they_should_not_be():
    separator = make_separator(remix=False)
    with pytest.warns(UserWarning, match="^remix=False changes nothing, because recordings of si"):
        separator.fit_recordings(RECORDINGS)
    mixed = make_separator().fit_recordings(RECORDINGS)
    assert are_equal(weights(separator), weights(mixed))


def test_without_a_seed_a_resumed_run_keeps_its_own(path):
    separator = make_separator(random_state=None, n_iter_no_change=10, max_epochs=1)
    first = clone(separator).fit(MIXTURES, SOURCES, checkpoint=path)
    seed = RunFile.read(path).identity["seed"]
    # Another split of the data would be refused as other data.
    second = separator.set_params(max_epochs=2).fit(MIXTURES, SOURCES, checkpoint=path)
    assert RunFile.read(path).identity["seed"] == seed
    assert second.history_[0] == first.history_[0]


@pytest.mark.parametrize("with_validation", [False, True])
def test_an_interrupt_leaves_a_fitted_separator(with_validation, path, monkeypatch):
    step = trainer.Trainer.train_step

    monkeypatch.setattr(
        trainer.Trainer, "train_step", lambda run: interrupted() if run.step == 5 else step(run)
    )
    separator = make_separator(max_epochs=50)
    held_out = {"X_val": MIXTURES[:2], "y_val": SOURCES[:2]} if with_validation else {}
    with pytest.warns(InterruptedWarning, match="interrupted after 5 steps"):
        separator.fit(MIXTURES, SOURCES, checkpoint=path, **held_out)
    assert separator.history_
    assert separator.predict(MIXTURES).shape == SOURCES.shape
    assert RunFile.read(path).counters["step"] == 5
    # Before the first step there is nothing to keep.
    monkeypatch.setattr(trainer.Trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt, match="at once"):
        make_separator().fit(MIXTURES, SOURCES)


# -- held-out data -------------------------------------------------------------------------------


def test_early_stopping_on_recordings_holds_speakers_out():
    separator = make_separator(n_iter_no_change=1, max_epochs=3)
    separator.fit_recordings(RECORDINGS, list("abcdefgh") * 2)
    assert all("validation_si_sdr_improvement" in row for row in separator.history_)
    with pytest.raises(ValueError, match="only 3; give recordings of more speakers"):
        make_separator(n_iter_no_change=10).fit_recordings(RECORDINGS[:3])


def test_validation_cuts_recordings_as_separation_does(monkeypatch):
    monkeypatch.setattr("skdc.separation.pipeline._LONGEST_WHOLE_S", 0.15)
    monkeypatch.setattr("skdc.separation.pipeline.STRETCH_S", 0.05)
    separator = make_separator(sample_rate=16_000)  # the recordings take an eighth of a second
    separator.fit(MIXTURES[:6], SOURCES[:6], X_val=MIXTURES[6:], y_val=SOURCES[6:])
    found = separator.history_[-1]["validation_si_sdr_improvement"]
    assert found == pytest.approx(separator.score(MIXTURES[6:], SOURCES[6:]), abs=1e-4)


# -- files and generators ------------------------------------------------------------------------


def test_threads_draw_the_weights_of_their_seeds():
    config = NetworkConfig(hidden_size=16, embedding_dim=5)
    expected = make_network(config, 3).state_dict()
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: make_network(config, seed).state_dict(), [3] * 40))
    assert all(are_equal(expected, own) for own in found)
    assert torch.equal(torch.get_rng_state(), state)


def test_fits_in_threads_are_the_runs_that_they_are_by_themselves():
    def weights(seed):
        dropout = {"n_layers": 2, "trunk": BLSTM(dropout=0.5)}
        separator = make_separator(**dropout, random_state=seed, max_epochs=6)
        return separator.fit(MIXTURES, SOURCES).network_.state_dict()

    seeds = [0, 1, 2, 0]
    expected = [weights(seed) for seed in seeds]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(weights, seeds))
    for own, others in zip(expected, found, strict=True):
        assert are_equal(own, others)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_that_do_not_fit_are_not_saved(tmp_path):
    separator = make_separator().fit(MIXTURES, SOURCES)
    with torch.no_grad():
        next(separator.network_.parameters())[0] = 1e30
    with pytest.raises(ValueError, match="are not finite, or not as"):
        separator.save(tmp_path / "model.safetensors", weights="float16")
    assert not list(tmp_path.iterdir())
    with torch.no_grad():
        next(separator.network_.parameters())[0] = np.nan
    with pytest.raises(ValueError, match="are not finite"):
        separator.save(tmp_path / "model.safetensors")


def test_silent_recordings_leave_the_noise_head_finite():
    recordings = [np.zeros(48_000), *(np.tile(x, 24) for x in RECORDINGS[:2])]
    pipeline = make_separator().fit(MIXTURES, SOURCES).pipeline()
    floats = [x.astype(np.float32) for x in recordings]
    head = train_noise_head(pipeline, floats, list("abc"), n_examples=16, seed=0)
    assert all(bool(x.isfinite().all()) for x in head.state_dict().values())


@pytest.mark.parametrize(
    ("speakers", "n_examples", "message"),
    [(None, 32, "speakers: got None"), (list("ab"), 2.5, "n_examples=2.5; give an integer")],
)
def test_what_no_head_can_be_trained_with(speakers, n_examples, message):
    separator = make_separator().fit(MIXTURES, SOURCES)
    with pytest.raises(ValueError, match=message):
        separator.fit_voices(RECORDINGS[:2], speakers, n_examples=n_examples)


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        (5, "speakers: got 5, expected who speaks"),
        ([["a"], ["b"], "c", "d"], r"speakers\[0\]: got \['a'\], expected one name"),
    ],
)
def test_what_is_no_list_of_names(speakers, message):
    with pytest.raises(TypeError, match=message):
        make_separator().fit_recordings(RECORDINGS[:4], speakers)


def test_a_history_with_what_is_no_number_is_saved(tmp_path):
    separator = make_separator().fit(MIXTURES, SOURCES)
    separator.history_[0] |= {"loss": float("nan"), "validation_loss": float("inf")}
    separator.save(tmp_path / "model.safetensors")
    loaded = DeepClusteringSeparator.load(tmp_path / "model.safetensors")
    np.testing.assert_equal(loaded.history_, separator.history_)
    json.dumps(read_tensors(tmp_path / "model.safetensors")[1], allow_nan=False)


@pytest.mark.usefixtures("close_figures")
def test_what_loads_a_network_leaves_the_global_generator_alone(tmp_path):
    separator, pair = make_separator().fit(MIXTURES, SOURCES), (MIXTURES[0], SOURCES[0])
    separator.save(tmp_path / "model.safetensors")
    learner = make_separator(trunk=BLSTM(dropout=0.5), n_layers=2, n_iter_no_change=10)
    ways = {
        "load": lambda: DeepClusteringSeparator.load(tmp_path / "model.safetensors"),
        "pickle": lambda: pickle.loads(pickle.dumps(separator)),
        "load_pretrained": lambda: load_pretrained("speech-2mix-8k-small"),
        "copy": lambda: copy.copy(separator),
        "deepcopy": lambda: copy.deepcopy(separator),
        "clone": lambda: clone(separator),
        "fit": lambda: learner.fit(MIXTURES, SOURCES).partial_fit(MIXTURES, SOURCES),
        "predict": lambda: separator.predict(MIXTURES),
        "count": lambda: separator.predict(MIXTURES[:1], n_sources="auto", pair_sweeps=1),
        "transform": lambda: separator.transform(MIXTURES),
        "score": lambda: separator.score(MIXTURES, SOURCES),
        "AffinityDisplay": lambda: AffinityDisplay.from_estimator(separator, *pair),
        "EmbeddingDisplay": lambda: EmbeddingDisplay.from_estimator(separator, *pair),
    }
    for name, way in ways.items():
        state = torch.get_rng_state()
        numpy_state = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
        way()
        assert torch.equal(torch.get_rng_state(), state), name
        assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_state), name  # noqa: NPY002


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="shows mappings by /proc")
def test_a_checkpoint_is_not_mapped_while_it_is_replaced(path, monkeypatch):
    # Windows does not let a mapped file be replaced.
    make_separator().fit(MIXTURES, SOURCES, checkpoint=path)
    mapped = []
    save = trainer.Trainer.save

    def noting(run, target):
        mapped.append(str(path) in Path("/proc/self/maps").read_text())
        save(run, target)

    monkeypatch.setattr(trainer.Trainer, "save", noting)
    make_separator(max_epochs=2).fit(MIXTURES, SOURCES, checkpoint=path)
    assert mapped
    assert not any(mapped)


def test_tolerances_are_in_the_unit_of_the_score():
    config = TrainingConfig(n_iter_no_change=1, tol_db=0.5, tol_loss=0.01)
    run = trainer.Trainer.__new__(trainer.Trainer)
    run.config = config
    run.history = [{"loss": 0.5}, {"loss": 0.3}]
    assert not run.has_converged()  # a fall of 0.2, which as decibels would not count
    run.history = [
        {"loss": 0.5, "validation_si_sdr_improvement": 1.0},
        {"loss": 0.3, "validation_si_sdr_improvement": 1.2},
    ]
    assert run.has_converged()
    run.config = replace(config, tol_db=0.1)
    assert not run.has_converged()


def test_without_a_number_of_epochs_nothing_stops_early():
    separator = make_separator(n_iter_no_change=None, max_epochs=6, learning_rate=1e-12)
    separator.fit(MIXTURES, SOURCES, X_val=MIXTURES[:2], y_val=SOURCES[:2])
    assert separator.n_iter_ == 6
    assert separator.set_params(n_iter_no_change=2).fit(MIXTURES, SOURCES).n_iter_ == 3
