"""What every recording must be, wherever it is read: an array of numbers at the expected rate."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "MAX_CHANNELS",
    "as_array",
    "as_floats",
    "check_channels",
    "check_finite",
    "check_same_rate",
]

MAX_CHANNELS = 64
"""The most channels that a recording may have; more are most likely samples."""
_LARGEST = float(np.finfo(np.float32).max)


def as_array(samples: Any, name: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Give what may be an array, a list or a tensor as an array, copied only where it must be.

    A ValueError that names it says that its parts have different lengths, or that some of its
    samples are masked or missing.
    """
    if isinstance(samples, list | tuple):
        # Channels, or a list of them, which NumPy does not read or reads wrongly
        special = torch.Tensor, np.ma.MaskedArray, list, tuple
        samples = [as_array(part, name) if isinstance(part, special) else part for part in samples]
    elif isinstance(samples, torch.Tensor):
        # One that takes part in a gradient, that is to be conjugated or negated when it is read,
        # or whose type only torch has does not become an array by itself.
        tensor = samples.detach().cpu().resolve_conj().resolve_neg()
        is_short = tensor.is_floating_point() and tensor.element_size() <= 2
        samples = (tensor.float() if is_short else tensor).numpy()
    elif np.ma.is_masked(samples):
        raise ValueError(
            f"{name} has masked samples, which have no value; give them one, for instance by "
            ".filled(0)"
        )
    elif hasattr(samples, "dtypes") and samples.ndim == 2:
        samples = _of_frame(samples, name)
    try:
        return np.asarray(samples, dtype)
    except ValueError as error:
        if "with a sequence" not in str(error):  # such as a word where a number is expected
            raise
        raise ValueError(
            f"{name} is not an array of samples: its parts have different lengths; cut or pad "
            "them to one length"
        ) from error


def _of_frame(frame: Any, name: str) -> Any:
    """Give the samples of a data frame whose types know of missing ones by their plain type.

    As an array it would be one of objects, which does not tell by what integers are scaled.
    """
    plain = [getattr(dtype, "numpy_dtype", dtype) for dtype in frame.dtypes]
    are_known = all(isinstance(dtype, np.dtype) for dtype in plain)
    if not are_known or all(map(operator.is_, plain, frame.dtypes)):
        return frame
    if bool(frame.isna().any(axis=None)):
        raise ValueError(f"{name} has missing samples; give them a value, such as by .fillna(0)")
    return frame.to_numpy(np.result_type(*plain))


def as_floats(samples: Any, name: str) -> NDArray[np.floating]:
    """Give what `as_array` takes as floating, finite samples, in the precision that they have.

    Raises its errors, those of `check_finite`, and a TypeError for samples of another type.
    """
    array = as_array(samples, name)
    if array.dtype.kind != "f":
        raise TypeError(
            f"{name}: got type {array.dtype}; give floats, such as int16 samples / 32768"
        )
    check_finite(array, name)
    return array


def check_channels(samples: NDArray[Any], name: str) -> None:
    """Raise a ValueError that names ``(n_channels, n_samples)`` if it seems to be transposed."""
    n_channels, n_samples = samples.shape
    if not n_channels:
        raise ValueError(f"{name} has shape {samples.shape}, and so no channel; give one at least")
    if n_channels > min(MAX_CHANNELS, n_samples - 1):
        raise ValueError(
            f"{name} has shape {samples.shape}, that is {n_channels} channels of {n_samples} "
            f"samples; give (n_channels, n_samples) with at most {MAX_CHANNELS} channels, for "
            "instance x.T of what soundfile reads"
        )


def check_finite(samples: NDArray[Any], name: str, *, any_level: bool = False) -> None:
    """Raise a ValueError that names floating samples if they hold NaN, infinity or more than fits.

    All computing is in float32, which double precision may exceed. That is well at `any_level`,
    for samples that are brought to a level of their own first.
    """
    if not samples.size:
        return
    # Both extremes of what holds NaN are NaN.
    largest = max(-float(samples.min()), float(samples.max()))
    if largest <= _LARGEST:
        return
    if np.isfinite(largest):
        if any_level:
            return
        raise ValueError(
            f"{name} has samples as large as {largest:.3g}, beyond what float32 holds, "
            f"{_LARGEST:.3g}; scale it down, at best to within +-1"
        )
    what = "NaN" if np.isnan(largest) else "infinity"
    raise ValueError(f"{name} contains {what}; every sample must be a finite number")


def check_same_rate(rate: int, expected: int, name: str, advice: str) -> None:
    """Raise a ValueError, with advice, if a recording is not at the rate, Hz, that is expected."""
    if rate != expected:
        raise ValueError(f"{name} is at {rate} Hz, but is expected at {expected} Hz; {advice}")
