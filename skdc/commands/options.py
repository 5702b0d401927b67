"""Options that several commands have, and what they stand for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = [
    "add_device_argument",
    "add_model_argument",
    "load_model",
    "positive_int",
    "source_count",
]

DEFAULT_MODEL = "speech-2mix-8k"


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--model`` and ``--device``.

    Parameters
    ----------
    parser : argparse.ArgumentParser

    Examples
    --------
    >>> import argparse
    >>> from skdc.commands.options import add_model_argument
    >>> parser = argparse.ArgumentParser()
    >>> add_model_argument(parser)
    >>> parser.parse_args([]).model
    'speech-2mix-8k'
    """
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help="model file, or name of a bundled model (default: %(default)s)",
    )
    add_device_argument(parser)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device``.

    Parameters
    ----------
    parser : argparse.ArgumentParser

    Examples
    --------
    >>> import argparse
    >>> from skdc.commands.options import add_device_argument
    >>> parser = argparse.ArgumentParser()
    >>> add_device_argument(parser)
    >>> parser.parse_args(["--device", "cpu"]).device
    'cpu'
    """
    parser.add_argument(
        "--device",
        default="auto",
        help="where to compute: cpu, cuda, ... (default: the GPU if there is one)",
    )


def load_model(model: str, *, device: str = "auto") -> DeepClusteringSeparator:
    """Load a model by the path of its file, or a bundled one by its name.

    Parameters
    ----------
    model : str
        A file that is there goes before a bundled model of the same name.
    device : str, default="auto"
        Where the separator computes.

    Returns
    -------
    DeepClusteringSeparator
        Fitted.

    Raises
    ------
    FileNotFoundError
        If there is neither.
    ValueError
        If the file is not a model.

    Examples
    --------
    >>> from skdc.commands.options import load_model
    >>> load_model("no-such-model")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FileNotFoundError: 'no-such-model' is neither a model file nor a bundled model (...
    """
    from skdc.pretrained import list_pretrained, load_pretrained
    from skdc.separator import DeepClusteringSeparator

    if Path(model).is_file():
        return DeepClusteringSeparator.load(model, device=device)
    bundled = list_pretrained()
    if model not in bundled:
        raise FileNotFoundError(
            f"{model!r} is neither a model file nor a bundled model "
            f"({', '.join(bundled) or 'none is installed'})"
        )
    return load_pretrained(model, device=device)


def positive_int(text: str) -> int:
    """Parse a count.

    Parameters
    ----------
    text : str

    Returns
    -------
    int

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not an integer of at least 1.

    Examples
    --------
    >>> from skdc.commands.options import positive_int
    >>> positive_int("3")
    3
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer of at least 1")
    return int(text)


def source_count(text: str) -> int | Literal["auto"]:
    """Parse a number of sources.

    Parameters
    ----------
    text : str

    Returns
    -------
    int or "auto"

    Raises
    ------
    argparse.ArgumentTypeError
        If it is neither.

    Examples
    --------
    >>> from skdc.commands.options import source_count
    >>> source_count("auto"), source_count("2")
    ('auto', 2)
    """
    return "auto" if text == "auto" else positive_int(text)
