"""Weights in eight bits: a quarter of the size on disk, and masks that one cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["from_int8", "to_int8", "without_steps"]

_STEP = ".step"  # ends the name of the tensor that holds the steps of another one
_LARGEST = 127
_SMALLEST_STEP = 1e-30


def to_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round every matrix to whole multiples of a step, a step for each of its rows.

    The step of a row is 1/127 of its largest magnitude, so no weight moves by more than 1/254 of
    that. Vectors, of which there are few, become float16. Weights that were stored so before come
    out as they were.

    For each matrix ``(n_rows, n_columns)`` there is an int8 tensor of that shape under its name,
    and a float32 tensor ``(n_rows,)`` under its name with ``.step`` after it.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.dim() < 2:
            stored[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.float().flatten(1)  # (n_rows, n_columns)
        step = rows.abs().amax(1) / _LARGEST
        # A row of zeros, or of what is hardly more, has no step; any one gives zeros back.
        step = _round_up(torch.where(step > _SMALLEST_STEP, step, torch.ones_like(step)))
        stored[name] = (rows / step[:, None]).round().to(torch.int8).reshape(tensor.shape)
        stored[name + _STEP] = step
    return stored


def from_int8(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights that `to_int8` has stored, in float32; others come back as they are."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if _is_step(name, stored):
            continue
        step = stored.get(name + _STEP)
        if step is not None and tensor.dtype == torch.int8:
            rows = tensor.float().flatten(1) * step.float()[:, None]  # (n_rows, n_columns)
            tensor = rows.reshape(tensor.shape)
        tensors[name] = tensor
    return tensors


def without_steps(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Give the shapes of the weights that a model file stores, before it is read.

    A step that is not one for each row of its matrix stays among them, to be refused as what no
    network holds.
    """
    return {
        name: shape
        for name, shape in shapes.items()
        if not (_is_step(name, shapes) and shape == shapes[name.removesuffix(_STEP)][:1])
    }


def _round_up(step: Tensor) -> Tensor:
    # With 16 significant bits a step times 127 is exact in float32, and so is that over 127: the
    # same weights have the same step again.
    mantissa, exponent = torch.frexp(step)
    return torch.ldexp((mantissa * 2**16).ceil() / 2**16, exponent)


def _is_step(name: str, names: Mapping[str, object]) -> bool:
    return name.endswith(_STEP) and name.removesuffix(_STEP) in names
