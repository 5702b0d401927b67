"""The embedding network: features of a mixture in, one unit vector per time-frequency bin out."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skdc.projection import project_active
from skdc.recurrent import train_lstm

__all__ = ["EmbeddingNetwork", "NetworkConfig"]

# Units of a layer from which `train_lstm` is faster than torch's LSTM. Of the latter's time in
# bfloat16 it takes 1.1 times as much with 300, 0.6 to 0.9 with 512 and 0.6 to 0.8 with 600.
_WIDE = 512


@dataclass(frozen=True)
class NetworkConfig:
    """What an `EmbeddingNetwork` is made of.

    Parameters
    ----------
    n_bins : int, default=129
        Frequency bins of a frame (``win_length // 2 + 1``).
    embedding_dim : int, default=40
        Length of each bin's embedding vector.
    hidden_size : int, default=600
        Units of each LSTM layer and direction.
    n_layers : int, default=2
        Number of LSTM layers.
    bidirectional : bool, default=True
        Whether each layer also reads backwards in time. Without it the network is causal.
    dropout : float, default=0.0
        Dropout probability on the output of each LSTM layer but the last, while training.

    Examples
    --------
    >>> from skdc.network import NetworkConfig
    >>> NetworkConfig(embedding_dim=20).as_dict()["embedding_dim"]
    20
    """

    n_bins: int = 129
    embedding_dim: int = 40
    hidden_size: int = 600
    n_layers: int = 2
    bidirectional: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        # A search over np.arange gives NumPy's numbers, which torch's layers refuse.
        for name, value in asdict(self).items():
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())

    def as_dict(self) -> dict[str, int | float | bool]:
        """Give the configuration as plain values, ready for JSON.

        Returns
        -------
        dict
            ``NetworkConfig(**config.as_dict()) == config``.
        """
        return asdict(self)


class EmbeddingNetwork(nn.Module):
    """BLSTM trunk, linear layer and unit norm: the embedding of deep clustering [1]_.

    Parameters
    ----------
    config : NetworkConfig
        Sizes.

    Attributes
    ----------
    input_mean, input_scale : Tensor of shape (n_bins,)
        Statistics of the features, subtracted and divided by; set with `set_input_statistics` and
        stored with the weights.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306).

    Examples
    --------
    >>> import torch
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5))
    >>> network(torch.zeros(3, 20, 129)).shape
    torch.Size([3, 20, 129, 5])
    """

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = nn.LSTM(
            config.n_bins,
            config.hidden_size,
            config.n_layers,
            batch_first=True,
            # With one layer there is nothing between layers to drop, and torch would warn.
            dropout=config.dropout if config.n_layers > 1 else 0.0,
            bidirectional=config.bidirectional,
        )
        n_directions = 2 if config.bidirectional else 1
        self.embed = nn.Linear(
            n_directions * config.hidden_size, config.n_bins * config.embedding_dim
        )
        self.register_buffer("input_mean", torch.zeros(config.n_bins))
        self.register_buffer("input_scale", torch.ones(config.n_bins))
        self._open_forget_gates()

    @torch.no_grad()
    def _open_forget_gates(self) -> None:
        # A forget bias of 1 lets gradients through long segments from the first step (Jozefowicz
        # et al. 2015). torch adds two biases, orders the gates input, forget, cell, output.
        size = self.config.hidden_size
        for name, parameter in self.trunk.named_parameters():
            if name.startswith("bias_ih"):
                parameter[size : 2 * size] += 1.0

    @torch.no_grad()
    def set_input_statistics(self, features: Tensor) -> None:
        """Take the mean and the spread of each bin's features from examples.

        Parameters
        ----------
        features : Tensor of shape (..., n_frames, n_bins)
            Features of training mixtures.
        """
        flat = features.reshape(-1, features.shape[-1])
        self.input_mean.copy_(flat.mean(0))
        # One frame has no spread, and a constant bin none either: leave those unscaled.
        scale = flat.std(0, correction=0)
        self.input_scale.copy_(torch.where(scale > 1e-4, scale, torch.ones_like(scale)))

    def project(self, features: Tensor) -> Tensor:
        """Embed every bin, without the unit norm.

        The objectives and the masks normalise by themselves: training and separation go through
        here, everything else through the network's call.

        Parameters
        ----------
        features : Tensor of shape (n_mixtures, n_frames, n_bins)
            Log-magnitude features.

        Returns
        -------
        Tensor of shape (n_mixtures, n_frames, n_bins, embedding_dim)
            In the precision of the arithmetic.
        """
        return self.spread(self.states(features))

    def project_active(self, features: Tensor, active: Tensor) -> tuple[Tensor, ...]:
        """Embed the bins that are asked for, without the unit norm.

        In training two bins of three may have no weight; leaving them out saves a good part of
        the widest layer. How many there are is known on the host only, so this is for CPUs.

        Parameters
        ----------
        features : Tensor of shape (n_mixtures, n_frames, n_bins)
        active : bool Tensor of shape (n_mixtures, n_frames, n_bins)

        Returns
        -------
        tuple of Tensor of shape (n_active_i, embedding_dim)
            One a mixture, ``project(features)[i][active[i]]``.
        """
        return project_active(self.states(features), self.embed.weight, self.embed.bias, active)

    def states(self, features: Tensor) -> Tensor:
        """Give the states of the last LSTM layer, the first half of `project`.

        Parameters
        ----------
        features : Tensor of shape (n_mixtures, n_frames, n_bins)

        Returns
        -------
        Tensor of shape (n_mixtures, n_frames, n_directions * hidden_size)
            In the precision of the arithmetic.
        """
        hidden = (features - self.input_mean) / self.input_scale
        if self._trains_in_half_precision(hidden.device.type):
            return train_lstm(self.trunk, hidden, torch.get_autocast_dtype("cpu"))
        states: Tensor = self.trunk(hidden)[0]
        return states

    def spread(self, states: Tensor) -> Tensor:
        """Give each bin of a frame its vector, the second half of `project`.

        Parameters
        ----------
        states : Tensor of shape (n_mixtures, n_frames, n_directions * hidden_size)

        Returns
        -------
        Tensor of shape (n_mixtures, n_frames, n_bins, embedding_dim)
            In the precision of the arithmetic.
        """
        # (mixtures, frames, bins * embedding) -> (mixtures, frames, bins, embedding)
        return self.embed(states).unflatten(-1, (self.config.n_bins, self.config.embedding_dim))

    def _trains_in_half_precision(self, device_type: str) -> bool:
        return (
            device_type == "cpu"
            and torch.is_grad_enabled()
            and torch.is_autocast_enabled("cpu")
            and self.config.hidden_size >= _WIDE
        )

    def forward(self, features: Tensor) -> Tensor:
        """Embed every bin as a unit vector.

        Parameters
        ----------
        features : Tensor of shape (n_mixtures, n_frames, n_bins)
            As in `project`.

        Returns
        -------
        float32 Tensor of shape (n_mixtures, n_frames, n_bins, embedding_dim)
            Unit norm over the last axis.
        """
        return functional.normalize(self.project(features).float(), dim=-1)
