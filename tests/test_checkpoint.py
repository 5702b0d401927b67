"""Model files: what goes in comes out, damage is noticed, nothing is ever half written."""

import json
import os
import re
import stat
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from skdc.model_file import read_tensors, write_tensors
from skdc.paths import atomic_path


def example_tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "float": torch.randn(3, 4, generator=generator),
        "double": torch.randn(5, generator=generator, dtype=torch.float64),
        "brain": torch.randn(6, generator=generator).to(torch.bfloat16),
        "int": torch.arange(7),
        "scalar": torch.tensor(2.5),
        "nothing": torch.zeros(0, 3),
    }


posix_only = pytest.mark.skipif(os.name != "posix", reason="limits and modes are POSIX's")

HEADER = {"kind": "test", "history": [{"epoch": 1, "loss": 0.1}], "name": "äöü", "none": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)


def test_round_trip(path):
    write_tensors(path, example_tensors(), HEADER)
    tensors, header = read_tensors(path)
    assert_same(tensors, example_tensors())
    assert header == HEADER


def test_paths_as_strings_and_folders_that_do_not_exist_yet(tmp_path):
    path = tmp_path / "runs" / "one" / "model.safetensors"
    write_tensors(str(path), {"a": torch.ones(1)}, {})
    assert read_tensors(str(path))[1] == {}


def test_a_second_write_replaces_the_first(path):
    write_tensors(path, {"a": torch.ones(3)}, {"step": 1})
    write_tensors(path, {"b": torch.ones(2)}, {"step": 2})
    tensors, header = read_tensors(path)
    assert list(tensors) == ["b"]
    assert header == {"step": 2}
    assert os.listdir(path.parent) == [path.name]


def test_views_shared_memory_and_gradients_are_written_as_values(path):
    base = torch.arange(12.0).reshape(3, 4).requires_grad_()
    tensors = {"base": base, "same": base, "transposed": base.T, "every_second": base[:, ::2]}
    write_tensors(path, tensors, {})
    assert_same(read_tensors(path)[0], {name: t.detach() for name, t in tensors.items()})


def test_numpy_scalars_in_the_header_become_plain(path):
    write_tensors(path, {}, {"size": np.int64(3), "rate": np.float32(0.5), "on": np.bool_(True)})
    assert read_tensors(path)[1] == {"size": 3, "rate": 0.5, "on": True}


def test_the_file_is_a_plain_safetensors_file_with_a_json_header(path):
    # Length of the header, then JSON: no pickle, and nothing that reading could run.
    write_tensors(path, example_tensors(), HEADER)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    layout = json.loads(content[8 : 8 + length])
    assert json.loads(layout["__metadata__"]["skdc"]) == HEADER
    assert layout.keys() - {"__metadata__"} == example_tensors().keys()
    assert b"pickle" not in content


@posix_only
def test_files_get_the_permissions_of_any_new_file(path):
    mask = os.umask(0o027)
    try:
        write_tensors(path, {}, {})
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@contextmanager
def largest_file(n_bytes):
    """Writing more fails, as on a full disk."""
    import resource  # not everywhere

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix_only
def test_a_write_that_fails_leaves_the_old_file_whole(path):
    write_tensors(path, example_tensors(), HEADER)
    before = path.read_bytes()
    with largest_file(4096), pytest.raises(OSError, match=r"model\.safetensors"):
        write_tensors(path, {"big": torch.zeros(100_000)}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_an_interrupted_block_leaves_the_old_file_whole(path):
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt, match="half"), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half of the n")
        raise KeyboardInterrupt("half")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


def test_a_temporary_path_has_the_folder_and_suffix_of_its_file(tmp_path):
    with atomic_path(tmp_path / "speech.wav") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".wav"
        temporary.write_bytes(b"data")
    assert (tmp_path / "speech.wav").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("header", "error", "message"),
    [
        ({"a": object()}, TypeError, "header of a model file cannot hold <object"),
        ({"a": float("nan")}, ValueError, "not JSON compliant"),
        ({"a": {1}}, TypeError, r"header of a model file cannot hold \{1\}"),
    ],
)
def test_headers_that_json_cannot_hold_are_refused(path, header, error, message):
    with pytest.raises(error, match=message):
        write_tensors(path, {}, header)
    assert not os.listdir(path.parent)


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        read_tensors(path)
    with pytest.raises(FileNotFoundError, match=re.escape(str(path.parent))):
        read_tensors(path.parent)


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=60)
def test_files_cut_short_anywhere_are_refused(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    write_tensors(path, example_tensors(), HEADER)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        read_tensors(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"RIFF" + bytes(100), b"\x80\x04K\x01." * 50, bytes(1000), b"\xff" * 1000],
)
def test_files_of_other_programs_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors.*not an skdc model file"):
        read_tensors(path)


@pytest.mark.parametrize(
    "metadata",
    [None, {"format": "pt"}, {"skdc": ""}, {"skdc": "{"}, {"skdc": "[1]"}, {"skdc": "null"}],
)
def test_safetensors_files_without_our_header_are_refused(path, metadata):
    save_file({"a": torch.ones(2)}, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"model\.safetensors.*not an skdc model file"):
        read_tensors(path)


def test_tensors_that_are_read_do_not_hang_on_the_file(path):
    write_tensors(path, {"a": torch.arange(1000.0)}, {})
    tensors, _ = read_tensors(path)
    write_tensors(path, {"a": torch.zeros(1000)}, {})
    tensors["a"] += 1
    assert torch.equal(tensors["a"], torch.arange(1000.0) + 1)
    assert not read_tensors(path)[0]["a"].any()
