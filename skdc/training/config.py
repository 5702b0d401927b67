"""The settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from skdc.objectives import Objective, resolve_objective

__all__ = ["TrainingConfig"]

_WARMUP_STEPS = 200
# Where a run is too short for these, it warms up over one part of it in so many.
_WARMUP_PARTS = 20
_SMALLEST_RATE = 0.05


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Parameters
    ----------
    objective : Objective, default=BalancedAffinity()
        What is minimised.
    segment_frames : tuple of int, default=(100,)
        Frames of a training segment. Several make a curriculum: the epochs are divided evenly
        between them, in order.
    batch_size : int, default=16
        Segments in a batch.
    learning_rate : float, default=1e-3
        Step size of Adam after a warm-up, of 200 steps, or of a twentieth of the run where that is
        shorter; it falls linearly to a twentieth over the last part of the run.
    decay_fraction : float, default=0.3
        That part of `max_epochs`, 0...1.
    max_epochs : int, default=100
        Passes over as much audio as the training data holds.
    clip_percentile : float, default=10.0
        Gradients are clipped to this percentile of all norms so far; see `AdaptiveClipping`.
    n_iter_no_change : int or None, default=None
        Stop when the validation score has not risen for so many epochs; None never does.
    tol_db : float, default=0.01
        What counts as a rise where the score is an SI-SDR improvement, dB.
    tol_loss : float, default=1e-4
        What counts as a rise where the score is the negative of a loss.
    time_limit : float or None, default=None
        Stop after so many seconds, at the end of a step.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the network; weights and objective stay in float32.
    seed : int, default=0
        Batches and dropout are a function of it.

    Examples
    --------
    >>> from skdc.training import TrainingConfig
    >>> config = TrainingConfig(max_epochs=10, segment_frames=(100, 400))
    >>> [config.epoch_segment_frames(epoch) for epoch in (0, 4, 5, 9)]
    [100, 100, 400, 400]
    """

    objective: Objective = field(default_factory=lambda: resolve_objective("balanced_affinity"))
    segment_frames: tuple[int, ...] = (100,)
    batch_size: int = 16
    learning_rate: float = 1e-3
    decay_fraction: float = 0.3
    max_epochs: int = 100
    clip_percentile: float = 10.0
    n_iter_no_change: int | None = None
    tol_db: float = 0.01
    tol_loss: float = 1e-4
    time_limit: float | None = None
    precision: str = "float32"
    seed: int = 0

    def epoch_segment_frames(self, epoch: int) -> int:
        """Give the frames of a segment in an epoch, which counts from 0."""
        stage = epoch * len(self.segment_frames) // self.max_epochs
        return self.segment_frames[min(stage, len(self.segment_frames) - 1)]

    def rate(self, progress: float, step: int, n_steps: float = math.inf) -> float:
        """Learning rate at a step (counted from 0), `progress` of the way through the run.

        `n_steps` is how many steps the run would have if all its epochs were like the present one.
        """
        # A run too short for the whole warm-up warms up over its first twentieth. Where that is
        # less than a step, as in `partial_fit` on a batch, it would be all that is trained.
        is_shortest = n_steps < _WARMUP_PARTS
        warmup = min(1.0, max((step + 1) / _WARMUP_STEPS, _WARMUP_PARTS * progress, is_shortest))
        left = max(0.0, 1.0 - progress)
        decay = min(1.0, left / self.decay_fraction) if self.decay_fraction > 0 else 1.0
        return self.learning_rate * warmup * max(_SMALLEST_RATE, decay)
