"""The published protocols by name, and what can be done with each of them alike."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from skdc.audio import AudioFiles
from skdc.protocols.clips import ClipMix
from skdc.protocols.interface import ProtocolMixture, PublishedProtocol, check_choice
from skdc.protocols.librimix import LibriMix
from skdc.protocols.making import FolderProtocol, MixtureJob, Output
from skdc.protocols.speech import SpeechLists
from skdc.protocols.wsj0 import WSJ0Mix

__all__ = [
    "PROTOCOLS",
    "choose_rate",
    "open_protocol",
    "open_protocol_recordings",
    "open_protocol_validation",
    "plan_protocol",
]

FloatArray = NDArray[np.float32]
PathLike = str | os.PathLike[str]

PROTOCOLS: Mapping[str, PublishedProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            WSJ0Mix(2),
            WSJ0Mix(3),
            LibriMix(2),
            LibriMix(3),
            ClipMix("lrs3-2mix"),
            ClipMix("voxceleb2-2mix"),
            SpeechLists(),
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
    >>> from skdc.audio import write_audio
    >>> from skdc.protocols import open_protocol
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
    protocol = _known(name)
    rate = protocol.sample_rates[0] if sample_rate is None else sample_rate
    check_choice(f"sample_rate of {name!r}", rate, protocol.sample_rates)
    check_choice(f"mode of {name!r}", mode, protocol.modes)
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {str(root)!r}")
    return protocol.open_subset(root, subset, rate, mode)


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
    >>> from skdc.protocols import choose_rate
    >>> choose_rate("wsj0-2mix", 16000), choose_rate("lrs3-2mix", 8000)
    (16000, 16000)
    """
    return _known(name).choose_rate(wanted)


def plan_protocol(
    name: str,
    root: PathLike,
    lists: PathLike,
    output_root: PathLike,
    *,
    subsets: Sequence[str] | None = None,
    mode: str = "min",
    sample_rates: Sequence[int] | None = None,
) -> dict[str, MixtureJob]:
    """Read and check all lists of a protocol; nothing is made yet.

    Parameters
    ----------
    name : str
        Which protocol; see `open_protocol`.
    root : path-like
        Folder of the corpus: ``wsj0`` or the one that holds it, ``LibriSpeech``, or the one that
        the paths of lists of clips are relative to.
    lists : path-like
        Folder of the lists, by their published names: ``mix_2_spk_tr.txt``,
        ``libri2mix_train-clean-100.csv``; ``tr.csv`` for clips.
    output_root : path-like
        Folder to make ``wav8k/min/tr`` and so on in.
    subsets : sequence of str, optional
        By default those that `lists` has a list of.
    mode : {"min", "max"}, default="min"
        Cut to the shortest source, or pad all to the longest.
    sample_rates : sequence of int, optional
        Hz; by default that of the published figures.

    Returns
    -------
    dict of str to MixtureJob
        For each subset; the method ``make`` makes its files.

    Raises
    ------
    FileNotFoundError
        If lists or recordings are missing; the message names them.
    ValueError
        If there is no such protocol, subset, rate or mode, or if a list is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import write_audio
    >>> from skdc.protocols import plan_protocol
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> rng = np.random.default_rng(0)
    >>> for name in ("441/441o030e", "40n/40no030y"):
    ...     write_audio(root / f"wsj0/{name}.wav", 0.1 * rng.standard_normal(16000), 16000)
    >>> line = "wsj0/441/441o030e.wav 1.5 wsj0/40n/40no030y.wav -1.5"
    >>> _ = (root / "mix_2_spk_tt.txt").write_text(line)
    >>> jobs = plan_protocol("wsj0-2mix", root / "wsj0", root, root / "2speakers")
    >>> {subset: job.make() for subset, job in jobs.items()}
    {'tt': 1}
    >>> folder.cleanup()
    """
    makeable = {
        known: protocol
        for known, protocol in PROTOCOLS.items()
        if isinstance(protocol, FolderProtocol)
    }
    check_choice("name", name, makeable)
    protocol = makeable[name]
    for rate in sample_rates or ():
        check_choice(f"sample_rate of {name!r}", rate, protocol.sample_rates)
    check_choice(f"mode of {name!r}", mode, protocol.modes)
    for subset in subsets or ():
        check_choice(f"subset of {name!r}", subset, protocol.subsets)
    paths = {
        subset: Path(lists) / protocol.list_name(subset)
        for subset in (protocol.subsets if subsets is None else subsets)
    }
    missing = [path for path in paths.values() if not path.is_file()]
    if missing and (subsets is not None or len(missing) == len(paths)):
        raise FileNotFoundError(
            f"no list of mixtures at {', '.join(repr(str(path)) for path in missing)}; give the "
            "folder of the lists"
        )
    rates = sample_rates or protocol.sample_rates[:1]
    jobs = {}
    for subset, path in paths.items():
        if path in missing:
            continue
        jobs[subset] = protocol.plan(root, path, Output(output_root, subset, mode, rates))
        n_listed = jobs[subset].folders[0].n_sources
        if n_listed != protocol.n_sources:
            raise ValueError(
                f"{str(path)!r} lists mixtures of {n_listed} sources; those of {name!r} have "
                f"{protocol.n_sources}"
            )
    return jobs


def open_protocol_recordings(
    name: str, root: str | os.PathLike[str], subset: str | None = None, *, sample_rate: int = 8000
) -> tuple[AudioFiles, list[str]]:
    """Find the recordings of single speakers in a protocol's training subset; none is read yet.

    A tree of mixtures has no others than the sources of its mixtures: each utterance is taken
    once, from the mixture that has most of it, and its speaker is told by the mixture's name.

    Parameters
    ----------
    name : str
        Which protocol; see `open_protocol`.
    root : path-like
        Folder of the protocol.
    subset : str, optional
        Which mixtures, or for ``"speech"`` which split of ``utterances.csv``; by default what the
        protocol trains on.
    sample_rate : int, default=8000
        Rate of what is given back, Hz; the files are resampled where the protocol has others.

    Returns
    -------
    recordings : AudioFiles
        One speaker each; its method ``load`` reads them all into memory, where an hour at 8 kHz
        takes 115 MB.
    speakers : list of str
        Speaker of each.

    Raises
    ------
    ValueError
        If there is no such protocol or subset, or a name does not tell the speakers.
    FileNotFoundError
        If a folder or a file is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import write_audio
    >>> from skdc.protocols import open_protocol_recordings
    >>> folder = tempfile.TemporaryDirectory()
    >>> for kind in ("mix", "s1", "s2"):
    ...     path = f"wav8k/min/tr/{kind}/441o030e_1.7108_40no030y_-1.7108.wav"
    ...     write_audio(Path(folder.name) / path, np.zeros(8000), 8000)
    >>> recordings, speakers = open_protocol_recordings("wsj0-2mix", folder.name)
    >>> recordings[0].shape, speakers
    ((8000,), ['441', '40n'])
    >>> folder.cleanup()
    """
    protocol = _known(name)
    chosen = protocol.training if subset is None else subset
    return protocol.open_recordings(Path(root), chosen, sample_rate)


def open_protocol_validation(
    name: str, root: str | os.PathLike[str], *, n_mixtures: int, sample_rate: int = 8000
) -> list[ProtocolMixture]:
    """Choose mixtures of a protocol's validation subset, evenly spread over it.

    Parameters
    ----------
    name : str
        Which protocol; see `open_protocol`.
    root : path-like
        Folder of the protocol.
    n_mixtures : int
        How many, at most.
    sample_rate : int, default=8000
        Rate of the network that is trained, Hz; the mixtures may be at another one.

    Returns
    -------
    list of ProtocolMixture

    Raises
    ------
    ValueError, FileNotFoundError
        As for `open_protocol`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import write_audio
    >>> from skdc.protocols import open_protocol_validation
    >>> folder = tempfile.TemporaryDirectory()
    >>> for kind in ("mix", "s1", "s2"):
    ...     path = Path(folder.name) / "wav16k" / "min" / "cv" / kind / "a.wav"
    ...     write_audio(path, np.zeros(32000), 16000)
    >>> (item,) = open_protocol_validation("lrs3-2mix", folder.name, n_mixtures=9)
    >>> item.mixture_id, item.load()[1].shape
    ('a', (2, 32000))
    >>> folder.cleanup()
    """
    rate = choose_rate(name, sample_rate)
    items = open_protocol(name, root, subset=PROTOCOLS[name].validation, sample_rate=rate)
    # Mixtures that follow each other by name share speakers, so take them from everywhere.
    chosen = np.linspace(0, len(items), min(n_mixtures, len(items)), endpoint=False).astype(int)
    return [items[index] for index in chosen]


def _known(name: str) -> PublishedProtocol:
    check_choice("name", name, PROTOCOLS)
    return PROTOCOLS[name]
