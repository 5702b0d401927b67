"""Options that several commands have, and what they stand for."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from skdc import DEFAULT_MODEL
from skdc.paths import check_outputs, hold_file, numbered_name

if TYPE_CHECKING:
    from skdc.persistence import Weights
    from skdc.separator import DeepClusteringSeparator

FileState = tuple[int, ...] | None

__all__ = [
    "DATA_HELP",
    "FileState",
    "add_device_argument",
    "add_jobs_argument",
    "add_model_argument",
    "add_output_argument",
    "add_speeds_argument",
    "check_output",
    "given_name",
    "given_path",
    "positive_int",
    "save_model",
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
    """Declare ``--model`` and ``--device``."""
    parser.add_argument(
        "--model",
        type=given_name,
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help="model file, or name of a bundled model (default: %(default)s)",
    )
    add_device_argument(parser)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device``."""
    parser.add_argument(
        "--device",
        type=given_name,
        default="auto",
        help="where to compute: cpu, cuda, ... (default: the GPU if there is one)",
    )


def add_output_argument(
    parser: argparse.ArgumentParser, metavar: str, text: str, default: str | None = None
) -> None:
    """Declare ``-o`` and ``--output``, which must be given where there is no default."""
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        default=None if default is None else Path(default),
        required=default is None,
        metavar=metavar,
        help=text if default is None else f"{text} (default: %(default)s)",
    )


def add_speeds_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--speeds``."""
    parser.add_argument(
        "--speeds",
        type=int,
        choices=range(1, 6),  # up to `skdc.separation.speeds.MOST_SPEEDS`, which would load torch
        default=1,
        help="speeds at which each recording is heard: 2 separate better, in twice the time, "
        "more a little better still (default: %(default)s)",
    )


def check_output(output: Path, inputs: Iterable[Path], *, may_replace: bool) -> FileState:
    """Check, before hours of training, that a model can be written, for `save_model` after them.

    It must replace none of the inputs, and no other model.
    """
    if os.path.isdir(output):
        raise ValueError(f"-o {output} is a folder; give the name of a model file")
    check_outputs([output], inputs, advice="give -o another name")
    if output.exists() and not may_replace:
        raise FileExistsError(
            f"{str(output)!r} exists already; use --force to overwrite it, or -o for another name"
        )
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    return _file_state(output)


def save_model(
    model: DeepClusteringSeparator, output: Path, before: FileState, weights: Weights
) -> Path:
    """Write a model file after hours of training, and give its path.

    Where `output` is no longer as `check_output` has found it, because another program has
    written a file there since, that stays, and the model gets the next free name beside it, which
    a warning says.
    """
    path, expected, number = output, before, 1
    while True:
        # Another command may have come to this point, too.
        with suppress(BlockingIOError), hold_file(path, "model file"):
            if _file_state(path) in (expected, None):  # or free again
                model.save(path, weights=weights)
                break
        number += 1
        path, expected = numbered_name(output, number), None
    if path != output:
        warnings.warn(
            f"another program has written {str(output)!r} in the meantime, which stays as it is; "
            f"the model is {str(path)!r}",
            stacklevel=2,
        )
    return path


def _file_state(path: Path) -> FileState:
    """Tell whether a file is there, and which."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def add_jobs_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--jobs``."""
    parser.add_argument(
        "--jobs",
        type=positive_int,
        default=1,
        metavar="N",
        help="processes to share the work (default: %(default)s)",
    )


def given_name(text: str) -> str:
    """Parse a name of a file or of something else, which is not empty."""
    if not text:
        # As a path it would be that of the current folder.
        raise argparse.ArgumentTypeError(
            "got an empty name, such as that of a variable that is not set; give a name, or . for "
            "the current folder"
        )
    return text


def given_path(text: str) -> Path:
    """Parse the path of a file or folder."""
    return Path(given_name(text))


def positive_int(text: str) -> int:
    """Parse an integer of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer of at least 1")
    return int(text)


def source_count(text: str) -> int | Literal["auto"]:
    """Parse a number of sources, not more than are ever told apart, or "auto"."""
    # Not with the others: it takes seconds to import, and `--help` does without.
    from skdc.separation.counts import asked_count

    try:
        count = asked_count(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("n_sources: ")) from None
    return "auto" if count is None else count


def warn_of_count(model: DeepClusteringSeparator, n_sources: int | Literal["auto"] | None) -> None:
    """Warn where ``--n-sources`` asks for more people than a model was trained on.

    A model that states no numbers of talkers says nothing.
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
