"""The file that keeps the state of a training run, and knows what run it is of."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from skdc.model_file import read_tensors, write_tensors

__all__ = ["CHECKPOINT", "RunFile", "history_from_json", "history_to_json", "weights_digest"]

CHECKPOINT = "checkpoint of a training run"
"""What messages call the file."""


def weights_digest(network: nn.Module | Mapping[str, Tensor]) -> str:
    """Give a short text that differs where the weights of networks, or their states, differ."""
    state = network.state_dict() if isinstance(network, nn.Module) else network
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def history_to_json(history: list[dict[str, float]]) -> list[dict[str, float | str]]:
    """Write a history so that JSON can hold it: with texts for what is not finite."""
    return [
        {k: float(v) if math.isfinite(v) else str(float(v)) for k, v in row.items()}
        for row in history
    ]


def history_from_json(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Read what `history_to_json` wrote."""
    return [{k: float(v) for k, v in row.items()} for row in rows]


@dataclass
class RunFile:
    """The state of a run, as its file holds it.

    Parameters
    ----------
    identity : dict
        What makes the run another one than others: data, seed, network, objective, settings.
    network, averaged, best : dict of str to Tensor
        Weights as they are, their exponential moving average, and that of the best epoch; None
        before there is one.
    best_score : float
    optimizer : dict of int to dict of str to Tensor
        State of the optimiser by the index of the parameter.
    norms : Tensor
        State of `AdaptiveClipping`.
    epoch_loss : Tensor of shape ()
        Sum of the losses of the present epoch.
    counters : dict of str to number
    history : list of dict
    is_finished : bool
        Whether the run has nothing left to do.
    path : path-like or None, default=None
        File that it was read from, which errors name.
    """

    COUNTERS: ClassVar[tuple[str, ...]] = ("step", "epoch", "epoch_step", "samples", "seconds")

    identity: dict[str, Any]
    network: dict[str, Tensor]
    averaged: dict[str, Tensor]
    best: dict[str, Tensor] | None
    best_score: float
    optimizer: dict[int, dict[str, Tensor]]
    norms: Tensor
    epoch_loss: Tensor
    counters: dict[str, Any]
    history: list[dict[str, float]]
    is_finished: bool
    path: Path | None = None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, atomically."""
        tensors = {f"network.{k}": v for k, v in self.network.items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.items()}
        tensors |= {f"best.{k}": v for k, v in (self.best or {}).items()}
        for index, state in self.optimizer.items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        tensors |= {"epoch_loss": self.epoch_loss, "norms": self.norms}
        header = {
            "kind": "training",
            "identity": self.identity,
            **self.counters,
            "best_score": None if self.best is None else self.best_score,
            "history": history_to_json(self.history),
            "is_finished": self.is_finished,
        }
        write_tensors(path, tensors, header)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `write` wrote. Nothing stays mapped: the file may be replaced at once.

        Raises a ValueError if it is another kind of file, or damaged.
        """
        tensors, header = read_tensors(path)
        if header.get("kind") != "training":
            raise ValueError(
                f"{str(path)!r} is a model file, not the checkpoint of a training run"
            )
        if "identity" not in header:
            tensors, header = _from_first_format(tensors, header)
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value.clone()
        try:
            optimizer: dict[int, dict[str, Tensor]] = {}
            for key, value in parts.get("optimizer", {}).items():
                index, name = key.split(".")
                optimizer.setdefault(int(index), {})[name] = value
            if (header["best_score"] is None) != ("best" not in parts):
                raise KeyError("best")
            score = header["best_score"]
            return cls(
                identity=header["identity"],
                network=parts["network"],
                averaged=parts["averaged"],
                best=parts.get("best"),
                best_score=-math.inf if score is None else float(score),
                optimizer=optimizer,
                norms=parts["norms"][""],
                epoch_loss=parts["epoch_loss"][""],
                counters={name: header[name] for name in cls.COUNTERS},
                history=history_from_json(header["history"]),
                is_finished=bool(header["is_finished"]),
                path=Path(path),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path) from error

    def result(self) -> dict[str, Tensor]:
        """Give the weights that the run hands to the user."""
        return self.averaged if self.best is None else self.best

    def result_digest(self) -> str:
        """Give the digest of `result`."""
        return weights_digest(self.result())

    def check_identity(self, identity: Mapping[str, Any]) -> None:
        """Raise a ValueError that says what differs if the file is of another run than this one.

        What the file does not state, because an earlier version wrote it, is not compared.
        """
        ours, theirs = _flat(identity), _flat(self.identity)
        changed = [k for k in ours if k in theirs and _json(theirs[k]) != _json(ours[k])]
        # The values of digests would say nothing to a reader.
        digests = {
            "data": "the data differs",
            "start": "it began with other weights",
            "validation": "the mixtures of the validation differ",
        }
        differences = [
            digests.get(k) or f"{k} is {ours[k]!r} here but {theirs[k]!r} there" for k in changed
        ]
        if differences:
            raise ValueError(
                f"checkpoint {str(self.path)!r} is of another run: {'; '.join(differences)}. Use "
                "another file for this run, or remove that one to start anew"
            )

    def check_shapes(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Raise a ValueError if a tensor is not there, has another shape or is not finite."""
        weights = {name: value.shape for name, value in network.state_dict().items()}
        states = [self.network, self.averaged] + [self.best] * (self.best is not None)
        fits = all({k: v.shape for k, v in (state or {}).items()} == weights for state in states)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.counters["step"] > 0:
            # A parameter has the state of Adam, or that of Muon, which is tried in its place by
            # examples/benchmarks/learning.py.
            expected = {
                index: [
                    {"exp_avg": p.shape, "exp_avg_sq": p.shape, "step": torch.Size()},
                    {"momentum_buffer": p.shape},
                ]
                for index, p in enumerate(parameters)
            }
            # What the objective does not train, such as the embeddings of a mask head, has none.
            fits &= bool(self.optimizer)
            fits &= all(
                {k: v.shape for k, v in state.items()} in expected.get(index, [])
                for index, state in self.optimizer.items()
            )
        fits &= self.epoch_loss.shape == () and self.norms.dim() == 1
        tensors = [
            v for state in [*states, *self.optimizer.values()] for v in (state or {}).values()
        ]
        if not fits or not all(
            bool(v.isfinite().all()) for v in [*tensors, self.epoch_loss, self.norms]
        ):
            raise _damaged(self.path)


def _damaged(path: str | os.PathLike[str] | None) -> ValueError:
    return ValueError(
        f"checkpoint {str(path)!r} is damaged: it does not hold the whole state of a run; remove "
        "it to start anew"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Lay out nested mappings side by side, ``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _from_first_format(
    tensors: dict[str, Tensor], header: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Bring a file written by version 0.1, which clipped at a fixed norm, to the present form."""
    config = header.get("config", {})
    names = ("objective", "seed", "segment_frames", "batch_size", "learning_rate")
    identity = {name: config[name] for name in names if name in config}
    network = dict(header.get("network", {}))
    # Its one trunk had the dropout among the sizes.
    network["trunk"] = {"name": "blstm", "dropout": network.pop("dropout", 0.0)}
    return tensors | {"norms": torch.zeros(0, dtype=torch.float64, device="cpu")}, {
        **header,
        "identity": identity | {"network": network},
        "samples": header.get("hours"),
        "is_finished": header.get("epoch", 0) >= config.get("max_epochs", math.inf),
    }
