"""Make the mixtures of published benchmarks from the corpora that they are made of.

Every maker runs in parallel, keeps the mixtures that are there already, and writes files whole or
not at all, so that a run that was stopped goes on where it was. Let one run at a time write to a
folder.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skdc.model_file import atomic_path
from skdc.datasets.plans import plan_clips, plan_librimix, plan_wsj0
from skdc.datasets.recipes import read_recording

__all__ = ["draw_mixture_list", "make_librimix", "make_speaker_mixtures", "make_wsj0_mix"]

_AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
# A clip this far below the level of its recording is a pause.
_PAUSE_DB = 30.0
_MAX_DRAWS = 100


def make_wsj0_mix(
    wsj0_root: str | os.PathLike[str],
    list_path: str | os.PathLike[str],
    output_root: str | os.PathLike[str],
    *,
    n_sources: int,
    subset: str,
    mode: str = "min",
    sample_rates: Sequence[int] = (8000,),
    n_jobs: int | None = None,
) -> int:
    """Make a subset of WSJ0-2mix or WSJ0-3mix from WSJ0 and a published list.

    Each source is brought to an active speech level (ITU-T P.56, measured at 8 kHz) of its
    decibels in the list. Mixture and sources share one gain that brings the largest absolute
    sample of them all to 0.9, and are written as 16-bit WAV.

    Parameters
    ----------
    wsj0_root : path-like
        The folder ``wsj0``, or the one that holds it: WAV, FLAC or uncompressed NIST SPHERE files
        at 16 kHz, in the corpus' own folders.
    list_path : path-like
        Text file with a line ``PATH DECIBELS PATH DECIBELS [PATH DECIBELS]`` for each mixture.
        Paths are relative to the folder that holds ``wsj0``; they may end in ``.wav`` also where
        the files end in ``.wv1``, ``.sph`` or ``.flac``.
    output_root : path-like
        Folder to make ``wav8k/min/tr/{mix,s1,s2}`` in.
    n_sources : int
        Speakers of each mixture, 2 or more.
    subset : str
        Folder of the list's mixtures: ``"tr"``, ``"cv"`` or ``"tt"``.
    mode : {"min", "max"}, default="min"
        Cut to the shortest source, or pad all to the longest.
    sample_rates : sequence of int, default=(8000,)
        8000, 16000 or both, Hz.
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
        If a line of the list is not whole, if a recording is silent, at another rate or
        shorten-compressed, or if a parameter is out of its range.
    OSError
        If a file cannot be written, as on a full disk. No file is left half-written; run again.

    Notes
    -----
    A mixture's name is made of those of its recordings and of the decibels, to five significant
    digits as in the published files: ``441o030e_1.7108_40no030y_-1.7108``.
    """
    _check_count(n_sources, "n_sources", least=2)
    if not sample_rates or not set(sample_rates) <= {8000, 16000}:
        raise ValueError(f"sample_rates is {sample_rates!r}; give 8000, 16000 or both")
    what = wsj0_root, list_path, output_root
    return plan_wsj0(*what, n_sources, subset, mode, sample_rates).make(n_jobs=n_jobs)


def make_librimix(
    librispeech_root: str | os.PathLike[str],
    metadata_csv: str | os.PathLike[str],
    output_root: str | os.PathLike[str],
    *,
    n_sources: int,
    subset: str | None = None,
    mode: str = "min",
    sample_rate: int = 8000,
    n_jobs: int | None = None,
) -> int:
    """Make a subset of clean Libri2Mix or Libri3Mix from LibriSpeech and the published metadata.

    Each source is multiplied by its gain, resampled, cut or padded, and written with their sum as
    16-bit WAV.

    Parameters
    ----------
    librispeech_root : path-like
        Folder that holds ``train-clean-100``, ``test-clean``, ... at 16 kHz.
    metadata_csv : path-like
        Such as ``libri2mix_test-clean.csv``, with the columns ``mixture_ID, source_1_path,
        source_1_gain, source_2_path, source_2_gain, ...``; other columns are not used.
    output_root : path-like
        Folder to make ``wav8k/min/test/{mix_clean,s1,s2}`` in.
    n_sources : int
        Speakers of each mixture, 2 or more.
    subset : str, optional
        Folder of the mixtures. By default the name of the metadata file says it: ``train-100``,
        ``train-360``, ``dev`` or ``test``.
    mode : {"min", "max"}, default="min"
        Cut to the shortest source, or pad all to the longest.
    sample_rate : int, default=8000
        8000 or 16000 Hz.
    n_jobs : int, optional
        Processes, as in joblib: -1 for one a core; 1 by default.

    Returns
    -------
    int
        Mixtures that were made now, not counting those there already.

    Raises
    ------
    FileNotFoundError
        If the metadata or recordings are missing; the message names the line of the first. Nothing
        is made then.
    ValueError
        If a row of the metadata is not whole, if a recording is at another rate, if a mixture
        exceeds full scale, or if a parameter is out of its range.
    OSError
        If a file cannot be written, as on a full disk. No file is left half-written; run again.
    """
    _check_count(n_sources, "n_sources", least=2)
    if sample_rate not in (8000, 16000):
        raise ValueError(f"sample_rate is {sample_rate!r}; give 8000 or 16000")
    if subset is None:
        name = Path(metadata_csv).stem.removeprefix(f"libri{n_sources}mix_")
        subset = name.replace("-clean", "")
    what = librispeech_root, metadata_csv, output_root
    return plan_librimix(*what, n_sources, subset, mode, [sample_rate]).make(n_jobs=n_jobs)


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
        with paths relative to `root`. A mixture's name is made of its speakers, recordings and
        decibels.
    n_mixtures : int
        How many to draw.
    n_sources : int, default=2
        Speakers of each mixture, 2 or more.
    duration_s : float, default=2.0
        Of each mixture; shorter recordings are not used.
    level_range_db : float, default=5.0
        Largest difference between the active speech levels of two sources of a mixture, dB.
    speakers : iterable of str, optional
        Folders to draw from; all by default. Sets that share none make an open-speaker benchmark.
    sample_rate : int, default=16000
        Of the recordings, Hz.
    random_state : int, RandomState or None, default=None
        An int makes the list reproducible.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a speaker that was asked for is not in it.
    ValueError
        If too few speakers have recordings, if a recording has another rate or cannot be read, if
        recordings are too short or too silent, or if a parameter is out of its range.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.datasets import write_audio
    >>> from skdc.datasets.makers import draw_mixture_list, make_speaker_mixtures
    >>> from skdc.datasets.protocols import open_protocol
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
    _check_count(n_mixtures, "n_mixtures")
    _check_count(n_sources, "n_sources", least=2)
    n_samples = round(duration_s * sample_rate)
    _check_count(n_samples, "duration_s * sample_rate")
    if not 0 <= level_range_db < math.inf:
        raise ValueError(f"level_range_db is {level_range_db!r}; give a number of dB, 0 or more")
    root = Path(root)
    recordings = _find_speakers(root, speakers)
    if len(recordings) < n_sources:
        raise ValueError(
            f"mixtures of {n_sources} sources need as many speakers, but {len(recordings)} of the "
            f"folders in {str(root)!r} have audio files"
        )
    rng = check_random_state(random_state)
    rows = []
    for _ in range(n_mixtures):
        clips = _draw_clips(recordings, n_sources, n_samples, sample_rate, rng)
        levels = rng.uniform(-0.5, 0.5, n_sources) * level_range_db
        names, row = [], [str(n_samples)]
        for (path, start), level_db in zip(clips, levels, strict=True):
            place = path.relative_to(root)
            names.append(f"{place.parts[0]}_{place.stem}_{level_db:.4f}")
            row += [place.as_posix(), str(start), f"{level_db:.4f}"]
        rows.append(["_".join(names), *row])
    header = ["mixture_id", "n_samples"]
    for number in range(1, n_sources + 1):
        header += [f"source_{number}", f"start_{number}", f"level_db_{number}"]
    with atomic_path(list_path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


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
        csv file with the columns ``mixture_id, n_samples, source_1, start_1, level_db_1, source_2,
        ...``, such as `draw_mixture_list` writes.
    output_root : path-like
        Folder to make ``wav16k/min/tt/{mix,s1,s2}`` in.
    subset : str
        Folder of the mixtures: ``"tr"``, ``"cv"`` or ``"tt"``.
    sample_rate : int, default=16000
        Of the recordings and the mixtures, Hz.
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
    OSError
        If a file cannot be written, as on a full disk. No file is left half-written; run again.

    See Also
    --------
    draw_mixture_list : Makes such lists; there is an example.
    """
    job = plan_clips(root, list_path, output_root, subset, sample_rate)
    return job.make(n_jobs=n_jobs)


def _find_speakers(root: Path, speakers: Iterable[str] | None) -> list[list[Path]]:
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of speakers at {str(root)!r}")
    if speakers is None:
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    else:
        folders = [root / name for name in sorted(set(speakers))]
        missing = [path for path in folders if not path.is_dir()]
        if missing:
            raise FileNotFoundError(f"no folder of a speaker at {str(missing[0])!r}")
    recordings = [
        sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in _AUDIO_SUFFIXES and path.name[0] != "."
        )
        for folder in folders
    ]
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


def _check_count(value: Any, name: str, *, least: int = 1) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; give an integer of at least {least}")
