"""Transforms, features and masks: perfect reconstruction, naive oracles, scale, shape."""

import itertools
import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skdc import signal


def noise(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=dtype) * 2 - 1


def complex_noise(*shape, dtype=torch.complex64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@st.composite
def framings(draw):
    win_length = 2 * draw(st.integers(1, 40))
    return {
        "win_length": win_length,
        "hop_length": draw(st.integers(1, win_length // 2)),
    }


def snr_db(reference, estimate):
    return 10 * torch.log10(reference.square().sum() / (reference - estimate).square().sum())


@given(framing=framings(), n_samples=st.integers(1, 400), seed=st.integers(0, 99))
@settings(max_examples=150)
def test_any_waveform_comes_back_from_its_spectrogram(framing, n_samples, seed):
    waveform = noise(n_samples, dtype=torch.float64, seed=seed)
    back = signal.istft(signal.stft(waveform, **framing), n_samples, **framing)
    torch.testing.assert_close(back, waveform, rtol=0, atol=1e-12)
    single = waveform.float()
    back = signal.istft(signal.stft(single, **framing), n_samples, **framing)
    torch.testing.assert_close(back, single, rtol=0, atol=1e-5)


@given(framing=framings(), n_samples=st.integers(1, 400), n_sources=st.integers(1, 4))
@settings(max_examples=100)
def test_binary_masked_estimates_sum_to_the_mixture(framing, n_samples, n_sources):
    mixture = noise(n_samples)
    spectrogram = signal.stft(mixture, **framing)
    labels = torch.randint(
        n_sources, spectrogram.shape, generator=torch.Generator().manual_seed(n_samples)
    )
    masked = signal.apply_masks(signal.binary_masks(labels, n_sources), spectrogram)
    estimates = signal.istft(masked, n_samples, **framing)
    assert estimates.shape == (n_sources, n_samples)
    torch.testing.assert_close(estimates.sum(0), mixture, rtol=0, atol=1e-5)


@given(framing=framings(), n_samples=st.integers(1, 60))
@settings(max_examples=40)
def test_stft_is_a_windowed_discrete_fourier_transform_of_each_frame(framing, n_samples):
    win_length, hop_length = framing["win_length"], framing["hop_length"]
    waveform = noise(n_samples, dtype=torch.float64).numpy()
    got = signal.stft(torch.from_numpy(waveform), **framing).numpy()
    assert got.shape == (math.ceil(n_samples / hop_length) + 1, win_length // 2 + 1)
    time = np.arange(win_length)
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * time / win_length))
    for frame, frequency in itertools.product(*map(range, got.shape)):
        value = 0
        for n in range(win_length):
            position = frame * hop_length + n - win_length // 2
            if 0 <= position < n_samples:
                turn = np.exp(-2j * np.pi * frequency * n / win_length)
                value += waveform[position] * window[n] * turn
        assert abs(got[frame, frequency] - value) < 1e-11


def test_stft_agrees_with_scipy():
    win_length, hop_length = 256, 64
    waveform = noise(64 * 100, dtype=torch.float64)
    window = np.sqrt(scipy.signal.windows.hann(win_length, sym=False))
    _, _, expected = scipy.signal.stft(
        waveform.numpy(),
        window=window,
        nperseg=win_length,
        noverlap=win_length - hop_length,
        boundary="zeros",
        padded=False,
        scaling="spectrum",
    )
    got = signal.stft(waveform, win_length=win_length, hop_length=hop_length).numpy()
    np.testing.assert_allclose(got, expected.T * window.sum(), rtol=0, atol=1e-11)


@given(n_samples=st.integers(1, 500), framing=framings())
@settings(max_examples=50)
def test_frame_count_is_the_number_of_frames(n_samples, framing):
    spectrogram = signal.stft(torch.zeros(n_samples), **framing)
    assert signal.frame_count(n_samples, framing["hop_length"]) == spectrogram.shape[0]


def test_defaults_are_32_and_8_milliseconds_at_8_khz():
    waveform = noise(1000)
    explicit = signal.stft(waveform, win_length=256, hop_length=64)
    assert torch.equal(signal.stft(waveform), explicit)
    assert signal.frame_count(1000) == explicit.shape[0]


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (1, 2, 2)])
def test_leading_axes_are_independent_items(leading):
    waveforms = noise(*leading, 2, 300, dtype=torch.float64)
    framing = {"win_length": 32, "hop_length": 8}
    sources = signal.stft(waveforms, **framing)
    mixture = sources.sum(-3)
    labels = signal.dominant_source(sources)
    masks = signal.binary_masks(labels, 2)
    oracle = signal.phase_sensitive_masks(sources, mixture)
    masked = signal.apply_masks(masks, mixture)
    assert signal.istft(masked, 300, **framing).shape == waveforms.shape
    for index in itertools.product(*map(range, leading)):
        one = signal.stft(waveforms[index], **framing)
        torch.testing.assert_close(sources[index], one)
        torch.testing.assert_close(
            signal.istft(sources, 300, **framing)[index], signal.istft(one, 300, **framing)
        )
        torch.testing.assert_close(
            signal.log_magnitude(mixture)[index], signal.log_magnitude(one.sum(-3))
        )
        assert torch.equal(signal.activity(mixture)[index], signal.activity(one.sum(-3)))
        assert torch.equal(labels[index], signal.dominant_source(one))
        assert torch.equal(masks[index], signal.binary_masks(labels[index], 2))
        torch.testing.assert_close(
            oracle[index], signal.phase_sensitive_masks(one, mixture[index])
        )
        torch.testing.assert_close(masked[index], signal.apply_masks(masks[index], mixture[index]))


def test_log_magnitude_is_the_documented_formula():
    spectrogram = complex_noise(20, 17, dtype=torch.complex128)
    magnitude = spectrogram.abs()
    expected = torch.log(magnitude / magnitude.square().mean().sqrt() + 0.01)
    torch.testing.assert_close(signal.log_magnitude(spectrogram), expected)


# Squares of the outermost levels do not fit into float32.
@pytest.mark.parametrize("gain", [1e-35, 1e-25, 1e-18, 1e-3, 100.0, 1e18, 1e25, 1e35])
def test_features_and_labels_do_not_change_with_level(gain):
    sources = signal.stft(noise(2, 4000))
    mixture = sources.sum(0)
    expected = signal.log_magnitude(mixture)
    torch.testing.assert_close(signal.log_magnitude(mixture * gain), expected, rtol=0, atol=1e-4)
    assert torch.equal(signal.activity(mixture * gain), signal.activity(mixture))
    agreement = signal.dominant_source(sources * gain) == signal.dominant_source(sources)
    assert agreement.float().mean() > 0.9999
    torch.testing.assert_close(
        signal.phase_sensitive_masks(sources * gain, mixture * gain),
        signal.phase_sensitive_masks(sources, mixture),
        rtol=0,
        atol=1e-4,
    )


def test_silence_has_constant_features_and_no_activity():
    silence = torch.zeros(2, 30, 9, dtype=torch.complex64)
    features = signal.log_magnitude(silence)
    torch.testing.assert_close(features, torch.full((2, 30, 9), math.log(0.01)))
    assert not signal.activity(silence).any()
    assert not signal.phase_sensitive_masks(silence, silence.sum(0)).any()


def test_a_silent_item_does_not_touch_its_neighbours():
    batch = torch.stack([torch.zeros(30, 9, dtype=torch.complex64), complex_noise(30, 9)])
    torch.testing.assert_close(signal.log_magnitude(batch)[1], signal.log_magnitude(batch[1]))
    assert torch.equal(signal.activity(batch)[1], signal.activity(batch[1]))


@pytest.mark.parametrize("threshold_db", [0.0, 6.0, 40.0, 80.0])
def test_activity_against_a_loop(threshold_db):
    generator = torch.Generator().manual_seed(0)
    magnitude = 10 ** (-5 * torch.rand(2, 12, 7, generator=generator, dtype=torch.float64))
    magnitude[0, 0, 0] = 0.0
    got = signal.activity(magnitude, threshold_db=threshold_db)
    for item, values in enumerate(magnitude):
        peak = max(values.flatten().tolist())
        for frame, frequency in itertools.product(range(12), range(7)):
            value = float(values[frame, frequency])
            loud = value > 0 and 20 * math.log10(value / peak) > -threshold_db
            assert bool(got[item, frame, frequency]) == loud


def test_activity_of_complex_and_of_magnitudes_agree():
    spectrogram = complex_noise(12, 7) ** 3
    expected = signal.activity(spectrogram.abs(), threshold_db=10)
    assert torch.equal(signal.activity(spectrogram, threshold_db=10), expected)
    assert 0 < expected.float().mean() < 1


@pytest.mark.parametrize("n_sources", [1, 2, 3, 5])
@pytest.mark.parametrize("is_complex", [True, False])
def test_dominant_source_against_a_loop(n_sources, is_complex):
    # Small integers tie often.
    generator = torch.Generator().manual_seed(n_sources)
    parts = torch.randint(-2, 3, (2, 2, n_sources, 8, 6), generator=generator).double()
    sources = torch.complex(*parts) if is_complex else parts[0].abs()
    got = signal.dominant_source(sources)
    assert got.dtype == torch.int64
    for item, frame, frequency in itertools.product(range(2), range(8), range(6)):
        magnitudes = sources[item, :, frame, frequency].abs().tolist()
        assert int(got[item, frame, frequency]) == magnitudes.index(max(magnitudes))


def test_binary_masks_are_one_where_the_label_names_the_source():
    labels = torch.tensor([[0, 2, -1], [1, 1, -5]])
    masks = signal.binary_masks(labels, 3)
    assert masks.dtype == torch.float32
    for source, frame, frequency in itertools.product(range(3), range(2), range(3)):
        assert float(masks[source, frame, frequency]) == (labels[frame, frequency] == source)


def speechlike(seed):
    """Noise with formant-like slow changes, so that sources overlap here and not there."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.exponential(size=40) ** 2, 200)
    sos = scipy.signal.butter(2, rng.uniform(0.05, 0.5), output="sos")
    return torch.from_numpy(scipy.signal.sosfilt(sos, rng.standard_normal(8000)) * envelope)


@pytest.mark.parametrize("seed", range(5))
def test_phase_sensitive_masks_beat_binary_ones(seed):
    waveforms = torch.stack([speechlike(10 * seed), speechlike(10 * seed + 1)])
    sources = signal.stft(waveforms)
    mixture = sources.sum(0)
    binary = signal.binary_masks(signal.dominant_source(sources), 2)
    oracle = signal.phase_sensitive_masks(sources, mixture)
    assert oracle.min() >= 0
    assert oracle.max() <= 1
    estimates = [
        signal.istft(signal.apply_masks(masks, mixture), 8000) for masks in (binary, oracle)
    ]
    for reference, by_binary, by_oracle in zip(waveforms, *estimates, strict=True):
        assert snr_db(reference, by_oracle) > snr_db(reference, by_binary)


def test_phase_sensitive_masks_are_the_best_real_masks_of_each_bin():
    sources = complex_noise(2, 6, 5, dtype=torch.complex128)
    mixture = sources.sum(0)
    masks = signal.phase_sensitive_masks(sources, mixture)
    error = (masks * mixture - sources).abs()
    for value in torch.linspace(0, 1, 51, dtype=torch.float64):
        assert bool((error <= (value * mixture - sources).abs() + 1e-12).all())


def test_precision_of_the_input_is_kept():
    assert signal.stft(noise(100)).dtype == torch.complex64
    assert signal.stft(noise(100, dtype=torch.float64)).dtype == torch.complex128
    assert signal.log_magnitude(signal.stft(noise(100))).dtype == torch.float32
    sources = signal.stft(noise(2, 100))
    assert signal.phase_sensitive_masks(sources, sources.sum(0)).dtype == torch.float32
    masks = signal.binary_masks(signal.dominant_source(sources), 2)
    assert signal.apply_masks(masks, sources.sum(0)).dtype == torch.complex64


def test_inputs_are_left_as_they_were():
    waveforms = noise(2, 500)
    before = waveforms.clone()
    sources = signal.stft(waveforms)
    spectrograms = sources.clone()
    signal.dominant_source(sources)
    signal.log_magnitude(sources)
    signal.phase_sensitive_masks(sources, sources.sum(0))
    signal.istft(sources, 500)
    assert torch.equal(waveforms, before)
    assert torch.equal(sources, spectrograms)
