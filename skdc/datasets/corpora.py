"""Recordings of single speakers on disk, and who speaks in each.

A corpus is a folder with ``utterances.csv`` (at least the columns split, speaker, path), and all
paths in the table are relative to that folder. `find_recordings` takes other layouts, too.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Sequence
from fnmatch import translate
from glob import glob
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skdc.audio import AudioFiles, check_files
from skdc.audio.files import files_below, is_audio
from skdc.datasets.tables import read_table
from skdc.exceptions import name_some
from skdc.paths import file_identity

__all__ = ["find_recordings", "load_corpus", "open_corpus"]

FloatArray = NDArray[np.float32]

_SPEAKER = "{speaker}"
_CLASS = r"\[!?\]?[^]]*\]"
_ACCEPTED = f"""give one of: a folder with a folder of audio for each speaker (voices/ann/1.wav, \
voices/bob/1.wav); a table (voices.csv) with the columns speaker and path; a pattern in quotes \
that says where the speaker's name is ('voices/{_SPEAKER}-*.wav' for voices/ann-1.wav); a folder \
with utterances.csv (columns split, speaker and path)"""


def load_corpus(
    root: str | os.PathLike[str], split: str, *, sample_rate: int = 8000
) -> tuple[list[FloatArray], list[str]]:
    r"""Read the recordings of one split of a corpus into memory.

    An hour at 8 kHz takes 115 MB.

    Parameters
    ----------
    root : path-like
        Folder of the corpus, with an ``utterances.csv`` whose columns are at least
        ``split, speaker, path``.
    split : str
        Which utterances, by their column ``split``.
    sample_rate : int, default=8000
        Rate of what is given back, Hz; files at another rate are resampled.

    Returns
    -------
    recordings : list of float32 arrays of shape (n_samples_i,)
        In the order of the file.
    speakers : list of str
        Speaker of each.

    Raises
    ------
    FileNotFoundError
        If there is no ``utterances.csv``, or audio files that it lists are missing.
    ValueError
        If columns are missing, or there is no such split. The message names those there are.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import write_audio
    >>> from skdc.datasets import load_corpus
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> write_audio(root / "train" / "ann.flac", np.zeros(16000), 16000)
    >>> table = "split,speaker,path\ntrain,ann,train/ann.flac\n"
    >>> _ = (root / "utterances.csv").write_text(table)
    >>> recordings, speakers = load_corpus(root, "train")
    >>> recordings[0].shape, speakers
    ((8000,), ['ann'])
    >>> folder.cleanup()
    """
    recordings, speakers = open_corpus(root, split, sample_rate=sample_rate)
    return recordings.load(), speakers


def open_corpus(
    root: str | os.PathLike[str], split: str, *, sample_rate: int = 8000
) -> tuple[AudioFiles, list[str]]:
    """Find the recordings of one split of a corpus and who speaks; no audio is read yet.

    The order is that of the file. Parameters and errors are those of `load_corpus`.
    """
    table = Path(root) / "utterances.csv"
    _, rows = read_table(table, ("split", "speaker", "path"))
    chosen = _of_split(table, rows, split)
    paths = [Path(root) / row["path"] for row in chosen]
    check_files(
        paths,
        f"audio files of split {split!r}",
        "give the folder that the paths in utterances.csv are relative to",
    )
    speakers = [row["speaker"].strip() for row in chosen]
    _check_one_speaker_each(paths, speakers, str(table))
    return AudioFiles(paths, sample_rate=sample_rate), speakers


def find_recordings(
    source: str | os.PathLike[str], split: str | None = None, *, sample_rate: int = 8000
) -> tuple[AudioFiles, list[str]]:
    """Find recordings of single speakers in whatever layout they are in; no audio is read yet.

    Parameters
    ----------
    source : str or path-like
        One of these:

        - a folder with a folder for each speaker, with audio in it or below it;
        - a table (csv) with the columns ``speaker`` and ``path``, paths relative to its folder;
        - a pattern as for `glob.glob`, with ``{speaker}`` in place of the speaker's name:
          ``"voices/{speaker}-*.wav"``, ``"voices/{speaker}/**/*.flac"``;
        - a folder with ``utterances.csv``, whose columns are at least
          ``split, speaker, path``.
    split : str, optional
        Which rows of a table that has the column ``split``; ``"train"`` by default for
        ``utterances.csv``, all for other tables.
    sample_rate : int, default=8000
        Rate of what is given back, Hz; files at another rate are resampled.

    Returns
    -------
    recordings : AudioFiles
    speakers : list of str
        Speaker of each.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `source`, or audio files that a table lists are missing.
    ValueError
        If what is there does not tell two speakers or more, gives a recording to two of them, or
        there is no such split. The message says with examples what is accepted.

    Warns
    -----
    UserWarning
        If audio lies beside the folders of speakers, which is left out, or a pattern joins
        speakers that longer names would tell apart.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import write_audio
    >>> from skdc.datasets import find_recordings
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> for name in ("ann/1.wav", "ann/2.wav", "bob/1.wav"):
    ...     write_audio(root / name, np.zeros(8000), 8000)
    >>> find_recordings(root)
    (<AudioFiles: 3 items at 8000 Hz>, ['ann', 'ann', 'bob'])
    >>> find_recordings(root / "{speaker}" / "1.wav")[1]
    ['ann', 'bob']
    >>> folder.cleanup()
    """
    path = Path(source)
    if (path / "utterances.csv").is_file():
        return open_corpus(path, split or "train", sample_rate=sample_rate)
    if path.is_file():
        found = _listed_recordings(path, split)
    elif split is not None:
        raise ValueError(
            f"{os.fspath(source)!r} has no table, and so no split {split!r}; leave it out"
        )
    elif path.is_dir():
        _warn_of_loose_files(path)
        found = [
            (file, folder.name)
            for folder in sorted(path.iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
            for file in filter(is_audio, files_below(folder))
        ]
    elif _SPEAKER in os.fspath(source):
        found = _matching_recordings(os.fspath(source))
    else:
        raise FileNotFoundError(f"there is nothing at {os.fspath(source)!r}; {_ACCEPTED}")
    speakers = [speaker for _, speaker in found]
    if len(set(speakers)) < 2:
        raise ValueError(
            f"{os.fspath(source)!r} gives {len(found)} recordings of {len(set(speakers))} "
            f"speakers, but mixtures need two or more; {_ACCEPTED}"
        )
    files = [file for file, _ in found]
    _check_one_speaker_each(files, speakers, os.fspath(source))
    if _SPEAKER in os.fspath(source) and not path.exists():
        _warn_of_joined_speakers(os.fspath(source), found)
    return AudioFiles(files, sample_rate=sample_rate), speakers


def _check_one_speaker_each(files: Sequence[Path], speakers: Sequence[str], source: str) -> None:
    """Refuse a recording of two speakers, who would be mixed with themselves."""
    speaker_of: dict[tuple[int, int] | None, str] = {}
    for file, speaker in zip(files, speakers, strict=True):
        first = speaker_of.setdefault(file_identity(file), speaker)
        if first != speaker:
            raise ValueError(
                f"{source!r} gives the recording {str(file)!r} to {first!r} and to {speaker!r}; "
                "each needs one speaker, so leave it out of one of them"
            )


def _warn_of_loose_files(folder: Path) -> None:
    """Name the audio that lies beside folders of speakers, and so is of nobody."""
    loose = [file.name for file in sorted(folder.iterdir()) if is_audio(file) and file.is_file()]
    if loose and any(file.is_dir() for file in folder.iterdir()):
        warnings.warn(
            f"{str(folder)!r} has audio beside the folders of speakers, which is left out: "
            f"{name_some(loose)}; move it to the folders of those who speak, if it is to be used",
            stacklevel=3,
        )


def _warn_of_joined_speakers(pattern: str, found: Sequence[tuple[Path, str]]) -> None:
    """Say whose recordings a pattern joins that it could also tell apart by longer names."""
    longest = _speaker_expression(pattern, any_name="[^/]+")
    others: dict[str, dict[str, None]] = {}
    for file, speaker in found:
        match = re.fullmatch(longest, file.as_posix(), re.DOTALL)
        others.setdefault(speaker, {})[match["speaker"] if match else speaker] = None
    joined = [f"{k!r} for {name_some([*map(repr, v)])}" for k, v in others.items() if len(v) > 1]
    if joined:
        warnings.warn(
            f"the names of speakers in {pattern!r} are ambiguous, and the shortest are taken: "
            f"{name_some(joined)}. If these are different people, give a folder for each, a "
            f"table, or a pattern that tells where names end, such as {_SPEAKER}-[0-9].wav",
            stacklevel=3,
        )


def _of_split(
    table: Path, rows: Iterable[tuple[int, dict[str, str]]], split: str
) -> list[dict[str, str]]:
    """Give the rows of a split, of which there must be some."""
    splits = [(row["split"].strip(), row) for _, row in rows]
    chosen = [row for name, row in splits if name == split]
    if not chosen:
        there = ", ".join(sorted({repr(name) for name, _ in splits})) or "none"
        raise ValueError(f"{str(table)!r} has no split {split!r}; it has {there}")
    return chosen


def _listed_recordings(table: Path, split: str | None) -> list[tuple[Path, str]]:
    if table.suffix.lower() != ".csv":
        raise ValueError(f"{str(table)!r} is a file, but no table (.csv); {_ACCEPTED}")
    columns, rows = read_table(table, ("speaker", "path"))
    if split is not None and "split" not in columns:
        raise ValueError(f"{str(table)!r} has no column split, and so no split {split!r}")
    chosen = [row for _, row in rows] if split is None else _of_split(table, rows, split)
    found = [(table.parent / row["path"], row["speaker"].strip()) for row in chosen]
    check_files(
        [path for path, _ in found],
        f"audio files of {table.name}",
        "write their paths relative to the folder of the table",
    )
    return found


def _matching_recordings(pattern: str) -> list[tuple[Path, str]]:
    expression, found = _speaker_expression(pattern), []
    # Where "**" stands twice, glob gives files more than once.
    for file in sorted({*map(Path, glob(pattern.replace(_SPEAKER, "?*"), recursive=True))}):
        match = re.fullmatch(expression, file.as_posix(), re.DOTALL)
        if match and is_audio(file) and not file.is_dir():
            found.append((file, match["speaker"]))
    return found


def _speaker_expression(pattern: str, any_name: str = "[^/]+?") -> str:
    """Turn a pattern into a regular expression that tells the speaker; glob finds the files."""
    *folders, last = Path(pattern).as_posix().split("/")
    for part in (*folders, last):
        if any(_SPEAKER in characters for characters in re.findall(_CLASS, part)):
            raise ValueError(
                f"{pattern!r} has {_SPEAKER} between brackets, which mean one character of "
                "several, so that no speaker can be told; write [[] for an opening bracket itself"
            )
    parts = ["(?:.*/)?" if folder == "**" else _expression(folder) + "/" for folder in folders]
    parts.append(".*" if last == "**" else _expression(last))
    name = re.escape(_SPEAKER)
    expression = re.sub(re.escape(name), rf"(?P<speaker>{any_name})", "".join(parts), count=1)
    return expression.replace(name, "(?P=speaker)")


def _expression(part: str) -> str:
    """Turn one part of the path of a pattern into a regular expression, but for the speaker."""
    expression = ""
    for token in re.split(rf"({_CLASS}|\*|\?)", part):
        if token.startswith("[") and token.endswith("]"):
            expression += "(?!/)" + translate(token).removeprefix("(?s:")[: -len(r")\Z")]
        else:
            expression += {"*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token))
    return expression
