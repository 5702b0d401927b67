"""``skdc separate``: audio files in, one audio file a speaker out."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Container, Iterator
from contextlib import chdir, contextmanager
from dataclasses import replace
from glob import glob
from itertools import compress, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from skdc.commands.options import (
    add_jobs_argument,
    add_model_argument,
    add_output_argument,
    add_speeds_argument,
    given_name,
    source_count,
    warn_of_count,
)
from skdc.exceptions import name_some
from skdc.paths import check_outputs, file_identity

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator
    from skdc.signal import Turn

_SUBTYPES = ("pcm16", "pcm24", "float")
_STANDARD_INPUT = "-"
_WILDCARDS = "*?["
# What the page of `ListeningPage` holds.
_PAGE_DATA = b'<script id="data" type="application/json">'
# What `skdc.signal.to_rttm` gives
_RTTM = re.compile(rb"(SPEAKER \S+ 1 \d+\.\d{3} \d+\.\d{3} <NA> <NA> \d+ <NA> <NA>\n)*")
_ADVICE = "give the recording a shorter name, or -o another folder"


class Job(NamedTuple):
    """A file to separate, and where results go: `target` with ``-1``, ``-2``, ... and suffixes.

    `label` is what messages call the file, where that is not its path, and `earlier` are files
    that an earlier run wrote of it.
    """

    source: Path
    target: Path
    label: str = ""
    earlier: tuple[Path, ...] = ()

    @property
    def named(self) -> str | Path:
        """What messages call the file."""
        return self.label or self.source

    def sources(self, n_sources: int, *, noise: bool = False) -> list[Path]:
        """Give the files of so many sources, and that of the noise."""
        from skdc.audio.sources import source_paths

        return source_paths(self.target.parent, self.target.name, n_sources, noise=noise)

    def outputs(self, n_sources: int, args: argparse.Namespace) -> list[Path]:
        """Give all files that may come of it."""
        return [*self.sources(n_sources, noise=args.noise), *self.beside(args)]

    def beside(self, args: argparse.Namespace) -> list[Path]:
        """Give the files that go with those of the sources: the page, who speaks when."""
        suffixes = [".html"] * args.page + [".rttm"] * args.rttm
        return [self.target.with_name(self.target.name + suffix) for suffix in suffixes]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "inputs",
        nargs="+",
        type=given_name,
        metavar="FILE",
        help="audio of any rate and number of channels; a folder stands for all audio below it, "
        "a pattern in quotes, such as '**/*.flac', for what matches it, and - for the standard "
        "input",
    )
    add_output_argument(
        parser,
        "DIR",
        "folder for NAME-1.wav, NAME-2.wav, ... of each file NAME; what lies in folders below a "
        "given one goes to such folders",
    )
    parser.add_argument(
        "--n-sources",
        type=source_count,
        metavar="N",
        help="speakers to find, or 'auto' to estimate how many (default: the model's own)",
    )
    parser.add_argument(
        "--subtype",
        choices=_SUBTYPES,
        default="pcm16",
        help="how samples are written; pcm16 plays everywhere (default: %(default)s)",
    )
    parser.add_argument(
        "--band",
        choices=("full", "network"),
        default="full",
        help="frequencies and channels of the sources: those of the recording, or what the model "
        "hears, in mono (default: %(default)s)",
    )
    parser.add_argument(
        "--noise",
        action="store_true",
        help="keep noise out of the sources, and write it to NAME-noise.wav",
    )
    parser.add_argument(
        "--phase-iterations",
        type=int,
        default=0,
        metavar="N",
        help="times that frames are made to agree on the phases of each source; 5 make the "
        "sources a little cleaner (default: %(default)s)",
    )
    parser.add_argument(
        "--pair-sweeps",
        type=int,
        default=2,
        metavar="N",
        help="times that each two of three or more sources are separated again from their sum; 0 "
        "is faster (default: %(default)s)",
    )
    add_speeds_argument(parser)
    parser.add_argument(
        "--page",
        action="store_true",
        help="write NAME.html too, a page to listen with that works without a network",
    )
    parser.add_argument(
        "--rttm",
        action="store_true",
        help="write NAME.rttm too, who speaks when; --json then holds it as 'turns'; sources "
        "count from 1, as their files do",
    )
    parser.add_argument(
        "--channels",
        action="store_true",
        help="take each channel as a source, as it is, where each person had a microphone",
    )
    there = parser.add_mutually_exclusive_group()
    there.add_argument(
        "--force",
        action="store_true",
        help="overwrite files that are there, and delete what else an earlier run wrote of the "
        "same file",
    )
    there.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out what is separated already, and go on where an earlier run was stopped; "
        "the options are taken to be those of that run",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a line for each file, a JSON object"
    )
    shared = parser.add_mutually_exclusive_group()
    add_jobs_argument(shared)
    shared.add_argument(
        "--dask",
        type=given_name,
        metavar="ADDRESS",
        help="share the files among the workers of a Dask cluster instead, such as "
        "tcp://host:8786; the same paths must lead to the same files there",
    )
    add_model_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(args, Path(folder))


def _run(args: argparse.Namespace, folder: Path) -> int:
    jobs, not_audio, results = find_inputs(args.inputs, args.output)
    for what, why in (
        (not_audio, "their names are not those of audio files"),
        (results, f"they lie in the output folder {str(args.output)!r}"),
    ):
        if what:
            print(f"skdc: left out, because {why}: {name_some(what)}", file=sys.stderr)
    if args.json:
        for path in not_audio:
            print(
                json.dumps(
                    _nothing_done(path) | {"skipped": "its name is not that of an audio file"}
                )
            )
    from skdc.pretrained import load_pretrained

    model = load_pretrained(args.model, device=args.device).set_params(output="sources")
    if args.n_sources is not None:
        model.set_params(n_sources=args.n_sources)
    if not args.channels:
        warn_of_count(model, args.n_sources)
    # Files may have any number of channels, as they may of talkers.
    n_sources = _expected_count(model, args)
    # Where the number is known after the work only, files of as many as there may be are checked.
    there = _check_targets(jobs, args, n_sources or _most_sources(args))
    if not (args.force or args.skip_existing):
        _refuse(there)
    for index, job in enumerate(jobs):
        if job.label == _STANDARD_INPUT:
            if args.dask is not None:
                raise ValueError("--dask takes files that its workers see, not the standard input")
            # A file, because formats are told by its contents, and processes share no input.
            copy = folder / "stdin"
            content = b"" if sys.stdin is None else sys.stdin.buffer.read()
            if not content:
                raise ValueError("the standard input is empty; pipe an audio file into it")
            copy.write_bytes(content)
            jobs[index] = job._replace(source=copy)
    n_found = len(jobs)
    sources = [job.source for job in jobs]
    if args.skip_existing:
        is_done = [_is_done(job, args, n_sources) for job in jobs]
        done = list(compress(jobs, is_done))
        jobs = [job for job, is_whole in zip(jobs, is_done, strict=True) if not is_whole]
    if args.force or args.skip_existing:
        read = {file_identity(path) for path in (args.model, *sources)}
        jobs = [job._replace(earlier=_find_earlier(job, args, read)) for job in jobs]
    if args.skip_existing:
        if args.json:
            for job in done:
                print(json.dumps(_nothing_done(job.named) | {"skipped": "separated already"}))
        print(f"{len(done)} of {n_found} files are separated already", file=sys.stderr)
        if not jobs:
            return 0

    from joblib import Parallel, delayed
    from tqdm import tqdm

    failed = 0
    n_jobs = min(args.jobs, len(jobs))
    with _workers(n_jobs, args.dask, model) as options:
        if options["n_jobs"] == 1 and sys.stderr.isatty():
            model.set_params(verbose=1)  # shows how far a long file is
        results = Parallel(**options, return_as="generator")(
            delayed(_separate)(model, job, args, Path.cwd()) for job in jobs
        )
        hidden = True if len(jobs) == 1 else None  # None shows it to terminals
        for done in tqdm(results, total=len(jobs), unit="file", disable=hidden, delay=2):
            failed += done["error"] is not None
            _report(done, as_json=args.json)
    if failed == n_found:
        return 2
    return 1 if failed else 0


@contextmanager
def _workers(
    n_jobs: int, address: str | None, model: DeepClusteringSeparator
) -> Iterator[dict[str, Any]]:
    """Give joblib's options for what shares the files: processes here, or a cluster."""
    if address is None:
        # joblib gives each process its share of the threads.
        yield {"n_jobs": n_jobs}
        return
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ImportError('--dask needs Dask: pip install "skdc[dask]"') from error
    from joblib import parallel_config

    # The model goes to each worker once. A job each, so that little is done again when a worker
    # dies: Dask gives its jobs to the others.
    with (
        Client(address, set_as_default=False) as client,
        parallel_config("dask", client=client, scatter=[model]),
    ):
        yield {"n_jobs": -1, "batch_size": 1}


class Inputs(NamedTuple):
    """What was found to separate, and what was left out.

    `not_audio` are files in folders whose suffix is none of audio, `results` those of earlier
    runs.
    """

    jobs: list[Job]
    not_audio: list[Path]
    results: list[Path]


def find_inputs(inputs: list[str], output: Path) -> Inputs:
    """Find the files to separate, each once, and where their sources go.

    Parameters
    ----------
    inputs : list of str
        Files, folders, and patterns as for `glob.glob`; a file of the name goes before a pattern.
        What a folder stands for are the files below it of an audio suffix, but not hidden ones.
        Where the output folder lies below a folder, or below where a pattern begins, what is in it
        is left out. So it is where it is given itself, among others that lie elsewhere, as
        patterns of a shell do; where all that is given lies in it, recordings and results share a
        folder.
    output : Path

    Returns
    -------
    Inputs

    Raises
    ------
    FileNotFoundError
        If a folder or pattern stands for no files, or all are results.
    """
    from skdc.audio.files import is_audio

    jobs: dict[Path, Job] = {}
    not_audio: dict[Path, None] = {}
    results: dict[Path, None] = {}
    where = output.resolve()
    begins = {text: _beginning(text) for text in inputs if text != _STANDARD_INPUT}
    is_shared = all(begin.is_relative_to(where) for begin in begins.values())
    for text in inputs:
        if text == _STANDARD_INPUT:
            jobs.setdefault(Path(text), Job(Path(text), output / "stdin", text))
            continue
        begin = begins[text]
        has_results = begin in where.parents or (begin == where and not is_shared)
        # The output folder itself may be empty still.
        is_found = has_results and begin == where
        for job, is_named in _jobs_of(text, output):
            place = job.source.resolve()
            if has_results and place.is_relative_to(where):
                is_found = True
                if is_audio(job.source):
                    results[job.source] = None
            elif is_named or is_audio(job.source):
                jobs.setdefault(place, job)
                is_found = True
            else:
                not_audio[job.source] = None
        if not is_found:
            what = f"is in the folder {text!r}" if os.path.isdir(text) else f"matches {text!r}"
            raise FileNotFoundError(f"no audio file {what}")
    if not jobs:
        raise FileNotFoundError(
            f"no audio file is given but what lies in the output folder {str(output)!r}"
        )
    return Inputs(list(jobs.values()), list(not_audio), list(results))


def _is_pattern(text: str) -> bool:
    return not {*text}.isdisjoint(_WILDCARDS) and not os.path.exists(text)


def _beginning(text: str) -> Path:
    """Give a file or folder itself, or the folder in which a pattern begins to match."""
    parts = Path(text).parts
    if _is_pattern(text):
        parts = tuple(takewhile({*_WILDCARDS}.isdisjoint, parts))
    return Path(*parts).resolve()


def _jobs_of(text: str, output: Path) -> Iterator[tuple[Job, bool]]:
    """Give what a text stands for, and whether it is named or matched, not found in a folder."""
    from skdc.audio.files import files_below

    found = sorted(map(Path, glob(text, recursive=True))) if _is_pattern(text) else [Path(text)]
    for path in found:
        if not os.path.isdir(path):
            yield Job(path, output / path.stem), True
            continue
        for source in files_below(path):
            yield Job(source, output / source.relative_to(path).parent / source.stem), False


def _check_targets(jobs: list[Job], args: argparse.Namespace, n_sources: int) -> list[Path]:
    """Refuse what can never be written, and give the outputs that exist already."""
    # All targets are checked before hours of work.
    if os.path.exists(args.output) and not os.path.isdir(args.output):
        raise NotADirectoryError(f"-o {args.output} is a file; give a folder")
    first_of: dict[Path, Path] = {}
    there: list[Path] = []
    for job in jobs:
        first = first_of.setdefault(job.target, job.source)
        if first is not job.source:
            raise ValueError(
                f"{str(first)!r} and {str(job.source)!r} would both be written to "
                f"{str(job.sources(1)[0])!r}; separate them into different folders"
            )
        # Not `Path.exists`, which raises an error where the name is too long. That is said of the
        # file when its turn comes, and the others are separated.
        there += filter(os.path.exists, job.outputs(n_sources, args))
    sources = [job.source for job in jobs if job.label != _STANDARD_INPUT]
    check_outputs(there, sources, advice="give another folder", replaces=args.force)
    return there


def _refuse(there: list[Path]) -> None:
    """Raise a FileExistsError where there are files that would be overwritten."""
    if there:
        others = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise FileExistsError(
            f"{str(there[0])!r} exists already{others}; use --force to overwrite, or give another "
            "folder"
        )


def _most_sources(args: argparse.Namespace) -> int:
    """Give the most files of sources that a recording may have."""
    from skdc.separation.counts import MOST_SOURCES
    from skdc.signal.demands import MAX_CHANNELS

    return MAX_CHANNELS if args.channels else MOST_SOURCES


def _find_earlier(
    job: Job, args: argparse.Namespace, inputs: Container[tuple[int, int] | None]
) -> tuple[Path, ...]:
    """Find what earlier runs have written of a file, with whatever options.

    Inputs are none, nor is what somebody else has made.
    """
    from skdc.audio.sources import is_of_sources

    everything = argparse.Namespace(noise=True, page=True, rttm=True)
    there = [
        path
        for path in filter(os.path.isfile, job.outputs(_most_sources(args), everything))
        if file_identity(path) not in inputs
    ]
    own = {path for path in there if path.suffix == ".wav" and is_of_sources(path)}

    def is_result(path: Path) -> bool:
        if path.suffix == ".wav":
            return path in own
        try:
            content = path.read_bytes()
        except OSError:
            return False
        if path.suffix == ".rttm":
            # One in which nobody speaks is empty.
            return bool(own) and _RTTM.fullmatch(content) is not None
        return _PAGE_DATA in content

    return tuple(filter(is_result, there))


def _expected_count(model: DeepClusteringSeparator, args: argparse.Namespace) -> int | None:
    """Give the number of sources of each file; None where it is known after the work only."""
    from skdc.separation.counts import asked_count

    return None if args.channels else asked_count(model.n_sources)


def _is_done(job: Job, args: argparse.Namespace, n_sources: int | None) -> bool:
    """Whether all files of a job are there whole: as long as their source, at its rate.

    The first one is written last, so that it is there only where the others are, however many.
    """
    from skdc.audio.io import read_header
    from skdc.audio.sources import is_of_sources

    try:
        _, *expected = read_header(job.source)
        first, *others = job.sources(_most_sources(args))
        is_marked = is_of_sources(first)
        # What somebody else has made, or an earlier version, is not marked.
        found = [
            first,
            *takewhile(lambda path: path.exists() and is_of_sources(path) == is_marked, others),
        ]
        is_whole = all(read_header(path)[1:] == tuple(expected) for path in found)
    except (OSError, ValueError):
        return False
    if not all(path.exists() for path in job.beside(args)):
        return False
    return is_whole and len(found) == (n_sources or len(found))


def _separate(
    model: DeepClusteringSeparator, job: Job, args: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Separate a file, and tell what came of it, as ``--json`` prints it."""
    done = _nothing_done(job.named)
    # A process that joblib kept from earlier work may have another working directory.
    with chdir(folder), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        n_sources = _expected_count(model, args)
        if args.dask is not None and not args.force and _is_done(job, args, n_sources):
            # The worker that had this file died after it, before it could tell.
            return done | {"skipped": "separated already"}
        try:
            outputs = job.outputs(n_sources or _most_sources(args), args)
            check_outputs(outputs, [job.source], advice=_ADVICE)
            if args.skip_existing:
                # What is not whole is made anew, but not over what somebody else has made.
                own = _find_earlier(job, args, ())
                others = [path for path in outputs if path not in own]
                _refuse(list(filter(os.path.exists, others)))
            # A page, and what is not the full band, takes the whole recording in memory.
            is_whole = args.page or args.channels or args.band != "full"
            done |= (_in_memory if is_whole else _from_file_to_files)(model, job, args)
            for path in sorted({*job.earlier} - {*map(Path, done["outputs"])}):
                path.unlink(missing_ok=True)
                done["deleted"].append(str(path))
        except (OSError, ValueError) as error:
            if args.debug:
                raise
            done["error"] = _said(error, job)
        except (MemoryError, RuntimeError) as error:
            if args.debug or not _is_out_of_memory(error):
                raise
            done["error"] = (
                "there is not enough memory for it; give fewer --jobs, and leave out --page, "
                "--channels and --band network, which take the whole recording in memory"
            )
    return done | {"warnings": [_said(warning.message, job) for warning in caught]}


def _from_file_to_files(
    model: DeepClusteringSeparator, job: Job, args: argparse.Namespace
) -> dict[str, Any]:
    from skdc.pretrained import separate_file

    result = separate_file(
        job.source,
        job.target.parent,
        name=job.target.name,
        # What the model has is not a wish of the user, who gave --n-sources or did not.
        n_sources=args.n_sources,
        model=model,
        subtype=args.subtype,
        noise=args.noise,
        phase_iterations=args.phase_iterations,
        pair_sweeps=args.pair_sweeps,
        speeds=args.speeds,
    )
    outputs = [*result.paths, *(result.save_rttm(path) for path in job.beside(args))]
    return {
        "sample_rate": result.rate,
        "seconds": result.n_samples / result.rate,
        "n_sources": result.n_sources,
        "quality_db": _rounded(result.quality_db),
        "quality_error_db": _rounded(result.quality_error_db),
        "count_probability": _rounded(result.count_probability),
        "turns": _numbered(result.turns) if args.rttm else None,
        "outputs": [str(path) for path in outputs],
    }


def _in_memory(
    model: DeepClusteringSeparator, job: Job, args: argparse.Namespace
) -> dict[str, Any]:
    from skdc.pretrained import separate

    options = {"model": model, "band": args.band, "channels": args.channels}
    options |= {"noise": args.noise, "phase_iterations": args.phase_iterations}
    options |= {"pair_sweeps": args.pair_sweeps, "speeds": args.speeds}
    result = replace(
        separate(job.source, n_sources=args.n_sources, **options), name=job.target.name
    )
    outputs = result.save(job.target.parent, subtype=args.subtype)
    for path in job.beside(args):
        is_page = path.suffix == ".html"
        outputs.append(result.listen().save(path) if is_page else result.save_rttm(path))
    return {
        "sample_rate": result.rate,
        "seconds": result.mixture.shape[-1] / result.rate,
        "n_sources": len(result.sources),
        "quality_db": _rounded(result.quality_db),
        "quality_error_db": _rounded(result.quality_error_db),
        "count_probability": _rounded(result.count_probability),
        "turns": _numbered(result.turns()) if args.rttm else None,
        "outputs": [str(path) for path in outputs],
    }


def _numbered(turns: list[Turn]) -> list[dict[str, Any]]:
    """Give turns for JSON; sources are numbered as their files are."""
    return [turn._asdict() | {"source": turn.source + 1} for turn in turns]


def _nothing_done(source: Path | str) -> dict[str, Any]:
    """Give what ``--json`` prints of a file, before anything came of it."""
    return {
        "input": str(source),
        "outputs": [],
        "sample_rate": None,
        "seconds": None,
        "n_sources": None,
        "quality_db": None,
        "quality_error_db": None,
        "count_probability": None,
        "turns": None,
        "deleted": [],
        "skipped": None,
        "error": None,
        "warnings": [],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _is_out_of_memory(error: Exception) -> bool:
    # That of torch is a RuntimeError: a class of its own on GPUs, told by its text on CPUs.
    return isinstance(error, MemoryError) or "memory" in str(error)


def _said(message: object, job: Job) -> str:
    """Give an error or a warning in one line."""
    # A copy of the standard input has a path that says nothing to the user.
    text = str(message).replace(repr(str(job.source)), repr(str(job.named)))
    return " ".join(text.split())


def _report(done: dict[str, Any], *, as_json: bool) -> None:
    from tqdm import tqdm

    for kind, texts in (("warning", done["warnings"]), ("error", [done["error"]])):
        for text in filter(None, texts):
            where = "" if done["input"] in text else f"{done['input']}: "
            tqdm.write(f"skdc: {kind}: {where}{text}", file=sys.stderr)
    if done["deleted"]:
        deleted = ", ".join(done["deleted"])
        tqdm.write(f"skdc: deleted, as results of an earlier run: {deleted}", file=sys.stderr)
    if as_json:
        tqdm.write(json.dumps(done), file=sys.stdout)
    elif done["error"] is None:
        tqdm.write(f"{done['input']} -> {', '.join(done['outputs'])}", file=sys.stdout)
