"""Active speech level against a plain transcription of ITU-T P.56, method B."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.signal import bilinear_zpk, cheby2, freqs_zpk, zpk2sos
from scipy.signal import sosfilt as filter_sections

from skdc.datasets import load_sample_clips, resample
from skdc.signal import active_level, active_speech_level

Array = NDArray[Any]


def db(level: float) -> float:
    return float(20 * np.log10(level))


def clip(index: int, seconds: float, rate: int = 8000) -> Array:
    waveform = load_sample_clips()[index].waveform.astype(float)
    return resample(waveform, 8000, rate)[rate : int((1 + seconds) * rate)]


def naive_band(samples: Array, rate: int) -> Array:
    """The filters from their analogue form, with the edge of the stop band found by search."""

    def loss_at_one(stop: float) -> float:
        zpk = cheby2(5, 50, stop, "highpass", analog=True, output="zpk")
        return db(float(np.abs(freqs_zpk(*zpk, worN=[1.0])[1][0]))) + 0.25

    stop = brentq(loss_at_one, 0.3, 0.99)
    for kind, edge in (("highpass", 200), ("lowpass", 5500)):
        if kind == "lowpass" and rate < 2.2 * edge:
            continue
        warped = 2 * rate * np.tan(np.pi * edge / rate)
        analogue = warped * (stop if kind == "highpass" else 1 / stop)
        zpk = cheby2(5, 50, analogue, kind, analog=True, output="zpk")
        samples = filter_sections(zpk2sos(*bilinear_zpk(*zpk, fs=rate)), samples)
    return samples


def naive_level(speech: Array, rate: int) -> float:
    """The standard's counters, sample by sample."""
    padded = naive_band(np.r_[speech, np.zeros(int(np.ceil(0.35 * rate)))], rate)
    g = np.exp(-1 / (rate * 0.03))
    hangover = int(np.ceil(0.2 * rate))
    thresholds = [2.0 ** (-k / 2) for k in range(-2, 40)]  # amplitudes, from 2 down, 3 dB apart
    activity = [0] * len(thresholds)
    hang = [hangover] * len(thresholds)
    p = q = energy = 0.0
    for x in padded.tolist():
        energy += x * x
        p = g * p + (1 - g) * abs(x)
        q = g * q + (1 - g) * p
        for j, threshold in enumerate(thresholds):
            if q >= threshold:
                activity[j] += 1
                hang[j] = 0
            elif hang[j] < hangover:
                activity[j] += 1
                hang[j] += 1
    points = [
        (10 * np.log10(energy / a), db(c)) for a, c in zip(activity, thresholds, strict=True) if a
    ]
    for (a0, c0), (a1, c1) in pairwise(points):
        d0, d1 = a0 - c0 - 15.9, a1 - c1 - 15.9
        if d0 < 0 <= d1:
            return float(10 ** ((a0 + (a1 - a0) * d0 / (d0 - d1)) / 20))
    raise AssertionError("no threshold lies 15.9 dB below its level")


@pytest.mark.parametrize(("index", "rate"), [(0, 8000), (4, 8000), (9, 16000), (2, 11025)])
def test_equals_the_counters_of_the_standard(index: int, rate: int) -> None:
    speech = clip(index, 1.0, rate)
    assert active_speech_level(speech, rate) == pytest.approx(naive_level(speech, rate), rel=1e-7)


def test_pauses_do_not_count() -> None:
    speech = clip(1, 4.0)
    pause = np.zeros(40000)
    alone = active_speech_level(speech, 8000)
    assert db(active_speech_level(np.r_[pause, speech, pause], 8000) / alone) == pytest.approx(
        0, abs=0.01
    )
    twice = active_speech_level(np.r_[speech, pause, speech], 8000)
    assert db(twice / alone) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("gain_db", [-40, -20.3, 7])
def test_scales_with_the_waveform(gain_db: float) -> None:
    speech = clip(6, 4.0)
    scaled = active_speech_level(10 ** (gain_db / 20) * speech, 8000)
    # Thresholds lie on a fixed grid, as the standard has them: not exact to the last digit.
    assert db(scaled / active_speech_level(speech, 8000)) == pytest.approx(gain_db, abs=0.02)
    quarter = active_speech_level(speech / 4, 8000)
    assert quarter * 4 == pytest.approx(active_speech_level(speech, 8000), rel=1e-12)


def test_steady_tone_has_its_own_level() -> None:
    tone = np.sqrt(2) * 0.1 * np.sin(2 * np.pi * 1000 / 8000 * np.arange(80000))
    # 10 s, and the fifth of a second of hangover with the decay of the envelope.
    assert db(active_speech_level(tone, 8000)) == pytest.approx(-20 - 0.11, abs=0.02)


@pytest.mark.parametrize(("frequency_hz", "most"), [(50, 0.01), (0, 0.01), (7900, 0.05)])
def test_hum_and_hiss_are_filtered_out(frequency_hz: float, most: float) -> None:
    tone = np.cos(2 * np.pi * frequency_hz / 16000 * np.arange(32000)) * 0.05
    speech = clip(3, 2.0, 16000)
    change = active_speech_level(speech + tone, 16000) / active_speech_level(speech, 16000)
    assert abs(db(change)) < most


def test_close_to_the_simple_stand_in() -> None:
    for sample in load_sample_clips():
        exact = active_speech_level(sample.waveform, 8000)
        assert abs(db(active_level(sample.waveform, 8000) / exact)) < 2


def test_silence_and_next_to_nothing() -> None:
    assert active_speech_level(np.zeros(8000), 8000) == 0
    assert active_speech_level([], 8000) == 0
    assert active_speech_level([0.5], 8000) > 0
    click = np.zeros(80000)
    click[40000] = 1.0
    assert 0 < active_speech_level(click, 8000) < 1


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros((2, 100)), 8000, r"shape \(2, 100\)"),
        ([0.0, np.nan], 8000, "waveform contains NaN"),
        (np.zeros(100), 800, "sample_rate is 800; give 1000 Hz or more"),
    ],
)
def test_unusable_waveforms(waveform: Any, rate: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        active_speech_level(waveform, rate)
