"""The command ``skdc``: what to run, and how its errors and warnings reach the user.

Nothing heavy is imported before a command runs, so that ``skdc --help`` answers at once.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import skdc
from skdc.commands import (
    app,
    card,
    demo,
    evaluate,
    info,
    make,
    report,
    separate,
    stream,
    train,
    voices,
)

__all__ = ["build_parser", "main"]

_COMMANDS = {
    "demo": (demo, "hear and see two people separated: needs no files"),
    "separate": (separate, "separate the speakers of audio files"),
    "app": (app, "drop or record audio in a browser, and listen to the talkers"),
    "stream": (stream, "separate live audio that comes through a pipe"),
    "make": (make, "make the mixtures of a published protocol from its corpus"),
    "train": (train, "train a model on recordings of single speakers"),
    "voices": (voices, "teach a model who is who in long recordings"),
    "evaluate": (evaluate, "measure a model on a published protocol or a list of mixtures"),
    "report": (report, "write a page of results from the tables of evaluations"),
    "card": (card, "write the tables in the card of a model"),
    "info": (info, "say what is installed, or what a model file holds"),
}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line; what it parses has ``run``, the command's function."""
    parser = argparse.ArgumentParser(
        prog="skdc",
        description="Separate people who speak at the same time, by deep clustering.",
        epilog="'skdc COMMAND --help' explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"skdc {skdc.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        module.add_arguments(command)
        command.add_argument(
            "--debug", action="store_true", help="show where in the program an error comes from"
        )
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after ``skdc``; by default those the program was started with.

    Returns
    -------
    int
        Exit code: 0, 1 where some of several files could not be done, 2 where none could be and
        for what else the user can put right (said in one line on the standard error; ``--debug``
        raises it instead), 130 when interrupted.

    Raises
    ------
    SystemExit
        With code 2 for arguments that cannot be understood, 0 after ``--help``.

    Examples
    --------
    >>> from skdc.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    skdc ...
    0
    """
    if sys.stderr is None:
        # Closed before Python started: what would be said there must not go to the output.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    # Names of files may have letters that a terminal does not show; those are written as escapes.
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")
    args = build_parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("skdc: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The program that reads the output, such as `head`, has ended: nothing more may be
        # written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    # What the user can put right; any other error is a defect of the package and shows its trace.
    except (FloatingPointError, ImportError, OSError, ValueError) as error:
        if args.debug:
            raise
        print(f"skdc: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return code


def _show_warning(message: Warning | str, *others: Any, **more: Any) -> None:
    print(f"skdc: warning: {' '.join(str(message).split())}", file=sys.stderr)
