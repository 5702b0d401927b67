"""Training of a voice head, for a trained network that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import trange

from skdc.metrics import best_permutation
from skdc.network.voice import VoiceHead
from skdc.separation import Separator
from skdc.separation.evidence import Stretch

__all__ = ["Voices", "falling_rate", "train_voice_head"]

_DIM = 64
_SECONDS = 5.0
_PASSES = 40
_BATCH_SIZE = 64
_LEARNING_RATE = 2e-3
# Margin and scale of the classes' cosines.
_MARGIN = 0.2
_SCALE = 25.0
_SMOOTHING = 0.05
# Largest difference between the levels of the two of a mixture, dB.
_LEVEL_RANGE_DB = 5.0
# Standard deviation of the largest part of the gains of random filters.
_COLOUR_DB = 4.0


def train_voice_head(
    separator: Separator,
    recordings: Sequence[NDArray[np.float32]],
    speakers: Sequence[Hashable],
    *,
    seed: int,
    n_examples: int,
    progress: bool = False,
) -> VoiceHead:
    """Train a voice head to tell speakers, by additive-margin softmax [1]_.

    Examples are single voices and mixtures of two, each separated into two sources, so that the
    head learns to hear who a source is through what leaks into it, and that both halves of a
    single voice are one. Each is filtered at random, so that it is the voice that is learnt, not
    the microphone. With the trunk as it is, its states are computed once.

    Parameters
    ----------
    separator : Separator
        With the trained network, whose voice head, if there is one, is not used.
    recordings : sequence of float32 arrays of shape (n_samples_i,)
        One speaker each, at the network's rate.
    speakers : sequence of hashables
        Who speaks in each recording; at least two.
    seed : int
        Seed of examples and weights.
    n_examples : int
        Examples of 5 s, half of them mixtures; each is used 40 times. Each takes 0.35 MB with the
        network of the bundled model.
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
    voices = Voices(recordings, speakers, round(_SECONDS * separator.sample_rate), seed)
    network = separator.network
    device = network.input_mean.device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head = VoiceHead(network.trunk.bands, network.trunk.width, _DIM).to(device)
        classes = nn.Linear(_DIM, len(voices.names), bias=False).to(device)
    examples = _Examples(separator, voices, n_examples, progress)
    n_steps = -(-_PASSES * n_examples // _BATCH_SIZE)
    parameters = [*head.parameters(), *classes.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=1e-2)
    for step in trange(n_steps, desc="voice head", unit="step", disable=not progress):
        done = step / n_steps
        for group in optimiser.param_groups:
            group["lr"] = _LEARNING_RATE * falling_rate(step, n_steps)
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


def falling_rate(step: int, n_steps: int) -> float:
    """Give the part of the learning rate that a step takes.

    Parameters
    ----------
    step : int
        From 0.
    n_steps : int

    Returns
    -------
    float
        Rises to 1 over 100 steps, and falls along a cosine to 0.02.
    """
    return min(1.0, step / 100 + 0.01) * max(0.02, (1 + math.cos(math.pi * step / n_steps)) / 2)


class Voices:
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
        parts: list[NDArray[np.float32]] = []
        length = 0
        while length < self._n_samples:
            for index in self._rng.permutation(self._own[self.names[number]]):
                recording = self._recordings[index]
                level = float(np.sqrt(np.mean(recording**2, dtype=np.float64)))
                parts.append(recording / max(level, 1e-9))
                length += len(recording)
                if length >= self._n_samples:
                    break
        joined = np.concatenate(parts)
        start = int(self._rng.integers(len(joined) - self._n_samples + 1))
        return joined[start : start + self._n_samples]


def _colour(sources: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Filter sources as another microphone would, all of them alike.

    In a corpus most speakers have microphones of their own. The head must not go by these: in a
    recording, all voices come through the same one.
    """
    n_samples = sources.shape[-1]
    frequency = np.linspace(0, 1, n_samples // 2 + 1)
    gain_db = sum(
        rng.normal(0, _COLOUR_DB / i) * np.cos(np.pi * i * frequency + rng.uniform(0, 2 * np.pi))
        for i in range(1, 5)
    )
    return np.fft.irfft(np.fft.rfft(sources) * 10 ** (gain_db / 20), n_samples)


class _Examples:
    """States of the trunk, and what the sources have of each bin, in half precision."""

    def __init__(
        self, separator: Separator, voices: Voices, n_examples: int, progress: bool
    ) -> None:
        self._states: list[Tensor] = []
        self._shares: list[Tensor] = []
        self._labels: list[list[int]] = []
        drawn = (voices.draw(1 + i % 2) for i in range(n_examples))
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
        of_cpu: dict[str, Any] = {"generator": generator, "device": "cpu"}
        chosen = torch.randint(len(self._states), (count,), **of_cpu).tolist()
        clusters = torch.randint(2, (count,), **of_cpu).tolist()
        # A single voice as it is, as often as a half of it.
        wholes = (torch.rand(count, **of_cpu) < 0.5).tolist()
        n_frames = len(self._states[0])
        length = int(torch.randint(max(1, n_frames // 3), n_frames + 1, (), **of_cpu))
        start = int(torch.randint(n_frames - length + 1, (), **of_cpu))
        cut = slice(start, start + length)
        states, shares, labels = [], [], []
        for index, cluster, is_whole in zip(chosen, clusters, wholes, strict=True):
            own = self._labels[index]
            share = self._shares[index][:, cut]
            is_single = own[0] == own[1]
            shares.append(share.sum(0) if is_single and is_whole else share[cluster])
            states.append(self._states[index][cut])
            labels.append(own[cluster])
        found = torch.stack(states), torch.stack(shares), torch.tensor(labels, device="cpu")
        return found[0], found[1], found[2].to(found[0].device)


def _owners(
    separator: Separator, stretch: Stretch, references: Tensor, numbers: list[int]
) -> list[int]:
    """Say whose each source is: the best assignment to the speakers by energy."""
    if len(numbers) == 1:
        return numbers * 2
    device = stretch.masks.device
    powers = torch.stack(
        [separator.framing.stft(one.to(device)).abs().square() for one in references]
    )
    owned = powers / powers.sum(0).clamp_min(torch.finfo(powers.dtype).tiny)
    heard = stretch.masks * stretch.spectrogram.abs().square()
    # Energy of source i that speaker j has, over frames f and bins b: (2, 2)
    energy = torch.einsum("ifb,jfb->ij", heard, owned)
    return [numbers[i] for i in best_permutation(energy.cpu().numpy())]
