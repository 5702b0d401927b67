"""What the sample clips sound like when separated: all pairs of two people, and an ordinary one.

The pair of `skdc demo` is one of the easy ones. This separates each of the 57 pairs of clips of
different people, at equal levels, and draws the pair in the middle.

Run: python examples/benchmarks/sample_pairs.py [--plot docs/ordinary.png]
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skdc import load_pretrained
from skdc.datasets import SampleClip, load_sample_clips
from skdc.evaluation import measure_quality


def mix(pair: tuple[SampleClip, SampleClip]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mix two clips at equal levels, as long as the shorter: the mixture and its sources."""
    length = min(len(clip.waveform) for clip in pair)
    sources = np.stack([clip.waveform[:length] for clip in pair])
    sources *= 0.05 / np.sqrt(np.square(sources).mean(axis=1, keepdims=True))
    return sources.sum(axis=0), sources


def main() -> None:
    """Print means by the sexes of a pair, and draw the pair in the middle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="speech-8k", help="name or file of a model")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    args = parser.parse_args()
    separator = load_pretrained(args.model)
    clips = load_sample_clips()
    pairs = [pair for pair in combinations(clips, 2) if pair[0].speaker != pair[1].speaker]
    items, found = measure_quality(separator, map(mix, pairs))
    kinds = np.array(["+".join(sorted(clip.sex for clip in pair)) for pair in pairs])
    print(f"{args.model}: SI-SDR improvement, dB, mean and median")
    for kind in ("", *np.unique(kinds)):
        some = found[kinds == kind] if kind else found
        print(f"{kind or 'all'}: {len(some)} pairs  {some.mean():.2f}  {np.median(some):.2f}")
    if separator.quality_ is not None:
        expected = []
        for pair, item in zip(pairs, items, strict=True):
            estimate = separator.quality_.predict(item)
            if estimate is None:
                names = " and ".join(clip.name for clip in pair)
                raise ValueError(f"{args.model} expects nothing of {names}, which is silent")
            expected.append(estimate[0])
        print(f"expected of them all: {np.mean(expected):.2f}")
    middle = int(np.argsort(found)[len(found) // 2])
    names = " and ".join(clip.name for clip in pairs[middle])
    print(f"in the middle: {names}, {found[middle]:.1f} dB")
    if args.plot is not None:
        import matplotlib

        matplotlib.use("agg")
        from skdc.display import SeparationDisplay

        mixture, sources = mix(pairs[middle])
        display = SeparationDisplay.from_estimator(separator, mixture, references=sources)
        display.figure_.savefig(args.plot, dpi=100)


if __name__ == "__main__":
    main()
