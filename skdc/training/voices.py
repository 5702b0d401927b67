"""Training of a voice head, for a trained network that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import trange

from skdc.network.voice import VoiceHead
from skdc.separation import Separator

__all__ = ["train_voice_head"]

_SECONDS = 5.0
_BATCH_SIZE = 64
_LEARNING_RATE = 2e-3
# Margin and scale of the classes' cosines.
_MARGIN = 0.2
_SCALE = 25.0
_SMOOTHING = 0.05
# Largest difference between the levels of the two of a mixture, dB.
_LEVEL_RANGE_DB = 5.0


def train_voice_head(
    separator: Separator,
    recordings: Sequence[NDArray[np.float32]],
    speakers: Sequence[Hashable],
    *,
    sample_rate: int,
    dim: int,
    n_examples: int,
    n_steps: int,
    seed: int,
    progress: bool = False,
) -> VoiceHead:
    """Train a voice head to tell speakers, by additive-margin softmax [1]_.

    Examples are single voices and mixtures of two, each separated into two sources, so that the
    head learns to hear who a source is through what leaks into it, and that both halves of a
    single voice are one. With the trunk as it is, its states are computed once.

    Parameters
    ----------
    separator : Separator
        With the trained network, whose voice head, if there is one, is not used.
    recordings : sequence of float32 arrays of shape (n_samples_i,)
        One speaker each, at the network's rate.
    speakers : sequence of hashables
        Who speaks in each recording; at least two.
    sample_rate : int
        Rate of the recordings, Hz.
    dim : int
        Length of the vectors.
    n_examples : int
        Examples of 5 s, half of them mixtures. Each takes 0.35 MB with the network of the bundled
        model.
    n_steps : int
        Steps of Adam, of 64 sources each.
    seed : int
        Seed of examples and weights.
    progress : bool, default=False
        Whether to show progress bars.

    Returns
    -------
    VoiceHead

    References
    ----------
    .. [1] Wang, Cheng, Liu, Liu, "Additive margin softmax for face verification", IEEE Signal
       Processing Letters 25(7), 2018, equation 6 (arXiv:1801.05599).
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    voices = _Voices(recordings, speakers, round(_SECONDS * sample_rate), seed)
    network = separator.network
    device = network.input_mean.device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head = VoiceHead(network.trunk.bands, network.trunk.width, dim).to(device)
        classes = nn.Linear(dim, len(voices.names), bias=False).to(device)
    examples = _Examples(separator, voices, n_examples, progress)
    parameters = [*head.parameters(), *classes.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=1e-2)
    for step in trange(n_steps, desc="voice head", unit="step", disable=not progress):
        done = step / n_steps
        for group in optimiser.param_groups:
            group["lr"] = _LEARNING_RATE * min(1, step / 100 + 0.01) * _cosine(done)
        states, shares, labels = examples.draw(_BATCH_SIZE, generator)
        vectors = head(states, shares)
        cosines = vectors @ functional.normalize(classes.weight, dim=-1).T
        # The margin grows over the first third, after which classes are where they belong.
        margin = _MARGIN * min(1.0, 3 * done)
        margins = margin * functional.one_hot(labels, len(voices.names))
        loss = functional.cross_entropy(
            _SCALE * (cosines - margins), labels, label_smoothing=_SMOOTHING
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.eval().requires_grad_(False)


def _cosine(done: float) -> float:
    return max(0.02, (1 + math.cos(math.pi * done)) / 2)


class _Voices:
    """Draws speech of speakers, each as often as the others."""

    def __init__(
        self,
        recordings: Sequence[NDArray[np.float32]],
        speakers: Sequence[Hashable],
        n_samples: int,
        seed: int,
    ) -> None:
        self._recordings = recordings
        self._own: dict[Hashable, list[int]] = {}
        for index, speaker in enumerate(speakers):
            self._own.setdefault(speaker, []).append(index)
        self.names = list(self._own)
        self._n_samples = n_samples
        self._rng = np.random.default_rng(seed)

    def draw(self, count: int, n_sources: int) -> Iterator[tuple[Tensor, list[int]]]:
        """Give references, (n_sources, n_samples), and the numbers of their speakers."""
        first = np.resize(self._rng.permutation(len(self.names)), count)
        for speaker in first:
            others = self._rng.permutation(len(self.names))
            numbers = [int(speaker), *(int(i) for i in others if i != speaker)][:n_sources]
            levels = self._rng.uniform(-0.5, 0.5, n_sources) * _LEVEL_RANGE_DB
            clips = [
                self._clip(number) * 10 ** (level / 20)
                for number, level in zip(numbers, levels, strict=True)
            ]
            yield torch.from_numpy(np.stack(clips).astype(np.float32)), numbers

    def _clip(self, number: int) -> NDArray[np.float32]:
        """Join recordings of a speaker, each at the same level, and cut a stretch out of them."""
        parts: list[NDArray[np.float32]] = []
        length = 0
        while length < 2 * self._n_samples:
            for index in self._rng.permutation(self._own[self.names[number]]):
                recording = self._recordings[index]
                level = float(np.sqrt(np.mean(recording**2, dtype=np.float64)))
                parts.append(recording / max(level, 1e-9))
                length += len(recording)
                if length >= 2 * self._n_samples:
                    break
        joined = np.concatenate(parts)
        start = int(self._rng.integers(len(joined) - self._n_samples + 1))
        return joined[start : start + self._n_samples]


class _Examples:
    """States of the trunk, and what the sources have of each bin, in half precision."""

    def __init__(
        self, separator: Separator, voices: _Voices, n_examples: int, progress: bool
    ) -> None:
        self._states: list[Tensor] = []
        self._shares: list[Tensor] = []
        self._labels: list[list[int]] = []
        drawn = (next(voices.draw(1, 1 + i % 2)) for i in range(n_examples))
        # As many at a time as keep the trunk busy.
        for _ in trange(0, n_examples, _BATCH_SIZE, desc="examples", disable=not progress):
            examples = list(islice(drawn, _BATCH_SIZE))
            mixtures = [references.sum(0) for references, _ in examples]
            stretches = separator.stretches(mixtures, [2] * len(mixtures))
            for (references, numbers), (stretch,) in zip(examples, stretches, strict=True):
                magnitude = stretch.spectrogram.abs()
                shares = stretch.masks * magnitude / magnitude.amax().clamp_min(1e-20)
                self._states.append(stretch.states[0].half())
                self._shares.append(shares.half())
                self._labels.append(_owners(separator, stretch, references, numbers))

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Give states, shares and speakers of sources, all cut to the same random stretch."""
        chosen = torch.randint(len(self._states), (count,), generator=generator).tolist()
        clusters = torch.randint(2, (count,), generator=generator).tolist()
        n_frames = len(self._states[0])
        length = int(torch.randint(n_frames // 3, n_frames + 1, (), generator=generator))
        start = int(torch.randint(n_frames - length + 1, (), generator=generator))
        cut = slice(start, start + length)
        states = torch.stack([self._states[i][cut] for i in chosen])
        shares = torch.stack(
            [
                # A single voice as it is, as often as a half of it.
                self._shares[i][:, cut].sum(0) if whole else self._shares[i][c, cut]
                for i, c, whole in zip(chosen, clusters, self._draw_whole(chosen, generator))
            ]
        )
        labels = torch.tensor(
            [self._labels[i][c] for i, c in zip(chosen, clusters, strict=True)],
            device=states.device,
        )
        return states, shares, labels
