"""``skdc separate``: audio files in, one audio file a speaker out."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from skdc.commands.common import add_model_argument, load_model, source_count

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="audio of any rate; stereo is mixed down",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for NAME-1.wav, NAME-2.wav, ... of each file NAME",
    )
    parser.add_argument(
        "--n-sources",
        type=source_count,
        metavar="N",
        help="speakers to find, or 'auto' to estimate how many (default: the model's own)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    add_model_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    _check_names(args.files, args.output)
    model = load_model(args.model, device=args.device).set_params(output="sources")
    if args.n_sources is not None:
        model.set_params(n_sources=None if args.n_sources == "auto" else args.n_sources)

    from tqdm import tqdm

    inputs = {path.resolve() for path in args.files}
    failed = 0
    for path in tqdm(args.files, unit="file", disable=None):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                written = _separate(model, path, args.output, inputs, force=args.force)
            except (OSError, TypeError, ValueError) as error:
                failed += 1
                _report("error", path, error)
            else:
                tqdm.write(f"{path} -> {', '.join(map(str, written))}", file=sys.stdout)
        for warning in caught:
            _report("warning", path, warning.message)
    return 1 if failed else 0


def _check_names(files: list[Path], output: Path) -> None:
    first_of: dict[str, Path] = {}
    for path in files:
        first = first_of.setdefault(path.stem, path)
        if first is not path:
            raise ValueError(
                f"{str(first)!r} and {str(path)!r} would both be written to "
                f"{str(output / f'{path.stem}-1.wav')!r}; separate them into different folders"
            )


def _separate(
    model: DeepClusteringSeparator, path: Path, output: Path, inputs: set[Path], *, force: bool
) -> list[Path]:
    from skdc.datasets import read_audio, write_audio

    # Known before the work, and seen to before it: there is a first source, whatever their number.
    _check_free(_target(output, path, 1), inputs, force=force)
    mixture, rate = read_audio(path)
    estimates = model.set_params(input_rate=rate).predict(mixture)
    targets = [_target(output, path, number) for number in range(1, len(estimates) + 1)]
    for target in targets:
        _check_free(target, inputs, force=force)
    for target, estimate in zip(targets, estimates, strict=True):
        write_audio(target, estimate, rate)
    return targets


def _target(output: Path, path: Path, number: int) -> Path:
    return output / f"{path.stem}-{number}.wav"


def _check_free(target: Path, inputs: set[Path], *, force: bool) -> None:
    if target.resolve() in inputs:
        raise FileExistsError(
            f"{str(target)!r} is one of the files to separate; give another folder"
        )
    if target.exists() and not force:
        raise FileExistsError(
            f"{str(target)!r} exists already; use --force to overwrite, or give another folder"
        )


def _report(kind: str, path: Path, what: object) -> None:
    from tqdm import tqdm

    text = " ".join(str(what).split())
    where = "" if str(path) in text else f"{path}: "
    tqdm.write(f"skdc: {kind}: {where}{text}", file=sys.stderr)
