"""Products of matrices whose common dimension is very long, such as all bins of a mixture."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["long_product"]

_BLOCK = 512


def long_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply two matrices whose common dimension is the long one.

    A single product of such a shape would run on one core, so it is made block by block, as one
    batch: the blocks share the cores and stay in their caches.

    Parameters
    ----------
    left : Tensor of shape (..., n_rows, n_points)
    right : Tensor of shape (..., n_points, n_columns)

    Returns
    -------
    Tensor of shape (..., n_rows, n_columns)
        ``left @ right``.

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import long_product
    >>> long_product(torch.ones(1, 5000), torch.ones(5000, 2))
    tensor([[5000., 5000.]])
    """
    # On CPUs several products share the cores by themselves.
    n_products = left.shape[:-2].numel()
    if left.device.type == "cpu" and n_products >= max(2, torch.get_num_threads()):
        return left @ right
    n_blocks = right.shape[-2] // _BLOCK
    whole = n_blocks * _BLOCK
    # (..., n_rows, n_points) -> (..., n_blocks, n_rows, block)
    blocks = left[..., :whole].unflatten(-1, (n_blocks, _BLOCK)).movedim(-2, -3)
    # (..., n_points, n_columns) -> (..., n_blocks, block, n_columns)
    blocks = blocks @ right[..., :whole, :].unflatten(-2, (n_blocks, _BLOCK))
    return left[..., whole:] @ right[..., whole:, :] + blocks.sum(-3)
