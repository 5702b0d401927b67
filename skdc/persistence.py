"""How a fitted separator is kept: in a model file, or in a pickle."""

from __future__ import annotations

import os
import warnings
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skdc.model_file import read_tensors, write_tensors
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.parameters import (
    check_parameters,
    resolve_device,
    restored_parameters,
    stored_parameters,
)
from skdc.training import History
from skdc.training.checkpoint import history_from_json, history_to_json

__all__ = [
    "SEPARATION_PARAMETERS",
    "PersistenceMixin",
    "continue_history",
]

_FORMAT = 1
# Parameters that the weights of a network are valid for; changing them needs another fit.
_FIXED_PARAMETERS = ("sample_rate", "win_length", "hop_length")
# What a separation depends on besides the weights and the number of sources.
SEPARATION_PARAMETERS = (*_FIXED_PARAMETERS, "activity_threshold_db", "clusterer", "mask")


class PersistenceMixin(BaseEstimator):
    """Saving, loading and pickling of an estimator with a `network_`."""

    network_: EmbeddingNetwork
    history_: History
    n_iter_: int
    _seed: int

    def _adopt(self, network: EmbeddingNetwork, history: History, seed: int) -> None:
        self.network_ = network.eval()
        self.history_ = history
        self.n_iter_ = len(history)
        self._seed = seed
        self._fitted_with = {name: getattr(self, name) for name in _FIXED_PARAMETERS}

    def _check_unchanged(self) -> None:
        for name, fitted in self._fitted_with.items():
            if getattr(self, name) != fitted:
                raise ValueError(
                    f"{name}={getattr(self, name)} but the network was fitted with {fitted}; set "
                    "it back, or fit again"
                )

    def save(self, path: str | os.PathLike[str], *, half_precision: bool = False) -> None:
        """Write a model file, which holds tensors and JSON only.

        Parameters
        ----------
        path : path-like
            File to write, replaced atomically; ``.safetensors`` by convention.
        half_precision : bool, default=False
            Store weights as float16: half the size.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            If `clusterer`, or the class of `trunk`, is one of your own: a model file holds no
            code.
        """
        check_is_fitted(self)
        header = {
            "kind": "separator",
            "format": _FORMAT,
            "parameters": stored_parameters(self),
            "network": self.network_.config.as_dict(),
            "history": history_to_json(self.history_),
            "seed": self._seed,
        }
        tensors = self.network_.state_dict()
        if half_precision:
            tensors = {name: tensor.half() for name, tensor in tensors.items()}
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
        tensors, header = read_tensors(path)
        if header.get("kind") != "separator" or header.get("format") != _FORMAT:
            raise ValueError(
                f"{str(path)!r} is a file of kind {header.get('kind')!r}, format "
                f"{header.get('format')!r}; expected a separator of format {_FORMAT}"
            )
        resolved = resolve_device(device)
        try:
            parameters = restored_parameters(header["parameters"])
            separator = cls().set_params(**parameters, device=device)
            check_parameters(separator)
            network = _make_network(
                NetworkConfig.from_dict(header["network"]),
                {name: tensor.float() for name, tensor in tensors.items()},
            )
            history = history_from_json(header["history"])
            separator._adopt(network.to(resolved), history, header["seed"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{str(path)!r} is damaged or of another version: {error}") from error
        return separator

    def __getstate__(self) -> dict[str, Any]:
        # Pickled as NumPy arrays, so that a pickle made on a GPU loads where there is none.
        state = dict(vars(self))
        if isinstance(network := state.get("network_"), EmbeddingNetwork):
            arrays = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
            state["network_"] = (network.config, arrays)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" not in state:
            return
        config, arrays = state["network_"]
        network = _make_network(config, {k: torch.from_numpy(v.copy()) for k, v in arrays.items()})
        try:
            device = resolve_device(self.device)
        except ValueError:
            warnings.warn(
                f"device={str(self.device)!r} is not here; computing on the CPU", stacklevel=2
            )
            self.device: Any = "cpu"
            device = torch.device("cpu")
        self.network_ = network.to(device).eval()


def _make_network(config: NetworkConfig, tensors: dict[str, Tensor]) -> EmbeddingNetwork:
    """Make a network of given weights. Torch's global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        network = EmbeddingNetwork(config)
    network.load_state_dict(tensors)
    return network


def continue_history(earlier: History, history: History) -> History:
    """Join two histories; the counts of the later one go on from those of the earlier."""
    last = earlier[-1] if earlier else {}
    counts = ("epoch", "steps", "hours", "seconds")
    return earlier + [
        row | {name: row[name] + last.get(name, 0.0) for name in counts} for row in history
    ]
