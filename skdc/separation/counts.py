"""How many sources may be asked for."""

from __future__ import annotations

from numbers import Integral

__all__ = ["MOST_SOURCES", "asked_count"]

MOST_SOURCES = 20
"""The largest number of sources that may be asked for: more people are never told apart."""


def asked_count(n_sources: int | str | None) -> int | None:
    """Give the number of sources that is asked for, after checking it.

    Parameters
    ----------
    n_sources : int, "auto" or None

    Returns
    -------
    int or None
        None where the number is to be estimated, which both "auto" and None say.

    Raises
    ------
    ValueError
        If it is none of these, less than 1 or more than `MOST_SOURCES`.

    Examples
    --------
    >>> from skdc.separation.counts import asked_count
    >>> asked_count(3), asked_count("auto"), asked_count(None)
    (3, None, None)
    >>> asked_count(50)
    Traceback (most recent call last):
        ...
    ValueError: n_sources: got 50, expected an integer from 1 to 20, or 'auto'
    """
    if n_sources is None or (isinstance(n_sources, str) and n_sources == "auto"):
        return None
    is_count = isinstance(n_sources, Integral) and not isinstance(n_sources, bool)
    if not is_count or not 1 <= int(n_sources) <= MOST_SOURCES:
        raise ValueError(
            f"n_sources: got {n_sources!r}, expected an integer from 1 to {MOST_SOURCES}, or "
            "'auto'"
        )
    return int(n_sources)
