"""Checkpoints of training: resuming bit for bit from any moment, damage, other networks."""

import math
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import (
    CONFIG,
    FRAMING,
    Watched,
    assert_same_weights,
    held_out_loss,
    make_bank,
    make_network,
    weights_of,
    without_time,
)

from skdc.commands.train import read_config
from skdc.model_file import read_tensors, write_tensors
from skdc.network import BLSTM, TRUNKS, BandBLSTM, PhaseBLSTM
from skdc.objectives import OBJECTIVES, WhitenedKMeans, resolve_objective
from skdc.signal import Framing
from skdc.training import DynamicMixing, Trainer, train
from skdc.training.banks import MixtureBank, SourceBank

N_STEPS = 5 + 5 + 3 + 3
BENCHMARKS = Path(__file__).parent.parent / "examples" / "benchmarks"


class Stop(KeyboardInterrupt):
    """What a user's Ctrl-C raises, in a place of the test's choice."""

    def __init__(self):
        super().__init__("stopped by the test")


def stop_at(at):
    def before(step, batch):
        if step == at:
            raise Stop
        return batch

    return before


def spoil_at(at):
    def before(step, batch):
        return batch._replace(features=batch.features * math.nan) if step == at else batch

    return before


@pytest.fixture(scope="module")
def uninterrupted():
    network = make_network()
    history = train(network, make_bank(), CONFIG, validate=held_out_loss)
    assert len(history) == 4
    assert history[-1]["steps"] == N_STEPS
    return network, without_time(history)


def assert_resumes_to(uninterrupted, path, bank=None):
    # Another start: all that matters has to come from the checkpoint.
    network = make_network(seed=5)
    history = train(network, bank or make_bank(), CONFIG, validate=held_out_loss, checkpoint=path)
    assert_same_weights(network, uninterrupted[0])
    assert without_time(history) == uninterrupted[1]


# -- resuming ------------------------------------------------------------------------------------


def run_until(step, path, network=None, bank=None, config=CONFIG, validate=held_out_loss):
    """Train a network that is given back, and stop before a step."""
    network, watched = network or make_network(), Watched(bank or make_bank(), stop_at(step))
    with pytest.raises(Stop, match="by the test"):
        train(network, watched, config, validate=validate, checkpoint=path)
    return network


# The first step, mid-epoch, the ends of epochs and of a curriculum stage, the last step.
@pytest.mark.parametrize("step", [0, 1, 4, 5, 7, 10, 12, 13, N_STEPS - 1])
def test_stopped_at_any_step_and_resumed_is_the_same_run(step, path, uninterrupted):
    run_until(step, path)
    resumed = Watched(make_bank())
    assert_resumes_to(uninterrupted, path, resumed)
    assert [asked for asked, _ in resumed.asked] == list(range(step, N_STEPS))


def test_stopped_again_and_again_is_the_same_run(path, uninterrupted):
    for step in range(N_STEPS):
        run_until(step, path)
    assert_resumes_to(uninterrupted, path)


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_stopped_while_validating_and_resumed_is_the_same_run(epoch, path, uninterrupted):
    calls = []

    def validate(network):
        calls.append(network)
        if len(calls) == epoch:
            raise Stop
        return held_out_loss(network)

    with pytest.raises(Stop, match="by the test"):
        train(make_network(), make_bank(), CONFIG, validate=validate, checkpoint=path)
    resumed = Watched(make_bank())
    assert_resumes_to(uninterrupted, path, resumed)
    # Nothing is trained on twice.
    assert [asked for asked, _ in resumed.asked] == list(range([5, 10, 13, 16][epoch - 1], 16))


@pytest.mark.parametrize("place", ["optimizer", "average"])
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1000.0])
def test_stopped_inside_a_step_and_resumed_is_the_same_run(
    place, checkpoint_seconds, path, uninterrupted, monkeypatch
):
    # After part of the state has changed: such a state is not to be saved.
    calls = []

    def interrupted(original):
        def call(*args, **kwargs):
            result = original(*args, **kwargs)
            calls.append(place)
            if len(calls) == 8:
                raise Stop
            return result

        return call

    with monkeypatch.context() as patch:
        if place == "optimizer":
            patch.setattr(torch.optim.Adam, "step", interrupted(torch.optim.Adam.step))
        else:
            patch.setattr(torch, "_foreach_lerp_", interrupted(torch._foreach_lerp_))
        often: Any = {"validate": held_out_loss, "checkpoint_seconds": checkpoint_seconds}
        with pytest.raises(Stop, match="by the test"):
            train(make_network(), make_bank(), CONFIG, checkpoint=path, **often)
    _, header = read_tensors(path)
    # With few saves, the state is that of the end of the first epoch.
    assert header["step"] == (7 if checkpoint_seconds == 0 else 5)
    assert_resumes_to(uninterrupted, path)


def assert_any_run_resumes(path, bank, config=CONFIG, **changes):
    whole = make_network(**changes)
    history = train(whole, bank, config)
    # In the midst of an epoch, of the first or the second length of segments.
    run_until(7, path, make_network(**changes), bank, config, validate=None)
    network = make_network(seed=5, **changes)
    resumed = train(network, bank, config, checkpoint=path)
    assert_same_weights(network, whole)
    assert without_time(resumed) == without_time(history)


SUM = "0.75 * mask_inference + 0.25 * whitened_kmeans"


@pytest.mark.parametrize("spec", [*OBJECTIVES, SUM, read_config("best")["objective"]])
def test_resuming_with_any_objective(spec, path):
    objective = resolve_objective(spec)
    config = replace(CONFIG, objective=objective)
    n_masks = 2 if "masks" in objective.needs else 0
    assert_any_run_resumes(path, make_bank(), config, n_masks=n_masks)


CAUSAL_OR_NOT = [
    *((kind(), 2) for kind in TRUNKS.values()),
    (BLSTM(), 1),
    (BLSTM(dropout=0.3, residual=True), 4),
    (PhaseBLSTM(dropout=0.3, residual=True), 4),
    (BandBLSTM(n_bands=4, dropout=0.3), 2),
]


@pytest.mark.parametrize(
    ("trunk", "n_layers", "bidirectional"),
    [
        *((*case, bidirectional) for case in CAUSAL_OR_NOT for bidirectional in (True, False)),
        (BandBLSTM(n_bands=4, fold=3), 2, True),
        (BandBLSTM(n_bands=4, attention=True, dropout=0.3), 2, True),
    ],
    ids=str,
)
def test_resuming_with_any_trunk(trunk, n_layers, bidirectional, path):
    framing = Framing(64, 16, is_causal=not bidirectional, hears_phases=trunk.hears_phases)
    recordings = np.random.default_rng(0).standard_normal((3, 1200))
    # In rooms, two microphones hear each mixture.
    mixing = DynamicMixing(room_share=1.0 if trunk.hears_phases else 0.0)
    bank = SourceBank(list(recordings), framing=framing, mixing=mixing)
    shape = {"n_bins": 33, "n_layers": n_layers, "bidirectional": bidirectional}
    assert_any_run_resumes(path, bank, trunk=trunk, **shape)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this version of torch has no Muon")
def test_resuming_with_another_optimiser(path, monkeypatch):
    # That of the study of what teaches a network most.
    monkeypatch.syspath_prepend(BENCHMARKS)
    optimizer = import_module("learning").AdamAndMuon

    def trainer(seed):
        run = Trainer(make_network(seed=seed), make_bank(), CONFIG)
        run.optimizer = optimizer(run.network, CONFIG.learning_rate, 3.0)
        return run

    whole, resumed = trainer(seed=0), trainer(seed=5)
    start = weights_of(whole.network)
    for _ in range(6):
        whole.train_step()
    whole.save(path)
    resumed.restore(path)
    for _ in range(4):
        assert whole.train_step() == resumed.train_step()
    assert_same_weights(whole.network, resumed.network)
    assert_same_weights(whole.averaged, resumed.averaged)
    assert all(
        not torch.equal(parameter, start[name])
        for name, parameter in whole.network.named_parameters()
    )


def test_resuming_in_bfloat16_on_given_mixtures(path):
    sources = np.random.default_rng(0).standard_normal((3, 2, 200))
    bank = MixtureBank(list(sources.sum(1)), list(sources), framing=FRAMING)
    config = replace(CONFIG, precision="bfloat16", objective=WhitenedKMeans())
    whole = make_network()
    train(whole, bank, config)
    run_until(7, path, bank=bank, config=config, validate=None)
    network = make_network(seed=5)
    train(network, bank, config, checkpoint=path)
    assert_same_weights(network, whole)


def test_time_limit_stops_after_a_step_and_the_run_goes_on_later(path, uninterrupted):
    hurried = replace(CONFIG, time_limit=0.0)
    for done in range(1, 8):
        history = train(
            make_network(), make_bank(), hurried, validate=held_out_loss, checkpoint=path
        )
        assert read_tensors(path)[1]["step"] == done
        # Also within the first epoch there is something to tell.
        assert history[-1]["steps"] == (done if done <= 5 else 5)
        assert len(history) == 1
    assert_resumes_to(uninterrupted, path)


def test_time_limit_without_checkpoint_or_validation():
    network = make_network()
    history = train(network, make_bank(), replace(CONFIG, time_limit=0.0))
    assert [row["steps"] for row in history] == [1]
    assert history[0]["loss"] > 0


def test_a_finished_run_is_not_trained_any_further(path, uninterrupted):
    train(make_network(), make_bank(), CONFIG, validate=held_out_loss, checkpoint=path)
    resumed = Watched(make_bank())
    assert_resumes_to(uninterrupted, path, resumed)
    assert resumed.asked == []


def test_more_epochs_may_be_added_to_a_finished_run(path):
    train(make_network(), make_bank(), CONFIG, checkpoint=path)
    longer = replace(CONFIG, max_epochs=6)
    history = train(make_network(), make_bank(), longer, checkpoint=str(path))
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]


def test_an_interrupted_run_leaves_its_averaged_weights():
    network, start = run_until(8, None, validate=None), weights_of(make_network())
    assert not network.training
    assert not torch.equal(network.embed.weight, start["embed.weight"])
    assert all(parameter.grad is None for parameter in network.parameters())


# -- trouble -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 3, 8])
@pytest.mark.parametrize("is_validated", [False, True])
def test_a_loss_that_is_no_number_leaves_the_last_sound_weights(
    step, is_validated, path, uninterrupted
):
    validate = held_out_loss if is_validated else None
    network, spoilt = make_network(), Watched(make_bank(), spoil_at(step))
    with pytest.raises(FloatingPointError, match=f"nan.* in epoch {step // 5 + 1}; lower"):
        train(network, spoilt, CONFIG, validate=validate, checkpoint=path)
    assert_same_weights(network, run_until(step, None, validate=validate))
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
    if is_validated:  # with better data, the run can even go on
        assert_resumes_to(uninterrupted, path)


def finished_checkpoint(path):
    config = replace(CONFIG, max_epochs=1)
    train(make_network(), make_bank(), config, validate=held_out_loss, checkpoint=path)
    return read_tensors(path)


def test_a_model_file_is_no_checkpoint(path):
    write_tensors(path, weights_of(make_network()), {"kind": "model"})
    with pytest.raises(ValueError, match="is a model file, not the checkpoint"):
        train(make_network(), make_bank(), CONFIG, checkpoint=path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_checkpoint_cut_short_is_refused_and_left(share, path):
    finished_checkpoint(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"run\.safetensors"):
        train(make_network(), make_bank(), CONFIG, checkpoint=path)
    assert path.stat().st_size == int(share * len(content))


@pytest.mark.parametrize(
    "name",
    [
        "network.embed.weight",
        "averaged.input_mean",
        "best.embed.bias",
        "optimizer.0.exp_avg",
        "optimizer.3.step",
        "epoch_loss",
        "norms",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_a_checkpoint_that_lacks_something_is_refused(name, damage, path):
    tensors, header = finished_checkpoint(path)
    if damage == "missing":
        del tensors[name]
    elif damage == "shape":
        tensors[name] = torch.zeros(1, 2, 3)
    else:
        tensors[name] = tensors[name] * math.nan
    write_tensors(path, tensors, header)
    network = make_network()
    start = weights_of(network)
    with pytest.raises(ValueError, match=r"run\.safetensors.* is damaged"):
        train(network, make_bank(), CONFIG, checkpoint=path)
    assert_same_weights(network, start)


@pytest.mark.parametrize(
    "name", ["step", "epoch_step", "seconds", "history", "best_score", "is_finished"]
)
def test_a_checkpoint_whose_header_lacks_something_is_refused(name, path):
    tensors, header = finished_checkpoint(path)
    write_tensors(path, tensors, {k: v for k, v in header.items() if k != name})
    with pytest.raises(ValueError, match=r"run\.safetensors.* is damaged"):
        train(make_network(), make_bank(), CONFIG, checkpoint=path)


def test_the_run_is_saved_every_so_often(path):
    steps = []

    def before(step, batch):
        steps.append(read_tensors(path)[1]["step"] if path.is_file() else 0)
        return batch

    config = replace(CONFIG, max_epochs=1)
    data = Watched(make_bank(), before)
    train(make_network(), data, config, checkpoint=path, checkpoint_seconds=0)
    assert steps == [0, 1, 2, 3, 4]
    assert os.listdir(path.parent) == [path.name]


def test_weights_reach_the_user_even_if_the_checkpoint_cannot_be_written(tmp_path):
    network, whole, config = make_network(), make_network(), replace(CONFIG, max_epochs=1)
    train(whole, make_bank(), config)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        train(network, make_bank(), config, checkpoint=tmp_path / "file" / "run.safetensors")
    assert_same_weights(network, whole)


def test_numpy_settings_can_be_saved_and_resumed(path):
    # As a search over np.arange gives them.
    sizes: dict[str, Any] = {"batch_size": np.int64(4), "max_epochs": np.int64(1)}
    config = replace(CONFIG, **sizes)
    network = make_network(hidden_size=np.int64(5), dropout=np.float64(0.3))
    train(network, make_bank(), config, checkpoint=path)
    again = make_network(seed=5)
    train(again, make_bank(), config, checkpoint=path)
    assert_same_weights(network, again)
