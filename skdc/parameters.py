"""What the parameters of the separator may be, and what they turn into."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skdc.network import NetworkConfig, resolve_trunk, trunk_from_dict, trunk_to_dict
from skdc.network.registry import check_storable
from skdc.objectives import objective_spec, resolve_objective
from skdc.training import DynamicMixing, TrainingConfig

__all__ = [
    "LOCAL_PARAMETERS",
    "MOST_SOURCES",
    "PARAMETER_CONSTRAINTS",
    "check_parameters",
    "check_resumable",
    "check_segment_frames",
    "network_config",
    "resolve_device",
    "resolve_precision",
    "restored_parameters",
    "stored_parameters",
    "training_config",
]

MOST_SOURCES = 100
"""The largest number of sources of a mixture."""

_COUNT = Interval(Integral, 1, None, closed="left")
_RATE = Interval(Integral, 1, 1_000_000, closed="both")

PARAMETER_CONSTRAINTS: dict[str, list[Any] | str] = {
    "n_sources": [Interval(Integral, 1, MOST_SOURCES, closed="both"), None],
    "embedding_dim": [_COUNT],
    "hidden_size": [_COUNT],
    "n_layers": [_COUNT],
    "bidirectional": ["boolean"],
    # These may be objects of the caller's own classes; `check_parameters` resolves them.
    "trunk": "no_validation",
    "objective": "no_validation",
    "sample_rate": [_RATE],
    "input_rate": [_RATE, None],
    "win_length": [Interval(Integral, 2, None, closed="left")],
    "hop_length": [_COUNT],
    "activity_threshold_db": [Interval(Real, 0, None, closed="neither")],
    "segment_frames": [Interval(Integral, 2, None, closed="left"), tuple, list],
    "batch_size": [_COUNT],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "max_epochs": [_COUNT],
    "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    "n_iter_no_change": [_COUNT, None],
    "remix": ["boolean", DynamicMixing],
    "clusterer": [StrOptions({"kmeans"}), HasMethods(["fit_predict", "get_params"])],
    "mask": [StrOptions({"binary", "head", "soft"})],
    "output": [StrOptions({"sources", "masks", "labels"})],
    "device": [str, torch.device],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "checkpoint": [str, os.PathLike, None],
}
"""What each parameter of the separator may be, in the form of scikit-learn's own estimators."""


def check_parameters(estimator: BaseEstimator) -> None:
    """Check each parameter of a separator, and that they go together.

    Parameters
    ----------
    estimator : DeepClusteringSeparator

    Raises
    ------
    ValueError
        If one is not what `PARAMETER_CONSTRAINTS` allows; if the window is odd or the hop longer
        than half of it; if a trunk or an objective is unknown, or the trunk cannot be built; or as
        for `check_segment_frames`.
    TypeError
        If `clusterer`, `trunk` or `objective` is a class, or cannot serve as what it is given for.
    """
    estimator._validate_params()
    trunk = resolve_trunk(estimator.trunk)
    resolve_objective(estimator.objective)
    if isinstance(estimator.remix, DynamicMixing):
        estimator.remix.check()
    win_length, hop_length = estimator.win_length, estimator.hop_length
    if win_length % 2 or hop_length > win_length // 2:
        raise ValueError(
            f"win_length={win_length} must be even and hop_length={hop_length} at most half of "
            "it, or waveforms cannot be put together again"
        )
    trunk.check(
        int(win_length) // 2 + 1,
        estimator.hidden_size,
        estimator.n_layers,
        estimator.bidirectional,
    )
    if isinstance(estimator.clusterer, type):
        name = estimator.clusterer.__name__
        raise TypeError(f"clusterer={name} is a class; give an instance of it, {name}()")
    check_segment_frames(estimator.segment_frames)


def check_segment_frames(segment_frames: int | Sequence[int]) -> tuple[int, ...]:
    """Check the lengths of training segments.

    Parameters
    ----------
    segment_frames : int or sequence of int

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If one is not an int of at least 2, or there is none.
    """
    frames = np.atleast_1d(np.asarray(segment_frames))
    if frames.ndim != 1 or not frames.size or frames.dtype.kind != "i" or frames.min() < 2:
        raise ValueError(
            f"segment_frames={segment_frames!r} must be an int of at least 2, or several of them"
        )
    return tuple(frames.tolist())


def network_config(parameters: Mapping[str, Any]) -> NetworkConfig:
    """Give the network that the parameters ask for.

    Parameters
    ----------
    parameters : mapping
        Those of the separator, by name.

    Returns
    -------
    NetworkConfig
    """
    names = ("embedding_dim", "hidden_size", "n_layers")
    has_mask_head = "masks" in resolve_objective(parameters["objective"]).needs
    return NetworkConfig(
        n_bins=int(parameters["win_length"]) // 2 + 1,
        **{name: _plain(parameters[name]) for name in names},
        bidirectional=bool(parameters["bidirectional"]),
        # A copy, so that a change to the parameter does not reach the fitted network.
        trunk=clone(resolve_trunk(parameters["trunk"])),
        n_masks=(_plain(parameters["n_sources"]) or 2) if has_mask_head else 0,
    )


def training_config(
    parameters: Mapping[str, Any], *, seed: int, device: torch.device
) -> TrainingConfig:
    """Give the training run that the parameters ask for.

    Parameters
    ----------
    parameters : mapping
        Those of the separator, by name.
    seed : int
    device : torch.device
        Where to train.

    Returns
    -------
    TrainingConfig
        Where there is only one epoch, its learning rate does not fall: `partial_fit` and
        `warm_start` go on.
    """
    names = ("batch_size", "learning_rate", "max_epochs", "time_limit", "n_iter_no_change")
    return TrainingConfig(
        **{name: _plain(parameters[name]) for name in names},
        objective=resolve_objective(parameters["objective"]),
        segment_frames=check_segment_frames(parameters["segment_frames"]),
        decay_fraction=0.0 if parameters["max_epochs"] == 1 else 0.3,
        precision=resolve_precision(parameters["precision"], device),
        seed=seed,
    )


def _plain(value: Any) -> Any:
    # Searches over parameters give NumPy numbers, which files of the run cannot hold.
    return value.item() if isinstance(value, np.generic) else value


# Parameters that a model file does not hold: they belong to the machine where it is loaded.
LOCAL_PARAMETERS = ("device", "checkpoint", "verbose", "random_state", "input_rate")


def stored_parameters(estimator: BaseEstimator) -> dict[str, Any]:
    """Give the parameters of a separator as plain values, ready for JSON.

    Parameters
    ----------
    estimator : DeepClusteringSeparator

    Returns
    -------
    dict
        ``restored_parameters`` reads it back. An objective of the caller's own, which separation
        does without, is replaced by the default one.

    Raises
    ------
    TypeError
        If `clusterer`, or the class of `trunk`, is the caller's own.
    """
    parameters = estimator.get_params(deep=False)
    if not isinstance(parameters["clusterer"], str):
        raise TypeError(
            f"clusterer={parameters['clusterer']!r} cannot be stored: model files hold no code; "
            "set clusterer='kmeans' to save, and set it again after loading"
        )
    trunk = resolve_trunk(parameters["trunk"])
    check_storable(trunk)
    if not isinstance(parameters["trunk"], str):
        parameters["trunk"] = trunk_to_dict(trunk)
    default = type(estimator)().objective
    parameters["objective"] = objective_spec(parameters["objective"]) or default
    if isinstance(mixing := parameters["remix"], DynamicMixing):
        parameters["remix"] = {k: _listed(v) for k, v in mixing.get_params().items()}
    return {k: _listed(v) for k, v in parameters.items() if k not in LOCAL_PARAMETERS}


def restored_parameters(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Give the parameters that `stored_parameters` described.

    Parameters
    ----------
    stored : mapping
        Also as version 0.1 wrote it.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the trunk is unknown.
    """
    if not isinstance(stored, Mapping):
        raise ValueError(f"its parameters are {stored!r}, not a mapping of names to values")
    parameters = dict(stored)
    # Files of version 0.1 turn early stopping on and off by a parameter of its own.
    if not parameters.pop("early_stopping", True):
        parameters["n_iter_no_change"] = None
    # Version 0.1 had the dropout of its one trunk among the parameters.
    dropout = parameters.pop("dropout", 0.0)
    if dropout:
        parameters["trunk"] = {"name": "blstm", "dropout": dropout}
    if isinstance(trunk := parameters.get("trunk"), Mapping):
        parameters["trunk"] = trunk_from_dict(trunk)
    if isinstance(mixing := parameters.get("remix"), Mapping):
        parameters["remix"] = DynamicMixing(**mixing)
    return parameters


def _listed(value: Any) -> Any:
    """Turn NumPy's numbers and arrays, and tuples, into what JSON has."""
    return value if value is None or isinstance(value, Mapping) else np.asarray(value).tolist()


def check_resumable(wanted: NetworkConfig, fitted: NetworkConfig) -> None:
    """Check that training can go on from the weights of a fitted network.

    Parameters
    ----------
    wanted, fitted : NetworkConfig
        The network that the parameters ask for now, and the one that was fitted.

    Raises
    ------
    ValueError
        If they differ in more than dropout, a voice head and more layers of a trunk that grows.
    """
    now, before = ({**c.as_dict(), **c.as_dict()["trunk"]} for c in (wanted, fitted))
    same = ("dropout", "trunk", "voice_dim")
    changed = [k for k in now if now[k] != before.get(k) and k not in same]
    is_deeper = wanted.n_layers > fitted.n_layers
    if is_deeper and wanted.trunk.grows_from(fitted.trunk, fitted.n_layers):
        may_differ = {"n_layers", *wanted.trunk.get_params()}
        changed = [name for name in changed if name not in may_differ]
    if changed:
        raise ValueError(
            "cannot train on from the present weights: "
            + ", ".join(f"{name} is {now[name]} but was {before.get(name)}" for name in changed)
            + " (n_bins is win_length // 2 + 1); set it back, or fit anew with warm_start=False"
        )


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn the `device` parameter into a device that is there.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is the GPU where there is one, else the CPU; or any name that torch knows.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the name is unknown, or the device is not there or has no float64.

    Examples
    --------
    >>> from skdc.parameters import resolve_device
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        # Sums of losses and of distances are kept in float64, which some devices (mps) lack.
        torch.zeros(1, dtype=torch.float64, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(
            f"device={str(device)!r} cannot be used ({str(error).splitlines()[0]}); use 'auto', "
            "'cpu', or a GPU that torch sees and that has float64"
        ) from error
    return resolved


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn the `precision` parameter into ``"float32"`` or ``"bfloat16"``.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        ``"auto"`` is bfloat16 where the device multiplies it natively.
    device : torch.device

    Returns
    -------
    str
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and torch.backends.mkldnn.is_available() and _cpu_bfloat16()
    return "bfloat16" if native else "float32"


def _cpu_bfloat16() -> bool:
    # This function is private in torch 2.4 to 2.13, and there is no public one; where it is gone,
    # float32 is used.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())
