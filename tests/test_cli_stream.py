"""``skdc stream``: raw audio in, the sources out as channels, whatever comes when."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_separator

from skdc import DeepClusteringSeparator, StreamingSeparator
from skdc.cli import main

TIMES = ["--block=0.02", "--context=0.05", "--lookahead=0.03", "--warm-up=0.1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = 0.1 * np.random.default_rng(0).standard_normal((3, 2, 4000))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    make_separator().fit(sources.sum(axis=1), sources).save(path)
    return path


Run = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def run(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    def run_command(parts: Sequence[bytes], *options: str) -> tuple[int, bytes, str]:
        reading, writing = os.pipe()
        with io.TextIOWrapper(io.BytesIO()) as output, open(reading, "rb") as source:
            monkeypatch.setattr(sys, "stdin", source)
            monkeypatch.setattr(sys, "stdout", output)
            feeder = threading.Thread(target=feed, args=(writing, parts))
            feeder.start()
            code = main(["stream", "--model", str(model), "--device=cpu", *options])
            feeder.join()
            written = output.buffer
            assert isinstance(written, io.BytesIO)
            return code, written.getvalue(), capfd.readouterr().err

    def feed(writing: int, parts: Sequence[bytes]) -> None:
        for part in parts:
            os.write(writing, part)
            time.sleep(0.05)
        os.close(writing)

    yield run_command
    monkeypatch.undo()


def test_channels_are_the_sources(run: Run, model: Path) -> None:
    rng = np.random.default_rng(1)
    mixture = (3000 * rng.standard_normal(6000)).astype("<i2")
    raw = mixture.tobytes()
    # A sample may come in two parts.
    code, output, messages = run([raw[:501], raw[501:3002], raw[3002:]], *TIMES)
    assert code == 0, messages
    assert "8000 Hz, 2 channels out" in messages
    found = np.frombuffer(output, "<i2").reshape(-1, 2).T
    durations: dict[str, Any] = {"block": 0.02, "context": 0.05, "lookahead": 0.03}
    separator = DeepClusteringSeparator.load(model, device="cpu")
    stream = StreamingSeparator(separator, warm_up=0.1, **durations)
    assert f"latency {stream.latency_ms:.0f} ms" in messages
    expected = np.concatenate([stream.push(mixture / 32768), stream.flush()], axis=1)
    np.testing.assert_allclose(found, 32768 * expected, atol=2)
    np.testing.assert_allclose(found.sum(axis=0), mixture, atol=2)


def test_three_channels_of_nothing(run: Run) -> None:
    code, output, messages = run([b""], "--n-sources=3")
    assert (code, output) == (0, b"")
    assert "3 channels out" in messages


def test_files_are_told_from_raw_samples(run: Run) -> None:
    code, output, messages = run([b"RIFF" + bytes(100)])
    assert (code, output) == (2, b"")
    assert "error: the standard input is an audio file; give raw samples" in messages


def test_durations_are_checked(run: Run) -> None:
    code, _, messages = run([b""], "--block=-1")
    assert code == 2
    assert "error: block=-1.0 must be a number of seconds" in messages
