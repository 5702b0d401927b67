"""How well a separator separates, as it estimates it itself: learnt from known sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skdc.metrics import si_sdr_improvement
from skdc.separation import QualityModel, Separability
from skdc.separator import DeepClusteringSeparator
from skdc.signal.demands import as_array

__all__ = ["calibrate", "measure_quality"]


def measure_quality(
    separator: DeepClusteringSeparator, pairs: Iterable[tuple[Any, Any]]
) -> tuple[list[Separability], NDArray[np.float64]]:
    """Separate mixtures, and measure how clearly and how well that was done.

    Parameters
    ----------
    separator : DeepClusteringSeparator
        Fitted.
    pairs : iterable of (mixture, references)
        Arrays ``(n_samples,)`` and ``(n_sources, n_samples)`` at the separator's `input_rate`, or
        its `sample_rate` where that is None. As many sources are looked for as there are.

    Returns
    -------
    found : list of Separability
        One a mixture.
    gains : float64 array of shape (n_mixtures,)
        SI-SDR improvement, mean over the sources, dB.

    Raises
    ------
    ValueError, TypeError
        If a pair is none of a mixture and its references, or cannot be separated or scored, with
        its place.
    """
    check_is_fitted(separator)
    found, gains = [], []
    for index, (mixture, references) in enumerate(_checked(pairs)):
        try:
            sources, item = separator.separate(mixture, n_sources=len(references), band="network")
            gains.append(float(np.mean(si_sdr_improvement(references, sources, mixture))))
        except ValueError as error:
            raise ValueError(f"pairs[{index}]: {error}") from error
        found.append(item)
    return found, np.array(gains)


def _checked(pairs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    advice = "give (mixture, references) for each mixture, such as zip(X, y)"
    if not isinstance(pairs, Iterable):
        raise TypeError(f"pairs is of type {type(pairs).__name__}; {advice}")
    for index, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            what = f"an array of shape {pair.shape}" if hasattr(pair, "shape") else repr(pair)[:60]
            raise ValueError(f"pairs[{index}] is {what}; {advice}")
        mixture, references = (as_array(item, f"pairs[{index}]") for item in pair)
        if mixture.ndim != 1 or references.ndim != 2:
            raise ValueError(
                f"pairs[{index}] has shapes {mixture.shape} and {references.shape}; expected "
                f"(n_samples,) and (n_sources, n_samples): {advice}"
            )
        yield mixture, references


def calibrate(
    separator: DeepClusteringSeparator, pairs: Iterable[tuple[Any, Any]]
) -> DeepClusteringSeparator:
    """Have a separator estimate how well it separates a recording.

    Parameters
    ----------
    separator : DeepClusteringSeparator
        Fitted. Gets the attribute `quality_`, which its model file keeps; the next `fit` takes it
        away.
    pairs : iterable of (mixture, references)
        As for `measure_quality`; at least 20 of each number of sources, better a few hundred, of
        speakers that it was not trained on.

    Returns
    -------
    DeepClusteringSeparator
        The separator.

    Raises
    ------
    ValueError, TypeError
        If there are too few mixtures, or as for `measure_quality`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import DeepClusteringSeparator
    >>> from skdc.evaluation import calibrate
    >>> y = np.random.default_rng(0).standard_normal((20, 2, 4000))
    >>> X = y.sum(axis=1)
    >>> separator = DeepClusteringSeparator(hidden_size=4, embedding_dim=4, max_epochs=1)
    >>> separator = calibrate(separator.fit(X, y), zip(X, y))
    >>> sorted(separator.quality_.coefficients)
    [2]
    """
    separator.quality_ = QualityModel.fit(*measure_quality(separator, pairs))
    return separator
