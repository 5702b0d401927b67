r"""What the network is trained to do, in low-rank form.

Every objective takes the embeddings :math:`V` (one row a bin), the labels :math:`Y` (one-hot, one
row a bin) and a non-negative weight for each bin, and gives one number for each mixture. No matrix
of bins by bins is ever built: the cost is linear in their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from skdc.signal import long_product

__all__ = [
    "OBJECTIVES",
    "affinity_loss",
    "one_hot_labels",
    "partition_weights",
    "whitened_kmeans_loss",
]

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]

_SMALLEST_NORM = 1e-12


def one_hot_labels(labels: Tensor, n_sources: int) -> Tensor:
    """Label indices as rows of zeros and a one.

    Parameters
    ----------
    labels : int64 Tensor of shape (...)
        Source of each bin; negative for bins of no source.
    n_sources : int
        Number of classes; classes that do not occur are fine.

    Returns
    -------
    float32 Tensor of shape (..., n_sources)
        Rows of negative labels are all zero.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import one_hot_labels
    >>> one_hot_labels(torch.tensor([1, -1]), 2)
    tensor([[0., 1.],
            [0., 0.]])
    """
    return (labels.unsqueeze(-1) == torch.arange(n_sources, device=labels.device)).float()


def partition_weights(labels: Tensor, weights: Tensor) -> Tensor:
    r"""Weigh each bin by the inverse square root of the size of its own source.

    In the affinity objective these are the :math:`D^{-1/2}` on both sides, with
    :math:`D = \operatorname{diag}(YY^\top \mathbf{1})`, of section 2 of [1]_: a source that holds
    few bins counts for more than its share of pairs.

    Parameters
    ----------
    labels : float Tensor of shape (..., n_points, n_sources)
        One-hot labels.
    weights : float Tensor of shape (..., n_points)
        Non-negative; the size of a source is its sum of weights.

    Returns
    -------
    Tensor of shape (..., n_points)
        ``weights / sqrt(size of the bin's source)``; 0 where a bin has no weight or no label.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306).

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import one_hot_labels, partition_weights
    >>> labels = one_hot_labels(torch.tensor([0, 0, 0, 0, 1]), 2)
    >>> partition_weights(labels, torch.ones(5))
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 1.0000])
    """
    labels = labels.to(weights.dtype)
    # Sizes run into the thousands, which bfloat16 would round to three digits.
    with torch.autocast(weights.device.type, enabled=False):
        sizes = torch.einsum("...nc,...n->...c", labels, weights)
        own_size = torch.einsum("...nc,...c->...n", labels, sizes)
    # A bin of weight w > 0 is in a source of size >= w, so only unlabelled bins meet the clamp.
    inverse = own_size.clamp_min(torch.finfo(own_size.dtype).tiny).rsqrt()
    return torch.where(own_size > 0, weights * inverse, torch.zeros_like(weights))


class _Affinity(torch.autograd.Function):
    """The affinity objective of normalised vectors, with its gradient in closed form.

    Autograd would keep several copies of all embeddings. This keeps one copy, on the CPU of the
    bins that have a weight alone: there the others cost nothing.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        dtype = torch.promote_types(vectors.dtype, torch.float32)
        products, saved = [], []
        for active, *part in _parts(vectors, labels, weights):
            # Copies, to be changed in place.
            v, y, root = (x.to(dtype, copy=active is None) for x in part)
            root = root.unsqueeze(-1).sqrt_()
            norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_(min=_SMALLEST_NORM)
            # Both sides carry the root of the weight, so that one copy of the vectors is enough.
            v *= root / norm
            y *= root
            # V'WV (K, K), Y'WV (C, K) and the diagonal of Y'WY (C). The transpose V'WY, with few
            # columns instead of few rows, would take four times as long.
            products.append((long_product(v.mT, v), long_product(y.mT, v), y.square().sum(-2)))
            saved += [active, v, y, root, norm]
        vv, yv, yy = (torch.cat(matrices) for matrices in zip(*products, strict=True))
        # So large that 4 / total is finite, also where nothing counts.
        smallest = 16 * torch.finfo(dtype).tiny
        total = weights.to(dtype).sum(-1).square().clamp_(min=smallest)
        loss = (_energy(vv) - 2 * _energy(yv) + yy.square().sum(-1)) / total
        # d loss / dV = 4 W (V V'WV - Y Y'WV) / total
        slopes = (matrix * (4 / total)[:, None, None] for matrix in (vv, yv))
        ctx.save_for_backward(*slopes, *saved)
        ctx.shape, ctx.dtype = vectors.shape, vectors.dtype
        return loss.clamp_(min=0.0)  # below zero by rounding only

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        by_v, by_y, *saved = ctx.saved_tensors
        by_v, by_y = (matrix * grads[0][:, None, None] for matrix in (by_v, by_y))
        # Where every part is whole, all of it is written.
        make = torch.empty if all(active is None for active in saved[::5]) else torch.zeros
        gradient = make(ctx.shape, dtype=ctx.dtype, device=by_v.device)
        first = 0
        for active, v, y, root, norm in zip(*(saved[k::5] for k in range(5)), strict=True):
            items = slice(first, first := first + len(v))
            slope = (y @ by_y[items]).baddbmm_(v, by_v[items], beta=-1)
            # Through the normalisation: only the part across the unit vector comes back, / norm.
            tiny = torch.finfo(root.dtype).tiny
            along = torch.linalg.vecdot(v, slope).unsqueeze(-1) / root.square().clamp_(min=tiny)
            slope.addcmul_(v, along, value=-1).mul_(root / norm)
            if active is None:
                gradient[items] = slope
            else:
                gradient[first - 1].index_copy_(0, active, slope[0].to(ctx.dtype))
        return gradient, None, None


def _parts(
    vectors: Tensor, labels: Tensor, weights: Tensor
) -> Iterator[tuple[Tensor | None, *tuple[Tensor, ...]]]:
    """Give mixtures with the indices of those bins that have a weight; None where all count.

    On the CPU one after the other, without the bins of no weight. Elsewhere all as they are:
    what is left out is known on the host, and waiting for it would take longer than the rest.
    """
    if vectors.device.type != "cpu":
        yield None, vectors, labels, weights
        return
    for v, y, w in zip(vectors.split(1), labels.split(1), weights.split(1), strict=True):
        active = (w[0] > 0).nonzero().squeeze(-1)
        if len(active) == w.shape[1]:
            yield None, v, y, w
        else:
            # By rows of matrices: several times faster than along a middle axis.
            yield active, *(x[0].index_select(0, active)[None] for x in (v, y, w))


def _energy(matrices: Tensor) -> Tensor:
    return matrices.square().sum((-2, -1))


def affinity_loss(embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    r"""Affinity objective of deep clustering, per weighted pair of bins.

    .. math::

        \frac{1}{(\sum_i w_i)^2} \sum_{ij} w_i w_j
        \left( \langle v_i, v_j \rangle - \langle y_i, y_j \rangle \right)^2
        = \frac{|V^\top W V|^2 - 2 |V^\top W Y|^2 + |Y^\top W Y|^2}{(\sum_i w_i)^2}

    with :math:`W = \operatorname{diag}(w)`: the objective of [1]_ with weights and a scale that
    makes values comparable: 0 when bins of one source share a vector and those of different
    sources are orthogonal. With unit vectors and two sources of equal weight, embeddings that are
    all the same score 0.5 and random ones of many dimensions about 0.5 too; anything below is
    learnt.

    Parameters
    ----------
    embeddings : Tensor of shape (..., n_points, embedding_dim)
        One vector a bin, brought to unit norm first (unit vectors stay what they are).
    labels : Tensor of shape (..., n_points, n_sources)
        One-hot labels; rows may be all zero, sources may be absent.
    weights : Tensor of shape (..., n_points)
        Non-negative weight of each bin. Bins of weight 0 count for nothing.

    Returns
    -------
    Tensor of shape (...)
        One loss a mixture, at least 0; 0 where all weights are 0. Only the embeddings receive
        gradients.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306).

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import affinity_loss, one_hot_labels
    >>> labels = one_hot_labels(torch.tensor([0, 1, 1, 0]), 2)
    >>> affinity_loss(labels, labels, torch.ones(4))
    tensor(0.)
    >>> same = torch.tensor([1.0, 0.0]).expand(4, 2)
    >>> affinity_loss(same, labels, torch.ones(4))
    tensor(0.5000)
    """
    leading = embeddings.shape[:-2]
    flat = [tensor.flatten(0, -3) if leading else tensor[None] for tensor in (embeddings, labels)]
    weights = weights.flatten(0, -2) if leading else weights[None]
    with torch.autocast(embeddings.device.type, enabled=False):
        loss: Tensor = _Affinity.apply(*flat, weights)  # type: ignore[no-untyped-call]
    return loss.reshape(leading)


def whitened_kmeans_loss(embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    r"""Whitened k-means objective: embeddings that predict labels and nothing else.

    .. math::

        1 - \frac{1}{C} \operatorname{tr}\left(
        (V^\top W V)^{-1} \, V^\top W Y \, (Y^\top W Y)^{-1} \, Y^\top W V \right)

    the whitened k-means objective of [1]_ with weights, divided by the number :math:`C` of sources
    that occur. It does not change when the embeddings are mapped linearly, so large but
    uninformative directions cost nothing.

    Parameters
    ----------
    embeddings : Tensor of shape (..., n_points, embedding_dim)
        One vector a bin, brought to unit norm first.
    labels : Tensor of shape (..., n_points, n_sources)
        One-hot labels; rows may be all zero, sources may be absent.
    weights : Tensor of shape (..., n_points)
        Non-negative weight of each bin.

    Returns
    -------
    Tensor of shape (...)
        One loss a mixture: 0 when the labels are a linear function of the embeddings, 1 when they
        are unrelated. Embeddings that are all the same score ``1 - 1 / C``.

    References
    ----------
    .. [1] Wang, Le Roux, Hershey, "Alternative objective functions for deep clustering", ICASSP
       2018.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import one_hot_labels, whitened_kmeans_loss
    >>> labels = one_hot_labels(torch.tensor([0, 1, 1, 0]), 2)
    >>> round(whitened_kmeans_loss(labels, labels, torch.ones(4)).item(), 4)
    0.0
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        vectors = functional.normalize(embeddings.to(dtype), dim=-1, eps=_SMALLEST_NORM)
        labels = labels.to(dtype)
        total = weights.to(dtype).sum(-1, keepdim=True)
        weights = (weights / total.clamp_min(torch.finfo(dtype).tiny)).to(dtype).unsqueeze(-1)
        gram = (vectors * weights).transpose(-1, -2) @ vectors  # V'WV (..., K, K), trace 1
        cross = (vectors * weights).transpose(-1, -2) @ labels  # V'WY (..., K, C)
        sizes = (labels * weights).sum(-2)  # diagonal of Y'WY (..., C)
        # A source that does not occur has an empty column in V'WY: its size may be anything.
        scaled = cross * torch.where(sizes > 0, sizes, torch.ones_like(sizes)).rsqrt().unsqueeze(
            -2
        )
        # The ridge keeps V'WV invertible while the embeddings span few dimensions.
        ridge = 1e-5 * torch.eye(vectors.shape[-1], dtype=dtype, device=vectors.device)
        factor = torch.linalg.cholesky(gram + ridge)
        explained = torch.linalg.solve_triangular(factor, scaled, upper=False)
        n_present = (sizes > 0).sum(-1).clamp_min(1)
        loss = 1.0 - explained.square().sum((-2, -1)) / n_present
        return torch.where(total.squeeze(-1) > 0, loss, torch.zeros_like(loss))


def _balanced_affinity_loss(embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return affinity_loss(embeddings, labels, partition_weights(labels, weights))


OBJECTIVES: dict[str, Objective] = {
    "affinity": affinity_loss,
    "balanced_affinity": _balanced_affinity_loss,
    "whitened_kmeans": whitened_kmeans_loss,
}
"""The objectives by the names that ``DeepClusteringSeparator(objective=...)`` takes."""
