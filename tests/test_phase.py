"""Phases that fit together: what resynthesis does to masked spectrograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator, make_sources
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

import skdc
from skdc import DeepClusteringSeparator
from skdc.audio import read_audio, write_audio
from skdc.signal import Framing, apply_masks, resynthesise

FRAMING = Framing(64, 16)


def make_masks(n_sources: int, spectrogram: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (n_sources, *spectrogram.shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(3).softmax(0)


def fitted(**parameters: Any) -> DeepClusteringSeparator:
    y = np.stack([make_sources(3000, seed=seed) for seed in range(2)])
    return make_separator(**parameters).fit(y.sum(axis=1), y)


def make_mixture(n_samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_samples, generator=generator, dtype=torch.float64)


@given(st.integers(1, 400), st.integers(1, 3), st.integers(0, 4), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_each_bin_goes_to_the_weighted_mean(
    n_samples: int, n_sources: int, n_iterations: int, seed: int
) -> None:
    mixture = make_mixture(n_samples, seed)
    spectrogram = FRAMING.stft(mixture)
    masks = make_masks(n_sources, spectrogram, seed)
    found = resynthesise(masks, spectrogram, n_samples, FRAMING, n_iterations)
    for mask, waveform in zip(masks, found, strict=True):
        expected = FRAMING.istft(mask * spectrogram, n_samples)
        for _ in range(n_iterations):
            agreed = FRAMING.stft(expected)
            bins = torch.zeros_like(spectrogram)
            for place in np.ndindex(*spectrogram.shape):
                m = float(mask[place])
                weight = 16 * m * (1 - m)
                bins[place] = (m * spectrogram[place] + weight * agreed[place]) / (1 + weight)
            expected = FRAMING.istft(bins, n_samples)
        assert_allclose(waveform, expected, rtol=1e-9, atol=1e-12)


def test_no_iterations_is_masking_to_the_bit() -> None:
    mixture = make_mixture(500).float()
    spectrogram = FRAMING.stft(mixture)
    masks = make_masks(3, spectrogram).float()
    expected = FRAMING.istft(apply_masks(masks, spectrogram), 500)
    assert_array_equal(resynthesise(masks, spectrogram, 500, FRAMING), expected)


def test_sure_masks_stay() -> None:
    mixture = make_mixture(500)
    spectrogram = FRAMING.stft(mixture)
    masks = (make_masks(2, spectrogram) > 0.5).double()
    expected = FRAMING.istft(masks * spectrogram, 500)
    assert_allclose(resynthesise(masks, spectrogram, 500, FRAMING, 5), expected, atol=1e-12)


def test_each_iteration_lowers_what_the_filter_minimises() -> None:
    spectrogram = FRAMING.stft(make_mixture(2000))
    mask = make_masks(2, spectrogram)[0]
    weight = 16 * mask * (1 - mask)
    twice = torch.full((FRAMING.n_bins,), 2.0, dtype=torch.float64)  # bins stand for negative
    twice[[0, -1]] = 1.0  # frequencies too

    def cost(n_iterations: int) -> float:
        agreed = FRAMING.stft(resynthesise(mask, spectrogram, 2000, FRAMING, n_iterations))
        # At the best S, (m X + w T) / (1 + w), both terms together are 16 |T - m X|^2 / (1 + w).
        error = (agreed - mask * spectrogram).abs().square()
        return float((twice * error / (1 + weight)).sum())

    costs = [cost(n) for n in (0, 1, 2, 5, 20, 100)]
    assert costs == sorted(costs, reverse=True)
    assert costs[3] < 0.99 * costs[0]


@pytest.mark.parametrize("n_sources", [2, 3])
@pytest.mark.parametrize("rate", [8000, 11025])
def test_sources_of_predict_sum_to_the_mixture(n_sources: int, rate: int) -> None:
    separator = fitted(n_sources=n_sources)
    rng = np.random.default_rng(0)
    recordings: list[Any] = [
        rng.standard_normal(4 * rate).astype(np.float32),
        rng.standard_normal((2, 3000)),
    ]
    options: dict[str, Any] = {"input_rate": rate, "n_sources": n_sources}
    plain = separator.predict(recordings, **options)
    found = separator.predict(recordings, **options, phase_iterations=5)
    for recording, before, after in zip(recordings, plain, found, strict=True):
        assert_allclose(after.sum(axis=0), recording, atol=2e-5)
        assert np.abs(after - before).max() > 1e-3


def test_long_recordings_and_files(tmp_path: Path) -> None:
    separator = fitted()
    recording = 0.1 * np.random.default_rng(0).standard_normal(40 * 8000)
    found = separator.predict(recording, band="network", phase_iterations=2)
    assert_allclose(found.sum(axis=0), recording, atol=1e-5)
    write_audio(tmp_path / "talk.wav", recording, 8000, subtype="FLOAT")
    options: dict[str, Any] = {"model": separator, "phase_iterations": 2}
    result = skdc.separate_file(tmp_path / "talk.wav", tmp_path, subtype="float", **options)
    whole = skdc.separate(tmp_path / "talk.wav", **options)
    for path, source in zip(result.paths, whole.sources, strict=True):
        assert_allclose(read_audio(path)[0], source, atol=1e-6)
    plain = skdc.separate(tmp_path / "talk.wav", model=separator)
    assert np.abs(whole.sources - plain.sources).max() > 1e-3


@pytest.mark.parametrize("n_iterations", [-1, 1.5, "five", None])
def test_a_number_of_iterations_that_is_none(n_iterations: Any) -> None:
    separator = fitted()
    with pytest.raises(
        ValueError, match="'phase_iterations' parameter of predict must be an int in the range"
    ):
        separator.predict(np.ones(1000), phase_iterations=n_iterations)


def test_masks_and_labels_do_not_change() -> None:
    mixture = np.random.default_rng(0).standard_normal(3000)
    for output in ("masks", "labels"):
        separator = fitted(output=output)
        plain = separator.predict(mixture)
        assert_array_equal(separator.predict(mixture, phase_iterations=3), plain)
