"""Short sequences by the hundred through an LSTM on a CPU, for inference in float32.

oneDNN, which computes `torch.nn.LSTM` on CPUs, takes all sequences at once, and what it keeps of
some thousand no longer fits the cache. Here a few hundred go together, step by step.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["LSTMCells", "pieces"]

# Sequences that go together, for each thread: of 96 units, the gates of a step are then 400 kB.
_TOGETHER = 256
# Fewer sequences are products too small to be fast, and oneDNN is faster.
_FEWEST = 64


class LSTMCells:
    """An LSTM of one layer and both directions, ready to run many sequences of equal length.

    It takes the weights as they are now.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self._size = lstm.hidden_size
        # tanh(x) = 2 sigmoid(2x) - 1: torch's sigmoid takes a third of the time of its tanh, and
        # one call does for all gates. The candidate is the third gate. Cells are kept twice, and
        # outputs half, as large as they are, which is made up for in the weights.
        scale = lstm.all_weights[0][0].new_ones(4 * self._size, 1)
        scale[2 * self._size : 3 * self._size] = 2.0
        self._directions = [
            # One product for all: (input_size + size + 1, 4 * size)
            torch.cat([w_inputs, 2 * w_hidden, (bias + more_bias).unsqueeze(1)], 1).mul_(scale).T
            for w_inputs, w_hidden, bias, more_bias in lstm.all_weights
        ]

    @staticmethod
    def is_faster(lstm: nn.LSTM, n_sequences: int) -> bool:
        """Whether this is possible here, and faster than the LSTM itself."""
        weight: Tensor = lstm.all_weights[0][0]
        return (
            n_sequences >= _FEWEST
            and lstm.num_layers == 1
            and lstm.bidirectional
            and weight.device.type == "cpu"
            and weight.dtype == torch.float32
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        """Run sequences ``(length, n_sequences, size)``, whose steps come first.

        Gives half of the outputs, ``(length, n_sequences, 2 * hidden_size)``.
        """
        length, n_sequences, n_inputs = inputs.shape
        outputs = inputs.new_empty(length, n_sequences, 2 * self._size)
        # What a product reads: inputs, outputs of the step before, and a one for the bias.
        read = inputs.new_empty(n_sequences, n_inputs + self._size + 1)
        own_inputs, hidden, one = read.split([n_inputs, self._size, 1], -1)
        one.fill_(1.0)
        gates = inputs.new_empty(n_sequences, 4 * self._size)
        bounded = inputs.new_empty(n_sequences, self._size)
        # (sequences, 4 * size) -> four of (sequences, size)
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, -1)
        for is_backward, weights in enumerate(self._directions):
            hidden.zero_()
            cells = torch.zeros_like(bounded)
            steps = list(zip(inputs, outputs.chunk(2, -1)[is_backward], strict=True))
            for step, own_outputs in reversed(steps) if is_backward else steps:
                own_inputs.copy_(step)
                torch.mm(read, weights, out=gates).sigmoid_()
                # c' = f c + i (2 s - 1), where c and c' are twice as large here
                cells.mul_(forget_gate).addcmul_(input_gate, candidate.sub_(0.5), value=4)
                # o tanh(c) / 2 = o (sigmoid(2 c) - 1 / 2)
                torch.sigmoid(cells, out=bounded)
                torch.mul(output_gate, bounded.sub_(0.5), out=hidden)
                own_outputs.copy_(hidden)
        return outputs


def pieces(sequences: Tensor) -> Iterator[Tensor]:
    """Split sequences ``(n, m, length, size)`` into as many as go together, views of the same."""
    n, m = sequences.shape[:2]
    together = _TOGETHER * torch.get_num_threads()
    if m < together:
        yield from sequences.tensor_split(-(-n * m // together))
        return
    for own in sequences.split(1):
        yield from own.tensor_split(-(-m // together), dim=1)
