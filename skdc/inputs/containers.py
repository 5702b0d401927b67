"""What recordings may come in: an array, a list, one recording, or a sequence of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils import check_array

from skdc.inputs.lazy import is_lazy
from skdc.signal.demands import as_array

__all__ = [
    "Container",
    "NamedItems",
    "Waveforms",
    "as_items",
    "as_reference_items",
    "collect",
    "label_item",
]

# An array of so few columns and so many rows is a recording that came as (n_samples, n_channels).
_MAX_TRANSPOSED = 8
_MANY_ROWS = 1000

Container = Literal["array", "list", "single"]
Waveforms = ArrayLike | Sequence[ArrayLike]


class NamedItems(list[Any]):
    """A list of recordings that errors call by names of their own, not by their places.

    Parameters
    ----------
    items : iterable
        The recordings, or what belongs to them.
    labels : iterable of str
        What errors and warnings call each.

    Examples
    --------
    >>> from skdc.inputs import AudioFormat, NamedItems, check_mixtures
    >>> check_mixtures(NamedItems([[0.5, 0.2]], ["talk.wav"]), AudioFormat())
    Traceback (most recent call last):
    ...
    ValueError: talk.wav has 2 samples; ...
    """

    def __init__(self, items: Iterable[Any], labels: Iterable[str]) -> None:
        super().__init__(items)
        self.labels = list(labels)


def label_item(labels: Sequence[str] | None, name: str, index: int) -> str:
    """Give what errors call an item: its own name, or its place in what is called `name`."""
    return f"{name}[{index}]" if labels is None else labels[index]


def as_items(X: Any, name: str, *, has_channels: bool = False) -> tuple[Sequence[Any], Container]:
    """Give mixtures one by one, and the container that they came in.

    Parameters
    ----------
    X : array-like
        Array ``(n_mixtures, n_samples)``, list of arrays ``(n_samples_i,)``, one array
        ``(n_samples,)``, or a lazy sequence.
    name : str
        What errors call it.
    has_channels : bool, default=False
        Whether an array may be of shape ``(n_mixtures, n_channels, n_samples)``.

    Returns
    -------
    items : sequence
        One item a mixture; not looked at yet.
    container : {"array", "list", "single"}

    Raises
    ------
    ValueError, TypeError
        If `X` is empty, sparse, of more than two dimensions, no array or list, or holds integers
        as objects, whose scale is not known.
    """
    if sparse.issparse(X):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required: waveforms are dense; "
            f"use {name}.toarray()"
        )
    if (is_lazy(X) or isinstance(X, list | tuple)) and not len(X):
        raise ValueError(f"{name} is empty; give at least one mixture")
    if is_lazy(X):
        return X, "list"
    if isinstance(X, list | tuple):
        # Lists of numbers of equal length are an array written as lists. A list of arrays is a
        # list of recordings.
        is_array = isinstance(X[0], list | tuple) and _have_one_size(X)
        if not is_array and not np.isscalar(X[0]):
            return X, "list"
    array = as_array(X, name)
    if array.ndim == 0:
        raise TypeError(
            f"{name} is of type {type(X).__name__}; give an array (n_mixtures, n_samples), a list "
            "of arrays (n_samples_i,), or one such array; skdc.audio.read_audio reads files"
        )
    if array.dtype == object and array.ndim == 1 and len(array) and not np.isscalar(array[0]):
        return list(array), "list"
    if array.ndim == 1:
        return [array], "single"
    if array.ndim == 3 and has_channels:
        return list(array), "list"
    if array.ndim == 3:
        raise ValueError(
            f"Found array with dim 3, while dim <= 2 is required: {name} has shape {array.shape}; "
            "mixtures are (n_mixtures, n_samples), one channel each; mix stereo down to mono first"
        )
    if array.ndim == 2 and array.shape[0] > _MANY_ROWS and array.shape[1] <= _MAX_TRANSPOSED:
        n_channels = array.shape[1]
        what = (
            f"For one recording, give {name}[:, 0]"
            if n_channels == 1
            else f"For one recording of {n_channels} channels, give [{name}.T] to predict, or "
            f"{name}.mean(axis=1)"
        )
        raise ValueError(
            f"{name} has shape {array.shape}, that is {array.shape[0]} mixtures of "
            f"{n_channels} samples each; mixtures are rows. {what}"
        )
    if array.dtype == object and all(isinstance(sample, Integral) for sample in array.flat):
        raise TypeError(
            f"{name} has dtype object, which does not tell how its integers are scaled; give them "
            "a type, such as int16, or floating samples"
        )
    # scikit-learn's own messages for the other errors: empty, complex, not numeric, more axes.
    dtype = "numeric" if array.dtype.kind not in "iub" else None
    return check_array(array, input_name=name, dtype=dtype, ensure_all_finite=False), "array"


def _have_one_size(rows: Sequence[Any]) -> bool:
    try:
        return len({as_array(row, "row").size for row in rows}) == 1
    except ValueError:  # one of them is ragged; who reads it says so
        return False


def as_reference_items(y: Any, container: Container, name: str) -> Sequence[Any]:
    """Give references one by one, which are not looked at yet.

    References of a single mixture may come without a list around them, as it may. Raises a
    TypeError that names `y` if it is no array or list.
    """
    if is_lazy(y):
        return y
    try:
        items = list(y)
    except TypeError as error:
        raise TypeError(
            f"{name} is of type {type(y).__name__}; give an array (n_mixtures, n_sources, "
            "n_samples) or a list of arrays (n_sources, n_samples_i)"
        ) from error
    # One mixture may come without a list around it, and then so may its references.
    if container == "single" and items and np.ndim(items[0]) == 1:
        return [y]
    return items


def collect(results: list[NDArray[Any]], container: Container) -> Any:
    """Put results, one for each mixture, into the container that the mixtures came in.

    Results of different shapes stay a list.
    """
    if container == "single":
        return results[0]
    if container == "array" and len({result.shape for result in results}) == 1:
        return np.stack(results)
    return results
