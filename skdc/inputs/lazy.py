"""Recordings that are read when they are used: how to tell them, and checks of their headers.

What is lazy here is a sequence with a method ``headers()``, such as `skdc.audio.AudioFiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

from numpy.typing import NDArray

from skdc.inputs.format import AudioFormat
from skdc.signal.demands import check_same_rate

__all__ = ["Header", "check_headers", "check_mixture_headers", "check_pair_headers", "is_lazy"]


class Header(NamedTuple):
    """What is known of an item before it is read.

    Attributes
    ----------
    name : str
        What errors call it.
    shape : tuple of int
        Shape of the array that reading it gives.
    sample_rate : int
        Rate of that array, Hz.
    """

    name: str
    shape: tuple[int, ...]
    sample_rate: int


def is_lazy(recordings: Any) -> TypeGuard[Sequence[NDArray[Any]]]:
    """Whether items are read when they are used."""
    return hasattr(recordings, "headers")


def check_headers(
    recordings: Any, name: str, rate: int, n_dims: tuple[int, ...] = (1,)
) -> list[Header]:
    """Check what can be known of lazy recordings before they are read.

    They must be at the rate, Hz, and have one of the numbers of dimensions. Raises a
    FileNotFoundError if files are missing, and a ValueError that names item and file if there are
    none, or if one is empty, not audio, or of another rate or shape.
    """
    if not len(recordings):
        raise ValueError(f"{name} is empty; give at least one file")
    headers: list[Header] = recordings.headers()
    for index, header in enumerate(headers):
        label = f"{name}[{index}] ({header.name})"
        advice = (
            f"read the files with sample_rate={rate}, or set the estimator's input_rate to theirs"
        )
        check_same_rate(header.sample_rate, rate, label, advice)
        if len(header.shape) not in n_dims:
            expected = "2 dimensions" if 2 in n_dims else "(n_samples,): read it with mono=True"
            raise ValueError(f"{label} has shape {header.shape}; expected {expected}")
        if 0 in header.shape:
            raise ValueError(f"{label} is empty; leave it out")
    return headers


def check_mixture_headers(
    X: Any, audio: AudioFormat, *, name: str = "X", has_channels: bool = False
) -> list[Header]:
    """Check lazy mixtures, which may have channels, before they are read.

    Raises the errors of `check_headers`, and a ValueError if a mixture is too short.
    """
    headers = check_headers(X, name, audio.rate, (1, 2) if has_channels else (1,))
    for index, header in enumerate(headers):
        label = f"{name}[{index}] ({header.name})"
        audio.check_duration(label, header.shape[-1])
    return headers


def check_pair_headers(
    X: Any, y: Any, audio: AudioFormat, *, names: tuple[str, str] = ("X", "y")
) -> None:
    """Check mixtures and sources before they are read, as far as one or both are lazy.

    Raises the errors of `check_mixture_headers`, and a ValueError if an item of `y` is not as long
    as that of `X`.
    """
    mixtures = []
    if is_lazy(X):
        has_channels = audio.framing.hears_phases
        mixtures = check_mixture_headers(X, audio, name=names[0], has_channels=has_channels)
    sources = check_headers(y, names[1], audio.rate, (2,)) if is_lazy(y) else []
    # Their numbers are compared later, by code that also serves arrays.
    for index, (mixture, item) in enumerate(zip(mixtures, sources, strict=False)):
        if item.shape[1] != mixture.shape[-1]:
            raise ValueError(
                f"{names[1]}[{index}] ({item.name}) has {item.shape[1]} samples but its mixture "
                f"({mixture.name}) has {mixture.shape[-1]}; sources must be as long as their "
                "mixture"
            )
