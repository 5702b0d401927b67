"""Each two of three or more sources, separated again from their sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from skdc import (
    DeepClusteringSeparator,
    load_pretrained,
    separate,
    separate_array,
    separate_file,
)
from skdc.cli import build_parser, main
from skdc.datasets import load_sample_clips
from skdc.metrics import si_sdr_improvement
from skdc.separation import hearing, pipeline
from skdc.separation.pairs import PAIR_SWEEPS, in_order, separate_pairs
from skdc.signal import bin_weights, to_unit_peak

Sums = Sequence[tuple[int, Tensor]]


def random_masks(generator: torch.Generator, n_sources: int, n_frames: int) -> Tensor:
    return torch.randn(n_sources, n_frames, 5, generator=generator, dtype=torch.double).softmax(0)


def swept_one_by_one(masks: Tensor, magnitude: Tensor, answers: Iterator[Tensor]) -> Tensor:
    """Do what `separate_pairs` does for one mixture, source by source and bin by bin."""
    found = [own.clone() for own in masks]
    for a, b in combinations(range(len(found)), 2):
        kept = found[a] + found[b]
        first, second = next(answers)
        power = magnitude.square()
        straight = float((power * (found[a] * first + found[b] * second)).sum())
        turned = float((power * (found[a] * second + found[b] * first)).sum())
        if turned > straight:
            first, second = second, first
        found[a], found[b] = kept * first, kept * second
    return torch.stack(found)


@given(st.lists(st.integers(1, 5), max_size=4), st.integers(0, 3), st.integers(0, 2**20))
def test_it_is_one_pair_after_the_other(counts: list[int], n_sweeps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = [random_masks(generator, count, 3 + count) for count in counts]
    magnitudes = [torch.rand(own.shape[1:], generator=generator).double() for own in masks]
    given_out: dict[int, list[Tensor]] = {index: [] for index in range(len(masks))}

    def split(sums: Sums) -> Iterator[Tensor]:
        for index, kept in sums:
            given_out[index].append(random_masks(generator, 2, len(kept)))
            yield given_out[index][-1]

    before = [own.clone() for own in masks]
    found = separate_pairs(masks, magnitudes, split, n_sweeps)
    for index, (own, magnitude, better) in enumerate(zip(masks, magnitudes, found, strict=True)):
        assert torch.equal(own, before[index])
        answers = iter(given_out[index])
        expected = own
        for _ in range(n_sweeps if len(own) > 2 else 0):
            expected = swept_one_by_one(expected, magnitude, answers)
        assert not list(answers)
        torch.testing.assert_close(better, expected)
        torch.testing.assert_close(better.sum(0), own.sum(0))
        assert (better >= 0).all()


def test_a_pair_that_is_not_split_in_two_stays() -> None:
    masks = random_masks(torch.Generator().manual_seed(0), 3, 4)
    for n_parts in (1, 3):

        def split(sums: Sums, n_parts: int = n_parts) -> list[Tensor]:
            return [kept.expand(n_parts, -1, -1) / n_parts for _, kept in sums]

        (found,) = separate_pairs([masks], [torch.ones(4, 5)], split, 2)
        assert torch.equal(found, masks)


@pytest.mark.parametrize("level", [1e-30, 1.0, 1e30])
@given(st.permutations(range(4)), st.integers(0, 2**20))
def test_masks_come_in_the_order_of_others(level: float, order: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = (5 * torch.randn(4, 40, 5, generator=generator)).softmax(0)
    magnitude = level * torch.rand(40, 5, generator=generator)
    near = (masks.log() + 0.1 * torch.randn(4, 40, 5, generator=generator)).softmax(0)
    assert torch.equal(in_order(masks, near[list(order)], magnitude), near)


def mixtures_of_three() -> list[tuple[Any, Any]]:
    """Mixtures of each three of the five people in the clips of the package."""
    by_speaker = {clip.speaker: clip.waveform for clip in reversed(load_sample_clips())}
    found = []
    for chosen in combinations(by_speaker.values(), 3):
        n_samples = min(map(len, chosen))
        sources = np.stack([x[:n_samples] / np.std(x[:n_samples]) for x in chosen])
        found.append((sources.sum(axis=0), sources))
    return found


def test_three_talkers_are_separated_better() -> None:
    separator = load_pretrained("speech-2mix-8k-small", device="cpu")
    mixtures = mixtures_of_three()[::2]

    def gain(pair_sweeps: int) -> float:
        options: dict[str, Any] = {"n_sources": 3, "pair_sweeps": pair_sweeps}
        found = separator.predict([mixture for mixture, _ in mixtures], **options)
        for (mixture, _), estimates in zip(mixtures, found, strict=True):
            assert_allclose(estimates.sum(axis=0), mixture, atol=1e-4)
        return float(
            np.mean(
                [
                    si_sdr_improvement(sources, estimates, mixture)
                    for (mixture, sources), estimates in zip(mixtures, found, strict=True)
                ]
            )
        )

    assert gain(2) > gain(0) + 0.5


def test_binary_masks_are_those_of_soft_ones() -> None:
    # Sums of binary masks are full of holes, which no network has learnt to hear through.
    separator = load_pretrained("speech-2mix-8k-small", device="cpu").set_params(n_sources=3)
    mixture = mixtures_of_three()[0][0][:16_000]
    soft = separator.predict_masks(mixture)
    binary = separator.set_params(mask="binary").predict_masks(mixture)
    assert_array_equal(binary.argmax(axis=0), soft.argmax(axis=0))
    assert set(np.unique(binary)) == {0.0, 1.0}


def test_two_talkers_stay_as_they_are() -> None:
    separator = load_pretrained("speech-2mix-8k-small", device="cpu")
    mixture = mixtures_of_three()[0][0]
    plain = separator.predict(mixture, pair_sweeps=0)
    assert_array_equal(separator.predict(mixture, pair_sweeps=3), plain)


def small(**parameters: Any) -> DeepClusteringSeparator:
    rng = np.random.default_rng(0)
    sources = rng.standard_normal((2, 3, 4000)) * np.hanning(400).repeat(10)
    separator = DeepClusteringSeparator(
        3, hidden_size=8, embedding_dim=5, max_epochs=1, random_state=0, device="cpu", **parameters
    )
    return separator.fit(sources.sum(axis=1), sources)


def test_sources_of_every_kind_come_loudest_first() -> None:
    mixture, _ = mixtures_of_three()[0]
    separator = small()
    masks = separator.predict_masks(mixture)
    framing = separator.pipeline().framing
    magnitudes = framing.stft(torch.from_numpy(mixture).float()).abs().numpy()
    loudness = np.square(masks * magnitudes).sum((1, 2))
    assert (np.diff(loudness) <= 1e-4 * loudness.sum()).all()
    labels = separator.set_params(output="labels").predict(mixture)
    assert_array_equal(labels, masks.argmax(axis=0))


def test_stretches_of_a_recording_have_their_pairs_separated_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "_LONGEST_WHOLE_S", 2.0)
    monkeypatch.setattr(pipeline, "STRETCH_S", 1.5)
    monkeypatch.setattr(pipeline, "OVERLAP_S", 0.5)
    mixture, _ = mixtures_of_three()[1]
    separator = load_pretrained("speech-2mix-8k-small", device="cpu").set_params(n_sources=3)
    found = {n: separator.predict(mixture, pair_sweeps=n) for n in (0, 2)}
    assert_allclose(found[2].sum(axis=0), mixture, atol=1e-4)
    assert np.abs(found[2] - found[0]).max() > 0.1
    # Stretches that go through the network together give what they give alone.
    monkeypatch.setattr(hearing, "_FRAMES_TOGETHER", 1)
    assert_allclose(separator.predict(mixture), found[2], atol=1e-3)


def test_pairs_that_have_next_to_nothing_do_no_harm() -> None:
    mixture = mixtures_of_three()[0][0][:8000]
    separation = small().pipeline()
    (part,) = separation._projections([torch.from_numpy(mixture).float()])
    # So little that its power of 1.5 is 0 in single precision.
    tiny = torch.full((2, *part.spectrogram.shape), 1e-34)
    masks = torch.cat([tiny, 1 - tiny.sum(0, keepdim=True)])
    ((found, _),) = separation._pairs_again([(part, masks, torch.zeros(3, 5))])
    assert_allclose(found.sum(0).numpy(), 1, atol=1e-5)


def test_the_peak_is_brought_near_one_and_no_digit_changes() -> None:
    magnitude = torch.rand(40, 9)
    for power in (-40, -30, -7, -1, 0, 1, 8, 33):
        scaled = to_unit_peak(torch.ldexp(magnitude, torch.tensor(3 * power)))
        assert 0.5 <= float(scaled.max()) < 2
        ratio = scaled / to_unit_peak(magnitude)
        assert torch.equal(ratio, ratio[:1, :1].expand_as(ratio))
        assert torch.equal(ratio.log2(), ratio.log2().round())
    assert torch.equal(to_unit_peak(torch.zeros(3)), torch.zeros(3))
    assert to_unit_peak(torch.zeros(0, 9)).shape == (0, 9)
    even = torch.ldexp(magnitude, torch.tensor(-60))
    assert torch.equal(bin_weights(to_unit_peak(even)), bin_weights(to_unit_peak(magnitude)))


def test_a_clusterer_of_ones_own_does_without() -> None:
    mixture = mixtures_of_three()[0][0][:4000]
    separator = small(clusterer=AgglomerativeClustering(3))
    plain = separator.predict(mixture, pair_sweeps=0)
    assert_array_equal(separator.predict(mixture), plain)


@pytest.mark.parametrize("n_sweeps", [-1, 1.5, "2"])
def test_a_number_of_sweeps_that_is_none_is_refused(n_sweeps: Any) -> None:
    separator = small()
    calls = (separator.predict, separator.separate, partial(separate, model=separator, rate=8000))
    for call in calls:
        with pytest.raises(ValueError, match="'pair_sweeps' parameter of predict must be an int"):
            call(np.ones(4000), pair_sweeps=n_sweeps)
    with pytest.raises(ValueError, match=r"pair_sweeps=.*; give an integer of 0 or more"):
        separate_array(separator, np.ones((2, 4000)), pair_sweeps=n_sweeps)


def test_every_call_takes_the_number_of_sweeps(tmp_path: Path) -> None:
    mixture = mixtures_of_three()[2][0].astype(np.float32)
    mixture /= 2 * np.abs(mixture).max()
    separator = small()
    plain, swept = (separator.predict(mixture, pair_sweeps=n) for n in (0, 2))
    assert np.abs(plain - swept).max() > 1e-3
    assert_array_equal(separator.predict(mixture), swept)
    soundfile.write(tmp_path / "talk.wav", mixture, 8000, subtype="FLOAT")
    options: dict[str, Any] = {"model": separator, "pair_sweeps": 0}
    assert_array_equal(separate(mixture, rate=8000, **options).sources, plain)
    found = separate_file(tmp_path / "talk.wav", tmp_path, subtype="float", **options)
    for path, expected in zip(found.paths, plain, strict=True):
        assert_allclose(soundfile.read(path)[0], expected, atol=1e-5)
    blocks, _ = separator.separate_in_blocks(mixture, pair_sweeps=0)
    assert_allclose(np.concatenate(list(blocks), axis=-1), plain, atol=1e-5)
    separator.save(tmp_path / "model.safetensors")
    command = ["separate", str(tmp_path / "talk.wav"), "-o", str(tmp_path / "out")]
    command += ["--model", str(tmp_path / "model.safetensors"), "--pair-sweeps", "0"]
    assert main([*command, "--subtype", "float"]) == 0
    for index, expected in enumerate(plain, start=1):
        written, _ = soundfile.read(tmp_path / "out" / f"talk-{index}.wav")
        assert_allclose(written, expected, atol=1e-5)


def test_the_command_line_has_the_same_default() -> None:
    # Written out there, so that the help loads no torch.
    args = build_parser().parse_args(["separate", "talk.wav", "-o", "out"])
    assert args.pair_sweeps == PAIR_SWEEPS


def test_microphones_have_their_pairs_separated_too() -> None:
    mixture, sources = mixtures_of_three()[3]
    # Where each person is, each microphone hears differently.
    levels = np.array([[1.0, 0.7, 0.4], [0.4, 0.8, 1.0]])
    separator = load_pretrained("speech-8k", device="cpu")
    recording = levels @ sources
    images = levels[0][:, None] * sources
    plain, swept = (
        separate_array(separator, recording, n_sources=3, pair_sweeps=n).astype(float)
        for n in (0, 2)
    )
    assert_allclose(swept.sum(axis=0), recording[0], atol=1e-3)
    gains = [si_sdr_improvement(images, found, recording[0]).mean() for found in (plain, swept)]
    assert gains[1] > gains[0]
    assert mixture.shape == recording[0].shape
