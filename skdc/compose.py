"""A separator behind transformers, the counterpart of `sklearn.compose` for sources."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import check_is_fitted

from skdc.inputs import Waveforms, as_items, as_reference_items
from skdc.metrics import si_sdr_improvement_scorer

__all__ = ["TransformedSourcesSeparator"]


class TransformedSourcesSeparator(MetaEstimatorMixin, BaseEstimator):
    """A separator behind transformers, with references that go through them too.

    What `sklearn.compose.TransformedTargetRegressor` is for targets, for sources: `fit` transforms
    mixtures and their reference sources alike, and `predict` undoes on the sources what can be
    undone. They have the length of the mixtures that were passed in and sum to them, but for what
    `ToMono`, `RemoveDC`, `HighPass` and `TrimSilence` take away.

    Parameters
    ----------
    separator : estimator
        Like `skdc.DeepClusteringSeparator`, with ``output="sources"``. `fit` trains a clone. One
        that is fitted already, such as a pretrained one, is used as it is until then.
    transformer : transformer of `skdc.preprocessing`, Pipeline of them, or None, default=None
        What mixtures go through first; ``"passthrough"`` is None.

    Attributes
    ----------
    separator_ : estimator
        The clone that `fit` trained.
    transformer_ : transformer or None
        The clone that `fit` fitted; later changes of `transformer` leave it as it is.

    See Also
    --------
    sklearn.pipeline.Pipeline : Enough where y needs no change.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skdc import DeepClusteringSeparator
    >>> from skdc.compose import TransformedSourcesSeparator
    >>> from skdc.preprocessing import NormalizeLevel, PreEmphasis
    >>> y = np.random.default_rng(0).standard_normal((4, 2, 4000)) * np.hanning(400).repeat(10)
    >>> X = y.sum(axis=1)
    >>> separator = DeepClusteringSeparator(
    ...     embedding_dim=5, hidden_size=8, max_epochs=1, random_state=0
    ... )
    >>> model = TransformedSourcesSeparator(
    ...     separator, make_pipeline(NormalizeLevel(), PreEmphasis())
    ... )
    >>> sources = model.fit(X, y).predict(X)
    >>> np.allclose(sources.sum(axis=1), X, atol=1e-3)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "separator": [HasMethods(["fit", "predict"])],
        "transformer": [HasMethods(["transform"]), StrOptions({"passthrough"}), None],
    }

    def __init__(self, separator: Any, transformer: Any = None) -> None:
        self.separator = separator
        self.transformer = transformer

    def fit(
        self,
        X: Waveforms,
        y: Any,
        *,
        X_val: Waveforms | None = None,
        y_val: Any = None,
        checkpoint: Any = None,
        time_limit: float | None = None,
        **fit_params: Any,
    ) -> Self:
        """Train the separator on transformed mixtures and sources.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.
        y : array of shape (n_mixtures, n_sources, n_samples) or list of (n_sources, n_samples_i)
            Reference sources. Label maps need no wrapper: fit a Pipeline with them.
        X_val, y_val : optional
            Mixtures and references for the separator's own `X_val` and `y_val`.
        checkpoint : path-like, optional
        time_limit : float, optional
            As for the separator's `fit`.
        **fit_params
            Other keywords of the separator's `fit`, such as ``STEP__checkpoint`` where it is the
            step of a Pipeline.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If an item is unusable, naming it; if one of `X_val` and `y_val` is missing, a step of
            `transformer` cannot bring sources along, or the separator gives no sources.
        """
        separator = clone(self._checked(self.separator))
        if (X_val is None) != (y_val is None):
            given, missing = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
            raise ValueError(f"{given} was passed, but {missing} is None; give both, or neither")
        # Like the separator, steps that are the caller's own stay as they are.
        transformer = clone(self.transformer, safe=False)
        mixtures, sources = X, y
        for step in _steps(transformer):
            if hasattr(step, "fit"):
                step.fit(mixtures, sources)
            sources = step.transform_sources(sources, mixtures)
            mixtures = step.transform(mixtures)
        if X_val is not None:
            stages = _stages(transformer, X_val)
            held_out = _transform_sources(transformer, y_val, stages)
            fit_params |= {"X_val": stages[-1], "y_val": held_out}
        own = {"checkpoint": checkpoint, "time_limit": time_limit}
        fit_params |= {name: value for name, value in own.items() if value is not None}
        self.separator_ = separator.fit(mixtures, sources, **fit_params)
        self.transformer_ = transformer
        return self

    def predict(self, X: Waveforms) -> Any:
        """Separate mixtures.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.

        Returns
        -------
        array of shape (n_mixtures, n_sources, n_samples), or list, or one
            Sources, at the level and of the length of their mixture.
        """
        separator, transformer = self._fitted()
        stages = _stages(transformer, X)
        return _undo(transformer, separator.predict(stages[-1]), stages)

    def score(self, X: Waveforms, y: Any) -> float:
        """Mean SI-SDR improvement of what `predict` gives over the mixture.

        What the transformers take away for good counts neither for nor against: mixtures and
        references go through them, and back, as well. To compare with `y` as it is, use
        `skdc.metrics.si_sdr_improvement_scorer`.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.
        y : array of shape (n_mixtures, n_sources, n_samples) or list of (n_sources, n_samples_i)
            Reference sources.

        Returns
        -------
        float
            Decibels, over all sources and mixtures, each under its best permutation.
        """
        separator, transformer = self._fitted()
        stages = _stages(transformer, X)
        sources = _transform_sources(transformer, y, stages), separator.predict(stages[-1])
        mixtures, container = as_items(_undo(transformer, stages[-1], stages), "X")
        references, estimates = (
            as_reference_items(_undo(transformer, items, stages), container, "y")
            for items in sources
        )
        restored = SimpleNamespace(predict=lambda _: estimates)
        return si_sdr_improvement_scorer(restored, mixtures, references)

    def _checked(self, separator: Any) -> Any:
        self._validate_params()
        last = separator
        while isinstance(last, Pipeline):
            last = last.steps[-1][1]
        output = getattr(last, "output", "sources")
        if output != "sources":
            raise ValueError(f"the separator has output={output!r}; set it to 'sources'")
        return separator

    def _fitted(self) -> tuple[Any, Any]:
        """Give the separator and the transformer that belong together."""
        check_is_fitted(self)
        separator = self._checked(getattr(self, "separator_", self.separator))
        # Pickles of earlier versions have no transformer of their own.
        return separator, getattr(self, "transformer_", self.transformer)

    def __sklearn_is_fitted__(self) -> bool:
        try:
            check_is_fitted(getattr(self, "separator_", self.separator))
        except NotFittedError:
            return False
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags


def _steps(transformer: Any) -> list[Any]:
    if isinstance(transformer, Pipeline):
        return [each for _, step in transformer.steps for each in _steps(step)]
    if transformer is None or transformer == "passthrough":
        return []
    if isinstance(transformer, type):
        name = transformer.__name__
        raise TypeError(f"transformer={name} is a class; give an instance of it, {name}()")
    if not hasattr(transformer, "transform_sources"):
        raise TypeError(
            f"{type(transformer).__name__} has no transform_sources, so sources cannot go "
            "through it; derive a step of your own from WaveformTransformer"
        )
    return [transformer]


def _stages(transformer: Any, X: Any) -> list[Any]:
    # The input of each step; the last item is the input of the separator.
    stages = [X]
    for step in _steps(transformer):
        stages.append(step.transform(stages[-1]))
    return stages


def _transform_sources(transformer: Any, y: Any, stages: list[Any]) -> Any:
    for step, before in zip(_steps(transformer), stages[:-1], strict=True):
        y = step.transform_sources(y, before)
    return y


def _undo(transformer: Any, waveforms: Any, stages: list[Any]) -> Any:
    for step, before in zip(reversed(_steps(transformer)), stages[-2::-1], strict=True):
        if hasattr(step, "inverse_transform"):
            waveforms = step.inverse_transform(waveforms, before)
    return waveforms
