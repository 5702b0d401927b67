"""What makes a mask wrong: every bin by its magnitude, or the distortion in decibels."""

from __future__ import annotations

__all__ = ["DISTORTION_FLOOR", "check_error"]

DISTORTION_FLOOR = 1e-4
"""Power beside that of the mixture from which on less distortion is no better: -40 dB."""


def check_error(error: str) -> None:
    """Raise a ValueError for an error that is neither "absolute" nor "distortion"."""
    if error not in ("absolute", "distortion"):
        raise ValueError(f"error={error!r} must be 'absolute' or 'distortion'")
