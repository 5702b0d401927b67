"""Model files that were damaged or made up are refused by name, before they take memory."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import make_separator

from skdc import DeepClusteringSeparator
from skdc.model_file import read_tensors, write_tensors

BENCHMARKS = Path(__file__).parent.parent / "examples" / "benchmarks"
posix_only = pytest.mark.skipif(os.name == "nt", reason="for systems with fork")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("model_files")


@pytest.fixture
def content(benchmark: ModuleType, tmp_path: Path) -> bytes:
    benchmark.make_tiny(tmp_path / "tiny.safetensors")
    return (tmp_path / "tiny.safetensors").read_bytes()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent.parent)])
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


@posix_only
def test_crafted_and_mutated_files_are_refused_or_what_they_were(
    benchmark: ModuleType, content: bytes
) -> None:
    assert len(list(benchmark.crafted(content))) < 450
    # In a process of its own, which forks others: one that has computed cannot be forked.
    done = run(str(BENCHMARKS / "model_files.py"), "--n", "500")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "500 files" in done.stdout
    assert "0 misbehaved: 0 executed, 0 hung" in done.stdout


def test_what_a_file_executes_is_noted() -> None:
    # In a process of its own: what is noted of an audit is noted until its end.
    code = """
import pickle
from audio_files import PICKLE, watch
noted = watch()
pickle.loads(PICKLE)
print([line.split()[0] for line in noted])
"""
    done = run("-c", code)
    assert done.stdout == "['pickle.find_class', 'exec']\n", done.stderr


@posix_only
def test_files_that_hang_crash_or_execute_are_told() -> None:
    code = """
import os, time, audio_files
audio_files.HANGS_AFTER = 3
reads = [lambda: eval("1"), lambda: time.sleep(60), lambda: os._exit(1), lambda: {}[1], int]

def work(n_done, answers):
    files = ((f"file {i}", i) for i in range(n_done, len(reads)))
    audio_files.try_files(files, lambda i: reads[i](), lambda *_: "read", answers)

print(audio_files.try_all(work, len(reads), 2.0))
"""
    done = run("-c", code)
    assert "4 misbehaved: 1 executed, 1 hung\n4\n" in done.stdout, done.stdout + done.stderr


def test_files_that_take_too_much_are_told(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = importlib.import_module("audio_files").Tally(benchmark.MOST_SECONDS)
    tally.note("slow", "read", 1.1, 0, [])
    tally.note("large", "read", 0, 301, [])
    tally.note("sound", "read", 0.9, 299, [])
    assert tally.report() == 2
    assert "2 misbehaved: 0 executed, 0 hung" in capsys.readouterr().out


def flip_a_weight(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def state_another_threshold(path: Path) -> None:
    data = path.read_bytes()
    assert data.count(b"40.0") == 1
    path.write_bytes(data.replace(b"40.0", b"41.0"))


@pytest.mark.parametrize("change", [flip_a_weight, state_another_threshold])
def test_the_digest_tells_of_changes(change: Any, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    change(path)
    with pytest.raises(ValueError, match=r"tiny\.safetensors.*its digest is another one"):
        DeepClusteringSeparator.load(path)


def test_files_without_a_digest_load(
    benchmark: ModuleType, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.safetensors"
    expected = DeepClusteringSeparator.load(path, device="cpu").network_.state_dict()
    path.write_bytes(benchmark.pack(*benchmark.unpack(content)))
    found = DeepClusteringSeparator.load(path, device="cpu").network_.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("network", {"bidirectional": "no"}, "bidirectional='no' must be True or False"),
        ("network", {"n_layers": 5000}, "n_layers=5000 must be an int from 1 to 100"),
        ("network", {"hidden_size": 90_000}, "tensors do not fit the network that it states"),
        ("network", {"trunk": {"name": "blstm", "residual": "no"}}, "must be like False"),
        ("parameters", {"n_sources": 10**9}, "n_sources: got 1000000000, expected an integer"),
        ("parameters", {"n_sources": True}, "its parameter n_sources is True, not like 2"),
        ("parameters", {"win_length": 66}, "frames of 33 bins, but a window of 66 samples"),
        ("parameters", {"checkpoint": "/x"}, "it has the unknown parameters checkpoint"),
        ("parameters", {"a__b": 1}, "it has the unknown parameters a__b"),
        (None, {"seed": "7"}, "its seed is '7'; expected an int from 0"),
        (None, {"seed": -1}, "its seed is -1; expected an int from 0"),
    ],
)
def test_what_cannot_be_is_refused(
    part: str | None, changes: dict[str, Any], message: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.safetensors"
    tensors, header = read_tensors(path)
    header |= changes if part is None else {part: header[part] | changes}
    write_tensors(path, tensors, header)
    with pytest.raises(ValueError, match=f"(?s)tiny.safetensors.*{message}"):
        DeepClusteringSeparator.load(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("embed.bias", lambda x: x.fill_(torch.nan), "'embed.bias' holds numbers that are not"),
        ("embed.bias", lambda x: x.int(), "'embed.bias' is of the type torch.int32"),
        ("input_scale", lambda x: x.zero_(), "'input_scale' holds numbers that are not positive"),
    ],
)
def test_unsound_weights_are_refused(
    name: str, change: Any, message: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.safetensors"
    tensors, header = read_tensors(path)
    write_tensors(path, tensors | {name: change(tensors[name])}, header)
    with pytest.raises(ValueError, match=message):
        DeepClusteringSeparator.load(path)


@pytest.mark.parametrize(
    ("name", "value"), [("hidden_size", -1), ("mask", "hard"), ("n_sources", 99)]
)
def test_parameters_that_would_not_load_are_not_saved(
    name: str, value: Any, tmp_path: Path
) -> None:
    y = torch.randn(3, 2, 640, generator=torch.Generator("cpu").manual_seed(0)).numpy()
    separator = make_separator().fit(y.sum(axis=1), y).set_params(**{name: value})
    with pytest.raises(ValueError, match=name):
        separator.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_framing_is_not_saved(tmp_path: Path) -> None:
    y = torch.randn(3, 2, 640, generator=torch.Generator("cpu").manual_seed(0)).numpy()
    separator = make_separator().fit(y.sum(axis=1), y).set_params(win_length=128)
    with pytest.raises(ValueError, match="win_length=128 but the network was fitted with 64"):
        separator.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
