"""Protocols whose mixtures are made of a corpus: recipes, and the job that makes the files.

Each family of protocols turns its lists into recipes and says what becomes of the recordings.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from skdc.audio import AudioFiles, check_files, read_at_rate
from skdc.exceptions import name_some
from skdc.paths import check_outputs
from skdc.protocols.folders import FolderMixture, MixtureFolder, Waveform
from skdc.protocols.interface import ProtocolMixture, PublishedProtocol, check_choice
from skdc.protocols.records import RecipeRecord
from skdc.signal import active_speech_level

__all__ = [
    "CORPUS_RATE",
    "FolderProtocol",
    "MixtureJob",
    "Output",
    "PathLike",
    "Recipe",
    "RecipeSource",
    "Talkers",
    "active_gain",
    "fit_lengths",
    "read_recording",
    "share_peak",
]

PathLike = str | os.PathLike[str]
# Speakers and utterances, as the name of a mixture tells them; both empty where it does not.
Talkers = tuple[tuple[str, ...], tuple[str, ...]]

CORPUS_RATE = 16000
_PEAK = 0.9


@dataclass(frozen=True)
class RecipeSource:
    """One source of a mixture to make.

    `gain` is the factor of the recording, or of its active speech level; `start` the sample of the
    recording that the mixture begins at.
    """

    path: Path
    gain: float
    start: int = 0


@dataclass(frozen=True)
class Recipe:
    """One mixture to make.

    `name` is that of its files, without the suffix; `line` where it is in its list; `n_samples`
    its length, where the list gives that.
    """

    name: str
    line: int
    sources: tuple[RecipeSource, ...]
    n_samples: int = 0

    def fingerprint(self) -> str:
        """Give a hash of all that its files come from; other recordings have another one."""
        parts: list[object] = [self.n_samples]
        for source in self.sources:
            found = source.path.stat()
            place = os.path.abspath(source.path)
            parts += [place, found.st_size, found.st_mtime_ns, source.gain, source.start]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


# Turns a recipe into the sources that are written, once for each of the rates.
Render = Callable[[Recipe, Sequence[int]], list[list[Waveform]]]


@dataclass(frozen=True)
class MixtureJob:
    """The mixtures of a list, to be made; nothing is made before `make` is called.

    Parameters
    ----------
    recipes : sequence of Recipe
    folders : sequence of MixtureFolder
        Where to make them; the rates differ.
    render : callable
        ``(recipe, sample_rates) -> sources for each rate``, picklable.
    list_path : path-like
        Where the recipes come from, for messages.

    Raises
    ------
    FileNotFoundError
        If recordings are missing.
    ValueError
        If there are no recipes, or if a name is there twice, is no name for a file or too long a
        one, or if a folder holds mixtures that are not among them.
    FileExistsError
        If a file to make would replace a recording, or the list.
    """

    recipes: Sequence[Recipe]
    folders: Sequence[MixtureFolder]
    render: Render
    list_path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        _check_recipes(self.recipes, os.fspath(self.list_path))
        recordings = {source.path for recipe in self.recipes for source in recipe.sources}
        files = (
            path
            for folder in self.folders
            for recipe in self.recipes
            for path in folder.paths(recipe.name)
        )
        inputs = [*recordings, self.list_path]
        # Files that are there already are left.
        check_outputs(files, inputs, advice="give another folder", replaces=False)
        for folder in self.folders:
            self._check_others(folder)

    def _check_others(self, folder: MixtureFolder) -> None:
        """Refuse mixtures of another list, which would be trained on and measured with, too."""
        others = sorted(folder.found() - {recipe.name for recipe in self.recipes})
        if others:
            raise ValueError(
                f"{str(folder.folder)!r} holds mixtures that {os.fspath(self.list_path)!r} does "
                f"not have, and they would count as its own: {name_some(others)}; delete their "
                f"files in {', '.join(folder.kinds)}, or give another folder"
            )

    def make(self, *, n_jobs: int | None = None, progress: bool | None = False) -> int:
        """Make the files that are not there yet.

        Those that are there, and not known to be of the same recipe and recordings, are made once
        more and compared.

        Parameters
        ----------
        n_jobs : int, optional
            Processes, as in joblib: -1 for one a core; 1 by default.
        progress : bool or None, default=False
            Whether to show progress and the time left; None: where the output is a terminal.

        Returns
        -------
        int
            Mixtures that were made now.

        Raises
        ------
        ValueError
            If a mixture cannot be made, or is there and not what its recipe makes.
        OSError
            If a file cannot be written.
        """
        fingerprints = {recipe.name: recipe.fingerprint() for recipe in self.recipes}
        records = [RecipeRecord(folder.folder, fingerprints) for folder in self.folders]
        for record in records:
            record.open()
        found = set[str]().union(*(folder.found() for folder in self.folders))

        def trusted(recipe: Recipe) -> list[bool]:
            return [recipe.name in record.trusted for record in records]

        # Those that may be wrong come first, and stop the others.
        recipes = sorted(self.recipes, key=lambda r: r.name not in found or all(trusted(r)))
        made = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_make)(recipe, self.folders, trusted(recipe), self.render)
            for recipe in recipes
        )
        is_quiet = None if progress is None else not progress
        bar = tqdm(made, total=len(recipes), unit="mixture", disable=is_quiet)
        n_made = 0
        for recipe, is_new in zip(recipes, bar, strict=True):
            n_made += is_new
            for record in records:
                record.add(recipe.name)
        return n_made


def _check_recipes(recipes: Sequence[Recipe], list_path: str) -> None:
    if not recipes:
        raise ValueError(f"{list_path!r} lists no mixtures")
    lines: dict[str, int] = {}
    first_lines: dict[Path, int] = {}
    for recipe in recipes:
        if Path(recipe.name).name != recipe.name:
            raise ValueError(
                f"{list_path!r}, line {recipe.line}: {recipe.name!r} cannot be the name of a file"
            )
        line = lines.setdefault(recipe.name, recipe.line)
        if line != recipe.line:
            raise ValueError(
                f"{list_path!r}, line {recipe.line}: mixture {recipe.name!r} is on line {line} "
                "already"
            )
        for source in recipe.sources:
            first_lines.setdefault(source.path, recipe.line)
    check_files(
        first_lines,
        f"recordings in {list_path!r}",
        "give the folder that its paths are relative to",
        note=lambda path: f" (line {first_lines[path]})",
    )


def _make(
    recipe: Recipe, folders: Sequence[MixtureFolder], trusted: Sequence[bool], render: Render
) -> bool:
    """Make what is not there, and compare what is there and not trusted."""
    is_there = [folder.is_complete(recipe.name) for folder in folders]
    chosen = [
        (folder, there)
        for folder, there, known in zip(folders, is_there, trusted, strict=True)
        if not (there and known)
    ]
    if not chosen:
        return False
    rendered = render(recipe, [folder.sample_rate for folder, _ in chosen])
    for (folder, there), sources in zip(chosen, rendered, strict=True):
        if _largest_sample(sources) > 1:
            raise ValueError(
                f"line {recipe.line}: mixture {recipe.name!r} exceeds full scale, with a peak of "
                f"{_largest_sample(sources):.3g}; list and recordings do not belong together"
            )
        if not there:
            folder.write(recipe.name, sources)
        elif not folder.holds(recipe.name, sources):
            raise ValueError(
                f"line {recipe.line}: mixture {recipe.name!r} in {str(folder.folder)!r} is there "
                "already, made of another list or of other recordings; delete the folder to have "
                "its mixtures made anew, or give another one"
            )
    return not all(is_there)


class Output(NamedTuple):
    """Where the files of a subset are: ``root/wav8k/mode/subset``, for each rate in Hz.

    In mode "min" mixtures are as long as the shortest source, in mode "max" as the longest.
    """

    root: PathLike
    subset: str
    mode: str
    sample_rates: Sequence[int]


class FolderProtocol(PublishedProtocol):
    """A protocol of mixtures in folders, which are made of a corpus and its lists.

    `mixture_folder` is that of the mixtures, beside ``s1``, ``s2`` and so on.
    """

    n_sources: int
    mixture_folder = "mix"

    @abstractmethod
    def talkers(self, mixture_id: str) -> Talkers:
        """Tell speakers and utterances by the name of a mixture."""

    @abstractmethod
    def list_name(self, subset: str) -> str:
        """Give the published name of the list of a subset."""

    @abstractmethod
    def plan(self, root: PathLike, list_path: PathLike, output: Output) -> MixtureJob:
        """Read and check a list; nothing is made yet. See `skdc.protocols.plan_protocol`."""

    def folders(self, output: Output) -> list[MixtureFolder]:
        """Give the folders of a subset, one for each rate."""
        check_choice("mode", output.mode, ("min", "max"))
        return [
            MixtureFolder(
                Path(output.root) / f"wav{rate // 1000}k" / output.mode / output.subset,
                rate,
                self.n_sources,
                self.mixture_folder,
            )
            for rate in sorted(set(output.sample_rates))
        ]

    def open_subset(
        self, root: Path, subset: str, sample_rate: int, mode: str
    ) -> list[ProtocolMixture]:
        """Find the mixtures of a folder; see `skdc.protocols.open_protocol`."""
        check_choice(f"subset of {self.name!r}", subset, self.subsets)
        (folder,) = self.folders(Output(root, subset, mode, [sample_rate]))
        mixtures = []
        for mixture_id in folder.names():
            speakers, utterances = self.talkers(mixture_id)
            audio, conditions = folder.mixture(mixture_id), self.subsets[subset]
            mixtures.append(ProtocolMixture(audio, conditions, speakers, utterances=utterances))
        return mixtures

    def open_recordings(
        self, root: Path, subset: str, sample_rate: int
    ) -> tuple[AudioFiles, list[str]]:
        """Find the sources of mixtures; see `skdc.protocols.open_protocol_recordings`."""
        rate = self.choose_rate(sample_rate)
        longest: dict[tuple[str, str], Path] = {}
        for item in self.open_subset(root, subset, rate, "min"):
            if not item.speakers:
                raise ValueError(
                    f"{item.mixture_id!r} of {self.name!r} does not tell who speaks, and nobody "
                    "may be mixed with themselves; name mixtures as the published lists do"
                )
            if isinstance(item.audio, FolderMixture):
                paths = item.audio.source_paths
                utterances = item.utterances or map(str, paths)
                for speaker, utterance, path in zip(item.speakers, utterances, paths, strict=True):
                    known = longest.setdefault((speaker, utterance), path)
                    # All are WAV files of one kind, so the larger one is the longer one.
                    if path.stat().st_size > known.stat().st_size:
                        longest[speaker, utterance] = path
        recordings = AudioFiles(longest.values(), sample_rate=sample_rate)
        return recordings, [speaker for speaker, _ in longest]


def read_recording(path: Path, sample_rate: int) -> Waveform:
    """Read a recording of a corpus, ``(n_samples,)`` in float64, that has to be at a rate, Hz.

    It is WAV, FLAC, uncompressed NIST SPHERE, or what else `read_audio` takes. Raises a ValueError
    if it is at another rate, compressed with shorten, or not audio.
    """
    with path.open("rb") as file:
        header = file.read(1024)
    if header.startswith(b"NIST_1A") and b"embedded-shorten" in header:
        raise ValueError(
            f"{str(path)!r} is NIST SPHERE compressed with shorten, which cannot be read here; "
            "decompress the corpus to WAV or plain SPHERE first, with sph2pipe or w_decode"
        )
    waveform = read_at_rate(path, sample_rate, "give the corpus as it was published")
    return waveform.astype(np.float64)


def active_gain(waveform: Waveform, sample_rate: int, source: RecipeSource) -> float:
    """Give the factor that brings a recording to the active speech level of its recipe."""
    level = active_speech_level(waveform, sample_rate)
    if level == 0:
        raise ValueError(f"{str(source.path)!r} is silent there: it has no level to be brought to")
    return source.gain / level


def fit_lengths(sources: Sequence[Waveform], mode: str) -> list[Waveform]:
    """Cut sources to the shortest (``"min"``), or pad them to the longest (``"max"``)."""
    lengths = [len(source) for source in sources]
    if mode == "min":
        return [source[: min(lengths)] for source in sources]
    return [np.pad(source, (0, max(lengths) - len(source))) for source in sources]


def share_peak(sources: Sequence[Waveform]) -> list[Waveform]:
    """Scale sources by one gain that brings them and their mixture to a peak of 0.9."""
    gain = _PEAK / _largest_sample(sources)
    return [gain * source for source in sources]


def _largest_sample(sources: Sequence[Waveform]) -> float:
    return float(max(np.abs(waveform).max() for waveform in [*sources, np.sum(sources, axis=0)]))
