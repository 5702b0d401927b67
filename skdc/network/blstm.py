"""The trunk of the paper: layers of bidirectional LSTM over the frames of the whole band."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from skdc.network.interface import State, Trunk, TrunkModule, single_band
from skdc.network.kernels.lstm import train_lstm

__all__ = ["BLSTM", "open_forget_gates"]

# Units of a layer from which `train_lstm` is faster than torch's LSTM. In bfloat16 it takes 1.1
# times the time of torch's with 300 units, 0.6 to 0.9 times with 512, 0.6 to 0.8 times with 600.
_WIDE = 512


class BLSTM(Trunk):
    """Layers of LSTM that read all bins of a frame at once, as in [1]_.

    Reading in one direction only makes the trunk causal: a frame's states hang on that frame and
    earlier ones alone, which costs about 1 dB.

    Parameters
    ----------
    dropout : float, default=0.0
        Share of the outputs of each layer but the last that is set to zero at random while
        training, 0...1. Helps against overfitting where there is little data.
    residual : bool, default=False
        Whether each layer after the second adds to what it reads instead of replacing it: its
        outputs, after a layer norm of its inputs, are scaled by learnt gates that start at 0. So
        deep trunks train as easily as two layers, and a trained trunk of two layers can be grown
        without a step back.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306), section 3.2.

    Examples
    --------
    >>> import torch
    >>> from skdc.network import BLSTM
    >>> trunk = BLSTM(residual=True).build(129, hidden_size=8, n_layers=4, bidirectional=True)
    >>> states, _ = trunk(torch.zeros(2, 20, 129))
    >>> states.shape
    torch.Size([2, 20, 1, 16])
    """

    def __init__(self, dropout: float = 0.0, residual: bool = False) -> None:
        self.dropout = dropout
        self.residual = residual

    def build(
        self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool
    ) -> TrunkModule:
        """Make the trunk; see `Trunk.build`."""
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r} must be at least 0 and below 1")
        n_stacked = min(2, n_layers) if self.residual else n_layers
        return _LSTMStack(
            n_bins,
            hidden_size,
            n_stacked,
            n_layers - n_stacked,
            bidirectional,
            float(self.dropout),
        )

    def grows_from(self, earlier: Trunk, n_layers: int) -> bool:
        """Whether the added layers are all such that add; see `Trunk.grows_from`."""
        is_stacked = isinstance(earlier, BLSTM) and (earlier.residual or n_layers == 2)
        return bool(self.residual) and is_stacked and n_layers >= 2


class _LSTMStack(nn.LSTM, TrunkModule):
    """Layers one after the other, as one `torch.nn.LSTM`, and after them those that add."""

    def __init__(
        self,
        n_bins: int,
        hidden_size: int,
        n_stacked: int,
        n_adding: int,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__(
            n_bins,
            hidden_size,
            n_stacked,
            batch_first=True,
            # With one layer there is nothing between layers to drop, and torch would warn.
            dropout=dropout if n_stacked > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.bands = ((0, n_bins),)
        self.width = width = hidden_size * (2 if bidirectional else 1)
        self.adding = nn.ModuleList(
            nn.LSTM(width, hidden_size, batch_first=True, bidirectional=bidirectional)
            for _ in range(n_adding)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(n_adding))
        self.gates = nn.ParameterList(torch.zeros(width) for _ in range(n_adding))
        for lstm in (self, *self.adding):
            open_forget_gates(lstm)

    def forward(  # type: ignore[override]
        self, features: Tensor, state: State = None
    ) -> tuple[Tensor, State]:
        before = state or [None] * (1 + len(self.adding))
        states, own = run_lstm(self, super().forward, features, before[0])
        after = [own]
        layers = zip(self.adding, self.norms, self.gates, before[1:], strict=True)
        for lstm, norm, gate, own in layers:
            inputs = functional.dropout(norm(states), self.dropout, self.training)
            change, own = run_lstm(cast(nn.LSTM, lstm), lstm, inputs, own)
            states = states + gate * change
            after.append(own)
        return single_band(states), None if self.bidirectional else after


def run_lstm(
    lstm: nn.LSTM, call: Callable[..., Any], inputs: Tensor, state: State
) -> tuple[Tensor, State]:
    """Run an LSTM the fastest way there is for what is being done.

    Parameters
    ----------
    lstm : torch.nn.LSTM
        With ``batch_first=True``.
    call : callable
        What runs it with torch: the LSTM itself, or ``torch.nn.LSTM.forward`` of it.
    inputs : Tensor of shape (n_mixtures, n_frames, n_features)
    state : tuple of Tensor or None
        Its state before the first frame; None for zeros.

    Returns
    -------
    states : Tensor of shape (n_mixtures, n_frames, n_directions * hidden_size)
        In the precision of the arithmetic.
    state : tuple of Tensor or None
        Its state after the last frame; None where it was not kept.
    """
    trains_in_half_precision = (
        inputs.device.type == "cpu"
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and lstm.hidden_size >= _WIDE
    )
    if trains_in_half_precision and state is None:
        return train_lstm(lstm, inputs, torch.get_autocast_dtype("cpu")), None
    states, after = call(inputs, state)
    return states, after


@torch.no_grad()
def open_forget_gates(lstm: nn.LSTM) -> None:
    """Let gradients through long segments from the first step, by a forget bias of 1 [1]_.

    Parameters
    ----------
    lstm : torch.nn.LSTM
        Changed in place.

    References
    ----------
    .. [1] Jozefowicz, Zaremba, Sutskever, "An empirical exploration of recurrent network
       architectures", ICML 2015.
    """
    # torch adds two biases, and orders the gates input, forget, cell, output.
    size = lstm.hidden_size
    for name, parameter in lstm.named_parameters(recurse=False):
        if name.startswith("bias_ih"):
            parameter[size : 2 * size] += 1.0
