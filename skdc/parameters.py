"""What the parameters of the separator may be, and what they turn into."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skdc.network import NetworkConfig
from skdc.objectives import OBJECTIVES
from skdc.training import TrainingConfig

__all__ = [
    "PARAMETER_CONSTRAINTS",
    "check_parameters",
    "check_resumable",
    "check_segment_frames",
    "network_config",
    "resolve_device",
    "resolve_precision",
    "training_config",
]

_COUNT = Interval(Integral, 1, None, closed="left")

PARAMETER_CONSTRAINTS: dict[str, list[Any]] = {
    "n_sources": [_COUNT, None],
    "embedding_dim": [_COUNT],
    "hidden_size": [_COUNT],
    "n_layers": [_COUNT],
    "bidirectional": ["boolean"],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "objective": [StrOptions(set(OBJECTIVES))],
    "sample_rate": [_COUNT],
    "input_rate": [_COUNT, None],
    "win_length": [Interval(Integral, 2, None, closed="left")],
    "hop_length": [_COUNT],
    "activity_threshold_db": [Interval(Real, 0, None, closed="neither")],
    "segment_frames": [Interval(Integral, 2, None, closed="left"), tuple, list],
    "batch_size": [_COUNT],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "max_epochs": [_COUNT],
    "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    "early_stopping": ["boolean"],
    "n_iter_no_change": [_COUNT],
    "remix": ["boolean"],
    "clusterer": [StrOptions({"kmeans"}), HasMethods(["fit_predict", "get_params"])],
    "mask": [StrOptions({"binary", "soft"})],
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
        than half of it; or as for `check_segment_frames`.
    TypeError
        If `clusterer` is a class.
    """
    estimator._validate_params()
    win_length, hop_length = estimator.win_length, estimator.hop_length
    if win_length % 2 or hop_length > win_length // 2:
        raise ValueError(
            f"win_length={win_length} must be even and hop_length={hop_length} at most half of "
            "it, or waveforms cannot be put together again"
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
    names = ("embedding_dim", "hidden_size", "n_layers", "bidirectional", "dropout")
    return NetworkConfig(
        n_bins=int(parameters["win_length"]) // 2 + 1, **{name: parameters[name] for name in names}
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
    names = ("objective", "batch_size", "learning_rate", "max_epochs", "time_limit")
    patience = _plain(parameters["n_iter_no_change"])
    return TrainingConfig(
        **{name: _plain(parameters[name]) for name in names},
        segment_frames=check_segment_frames(parameters["segment_frames"]),
        decay_fraction=0.0 if parameters["max_epochs"] == 1 else 0.3,
        n_iter_no_change=patience if parameters["early_stopping"] else None,
        precision=resolve_precision(parameters["precision"], device),
        seed=seed,
    )


def _plain(value: Any) -> Any:
    # Searches over parameters give NumPy numbers, which files of the run cannot hold.
    return value.item() if isinstance(value, np.generic) else value


def check_resumable(wanted: NetworkConfig, fitted: NetworkConfig) -> None:
    """Check that training can go on from the weights of a fitted network.

    Parameters
    ----------
    wanted, fitted : NetworkConfig
        Of the parameters as they are now, and of the network.

    Raises
    ------
    ValueError
        If they differ in more than dropout.
    """
    now, before = wanted.as_dict(), fitted.as_dict()
    changed = [name for name in now if now[name] != before[name] and name != "dropout"]
    if changed:
        raise ValueError(
            "cannot train on from the present weights: "
            + ", ".join(f"{name} is {now[name]} but was {before[name]}" for name in changed)
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
        If the name is unknown or the device is not there.

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
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={str(device)!r} cannot be used ({str(error).splitlines()[0]}); use 'auto', "
            "'cpu', or a GPU that torch sees"
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
    # Private in torch 2.4...2.13 and without a public twin; where it is gone, float32 does.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())
