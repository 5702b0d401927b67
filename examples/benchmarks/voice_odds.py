"""How the odds of `skdc.separation.evidence` were chosen: conversations assigned with other ones.

Run: ``python examples/benchmarks/voice_odds.py SPEECH --pairs 3``

Makes conversations of people of the split `valid` (see `conversations.py`), separates each once,
and assigns its voices with one constant after the other halved, doubled and as it is. Prints how
much of the energy is in the right output, and how much would be with the best assignment there is,
as means over the recordings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from conversations import KINDS, SEXES, Corpus, Signal, make
from numpy.typing import NDArray

from skdc import DeepClusteringSeparator, load_pretrained
from skdc.separation import Separator, evidence
from skdc.separation.activity import quieten
from skdc.separation.evidence import Clue, Stretch
from skdc.separation.voices import assign_voices

CONSTANTS = ("_LIKENESS_A_SECOND", "_MOST_SECONDS", "_SHARED", "_COMMON_MARGIN")
FACTORS = (0.5, 1.0, 2.0)
SHIFTS = (-1.0, 1.0)


class Recording(NamedTuple):
    """Clues of a recording, and energy of each cluster by speaker: (stretches, 2, 2)."""

    clues: list[Clue]
    owned: NDArray[np.float64]


def listen(separator: Separator, sources: Signal) -> Recording:
    """Separate the stretches of a recording of two people."""
    moment = round(separator.sample_rate / separator.framing.hop_length)
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
    return Recording(clues, np.stack(owned))


def energy_by_speaker(
    separator: Separator, stretch: Stretch, masks: torch.Tensor, sources: Signal
) -> NDArray[np.float64]:
    """Give the energy of each cluster (first axis) that is each speaker's (second axis)."""
    hop = separator.framing.hop_length
    stop = stretch.start + len(stretch.spectrogram)
    part = torch.from_numpy(sources[:, stretch.start * hop : (stop - 1) * hop])
    powers = torch.stack([separator.framing.stft(one).abs().square() for one in part])
    powers = powers / powers.sum(0).clamp_min(1e-12)
    heard = masks * stretch.spectrogram.abs().square()
    return torch.einsum("cfb,sfb->cs", heard, powers).double().numpy()


def share_right(recording: Recording, frame_s: float, has_head: bool) -> float:
    """Give the part of the energy that the assignment puts into the right output."""
    found = evidence.weigh(recording.clues, frame_s, has_head=has_head)
    voices, _ = assign_voices(found, 2)
    chosen = np.eye(2)[voices]  # (stretches, clusters, outputs)
    shared = np.einsum("kio,kis->os", chosen, recording.owned)
    right = max(np.trace(shared), np.trace(shared[::-1]))
    return float(right / recording.owned.sum())


def best_share(recording: Recording) -> float:
    """Give the part of the energy that the best assignment of each stretch would put right."""
    maps = product(range(2), repeat=2)
    sums = np.stack([recording.owned[:, [0, 1], list(own)].sum(1) for own in maps])
    return float(sums.max(0).sum() / recording.owned.sum())


def candidates() -> Iterator[tuple[str, Any]]:
    """Give each constant with the values that are tried."""
    for name in CONSTANTS:
        for factor in FACTORS:
            yield name, factor * getattr(evidence, name)
    for shift in SHIFTS:
        constant, *others = evidence._ALIKE
        yield "_ALIKE", (constant + shift, *others)


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
    frame_s = separator.framing.hop_length / separator.sample_rate
    has_head = separator.network.voice_head is not None
    print(f"best assignment: {100 * np.mean([best_share(one) for one in recordings]):.2f} %")
    for name, value in candidates():
        now = getattr(evidence, name)
        setattr(evidence, name, value)
        shares = [share_right(one, frame_s, has_head) for one in recordings]
        setattr(evidence, name, now)
        print(f"{name} = {value}: {100 * np.mean(shares):.2f} %", flush=True)


if __name__ == "__main__":
    main()
