"""What every recording must hold, wherever it is read: numbers, at the rate that is expected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_finite", "check_same_rate"]


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
