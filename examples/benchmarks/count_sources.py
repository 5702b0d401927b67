"""How many talk: one, two and three speakers, told apart by a model.

Mixtures are the first of the lists of two and of three speakers; single voices are the first
sources of the list of two. Each is separated with ``n_sources="auto"``. Prints how often each
number is told, with the count head of the model and, where it has one, without; and of how many
it is said that more than two speak, when they are separated into two. ``--clips`` takes all
mixtures of one, two and three speakers of the sample clips instead: prompts and readings from
elsewhere, whose speakers hardly pause.

Run: ``python examples/benchmarks/count_sources.py --root speech --model speech-8k``
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from skdc import load_pretrained
from skdc.datasets import load_mixture_list, load_sample_clips

MOST = 5
SURE = 0.9


def load(root: Path, split: str, count: int) -> list[tuple[int, np.ndarray]]:
    """Give `count` mixtures of each number of talkers, with that number."""
    two, three = (
        [
            item.load()[1]
            for item in load_mixture_list(root / "mixtures" / f"{n}spk-{split}.csv")[:count]
        ]
        for n in (2, 3)
    )
    return [
        *((1, sources[0]) for sources in two),
        *((2, np.sum(sources, axis=0)) for sources in two),
        *((3, np.sum(sources, axis=0)) for sources in three),
    ]


def of_clips() -> list[tuple[int, np.ndarray]]:
    """Give all mixtures of one, two and three speakers of the sample clips, at equal levels."""
    mixtures: list[tuple[int, np.ndarray]] = []
    for number in (1, 2, 3):
        for chosen in combinations(load_sample_clips(), number):
            if len({clip.speaker for clip in chosen}) == number:
                n_samples = min(len(clip.waveform) for clip in chosen)
                sources = [clip.waveform[:n_samples] for clip in chosen]
                mixtures.append((number, np.sum([s / (20 * s.std()) for s in sources], axis=0)))
    return mixtures


def with_noise(mixture: np.ndarray, ratio_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise that is so many dB weaker than the mixture."""
    noise = rng.standard_normal(len(mixture))
    level = np.sqrt(np.square(mixture).mean()) * 10 ** (-ratio_db / 20)
    return (mixture + level * noise).astype(np.float32)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--root", type=Path, help="folder with mixtures/")
    source.add_argument("--clips", action="store_true", help="mixtures of the sample clips")
    parser.add_argument("--split", default="open", help="lists of these speakers")
    parser.add_argument("--model", default="speech-8k", help="name or file")
    parser.add_argument("--noise", type=float, metavar="DB", help="white noise so much weaker")
    parser.add_argument("--count", type=int, default=100, help="mixtures of each number")
    args = parser.parse_args()
    model = load_pretrained(args.model)
    mixtures = of_clips() if args.clips else load(args.root, args.split, args.count)
    if args.noise is not None:
        rng = np.random.default_rng(0)
        mixtures = [(number, with_noise(mixture, args.noise, rng)) for number, mixture in mixtures]
    heads = [model.network_.count_head, None]
    for head in heads if heads[0] is not None else heads[1:]:
        model.network_.count_head = head
        told = np.zeros((4, MOST + 1), dtype=int)
        is_right, probable = [], []
        for number, mixture in mixtures:
            sources, heard = model.separate(mixture, n_sources="auto", pair_sweeps=0)
            told[number, min(MOST, len(sources))] += 1
            is_right.append(len(sources) == number)
            probable.append(heard.count_probability() or 0.0)
        print("with the count head" if head is not None else "by the clusters")
        print("talkers  told as " + "".join(f"{n:5d}" for n in range(1, MOST + 1)) + "   right")
        for number in (1, 2, 3):
            row = "".join(f"{n:5d}" for n in told[number, 1:])
            print(f"{number:7d}          {row}   {told[number, number] / told[number].sum():.0%}")
        print(f"right in all: {np.trace(told[1:, 1:4]) / told.sum():.1%}")
        if head is not None:
            is_sure = np.array(probable) > SURE
            for name, chosen in (("more", is_sure), ("less", ~is_sure)):
                right = np.array(is_right)[chosen]
                print(f"{right.sum()} of {len(right)} right where it is {name} than {SURE} sure")
            for number in (2, 3):
                found = [model.separate(x, n_sources=2)[1] for n, x in mixtures if n == number]
                more = sum(item.more_talkers() is not None for item in found)
                print(f"more than 2 are said to speak in {more} of {len(found)} with {number}")


if __name__ == "__main__":
    main()
