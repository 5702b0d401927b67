"""What phases that fit together gain: binary and soft masks, MISI, and `phase_iterations`.

MISI (Gunawan, Sen, 2010) keeps each source's masked magnitudes, and gives them the phases of the
waveforms so far, after what these lack of the mixture was shared among them. Masks that were
trained to give the magnitude that is best with the mixture's phase lose by that: with a better
phase another magnitude is best. So there is MISI whose magnitudes follow, too: what the waveforms
lack is shared by the masks, and a magnitude moves in decibels to 85 % from the masked one to that
of the waveform so far. `phase_iterations` move only bins whose mask is unsure of itself. All start
from the same soft masks.

Run: python examples/benchmarks/phase.py SPEECH --subset 2spk-valid 3spk-valid [--limit 60]

SPEECH is a folder of recordings with lists of mixtures. A mask head, where the model has one, is
measured too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skdc import DeepClusteringSeparator, load_pretrained
from skdc.datasets import load_mixture_list
from skdc.metrics import si_sdr_improvement
from skdc.signal import Framing, resynthesise, share_rest

# How far magnitudes follow the waveforms: chosen on the first 40 mixtures of the validation lists,
# where 0.75 to 0.95 gain and 0.25 loses.
FOLLOWING = 0.85


def misi(
    masks: Tensor, mixture: Tensor, framing: Framing, n_iterations: int, following: float = 0.0
) -> Tensor:
    """Multiple input spectrogram inversion from soft masks: ``(n_sources, n_samples)``."""
    spectrogram = framing.stft(mixture)
    masked = masks * spectrogram.abs()  # (sources, frames, bins)
    shares = masks if following else torch.full_like(masks, 1 / len(masks))
    sources = framing.istft(masks * spectrogram, len(mixture))
    for _ in range(n_iterations):
        rest = framing.stft(mixture - sources.sum(0))
        found = framing.stft(sources) + shares * rest
        magnitudes = masked ** (1 - following) * found.abs() ** following
        sources = framing.istft(torch.polar(magnitudes, found.angle()), len(mixture))
    return sources + (mixture - sources.sum(0)) / len(sources)


def estimates(
    separator: DeepClusteringSeparator, mixture: np.ndarray, n_sources: int
) -> dict[str, np.ndarray]:
    """Separate a mixture by each way."""
    framing = Framing(separator.win_length, separator.hop_length)
    found = {}
    waveform = torch.from_numpy(mixture)
    spectrogram = framing.stft(waveform)
    for mask in ("binary", "head", "soft"):
        if mask == "head" and separator.network_.mask_head is None:
            continue
        separator.set_params(mask=mask)
        masks = torch.from_numpy(separator.predict_masks(mixture, n_sources=n_sources))
        found[f"{mask} masks"] = framing.istft(masks * spectrogram, len(mixture)).numpy()
    for n in (1, 5):
        found[f"soft, MISI, {n} iterations"] = misi(masks, waveform, framing, n).numpy()
        follows = misi(masks, waveform, framing, n, FOLLOWING).numpy()
        found[f"soft, MISI that follows, {n} iterations"] = follows
    for n in (1, 2, 5, 20):
        # As `predict(..., phase_iterations=n)` does with the same masks
        sources = resynthesise(masks, spectrogram, len(mixture), framing, n)
        share_rest(sources, waveform)
        found[f"soft, phase_iterations={n}"] = sources.numpy()
    return found


def main() -> None:
    """Print a table of means, and of how many mixtures a way makes worse than soft masks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("--subset", nargs="+", default=["2spk-valid", "3spk-valid"])
    parser.add_argument("--model", default="speech-8k", help="name or file of a model")
    parser.add_argument("--limit", type=int, help="mixtures of each list (default: all)")
    args = parser.parse_args()
    separator = load_pretrained(args.model)
    print(f"{args.model}: SI-SDR improvement, dB; gain over soft masks; share of mixtures gaining")
    for subset in args.subset:
        path = args.speech / "mixtures" / f"{subset}.csv"
        gains: dict[str, list[float]] = {}
        items = load_mixture_list(path, sample_rate=separator.sample_rate)[: args.limit]
        for mixture, sources in (item.load() for item in items):
            for name, found in estimates(separator, mixture, len(sources)).items():
                scores = si_sdr_improvement(sources, found, mixture)
                gains.setdefault(name, []).append(float(np.mean(scores)))
        plain = np.array(gains["soft masks"])
        print(f"\n{subset}, {len(items)} mixtures")
        for name, values in gains.items():
            change = np.array(values) - plain
            print(
                f"  {name:36s} {np.mean(values):6.2f}  {change.mean():+6.3f}  "
                f"{(change > 0).mean():4.0%}"
            )


if __name__ == "__main__":
    main()
