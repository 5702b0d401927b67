"""Sources with all frequencies of a recording: rules for what lies above the network's band.

The folder has a folder of audio files for each speaker, at 16 kHz or more. The files of a speaker
at the rate that most have are joined, cut into pieces, and mixed in pairs. Two such folders that
anybody can make are of real people in packages of Debian:

- ``/usr/share/ktuberling/sounds`` of ``ktuberling-data``: words in 13 languages, 44.1 kHz, each
  language by another person (GPL). Some files are noisy, and joined words are no sentences.
- The prompts of ``asterisk-core-sounds-{en,es,fr,it,ru}-g722``: 5 speakers, 16 kHz, after
  ``ffmpeg -f g722 -i PROMPT.g722 PROMPT.wav`` (CC BY-SA). They are coded with loss.

Run: ``python examples/benchmarks/full_band.py /usr/share/ktuberling/sounds --limit 40``
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import torch

from skdc import load_pretrained, make_mixtures
from skdc.metrics import best_permutation, si_sdr
from skdc.separation import Recording, full_band
from skdc.separation.evidence import Stretch
from skdc.signal import Framing, resample

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("speech", type=Path, metavar="DIR", help="a folder for each speaker")
parser.add_argument("--model", default="speech-2mix-8k", help="name or file of a model")
parser.add_argument("--limit", type=int, default=40, help="mixtures (default: %(default)s)")
parser.add_argument("--seconds", type=float, default=5.0, help="of each (default: %(default)s)")
parser.add_argument("--per-speaker", type=int, default=4, help="pieces (default: %(default)s)")
args = parser.parse_args()


def read_speakers(folder):
    """Rate, and the joined files of each speaker at that rate."""
    found = {}
    for path in sorted(folder.glob("*/*")):
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            continue
        if rate >= 16000 and np.abs(samples).max() > 0.02:
            found.setdefault((path.parent.name, rate), []).append(samples.mean(axis=1))
    (rate, _), *_ = Counter(rate for _, rate in found).most_common(1)
    return rate, {name: np.concatenate(parts) for (name, r), parts in found.items() if r == rate}


def by_power(masks, power, first, last):
    """Shares of the sources' powers in the upper bins: the rule of the package."""
    return shares(powers(masks, power, first, last), masks, last)


def sharper(masks, power, first, last):
    """Take these to the power of 1.3: more to the louder source, so that less energy is lost."""
    return shares(powers(masks, power, first, last) ** 1.3, masks, last)


def softer(masks, power, first, last):
    """Take these to the power of 0.7: what is shared is wrong less often."""
    return shares(powers(masks, power, first, last) ** 0.7, masks, last)


def by_hiss(masks, power, first, last):
    """Share by power where a frame hisses, and equally where it hums: voices are weak above."""
    hiss = (power[:, first:last].sum(-1) / (power.sum(-1) + 1e-20)).sqrt()
    parts = powers(masks, power, first, last)
    known = parts / (parts.sum(0) + 1e-20)
    return shares(hiss * known + (1 - hiss) * 0.5, masks, last)


def powers(masks, power, first, last):
    """Powers of the sources in the upper bins of each frame, (n_sources, n_frames)."""
    return (masks[..., first:last] ** 2 * power[:, first:last]).sum(-1)


def by_mean_mask(masks, power, first, last):
    """Mean of the masks of the upper bins, weighted by the mixture's power."""
    return shares((masks[..., first:last] * power[:, first:last]).sum(-1), masks, last)


def by_plain_mean(masks, power, first, last):
    """Mean of the masks of the upper bins, loud or not."""
    return shares(masks[..., first:last].mean(-1), masks, last)


def by_last_bin(masks, power, first, last):
    """Take the mask of the uppermost bin."""
    return shares(masks[..., last - 1], masks, last)


def by_whole_band(masks, power, first, last):
    """Shares of the sources' powers in all bins."""
    return by_power(masks, power, 0, last)


def equally(masks, power, first, last):
    """Half to each."""
    return shares(masks.new_ones(masks.shape[:2]), masks, last)


def shares(parts, masks, last):
    """Put the shares of parts ``(n_sources, n_frames)`` into the bins from `last` on."""
    masks = masks.clone()
    masks[..., last:] = ((parts + 1e-20) / (parts + 1e-20).sum(0)).unsqueeze(-1)
    return masks


RULES = {
    rule.__name__: rule
    for rule in (
        by_power,
        sharper,
        softer,
        by_hiss,
        by_mean_mask,
        by_plain_mean,
        by_last_bin,
        by_whole_band,
        equally,
    )
}

rate, speakers = read_speakers(args.speech)
n = int(args.seconds * rate)
pieces = [
    (name, waveform[i * n : (i + 1) * n])
    for name, waveform in speakers.items()
    for i in range(min(args.per_speaker, len(waveform) // n))
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


def power_above(signals, hz):
    """Power of signals ``(..., n_samples)`` above a frequency."""
    spectrum = np.abs(np.fft.rfft(signals)) ** 2
    return spectrum[..., np.fft.rfftfreq(signals.shape[-1], 1 / rate) > hz].sum()


table = {name: [] for name in ("mixture", "network band", *RULES)}
edge = model.sample_rate / 2
for mixture, references in zip(X, y, strict=True):
    before = np.array([float(si_sdr(reference, mixture)) for reference in references])
    estimates = {"mixture": np.stack([mixture, mixture])}
    estimates["network band"] = model.predict(mixture, input_rate=rate, band="network")
    low = torch.from_numpy(resample(mixture, rate, model.sample_rate))
    masks = torch.from_numpy(model.predict_masks(low.numpy()))
    stretch = Stretch(0, 0, framing.stft(low), torch.zeros(0), masks, torch.zeros(0))
    samples = torch.from_numpy(mixture)[None]
    recording = Recording(rate, len(mixture), lambda start, stop, x=samples: x[:, start:stop])
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
        after = [float(si_sdr(r, e)) for r, e in zip(references, found[order], strict=True)]
        kept = [power_above(signal, edge) for signal in (found.sum(axis=0), found, mixture)]
        if name == "mixture":
            kept = [1.0, 1.0, 1.0]
        table[name].append([np.mean(after - before), kept[0] / kept[2], kept[1] / kept[2]])

print(f"{len(X)} mixtures of {len(speakers)} speakers, {rate} Hz, {args.model}")
title = f"above {edge / 1000:g} kHz: sum"
print(f"{'':14}{'SI-SDR improvement':>20}{title:>22}{'sources':>10}")
for name, rows in table.items():
    gain, total, parts = np.mean(rows, axis=0)
    print(
        f"{name:14}{gain:>17.2f} dB{10 * np.log10(total + 1e-12):>19.2f} dB"
        f"{10 * np.log10(parts + 1e-12):>7.2f} dB"
    )
