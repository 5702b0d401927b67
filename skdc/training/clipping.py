"""Clipping of the gradient at a percentile of the norms that it has had so far."""

from __future__ import annotations

from bisect import insort

import torch
from torch import Tensor

__all__ = ["AdaptiveClipping"]


class AdaptiveClipping:
    """AutoClip [1]_: the largest norm allowed is a percentile of all norms seen so far.

    What is a large gradient depends on the objective, the network and how far training is. A fixed
    limit would have to be found for each; this one finds itself, and at the 10th percentile it
    makes nearly every step one of normalised length, which trains better than the raw gradient. At
    the 100th nothing is ever clipped.

    References
    ----------
    .. [1] Seetharaman, Wichern, Pardo, Le Roux, "AutoClip: adaptive gradient clipping for source
       separation networks", MLSP 2020.

    Examples
    --------
    >>> from skdc.training.clipping import AdaptiveClipping
    >>> clipping = AdaptiveClipping(percentile=50)
    >>> [clipping.factor(norm) for norm in (1.0, 4.0, 2.0)]
    [1.0, 0.25, 1.0]
    """

    def __init__(self, percentile: float = 10.0) -> None:
        self.percentile = percentile
        self._norms: list[float] = []  # in ascending order

    def factor(self, norm: float) -> float:
        """Take note of the norm of a gradient, and give the factor, at most 1, that clips it."""
        # A batch from which nothing can be learnt, such as silence, says nothing of the others;
        # once zeros are a percentile of all norms, every gradient would be clipped to zero.
        if norm == 0:
            return 1.0
        insort(self._norms, norm)
        last = len(self._norms) - 1
        largest = self._norms[int(last * self.percentile / 100)]
        return min(1.0, largest / norm)

    def state(self) -> Tensor:
        """Give all norms so far but zeros: float64, in ascending order."""
        return torch.tensor(self._norms, dtype=torch.float64, device="cpu")

    def restore(self, norms: Tensor) -> None:
        """Take up what `state` gave."""
        self._norms = norms[norms > 0].tolist()
