"""What transformers on waveforms share: checks, containers, and sources that stay in step.

See `skdc.preprocessing` for the transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from skdc.checks import as_array, as_float, check_finite, check_waveform
from skdc.validation import Container, as_items, as_reference_items

__all__ = ["FloatArray", "WaveformTransformer", "Waveforms", "read_samples"]

FloatArray = NDArray[np.floating]
Waveforms = ArrayLike | Sequence[ArrayLike]


def read_samples(item: Any, name: str) -> FloatArray:
    """Bring samples to float32, if they are that or float16, or else to float64.

    Parameters
    ----------
    item : array-like
        Of any shape; integer PCM is scaled to +-1.
    name : str
        What errors call it.

    Returns
    -------
    float32 or float64 array

    Raises
    ------
    ValueError, TypeError
        If samples are not finite real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.waveforms import read_samples
    >>> read_samples(np.array([16384, -32768], dtype=np.int16), "X[0]")
    array([ 0.5, -1. ])
    """
    samples = as_array(item, name)
    check_finite(samples, name)
    is_single = samples.dtype.kind == "f" and samples.dtype.itemsize <= 4
    return as_float(samples).astype(np.float32 if is_single else np.float64)


class WaveformTransformer(TransformerMixin, BaseEstimator):
    """What the transformers share, and what one of your own derives from.

    A subclass gives ``_apply(waveforms, mixture)``: the change, which must be linear in
    `waveforms`, of shape ``(..., n_samples)``, so that sources go on summing to their mixture.
    What it measures, it measures in `mixture`. Where the change can be undone, ``_undo(waveforms,
    mixture)`` does so and ``inverse_transform`` calls it, as in `NormalizeLevel`.

    Examples
    --------
    >>> from skdc.preprocessing import WaveformTransformer
    >>> class InvertPolarity(WaveformTransformer):
    ...     def _apply(self, waveforms, mixture):
    ...         return -waveforms
    >>> InvertPolarity().transform([[0.5, 0.25]])
    array([[-0.5 , -0.25]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def fit(self, X: Waveforms, y: Any = None) -> Self:
        """Check parameters and mixtures; there is nothing to learn.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.
        y : ignored

        Returns
        -------
        self
        """
        self._check(X)
        return self

    def transform(self, X: Waveforms) -> Any:
        """Change mixtures.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.

        Returns
        -------
        array, list of arrays, or one array
            As `X` came; a list for an array whose mixtures are no longer of one length.

        Raises
        ------
        ValueError, TypeError
            If a mixture is not usable; the message names it.
        """
        mixtures, container = self._check(X)
        return _collect([self._run(self._apply, x, x) for x in mixtures], container)

    def transform_sources(self, y: Any, X: Waveforms) -> Any:
        """Change sources as `transform` changes their mixtures.

        Parameters
        ----------
        y : array of shape (n_mixtures, n_sources, n_samples) or list of (n_sources, n_samples_i)
            Sources of each mixture.
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            The mixtures before `transform`.

        Returns
        -------
        array or list of arrays
            Sums to ``transform(X)`` where `y` sums to `X`.

        Raises
        ------
        ValueError, TypeError
            If an item is not usable or does not fit its mixture; the message names it.
        """
        mixtures, container = self._check(X)
        sources = self._check_sources(y, mixtures, container)
        results = [self._run(self._apply, *pair) for pair in zip(sources, mixtures, strict=True)]
        return _collect(results, container)

    def _apply(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        raise NotImplementedError

    def _undo(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        raise NotImplementedError

    def _run(
        self,
        work: Callable[[FloatArray, FloatArray], FloatArray],
        waveforms: FloatArray,
        mixture: FloatArray,
    ) -> FloatArray:
        # Measured and filtered in float64; the copy that astype makes is never a view of an input.
        changed = work(waveforms.astype(np.float64), mixture.astype(np.float64))
        return changed.astype(waveforms.dtype)

    def _inverse(self, X: Any, original: Waveforms) -> Any:
        mixtures, container = self._check(original)
        items = [X] if container == "single" else list(X)
        if len(items) != len(mixtures):
            raise ValueError(f"X has {len(items)} items, but original has {len(mixtures)}")
        results = []
        for index, (item, mixture) in enumerate(zip(items, mixtures, strict=True)):
            waveforms = read_samples(item, f"X[{index}]")
            n_samples = self._apply(mixture, mixture).shape[-1]
            if waveforms.shape[-1:] != (n_samples,):
                raise ValueError(
                    f"X[{index}] has shape {waveforms.shape}; transform gives {n_samples} samples "
                    f"for original[{index}]"
                )
            results.append(self._run(self._undo, waveforms, mixture))
        return _collect(results, container)

    def _check(self, X: Any) -> tuple[list[FloatArray], Container]:
        self._validate_params()
        items, container = self._items(X)
        names = ["X"] if container == "single" else [f"X[{i}]" for i in range(len(items))]
        return [self._mixture(*pair) for pair in zip(items, names, strict=True)], container

    def _items(self, X: Any) -> tuple[Sequence[Any], Container]:
        return as_items(X, "X")

    def _mixture(self, item: Any, name: str) -> FloatArray:
        check_waveform(item, name)
        return read_samples(item, name)

    def _sources(self, item: Any, name: str) -> FloatArray:
        return read_samples(item, name)

    def _check_sources(
        self, y: Any, mixtures: list[FloatArray], container: Container
    ) -> list[FloatArray]:
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None: give reference sources "
                "(n_mixtures, n_sources, n_samples)"
            )
        items = as_reference_items(y, container, "y")
        if len(items) != len(mixtures):
            raise ValueError(f"y has {len(items)} items, but there are {len(mixtures)} mixtures")
        sources = [self._sources(item, f"y[{i}]") for i, item in enumerate(items)]
        for index, (item, mixture) in enumerate(zip(sources, mixtures, strict=True)):
            if item.ndim != 2 or item.shape[1] != len(mixture):
                raise ValueError(
                    f"y[{index}] has shape {item.shape}; the sources of a mixture of "
                    f"{len(mixture)} samples are (n_sources, {len(mixture)}). Label maps need no "
                    "transformation: use a Pipeline"
                )
        return sources

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _collect(results: list[FloatArray], container: Container) -> Any:
    if container == "single":
        return results[0]
    if container == "array" and len({result.shape for result in results}) == 1:
        return np.stack(results)
    return results
