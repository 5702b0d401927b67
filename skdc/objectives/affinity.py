"""Affinity objectives: each pair of points is as similar as its labels say."""

from __future__ import annotations

import torch
from torch import Tensor

from skdc.objectives.interface import Outputs, Targets
from skdc.objectives.unit_vectors import EmbeddingObjective, weighted_products

__all__ = [
    "Affinity",
    "BalancedAffinity",
    "SimplexAffinity",
    "affinity_loss",
    "partition_weights",
]


class Affinity(EmbeddingObjective):
    r"""Affinity objective of deep clustering: :math:`|VV^\top - YY^\top|^2` [1]_.

    With weights, and divided by the square of their sum; see `affinity_loss`, equation and
    arguments. Each pair of points counts the same, so large sources dominate. Nothing is assumed
    about the number of sources, and the gradient is the cheapest of all objectives.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306), equation 1.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import Affinity, Outputs, Targets, one_hot_labels
    >>> labels = one_hot_labels(torch.tensor([0, 1, 1, 0]), 2)
    >>> Affinity()(Outputs(torch.ones(4, 3)), Targets(labels, torch.ones(4)))
    tensor(0.5000)
    """

    def of_unit_vectors(self, vectors: Tensor, targets: Targets) -> Tensor:
        """Give one loss a mixture, see `EmbeddingObjective.of_unit_vectors`."""
        products = weighted_products(vectors, targets.labels, targets.weights)
        return _pair_error(*products, targets.weights.sum(-1))


class BalancedAffinity(EmbeddingObjective):
    r"""Affinity objective in which small sources count for more than their share of pairs.

    .. math::

        \frac{1}{(\sum_i u_i)^2} \sum_{ij} u_i u_j
        \left( \langle v_i, v_j \rangle - [c_i = c_j] \right)^2,
        \qquad u_i = \frac{w_i}{\sqrt{\sum_{j : c_j = c_i} w_j}}

    where :math:`c_i` is the source of point :math:`i`. Its weight :math:`w_i` is divided by the
    root of the size of its own source, which gives the :math:`D^{-1/2}` on both sides of section 2
    of [1]_; see `partition_weights`, and `affinity_loss` for the closed form. Suits mixtures in
    which one talker holds most of the points. Points of no source count for nothing.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306).

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import BalancedAffinity, Outputs, Targets, one_hot_labels
    >>> labels = one_hot_labels(torch.tensor([0, 1, 1, 1, 1]), 2)
    >>> BalancedAffinity()(Outputs(torch.ones(5, 3)), Targets(labels, torch.ones(5)))
    tensor(0.4444)
    """

    def of_unit_vectors(self, vectors: Tensor, targets: Targets) -> Tensor:
        """Give one loss a mixture, see `EmbeddingObjective.of_unit_vectors`."""
        weights = partition_weights(targets.labels, targets.weights)
        products = weighted_products(vectors, targets.labels, weights)
        return _pair_error(*products, weights.sum(-1))


class SimplexAffinity(EmbeddingObjective):
    r"""Affinity objective whose sources are to be as far apart as they can be.

    .. math::

        \frac{1}{(\sum_i w_i)^2} \sum_{ij} w_i w_j
        \left( \langle v_i, v_j \rangle - t_{ij} \right)^2

    where :math:`t_{ij}` is 1 for two points of one source and :math:`-1 / (C - 1)` for others,
    with the number :math:`C` of sources that occur. These are the inner products of the corners of
    a simplex: opposite points for two sources, where `Affinity` asks for right angles. In terms of
    small matrices it is

    .. math::

        |V^\top W V|^2 - \frac{2}{C - 1} \left( C |V^\top W Y|^2 - |V^\top W \mathbf{1}|^2 \right)
        + \text{const}.

    This is a variant of the objective of [1]_. Clusters end up further apart than with `Affinity`,
    but at angles that depend on how many there are: good where the number of sources is fixed.
    With one source all pairs have the target 1. Points of no source count for nothing.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306), equation 1.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import Outputs, SimplexAffinity, Targets, one_hot_labels
    >>> targets = Targets(one_hot_labels(torch.tensor([0, 1, 1, 0]), 2), torch.ones(4))
    >>> opposite = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [-1.0, -2.0], [1.0, 2.0]])
    >>> round(SimplexAffinity()(Outputs(opposite), targets).item(), 4)
    0.0
    """

    def of_unit_vectors(self, vectors: Tensor, targets: Targets) -> Tensor:
        """Give one loss a mixture, see `EmbeddingObjective.of_unit_vectors`."""
        weights = targets.weights * targets.labels.sum(-1)
        gram, cross, sizes = weighted_products(vectors, targets.labels, weights)
        # With one source there are no pairs of different sources, so any target will do.
        n_others = (sizes > 0).sum(-1).sub(1).clamp_min(1)
        return _pair_error(gram, cross, sizes, weights.sum(-1), apart=-1 / n_others)


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
    return Affinity()(Outputs(embeddings), Targets(labels, weights))


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
    # A labelled bin of weight w > 0 is in a source of size >= w, so that the bound changes only
    # bins without a label.
    inverse = own_size.clamp_min(torch.finfo(own_size.dtype).tiny).rsqrt()
    return torch.where(own_size > 0, weights * inverse, torch.zeros_like(weights))


def _pair_error(
    gram: Tensor, cross: Tensor, sizes: Tensor, total: Tensor, apart: Tensor | None = None
) -> Tensor:
    """Mean squared error over weighted pairs of unit vectors, one a mixture.

    The first three are what `weighted_products` gives, `total` is the sum of weights. The target
    is 1 for two points of one source, and `apart`, a number for each mixture, for two of different
    sources; then all points must have a source. None means 0.
    """
    # Sums over pairs of weights times target times inner product, and times target squared.
    agreement, squares = _energy(cross), sizes.square().sum(-1)
    if apart is not None:
        agreement = agreement + apart * (cross.sum(-2).square().sum(-1) - agreement)
        squares = squares + apart.square() * (sizes.sum(-1).square() - squares)
    # Where all weights are zero so is the total; the bound keeps its inverse finite.
    n_pairs = total.square().clamp_min(16 * torch.finfo(total.dtype).tiny)
    # Only rounding can bring it below zero.
    return ((_energy(gram) - 2 * agreement + squares) / n_pairs).clamp_min(0.0)


def _energy(matrices: Tensor) -> Tensor:
    return matrices.square().sum((-2, -1))
