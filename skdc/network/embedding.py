"""The embedding network: features of a mixture in, one unit vector per time-frequency bin out."""

from __future__ import annotations

import warnings
from copy import copy, deepcopy
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skdc.network.blstm import BLSTM
from skdc.network.count import CountHead
from skdc.network.heads import BinHead
from skdc.network.interface import State, Trunk
from skdc.network.noise import NoiseHead
from skdc.network.registry import trunk_from_dict, trunk_to_dict
from skdc.network.voice import VoiceHead

__all__ = ["EmbeddingNetwork", "NetworkConfig"]

# The least and the largest value of each size of a network.
_SIZES = {
    "n_bins": (1, 100_000),
    "embedding_dim": (1, 100_000),
    "hidden_size": (1, 100_000),
    "n_layers": (1, 100),
    "n_masks": (0, 100),
    "voice_dim": (0, 10_000),
    "most_counted": (0, 100),
}


# The sizes of the heads, 0 where there is none.
_HEAD_SIZES = ("n_masks", "voice_dim", "most_counted")


def _are_alike(trunk: Trunk, other: Trunk) -> bool:
    """Whether two trunks have the same weights, which dropout has nothing to do with."""
    settings = [{**one.get_params(), "dropout": None} for one in (trunk, other)]
    return type(trunk) is type(other) and settings[0] == settings[1]


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
        Units of each layer of the trunk, in each direction.
    n_layers : int, default=2
        Layers of the trunk.
    bidirectional : bool, default=True
        Whether the trunk also reads backwards in time. Without it the network is causal.
    trunk : Trunk, default=BLSTM()
        What lies between the features and the heads.
    n_masks : int, default=0
        Masks of the mask head, which objectives such as mask inference train; 0 for no such head.
    voice_dim : int, default=0
        Length of the vectors of the voice head, which tells talkers of long recordings apart; 0
        for no such head.
    most_counted : int, default=0
        The largest number of talkers that the count head knows; 0 for no such head.
    hears_noise : bool, default=False
        Whether there is a noise head, which tells how much of each bin is speech.

    Examples
    --------
    >>> from skdc.network import NetworkConfig
    >>> config = NetworkConfig(embedding_dim=20)
    >>> config.as_dict()["embedding_dim"]
    20
    >>> NetworkConfig.from_dict(config.as_dict()) == config
    True
    """

    n_bins: int = 129
    embedding_dim: int = 40
    hidden_size: int = 600
    n_layers: int = 2
    bidirectional: bool = True
    trunk: Trunk = field(default_factory=BLSTM)
    n_masks: int = 0
    voice_dim: int = 0
    most_counted: int = 0
    hears_noise: bool = False

    def __post_init__(self) -> None:
        # A search over np.arange gives NumPy's numbers, which torch's layers refuse.
        for name in (f.name for f in fields(self)):
            if isinstance(value := getattr(self, name), np.generic):
                object.__setattr__(self, name, value.item())
        for name, (least, largest) in _SIZES.items():
            size = getattr(self, name)
            if type(size) is not int or not least <= size <= largest:
                raise ValueError(f"{name}={size!r} must be an int from {least} to {largest}")
        for name in ("bidirectional", "hears_noise"):
            if type(value := getattr(self, name)) is not bool:
                raise ValueError(f"{name}={value!r} must be True or False")

    def as_dict(self) -> dict[str, Any]:
        """Give the configuration as plain values, ready for JSON.

        Returns
        -------
        dict
            ``NetworkConfig.from_dict(config.as_dict()) == config``.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"trunk": trunk_to_dict(self.trunk)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the configuration that `as_dict` described.

        Parameters
        ----------
        values : dict
            Also as version 0.1 wrote it.

        Returns
        -------
        NetworkConfig

        Raises
        ------
        ValueError
            If the trunk is none of `skdc.network.TRUNKS`.
        """
        values = dict(values)
        # Version 0.1 had one trunk, and its dropout among the sizes.
        trunk = values.pop("trunk", {"name": "blstm", "dropout": values.pop("dropout", 0.0)})
        return cls(**values, trunk=trunk_from_dict(trunk))


class EmbeddingNetwork(nn.Module):
    """Trunk, linear layer and unit norm: the embedding of deep clustering [1]_.

    Parameters
    ----------
    config : NetworkConfig
        Sizes.

    Attributes
    ----------
    input_mean, input_scale : Tensor of shape (n_bins,)
        Statistics of the features, subtracted and divided by; set with `set_input_statistics` and
        stored with the weights.
    is_for_voices : bool
        Whether it was made with a voice head, so that what it separates is speech.

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
    is_for_voices = False

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = config.trunk.build(
            config.n_bins, config.hidden_size, config.n_layers, config.bidirectional
        )
        read = (self.trunk.bands, self.trunk.width)
        self.embed = BinHead(*read, config.embedding_dim)
        self.mask_head = BinHead(*read, config.n_masks) if config.n_masks else None
        self.voice_head = VoiceHead(config.n_bins, config.voice_dim) if config.voice_dim else None
        self.count_head = CountHead(*read, config.most_counted) if config.most_counted else None
        self.noise_head = NoiseHead(*read) if config.hears_noise else None
        self.is_for_voices = self.voice_head is not None
        self.register_buffer("input_mean", torch.zeros(config.n_bins))
        self.register_buffer("input_scale", torch.ones(config.n_bins))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.input_mean.device

    @torch.no_grad()
    def take_weights(self, earlier: EmbeddingNetwork) -> None:
        """Begin with the weights of another network.

        Parameters
        ----------
        earlier : EmbeddingNetwork
            A network of the same configuration, or of a smaller trunk from which this one's
            grows; the layers that it does not have add nothing at first, and the columns stay
            as they are.

        Raises
        ------
        ValueError
            If it is neither; nothing is changed then.
        """
        self.average_with(earlier, 1.0)
        self.trunk.bypass(earlier.config.n_layers)

    @torch.no_grad()
    def average_with(self, earlier: EmbeddingNetwork, share: float) -> None:
        """Go part of the way to the weights of another network.

        Parameters
        ----------
        earlier : EmbeddingNetwork
            As for `take_weights`. What it does not have stays as it is.
        share : float
            Share of its weights, 0...1; the rest are the present ones.

        Raises
        ------
        ValueError
            If the networks are none whose weights belong together, or the share is no such
            number; nothing is changed then.
        """
        if not isinstance(share, Real) or isinstance(share, bool) or not 0 <= share <= 1:
            raise ValueError(f"share={share!r} must be a number from 0 to 1")
        if different := self._differences(earlier.config):
            raise ValueError(
                f"the weights of these networks do not belong together: {', '.join(different)}; "
                "give a network of the same configuration, or of a smaller trunk from which this "
                "one's grows"
            )
        own = self.state_dict()
        # Heads are trained on the states of a network that stays as it is.
        for name, weights in earlier.state_dict().items():
            if name in own:
                begun = own[name][..., : weights.shape[-1]]
                begun.lerp_(weights.to(begun), share)

    def _differences(self, earlier: NetworkConfig) -> list[str]:
        """Say why this network cannot go on from the weights of one of another configuration."""
        own = self.config
        # One of both may have no such head, whose weights then stay as they are.
        heads = [k for k in _HEAD_SIZES if getattr(own, k) and getattr(earlier, k)]
        names = ["n_bins", "embedding_dim", "hidden_size", "bidirectional", *heads]
        is_as_deep = own.n_layers >= earlier.n_layers
        if not is_as_deep or not own.trunk.grows_from(earlier.trunk, earlier.n_layers):
            names += ["n_layers", *["trunk"] * (not _are_alike(own.trunk, earlier.trunk))]
        pairs = [(name, getattr(own, name), getattr(earlier, name)) for name in names]
        return [f"{name} is {a!r} here but {b!r} there" for name, a, b in pairs if a != b]

    def take_heads(self, earlier: EmbeddingNetwork) -> None:
        """Take copies of the voice, count and noise head of the network that this began with.

        Parameters
        ----------
        earlier : EmbeddingNetwork
            As for `take_weights`. Where this one has more layers, the heads that hear the states
            do not fit: those for counts and noise are left out, with a warning.
        """
        heads: dict[str, Any] = {
            name: head
            for name in ("voice", "count", "noise")
            if (head := getattr(earlier, f"{name}_head")) is not None
        }
        layers, n_layers = earlier.config.n_layers, self.config.n_layers
        lost = [name for name in heads if name != "voice" and n_layers != layers]
        if lost:
            warnings.warn(
                f"the heads for {' and '.join(lost)} belong to {layers} layers and are left out "
                f"of this network, which has {n_layers}; fit_voices, or skdc voices, trains them "
                "anew",
                stacklevel=5,
            )
        kept = {name: head for name, head in heads.items() if name not in lost}
        self.set_heads(**{name: deepcopy(head).to(self.device) for name, head in kept.items()})

    def set_heads(
        self,
        *,
        voice: VoiceHead | None = None,
        count: CountHead | None = None,
        noise: NoiseHead | None = None,
    ) -> None:
        """Take heads that were trained for this network, or a voice head of another one.

        Parameters
        ----------
        voice : VoiceHead, optional
            It may be of any network of the same framing.
        count, noise : optional
            Those of this network's states. What is not given stays as it is.
        """
        if voice is not None:
            self.config = replace(self.config, voice_dim=voice.dim)
            self.voice_head, self.is_for_voices = voice, True
        if count is not None:
            self.config = replace(self.config, most_counted=count.most)
            self.count_head = count
        if noise is not None:
            self.config = replace(self.config, hears_noise=True)
            self.noise_head = noise

    def for_masks(self) -> Self:
        """Give this network without the heads of voices, counts and noise; weights are shared.

        Returns
        -------
        EmbeddingNetwork
            Embeddings and masks are the same.
        """
        bare = copy(self)
        bare._modules = self._modules | dict.fromkeys(("voice_head", "count_head", "noise_head"))
        bare.config = replace(self.config, voice_dim=0, most_counted=0, hears_noise=False)
        return bare

    @torch.no_grad()
    def set_input_statistics(self, features: Tensor) -> None:
        """Take the mean and the spread of each bin's features from examples.

        Parameters
        ----------
        features : Tensor of shape (..., n_frames, n_features)
            Features of training mixtures. Only the magnitudes of the bins, which are the first of
            a frame, have statistics.
        """
        # (..., frames, features) -> (rows, bins)
        flat = features[..., : self.config.n_bins].flatten(0, -2)
        self.input_mean.copy_(flat.mean(0))
        # One frame has no spread, and a constant bin none either: leave those unscaled.
        scale = flat.std(0, correction=0)
        self.input_scale.copy_(torch.where(scale > 1e-4, scale, torch.ones_like(scale)))

    def states(self, features: Tensor) -> Tensor:
        """Give the states of the trunk, which the heads read.

        Parameters
        ----------
        features : Tensor of shape (n_mixtures, n_frames, n_features)
            As `skdc.signal.Framing.features` gives them: log-magnitudes of the `n_bins` bins and,
            for a trunk that hears phases, `2 * n_bins` numbers more.

        Returns
        -------
        Tensor of shape (n_mixtures, n_frames, n_bands, width)
            In the precision of the arithmetic.
        """
        return self.step(features)[0]

    def step(self, features: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Give the states of a block of frames, going on from those before it.

        Parameters
        ----------
        features : Tensor of shape (n_mixtures, n_frames, n_features)
        state : object, optional
            What this gave with the block before; None at the beginning.

        Returns
        -------
        states : Tensor of shape (n_mixtures, n_frames, n_bands, width)
        state : object
            For the next block; None where the trunk is not causal.
        """
        n_bins = self.config.n_bins
        inputs = (features[..., :n_bins] - self.input_mean) / self.input_scale
        if features.shape[-1] > n_bins:  # phases, whose power is that of magnitudes by now
            inputs = torch.cat([inputs, features[..., n_bins:]], dim=-1)
        states, state = self.trunk(inputs, state)
        return states, state

    def project(self, features: Tensor) -> Tensor:
        """Embed every bin, without the unit norm.

        The objectives and the masks normalise by themselves: separation goes through here or
        through `states` and `embed`, everything else through the network's call.

        Parameters
        ----------
        features : Tensor of shape (n_mixtures, n_frames, n_features)
            As `skdc.signal.Framing.features` gives them: log-magnitudes of the `n_bins` bins and,
            for a trunk that hears phases, `2 * n_bins` numbers more.

        Returns
        -------
        Tensor of shape (n_mixtures, n_frames, n_bins, embedding_dim)
            In the precision of the arithmetic.
        """
        vectors: Tensor = self.embed(self.states(features))
        return vectors

    def forward(self, features: Tensor) -> Tensor:
        """Embed every bin as a unit vector.

        Parameters
        ----------
        features : Tensor of shape (n_mixtures, n_frames, n_features)
            As in `project`.

        Returns
        -------
        float32 Tensor of shape (n_mixtures, n_frames, n_bins, embedding_dim)
            Unit norm over the last axis.
        """
        return functional.normalize(self.project(features).float(), dim=-1)
