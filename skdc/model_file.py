"""One file a model: tensors in safetensors, everything else as JSON in its header.

Reading such a file runs no code, and a digest tells if it is no longer what was written. Writing
is atomic: the file is either the old one or the new one, whole, also when the program dies or the
disk fills half-way.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows, where leftovers of killed programs are not told from other files
    fcntl = None  # type: ignore[assignment]

__all__ = ["Shapes", "atomic_path", "check_file", "read_tensors", "write_tensors"]

Shapes = Mapping[str, tuple[int, ...]]

_HEADER_KEY = "skdc"
_DIGEST_KEY = "blake2b"
# Bytes of the header, lists and objects in it, and tensors of the largest file that is read.
_LARGEST_HEADER = 8_000_000
_MOST_PARTS = 100_000
_MOST_TENSORS = 10_000
# Bytes of a name that leave room for what is added to it; file systems allow 255.
_LONGEST_STEM = 200


def check_file(path: str | os.PathLike[str], what: str) -> None:
    """Raise a FileNotFoundError that says what should be at a path, and is not."""
    _check_name(path)
    if not os.path.isfile(path):  # unlike `Path.is_file`, also for names that are too long
        raise FileNotFoundError(f"no {what} at {os.fspath(path)!r}")


def _check_name(path: str | os.PathLike[str]) -> None:
    """Refuse a name of other bytes than UTF-8, such as of old archives; libsndfile needs UTF-8."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{os.fspath(path)!r} is no name in UTF-8; give it another") from None


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends without an error.

    It lies in the same folder, which is made where it does not exist, and has the same suffix.
    """
    path = Path(path)
    _check_name(path)
    if not path.name:
        raise ValueError(f"{str(path)!r} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _open_temporary(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        if fcntl is None:
            os.close(descriptor)  # Windows does not rename open files
        os.replace(temporary, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        # After it was renamed there is none, or that of the next writer.
        _remove(temporary, descriptor)


def _temporary_name(path: Path, number: int) -> Path:
    stem = path.stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
    return path.with_name(f".{stem}.part{number}{path.suffix}")


def _open_temporary(path: Path) -> tuple[Path, int]:
    """Open an empty file beside a target, and keep it locked as long as it is open.

    The names are always the same, so that a program takes up what one that was killed has left.
    The lock tells such a file, which nobody holds, from that of a program that is still writing.
    """
    number = 0
    while (descriptor := _lock(temporary := _temporary_name(path, number), os.O_CREAT)) is None:
        number += 1
    os.ftruncate(descriptor, 0)
    # Those of several programs that were killed while they wrote to one target.
    while fcntl and os.path.lexists(other := _temporary_name(path, number := number + 1)):
        held = _lock(other, 0)
        if held is not None:
            _remove(other, held)
    return temporary, descriptor


def _lock(temporary: Path, flags: int) -> int | None:
    """Open a file for this program alone; None where another one has it."""
    # Not through a link that somebody else has put there.
    flags |= os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | (0 if fcntl else os.O_EXCL)
    try:
        descriptor = os.open(temporary, flags, 0o666)
    except (FileExistsError, FileNotFoundError):
        if fcntl and flags & os.O_CREAT:
            raise
        return None
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its writer may have finished, and given it another name, before it was locked here.
        if _is_at(descriptor, temporary):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _remove(temporary: Path, descriptor: int) -> None:
    try:
        if fcntl is None:
            temporary.unlink(missing_ok=True)
        elif _is_at(descriptor, temporary):
            temporary.unlink()
    finally:
        if fcntl:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _cannot_write(path: Path, error: OSError) -> OSError:
    """Say which file could not be written, with what libraries hide of the reason."""
    reason = error.strerror or str(error)
    if reason.startswith("cannot write "):  # said already, where several files are open at once
        return error
    text = f"cannot write {str(path)!r}: {reason}{_folder_fault(path.parent, error)}"
    return OSError(error.errno, text) if error.errno else OSError(text)


def _folder_fault(folder: Path, error: OSError) -> str:
    """Say what is wrong with a folder; not all writers tell that a disk is full."""
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"; the folder {str(folder.absolute())!r} cannot be written to"
    try:
        is_full = os.statvfs(folder).f_bavail == 0
    except (AttributeError, OSError):
        return ""
    return f"; the disk of the folder {str(folder.absolute())!r} is full" if is_full else ""


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors, of any device, and a JSON header to one safetensors file, atomically.

    Parameters
    ----------
    path : path-like
        File to write, replaced when it exists.
    tensors : mapping of str to Tensor
    header : mapping
        Anything `json.dumps` takes, and NumPy scalars.

    Raises
    ------
    TypeError, ValueError
        If the header holds something that JSON cannot: NaN and infinities are ValueErrors.
    OSError
        If the file cannot be written; what stood there before stays.
    """
    text = json.dumps(header, allow_nan=False, default=_plain)
    if len(text) > _LARGEST_HEADER // 2 or text.count("[") + text.count("{") > _MOST_PARTS:
        raise ValueError(
            f"the header of {str(path)!r} would take {len(text)} bytes, more than will be read "
            "again; shorten what it holds, such as the history of the training"
        )
    # Copies, because safetensors refuses tensors that share memory or are not contiguous.
    separate = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    metadata = {_HEADER_KEY: text, _DIGEST_KEY: _digest(separate, text)}
    with atomic_path(path) as temporary:
        # Not by safetensors' own function, which replaces the file by one that has no lock.
        temporary.write_bytes(save(separate, metadata))


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """Give a digest of all that a file holds."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"the header of a model file cannot hold {value!r}")


def read_tensors(
    path: str | os.PathLike[str],
    *,
    check: Callable[[dict[str, Any], Shapes], None] = lambda header, shapes: None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Parameters
    ----------
    path : path-like
        File to read.
    check : callable, optional
        Gets the header and the shapes of the tensors, and raises an error if these should not be
        read.

    Returns
    -------
    tensors : dict of str to Tensor
        On the CPU.
    header : dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not one of `write_tensors`: changed since, cut short, or of another program.
    """
    check_file(path, "model file")
    with ExitStack() as stack:
        with _naming(path):
            _check_size(path)
            file = stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            names = list(file.keys())
            if len(names) > _MOST_TENSORS:
                raise ValueError(f"it holds {len(names)} tensors, more than {_MOST_TENSORS}")
            metadata = file.metadata() or {}
            if unknown := sorted(metadata.keys() - {_HEADER_KEY, _DIGEST_KEY}):
                raise ValueError(f"its header has the unknown entry {unknown[0]!r}")
            text = metadata[_HEADER_KEY]
            if text.count("[") + text.count("{") > _MOST_PARTS:
                raise ValueError(f"its header has more than {_MOST_PARTS} lists and objects")
            header = json.loads(text, parse_constant=_refuse_constant)
            if not isinstance(header, dict):
                raise TypeError("its header is not a JSON object")
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        check(header, shapes)
        with _naming(path):
            tensors = {name: file.get_tensor(name) for name in names}
            # Version 0.1 wrote no digest.
            stated = metadata.get(_DIGEST_KEY)
            if stated is not None and stated != _digest(tensors, text):
                raise ValueError("it is not what was written: its digest is another one")
    return tensors, header


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in errors about what it holds."""
    try:
        yield
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        # RuntimeError: it is nested too deeply, or larger than what can be mapped into memory.
        raise ValueError(
            f"{os.fspath(path)!r} is not an skdc model file, or it is damaged ({error}); expected "
            "a .safetensors file written by save()"
        ) from error


def _check_size(path: str | os.PathLike[str]) -> None:
    # The file begins with the length of its header.
    with open(path, "rb") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
    if n_bytes > _LARGEST_HEADER:
        raise ValueError(f"it states a header of {n_bytes} bytes, more than {_LARGEST_HEADER}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"its header holds {name}, which is no JSON")
