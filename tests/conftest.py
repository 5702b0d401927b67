"""What several test files need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import DRIVER, Browser

from skdc import DeepClusteringSeparator
from skdc.datasets import load_sample_clips
from skdc.protocols import PROTOCOLS
from skdc.protocols.making import FolderProtocol


def make_separator(**parameters: Any) -> DeepClusteringSeparator:
    """A separator that trains within a second on the CPU, the same way on every machine."""
    settings: dict[str, Any] = {
        "embedding_dim": 4,
        "hidden_size": 8,
        "n_layers": 1,
        "win_length": 64,
        "hop_length": 16,
        "segment_frames": 20,
        "batch_size": 4,
        "max_epochs": 1,
        "device": "cpu",
        "precision": "float32",
        "random_state": 0,
    }
    return DeepClusteringSeparator(**(settings | parameters))


def mixture_folder(name: str) -> str:
    """The folder of a protocol's mixtures, beside those of their sources."""
    protocol = PROTOCOLS[name]
    assert isinstance(protocol, FolderProtocol)
    return protocol.mixture_folder


@pytest.fixture(scope="session")
def plain() -> DeepClusteringSeparator:
    """A separator without heads for voices and their number."""
    clips = load_sample_clips()
    separator = DeepClusteringSeparator(
        embedding_dim=4, hidden_size=8, n_layers=1, hop_length=128, max_epochs=1, random_state=0
    )
    return separator.fit_recordings([c.waveform for c in clips], [c.speaker for c in clips])


@pytest.fixture(scope="session")
def model(plain: DeepClusteringSeparator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with these heads, taught by some examples, in a file."""
    path = tmp_path_factory.mktemp("model") / "voices.safetensors"
    plain.save(path)
    separator = DeepClusteringSeparator.load(path)
    clips = load_sample_clips()
    separator.fit_voices([c.waveform for c in clips], [c.speaker for c in clips], n_examples=60)
    separator.save(path)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            line = next(line for line in driver.stdout if "successfully on port" in line)
            made = Browser(f"http://127.0.0.1:{line.rstrip('. ' + chr(10)).split()[-1]}")
            made.ask("POST", "/timeouts", {"script": 120_000})
            yield made
            made.ask("DELETE", "")
        finally:
            driver.terminate()
