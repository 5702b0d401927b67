"""Warnings of the package; its errors are Python's own and scikit-learn's NotFittedError."""

__all__ = ["AudioWarning", "InterruptedWarning"]


class AudioWarning(UserWarning):
    """Something about a recording that will be heard in its sources."""


class InterruptedWarning(UserWarning):
    """Training was interrupted by the user and ended with the weights it had."""
