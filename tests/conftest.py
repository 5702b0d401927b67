"""What several test files need."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The models of the tests are small: a second thread gains little, and on a busy machine each of
# two waits for the other. Set before torch is imported, for it and for the programs that are run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from browser import DRIVER, Browser
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from torch import Tensor

from skdc import DeepClusteringSeparator, StreamingSeparator
from skdc.cli import main
from skdc.datasets import load_sample_clips
from skdc.protocols import PROTOCOLS
from skdc.protocols.making import FolderProtocol
from skdc.separation.hearing import Hearing
from skdc.signal import Balance

Array = NDArray[Any]

# A machine that is busy with other work is no error.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


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


def make_sources(n_samples: int, *, n_sources: int = 2, seed: int = 0) -> Array:
    """Noises of different colour, each with pauses of its own, (n_sources, n_samples)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n_sources, n_samples + 1))
    tilts = np.linspace(-0.9, 0.9, n_sources)[:, np.newaxis]
    envelope = rng.random((n_sources, n_samples // 100 + 1)).repeat(100, axis=1)[:, :n_samples]
    sources: Array = 0.1 * envelope * (noise[:, 1:] + tilts * noise[:, :-1])
    return sources


class Table:
    """A data frame: an array of rows that is gone through by the names of its columns."""

    def __init__(self, rows: Any) -> None:
        self.rows = np.asarray(rows)
        self.shape = self.rows.shape
        self.columns = [f"column {i}" for i in range(self.shape[1])]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, column: str) -> Array:
        if column not in self.columns:
            raise KeyError(column)
        return self.rows[:, self.columns.index(column)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.rows.astype(dtype or self.rows.dtype)

    def take(self, indices: Any, axis: int = 0) -> Table:
        return Table(self.rows.take(indices, axis))

    @property
    def iloc(self) -> Table:  # by which scikit-learn tells a data frame
        return self


def touch(*names: str) -> None:
    """Make empty files, and their folders."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def write_lines(path: Path, *lines: str) -> Path:
    """Write a text file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def files_of(root: str | Path) -> dict[str, bytes]:
    """What all files below a folder hold."""
    files = [path for path in Path(root).rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def rows_in(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def weights(separator: DeepClusteringSeparator) -> Array:
    """All numbers of the network, one after the other."""
    return np.concatenate([x.ravel() for x in separator.network_.state_dict().values()])


def streamed(
    separator: DeepClusteringSeparator, mixture: NDArray[np.floating], n_pieces: int
) -> NDArray[np.float32]:
    """What a stream gives of a recording that comes in so many pieces."""
    stream = StreamingSeparator(separator)
    parts = [stream.push(piece) for piece in np.array_split(mixture, n_pieces)]
    return np.concatenate([*parts, stream.flush()], axis=1)


def as_heard(self: Hearing, spectrogram: Tensor) -> Balance:
    """In the place of `Hearing.balance`: no tilt is evened, and no band is lifted."""
    same = torch.ones_like(spectrogram[:1].real)
    return Balance(same, torch.zeros_like(same))


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """Run a command that must fail, and give the one line it says."""
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert said.startswith("skdc: error: ")
    assert said.count("\n") == 1
    return said


def interrupted(*args: Any, **kwargs: Any) -> Any:
    """Stands for what a user stops at once."""
    raise KeyboardInterrupt("at once")


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file for the checkpoint of a run, which is not there yet."""
    return tmp_path / "run.safetensors"


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have paths begin in a folder of the test's own, and pictures drawn without a screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.fixture
def close_figures() -> Iterator[None]:
    from matplotlib import pyplot

    yield
    pyplot.close("all")


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
def plain_file(plain: DeepClusteringSeparator, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a file of the name tiny."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    plain.save(path)
    return str(path)


@pytest.fixture(scope="session")
def model(plain: DeepClusteringSeparator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That separator with these heads, taught by some examples, in a file."""
    path = tmp_path_factory.mktemp("model") / "voices.safetensors"
    plain.save(path)
    separator = DeepClusteringSeparator.load(path)
    clips = load_sample_clips()
    separator.fit_voices([c.waveform for c in clips], [c.speaker for c in clips], n_examples=20)
    separator.save(path)
    return path


@pytest.fixture(scope="module")
def separator() -> DeepClusteringSeparator:
    """A separator with the framing of the defaults, as the displays show it."""
    sources = np.random.default_rng(1).standard_normal((2, 2, 4000))
    separator = make_separator(win_length=256, hop_length=64, segment_frames=100)
    return separator.fit(sources.sum(axis=1), sources)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model that separates within no time."""
    sources = 0.1 * np.random.default_rng(0).standard_normal((3, 2, 4000))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    make_separator().fit(sources.sum(axis=1), sources).save(path)
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
