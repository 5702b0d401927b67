"""The count head: how many talk, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.cluster import KMeans

from skdc import DeepClusteringSeparator, separate_array
from skdc.datasets import load_sample_clips, load_sample_mixture
from skdc.exceptions import AudioWarning
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.network.count import CountHead
from skdc.network.voice import VoiceHead
from skdc.separation.counts import are_fewer, are_several, one_voice_odds
from skdc.training.acoustics import add_noise
from skdc.training.counts import WithoutPauses, train_count_head


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


def test_odds_of_one_voice() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(3, 20, 9, generator=generator)
    centroids = torch.randn(3, 7, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        voice_head = VoiceHead(9, dim=6).requires_grad_(False)
    vectors = [voice_head(own[None])[0].numpy() for own in shares]
    units = [own / np.linalg.norm(own) for own in centroids.numpy()]
    expected = [
        -6 + 11 * float(vectors[i] @ vectors[j]) + 5 * float(units[i] @ units[j])
        for i, j in combinations(range(3), 2)
    ]
    found = one_voice_odds(voice_head, shares, centroids)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_two_witnesses_of_a_count() -> None:
    # Two of three are one voice where that is likelier than that there are three.
    logits = torch.tensor([0.0, 1.0, 3.0, 2.0])
    assert are_fewer(logits, 3, torch.tensor([-9.0, 2.1, 0.0]))
    assert not are_fewer(logits, 3, torch.tensor([-9.0, 1.9, 0.0]))
    # There are two instead of one where voices are surer to differ, by a margin of 1, and the
    # count head is not sure.
    logits = torch.tensor([2.5, 1.0, 2.0, 0.0])
    assert are_several(logits, torch.tensor([-1.6]))
    assert not are_several(logits, torch.tensor([-1.4]))
    assert are_several(logits, torch.tensor([9.0, -1.6, 9.0]))
    assert not are_several(torch.tensor([3.1, 1.0, 2.0, 0.0]), torch.tensor([-99.0]))


def with_witnesses(model: Path, logits: list[float], odds: float) -> DeepClusteringSeparator:
    """Load a model whose count head and voice head say the same of everything."""
    separator = DeepClusteringSeparator.load(model)
    counting, voice_head = separator.network_.count_head, separator.network_.voice_head
    assert counting is not None
    assert voice_head is not None
    with torch.no_grad():
        counting.out.weight.zero_()
        counting.out.bias.copy_(torch.tensor(logits))
        voice_head.odds.copy_(torch.tensor([odds, 0.0, 0.0]))
    return separator


@pytest.mark.parametrize(("odds", "expected"), [(-100.0, 2), (0.0, 1)])
def test_different_voices_are_not_one_talker(model: Path, odds: float, expected: int) -> None:
    separator = with_witnesses(model, [0.5, 0.0, 0.0, 0.0], odds)
    mixture, _ = load_sample_mixture()
    assert len(separator.predict(mixture, n_sources="auto")) == expected
    assert len(separate_array(separator, mixture[None], n_sources="auto")) == expected
    with pytest.warns(AudioWarning, match="silent"):
        assert len(separator.predict(np.zeros_like(mixture), n_sources="auto")) == 1


@pytest.mark.parametrize(("odds", "expected"), [(-100.0, 3), (100.0, 2)])
def test_a_voice_is_not_counted_twice(model: Path, odds: float, expected: int) -> None:
    separator = with_witnesses(model, [0.0, 0.0, 20.0, 0.0], odds)
    mixture, _ = load_sample_mixture()
    assert len(separator.predict(mixture, n_sources="auto")) == expected
    assert len(separate_array(separator, mixture[None], n_sources="auto")) == expected
    # What is asked for is given.
    assert len(separator.predict(mixture, n_sources=3)) == 3


def test_microphones_count_together(model: Path) -> None:
    separator = DeepClusteringSeparator.load(model).set_params(precision="float32")
    counting, voice_head = separator.network_.count_head, separator.network_.voice_head
    assert counting is not None
    assert voice_head is not None
    voice_head.odds.zero_()  # no witness for or against
    recording, _ = load_sample_mixture()
    one = len(separator.predict(recording, n_sources="auto"))
    assert len(separate_array(separator, recording[None], n_sources="auto")) == one
    # What each hears alone, and what both together make the likeliest
    framing = separator.pipeline().framing
    spectrograms = framing.stft(torch.from_numpy(np.stack([recording, recording[::-1].copy()])))
    sounds = list(map(separator.pipeline().hearing.sound, spectrograms))
    logits = []
    for spectrogram in spectrograms:
        states = separator.network_.states(framing.features(spectrogram[None]))
        energy = spectrogram.abs().square().sum(-1, keepdim=True).T
        logits.append(counting(states, energy)[0].detach())
    with torch.no_grad():
        # Make three talkers just as likely as one, and then a little more or less.
        total = logits[0] + logits[1]
        counting.out.bias[2] += (total[0] - total[2]) / 2
        counting.out.bias[[1, 3]] -= 100
        for nudge, expected in ((0.1, 3), (-0.2, 1)):
            counting.out.bias[2] += nudge
            assert separator.pipeline().count(sounds) == expected
    separator.set_params(clusterer=KMeans(2, n_init=1))
    assert separator.pipeline().count(sounds) is None
    assert len(separate_array(separator, recording[None], n_sources="auto")) == 2


def test_nobody_talks_in_silence(model: Path) -> None:
    separator = DeepClusteringSeparator.load(model)
    counting = separator.network_.count_head
    assert counting is not None
    with torch.no_grad():
        counting.out.bias[2] += 100
    with pytest.warns(AudioWarning, match="silent"):
        assert len(separator.predict(np.zeros(16_000), n_sources="auto")) == 1


def test_training_on_keeps_the_head(model: Path) -> None:
    separator = DeepClusteringSeparator.load(model).set_params(warm_start=True, max_epochs=1)
    before = separator.network_.count_head
    assert before is not None
    clips = load_sample_clips()
    separator.fit_recordings([c.waveform for c in clips], [c.speaker for c in clips])
    after = separator.network_.count_head
    assert after is not None
    assert after is not before
    weights = after.state_dict()
    assert all(torch.equal(weights[name], w) for name, w in before.state_dict().items())
    assert separator.network_.config.most_counted == after.most


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


class Bands:
    """Stands for a separator whose states are the levels of four bands, frame by frame."""

    sample_rate = 800
    network = SimpleNamespace(
        trunk=SimpleNamespace(bands=((0, 4),), width=4), device=torch.device("cpu")
    )

    def states(self, mixtures: list[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for mixture in mixtures:
            frames = mixture.reshape(-1, 80)  # (n_frames, 80): 10 Hz a bin
            level = torch.fft.rfft(frames).abs()[:, [5, 15, 25, 35]]
            yield torch.log(level + 1e-2)[None, :, None], frames.square().sum(1)[None]


def test_the_head_learns_to_count_also_in_noise() -> None:
    time_s = np.arange(4000) / 800
    tones = [np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in (50, 150, 250, 350)]
    separator: Any = Bands()
    head = train_count_head(separator, tones, list("abcd"), n_examples=600, seed=0)
    for count in (1, 2, 3, 4):
        mixture = torch.from_numpy(np.sum(tones[:count], axis=0))
        ((states, energy),) = separator.states([mixture])
        assert 1 + int(head(states, energy).argmax()) == count
    # Trained without noise, it is right in 1 and 15 of these 40.
    for count in (1, 3):
        mixture = torch.from_numpy(np.sum(tones[:count], axis=0))
        noisy = add_noise(mixture.expand(40, -1), 1.0, generator=torch.Generator().manual_seed(0))
        told = [1 + int(head(*heard).argmax()) for heard in separator.states(list(noisy))]
        assert told.count(count) >= 32


def test_pauses_are_taken_out_and_speech_is_kept() -> None:
    tone = np.sin(2 * np.pi * 100 * np.arange(800) / 8000).astype(np.float32)  # 0.1 s
    faint, silence = 0.1 * tone, np.zeros(1600, dtype=np.float32)  # -20 dB is no pause
    kept = WithoutPauses([np.r_[silence, tone, silence, faint, silence], silence], 8000)
    # 40 ms of the pauses are left at each end of each of the tones.
    pause = silence[:320]
    assert_array_equal(kept[0], np.r_[pause, tone, pause, pause, faint, pause])
    assert_array_equal(kept[1], silence)
    assert len(kept) == 2
