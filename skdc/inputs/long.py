"""Recordings that are not held in memory: their samples are read when they are used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["LongRecording"]


class LongRecording(ABC):
    """Samples of a recording, as much of an array as checks and separation need.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples,)`` or ``(n_channels, n_samples)``.
    dtype : numpy dtype
        float32; integers are scaled to +-1.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] = np.dtype(np.float32)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: tuple[EllipsisType, slice]) -> NDArray[np.float32]:
        """Give ``recording[..., start:stop]``."""
        _, part = key
        start, stop, _ = part.indices(self.shape[-1])
        return self.read(start, stop)

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.floating]:
        """Read it all, for what takes arrays only."""
        return np.asarray(self[..., :], dtype)

    @abstractmethod
    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read samples.

        Parameters
        ----------
        start, stop : int
            The first sample, and the end.

        Returns
        -------
        float32 array of shape (..., stop - start)

        Raises
        ------
        ValueError
            If they are no finite numbers.
        """
