"""Long recordings from end to end: who is who with the bundled model, on people it never heard."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from skdc import DeepClusteringSeparator, load_pretrained
from skdc.datasets import load_sample_clips, write_audio
from skdc.separation import Separator

RATE = 8000
FloatArray = NDArray[np.float32]


@pytest.fixture(scope="module")
def separator() -> DeepClusteringSeparator:
    return load_pretrained(device="cpu")


def speech(name: str, seconds: int) -> FloatArray:
    parts = [c.waveform for c in load_sample_clips() if c.speaker.startswith(name)]
    parts = [part / np.sqrt(np.mean(part**2)) * 0.05 for part in parts]
    return np.tile(np.concatenate(parts), 10)[: seconds * RATE].astype(np.float32)


def turns(seconds: int, length: int) -> FloatArray:
    """A man and a woman in turn, (2, n_samples)."""
    speaks_second = (np.arange(seconds * RATE) // (length * RATE)) % 2 == 1
    return np.stack([speech("Carlo", seconds), speech("Allison", seconds)]) * np.stack(
        [~speaks_second, speaks_second]
    )


def share_in_own_output(sources: FloatArray, estimates: Any) -> float:
    """Energy of who speaks alone that is in one output, the same one throughout."""
    shares = []
    for order in ([0, 1], [1, 0]):
        own = sum(
            np.square(estimates[output][source != 0], dtype=float).sum()
            for source, output in zip(sources, order, strict=True)
        )
        shares.append(own / np.square(sources, dtype=float).sum())
    return float(max(shares))


def test_long_turns_come_out_whole(separator: DeepClusteringSeparator) -> None:
    sources = turns(50, 25)
    mixture = sources.sum(axis=0)
    estimates = separator.predict(mixture)
    assert share_in_own_output(sources, estimates) > 0.9
    assert_allclose(estimates.sum(axis=0), mixture, atol=1e-5)


def test_order_outlasts_silence(separator: DeepClusteringSeparator) -> None:
    sources = turns(60, 15)
    sources[:, 22 * RATE : 38 * RATE] = 0
    estimates = separator.predict(sources.sum(axis=0))
    assert share_in_own_output(sources, estimates) > 0.9
    assert np.abs(estimates[:, 23 * RATE : 37 * RATE]).max() < 1e-4


def test_the_loudest_of_the_whole_recording_is_first(separator: DeepClusteringSeparator) -> None:
    man, woman = speech("Carlo", 36), speech("Allison", 36)
    late = np.arange(36 * RATE) >= 10 * RATE
    quiet, loud = np.where(late, 0.4, 1.0), np.where(late, 1.0, 0.4)
    for mixture in (man * quiet + woman * loud, man * loud + woman * quiet):
        levels = np.square(separator.predict(mixture.astype(np.float32))).mean(axis=1)
        assert levels[0] > levels[1]


def test_one_who_talks_alone_is_counted_as_one() -> None:
    separator = load_pretrained(device="cpu").set_params(n_sources=None)
    (alone,) = separator.predict(speech("Carlo", 40))
    assert_allclose(alone, speech("Carlo", 40), atol=1e-5)


def test_masks_and_labels_follow_the_same_voices(separator: DeepClusteringSeparator) -> None:
    sources = turns(34, 17)
    mixture = sources.sum(axis=0)
    masks = separator.predict_masks(mixture)
    assert_allclose(masks.sum(axis=0), 1, atol=1e-5)
    pieces: Separator = separator.pipeline()
    spectrogram = pieces.framing.stft(torch.from_numpy(mixture))
    loudness = (masks * np.abs(spectrogram.numpy())) ** 2
    heard = np.square(separator.predict(mixture)).mean(axis=1)
    assert_allclose(loudness.sum((1, 2)) / loudness.sum(), heard / heard.sum(), atol=0.05)


def test_without_a_voice_head_spectra_tell_who_is_who() -> None:
    separator = load_pretrained(device="cpu")
    separator.network_.voice_head = None
    sources = turns(50, 25)
    assert share_in_own_output(sources, separator.predict(sources.sum(axis=0))) > 0.7


def test_the_benchmark_counts_everyone_alone_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    rows = ["split,speaker,sex,path"]
    for speaker, sex in [("a", "f"), ("b", "m"), ("c", "f"), ("d", "m"), ("e", "m")]:
        write_audio(tmp_path / f"{speaker}.wav", 0.1 * rng.standard_normal(RATE), RATE)
        rows.append(f"valid,{speaker},{sex},{speaker}.wav")
    (tmp_path / "utterances.csv").write_text("\n".join(rows) + "\n")
    heard: list[bytes] = []

    class HearsTwo:
        def set_params(self, n_sources: int | None) -> None:
            assert n_sources is None

        def predict(self, mixture: FloatArray) -> list[FloatArray]:
            heard.append(mixture[:100].tobytes())
            return [mixture, mixture]

    benchmarks = Path(__file__).parent.parent / "examples" / "benchmarks"
    monkeypatch.syspath_prepend(benchmarks)
    benchmark = importlib.import_module("conversations")
    monkeypatch.setattr(benchmark, "load_pretrained", lambda name: HearsTwo())
    options = ["--minutes", "0.02", "--count", "--kinds", "constant_overlap", "--pairs", "2"]
    monkeypatch.setattr(sys, "argv", ["conversations.py", str(tmp_path), *options])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["constant_overlap | fm | 2 talkers"] * 2
    assert lines[6:11] == [f"one_person | {sex} | 2 talkers" for sex in "fmfmm"]
    assert lines[11:] == [
        "right of constant_overlap: 6 of 6",
        "right of one_person: 0 of 5",
        "right of all: 6 of 11",
    ]
    assert len(set(heard[6:])) == 5
