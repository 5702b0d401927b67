"""How good are estimated sources: SI-SDR, BSS-eval SDR, and improvements over the mixture.

Every function takes ``(reference, estimate)`` in that order and returns decibels. Throughout:

- The last axis is time. Any real dtype is taken; the arithmetic is float64, inputs are never
  changed, and no score depends on the level of a signal.
- A score is ``10 log10(c / (1 - c))`` for the coherence ``c``, the share of the estimate's
  energy that the reference explains, clamped to +-100 dB (`SCORE_LIMIT_DB`): 100 for a perfect
  estimate, -100 for a silent one.
- SI-SDR removes the mean of each signal, SDR does not.
- ``TypeError`` for samples that are not real numbers. ``ValueError``, naming the item, for
  shapes that do not fit, for NaN and infinity, and for a reference or mixture that is silent
  (all samples equal): against it no score is defined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.optimize
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "SCORE_LIMIT_DB",
    "best_permutation",
    "evaluate_separation",
    "sdr",
    "sdr_improvement",
    "sdr_improvement_scorer",
    "si_sdr",
    "si_sdr_improvement",
    "si_sdr_improvement_scorer",
]

SCORE_LIMIT_DB = 100.0

FloatArray = NDArray[np.float64]
_Items = Sequence[ArrayLike] | NDArray[Any]


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> FloatArray:
    """Scale-invariant signal-to-distortion ratio of each estimate to its own reference.

    Parameters
    ----------
    reference, estimate : array_like of shape (..., n_samples)
        Pairs of signals, of the same shape. The mean over time of each is removed first.

    Returns
    -------
    ndarray of shape (...), float64
        SI-SDR in dB, within +-100 dB.

    Raises
    ------
    ValueError, TypeError
        If a pair cannot be scored: shapes differ, NaN or infinity, a silent reference.

    References
    ----------
    J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019: for reference s and estimate
    e, ``10 log10(|a s|^2 / |a s - e|^2)`` with ``a = <e, s> / |s|^2``.

    Examples
    --------
    >>> import numpy as np
    >>> reference, noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> print(round(float(si_sdr(reference, 0.5 * reference + 0.05 * noise))))
    20
    """
    pair = _check_pair(reference, estimate)
    return _to_db(_scale_coherence(_centre(pair[0]), _centre(pair[1])))


def sdr(reference: ArrayLike, estimate: ArrayLike, *, filter_length: int = 512) -> FloatArray:
    """Signal-to-distortion ratio of BSS-eval, version 3, of each estimate to its own reference.

    The reference may pass through any filter of `filter_length` taps before it is compared: what
    the best such filter makes of it is the target, the rest of the estimate is distortion.

    Parameters
    ----------
    reference, estimate : array_like of shape (..., n_samples)
        Pairs of signals, of the same shape; they may be shorter than the filter.
    filter_length : int, default=512
        Taps of the filter, at least 1; published figures use 512 (64 ms at 8 kHz). With 1 this
        is SI-SDR without removal of the mean.

    Returns
    -------
    ndarray of shape (...), float64
        SDR in dB, within +-100 dB.

    Raises
    ------
    ValueError, TypeError
        If a pair cannot be scored, as for :func:`si_sdr`, or `filter_length` is not an integer
        of at least 1.

    References
    ----------
    E. Vincent, R. Gribonval, C. Fevotte, "Performance measurement in blind audio source
    separation", IEEE Trans. Audio, Speech, Lang. Process. 14(4), 2006:
    ``10 log10(|P e|^2 / |e - P e|^2)``, where P projects the estimate e onto the reference
    delayed by 0 to ``filter_length - 1`` samples. R. Scheibler, "SDR - medium rare with fast
    computations", ICASSP 2022: the same through the coherence.

    Examples
    --------
    >>> import numpy as np
    >>> reference, noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> estimate = np.convolve(reference, [0.5, 0.5])[:8000] + 0.07 * noise
    >>> print(round(float(si_sdr(reference, estimate))), round(float(sdr(reference, estimate))))
    0 20
    """
    _check_filter_length(filter_length)
    reference, estimate = _check_pair(reference, estimate)
    coherence = np.empty(reference.shape[:-1])
    for pair in np.ndindex(coherence.shape):
        row = (*pair, np.newaxis)  # (n_samples,) -> (1, n_samples)
        coherence[pair] = _filter_coherence(reference[row], estimate[row], filter_length).item()
    return _to_db(coherence)


def best_permutation(score_matrix: ArrayLike) -> NDArray[np.intp]:
    """Match references to estimates so that the sum of the scores is largest.

    Parameters
    ----------
    score_matrix : array_like of shape (n_sources, n_estimates)
        Score, such as dB, of each estimate against each reference; ``n_estimates >= n_sources``.
        NaN and minus infinity rank below every finite score, plus infinity above.

    Returns
    -------
    ndarray of shape (n_sources,), intp
        For each reference, the index of its estimate; no estimate is used twice.

    Raises
    ------
    ValueError
        If `score_matrix` is not 2-D or has fewer estimates than sources.

    Examples
    --------
    >>> best_permutation([[1.0, 9.0], [8.0, 9.5]])
    array([1, 0])
    """
    scores = np.asarray(score_matrix, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < scores.shape[0]:
        raise ValueError(
            f"score_matrix has shape {scores.shape}; expected (n_sources, n_estimates) with at "
            "least as many estimates as sources (transpose it if estimates are the rows)"
        )
    # A score that is not finite must outweigh the sum of all finite ones.
    finite = scores[np.isfinite(scores)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    margin = 1.0 + len(scores) * (high - low)
    scores = np.nan_to_num(scores, nan=low - margin, neginf=low - margin, posinf=high + margin)
    columns: NDArray[np.intp] = scipy.optimize.linear_sum_assignment(scores, maximize=True)[1]
    return columns


def si_sdr_improvement(
    reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike
) -> FloatArray:
    """SI-SDR of the best-matching estimates less that of the unprocessed mixture.

    Parameters
    ----------
    reference : array_like of shape (n_sources, n_samples)
        The true sources.
    estimate : array_like of shape (n_estimates, n_samples)
        Estimates in any order, ``n_estimates >= n_sources``; those left over are not scored.
    mixture : array_like of shape (n_samples,)
        What was separated.

    Returns
    -------
    ndarray of shape (n_sources,), float64
        Improvement in dB, in the order of the references.

    Raises
    ------
    ValueError, TypeError
        If the signals cannot be scored, as for :func:`si_sdr`, or there are too few estimates.

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.random.default_rng(0).standard_normal((2, 8000))
    >>> mixture = reference.sum(axis=0)
    >>> estimate = reference[::-1] + 0.1 * mixture
    >>> print(si_sdr_improvement(reference, estimate, mixture).round())
    [21. 21.]
    """
    return _matched_si_sdr(*_check_separation(reference, estimate, mixture))[1]


def sdr_improvement(
    reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike, *, filter_length: int = 512
) -> FloatArray:
    """BSS-eval SDR of the best-matching estimates less that of the unprocessed mixture.

    The figure published for WSJ0-2mix and its kin is the mean of this over sources and mixtures.

    Parameters
    ----------
    reference, estimate, mixture : array_like
        As for :func:`si_sdr_improvement`, with the same errors.
    filter_length : int, default=512
        As for :func:`sdr`, with the same errors.

    Returns
    -------
    ndarray of shape (n_sources,), float64
        Improvement in dB, in the order of the references.

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.random.default_rng(0).standard_normal((2, 8000))
    >>> mixture = reference.sum(axis=0)
    >>> print(abs(sdr_improvement(reference, [mixture, mixture], mixture).round(6)))
    [0. 0.]
    """
    _check_filter_length(filter_length)
    return _matched_sdr(*_check_separation(reference, estimate, mixture), filter_length)[1]


def evaluate_separation(
    reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike, *, filter_length: int = 512
) -> dict[str, FloatArray]:
    """All scores of one separated mixture.

    Parameters
    ----------
    reference, estimate, mixture : array_like
        As for :func:`si_sdr_improvement`, with the same errors.
    filter_length : int, default=512
        As for :func:`sdr`, with the same errors.

    Returns
    -------
    dict of str to ndarray of shape (n_sources,), float64
        In dB, in the order of the references: ``"sdr"`` and ``"sdr_improvement"`` permuted for
        the best SDR, ``"si_sdr"`` and ``"si_sdr_improvement"`` for the best SI-SDR.

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.random.default_rng(0).standard_normal((2, 8000))
    >>> scores = evaluate_separation(reference, reference[::-1], reference.sum(axis=0))
    >>> print(scores["sdr"], scores["si_sdr"])
    [100. 100.] [100. 100.]
    """
    _check_filter_length(filter_length)
    checked = _check_separation(reference, estimate, mixture)
    scores = (*_matched_sdr(*checked, filter_length), *_matched_si_sdr(*checked))
    names = ("sdr", "sdr_improvement", "si_sdr", "si_sdr_improvement")
    return dict(zip(names, scores, strict=True))


def si_sdr_improvement_scorer(estimator: Any, X: _Items, y: _Items) -> float:
    """Mean SI-SDR improvement of an estimator, for ``scoring=`` in scikit-learn.

    Parameters
    ----------
    estimator : object
        Fitted; ``predict(X)`` gives estimates ``(n_estimates, n_samples)`` for each mixture.
    X : array of shape (n_mixtures, n_samples) or sequence of arrays of shape (n_samples_i,)
        Mixtures, or one array ``(n_samples,)``; all that the estimator takes.
    y : array of shape (n_mixtures, n_sources, n_samples) or sequence of (n_sources_i, n_samples_i)
        Reference sources of each mixture.

    Returns
    -------
    float
        Mean over all sources of all mixtures, in dB; higher is better.

    Raises
    ------
    ValueError, TypeError
        If `X`, `y` and the predictions differ in number, or as for :func:`si_sdr_improvement`.

    Examples
    --------
    Use it as ``cross_val_score(separator, X, y, scoring=si_sdr_improvement_scorer)``; by hand:

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> y = np.random.default_rng(0).standard_normal((3, 2, 8000))
    >>> X = y.sum(axis=1)
    >>> separator = SimpleNamespace(predict=lambda X: y + 0.1 * X[:, np.newaxis])
    >>> print(round(si_sdr_improvement_scorer(separator, X, y)))
    21
    """
    return _mean_improvement(_matched_si_sdr, estimator, X, y)


def sdr_improvement_scorer(estimator: Any, X: _Items, y: _Items) -> float:
    """Mean BSS-eval SDR improvement of an estimator, for ``scoring=`` in scikit-learn.

    Parameters
    ----------
    estimator, X, y
        As for :func:`si_sdr_improvement_scorer`, with the same errors.

    Returns
    -------
    float
        Mean over all sources of all mixtures, in dB; higher is better.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> y = np.random.default_rng(0).standard_normal((3, 2, 8000))
    >>> separator = SimpleNamespace(predict=lambda X: y + 0.1 * X[:, np.newaxis])
    >>> print(round(sdr_improvement_scorer(separator, y.sum(axis=1), y)))
    21
    """
    return _mean_improvement(_matched_sdr, estimator, X, y)


def _mean_improvement(
    matched: Callable[..., tuple[FloatArray, FloatArray]],
    estimator: Any,
    X: _Items,
    y: _Items,
) -> float:
    predicted = estimator.predict(X)
    mixtures, references, estimates = _rows(X), _rows(y), _rows(predicted)
    if _is_single(mixtures):
        mixtures, estimates = [mixtures], [estimates]
        if len(references) and np.ndim(references[0]) == 1:
            references = [references]
    if not 0 < len(mixtures) == len(references) == len(estimates):
        raise ValueError(
            f"got {len(mixtures)} mixtures in X, {len(references)} sets of reference sources in y "
            f"and {len(estimates)} predictions; expected one set and one prediction for each "
            "mixture"
        )
    improvements = []
    triples = zip(mixtures, references, estimates, strict=True)
    for i, (mixture, reference, estimate) in enumerate(triples):
        names = (f"y[{i}]", f"predict(X)[{i}]", f"X[{i}]")
        improvements.append(matched(*_check_separation(reference, estimate, mixture, names))[1])
    return float(np.concatenate(improvements).mean())


# What `fit` and `predict` take, by the rules of `skdc.inputs`, which stands above this module.


def _rows(items: Any) -> Any:
    """Give items that are gone through row by row; data frames would be by columns."""
    is_array = isinstance(items, np.ndarray) or hasattr(items, "detach")
    return np.asarray(items) if hasattr(items, "__array__") and not is_array else items


def _is_single(items: Any) -> bool:
    """Whether mixtures are one, without a list around it."""
    if isinstance(items, list | tuple):
        return bool(items) and np.isscalar(items[0])
    return getattr(items, "ndim", 0) == 1 and items.dtype != object


def _matched_si_sdr(reference: FloatArray, signals: FloatArray) -> tuple[FloatArray, FloatArray]:
    # (n_sources, 1, n_samples) and (n_estimates + 1, n_samples) -> (n_sources, n_estimates + 1)
    return _match(_scale_coherence(_centre(reference)[:, np.newaxis], _centre(signals)))


def _matched_sdr(
    reference: FloatArray, signals: FloatArray, filter_length: int = 512
) -> tuple[FloatArray, FloatArray]:
    return _match(_filter_coherence(reference, signals, filter_length))


def _match(coherence: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coherence (n_sources, n_estimates + 1), the mixture last, to score and improvement."""
    scores = _to_db(coherence)
    matched = best_permutation(scores[:, :-1])
    score = scores[np.arange(len(scores)), matched]
    return score, score - scores[:, -1]


def _scale_coherence(reference: FloatArray, estimate: FloatArray) -> FloatArray:
    """Share of energy that the scaled reference explains; unit-norm (..., n_samples) to (...)."""
    correlation: FloatArray = np.einsum("...t,...t->...", reference, estimate)
    return np.square(correlation)


def _filter_coherence(
    reference: FloatArray, estimate: FloatArray, filter_length: int
) -> FloatArray:
    """Share of energy that the filtered reference explains, for all pairs of unit-norm signals.

    (n_sources, n_samples) and (n_estimates, n_samples) to (n_sources, n_estimates).
    """
    # Zero-padding makes circular correlation equal linear at lags 0 to filter_length - 1.
    n_fft = scipy.fft.next_fast_len(reference.shape[-1] + filter_length - 1, real=True)
    spectra = scipy.fft.rfft(estimate, n_fft)
    coherence = np.empty((len(reference), len(estimate)))
    for row, spectrum in zip(coherence, scipy.fft.rfft(reference, n_fft), strict=True):
        auto = scipy.fft.irfft(np.abs(spectrum) ** 2, n_fft)[:filter_length]
        cross = scipy.fft.irfft(spectrum.conj() * spectra, n_fft)[:, :filter_length]
        # With R = L L^T, x^T R^-1 x is |L^-1 x|^2: half the work, and never negative.
        # Solved for all estimates at once: (filter_length, n_estimates).
        whitened = scipy.linalg.solve_triangular(_factorise(auto), cross.T, lower=True)
        row[:] = np.square(whitened).sum(axis=0)
    return coherence


def _factorise(autocorrelation: FloatArray) -> FloatArray:
    """Lower Cholesky factor of the Toeplitz matrix of an autocorrelation."""
    # The delays of a reference made of few tones are linearly dependent, and rounding can push
    # eigenvalues below zero, by n^2 eps at the very most. That much on the diagonal is a noise
    # floor 102 dB down for 512 taps; n eps is enough nearly always, and changes less.
    n_taps, matrix = len(autocorrelation), scipy.linalg.toeplitz(autocorrelation)
    eps = float(np.finfo(np.float64).eps)
    try:
        np.fill_diagonal(matrix, autocorrelation[0] * (1 + n_taps * eps))
        factor: FloatArray = scipy.linalg.cholesky(matrix, lower=True)
    except scipy.linalg.LinAlgError:
        np.fill_diagonal(matrix, autocorrelation[0] * (1 + n_taps**2 * eps))
        factor = scipy.linalg.cholesky(matrix, lower=True)
    return factor


def _to_db(coherence: FloatArray) -> FloatArray:
    limit = 10 ** (SCORE_LIMIT_DB / 10)
    ratio = coherence / np.maximum(1 - coherence, np.finfo(np.float64).tiny)
    decibels: FloatArray = 10 * np.log10(np.clip(ratio, 1 / limit, limit))
    return decibels


def _centre(signals: FloatArray) -> FloatArray:
    """Remove the mean over time; unit norm in and out."""
    centred: FloatArray = signals - signals.mean(axis=-1, keepdims=True)
    return _unit_norm(centred)


def _unit_norm(signals: FloatArray) -> FloatArray:
    # Divided by the peak first: squares of very large or small samples overflow float64.
    peak = np.abs(signals).max(axis=-1, keepdims=True)
    signals = signals / np.where(peak > 0, peak, 1.0)
    norm = np.linalg.norm(signals, axis=-1, keepdims=True)
    return signals / np.where(norm > 0, norm, 1.0)


def _check_filter_length(filter_length: int) -> None:
    if not isinstance(filter_length, Integral) or filter_length < 1:
        raise ValueError(f"filter_length is {filter_length!r}; expected an integer of at least 1")


def _check_pair(reference: ArrayLike, estimate: ArrayLike) -> tuple[FloatArray, FloatArray]:
    target = _check_signals(reference, "reference", may_be_silent=False)
    scored = _check_signals(estimate, "estimate")
    if target.shape != scored.shape:
        raise ValueError(
            f"reference has shape {target.shape} but estimate has shape {scored.shape}; "
            "expected the same shape (..., n_samples)"
        )
    return target, scored


def _check_separation(
    reference: ArrayLike,
    estimate: ArrayLike,
    mixture: ArrayLike,
    names: tuple[str, str, str] = ("reference", "estimate", "mixture"),
) -> tuple[FloatArray, FloatArray]:
    """Give references, and estimates with the mixture as one more: it is scored like them."""
    targets = _check_signals(reference, names[0], ndim=2, may_be_silent=False)
    scored = _check_signals(estimate, names[1], ndim=2)
    baseline = _check_signals(mixture, names[2], ndim=1, may_be_silent=False)
    for name, signals in zip(names, (targets, scored), strict=False):
        if signals.shape[1] != baseline.size:
            raise ValueError(
                f"{name} has {signals.shape[1]} samples but {names[2]} has {baseline.size}; "
                "expected the same number"
            )
    if len(scored) < len(targets):
        raise ValueError(
            f"{names[1]} has {len(scored)} signals but {names[0]} has {len(targets)}; "
            "expected at least one estimate for each source"
        )
    return targets, np.concatenate([scored, baseline[np.newaxis]])


def _check_signals(
    signals: ArrayLike, name: str, *, ndim: int | None = None, may_be_silent: bool = True
) -> FloatArray:
    """Signals as a new float64 array of unit norm (zero where silent)."""
    given: Any = signals
    if hasattr(given, "detach"):  # a tensor, whose type NumPy may not know
        given = given.detach().cpu()
        given = given.double() if given.is_floating_point() else given
    if np.ma.is_masked(given):
        raise ValueError(f"{name} has masked samples, which have no value; give them one")
    try:
        raw = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name} is ragged; expected signals of one length") from error
    if raw.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {raw.dtype}; expected real numbers")
    if raw.ndim != (ndim or max(raw.ndim, 1)) or 0 in raw.shape:
        expected = {None: "(..., n_samples)", 1: "(n_samples,)", 2: "(n_signals, n_samples)"}
        raise ValueError(
            f"{name} has shape {raw.shape}; expected {expected[ndim]}, no axis of length 0"
        )
    array = raw.astype(np.float64)
    if raw.dtype == np.uint8:  # 8-bit PCM is unsigned
        array -= 128
    _refuse(~np.isfinite(array).all(axis=-1), name, "contains NaN or infinity; clean it first")
    if not may_be_silent:
        silent = array.max(axis=-1) == array.min(axis=-1)
        _refuse(silent, name, "is silent (all samples equal): no score is defined; leave it out")
    return _unit_norm(array)


def _refuse(flags: NDArray[np.bool_] | np.bool_, name: str, reason: str) -> None:
    """Raise for the first signal flagged, named by its index."""
    if np.any(flags):
        index = ", ".join(map(str, np.argwhere(flags)[0]))
        raise ValueError(f"{name}[{index}] {reason}" if index else f"{name} {reason}")
