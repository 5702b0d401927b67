"""Sources with all frequencies of a recording: rules for what lies above the network's band.

The folder has a folder of audio files for each speaker, at 16 kHz or more. The files of a speaker
at the rate that most have are joined, cut into pieces, and mixed in pairs. Two such folders that
anybody can make are of real people in packages of Debian:

- ``/usr/share/ktuberling/sounds`` of ``ktuberling-data``: words in 15 languages, 44.1 kHz, each
  language by another person (GPL). Some files are noisy, and joined words are no sentences.
- The prompts of ``asterisk-core-sounds-{en,fr,it,ru}-g722``: 4 speakers, 16 kHz, after
  ``ffmpeg -f g722 -i PROMPT.g722 PROMPT.wav`` (CC BY-SA). They are coded with loss. The Spanish
  ones are left out, because they are of the speaker of the English ones.
- ``/usr/share/klettres`` of ``klettres-data``: letters and syllables in 20 languages, 44.1 kHz
  (GPL).

The energy of the upper frequencies is told in two ways. That of the *sum* of the estimates is the
mixture's by construction. That of the *sources*, each counted alone, is less wherever both sources
get a share of a bin: of a bin of power P that is shared as m and 1 - m, they have
(m**2 + (1 - m)**2) P, up to 3 dB less. Rules that give each frame to one source lose nothing, and
are wrong more often.

``--part 0`` and ``--part 1`` take every second speaker, so that a rule may be chosen on the first
and measured on the others.

Run: ``python examples/benchmarks/full_band.py /usr/share/ktuberling/sounds``
"""

import argparse
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from skdc import load_pretrained, make_mixtures
from skdc.metrics import best_permutation, si_sdr
from skdc.separation import Recording, full_band
from skdc.separation.stretches import Stretch
from skdc.signal import Framing, resample

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("speech", type=Path, metavar="DIR", help="a folder for each speaker")
parser.add_argument("--model", default="speech-8k", help="name or file of a model")
parser.add_argument("--limit", type=int, default=40, help="mixtures (default: %(default)s)")
parser.add_argument("--seconds", type=float, default=5.0, help="of each (default: %(default)s)")
parser.add_argument("--per-speaker", type=int, default=4, help="pieces (default: %(default)s)")
parser.add_argument("--part", type=int, choices=(0, 1), help="every second speaker, from this on")
args = parser.parse_args()


def read_speakers(folder):
    """Rate, and the joined files of each speaker at that rate."""
    found: dict[tuple[str, int], list[NDArray[np.float32]]] = {}
    for path in sorted(folder.glob("*/**/*")):
        if not path.is_file():
            continue
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            continue
        if rate >= 16000 and np.abs(samples).max(initial=0) > 0.02:
            found.setdefault((path.relative_to(folder).parts[0], rate), []).append(
                samples.mean(axis=1)
            )
    (rate, _), *_ = Counter(rate for _, rate in found).most_common(1)
    return rate, {name: np.concatenate(parts) for (name, r), parts in found.items() if r == rate}


def by_power(masks, power, first, last, exponent=1.0):
    """Shares of the sources' powers in the upper bins, raised to an exponent."""
    parts = (masks[..., first:last] ** 2 * power[:, first:last]).sum(-1)  # (n_sources, n_frames)
    return shares((parts / (parts.sum(0) + 1e-20)) ** exponent, masks, last)


def by_upper_half(masks, power, first, last):
    """Shares of the sources' powers in more bins, from 2 kHz on at 8 kHz."""
    return by_power(masks, power, masks.shape[-1] // 2, last)


def by_whole_band(masks, power, first, last):
    """Shares of the sources' powers in all bins."""
    return by_power(masks, power, 0, last)


def by_mean_mask(masks, power, first, last):
    """Mean of the masks of the upper bins, weighted by the mixture's power."""
    return shares((masks[..., first:last] * power[:, first:last]).sum(-1), masks, last)


def by_last_bin(masks, power, first, last):
    """Take the mask of the uppermost bin."""
    return shares(masks[..., last - 1], masks, last)


def to_the_louder(masks, power, first, last):
    """Give all to the source that is louder in the upper bins."""
    return by_power(masks, power, first, last, exponent=100.0)


def equally(masks, power, first, last):
    """Half to each."""
    return shares(masks.new_ones(masks.shape[:2]), masks, last)


def shares(parts, masks, last):
    """Put the shares of parts ``(n_sources, n_frames)`` into the bins from `last` on."""
    masks = masks.clone()
    masks[..., last:] = ((parts + 1e-20) / (parts + 1e-20).sum(0)).unsqueeze(-1)
    return masks


class Rule(Protocol):
    """How to share the bins above the network's band."""

    def __call__(self, masks: Tensor, power: Tensor, first: int, last: int) -> Tensor:
        """Give masks that are shared anew from bin `last` on, by the bins from `first` on."""
        ...


RULES: dict[str, Rule] = {
    "the package's": full_band.share_upper_bins,
    "powers": by_power,
    "powers ** 1.5": partial(by_power, exponent=1.5),
    "powers ** 2": partial(by_power, exponent=2.0),
    "upper half": by_upper_half,
    "whole band": by_whole_band,
    "mean mask": by_mean_mask,
    "last bin": by_last_bin,
    "to the louder": to_the_louder,
    "equally": equally,
}

rate, speakers = read_speakers(args.speech)
names = sorted(speakers)
if args.part is not None:
    names = names[args.part :: 2]
n = int(args.seconds * rate)
pieces = [
    (name, speakers[name][i * n : (i + 1) * n])
    for name in names
    for i in range(min(args.per_speaker, len(speakers[name]) // n))
]
X, y = make_mixtures(
    [piece for _, piece in pieces],
    [name for name, _ in pieces],
    n_mixtures=args.limit,
    sample_rate=rate,
    random_state=0,
)
model = load_pretrained(args.model)
framing = Framing(model.win_length, model.hop_length)


def cut(samples, start, stop):
    """Give a part of samples ``(n_channels, n_samples)``."""
    return samples[:, start:stop]


def above(signals, hz):
    """Keep of signals ``(..., n_samples)`` what lies above a frequency."""
    spectrum = np.fft.rfft(signals)
    spectrum[..., np.fft.rfftfreq(signals.shape[-1], 1 / rate) <= hz] = 0
    return np.fft.irfft(spectrum, signals.shape[-1])


def improvement(references, estimates, mixture):
    """Mean SI-SDR improvement over the mixture, dB."""
    pairs = zip(references, estimates, strict=True)
    return np.mean([float(si_sdr(r, e) - si_sdr(r, mixture)) for r, e in pairs])


table: dict[str, list[list[float]]] = {name: [] for name in ("network band", *RULES)}
edge = model.sample_rate / 2
for mixture, references in zip(X, y, strict=True):
    high, high_references = above(mixture, edge), above(references, edge)
    estimates = {"network band": model.predict(mixture, input_rate=rate, band="network")}
    low = torch.from_numpy(resample(mixture, rate, model.sample_rate))
    masks = torch.from_numpy(model.predict_masks(low.numpy()))
    stretch = Stretch(0, 0, framing.stft(low), torch.zeros(0), masks, torch.zeros(0))
    samples = torch.from_numpy(mixture)[None]
    recording = Recording(rate, len(mixture), partial(cut, samples))
    for name, rule in RULES.items():
        full_band.share_upper_bins = rule
        shared = full_band.full_band_masks(stretch, masks, is_higher=rate > model.sample_rate)
        ((*_, found),) = full_band.full_band_pieces(
            [(0, 0, shared)], recording, framing, model.sample_rate
        )
        estimates[name] = found[:, 0].numpy()  # (n_sources, 1, n_samples) -> without channels
    order = best_permutation(
        [[float(si_sdr(r, e)) for e in estimates["network band"]] for r in references]
    )
    for name, found in estimates.items():
        found, high_found = found[order], above(found[order], edge)
        row = [
            improvement(references, found, mixture),
            improvement(high_references, high_found, high),
            np.square(high_found.sum(axis=0)).sum() / np.square(high).sum(),
            np.square(high_found).sum() / np.square(high).sum(),
        ]
        table[name].append(row)

print(f"{len(X)} mixtures of {len(names)} speakers, {rate} Hz, {args.model}")
print(f"{'':15}{'SI-SDR improvement, dB':>24}{'energy above, dB':>24}")
print(f"{'':15}{'all':>12}{f'> {edge / 1000:g} kHz':>12}{'sum':>12}{'sources':>12}")
table["mixture"] = [[0.0, 0.0, 1.0, 1.0]]
for name, rows in table.items():
    gain, gain_above, *energies = np.mean(rows, axis=0)
    energies_db = 10 * np.log10(np.array(energies) + 1e-12)
    print(
        f"{name:15}{gain:>12.2f}{gain_above:>12.2f}{energies_db[0]:>12.2f}{energies_db[1]:>12.2f}"
    )
