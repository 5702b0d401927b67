"""A head's linear layer at the bins that count, and no others.

It is the widest layer, and in speech about half of the bins are too far below the loudest one to
have a weight in training. Bins are taken in groups of a few neighbours; where none of a group
counts in a frame, that frame is left out of the group's product.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

__all__ = ["project_active"]

# A group is a range of bins with about so many outputs (bins * dim) in a frame. Smaller groups
# skip more inactive bins, but make products that are too small to be fast.
_GROUP_WIDTH = 320
# The number of frames of a group is rounded up to a multiple of 1/16 of all frames, so that few
# shapes occur: oneDNN compiles a kernel for every shape of a product in half precision, which
# takes longer than the product.
_FRAME_COUNTS = 16


def project_active(
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    active: Tensor,
    bands: tuple[tuple[int, int], ...],
) -> Tensor:
    """Give the vectors of some of the bins.

    Parameters
    ----------
    states : Tensor of shape (n_mixtures, n_frames, n_bands, width)
    weight : Tensor of shape (n_bins * dim, width)
    bias : Tensor of shape (n_bins * dim,)
    active : bool Tensor of shape (n_mixtures, n_frames, n_bins)
        The bins to give.
    bands : tuple of (int, int)
        First bin, and one past the last bin, of each band of the states.

    Returns
    -------
    Tensor of shape (n_mixtures, n_most, dim)
        Those of each mixture in the order of ``active[i].nonzero()``, in the precision of
        `states`, and zeros behind them, where another mixture has more. With a single band
        ``functional.linear(states, weight, bias).unflatten(-1, (n_bins, -1))`` at the bins that
        are asked for; with several, each bin from the states of its own band.
    """
    vectors: Tensor = _ActiveProjection.apply(  # type: ignore[no-untyped-call]
        states, weight, bias, active, bands
    )
    return vectors


class _ActiveProjection(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor,
        active: Tensor,
        bands: tuple[tuple[int, int], ...],
    ) -> Tensor:
        n_bins = active.shape[-1]
        dim = len(weight) // n_bins
        # (n_bins * dim, width) -> (n_bins, dim, width)
        of_bins = weight.to(states.dtype).view(n_bins, dim, -1)
        biases = bias.to(states.dtype).view(n_bins, dim)
        rows = _rows(states)
        chosen = active.flatten(0, 1)  # (n_rows, n_bins)
        # Row of each active bin's vector among the computed vectors.
        place = chosen.new_empty(chosen.shape, dtype=torch.int64)
        groups, n_vectors = [], 0
        step = -(-len(chosen) // _FRAME_COUNTS)
        for index, bins in _groups(bands, dim):
            frames = chosen[:, bins].any(1).nonzero().squeeze(1)
            n_own = bins.stop - bins.start
            own = n_vectors + torch.arange(frames.numel() * n_own, device=place.device)
            own = own.view(-1, n_own)  # (n_frames * n_own,) -> (n_frames, n_own)
            place[:, bins].index_copy_(0, frames, own)
            # Frame 0 fills up the rounded number of frames; these vectors are never used.
            frames = functional.pad(frames, (0, -len(frames) % step))
            n_new = len(frames) * n_own
            groups.append((index, bins, frames, slice(n_vectors, n_vectors + n_new)))
            n_vectors += n_new
        # The last one fills up the mixtures.
        vectors = states.new_empty(n_vectors + 1, dim)
        vectors[n_vectors] = 0.0
        taken = _like_rows(rows, groups)
        for index, bins, frames, part in groups:
            # (n_own, dim, width) -> (width, n_own * dim), and the same memory of the vectors as
            # (n_frames * n_own, dim) and as (n_frames, n_own * dim)
            torch.addmm(
                biases[bins].flatten(),
                torch.index_select(rows[index], 0, frames, out=taken[: len(frames)]),
                of_bins[bins].flatten(0, 1).T,
                out=vectors[part].view(len(frames), biases[bins].numel()),
            )
        of_mixtures = place[chosen].split(active.sum((1, 2)).tolist())
        places = pad_sequence(of_mixtures, batch_first=True, padding_value=n_vectors)
        ctx.save_for_backward(states, of_bins, places)
        ctx.groups, ctx.n_vectors, ctx.dtypes = groups, n_vectors, (weight.dtype, bias.dtype)
        # (n_mixtures * n_most, dim) -> (n_mixtures, n_most, dim)
        return vectors.index_select(0, places.flatten()).unflatten(0, places.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, of_bins, places = ctx.saved_tensors
        rows = _rows(states)
        # One more than there are, to take what fills up the mixtures.
        by_vectors = states.new_zeros(ctx.n_vectors + 1, of_bins.shape[1])
        # (n_mixtures, n_most, dim) -> (n_mixtures * n_most, dim)
        by_vectors.index_copy_(0, places.flatten(), gradient.flatten(0, 1))
        # These are sums over many groups, which half precision would round too much.
        exact_dtype = torch.promote_types(states.dtype, torch.float32)
        # Not `zeros_like`: the states may be stored in another order of axes, and `_rows` has to
        # give a view of this tensor.
        by_states = states.new_zeros(states.shape, dtype=exact_dtype)
        by_rows = _rows(by_states)
        weight_dtype, bias_dtype = ctx.dtypes
        by_weight = torch.empty_like(of_bins, dtype=weight_dtype)
        by_bias = torch.empty_like(of_bins[..., 0], dtype=bias_dtype)
        taken, exact = _like_rows(rows, ctx.groups), _like_rows(by_rows, ctx.groups)
        for index, bins, frames, part in ctx.groups:
            # (n_frames * n_own, dim) -> (n_frames, n_own * dim)
            own = by_vectors[part].view(len(frames), by_bias[bins].numel())
            some, some_exact = taken[: len(frames)], exact[: len(frames)]
            # (n_own, dim, width) -> (n_own * dim, width)
            torch.mm(own, of_bins[bins].flatten(0, 1), out=some)
            by_rows[index].index_add_(0, frames, some_exact.copy_(some))
            torch.index_select(rows[index], 0, frames, out=some)
            # own.T @ some, as the transpose of some.T @ own: oneDNN is faster with the wider
            # factor first. (n_bins, dim, width) -> (n_bins * dim, width)
            by_weight[bins].flatten(0, 1).copy_((some.T @ own).T)
            # In half precision a product with ones is several times faster than `sum`.
            by_bias[bins].view(1, -1).copy_(own.new_ones(1, len(own)) @ own)
        return (
            by_states.to(states.dtype),
            by_weight.flatten(0, 1),  # (n_bins, dim, width) -> (n_bins * dim, width)
            by_bias.flatten(),
            None,
            None,
        )


def _rows(states: Tensor) -> Tensor:
    """Give the frames of all mixtures by band."""
    # (mixtures, frames, bands, width) -> (bands, mixtures * frames, width)
    return states.flatten(0, 1).transpose(0, 1)


def _groups(bands: tuple[tuple[int, int], ...], dim: int) -> Iterator[tuple[int, slice]]:
    """Split the bins of each band into groups of about as many numbers."""
    for index, (first, end) in enumerate(bands):
        n_groups = min(max(1, (end - first) * dim // _GROUP_WIDTH), end - first)
        edges = [first + part * (end - first) // n_groups for part in range(n_groups + 1)]
        for start, stop in pairwise(edges):
            yield index, slice(start, stop)


def _like_rows(rows: Tensor, groups: list[tuple[int, slice, Tensor, slice]]) -> Tensor:
    """Give memory for the rows of any group: fresh memory for each would take longer to get."""
    return rows.new_empty(max(len(frames) for _, _, frames, _ in groups), rows.shape[-1])
