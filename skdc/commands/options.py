"""Options that several commands have, and what they stand for."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from skdc import DEFAULT_MODEL

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = [
    "DATA_HELP",
    "add_device_argument",
    "add_jobs_argument",
    "add_model_argument",
    "add_output_argument",
    "positive_int",
    "source_count",
    "warn_of_count",
]

# What `skdc.datasets.find_recordings` takes.
DATA_HELP = (
    "recordings of single speakers: a folder with a folder for each speaker, a table voices.csv "
    "(columns speaker, path), a pattern in quotes such as 'voices/{speaker}-*.wav', or a folder "
    "with utterances.csv (columns split, speaker, path)"
)


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
    'speech-8k'
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


def add_output_argument(
    parser: argparse.ArgumentParser, metavar: str, text: str, default: str | None = None
) -> None:
    """Declare ``-o`` and ``--output``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    metavar, text : str
        What the help calls it, and says of it.
    default : str, optional
        Without one, it must be given.

    Examples
    --------
    >>> import argparse
    >>> from skdc.commands.options import add_output_argument
    >>> parser = argparse.ArgumentParser()
    >>> add_output_argument(parser, "DIR", "folder for the results", "results")
    >>> parser.parse_args([]).output.name
    'results'
    """
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=None if default is None else Path(default),
        required=default is None,
        metavar=metavar,
        help=text if default is None else f"{text} (default: %(default)s)",
    )


def add_jobs_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--jobs``.

    Parameters
    ----------
    parser : argparse.ArgumentParser

    Examples
    --------
    >>> import argparse
    >>> from skdc.commands.options import add_jobs_argument
    >>> parser = argparse.ArgumentParser()
    >>> add_jobs_argument(parser)
    >>> parser.parse_args([]).jobs
    1
    """
    parser.add_argument(
        "--jobs",
        type=positive_int,
        default=1,
        metavar="N",
        help="processes to share the work (default: %(default)s)",
    )


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
        If it is neither, or more than are ever told apart.

    Examples
    --------
    >>> from skdc.commands.options import source_count
    >>> source_count("auto"), source_count("2")
    ('auto', 2)
    """
    # Not with the others: it takes seconds to import, and `--help` does without.
    from skdc.separation.counts import asked_count

    try:
        count = asked_count(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("n_sources: ")) from None
    return "auto" if count is None else count


def warn_of_count(model: DeepClusteringSeparator, n_sources: int | Literal["auto"] | None) -> None:
    """Warn where ``--n-sources`` asks for more people than a model was trained on.

    Parameters
    ----------
    model : DeepClusteringSeparator
        Fitted. A model that states no numbers of talkers says nothing.
    n_sources : int, "auto" or None
        What was given.

    Examples
    --------
    >>> from skdc import load_pretrained
    >>> from skdc.commands.options import warn_of_count
    >>> warn_of_count(load_pretrained(), 4)
    """
    from skdc.training import DynamicMixing
    from skdc.training.mixing import mixture_counts

    remix, counts = model.remix, [model.network_.config.most_counted]
    if isinstance(remix, DynamicMixing) and remix.n_sources is not None:
        counts += mixture_counts(2, remix)
    most = max(counts)
    if isinstance(n_sources, int) and 0 < most < n_sources:
        warnings.warn(
            f"--n-sources {n_sources}: the model was trained on at most {most} people who speak "
            "at once; where more sources are looked for, some are parts of one voice",
            stacklevel=2,
        )
