"""What noise and rooms cost: SI-SDR improvement of a model, and what it expects of itself.

Each source of a mixture is convolved with an impulse response of its own: the direct sound, and
noise that falls by 60 dB within T60, with as much energy as the direct sound (which is as if the
microphone stood at the critical distance). Noise is added to the mixture at a ratio to all speech;
it is white, or has the spectrum of the speech of the list. What is to be estimated are the sources
as the microphone has them: with their room, and without noise.

Two limits stand beside them. *Ideal masks* are binary ones that share each bin, noise and all,
among the talkers. *Ideal shares* are the model's own masks times the share of each bin that is
speech, which is what a noise head would say that is always right.

Run: ``python examples/benchmarks/rooms.py 2spk-valid.csv --limit 60``
"""

import argparse

import numpy as np
import torch

from skdc import load_pretrained
from skdc.datasets import load_mixture_list
from skdc.evaluation import oracle_estimates
from skdc.metrics import si_sdr_improvement
from skdc.signal import apply_masks, phase_sensitive_masks

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("list", metavar="LIST.csv")
parser.add_argument("--model", default="speech-8k", help="name or file of a model")
parser.add_argument("--limit", type=int, default=60, help="mixtures (default: %(default)s)")
parser.add_argument("--case", action="append", help="only this one of the cases; may be repeated")
args = parser.parse_args()
separator = load_pretrained(args.model)
rate = separator.sample_rate
framing = separator.pipeline().framing
pairs = [item.load() for item in load_mixture_list(args.list, sample_rate=rate)[: args.limit]]


def in_room(sources, t60_s, rng):
    """Convolve each source with a response of its own."""
    n = int(t60_s * rate)
    tail = rng.standard_normal((len(sources), n)) * 10 ** (-3 * np.arange(n) / n)
    tail /= np.sqrt(np.square(tail).sum(axis=1, keepdims=True))
    tail[:, 0] += 1
    return np.stack(
        [np.convolve(s, h)[: len(s)] for s, h in zip(sources, tail, strict=True)]
    ).astype(np.float32)


def with_noise(mixture, ratio_db, spectrum, rng):
    """Add noise of a spectrum at a ratio to the mixture."""
    noise = rng.standard_normal(len(mixture))
    if spectrum is not None:
        bins = np.fft.rfft(noise)
        places = np.linspace(0, len(spectrum) - 1, len(bins))
        noise = np.fft.irfft(
            bins * np.interp(places, np.arange(len(spectrum)), spectrum), len(noise)
        )
    gain = np.sqrt(np.square(mixture).mean() / np.square(noise).mean() / 10 ** (ratio_db / 10))
    return (mixture + gain * noise).astype(np.float32)


def with_ideal_shares(mixture, sources):
    """Separate a noisy mixture by the model's masks and by how much of each bin is speech."""
    masks = torch.from_numpy(separator.predict_masks(mixture, n_sources=len(sources)))
    heard, speech = (framing.stft(torch.from_numpy(x)) for x in (mixture, sources.sum(axis=0)))
    share = phase_sensitive_masks(speech[None], heard)  # (1, n_frames, n_bins)
    return framing.istft(apply_masks(masks * share, heard), len(mixture)).numpy()


frames = np.concatenate([mixture[: len(mixture) // 512 * 512] for mixture, _ in pairs])
speech = np.sqrt(
    (np.abs(np.fft.rfft(frames.reshape(-1, 512) * np.hanning(512))) ** 2).mean(axis=0)
)
cases = {
    "as it is": (None, None, None),
    "white noise, 20 dB": (None, 20, None),
    "white noise, 10 dB": (None, 10, None),
    "speech-like noise, 20 dB": (None, 20, speech),
    "speech-like noise, 10 dB": (None, 10, speech),
    "room, T60 0.15 s": (0.15, None, None),
    "room, T60 0.3 s": (0.3, None, None),
    "room, T60 0.3 s, speech-like noise, 20 dB": (0.3, 20, speech),
}
hears_noise = separator.network_.noise_head is not None
print(
    f"{args.model}, {len(pairs)} mixtures: SI-SDR improvement, dB"
    + "; with noise=True" * hears_noise
    + "; what the model expects, without it" * (separator.quality_ is not None)
    + "; ideal masks; ideal shares"
)
for name, (t60_s, ratio_db, spectrum) in cases.items():
    if args.case and name not in args.case:
        continue
    rng = np.random.default_rng(0)
    gains, kept_out, expected, ideal, shares = [], [], [], [], []
    for number, (mixture, sources) in enumerate(pairs, 1):
        if t60_s is not None:
            sources = in_room(sources, t60_s, rng)
            mixture = sources.sum(axis=0)
        if ratio_db is not None:
            mixture = with_noise(mixture, ratio_db, spectrum, rng)
        n_sources = len(sources)
        found, clearness = separator.separate(mixture, n_sources=n_sources, band="network")
        gains.append(np.mean(si_sdr_improvement(sources, found, mixture)))
        if hears_noise:
            found = separator.predict(mixture, n_sources=n_sources, band="network", noise=True)
            kept_out.append(np.mean(si_sdr_improvement(sources, found[:-1], mixture)))
        if separator.quality_ is not None:
            estimate = separator.quality_.predict(clearness)
            if estimate is None:
                raise ValueError(
                    f"mixture {number} of {args.list} has one source or is silent; {args.model} "
                    "can tell what to expect of sound of two or more only"
                )
            expected.append(estimate[0])
        found = oracle_estimates(separator, mixture, sources)["ideal_binary"]
        ideal.append(np.mean(si_sdr_improvement(sources, found, mixture)))
        found = with_ideal_shares(mixture, sources)
        shares.append(np.mean(si_sdr_improvement(sources, found, mixture)))
    measured = (gains, kept_out, expected, ideal, shares)
    columns = [f"{np.mean(values):9.2f}" for values in measured if values]
    print(f"{name:42}{''.join(columns)}", flush=True)
