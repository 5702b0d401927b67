"""Transformers on waveforms, and the separator behind them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import sklearn
import torch
from conftest import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdc import DeepClusteringSeparator
from skdc.audio import AudioFiles
from skdc.compose import TransformedSourcesSeparator
from skdc.metrics import si_sdr, si_sdr_improvement_scorer
from skdc.preprocessing import (
    HighPass,
    NormalizeLevel,
    PreEmphasis,
    RemoveDC,
    ToMono,
    TrimSilence,
    WaveformTransformer,
)
from skdc.signal import active_level

Array = NDArray[Any]

TRANSFORMERS: list[WaveformTransformer] = [
    ToMono(),
    RemoveDC(),
    NormalizeLevel(),
    NormalizeLevel(-3, measure="peak"),
    PreEmphasis(),
    HighPass(),
    TrimSilence(margin_s=0.01),
]
each_transformer = pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)


def bursts(n_sources: int, n_samples: int, seed: int = 0) -> Array:
    """Noise that is silent for a while at both ends."""
    sources = np.random.default_rng(seed).standard_normal((n_sources, n_samples))
    sources[:, : n_samples // 4] = sources[:, -n_samples // 4 :] = 0
    return 0.1 * sources


def ragged(lengths: tuple[int, ...] = (3000, 4001, 2000)) -> tuple[list[Array], list[Array]]:
    y = [bursts(2, n, seed) for seed, n in enumerate(lengths)]
    return [sources.sum(axis=0) for sources in y], y


# scikit-learn's own checks

NOT_A_FEATURE = "the time axis is not a feature axis; lengths may differ between calls"
EXPECTED = {
    "check_n_features_in": NOT_A_FEATURE,
    "check_n_features_in_after_fitting": NOT_A_FEATURE,
    "check_fit1d": "one 1-D recording is one mixture",
    "check_fit2d_predict1d": "one 1-D recording is one mixture",
}


@parametrize_with_checks([NormalizeLevel()], expected_failed_checks=lambda _: EXPECTED)
def test_estimator_checks(estimator: Any, check: Any) -> None:
    check(estimator)


# They share the class that the checks go through with the one above.
@pytest.mark.slow
@parametrize_with_checks(
    [ToMono(), RemoveDC(), PreEmphasis(), HighPass(), TrimSilence()],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_estimator_checks_of_the_other_transformers(estimator: Any, check: Any) -> None:
    check(estimator)


# Containers, types, inputs


@each_transformer
def test_container_in_is_container_out(transformer: WaveformTransformer) -> None:
    X, y = ragged()
    changed = transformer.transform(X)
    assert isinstance(changed, list)
    for one, mixture in zip(changed, X, strict=True):
        single = transformer.transform(mixture)
        assert single.ndim == 1
        np.testing.assert_array_equal(single, one)
        np.testing.assert_array_equal(transformer.transform(mixture[np.newaxis])[0], one)
    as_objects = np.empty(3, dtype=object)
    as_objects[:] = X
    np.testing.assert_array_equal(transformer.transform(as_objects)[1], changed[1])
    sources = transformer.transform_sources(y[0], X[0])
    np.testing.assert_array_equal(sources, transformer.transform_sources(y, X)[0])
    assert isinstance(
        transformer.transform_sources(np.stack([y[0]]), X[0][np.newaxis]), np.ndarray
    )


@each_transformer
def test_sources_go_on_summing_to_their_mixture(transformer: WaveformTransformer) -> None:
    X, y = ragged()
    changed = zip(transformer.transform(X), transformer.transform_sources(y, X), strict=True)
    for mixture, sources in changed:
        np.testing.assert_allclose(sources.sum(axis=0), mixture, atol=1e-12)


@each_transformer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_dtype_and_input(transformer: WaveformTransformer, dtype: type) -> None:
    mixtures, sources = ragged()
    X: list[Array] = [item.astype(dtype) for item in mixtures]
    y: list[Array] = [item.astype(dtype) for item in sources]
    for item in [*X, *y]:
        item.flags.writeable = False
    for changed, item in zip(transformer.transform(X), X, strict=True):
        assert changed.dtype == dtype
        assert not np.shares_memory(changed, item)
        assert changed.flags.writeable
    assert transformer.transform_sources(y, X)[0].dtype == dtype


@each_transformer
@pytest.mark.parametrize(("dtype", "zero"), [(np.int16, 0), (np.int32, 0), (np.uint8, 128)])
def test_scales_integers(transformer: WaveformTransformer, dtype: type, zero: int) -> None:
    half = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    samples = np.round(ragged()[0][0] * half / 2)
    whole = transformer.transform([(samples + zero).astype(dtype)])[0]
    assert whole.dtype == np.float64
    np.testing.assert_allclose(whole, transformer.transform([samples / half])[0], atol=1e-15)


@each_transformer
@pytest.mark.parametrize("n_samples", [1, 2, 100])
def test_short_and_silent_mixtures(transformer: WaveformTransformer, n_samples: int) -> None:
    assert transformer.transform([np.ones(n_samples)])[0].shape == (n_samples,)
    np.testing.assert_array_equal(transformer.transform([np.zeros(n_samples)])[0], 0)


@each_transformer
def test_errors_name_the_item(transformer: WaveformTransformer) -> None:
    X, y = ragged()
    bad = [X[0], np.where(np.arange(4001) == 7, np.nan, X[1]), X[2]]
    with pytest.raises(ValueError, match=r"X\[1\] contains NaN"):
        transformer.fit(bad)
    nothing: Any
    for nothing in ([], AudioFiles([])):
        with pytest.raises(ValueError, match="X is empty; give at least one mixture"):
            transformer.transform(nothing)
    with pytest.raises(ValueError, match=r"X\[0\] is empty"):
        transformer.transform([X[0][:0]])
    with pytest.raises(ValueError, match="y to be passed, but the target y is None"):
        transformer.transform_sources(None, X)
    with pytest.raises(ValueError, match="y has 2 items, but there are 3 mixtures"):
        transformer.transform_sources(y[:2], X)
    with pytest.raises(ValueError, match=r"y\[1\] has shape \(2, 3000\).*4001.*Label maps"):
        transformer.transform_sources([y[0], y[0], y[2]], X)
    with pytest.raises(ValueError, match=r"y\[2\] contains infinity"):
        transformer.transform_sources([y[0], y[1], y[2] + np.inf], X)


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (ToMono(1), "'channel_axis' parameter of ToMono must be"),
        (NormalizeLevel(measure="rms"), "'measure' parameter of NormalizeLevel must be"),
        (NormalizeLevel(sample_rate=0), "'sample_rate' parameter of NormalizeLevel must be"),
        (PreEmphasis(1.0), "'coefficient' parameter of PreEmphasis must be"),
        (HighPass(0), "'cutoff_hz' parameter of HighPass must be"),
        (HighPass(order=0), "'order' parameter of HighPass must be"),
        (NormalizeLevel(1e4), r"'level_db' .* in the range \[-300\.0, 300\.0\]"),
        (NormalizeLevel(-1e4), r"'level_db' .* in the range \[-300\.0, 300\.0\]"),
        (HighPass(order=21), r"'order' .* in the range \[1, 20\]"),
        (HighPass(1e-6), "cutoff_hz=1e-06 is less than a millionth of sample_rate=8000.*RemoveDC"),
        (HighPass(4000), "cutoff_hz=4000 is not below half of sample_rate=8000"),
        (TrimSilence(-40), "'threshold_db' parameter of TrimSilence must be"),
    ],
)
def test_refuses_bad_parameters(transformer: WaveformTransformer, message: str) -> None:
    for method in (transformer.fit, transformer.transform):
        with pytest.raises(ValueError, match=message):
            method(np.ones((2, 300)))


# What each one does


def test_channels_are_averaged_along_the_axis_that_is_told() -> None:
    stereo = np.random.default_rng(0).standard_normal((3, 2, 500))
    mono = stereo.mean(axis=1)
    np.testing.assert_allclose(ToMono().transform(stereo), mono)
    np.testing.assert_allclose(ToMono(-1).transform(stereo.transpose(0, 2, 1)), mono)
    mixed = ToMono().transform([stereo[0], mono[1], stereo[2][:, :99]])
    np.testing.assert_allclose(mixed[1], mono[1])
    np.testing.assert_allclose(mixed[2], mono[2, :99])
    np.testing.assert_allclose(ToMono().transform(torch.from_numpy(stereo)), mono)
    np.testing.assert_allclose(ToMono().transform(list(stereo[:1])), mono[:1])
    np.testing.assert_allclose(ToMono().transform(stereo[:1].tolist()), mono[:1])
    np.testing.assert_allclose(
        ToMono().transform([torch.from_numpy(stereo[0]).requires_grad_()]), mono[:1]
    )
    with pytest.raises(ValueError, match=r"^X\[0\] is not an array of samples: its parts have"):
        ToMono().transform([[[1.0, 2.0], [3.0]]])
    with pytest.raises(ValueError, match=r"X\[1\] has shape \(500, 2\).*set channel_axis=-1"):
        ToMono().transform([stereo[0], stereo[1].T])
    with pytest.raises(ValueError, match=r"X\[0\] has shape \(2, 500\).*set channel_axis=0"):
        ToMono(-1).transform(list(stereo))
    with pytest.raises(ValueError, match=r"X\[0\] has shape \(3, 2, 500\)"):
        ToMono().transform([stereo])


def test_stereo_sources_are_averaged_too() -> None:
    y = np.random.default_rng(0).standard_normal((3, 2, 2, 500))  # (mixture, source, channel, _)
    expected = y.mean(axis=2)
    np.testing.assert_allclose(ToMono().transform_sources(y, y.sum(axis=1)), expected)
    np.testing.assert_allclose(ToMono().transform_sources(expected, y.sum(axis=1)), expected)


def test_integer_channels_are_scaled_before_they_are_mixed() -> None:
    stereo = np.array([[32767, -32768, 0], [32767, -32768, 16384]], dtype=np.int16)
    np.testing.assert_allclose(ToMono().transform([stereo])[0], [1 - 2**-15, -1, 0.25])


def test_mean_is_removed() -> None:
    (mixture, *_), _ = ragged()
    np.testing.assert_allclose(
        RemoveDC().transform([mixture + 3])[0], mixture - mixture.mean(), atol=1e-12
    )


def test_level_is_reached() -> None:
    X, y = ragged()
    for changed in NormalizeLevel(-20).transform([X[0], 1e-6 * X[1], 1e6 * X[2]]):
        assert active_level(changed, 8000) == pytest.approx(0.1)
    changed = NormalizeLevel(-20, measure="peak").transform(X)
    assert [np.abs(item).max() for item in changed] == pytest.approx([0.1] * 3)
    sources = NormalizeLevel().transform_sources(y, X)
    ratio = np.sqrt((y[0] ** 2).sum(axis=1) / (sources[0] ** 2).sum(axis=1))
    assert ratio[0] == pytest.approx(ratio[1])


def test_high_pass_has_the_response_it_documents() -> None:
    time = np.arange(16000) / 8000
    middle = slice(4000, 12000)
    for frequency_hz, gain_db in [(50, -6.02), (500, 0.0), (25, -24.6), (12.5, -48.2)]:
        tone = np.sin(2 * np.pi * frequency_hz * time)
        changed = HighPass().transform(tone)[middle]
        gain = np.sqrt(np.square(changed).mean() / np.square(tone[middle]).mean())
        assert 20 * np.log10(gain) == pytest.approx(gain_db, abs=0.3)
        assert changed @ tone[middle] > 0.99 * np.linalg.norm(changed) * np.linalg.norm(
            tone[middle]
        ), "phase"


def test_only_the_ends_are_trimmed() -> None:
    loud = np.random.default_rng(0).standard_normal(800)
    mixture = np.r_[np.zeros(1600), loud, np.zeros(3200), loud, np.zeros(900)]
    np.testing.assert_array_equal(
        TrimSilence(margin_s=0).transform(mixture), mixture[1600:-900][: 800 + 3200 + 800]
    )
    kept = TrimSilence(margin_s=0.1).transform(mixture)
    np.testing.assert_array_equal(kept, mixture[800 : 1600 + 4800 + 800])
    with_hiss = mixture + 1e-3
    assert len(TrimSilence(40, margin_s=0).transform(with_hiss)) == 4800
    assert len(TrimSilence(80, margin_s=0).transform(with_hiss)) == len(mixture)


@given(
    n_samples=st.integers(1, 500),
    coefficient=st.floats(0, 0.99),
    level_db=st.floats(-60, 20),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25)
def test_inverse_restores(n_samples: int, coefficient: float, level_db: float, seed: int) -> None:
    y = np.random.default_rng(seed).standard_normal((2, 3, n_samples))
    X = y.sum(axis=1)
    for transformer in (
        PreEmphasis(coefficient),
        NormalizeLevel(level_db),
        TrimSilence(margin_s=0.01),
    ):
        changed = transformer.transform(X), transformer.transform_sources(y, X)
        for original, item in zip((X, y), changed, strict=True):
            restored = transformer.inverse_transform(item, X)
            assert isinstance(restored, np.ndarray)
            np.testing.assert_allclose(restored, original, atol=1e-9)


@pytest.mark.parametrize(
    "transformer",
    [
        HighPass(0.008),
        HighPass(0.008, order=20),
        HighPass(3999.9, order=20),
        NormalizeLevel(300),
        NormalizeLevel(-300, measure="peak"),
        TrimSilence(threshold_db=1e9),
        TrimSilence(margin_s=1e308),
        PreEmphasis(1 - 1e-9),
    ],
    ids=repr,
)
def test_extremes_of_parameters(transformer: WaveformTransformer) -> None:
    X, _ = ragged()
    for x, changed in zip(X, transformer.transform(X), strict=True):
        assert np.isfinite(changed).all()
        assert np.ptp(changed) > 0
        assert len(changed) == len(x)


def test_inverse_of_trimming_pads_with_zeros() -> None:
    X, y = ragged()
    trimmer = TrimSilence(margin_s=0)
    for original, restored in zip(
        y, trimmer.inverse_transform(trimmer.transform_sources(y, X), X), strict=True
    ):
        np.testing.assert_allclose(restored, original)


def test_data_frames_are_transformed_there_and_back() -> None:
    X = np.stack([bursts(1, 3000, seed)[0] for seed in range(3)])
    frame: Any = Table(X)
    for transformer in (NormalizeLevel(), PreEmphasis()):
        changed = transformer.transform(frame)
        np.testing.assert_array_equal(changed, transformer.transform(X))
        restored = transformer.inverse_transform(Table(changed), frame)
        np.testing.assert_allclose(restored, X, atol=1e-12)


def test_inverse_refuses_what_does_not_fit() -> None:
    X, _ = ragged()
    with pytest.raises(ValueError, match="X has 2 items, but original has 3"):
        NormalizeLevel().inverse_transform(X[:2], X)
    with pytest.raises(ValueError, match=r"X\[0\] has shape \(3000,\); transform gives 1\d+ samp"):
        TrimSilence(margin_s=0).inverse_transform(X, X)


def test_what_cannot_be_undone_has_no_inverse() -> None:
    for transformer in (ToMono(), RemoveDC(), HighPass()):
        assert not hasattr(transformer, "inverse_transform")


# In front of a separator


class Halving(BaseEstimator):
    """Gives two fixed shares of a mixture as its sources, and remembers what it was fitted on."""

    def __init__(self, share: float = 0.3, output: str = "sources") -> None:
        self.share = share
        self.output = output

    def fit(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> Self:
        self.seen_ = X, y, X_val, y_val
        return self

    def predict(self, X: Any) -> Any:
        shares = np.array([[self.share], [1 - self.share]])
        if isinstance(X, np.ndarray):
            return X[..., np.newaxis, :] * shares
        return [x * shares for x in X]


class Knowing(Halving):
    """Gives the sources it was fitted on."""

    def predict(self, X: Any) -> Any:
        return self.seen_[1]


class CheckAdapter(TransformedSourcesSeparator):
    """Makes reference sources from X: scikit-learn's checks pass labels."""

    def fit(self, X: Any, y: Any = None, **held_out: Any) -> Self:
        return super().fit(X, sources_from(X, y), **held_out)

    def score(self, X: Any, y: Any = None) -> float:
        return super().score(X, sources_from(X, y))


def sources_from(X: Any, y: Any) -> Any:
    if y is None or sparse.issparse(X) or np.iscomplexobj(X):
        return y
    try:
        X = np.asarray(X, dtype=float)
    except (TypeError, ValueError):
        return y
    return X[..., np.newaxis, :] * np.array([[0.25], [0.75]])


@parametrize_with_checks(
    [CheckAdapter(Halving(), make_pipeline(NormalizeLevel(), PreEmphasis()))],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_estimator_checks_of_the_wrapper(estimator: Any, check: Any) -> None:
    check(estimator)


CHAIN = make_pipeline(RemoveDC(), NormalizeLevel(), TrimSilence(), PreEmphasis())


def test_separator_is_fitted_on_transformed_sources() -> None:
    X, y = ragged()
    model = TransformedSourcesSeparator(Halving(), make_pipeline(TrimSilence(), HighPass()))
    model.fit(X, y, X_val=X[:1], y_val=y[:1])
    mixtures, sources, X_val, y_val = model.separator_.seen_
    for mixture, refs in zip(mixtures, sources, strict=True):
        assert refs.shape == (2, len(mixture))
        np.testing.assert_allclose(refs.sum(axis=0), mixture, atol=1e-12)
    np.testing.assert_array_equal(X_val[0], mixtures[0])
    np.testing.assert_array_equal(y_val[0], sources[0])
    assert not hasattr(model.separator, "seen_")


def test_predicted_sources_sum_to_what_was_put_in() -> None:
    X, y = ragged()
    levels = [1e-3, 1.0, 100.0]
    X, y = ([g * item for g, item in zip(levels, items, strict=True)] for items in (X, y))
    chain = make_pipeline(NormalizeLevel(), TrimSilence(margin_s=0), PreEmphasis())
    model = TransformedSourcesSeparator(Halving(), chain).fit(X, y)
    for sources, mixture in zip(model.predict(X), X, strict=True):
        np.testing.assert_allclose(sources.sum(axis=0), mixture, atol=1e-9)
    single = model.predict(X[1])
    np.testing.assert_array_equal(single, model.predict(X)[1])
    assert model.predict(np.stack([X[0], X[0][::-1]])).shape == (2, 2, 3000)


@pytest.mark.parametrize("transformer", [None, *TRANSFORMERS, CHAIN], ids=repr)
def test_perfect_sources_have_a_perfect_score(transformer: Any) -> None:
    X, y = ragged()
    model = TransformedSourcesSeparator(Knowing(), transformer).fit(X, y)
    assert model.score(X, y) > 90


def test_score_is_that_of_predict() -> None:
    X, y = ragged()
    model = TransformedSourcesSeparator(Halving(), clone(CHAIN).set_params(removedc="passthrough"))
    model.fit(X, y)
    assert model.score(X, y) == pytest.approx(si_sdr_improvement_scorer(model, X, y))
    single = TransformedSourcesSeparator(Halving(), PreEmphasis()).fit(X[0], y[0])
    assert single.score(X[0], y[0]) == pytest.approx(single.score(X[:1], y[:1]))


def test_score_leaves_out_what_was_taken_away() -> None:
    X, y = ragged()
    hum = np.sin(2 * np.pi * 10 * np.arange(5000) / 8000)
    y = [sources + hum[: sources.shape[1]] for sources in y]
    X = [sources.sum(axis=0) for sources in y]
    model = TransformedSourcesSeparator(Knowing(), HighPass(order=4)).fit(X, y)
    assert model.score(X, y) > 90
    assert si_sdr(y[0], model.predict(X)[0]).max() < 0


def test_stereo_in_front() -> None:
    y = np.stack([bursts(2, 2000, seed) for seed in range(3)])
    X = np.stack([y.sum(axis=1), 0.5 * y.sum(axis=1)], axis=1)  # (mixtures, channels, samples)
    model = TransformedSourcesSeparator(Knowing(), make_pipeline(ToMono(), NormalizeLevel()))
    assert model.fit(X, y).score(X, y) > 90
    np.testing.assert_allclose(
        TransformedSourcesSeparator(Halving(), ToMono()).fit(X, y).predict(X).sum(axis=1),
        X.mean(axis=1),
    )


def test_grid_search_reaches_both_parts() -> None:
    X, y = ragged((1500, 1700, 1600, 1800))
    model = TransformedSourcesSeparator(
        Halving(), Pipeline([("level", NormalizeLevel()), ("emphasis", PreEmphasis())])
    )
    search = GridSearchCV(
        model,
        {
            "separator__share": [0.3, 0.9],
            "transformer__emphasis__coefficient": [0.5, 0.9],
            "transformer__level": ["passthrough", NormalizeLevel()],
        },
        cv=2,
        error_score="raise",
    )
    search.fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    np.testing.assert_allclose(search.predict(X)[2].sum(axis=0), X[2], atol=1e-9)
    assert cross_val_score(model, X, y, cv=2, scoring=si_sdr_improvement_scorer).shape == (2,)
    assert len(search.best_estimator_.separator_.seen_[0]) == 4


def test_fitted_separator_is_used_as_it_is() -> None:
    X, y = ragged()
    model = TransformedSourcesSeparator(Halving(), NormalizeLevel())
    with pytest.raises(NotFittedError, match="TransformedSourcesSeparator instance is not fitted"):
        model.predict(X)
    fitted = Halving(0.4).fit(X, y)
    model = TransformedSourcesSeparator(fitted, NormalizeLevel())
    np.testing.assert_allclose(model.predict(X)[0][0], 0.4 * X[0])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        clone(model).predict(X)
    frozen = clone(TransformedSourcesSeparator(FrozenEstimator(fitted), NormalizeLevel()))
    np.testing.assert_allclose(frozen.fit(X, y).predict(X)[0][0], 0.4 * X[0])
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict(X)[0], model.predict(X)[0])


class Learning(NormalizeLevel):
    """Learns a level from the mixtures it is fitted on."""

    def fit(self, X: Any, y: Any = None) -> Self:
        assert [len(sources) for sources in y] == [2] * len(X)
        self.gain_ = 1 / max(np.abs(x).max() for x in X)
        return self

    def _gain(self, mixture: Array) -> float:
        return float(self.gain_)


@pytest.mark.parametrize(
    "transformer", [Learning(), make_pipeline(Learning(), TrimSilence())], ids=repr
)
def test_transformer_is_fitted_on_a_clone_that_nobody_changes(transformer: Any) -> None:
    X, y = ragged()
    model = TransformedSourcesSeparator(Knowing(), transformer).fit(X, y, X_val=X[:1], y_val=y[:1])
    steps = [step for _, step in getattr(transformer, "steps", [("", transformer)])]
    assert not any(hasattr(step, "gain_") for step in steps)
    expected = model.predict(X)
    for sources, references in zip(expected, y, strict=True):
        np.testing.assert_allclose(sources, references, atol=1e-12)
    score = model.score(X, y)
    model.set_params(transformer=None)
    np.testing.assert_equal(model.predict(X), expected)
    assert model.score(X, y) == score
    assert isinstance(model.transformer_, type(transformer))
    assert model.fit(X, y).transformer_ is None
    # A fit that fails leaves what was, together.
    model.set_params(transformer=FunctionTransformer())
    with pytest.raises(TypeError, match="no transform_sources"):
        model.fit(X, y)
    assert model.transformer_ is None


def test_parameters_of_the_transformer_count_from_the_next_fit() -> None:
    X, y = ragged()
    level = NormalizeLevel(0.0, measure="peak")
    model = TransformedSourcesSeparator(Knowing(), level).fit(X, y)
    expected = model.predict(X)
    model.set_params(transformer__level_db=-20.0)
    np.testing.assert_equal(model.predict(X), expected)
    assert model.transformer_.level_db == 0.0
    assert model.fit(X, y).transformer_.level_db == -20.0


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ({"X_val": 1}, "X_val was passed, but y_val is None; give both"),
        ({"y_val": 1}, "y_val was passed, but X_val is None; give both"),
    ],
)
def test_held_out_mixtures_come_with_sources(held_out: dict[str, int], message: str) -> None:
    X, y = ragged()
    items = {"X_val": X, "y_val": y}
    chosen: Any = {name: items[name] for name in held_out}
    with pytest.raises(ValueError, match=message):
        TransformedSourcesSeparator(Halving(), HighPass()).fit(X, y, **chosen)


def test_refuses_what_would_be_wrong() -> None:
    X, y = ragged()
    with pytest.raises(TypeError, match="FunctionTransformer has no transform_sources"):
        TransformedSourcesSeparator(Halving(), FunctionTransformer()).fit(X, y)
    with pytest.raises(ValueError, match="the separator has output='masks'"):
        TransformedSourcesSeparator(Halving(output="masks"), HighPass()).fit(X, y)
    with pytest.raises(ValueError, match="'separator' parameter of TransformedSourcesSeparator"):
        TransformedSourcesSeparator(HighPass()).fit(X, y)
    wrapped = make_pipeline(NormalizeLevel(), Halving(output="masks"))
    with pytest.raises(ValueError, match="the separator has output='masks'"):
        TransformedSourcesSeparator(wrapped, HighPass()).fit(X, y)
    with pytest.raises(TypeError, match=r"transformer=HighPass is a class; .* HighPass\(\)"):
        TransformedSourcesSeparator(Halving(), HighPass).fit(X, y)
    model = TransformedSourcesSeparator(Halving(), HighPass()).fit(X, y)
    with pytest.raises(ValueError, match=r"y\[0\] has shape \(30, 129\).*Label maps"):
        model.fit(X, [np.zeros((30, 129), dtype=int)] * 3)


@pytest.mark.parametrize(
    ("transformer", "same"),
    [
        ("passthrough", None),
        (
            make_pipeline(NormalizeLevel(), make_pipeline(PreEmphasis())),
            make_pipeline(NormalizeLevel(), PreEmphasis()),
        ),
    ],
)
def test_steps_may_be_pipelines_and_nothing(transformer: Any, same: Any) -> None:
    X, y = ragged()
    found, expected = (
        TransformedSourcesSeparator(Halving(), each).fit(X, y).predict(X)
        for each in (transformer, same)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_keywords_of_fit_can_be_routed() -> None:
    model = TransformedSourcesSeparator(Halving())
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(time_limit=True, checkpoint=True)
    assert model.get_metadata_routing().fit.requests["time_limit"] is True


def test_with_the_separator_itself() -> None:
    sources = [bursts(2, 3000, seed) for seed in range(4)]
    mixtures = [item.sum(axis=0) for item in sources]
    separator = DeepClusteringSeparator(
        embedding_dim=3, hidden_size=4, n_layers=1, max_epochs=1, random_state=0, device="cpu"
    )
    chain = make_pipeline(NormalizeLevel(), TrimSilence(), PreEmphasis())
    model = TransformedSourcesSeparator(separator, chain)
    search = GridSearchCV(model, {"separator__embedding_dim": [2, 3]}, cv=2, error_score="raise")
    predicted = search.fit(mixtures, sources).predict(mixtures)
    assert isinstance(predicted, list)
    for estimate, mixture in zip(predicted, mixtures, strict=True):
        np.testing.assert_allclose(estimate.sum(axis=0), mixture, atol=1e-4)

    plain = make_pipeline(ToMono(), NormalizeLevel(), separator).fit(mixtures, sources)
    levelled = NormalizeLevel().transform(mixtures)
    np.testing.assert_allclose(plain.predict(mixtures)[0].sum(axis=0), levelled[0], atol=1e-5)
    score = plain.score(mixtures, sources)
    assert score == pytest.approx(plain[-1].score(mixtures, sources), abs=1e-3)


def test_the_guide_runs() -> None:
    text = (Path(__file__).parent.parent / "docs" / "preprocessing.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    search = names["search"]
    assert [p["embedding_dim"] for p in search.cv_results_["params"]] == [3, 5]
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
