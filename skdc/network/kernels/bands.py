"""A linear layer for each band, and what they give side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["linear_bands"]


def linear_bands(
    inputs: Sequence[Tensor], weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Tensor:
    """Join what the linear layer of each band gives, along the last axis.

    Parameters
    ----------
    inputs : sequence of Tensor of shape (n_mixtures, n_steps, n_inputs_i)
    weights : sequence of Tensor of shape (n_outputs_i, n_inputs_i)
    biases : sequence of Tensor of shape (n_outputs_i,)

    Returns
    -------
    Tensor of shape (n_mixtures, n_steps, sum of n_outputs_i)
    """
    layers = list(zip(inputs, weights, biases, strict=True))
    first = inputs[0]
    is_plain = (
        first.device.type == "cpu"
        and first.dtype == weights[0].dtype
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )
    if len(layers) == 1 or not is_plain:
        return torch.cat([functional.linear(*layer) for layer in layers], -1)
    # Without gradients, each layer writes where its outputs belong, and nothing is copied.
    joined = first.new_empty(*first.shape[:-1], sum(map(len, weights)))
    # (mixtures, steps, outputs) -> one a layer (mixtures * steps, outputs of it)
    places = joined.flatten(0, -2).split([len(weight) for weight in weights], -1)
    for (own, weight, bias), place in zip(layers, places, strict=True):
        # (mixtures, steps, inputs) -> (mixtures * steps, inputs)
        torch.addmm(bias, own.flatten(0, -2), weight.T, out=place)
    return joined
