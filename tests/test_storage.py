"""Arrays in memory and on disk: what goes in comes out, and nothing is left behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from skdc.signal.storage import ArrayStore, _malloc_trim, give_back_memory

ARRAYS: list[NDArray[Any]] = [
    np.arange(3, dtype=np.float32),
    np.ones((2, 4)),
    np.arange(8.0).reshape(4, 2).T,
]


def stored(on_disk: bool) -> ArrayStore:
    store = ArrayStore(on_disk)
    for array in ARRAYS:
        store.append(array)
    return store


@pytest.mark.parametrize("on_disk", [False, True])
def test_arrays_come_out_as_they_went_in(on_disk: bool) -> None:
    with stored(on_disk) as store:
        arrays = store.arrays()
    for array, expected in zip(arrays, ARRAYS, strict=True):
        assert_array_equal(array, expected)


@pytest.mark.parametrize("on_disk", [False, True])
def test_end_to_end(on_disk: bool) -> None:
    with stored(on_disk) as store:
        assert_array_equal(store.flat(), np.concatenate([array.ravel() for array in ARRAYS]))


def test_on_disk_is_float32_plain_and_writable() -> None:
    with stored(on_disk=True) as store:
        arrays = store.arrays()
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    assert {type(array) for array in arrays} == {np.ndarray}
    assert all(array.flags.writeable for array in arrays)


def test_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with stored(on_disk=True) as store:
        arrays = store.arrays()
    assert arrays[1].sum() == 8
    del arrays
    with pytest.raises(ZeroDivisionError, match="by zero"), ArrayStore(on_disk=True) as store:
        store.append(np.ones(3) / (1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for n_samples in (2000, 100_000):  # found when it is taken out, and when it is put in
            message = "set TMPDIR to a folder with more room"
            with pytest.raises(OSError, match=message), ArrayStore(on_disk=True) as store:  # noqa: PT012
                store.append(np.ones(n_samples))
                store.flat()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def resident_mb() -> float:
    """What of the memory of this process is there, by the kernel."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def test_freed_memory_is_given_back() -> None:
    if _malloc_trim() is None:
        give_back_memory()
        pytest.skip("only glibc gives memory back on request")
    # Smaller than what glibc gets from the system one by one, so that they lie in its heap, which
    # the last one keeps from shrinking by itself.
    pieces = [bytearray(64 * 1024) for _ in range(1600)]  # 105 MB
    full = resident_mb()
    del pieces[:-1]
    give_back_memory()
    assert resident_mb() < full - 80
