"""Training: learning, schedules, early stopping, what is kept and what is left alone."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from skdc import training
from skdc.network import BLSTM, EmbeddingNetwork, NetworkConfig
from skdc.objectives import Affinity, resolve_objective
from skdc.signal import Framing
from skdc.training import Trainer, TrainingConfig, batch_loss, train
from skdc.training.banks import SourceBank
from skdc.training.clipping import AdaptiveClipping

FRAMING = Framing(win_length=16, hop_length=4)

# 600 samples of mixtures: an epoch has 5 steps of 4 segments of 10 frames, or 3 of 16 frames.
CONFIG = TrainingConfig(
    segment_frames=(10, 16), batch_size=4, learning_rate=0.01, max_epochs=4, seed=1
)


def make_network(seed=0, **changes):
    sizes = {"n_bins": 9, "embedding_dim": 3, "hidden_size": 5, "n_layers": 2}
    sizes |= {"trunk": BLSTM(dropout=changes.pop("dropout", 0.3))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddingNetwork(NetworkConfig(**sizes | changes))


def make_bank():
    recordings = np.random.default_rng(0).standard_normal((3, 400))
    return SourceBank(list(recordings), framing=FRAMING)


class Watched:
    """A bank that notes what it is asked for, and calls `before` first."""

    def __init__(self, bank, before=None):
        self.bank = bank
        self.framing = bank.framing
        self.n_mixture_samples = bank.n_mixture_samples
        self.has_waveforms, self.digest = bank.has_waveforms, bank.digest
        self.before = before
        self.asked = []

    def batch(self, n_mixtures, n_frames, *, seed, step, **options):
        batch = self.bank.batch(n_mixtures, n_frames, seed=seed, step=step, **options)
        if seed != CONFIG.seed:  # for the statistics, not for a step
            return batch
        self.asked.append((step, n_frames))
        return batch if self.before is None else self.before(step, batch)


def held_out_loss(network):
    batch = make_bank().batch(4, 20, seed=99, step=0)
    assert not network.training
    with torch.no_grad():
        return {"loss": batch_loss(network, batch, Affinity()).item()}


def weights_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same_weights(a, b):
    a, b = (x if isinstance(x, dict) else x.state_dict() for x in (a, b))
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def without_time(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


# -- learning ------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    networks = [make_network() for _ in range(3)]
    for network, seed in zip(networks, [1, 1, 2], strict=True):
        train(network, make_bank(), replace(CONFIG, max_epochs=1, seed=seed))
    assert_same_weights(networks[0], networks[1])
    assert not torch.equal(networks[0].embed.weight, networks[2].embed.weight)


def test_dropout_differs_between_seeds():
    # Apart from the batches, which are made equal here.
    networks = [make_network() for _ in range(2)]
    batch = make_bank().batch(4, 10, seed=0, step=0)

    class Same(Watched):
        def batch(self, n_mixtures, n_frames, **options):
            return batch

    for network, seed in zip(networks, [1, 2], strict=True):
        train(network, Same(make_bank()), replace(CONFIG, max_epochs=1, seed=seed))
    assert not torch.equal(networks[0].embed.weight, networks[1].embed.weight)


def two_bands(n_samples=4000):
    """Two speakers that share no frequencies."""
    rng = np.random.default_rng(0)
    spectra = np.fft.rfft(rng.standard_normal((2, n_samples)))
    middle = spectra.shape[1] // 2
    spectra[0, middle:] = 0
    spectra[1, :middle] = 0
    return SourceBank(list(np.fft.irfft(spectra)), framing=FRAMING)


@pytest.mark.parametrize(
    ("objective", "reached"),
    [
        ("affinity", 0.1),
        ("balanced_affinity", 0.1),
        ("whitened_kmeans", 0.1),
        # Masks with the phase of the mixture leave an error, and so do clusters that touch.
        ("whitened_kmeans + attractor_masks", 0.2),
    ],
)
def test_loss_falls_on_an_easy_problem(objective, reached):
    objective = resolve_objective(objective)
    config = TrainingConfig(
        objective=objective, segment_frames=(25,), learning_rate=0.02, max_epochs=12, batch_size=4
    )
    network = make_network(hidden_size=16, dropout=0.0)
    history = train(network, two_bands(), config)
    assert history[0]["loss"] > 0.2
    assert history[-1]["loss"] < reached
    with torch.no_grad():
        batch = two_bands().batch(8, 25, seed=7, step=0, with_spectrograms=True)
        loss = batch_loss(network, batch, objective)
    # The averaged weights that are left are good as well.
    assert loss < 1.2 * reached


def test_input_statistics_are_taken_from_the_data():
    network = make_network()
    train(network, make_bank(), replace(CONFIG, max_epochs=1))
    features = make_bank().batch(400, 10, seed=77, step=0).features.flatten(0, 1)
    assert (network.input_mean - features.mean(0)).abs().max() < 0.2
    assert (network.input_scale / features.std(0) - 1).abs().max() < 0.2


def test_warm_start_keeps_the_statistics_of_the_network():
    network = make_network()
    network.input_mean += 3.0
    before = weights_of(network)
    train(network, make_bank(), replace(CONFIG, max_epochs=1), warm_start=True)
    assert torch.equal(network.input_mean, before["input_mean"])
    assert torch.equal(network.input_scale, before["input_scale"])
    assert not torch.equal(network.embed.weight, before["embed.weight"])


def test_history_tells_of_each_epoch():
    network, other = make_network(), make_network()
    history = train(network, make_bank(), CONFIG, sample_rate=100, validate=held_out_loss)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert [row["steps"] for row in history] == [5, 10, 13, 16]
    samples = np.cumsum([5 * 4 * 10 * 4, 5 * 4 * 10 * 4, 3 * 4 * 16 * 4, 3 * 4 * 16 * 4])
    assert [row["hours"] for row in history] == pytest.approx(samples / 100 / 3600)
    for row in history:
        assert row.keys() == {
            "epoch",
            "steps",
            "hours",
            "seconds",
            "learning_rate",
            "loss",
            "validation_loss",
        }
        assert all(type(value) is float for value in row.values())
    # The count of hours is all that the sample rate is for.
    train(other, make_bank(), CONFIG, validate=held_out_loss)
    assert_same_weights(network, other)


def test_loss_of_an_epoch_is_the_mean_over_its_steps(monkeypatch):
    losses = []

    def noted(*args):
        losses.append(batch_loss(*args))
        return losses[-1]

    monkeypatch.setattr(training.trainer, "batch_loss", noted)
    history = train(make_network(), make_bank(), replace(CONFIG, max_epochs=2))
    values = [loss.item() for loss in losses]
    assert history[0]["loss"] == pytest.approx(np.mean(values[:5]))
    assert history[1]["loss"] == pytest.approx(np.mean(values[5:]))


def test_batch_loss_is_the_mean_objective_of_the_batch():
    network = make_network().eval()
    batch = make_bank().batch(4, 10, seed=0, step=0)
    losses = []
    for item in range(4):
        features, labels, weights = (tensor[item : item + 1] for tensor in batch[:3])
        part = training.banks.Batch(features, labels, weights, batch.n_sources)
        losses.append(batch_loss(network, part, Affinity()).item())
    assert batch_loss(network, batch, Affinity()).item() == pytest.approx(np.mean(losses))


def test_curriculum_divides_the_epochs_between_segment_lengths():
    config = replace(CONFIG, segment_frames=(5, 10, 20), max_epochs=7)
    frames = [config.epoch_segment_frames(epoch) for epoch in range(7)]
    assert frames == [5, 5, 5, 10, 10, 20, 20]
    data = Watched(make_bank())
    train(make_network(), data, config)
    assert list(dict.fromkeys(asked for _, asked in data.asked)) == [5, 10, 20]
    assert [step for step, _ in data.asked] == list(range(len(data.asked)))


def test_learning_rate_warms_up_stays_and_falls():
    config = TrainingConfig(learning_rate=0.5, decay_fraction=0.4)
    assert config.rate(0.0, 0) == pytest.approx(0.5 / 200)
    assert config.rate(0.001, 99) == pytest.approx(0.25)
    for progress in (0.05, 0.3, 0.6):
        assert config.rate(progress, 1000) == pytest.approx(0.5)
    assert config.rate(0.8, 1000) == pytest.approx(0.25)
    assert config.rate(0.999, 1000) == pytest.approx(0.025)
    rates = [config.rate(progress, 1000) for progress in np.linspace(0.6, 1, 50)]
    assert rates == sorted(rates, reverse=True)
    # A short run warms up over its first twentieth.
    assert config.rate(0.025, 2) == pytest.approx(0.25)
    assert config.rate(0.05, 4) == pytest.approx(0.5)
    assert config.rate(0.0, 0, 20) == pytest.approx(0.5 / 200)
    # Where that is less than one step, there is nothing to warm up over.
    assert config.rate(0.0, 0, 19) == config.rate(0.0, 0, 1) == pytest.approx(0.5)
    # And there may be no fall at all.
    assert replace(config, decay_fraction=0.0).rate(1.0, 1000) == 0.5


def test_the_schedule_is_what_the_optimizer_gets():
    config = replace(CONFIG, max_epochs=10, segment_frames=(10,))
    history = train(make_network(), make_bank(), config)
    for epoch, row in enumerate(history):
        expected = config.rate((epoch + 4 / 5) / 10, 5 * epoch + 4)
        assert row["learning_rate"] == pytest.approx(expected)
    assert history[-1]["learning_rate"] < 0.1 * config.learning_rate


# -- choosing the best epoch ---------------------------------------------------------------------


def scripted(rows, seen):
    """Validation results by epoch; the weights that were validated are kept in `seen`."""

    def validate(network):
        seen.append(weights_of(network))
        return rows[len(seen) - 1]

    return validate


def test_early_stopping_stops_and_keeps_the_best_weights():
    scores = [1.0, 3.0, 2.0, 2.9, 1.0, 9.0]
    seen: list[Any] = []
    network = make_network()
    history = train(
        network,
        make_bank(),
        replace(CONFIG, max_epochs=6, n_iter_no_change=3),
        validate=scripted([{"si_sdr_improvement": score} for score in scores], seen),
    )
    assert [row["validation_si_sdr_improvement"] for row in history] == scores[:5]
    assert_same_weights(network, seen[1])


def test_a_rise_smaller_than_the_tolerance_is_none():
    scores = [1.0, 1.005, 1.009, 1.009]
    validate = scripted([{"si_sdr_improvement": score} for score in scores], [])
    config = replace(CONFIG, n_iter_no_change=2, tol_db=0.01)
    assert len(train(make_network(), make_bank(), config, validate=validate)) == 3
    validate = scripted([{"si_sdr_improvement": score} for score in scores], [])
    config = replace(CONFIG, n_iter_no_change=2, tol_db=0.001)
    assert len(train(make_network(), make_bank(), config, validate=validate)) == 4


def test_losses_and_decibels_do_not_compare():
    # A loss of 0.3 is more than -5 dB and less than 5 dB, and says nothing of either.
    config = replace(CONFIG, n_iter_no_change=2)
    run = Trainer(make_network(), make_bank(), config)
    for name in ("validation_loss", "validation_si_sdr_improvement"):
        run.history = [{"loss": 0.3}] * 2 + [{"loss": 0.3, name: -5.0 + i} for i in range(3)]
        assert run.has_converged() == (name == "validation_loss")
        run.history.reverse()
        assert not run.has_converged()
    run.history = [{"loss": 0.3}] * 3
    assert run.has_converged()


def test_batches_from_which_nothing_is_learnt_do_not_stop_training():
    clipping = AdaptiveClipping(10)
    factors = [clipping.factor(norm) for norm in (0.0, 2.0, 0.0, 4.0, 0.0, 8.0)]
    assert factors == [1.0, 1.0, 1.0, 0.5, 1.0, 0.25]
    # Also where an earlier version has noted zeros.
    again = AdaptiveClipping(10)
    again.restore(torch.cat([torch.zeros(9, dtype=torch.float64), clipping.state()]))
    assert again.factor(4.0) == 0.5

    def silenced(step, batch):
        return batch if step % 2 else batch._replace(weights=torch.zeros_like(batch.weights))

    network = make_network(dropout=0.0)
    run = Trainer(network, Watched(make_bank(), silenced), replace(CONFIG, objective=Affinity()))
    start = weights_of(network)
    for _ in range(2):
        run.train_step()
    assert len(run.clipping.state()) == 1
    assert any(not torch.equal(start[k], now) for k, now in weights_of(network).items())


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        # The improvement goes before the loss, and a lower loss is better.
        ([{"si_sdr_improvement": s, "loss": -s} for s in (1.0, 3.0, 2.0)], 1),
        ([{"loss": loss} for loss in (0.5, 0.4, 0.3)], 2),
        ([{"loss": np.float32(loss)} for loss in (0.5, 0.2, 0.3)], 1),
        # Scores that are no numbers are never the best.
        ([{"si_sdr_improvement": s} for s in (math.nan, -2.0, -math.inf)], 1),
    ],
)
def test_weights_of_the_best_epoch_are_kept_also_through_a_checkpoint(rows, best, path):
    seen: list[Any] = []
    config = replace(CONFIG, max_epochs=3)
    network = make_network()
    bank = make_bank()
    history = train(network, bank, config, validate=scripted(rows, seen), checkpoint=path)
    assert_same_weights(network, seen[best])
    again = make_network(seed=5)
    resumed = train(again, bank, config, validate=scripted([], []), checkpoint=path)
    assert_same_weights(again, seen[best])
    np.testing.assert_equal(without_time(resumed), without_time(history))


def test_validation_that_gives_no_score_leaves_the_choice_to_the_training_loss():
    seen: list[Any] = []
    network = make_network()
    rows = [{"agreement": 0.5}] * 4
    history = train(network, make_bank(), CONFIG, validate=scripted(rows, seen))
    best = int(np.argmin([row["loss"] for row in history]))
    assert_same_weights(network, seen[best])


def test_without_validation_the_averaged_weights_are_left():
    network = make_network()
    run = training.Trainer(make_network(), make_bank(), replace(CONFIG, max_epochs=1))
    train(network, make_bank(), replace(CONFIG, max_epochs=1))
    # The same five steps, with the average written out.
    with torch.random.fork_rng(devices=[]):
        training.trainer.take_statistics(run)
        average = {name: p.detach().double() for name, p in run.network.named_parameters()}
        run.network.train()
        for step in range(5):
            run.train_step()
            decay = min(0.999, (1 + step) / (10 + step))
            for name, parameter in run.network.named_parameters():
                average[name] = decay * average[name] + (1 - decay) * parameter.detach().double()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.double(), average[name], rtol=1e-5, atol=1e-7)


def test_a_gradient_that_is_no_number_is_noticed_before_the_step(monkeypatch):
    # The loss itself may still be finite.
    def steep(network, batch, objective):
        loss = batch_loss(network, batch, objective)
        return loss + 0.0 * (network.embed.weight[0, 0] * 0.0).sqrt()

    monkeypatch.setattr(training.trainer, "batch_loss", steep)
    network = make_network()
    with pytest.raises(FloatingPointError, match="its gradient nan"):
        train(network, make_bank(), CONFIG)
    assert_same_weights(dict(network.named_parameters()), dict(make_network().named_parameters()))


def test_a_trained_network_can_be_copied():
    network = make_network()
    train(network, make_bank(), replace(CONFIG, max_epochs=1))
    assert_same_weights(copy.deepcopy(network), network)
