"""WSJ0-2mix and WSJ0-3mix: layout, lists, and how their mixtures are made of WSJ0."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from skdc.datasets.mixtures import check_count
from skdc.datasets.tables import LARGEST_LEVEL_DB
from skdc.paths import check_file, reading_text
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
    active_gain,
    fit_lengths,
    read_recording,
    share_peak,
)
from skdc.signal import resample

__all__ = ["WSJ0Mix", "make_wsj0_mix"]

# Levels of the published mixtures, also of those at 16 kHz, are measured at this rate.
_LEVEL_RATE = 8000
_SUFFIXES = (".wav", ".wv1", ".sph", ".flac")


class WSJ0Mix(FolderProtocol):
    """Mixtures of utterances of WSJ0 [1]_; those of 2 and 3 speakers are published.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306), section 4.1.
    """

    sample_rates = (8000, 16000)
    training = "tr"
    validation = "cv"
    test = "tt"
    subsets: Mapping[str, str] = MappingProxyType({"tr": "training", "cv": "closed", "tt": "open"})
    sizes: Mapping[str, int] = MappingProxyType({"tr": 20000, "cv": 5000, "tt": 3000})

    def __init__(self, n_sources: int) -> None:
        self.name = f"wsj0-{n_sources}mix"
        self.n_sources = n_sources

    def talkers(self, mixture_id: str) -> Talkers:
        """Tell speakers and utterances by a name like ``441o030e_1.7108_40no030y_-1.7108``."""
        parts = mixture_id.split("_")
        utterances = tuple(parts[::2])
        is_whole = len(parts) == 2 * self.n_sources
        if not is_whole or not all(re.fullmatch(r"\w{8}", part) for part in utterances):
            return (), ()
        # The name of an utterance begins with its speaker.
        return tuple(utterance[:3] for utterance in utterances), utterances

    def list_name(self, subset: str) -> str:
        """Give the published name of a list, such as ``mix_2_spk_tr.txt``."""
        return f"mix_{self.n_sources}_spk_{subset}.txt"

    def plan(self, root: PathLike, list_path: PathLike, output: Output) -> MixtureJob:
        """Read and check a list; see `make_wsj0_mix`."""
        folders = self.folders(output)
        recipes = _read_list(Path(list_path), Path(root), self.n_sources)
        return MixtureJob(recipes, folders, partial(_render, mode=output.mode), list_path)


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
        Also if the folder holds mixtures that the list does not have, or makes another way now.
    OSError
        If a file cannot be written, as on a full disk. No file is left half-written; run again.

    Notes
    -----
    A mixture's name is made of those of its recordings and of the decibels, to five significant
    digits as in the published files: ``441o030e_1.7108_40no030y_-1.7108``.
    """
    check_count(n_sources, "n_sources", least=2)
    if not sample_rates or not set(sample_rates) <= {8000, 16000}:
        raise ValueError(f"sample_rates is {sample_rates!r}; give 8000, 16000 or both")
    output = Output(output_root, subset, mode, sample_rates)
    return WSJ0Mix(n_sources).plan(wsj0_root, list_path, output).make(n_jobs=n_jobs)


def _read_list(path: Path, root: Path, n_sources: int) -> list[Recipe]:
    check_file(path, "list of mixtures")
    found: dict[str, Path] = {}
    recipes = []
    with reading_text(path, "list of mixtures"):
        lines = path.read_text("utf-8-sig").splitlines()
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            levels_db = [float(text) for text in fields[1::2]]
        except ValueError:
            levels_db = [math.nan]
        if len(fields) != 2 * n_sources or not np.isfinite(levels_db).all():
            raise ValueError(
                f"{str(path)!r}, line {number}: expected PATH and decibels {n_sources} times, got "
                f"{line.strip()!r}; the list is damaged, cut short, or for another number of "
                "sources"
            )
        if np.abs(levels_db).max() > LARGEST_LEVEL_DB:
            raise ValueError(
                f"{str(path)!r}, line {number}: levels are {', '.join(fields[1::2])}; expected "
                f"decibels within ±{LARGEST_LEVEL_DB:g}"
            )
        for name in fields[::2]:
            if name not in found:
                found[name] = _find(root, name)
        named = list(zip(fields[::2], levels_db, strict=True))
        # + 0.0 turns -0.0 into 0.0.
        mixture_id = "_".join(f"{Path(name).stem}_{db + 0.0:.5g}" for name, db in named)
        sources = (RecipeSource(found[name], 10 ** (db / 20)) for name, db in named)
        recipes.append(Recipe(mixture_id, number, tuple(sources)))
    return recipes


def _find(root: Path, name: str) -> Path:
    for base in (root, root.absolute().parent):
        for suffix in dict.fromkeys([Path(name).suffix, *_SUFFIXES]):
            path = (base / name).with_suffix(suffix)
            if path.is_file():
                return path
    return root / name  # which is missing, as the job tells


def _render(recipe: Recipe, sample_rates: Sequence[int], *, mode: str) -> list[list[Waveform]]:
    """Bring recordings to their levels and all to a peak of 0.9; fit their lengths by `mode`."""
    recordings = [read_recording(source.path, CORPUS_RATE) for source in recipe.sources]
    gains = [
        active_gain(resample(recording, CORPUS_RATE, _LEVEL_RATE), _LEVEL_RATE, source)
        for source, recording in zip(recipe.sources, recordings, strict=True)
    ]
    rendered = []
    for rate in sample_rates:
        scaled = [
            gain * resample(recording, CORPUS_RATE, rate)
            for gain, recording in zip(gains, recordings, strict=True)
        ]
        rendered.append(share_peak(fit_lengths(scaled, mode)))
    return rendered
