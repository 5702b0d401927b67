"""How well a separator separates, as it estimates it itself: learnt from known sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdc.metrics import si_sdr_improvement
from skdc.separation import QualityModel, Separability
from skdc.separator import DeepClusteringSeparator

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
    """
    found, gains = [], []
    for mixture, references in pairs:
        sources, item = separator.separate(mixture, n_sources=len(references), band="network")
        found.append(item)
        gains.append(float(np.mean(si_sdr_improvement(references, sources, mixture))))
    return found, np.array(gains)


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
    ValueError
        If there are too few mixtures.

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
