"""A device beside the CPU that computes on the CPU: wrong devices show where there is no GPU.

Its tensors say that they are on ``meta``, which torch knows everywhere, and hold a tensor of the
CPU that has the values. An operation between them and tensors of the CPU is refused as a GPU
refuses it, and so is reading their memory. What runs here makes no tensor on the wrong device. It
does not show that the kernels of a GPU give the same numbers (those of cuDNN's LSTM above all:
here an LSTM is written out), how fast they are, how much memory they take, what goes wrong between
streams, nor the few lines that ask for ``cuda`` by its name: seeds, and whether it has bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map

aten = torch.ops.aten
# What brings values from one device to the other, or takes positions on the CPU for tensors that
# are elsewhere, as a GPU allows it.
_MAY_MIX = (
    aten._to_copy.default,
    aten.copy_.default,
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
)


class Elsewhere(Tensor):
    """A tensor that says that it is on ``meta``."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device("meta"),
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.held})"

    def tolist(self) -> Any:
        """Bring the values to the CPU, which torch refuses to do for classes of tensors."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU, and give a result that is where a GPU would have it."""
    tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, Elsewhere)]
    # A number in a tensor may be on the CPU.
    here = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim() > 0]
    if there and here and func not in _MAY_MIX:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"meta and cpu, in {func}"
        )
    goes_there = bool(there)
    if (device := kwargs.get("device")) is not None:
        goes_there = torch.device(device).type == "meta"
        kwargs = kwargs | {"device": torch.device("cpu")}
    if func is aten.copy_.default:
        goes_there = isinstance(args[0], Elsewhere)

    def held(value: Any) -> Any:
        return value.held if isinstance(value, Elsewhere) else value

    found = func(*tree_map(held, args), **tree_map(held, kwargs))
    if func is aten._to_copy.default and goes_there != bool(there):
        # A copy between devices shares nothing, even where nothing was to be converted.
        found = found.clone()
    if not goes_there:
        return found
    found = tree_map(lambda v: Elsewhere(v) if isinstance(v, Tensor) else v, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if there else found


class _Factories(TorchDispatchMode):
    """Have tensors that are made on ``meta`` made there."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return compute(func, args, kwargs or {})


def written_out_lstm(
    inputs: Tensor,
    states: tuple[Tensor, Tensor],
    weights: list[Tensor],
    has_biases: bool,
    n_layers: int,
    dropout: float,
    is_training: bool,
    is_bidirectional: bool,
    is_batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``torch.lstm`` gives, without its kernels, for sequences whose batch comes first."""
    assert has_biases
    assert is_batch_first
    n_directions = 2 if is_bidirectional else 1
    after: list[tuple[Tensor, Tensor]] = []
    for layer in range(n_layers):
        directions = []
        for direction in range(n_directions):
            index = layer * n_directions + direction
            w_ih, w_hh, b_ih, b_hh = weights[4 * index : 4 * index + 4]
            hidden, cell = states[0][index], states[1][index]
            frames = inputs.flip(1) if direction else inputs
            outputs = []
            for frame in (frames @ w_ih.T.to(frames.dtype)).unbind(1):
                gates = frame + b_ih + hidden @ w_hh.T + b_hh
                i, f, g, o = gates.chunk(4, -1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                hidden = o.sigmoid() * cell.tanh()
                outputs.append(hidden)
            stacked = torch.stack(outputs, 1)
            directions.append(stacked.flip(1) if direction else stacked)
            after.append((hidden, cell))
        inputs = torch.cat(directions, -1)
        if layer + 1 < n_layers:
            inputs = torch.nn.functional.dropout(inputs, dropout, is_training)
    hiddens, cells = zip(*after, strict=True)
    return inputs, torch.stack(hiddens), torch.stack(cells)


def tensor_of_values(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    """What ``torch.tensor`` gives, which leaves values out where a tensor is to be on ``meta``."""
    made: Tensor = _tensor(data, device="cpu", **options)
    return made if device is None else made.to(device)


_tensor = torch.tensor


@contextmanager
def other_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have ``meta`` stand for the device whose tensors are `Elsewhere`."""
    with monkeypatch.context() as patch:
        patch.setattr(torch._VF, "lstm", written_out_lstm)
        patch.setattr(torch, "tensor", tensor_of_values)
        # What torch has for GPUs, and not for this device
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        name = "_get_fused_kernels_supported_devices"
        fused = getattr(optimizer, name)
        patch.setattr(optimizer, name, lambda: [*fused(), "meta"])
        with _Factories():
            yield
