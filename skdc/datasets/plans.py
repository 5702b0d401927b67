"""What there is to make of a corpus and its lists: checked jobs, before anything is made."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from skdc.datasets.protocols import PROTOCOLS, PublishedProtocol, check_choice
from skdc.datasets.recipes import (
    MixtureFolder,
    MixtureJob,
    Recipe,
    RecipeSource,
    clip_sources,
    librimix_sources,
    wsj0_sources,
)
from skdc.datasets.tables import check_columns, read_number, read_table

__all__ = ["plan_clips", "plan_librimix", "plan_protocol", "plan_wsj0"]

PathLike = str | os.PathLike[str]

_WSJ0_SUFFIXES = (".wav", ".wv1", ".sph", ".flac")
_MODES = ("min", "max")


def plan_protocol(
    name: str,
    root: PathLike,
    lists: PathLike,
    output_root: PathLike,
    *,
    subsets: Sequence[str] | None = None,
    mode: str = "min",
    sample_rates: Sequence[int] | None = None,
) -> dict[str, MixtureJob]:
    """Read and check all lists of a protocol; nothing is made yet.

    Parameters
    ----------
    name : str
        Which protocol; see `skdc.datasets.protocols.open_protocol`.
    root : path-like
        Folder of the corpus: ``wsj0`` or the one that holds it, ``LibriSpeech``, or the one that
        the paths of lists of clips are relative to.
    lists : path-like
        Folder of the lists, by their published names: ``mix_2_spk_tr.txt``,
        ``libri2mix_train-clean-100.csv``; ``tr.csv`` for clips.
    output_root : path-like
        Folder to make ``wav8k/min/tr`` and so on in.
    subsets : sequence of str, optional
        By default those that `lists` has a list of.
    mode : {"min", "max"}, default="min"
        Cut to the shortest source, or pad all to the longest.
    sample_rates : sequence of int, optional
        Hz; by default that of the published figures.

    Returns
    -------
    dict of str to MixtureJob
        For each subset; the method ``make`` makes its files.

    Raises
    ------
    FileNotFoundError
        If lists or recordings are missing; the message names them.
    ValueError
        If there is no such protocol, subset, rate or mode, or if a list is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.datasets import write_audio
    >>> from skdc.datasets.plans import plan_protocol
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> rng = np.random.default_rng(0)
    >>> for name in ("441/441o030e", "40n/40no030y"):
    ...     write_audio(root / f"wsj0/{name}.wav", 0.1 * rng.standard_normal(16000), 16000)
    >>> line = "wsj0/441/441o030e.wav 1.5 wsj0/40n/40no030y.wav -1.5"
    >>> _ = (root / "mix_2_spk_tt.txt").write_text(line)
    >>> jobs = plan_protocol("wsj0-2mix", root / "wsj0", root, root / "2speakers")
    >>> {subset: job.make() for subset, job in jobs.items()}
    {'tt': 1}
    >>> folder.cleanup()
    """
    makeable = [known for known, protocol in PROTOCOLS.items() if protocol.n_sources]
    check_choice("name", name, makeable)
    protocol = PROTOCOLS[name]
    n_sources = protocol.n_sources or 0
    for rate in sample_rates or ():
        check_choice(f"sample_rate of {name!r}", rate, protocol.sample_rates)
    check_choice(f"mode of {name!r}", mode, protocol.modes)
    for subset in subsets or ():
        check_choice(f"subset of {name!r}", subset, protocol.subsets)
    paths = {
        subset: Path(lists) / _list_name(protocol, subset)
        for subset in (protocol.subsets if subsets is None else subsets)
    }
    missing = [path for path in paths.values() if not path.is_file()]
    if missing and (subsets is not None or len(missing) == len(paths)):
        raise FileNotFoundError(
            f"no list of mixtures at {', '.join(repr(str(path)) for path in missing)}; give the "
            "folder of the lists"
        )
    jobs = {}
    for subset, path in paths.items():
        if path in missing:
            continue
        what = root, path, output_root
        rates = sample_rates or protocol.sample_rates[:1]
        if name.startswith("wsj0"):
            jobs[subset] = plan_wsj0(*what, n_sources, subset, mode, rates)
        elif name.startswith("libri"):
            jobs[subset] = plan_librimix(*what, n_sources, subset, mode, rates)
        else:
            jobs[subset] = plan_clips(*what, subset, rates[0])
        n_listed = jobs[subset].folders[0].n_sources
        if n_listed != n_sources:
            raise ValueError(
                f"{str(path)!r} lists mixtures of {n_listed} sources; those of {name!r} have "
                f"{n_sources}"
            )
    return jobs


def _list_name(protocol: PublishedProtocol, subset: str) -> str:
    if protocol.name.startswith("wsj0"):
        return f"mix_{protocol.n_sources}_spk_{subset}.txt"
    if protocol.name.startswith("libri"):
        part, hyphen, hours = subset.partition("-")
        return f"{protocol.name}_{part}-clean{hyphen}{hours}.csv"
    return f"{subset}.csv"


def plan_wsj0(
    root: PathLike,
    list_path: PathLike,
    output_root: PathLike,
    n_sources: int,
    subset: str,
    mode: str,
    sample_rates: Sequence[int],
) -> MixtureJob:
    """Plan a subset of WSJ0-2mix or WSJ0-3mix; see `skdc.datasets.makers.make_wsj0_mix`."""
    _check_mode(mode)
    folders = _folders(output_root, mode, subset, n_sources, sample_rates)
    recipes = _read_wsj0_list(Path(list_path), Path(root), n_sources)
    return MixtureJob(recipes, folders, partial(wsj0_sources, mode=mode), list_path)


def plan_librimix(
    root: PathLike,
    metadata_csv: PathLike,
    output_root: PathLike,
    n_sources: int,
    subset: str,
    mode: str,
    sample_rates: Sequence[int],
) -> MixtureJob:
    """Plan a subset of clean LibriMix; see `skdc.datasets.makers.make_librimix`."""
    _check_mode(mode)
    folders = _folders(output_root, mode, subset, n_sources, sample_rates, "mix_clean")
    table = Path(metadata_csv)
    columns = [f"source_{i + 1}_{what}" for i in range(n_sources) for what in ("path", "gain")]
    _, rows = read_table(table, ("mixture_ID", *columns))
    recipes = [
        Recipe(
            row["mixture_ID"],
            line,
            tuple(
                RecipeSource(Path(root) / row[path], read_number(table, line, row, gain))
                for path, gain in zip(columns[::2], columns[1::2], strict=True)
            ),
        )
        for line, row in rows
    ]
    return MixtureJob(recipes, folders, partial(librimix_sources, mode=mode), table)


def plan_clips(
    root: PathLike, list_path: PathLike, output_root: PathLike, subset: str, sample_rate: int
) -> MixtureJob:
    """Plan mixtures of clips; see `skdc.datasets.makers.make_speaker_mixtures`."""
    table = Path(list_path)
    columns, rows = read_table(table, ("mixture_id", "n_samples", "source_1"))
    n_sources = sum(name.startswith("source_") for name in columns)
    names = [(f"source_{i}", f"start_{i}", f"level_db_{i}") for i in range(1, n_sources + 1)]
    check_columns(table, columns, [name for group in names for name in group])
    recipes = [
        Recipe(
            row["mixture_id"],
            line,
            tuple(
                RecipeSource(
                    Path(root) / row[path],
                    10 ** (read_number(table, line, row, level) / 20),
                    _start(table, line, row, start),
                )
                for path, start, level in names
            ),
            int(read_number(table, line, row, "n_samples", whole=True)),
        )
        for line, row in rows
    ]
    folders = _folders(output_root, "min", subset, n_sources, [sample_rate])
    return MixtureJob(recipes, folders, clip_sources, table)


def _read_wsj0_list(path: Path, root: Path, n_sources: int) -> list[Recipe]:
    if not path.is_file():
        raise FileNotFoundError(f"no list of mixtures at {str(path)!r}")
    found: dict[str, Path] = {}
    recipes = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            levels_db = [float(text) for text in fields[1::2]]
        except ValueError:
            levels_db = [math.nan]
        if len(fields) != 2 * n_sources or not np.isfinite(levels_db).all():
            raise ValueError(
                f"{str(path)!r}, line {number}: expected PATH and decibels {n_sources} times, got "
                f"{line.strip()!r}; the list is damaged, cut short, or for another number of "
                "sources"
            )
        for name in fields[::2]:
            if name not in found:
                found[name] = _find_wsj0(root, name)
        recipes.append(
            Recipe(
                # + 0.0, so that there is no -0.
                "_".join(
                    f"{Path(name).stem}_{level_db + 0.0:.5g}"
                    for name, level_db in zip(fields[::2], levels_db, strict=True)
                ),
                number,
                tuple(
                    RecipeSource(found[name], 10 ** (level_db / 20))
                    for name, level_db in zip(fields[::2], levels_db, strict=True)
                ),
            )
        )
    return recipes


def _find_wsj0(root: Path, name: str) -> Path:
    for base in (root, root.absolute().parent):
        for suffix in dict.fromkeys([Path(name).suffix, *_WSJ0_SUFFIXES]):
            path = (base / name).with_suffix(suffix)
            if path.is_file():
                return path
    return root / name  # which is missing, as the job tells


def _start(table: Path, line: int, row: dict[str, str], name: str) -> int:
    value = read_number(table, line, row, name)
    if value < 0 or value % 1:
        raise ValueError(
            f"{str(table)!r}, line {line}: {name} is {row[name]!r}; expected an integer, 0 or more"
        )
    return int(value)


def _folders(
    root: PathLike,
    mode: str,
    subset: str,
    n_sources: int,
    sample_rates: Sequence[int],
    mixture_folder: str = "mix",
) -> list[MixtureFolder]:
    return [
        MixtureFolder(
            Path(root) / f"wav{rate // 1000}k" / mode / subset, rate, n_sources, mixture_folder
        )
        for rate in sorted(set(sample_rates))
    ]


def _check_mode(mode: str) -> None:
    if mode not in _MODES:
        raise ValueError(f"mode is {mode!r}; give 'min' or 'max'")
