"""What a separator must be that streams and arrays of microphones are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skdc.separation.counts import asked_count

if TYPE_CHECKING:
    from skdc.separation.pipeline import Separator
    from skdc.separator import DeepClusteringSeparator

__all__ = ["read_separator", "read_separators"]


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


def read_separators(
    separators: DeepClusteringSeparator | Sequence[DeepClusteringSeparator],
    n_sources: int | str | None,
) -> tuple[list[Separator], int | None]:
    """Give what separates together, one or several, and the number of sources as the first says.

    Raises, beside what `read_separator` raises, a ValueError if there is none, or if their rates,
    windows or hops differ.
    """
    given: Sequence[Any] = separators if isinstance(separators, list | tuple) else [separators]
    if not given:
        raise ValueError("separator: got an empty list, expected at least one separator")
    (first, count), *others = (read_separator(separator, n_sources) for separator in given)
    pipelines = [first, *(pipeline for pipeline, _ in others)]
    for index, pipeline in enumerate(pipelines):
        if _cut(pipeline) != _cut(first):
            raise ValueError(
                f"separator[{index}] works at {_cut(pipeline)}, separator[0] at {_cut(first)}; "
                "give separators that do so alike"
            )
    return pipelines, count


def _cut(pipeline: Separator) -> str:
    framing = pipeline.framing
    return (
        f"{pipeline.sample_rate} Hz with windows of {framing.win_length} samples and hops of "
        f"{framing.hop_length}"
    )
