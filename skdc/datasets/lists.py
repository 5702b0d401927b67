"""Corpora on disk: utterances by split, and fixed lists of mixtures, both as csv files.

A corpus is a folder with ``utterances.csv`` (at least the columns ``split, speaker, path``) and
lists such as ``mixtures/NAME.csv`` (``mixture_id, n_samples, source_1, gain_1, source_2, ...``).
All paths in them are relative to that folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skdc.datasets.audio import read_audio
from skdc.datasets.files import AudioFiles
from skdc.datasets.tables import check_columns, read_number, read_table

__all__ = ["ListedMixture", "load_corpus", "load_mixture_list", "open_corpus"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ListedMixture:
    """One mixture of a list; its audio is read by `load` alone.

    Parameters
    ----------
    mixture_id : str
        Its name in the list.
    n_samples : int
        Length of the mixture; its sources are cut to it.
    paths : tuple of Path
        Recording of each source.
    gains : tuple of float
        Factor of each source.
    sample_rate : int, default=8000
        Rate that `n_samples` counts in, and that the recordings must have, Hz.
    """

    mixture_id: str
    n_samples: int
    paths: tuple[Path, ...]
    gains: tuple[float, ...]
    sample_rate: int = 8000

    def load(self) -> tuple[FloatArray, FloatArray]:
        """Read the recordings and mix them.

        Returns
        -------
        mixture : float32 array of shape (n_samples,)
            Sum of `sources`.
        sources : float32 array of shape (n_sources, n_samples)
            ``gain * recording[:n_samples]`` of each.

        Raises
        ------
        FileNotFoundError
            If a recording is missing.
        ValueError
            If a recording is not audio, has another rate, or is shorter than `n_samples`.
        """
        sources = np.empty((len(self.paths), self.n_samples), dtype=np.float32)
        for source, path, gain in zip(sources, self.paths, self.gains, strict=True):
            recording, rate = read_audio(path)
            if rate != self.sample_rate:
                raise ValueError(
                    f"{self.mixture_id}: {str(path)!r} is at {rate} Hz, but the list counts "
                    f"samples at {self.sample_rate} Hz; give sample_rate={rate} or resample the "
                    "files"
                )
            if len(recording) < self.n_samples:
                raise ValueError(
                    f"{self.mixture_id}: {str(path)!r} has {len(recording)} samples, but the "
                    f"mixture takes {self.n_samples}; list and recordings do not belong together"
                )
            source[:] = gain * recording[: self.n_samples]
        return sources.sum(axis=0), sources


def load_mixture_list(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    sample_rate: int = 8000,
) -> list[ListedMixture]:
    r"""Read a fixed list of mixtures; no audio is read yet.

    Parameters
    ----------
    path : path-like
        csv file with the columns ``mixture_id, n_samples, source_1, gain_1, source_2, ...``.
    root : path-like, optional
        Folder that the paths in the list are relative to; by default the folder above the one that
        holds the list.
    sample_rate : int, default=8000
        Rate of the recordings, Hz.

    Returns
    -------
    list of ListedMixture
        In the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If columns are missing or a row cannot be understood. The message names them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.datasets import load_mixture_list, write_audio
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> for name in ("ann", "bob"):
    ...     write_audio(root / f"{name}.flac", np.full(100, 0.25), 8000)
    >>> (root / "mixtures").mkdir()
    >>> _ = (root / "mixtures" / "pairs.csv").write_text(
    ...     "mixture_id,n_samples,source_1,gain_1,source_2,gain_2\n"
    ...     "pair-0,80,ann.flac,1.0,bob.flac,2.0\n"
    ... )
    >>> (pair,) = load_mixture_list(root / "mixtures" / "pairs.csv")
    >>> mixture, sources = pair.load()
    >>> mixture[0], sources.shape
    (np.float32(0.75), (2, 80))
    >>> folder.cleanup()
    """
    path = Path(path)
    folder = path.absolute().parent.parent if root is None else Path(root)
    columns, rows = read_table(path, ("mixture_id", "n_samples", "source_1", "gain_1"))
    numbers = []
    for number in count(1):
        if f"source_{number}" not in columns:
            break
        numbers.append(number)
    gains = [f"gain_{number}" for number in numbers]
    check_columns(path, columns, gains)
    mixtures = []
    for line, row in rows:
        sources = [row[f"source_{number}"] for number in numbers]
        mixtures.append(
            ListedMixture(
                mixture_id=row["mixture_id"],
                n_samples=int(read_number(path, line, row, "n_samples", whole=True)),
                paths=tuple(folder / source for source in sources),
                gains=tuple(read_number(path, line, row, gain) for gain in gains),
                sample_rate=sample_rate,
            )
        )
    return mixtures


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
    >>> from skdc.datasets import load_corpus, write_audio
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
    """Find the recordings of one split of a corpus; no audio is read yet.

    Parameters
    ----------
    root, split, sample_rate
        As for `load_corpus`, with the same errors.

    Returns
    -------
    recordings : AudioFiles
        In the order of the file.
    speakers : list of str
        Speaker of each.
    """
    table = Path(root) / "utterances.csv"
    _, rows = read_table(table, ("split", "speaker", "path"))
    chosen = [row for _, row in rows if row["split"] == split]
    if not chosen:
        there = ", ".join(sorted({repr(row["split"]) for _, row in rows})) or "none"
        raise ValueError(f"{str(table)!r} has no split {split!r}; it has {there}")
    paths = [Path(root) / row["path"] for row in chosen]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(paths)} audio files of split {split!r} are missing, the "
            f"first {str(missing[0])!r}; give the folder that the paths in utterances.csv are "
            "relative to"
        )
    recordings = AudioFiles(paths, sample_rate=sample_rate)
    return recordings, [row["speaker"] for row in chosen]
