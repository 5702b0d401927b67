"""Lists of mixtures of single-speaker recordings: the shared speech lists, and a user's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from skdc.audio import AudioFiles, check_files
from skdc.datasets.corpora import open_corpus
from skdc.datasets.mixture_lists import ListedMixture, load_mixture_list
from skdc.datasets.tables import read_table
from skdc.paths import check_file
from skdc.protocols.interface import ProtocolMixture, PublishedProtocol, check_choice

__all__ = ["SpeechLists", "open_mixture_list"]


class SpeechLists(PublishedProtocol):
    """A folder with ``utterances.csv`` and lists ``mixtures/NAME.csv``, each list a subset."""

    name = "speech"
    n_sources = None
    sample_rates = (8000,)
    training = "train"
    validation = "2spk-valid"
    test = None
    subsets: Mapping[str, str] = MappingProxyType({})
    modes = ("min",)

    def open_subset(
        self, root: Path, subset: str, sample_rate: int, mode: str
    ) -> list[ProtocolMixture]:
        """Read a list; see `skdc.protocols.open_protocol`."""
        lists = {path.stem: path for path in sorted((root / "mixtures").glob("*.csv"))}
        if not lists:
            raise FileNotFoundError(f"no lists (*.csv) in {str(root / 'mixtures')!r}")
        check_choice(f"subset of {self.name!r}", subset, lists)
        check_file(root / "utterances.csv", "csv file")
        return open_mixture_list(lists[subset], root, sample_rate=sample_rate)

    def open_recordings(
        self, root: Path, subset: str, sample_rate: int
    ) -> tuple[AudioFiles, list[str]]:
        """Find the utterances of a split; see `skdc.protocols.open_protocol_recordings`."""
        return open_corpus(root, subset, sample_rate=sample_rate)


def open_mixture_list(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    sample_rate: int | None = 8000,
) -> list[ProtocolMixture]:
    r"""Find the mixtures of any list, as `open_protocol` does; no audio is read yet.

    Parameters
    ----------
    path : path-like
        Table (csv) as for `skdc.datasets.load_mixture_list`.
    root : path-like, optional
        Folder that the paths in the list are relative to; by default the folder above the one that
        holds the list. Its ``utterances.csv``, where there is one, tells conditions, speakers and
        sexes, and must have all recordings of the list.
    sample_rate : int or None, default=8000
        Rate of the recordings, Hz; None takes that of the first recording.

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
    >>> from skdc.audio import write_audio
    >>> from skdc.protocols import open_mixture_list
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
    check_files(sorted(paths), "recordings of the list", "give the folder that its paths are in")
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
