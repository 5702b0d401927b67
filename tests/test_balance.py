"""What tilts a recording, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import as_heard, make_separator, streamed
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from skdc import DeepClusteringSeparator, load_pretrained, separate_array
from skdc.datasets import load_sample_clips, load_sample_mixture
from skdc.metrics import si_sdr_improvement
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.network.voice import VoiceHead
from skdc.separation.hearing import Hearing
from skdc.signal import band_lift, find_balance, log_magnitude

RATE = 8000
MODELS = ("speech-8k", "speech-2mix-8k", "speech-2mix-8k-small", "speech-2mix-8k-live")


def tilted(waveforms: NDArray[np.floating], db: float) -> NDArray[np.float64]:
    """Give each octave so many decibels more than the one below it, from 40 Hz on."""
    n_samples = waveforms.shape[-1]
    octaves = np.log2(np.maximum(np.fft.rfftfreq(n_samples, 1 / RATE), 40) / 1000)
    return np.fft.irfft(10 ** (db / 20 * octaves) * np.fft.rfft(waveforms), n_samples)


def tilt_of(gains: Tensor) -> float:
    """Decibels an octave, by the gains of two bins."""
    n_bins = gains.shape[-1]
    low, high = n_bins // 8, n_bins // 2
    octaves = np.log2(high / low)
    return float(20 * torch.log10(gains[0, high] / gains[0, low]) / octaves)


def naive_reading(
    spectrogram: NDArray[Any], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> tuple[float, float]:
    """Tilt of a recording before anything is evened, dB an octave, and how wide it is, octaves."""
    magnitude = np.abs(spectrogram)
    power = np.square(magnitude / np.sqrt(np.square(magnitude).mean())).mean(1)
    features = np.log(magnitude / np.sqrt(np.square(magnitude).mean()) + 0.01)
    lift = band_lift(*map(torch.from_numpy, (features, mean, scale)))[0].numpy()
    n_bins = len(mean)
    x, y, w = [], [], []
    for i in range(n_bins):
        place = i / (n_bins - 1)
        if 0.025 <= place <= 0.925 and lift[i] == 0:
            x.append(np.log2(place))
            y.append(features[power > 1e-3, i].mean() - mean[i])
            w.append(1 / place)
    width = np.sqrt(np.cov(x, aweights=w, ddof=0))
    # polyfit squares its weights
    return float(np.polyfit(x, y, 1, w=np.sqrt(w))[0] * 20 / np.log(10)), float(width)


@given(st.integers(0, 2**32 - 1), st.sampled_from([65, 129, 257]), st.floats(-10, 10))
def test_it_is_told_as_defined(seed: int, n_bins: int, db: float) -> None:
    rng = np.random.default_rng(seed)
    expected = rng.standard_normal((200, n_bins)) + 1j * rng.standard_normal((200, n_bins))
    expected *= 10 ** rng.uniform(-1, 0, (200, n_bins))
    features = log_magnitude(torch.from_numpy(expected)).numpy()
    mean, scale = features.mean(0), features.std(0)
    octaves = np.log2(np.maximum(np.arange(n_bins), n_bins / 40) / n_bins)
    spectrogram = expected * 10 ** (db / 20 * octaves)
    gains, lift = find_balance(*map(torch.from_numpy, (spectrogram, mean, scale)))
    reading, width = naive_reading(spectrogram, mean, scale)
    if abs(reading - 0.2) < 3.49 or width < 0.49:
        assert bool((gains == 1).all())
    elif abs(reading - 0.2) > 3.51 and width > 0.6:
        assert tilt_of(gains) == pytest.approx(0.2 - db, abs=1.0)
    balanced = log_magnitude(gains * torch.from_numpy(spectrogram))
    own = band_lift(balanced, *map(torch.from_numpy, (mean, scale)))
    assert torch.equal(lift, own)
    louder = torch.from_numpy(spectrogram * 1e6)
    torch.testing.assert_close(
        find_balance(louder, *map(torch.from_numpy, (mean, scale)))[0], gains
    )


@pytest.mark.parametrize("n_bins", [1, 2, 5, 9])
def test_few_bins_and_silence_have_no_tilt(n_bins: int) -> None:
    mean, scale = torch.zeros(n_bins), torch.ones(n_bins)
    for spectrogram in (torch.zeros(7, n_bins), torch.rand(7, n_bins)):
        gains, lift = find_balance(spectrogram.to(torch.complex64), mean, scale)
        assert gains.shape == lift.shape == (1, n_bins)
        assert bool(gains.isfinite().all())
    assert bool((find_balance(torch.zeros(7, n_bins), mean, scale).gains == 1).all())


@pytest.mark.parametrize("name", MODELS)
def test_speech_as_it_is_stays(name: str) -> None:
    hearing = load_pretrained(name, device="cpu").pipeline().hearing
    mixture, _ = load_sample_mixture()
    for waveform in (mixture, *(clip.waveform for clip in load_sample_clips())):
        spectrogram = hearing.framing.stft(torch.from_numpy(waveform))
        assert bool((hearing.balance(spectrogram).gains == 1).all())


@pytest.mark.parametrize("db", [-9.0, -6.0, 6.0, 9.0])
@pytest.mark.parametrize("n_silent", [0, 8 * RATE])
def test_a_tilt_is_evened(db: float, n_silent: int) -> None:
    hearing = load_pretrained("speech-8k", device="cpu").pipeline().hearing
    mixture, _ = load_sample_mixture()
    heard = tilted(np.pad(mixture, (0, n_silent)), db).astype(np.float32)
    spectrogram = hearing.framing.stft(torch.from_numpy(heard))
    gains, _ = hearing.balance(spectrogram)
    loudness = [float(x.abs().square().mean()) for x in (spectrogram, gains * spectrogram)]
    assert loudness[0] == pytest.approx(loudness[1], rel=1e-3)
    # As the ordinary tilt of this mixture is evened, too.
    assert tilt_of(gains) == pytest.approx(-db, abs=2.5)


def improvement(separator: DeepClusteringSeparator, sources: NDArray[np.floating]) -> float:
    mixture = sources.sum(0)
    estimates = separator.predict(mixture)
    np.testing.assert_allclose(estimates.sum(0), mixture, atol=1e-5)
    return float(np.mean(si_sdr_improvement(sources, estimates, mixture)))


@pytest.mark.parametrize("name", ["speech-8k", "speech-2mix-8k-small"])
def test_a_thin_recording_costs_less(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    separator = load_pretrained(name, device="cpu")
    clips = [clip.waveform for clip in load_sample_clips()]
    pairs = [(0, 4), (1, 8), (2, 6)]
    thin = []
    for pair in pairs:
        n_samples = min(len(clips[index]) for index in pair)
        parts = [clips[index][:n_samples] / clips[index].std() for index in pair]
        thin.append(tilted(np.stack(parts), 6.0))
    now = [improvement(separator, sources) for sources in thin]
    monkeypatch.setattr(Hearing, "balance", as_heard)
    before = [improvement(separator, sources) for sources in thin]
    assert np.mean(now) > np.mean(before) + 0.5


def test_a_thin_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    _, sources = load_sample_mixture()
    thin = tilted(np.tile(sources, 2), 6.0)
    mixture = thin.sum(0)

    separator = load_pretrained("speech-2mix-8k-live", device="cpu")
    found = streamed(separator, mixture, 30)
    np.testing.assert_allclose(found.sum(0), mixture, atol=1e-5)
    np.testing.assert_array_equal(found, streamed(separator, mixture, 7))
    now = np.mean(si_sdr_improvement(thin, found, mixture))
    monkeypatch.setattr(Hearing, "balance", as_heard)
    before = streamed(separator, mixture, 30)
    assert now > np.mean(si_sdr_improvement(thin, before, mixture)) + 0.5


@pytest.mark.parametrize("db", [-6.0, 6.0])
def test_a_stream_that_becomes_tilted(db: float) -> None:
    _, sources = load_sample_mixture()
    half = sources / sources.std()
    other = tilted(sources, db)
    whole = np.concatenate([half, half, other / other.std(), other / other.std()], axis=1)
    separator = load_pretrained("speech-2mix-8k-live", device="cpu")

    def gain(heard: NDArray[np.floating], start: int) -> float:
        found = streamed(separator, heard.sum(0), 1)
        part = slice(start, None)
        parts = (x[..., part] for x in (heard, found, heard.sum(0)))
        return float(np.mean(si_sdr_improvement(*parts)))

    n_samples = sources.shape[1]
    # As well as one that was so from the beginning, but for a while
    alone = gain(np.tile(other, 2), n_samples)
    assert gain(whole, 3 * n_samples) > alone - 3.0


def test_a_bang_in_a_thin_stream() -> None:
    # The level so far is found again from what is balanced.
    _, sources = load_sample_mixture()
    thin = tilted(np.tile(sources, 2), 6.0)
    n_samples = thin.shape[1]
    separator = load_pretrained("speech-2mix-8k-live", device="cpu")
    bang = np.zeros(n_samples)
    middle = n_samples // 2
    bang[middle : middle + 400] = np.random.default_rng(0).uniform(-1, 1, 400)
    gains = []
    for loud in (0.0, 3.0 * np.abs(thin.sum(0)).max()):
        heard = thin.sum(0) + loud * bang
        found = streamed(separator, heard, 1)
        part = slice(middle + RATE, None)
        gains.append(np.mean(si_sdr_improvement(thin[:, part], found[:, part], heard[part])))
    assert gains[1] > gains[0] - 2.0


def test_thin_microphones(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = load_pretrained("speech-2mix-8k-small", device="cpu")
    _, sources = load_sample_mixture()
    thin = tilted(sources, 6.0)
    # One of them is thin, the other one is not.
    channels = np.stack([thin.sum(0), sources[0] + 0.8 * np.roll(sources[1], 2)])

    def heard() -> float:
        found = separate_array(separator, channels)
        return float(np.mean(si_sdr_improvement(thin, found, channels[0])))

    now = heard()
    monkeypatch.setattr(Hearing, "balance", as_heard)
    # The directions tell them apart, too.
    assert now > heard() - 0.5


def test_only_networks_for_voices_even_a_tilt(tmp_path: Path) -> None:
    # How instruments differ is what tells them apart.
    sources = 0.1 * np.random.default_rng(0).standard_normal((4, 2, 4000))
    separator = make_separator().fit(sources.sum(axis=1), sources)
    thin = torch.from_numpy(tilted(sources[0].sum(0), 9.0).astype(np.float32))
    hearing = separator.pipeline().hearing
    spectrogram = hearing.framing.stft(thin)
    assert bool((hearing.balance(spectrogram).gains == 1).all())
    separator.network_.set_heads(voice=VoiceHead(hearing.framing.n_bins, 8))
    assert not bool((hearing.balance(spectrogram).gains == 1).all())
    assert separator.network_.for_masks().is_for_voices
    separator.save(tmp_path / "model.safetensors")
    loaded = DeepClusteringSeparator.load(tmp_path / "model.safetensors")
    assert loaded.network_.is_for_voices
    assert not EmbeddingNetwork(NetworkConfig()).is_for_voices


def test_a_thin_recording_among_others() -> None:
    separator = load_pretrained("speech-8k", device="cpu")
    mixture, _ = load_sample_mixture()
    thin = tilted(mixture, 6.0).astype(np.float32)
    for own, recording in zip(separator.predict([mixture, thin]), (mixture, thin), strict=True):
        np.testing.assert_allclose(own, separator.predict(recording), atol=1e-5)
