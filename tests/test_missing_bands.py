"""Bands that a recording lacks: found, and what it costs the speech in the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch
from conftest import as_heard, streamed
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt
from torch import Tensor

from skdc import DeepClusteringSeparator, load_pretrained, separate_array
from skdc.datasets import load_sample_clips, load_sample_mixture
from skdc.metrics import si_sdr_improvement
from skdc.separation.hearing import Hearing, Sound
from skdc.separation.pairs import PAIR_SWEEPS
from skdc.signal import Framing, band_lift, log_magnitude

RATE = 8000
FLOOR = math.log(0.01)
MODELS = ["speech-8k", "speech-2mix-8k", "speech-2mix-8k-small", "speech-2mix-8k-live"]


def smooth(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    half = width // 2
    return np.array([values[max(0, k - half) : k + half + 1].mean() for k in range(len(values))])


def naive_lift(
    features: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    n_bins = len(mean)
    wide = n_bins // 16 + (n_bins // 16 + 1) % 2
    narrow = n_bins // 48 + (n_bins // 48 + 1) % 2
    frames = [frame for frame in features if np.mean((np.exp(frame) - 0.01) ** 2) > 1e-3]
    if not frames:
        return np.zeros(n_bins)
    own = np.array([sum(bins) / len(bins) for bins in zip(*frames, strict=True)])
    spread = np.array([np.std(bins) for bins in zip(*frames, strict=True)])
    left, room = smooth(own - FLOOR, wide), smooth(mean - FLOOR, wide)
    speaking = min(1.0, float(np.quantile(left / room, 0.9)))
    spread, scale = smooth(spread, wide), smooth(scale, wide)
    if not any(
        left[k] < 0.6 * speaking * room[k] and spread[k] < 0.4 * scale[k] for k in range(n_bins)
    ):
        return np.zeros(n_bins)
    lift = smooth(FLOOR + speaking * (mean - FLOOR) - own, narrow)
    return np.array([value if value > 0.5 else 0.0 for value in lift])


@given(st.integers(0, 10_000), st.sampled_from([5, 33, 129, 257]), st.floats(0.0, 0.6))
@settings(max_examples=60)
def test_the_lift_is_that_of_the_definition(seed: int, n_bins: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    features = FLOOR + rng.exponential(2.0, (20, n_bins))
    mean = FLOOR + rng.uniform(1.0, 4.0, n_bins)
    scale = rng.uniform(0.5, 2.0, n_bins)
    features[:, : round(missing * n_bins)] = FLOOR + rng.uniform(0, 2)
    features[rng.random(20) < 0.3] = FLOOR
    expected = naive_lift(features, mean, scale)
    found = band_lift(*map(torch.from_numpy, (features, mean, scale)))
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
    both = np.stack([features, features[::-1]])
    found = band_lift(*map(torch.from_numpy, (both, mean, scale)))
    assert found.shape == (2, 1, n_bins)
    np.testing.assert_allclose(found[1, 0], expected, atol=1e-9)


@pytest.mark.parametrize("mean", [FLOOR, 0.0])
@pytest.mark.parametrize("value", [FLOOR, FLOOR - 1e-6, 0.0])
def test_what_is_constant_is_not_lifted(value: float, mean: float) -> None:
    features = torch.full((30, 129), value)
    lift = band_lift(features, torch.full((129,), mean), torch.ones(129))
    assert torch.equal(lift, torch.zeros(1, 129))


def noise_features(n_frames: int, *, silent: slice = slice(0, 0)) -> Tensor:
    """Give the features of white noise without some of its bins."""
    shape = (n_frames, 257)
    magnitudes = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    magnitudes[:, silent] = 0.0
    return log_magnitude(magnitudes)


@pytest.mark.parametrize("silent", [slice(0, 30), slice(200, 257), slice(100, 160)])
def test_missing_bands_have_the_expected_mean(silent: slice) -> None:
    plain = noise_features(400)
    features = noise_features(400, silent=silent)
    lift = band_lift(features, plain.mean(0), plain.std(0))
    index = torch.arange(257)
    away = (index < silent.start - 10) | (index >= silent.stop + 10)
    assert bool((lift[0, away] == 0).all())
    # Away from the edges, and but for the smoothing
    inside = slice(silent.start + 3, silent.stop - 3)
    difference = ((features + lift).mean(0) - plain.mean(0)).abs()
    assert float(difference[inside].max()) < 0.2


def test_pauses_neither_are_missing_bands_nor_hide_them() -> None:
    plain = noise_features(400)
    expected = plain.mean(0), plain.std(0)
    pauses = torch.full((1200, 257), FLOOR)
    assert not bool(band_lift(torch.cat([plain, pauses]), *expected).any())
    features = noise_features(400, silent=slice(0, 30))
    lift = band_lift(features, *expected)
    assert bool(lift.any())
    torch.testing.assert_close(band_lift(torch.cat([features, pauses]), *expected), lift)


@pytest.mark.parametrize("name", MODELS)
def test_speech_with_all_its_bands_is_not_lifted(name: str) -> None:
    hearing = load_pretrained(name, device="cpu").pipeline().hearing
    mixture, _ = load_sample_mixture()
    (sound,) = hearing.sounds([torch.from_numpy(mixture)])
    assert not bool(sound.lift.any())


def by_telephone(waveforms: NDArray[np.floating]) -> NDArray[np.float64]:
    filters = butter(4, [300, 3400], "bandpass", fs=RATE, output="sos")
    return sosfiltfilt(filters, waveforms.astype(np.float64), axis=-1).copy()


def improvement(
    separator: DeepClusteringSeparator, sources: NDArray[np.floating], noise_db: float = 300.0
) -> float:
    mixture = sources.sum(0)
    noise = np.random.default_rng(0).standard_normal(len(mixture))
    heard = mixture + noise * mixture.std() * 10 ** (-noise_db / 20)
    estimates = separator.predict(heard)
    np.testing.assert_allclose(estimates.sum(0), heard, atol=1e-5)
    return float(np.mean(si_sdr_improvement(sources, estimates, heard)))


@pytest.mark.parametrize("noise_db", [300.0, 30.0])
@pytest.mark.parametrize(
    # About 2 dB less than what all bands give.
    ("name", "least"),
    [("speech-8k", 9.0), ("speech-2mix-8k", 9.0), ("speech-2mix-8k-small", 8.4)],
)
def test_a_telephone_costs_little(name: str, least: float, noise_db: float) -> None:
    separator = load_pretrained(name, device="cpu")
    _, sources = load_sample_mixture()
    assert improvement(separator, by_telephone(sources), noise_db) > least


def test_three_talkers_by_telephone() -> None:
    separator = load_pretrained("speech-8k", device="cpu").set_params(n_sources=3)
    clips = [clip.waveform for clip in load_sample_clips()]
    for chosen in ((0, 4, 8), (1, 5, 9)):
        n_samples = min(len(clips[index]) for index in chosen)
        parts = [clips[index][:n_samples] / clips[index].std() for index in chosen]
        sources = np.stack(parts)
        before = improvement(separator, sources)
        assert improvement(separator, by_telephone(sources)) > before - 3.0


@pytest.mark.parametrize("name", ["speech-8k", "speech-2mix-8k-live"])
def test_a_telephone_in_a_stream(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, sources = load_sample_mixture()
    narrow = by_telephone(np.tile(sources, 2))
    mixture = narrow.sum(0)

    def gain() -> float:
        found = streamed(load_pretrained(name, device="cpu"), mixture, 30)
        np.testing.assert_allclose(found.sum(0), mixture, atol=1e-5)
        return float(np.mean(si_sdr_improvement(narrow, found, mixture)))

    now = gain()
    monkeypatch.setattr(Hearing, "balance", as_heard)
    assert now > gain() + 0.5


def test_a_telephone_at_two_microphones(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = load_pretrained("speech-8k", device="cpu")
    _, sources = load_sample_mixture()
    narrow = by_telephone(sources)
    channels = np.stack([narrow.sum(0), narrow[0] + 0.8 * np.roll(narrow[1], 2)])

    def heard() -> float:
        found = separate_array(separator, channels)
        return float(np.mean(si_sdr_improvement(narrow, found, channels[0])))

    now = heard()
    monkeypatch.setattr(Hearing, "balance", as_heard)
    # The directions tell them apart, too.
    assert now > heard() - 0.5


def test_others_of_a_batch_are_not_lifted() -> None:
    separator = load_pretrained("speech-8k", device="cpu")
    mixture, _ = load_sample_mixture()
    narrow = by_telephone(mixture)
    recordings: list[NDArray[np.floating]] = [mixture, narrow, mixture]
    for own, recording in zip(separator.predict(recordings), recordings, strict=True):
        np.testing.assert_allclose(own, separator.predict(recording), atol=1e-5)


def test_pairs_are_lifted_as_their_mixture_is(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = load_pretrained("speech-8k", device="cpu").set_params(n_sources=3)
    clips = [clip.waveform for clip in load_sample_clips()]
    n_samples = min(map(len, clips))
    narrow = by_telephone(np.sum([clip[:n_samples] for clip in clips[:12:4]], axis=0))
    lifts: list[Tensor] = []
    plain = Hearing.states

    def watched(self: Hearing, sounds: Iterable[Sound]) -> Iterator[tuple[Sound, Tensor]]:
        for sound, states in plain(self, sounds):
            lifts.append(sound.lift)
            yield sound, states

    monkeypatch.setattr(Hearing, "states", watched)
    separator.predict(narrow)
    assert len(lifts) == 1 + 3 * PAIR_SWEEPS
    assert all(torch.equal(lift, lifts[0]) for lift in lifts)
    assert bool(lifts[0].any())


def test_a_network_of_telephones_expects_no_more() -> None:
    # What was silent in training, too, is not missing.
    mixture, _ = load_sample_mixture()
    framing = Framing(win_length=512, hop_length=256)
    features = framing.features(framing.stft(torch.from_numpy(by_telephone(mixture))))
    assert not bool(band_lift(features, features.mean(0), features.std(0)).any())


def test_single_talkers_stay_single() -> None:
    # Many lack some of what two have together.
    separator = load_pretrained("speech-8k", device="cpu")
    for clip in load_sample_clips():
        for waveform in (clip.waveform, by_telephone(clip.waveform)):
            assert len(separator.predict(waveform, n_sources="auto")) == 1


@pytest.mark.parametrize("around", [0, 9 * RATE])
def test_silence_around_a_telephone_costs_little(around: int) -> None:
    separator = load_pretrained("speech-8k", device="cpu")
    _, sources = load_sample_mixture()
    narrow = by_telephone(sources)
    before = improvement(separator, narrow)
    silence = np.zeros((2, around or narrow.shape[1] // 2))
    assert improvement(separator, np.concatenate([narrow, silence], axis=1)) > before - 1.5


def test_pairs_of_arrays_are_lifted_as_their_microphones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Three whole voices, of which two may lack what the third has.
    separator = load_pretrained("speech-8k", device="cpu")
    clips = [clip.waveform for clip in load_sample_clips()]
    n_samples = min(map(len, clips))
    sources = np.stack([clip[:n_samples] / clip.std() for clip in clips[:12:4]])
    channels = np.stack([sources.sum(0), np.roll(sources, 3, axis=1).sum(0) + 0.1 * sources[0]])
    n_lifts = []
    plain = Hearing.sound

    def counted(self: Hearing, spectrogram: Tensor) -> Sound:
        n_lifts.append(1)
        return plain(self, spectrogram)

    monkeypatch.setattr(Hearing, "sound", counted)
    separate_array(separator, channels, n_sources=3)
    assert len(n_lifts) == 2
