"""Models that come with the package: model files, each with a card of the same name beside it."""

from __future__ import annotations

import os
from importlib.resources import as_file, files
from pathlib import Path

from skdc import DEFAULT_MODEL
from skdc.separator import DeepClusteringSeparator

__all__ = ["list_pretrained", "load_pretrained"]

_FOLDER = files("skdc.pretrained")
_SUFFIX = ".safetensors"


def list_pretrained() -> list[str]:
    """Give the names of the models that come with the package.

    Returns
    -------
    list of str
        Sorted.

    Examples
    --------
    >>> from skdc.pretrained import list_pretrained
    >>> "speech-8k" in list_pretrained()
    True
    """
    names = (entry.name for entry in _FOLDER.iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def load_pretrained(
    name: str | os.PathLike[str] = DEFAULT_MODEL, *, device: str = "auto"
) -> DeepClusteringSeparator:
    """Load a separator that is already fitted.

    Parameters
    ----------
    name : str or path-like, default="speech-8k"
        One of `list_pretrained`; the card of each says what it is for and what it reaches. The
        default is for one to four people speaking at once, 8 kHz, also with noise. Or the
        path of a model file, as `DeepClusteringSeparator.save` and ``skdc train`` write it, which
        goes before a bundled model of the same name.
    device : str, default="auto"
        Where the separator computes: the GPU if there is one, else the CPU.

    Returns
    -------
    DeepClusteringSeparator
        Fitted. Its parameters may be set: ``n_sources``, and ``input_rate`` for audio at another
        rate than ``sample_rate``.

    Raises
    ------
    FileNotFoundError
        If there is no such model.
    ValueError
        If the file is not a model, or there is no such device.

    Examples
    --------
    >>> from skdc import load_pretrained
    >>> from skdc.datasets import load_sample_mixture
    >>> mixture, _ = load_sample_mixture()
    >>> load_pretrained().predict(mixture).shape
    (2, 55920)
    """
    if Path(name).is_file():
        return DeepClusteringSeparator.load(name, device=device)
    bundled = list_pretrained()
    if name not in bundled:
        raise FileNotFoundError(
            f"{os.fspath(name)!r} is neither a model file nor a bundled model "
            f"({', '.join(bundled) or 'none is installed'})"
        )
    with as_file(_FOLDER / f"{name}{_SUFFIX}") as path:
        return DeepClusteringSeparator.load(path, device=device)
