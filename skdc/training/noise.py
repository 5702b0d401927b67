"""Training of a noise head, for a trained network that stays as it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skdc.network.concurrency import seeding
from skdc.network.noise import NoiseHead
from skdc.separation import Separator
from skdc.training.acoustics import add_noise, add_rooms
from skdc.training.heads import SECONDS, Voices, fit_head

__all__ = ["train_noise_head"]

_MOST = 3  # talkers
# Mixtures are made as they are used, few at once: their spectrograms would fill the memory.
_BATCH_SIZE = 8
_NOISY_SHARE = 0.8
_ROOM_SHARE = 0.2
# Below -25 dB, 0.003 of the speech's energy, an error is hardly heard and does not count.
_SMALLEST_ERROR = 3e-3
# The speech of a mixture, brought to one level first, has more; silence is to be left as it is.
_LEAST_POWER = 1e-6
_LEARNING_RATE = 5e-3


def train_noise_head(
    separator: Separator,
    recordings: Sequence[NDArray[np.float32]],
    speakers: Sequence[Hashable],
    *,
    n_examples: int,
    seed: int,
    progress: bool = False,
) -> NoiseHead:
    """Train a noise head to tell how much of each bin is speech.

    Examples are mixtures of one to three speakers; a fifth of them is in rooms, and four fifths
    have noise, as `skdc.training.acoustics` makes both. Each, of 5 s, is seen once. The loss is
    the error of the speech that the head leaves, relative to all of the speech, in decibels.

    The recordings ``(n_samples_i,)``, of one speaker each, are at the network's rate.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    network, framing, rate = separator.network, separator.framing, separator.sample_rate
    device = network.device
    voices = Voices(recordings, speakers, round(SECONDS * rate), seed)
    most = min(_MOST, len(voices.names))
    with seeding(seed):
        head = NoiseHead(network.trunk.bands, network.trunk.width).to(device)

    def draw(number: int) -> Tensor:
        """Give the sources of a mixture, (most, n_samples), those beyond `number` silent."""
        sources, _ = voices.draw(number)
        return torch.cat([sources, sources.new_zeros(most - number, sources.shape[1])])

    def loss(done: float) -> Tensor:
        numbers = torch.randint(1, most + 1, (_BATCH_SIZE,), generator=generator, device="cpu")
        sources = torch.stack([draw(number) for number in numbers.tolist()])
        heard = add_rooms(sources, _ROOM_SHARE, sample_rate=rate, generator=generator)
        clean = heard.sum(1)  # (mixtures, samples)
        noisy = add_noise(clean, _NOISY_SHARE, generator=generator)
        states = torch.cat([own for own, _ in separator.states(noisy)])
        speech, whole = framing.stft(torch.stack([clean, noisy]).to(device))
        kept = head(states, whole) * whole  # (mixtures, frames, bins)
        error = (kept - speech).abs().square().sum((1, 2))
        power = speech.abs().square().sum((1, 2)).clamp_min(_LEAST_POWER)
        return 10 * torch.log10(error / power + _SMALLEST_ERROR).mean()

    n_steps = -(-n_examples // _BATCH_SIZE)
    how: dict[str, Any] = {
        "name": "noise head",
        "progress": progress,
        "learning_rate": _LEARNING_RATE,
    }
    fit_head(head.parameters(), loss, n_steps, **how)
    return head.eval().requires_grad_(False)
