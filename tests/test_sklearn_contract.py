"""The separator among scikit-learn's tools: its estimator checks, searches, curves, pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdc import DeepClusteringSeparator, metrics

Pairs = tuple[Any, Any]

TINY: dict[str, Any] = {
    "embedding_dim": 3,
    "hidden_size": 4,
    "n_layers": 1,
    "batch_size": 2,
    "max_epochs": 1,
    "device": "cpu",
    "precision": "float32",
}


# -- scikit-learn's own checks --------------------------------------------------------------------


def with_sources(X: Any, y: Any) -> Pairs:
    """Make references for rows of numbers; hand on anything else, for the estimator to refuse."""
    if y is None or sparse.issparse(X):
        return X, y
    try:
        rows = np.asarray(X)
        rows = rows.astype(float) if rows.dtype == object else rows
    except (TypeError, ValueError):
        return X, y
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        return X, y
    # Rows of zeros, which the checks make by rounding, are silent mixtures: not to be trained on.
    rows = rows[rows.any(axis=1)] if rows.any() else rows
    return rows, np.stack([0.25 * rows, 0.75 * rows], axis=1)


class WaveformCheckAdapter(DeepClusteringSeparator):
    """The separator with class labels, which the checks pass as `y`, replaced by sources."""

    def fit(self, X: Any, y: Any) -> WaveformCheckAdapter:  # type: ignore[override]
        return super().fit(*with_sources(X, y))

    def partial_fit(self, X: Any, y: Any) -> WaveformCheckAdapter:
        return super().partial_fit(*with_sources(X, y))

    def score(self, X: Any, y: Any) -> float:  # type: ignore[override]
        return super().score(*with_sources(X, y))


NO_FEATURES = "the time axis is no feature axis: fit and predict may differ in length"
EXPECTED_FAILURES = {
    "check_n_features_in": NO_FEATURES,
    "check_n_features_in_after_fitting": NO_FEATURES,
    "check_transformer_general": NO_FEATURES,
    "check_fit2d_1feature": "one sample is shorter than a window, which the message calls by name",
    "check_fit2d_predict1d": "a one-dimensional recording is taken as one mixture",
}


# The xfail_strict of the configuration turns an expected failure that passes into an error.
@parametrize_with_checks(
    [WaveformCheckAdapter(win_length=2, hop_length=1, segment_frames=4, **TINY)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


# -- searches, curves, pipelines ------------------------------------------------------------------


def small(**parameters: Any) -> DeepClusteringSeparator:
    settings = TINY | {"win_length": 64, "hop_length": 16, "segment_frames": 20, "random_state": 0}
    return DeepClusteringSeparator(**(settings | parameters))


def make_array(n_mixtures: int = 8) -> Pairs:
    sources = np.random.default_rng(0).standard_normal((n_mixtures, 2, 640))
    sources[:, 0] = np.cumsum(sources[:, 0], axis=-1) / 10
    return sources.sum(axis=1), sources


def make_ragged(n_mixtures: int = 8) -> Pairs:
    X, y = make_array(n_mixtures)
    lengths = [500 + 20 * i for i in range(n_mixtures)]
    return (
        [x[:n] for x, n in zip(X, lengths, strict=True)],
        [s[:, :n] for s, n in zip(y, lengths, strict=True)],
    )


@pytest.fixture(params=[make_array, make_ragged], ids=["array", "ragged"])
def pairs(request: pytest.FixtureRequest) -> Pairs:
    made: Pairs = request.param()
    return made


def test_cross_validation(pairs: Pairs) -> None:
    scores = cross_val_score(small(), *pairs, cv=2, error_score="raise")
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def test_cross_validation_with_the_scorers_of_skdc(pairs: Pairs) -> None:
    result = cross_validate(
        small(),
        *pairs,
        cv=2,
        error_score="raise",
        scoring={
            "si_sdr": metrics.si_sdr_improvement_scorer,
            "sdr": metrics.sdr_improvement_scorer,
        },
    )
    expected = cross_val_score(small(), *pairs, cv=2)
    np.testing.assert_allclose(result["test_si_sdr"], expected, atol=1e-3)
    assert np.isfinite(result["test_sdr"]).all()


def test_cross_val_predict_on_an_array() -> None:
    X, y = make_array()
    assert cross_val_predict(small(), X, y, cv=2).shape == y.shape


def test_grid_search(pairs: Pairs) -> None:
    grid = {"embedding_dim": [2, 5], "mask": ["binary", "soft"]}
    search = GridSearchCV(small(), grid, cv=2, error_score="raise").fit(*pairs)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 4
    best = small(**search.best_params_)
    assert cross_val_score(best, *pairs, cv=2).mean() == pytest.approx(max(scores), abs=1e-3)
    assert len(search.predict(pairs[0])) == len(pairs[0])


@pytest.mark.parametrize("resource", ["n_samples", "max_epochs"])
def test_halving_search(pairs: Pairs, resource: str) -> None:
    amounts = {"n_samples": (4, 8), "max_epochs": (1, 2)}[resource]
    search = HalvingGridSearchCV(
        small(),
        {"embedding_dim": [2, 3]},
        resource=resource,
        min_resources=amounts[0],
        max_resources=amounts[1],
        factor=2,
        cv=KFold(2),
        error_score="raise",
        random_state=0,
    ).fit(*pairs)
    assert search.n_resources_ == list(amounts)


def test_learning_curve(pairs: Pairs) -> None:
    sizes, train, test = learning_curve(
        small(), *pairs, train_sizes=[2, 4], cv=2, error_score="raise"
    )
    assert sizes.tolist() == [2, 4]
    assert np.isfinite([train, test]).all()


def rounded(X: Any) -> Any:
    return [np.round(x, 3) for x in X] if isinstance(X, list) else np.round(X, 3)


def test_pipeline(pairs: Pairs) -> None:
    X, y = pairs
    pipeline = make_pipeline(FunctionTransformer(rounded), small()).fit(X, y)
    assert len(pipeline.predict(X)) == len(X)
    assert np.isfinite(pipeline.score(X, y))
    grid = {"deepclusteringseparator__embedding_dim": [2, 3]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.best_score_)


def test_train_test_split(pairs: Pairs) -> None:
    X_train, X_test, y_train, y_test = train_test_split(*pairs, test_size=0.25, random_state=0)
    assert np.isfinite(small().fit(X_train, y_train).score(X_test, y_test))


def test_clone_keeps_parameters_and_forgets_the_fit() -> None:
    separator = small(clusterer=KMeans(2)).fit(*make_array(2))
    copied = clone(separator)
    assert not hasattr(copied, "network_")
    assert repr(copied.get_params()) == repr(separator.get_params())
    assert copied.clusterer is not separator.clusterer


def test_nested_parameters_of_the_clusterer() -> None:
    separator = small(clusterer=KMeans(2)).set_params(clusterer__n_clusters=3)
    assert separator.get_params()["clusterer__n_clusters"] == 3


@pytest.mark.parametrize("wrong", ["bogus", "bogus__deep", "clusterer__bogus"])
def test_nothing_is_set_beside_what_is_no_parameter(wrong: str) -> None:
    separator = small(clusterer=KMeans(2))
    before = repr(separator.get_params())
    with pytest.raises(ValueError, match="Invalid parameter 'bogus' for estimator"):
        separator.set_params(n_sources=3, clusterer__n_init=4, **{wrong: 1})
    assert repr(separator.get_params()) == before


def test_representations() -> None:
    separator = small()
    assert "hidden_size=4" in repr(separator)
    assert "DeepClusteringSeparator" in separator._repr_html_()


def test_transform_is_a_step_to_other_estimators() -> None:
    X, y = make_array(2)
    embeddings: NDArray[np.float32] = small().fit_transform(X, y)
    assert_array_equal(embeddings, small().fit(X, y).transform(X))
    assert KMeans(2, n_init=1).fit_predict(embeddings[0].reshape(-1, 3)).shape == (41 * 33,)
