"""Model files that were damaged or made up are refused by name, before they take memory."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import make_separator

from skdc import DeepClusteringSeparator
from skdc.model_file import read_tensors, write_tensors

BENCHMARKS = Path(__file__).parent.parent / "examples" / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("model_files")


@pytest.fixture
def content(benchmark: ModuleType, tmp_path: Path) -> bytes:
    benchmark.make_tiny(tmp_path / "tiny.safetensors")
    return (tmp_path / "tiny.safetensors").read_bytes()


def test_mutated_files_are_refused_or_what_they_were(
    benchmark: ModuleType, content: bytes, tmp_path: Path
) -> None:
    counts: Counter[str] = Counter()
    wrong, _, most = benchmark.check("tiny", content, 300, tmp_path, counts, n_crafted=200)
    assert (wrong, sum(counts.values()) >= 300) == (0, True)
    assert most[0] < 300


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
