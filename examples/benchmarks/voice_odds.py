"""How the odds of who is who were chosen: conversations assigned with other ones.

Run: ``python examples/benchmarks/voice_odds.py SPEECH --pairs 3``

Makes conversations of people of the split `valid` (see `conversations.py`), separates each once,
and assigns its voices, stretch by stretch and moment by moment, with one constant of
`skdc.separation.evidence`, of `skdc.separation.voices`, of `skdc.separation.activity` and of the
model's voice head after the other changed. Prints how much of the energy is in the right output,
and how much would be with the best assignment of each stretch that there is, as means over the
recordings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from conversations import KINDS, SEXES, Corpus, Signal, make
from numpy.typing import NDArray

from skdc import DeepClusteringSeparator, load_pretrained
from skdc.separation import Separator, activity, evidence, identity, voices
from skdc.separation.activity import quieten
from skdc.separation.evidence import Clue
from skdc.separation.stretches import Stretch

FACTORS = (0.5, 1.0, 2.0)
# Constants that are scaled; of odds, the first is an offset, which is shifted.
SCALED = (
    (evidence, ("_LIKENESS_A_SECOND", "_MOST_SECONDS", "_SHARED", "_COMMON_MARGIN")),
    (voices, ("_ALIKE_VOICES", "_LEAST_SHARE", "_JUMP")),
    (
        activity,
        ("_OF_MOMENT", "_OF_STRETCH", "_OF_STRETCH_AT_LAST", "_CHANGE", "_OF_OWN", "_SHRINKAGE"),
    ),
)
SHIFTS = (-2.0, -1.0, 1.0, 2.0)
OWN = "odds of the voice head"


class Recording(NamedTuple):
    """Clues of a recording, and of each stretch the energy: (2 clusters, 2 speakers, frames)."""

    clues: list[Clue]
    owned: list[NDArray[np.float64]]


def frames_a_second(separator: Separator) -> int:
    """Give the frames of a moment, which is a second."""
    return round(separator.sample_rate / separator.framing.hop_length)


def listen(separator: Separator, sources: Signal) -> Recording:
    """Separate the stretches of a recording of two people."""
    moment = frames_a_second(separator)
    clues: list[Clue] = []
    owned: list[NDArray[np.float64]] = []
    before: torch.Tensor | None = None
    (parts,) = separator.stretches([torch.from_numpy(sources.sum(axis=0))], [2])
    for stretch in parts:
        masks, energy = quieten(stretch.masks, stretch.spectrogram, moment)
        if before is not None:
            before = before[:, before.shape[1] - stretch.overlap :]
        head = separator.network.voice_head
        clues.append(evidence.take_clue(stretch, energy, before, head, None, moment))
        owned.append(energy_by_speaker(separator, stretch, masks, sources))
        before = stretch.masks
    return Recording(clues, owned)


def energy_by_speaker(
    separator: Separator, stretch: Stretch, masks: torch.Tensor, sources: Signal
) -> NDArray[np.float64]:
    """Give the energy of each cluster that is each speaker's, (clusters, speakers, frames)."""
    hop = separator.framing.hop_length
    stop = stretch.start + len(stretch.spectrogram)
    part = torch.from_numpy(sources[:, stretch.start * hop : (stop - 1) * hop])
    powers = torch.stack([separator.framing.stft(one).abs().square() for one in part])
    powers = powers / powers.sum(0).clamp_min(1e-12)
    heard = masks * stretch.spectrogram.abs().square()
    return torch.einsum("cfb,sfb->csf", heard, powers).double().numpy()


def odds_of(separator: Separator) -> tuple[float, ...]:
    """Give the odds of the voice head, which the model must have."""
    head = separator.network.voice_head
    if head is None:
        raise ValueError("the model has no voice head")
    return tuple(head.odds.tolist())


def share_right(recording: Recording, separator: Separator, odds: tuple[float, ...]) -> float:
    """Give the part of the energy that the assignment puts into the right output."""
    found = identity.identify(
        recording.clues,
        2,
        separator.framing.hop_length / separator.sample_rate,
        frames_a_second(separator),
        odds=odds,
        seed=0,
    )
    shared = np.zeros((2, 2))  # (outputs, speakers)
    for own, owned in zip(found.voices, recording.owned, strict=True):
        shared += np.einsum("cfo,csf->os", np.eye(2)[own], owned)
    right = max(np.trace(shared), np.trace(shared[::-1]))
    return float(right / shared.sum())


def best_share(recording: Recording) -> float:
    """Give the part of the energy that the best assignment of each stretch would put right."""
    # The shape is (stretches, clusters, speakers).
    sums = np.stack([owned.sum(-1) for owned in recording.owned])
    maps = product(range(2), repeat=2)
    right = np.stack([sums[:, [0, 1], list(own)].sum(1) for own in maps])
    return float(right.max(0).sum() / sums.sum())


def candidates() -> Iterator[tuple[ModuleType, str, Any]]:
    """Give each constant of the modules with the values that are tried."""
    for module, names in SCALED:
        for name, factor in product(names, FACTORS):
            yield module, name, factor * getattr(module, name)
    yield from ((activity, "_ONE_VOICE", value) for value in shifted(activity._ONE_VOICE))


def shifted(odds: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Give odds with other constants."""
    constant, *others = odds
    return [(constant + shift, *others) for shift in SHIFTS]


def main() -> None:
    """Print a line for each value."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, metavar="SPEECH")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--pairs", type=int, default=1, help="of each of f+m, m+m, f+f")
    parser.add_argument("--kinds", nargs="+", default=["turns_and_pauses"], choices=list(KINDS))
    parser.add_argument("--model", type=Path, help="model file (default: the bundled model)")
    args = parser.parse_args()
    model = DeepClusteringSeparator.load(args.model) if args.model else load_pretrained()
    separator = model.set_params(device="cpu").pipeline()
    corpus = Corpus(args.root, "valid")
    recordings = []
    for kind, sexes, seed in product(args.kinds, SEXES, range(args.pairs)):
        speakers = corpus.draw_pair(np.random.default_rng(seed), sexes)
        sources = make(corpus, KINDS[kind], speakers, 60 * args.minutes, seed)
        recordings.append(listen(separator, sources))
    print(f"best assignment: {100 * np.mean([best_share(one) for one in recordings]):.2f} %")
    odds = odds_of(separator)
    for module, name, value in candidates():
        with patch.object(module, name, value):
            shares = [share_right(one, separator, odds) for one in recordings]
        print(f"{name} = {value}: {100 * np.mean(shares):.2f} %", flush=True)
    for other in shifted(odds):
        shares = [share_right(one, separator, other) for one in recordings]
        print(f"{OWN} = {other}: {100 * np.mean(shares):.2f} %", flush=True)


if __name__ == "__main__":
    main()
