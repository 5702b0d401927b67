"""The mixtures of published benchmarks, read from folders of the published layout."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skdc.datasets.audio import read_audio
from skdc.datasets.lists import load_mixture_list
from skdc.datasets.tables import read_table

__all__ = [
    "PROTOCOLS",
    "FolderMixture",
    "Mixture",
    "ProtocolMixture",
    "PublishedProtocol",
    "open_protocol",
]

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
    """

    audio: Mixture
    conditions: str
    speakers: tuple[str, ...] = ()
    sexes: tuple[str, ...] = ()

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


def _no_speakers(mixture_id: str, n_sources: int) -> tuple[str, ...]:
    return ()


def _wsj0_speakers(mixture_id: str, n_sources: int) -> tuple[str, ...]:
    # 441o030e_1.7108_40no030y_-1.7108: an utterance of WSJ0 begins with its speaker.
    parts = mixture_id.split("_")
    if len(parts) != 2 * n_sources or not all(re.fullmatch(r"\w{8}", part) for part in parts[::2]):
        return ()
    return tuple(part[:3] for part in parts[::2])


def _libri_speakers(mixture_id: str, n_sources: int) -> tuple[str, ...]:
    # 4077-13754-0001_5142-33396-0065: speaker, chapter, utterance.
    parts = [re.fullmatch(r"(\d+)-\d+-\d+", part) for part in mixture_id.split("_")]
    if len(parts) != n_sources:
        return ()
    speakers = tuple(part[1] for part in parts if part)
    return speakers if len(speakers) == n_sources else ()


def _clip_speakers(mixture_id: str, n_sources: int) -> tuple[str, ...]:
    # id00017_00001_1.0321_id00061_00104_-0.5123: speaker, recording, decibels.
    match = re.fullmatch("_".join([r"(.+?)_\d+_-?\d+\.\d+"] * n_sources), mixture_id)
    return match.groups() if match else ()


@dataclass(frozen=True)
class PublishedProtocol:
    """A benchmark: which mixtures, at which rates, in which folders.

    Parameters
    ----------
    name : str
        Such as ``"wsj0-2mix"``.
    n_sources : int or None
        Speakers of each mixture; None where the lists differ.
    sample_rates : tuple of int
        Rates that it comes at, Hz; the published figures are for the first.
    subsets : mapping of str to str
        Conditions (see `ProtocolMixture`) of each subset; empty where the folder tells.
    sizes : mapping of str to int
        How many mixtures a subset has when it is whole, where that is published.
    modes : tuple of str, default=("min", "max")
        Cut to the shortest source, or padded to the longest.
    mixture_folder : str, default="mix"
        Folder of the mixtures, beside ``s1``, ``s2``, ...
    speakers_of : callable
        ``(mixture_id, n_sources) -> speakers``.
    """

    name: str
    n_sources: int | None
    sample_rates: tuple[int, ...]
    subsets: Mapping[str, str]
    sizes: Mapping[str, int] = field(default_factory=dict)
    modes: tuple[str, ...] = ("min", "max")
    mixture_folder: str = "mix"
    speakers_of: Callable[[str, int], tuple[str, ...]] = _no_speakers


def _wsj0(n_sources: int) -> PublishedProtocol:
    return PublishedProtocol(
        name=f"wsj0-{n_sources}mix",
        n_sources=n_sources,
        sample_rates=(8000, 16000),
        subsets={"tr": "training", "cv": "closed", "tt": "open"},
        sizes={"tr": 20000, "cv": 5000, "tt": 3000},
        speakers_of=_wsj0_speakers,
    )


def _libri(n_sources: int, sizes: Mapping[str, int]) -> PublishedProtocol:
    return PublishedProtocol(
        name=f"libri{n_sources}mix",
        n_sources=n_sources,
        sample_rates=(8000, 16000),
        subsets={
            "train-100": "training",
            "train-360": "training",
            "dev": "open",
            "test": "open",
        },
        sizes=sizes,
        mixture_folder="mix_clean",
        speakers_of=_libri_speakers,
    )


def _clips(name: str) -> PublishedProtocol:
    return PublishedProtocol(
        name=name,
        n_sources=2,
        sample_rates=(16000,),
        subsets={"tr": "training", "cv": "unknown", "tt": "open"},
        modes=("min",),
        speakers_of=_clip_speakers,
    )


PROTOCOLS: Mapping[str, PublishedProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            _wsj0(2),
            _wsj0(3),
            _libri(2, {"train-100": 13900, "train-360": 50800, "dev": 3000, "test": 3000}),
            _libri(3, {"train-100": 9300, "train-360": 33900, "dev": 3000, "test": 3000}),
            _clips("lrs3-2mix"),
            _clips("voxceleb2-2mix"),
            PublishedProtocol("speech", None, (8000,), {}, modes=("min",)),
        )
    }
)


def open_protocol(
    name: str,
    root: str | os.PathLike[str],
    *,
    subset: str,
    sample_rate: int | None = None,
    mode: str = "min",
) -> list[ProtocolMixture]:
    """Find the mixtures of a subset of a published protocol; no audio is read yet.

    Parameters
    ----------
    name : {"wsj0-2mix", "wsj0-3mix", "libri2mix", "libri3mix", "lrs3-2mix", "voxceleb2-2mix", \
"speech"}
        Which protocol; `PROTOCOLS` describes each.
    root : path-like
        Folder that holds ``wav8k`` or ``wav16k``; for ``"speech"``, the one that holds
        ``utterances.csv`` and ``mixtures``.
    subset : str
        ``"tr"``, ``"cv"`` or ``"tt"``; of LibriMix ``"train-100"``, ``"train-360"``, ``"dev"`` or
        ``"test"``; of ``"speech"`` the name of a list, such as ``"2spk-open"``.
    sample_rate : int, optional
        Hz; by default that of the published figures: 16000 for ``"lrs3-2mix"`` and
        ``"voxceleb2-2mix"``, 8000 for the others.
    mode : {"min", "max"}, default="min"
        Mixtures as long as the shortest source, or as the longest.

    Returns
    -------
    list of ProtocolMixture
        Ordered by name; those of ``"speech"`` in the order of the list. `PublishedProtocol.sizes`
        says how many there should be.

    Raises
    ------
    ValueError
        If there is no such protocol, subset, rate or mode, or if the subset is empty.
    FileNotFoundError
        If a folder or a file is missing. The message names the first and counts the others.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.datasets import write_audio
    >>> from skdc.datasets.protocols import open_protocol
    >>> folder = tempfile.TemporaryDirectory()
    >>> for kind in ("mix", "s1", "s2"):
    ...     path = f"wav8k/min/tt/{kind}/441o030e_1.7108_40no030y_-1.7108.wav"
    ...     write_audio(Path(folder.name) / path, np.zeros(8000), 8000)
    >>> (item,) = open_protocol("wsj0-2mix", folder.name, subset="tt")
    >>> item.conditions, item.speakers
    ('open', ('441', '40n'))
    >>> mixture, sources = item.load()
    >>> mixture.shape, sources.shape
    ((8000,), (2, 8000))
    >>> folder.cleanup()
    """
    _check_choice("name", name, PROTOCOLS)
    protocol = PROTOCOLS[name]
    rate = protocol.sample_rates[0] if sample_rate is None else sample_rate
    _check_choice(f"sample_rate of {name!r}", rate, protocol.sample_rates)
    _check_choice(f"mode of {name!r}", mode, protocol.modes)
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {str(root)!r}")
    if protocol.n_sources is None:
        return _open_lists(root, subset, rate)
    _check_choice(f"subset of {name!r}", subset, protocol.subsets)
    folder = root / f"wav{rate // 1000}k" / mode / subset
    kinds = [protocol.mixture_folder, *(f"s{i + 1}" for i in range(protocol.n_sources))]
    names = _complete_names(folder, kinds)
    return [
        ProtocolMixture(
            FolderMixture(
                mixture_id=mixture_id,
                mixture_path=folder / kinds[0] / f"{mixture_id}.wav",
                source_paths=tuple(folder / kind / f"{mixture_id}.wav" for kind in kinds[1:]),
                sample_rate=rate,
            ),
            conditions=protocol.subsets[subset],
            speakers=protocol.speakers_of(mixture_id, protocol.n_sources),
        )
        for mixture_id in names
    ]


def _check_choice(what: str, value: object, choices: Iterable[object]) -> None:
    known = list(choices)
    if value not in known:
        raise ValueError(f"{what} is {value!r}; give {' or '.join(map(repr, known))}")


def _complete_names(folder: Path, kinds: Sequence[str]) -> list[str]:
    # Names of the mixtures in a subset's folder, each of which has a file of every kind.
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder at {str(folder)!r}; make the mixtures first, or give the root that holds "
            f"{folder.parent.parent.name!r}"
        )
    # Hidden files are what a maker that was killed was writing.
    found = {
        kind: {path.stem for path in (folder / kind).glob("*.wav") if path.name[0] != "."}
        for kind in kinds
    }
    names = set().union(*found.values())
    if not names:
        raise ValueError(
            f"{str(folder)!r} has no mixtures; expected WAV files in its folders "
            f"{', '.join(map(repr, kinds))}"
        )
    missing = [
        folder / kind / f"{name}.wav" for kind in kinds for name in sorted(names - found[kind])
    ]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names) * len(kinds)} files are missing, the first "
            f"{str(missing[0])!r}; run the maker again, which makes what is missing"
        )
    return sorted(names)


def _open_lists(root: Path, subset: str, sample_rate: int) -> list[ProtocolMixture]:
    lists = {path.stem: path for path in sorted((root / "mixtures").glob("*.csv"))}
    if not lists:
        raise FileNotFoundError(f"no lists (*.csv) in {str(root / 'mixtures')!r}")
    _check_choice("subset of 'speech'", subset, lists)
    listed = load_mixture_list(lists[subset], root, sample_rate=sample_rate)
    if not listed:
        raise ValueError(f"{str(lists[subset])!r} lists no mixtures")
    table = root / "utterances.csv"
    _, rows = read_table(table, ("split", "speaker", "path"))
    utterances = {root / row["path"]: row for _, row in rows}
    trained = {row["speaker"] for _, row in rows if row["split"] == "train"}
    paths = {path for mixture in listed for path in mixture.paths}
    unknown = sorted(paths - set(utterances))
    if unknown:
        raise ValueError(
            f"{str(table)!r} does not have {len(unknown)} of the {len(paths)} recordings of the "
            f"list, the first {str(unknown[0])!r}; list and table do not belong together"
        )
    missing = sorted(path for path in paths if not path.is_file())
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(paths)} recordings of the list are missing, the first "
            f"{str(missing[0])!r}"
        )
    items = []
    for mixture in listed:
        found = [utterances[path] for path in mixture.paths]
        conditions = {
            "training"
            if row["split"] == "train"
            else ("closed" if row["speaker"] in trained else "open")
            for row in found
        }
        items.append(
            ProtocolMixture(
                mixture,
                conditions=conditions.pop() if len(conditions) == 1 else "mixed",
                speakers=tuple(row["speaker"] for row in found),
                sexes=tuple(row["sex"] for row in found) if "sex" in found[0] else (),
            )
        )
    return items
