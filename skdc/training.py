"""The training loop: optimiser, schedule, curriculum, validation, early stopping, resume.

It knows networks and batches, nothing of estimators. A run is a function of its configuration and
its seed: stopped at any moment and resumed from its checkpoint, it ends in the same weights, on
the CPU bit for bit.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from skdc.checkpoint import read_tensors, write_tensors
from skdc.mixing import Batch, BatchSource, step_seed
from skdc.network import EmbeddingNetwork
from skdc.objectives import Outputs, Targets, one_hot_labels, resolve_objective

__all__ = ["Trainer", "TrainingConfig", "batch_loss", "train"]

logger = logging.getLogger("skdc")

History = list[dict[str, float]]
Validate = Callable[[EmbeddingNetwork], dict[str, float]]

_WARMUP_STEPS = 200
_STATISTICS_BATCHES = 8
_AVERAGE_DECAY = 0.999
# What a checkpoint counts.
_COUNTERS = ("step", "epoch", "epoch_step", "hours", "seconds")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Parameters
    ----------
    objective : str, default="balanced_affinity"
        A key of `skdc.objectives.OBJECTIVES`.
    segment_frames : tuple of int, default=(100,)
        Frames of a training segment. Several make a curriculum: the epochs are divided evenly
        between them, in order.
    batch_size : int, default=16
        Segments in a batch.
    learning_rate : float, default=1e-3
        Of Adam, after a warm-up; it falls linearly to a twentieth over the last part of the run.
    decay_fraction : float, default=0.3
        That part of `max_epochs`, 0...1.
    max_epochs : int, default=100
        Passes over as much audio as the training data holds.
    clip_norm : float, default=1.0
        Largest norm of the gradient.
    n_iter_no_change : int or None, default=None
        Stop when the validation score has not risen for so many epochs.
    tol : float, default=0.01
        What counts as a rise, in the unit of the validation score.
    time_limit : float or None, default=None
        Stop after so many seconds, at the end of a step.
    precision : {"float32", "bfloat16"}, default="float32"
        Of the network's arithmetic; weights and objective stay in float32.
    seed : int, default=0
    """

    objective: str = "balanced_affinity"
    segment_frames: tuple[int, ...] = (100,)
    batch_size: int = 16
    learning_rate: float = 1e-3
    decay_fraction: float = 0.3
    max_epochs: int = 100
    clip_norm: float = 1.0
    n_iter_no_change: int | None = None
    tol: float = 0.01
    time_limit: float | None = None
    precision: str = "float32"
    seed: int = 0

    def epoch_segment_frames(self, epoch: int) -> int:
        """Frames of a segment in an epoch (counted from 0)."""
        stage = epoch * len(self.segment_frames) // self.max_epochs
        return self.segment_frames[min(stage, len(self.segment_frames) - 1)]

    def rate(self, progress: float, step: int) -> float:
        """Learning rate at a step (counted from 0), `progress` of the way through the run."""
        # A run too short for the whole warm-up warms up over its first twentieth.
        warmup = min(1.0, max((step + 1) / _WARMUP_STEPS, 20 * progress))
        left = max(0.0, 1.0 - progress)
        decay = min(1.0, left / self.decay_fraction) if self.decay_fraction > 0 else 1.0
        return self.learning_rate * warmup * max(0.05, decay)


def batch_loss(network: EmbeddingNetwork, batch: Batch, objective: str) -> Tensor:
    """Mean objective of a batch.

    Parameters
    ----------
    network : EmbeddingNetwork
    batch : Batch
    objective : str
        As `skdc.objectives.resolve_objective` takes it.

    Returns
    -------
    Tensor of shape ()

    Examples
    --------
    >>> import torch
    >>> from skdc.mixing import Framing, make_targets
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> from skdc.training import batch_loss
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5))
    >>> sources = torch.rand(4, 2, 6336)
    >>> loss = batch_loss(network, make_targets(sources.sum(1), sources, Framing()), "affinity")
    >>> 0 < loss.item() < 1
    True
    """
    loss, labels = resolve_objective(objective), one_hot_labels(batch.labels, batch.n_sources)
    if batch.features.device.type == "cpu":
        # Only bins that count, which differ in number from mixture to mixture.
        active = batch.weights > 0
        vectors = network.project_active(batch.features, active)
        targets = (x[active].split([len(v) for v in vectors]) for x in (labels, batch.weights))
        return torch.stack(list(map(loss, map(Outputs, vectors), map(Targets, *targets)))).mean()
    outputs = Outputs(network.project(batch.features).flatten(1, 2))  # (mixtures, bins, embedding)
    return loss(outputs, Targets(labels.flatten(1, 2), batch.weights.flatten(1))).mean()


def _score(row: dict[str, float]) -> float:
    """Give the number that the best epoch has most of."""
    loss = row.get("validation_loss", row["loss"])
    score = row.get("validation_si_sdr_improvement", -loss)
    return -math.inf if math.isnan(score) else score


def _reseed(device: torch.device, seed: int) -> None:
    # torch.manual_seed would reseed the generators of all other devices too.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)


class Trainer:
    """The state of one run: everything that a checkpoint holds, and how a step changes it.

    `train` is the whole loop; this is for those who want to step by themselves.

    Parameters
    ----------
    network : EmbeddingNetwork
        On the device to train on; changed in place.
    data : BatchSource
        Where batches come from.
    config : TrainingConfig
    """

    def __init__(
        self, network: EmbeddingNetwork, data: BatchSource, config: TrainingConfig
    ) -> None:
        self.network = network
        self.data = data
        self.config = config
        self.device = next(network.parameters()).device
        # The weights used outside the loop are a running mean of those inside it: steadier from
        # epoch to epoch, and ahead of them by what a lower learning rate would give.
        self.averaged = copy.deepcopy(network)
        self.optimizer = torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, fused=True
        )
        self.step = 0
        self.epoch = 0
        self.epoch_step = 0
        self.epoch_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.hours = 0.0  # in samples, until the sample rate is known
        self.seconds = 0.0
        self.history: History = []
        self.best: dict[str, Tensor] | None = None
        self.best_score = -math.inf
        self.is_whole = True

    @contextmanager
    def _indivisible(self) -> Iterator[None]:
        # An interrupt may come between any two instructions. A state that it left half changed
        # must not be saved; hence no `finally`.
        self.is_whole = False
        yield
        self.is_whole = True

    def epoch_steps(self) -> int:
        """Count the steps of the present epoch: as many as cover the length of the data."""
        frames = self.config.epoch_segment_frames(self.epoch)
        samples = self.data.framing.segment_samples(frames) * self.config.batch_size
        return -(-self.data.n_mixture_samples // samples)

    def learning_rate(self, back: int = 0) -> float:
        """Learning rate of the next step, or of one `back` steps ago in the same epoch."""
        done = self.epoch + (self.epoch_step - back) / self.epoch_steps()
        return self.config.rate(done / self.config.max_epochs, self.step - back)

    def train_step(self) -> None:
        """Make a batch and step once.

        Raises
        ------
        FloatingPointError
            If the loss or its gradient is not finite; nothing is changed then.
        """
        config = self.config
        frames = config.epoch_segment_frames(self.epoch)
        batch = self.data.batch(config.batch_size, frames, seed=config.seed, step=self.step)
        # Dropout draws from the global generator: seeding it with the step, inside the fork that
        # surrounds the loop, is what makes a resumed run the same run.
        _reseed(self.device, step_seed(config.seed, self.step))
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
        ):
            loss = batch_loss(self.network, batch, config.objective)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        # One wait for the device, not two. Before the optimiser's step, so that the weights and
        # their average stay sound.
        loss_value, norm_value = torch.stack([loss.detach(), norm]).tolist()
        if not math.isfinite(loss_value + norm_value):
            raise FloatingPointError(
                f"the loss became {loss_value} and its gradient {norm_value} in epoch "
                f"{self.epoch + 1}; lower learning_rate (now {config.learning_rate}) or use "
                "precision='float32'"
            )
        if norm_value > config.clip_norm:
            torch._foreach_mul_(gradients, config.clip_norm / norm_value)
        decay = min(_AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        with self._indivisible():
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate()
            self.optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.averaged.parameters()), list(self.network.parameters()), 1 - decay
                )
            self.epoch_loss += loss.detach()
            self.hours += batch.features.shape[0] * frames * self.data.framing.hop_length
            self.step += 1
            self.epoch_step += 1

    def report(self, validate: Validate | None, sample_rate: int) -> dict[str, float]:
        """Measure the present epoch: one row of the history."""
        row = {
            "epoch": float(self.epoch + 1),
            "steps": float(self.step),
            "hours": self.hours / sample_rate / 3600,
            "seconds": round(self.seconds, 1),
            "learning_rate": self.learning_rate(back=1),
            "loss": float(self.epoch_loss) / self.epoch_step,
        }
        if validate is not None:
            self.averaged.eval()
            row |= {f"validation_{k}": float(v) for k, v in validate(self.averaged).items()}
        logger.info("%s", ", ".join(f"{k} {v:.6g}" for k, v in row.items()))
        return row

    def end_epoch(self, validate: Validate | None, sample_rate: int) -> None:
        """Add a row to the history, and keep the weights if they are the best so far."""
        row = self.report(validate, sample_rate)
        with self._indivisible():
            if validate is not None and _score(row) > self.best_score:
                self.best_score = _score(row)
                self.best = {k: v.clone() for k, v in self.averaged.state_dict().items()}
            self.history.append(row)
            self.epoch += 1
            self.epoch_step = 0
            self.epoch_loss.zero_()

    def has_converged(self) -> bool:
        """Whether the score has not risen for `n_iter_no_change` epochs."""
        patience = self.config.n_iter_no_change
        if patience is None or len(self.history) <= patience:
            return False
        scores = [_score(row) for row in self.history]
        return max(scores[-patience:]) < max(scores[:-patience]) + self.config.tol

    def save(self, path: Path) -> None:
        """Write the state of the run to one file."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in (self.best or {}).items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        tensors["epoch_loss"] = self.epoch_loss
        header = {
            "kind": "training",
            "config": asdict(self.config),
            "network": self.network.config.as_dict(),
            **{name: getattr(self, name) for name in _COUNTERS},
            "best_score": self.best_score if self.best is not None else None,
            # JSON has no word for what is not finite; float() reads these.
            "history": [
                {k: v if math.isfinite(v) else str(v) for k, v in row.items()}
                for row in self.history
            ],
        }
        write_tensors(path, tensors, header)

    def restore(self, path: Path) -> None:
        """Take up the state that `save` wrote, or raise a ValueError and change nothing."""
        tensors, header = read_tensors(path)
        if header.get("kind") != "training":
            raise ValueError(
                f"{str(path)!r} is a model file, not the checkpoint of a training run"
            )
        if header.get("network") != self.network.config.as_dict():
            raise ValueError(
                f"checkpoint {str(path)!r} is of a network with {header.get('network')}, but this "
                f"run has {self.network.config.as_dict()}; use the same settings or another file"
            )
        lacking = {"best_score", "history", *_COUNTERS} - header.keys()
        if lacking or not self._fits(tensors, header):
            raise ValueError(
                f"checkpoint {str(path)!r} is damaged: it does not hold the whole state of a run; "
                "remove it to start anew"
            )
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value
        self.network.load_state_dict(parts["network"])
        self.averaged.load_state_dict(parts["averaged"])
        self.best = parts.get("best")
        state = self.optimizer.state_dict()
        for key, value in parts.get("optimizer", {}).items():
            index, name = key.split(".")
            state["state"].setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(state)
        self.epoch_loss = tensors["epoch_loss"].to(self.device)
        for name in _COUNTERS:
            setattr(self, name, header[name])
        self.history = [{k: float(v) for k, v in row.items()} for row in header["history"]]
        if header["best_score"] is not None:
            self.best_score = header["best_score"]

    def _fits(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> bool:
        weights = {name: value.shape for name, value in self.network.state_dict().items()}
        copies = ["network", "averaged"] + ["best"] * (header["best_score"] is not None)
        shapes = {f"{part}.{name}": shape for part in copies for name, shape in weights.items()}
        if header["step"] > 0:
            for index, parameter in enumerate(self.network.parameters()):
                of_adam = {"exp_avg": parameter.shape, "exp_avg_sq": parameter.shape, "step": ()}
                shapes |= {f"optimizer.{index}.{name}": of_adam[name] for name in of_adam}
        shapes["epoch_loss"] = torch.Size()
        return {name: value.shape for name, value in tensors.items()} == shapes and all(
            bool(value.isfinite().all()) for value in tensors.values()
        )


def train(
    network: EmbeddingNetwork,
    data: BatchSource,
    config: TrainingConfig,
    *,
    sample_rate: int = 8000,
    validate: Validate | None = None,
    warm_start: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 120.0,
    progress: bool = False,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    network : EmbeddingNetwork
        On the device to train on. Ends with the weights of the best epoch where `validate` is
        given, else the last ones; either way a running average over the last thousand steps.
    data : BatchSource
        Where batches come from.
    config : TrainingConfig
    sample_rate : int, default=8000
        Hz; for the count of hours.
    validate : callable, optional
        ``validate(network) -> dict``, called after every epoch; its ``"si_sdr_improvement"`` (dB),
        or failing that the negative of its ``"loss"``, or of the training loss, is the score that
        chooses the best epoch.
    warm_start : bool, default=False
        Keep the network's input statistics instead of taking them from the data.
    checkpoint : path-like, optional
        Where to save the state of the run, at the end of each epoch, every `checkpoint_seconds`
        and when it is stopped. A run whose checkpoint exists goes on from there.
    checkpoint_seconds : float, default=120.0
        Seconds from one save to the next within an epoch.
    progress : bool, default=False
        Show a progress bar.

    Returns
    -------
    list of dict
        One a finished epoch: ``epoch``, ``steps``, ``hours`` of mixtures seen, ``seconds`` of
        training, ``learning_rate``, ``loss`` and what `validate` gave under ``validation_...``.
        Where the time limit stops a run in its first epoch, one for the part that was done.

    Raises
    ------
    ValueError
        If the checkpoint is of another kind of network, or damaged.
    FloatingPointError
        If the loss or its gradient stops being finite; the network then has its last sound
        weights, and so has the checkpoint.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.mixing import SourceBank
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> from skdc.training import TrainingConfig, train
    >>> bank = SourceBank(np.random.default_rng(0).standard_normal((3, 8000)))
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5))
    >>> history = train(network, bank, TrainingConfig(max_epochs=2, batch_size=2))
    >>> [row["epoch"] for row in history]
    [1.0, 2.0]
    """
    run = Trainer(network, data, config)
    path = None if checkpoint is None else Path(checkpoint)
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        if path is not None and path.is_file():
            run.restore(path)
        elif not warm_start:
            _take_statistics(run)
        with tqdm(
            total=config.max_epochs, initial=run.epoch, unit="epoch", disable=not progress
        ) as bar:
            try:
                _loop(run, validate, sample_rate, path, checkpoint_seconds, bar)
            finally:
                # An interrupted run leaves the user its averaged weights and its checkpoint.
                try:
                    if path is not None and run.is_whole:
                        run.save(path)
                finally:
                    network.load_state_dict(run.best or run.averaged.state_dict())
                    network.zero_grad()
                    network.eval()
        return run.history or [run.report(validate, sample_rate)]


def _take_statistics(run: Trainer) -> None:
    frames = run.config.segment_frames[0]
    size = run.config.batch_size
    # Batches of another seed: those of this one are for training.
    batches = [
        run.data.batch(size, frames, seed=run.config.seed + 1, step=step).features
        for step in range(_STATISTICS_BATCHES)
    ]
    run.network.set_input_statistics(torch.cat(batches))
    run.averaged.set_input_statistics(torch.cat(batches))


def _loop(
    run: Trainer,
    validate: Validate | None,
    sample_rate: int,
    path: Path | None,
    checkpoint_seconds: float,
    bar: Any,
) -> None:
    config = run.config
    started = clock = saved = time.monotonic()
    while run.epoch < config.max_epochs and not run.has_converged():
        run.network.train()
        n_steps = run.epoch_steps()
        while run.epoch_step < n_steps:
            run.train_step()
            now = time.monotonic()
            run.seconds += now - clock
            clock = now
            if path is not None and now - saved > checkpoint_seconds:
                run.save(path)
                saved = now
            if config.time_limit is not None and now - started > config.time_limit:
                return
        run.end_epoch(validate, sample_rate)
        bar.set_postfix(
            {k: f"{v:.4g}" for k, v in run.history[-1].items() if "loss" in k or "si_sdr" in k}
        )
        bar.update()
        clock = time.monotonic()
        if path is not None:
            run.save(path)
            saved = clock
