"""Training of wide LSTMs on CPUs: the gradient as few, large products in half precision.

oneDNN, which computes `torch.nn.LSTM` on CPUs, takes longer for the backward pass of wide layers
in bfloat16 than in float32. Here only what depends on the frame before is done frame by frame; the
rest, most of the work, is a few products for all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["train_lstm"]


def train_lstm(trunk: nn.LSTM, inputs: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Run an LSTM whose weights are being trained, on a CPU.

    Parameters
    ----------
    trunk : torch.nn.LSTM
        With ``batch_first=True``, of any number of layers, one direction or two, with dropout.
    inputs : Tensor of shape (n_mixtures, n_frames, n_features)
    dtype : torch.dtype, default=torch.bfloat16
        Precision of the factors of matrix products. Sums, gates and cells are float32 or better.

    Returns
    -------
    Tensor of shape (n_mixtures, n_frames, n_directions * hidden_size)
        What ``trunk(inputs)[0]`` gives, in `dtype`. Gradients reach the weights and the inputs.
    """
    # The frames come first, so that the inputs of one frame are contiguous:
    # (mixtures, frames, features) -> (frames, mixtures, features)
    hidden = inputs.to(dtype).transpose(0, 1).contiguous()
    parameters = list(trunk.parameters(recurse=False))
    per_layer = len(parameters) // trunk.num_layers
    for layer in range(trunk.num_layers):
        if layer > 0:
            hidden = functional.dropout(hidden, trunk.dropout, trunk.training)
        weights = parameters[layer * per_layer : (layer + 1) * per_layer]
        hidden = _Layer.apply(hidden, *weights)  # type: ignore[no-untyped-call]
    return hidden.transpose(0, 1)  # (frames, mixtures, outputs) -> (mixtures, frames, outputs)


class _Layer(torch.autograd.Function):
    """One layer, both directions at once: the second reads the frames in reverse order.

    The weights of a direction are four tensors in the order of `torch.nn.LSTM`, whose rows belong
    to the input gate, the forget gate, the candidate and the output gate.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, *parameters: Tensor) -> Tensor:
        dtype, (n_frames, n_mixtures, _) = inputs.dtype, inputs.shape
        weights = [w.to(dtype) for w in parameters]
        of_inputs, of_hidden, biases, more_biases = (weights[k::4] for k in range(4))
        both_inputs = _reversed([inputs] * len(of_inputs))
        # The backward pass needs these for every frame; cells and outputs have one entry more, the
        # zeros before the first frame.
        n_directions, size = len(of_inputs), of_hidden[0].shape[1]
        state = torch.promote_types(dtype, torch.float32)
        gates = inputs.new_empty(n_frames, n_directions, n_mixtures, 4, size, dtype=state)
        cells = inputs.new_empty(n_frames + 1, n_directions, n_mixtures, size, dtype=state)
        bounded = torch.empty_like(cells[1:])  # tanh of the cells
        hidden = torch.empty_like(cells, dtype=dtype)
        cells[0], hidden[0] = 0.0, 0.0
        one, two = _numbers(cells, 1, 2)
        directions = [
            (
                own_gates.flatten(-2).unbind(),  # frames of (mixtures, 4 * size)
                _product(w_hidden),
                own_hidden.unbind(),
                functional.linear(x, w_inputs, bias + more_bias).unbind(),
            )
            for own_gates, own_hidden, x, w_inputs, w_hidden, bias, more_bias in zip(
                gates.unbind(1),
                hidden.unbind(1),
                both_inputs,
                *(of_inputs, of_hidden, biases, more_biases),
                strict=True,
            )
        ]
        frames = (gates, cells[:-1], cells[1:], bounded, hidden[1:])
        for t, (gate, before, cell, tanh, out) in enumerate(zip(*frames, strict=True)):
            for own_gates, product, own_hidden, projected in directions:
                own_gates[t].copy_(product(own_hidden[t], projected[t]))
            input_gate, forget_gate, candidate, output_gate = gate.unbind(-2)
            # tanh(x) = 2 sigmoid(2x) - 1: torch's sigmoid takes a quarter of the time of its tanh,
            # and one call does for all gates. The candidate stays a sigmoid.
            candidate.mul_(two)
            gate.sigmoid_()
            torch.mul(forget_gate, before, out=cell)
            cell.addcmul_(input_gate, candidate, value=2).sub_(input_gate)
            torch.mul(cell, two, out=tanh).sigmoid_().mul_(two).sub_(one)
            out.copy_(tanh * output_gate)
        ctx.save_for_backward(gates, cells, bounded, hidden, *both_inputs, *of_inputs, *of_hidden)
        ctx.dtypes = [w.dtype for w in parameters]
        return torch.cat(_reversed(hidden[1:].unbind(1)), -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gates, cells, bounded, hidden, *others = ctx.saved_tensors
        n_frames, n_directions, n_mixtures, size = bounded.shape
        both_inputs, of_inputs, of_hidden = (
            others[k * n_directions : (k + 1) * n_directions] for k in range(3)
        )
        # "by_x" is the gradient of the loss with respect to x. `by_gates` is with respect to the
        # gates before their sigmoids; it is zero for the frame after the last.
        by_gates = hidden.new_empty(n_directions, n_frames + 1, n_mixtures, 4 * size)
        by_gates[:, -1] = 0.0
        by_gate = torch.empty_like(gates[0])
        by_input_gate, by_forget_gate, by_candidate, by_output_gate = by_gate.unbind(-2)
        by_cell, by_hidden, change = (torch.zeros_like(cells[0]) for _ in range(3))
        one, two, four = _numbers(cells, 1, 2, 4)
        directions = [
            (own_hidden, _product(w.T), own_gates.unbind(), own_outputs.unbind())
            for own_hidden, w, own_gates, own_outputs in zip(
                by_hidden, of_hidden, by_gates, _reversed(by_outputs.split(size, -1)), strict=True
            )
        ]
        frames = (gates.unbind(), cells[:-1].unbind(), bounded.unbind(), by_gates.unbind(1))
        for t in reversed(range(n_frames)):
            gate, before, tanh, result = (tensors[t] for tensors in frames)
            input_gate, forget_gate, candidate, output_gate = gate.unbind(-2)
            for own_hidden, product, own_gates, own_outputs in directions:
                own_hidden.copy_(product(own_gates[t + 1], own_outputs[t]))
            torch.mul(by_hidden, output_gate, out=change)
            by_cell.add_(_tanh_backward(change, tanh, grad_input=change))
            torch.mul(candidate, two, out=by_input_gate).sub_(one).mul_(by_cell)
            torch.mul(before, by_cell, out=by_forget_gate)
            torch.mul(input_gate, by_cell, out=by_candidate).mul_(four)  # 1 - tanh^2 = 4 s (1 - s)
            torch.mul(tanh, by_hidden, out=by_output_gate)
            _sigmoid_backward(by_gate, gate, grad_input=by_gate)
            result.copy_(by_gate.flatten(-2))  # (directions, mixtures, 4 * size)
            by_cell.mul_(forget_gate)

        gradients: list[Tensor] = []
        by_inputs: list[Tensor] = []
        for d, x in enumerate(both_inputs):
            # (frames, mixtures, ...) -> (frames * mixtures, ...)
            rows = by_gates[d, :-1].flatten(0, 1)
            if ctx.needs_input_grad[0]:
                by_inputs.append((rows @ of_inputs[d]).unflatten(0, (n_frames, n_mixtures)))
            # These have the rows of (frames * mixtures, ...), too.
            factors = (x.flatten(0, 1), hidden[:-1, d].flatten(0, 1))
            # In half precision a product with ones is several times faster than `sum`.
            by_bias = (rows.new_ones(1, len(rows)) @ rows).squeeze(0)
            # rows.T @ factor, as the transpose of factor.T @ rows: oneDNN is slow where it has to
            # copy a transposed first factor, and copying the smaller one ourselves is faster.
            by_weights = ((factor.T.contiguous() @ rows).T for factor in factors)
            # The two biases get two tensors: clipping scales gradients in place, and would scale a
            # common one twice.
            gradients += [*by_weights, by_bias, by_bias.clone()]
        return (
            reduce(torch.add, _reversed(by_inputs)) if by_inputs else None,
            *(
                g.to(dtype, memory_format=torch.contiguous_format)
                for g, dtype in zip(gradients, ctx.dtypes, strict=True)
            ),
        )


_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def _numbers(like: Tensor, *numbers: float) -> Sequence[Tensor]:
    """Give numbers as tensors: torch makes one of a number at every call, which takes its time."""
    return like.new_tensor(numbers).unbind()


def _reversed(directions: Sequence[Tensor]) -> list[Tensor]:
    """Reverse the frames of the second direction."""
    return [frames.flip(0) if d == 1 else frames for d, frames in enumerate(directions)]


def _product(weight: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Give ``x, y -> x @ weight.T + y``, with the weight laid out once for all frames."""
    is_packable = torch.backends.mkldnn.is_available() and weight.dtype == torch.bfloat16
    if is_packable and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        product = torch.ops.mkldnn._linear_pointwise.binary
        return lambda x, y: product(x, y, packed, None, "add")
    transposed = weight.T.contiguous()
    return lambda x, y: torch.addmm(y, x, transposed)
