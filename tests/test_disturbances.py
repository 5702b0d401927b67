"""Bangs and hum: found, turned down, and what is left of the separation beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from skdc import StreamingSeparator, load_pretrained, separate_array
from skdc.datasets import load_sample_clips, load_sample_mixture
from skdc.exceptions import AudioWarning
from skdc.metrics import si_sdr_improvement
from skdc.signal import Framing, LiveGains, bang_gains, hum_gains

FloatArray = NDArray[np.floating]
RATE = 8000
FRAMING = Framing(512, 256)


def naive_bang_gains(magnitude: FloatArray, n_lasting: int) -> FloatArray:
    """What the docstring says, number by number."""
    n_frames, n_bins = magnitude.shape
    n_lasting = min(n_lasting, n_frames // 4)
    if n_lasting < 1:
        return np.ones((n_frames, 1))
    bands = [sorted(magnitude[:, b] ** 2, reverse=True)[n_lasting - 1] for b in range(n_bins)]
    if max(bands) == 0:
        return np.ones((n_frames, 1))
    bands = [max(band, 1e-3 * max(bands)) for band in bands]
    loudness = [
        sum(magnitude[f, b] ** 2 / bands[b] for b in range(n_bins)) / n_bins
        for f in range(n_frames)
    ]
    lasting = sorted(loudness, reverse=True)[n_lasting - 1]
    quiet = sorted(loudness)[max(1, int(0.1 * n_frames)) - 1]
    if lasting <= 10**0.6 * quiet:
        return np.ones((n_frames, 1))
    excess = [10 * np.log10(own / lasting) if own else -np.inf for own in loudness]
    if max(excess) <= 16:
        return np.ones((n_frames, 1))
    return np.array([[10 ** (-db / 20) if db > 8 else 1.0] for db in excess])


@given(
    st.integers(0, 10_000),
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 12),
    st.floats(0, 60),
)
@settings(max_examples=60)
def test_gains_of_bangs_are_those_of_the_definition(
    seed: int, n_frames: int, n_bins: int, n_lasting: int, db: float
) -> None:
    rng = np.random.default_rng(seed)
    magnitude = rng.exponential(size=(n_frames, n_bins)) * rng.uniform(0, 1, (n_frames, 1)) ** 3
    magnitude[rng.integers(n_frames)] *= 10 ** (db / 20)
    found = bang_gains(torch.from_numpy(magnitude), n_lasting)
    np.testing.assert_allclose(found, naive_bang_gains(magnitude, n_lasting), rtol=1e-9)
    # Whatever the level, and beside other recordings.
    both = torch.from_numpy(np.stack([1e-9 * magnitude, 1e9 * magnitude[::-1]]))
    loud, quiet = bang_gains(both, n_lasting).flip(0)
    torch.testing.assert_close(loud.flip(0), found)
    torch.testing.assert_close(quiet, found)


@pytest.mark.parametrize("level", [0.0, 1e-25, 1e-10, 1.0, 1e17])
def test_a_bang_of_any_size_is_turned_down_to_a_finite_number(level: float) -> None:
    frames = torch.full((20, 5), level)
    frames[::3] *= 0.1
    frames[7] = 1e18
    gains = bang_gains(frames, n_lasting=4)
    assert bool(gains.isfinite().all())
    assert bool((gains > 0).all())
    # In silence, nothing is louder than what lasts.
    assert bool((gains == 1).all()) == (level == 0)


def naive_hum_gains(magnitude: FloatArray) -> FloatArray:
    """What the docstring says, number by number."""
    n_frames, n_bins = magnitude.shape
    n_beside = n_bins // 10
    if n_frames < 40 or not n_beside:
        return np.ones((1, n_bins))
    steady = [sorted(magnitude[:, b] ** 2)[int(0.2 * n_frames) - 1] for b in range(n_bins)]
    means = sorted((float(np.mean(magnitude[:, b] ** 2)) for b in range(n_bins)), reverse=True)
    loudest = means[max(1, n_bins // 16) - 1]
    gains, is_loud = np.ones((1, n_bins)), False
    for band, level in enumerate(steady):
        places = [abs(band + i) for i in range(-n_beside, n_beside + 1)]
        places = [min(i, 2 * (n_bins - 1) - i) for i in places]
        beside = sorted(steady[i] for i in places)[n_beside]
        beside = max(beside, 1e-12 * float(magnitude.max()) ** 2)
        if level > 10**1.2 * beside:
            is_loud |= level > 10**0.4 * loudest
            gains[0, band] = np.sqrt(beside / level)
    return gains if is_loud else np.ones((1, n_bins))


@given(
    st.integers(0, 10_000),
    st.integers(38, 60),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 59), st.floats(0, 60)), max_size=4),
)
@settings(max_examples=60)
def test_gains_of_hum_are_those_of_the_definition(
    seed: int, n_frames: int, n_bins: int, tones: list[tuple[int, float]]
) -> None:
    rng = np.random.default_rng(seed)
    magnitude = rng.exponential(size=(n_frames, n_bins)) * rng.integers(0, 2, (n_frames, 1))
    for band, db in tones:
        magnitude[:, band % n_bins] += 10 ** (db / 20)
    found = hum_gains(torch.from_numpy(magnitude))
    np.testing.assert_allclose(found, naive_hum_gains(magnitude), rtol=1e-9)
    both = torch.from_numpy(np.stack([1e-9 * magnitude, 1e9 * magnitude[::-1]]))
    for other in hum_gains(both):
        torch.testing.assert_close(other, found)


@pytest.mark.parametrize("level", [0.0, 1e-30, 1e17])
def test_hum_of_any_size_is_turned_down_to_a_finite_number(level: float) -> None:
    frames = torch.full((50, 64), level)
    frames[:, 7] = 1e18
    gains = hum_gains(frames)
    assert bool(gains.isfinite().all())
    assert bool((gains > 0).all())
    assert float(gains[0, 7]) < 0.2


def test_speech_is_undisturbed() -> None:
    mixture, sources = load_sample_mixture()
    waveforms = [mixture, *sources, *(clip.waveform for clip in load_sample_clips())]
    for waveform in waveforms:
        spectrogram = FRAMING.stft(torch.from_numpy(np.asarray(waveform, dtype=np.float32)))
        assert torch.equal(FRAMING.undisturbed(spectrogram), spectrogram)
        live = LiveGains(FRAMING.n_lasting, 8)
        for stop in range(1, len(spectrogram) + 1):
            assert bool((live.of_last(spectrogram[:stop], 1) == 1).all())


@pytest.mark.parametrize("seconds", [1.5, 3.0, 12.0])
@pytest.mark.parametrize("db", [-30, -50])
def test_speech_that_begins_in_noise_is_no_bang(seconds: float, db: float) -> None:
    mixture, _ = load_sample_mixture()
    noise = np.random.default_rng(0).standard_normal(int(seconds * RATE))
    noise *= mixture.std() * 10 ** (db / 20)
    heard = np.concatenate([noise, mixture, noise]).astype(np.float32)
    spectrogram = FRAMING.stft(torch.from_numpy(heard))
    live = LiveGains(FRAMING.n_lasting, 8)
    n_turned_down = 0
    for stop in range(1, len(spectrogram) + 1):
        gains = live.of_last(spectrogram[max(0, stop - 312) : stop], 1)
        n_turned_down += bool((gains < 1).any())
    # Until half a second of it is as loud as the rest
    assert n_turned_down < 12
    # A word that stands alone in it is none.
    word = np.concatenate([noise, mixture[: RATE // 3], noise]).astype(np.float32)
    spectrogram = FRAMING.stft(torch.from_numpy(word))
    assert torch.equal(FRAMING.undisturbed(spectrogram), spectrogram)


def test_a_stream_forgets_hum_and_bangs_once_they_are_known() -> None:
    mixture, _ = load_sample_mixture()
    heard = np.tile(mixture, 2) + mains(2 * len(mixture)) * mixture.std() * 5
    heard[1000:1160] += 100 * knock("click")
    spectrogram = FRAMING.stft(torch.from_numpy(heard.astype(np.float32)))[:200]
    live = LiveGains(FRAMING.n_lasting, 8)
    of_each = torch.ones_like(spectrogram.real)
    for stop in range(1, 201):
        gains = live.of_last(spectrogram[:stop], 1)
        of_each[stop - len(gains) : stop] = gains
    # Also in frames that came before.
    assert float(of_each[4].max()) < 0.1
    assert float(of_each[:, 3].max()) < 0.1


def knock(kind: str) -> FloatArray:
    if kind == "click":
        noise = np.random.default_rng(0).standard_normal(160)
        return noise * np.exp(-np.arange(160) / 50) / np.abs(noise).max()
    time = np.arange(1200) / RATE
    thump: FloatArray = np.sin(2 * np.pi * 90 * time) * np.exp(-16 * time)
    return thump


def mains(n_samples: int) -> FloatArray:
    """Hum of 50 Hz and two overtones, of unit power."""
    phase = 2 * np.pi * 50 * np.arange(n_samples) / RATE
    waveform: FloatArray = np.sum([np.sin(k * phase) / k for k in (1, 2, 3)], axis=0)
    return waveform / waveform.std()


def above_hum(waveforms: FloatArray) -> FloatArray:
    filtered: FloatArray = sosfiltfilt(
        butter(6, 350, "high", fs=RATE, output="sos"), waveforms.astype(np.float64), axis=-1
    )
    return filtered


def improvement_beside(sources: FloatArray, estimates: FloatArray, start: int, stop: int) -> float:
    """SI-SDR improvement over the mixture in all samples but some."""
    kept = np.r_[0:start, stop : sources.shape[1]]
    sources, estimates = sources[:, kept], estimates[:, kept]
    return float(np.mean(si_sdr_improvement(sources, estimates, sources.sum(0))))


@pytest.mark.parametrize("kind", ["click", "thump"])
@pytest.mark.parametrize("db", [10, 40])
def test_what_is_beside_a_bang_is_separated_as_without_it(kind: str, db: float) -> None:
    mixture, sources = load_sample_mixture()
    separator = load_pretrained("speech-2mix-8k-small", device="cpu")
    bang = knock(kind)
    start = len(mixture) // 2
    with_bang = mixture.astype(np.float64)
    with_bang[start : start + len(bang)] += np.abs(mixture).max() * 10 ** (db / 20) * bang
    estimates = separator.predict(with_bang)
    np.testing.assert_allclose(
        estimates.sum(0), with_bang, atol=1e-5 * float(np.abs(with_bang).max())
    )
    place = start - 800, start + len(bang) + 800
    before = improvement_beside(sources, separator.predict(mixture), *place)
    assert improvement_beside(sources, estimates, *place) > before - 1


def test_a_stream_hears_people_after_a_bang() -> None:
    mixture, sources = load_sample_mixture()
    separator = load_pretrained("speech-2mix-8k-live", device="cpu")
    sources = np.tile(sources, 2)
    mixture = sources.sum(0)
    bang = knock("thump")
    start = len(mixture) // 2
    with_bang = mixture.copy()
    with_bang[start : start + len(bang)] += 30 * np.abs(mixture).max() * bang
    found = []
    for heard in (mixture, with_bang):
        stream = StreamingSeparator(separator)
        estimates = np.concatenate([stream.push(heard), stream.flush()], axis=1)
        # In the second of the bang, the voices are those of its remains.
        found.append(improvement_beside(sources, estimates, 0, start + RATE))
    assert found[1] > found[0] - 1


def test_microphones_hear_people_beside_a_bang() -> None:
    _, sources = load_sample_mixture()
    images = np.stack([sources, 0.5 * np.roll(sources, 3, axis=1)[::-1]])  # (2, sources, samples)
    recording = images.sum(1)
    separator = load_pretrained("speech-2mix-8k-small", device="cpu")
    bang = knock("click")
    start = recording.shape[1] // 2
    with_bang = recording.copy()
    with_bang[:, start : start + len(bang)] += 100 * np.abs(recording).max() * bang
    place = start - 2400, start + len(bang) + 2400
    before, after = (
        improvement_beside(images[0], separate_array(separator, heard), *place)
        for heard in (recording, with_bang)
    )
    assert after > before - 1


@pytest.mark.parametrize("db", [10, 20])
def test_people_are_separated_beside_hum(db: float) -> None:
    mixture, sources = load_sample_mixture()
    separator = load_pretrained("speech-2mix-8k-small", device="cpu")
    hum = mains(len(mixture)) * mixture.std() * 10 ** (db / 20)
    before = improvement_beside(above_hum(sources), above_hum(separator.predict(mixture)), 0, 0)
    with pytest.warns(AudioWarning, match="hum and wind that are louder than speech look the"):
        estimates = separator.predict(mixture + hum)
    # What lies beneath the hum is lost.
    assert improvement_beside(above_hum(sources), above_hum(estimates), 0, 0) > before - 3


def test_a_stream_hears_people_beside_hum() -> None:
    _, sources = load_sample_mixture()
    separator = load_pretrained("speech-2mix-8k-live", device="cpu")
    sources = np.tile(sources, 2)
    mixture = sources.sum(0)
    stream = StreamingSeparator(separator)
    hum = mains(len(mixture)) * mixture.std() * 10
    estimates = np.concatenate([stream.push(mixture + hum), stream.flush()], axis=1)
    # 0 dB where it is what is heard
    assert improvement_beside(above_hum(sources), above_hum(estimates), 0, 3 * RATE) > 3


def test_a_disturbed_stream_is_the_same_in_whatever_pieces_it_comes() -> None:
    mixture, _ = load_sample_mixture()
    separator = load_pretrained("speech-2mix-8k-live", device="cpu")
    heard = mixture + mains(len(mixture)) * mixture.std() * 5
    heard[len(heard) // 2 :][:160] += 100 * knock("click")
    found = []
    for size in (700, 7919, len(heard)):
        stream = StreamingSeparator(separator, block=0, wait=False)
        pieces = [stream.push(heard[i : i + size]) for i in range(0, len(heard), size)]
        found.append(np.concatenate([*pieces, stream.flush()], axis=1))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
