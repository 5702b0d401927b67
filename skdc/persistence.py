"""How a fitted separator is kept: in a model file, or in a pickle."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, Self, TypeVar

import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skdc.model_file import Shapes, read_tensors, write_tensors
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.network.concurrency import seeding
from skdc.network.quantized import from_int8, to_int8, without_steps
from skdc.network.registry import check_storable
from skdc.parameters import (
    LOCAL_PARAMETERS,
    check_parameters,
    resolve_device,
    restored_parameters,
    stored_parameters,
    without_moved,
)
from skdc.separation import QualityModel
from skdc.training.checkpoint import history_from_json, history_to_json
from skdc.training.trainer import History

__all__ = [
    "SEPARATION_PARAMETERS",
    "PersistenceMixin",
    "Weights",
    "continue_history",
    "make_network",
    "narrowest_weights",
]

Weights = Literal["float32", "float16", "int8"]
_T = TypeVar("_T")

_FORMAT = 1
_STORED_AS: dict[str, Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]] = {
    "float32": dict,
    "float16": lambda tensors: {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    },
    "int8": to_int8,
}
_LARGEST_SEED = 2**32 - 1
# A tensor that voice heads had when they still heard the states of the trunk.
_EARLIER_VOICE = "voice_head.hidden.weight"
# Noise heads were a linear layer, which is a part of what they are now.
_NOISE = "noise_head."
# The errors of reading a file whose statements are wrong.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)
# Parameters that the weights of a network are valid for; changing them needs another fit.
_FIXED_PARAMETERS = ("sample_rate", "win_length", "hop_length")
# What a separation depends on besides the weights and the number of sources.
SEPARATION_PARAMETERS = (*_FIXED_PARAMETERS, "activity_threshold_db", "clusterer", "mask")


class PersistenceMixin(BaseEstimator):
    """Saving, loading and pickling of an estimator with a `network_`."""

    win_length: int
    network_: EmbeddingNetwork
    history_: History
    n_iter_: int
    quality_: QualityModel | None
    _seed: int

    def _adopt(
        self,
        network: EmbeddingNetwork,
        history: History,
        seed: int,
        quality: QualityModel | None = None,
    ) -> None:
        self.network_ = network.eval()
        self.history_ = history
        self.n_iter_ = len(history)
        self._seed = seed
        self.quality_ = quality
        self._fitted_with = {name: getattr(self, name) for name in _FIXED_PARAMETERS}

    def _check_unchanged(self) -> None:
        for name, fitted in self._fitted_with.items():
            if getattr(self, name) != fitted:
                raise ValueError(
                    f"{name}={getattr(self, name)} but the network was fitted with {fitted}; set "
                    "it back, or fit again"
                )

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        weights: Weights = "float32",
    ) -> None:
        """Write a model file, which holds tensors and JSON only.

        Parameters
        ----------
        path : path-like
            File to write, replaced atomically; ``.safetensors`` by convention.
        weights : {"float32", "float16", "int8"}, default="float32"
            What the weights are stored as; they are computed with in float32. "float16" takes
            half the size, and "int8", whole multiples of one step for each row of a matrix, a
            quarter. Neither changes the separation by more than 0.01 dB.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            If `clusterer`, or the class of `trunk`, is one of your own: a model file holds no
            code.
        ValueError
            If `weights` is not one of these, or holds no finite numbers; or if a parameter has
            been set since `fit` to what none may be: the file could not be loaded.
        """
        if weights not in _STORED_AS:
            raise ValueError(f"weights={weights!r}; expected one of {', '.join(_STORED_AS)}")
        check_is_fitted(self)
        check_parameters(self)
        # The parameter may have been set to another one since.
        check_storable(self.network_.config.trunk)
        # Pickles of version 0.1 have none.
        quality: QualityModel | None = getattr(self, "quality_", None)
        header = {
            "kind": "separator",
            "format": _FORMAT,
            "parameters": stored_parameters(self),
            "network": self.network_.config.as_dict(),
            "history": history_to_json(self.history_),
            "seed": self._seed,
            "quality": quality and quality.as_dict(),
        }
        self._check_unchanged()
        tensors = _STORED_AS[weights](self.network_.state_dict())
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise ValueError(
                    f"the weights {name!r} are not finite, or not as {weights!r}, and the file "
                    "could not be loaded; nothing was written"
                )
        write_tensors(path, tensors, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto") -> Self:
        """Read what `save` wrote. Runs no code from the file.

        Parameters
        ----------
        path : path-like
            Model file.
        device : str, default="auto"
            Where the separator computes.

        Returns
        -------
        DeepClusteringSeparator
            Fitted.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not a model file of this version, or damaged.
        """
        resolved = resolve_device(device)
        separator = cls()

        def check(header: dict[str, Any], shapes: Shapes) -> None:
            if header.get("kind") == "training":
                raise ValueError(
                    f"{os.fspath(path)!r} is the checkpoint of a training run, and no model yet; "
                    "the command or the call of fit that wrote it goes on from there, when it is "
                    "given the same checkpoint, and makes the model"
                )
            with _naming_damage(path):
                separator._take_parameters(header, device)
                own = without_steps(_without_earlier_voices(shapes))
                _check_shapes(_stated_network(header, shapes), own)

        stored, header = read_tensors(path, check=check)
        if _EARLIER_VOICE in stored:
            warnings.warn(
                f"{os.fspath(path)!r} has a voice head of an earlier version, which is left out; "
                "fit_voices, or skdc voices, trains one anew",
                stacklevel=2,
            )
        with _naming_damage(path):
            tensors = from_int8(_without_earlier_voices(stored))
            network = _with_weights(_stated_network(header, stored), tensors)
            _check_values(network, tensors)
            history = history_from_json(header["history"])
            # Files of version 0.1 have no quality.
            stated = header.get("quality")
            quality = None if stated is None else QualityModel.from_dict(stated)
            separator._adopt(network.to(resolved), history, header["seed"], quality)
        return separator

    def _take_parameters(self, header: dict[str, Any], device: str) -> None:
        """Set the parameters that the header of a model file states, and check the header."""
        if header.get("kind") != "separator" or header.get("format") != _FORMAT:
            raise ValueError(
                f"it is a file of kind {header.get('kind')!r}, format {header.get('format')!r}; "
                f"expected a separator of format {_FORMAT}"
            )
        parameters = restored_parameters(header["parameters"])
        # A file must not set what belongs to a place, such as the device.
        known = {k: v for k, v in self.get_params(deep=False).items() if k not in LOCAL_PARAMETERS}
        if unknown := [name for name in parameters if name not in known]:
            raise ValueError(f"it has the unknown parameters {', '.join(unknown)}")
        for name, value in parameters.items():
            if isinstance(value, bool) and not isinstance(known[name], bool):
                raise ValueError(f"its parameter {name} is {value}, not like {known[name]!r}")
        self.set_params(**parameters, device=device)
        check_parameters(self)
        n_bins = int(self.win_length) // 2 + 1
        if (stated := header["network"]["n_bins"]) != n_bins:
            raise ValueError(
                f"its network is for frames of {stated} bins, but a window of {self.win_length} "
                f"samples gives {n_bins}"
            )
        seed = header["seed"]
        if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:
            raise ValueError(f"its seed is {seed!r}; expected an int from 0 to {_LARGEST_SEED}")

    def __getstate__(self) -> dict[str, Any]:
        # Pickled as NumPy arrays, so that a pickle made on a GPU loads where there is none.
        state = dict(vars(self))
        if isinstance(network := state.get("network_"), EmbeddingNetwork):
            arrays = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
            state["network_"] = (network.config, arrays)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(without_moved(state))
        if "network_" not in state:
            return
        config, arrays = state["network_"]
        network = _with_weights(config, {k: torch.from_numpy(v.copy()) for k, v in arrays.items()})
        try:
            device = resolve_device(self.device)
        except ValueError:
            warnings.warn(
                f"device={str(self.device)!r} is not here; computing on the CPU", stacklevel=2
            )
            self.device: Any = "cpu"
            device = torch.device("cpu")
        self.network_ = network.to(device).eval()


@contextmanager
def _naming_damage(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in errors about what it states."""
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(
            f"{os.fspath(path)!r} is damaged or of another version: {error}"
        ) from error


def make_network(config: NetworkConfig, seed: int = 0, device: str = "cpu") -> EmbeddingNetwork:
    """Make a network of random weights. Torch's global generator stays as it is."""
    with seeding(seed), torch.device(device):
        # Whatever the default of torch is
        return EmbeddingNetwork(config).float()


def _with_weights(config: NetworkConfig, tensors: Mapping[str, Tensor]) -> EmbeddingNetwork:
    network = make_network(config)
    network.load_state_dict(tensors)
    return network


def _stated_network(header: dict[str, Any], tensors: Container[str]) -> NetworkConfig:
    """Give the configuration that a header states, without a voice head of before."""
    config = NetworkConfig.from_dict(header["network"])
    return replace(config, voice_dim=0) if _EARLIER_VOICE in tensors else config


def _without_earlier_voices(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """Leave out a voice head of before, which heard the states of the trunk."""
    if _EARLIER_VOICE not in tensors:
        return dict(tensors)
    return {name: value for name, value in tensors.items() if not name.startswith("voice_head.")}


def _check_shapes(config: NetworkConfig, shapes: Shapes) -> None:
    """Compare what a network would hold with what a file holds, before either takes memory."""
    network = make_network(config, device="meta")
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if network.noise_head is not None and f"{_NOISE}weight" in shapes:
        expected = {k: v for k, v in expected.items() if not k.startswith(_NOISE)}
        n_bins, width = config.n_bins, network.trunk.width
        expected |= {f"{_NOISE}weight": (n_bins, width), f"{_NOISE}bias": (n_bins,)}
    wrong = [k for k in {**expected, **shapes} if expected.get(k) != shapes.get(k)]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{len(wrong)} of its tensors do not fit the network that it states: {name!r} has the "
            f"shape {shapes.get(name)}, expected {expected.get(name)} (None where there is none)"
        )


def _check_values(network: EmbeddingNetwork, tensors: Mapping[str, Tensor]) -> None:
    taken = network.state_dict()
    for name, stored in tensors.items():
        # What an earlier version stored under another name is floating, too.
        if stored.is_floating_point() != taken.get(name, network.input_scale).is_floating_point():
            raise ValueError(f"its tensor {name!r} is of the type {stored.dtype}")
    for name, tensor in taken.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"its tensor {name!r} holds numbers that are not finite")
    if not bool((network.input_scale > 0).all()):
        raise ValueError("its tensor 'input_scale' holds numbers that are not positive")


def narrowest_weights(tensors: Mapping[str, Tensor]) -> Weights:
    """Tell the narrowest of the types in which `save` stores these weights as they are."""
    names: tuple[Weights, ...] = ("int8", "float16")
    for name in names:
        again = from_int8(_STORED_AS[name](tensors))
        if all(bool((again[k].float() == v).all()) for k, v in tensors.items()):
            return name
    return "float32"


def continue_history(earlier: History, history: History) -> History:
    """Join two histories; the counts of the later one go on from those of the earlier."""
    last = earlier[-1] if earlier else {}
    counts = ("epoch", "steps", "hours", "seconds")
    return earlier + [
        row | {name: row[name] + last.get(name, 0.0) for name in counts} for row in history
    ]
