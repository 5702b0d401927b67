"""What docs/scikit-learn.md says, beyond tests/test_sklearn_contract.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    validation_curve,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from test_sklearn_contract import make_array, make_ragged, small

from skdc import make_mixtures
from skdc.compose import TransformedSourcesSeparator
from skdc.datasets import load_sample_clips
from skdc.training.checkpoint import RunFile

Pairs = tuple[Any, Any]


@pytest.fixture(params=[make_array, make_ragged], ids=["array", "ragged"])
def pairs(request: pytest.FixtureRequest) -> Pairs:
    made: Pairs = request.param()
    return made


def check_same_best(search: Any, X: Any, y: Any) -> None:
    alone = search.set_params(n_jobs=1).fit(X, y)
    scores, best = alone.cv_results_["mean_test_score"], alone.best_params_
    shared = search.set_params(n_jobs=2).fit(X, y)
    assert shared.best_params_ == best
    # Processes have fewer threads, which may round another way.
    assert_allclose(shared.cv_results_["mean_test_score"], scores, atol=0.05)


def test_one_and_two_processes_choose_the_same(pairs: Pairs) -> None:
    grid = {"embedding_dim": [2, 3], "mask": ["binary", "soft"]}
    check_same_best(GridSearchCV(small(), grid, cv=2, error_score="raise"), *pairs)


@pytest.mark.slow
@pytest.mark.parametrize("is_ragged", [False, True])
def test_one_and_two_processes_choose_the_same_for_speech(is_ragged: bool) -> None:
    clips = load_sample_clips()
    X: Any
    y: Any
    X, y = make_mixtures(
        [clip.waveform for clip in clips],
        [clip.speaker for clip in clips],
        n_mixtures=12,
        n_samples=12000,
        random_state=0,
    )
    if is_ragged:
        X = [x[: 12000 - 500 * i] for i, x in enumerate(X)]
        y = [s[:, : 12000 - 500 * i] for i, s in enumerate(y)]
    separator = small(win_length=256, hop_length=128, hidden_size=20, segment_frames=100)
    separator.set_params(max_epochs=3, batch_size=4)
    grid = {"embedding_dim": [5, 10, 20, 40]}
    check_same_best(GridSearchCV(separator, grid, cv=2, error_score="raise"), X, y)


def test_random_searches(pairs: Pairs) -> None:
    space = {"embedding_dim": [2, 3, 4]}
    options = {"cv": KFold(2), "error_score": "raise", "random_state": 0}
    search = RandomizedSearchCV(small(), space, n_iter=2, **options).fit(*pairs)
    assert len(search.cv_results_["params"]) == 2
    halving = HalvingRandomSearchCV(small(), space, n_candidates=2, factor=2, **options)
    halving.set_params(min_resources=4, max_resources=8)
    assert np.isfinite(halving.fit(*pairs).best_score_)


def test_validation_curve(pairs: Pairs) -> None:
    train, test = validation_curve(
        small(), *pairs, param_name="max_epochs", param_range=[1, 2], cv=2, error_score="raise"
    )
    assert train.shape == test.shape == (2, 2)
    assert np.isfinite([train, test]).all()


def test_shuffled_splits(pairs: Pairs) -> None:
    cv = ShuffleSplit(2, test_size=0.25, random_state=0)
    assert np.isfinite(cross_val_score(small(), *pairs, cv=cv, error_score="raise")).all()


def test_frozen(pairs: Pairs) -> None:
    X, y = pairs
    separator = small().fit(X, y)
    frozen = FrozenEstimator(separator).fit(X[:1], y[:1])
    for found, expected in zip(frozen.predict(X), separator.predict(X), strict=True):
        assert_array_equal(found, expected)
    assert frozen.score(X, y) == separator.score(X, y)


def test_joblib(pairs: Pairs, tmp_path: Path) -> None:
    X, y = pairs
    separator = small().fit(X, y)
    joblib.dump(separator, tmp_path / "separator.joblib")
    loaded = joblib.load(tmp_path / "separator.joblib")
    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(loaded.predict)(x) for x in X[:4])
    for found, expected in zip(parts, separator.predict(X)[:4], strict=True):
        assert_allclose(found, expected, atol=1e-4)


def test_keywords_of_fit_go_through(tmp_path: Path) -> None:
    X, y = make_array()
    path = tmp_path / "run.safetensors"
    pipeline = Pipeline([("level", FunctionTransformer()), ("separator", small(max_epochs=9))])
    run = {"separator__checkpoint": path, "separator__time_limit": 1e-9}
    assert pipeline.fit(X, y, **run).named_steps["separator"].n_iter_ == 1
    assert RunFile.read(path).counters["step"] == 1
    wrapped = TransformedSourcesSeparator(small(max_epochs=9))
    wrapped.fit(X, y, X_val=X[:2], y_val=y[:2], time_limit=1e-9)
    assert wrapped.separator_.n_iter_ == 1
    search = GridSearchCV(small(max_epochs=99), {"embedding_dim": [2, 3]}, cv=2)
    assert search.fit(X, y, time_limit=1e-9).best_estimator_.n_iter_ == 1


# What the page lists as not working, with the reason.


@pytest.mark.parametrize(
    "meta",
    [
        BaggingRegressor(small(), n_estimators=2),
        TransformedTargetRegressor(small()),
        MultiOutputRegressor(small()),
        VotingRegressor([("a", small())]),
        StackingRegressor([("a", small())]),
        CalibratedClassifierCV(small()),
    ],
    ids=lambda meta: type(meta).__name__,
)
def test_tables_of_targets_only(meta: Any, pairs: Pairs) -> None:
    message = r"Found array with dim 3, while dim <= 2 is|inhomogeneous shape|object implementing"
    with pytest.raises(ValueError, match=message):
        meta.fit(*pairs)


def test_cross_val_predict_needs_one_length() -> None:
    with pytest.raises(ValueError, match=r"dimension|inhomogeneous|shape"):
        cross_val_predict(small(), *make_ragged(), cv=2)


def test_sources_are_no_classes(pairs: Pairs) -> None:
    with pytest.raises(ValueError, match=r"[Ss]upported target types|unknown|dim"):
        cross_val_score(small(), *pairs, cv=StratifiedKFold(2), error_score="raise")


def test_every_name_of_the_page_is_tested() -> None:
    root = Path(__file__).parent
    page = (root.parent / "docs" / "scikit-learn.md").read_text("utf-8")
    names = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", page, re.MULTILINE)))
    files = "test_meta_estimators.py", "test_sklearn_contract.py"
    tests = "".join((root / name).read_text("utf-8") for name in files)
    assert len(names) > 20
    assert [name for name in names if not re.search(rf"\b{name}\b", tests)] == []
