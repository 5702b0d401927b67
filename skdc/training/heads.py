"""What the training of heads has in common, for a trained network that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import resample_poly
from torch import Tensor, nn
from tqdm.auto import trange

__all__ = ["BATCH_SIZE", "SECONDS", "Voices", "draw_cut", "fit_head"]

SECONDS = 5.0
"""Length of an example."""

BATCH_SIZE = 64

# Largest difference between the levels of the voices of a mixture, dB.
_LEVEL_RANGE_DB = 5.0
# Standard deviation of the largest part of the gains of random filters.
_COLOUR_DB = 4.0


def fit_head(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[float], Tensor],
    n_steps: int,
    *,
    name: str,
    progress: bool,
    learning_rate: float = 2e-3,
) -> None:
    """Make a loss small by AdamW, at a rate that rises to `learning_rate` and then falls.

    `loss` gives that of a new batch, and gets how much of the training is done, 0...1; `name` is
    what the progress bar is called.
    """
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-2)
    for step in trange(n_steps, desc=name, unit="step", disable=not progress):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * _falling_rate(step, n_steps)
        optimiser.zero_grad()
        loss(step / n_steps).backward()
        optimiser.step()


def draw_cut(n_frames: int, shortest: int, of_cpu: dict[str, Any]) -> slice:
    """Draw a random stretch of an example, of at least `shortest` frames and one.

    `of_cpu` holds generator and device of the draws.
    """
    length = int(torch.randint(max(1, shortest), n_frames + 1, (), **of_cpu))
    start = int(torch.randint(n_frames - length + 1, (), **of_cpu))
    return slice(start, start + length)


def _falling_rate(step: int, n_steps: int) -> float:
    """Rise to 1 over 100 steps or a fifth of them, and fall along a cosine to 0.02."""
    # A training shorter than the rise would never have the rate that it is meant to have.
    rise = min(100.0, max(1.0, n_steps / 5))
    return min(1.0, (step + 1) / rise) * max(0.02, (1 + math.cos(math.pi * step / n_steps)) / 2)


class Voices:
    """Draws speech of speakers, each as often as the others.

    At each of `speeds`, fractions such as (10, 9), which is a tenth faster and higher, a speaker
    is a voice of its own, in `names` too.
    """

    def __init__(
        self,
        recordings: Sequence[NDArray[np.float32]],
        speakers: Sequence[Hashable],
        n_samples: int,
        seed: int,
        speeds: Sequence[tuple[int, int]] = ((1, 1),),
    ) -> None:
        self._recordings = recordings
        self._own: dict[Hashable, list[int]] = {}
        for index, speaker in enumerate(speakers):
            self._own.setdefault(speaker, []).append(index)
        self.names = list(product(self._own, speeds))
        self._waiting: list[int] = []
        self._n_samples = n_samples
        self._rng = np.random.default_rng(seed)

    def draw(self, n_sources: int) -> tuple[Tensor, list[int]]:
        """Give references, (n_sources, n_samples), and the numbers of their speakers."""
        if not self._waiting:
            self._waiting = self._rng.permutation(len(self.names)).tolist()
        first = self._waiting.pop()
        others = [number for number in range(len(self.names)) if number != first]
        numbers = [first, *self._rng.choice(others, n_sources - 1, replace=False).tolist()]
        levels = self._rng.uniform(-0.5, 0.5, n_sources) * _LEVEL_RANGE_DB
        clips = [
            self._clip(number) * 10 ** (level / 20)
            for number, level in zip(numbers, levels, strict=True)
        ]
        references = _colour(np.stack(clips), self._rng)
        return torch.from_numpy(references.astype(np.float32)), numbers

    def _clip(self, number: int) -> NDArray[np.float32]:
        """Join recordings of a speaker, each at the same level, and cut a stretch out of them."""
        speaker, (up, down) = self.names[number]
        # What is played faster is that much longer before, and one sample for what is rounded.
        n_samples = self._n_samples if up == down else self._n_samples * up // down + 1
        parts: list[NDArray[np.float32]] = []
        length = 0
        while length < n_samples:
            for index in self._rng.permutation(self._own[speaker]):
                recording = self._recordings[index]
                level = float(np.sqrt(np.mean(recording**2, dtype=np.float64)))
                parts.append(recording / max(level, 1e-9))
                length += len(recording)
                if length >= n_samples:
                    break
        joined = np.concatenate(parts)
        start = int(self._rng.integers(len(joined) - n_samples + 1))
        cut = joined[start : start + n_samples]
        return cut if up == down else resample_poly(cut, down, up)[: self._n_samples]


def _colour(sources: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Filter sources as another microphone would, all of them alike.

    In a corpus most speakers have microphones of their own. The head must not go by these: in a
    recording, all voices come through the same one.
    """
    n_samples = sources.shape[-1]
    frequency = np.linspace(0, 1, n_samples // 2 + 1, dtype=np.float32)
    gain_db = sum(
        rng.normal(0, _COLOUR_DB / i) * np.cos(i * np.pi * frequency + rng.uniform(0, 2 * np.pi))
        for i in range(1, 5)
    )
    return fft.irfft(fft.rfft(sources) * 10 ** (gain_db / 20), n_samples)
