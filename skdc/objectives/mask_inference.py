"""Masks that the network gives by itself, under the best assignment to sources."""

from __future__ import annotations

import math
from itertools import permutations
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from skdc.objectives.interface import Objective, Outputs, Targets
from skdc.objectives.mask_errors import DISTORTION_FLOOR, check_error

__all__ = ["MaskInference"]

_MOST_MASKS = 8  # 40,320 permutations


class MaskInference(Objective):
    r"""Error of the masks of a head, under the best assignment of masks to sources.

    With ``error="absolute"``

    .. math::

        \mathcal{L} = \min_\pi \frac{\sum_{ic} w_i \left| m_{i \pi(c)} |x_i| - t_{ic} \right|}
        {\sum_i w_i |x_i|}

    with the truncated phase-sensitive targets :math:`t_{ic}` of [1]_: the mask-inference part of
    chimera++ [2]_. With ``error="distortion"``

    .. math::

        \mathcal{L} = \min_\pi \frac{1}{C} \sum_c \frac14 \log_{10} \left( 1 + 10^4
        \frac{\sum_i w_i \left( m_{i \pi(c)} |x_i| - t_{ic} \right)^2}{\sum_i w_i |x_i|^2}
        \right)

    which is in decibels, 40 of them to the unit, as the scores are that separation is judged by:
    each mixture and each source counts by how much better it could still become, whatever its
    level, until its distortion is 40 dB below the mixture.

    The head must have a mask for each source, needs no clustering, and may trade sources within a
    recording. It is good beside an objective of embeddings that share the trunk, as
    ``"0.75 * mask_inference + 0.25 * whitened_kmeans"``.

    Masks for which a mixture has no source are to be 0 everywhere.

    Masks are a softmax of the head's outputs, so that they sum to 1 as those of clustering do.

    Parameters
    ----------
    error : {"absolute", "distortion"}, default="absolute"
        What makes a mask wrong: every bin by its magnitude, or the ratio in decibels that
        separation is judged by, in which loud bins weigh more.

    References
    ----------
    .. [1] Erdogan, Hershey, Watanabe, Le Roux, "Phase-sensitive and recognition-boosted speech
       separation using deep recurrent neural networks", ICASSP 2015.
    .. [2] Wang, Le Roux, Hershey, "Alternative objective functions for deep clustering", ICASSP
       2018.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import MaskInference, Outputs, Targets, one_hot_labels
    >>> labels = one_hot_labels(torch.tensor([0, 1, 1, 0]), 2)
    >>> targets = Targets(labels, torch.ones(4), mixture=torch.ones(4), sources=labels)
    >>> other_order = labels.flip(-1)
    >>> MaskInference()(Outputs(masks=100 * other_order), targets) < 1e-4
    tensor(True)
    >>> MaskInference()(Outputs(masks=torch.zeros(4, 2)), targets)
    tensor(1.)
    >>> MaskInference("distortion")(Outputs(masks=torch.zeros(4, 2)), targets)  # 1/4 is -6 dB
    tensor(0.8495)
    """

    needs = frozenset({"masks", "spectrograms"})

    def __init__(self, error: str = "absolute") -> None:
        self.error = error

    def check(self, outputs: Outputs, targets: Targets) -> None:
        """Refuse what can not be computed, as `Objective.check` does, and numbers of masks."""
        super().check(outputs, targets)
        check_error(self.error)
        n_masks, n_sources = cast(Tensor, outputs.masks).shape[-1], targets.labels.shape[-1]
        if not n_sources <= n_masks <= _MOST_MASKS:
            raise ValueError(
                f"the head gives {n_masks} masks, expected {n_sources} (as many as there are "
                f"sources) to {_MOST_MASKS}; set n_sources={n_sources}, or the n_masks of a "
                "NetworkConfig"
                if n_sources <= _MOST_MASKS
                else f"masks are inferred for {_MOST_MASKS} sources at most, but there are "
                f"{n_sources}; give mixtures of fewer, or another objective"
            )

    def __call__(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Give one loss a mixture.

        Parameters
        ----------
        outputs : Outputs
            With `masks`, at least as many as there are sources.
        targets : Targets
            With `mixture` and `sources`.

        Returns
        -------
        float Tensor of shape (...)
            At least float32. 0 in silence. Only the masks receive gradients.

        Raises
        ------
        ValueError
            If something is missing or of another shape; if there are fewer masks than sources, or
            more than 8; if `error` is unknown.
        """
        self.check(outputs, targets)
        logits = cast(Tensor, outputs.masks)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        with torch.autocast(logits.device.type, enabled=False):
            # (..., points, masks) -> (..., masks, points), so that operations run along contiguous
            # memory.
            logits = logits.mT.to(dtype).contiguous()
            masks = logits.softmax(-2)
            mixture = cast(Tensor, targets.mixture).to(dtype).unsqueeze(-2)
            sources = cast(Tensor, targets.sources).to(dtype).mT
            weights = targets.weights.to(dtype).unsqueeze(-2)
            # A mask more than there are sources is compared with silence.
            n_masks = masks.shape[-2]
            sources = functional.pad(sources, (0, 0, 0, n_masks - sources.shape[-2]))
            estimates = masks * mixture
            power = 1 if self.error == "absolute" else 2
            # The error of each mask with each source: (..., masks, sources).
            errors = torch.stack(
                [
                    ((estimates - source.unsqueeze(-2)).abs().pow(power) * weights).sum(-1)
                    for source in sources.unbind(-2)
                ],
                -1,
            )
            total = (weights * mixture.pow(power)).sum(-1, keepdim=True)
            # In silence the total is zero; the bound keeps its inverse finite.
            least = 16 * torch.finfo(dtype).tiny
            if self.error == "absolute":
                errors = errors / total.clamp_min(least)
            else:
                # log(1 + ratio) is exact near 0, where the log of the sum would cancel.
                ratios = errors / (DISTORTION_FLOOR * total).clamp_min(least)
                errors = ratios.log1p() / (-math.log(DISTORTION_FLOOR) * n_masks)
            # `order[p, c]` is the mask of source c in permutation p.
            order = torch.tensor(list(permutations(range(n_masks))), device=logits.device)
            each = errors[..., order, torch.arange(n_masks, device=logits.device)]
            return each.sum(-1).min(-1).values
