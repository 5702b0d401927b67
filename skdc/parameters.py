"""What the parameters of the separator may be, and what they turn into."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from numbers import Integral, Real
from typing import Any, Self, TypeVar, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from skdc.inputs import AudioFormat
from skdc.network import (
    EmbeddingNetwork,
    NetworkConfig,
    Trunk,
    resolve_trunk,
    trunk_from_dict,
    trunk_to_dict,
)
from skdc.network.registry import check_storable
from skdc.objectives import objective_spec, resolve_objective
from skdc.paths import check_free, check_outputs
from skdc.separation import Separator
from skdc.separation.counts import asked_count
from skdc.separation.pairs import PAIR_SWEEPS
from skdc.separation.speeds import MOST_SPEEDS
from skdc.signal import Framing
from skdc.training import DynamicMixing, TrainingConfig
from skdc.training.checkpoint import CHECKPOINT

__all__ = [
    "LOCAL_PARAMETERS",
    "PARAMETER_CONSTRAINTS",
    "ParametersMixin",
    "call_parameters",
    "check_parameters",
    "check_resumable",
    "check_run",
    "check_segment_frames",
    "is_full_band",
    "network_config",
    "resolve_device",
    "resolve_precision",
    "restored_parameters",
    "stored_parameters",
    "tells_what_moved",
    "training_config",
    "without_moved",
]

_COUNT = Interval(Integral, 1, None, closed="left")
_RATE = Interval(Integral, 1, 1_000_000, closed="both")

PARAMETER_CONSTRAINTS: dict[str, list[Any] | str] = {
    "n_sources": "no_validation",  # `asked_count` checks it, here and in each call
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
}
"""What each parameter of the separator may be, in the form of scikit-learn's own estimators."""

# What were parameters once, and what to write instead.
_MOVED = {
    "checkpoint": "fit(X, y, checkpoint=...)",
    "time_limit": "fit(X, y, time_limit=...)",
    "early_stopping": "n_iter_no_change=10, or None for training that does not stop early",
    "dropout": "trunk=BLSTM(dropout=...), with BLSTM from skdc.network",
}

# Objects that have parameters of their own, and where they are from.
_OBJECTS = {
    "trunk": "trunk=BLSTM(), with BLSTM from skdc.network",
    "objective": "objective=BalancedAffinity(), with BalancedAffinity from skdc.objectives",
    "remix": "remix=DynamicMixing(), with DynamicMixing from skdc.training",
    "clusterer": "clusterer=KMeans(), with KMeans from sklearn.cluster",
}

Method = TypeVar("Method", bound=Callable[..., Any])


def tells_what_moved(method: Method) -> Method:
    """Have ``__init__`` or ``set_params`` say what to write instead of a parameter that has moved.

    The signature of the method stays as it is; it raises a TypeError for what is none any more.
    """

    @wraps(method)
    def telling(self: BaseEstimator, *args: Any, **parameters: Any) -> Any:
        for name in parameters:
            if name in _MOVED:
                raise TypeError(f"{name} is no longer a parameter; write {_MOVED[name]}")
        return method(self, *args, **parameters)

    return cast(Method, telling)


class ParametersMixin(BaseEstimator):
    """What the parameters of a separator may be, and what to write for those that have moved."""

    _parameter_constraints = PARAMETER_CONSTRAINTS

    activity_threshold_db: float
    bidirectional: bool
    clusterer: Any
    device: str | torch.device
    hop_length: int
    input_rate: int | None
    mask: str
    precision: str
    sample_rate: int
    trunk: str | Trunk
    win_length: int

    @tells_what_moved
    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : object
            New values by name; ``trunk__n_bands`` is a parameter of the trunk, which has to be an
            object, such as ``BandBLSTM()``, already or in the same call.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If one is no longer a parameter; the message says what to write instead.
        ValueError
            If there never was such a parameter, or one of an object is given where there is a
            name, a bool or a number; the message says what to give. Nothing is set then.
        """
        for name in params:
            owner, nested, parameter = name.partition("__")
            value: Any = params.get(owner, getattr(self, owner, None))
            is_object = hasattr(value, "set_params") and not isinstance(value, type)
            if nested and owner in self._get_param_names() and not is_object:
                advice = "leave it out"
                if owner in _OBJECTS:
                    advice = f"give an object first or in the same call, such as {_OBJECTS[owner]}"
                raise ValueError(
                    f"{owner}={value!r} has no parameter {parameter!r}, as {name} says; {advice}"
                )
            if owner not in self._get_param_names():
                super().set_params(**{name: params[name]})  # says which there are
            if nested:
                _check_nested(params, owner, value, parameter)
        super().set_params(**params)
        return self

    @property
    def _framing(self) -> Framing:
        sizes = (self.win_length, self.hop_length, self.activity_threshold_db)
        hears_phases = resolve_trunk(self.trunk).hears_phases
        return Framing(*sizes, is_causal=not self.bidirectional, hears_phases=hears_phases)

    @property
    def _audio(self) -> AudioFormat:
        return AudioFormat(self._framing, self.sample_rate, self.input_rate)

    def _make_pipeline(self, network: EmbeddingNetwork, **more: Any) -> Separator:
        config = network.config
        heard = {"is_causal": not config.bidirectional, "hears_phases": config.trunk.hears_phases}
        return Separator(
            network,
            # Features are those of training, whatever the parameter says by now.
            replace(self._framing, **heard),
            precision=resolve_precision(self.precision, network.device),
            mask=self.mask,
            clusterer=None if isinstance(self.clusterer, str) else self.clusterer,
            sample_rate=self.sample_rate,
            **more,
        )

    def _bank_options(self, on_disk: bool) -> dict[str, Any]:
        device = resolve_device(self.device)
        rate, framing = self.sample_rate, self._framing
        return {"sample_rate": rate, "framing": framing, "device": device, "on_disk": on_disk}


def without_moved(state: Mapping[str, Any]) -> dict[str, Any]:
    """Give parameters, or the state of a pickle, of earlier versions as this one names them."""
    state = dict(state)
    if not state.get("early_stopping", True):
        state["n_iter_no_change"] = None
    if dropout := state.get("dropout"):
        state["trunk"] = trunk_from_dict({"name": "blstm", "dropout": dropout})
    return {name: value for name, value in state.items() if name not in _MOVED}


def check_run(
    checkpoint: str | os.PathLike[str] | None, time_limit: float | None, *, caller: str = "fit"
) -> dict[str, Any]:
    """Check the keywords of `fit` that belong to one run of training, and give both by name.

    Raises a ValueError that names the caller if `checkpoint` is no path or `time_limit` no
    positive number, the errors of `check_outputs` if no checkpoint can be written there, and a
    BlockingIOError if another training is writing it.
    """
    allowed = {
        "checkpoint": [str, os.PathLike, None],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    }
    keywords: dict[str, Any] = {"checkpoint": checkpoint, "time_limit": time_limit}
    validate_parameter_constraints(allowed, keywords, caller_name=caller)
    if checkpoint is not None:
        check_outputs([checkpoint], advice="give checkpoint another name")
        check_free(checkpoint, CHECKPOINT)
    return keywords


def check_parameters(estimator: BaseEstimator) -> None:
    """Check each parameter of a separator, and that they go together.

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
    asked_count(estimator.n_sources)
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


def _check_nested(params: Mapping[str, Any], owner: str, value: Any, parameter: str) -> None:
    """Raise the error of `set_params` of an object that has no such parameter; set nothing."""
    first, nested, rest = parameter.partition("__")
    known = value.get_params()
    if first not in known:
        value.set_params(**{parameter: None})
    if nested:
        inner = params.get(f"{owner}__{first}", known[first])
        if not hasattr(inner, "set_params") or isinstance(inner, type):
            raise ValueError(f"{owner}__{first}={inner!r} has no parameter {rest!r}; leave it out")
        _check_nested(params, f"{owner}__{first}", inner, rest)


def call_parameters(
    estimator: BaseEstimator,
    n_sources: int | str | None,
    input_rate: int | None,
    *,
    noise: bool = False,
    phase_iterations: int = 0,
    pair_sweeps: int = PAIR_SWEEPS,
    speeds: int = 1,
    caller: str = "predict",
) -> tuple[int | None, int | None]:
    """Give what a single call works with: its own keywords, or else the parameters.

    These are the number of sources, None where it is to be estimated, and the rate that comes in.
    A ValueError that names the caller says that a keyword is not what it may be.
    """
    keywords = {
        "input_rate": input_rate,
        "noise": noise,
        "phase_iterations": phase_iterations,
        "pair_sweeps": pair_sweeps,
        "speeds": speeds,
    }
    allowed = {
        "input_rate": [_RATE, None],
        "noise": ["boolean"],
        "phase_iterations": [Interval(Integral, 0, None, closed="left")],
        "pair_sweeps": [Interval(Integral, 0, None, closed="left")],
        "speeds": [Interval(Integral, 1, MOST_SPEEDS, closed="both")],
    }
    validate_parameter_constraints(allowed, keywords, caller_name=caller)
    for name in ("phase_iterations", "pair_sweeps", "speeds"):
        if isinstance(keywords[name], bool):
            possible = f"from 1 to {MOST_SPEEDS}" if name == "speeds" else "of 0 or more"
            raise ValueError(f"{name}={keywords[name]}; give an integer {possible}")
    rate: int | None = estimator.input_rate if input_rate is None else input_rate
    return asked_count(estimator.n_sources if n_sources is None else n_sources), rate


def is_full_band(band: str) -> bool:
    """Whether all frequencies are asked for; a ValueError says that `band` is unknown."""
    if band not in ("full", "network"):
        raise ValueError(f"band={band!r}; give 'full' or 'network'")
    return band == "full"


def check_segment_frames(segment_frames: int | Sequence[int]) -> tuple[int, ...]:
    """Give the lengths of training segments; a ValueError says if one is no int from 2 on."""
    frames = np.atleast_1d(np.asarray(segment_frames))
    if frames.ndim != 1 or not frames.size or frames.dtype.kind != "i" or frames.min() < 2:
        raise ValueError(
            f"segment_frames={segment_frames!r} must be an int of at least 2, or several of them"
        )
    return tuple(frames.tolist())


def network_config(parameters: Mapping[str, Any]) -> NetworkConfig:
    """Give the network that the parameters of a separator, by name, ask for."""
    names = ("embedding_dim", "hidden_size", "n_layers")
    has_mask_head = "masks" in resolve_objective(parameters["objective"]).needs
    return NetworkConfig(
        n_bins=int(parameters["win_length"]) // 2 + 1,
        **{name: _plain(parameters[name]) for name in names},
        bidirectional=bool(parameters["bidirectional"]),
        # A copy, so that a change to the parameter does not reach the fitted network.
        trunk=clone(resolve_trunk(parameters["trunk"])),
        n_masks=(_plain(asked_count(parameters["n_sources"])) or 2) if has_mask_head else 0,
    )


def training_config(
    parameters: Mapping[str, Any],
    *,
    seed: int,
    device: torch.device,
    time_limit: float | None = None,
) -> TrainingConfig:
    """Give the training run that the parameters of a separator, by name, ask for.

    Where there is only one epoch, its learning rate does not fall: `partial_fit` and `warm_start`
    go on.
    """
    names = ("batch_size", "learning_rate", "max_epochs", "n_iter_no_change")
    return TrainingConfig(
        **{name: _plain(parameters[name]) for name in names},
        objective=resolve_objective(parameters["objective"]),
        segment_frames=check_segment_frames(parameters["segment_frames"]),
        decay_fraction=0.0 if parameters["max_epochs"] == 1 else 0.3,
        precision=resolve_precision(parameters["precision"], device),
        time_limit=_plain(time_limit),
        seed=seed,
    )


def _plain(value: Any) -> Any:
    # Searches over parameters give NumPy numbers, which files of the run cannot hold.
    return value.item() if isinstance(value, np.generic) else value


# Parameters that a model file does not hold: they belong to the machine where it is loaded.
LOCAL_PARAMETERS = ("device", "verbose", "random_state", "input_rate")


def stored_parameters(estimator: BaseEstimator) -> dict[str, Any]:
    """Give the parameters of a separator as plain values, ready for JSON.

    `restored_parameters` reads them back. An objective of the caller's own, which separation does
    without, is replaced by the default one; a clusterer or trunk of the caller's own raises a
    TypeError.
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
    """Give the parameters that `stored_parameters` described, or that version 0.1 wrote."""
    if not isinstance(stored, Mapping):
        raise ValueError(f"its parameters are {stored!r}, not a mapping of names to values")
    parameters = without_moved(stored)
    if "checkpoint" in stored:  # no version has written one into a model file: it is refused
        parameters["checkpoint"] = stored["checkpoint"]
    if isinstance(trunk := parameters.get("trunk"), Mapping):
        parameters["trunk"] = trunk_from_dict(trunk)
    if isinstance(mixing := parameters.get("remix"), Mapping):
        try:
            parameters["remix"] = DynamicMixing(**mixing)
        except TypeError as error:
            raise ValueError(f"its remix has no such parameters: {error}") from error
    return parameters


def _listed(value: Any) -> Any:
    """Turn NumPy's numbers and arrays, and tuples, into what JSON has."""
    return value if value is None or isinstance(value, Mapping) else np.asarray(value).tolist()


def check_resumable(wanted: NetworkConfig, fitted: NetworkConfig) -> None:
    """Check that training can go on from the weights of a fitted network.

    Raises a ValueError if the networks differ in more than dropout, heads that `fit_voices`
    trains, and a trunk that can grow, to more layers or to hear phases.
    """
    now, before = ({**c.as_dict(), **c.as_dict()["trunk"]} for c in (wanted, fitted))
    same = ("dropout", "trunk", "voice_dim", "most_counted", "hears_noise")
    changed = [k for k in now if now[k] != before.get(k) and k not in same]
    is_as_deep = wanted.n_layers >= fitted.n_layers
    if is_as_deep and wanted.trunk.grows_from(fitted.trunk, fitted.n_layers):
        may_differ = {"n_layers", "name", *wanted.trunk.get_params()}
        changed = [name for name in changed if name not in may_differ]
    if changed:
        # The parameters that the size of the mask head comes from.
        masks = "n_sources" if wanted.n_masks and fitted.n_masks else "the masks of the objective"
        called = {name: name for name in changed} | {"n_masks": masks}
        raise ValueError(
            "cannot train on from the present weights: "
            + ", ".join(f"{called[k]} is {now[k]} but was {before.get(k)}" for k in changed)
            + " (n_bins is win_length // 2 + 1); set it back, or fit anew with warm_start=False"
        )


def resolve_device(device: str | torch.device, beside: torch.device | None = None) -> torch.device:
    """Turn the `device` parameter into a device that is there, with its number.

    "auto" is the GPU where there is one, else the CPU. A GPU without a number is that of `beside`,
    such as the one that a network is on, or else the current one, which is each thread's own.
    Raises a ValueError if the name is unknown, or the device is not there or has no float64.
    """
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        try:
            return resolve_device("cuda", beside)
        except ValueError as error:
            warnings.warn(
                f"there is a GPU, but not for this torch, and so the CPU computes: {error}",
                stacklevel=2,
            )
            return torch.device("cpu")
    try:
        resolved = torch.device(device)
        if beside is not None and resolved.index is None and resolved.type == beside.type:
            return beside
        # Sums of losses and of distances are kept in float64, which some devices (mps) lack.
        return torch.zeros(1, dtype=torch.float64, device=resolved).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(
            f"device={str(device)!r} cannot be used ({str(error).splitlines()[0]}); use 'auto', "
            "'cpu', or a GPU that torch sees and that has float64"
        ) from error


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn the `precision` parameter into "float32" or "bfloat16".

    "auto" is bfloat16 where the device multiplies it natively.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and torch.backends.mkldnn.is_available() and _cpu_bfloat16()
    return "bfloat16" if native else "float32"


def _cpu_bfloat16() -> bool:
    # This function is private in torch 2.4 to 2.13, and there is no public one; where it is gone,
    # float32 is used. It says what the processor can, and not what torch was told to use of that.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    is_used = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return bool(is_used and probe and probe())
