"""Long silence in a recording: found, and what it costs the speech beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skdc import load_pretrained
from skdc.datasets import load_sample_clips, load_sample_mixture
from skdc.metrics import si_sdr_improvement
from skdc.signal import spoken_frames

RATE = 8000


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 9))
@settings(max_examples=60)
def test_spoken_frames_are_those_of_the_definition(
    seed: int, n_frames: int, n_around: int
) -> None:
    rng = np.random.default_rng(seed)
    magnitude = rng.exponential(size=(n_frames, 3)) * 10.0 ** rng.integers(-3, 1, (n_frames, 1))
    power = [sum(value**2 for value in frame) for frame in magnitude]
    lasting = sorted(power, reverse=True)[min(n_around, n_frames) - 1]
    expected = [
        max(power[max(0, k - n_around) : k + n_around + 1]) >= 1e-3 * lasting
        for k in range(n_frames)
    ]
    for scale in (1.0, 1e-30, 1e30):
        found = spoken_frames(torch.from_numpy(scale * magnitude), n_around)
        assert found.tolist() == expected


def test_all_of_a_silent_recording_may_be_speech() -> None:
    assert bool(spoken_frames(torch.zeros(50, 3), 4).all())


def test_one_person_is_one_beside_long_silence() -> None:
    separator = load_pretrained("speech-8k", device="cpu")
    silence = np.zeros(8 * RATE)
    for clip in load_sample_clips()[:3]:
        heard = np.concatenate([silence, clip.waveform, silence])
        assert len(separator.predict(heard, n_sources="auto")) == 1


def test_hiss_in_long_silence_is_noise() -> None:
    separator = load_pretrained("speech-8k", device="cpu")
    mixture, _ = load_sample_mixture()
    silence = np.zeros(9 * RATE)
    heard = np.concatenate([silence, mixture, silence])
    heard += np.random.default_rng(0).standard_normal(len(heard)) * 0.02 * mixture.std()
    found = separator.predict(heard, noise=True)[:, RATE : 7 * RATE]
    assert np.square(found[-1]).sum() > 3 * np.square(found[:-1]).sum()


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("place", ["around", "between"])
def test_long_silence_costs_little(place: str, noise: float) -> None:
    # A network of bands had lost half of its decibels beside it.
    separator = load_pretrained("speech-8k", device="cpu")
    mixture, sources = load_sample_mixture()
    before = np.mean(si_sdr_improvement(sources, separator.predict(mixture), mixture))
    silence = np.zeros((2, 9 * RATE))
    if place == "around":
        sources = np.concatenate([silence, sources, silence], axis=1)
    else:
        first, second = np.array_split(sources, 2, axis=1)
        sources = np.concatenate([first, silence, silence, second], axis=1)
    mixture = sources.sum(0)
    hiss = np.random.default_rng(0).standard_normal(len(mixture)) * noise * mixture.std()
    estimates = separator.predict(mixture + hiss)
    np.testing.assert_allclose(estimates.sum(0), mixture + hiss, atol=1e-5)
    assert np.mean(si_sdr_improvement(sources, estimates, mixture)) > before - 1


def test_a_recording_without_long_silence_is_heard_as_a_whole() -> None:
    separator = load_pretrained("speech-8k", device="cpu")
    mixture, _ = load_sample_mixture()
    pipeline = separator.pipeline()
    spectrogram = pipeline.framing.stft(torch.from_numpy(mixture))
    for pause in (0, 2 * RATE):
        with_pause = np.concatenate([mixture, np.zeros(pause), mixture])
        spectrogram = pipeline.framing.stft(torch.from_numpy(with_pause))
        assert pipeline.hearing.spoken(spectrogram) is None
    long = np.concatenate([mixture, np.zeros(5 * RATE), mixture])
    spoken = pipeline.hearing.spoken(pipeline.framing.stft(torch.from_numpy(long)))
    assert spoken is not None
    # Half a second is left at both ends of the silence.
    assert abs(int((~spoken).sum()) - 4 * RATE / 256) < 20
