"""Warnings of the package; its errors are Python's own and scikit-learn's NotFittedError."""

__all__ = ["AudioWarning"]


class AudioWarning(UserWarning):
    """Something about a recording that will be heard in its sources."""
