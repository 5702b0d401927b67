"""The trunk of the paper for arrays: it also reads the phases between two microphones."""

from __future__ import annotations

from typing import ClassVar

from skdc.network.blstm import BLSTM

__all__ = ["PhaseBLSTM"]


class PhaseBLSTM(BLSTM):
    """Layers of LSTM that read magnitudes and the phases between two microphones, as in [1]_.

    Fitted on mixtures that two microphones heard, the network also tells talkers apart by where
    they are; `separate_array` uses it for any number of microphones, pair by pair. The weights of
    the phases start at 0, so that with ``residual=True`` a trained ``BLSTM(residual=True)`` can be
    grown by ``warm_start``: what separates single microphones then learns to use a second one,
    without a step back.

    Parameters
    ----------
    dropout : float, default=0.0
        As for `BLSTM`.
    residual : bool, default=False
        As for `BLSTM`.

    References
    ----------
    .. [1] Wang, Le Roux, Hershey, "Multi-channel deep clustering: discriminative spectral and
       spatial embeddings for speaker-independent speech separation", ICASSP 2018.

    Examples
    --------
    >>> import torch
    >>> from skdc.network import PhaseBLSTM
    >>> trunk = PhaseBLSTM().build(129, hidden_size=8, n_layers=2, bidirectional=True)
    >>> states, _ = trunk(torch.zeros(2, 20, 3 * 129))
    >>> states.shape
    torch.Size([2, 20, 1, 16])
    """

    hears_phases: ClassVar[bool] = True
