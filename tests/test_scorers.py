"""The scorers for model selection, on estimators whose predictions are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Table, make_separator, make_sources
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import cross_val_score

from skdc.metrics import (
    sdr_improvement,
    sdr_improvement_scorer,
    si_sdr_improvement,
    si_sdr_improvement_scorer,
)

Array = NDArray[np.float64]


def noise(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


class Fixed:
    """An estimator whose predictions are known."""

    def __init__(self, predictions: Any) -> None:
        self.predictions = predictions

    def predict(self, X: Any) -> Any:
        return self.predictions


class TestScorers:
    def test_mean_over_all_sources_of_ragged_mixtures(self) -> None:
        y = [noise(0, 2, 3000), noise(1, 3, 2500)]
        X = [reference.sum(axis=0) for reference in y]
        estimates = [s[::-1] + 0.1 * noise(2, *s.shape) for s in y]
        triples = list(zip(y, estimates, X, strict=True))
        for scorer, improvement in (
            (si_sdr_improvement_scorer, si_sdr_improvement),
            (sdr_improvement_scorer, sdr_improvement),
        ):
            score = scorer(Fixed(estimates), X, y)
            each = np.concatenate([improvement(*triple) for triple in triples])
            assert isinstance(score, float)
            assert each.shape == (5,)
            assert score == pytest.approx(each.mean())

    def test_array_equals_list(self) -> None:
        y = noise(0, 3, 2, 500)
        X, estimates = y.sum(axis=1), y + 0.5 * noise(1, 3, 2, 500)
        as_lists = si_sdr_improvement_scorer(Fixed(list(estimates)), list(X), list(y))
        assert si_sdr_improvement_scorer(Fixed(estimates), X, y) == pytest.approx(as_lists)

    def test_works_as_scoring_in_cross_validation(self) -> None:
        class Unprocessed(BaseEstimator):
            def fit(self, X: Array, y: Array) -> Unprocessed:
                return self

            def predict(self, X: Array) -> Array:
                return np.stack([X, X], axis=1)

        y = noise(0, 6, 2, 300)
        scores = cross_val_score(
            Unprocessed(), y.sum(axis=1), y, scoring=si_sdr_improvement_scorer, cv=3
        )
        np.testing.assert_allclose(scores, 0, atol=1e-8)

    @pytest.mark.parametrize("scorer", [si_sdr_improvement_scorer, sdr_improvement_scorer])
    def test_takes_what_fit_and_predict_take(self, scorer: Any) -> None:
        y = np.stack([make_sources(800, seed=seed) for seed in range(6)])
        X = y.sum(axis=1)
        separator = make_separator(random_state=0)
        expected = cross_val_score(separator, X, y, scoring=scorer, cv=3)
        frame = Table(X)
        np.testing.assert_array_equal(
            cross_val_score(separator, frame, y, scoring=scorer, cv=3), expected
        )
        fitted = separator.fit(frame, y)
        assert scorer(fitted, frame, list(y)) == scorer(fitted, X, y)
        rows: Any = [[float(sample) for sample in mixture] for mixture in X]
        assert scorer(fitted, rows, y) == pytest.approx(scorer(fitted, X, y))
        one = scorer(fitted, X[:1], y[:1])
        for single in (X[0], list(X[0])):
            for reference in (y[0], list(y[0]), y[:1]):
                assert scorer(fitted, single, reference) == pytest.approx(one)
        columns = np.empty(6, dtype=object)
        columns[:] = list(X)
        assert scorer(fitted, columns, y) == pytest.approx(scorer(fitted, X, y))

    def test_errors_name_the_mixture(self) -> None:
        y = list(noise(0, 3, 2, 100))
        X = [reference.sum(axis=0) for reference in y]
        with pytest.raises(ValueError, match=r"got 3 mixtures in X, 2 sets .* and 3 predictions"):
            si_sdr_improvement_scorer(Fixed(y), X, y[:2])
        with pytest.raises(ValueError, match="got 0 mixtures"):
            si_sdr_improvement_scorer(Fixed([]), [], [])
        with pytest.raises(ValueError, match=r"y\[2\] has 99 samples but X\[2\] has 100"):
            si_sdr_improvement_scorer(Fixed(y), X, [*y[:2], y[2][:, :99]])
        with pytest.raises(ValueError, match=r"predict\(X\)\[1\] has 1 signals but y\[1\] has 2"):
            sdr_improvement_scorer(Fixed([y[0], y[1][:1], y[2]]), X, y)
        silent = [y[0], np.stack([y[1][0], np.zeros(100)]), y[2]]
        with pytest.raises(ValueError, match=r"y\[1\]\[1\] is silent"):
            sdr_improvement_scorer(Fixed(y), X, silent)

    def test_needs_nothing_but_predict(self) -> None:
        y = noise(0, 2, 2, 200)
        estimator = SimpleNamespace(predict=lambda X: y)
        assert si_sdr_improvement_scorer(estimator, y.sum(axis=1), y) > 90
