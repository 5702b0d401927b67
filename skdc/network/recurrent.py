"""The LSTM that trunks are made of: how its weights start, and how it runs fastest."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from skdc.network.heads import BinHead
from skdc.network.interface import State
from skdc.network.kernels.lstm import train_lstm
from skdc.network.kernels.packed import PackedLSTM

__all__ = ["TrunkLSTM", "copy_for_frames", "packed_copy"]

Module = TypeVar("Module", bound=nn.Module)

# Units of a layer from which `train_lstm` is faster than torch's LSTM. In bfloat16 it takes 1.1
# times the time of torch's with 300 units, 0.6 to 0.9 times with 512, 0.6 to 0.8 times with 600.
_WIDE = 512
# Frames up to which a cell called frame by frame is faster than torch's LSTM, which prepares its
# weights anew at every call: 0.3 ms a layer of 384 units and frame instead of 0.9.
_FEW = 8


class TrunkLSTM(nn.LSTM):
    """`torch.nn.LSTM` with forget gates that start open, run the fastest way there is.

    With a forget bias of 1, gradients get through long segments from the first step [1]_. Batches
    come first.

    References
    ----------
    .. [1] Jozefowicz, Zaremba, Sutskever, "An empirical exploration of recurrent network
       architectures", ICML 2015.
    """

    _packed: PackedLSTM | None = None  # in copies by `packed_copy`

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        n_layers: int = 1,
        *,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            n_layers,
            batch_first=True,
            # With one layer there is nothing between layers to drop, and torch would warn.
            dropout=dropout if n_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        # torch adds two biases, and orders the gates input, forget, cell, output.
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("bias_ih"):
                    parameter[hidden_size : 2 * hidden_size] += 1.0

    def forward(  # type: ignore[override]
        self, inputs: Tensor, state: State = None
    ) -> tuple[Tensor, State]:
        """Run the layers over inputs ``(n_sequences, length, input_size)``.

        Gives the outputs ``(n_sequences, length, n_directions * hidden_size)``, in the precision
        of the arithmetic, and the state after them. That is None where it was not kept; before the
        inputs, None stands for zeros.
        """
        if self._packed is not None and state is None and not torch.is_grad_enabled():
            return self._packed(inputs), None
        is_cpu = inputs.device.type == "cpu"
        is_cast = is_cpu and torch.is_autocast_enabled("cpu")
        trains_in_half_precision = (
            is_cast and torch.is_grad_enabled() and self.hidden_size >= _WIDE
        )
        if trains_in_half_precision and state is None:
            return train_lstm(self, inputs, torch.get_autocast_dtype("cpu")), None
        goes_on_a_little = (
            is_cpu
            and not is_cast
            and not torch.is_grad_enabled()
            and not self.training
            and not self.bidirectional
            and inputs.shape[1] <= _FEW
        )
        if goes_on_a_little and state is not None:
            return self._step(inputs, state)
        lacks_precision = is_cast and not _runs_in(torch.get_autocast_dtype("cpu"))
        # On GPUs, autocast to whatever type is float16 for LSTMs. Gradients are 1e-7 and less, of
        # which that has one digit, or none.
        is_cast_on_gpu = inputs.is_cuda and torch.is_autocast_enabled("cuda")
        lacks_range = is_cast_on_gpu and torch.is_grad_enabled()
        if lacks_precision or lacks_range:
            with torch.autocast(inputs.device.type, enabled=False):
                outputs, after = super().forward(inputs.float(), state)
            return outputs, after
        outputs, after = super().forward(inputs, state)
        return outputs, after

    def _step(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, State]:
        """Run the layers frame by frame, from the state of each layer."""
        after = []
        for weights, hidden, cell in zip(self.all_weights, *state, strict=True):
            outputs = []
            for frame in inputs.unbind(1):
                hidden, cell = torch.lstm_cell(frame, (hidden, cell), *weights)
                outputs.append(hidden)
            # frames of (sequences, hidden_size) -> (sequences, length, hidden_size)
            inputs = torch.stack(outputs, dim=1)
            after.append((hidden, cell))
        hiddens, cells = zip(*after, strict=True)
        return inputs, (torch.stack(hiddens), torch.stack(cells))

    def __getstate__(self) -> dict[str, Any]:
        # What oneDNN has laid out cannot be copied; the weights themselves can.
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return {name: value for name, value in state.items() if name != "_packed"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        # cuDNN wants all weights in one piece of memory, and copies have one for each. On the CPU
        # this does nothing.
        self.flatten_parameters()

    def pack(self, dtype: torch.dtype) -> None:
        """Lay the weights out for many short calls, where that is possible in this precision."""
        if PackedLSTM.is_possible(self, dtype):
            self._packed = PackedLSTM(self, dtype)


@cache
def _runs_in(dtype: torch.dtype) -> bool:
    """Whether torch's LSTM runs under autocast to some precision on the CPU.

    On processors without AVX-512 oneDNN has none in bfloat16, and torch raises a RuntimeError.
    """
    frame = torch.zeros(1, 1, 1, dtype=torch.float32, device="cpu")
    weights = [
        torch.zeros(*shape, dtype=torch.float32, device="cpu")
        for shape in ((4, 1), (4, 1), (4,), (4,))
    ]
    with torch.no_grad(), torch.autocast("cpu", dtype):
        try:
            torch.lstm(frame, (frame, frame), weights, True, 1, 0.0, False, False, True)
        except RuntimeError:
            return False
    return True


def packed_copy(module: Module, dtype: torch.dtype) -> Module:
    """Copy a module, with all its LSTMs ready for many short calls in some precision.

    The copy gives the same, to the bit, without gradients. What the module learns later does not
    reach it.
    """
    copy = deepcopy(module)
    for part in copy.modules():
        if isinstance(part, TrunkLSTM):
            part.pack(dtype)
    return copy


def copy_for_frames(module: Module) -> Module:
    """Copy a module, with its LSTMs and heads laid out on the CPU for one frame at a time.

    What takes the time is then to read the weights. Column by column, those of 4 layers of 300
    units and the embeddings of 257 bins are read in 1.4 ms instead of 2.5. The copy gives the
    same but for rounding. What the module learns later does not reach it.
    """
    copy = deepcopy(module)
    for part in copy.modules():
        # Layers of a caller's own may rely on how their weights lie.
        if not isinstance(part, TrunkLSTM | BinHead):
            continue
        for parameter in part.parameters():
            if parameter.dim() == 2 and parameter.device.type == "cpu":
                parameter.data = parameter.data.T.contiguous().T  # the shape stays as it is
    return copy
