"""What a separator must be that streams and arrays of microphones are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skdc.separation.counts import asked_count

if TYPE_CHECKING:
    from skdc.separation.pipeline import Separator
    from skdc.separator import DeepClusteringSeparator

__all__ = ["read_separator"]


def read_separator(
    separator: DeepClusteringSeparator, n_sources: int | str | None
) -> tuple[Separator, int | None]:
    """Give what separates, and the number of sources, None where it is to be estimated.

    Parameters
    ----------
    separator : DeepClusteringSeparator
        Fitted.
    n_sources : int, "auto" or None
        What the call asks for; by default what the separator says.

    Returns
    -------
    pipeline : Separator
    count : int or None

    Raises
    ------
    TypeError
        If it is no separator.
    ValueError
        If it is to take audio at another rate than its network's, or for the number of sources.
    """
    if isinstance(separator, type) or not callable(getattr(separator, "pipeline", None)):
        what = separator if isinstance(separator, str | type) else type(separator)
        raise TypeError(
            f"separator: got {what!r}, expected a fitted DeepClusteringSeparator, such as what "
            "load_pretrained gives"
        )
    pipeline = separator.pipeline()
    rate, own = separator.input_rate, separator.sample_rate
    if rate not in (None, own):
        raise ValueError(
            f"input_rate={rate}: streams and arrays take audio at the rate of the network, {own} "
            "Hz; resample it, and set input_rate=None"
        )
    return pipeline, asked_count(separator.n_sources if n_sources is None else n_sources)
