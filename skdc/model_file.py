"""One file a model: tensors in safetensors, everything else as JSON in its header.

Reading such a file runs no code, and a digest tells if it is no longer what was written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from skdc.paths import atomic_path, check_file

__all__ = ["Shapes", "read_tensors", "write_tensors"]

Shapes = Mapping[str, tuple[int, ...]]

_HEADER_KEY = "skdc"
_DIGEST_KEY = "blake2b"
# Bytes of the header, lists and objects in it, and tensors of the largest file that is read.
_LARGEST_HEADER = 8_000_000
_MOST_PARTS = 100_000
_MOST_TENSORS = 10_000


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
