"""Who speaks when: turns of separated sources, and RTTM."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skdc
from skdc.datasets import load_sample_clips
from skdc.signal import (
    Turn,
    TurnFinder,
    active_level,
    active_speech_level,
    channel_similarity,
    find_turns,
    mean_power_ratio,
    to_rttm,
)

RATE = 8000


def bursts(*spans: tuple[float, float], seconds: float = 6.0, level: float = 1.0) -> Any:
    """Noise within spans of time."""
    signal = np.zeros(round(seconds * RATE))
    rng = np.random.default_rng(len(spans))
    for start, stop in spans:
        part = signal[round(start * RATE) : round(stop * RATE)]
        part += level * rng.standard_normal(len(part))
    return signal


def spans(sources: Any, source: int) -> list[tuple[float, float]]:
    return [(t.start_s, t.stop_s) for t in find_turns(sources, RATE) if t.source == source]


@pytest.mark.parametrize("level", [1e-3, 1.0])
def test_turns_and_overlap(level: float) -> None:
    sources = level * np.stack([bursts((0.5, 2), (4, 5)), bursts((1.5, 3.5))])
    assert spans(sources, 0) == [
        pytest.approx((0.5, 2), abs=0.03),
        pytest.approx((4, 5), abs=0.03),
    ]
    assert spans(sources, 1) == [pytest.approx((1.5, 3.5), abs=0.03)]
    stereo = np.stack([sources, 0.5 * sources], axis=1)
    assert find_turns(stereo, RATE) == find_turns(sources, RATE)


@pytest.mark.parametrize(
    ("dtype", "scale", "silence"),
    [
        ("int8", 100, 0),
        ("uint8", 100, 128),
        ("int16", 8000, 0),  # whose powers beyond int16 wrapped round
        ("int16", 20000, 0),
        ("int32", 2e9, 0),
        ("float16", 1, 0),
        ("float16", 6e4, 0),
        ("float32", 1e-38, 0),
        ("float32", 1e38, 0),
        ("float64", 1e-38, 0),
        ("float64", 1, 0.5),  # a constant offset is not heard
        ("float64", 1, -30),
    ],
)
def test_types_levels_and_offsets(dtype: str, scale: float, silence: float) -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    sources = np.stack([np.r_[tone, 0.02 * tone, 0 * tone], np.r_[0.02 * tone, tone, 0 * tone]])
    expected = [Turn(0, 0.0, 1.02), Turn(1, 0.98, 2.02)]
    assert find_turns(sources, RATE) == expected
    shifted = (scale * sources + silence).astype(dtype)
    assert find_turns(shifted, RATE) == expected
    finder = TurnFinder(2, RATE)
    for start in range(0, shifted.shape[1], 777):
        finder.add(shifted[:, start : start + 777])
    assert finder.turns() == expected
    assert find_turns(np.full_like(shifted, shifted[0, 0]), RATE) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [(np.nan, "NaN"), (np.inf, "infinity"), (1e39, "beyond what float32 holds")],
)
def test_turns_of_what_is_no_sound(bad: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^sources (contains|has samples as).*{message}"):
        find_turns(np.array([[0.0, bad]]), RATE)


def test_pauses_clicks_and_leaks() -> None:
    quiet = bursts((1, 2), level=0.1)
    # A pause of 0.2 s is closed, one of 0.5 s is not; a click is left out.
    assert len(spans([bursts((1, 2), (2.2, 3)), quiet], 0)) == 1
    assert len(spans([bursts((1, 2), (2.5, 3)), quiet], 0)) == 2
    assert len(spans([bursts((1, 2), (4, 4.04)), quiet], 0)) == 1
    # What masks let through of the other is no turn.
    loud = bursts((3, 5))
    assert spans([loud, bursts((0.5, 2)) + 0.1 * loud], 1) == [pytest.approx((0.5, 2), abs=0.03)]


@pytest.mark.parametrize("n_samples", [0, 1, 79, 80, 81, 799])
def test_short_and_silent(n_samples: int) -> None:
    assert find_turns(np.zeros((2, n_samples)), RATE) == []
    assert find_turns(np.zeros((2, 3, n_samples), np.float32), RATE) == []


@given(
    n_samples=st.integers(1, 5000),
    n_sources=st.integers(1, 3),
    rate=st.sampled_from([8000, 16000, 44100]),
    seed=st.integers(0, 99),
)
def test_turns_lie_in_the_recording(n_samples: int, n_sources: int, rate: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sources = rng.standard_normal((n_sources, n_samples)) * rng.random(n_samples).round()
    turns = find_turns(sources, rate)
    assert turns == sorted(turns, key=lambda turn: (turn.start_s, turn.source))
    for turn in turns:
        assert 0 <= turn.start_s < turn.stop_s <= n_samples / rate + 1e-3
        assert 0 <= turn.source < n_sources
    assert turns == find_turns(0.01 * sources, rate)
    for source in range(n_sources):
        own = [turn for turn in turns if turn.source == source]
        for before, after in pairwise(own):
            assert before.stop_s < after.start_s


def test_rttm() -> None:
    text = to_rttm([Turn(1, 0.25, 1.0), Turn(0, 0.5, 2.125)], "a talk\tof two")
    assert text == (
        "SPEAKER a_talk_of_two 1 0.250 0.750 <NA> <NA> 2 <NA> <NA>\n"
        "SPEAKER a_talk_of_two 1 0.500 1.625 <NA> <NA> 1 <NA> <NA>\n"
    )


def test_of_a_conversation() -> None:
    clips = {clip.speaker: clip.waveform[:24000] for clip in load_sample_clips()}
    truth = np.zeros((2, 48000))
    for index, name in enumerate(("Allison Smith", "Carlo Flora")):
        speech = clips[name] / np.std(clips[name])
        truth[index, 24000 * index :][: len(speech)] = speech
    result = skdc.separate(truth.sum(axis=0), rate=RATE)
    heard = {0: [0.0, 0.0], 1: [0.0, 0.0]}
    for turn in result.turns():
        heard[turn.source][0] += max(0.0, min(turn.stop_s, 3) - turn.start_s)
        heard[turn.source][1] += max(0.0, turn.stop_s - max(turn.start_s, 3))
    first = max(heard, key=lambda source: heard[source][0])
    other = 1 - first
    assert heard[first][0] > 2 * heard[first][1]
    assert heard[other][1] > 2 * heard[other][0]


def test_power_of_the_mean_of_channels() -> None:
    channels = np.random.default_rng(0).standard_normal((4, RATE))
    assert mean_power_ratio(channels) == pytest.approx(1 / 4, abs=0.02)
    assert mean_power_ratio(channels[:1]) == 1
    assert mean_power_ratio((32767 * channels[[0, 0]] / 8).astype(np.int16)) == 1
    assert mean_power_ratio([channels[0], -channels[0]]) == 0
    assert mean_power_ratio(np.zeros((2, 5))) == 1
    for unusable in (channels[0], channels[:, :0]):
        with pytest.raises(ValueError, match=r"give \(n_channels, n_samples\), not empty"):
            mean_power_ratio(unusable)


@pytest.mark.parametrize(
    "changed",
    [
        lambda channels: channels + 0.3,
        lambda channels: channels - np.array([[0.3], [-5]]),
        lambda channels: (100 * channels).astype(np.int8),
        lambda channels: (100 * channels + 128).astype(np.uint8),
        lambda channels: (1e-30 * channels).astype(np.float32),
        lambda channels: (1e30 * channels).astype(np.float32),
        lambda channels: channels.astype(np.float16),
    ],
)
def test_channels_of_any_type_level_and_offset(changed: Any) -> None:
    first, second = 0.2 * np.random.default_rng(0).standard_normal((2, RATE)).clip(-4, 4)
    cancelling, unlike = changed(np.stack([first, -first])), changed(np.stack([first, second]))
    assert mean_power_ratio(cancelling) < 1e-3
    assert mean_power_ratio(unlike) == pytest.approx(1 / 2, abs=0.02)
    assert channel_similarity(cancelling, RATE) > 0.95
    assert channel_similarity(unlike, RATE) < 0.1
    constant = changed(np.array([[0.1], [-0.1]]).repeat(50, axis=1))
    assert (mean_power_ratio(constant), channel_similarity(constant, RATE)) == (1, 1)


def test_similarity_of_channels() -> None:
    first, second = np.random.default_rng(0).standard_normal((2, RATE))
    assert channel_similarity([first, second], RATE) < 0.1
    assert channel_similarity([first, -np.roll(first, 100)], RATE) > 0.95
    assert channel_similarity([first, np.roll(first, 800)], RATE) < 0.1  # 100 ms
    assert channel_similarity([first, 0 * second], RATE) == 1
    assert channel_similarity([first + 5, 0.01 * second], RATE) == 1
    assert channel_similarity([0 * first, 0 * second], RATE) == 1


@pytest.mark.parametrize(
    ("use", "shape"),
    [
        (lambda x: active_level(x, 8000), (2, 4000)),
        (lambda x: active_level(x, 8000), (0,)),
        (lambda x: active_speech_level(x, 8000), (2, 4000)),
        (lambda x: channel_similarity(x, 8000), (4000,)),
        (lambda x: channel_similarity(x, 8000), (3, 4000)),
        (lambda x: channel_similarity(x, 8000), (2, 0)),
        (lambda x: find_turns(x, 8000), (4000,)),
        (lambda x: find_turns(x, 8000), (1, 2, 2, 4000)),
        (lambda x: TurnFinder(2, 8000).add(x), (3, 4000)),
    ],
)
def test_other_shapes_are_refused(use: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"shape {shape}; give ")):
        use(np.ones(shape))
