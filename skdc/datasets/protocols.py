"""The mixtures of published benchmarks, read from folders of the published layout."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from skdc.datasets.items import FolderMixture, ProtocolMixture, open_mixture_list

__all__ = ["PROTOCOLS", "PublishedProtocol", "check_choice", "choose_rate", "open_protocol"]

# Speakers and utterances by the name of a mixture; both empty where the name does not tell.
_Talkers = tuple[tuple[str, ...], tuple[str, ...]]
_NOBODY: _Talkers = ((), ())


def _unnamed(mixture_id: str, n_sources: int) -> _Talkers:
    return _NOBODY


def _wsj0_talkers(mixture_id: str, n_sources: int) -> _Talkers:
    # 441o030e_1.7108_40no030y_-1.7108: an utterance of WSJ0 begins with its speaker.
    parts = mixture_id.split("_")
    if len(parts) != 2 * n_sources or not all(re.fullmatch(r"\w{8}", part) for part in parts[::2]):
        return _NOBODY
    return tuple(part[:3] for part in parts[::2]), tuple(parts[::2])


def _libri_talkers(mixture_id: str, n_sources: int) -> _Talkers:
    # 4077-13754-0001_5142-33396-0065: speaker, chapter, utterance.
    parts = mixture_id.split("_")
    if len(parts) != n_sources or not all(re.fullmatch(r"\d+-\d+-\d+", part) for part in parts):
        return _NOBODY
    return tuple(part.split("-")[0] for part in parts), tuple(parts)


def _clip_talkers(mixture_id: str, n_sources: int) -> _Talkers:
    # id00017_00001_1.0321_id00061_00104_-0.5123: speaker, recording, decibels. Clips may begin
    # anywhere in a recording.
    match = re.fullmatch("_".join([r"(.+?)_\d+_-?\d+\.\d+"] * n_sources), mixture_id)
    return (match.groups(), ()) if match else _NOBODY


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
    training, validation, test : str
        Subset to train on, to choose with and to report; no test subset where it is one of
        several lists.
    subsets : mapping of str to str
        Conditions (see `ProtocolMixture`) of each subset; empty where the folder tells.
    sizes : mapping of str to int
        How many mixtures a subset has when it is whole, where that is published.
    modes : tuple of str, default=("min", "max")
        Cut to the shortest source, or padded to the longest.
    mixture_folder : str, default="mix"
        Folder of the mixtures, beside ``s1``, ``s2``, ...
    talkers_of : callable
        ``(mixture_id, n_sources) -> (speakers, utterances)``.
    """

    name: str
    n_sources: int | None
    sample_rates: tuple[int, ...]
    training: str
    validation: str
    test: str | None
    subsets: Mapping[str, str]
    sizes: Mapping[str, int] = field(default_factory=dict)
    modes: tuple[str, ...] = ("min", "max")
    mixture_folder: str = "mix"
    talkers_of: Callable[[str, int], _Talkers] = _unnamed


def _wsj0(n_sources: int) -> PublishedProtocol:
    return PublishedProtocol(
        name=f"wsj0-{n_sources}mix",
        n_sources=n_sources,
        sample_rates=(8000, 16000),
        training="tr",
        validation="cv",
        test="tt",
        subsets={"tr": "training", "cv": "closed", "tt": "open"},
        sizes={"tr": 20000, "cv": 5000, "tt": 3000},
        talkers_of=_wsj0_talkers,
    )


def _libri(n_sources: int, sizes: Mapping[str, int]) -> PublishedProtocol:
    return PublishedProtocol(
        name=f"libri{n_sources}mix",
        n_sources=n_sources,
        sample_rates=(8000, 16000),
        training="train-100",
        validation="dev",
        test="test",
        subsets={
            "train-100": "training",
            "train-360": "training",
            "dev": "open",
            "test": "open",
        },
        sizes=sizes,
        mixture_folder="mix_clean",
        talkers_of=_libri_talkers,
    )


def _clips(name: str) -> PublishedProtocol:
    return PublishedProtocol(
        name=name,
        n_sources=2,
        sample_rates=(16000,),
        training="tr",
        validation="cv",
        test="tt",
        subsets={"tr": "training", "cv": "unknown", "tt": "open"},
        modes=("min",),
        talkers_of=_clip_talkers,
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
            PublishedProtocol(
                name="speech",
                n_sources=None,
                sample_rates=(8000,),
                training="train",
                validation="2spk-valid",
                test=None,
                subsets={},
                modes=("min",),
            ),
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
    check_choice("name", name, PROTOCOLS)
    protocol = PROTOCOLS[name]
    rate = protocol.sample_rates[0] if sample_rate is None else sample_rate
    check_choice(f"sample_rate of {name!r}", rate, protocol.sample_rates)
    check_choice(f"mode of {name!r}", mode, protocol.modes)
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {str(root)!r}")
    if protocol.n_sources is None:
        return _open_lists(root, subset, rate)
    check_choice(f"subset of {name!r}", subset, protocol.subsets)
    folder = root / f"wav{rate // 1000}k" / mode / subset
    kinds = [protocol.mixture_folder, *(f"s{i + 1}" for i in range(protocol.n_sources))]
    names = _complete_names(folder, kinds)
    items = []
    for mixture_id in names:
        speakers, utterances = protocol.talkers_of(mixture_id, protocol.n_sources)
        audio = FolderMixture(
            mixture_id=mixture_id,
            mixture_path=folder / kinds[0] / f"{mixture_id}.wav",
            source_paths=tuple(folder / kind / f"{mixture_id}.wav" for kind in kinds[1:]),
            sample_rate=rate,
        )
        conditions = protocol.subsets[subset]
        items.append(ProtocolMixture(audio, conditions, speakers, utterances=utterances))
    return items


def choose_rate(name: str, wanted: int) -> int:
    """Choose the rate to open a protocol at.

    Parameters
    ----------
    name : str
        Which protocol; see `open_protocol`.
    wanted : int
        Hz.

    Returns
    -------
    int
        `wanted` where the protocol comes at that rate, else the rate of its published figures.

    Raises
    ------
    ValueError
        If there is no such protocol.

    Examples
    --------
    >>> from skdc.datasets.protocols import choose_rate
    >>> choose_rate("wsj0-2mix", 16000), choose_rate("lrs3-2mix", 8000)
    (16000, 16000)
    """
    check_choice("name", name, PROTOCOLS)
    rates = PROTOCOLS[name].sample_rates
    return wanted if wanted in rates else rates[0]


def check_choice(what: str, value: object, choices: Iterable[object]) -> None:
    """Raise a ValueError that names the choices if the value is none of them."""
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
    check_choice("subset of 'speech'", subset, lists)
    table = root / "utterances.csv"
    if not table.is_file():
        raise FileNotFoundError(f"no csv file at {str(table)!r}")
    return open_mixture_list(lists[subset], root, sample_rate=sample_rate)
