"""The network's last layer at the bins that count, and no others.

It is the widest layer, and in speech two bins of three are far below the loudest one and have no
weight in training. Bins are taken in bands of a few; where none of a band counts in a frame, that
frame is left out of the band's product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["project_active"]

# Numbers of a frame in a band, about. Narrower bands leave out more, but make products that are
# too small to be fast.
_BAND_WIDTH = 320
# Frames of a band are rounded up to a multiple of one in so many of all: oneDNN compiles a kernel
# for every shape of a product in half precision, which takes longer than the product.
_FRAME_COUNTS = 16


def project_active(
    states: Tensor, weight: Tensor, bias: Tensor, active: Tensor
) -> tuple[Tensor, ...]:
    """Give the vectors of some of the bins.

    Parameters
    ----------
    states : Tensor of shape (n_mixtures, n_frames, n_hidden)
    weight : Tensor of shape (n_bins * embedding_dim, n_hidden)
    bias : Tensor of shape (n_bins * embedding_dim,)
    active : bool Tensor of shape (n_mixtures, n_frames, n_bins)
        The bins to give.

    Returns
    -------
    tuple of Tensor of shape (n_active_i, embedding_dim)
        One a mixture, in the order of ``active[i].nonzero()`` and the precision of `states`:
        ``functional.linear(states, weight, bias).unflatten(-1, (n_bins, -1))[i][active[i]]``.

    Examples
    --------
    >>> import torch
    >>> from skdc.projection import project_active
    >>> active = torch.tensor([[[True, False, True]], [[False, False, False]]])
    >>> layer = torch.nn.Linear(4, 3 * 5)
    >>> vectors = project_active(torch.randn(2, 1, 4), layer.weight, layer.bias, active)
    >>> [tuple(v.shape) for v in vectors]
    [(2, 5), (0, 5)]
    """
    return _ActiveProjection.apply(states, weight, bias, active)  # type: ignore[no-untyped-call]


class _ActiveProjection(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, active: Tensor
    ) -> tuple[Tensor, ...]:
        n_bins = active.shape[-1]
        dim = len(weight) // n_bins
        of_bins = weight.to(states.dtype).view(n_bins, dim, -1)
        biases = bias.to(states.dtype).view(n_bins, dim)
        rows = states.flatten(0, 1)  # the frames of all mixtures (n_rows, n_hidden)
        chosen = active.flatten(0, 1)
        # Where in the vectors that are computed each bin has its own.
        place = torch.empty(chosen.shape, dtype=torch.int64)
        bands, n_vectors = [], 0
        step = -(-len(rows) // _FRAME_COUNTS)
        n_bands = min(max(1, n_bins * dim // _BAND_WIDTH), n_bins)
        for bins in torch.arange(n_bins).tensor_split(n_bands):
            band = slice(int(bins[0]), int(bins[-1]) + 1)
            frames = chosen[:, band].any(1).nonzero().squeeze(1)
            own = n_vectors + torch.arange(frames.numel() * len(bins)).view(-1, len(bins))
            place[:, band].index_copy_(0, frames, own)
            # The first frame makes up the number; its vectors there are never looked at.
            frames = functional.pad(frames, (0, -len(frames) % step))
            n_new = len(frames) * len(bins)
            bands.append((band, frames, slice(n_vectors, n_vectors + n_new)))
            n_vectors += n_new
        vectors = states.new_empty(n_vectors, dim)
        taken = _like_rows(rows, bands)
        for band, frames, part in bands:
            torch.addmm(
                biases[band].flatten(),
                torch.index_select(rows, 0, frames, out=taken[: len(frames)]),
                of_bins[band].flatten(0, 1).T,
                out=vectors[part].view(len(frames), biases[band].numel()),
            )
        places = place[chosen].split(active.sum((1, 2)).tolist())
        ctx.save_for_backward(states, of_bins, *places)
        ctx.bands, ctx.n_vectors, ctx.dtypes = bands, n_vectors, (weight.dtype, bias.dtype)
        return tuple(vectors.index_select(0, own) for own in places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, of_bins, *places = ctx.saved_tensors
        rows = states.flatten(0, 1)
        by_vectors = states.new_zeros(ctx.n_vectors, of_bins.shape[1])
        for own, gradient in zip(places, gradients, strict=True):
            by_vectors.index_copy_(0, own, gradient)
        # Sums over many bands: not in half precision.
        by_rows = torch.zeros_like(rows, dtype=torch.promote_types(rows.dtype, torch.float32))
        weight_dtype, bias_dtype = ctx.dtypes
        by_weight = torch.empty_like(of_bins, dtype=weight_dtype)
        by_bias = torch.empty_like(of_bins[..., 0], dtype=bias_dtype)
        taken, exact = _like_rows(rows, ctx.bands), _like_rows(by_rows, ctx.bands)
        for band, frames, part in ctx.bands:
            own = by_vectors[part].view(len(frames), by_bias[band].numel())
            some, some_exact = taken[: len(frames)], exact[: len(frames)]
            torch.mm(own, of_bins[band].flatten(0, 1), out=some)
            by_rows.index_add_(0, frames, some_exact.copy_(some))
            torch.index_select(rows, 0, frames, out=some)
            # The wider factor first: oneDNN takes longer the other way round.
            by_weight[band].flatten(0, 1).copy_((some.T @ own).T)
            # In half precision a product with ones is several times faster than `sum`.
            by_bias[band].view(1, -1).copy_(own.new_ones(1, len(own)) @ own)
        return (
            by_rows.to(rows.dtype).view_as(states),
            by_weight.flatten(0, 1),
            by_bias.flatten(),
            None,
        )


def _like_rows(rows: Tensor, bands: list[tuple[slice, Tensor, slice]]) -> Tensor:
    """Give memory for the rows of any band: fresh memory for each would take longer to get."""
    return rows.new_empty(max(len(frames) for _, frames, _ in bands), rows.shape[1])
