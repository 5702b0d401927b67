"""Training of a count head, for a trained network that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from skdc.network.concurrency import seeding
from skdc.network.count import CountHead
from skdc.separation import Separator
from skdc.training.acoustics import add_noise, add_rooms, even_out
from skdc.training.heads import BATCH_SIZE, SECONDS, Voices, draw_cut, fit_head

__all__ = ["WithoutPauses", "train_count_head"]

_MOST = 4  # talkers
_SMOOTHING = 0.05
_SHORTEST_S = 1.5
# Share of the mixtures in which each speaks for a part of the time only.
_PARTIAL_SHARE = 0.2
# Share of those in which they take turns, of so many seconds where there are two, and the shorter
# the more there are.
_TURNS_SHARE = 0.15
_TURN_S = (0.6, 1.6)
# Share of the mixtures whose talkers pause nowhere, as people who read a sentence do: without
# these the head takes two who never pause for three who do. A pause is what is weaker than the
# loudest 20 ms of a recording by more than so many dB, less 40 ms at both of its ends.
_DENSE_SHARE = 0.5
_PAUSE_DB = 25.0
_KEPT_FRAMES = 2
# Share of these whose talkers are besides as loud all the time as prompts and broadcasts are.
_EVENED_SHARE = 0.6
# Recordings have noise and reverberation, neither of which is one more talker.
_NOISY_SHARE = 0.4
_ROOM_SHARE = 0.15
# How often each example is seen.
_PASSES = 20


def train_count_head(
    separator: Separator,
    recordings: Sequence[NDArray[np.float32]],
    speakers: Sequence[Hashable],
    *,
    n_examples: int,
    seed: int,
    progress: bool = False,
) -> CountHead:
    """Train a count head to tell how many talk.

    Examples are mixtures of one to four different speakers, or of as many as there are, up to 5 dB
    apart. In half of them nobody pauses, and in three fifths of these the levels are evened out
    besides, as in prompts. In a fifth each speaks for a part of the time only, as in
    conversations, and in 15 % they take turns; 15 % are in rooms, and 40 % have noise. There are
    as many of each number, each of 5 s, which takes 0.7 MB with the network of the bundled model.

    The recordings ``(n_samples_i,)``, of one speaker each, are at the network's rate. The seed is
    that of examples and weights.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    of_cpu: dict[str, Any] = {"generator": generator, "device": "cpu"}
    network = separator.network
    device = network.device
    n_samples = round(SECONDS * separator.sample_rate)
    voices = Voices(recordings, speakers, n_samples, seed)
    without_pauses = WithoutPauses(recordings, separator.sample_rate)
    dense = Voices(without_pauses, speakers, n_samples, seed + 1)
    most = min(_MOST, len(voices.names))
    with seeding(seed):
        head = CountHead(network.trunk.bands, network.trunk.width, most).to(device)
    # (n_examples, n_frames, n_bands, width) and (n_examples, n_frames), made with the first of all
    # examples: to join them in the end would take the memory of twice as many.
    states, energies = (
        torch.empty(0, dtype=torch.float32, device=device),
        torch.empty(0, dtype=torch.float32, device=device),
    )
    numbers = [1 + index % most for index in range(n_examples)]
    bar = tqdm(total=n_examples, desc="mixtures", unit="mixture", disable=not progress)
    for first in range(0, n_examples, BATCH_SIZE):
        batch = numbers[first : first + BATCH_SIZE]
        are_dense = torch.rand(len(batch), dtype=torch.float32, **of_cpu) < _DENSE_SHARE
        mixtures = []
        for number, is_dense in zip(batch, are_dense.tolist(), strict=True):
            sources, _ = (dense if is_dense else voices).draw(number)
            if is_dense and float(torch.rand((), dtype=torch.float32, **of_cpu)) < _EVENED_SHARE:
                sources = even_out(sources, sample_rate=separator.sample_rate, generator=generator)
            mixtures.append(_record(sources, separator, generator))
        for index, (own, energy) in enumerate(separator.states(mixtures), first):
            if not index:
                states = own.new_empty(n_examples, *own.shape[1:], dtype=torch.float16)
                energies = energy.new_empty(n_examples, *energy.shape[1:])
            states[index], energies[index] = own[0], energy[0]
        bar.update(len(batch))
    bar.close()
    labels = torch.tensor(numbers, device=device) - 1
    n_steps = -(-_PASSES * n_examples // BATCH_SIZE)
    n_frames = states.shape[1]

    def loss(done: float) -> Tensor:
        chosen = torch.randint(n_examples, (BATCH_SIZE,), **of_cpu).to(device)
        cut = draw_cut(n_frames, n_frames // 2, of_cpu)
        logits = head(states[chosen][:, cut], energies[chosen][:, cut])
        return functional.cross_entropy(logits, labels[chosen], label_smoothing=_SMOOTHING)

    fit_head(head.parameters(), loss, n_steps, name="count head", progress=progress)
    with torch.no_grad():
        # Examples come in equal numbers; of recordings, n talkers are taken to be 1 / n as common.
        head.out.bias.sub_(torch.arange(1, most + 1, device=device).log())
    return head.eval().requires_grad_(False)


class WithoutPauses(Sequence[NDArray[np.float32]]):
    """Recordings without the pauses in them, which are taken out as they are read.

    A pause is what is weaker than the loudest 20 ms of its recording by more than 25 dB; 40 ms at
    both ends of each are left.
    """

    def __init__(self, recordings: Sequence[NDArray[np.float32]], sample_rate: int) -> None:
        self._recordings, self._sample_rate = recordings, sample_rate

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index: Any) -> Any:
        recording = self._recordings[index]
        n = max(1, min(len(recording), self._sample_rate // 50))
        # (n_samples,) -> (n_frames, samples of 20 ms); the rest at the end is left out
        frames = recording[: len(recording) // n * n].reshape(-1, n)
        power = np.square(frames, dtype=np.float64).mean(axis=1)
        is_speech = power >= power.max() * 10 ** (-_PAUSE_DB / 10)
        # (frames kept, samples) -> (samples,)
        return frames[maximum_filter1d(is_speech, 2 * _KEPT_FRAMES + 1)].reshape(-1)


def _record(sources: Tensor, separator: Separator, generator: torch.Generator) -> Tensor:
    """Mix sources, of shape (n_sources, n_samples), as they might be recorded."""
    rate = separator.sample_rate
    heard = add_rooms(sources[None], _ROOM_SHARE, sample_rate=rate, generator=generator)[0]
    mixture = _mix(heard, separator, generator)
    return add_noise(mixture[None], _NOISY_SHARE, generator=generator)[0]


def _mix(sources: Tensor, separator: Separator, generator: torch.Generator) -> Tensor:
    """Add sources, of shape (n_sources, n_samples), now and then each for a part of the time."""
    n_sources, n_samples = sources.shape
    of_cpu: dict[str, Any] = {"generator": generator, "device": "cpu"}
    places = torch.arange(n_samples, device="cpu")
    kind = float(torch.rand((), dtype=torch.float32, **of_cpu))
    if kind < _PARTIAL_SHARE:
        shortest = round(_SHORTEST_S * separator.sample_rate)
        lengths = torch.randint(shortest, n_samples + 1, (n_sources,), **of_cpu)
        starts = (
            torch.rand(n_sources, dtype=torch.float32, **of_cpu) * (n_samples - lengths + 1)
        ).long()
        speaks = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
    elif kind < _PARTIAL_SHARE + _TURNS_SHARE:
        least, most = (s * separator.sample_rate * 2 / n_sources for s in _TURN_S)
        # As many turns as there are where all are the shortest: (n_turns,)
        lengths = least + (most - least) * torch.rand(
            math.ceil(n_samples / least), dtype=torch.float32, **of_cpu
        )
        turn = torch.bucketize(places, lengths.cumsum(0))  # (n_samples,), the turn of each
        speaks = turn % n_sources == torch.arange(n_sources, device="cpu")[:, None]
    else:
        return sources.sum(0)
    return (sources * speaks).sum(0)
