"""One file a model: tensors in safetensors, everything else as JSON in its header.

Reading such a file runs no code. Writing is atomic: the file is either the old one or the new one,
whole, also when the program dies or the disk fills half-way.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["atomic_path", "read_tensors", "write_tensors"]

_HEADER_KEY = "skdc"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends without an error.

    Parameters
    ----------
    path : path-like
        File to write. Its folder is made where it does not exist.

    Yields
    ------
    Path
        A path in the same folder and with the same suffix, to write to.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skdc.model_file import atomic_path
    >>> folder = tempfile.TemporaryDirectory()
    >>> with atomic_path(Path(folder.name) / "note.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> (Path(folder.name) / "note.txt").read_text()
    'whole'
    >>> folder.cleanup()
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp gives 0600; what the user writes should get the permissions of a new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON header to one safetensors file, atomically.

    Parameters
    ----------
    path : path-like
        File to write, replaced when it exists.
    tensors : mapping of str to Tensor
        On any device.
    header : mapping
        Anything `json.dumps` takes, and NumPy scalars.

    Raises
    ------
    TypeError, ValueError
        If the header holds something that JSON cannot: NaN and infinities are ValueErrors.
    OSError
        If the file cannot be written; what stood there before stays.

    Examples
    --------
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from skdc.model_file import read_tensors, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(Path(folder) / "model.safetensors", {"a": torch.ones(2)}, {"epoch": 3})
    ...     tensors, header = read_tensors(Path(folder) / "model.safetensors")
    >>> tensors["a"].tolist(), header["epoch"]
    ([1.0, 1.0], 3)
    """
    metadata = {_HEADER_KEY: json.dumps(header, allow_nan=False, default=_plain)}
    # Copies, because safetensors refuses tensors that share memory or are not contiguous.
    separate = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with atomic_path(path) as temporary:
        try:
            save_file(separate, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"could not write {str(path)!r}: {error}") from error


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"the header of a model file cannot hold {value!r}")


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Parameters
    ----------
    path : path-like
        File to read.

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
        If the file is not one of `write_tensors`: damaged, cut short, or of another program.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER_KEY])
            if not isinstance(header, dict):
                raise TypeError("its header is not a JSON object")
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} is not an skdc model file, or it is damaged ({error}); "
            "expected a .safetensors file written by save()"
        ) from error
