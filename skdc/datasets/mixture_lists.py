"""Fixed lists of mixtures, as csv files.

A list has the columns ``mixture_id, n_samples, source_1, gain_1, source_2, gain_2, ...``. Its
paths are relative to a folder, by default the one above the folder that holds the list.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skdc.audio import check_files, read_at_rate, read_length, read_rate
from skdc.datasets.tables import LARGEST_GAIN, count_groups, read_number, read_table
from skdc.signal import resample

__all__ = ["ListedMixture", "StoredMixture", "load_mixture_list", "load_mixtures"]

FloatArray = NDArray[np.float32]

_ADVICE = "a list counts samples at one rate: bring all its recordings to that"


class StoredMixture(Protocol):
    """A mixture with its sources that is read by `load` alone."""

    @property
    def mixture_id(self) -> str:
        """Its name, unique within its list or subset."""

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, Hz."""

    def load(self) -> tuple[FloatArray, FloatArray]:
        """Give the mixture, shape ``(n_samples,)``, and its sources ``(n_sources, n_samples)``."""

    def check(self) -> int:
        """Give the length of the mixture by the headers of its files, or the error of `load`."""


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
        parts = []  # a list may ask for more samples than there is memory
        for path, gain in zip(self.paths, self.gains, strict=True):
            recording = read_at_rate(path, self.sample_rate, _ADVICE, item=self.mixture_id)
            self._check_length(path, len(recording))
            parts.append(np.asarray(gain * recording[: self.n_samples], np.float32))
        sources = np.stack(parts)  # (n_sources, n_samples)
        return sources.sum(axis=0), sources

    def check(self) -> int:
        """Read the headers of the recordings.

        Returns
        -------
        int
            Samples of the mixture.

        Raises
        ------
        FileNotFoundError, ValueError
            As `load` does, but for what is damaged behind a header.
        """
        for path in self.paths:
            self._check_length(
                path, read_length(path, self.sample_rate, _ADVICE, item=self.mixture_id)
            )
        return self.n_samples

    def _check_length(self, path: Path, n_samples: int) -> None:
        if n_samples < self.n_samples:
            raise ValueError(
                f"{self.mixture_id}: {str(path)!r} has {n_samples} samples, but the mixture takes "
                f"{self.n_samples}; list and recordings do not belong together"
            )


def load_mixtures(
    items: Iterable[StoredMixture], sample_rate: int
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Read mixtures and their sources, and bring them to a rate.

    Gives a list of mixtures ``(n_samples_i,)`` and one of references ``(n_sources, n_samples_i)``,
    float32. Errors are those of `ListedMixture.load`.
    """
    mixtures: list[FloatArray] = []
    references: list[FloatArray] = []
    for item in items:
        for found, parts in zip(item.load(), (mixtures, references), strict=True):
            parts.append(resample(found, item.sample_rate, sample_rate).astype(np.float32))
    return mixtures, references


def load_mixture_list(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    sample_rate: int | None = 8000,
) -> list[ListedMixture]:
    r"""Read a fixed list of mixtures; no audio is read yet.

    Parameters
    ----------
    path : path-like
        Table (csv) with the columns ``mixture_id, n_samples, source_1, gain_1, source_2, ...``.
    root : path-like, optional
        Folder that the paths in the list are relative to; by default the folder above the one that
        holds the list.
    sample_rate : int or None, default=8000
        Rate of the recordings, Hz, in which `n_samples` counts; None takes that of the first
        recording, whose header is read.

    Returns
    -------
    list of ListedMixture
        In the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or with ``sample_rate=None`` recordings are missing.
    ValueError
        If columns are missing, stand twice or are not numbered from 1 without a gap, or a row
        cannot be understood. The message names them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import write_audio
    >>> from skdc.datasets import load_mixture_list
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
    numbers = range(1, count_groups(path, columns, ("source", "gain")) + 1)
    gains = [f"gain_{number}" for number in numbers]
    if sample_rate is None:
        paths = [folder / row[f"source_{number}"] for _, row in rows for number in numbers]
        check_files(
            dict.fromkeys(paths), "recordings of the list", "give the folder that its paths are in"
        )
        sample_rate = read_rate(paths[0]) if paths else 8000
    mixtures = []
    for line, row in rows:
        sources = [row[f"source_{number}"] for number in numbers]
        mixtures.append(
            ListedMixture(
                mixture_id=row["mixture_id"],
                n_samples=int(read_number(path, line, row, "n_samples", whole=True)),
                paths=tuple(folder / source for source in sources),
                gains=tuple(
                    read_number(path, line, row, gain, largest=LARGEST_GAIN) for gain in gains
                ),
                sample_rate=sample_rate,
            )
        )
    return mixtures
