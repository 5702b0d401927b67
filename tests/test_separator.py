"""What a fitted separator gives back: forms, lengths, scales, sums, rates, clusterers, silence."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator, make_sources
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdc
from skdc import DeepClusteringSeparator, StreamingSeparator
from skdc.exceptions import AudioWarning
from skdc.separation import Separator
from skdc.signal import frame_count

Array = NDArray[Any]

N_BINS, HOP, DIM = 33, 16, 4
LENGTHS = (700, 64, 1001, 880)


SOURCES = np.stack([make_sources(800, seed=seed) for seed in range(4)])
MIXTURES = SOURCES.sum(axis=1)
RAGGED_SOURCES = [make_sources(n, seed=10 + n) for n in LENGTHS]
RAGGED = [sources.sum(axis=0) for sources in RAGGED_SOURCES]


@pytest.fixture(scope="module")
def fitted() -> DeepClusteringSeparator:
    return make_separator().fit(MIXTURES, SOURCES)


@pytest.fixture
def separator(fitted: DeepClusteringSeparator) -> DeepClusteringSeparator:
    """One of its own for each test, free to change."""
    return copy.deepcopy(fitted)


# -- forms ----------------------------------------------------------------------------------------


def test_list_gives_what_the_array_gives(separator: DeepClusteringSeparator) -> None:
    for method in (separator.predict, separator.predict_masks, separator.transform):
        from_list, from_array = method(list(MIXTURES)), method(MIXTURES)
        assert isinstance(from_list, list)
        assert isinstance(from_array, np.ndarray)
        assert_array_equal(np.stack(from_list), from_array)


def test_mixtures_among_others_give_what_they_give_alone(
    separator: DeepClusteringSeparator,
) -> None:
    for method in (separator.predict, separator.predict_masks, separator.transform):
        for together, mixture in zip(method(RAGGED), RAGGED, strict=True):
            assert_array_equal(together, method([mixture])[0])
            assert_array_equal(together, method(mixture))


def test_shapes_and_types(separator: DeepClusteringSeparator) -> None:
    for mixture in RAGGED:
        frames = (frame_count(len(mixture), HOP), N_BINS)
        results = {
            "sources": ((2, len(mixture)), np.float32),
            "masks": ((2, *frames), np.float32),
            "labels": (frames, np.int64),
        }
        for output, (shape, dtype) in results.items():
            result = separator.set_params(output=output).predict(mixture)
            assert result.shape == shape
            assert result.dtype == dtype
        assert separator.predict_masks(mixture).shape == (2, *frames)
        embeddings = separator.transform(mixture)
        assert embeddings.shape == (*frames, DIM)
        assert embeddings.dtype == np.float32
        assert_allclose(np.linalg.norm(embeddings, axis=-1), 1, atol=1e-5)


def test_tuples_nested_lists_and_object_arrays(separator: DeepClusteringSeparator) -> None:
    expected = separator.predict(MIXTURES)
    assert_array_equal(separator.predict(MIXTURES.tolist()), expected)
    assert_array_equal(np.stack(separator.predict(tuple(MIXTURES))), expected)
    objects = np.empty(len(RAGGED), dtype=object)
    objects[:] = RAGGED
    for forms in (objects, [x.tolist() for x in RAGGED], [torch.from_numpy(x) for x in RAGGED]):
        for got, wanted in zip(separator.predict(forms), separator.predict(RAGGED), strict=True):
            assert_array_equal(got, wanted)


def test_one_mixture_in_a_list_or_an_array_keeps_its_axis(
    separator: DeepClusteringSeparator,
) -> None:
    assert separator.predict(MIXTURES[:1]).shape == (1, 2, 800)
    assert [x.shape for x in separator.predict([MIXTURES[0]])] == [(2, 800)]
    assert separator.predict(MIXTURES[0]).shape == (2, 800)


def test_score_takes_one_mixture_too(separator: DeepClusteringSeparator) -> None:
    alone = separator.score(MIXTURES[0], SOURCES[0])
    assert alone == separator.score(MIXTURES[:1], SOURCES[:1])
    assert alone == separator.score(MIXTURES[0], SOURCES[:1])
    scores = [separator.score([x], [y]) for x, y in zip(RAGGED, RAGGED_SOURCES, strict=True)]
    assert separator.score(RAGGED, RAGGED_SOURCES) == pytest.approx(np.mean(scores))


def test_read_only_input() -> None:
    X, y = MIXTURES.astype(np.float32), SOURCES.astype(np.float32)
    before = X.copy(), y.copy()
    X.setflags(write=False)
    y.setflags(write=False)
    separator = make_separator(max_epochs=1).fit(X, y)
    assert separator.predict(X).flags.writeable
    separator.score(X, y)
    separator.transform(list(X))
    assert_array_equal(X, before[0])
    assert_array_equal(y, before[1])


# -- sums and scales ------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["binary", "soft"])
@pytest.mark.parametrize("n_sources", [1, 2, 3])
def test_sources_sum_to_the_mixture(
    separator: DeepClusteringSeparator, mask: str, n_sources: int
) -> None:
    separator.set_params(mask=mask, n_sources=n_sources)
    for mixture, sources in zip(RAGGED, separator.predict(RAGGED), strict=True):
        assert len(sources) == n_sources
        assert_allclose(sources.sum(axis=0), mixture, atol=1e-5)
    for masks in separator.predict_masks(RAGGED):
        assert_allclose(masks.sum(axis=0), 1, atol=1e-5)
        assert np.isin(masks, (0, 1)).all() == (mask == "binary" or n_sources == 1)


@pytest.mark.parametrize("gain", [1e-30, 1e-3, 2.0**-10, 1000.0, 1e30])
def test_scale_of_the_input_is_that_of_the_output(
    separator: DeepClusteringSeparator, gain: float
) -> None:
    expected = separator.predict(MIXTURES).astype(np.float64)
    scaled = separator.predict(MIXTURES * gain).astype(np.float64) / gain
    assert_allclose(scaled, expected, atol=1e-4 * np.abs(MIXTURES).max())
    score = separator.score(MIXTURES, SOURCES)
    assert separator.score(MIXTURES * gain, SOURCES * gain) == pytest.approx(score, abs=1e-3)


def test_training_does_not_depend_on_scale(fitted: DeepClusteringSeparator) -> None:
    scaled = make_separator().fit(MIXTURES * 2.0**-20, SOURCES * 2.0**-20)
    assert_allclose(scaled.transform(MIXTURES), fitted.transform(MIXTURES), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8])
def test_integer_pcm_is_scaled_by_its_type(
    separator: DeepClusteringSeparator, dtype: type[np.integer]
) -> None:
    info = np.iinfo(dtype)
    middle = 128 if dtype is np.uint8 else 0
    full = info.max - middle + 1
    y = (SOURCES * 0.9 / np.abs(MIXTURES).max() * full + middle).round().astype(dtype)
    X = (y.astype(np.int64) - middle).sum(axis=1) + middle
    pcm, floating = X.astype(dtype), (X - middle) / full
    assert_array_equal(separator.predict(pcm), separator.predict(floating))
    expected = separator.score(floating, (y.astype(np.float64) - middle) / full)
    assert separator.score(pcm, y) == pytest.approx(expected, abs=1e-6)


def test_order_of_the_references_leaves_fit_and_score(fitted: DeepClusteringSeparator) -> None:
    swapped = SOURCES[:, ::-1]
    assert fitted.score(MIXTURES, swapped) == pytest.approx(fitted.score(MIXTURES, SOURCES))
    # Without remixing the batches are the same but for the names of the sources.
    one, other = (
        make_separator(remix=False).fit(MIXTURES, y).transform(MIXTURES)
        for y in (SOURCES, swapped)
    )
    assert_allclose(one, other, atol=1e-4)


# -- numbers of sources ---------------------------------------------------------------------------


def test_number_of_sources_may_change_after_fit(separator: DeepClusteringSeparator) -> None:
    assert separator.set_params(n_sources=3).predict(MIXTURES).shape == (4, 3, 800)


@pytest.mark.parametrize("unknown", [None, "auto"])
def test_unknown_number_of_sources(separator: DeepClusteringSeparator, unknown: Any) -> None:
    separator.set_params(n_sources=unknown)
    masks = separator.predict_masks(RAGGED)
    for sources, mask, mixture in zip(separator.predict(RAGGED), masks, RAGGED, strict=True):
        assert len(sources) == len(mask) >= 1
        assert_allclose(sources.sum(axis=0), mixture, atol=1e-5)


def test_both_words_for_an_unknown_number_say_the_same(
    separator: DeepClusteringSeparator, tmp_path: Path
) -> None:
    by_call = separator.predict(MIXTURES[0], n_sources="auto")
    for word in ("auto", None):
        separator.set_params(n_sources=word).save(tmp_path / "model")
        loaded = DeepClusteringSeparator.load(tmp_path / "model")
        assert loaded.n_sources == word
        assert_array_equal(loaded.predict(MIXTURES[0]), by_call)
        result = skdc.separate(MIXTURES[0], rate=8000, model=loaded)
        assert_allclose(result.sources, by_call, atol=1e-6)
        recordings = np.random.default_rng(0).standard_normal((2, 8000))
        masked = make_separator(n_sources=word, objective="mask_inference")
        assert masked.fit_recordings(recordings).network_.config.n_masks == 2


def test_an_unknown_word_for_the_number_is_told_the_known_ones(
    separator: DeepClusteringSeparator,
) -> None:
    known = "n_sources: got 'many', expected an integer from 1 to 20, or 'auto'"
    with pytest.raises(ValueError, match=known):
        separator.predict(MIXTURES[0], n_sources="many")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=known):
        separator.set_params(n_sources="many").predict(MIXTURES[0])


def test_numbers_of_sources_that_differ_turn_an_array_into_a_list(
    separator: DeepClusteringSeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    separate = Separator.separate_full_band
    monkeypatch.setattr(
        Separator,
        "separate_full_band",
        lambda self, x, _, *rest: separate(self, x, iter((1, 3, 2, 2)), *rest),
    )
    found = separator.set_params(n_sources=None).predict(MIXTURES)
    assert [len(sources) for sources in found] == [1, 3, 2, 2]


def test_what_cannot_be_scored_is_told_before_anything_is_separated(
    separator: DeepClusteringSeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = [make_sources(700, n_sources=n) for n in (2, 3)]
    X = [sources.sum(axis=0) for sources in y]
    assert np.isfinite(separator.set_params(n_sources=3).score(X, y))
    monkeypatch.setattr(Separator, "separate", lambda *_: pytest.fail("was separated"))
    with pytest.raises(ValueError, match=r"y\[1\]: reference\[2\] is silent"):
        separator.score(X, [y[0], y[1] * np.array([[1], [1], [0]])])
    with pytest.raises(
        ValueError, match=r"y\[1\] has 3 sources but 2 were predicted.*n_sources=3"
    ):
        separator.set_params(n_sources=2).score(X, y)


# -- silence, clipping, length --------------------------------------------------------------------


def test_silence_gives_silence(separator: DeepClusteringSeparator) -> None:
    for n_sources in (2, None):
        separator.set_params(n_sources=n_sources)
        with pytest.warns(AudioWarning, match=r"X\[1\] is silent; so are its sources"):
            results = separator.predict([RAGGED[0], np.zeros(500)])
        assert results[1].shape[1] == 500
        assert not results[1].any()
    with pytest.warns(AudioWarning, match="X is silent"):
        assert np.isfinite(separator.transform(np.zeros(500))).all()


def test_warnings_point_at_the_caller(separator: DeepClusteringSeparator) -> None:
    with pytest.warns(AudioWarning, match=r"X\[0\] is silent") as caught:
        separator.predict([np.zeros(500)])
    assert [warning.filename for warning in caught] == [__file__]


def test_clipping_warns(separator: DeepClusteringSeparator) -> None:
    clipped = [MIXTURES[0], np.clip(3 * MIXTURES[1] / np.abs(MIXTURES[1]).max(), -1, 1)]
    with pytest.warns(AudioWarning, match=r"X\[1\] looks clipped: .* % of its samples"):
        separator.predict(clipped)


def test_sound_that_is_not_clipped_does_not_warn(separator: DeepClusteringSeparator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tone = np.sin(np.arange(800) / 5)
        separator.predict([tone, np.sign(tone), np.eye(800)[400]])


def test_one_window_is_enough(separator: DeepClusteringSeparator) -> None:
    assert separator.predict(MIXTURES[:, :64]).shape == (4, 2, 64)


# -- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("input_rate", [16000, 44100, 6000, 8000])
def test_other_rates_come_back_as_they_came(input_rate: int) -> None:
    n_samples = 801 * input_rate // 8000
    y = np.stack([make_sources(n_samples, seed=seed) for seed in range(3)])
    X = y.sum(axis=1)
    separator = make_separator(input_rate=input_rate, max_epochs=1).fit(X, y)
    sources = separator.predict(X)
    assert sources.shape == y.shape
    assert np.isfinite(separator.score(X, y))
    assert np.isfinite(separator.score(list(X), list(y)))
    assert separator.predict(X[0]).shape == y[0].shape
    # What the network's rate can carry comes back in time and in scale.
    slow = np.sin(np.arange(n_samples) * 2 * np.pi * 300 / input_rate)
    restored = separator.predict(slow).sum(axis=0)
    assert np.abs(restored - slow)[200:-200].max() < 0.02


@pytest.mark.parametrize("kind", [np.int16, np.uint8])
def test_sizes_of_small_types_are_numbers_like_others(kind: Any) -> None:
    sizes = {"win_length": kind(128), "hop_length": kind(32)}
    plain = make_separator(win_length=128, hop_length=32).fit(MIXTURES, SOURCES)
    small = make_separator(**sizes).fit(MIXTURES, SOURCES)
    assert_array_equal(small.predict(MIXTURES), plain.predict(MIXTURES))


def test_rates_that_agree_change_nothing(separator: DeepClusteringSeparator) -> None:
    expected = separator.predict(MIXTURES)
    assert_array_equal(separator.set_params(input_rate=8000).predict(MIXTURES), expected)


# -- clusterers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clusterer",
    [KMeans(2, n_init=2), GaussianMixture(2, reg_covar=1e-3), AgglomerativeClustering(2)],
    ids=lambda clusterer: type(clusterer).__name__,
)
def test_clusterers_of_scikit_learn(separator: DeepClusteringSeparator, clusterer: Any) -> None:
    short = MIXTURES[:, :200]
    separator.set_params(clusterer=clusterer)
    before: Any = np.random.get_state()  # noqa: NPY002
    sources = separator.predict(short)
    after: Any = np.random.get_state()  # noqa: NPY002
    assert_array_equal(after[1], before[1])
    assert sources.shape == (4, 2, 200)
    assert_allclose(sources.sum(axis=1), short, atol=1e-5)
    assert_array_equal(separator.predict(short[2]), sources[2])
    assert not hasattr(clusterer, "labels_")
    assert not hasattr(clusterer, "means_")


def test_a_seed_repeats_whatever_clusters(separator: DeepClusteringSeparator) -> None:
    nested = make_pipeline(StandardScaler(), KMeans(2, n_init=1, init="random"))
    separator.set_params(clusterer=nested)
    assert_array_equal(separator.predict(MIXTURES), separator.predict(MIXTURES))
    assert nested[-1].random_state is None


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, r"object of shape \(\)"),
        (["one", "two"], r"<U3 of shape \(2,\)"),
        (np.array([0.5, 1.5]), r"float64 of shape \(2,\)"),
        (np.array([0, 1]), r"int64 of shape \(2,\)"),
    ],
)
def test_clusterers_that_give_no_labels(
    separator: DeepClusteringSeparator, labels: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KMeans, "fit_predict", lambda self, X: labels)
    separator.set_params(clusterer=KMeans(2))
    with pytest.raises(ValueError, match=rf"KMeans\(.* gave {said}, expected an integer for each"):
        separator.predict(MIXTURES)


def test_a_clusterer_that_is_changed_meanwhile_is_not_that_of_a_stream(
    separator: DeepClusteringSeparator,
) -> None:
    separator.set_params(clusterer=KMeans(2, n_init=1))
    mixture = MIXTURES.ravel()
    stream = StreamingSeparator(separator, warm_up=0.1, block=0.05)
    expected = np.concatenate([stream.push(mixture), stream.flush()], axis=1)
    first = stream.push(mixture[:1500])
    separator.set_params(clusterer__n_clusters=3, n_sources=3)
    found = np.concatenate([first, stream.push(mixture[1500:]), stream.flush()], axis=1)
    assert_array_equal(found, expected)


def test_clusterer_may_find_the_number_of_sources(separator: DeepClusteringSeparator) -> None:
    separator.set_params(clusterer=DBSCAN(eps=3.0), n_sources=None)
    assert separator.predict(MIXTURES).shape == (4, 1, 800)
    with pytest.raises(ValueError, match=r"found 1 clusters .* n_sources=2"):
        separator.set_params(n_sources=2).predict(MIXTURES)


def test_clusterer_takes_no_part_in_training() -> None:
    plain = make_separator().fit(MIXTURES, SOURCES, X_val=RAGGED, y_val=RAGGED_SOURCES)
    other = make_separator(clusterer=DBSCAN(eps=3.0)).fit(
        MIXTURES, SOURCES, X_val=RAGGED, y_val=RAGGED_SOURCES
    )
    names = ("loss", "validation_loss", "validation_si_sdr_improvement")
    for name in names:
        assert [row[name] for row in other.history_] == [row[name] for row in plain.history_]


# -- changes after fit ----------------------------------------------------------------------------


def test_window_must_stay_that_of_the_network(separator: DeepClusteringSeparator) -> None:
    separator.set_params(win_length=128)
    with pytest.raises(ValueError, match="win_length=128 but the network was fitted with 64"):
        separator.predict(MIXTURES)


def test_device_may_change_after_fit(separator: DeepClusteringSeparator) -> None:
    expected = separator.predict(MIXTURES)
    assert_array_equal(
        separator.set_params(device=torch.device("cpu")).predict(MIXTURES), expected
    )
    with pytest.raises(ValueError, match="device='cuda:99' cannot be used"):
        separator.set_params(device="cuda:99").predict(MIXTURES)


def test_bfloat16_stays_near(separator: DeepClusteringSeparator) -> None:
    exact = separator.transform(MIXTURES)
    rough = separator.set_params(precision="bfloat16").transform(MIXTURES)
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.1


def test_progress_bar(
    separator: DeepClusteringSeparator, capsys: pytest.CaptureFixture[str]
) -> None:
    separator.predict(RAGGED)
    assert capsys.readouterr().err == ""
    separator.set_params(verbose=1).predict(RAGGED)
    assert "100%" in (shown := capsys.readouterr().err)
    assert "s of audio" in shown


def test_progress_within_a_long_recording(
    separator: DeepClusteringSeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skdc.separation.pipeline._LONGEST_WHOLE_S", 1.0)
    monkeypatch.setattr("skdc.separation.pipeline.STRETCH_S", 0.5)
    monkeypatch.setattr("skdc.separation.pipeline.OVERLAP_S", 0.1)
    seconds: list[float] = []
    pipeline = replace(separator.pipeline(), report=seconds.append)
    mixture = torch.from_numpy(np.random.default_rng(0).standard_normal(24_000)).float()
    next(pipeline.separate([mixture], [2]))
    assert len(seconds) > 5  # as it goes on
    assert sum(seconds) == pytest.approx(3.0, abs=0.01)
    seconds.clear()
    assert len(list(pipeline.embed([mixture, mixture]))) == 2
    assert seconds == pytest.approx([3.0, 3.0], abs=0.01)


def test_score_takes_the_rate_of_one_call(separator: DeepClusteringSeparator) -> None:
    y = [make_sources(1600, seed=seed) for seed in range(2)]
    X = [sources.sum(axis=0) for sources in y]
    score = separator.score(X, y, input_rate=16000)
    assert separator.input_rate is None
    assert score != separator.score(X, y)
    assert score == separator.set_params(input_rate=16000).score(X, y)
    with pytest.raises(ValueError, match="The 'input_rate' parameter of score must be"):
        separator.score(X, y, input_rate=0)
