"""Files by their paths: that they are there, can be written, and are written whole.

Writing is atomic: the file is either the old one or the new one, whole, also when the program dies
or the disk fills half-way.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

try:
    import fcntl
except ImportError:  # Windows, where leftovers of killed programs are not told from other files
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "atomic_path",
    "check_file",
    "check_free",
    "check_outputs",
    "file_identity",
    "hold_file",
    "lock_file",
    "numbered_name",
    "reading_text",
]

PathLike = str | os.PathLike[str]

# How a file system says that it has no locks, as some network drives have none.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
# Bytes of a name that leave room for what is added to it; file systems allow 255, some 143.
_LONGEST_STEM = 100
# In the place of the descriptor of a file that another program has locked.
_HELD = -1


def check_file(path: PathLike, what: str) -> None:
    """Raise a FileNotFoundError that says what should be at a path, and is not."""
    _check_name(path)
    if not os.path.isfile(path):  # unlike `Path.is_file`, also for names that are too long
        raise FileNotFoundError(f"no {what} at {os.fspath(path)!r}")


@contextmanager
def reading_text(path: PathLike, what: str) -> Iterator[None]:
    """Name a file of text, and what it should be, where a block finds that it is something else.

    A ValueError says so where it is not in UTF-8, or no table that `csv` reads.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{os.fspath(path)!r} is no {what}: it is not text in UTF-8; save it as such, or "
            "give another file"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{os.fspath(path)!r} is no {what}: {error}") from error


def _check_name(path: PathLike) -> None:
    """Refuse a name of other bytes than UTF-8, such as of old archives; libsndfile needs UTF-8."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{os.fspath(path)!r} is no name in UTF-8; give it another") from None


def check_outputs(
    outputs: Iterable[PathLike],
    inputs: Iterable[PathLike] = (),
    *,
    advice: str = "give it another name",
    replaces: bool = True,
) -> None:
    """Raise an error, before any work, if files cannot be written or would replace an input.

    Parameters
    ----------
    outputs : iterable of path-like
        The files that are to be written; those that are there may be replaced.
    inputs : iterable of path-like, optional
        The files that the work reads, and must leave as they are; which may be missing, or not be
        files at all.
    advice : str, default="give it another name"
        What to do, for the message.
    replaces : bool, default=True
        Whether outputs that are there will be replaced, which needs a folder that can be written
        to, and not only a file; otherwise they will be gone on with, or left as they are.

    Raises
    ------
    FileExistsError
        If an output is one of the inputs, under this name or another one.
    ValueError
        If a name is longer than the file system takes, or is that of a folder, a device or a pipe.
    NotADirectoryError
        If what should be the folder of an output is a file.
    PermissionError
        If an output is to be made or replaced, and nothing can be written to the folder.
    """
    read = {key: path for path in inputs if (key := file_identity(path))}
    folders: dict[Path, Path] = {}
    for path in map(Path, outputs):
        if path.parent not in folders:
            folders[path.parent] = _nearest_folder(path.parent)
        there = folders[path.parent]
        _check_length(path, there, advice)
        if (key := file_identity(path)) in read:
            raise FileExistsError(
                f"{str(path)!r} would replace {os.fspath(read[key])!r}, which is an input; "
                f"{advice}"
            )
        if os.path.isdir(path):
            raise ValueError(f"{str(path)!r} is a folder; {advice}")
        _check_kind(path, advice)
        if os.path.islink(path):  # what it leads to is replaced
            there = _nearest_folder(Path(os.path.realpath(path)).parent)
        if (replaces or not os.path.lexists(path)) and not os.access(there, os.W_OK):
            raise PermissionError(
                f"the folder {str(there)!r} cannot be written to; give another one"
            )


def _check_kind(path: Path, advice: str) -> None:
    """Refuse what is there and no file, such as /dev/stdout: it would be replaced by one."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise ValueError(f"{str(path)!r} is a device or a pipe, and no file; {advice}")


def file_identity(path: PathLike) -> tuple[int, int] | None:
    """Tell which file a path leads to; links, and other cases of letters, lead to the same one."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _nearest_folder(folder: Path) -> Path:
    """Give the first of a folder and those above it that is there."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise NotADirectoryError(f"{str(there)!r} is a file; give a folder to write to")
    return there


def _check_length(path: Path, there: Path, advice: str) -> None:
    # What a file system takes is asked of itself, by looking for the name. Folders that are not
    # there yet will be on that of the nearest one that is.
    names = path.absolute().relative_to(there).parts
    asked = [(there / name, f"a name of {len(os.fsencode(name))} bytes") for name in names]
    for candidate, what in [*asked, (path, f"a path of {len(os.fsencode(path))} bytes")]:
        try:
            os.lstat(candidate)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise ValueError(
                    f"cannot write {str(path)!r}: {what} is longer than the file system takes; "
                    f"{advice}"
                ) from None


def lock_file(descriptor: int) -> bool:
    """Lock a file for this program until it is closed; False where another one has locked it.

    The system takes the lock away with the program, however that ends. It keeps out only those
    that ask for it, too; where the file system has no locks, it keeps out nobody.
    """
    try:
        if sys.platform == "win32":
            # What is locked there cannot be read either: a byte far behind the end of the file is.
            os.lseek(descriptor, 2**40, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


@contextmanager
def hold_file(path: PathLike, what: str) -> Iterator[None]:
    """Keep a file for this program as long as a block runs, though it may be replaced in it.

    A file beside it is locked, since what is replaced takes no lock with it. The system takes the
    lock away with the program, however that ends; an empty file is then left, which the next one
    that holds the path takes away. A BlockingIOError that names the file, which is `what`, says
    that another program holds it. Where the file system has no locks, or nothing can be made
    beside the file, it keeps out nobody.
    """
    path = Path(path)
    beside = _hold_name(path)
    descriptor = _lock_beside(beside)
    if descriptor == _HELD:
        raise _is_held(path, what)
    try:
        yield
    finally:
        if descriptor is not None:
            if fcntl is None:
                os.close(descriptor)  # Windows does not delete open files
            with suppress(OSError):
                _remove(beside, descriptor)


def _lock_beside(path: Path) -> int | None:
    """Open and lock a file; None where it cannot be made, `_HELD` where it is locked."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o666)
        except OSError:  # what writes beside it says why
            return None
        is_free = lock_file(descriptor)
        if is_free and _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        if not is_free:
            return _HELD
        # Whoever held it took it away before it was locked here.


def check_free(path: PathLike, what: str) -> None:
    """Raise the BlockingIOError of `hold_file` if another program holds a file now."""
    path = Path(path)
    try:
        descriptor = os.open(_hold_name(path), os.O_RDWR)
    except OSError:
        return
    try:
        if not lock_file(descriptor):
            raise _is_held(path, what)
    finally:
        os.close(descriptor)


def _hold_name(path: Path) -> Path:
    path = Path(os.path.realpath(path))
    return path.with_name(f".{_short_stem(path)}.lock{path.suffix}")


def _is_held(path: Path, what: str) -> BlockingIOError:
    return BlockingIOError(
        f"another program is writing to {str(path)!r}, the {what}; wait until it has ended, or "
        "give another file"
    )


def numbered_name(path: PathLike, number: int) -> Path:
    """Give the path beside another one that has a number in its name."""
    path = Path(path)
    return path.with_name(f"{_short_stem(path)}-{number}{path.suffix}")


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends without an error.

    It lies in the same folder, which is made where it does not exist, and has the same suffix. A
    link stays, and what it leads to is replaced; what is replaced keeps its permissions.
    """
    path = Path(path)
    _check_name(path)
    if not path.name:
        raise ValueError(f"{str(path)!r} is a folder; give the name of a file")
    _check_kind(path, "give the name of a file")
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _open_temporary(target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        if fcntl is None:
            os.close(descriptor)  # Windows does not rename open files
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        # After it was renamed there is none, or that of the next writer.
        _remove(temporary, descriptor)


def _temporary_name(path: Path, number: int) -> Path:
    return path.with_name(f".{_short_stem(path)}.part{number}{path.suffix}")


def _short_stem(path: Path) -> str:
    whole = path.stem.encode()
    if len(whole) <= _LONGEST_STEM:
        return path.stem
    # Names that differ in what is cut off stay different.
    digest = hashlib.sha256(whole).hexdigest()[:8]
    return whole[: _LONGEST_STEM - 9].decode(errors="ignore") + "-" + digest


def _open_temporary(path: Path) -> tuple[Path, int]:
    """Open an empty file beside a target, and keep it locked as long as it is open.

    The names are always the same, so that a program takes up what one that was killed has left.
    The lock tells such a file, which nobody holds, from that of a program that is still writing.
    """
    number = 0
    while (descriptor := _lock(temporary := _temporary_name(path, number), make=True)) is None:
        number += 1
    os.ftruncate(descriptor, 0)
    # Those of several programs that were killed while they wrote to one target.
    while fcntl and os.path.lexists(other := _temporary_name(path, number := number + 1)):
        held = _lock(other, make=False)
        if held is not None:
            _remove(other, held)
    return temporary, descriptor


def _lock(temporary: Path, *, make: bool) -> int | None:
    """Open a file for this program alone, made if wanted; None where another one has it.

    Without locks, only a file that is made just now is surely nobody else's.
    """
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)  # not through a link of somebody else's
    descriptor = None
    if make:
        with suppress(FileExistsError):
            descriptor = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o666)
    is_new = descriptor is not None
    if descriptor is None:
        if fcntl is None:
            return None
        try:
            descriptor = os.open(temporary, flags)
        except FileNotFoundError:
            return None
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its writer may have finished, and given it another name, before it was locked here.
        if _is_at(descriptor, temporary):
            return descriptor
    except OSError as error:
        if is_new and error.errno in _NO_LOCKS:
            return descriptor
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
