"""How mixtures are made of recordings, and the job that makes the files of many of them.

Lists become recipes in `skdc.datasets.plans`; what follows is here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm.auto import tqdm

from skdc.datasets.audio import read_audio, write_audio
from skdc.signal import active_speech_level, resample

__all__ = [
    "MixtureFolder",
    "MixtureJob",
    "Recipe",
    "RecipeSource",
    "clip_sources",
    "librimix_sources",
    "read_recording",
    "wsj0_sources",
]

Waveform = NDArray[np.floating]

_PEAK = 0.9
_CORPUS_RATE = 16000
_LEVEL_RATE = 8000
# Missing files that an error names.
_MAX_NAMED = 5


@dataclass(frozen=True)
class RecipeSource:
    """One source of a mixture to make.

    Parameters
    ----------
    path : Path
        Its recording.
    gain : float
        Factor, of the recording or of its active speech level.
    start : int, default=0
        Sample of the recording that the mixture begins at.
    """

    path: Path
    gain: float
    start: int = 0


@dataclass(frozen=True)
class Recipe:
    """One mixture to make.

    Parameters
    ----------
    name : str
        Of its files.
    line : int
        Where it is in its list.
    sources : tuple of RecipeSource
        At least two.
    n_samples : int, default=0
        Its length, where the list gives that.
    """

    name: str
    line: int
    sources: tuple[RecipeSource, ...]
    n_samples: int = 0


# What becomes of a recipe: for each of some rates, the sources as they are to be written.
Render = Callable[[Recipe, Sequence[int]], list[list[Waveform]]]


@dataclass(frozen=True)
class MixtureFolder:
    """The folder of a subset at one rate: ``mix/NAME.wav``, ``s1/NAME.wav``, ``s2/NAME.wav``, ...

    Parameters
    ----------
    folder : Path
        Such as ``wav8k/min/tr``.
    sample_rate : int
        Hz.
    n_sources : int
        Of each mixture.
    mixture_folder : str, default="mix"
        Name of the folder of the mixtures.
    """

    folder: Path
    sample_rate: int
    n_sources: int
    mixture_folder: str = "mix"

    def paths(self, name: str) -> list[Path]:
        """Give the files of the sources and, last, that of the mixture."""
        kinds = [*(f"s{i + 1}" for i in range(self.n_sources)), self.mixture_folder]
        return [self.folder / kind / f"{name}.wav" for kind in kinds]

    def is_complete(self, name: str) -> bool:
        """Tell whether all files are there, at this rate and of one length."""
        paths = self.paths(name)
        if not all(path.is_file() for path in paths):
            return False
        try:
            infos = [soundfile.info(path) for path in paths]
        except soundfile.LibsndfileError:
            return False
        rates, lengths = ({getattr(i, a) for i in infos} for a in ("samplerate", "frames"))
        return rates == {self.sample_rate} and len(lengths) == 1

    def write(self, name: str, sources: Sequence[Waveform]) -> None:
        """Write sources and their sum."""
        mixture = np.sum(sources, axis=0)
        for path, waveform in zip(self.paths(name), [*sources, mixture], strict=True):
            write_audio(path, waveform, self.sample_rate)

    def remove_leftovers(self) -> None:
        """Remove what a run that was killed was just writing."""
        for path in self.folder.glob("*/.*.wav"):
            path.unlink()


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
        If there are no recipes, or if a name is there twice or is no name for a file.
    """

    recipes: Sequence[Recipe]
    folders: Sequence[MixtureFolder]
    render: Render
    list_path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        _check_recipes(self.recipes, os.fspath(self.list_path))

    def make(self, *, n_jobs: int | None = None, progress: bool | None = False) -> int:
        """Make the files that are not there yet.

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
            If a mixture cannot be made.
        OSError
            If a file cannot be written.
        """
        for folder in self.folders:
            folder.remove_leftovers()
        made = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_make)(recipe, self.folders, self.render) for recipe in self.recipes
        )
        is_quiet = None if progress is None else not progress
        return sum(tqdm(made, total=len(self.recipes), unit="mixture", disable=is_quiet))


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
    missing = [path for path in first_lines if not path.is_file()]
    if missing:
        named = [f"{str(path)!r} (line {first_lines[path]})" for path in missing[:_MAX_NAMED]]
        others = ["..."] if len(missing) > _MAX_NAMED else []
        raise FileNotFoundError(
            f"{len(missing)} of the {len(first_lines)} recordings in {list_path!r} are missing: "
            f"{', '.join(named + others)}; give the folder that its paths are relative to"
        )


def _make(recipe: Recipe, folders: Sequence[MixtureFolder], render: Render) -> bool:
    wanted = [folder for folder in folders if not folder.is_complete(recipe.name)]
    if not wanted:
        return False
    rendered = render(recipe, [folder.sample_rate for folder in wanted])
    for folder, sources in zip(wanted, rendered, strict=True):
        if _peak(sources) > 1:
            raise ValueError(
                f"line {recipe.line}: mixture {recipe.name!r} exceeds full scale, with a peak of "
                f"{_peak(sources):.3g}; list and recordings do not belong together"
            )
        folder.write(recipe.name, sources)
    return True


# What becomes of recordings


def wsj0_sources(
    recipe: Recipe, sample_rates: Sequence[int], *, mode: str
) -> list[list[Waveform]]:
    """Bring recordings to their levels and all to a peak of 0.9; fit their lengths by `mode`."""
    recordings = [read_recording(source.path, _CORPUS_RATE) for source in recipe.sources]
    # The published mixtures have these levels at 8 kHz, those at 16 kHz too.
    gains = [
        _gain(resample(recording, _CORPUS_RATE, _LEVEL_RATE), _LEVEL_RATE, source)
        for source, recording in zip(recipe.sources, recordings, strict=True)
    ]
    rendered = []
    for rate in sample_rates:
        scaled = [
            gain * resample(recording, _CORPUS_RATE, rate)
            for gain, recording in zip(gains, recordings, strict=True)
        ]
        rendered.append(_normalised(_fitted(scaled, mode)))
    return rendered


def librimix_sources(
    recipe: Recipe, sample_rates: Sequence[int], *, mode: str
) -> list[list[Waveform]]:
    """Multiply recordings by their gains and resample them; fit their lengths by `mode`."""
    scaled = [source.gain * read_recording(source.path, _CORPUS_RATE) for source in recipe.sources]
    return [
        _fitted([resample(source, _CORPUS_RATE, rate) for source in scaled], mode)
        for rate in sample_rates
    ]


def clip_sources(recipe: Recipe, sample_rates: Sequence[int]) -> list[list[Waveform]]:
    """Bring stretches of recordings to their levels and all to a peak of 0.9; one rate alone."""
    (rate,) = sample_rates
    clips = []
    for source in recipe.sources:
        recording = read_recording(source.path, rate)
        stop = source.start + recipe.n_samples
        if not 0 <= source.start < stop <= len(recording):
            raise ValueError(
                f"line {recipe.line}: {str(source.path)!r} has {len(recording)} samples, but the "
                f"list takes {source.start} to {stop}; list and recordings do not belong together"
            )
        clip = recording[source.start : stop]
        clips.append(_gain(clip, rate, source) * clip)
    return [_normalised(clips)]


def read_recording(path: Path, sample_rate: int) -> Waveform:
    """Read a recording of a corpus that has to be at a rate.

    Parameters
    ----------
    path : Path
        WAV, FLAC, uncompressed NIST SPHERE, or what else `read_audio` takes.
    sample_rate : int
        Hz.

    Returns
    -------
    float64 array of shape (n_samples,)

    Raises
    ------
    ValueError
        If the file is at another rate, compressed with shorten, or not audio.
    """
    with path.open("rb") as file:
        header = file.read(1024)
    if header.startswith(b"NIST_1A") and b"embedded-shorten" in header:
        raise ValueError(
            f"{str(path)!r} is NIST SPHERE compressed with shorten, which cannot be read here; "
            "decompress the corpus to WAV or plain SPHERE first, with sph2pipe or w_decode"
        )
    waveform, rate = read_audio(path)
    if rate != sample_rate:
        raise ValueError(
            f"{str(path)!r} is at {rate} Hz, but the mixtures are made of recordings at "
            f"{sample_rate} Hz; give the corpus as it was published"
        )
    return waveform.astype(np.float64)


def _gain(waveform: Waveform, sample_rate: int, source: RecipeSource) -> float:
    level = active_speech_level(waveform, sample_rate)
    if level == 0:
        raise ValueError(f"{str(source.path)!r} is silent there: it has no level to be brought to")
    return source.gain / level


def _fitted(sources: Sequence[Waveform], mode: str) -> list[Waveform]:
    lengths = [len(source) for source in sources]
    if mode == "min":
        return [source[: min(lengths)] for source in sources]
    return [np.pad(source, (0, max(lengths) - len(source))) for source in sources]


def _normalised(sources: Sequence[Waveform]) -> list[Waveform]:
    gain = _PEAK / _peak(sources)
    return [gain * source for source in sources]


def _peak(sources: Sequence[Waveform]) -> float:
    return float(max(np.abs(waveform).max() for waveform in [*sources, np.sum(sources, axis=0)]))
