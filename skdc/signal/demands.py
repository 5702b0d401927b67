"""What every recording must be, wherever it is read: an array of numbers at the expected rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

__all__ = ["as_array", "as_floats", "check_finite", "check_same_rate"]


def as_array(samples: Any, name: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Give what may be an array, a list or a tensor as an array, copied only where it must be.

    A ValueError that names it says that its parts have different lengths.
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


def as_floats(samples: Any, name: str) -> NDArray[np.float32]:
    """Give a copy in float32 of what `as_array` takes: floating, finite samples.

    Raises its errors, those of `check_finite`, and a TypeError for samples of another type.
    """
    array = as_array(samples, name)
    if array.dtype.kind != "f":
        raise TypeError(
            f"{name}: got type {array.dtype}; give floats, such as int16 samples / 32768"
        )
    check_finite(array, name)
    return array.astype(np.float32)


def check_finite(samples: NDArray[Any], name: str) -> None:
    """Raise a ValueError that names floating samples if they hold NaN or infinity."""
    if not np.isfinite(samples).all():
        what = "NaN" if np.isnan(samples).any() else "infinity"
        raise ValueError(f"{name} contains {what}; every sample must be a finite number")


def check_same_rate(rate: int, expected: int, name: str, advice: str) -> None:
    """Raise a ValueError, with advice, if a recording is not at the rate, Hz, that is expected."""
    if rate != expected:
        raise ValueError(f"{name} is at {rate} Hz, but is expected at {expected} Hz; {advice}")
