"""The one check that samples are numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_finite"]


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
