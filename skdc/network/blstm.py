"""The trunk of the paper: layers of bidirectional LSTM over the frames of the whole band."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import functional

from skdc.network.interface import State, Trunk, TrunkModule, single_band
from skdc.network.recurrent import TrunkLSTM

__all__ = ["BLSTM"]


class BLSTM(Trunk):
    """Layers of LSTM that read all bins of a frame at once, as in [1]_.

    Reading in one direction only makes the trunk causal: a frame's states depend on that frame and
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "residual": ["boolean"],
    }

    def __init__(self, dropout: float = 0.0, residual: bool = False) -> None:
        self.dropout = dropout
        self.residual = residual

    def build(
        self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool
    ) -> TrunkModule:
        """Make the trunk; see `Trunk.build`."""
        self.check(n_bins, hidden_size, n_layers, bidirectional)
        n_stacked = min(2, n_layers) if self.residual else n_layers
        return _LSTMStack(
            n_bins,
            3 * n_bins if self.hears_phases else n_bins,
            hidden_size,
            n_stacked,
            n_layers - n_stacked,
            bidirectional,
            float(self.dropout),
        )

    def grows_from(self, earlier: Trunk, n_layers: int) -> bool:
        """Whether the added layers are all such that add; see `Trunk.grows_from`."""
        if not isinstance(earlier, BLSTM) or (earlier.hears_phases and not self.hears_phases):
            return False
        return bool(self.residual) and n_layers >= 2 and (earlier.residual or n_layers == 2)


class _LSTMStack(TrunkLSTM, TrunkModule):
    """Layers one after the other, as one LSTM, and after them those that add."""

    def __init__(
        self,
        n_bins: int,
        n_inputs: int,
        hidden_size: int,
        n_stacked: int,
        n_adding: int,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__(
            n_inputs, hidden_size, n_stacked, bidirectional=bidirectional, dropout=dropout
        )
        # What stands beside the magnitudes starts without any weight.
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("weight_ih_l0"):
                    parameter[:, n_bins:] = 0.0
        self.bands = ((0, n_bins),)
        self.width = width = hidden_size * (2 if bidirectional else 1)
        self.adding = nn.ModuleList(
            TrunkLSTM(width, hidden_size, bidirectional=bidirectional) for _ in range(n_adding)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(n_adding))
        self.gates = nn.ParameterList(torch.zeros(width) for _ in range(n_adding))

    def forward(  # type: ignore[override]
        self, features: Tensor, state: State = None
    ) -> tuple[Tensor, State]:
        before = state or [None] * (1 + len(self.adding))
        states, own = super().forward(features, before[0])
        after = [own]
        layers = zip(self.adding, self.norms, self.gates, before[1:], strict=True)
        for lstm, norm, gate, own in layers:
            inputs = functional.dropout(norm(states), self.dropout, self.training)
            change, own = lstm(inputs, own)
            states = states + gate * change
            after.append(own)
        return single_band(states), None if self.bidirectional else after
