"""Mixtures to measure with: where their audio is, and what is known of who speaks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skdc.datasets.audio import read_audio
from skdc.datasets.lists import ListedMixture, load_mixture_list
from skdc.datasets.tables import read_table

__all__ = ["FolderMixture", "Mixture", "ProtocolMixture", "open_mixture_list"]

FloatArray = NDArray[np.float32]


class Mixture(Protocol):
    """What every mixture of every protocol has, those of a list included."""

    @property
    def mixture_id(self) -> str:
        """Its name, unique within the protocol's subset."""

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, Hz."""

    def load(self) -> tuple[FloatArray, FloatArray]:
        """Give the mixture, shape ``(n_samples,)``, and its sources ``(n_sources, n_samples)``."""


@dataclass(frozen=True)
class FolderMixture:
    """One mixture whose mixture and sources are files; they are read by `load` alone.

    Parameters
    ----------
    mixture_id : str
        Name of its files.
    mixture_path : Path
        File of the mixture.
    source_paths : tuple of Path
        File of each source.
    sample_rate : int
        Rate that the files must have, Hz.
    """

    mixture_id: str
    mixture_path: Path
    source_paths: tuple[Path, ...]
    sample_rate: int

    def load(self) -> tuple[FloatArray, FloatArray]:
        """Read the files.

        Returns
        -------
        mixture : float32 array of shape (n_samples,)
            As it is in its file: within rounding, the sum of the sources.
        sources : float32 array of shape (n_sources, n_samples)
            References.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        ValueError
            If a file is not audio, has another rate, or another length than the mixture.
        """
        mixture = self._read(self.mixture_path)
        sources = [self._read(path) for path in self.source_paths]
        for path, source in zip(self.source_paths, sources, strict=True):
            if len(source) != len(mixture):
                raise ValueError(
                    f"{self.mixture_id}: {str(path)!r} has {len(source)} samples, but the mixture "
                    f"has {len(mixture)}; make both anew"
                )
        return mixture, np.stack(sources)

    def _read(self, path: Path) -> FloatArray:
        waveform, rate = read_audio(path)
        if rate != self.sample_rate:
            raise ValueError(
                f"{self.mixture_id}: {str(path)!r} is at {rate} Hz, but the protocol was opened "
                f"at {self.sample_rate} Hz; make its files anew at that rate"
            )
        return waveform


@dataclass(frozen=True)
class ProtocolMixture:
    """One mixture of a protocol, and what is known of its speakers.

    Parameters
    ----------
    audio : Mixture
        Where `load` reads.
    conditions : {"training", "closed", "open", "mixed", "unknown"}
        Whether its speakers are to be trained on (these very recordings: ``"training"``; others of
        the same speakers: ``"closed"``) or in no way (``"open"``), some each (``"mixed"``), or
        whether the protocol leaves that to who draws the mixtures (``"unknown"``).
    speakers : tuple of str, default=()
        Who speaks in each source; empty where neither a table nor the name tells.
    sexes : tuple of str, default=()
        ``"f"``, ``"m"`` or ``"?"`` for each source; empty where no table tells.
    utterances : tuple of str, default=()
        Recording that each source begins with; empty where neither a table nor the name tells.
    """

    audio: Mixture
    conditions: str
    speakers: tuple[str, ...] = ()
    sexes: tuple[str, ...] = ()
    utterances: tuple[str, ...] = ()

    @property
    def mixture_id(self) -> str:
        """Its name, unique within the protocol's subset."""
        return self.audio.mixture_id

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, Hz."""
        return self.audio.sample_rate

    def load(self) -> tuple[FloatArray, FloatArray]:
        """Read the mixture and its sources; see the class of `audio`."""
        return self.audio.load()


def open_mixture_list(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    sample_rate: int = 8000,
) -> list[ProtocolMixture]:
    r"""Find the mixtures of any list, as `open_protocol` does; no audio is read yet.

    Parameters
    ----------
    path : path-like
        csv file as for `skdc.datasets.load_mixture_list`.
    root : path-like, optional
        Folder that the paths in the list are relative to; by default the folder above the one that
        holds the list. Its ``utterances.csv``, where there is one, tells conditions, speakers and
        sexes, and must have all recordings of the list.
    sample_rate : int, default=8000
        Rate of the recordings, Hz.

    Returns
    -------
    list of ProtocolMixture
        In the order of the list.

    Raises
    ------
    ValueError
        If the list is empty or cannot be understood, or the table lacks some of its recordings.
    FileNotFoundError
        If list or recordings are missing. The message names the first and counts the others.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.datasets import write_audio
    >>> from skdc.datasets.items import open_mixture_list
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> for name in ("ann", "bob"):
    ...     write_audio(root / f"{name}.flac", np.full(100, 0.25), 8000)
    >>> _ = (root / "utterances.csv").write_text(
    ...     "split,speaker,sex,path\ntrain,ann,f,ann.flac\ntest,bob,m,bob.flac\n"
    ... )
    >>> _ = (root / "pairs.csv").write_text(
    ...     "mixture_id,n_samples,source_1,gain_1,source_2,gain_2\n"
    ...     "pair-0,80,ann.flac,1.0,bob.flac,2.0\n"
    ... )
    >>> (pair,) = open_mixture_list(root / "pairs.csv", root)
    >>> pair.speakers, pair.sexes, pair.conditions
    (('ann', 'bob'), ('f', 'm'), 'mixed')
    >>> folder.cleanup()
    """
    folder = Path(path).absolute().parent.parent if root is None else Path(root)
    listed = load_mixture_list(path, folder, sample_rate=sample_rate)
    if not listed:
        raise ValueError(f"{str(path)!r} lists no mixtures")
    paths = {source for mixture in listed for source in mixture.paths}
    table = folder / "utterances.csv"
    found = _read_utterances(table, paths) if table.is_file() else None
    missing = sorted(source for source in paths if not source.is_file())
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(paths)} recordings of the list are missing, the first "
            f"{str(missing[0])!r}"
        )
    if found is None:
        return [ProtocolMixture(mixture, conditions="unknown") for mixture in listed]
    return [_describe(mixture, [found[source] for source in mixture.paths]) for mixture in listed]


def _read_utterances(table: Path, paths: set[Path]) -> dict[Path, dict[str, str]]:
    # Rows of the table for some recordings, each with its conditions.
    _, rows = read_table(table, ("split", "speaker", "path"))
    trained = {row["speaker"] for _, row in rows if row["split"] == "train"}
    utterances = {table.parent / row["path"]: row for _, row in rows}
    unknown = sorted(paths - set(utterances))
    if unknown:
        raise ValueError(
            f"{str(table)!r} does not have {len(unknown)} of the {len(paths)} recordings of the "
            f"list, the first {str(unknown[0])!r}; list and table do not belong together"
        )
    for row in utterances.values():
        is_known = row["speaker"] in trained
        row["conditions"] = (
            "training" if row["split"] == "train" else "closed" if is_known else "open"
        )
    return {path: utterances[path] for path in paths}


def _describe(mixture: ListedMixture, found: list[dict[str, str]]) -> ProtocolMixture:
    conditions = {row["conditions"] for row in found}
    return ProtocolMixture(
        mixture,
        conditions=conditions.pop() if len(conditions) == 1 else "mixed",
        speakers=tuple(row["speaker"] for row in found),
        sexes=tuple(row["sex"] for row in found) if "sex" in found[0] else (),
        utterances=tuple(row["path"] for row in found),
    )
