"""LSTMs on CPUs whose weights were laid out beforehand: for short sequences, in half the time.

oneDNN, which computes `torch.nn.LSTM` on CPUs, lays the weights out anew at every call. For
sequences of some dozen frames that takes as long as the LSTM itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PackedLSTM"]

_LSTM_MODE = 2  # what oneDNN's layer is told to be


class PackedLSTM:
    """A copy of an LSTM of both directions and batches first, for inference on a CPU.

    It computes in float32, or in bfloat16 as under autocast. Later changes of the weights do not
    reach it.
    """

    def __init__(self, trunk: nn.LSTM, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._hidden_size = trunk.hidden_size
        self._layers = []
        with torch.no_grad():
            # The weights of torch are those of each layer's first direction, then of its second.
            for index, own in enumerate(trunk.all_weights):
                weights = [weight.detach().to(dtype) for weight in own]
                is_backward = index % 2 == 1
                packed = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
                    *weights[:2], trunk.hidden_size, is_backward, True, True
                )
                self._layers.append((*packed, *weights[2:]))

    @staticmethod
    def is_possible(trunk: nn.LSTM, dtype: torch.dtype) -> bool:
        """Whether an LSTM can be packed here."""
        return (
            trunk.bidirectional
            and trunk.weight_ih_l0.device.type == "cpu"
            and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_reorder_mkldnn_rnn_layer_weight")
            and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        """Give what the LSTM gives, to the bit: ``(n_sequences, length, 2 * hidden_size)``."""
        # (sequences, length, size) -> (length, sequences, size)
        states = inputs.to(self._dtype).transpose(0, 1).contiguous()
        start = states.new_zeros(1, len(inputs), self._hidden_size)
        for forward, backward in zip(self._layers[::2], self._layers[1::2], strict=True):
            directions = [
                torch.ops.aten.mkldnn_rnn_layer(
                    states,
                    *weights,
                    start,
                    start,
                    is_backward,
                    [],
                    _LSTM_MODE,
                    self._hidden_size,
                    1,
                    True,
                    False,
                    False,
                    False,
                )[0]
                for is_backward, weights in enumerate((forward, backward))
            ]
            # Two of (length, sequences, hidden_size) -> (length, sequences, 2 * hidden_size)
            states = torch.cat(directions, dim=-1)
        return states.transpose(0, 1)  # (length, sequences, size) -> (sequences, length, size)
