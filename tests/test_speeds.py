"""Mixtures that are heard at several speeds."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
import torch
from conftest import make_separator, make_sources
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import resample
from sklearn.base import BaseEstimator, ClusterMixin

from skdc import DeepClusteringSeparator, load_pretrained, separate, separate_file
from skdc.cli import build_parser, main
from skdc.datasets import load_sample_clips
from skdc.exceptions import AudioWarning
from skdc.metrics import si_sdr_improvement
from skdc.separation.quality import Separability
from skdc.separation.speeds import (
    MOST_SPEEDS,
    SPEEDS,
    at_speed,
    certainty,
    of_width,
    put_together,
)
from skdc.signal import Framing

_FRAMING = Framing(win_length=64, hop_length=16)


def small(**parameters: Any) -> DeepClusteringSeparator:
    sources = make_sources(8000)
    separator = make_separator(max_epochs=3, random_state=1, **parameters)
    return separator.fit(sources.sum(axis=0)[None], sources[None])


def noise(n_samples: int = 8000, seed: int = 0) -> Any:
    return make_sources(n_samples, seed=seed).sum(axis=0)


def random_masks(n_sources: int, n_frames: int, n_bins: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n_sources, n_frames, n_bins, generator=generator)).softmax(0)


def test_the_first_speed_is_that_of_the_recording_and_no_two_are_alike() -> None:
    assert SPEEDS[0] == 1
    assert len(set(SPEEDS)) == MOST_SPEEDS == len(SPEEDS)


@pytest.mark.parametrize("sizes", [(512, 256), (256, 64), (64, 16), (400, 100)])
@pytest.mark.parametrize("speed", SPEEDS)
def test_a_framing_at_a_speed_has_even_windows_and_the_same_overlap(
    sizes: tuple[int, int], speed: float
) -> None:
    framing = Framing(*sizes, activity_threshold_db=30)
    found = at_speed(framing, speed)
    assert found.win_length % 2 == 0
    assert found.win_length / framing.win_length == pytest.approx(speed, abs=0.02)
    assert found.hop_length / found.win_length == pytest.approx(sizes[1] / sizes[0], rel=0.05)
    assert replace(found, win_length=sizes[0], hop_length=sizes[1]) == framing
    if speed == 1:
        assert found == framing


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_framing_at_a_speed_shows_what_resampling_would(speed: float) -> None:
    # Tones that wax and wane: the oracle makes them slower or faster by their samples.
    framing = Framing(win_length=512, hop_length=256)
    other = at_speed(framing, speed)
    exact = other.win_length / framing.win_length
    n_samples = 256 * round(8000 * exact / 256)
    seconds = np.arange(n_samples) / 8000
    tones = sum(
        (1 + np.sin(2 * np.pi * (1 + i) * seconds)) * np.sin(2 * np.pi * hertz * seconds)
        for i, hertz in enumerate((300, 700, 1900))
    )
    seen = of_width(other.stft(torch.from_numpy(tones)), framing.n_bins).abs()
    slower = resample(tones, round(n_samples / exact))
    expected = framing.stft(torch.from_numpy(slower)).abs()
    n_frames = min(len(seen), len(expected)) - 3  # the ends are resampled as if periodic
    level = seen[3:n_frames].norm() / expected[3:n_frames].norm()
    apart = seen[3:n_frames] - level * expected[3:n_frames]
    assert float(apart.norm() / seen[3:n_frames].norm()) < 0.06


@pytest.mark.parametrize("n_bins", [3, 5, 9])
def test_the_highest_bins_are_left_out_or_silent(n_bins: int) -> None:
    spectrogram = torch.randn(4, 5, dtype=torch.complex64)
    found = of_width(spectrogram, n_bins)
    assert found.shape == (4, n_bins)
    assert torch.equal(found[:, :5], spectrogram[:, :n_bins])
    assert not bool(found[:, 5:].any())


@given(st.integers(2, 4), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_certainty_is_that_of_loops(n_sources: int, n_frames: int, n_bins: int, seed: int) -> None:
    masks = random_masks(n_sources, n_frames, n_bins, seed)
    power = torch.rand(n_frames, n_bins, generator=torch.Generator().manual_seed(seed))
    total = 0.0
    for frame in range(n_frames):
        for index in range(n_bins):
            largest = max(float(mask[frame, index]) for mask in masks)
            share = (largest - 1 / n_sources) / (1 - 1 / n_sources)
            total += float(power[frame, index]) * share
    assert float(certainty(masks, power)) == pytest.approx(total / float(power.sum()), abs=1e-5)
    assert float(certainty(masks, torch.zeros_like(power))) == 0


@given(
    st.permutations(range(3)),
    st.integers(0, 99),
    st.sampled_from(SPEEDS[1:]),
    st.integers(20, 60),
)
def test_masks_are_put_together_as_by_naive_interpolation(
    order: list[int], seed: int, speed: float, n_frames: int
) -> None:
    other = at_speed(_FRAMING, speed)
    n_samples = (n_frames - 1) * _FRAMING.hop_length
    waveform = torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))
    framings = [_FRAMING, other]
    heard = [of_width(f.stft(waveform), _FRAMING.n_bins) for f in framings]
    # Masks that vary slowly, so that the order of the sources can be told.
    first = random_masks(3, 1, 1, seed).repeat(1, *heard[0].shape)
    first[0, : n_frames // 2] += 2
    first[1, n_frames // 2 :] += 2
    first /= first.sum(0)
    n_frames_seen, n_bins = heard[1].shape
    second = random_masks(3, n_frames_seen, n_bins, seed + 1)
    half = len(heard[1]) // 2
    second[order.index(0), :half] += 20
    second[order.index(1), half:] += 20
    second /= second.sum(0)
    found = put_together([first, second], heard, framings)

    trust = [
        15 * float(certainty(masks, spectrogram.abs().square()))
        for masks, spectrogram in zip((first, second), heard, strict=True)
    ]
    share = np.exp(trust[1]) / (np.exp(trust[0]) + np.exp(trust[1]))
    # Rows and then columns, by NumPy; above the highest bin that is heard it is as at first.
    known = second.numpy()[:, :, : other.n_bins]
    rows = np.arange(n_frames) * _FRAMING.hop_length / other.hop_length
    columns = np.arange(_FRAMING.n_bins) * other.win_length / _FRAMING.win_length
    moved = np.empty((3, n_frames, _FRAMING.n_bins))
    for source in range(3):
        by_rows = np.stack(
            [np.interp(rows, np.arange(known.shape[1]), c) for c in known[source].T], axis=1
        )
        moved[source] = [np.interp(columns, np.arange(known.shape[2]), r) for r in by_rows]
    mean = (1 - share) * first.numpy() + share * moved[[order.index(i) for i in range(3)]]
    unknown = columns > _FRAMING.n_bins - 1
    mean[:, :, unknown] = first.numpy()[:, :, unknown]
    expected = mean**1.5 / (mean**1.5).sum(axis=0)
    assert_allclose(found.numpy(), expected, atol=2e-4)


def test_what_another_number_of_sources_was_found_in_does_not_count() -> None:
    masks, other = random_masks(2, 9, 33, 0), random_masks(3, 9, 33, 1)
    heard = [torch.ones(9, 33, dtype=torch.complex64)] * 2
    alone = put_together([masks], heard[:1], [_FRAMING])
    assert torch.equal(put_together([masks, other], heard, [_FRAMING] * 2), alone)
    assert_allclose(alone, masks**1.5 / (masks**1.5).sum(0), atol=1e-6)


def test_who_is_told_apart_is_told_apart_better() -> None:
    # Pairs of the five people of the package's clips, who are in none of the data that the speeds
    # were chosen on. Who is hardly told apart at one speed is not at several.
    by_speaker = {clip.speaker: clip.waveform for clip in reversed(load_sample_clips())}
    mixtures, references = [], []
    for pair in list(combinations(by_speaker.values(), 2))[:5]:
        n_samples = min(map(len, pair))
        references.append(np.stack([x[:n_samples] / np.std(x[:n_samples]) for x in pair]))
        mixtures.append(references[-1].sum(axis=0))
    separator = load_pretrained(device="cpu")
    gains = []
    for n in (1, 3):
        found = separator.predict(mixtures, speeds=n)
        scores = zip(references, found, mixtures, strict=True)
        gains.append([si_sdr_improvement(*each).mean() for each in scores])
    assert min(gains[0]) > 7
    assert np.mean(gains[1]) > np.mean(gains[0]) + 0.1


@pytest.mark.parametrize("n_sources", [1, 2, 3, "auto"])
@pytest.mark.parametrize("more", [{}, {"band": "network"}, {"input_rate": 16_000}])
def test_sources_sum_to_the_mixture(n_sources: Any, more: dict[str, Any]) -> None:
    separator = small()
    mixture = noise()
    found = separator.predict(mixture, n_sources=n_sources, speeds=3, **more)
    if n_sources != "auto":
        assert len(found) == n_sources
    if more.get("band") != "network":
        assert_allclose(found.sum(axis=0), mixture, atol=1e-5)
    assert np.isfinite(found).all()


def test_one_speed_is_as_before_and_results_repeat() -> None:
    separator, mixture = small(), noise()
    plain = separator.predict(mixture)
    assert_array_equal(separator.predict(mixture, speeds=1), plain)
    several = separator.predict(mixture, speeds=4)
    assert np.abs(several - plain).max() > 1e-3
    assert_array_equal(separator.predict(mixture, speeds=4), several)
    # Alone and among others.
    again = separator.predict([noise(5000, 3), mixture], speeds=4)[1]
    assert_array_equal(again, several)


@pytest.mark.parametrize("mixture", [np.zeros(4000), np.r_[np.zeros(3000), noise(1000)]])
@pytest.mark.parametrize("speeds", [2, 5])
def test_silence_stays_silent(mixture: Any, speeds: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # that all of it is silent
        found = small().predict(mixture, speeds=speeds)
    assert_allclose(found.sum(axis=0), mixture, atol=1e-5)
    assert not found[:, mixture == 0][:, :2900].any()


def test_recordings_that_are_hardly_as_long_as_a_window() -> None:
    for n_samples in (64, 65, 80):
        found = small().predict(noise()[:n_samples], speeds=5)
        assert_allclose(found.sum(axis=0), noise()[:n_samples], atol=1e-5)


def test_long_recordings_are_heard_in_stretches() -> None:
    separator = small()
    mixture = np.tile(noise(), 33)  # 33 s
    found = separator.predict(mixture, speeds=2)
    assert_allclose(found.sum(axis=0), mixture, atol=1e-4)
    one_by_one = np.abs(found - separator.predict(mixture)).max()
    assert one_by_one > 1e-3


@pytest.mark.parametrize("parameters", [{"mask": "binary"}, {"bidirectional": False}])
def test_other_masks_and_networks(parameters: dict[str, Any]) -> None:
    separator = small(**parameters)
    masks = separator.set_params(output="masks").predict(noise(), speeds=3)
    assert_allclose(masks.sum(axis=0), 1, atol=1e-5)
    if "mask" in parameters:
        assert set(np.unique(masks)) == {0.0, 1.0}


class OfItsOwnMind(ClusterMixin, BaseEstimator):
    """Two clusters of the first points it is given, three of the next ones."""

    seen: ClassVar[list[int]] = []

    def fit(self, points: Any, y: Any = None) -> OfItsOwnMind:
        number = 2 + len(self.seen) % 2
        self.seen.append(number)
        self.labels_ = np.arange(len(points)) % number
        return self


@pytest.mark.parametrize("n_sources", [2, "auto"])
def test_a_clusterer_may_find_another_number_at_another_speed(n_sources: Any) -> None:
    separator = small(clusterer=OfItsOwnMind())
    OfItsOwnMind.seen.clear()
    found = separator.predict(noise(2000), n_sources=n_sources, speeds=2)
    assert OfItsOwnMind.seen == [2, 3]
    assert len(found) == 2
    assert_allclose(found.sum(axis=0), noise(2000), atol=1e-5)


def test_the_loudest_comes_first() -> None:
    separator = small().set_params(output="masks")
    mixture = noise()
    masks = separator.predict(mixture, n_sources=3, speeds=3)
    magnitude = separator.pipeline().framing.stft(torch.from_numpy(mixture)).abs().numpy()
    totals = (masks * magnitude).sum(axis=(1, 2))
    assert (np.diff(totals) <= 1e-4 * totals[0]).all()


def test_what_is_expected_is_what_one_speed_gives() -> None:
    # Masks of several speeds are surer than those that the estimate was fitted to.
    separator, mixture = small(), torch.from_numpy(noise()).float()
    items = []
    for n in (1, 3):
        pipeline = replace(separator.pipeline(), speeds=n)
        items.append(Separability())
        list(pipeline.separate([mixture], [2], [items[-1]]))
    assert items[0].certainty == pytest.approx(items[1].certainty, abs=1e-6)
    assert items[0].scatter == pytest.approx(items[1].scatter, abs=1e-6)


@pytest.mark.parametrize("speeds", [0, -1, 6, 1.5, "2", None])
def test_a_number_of_speeds_that_cannot_be_is_refused(speeds: Any) -> None:
    separator = small()
    calls = (separator.predict, separator.separate, partial(separate, model=separator, rate=8000))
    for call in calls:
        with pytest.raises(ValueError, match="'speeds' parameter of predict must be an int"):
            call(np.ones(4000), speeds=speeds)
    with pytest.raises(ValueError, match="speeds=True; give an integer from 1 to 5"):
        separator.predict(np.ones(4000), speeds=True)


def test_channels_that_are_taken_as_they_are_have_no_speeds() -> None:
    with pytest.raises(ValueError, match="leave speeds=2 out"):
        separate(np.ones((2, 4000)), rate=8000, channels=True, speeds=2)


def test_every_call_takes_the_number_of_speeds(tmp_path: Path) -> None:
    mixture = noise().astype(np.float32)
    mixture /= 2 * np.abs(mixture).max()
    separator = small()
    several = separator.predict(mixture, speeds=2)
    soundfile.write(tmp_path / "talk.wav", mixture, 8000, subtype="FLOAT")
    options: dict[str, Any] = {"model": separator, "speeds": 2}
    assert_array_equal(separate(mixture, rate=8000, **options).sources, several)
    found = separate_file(tmp_path / "talk.wav", tmp_path, subtype="float", **options)
    for path, expected in zip(found.paths, several, strict=True):
        assert_allclose(soundfile.read(path)[0], expected, atol=1e-5)
    separator.save(tmp_path / "model.safetensors")
    command = ["separate", str(tmp_path / "talk.wav"), "-o", str(tmp_path / "out")]
    command += ["--model", str(tmp_path / "model.safetensors"), "--speeds", "2"]
    for more in ([], ["--band", "network", "--force"]):
        assert main([*command, "--subtype", "float", *more]) == 0
        for index, expected in enumerate(several, start=1):
            written, _ = soundfile.read(tmp_path / "out" / f"talk-{index}.wav")
            assert_allclose(written, expected, atol=1e-5)


def test_the_command_line_knows_how_many_there_are() -> None:
    # Written out there, so that the help loads no torch.
    parser = build_parser()
    for n in range(1, MOST_SPEEDS + 1):
        args = parser.parse_args(["separate", "talk.wav", "-o", "out", "--speeds", str(n)])
        assert args.speeds == n
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["separate", "talk.wav", "-o", "out", "--speeds", str(MOST_SPEEDS + 1)])
