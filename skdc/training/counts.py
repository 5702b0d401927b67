"""Training of a count head, for a trained network that stays as it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm, trange

from skdc.network.count import CountHead
from skdc.separation import Separator
from skdc.training.voices import Voices, falling_rate

__all__ = ["train_count_head"]

_SECONDS = 5.0
_BATCH_SIZE = 64
_LEARNING_RATE = 2e-3
_SMOOTHING = 0.05
_SHORTEST_S = 1.5
# Of the mixtures, those in which each speaks for a part of the time only.
_PARTIAL_SHARE = 0.2
# How often each example is seen.
_PASSES = 20


def train_count_head(
    separator: Separator,
    recordings: Sequence[NDArray[np.float32]],
    speakers: Sequence[Hashable],
    *,
    most: int,
    n_examples: int,
    seed: int,
    progress: bool = False,
) -> CountHead:
    """Train a count head to tell how many talk.

    Examples are mixtures of 1 to `most` different speakers, up to 5 dB apart. In a fifth of
    them each speaks for a part of the time only, as in conversations.

    Parameters
    ----------
    separator : Separator
        With the trained network, whose count head, if there is one, is not used.
    recordings : sequence of float32 arrays of shape (n_samples_i,)
        One speaker each, at the network's rate.
    speakers : sequence of hashables
        Who speaks in each recording.
    most : int
        The largest number of talkers.
    n_examples : int
        Examples of 5 s, as many of each number. Each takes 0.2 MB with the network of the bundled
        model.
    seed : int
        Seed of examples and weights.
    progress : bool, default=False
        Whether to show progress bars.

    Returns
    -------
    CountHead
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    of_cpu: dict[str, Any] = {"generator": generator, "device": "cpu"}
    network = separator.network
    device = network.input_mean.device
    n_samples = round(_SECONDS * separator.sample_rate)
    voices = Voices(recordings, speakers, n_samples, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head = CountHead(network.trunk.bands, network.trunk.width, most).to(device)
    states: list[Tensor] = []
    energies: list[Tensor] = []
    numbers = [1 + index % most for index in range(n_examples)]
    bar = tqdm(total=n_examples, desc="mixtures", unit="mixture", disable=not progress)
    for first in range(0, n_examples, _BATCH_SIZE):
        batch = numbers[first : first + _BATCH_SIZE]
        mixtures = [_mix(voices.draw(number)[0], separator, generator) for number in batch]
        for stretch_states, energy in separator.states(mixtures):
            states.append(stretch_states.half())
            energies.append(energy)
        bar.update(len(batch))
    bar.close()
    # Of shapes (n_examples, n_frames, n_bands, width) and (n_examples, n_frames).
    all_states, all_energies = torch.cat(states), torch.cat(energies)
    labels = torch.tensor(numbers, device=device) - 1
    optimiser = torch.optim.AdamW(head.parameters(), lr=_LEARNING_RATE, weight_decay=1e-2)
    n_steps = -(-_PASSES * n_examples // _BATCH_SIZE)
    n_frames = all_states.shape[1]
    for step in trange(n_steps, desc="count head", unit="step", disable=not progress):
        for group in optimiser.param_groups:
            group["lr"] = _LEARNING_RATE * falling_rate(step, n_steps)
        chosen = torch.randint(n_examples, (_BATCH_SIZE,), **of_cpu).to(device)
        length = int(torch.randint(max(1, n_frames // 2), n_frames + 1, (), **of_cpu))
        start = int(torch.randint(n_frames - length + 1, (), **of_cpu))
        cut = slice(start, start + length)
        logits = head(all_states[chosen][:, cut], all_energies[chosen][:, cut])
        loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=_SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        # Examples come in equal numbers; of recordings, n talkers are taken to be 1 / n as common.
        head.out.bias.sub_(torch.arange(1, most + 1, device=device).log())
    return head.eval().requires_grad_(False)


def _mix(sources: Tensor, separator: Separator, generator: torch.Generator) -> Tensor:
    """Add sources, of shape (n_sources, n_samples), now and then each for a part of the time."""
    n_sources, n_samples = sources.shape
    of_cpu: dict[str, Any] = {"generator": generator, "device": "cpu"}
    if torch.rand((), **of_cpu) >= _PARTIAL_SHARE:
        return sources.sum(0)
    shortest = round(_SHORTEST_S * separator.sample_rate)
    lengths = torch.randint(shortest, n_samples + 1, (n_sources,), **of_cpu)
    starts = (torch.rand(n_sources, **of_cpu) * (n_samples - lengths + 1)).long()
    places = torch.arange(n_samples, device="cpu")
    speaks = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
    return (sources * speaks).sum(0)
