"""The count head: how many talk, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.cluster import KMeans

from skdc import DeepClusteringSeparator
from skdc.datasets import load_sample_clips, load_sample_mixture
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.network.count import CountHead


@pytest.fixture(scope="module")
def plain() -> DeepClusteringSeparator:
    clips = load_sample_clips()
    separator = DeepClusteringSeparator(
        embedding_dim=4, hidden_size=8, n_layers=1, hop_length=128, max_epochs=1, random_state=0
    )
    return separator.fit_recordings([c.waveform for c in clips], [c.speaker for c in clips])


@pytest.fixture(scope="module")
def model(plain: DeepClusteringSeparator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with heads of some examples, in a file."""
    path = tmp_path_factory.mktemp("model") / "heads.safetensors"
    plain.save(path)
    separator = DeepClusteringSeparator.load(path)
    clips = load_sample_clips()
    separator.fit_voices([c.waveform for c in clips], [c.speaker for c in clips], n_examples=80)
    separator.save(path)
    return path


def head(most: int = 4) -> CountHead:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return CountHead(((0, 4), (4, 9)), width=5, most=most)


def test_the_level_does_not_matter() -> None:
    states, energy = torch.randn(3, 20, 2, 5), torch.rand(3, 20)
    logits = head()(states, energy)
    assert logits.shape == (3, 4)
    torch.testing.assert_close(head()(states, 1e-9 * energy), logits)
    torch.testing.assert_close(head()(states, 1e9 * energy), logits)


def test_silence_is_finite() -> None:
    assert torch.isfinite(head()(torch.randn(1, 20, 2, 5), torch.zeros(1, 20))).all()


def test_loud_frames_count_more() -> None:
    states, energy = torch.randn(1, 40, 2, 5), torch.ones(1, 40)
    energy[:, 20:] = 1e-8
    other = states.clone()
    other[:, 20:] = torch.randn(1, 20, 2, 5)
    quiet_change = (head()(states, energy) - head()(other, energy)).abs().max()
    other = states.clone()
    other[:, :20] = torch.randn(1, 20, 2, 5)
    loud_change = (head()(states, energy) - head()(other, energy)).abs().max()
    assert quiet_change < 0.2 * loud_change


def test_a_known_number_of_sources_is_separated_as_before(
    plain: DeepClusteringSeparator, model: Path
) -> None:
    mixture, _ = load_sample_mixture()
    assert_array_equal(
        DeepClusteringSeparator.load(model).predict(mixture), plain.predict(mixture)
    )


@pytest.mark.parametrize("favourite", [1, 3])
def test_an_unknown_number_is_that_of_the_head(model: Path, favourite: int) -> None:
    separator = DeepClusteringSeparator.load(model)
    counting = separator.network_.count_head
    assert counting is not None
    with torch.no_grad():
        counting.out.bias[favourite - 1] += 100
    mixture, _ = load_sample_mixture()
    assert len(separator.predict(mixture, n_sources="auto")) == favourite
    # A clusterer of the user's own has the last word.
    separator.set_params(clusterer=KMeans(2, n_init=1))
    assert len(separator.predict(mixture, n_sources="auto")) == 2


def test_training_on_drops_the_head(model: Path) -> None:
    separator = DeepClusteringSeparator.load(model).set_params(warm_start=True, max_epochs=1)
    clips = load_sample_clips()
    separator.fit_recordings([c.waveform for c in clips], [c.speaker for c in clips])
    assert separator.network_.count_head is None
    assert separator.network_.config.most_counted == 0


def test_two_speakers_are_enough(plain: DeepClusteringSeparator, tmp_path: Path) -> None:
    plain.save(tmp_path / "plain.safetensors")
    separator = DeepClusteringSeparator.load(tmp_path / "plain.safetensors")
    clips = load_sample_clips()[:4]
    separator.fit_voices([c.waveform for c in clips], list("abab"), n_examples=8)
    assert separator.network_.config.most_counted == 2


def test_configurations_of_before_have_no_head() -> None:
    stored = NetworkConfig().as_dict()
    del stored["most_counted"]
    assert EmbeddingNetwork(NetworkConfig.from_dict(stored)).count_head is None


def test_the_head_learns_to_count(plain: DeepClusteringSeparator, tmp_path: Path) -> None:
    # One tone a talker: as many tones as talkers is easy to hear even for eight units.
    rng = np.random.default_rng(0)
    time_s = np.arange(40_000) / 8000
    tones = [np.sin(2 * np.pi * f * time_s + rng.uniform(0, 6)) for f in (300, 900, 1800, 3000)]
    plain.save(tmp_path / "plain.safetensors")
    separator = DeepClusteringSeparator.load(tmp_path / "plain.safetensors")
    separator.fit_voices([0.1 * tone for tone in tones], list("abcd"), n_examples=200)
    one, all_four = (
        len(separator.predict(0.1 * np.sum(tones[:n], axis=0), n_sources="auto")) for n in (1, 4)
    )
    assert one < all_four
