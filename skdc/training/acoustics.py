"""Rooms, noise and evened levels for training: what happens to voices before they are heard.

All are simple and random, so that a network meets many kinds and learns to look past all of
them. Random numbers are drawn on the CPU: a seed gives the same sound on every device.
"""

from __future__ import annotations

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

__all__ = ["add_noise", "add_rooms", "draw_some", "even_out"]

_T60_S = (0.1, 0.5)
_GAP_S = (0.002, 0.008)  # from the direct sound to the first reflection
_DIRECT_TO_REVERBERANT_DB = (-3.0, 6.0)
_SNR_DB = (3.0, 25.0)
_TILT = (-2.0, 0.5)  # power over frequency as f ** tilt: from rumble to a little more than white
_LIKE_SPEECH_SHARE = 0.3
_N_SPECTRUM_BANDS = 128
_N_BUMPS = 12
_BUMPS_DB = 4.0
_N_SWELLS = 9
_SWELLS_DB = 4.0
_EVENED_S = (0.02, 0.2)  # time over which a level is taken
_MOST_EVENED = 0.8  # dB of each dB by which it differs
_LEAST_EVENED = 0.03  # of the loudest level; what is below that is raised no more


def add_rooms(
    sources: Tensor, share: float, *, sample_rate: int, generator: torch.Generator
) -> Tensor:
    """Put the sources of some mixtures, ``(n_mixtures, n_sources, n_samples)``, into rooms.

    A room has a reverberation time (T60) of 0.1 to 0.5 s, and each source of it a response of its
    own: the direct sound, and after a gap of 2 to 8 ms noise that falls by 60 dB within T60, with
    6 dB less to 3 dB more energy than the direct sound. The level of a source stays as it is.

    A mixture is in a room with the probability `share`; the generator is on the CPU.
    """
    n_mixtures, n_sources, n_samples = sources.shape
    chosen = draw_some(n_mixtures, share, generator)
    if not bool(chosen.any()):
        return sources
    own = sources[chosen.to(sources.device)]  # (n_chosen, n_sources, n_samples)
    n_after = round(_T60_S[1] * sample_rate)
    time = torch.arange(n_after, dtype=torch.float32, device="cpu") / sample_rate
    t60 = _uniform(_T60_S, (len(own), 1, 1), generator)
    gap = _uniform(_GAP_S, (len(own), n_sources, 1), generator)
    ratio_db = _uniform(_DIRECT_TO_REVERBERANT_DB, (len(own), n_sources, 1), generator)
    tail = torch.randn(
        len(own), n_sources, len(time), generator=generator, dtype=torch.float32, device="cpu"
    )
    tail = tail * 10 ** (-3 * time / t60) * (time > gap)
    tail /= torch.linalg.vector_norm(tail, dim=-1, keepdim=True)
    response = tail * 10 ** (-ratio_db / 20)
    response[..., 0] = 1.0
    response = response.to(own.device)
    # Transforms of lengths that have large factors take many times as long.
    n_whole = next_fast_len(n_samples + len(time) - 1, real=True)
    heard = torch.fft.irfft(
        torch.fft.rfft(own, n_whole) * torch.fft.rfft(response, n_whole), n_whole
    )[..., :n_samples]
    heard *= _level(own) / _level(heard).clamp_min(1e-9)
    result = sources.clone()
    result[chosen.to(sources.device)] = heard.to(sources.dtype)
    return result


def add_noise(mixtures: Tensor, share: float, *, generator: torch.Generator) -> Tensor:
    """Add noise to some mixtures.

    The noise lies 3 to 25 dB below the mixture. Its spectrum is a random tilt, from rumble to
    hiss, or, in three of ten, that of the mixture's own speech, as many people far away have it;
    with random bumps of some 4 dB. Its level swells and falls by up to as much. Microphones that
    hear one mixture have noises of their own of the same kind.

    Mixtures are of shape ``(n_mixtures, n_samples)`` or ``(n_mixtures, n_microphones,
    n_samples)``, and have noise with the probability `share`; the generator is on the CPU.
    """
    n_mixtures, *n_microphones, n_samples = mixtures.shape
    chosen = draw_some(n_mixtures, share, generator)
    n_chosen = int(chosen.sum())
    if n_chosen == 0:
        return mixtures
    of_each = (n_chosen, *(1 for _ in n_microphones), -1)
    n_bins = n_samples // 2 + 1
    frequency = torch.linspace(0, 1, n_bins, dtype=torch.float32, device="cpu")
    gain = (frequency + 0.02) ** (_uniform(_TILT, (n_chosen, 1), generator) / 2)
    is_like_speech = draw_some(n_chosen, _LIKE_SPEECH_SHARE, generator)
    where = chosen.to(mixtures.device)
    # (n_chosen, ..., n_samples) -> (n_chosen, n_samples): all microphones hear much the same.
    heard = mixtures[where][:, 0] if n_microphones else mixtures[where]
    gain = torch.where(is_like_speech[:, None], _spectrum(heard), gain)
    bumps_db = _smooth(n_chosen, _N_BUMPS, n_bins, generator) * _BUMPS_DB
    # (n_chosen, n_bins) -> (n_chosen, 1, n_bins) where there are several microphones
    gain, bumps = gain.view(of_each), (10 ** (bumps_db / 20)).view(of_each)
    shape = (n_chosen, *n_microphones, n_samples)
    white = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    noise = torch.fft.irfft(torch.fft.rfft(white) * gain * bumps, n_samples)
    swells_db = _smooth(n_chosen, _N_SWELLS, n_samples, generator)
    swells_db = swells_db * _uniform((0.0, _SWELLS_DB), (n_chosen, 1), generator)
    # (n_chosen, ...) -> (n_chosen, 1, ...) where there are several microphones
    noise = noise * 10 ** (swells_db / 20).view(of_each)
    snr_db = _uniform(_SNR_DB, (n_chosen, 1), generator).view(of_each).to(mixtures.device)
    noise = noise.to(mixtures)
    noise *= _level(mixtures[where]) / _level(noise).clamp_min(1e-12) * 10 ** (-snr_db / 20)
    result = mixtures.clone()
    result[where] += noise
    return result


def even_out(sources: Tensor, *, sample_rate: int, generator: torch.Generator) -> Tensor:
    """Even out how loud sources, ``(n_sources, n_samples)``, are in the course of time.

    Those who make prompts, podcasts and broadcasts do so. Levels over 20 to 200 ms lose up to
    four fifths of the decibels by which they differ, of each source by other numbers, where they
    are at most 30 dB below the loudest; the level of a whole source stays as it is. The generator
    is on the CPU.
    """
    evened = []
    for source in sources:
        share = float(_uniform((0.0, _MOST_EVENED), (1,), generator))
        half = round(float(_uniform(_EVENED_S, (1,), generator)) * sample_rate / 2)
        # (n_samples,) -> (1, 1, n_samples) and back, as pooling takes it
        power = functional.avg_pool1d(
            source.double().square()[None, None], 2 * half + 1, 1, half, count_include_pad=False
        )[0, 0]
        least = (float(power.max()) * _LEAST_EVENED**2) or 1.0
        gained = source * power.clamp_min(least).pow(-share / 2).to(source)
        evened.append(gained * (_level(source) / _level(gained).clamp_min(1e-9)))
    return torch.stack(evened)


def draw_some(n_mixtures: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw which mixtures something is done to, each with the probability `share`."""
    return torch.rand(n_mixtures, generator=generator, dtype=torch.float32, device="cpu") < share


def _uniform(
    ends: tuple[float, float], shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    low, high = ends
    return low + (high - low) * torch.rand(
        shape, generator=generator, dtype=torch.float32, device="cpu"
    )


def _smooth(n_curves: int, n_knots: int, n_points: int, generator: torch.Generator) -> Tensor:
    """Draw curves (n_curves, n_points) of straight lines between knots of unit variance."""
    knots = torch.randn(
        n_curves, 1, n_knots, generator=generator, dtype=torch.float32, device="cpu"
    )
    return functional.interpolate(knots, size=n_points, mode="linear")[:, 0]


def _spectrum(waveforms: Tensor) -> Tensor:
    """Give the smoothed magnitudes, (n_waveforms, n_samples // 2 + 1), on the CPU."""
    power = torch.fft.rfft(waveforms.float()).abs().square().cpu()
    of_bands = functional.adaptive_avg_pool1d(power[:, None], _N_SPECTRUM_BANDS)
    return functional.interpolate(of_bands, size=power.shape[1], mode="linear")[:, 0].sqrt()


def _level(waveforms: Tensor) -> Tensor:
    return waveforms.square().mean(-1, keepdim=True).sqrt()
