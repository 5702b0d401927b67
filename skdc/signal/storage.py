"""Arrays that are collected one by one, in memory or in temporary files."""

from __future__ import annotations

import ctypes
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayStore", "Spool", "give_back_memory"]

_LARGEST_IN_MEMORY = 16 * 2**20  # bytes


class ArrayStore:
    """Arrays appended one after the other, and then taken out.

    On disk they lie, as float32, in a temporary file without a name in `tempfile.gettempdir()`,
    which the environment variable ``TMPDIR`` sets. It is mapped into memory when they are taken
    out: the system reads a part of it when that is used, and lets go of it when memory is short.
    The file goes with the last array of it.
    """

    def __init__(self, on_disk: bool = False) -> None:
        self._arrays: list[NDArray[Any]] = []
        self._shapes: list[tuple[int, ...]] = []
        # Closed by __exit__.
        self._file = tempfile.TemporaryFile(prefix="skdc-") if on_disk else None  # noqa: SIM115

    def append(self, array: NDArray[Any]) -> None:
        """Add an array, which is not changed afterwards, of numbers that fit into float32 on disk.

        Raises an OSError if the disk is full.
        """
        if self._file is None:
            self._arrays.append(array)
        else:
            with _naming_the_folder():
                self._file.write(np.ascontiguousarray(array, dtype=np.float32).data)
        self._shapes.append(array.shape)

    def flat(self) -> NDArray[Any]:
        """Give the numbers of all arrays, end to end, as one array; at least one there must be.

        Nothing can be appended afterwards, and they can be taken out but once.
        """
        if self._file is None:
            dtype = np.result_type(*{array.dtype for array in self._arrays})
            flat = np.empty(sum(array.size for array in self._arrays), dtype)
            end = len(flat)
            # Each array is freed when it is copied, so that all are never in memory twice.
            while self._arrays:
                array = self._arrays.pop()
                flat[end - array.size : end] = array.ravel()
                end -= array.size
            return flat
        with _naming_the_folder(), self._file:
            self._file.flush()
            # Writable, because torch warns of arrays that are not; nobody writes. The mapping
            # outlives the file object.
            return np.memmap(self._file, np.float32, "r+").view(np.ndarray)

    def arrays(self) -> list[NDArray[Any]]:
        """Give the arrays; as for `flat`."""
        if self._file is None:
            return self._arrays
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        parts = np.split(self.flat(), np.cumsum(sizes)[:-1])
        # (n_numbers,) -> the shape that each was given with (...)
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            with _naming_the_folder():
                self._file.close()


class Spool:
    """Arrays that are put aside, to be read in the same order, as often as needed.

    Up to 16 MB are kept in memory. Beyond that all lie in a temporary file without a name, from
    which one is read at a time: it is not mapped, as those of an `ArrayStore` are, so that memory
    does not grow with their number. The file goes with the spool.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            _LARGEST_IN_MEMORY, prefix="skdc-"
        )
        weakref.finalize(self, self._file.close)
        self._kinds: list[tuple[np.dtype[Any], tuple[int, ...]]] = []
        self._end = 0

    def append(self, array: NDArray[Any]) -> None:
        """Add a copy of an array, or raise an OSError if the disk is full."""
        with _naming_the_folder():
            self._file.seek(self._end)
            self._file.write(np.ascontiguousarray(array).data)
        self._kinds.append((array.dtype, array.shape))
        self._end += array.nbytes

    def __iter__(self) -> Iterator[NDArray[Any]]:
        place = 0
        for dtype, shape in self._kinds:
            array = np.empty(shape, dtype)
            self._file.seek(place)
            # As bytes, whatever the type and also where there are none: shape -> (n_bytes,)
            array.reshape(-1).view(np.uint8)[:] = np.frombuffer(
                self._file.read(array.nbytes), np.uint8
            )
            place += array.nbytes
            yield array


@contextmanager
def _naming_the_folder() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: a temporary file in {tempfile.gettempdir()!r} could not be "
            "written; set TMPDIR to a folder with more room",
        ) from error


def give_back_memory() -> None:
    """Give memory that was freed back to the system, where the C library is glibc.

    It keeps what was freed between pieces that are in use, and a recording of hours, each stretch
    of which needs other sizes, would take more and more.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
