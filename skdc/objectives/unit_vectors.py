"""Losses of embeddings see directions only: the unit vectors of the points that count.

What all of them share is done here, once for a whole sum of objectives: precision, leading axes,
the choice of points and the unit norm.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skdc.objectives.interface import Objective, Outputs, Targets
from skdc.signal import long_product

__all__ = ["EmbeddingObjective", "on_unit_vectors", "weighted_products"]

_SMALLEST_NORM = 1e-12
# Numbers of the vectors that are computed at once on CPUs: of few more, the caches hold little;
# of many fewer, starting the operations takes as long as they do.
_NUMBERS_AT_ONCE = 2**20


class EmbeddingObjective(Objective):
    """An objective that sees of the outputs only the directions of the embeddings.

    A subclass gives its losses as a function of unit vectors. Where several such objectives are
    summed, the unit vectors are made once.
    """

    needs = frozenset({"embeddings"})

    @abstractmethod
    def of_unit_vectors(self, vectors: Tensor, targets: Targets) -> Tensor:
        """Give one loss a mixture.

        Parameters
        ----------
        vectors : float32 or float64 Tensor of shape (n_mixtures, n_points, embedding_dim)
            Unit vectors; zero where the embedding was.
        targets : Targets
            Targets of the same points and dtype, with the same one leading axis.

        Returns
        -------
        Tensor of shape (n_mixtures,)
        """

    def __call__(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Give one loss a mixture.

        Parameters
        ----------
        outputs : Outputs
            With `embeddings`.
        targets : Targets

        Returns
        -------
        float Tensor of shape (...)
            At least float32, whatever the embeddings are. Only the embeddings receive gradients.

        Raises
        ------
        ValueError
            If something is missing or of another shape.
        """
        self.check(outputs, targets)
        return on_unit_vectors(self.of_unit_vectors, cast(Tensor, outputs.embeddings), targets)


def on_unit_vectors(
    losses: Callable[[Tensor, Targets], Tensor], embeddings: Tensor, targets: Targets
) -> Tensor:
    """Evaluate losses on the unit vectors along embeddings, in float32 or better.

    On the CPU a few mixtures at once, as the caches hold them, without the points that have a
    weight in none of them: there they would cost as much as the others. Elsewhere all at once: how
    many points count is known on the host only, and waiting for it would take longer than the
    rest.

    The embeddings ``(..., n_points, embedding_dim)``, and targets with the same leading axes, give
    losses of shape ``(...)``; `losses` gets unit vectors and targets as
    `EmbeddingObjective.of_unit_vectors` does, points next to each other in memory.
    """
    leading = embeddings.shape[:-2]
    dtype = torch.promote_types(embeddings.dtype, torch.float32)
    with torch.autocast(embeddings.device.type, enabled=False):
        # (..., n_points, embedding_dim) -> (n_mixtures, n_points, embedding_dim)
        flat = embeddings.flatten(0, -3) if leading else embeddings[None]
        targets = _map(targets, lambda x: x.flatten(0, len(leading) - 1) if leading else x[None])
        targets = _map(targets, lambda x: x.to(dtype))
        parts = _parts(targets.weights, flat.shape[-1])
        vectors = _UnitVectors.apply(flat, parts)  # type: ignore[no-untyped-call]
        found = [
            losses(own, _map(targets, part.take_along_points))
            for own, part in zip(vectors, parts, strict=True)
        ]
        # (n_mixtures,) -> the leading axes (...)
        return (found[0] if len(found) == 1 else torch.cat(found)).reshape(leading)


class _Part(NamedTuple):
    """Some mixtures, and the points of these that are looked at: a range of them, or indices."""

    mixtures: slice
    points: slice | Tensor

    def take(self, tensor: Tensor) -> Tensor:
        """Give the part of a tensor of shape (n_mixtures, n_points, ...)."""
        own = tensor[self.mixtures]
        if isinstance(self.points, slice):
            return own[:, self.points]
        if len(own) > 1:
            return own.index_select(1, self.points)
        # Rows of a matrix are several times faster to select than along a middle axis:
        # (1, n_points, ...) -> (n_points, ...) -> (1, n_taken, ...)
        return own[0].index_select(0, self.points)[None]

    def take_along_points(self, tensor: Tensor) -> Tensor:
        """Give the same, with its points next to each other in memory."""
        own = self.take(tensor)
        return own if own.ndim < 3 else own.mT.contiguous().mT

    def put(self, tensor: Tensor, values: Tensor) -> None:
        """Write the part of a tensor of shape (n_mixtures, n_points, ...)."""
        own = tensor[self.mixtures]
        if isinstance(self.points, slice):
            own[:, self.points] = values
        else:
            own.index_copy_(1, self.points, values.to(own.dtype).contiguous())


def _parts(weights: Tensor, embedding_dim: int) -> list[_Part]:
    """Divide a batch of weights (n_mixtures, n_points) into what is computed at once."""
    if weights.device.type != "cpu" or not len(weights):
        return [_Part(slice(None), slice(None))]
    n_together = max(1, _NUMBERS_AT_ONCE // max(1, weights.shape[1] * embedding_dim))
    parts = []
    for start in range(0, len(weights), n_together):
        mixtures = slice(start, start + n_together)
        counting = (weights[mixtures] > 0).any(0)  # (n_points,)
        n_counting = int(counting.sum())
        points: slice | Tensor
        if n_counting == len(counting):
            points = slice(None)
        elif bool(counting[:n_counting].all()):
            points = slice(n_counting)
        else:
            points = counting.nonzero().squeeze(-1)
        parts.append(_Part(mixtures, points))
    return parts


def _map(targets: Targets, change: Callable[[Tensor], Tensor]) -> Targets:
    mixture, sources = (x if x is None else change(x) for x in targets[2:])
    return Targets(change(targets.labels), change(targets.weights), mixture, sources)


class _UnitVectors(torch.autograd.Function):
    """Unit vectors along the embeddings of each part, with the gradient in closed form.

    Autograd would keep more copies and pass over them more often. Results are written over what is
    no longer needed: fresh memory would take as long as the arithmetic. In memory the points of a
    vector's component lie next to each other: sums over the few components, and products with the
    few sources, then take half as long as along rows.
    """

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, parts: list[_Part]) -> tuple[Tensor, ...]:
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        units, inverses = [], []
        for part in parts:
            # (mixtures, points, embedding) -> (mixtures, embedding, points)
            columns = part.take(embeddings).mT.to(dtype).contiguous()
            unit = columns.square()
            norm = unit.sum(-2, keepdim=True).sqrt_()
            # A vector of no length has no direction: it stays zero, and gets no gradient.
            inverse = torch.where(norm > _SMALLEST_NORM, norm.reciprocal(), 0.0)
            units.append(torch.mul(columns, inverse, out=unit).mT)
            inverses.append(inverse)
        ctx.save_for_backward(*units, *inverses)
        ctx.parts, ctx.shape, ctx.dtype = parts, embeddings.shape, embeddings.dtype
        return tuple(units)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        n_parts = len(gradients)
        units, inverses = ctx.saved_tensors[:n_parts], ctx.saved_tensors[n_parts:]
        # Where every part has all of its points, every entry is written, and none needs a zero.
        is_whole = all(part.points == slice(None) for part in ctx.parts)
        make = torch.empty if is_whole else torch.zeros
        whole = make(ctx.shape, dtype=ctx.dtype, device=gradients[0].device)
        for part, unit, inverse, gradient in zip(
            ctx.parts, units, inverses, gradients, strict=True
        ):
            # The gradient of u = v / |v| is its part orthogonal to u, divided by |v|.
            slope = unit.mT * gradient.mT
            along = slope.sum(-2, keepdim=True)
            torch.addcmul(gradient.mT, unit.mT, along, value=-1, out=slope)
            part.put(whole, slope.mul_(inverse).mT)
        return whole, None


def weighted_products(
    vectors: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Give all that most objectives know of the vectors and labels: small matrices.

    Parameters
    ----------
    vectors : Tensor of shape (n_mixtures, n_points, embedding_dim)
    labels : Tensor of shape (n_mixtures, n_points, n_sources)
        One-hot.
    weights : Tensor of shape (n_mixtures, n_points)

    Returns
    -------
    gram : Tensor of shape (n_mixtures, embedding_dim, embedding_dim)
        :math:`V^\top W V`.
    cross : Tensor of shape (n_mixtures, n_sources, embedding_dim)
        :math:`Y^\top W V`.
    sizes : Tensor of shape (n_mixtures, n_sources)
        The diagonal of :math:`Y^\top W Y`: the sum of weights of each source.

    Notes
    -----
    Only the vectors receive gradients, and these can not be differentiated again.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import weighted_products
    >>> gram, cross, sizes = weighted_products(
    ...     torch.eye(2)[None], torch.ones(1, 2, 1), torch.tensor([[1.0, 2.0]])
    ... )
    >>> gram.tolist(), cross.tolist(), sizes.tolist()
    ([[[1.0, 0.0], [0.0, 2.0]]], [[[1.0, 2.0]]], [[3.0]])
    """
    gram, cross, sizes = _WeightedProducts.apply(vectors, labels, weights)  # type: ignore[no-untyped-call]
    return gram, cross, sizes


class _WeightedProducts(torch.autograd.Function):
    """Where V'WV has the gradient G and Y'WV has H, V gets W (V (G + G') + Y H).

    Nothing is kept but the inputs; autograd would keep weighted copies.
    """

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        weighted = vectors * weights.unsqueeze(-1)
        sizes = (weights.unsqueeze(-2) @ labels).squeeze(-2)
        ctx.save_for_backward(vectors, labels, weights)
        ctx.mark_non_differentiable(sizes)
        # The transpose V'WY, with few columns instead of few rows, would take four times as long.
        return long_product(weighted.mT, vectors), long_product(labels.mT, weighted), sizes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_gram: Tensor, by_cross: Tensor, _: Any) -> tuple[Any, ...]:
        vectors, labels, weights = ctx.saved_tensors
        slope = ((by_gram + by_gram.mT) @ vectors.mT).baddbmm_(by_cross.mT, labels.mT)
        return slope.mul_(weights.unsqueeze(-2)).mT, None, None
