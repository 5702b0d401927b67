"""What bangs, hum, silence, a telephone or a tilt cost speech that is heard with or through them.

Into the middle of each mixture comes one bang, whose peak is louder than that of the mixture by so
many decibels; or hum all the time, louder than the mixture by root mean square. The SI-SDR
improvement is that of what is beside a bang, an eighth of a second and more away, in a stream what
comes a second later; or of the bands beside the hum. *Before* is without turning it down. Then
there is silence before and after each mixture, white noise 40 dB below it, which was not left out
before. Last, bands are missing, as where somebody telephones, whose features were not lifted
before, or all is tilted, which was not evened; there the sources to be found are filtered, too.
What is tilted is scored with the tilt undone, as otherwise a few harmonics would decide.

``SPEECH`` is a folder as for ``skdc evaluate --protocol speech``.

Run: ``python examples/benchmarks/disturbances.py SPEECH --limit 40 [--stream]``
"""

import argparse
import warnings
from unittest.mock import patch

import numpy as np
import torch
from scipy.signal import butter, sosfiltfilt

from skdc import StreamingSeparator, load_pretrained, signal
from skdc.metrics import si_sdr_improvement
from skdc.protocols import open_protocol
from skdc.separation.hearing import Hearing
from skdc.signal import Framing, LiveGains

RATE = 8000


def click(rng):
    """Give white noise of 20 ms."""
    return rng.standard_normal(160) * np.exp(-np.arange(160) / 50)


def thump(rng):
    """Give a tone of 60 to 120 Hz that dies away in 150 ms."""
    time = np.arange(1200) / RATE
    return np.sin(2 * np.pi * rng.uniform(60, 120) * time) * np.exp(-16 * time)


def slam(rng):
    """Give noise of 400 ms, most of it below 400 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(3200) * np.exp(-np.arange(3200) / 530))
    return np.fft.irfft(spectrum / (1 + (np.arange(1601) / 320) ** 1.5), 3200)


def beep(rng):
    """Give a tone of 200 ms."""
    return np.sin(2 * np.pi * rng.uniform(500, 2000) * np.arange(1600) / RATE)


def hum(rng, n):
    """Give 50 Hz of the mains, and two overtones."""
    phase = 2 * np.pi * 50 * np.arange(n) / RATE + rng.uniform(0, 6)
    return sum(np.sin(k * phase) / k for k in (1, 2, 3))


def rumble(rng, n):
    """Give noise of 20 to 120 Hz, as of wind and traffic."""
    return filtered(rng.standard_normal(n), 2, [20, 120], "bandpass")


def whistle(rng, n):
    """Give a tone of 1010 Hz."""
    return np.sin(2 * np.pi * 1010 * np.arange(n) / RATE + rng.uniform(0, 6))


def filtered(waveforms, order, hz, kind):
    """Filter without delay."""
    return sosfiltfilt(butter(order, hz, kind, fs=RATE, output="sos"), waveforms, axis=-1)


def tilted(waveforms, db):
    """Filter so that each octave has so many decibels more than the one below it, from 40 Hz."""
    hz = np.fft.rfftfreq(waveforms.shape[-1], 1 / RATE)
    gains = 10 ** (db / 20 * np.log2(np.maximum(hz, 40) / 1000))
    return np.fft.irfft(gains * np.fft.rfft(waveforms), waveforms.shape[-1])


BANGS = (click, thump, slam, beep)
# What is left of all bands: order of the filter, Hz, its kind, and noise, dB below what is said.
# Or how all is tilted, dB an octave.
CHANNELS = {
    "telephone, 300 to 3400 Hz": (4, [300, 3400], "bandpass", None),
    "the same, noise at -30 dB": (4, [300, 3400], "bandpass", 30.0),
    "400 to 3000 Hz": (6, [400, 3000], "bandpass", None),
    "above 300 Hz": (4, 300, "highpass", None),
    "above 150 Hz": (4, 150, "highpass", None),
    "below 2 kHz": (4, 2000, "lowpass", None),
    "below 1 kHz": (4, 1000, "lowpass", None),
    "dull, -9 dB an octave": -9.0,
    "dull, -6 dB an octave": -6.0,
    "dull, -3 dB an octave": -3.0,
    "thin, 3 dB an octave": 3.0,
    "thin, 6 dB an octave": 6.0,
    "thin, 9 dB an octave": 9.0,
}
# And the bands that are left out where they are scored
HUMS = {hum: ("highpass", 350), rumble: ("highpass", 350), whistle: ("bandstop", [950, 1070])}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("speech", metavar="SPEECH", help="folder of recordings and lists")
parser.add_argument("--subset", default="2spk-valid", help="list (default: %(default)s)")
parser.add_argument("--limit", type=int, help="mixtures (default: all)")
parser.add_argument("--model", default="speech-8k", help="name or file of a model")
parser.add_argument("--decibels", type=float, nargs="+", default=[0.0, 10.0, 20.0, 40.0])
parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 3.0, 5.0, 10.0])
parser.add_argument("--stream", action="store_true", help="while it comes in, said twice")
args = parser.parse_args()

torch.set_num_threads(1)
warnings.simplefilter("ignore")
model = load_pretrained(args.model, device="cpu")
items = [x.load() for x in open_protocol("speech", args.speech, subset=args.subset)[: args.limit]]
if args.stream:  # so long that a stream has levels to go by
    items = [(np.tile(mixture, 2), np.tile(sources, 2)) for mixture, sources in items]


def disturbed(mixture, make, db, rng):
    """Add a disturbance; give the mixture with it, and where it is."""
    heard = mixture.astype(np.float64)
    start = stop = len(heard) // 2
    if make in BANGS:
        sound = make(rng)
        stop += len(sound)
        peak = np.abs(mixture).max() * 10 ** (db / 20)
        heard[start:stop] += peak * sound / np.abs(sound).max()
    elif make is not None:
        sound = make(rng, len(heard))
        heard += mixture.std() * 10 ** (db / 20) * sound / sound.std()
    return heard, start, stop


def improvement(make, db):
    """Mean over the mixtures, beside this disturbance."""
    gains = []
    for seed, (mixture, sources) in enumerate(items):
        heard, start, stop = disturbed(mixture, make, db, np.random.default_rng(seed))
        found = separated(heard)
        if args.stream:
            kept = np.arange(start + RATE, len(heard))
        else:
            kept = np.r_[: start - RATE // 8, stop + RATE // 8 : len(heard)]
        scored = [sources, found, mixture]
        if make in HUMS:
            kind, hz = HUMS[make]
            scored = [filtered(x.astype(np.float64), 6, hz, kind) for x in scored]
        gains.append(np.mean(si_sdr_improvement(*(x[..., kept] for x in scored))))
    return np.mean(gains)


def improvement_in_silence(seconds):
    """Mean over the mixtures, with so much silence before and after each."""
    gains = []
    for seed, (mixture, sources) in enumerate(items):
        n = round(seconds * RATE)
        heard = np.random.default_rng(seed).standard_normal(len(mixture) + 2 * n)
        heard *= 0.01 * mixture.std()
        heard[n:][: len(mixture)] = mixture
        found = model.predict(heard)[:, n:][:, : len(mixture)]
        gains.append(np.mean(si_sdr_improvement(sources, found, mixture)))
    return np.mean(gains)


def improvement_by_channel(channel):
    """Mean over the mixtures, of what a filter leaves of them."""
    gains = []
    for seed, (_, sources) in enumerate(items):
        sources, noise_db = sources.astype(np.float64), None
        if isinstance(channel, float):
            sources = tilted(sources, channel)
        else:
            *band, noise_db = channel
            sources = filtered(sources, *band)
        heard = sources.sum(0)
        if noise_db is not None:
            noise = np.random.default_rng(seed).standard_normal(len(heard))
            heard = heard + noise * heard.std() * 10 ** (-noise_db / 20)
        scored = [sources, separated(heard), heard]
        if isinstance(channel, float):
            scored = [tilted(x, -channel) for x in scored]
        gains.append(np.mean(si_sdr_improvement(*scored)))
    return np.mean(gains)


def separated(heard):
    """Give its sources, in one piece or while it comes in."""
    if not args.stream:
        return model.predict(heard)
    stream = StreamingSeparator(model)
    return np.concatenate([stream.push(heard), stream.flush()], axis=1)


def as_it_was(self, spectrogram):
    """Leave everything as loud as it is."""
    return spectrogram


def all_ones(self, frames, n_new):
    """Leave everything as loud as it is."""
    return torch.ones_like(frames[-n_new:].real)


def all_frames(self, spectrogram):
    """Leave nothing out."""


def as_heard(self, spectrogram):
    """Leave all bands as they are."""
    same = torch.ones_like(spectrogram[:1].real)
    return signal.Balance(same, 0 * same)


print(f"{args.model}, {len(items)} mixtures of {args.subset}, undisturbed:", flush=True)
print(f"  {improvement(None, 0):.2f} dB")
print("| disturbance | " + " | ".join(f"{db:+.0f} dB, before, now" for db in args.decibels) + " |")
print("|---|" + "---:|" * len(args.decibels))
for make in (*BANGS, *HUMS):
    cells = []
    for db in args.decibels:
        with (
            patch.object(Framing, "undisturbed", as_it_was),
            patch.object(LiveGains, "of_last", all_ones),
        ):
            before = improvement(make, db)
        cells.append(f"{before:.1f}, {improvement(make, db):.1f} dB")
    print(f"| {make.__name__} | " + " | ".join(cells) + " |", flush=True)
if not args.stream:
    print("| silence | before | now |\n|---|---:|---:|")
    for seconds in args.seconds:
        with patch.object(Hearing, "spoken", all_frames):
            before = improvement_in_silence(seconds)
        now = improvement_in_silence(seconds)
        print(f"| {seconds:g} s | {before:.2f} dB | {now:.2f} dB |", flush=True)
print("| channel | before | now |\n|---|---:|---:|")
for name, channel in CHANNELS.items():
    with patch.object(Hearing, "balance", as_heard):
        before = improvement_by_channel(channel)
    now = improvement_by_channel(channel)
    print(f"| {name} | {before:.2f} dB | {now:.2f} dB |", flush=True)
