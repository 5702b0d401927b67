"""Warnings of the package; its errors are Python's own and scikit-learn's NotFittedError."""

from collections.abc import Sequence

__all__ = ["AudioWarning", "InterruptedWarning", "name_some"]

_MOST_NAMED = 5


class AudioWarning(UserWarning):
    """Something about a recording that will be heard in its sources."""


class InterruptedWarning(UserWarning):
    """Training was interrupted by the user and ended with the weights it had."""


def name_some(names: Sequence[object]) -> str:
    """Name the first of many in a message, and say how many more there are."""
    others = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(str, names[:_MOST_NAMED])) + others
