"""Masks that the embeddings would give, if clustering found the sources' true centres."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skdc.objectives.interface import Outputs, Targets
from skdc.objectives.mask_errors import DISTORTION_FLOOR, check_error
from skdc.objectives.unit_vectors import EmbeddingObjective
from skdc.signal import bin_weights, long_product

__all__ = ["AttractorMasks"]


class AttractorMasks(EmbeddingObjective):
    r"""Error of the masks around ideal attractors.

    The attractor of a source is the mean of its points' unit vectors, weighted by their magnitude;
    the masks are a softmax over sources of nearness, and are compared to truncated phase-sensitive
    targets :math:`t_{ic}`:

    .. math::

        a_c = \frac{\sum_i w_i |x_i| y_{ic} v_i}{\sum_i w_i |x_i| y_{ic}}, \quad
        m_{ic} = \operatorname{softmax}_c \left( -s |v_i - a_c|^2 \right), \quad
        \mathcal{L} = \frac{\sum_{ic} w_i \left| m_{ic} |x_i| - t_{ic} \right|}{\sum_i w_i |x_i|}

    or, with ``error="distortion"``, measured in decibels, 40 of them to the unit, as separation is
    judged, where :math:`C` is the number of sources that have points:

    .. math::

        \mathcal{L} = \frac{1}{C} \sum_c \frac14 \log_{10} \left( 1 + 10^4
        \frac{\sum_i w_i \left( m_{ic} |x_i| - t_{ic} \right)^2}{\sum_i w_i |x_i|^2} \right)

    This is the deep attractor network [1]_ with squared distances in place of inner products and
    the targets of [2]_. It trains on what separation does with the centroids that k-means finds,
    for any number of sources, and on the points where they mix, which objectives with one-hot
    labels can not describe. Ideal attractors know nothing of whether k-means will find them: best
    together with an objective that makes clusters, as ``"whitened_kmeans + attractor_masks"``, or
    with `n_iter`, by which the attractors are those that k-means finds when it starts from the
    ideal ones. Such unfolded clustering [3]_ helps most where sources are many.

    A source without points has no attractor: its mask is 0, and its target still counts. With one
    source all masks are 1, and nothing can be learnt.

    Parameters
    ----------
    sharpness : float, default=3.0
        :math:`s`, at least 0: from equal shares at 0 towards binary masks. Separation with soft
        masks uses 2; a network that is trained with a little more makes clearer clusters.
    error : {"absolute", "distortion"}, default="absolute"
        What makes a mask wrong: every bin by its magnitude, or the ratio in decibels that
        separation is judged by, in which loud bins weigh more.
    n_iter : int, default=0
        Iterations of k-means that move the attractors away from the ideal ones. Each gives every
        point to its nearest attractor, and takes the mean again; the gradient flows through the
        last mean. Some 5 come near to where k-means ends. With any, all means are weighted as
        separation weights bins, by :math:`|x_i|^{1.5}`, see `skdc.signal.bin_weights`.

    References
    ----------
    .. [1] Chen, Luo, Mesgarani, "Deep attractor network for single-microphone speaker separation",
       ICASSP 2017 (arXiv:1611.08930).
    .. [2] Erdogan, Hershey, Watanabe, Le Roux, "Phase-sensitive and recognition-boosted speech
       separation using deep recurrent neural networks", ICASSP 2015.
    .. [3] Isik, Le Roux, Chen, Watanabe, Hershey, "Single-channel multi-speaker separation using
       deep clustering", Interspeech 2016 (arXiv:1607.02173), section 3.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import AttractorMasks, Outputs, Targets, one_hot_labels
    >>> labels = one_hot_labels(torch.tensor([0, 1, 1, 0]), 2)
    >>> targets = Targets(labels, torch.ones(4), mixture=torch.ones(4), sources=labels)
    >>> opposite = Outputs(torch.tensor([[1.0], [-1.0], [-1.0], [1.0]]))
    >>> AttractorMasks(sharpness=0.0)(opposite, targets)
    tensor(1.)
    >>> AttractorMasks()(opposite, targets) < 1e-4
    tensor(True)
    """

    needs = frozenset({"embeddings", "spectrograms"})

    def __init__(self, sharpness: float = 3.0, error: str = "absolute", n_iter: int = 0) -> None:
        self.sharpness = sharpness
        self.error = error
        self.n_iter = n_iter

    def of_unit_vectors(self, vectors: Tensor, targets: Targets) -> Tensor:
        """Give one loss a mixture, see `EmbeddingObjective.of_unit_vectors`."""
        losses: Tensor = _MaskError.apply(  # type: ignore[no-untyped-call]
            vectors, *targets, float(self.sharpness), self.error == "distortion", int(self.n_iter)
        )
        return losses

    def check(self, outputs: Outputs, targets: Targets) -> None:
        """Refuse what can not be computed, as `Objective.check` does, and unfit parameters."""
        check_error(self.error)
        if not self.sharpness >= 0:
            raise ValueError(f"sharpness is {self.sharpness}, expected a number of at least 0")
        if not (isinstance(self.n_iter, Integral) and self.n_iter >= 0):
            raise ValueError(f"n_iter is {self.n_iter!r}, expected an int of at least 0")
        super().check(outputs, targets)


class _MaskError(torch.autograd.Function):
    """Error of masks around attractors, its gradient in closed form.

    Sources come before points here, so that the softmax and all else runs along memory. With
    q = d loss / d logits, the gradient of the attractors is b = 2 s (Q V - A sum_i q), and that of
    the vectors 2 s Q'A + P'b, where P holds each point's share of its source's attractor. So the
    small matrices Q, P, A, b are all that is kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        labels: Tensor,
        weights: Tensor,
        mixture: Tensor,
        sources: Tensor,
        sharpness: float,
        is_distortion: bool,
        n_iter: int,
    ) -> Tensor:
        tiny = torch.finfo(vectors.dtype).tiny
        magnitudes = (weights * mixture).unsqueeze(-2)  # (mixtures, 1, points)
        counted = (weights * bin_weights(mixture)).unsqueeze(-2) if n_iter else magnitudes
        shares = labels.mT * counted  # (mixtures, sources, points)
        sizes = shares.sum(-1, keepdim=True)
        # Without sources, no point may find one.
        counted = counted * (sizes > 0).any(-2, keepdim=True)
        for moves_left in range(n_iter, -1, -1):
            absent = sizes == 0
            sizes = sizes.clamp_min_(tiny)
            attractors = long_product(shares, vectors) / sizes  # (mixtures, sources, embedding)
            nearness = (2 * attractors) @ vectors.mT  # (mixtures, sources, points)
            # No point is near to a source without points.
            nearness -= attractors.square().sum(-1, keepdim=True).masked_fill_(absent, torch.inf)
            if moves_left:
                shares = _nearest(nearness).mul_(counted)
                sizes = shares.sum(-1, keepdim=True)
        # A source without points has no attractor, and its mask is zero, however small the
        # sharpness; where no source has points, all masks are.
        logits = nearness.mul_(sharpness).masked_fill_(absent, torch.finfo(nearness.dtype).min)
        masks = logits.softmax(-2).masked_fill_(absent, 0.0)
        error = (masks * mixture.unsqueeze(-2)).sub_(sources.mT)
        if is_distortion:
            n_present = (~absent).sum(-2, keepdim=True).clamp_min(1)  # (mixtures, 1, 1)
            power = error.square() @ weights.unsqueeze(-1)  # (mixtures, sources, 1)
            total = magnitudes @ mixture.unsqueeze(-1)  # (mixtures, 1, 1)
            floor = (DISTORTION_FLOOR * total).clamp_min(16 * tiny)
            scale = -1 / (math.log(DISTORTION_FLOOR) * n_present)
            loss = (scale * (power / floor).log1p()).sum((-2, -1))
            slope = error.mul_(magnitudes).mul_(2 * scale / (floor + power))
        else:
            total = magnitudes.sum(-1, keepdim=True).clamp_min(16 * tiny)  # (mixtures, 1, 1)
            loss = (error.abs() @ weights.unsqueeze(-1)).sum((-2, -1)) / total[:, 0, 0]
            slope = error.sign_().mul_(magnitudes / total)
        # The gradient through the softmax, where g is that of the masks: q = m (g - sum_c m g).
        slope = slope.mul_(masks)
        slope -= masks * slope.sum(-2, keepdim=True)
        pull = long_product(slope, vectors) - attractors * slope.sum(-1, keepdim=True)
        # (mixtures, 2 sources, points) and (mixtures, 2 sources, embedding)
        ctx.save_for_backward(
            torch.cat([slope, shares], -2),
            2 * sharpness * torch.cat([attractors, pull / sizes], -2),
        )
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_point, matrices = ctx.saved_tensors
        return ((matrices * gradient[:, None, None]).mT @ by_point).mT, *[None] * 7


def _nearest(nearness: Tensor) -> Tensor:
    """Give each point to its nearest source, the first one where they tie: ones among zeros.

    By comparisons into numbers of the same type, which are several times as fast as `max` with
    its indices across few sources. `nearness` has shape (mixtures, sources, points).
    """
    members = torch.ones_like(nearness)
    nearest = nearness[:, 0]
    for index in range(1, nearness.shape[-2]):
        # One where this source is nearer than all before it; then none of these is the nearest.
        own = torch.gt(nearness[:, index], nearest, out=members[:, index])
        members[:, :index] *= 1 - own.unsqueeze(-2)
        nearest = torch.maximum(nearest, nearness[:, index])
    return members
