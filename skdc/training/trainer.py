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
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from skdc.exceptions import InterruptedWarning
from skdc.network import EmbeddingNetwork
from skdc.network.concurrency import seeding
from skdc.objectives import Objective, Outputs, Targets, describe_objective, one_hot_labels
from skdc.paths import hold_file
from skdc.training import distributed
from skdc.training.ahead import BatchesAhead
from skdc.training.banks import Batch, BatchSource, step_seed
from skdc.training.checkpoint import CHECKPOINT, RunFile, weights_digest
from skdc.training.clipping import AdaptiveClipping
from skdc.training.config import TrainingConfig

__all__ = ["History", "Trainer", "batch_loss", "take_statistics", "train"]

logger = logging.getLogger("skdc")

History = list[dict[str, float]]
Validate = Callable[[EmbeddingNetwork], dict[str, float]]

_STATISTICS_BATCHES = 8
_AVERAGE_DECAY = 0.999
_BAR = "{l_bar}{bar}| {n:.2f}/{total} epochs [{elapsed}<{remaining}{postfix}]"


def batch_loss(network: EmbeddingNetwork, batch: Batch, objective: Objective) -> Tensor:
    """Mean objective of a batch.

    Parameters
    ----------
    network : EmbeddingNetwork
        With the heads that the objective needs.
    batch : Batch
        With spectrograms, if the objective needs them.
    objective : Objective

    Returns
    -------
    Tensor of shape ()

    Examples
    --------
    >>> import torch
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> from skdc.objectives import Affinity
    >>> from skdc.signal import Framing
    >>> from skdc.training import batch_loss
    >>> from skdc.training.banks import make_targets
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5))
    >>> sources = torch.rand(4, 2, 6336)
    >>> loss = batch_loss(network, make_targets(sources.sum(1), sources, Framing()), Affinity())
    >>> 0 < loss.item() < 1
    True
    """
    states = network.states(batch.features)
    heads = (
        network.embed if "embeddings" in objective.needs else None,
        network.mask_head if "masks" in objective.needs else None,
    )
    if batch.features.device.type != "cpu":
        # (mixtures, frames, bins, ...) -> (mixtures, frames * bins, ...)
        outputs = Outputs(*(None if h is None else h(states).flatten(1, 2) for h in heads))
        targets = _targets(batch, slice(None))
    else:
        # On the CPU the heads compute only bins with a weight. Where a mixture has fewer of them
        # than others, what fills it up has none, and no source.
        active = batch.weights > 0
        outputs = Outputs(*(None if h is None else h.active(states, active) for h in heads))
        chosen = (own.flatten().nonzero().squeeze(1) for own in active)
        each = [_targets(batch, item, own) for item, own in enumerate(chosen)]
        targets = Targets(*map(_side_by_side, zip(*each, strict=True)))  # type: ignore[arg-type]
    losses = objective(outputs, targets)
    if losses.shape != (len(batch.labels),):
        raise ValueError(
            f"the objective {objective!r} gave losses of shape {tuple(losses.shape)} for a batch "
            f"of {len(batch.labels)} mixtures, expected ({len(batch.labels)},): one a mixture, so "
            "sum over points and sources, the last axes, and not over the axis before them"
        )
    return losses.mean()


def _side_by_side(tensors: tuple[Tensor | None, ...]) -> Tensor | None:
    """Join one tensor of each mixture, (points, ...), filled up with zeros behind the shorter."""
    some = [tensor for tensor in tensors if tensor is not None]
    return pad_sequence(some, batch_first=True) if some else None


def _targets(batch: Batch, mixtures: int | slice, chosen: Tensor | None = None) -> Targets:
    """Give what the outputs of some mixtures are compared to, at all bins or at those chosen.

    Chosen bins are indices into frames * bins, which are many times as fast to look up as a mask.
    """

    def take(tensor: Tensor) -> Tensor:
        # (..., frames, bins) -> (..., frames * bins) -> (..., chosen)
        own = tensor[mixtures].flatten(-2)
        return own if chosen is None else own.index_select(-1, chosen)

    return Targets(
        one_hot_labels(take(batch.labels), batch.n_sources),
        take(batch.weights),
        None if batch.mixture is None else take(batch.mixture),
        None if batch.sources is None else take(batch.sources).mT,  # (..., bins, sources)
    )


def _score_name(row: dict[str, float]) -> str:
    """Say by which of its figures an epoch is judged."""
    names = "validation_si_sdr_improvement", "validation_loss", "loss"
    return next(name for name in names if name in row)


def _score(row: dict[str, float]) -> float:
    """Give the number that the best epoch has most of."""
    name = _score_name(row)
    score = -row[name] if name.endswith("loss") else row[name]
    return -math.inf if math.isnan(score) else score


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
        self.data: BatchSource = data
        self.config = config
        self.with_spectrograms = "spectrograms" in config.objective.needs
        self._check_needs()
        self.device = network.device
        if self.device.type == "cuda":
            self.data = BatchesAhead(data)
        distributed.check_agreement(config.batch_size, config.seed, self.device)
        # Validation and the result use an exponential moving average of the weights: it varies
        # less from epoch to epoch, and is better by about as much as a lower learning rate gives.
        self.averaged = copy.deepcopy(network)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, fused=True
        )
        self.clipping = AdaptiveClipping(config.clip_percentile)
        self.step = 0
        self.epoch = 0
        self.epoch_step = 0
        self.epoch_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.samples = 0  # samples of all mixtures seen so far
        self.seconds = 0.0
        self.history: History = []
        self.best: dict[str, Tensor] | None = None
        self.best_score = -math.inf
        self.is_whole = True
        # Digest of the weights at the start of a warm start, which tell its run from others.
        self.start: str | None = None
        # Digest of the mixtures that choose the best epoch.
        self.validation: str | None = None

    def _check_needs(self) -> None:
        needs = self.config.objective.needs
        if "masks" in needs and self.network.mask_head is None:
            raise ValueError(
                f"{self.config.objective} trains a mask head, but the network has none; give its "
                "NetworkConfig n_masks, the number of sources"
            )
        if self.with_spectrograms and not self.data.has_waveforms:
            raise ValueError(
                f"{self.config.objective} needs the waveforms of the sources, but the references "
                "are label maps; use an objective of labels alone, such as 'whitened_kmeans'"
            )

    @contextmanager
    def _indivisible(self) -> Iterator[None]:
        # An interrupt may come between any two instructions. After one, the state may be half
        # changed and must not be saved: without `finally`, `is_whole` stays False then.
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
        n_steps, n_epochs = self.epoch_steps(), self.config.max_epochs
        done = self.epoch + (self.epoch_step - back) / n_steps
        return self.config.rate(done / n_epochs, self.step - back, n_steps * n_epochs)

    def train_step(self) -> float:
        """Make a batch and step once.

        Returns
        -------
        float
            The loss before the step.

        Raises
        ------
        FloatingPointError
            If the loss or its gradient is not finite; nothing is changed then.
        """
        config = self.config
        self.network.train()
        frames = config.epoch_segment_frames(self.epoch)
        batch = self.data.batch(
            config.batch_size,
            frames,
            seed=config.seed,
            step=self.step,
            with_spectrograms=self.with_spectrograms,
        )
        n_mixtures = len(batch.features)
        batch = distributed.own_share(batch)
        # Dropout draws from a generator that all threads share: seeding it with the step is what
        # makes a resumed run the same run, and a run among others the same as by itself.
        with (
            seeding(step_seed(config.seed, self.step) + distributed.rank(), self.device),
            torch.autocast(
                self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
            ),
        ):
            loss = batch_loss(self.network, batch, config.objective)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        loss = loss.detach()
        distributed.average([*gradients, loss])
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        # One wait for the device instead of two, and before the optimiser's step, so that an error
        # leaves the weights and their average as they were.
        loss_value, norm_value = torch.stack([loss, norm]).tolist()
        if not math.isfinite(loss_value + norm_value):
            raise FloatingPointError(
                f"the loss became {loss_value} and its gradient {norm_value} in epoch "
                f"{self.epoch + 1}; lower learning_rate (now {config.learning_rate}), in a run "
                "with another checkpoint, or use precision='float32'"
            )
        decay = min(_AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        with self._indivisible():
            if (factor := self.clipping.factor(norm_value)) < 1:
                torch._foreach_mul_(gradients, factor)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate()
            self.optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.averaged.parameters()), list(self.network.parameters()), 1 - decay
                )
            self.epoch_loss += loss
            self.samples += n_mixtures * frames * self.data.framing.hop_length
            self.step += 1
            self.epoch_step += 1
        return loss_value

    def report(self, validate: Validate | None, sample_rate: int) -> dict[str, float]:
        """Measure the present epoch: one row of the history."""
        row = {
            "epoch": float(self.epoch + 1),
            "steps": float(self.step),
            "hours": self.samples / sample_rate / 3600,
            "seconds": round(self.seconds, 1),
            "learning_rate": self.learning_rate(back=1),
            "loss": float(self.epoch_loss) / self.epoch_step,
        }
        if validate is not None:
            self.averaged.eval()
            measured = validate(self.averaged)
            # Processes on unlike devices differ in the last digits, by which one of them might
            # end the run while the others wait for it.
            values = torch.tensor(
                [float(value) for value in measured.values()],
                dtype=torch.float64,
                device=self.device,
            )
            distributed.average([values])
            row |= {f"validation_{k}": v for k, v in zip(measured, values.tolist(), strict=True)}
        logger.info("%s", ", ".join(f"{k} {v:.6g}" for k, v in row.items()))
        return row

    def end_epoch(self, validate: Validate | None, sample_rate: int) -> None:
        """Add a row to the history, and keep the weights if they are the best so far."""
        row = self.report(validate, sample_rate)
        with self._indivisible():
            if validate is None:
                # The best epoch may be one of earlier validation: what is trained would be lost.
                self.best, self.best_score = None, -math.inf
            elif _score(row) > self.best_score:
                self.best_score = _score(row)
                self.best = {k: v.clone() for k, v in self.averaged.state_dict().items()}
            self.history.append(row)
            self.epoch += 1
            self.epoch_step = 0
            self.epoch_loss.zero_()

    def has_converged(self) -> bool:
        """Whether the score has not risen for `n_iter_no_change` epochs."""
        patience = self.config.n_iter_no_change
        if patience is None or not self.history:
            return False
        # A run may begin to be validated, or go on without: decibels and losses do not compare.
        name = _score_name(self.history[-1])
        rows = [row for row in self.history if _score_name(row) == name]
        if len(rows) <= patience:
            return False
        scores = [_score(row) for row in rows]
        is_db = name == "validation_si_sdr_improvement"
        tol = self.config.tol_db if is_db else self.config.tol_loss
        return max(scores[-patience:]) < max(scores[:-patience]) + tol

    def identity(self) -> dict[str, Any]:
        """Say what makes this run another one than others; see `RunFile.check_identity`."""
        config = self.config
        framing = asdict(self.data.framing)
        # They follow from the network, and earlier checkpoints do not state them.
        del framing["is_causal"], framing["hears_phases"]
        return {
            "data": self.data.digest,
            "seed": config.seed,
            "network": self.network.config.as_dict(),
            "objective": describe_objective(config.objective),
            "segment_frames": list(config.segment_frames),
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "clip_percentile": config.clip_percentile,
            "framing": framing,
            "start": self.start,
            # A run may go on without them, or begin to have some.
            **({} if self.validation is None else {"validation": self.validation}),
        }

    def save(self, path: Path) -> None:
        """Write the state of the run to one file."""
        RunFile(
            identity=self.identity(),
            network=self.network.state_dict(),
            averaged=self.averaged.state_dict(),
            best=self.best,
            best_score=self.best_score,
            optimizer=self.optimizer.state_dict()["state"],
            norms=self.clipping.state(),
            epoch_loss=self.epoch_loss,
            counters={name: getattr(self, name) for name in RunFile.COUNTERS},
            history=self.history,
            is_finished=self.is_finished(),
        ).write(path)

    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.epoch >= self.config.max_epochs or self.has_converged()

    def restore(self, path: Path) -> None:
        """Take up the state that `save` wrote, or raise a ValueError and change nothing."""
        run = RunFile.read(path)
        run.check_identity(self.identity())
        run.check_shapes(self.network, self.optimizer)
        self.network.load_state_dict(run.network)
        self.averaged.load_state_dict(run.averaged)
        self.best, self.best_score = run.best, run.best_score
        state = self.optimizer.state_dict()
        self.optimizer.load_state_dict(state | {"state": run.optimizer})
        self.clipping.restore(run.norms)
        self.epoch_loss = run.epoch_loss.to(self.device)
        for name, value in run.counters.items():
            setattr(self, name, value)
        self.history = run.history


def train(
    network: EmbeddingNetwork,
    data: BatchSource,
    config: TrainingConfig,
    *,
    sample_rate: int = 8000,
    validate: Validate | None = None,
    validation: str | None = None,
    warm_start: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 120.0,
    progress: bool = False,
    ends_when_interrupted: bool = False,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    network : EmbeddingNetwork
        On the device to train on. Ends with the weights of the best epoch where `validate` is
        given, else the last ones; either way an exponential moving average over about the last
        thousand steps.
    data : BatchSource
        Where batches come from.
    config : TrainingConfig
    sample_rate : int, default=8000
        Hz; for the count of hours.
    validate : callable, optional
        ``validate(network) -> dict``, called after every epoch; its ``"si_sdr_improvement"`` (dB),
        or failing that the negative of its ``"loss"``, or of the training loss, is the score that
        chooses the best epoch.
    validation : str, optional
        Digest of the mixtures that `validate` measures with. A run does not go on with others:
        its best epoch so far was chosen by those it had.
    warm_start : bool, default=False
        Keep the network's input statistics instead of taking them from the data.
    checkpoint : path-like, optional
        Where to save the state of the run, at the end of each epoch, every `checkpoint_seconds`
        and when it is stopped. A run whose checkpoint exists goes on from there; a file of a run
        on other data or with other settings is refused. `max_epochs`, `decay_fraction`,
        `precision` and what stops a run early may differ.
    checkpoint_seconds : float, default=120.0
        Seconds from one save to the next within an epoch.
    progress : bool, default=False
        Show a progress bar.
    ends_when_interrupted : bool, default=False
        Whether Ctrl-C, after the first step, ends the training with an `InterruptedWarning` and
        the weights so far, instead of raising KeyboardInterrupt.

    Returns
    -------
    list of dict
        One a finished epoch: ``epoch``, ``steps``, ``hours`` of mixtures seen, ``seconds`` of
        training, ``learning_rate``, ``loss`` and what `validate` gave under ``validation_...``.
        Where the time limit stops a run in its first epoch, one for the part that was done.

    Raises
    ------
    ValueError
        If the checkpoint is that of another run, or damaged; if the objective needs a mask head or
        waveforms that are not there; or if several processes cannot share the batches equally, or
        differ in their seeds.
    BlockingIOError
        If another run is writing to the checkpoint.
    FloatingPointError
        If the loss or its gradient stops being finite; the network then has its last sound
        weights, and so has the checkpoint.

    Notes
    -----
    Several processes that `torch.distributed.init_process_group` has joined, as under
    ``torchrun``, and that all call this with the same arguments, share each batch and make the
    same run as a single one. The first of them writes the checkpoint.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.training.banks import SourceBank
    >>> from skdc.network import EmbeddingNetwork, NetworkConfig
    >>> from skdc.training import TrainingConfig, train
    >>> bank = SourceBank(np.random.default_rng(0).standard_normal((3, 8000)))
    >>> network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5))
    >>> history = train(network, bank, TrainingConfig(max_epochs=2, batch_size=2))
    >>> [row["epoch"] for row in history]
    [1.0, 2.0]
    """
    run = Trainer(network, data, config)
    run.validation = validation
    if warm_start:
        run.start = weights_digest(network)
    path = None if checkpoint is None else Path(checkpoint)
    # All processes are past their checks by now, which the first one's hold would fail.
    with hold_file(path, CHECKPOINT) if path and distributed.is_first() else nullcontext():
        if path is not None and path.is_file() and not _continues(run, path):
            run.restore(path)
            _warn_of_nothing_to_do(run, path, has_validation=validate is not None)
        elif not warm_start:
            take_statistics(run)
        with tqdm(
            total=config.max_epochs,
            initial=run.epoch,
            bar_format=_BAR,
            disable=not progress,
        ) as bar:
            try:
                _loop(run, validate, sample_rate, path, checkpoint_seconds, bar)
            except KeyboardInterrupt:
                if not ends_when_interrupted or run.step == 0:
                    raise
                warnings.warn(
                    f"training was interrupted after {run.step} steps; the weights are those of "
                    "the best epoch so far, or the present ones where there is none",
                    InterruptedWarning,
                    stacklevel=2,
                )
            finally:
                # An interrupted run leaves the user its averaged weights and its checkpoint.
                try:
                    if path is not None and run.is_whole and distributed.is_first():
                        run.save(path)
                finally:
                    network.load_state_dict(run.best or run.averaged.state_dict())
                    network.zero_grad()
                    network.eval()
    return run.history or [run.report(validate, sample_rate)]


def _continues(run: Trainer, path: Path) -> bool:
    """Whether the file holds the finished run that the network has its present weights from.

    Then a warm start goes on from there with a run of its own, which takes over the file.
    """
    if run.start is None:
        return False
    earlier = RunFile.read(path)
    return earlier.is_finished and earlier.result_digest() == run.start


def _warn_of_nothing_to_do(run: Trainer, path: Path, *, has_validation: bool) -> None:
    """Say what was asked of a run that a checkpoint has already brought to its end."""
    if not run.is_finished() or not run.history:
        return
    ignored = []
    if run.epoch > (most := run.config.max_epochs):
        ignored.append(f"max_epochs={most}, because it has trained for {run.epoch} already")
    if has_validation and not any(name.startswith("validation_") for name in run.history[-1]):
        ignored.append("the mixtures of the validation, which it did without")
    if ignored:
        warnings.warn(
            f"the run of the checkpoint {str(path)!r} is finished, and its weights are taken as "
            f"they are, whatever is asked by {' and by '.join(ignored)}; set max_epochs to more "
            f"than {run.epoch} to train on, or use another file for another run",
            stacklevel=2,
        )


def take_statistics(run: Trainer) -> None:
    """Take the network's input statistics from batches that are not trained on."""
    frames = run.config.segment_frames[0]
    size = run.config.batch_size
    # Batches of another seed than those of training.
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
        n_steps = run.epoch_steps()
        while run.epoch_step < n_steps:
            run.train_step()
            bar.update(run.epoch + run.epoch_step / n_steps - bar.n)
            now = time.monotonic()
            run.seconds += now - clock
            clock = now
            if path is not None and now - saved > checkpoint_seconds:
                if distributed.is_first():
                    run.save(path)
                saved = now
            limit = config.time_limit
            if limit is not None and distributed.any_of_all(now - started > limit, run.device):
                return
        run.end_epoch(validate, sample_rate)
        bar.set_postfix(
            {k: f"{v:.4g}" for k, v in run.history[-1].items() if "loss" in k or "si_sdr" in k}
        )
        clock = time.monotonic()
        if path is not None:
            if distributed.is_first():
                run.save(path)
            saved = clock
