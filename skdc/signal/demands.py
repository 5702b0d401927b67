"""What every recording must be, wherever it is read: an array of numbers at the expected rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

__all__ = ["as_array", "check_finite", "check_same_rate"]


def as_array(samples: Any, name: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Give what may be an array, a list or a tensor as an array.

    Parameters
    ----------
    samples : array-like
    name : str
        What the error calls it.
    dtype : dtype, optional
        Type to convert to; by default that which it has.

    Returns
    -------
    array
        Not copied where that is not needed.

    Raises
    ------
    ValueError
        If its parts have different lengths.

    Examples
    --------
    >>> from skdc.signal.demands import as_array
    >>> as_array([[0.5, 0.25], [1.0]], "recording")
    Traceback (most recent call last):
        ...
    ValueError: recording is not an array of samples: its parts have different lengths; cut or \
pad them to one length
    """
    if isinstance(samples, torch.Tensor):
        # One that takes part in a gradient does not become an array by itself.
        samples = samples.detach().cpu()
    try:
        return np.asarray(samples, dtype)
    except ValueError as error:
        if "with a sequence" not in str(error):  # such as a word where a number is expected
            raise
        raise ValueError(
            f"{name} is not an array of samples: its parts have different lengths; cut or pad "
            "them to one length"
        ) from error


def check_finite(samples: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    samples : floating array
    name : str
        What the error calls them.

    Raises
    ------
    ValueError
        If a sample is no finite number.
    """
    if not np.isfinite(samples).all():
        what = "NaN" if np.isnan(samples).any() else "infinity"
        raise ValueError(f"{name} contains {what}; every sample must be a finite number")


def check_same_rate(rate: int, expected: int, name: str, advice: str) -> None:
    """Refuse a recording that is at another rate than the one that is expected.

    Parameters
    ----------
    rate : int
        Rate of the recording, Hz.
    expected : int
        Hz.
    name : str
        What the error calls the recording.
    advice : str
        What to do about it.

    Raises
    ------
    ValueError
        If the rates differ.
    """
    if rate != expected:
        raise ValueError(f"{name} is at {rate} Hz, but is expected at {expected} Hz; {advice}")
