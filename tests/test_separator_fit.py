"""How a separator is trained: what it may be given, what it keeps, and that it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator, make_sources, weights
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from skdc import DeepClusteringSeparator
from skdc.datasets import make_mixtures
from skdc.exceptions import InterruptedWarning
from skdc.network import BLSTM
from skdc.signal import dominant_source, stft
from skdc.training import batch_loss, train

Array = NDArray[Any]

RATE = 8000


SOURCES = np.stack([make_sources(800, seed=seed) for seed in range(4)])
MIXTURES = SOURCES.sum(axis=1)
HELD_OUT = np.stack([make_sources(700, seed=seed) for seed in (7, 8)])
LABELS = dominant_source(stft(torch.from_numpy(SOURCES), win_length=64, hop_length=16)).numpy()


# -- repeating ------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_network() -> None:
    first = make_separator(trunk=BLSTM(dropout=0.3), n_layers=2).fit(MIXTURES, SOURCES)
    second = make_separator(trunk=BLSTM(dropout=0.3), n_layers=2).fit(
        list(MIXTURES), list(SOURCES)
    )
    assert_array_equal(weights(first), weights(second))
    assert_array_equal(weights(first.fit(MIXTURES, SOURCES)), weights(second))
    assert_array_equal(first.predict(MIXTURES), second.predict(MIXTURES))
    other = make_separator(trunk=BLSTM(dropout=0.3), n_layers=2, random_state=1).fit(
        MIXTURES, SOURCES
    )
    assert np.abs(weights(first) - weights(other)).max() > 0


def test_random_state_moves_on() -> None:
    generator = np.random.RandomState(0)
    first, second = (
        weights(make_separator(random_state=generator).fit(MIXTURES, SOURCES)) for _ in range(2)
    )
    assert np.abs(first - second).max() > 0


# -- what may be given ----------------------------------------------------------------------------


def test_label_maps_are_references() -> None:
    separator = make_separator(max_epochs=2).fit(MIXTURES, LABELS)
    score = separator.score(MIXTURES, LABELS)
    assert 0.5 <= score <= 1
    swapped = np.where(LABELS >= 0, 1 - LABELS, -1)
    assert separator.score(list(MIXTURES), list(swapped)) == pytest.approx(score)
    assert separator.score(MIXTURES[0], LABELS[0]) == separator.score(MIXTURES[:1], LABELS[:1])
    alone = separator.set_params(n_sources=1).score(MIXTURES, np.zeros_like(LABELS))
    assert alone == 1


def test_names_of_labels_mean_nothing() -> None:
    renamed = np.where(LABELS == 0, 250, np.where(LABELS == 1, 3, 255)).astype(np.uint8)
    every = make_separator().fit(MIXTURES, np.where(LABELS < 0, 2, LABELS))
    assert_allclose(weights(make_separator().fit(MIXTURES, renamed)), weights(every), atol=1e-4)


def test_label_maps_train_like_the_sources_they_come_from() -> None:
    by_labels = make_separator().fit(MIXTURES, LABELS)
    by_sources = make_separator(remix=False).fit(MIXTURES, SOURCES)
    assert_allclose(by_labels.history_[0]["loss"], by_sources.history_[0]["loss"], rtol=0.2)


@pytest.mark.parametrize("remix", [True, False])
def test_numbers_of_sources_may_differ(remix: bool) -> None:
    y = [make_sources(600 + 50 * n, n_sources=n, seed=n) for n in (2, 3, 1)]
    X = [sources.sum(axis=0) for sources in y]
    separator = make_separator(n_sources=3, remix=remix).fit(X, y)
    assert [len(sources) for sources in separator.predict(X)] == [3, 3, 3]
    assert np.isfinite(separator.score(X[:2], y[:2]))


def test_integer_pcm_references() -> None:
    pcm = (SOURCES * 8000).astype(np.int16)
    X = pcm.sum(axis=1, dtype=np.int16)
    separator = make_separator().fit(X, pcm)
    assert_array_equal(weights(separator), weights(make_separator().fit(X / 2**15, pcm / 2**15)))


def test_one_mixture_is_enough() -> None:
    separator = make_separator().fit(MIXTURES[0], SOURCES[0])
    assert_array_equal(
        weights(separator), weights(make_separator().fit(MIXTURES[:1], SOURCES[:1]))
    )


def test_a_source_may_be_silent_also_where_it_is_validated() -> None:
    y = SOURCES.copy()
    y[:, 1] = 0
    separator = make_separator().fit(y.sum(axis=1), y, X_val=y.sum(axis=1), y_val=y)
    assert separator.history_[0]["validation_si_sdr_improvement"] == pytest.approx(0, abs=1e-3)


def test_numpy_numbers_are_parameters(tmp_path: Path) -> None:
    separator = make_separator(
        embedding_dim=np.int64(3), max_epochs=np.int32(1), learning_rate=np.float32(1e-3)
    ).set_params(segment_frames=np.arange(20, 22).tolist())
    run: dict[str, Any] = {"checkpoint": tmp_path / "run", "time_limit": np.float32(60)}
    separator.fit(MIXTURES, SOURCES, **run).save(tmp_path / "model.safetensors")
    loaded = DeepClusteringSeparator.load(tmp_path / "model.safetensors", device="cpu")
    assert_array_equal(loaded.predict(MIXTURES), separator.predict(MIXTURES))


# -- what is kept ---------------------------------------------------------------------------------


def test_history() -> None:
    separator = make_separator(max_epochs=3).fit(
        MIXTURES, SOURCES, X_val=HELD_OUT.sum(axis=1), y_val=HELD_OUT
    )
    assert separator.n_iter_ == len(separator.history_) == 3
    assert [row["epoch"] for row in separator.history_] == [1, 2, 3]
    for name in ("loss", "validation_loss", "validation_si_sdr_improvement", "hours"):
        assert np.isfinite([row[name] for row in separator.history_]).all()
    best = max(row["validation_si_sdr_improvement"] for row in separator.history_)
    assert separator.score(HELD_OUT.sum(axis=1), HELD_OUT) == pytest.approx(best, abs=1e-3)


def test_label_maps_validate_by_their_loss() -> None:
    separator = make_separator().fit(MIXTURES, LABELS, X_val=MIXTURES, y_val=LABELS)
    assert separator.history_[0]["validation_loss"] > 0
    assert "validation_si_sdr_improvement" not in separator.history_[0]


def test_early_stopping_ends_training() -> None:
    separator = make_separator(n_iter_no_change=2, max_epochs=200, learning_rate=1e-7).fit(
        MIXTURES, SOURCES
    )
    assert 3 <= separator.n_iter_ < 200
    assert "validation_si_sdr_improvement" in separator.history_[0]


def test_time_limit_ends_training() -> None:
    separator = make_separator(max_epochs=100_000)
    assert separator.fit(MIXTURES, SOURCES, time_limit=0.2).n_iter_ < 1000
    assert separator.fit_recordings(SOURCES.reshape(8, -1), time_limit=0.2).n_iter_ < 1000


def test_partial_fit_goes_on_from_the_present_weights() -> None:
    separator = make_separator(learning_rate=1e-9).partial_fit(MIXTURES, SOURCES)
    first = weights(separator)
    separator.partial_fit([MIXTURES[0][:500]], [SOURCES[0][:, :500]])
    assert separator.n_iter_ == 2
    assert [row["epoch"] for row in separator.history_] == [1, 2]
    assert separator.history_[1]["hours"] > separator.history_[0]["hours"]
    assert_allclose(weights(separator), first, atol=1e-6)
    assert_array_equal(first, weights(make_separator(learning_rate=1e-9).fit(MIXTURES, SOURCES)))


@pytest.mark.parametrize("method", ["partial_fit", "warm_start"])
def test_one_step_at_a_time_learns_as_many_at_once_do(method: str) -> None:
    settings: dict[str, Any] = {"hidden_size": 16, "segment_frames": 100, "batch_size": 4}
    whole = make_separator(max_epochs=30, **settings).fit(MIXTURES, SOURCES)
    settings |= {"max_epochs": 1, "warm_start": method == "warm_start"}
    bit_by_bit = make_separator(**settings)
    for _ in range(30):
        train = bit_by_bit.partial_fit if method == "partial_fit" else bit_by_bit.fit
        train(MIXTURES, SOURCES)
    begun, reached = whole.history_[0]["loss"], whole.history_[-1]["loss"]
    assert whole.history_[-1]["steps"] == bit_by_bit.history_[-1]["steps"] == 30
    assert {row["learning_rate"] for row in bit_by_bit.history_} == {whole.learning_rate}
    assert bit_by_bit.history_[-1]["loss"] < begun - 0.8 * (begun - reached)


def test_warm_start_goes_on_and_a_cold_one_starts_anew() -> None:
    separator = make_separator(max_epochs=2).fit(MIXTURES, SOURCES)
    cold = weights(separator)
    warm = weights(separator.set_params(warm_start=True).fit(MIXTURES, SOURCES))
    assert separator.n_iter_ == 4
    assert np.abs(warm - cold).max() > 0
    separator.set_params(warm_start=False, embedding_dim=3).fit(MIXTURES, SOURCES)
    assert separator.n_iter_ == 2
    assert separator.transform(MIXTURES).shape[-1] == 3


def test_weights_of_another_shape_cannot_be_trained_on() -> None:
    separator = make_separator().fit(MIXTURES, SOURCES)
    before = weights(separator)
    separator.set_params(embedding_dim=3, hidden_size=9, trunk=BLSTM(dropout=0.2))
    message = "embedding_dim is 3 but was 4, hidden_size|hidden_size is 9 but was 8"
    with pytest.raises(ValueError, match=message):
        separator.partial_fit(MIXTURES, SOURCES)
    with pytest.raises(ValueError, match=message):
        separator.set_params(warm_start=True).fit(MIXTURES, SOURCES)
    assert_array_equal(weights(separator), before)


def test_a_network_without_history_is_trained_on() -> None:
    separator = make_separator(learning_rate=1e-9).fit(MIXTURES, SOURCES)
    first = weights(separator)
    separator.history_ = []
    separator.partial_fit(MIXTURES[:, ::2], SOURCES[..., ::2])
    assert_allclose(weights(separator), first, atol=1e-6)


def test_fit_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    whole = make_separator(max_epochs=3).fit(MIXTURES, SOURCES)
    separator, path = make_separator(max_epochs=3), tmp_path / "run.safetensors"
    n_steps = int(whole.history_[-1]["steps"])
    calls = iter(range(n_steps))

    def break_off(*args: Any) -> torch.Tensor:
        if next(calls) == n_steps // 2:
            raise KeyboardInterrupt
        return batch_loss(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skdc.training.trainer.batch_loss", break_off)
        with pytest.warns(InterruptedWarning, match=f"after {n_steps // 2} steps"):
            separator.fit(MIXTURES, SOURCES, checkpoint=path)
    # Fitted with what there was, and ready to go on.
    assert separator.predict(MIXTURES[0]).shape == SOURCES[0].shape
    separator.fit(MIXTURES, SOURCES, checkpoint=path)
    assert separator.n_iter_ == 3
    assert_array_equal(weights(separator), weights(whole))


@pytest.mark.parametrize("break_at", ["X", "y", "X_val", "training"])
def test_a_fit_that_fails_leaves_the_earlier_one(
    break_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    separator = make_separator().fit(MIXTURES, SOURCES)
    before = weights(separator), separator.history_, separator.predict(MIXTURES)
    X, y, X_val = MIXTURES.copy(), SOURCES.copy(), MIXTURES.copy()
    {"X": X[3], "y": y[2, 0], "X_val": X_val[1], "training": np.zeros(20)}[break_at][9] = np.nan

    def broken(network: Any, *args: Any, **kwargs: Any) -> Any:
        assert break_at == "training", "trained on what was to be refused"
        train(network, *args, **kwargs)
        raise FloatingPointError("the loss became nan")

    monkeypatch.setattr("skdc.separator.train", broken)
    message = {"X": r"X\[3\] contains NaN", "y": r"y\[2\] contains NaN"}
    message |= {"X_val": r"X_val\[1\] contains NaN", "training": "the loss became nan"}
    for resume in (False, True):
        separator.set_params(warm_start=resume)
        with pytest.raises((ValueError, FloatingPointError), match=message[break_at]):
            separator.fit(X, y, X_val=X_val, y_val=SOURCES)
        assert_array_equal(weights(separator), before[0])
        assert separator.history_ == before[1]
        assert_array_equal(separator.predict(MIXTURES), before[2])


def test_fit_leaves_parameters_alone() -> None:
    separator = make_separator(segment_frames=[10, 20], max_epochs=2)
    before = separator.get_params()
    separator.fit(MIXTURES, SOURCES)
    assert separator.get_params() == before


# -- recordings -----------------------------------------------------------------------------------


def test_recordings_of_single_speakers() -> None:
    recordings = [source for pair in SOURCES[:2] for source in pair]
    separator = make_separator(max_epochs=2)
    separator.fit_recordings(recordings, ["ann", "bob", "ann", "cyn"])
    assert separator.predict(MIXTURES).shape == (4, 2, 800)
    separator.set_params(n_iter_no_change=1)
    separator.fit_recordings(recordings, X_val=MIXTURES, y_val=SOURCES)
    assert "validation_si_sdr_improvement" in separator.history_[0]


def test_recordings_that_do_not_do() -> None:
    recordings = [source for pair in SOURCES[:2] for source in pair]
    separator = make_separator()
    with pytest.raises(ValueError, match="got 3 speakers for 4 recordings"):
        separator.fit_recordings(recordings, ["ann", "bob", "ann"])
    with pytest.raises(ValueError, match="recordings of 1 speakers"):
        separator.fit_recordings(recordings, ["ann"] * 4)
    with pytest.raises(ValueError, match=r"recordings\[1\] contains infinity"):
        separator.fit_recordings([recordings[0], np.full(800, np.inf)])
    with pytest.raises(ValueError, match="recordings is empty"):
        separator.fit_recordings([])
    with pytest.raises(ValueError, match=r"recordings\[0\] has shape \(2, 800\)"):
        separator.fit_recordings(SOURCES)
    assert not hasattr(separator, "network_")


@pytest.mark.parametrize(
    "missing", [None, "", " \t", float("nan"), np.float32("nan"), np.datetime64("NaT")], ids=repr
)
def test_speakers_without_a_name_are_refused(missing: Any) -> None:
    recordings = list(SOURCES.reshape(8, -1))
    speakers = [*"ababab", missing, "b"]
    message = r"speakers\[6\] is .*, which is nobody's name; give who speaks in recordings\[6\]"
    with pytest.raises(ValueError, match=message):
        make_separator().fit_recordings(recordings, speakers)
    with pytest.raises(ValueError, match=message):
        make_mixtures(recordings, speakers, n_mixtures=1, sample_rate=8000)
    fitted = make_separator().fit(MIXTURES, SOURCES)
    with pytest.raises(ValueError, match=message):
        fitted.fit_voices(recordings, speakers, n_examples=1)


def test_names_of_speakers_may_be_anything_else() -> None:
    speakers = [0, 1, ("a", 1), "a", np.str_("b"), False, 0.5, frozenset()]
    make_separator().fit_recordings(list(SOURCES.reshape(8, -1)), speakers)


def test_silence_teaches_no_voices() -> None:
    fitted = make_separator().fit(MIXTURES, SOURCES)
    silent = [np.full(16000, 0.5)] * 4
    for recordings, n_heard in ((silent, 0), ([SOURCES[0, 0], *silent[1:]], 1)):
        message = f"got recordings of {n_heard} speakers that are not silent; give recordings of 2"
        with pytest.raises(ValueError, match=message):
            fitted.fit_voices(recordings, list("aabb"), n_examples=1)
    assert fitted.network_.voice_head is None


def test_who_is_silent_is_nobody_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = make_separator().fit(MIXTURES, SOURCES)
    recordings = [*SOURCES[:2, 0], np.zeros(16000), SOURCES[2, 0], np.full(16000, 0.25)]
    seen = []

    def note(separator: Any, checked: Any, names: Any, **how: Any) -> None:
        seen.append((list(checked), names))

    for name in ("voice", "count", "noise"):
        monkeypatch.setattr(f"skdc.separator.train_{name}_head", note)
    fitted.fit_voices(recordings, list("abcad"), n_examples=1)
    assert len(seen) == 3
    for checked, names in seen:
        assert names == list("aba")
        assert all(np.any(recording) for recording in checked)
        assert_allclose(checked[2], SOURCES[2, 0] / np.abs(SOURCES[2, 0]).max(), atol=1e-3)


def test_recordings_of_any_level() -> None:
    plain, loud = (
        make_separator().fit_recordings(list(SOURCES[:, 0] * gain)) for gain in (1.0, 1e40)
    )
    assert_allclose(weights(loud), weights(plain), atol=1e-4)


def test_recordings_at_another_rate() -> None:
    y = np.stack([make_sources(1600, seed=seed) for seed in range(2)])
    separator = make_separator(input_rate=16000).fit_recordings(y.reshape(4, -1))
    assert separator.predict(y.sum(axis=1)).shape == y.shape


# -- learning -------------------------------------------------------------------------------------


def make_voice(rng: np.random.Generator, pitch_hz: float, n_samples: int) -> Array:
    """Harmonics of a wandering pitch, in syllables of 0.1 s with pauses between."""
    time = np.arange(n_samples) / RATE
    wander = 0.08 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz * rng.uniform(0.9, 1.1) * (1 + wander)) / RATE
    harmonics = np.arange(1, int(3000 / pitch_hz))[:, np.newaxis]
    voice = (np.sin(harmonics * phase) / np.sqrt(harmonics)).sum(axis=0)
    syllables = (rng.random(n_samples // 800 + 1) < 0.6).repeat(800)[:n_samples]
    fade = np.hanning(161) / np.hanning(161).sum()
    return 0.1 * voice * np.convolve(syllables, fade, "same")


def test_it_learns_to_separate_voices_it_never_heard() -> None:
    rng = np.random.default_rng(0)
    y = np.stack(
        [[make_voice(rng, pitch_hz, 2 * RATE) for pitch_hz in (110, 230)] for _ in range(30)]
    )
    X = y.sum(axis=1)
    separator = DeepClusteringSeparator(
        embedding_dim=8,
        hidden_size=48,
        n_layers=1,
        segment_frames=50,
        batch_size=4,
        learning_rate=5e-3,
        max_epochs=22,
        device="cpu",
        precision="float32",
        random_state=0,
    ).fit(X[:24], y[:24])
    assert separator.history_[-1]["loss"] < 0.6 * separator.history_[0]["loss"]
    for mask in ("soft", "binary"):
        # Between 7 and 8 dB when this was written.
        assert separator.set_params(mask=mask).score(X[24:], y[24:]) > 6
