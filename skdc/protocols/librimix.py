"""Libri2Mix and Libri3Mix: layout, metadata, and how their mixtures are made of LibriSpeech."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from skdc.datasets.mixtures import check_count
from skdc.datasets.tables import LARGEST_GAIN, read_number, read_table
from skdc.protocols.folders import Waveform
from skdc.protocols.making import (
    CORPUS_RATE,
    FolderProtocol,
    MixtureJob,
    Output,
    PathLike,
    Recipe,
    RecipeSource,
    Talkers,
    fit_lengths,
    read_recording,
)
from skdc.signal import resample

__all__ = ["LibriMix", "make_librimix"]

_TRAINING_SIZES = {
    2: {"train-100": 13900, "train-360": 50800},
    3: {"train-100": 9300, "train-360": 33900},
}


class LibriMix(FolderProtocol):
    """Clean mixtures of utterances of LibriSpeech [1]_; those of 2 and 3 speakers are published.

    References
    ----------
    .. [1] Cosentino, Pariente, Cornell, Deleforge, Vincent, "LibriMix: an open-source dataset for
       generalizable speech separation", 2020 (arXiv:2005.11262).
    """

    sample_rates = (8000, 16000)
    training = "train-100"
    validation = "dev"
    test = "test"
    subsets: Mapping[str, str] = MappingProxyType(
        {"train-100": "training", "train-360": "training", "dev": "open", "test": "open"}
    )
    mixture_folder = "mix_clean"

    def __init__(self, n_sources: int) -> None:
        self.name = f"libri{n_sources}mix"
        self.n_sources = n_sources
        self.sizes = _TRAINING_SIZES.get(n_sources, {}) | {"dev": 3000, "test": 3000}

    def talkers(self, mixture_id: str) -> Talkers:
        """Tell speakers and utterances by a name like ``4077-13754-0001_5142-33396-0065``."""
        parts = tuple(mixture_id.split("_"))
        is_whole = len(parts) == self.n_sources
        if not is_whole or not all(re.fullmatch(r"\d+-\d+-\d+", part) for part in parts):
            return (), ()
        # Speaker, chapter, utterance.
        return tuple(part.split("-")[0] for part in parts), parts

    def list_name(self, subset: str) -> str:
        """Give the published name of the metadata, such as ``libri2mix_train-clean-100.csv``."""
        part, hyphen, hours = subset.partition("-")
        return f"{self.name}_{part}-clean{hyphen}{hours}.csv"

    def plan(self, root: PathLike, list_path: PathLike, output: Output) -> MixtureJob:
        """Read and check the metadata of a subset; see `make_librimix`."""
        folders = self.folders(output)
        table = Path(list_path)
        numbers = range(1, self.n_sources + 1)
        columns = [(f"source_{number}_path", f"source_{number}_gain") for number in numbers]
        _, rows = read_table(table, ("mixture_ID", *(name for pair in columns for name in pair)))
        recipes = [
            Recipe(
                row["mixture_ID"],
                line,
                tuple(
                    RecipeSource(
                        Path(root) / row[path],
                        read_number(table, line, row, gain, largest=LARGEST_GAIN),
                    )
                    for path, gain in columns
                ),
            )
            for line, row in rows
        ]
        return MixtureJob(recipes, folders, partial(_render, mode=output.mode), table)


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
        Also if the folder holds mixtures that the list does not have, or makes another way now.
    OSError
        If a file cannot be written, as on a full disk. No file is left half-written; run again.
    """
    check_count(n_sources, "n_sources", least=2)
    if sample_rate not in (8000, 16000):
        raise ValueError(f"sample_rate is {sample_rate!r}; give 8000 or 16000")
    if subset is None:
        name = Path(metadata_csv).stem.removeprefix(f"libri{n_sources}mix_")
        subset = name.replace("-clean", "")
    output = Output(output_root, subset, mode, [sample_rate])
    return LibriMix(n_sources).plan(librispeech_root, metadata_csv, output).make(n_jobs=n_jobs)


def _render(recipe: Recipe, sample_rates: Sequence[int], *, mode: str) -> list[list[Waveform]]:
    """Multiply recordings by their gains and resample them; fit their lengths by `mode`."""
    scaled = [source.gain * read_recording(source.path, CORPUS_RATE) for source in recipe.sources]
    return [
        fit_lengths([resample(source, CORPUS_RATE, rate) for source in scaled], mode)
        for rate in sample_rates
    ]
