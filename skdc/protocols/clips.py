"""LRS3-2Mix and VoxCeleb2-2Mix: mixtures of clips, made of a folder of speakers and a list."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np
from sklearn.utils import check_random_state

from skdc.audio.files import files_below, is_audio
from skdc.datasets.mixtures import check_count
from skdc.datasets.tables import LARGEST_LEVEL_DB, count_groups, read_number, read_table
from skdc.paths import atomic_path, check_outputs
from skdc.protocols.folders import Waveform
from skdc.protocols.making import (
    FolderProtocol,
    MixtureJob,
    Output,
    PathLike,
    Recipe,
    RecipeSource,
    Talkers,
    active_gain,
    read_recording,
    share_peak,
)

__all__ = ["ClipMix", "draw_mixture_list", "make_speaker_mixtures"]

# A clip this far below the level of its recording is a pause.
_PAUSE_DB = 30.0
_MAX_DRAWS = 100


class ClipMix(FolderProtocol):
    """Mixtures of clips of 2 s from a corpus that has a folder for each speaker."""

    sample_rates = (16000,)
    training = "tr"
    validation = "cv"
    test = "tt"
    subsets: Mapping[str, str] = MappingProxyType(
        {"tr": "training", "cv": "unknown", "tt": "open"}
    )
    modes = ("min",)

    def __init__(self, name: str, n_sources: int = 2) -> None:
        self.name = name
        self.n_sources = n_sources

    def talkers(self, mixture_id: str) -> Talkers:
        """Tell the speakers by a name like ``id00017_00001_1.0321_id00061_00104_-0.5123``."""
        # Speaker, recording (with the first sample, where `draw_mixture_list` drew it), decibels.
        # Clips may begin anywhere in a recording, and so the name tells no utterances.
        pattern = "_".join([r"(.+?)_[^_.]+_-?\d+\.\d+"] * self.n_sources)
        match = re.fullmatch(pattern, mixture_id)
        return (match.groups() if match else ()), ()

    def list_name(self, subset: str) -> str:
        """Give the name of a list, such as ``tr.csv``."""
        return f"{subset}.csv"

    def plan(self, root: PathLike, list_path: PathLike, output: Output) -> MixtureJob:
        """Read and check a list; see `make_speaker_mixtures`."""
        # The list tells how many speakers each mixture has.
        table = Path(list_path)
        columns, rows = read_table(table, ("mixture_id", "n_samples", "source_1"))
        n_sources = count_groups(table, columns, ("source", "start", "level_db"))
        names = [(f"source_{i}", f"start_{i}", f"level_db_{i}") for i in range(1, n_sources + 1)]
        recipes = [
            Recipe(
                row["mixture_id"],
                line,
                tuple(
                    RecipeSource(
                        Path(root) / row[path],
                        _gain(table, line, row, level),
                        _start(table, line, row, start),
                    )
                    for path, start, level in names
                ),
                int(read_number(table, line, row, "n_samples", whole=True)),
            )
            for line, row in rows
        ]
        folders = ClipMix(self.name, n_sources).folders(output)
        return MixtureJob(recipes, folders, _render, table)


def draw_mixture_list(
    root: str | os.PathLike[str],
    list_path: str | os.PathLike[str],
    *,
    n_mixtures: int,
    n_sources: int = 2,
    duration_s: float = 2.0,
    level_range_db: float = 5.0,
    speakers: Iterable[str] | None = None,
    sample_rate: int = 16000,
    random_state: int | np.random.RandomState | None = None,
) -> None:
    """Draw a list of mixtures of clips for `make_speaker_mixtures`, and write it as a csv file.

    For each mixture, `n_sources` different speakers are drawn, one recording of each, and a
    stretch of it at random; stretches that are a mere pause are drawn again.

    Parameters
    ----------
    root : path-like
        Folder of speakers: ``SPEAKER/**/NAME.wav`` (or FLAC, Ogg, MP3).
    list_path : path-like
        File to write: ``mixture_id, n_samples, source_1, start_1, level_db_1, source_2, ...``,
        with paths relative to `root`. A mixture's name is made of its speakers, recordings, their
        first samples and decibels, as in ``ann_1-8000_0.5000_bob_2-0_-1.2500``; no two are alike.
    n_mixtures : int
        How many to draw.
    n_sources : int, default=2
        Speakers of each mixture, 2 or more.
    duration_s : float, default=2.0
        Length of each mixture in seconds; shorter recordings are not used.
    level_range_db : float, default=5.0
        Largest difference between the active speech levels of two sources of a mixture, dB.
    speakers : iterable of str, optional
        Folders to draw from; all by default. Sets that share none make an open-speaker benchmark.
    sample_rate : int, default=16000
        Sample rate of the recordings, Hz.
    random_state : int, RandomState or None, default=None
        An int makes the list reproducible.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a speaker that was asked for is not in it.
    ValueError
        If too few speakers have recordings, if a recording has another rate or cannot be read, if
        recordings are too short or too silent, or too few for as many different mixtures, if names
        of folders do not tell who speaks, or if a parameter is out of its range.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import write_audio
    >>> from skdc.protocols import draw_mixture_list, make_speaker_mixtures, open_protocol
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> rng = np.random.default_rng(0)
    >>> for speaker in ("ann", "bob"):
    ...     noise = 0.1 * rng.standard_normal(48000)
    ...     write_audio(root / "audio" / speaker / "1.wav", noise, 16000)
    >>> draw_mixture_list(root / "audio", root / "tt.csv", n_mixtures=3, random_state=0)
    >>> make_speaker_mixtures(root / "audio", root / "tt.csv", root / "mixtures", subset="tt")
    3
    >>> mixtures = open_protocol("lrs3-2mix", root / "mixtures", subset="tt")
    >>> len(mixtures), sorted(mixtures[0].speakers), mixtures[0].load()[1].shape
    (3, ['ann', 'bob'], (2, 32000))
    >>> folder.cleanup()
    """
    check_count(n_mixtures, "n_mixtures")
    check_count(n_sources, "n_sources", least=2)
    n_samples = round(duration_s * sample_rate)
    check_count(n_samples, "duration_s * sample_rate")
    if not 0 <= level_range_db <= LARGEST_LEVEL_DB:
        raise ValueError(
            f"level_range_db is {level_range_db!r}; give a number of dB, 0 to {LARGEST_LEVEL_DB:g}"
        )
    root = Path(root)
    recordings = _find_speakers(root, speakers)
    if len(recordings) < n_sources:
        raise ValueError(
            f"mixtures of {n_sources} sources need as many speakers, but {len(recordings)} of the "
            f"folders in {str(root)!r} have audio files"
        )
    check_outputs([list_path], chain.from_iterable(recordings))
    rng = check_random_state(random_state)
    rows: dict[str, list[str]] = {}
    for _ in range(n_mixtures):
        for _ in range(_MAX_DRAWS):
            clips = _draw_clips(recordings, n_sources, n_samples, sample_rate, rng)
            # The sum has no -0.0.
            levels = np.round(rng.uniform(-0.5, 0.5, n_sources) * level_range_db, 4) + 0.0
            places = [path.relative_to(root) for path, _ in clips]
            starts = [start for _, start in clips]
            name = _name_mixture(places, starts, levels)
            if name not in rows:
                break
        else:
            raise ValueError(
                f"{_MAX_DRAWS} draws after {len(rows)} of {n_mixtures} mixtures all gave one that "
                "is there already; draw fewer, or give more or longer recordings or a larger "
                "level_range_db"
            )
        rows[name] = [str(n_samples)]
        for place, start, level_db in zip(places, starts, levels, strict=True):
            rows[name] += [place.as_posix(), str(start), f"{level_db:.4f}"]
    header = ["mixture_id", "n_samples"]
    for number in range(1, n_sources + 1):
        header += [f"source_{number}", f"start_{number}", f"level_db_{number}"]
    with (
        atomic_path(list_path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(
            [header, *([name, *row] for name, row in rows.items())]
        )


def make_speaker_mixtures(
    root: str | os.PathLike[str],
    list_path: str | os.PathLike[str],
    output_root: str | os.PathLike[str],
    *,
    subset: str,
    sample_rate: int = 16000,
    n_jobs: int | None = None,
) -> int:
    """Make mixtures of clips, as of LRS3 and VoxCeleb2, from a folder of speakers and a list.

    Each clip is brought to an active speech level (ITU-T P.56) of its decibels in the list.
    Mixture and sources share one gain that brings the largest absolute sample of them all to 0.9,
    and are written as 16-bit WAV.

    Parameters
    ----------
    root : path-like
        Folder that the paths in the list are relative to.
    list_path : path-like
        Table (csv) with the columns ``mixture_id, n_samples, source_1, start_1, level_db_1,
        source_2, ...``, such as `draw_mixture_list` writes.
    output_root : path-like
        Folder to make ``wav16k/min/tt/{mix,s1,s2}`` in.
    subset : str
        Folder of the mixtures: ``"tr"``, ``"cv"`` or ``"tt"``.
    sample_rate : int, default=16000
        Sample rate of the recordings and the mixtures, Hz.
    n_jobs : int, optional
        Processes, as in joblib: -1 for one a core; 1 by default.

    Returns
    -------
    int
        Mixtures that were made now, not counting those there already.

    Raises
    ------
    FileNotFoundError
        If the list or recordings are missing; the message names the line of the first. Nothing is
        made then.
    ValueError
        If a row of the list is not whole, if a clip is silent, at another rate, or not all within
        its recording.
        Also if the folder holds mixtures that the list does not have, or makes another way now.
    OSError
        If a file cannot be written, as on a full disk. No file is left half-written; run again.

    See Also
    --------
    draw_mixture_list : Makes such lists; there is an example.
    """
    output = Output(output_root, subset, "min", [sample_rate])
    return ClipMix("clips").plan(root, list_path, output).make(n_jobs=n_jobs)


def _find_speakers(root: Path, speakers: Iterable[str] | None) -> list[list[Path]]:
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of speakers at {str(root)!r}")
    if speakers is None:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    else:
        folders = [root / name for name in sorted(set(speakers))]
        missing = [path for path in folders if not path.is_dir()]
        if missing:
            raise FileNotFoundError(f"no folder of a speaker at {str(missing[0])!r}")
    recordings = [list(filter(is_audio, files_below(folder))) for folder in folders]
    return [paths for paths in recordings if paths]


def _draw_clips(
    recordings: Sequence[Sequence[Path]],
    n_sources: int,
    n_samples: int,
    sample_rate: int,
    rng: np.random.RandomState,
) -> list[tuple[Path, int]]:
    for _ in range(_MAX_DRAWS):
        clips = []
        for speaker in rng.choice(len(recordings), n_sources, replace=False):
            path = recordings[speaker][rng.randint(len(recordings[speaker]))]
            recording = read_recording(path, sample_rate)
            if len(recording) < n_samples:
                break
            start = int(rng.randint(len(recording) - n_samples + 1))
            power = np.square(recording[start : start + n_samples]).mean()
            if power <= 10 ** (-_PAUSE_DB / 10) * np.square(recording).mean():
                break
            clips.append((path, start))
        else:
            return clips
    raise ValueError(
        f"{_MAX_DRAWS} draws of {n_sources} recordings all had one that is silent there or has "
        f"less than {n_samples} samples; give longer recordings, or a shorter duration_s"
    )


def _name_mixture(places: Sequence[Path], starts: Sequence[int], levels: Sequence[float]) -> str:
    """Give a name that `ClipMix.talkers` understands; a ValueError says where there is none."""
    name = "_".join(
        f"{place.parts[0]}_{re.sub('[_.]', '-', place.stem)}-{start}_{level_db:.4f}"
        for place, start, level_db in zip(places, starts, levels, strict=True)
    )
    speakers = tuple(place.parts[0] for place in places)
    told, _ = ClipMix("clips", len(places)).talkers(name)
    if told != speakers:
        raise ValueError(
            f"the mixture {name!r} of the speakers {', '.join(map(repr, speakers))} would not "
            "tell them; rename folders that have a number with a point between underscores"
        )
    return name


def _gain(table: Path, line: int, row: dict[str, str], name: str) -> float:
    level_db = read_number(table, line, row, name, largest=LARGEST_LEVEL_DB)
    return float(10 ** (level_db / 20))


def _start(table: Path, line: int, row: dict[str, str], name: str) -> int:
    value = read_number(table, line, row, name)
    if value < 0 or value % 1:
        raise ValueError(
            f"{str(table)!r}, line {line}: {name} is {row[name]!r}; expected an integer, 0 or more"
        )
    return int(value)


def _render(recipe: Recipe, sample_rates: Sequence[int]) -> list[list[Waveform]]:
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
        clips.append(active_gain(clip, rate, source) * clip)
    return [share_peak(clips)]
