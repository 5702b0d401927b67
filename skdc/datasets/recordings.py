"""What to train on and to choose with, from the trees of published protocols."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skdc.datasets.audio import resample
from skdc.datasets.files import AudioFiles
from skdc.datasets.items import FolderMixture
from skdc.datasets.lists import open_corpus
from skdc.datasets.protocols import PROTOCOLS, choose_rate, open_protocol

__all__ = ["load_protocol_validation", "open_protocol_recordings"]

FloatArray = NDArray[np.float32]


def open_protocol_recordings(
    name: str, root: str | os.PathLike[str], subset: str | None = None, *, sample_rate: int = 8000
) -> tuple[AudioFiles, list[str]]:
    """Find the recordings of single speakers in a protocol's training subset; none is read yet.

    A tree of mixtures has no others than the sources of its mixtures: each utterance is taken
    once, from the mixture that has most of it, and its speaker is told by the mixture's name.

    Parameters
    ----------
    name : str
        Which protocol; see `skdc.datasets.protocols.open_protocol`.
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
    >>> from skdc.datasets import write_audio
    >>> from skdc.datasets.recordings import open_protocol_recordings
    >>> folder = tempfile.TemporaryDirectory()
    >>> for kind in ("mix", "s1", "s2"):
    ...     path = f"wav8k/min/tr/{kind}/441o030e_1.7108_40no030y_-1.7108.wav"
    ...     write_audio(Path(folder.name) / path, np.zeros(8000), 8000)
    >>> recordings, speakers = open_protocol_recordings("wsj0-2mix", folder.name)
    >>> recordings[0].shape, speakers
    ((8000,), ['441', '40n'])
    >>> folder.cleanup()
    """
    rate = choose_rate(name, sample_rate)
    protocol = PROTOCOLS[name]
    subset = protocol.training if subset is None else subset
    if protocol.n_sources is None:
        return open_corpus(root, subset, sample_rate=sample_rate)
    longest: dict[tuple[str, str], Path] = {}
    for item in open_protocol(name, root, subset=subset, sample_rate=rate):
        if not item.speakers:
            raise ValueError(
                f"{item.mixture_id!r} of {name!r} does not tell who speaks, and nobody may be "
                "mixed with themselves; name mixtures as the published lists do"
            )
        if isinstance(item.audio, FolderMixture):
            paths = item.audio.source_paths
            utterances = item.utterances or map(str, paths)
            for speaker, utterance, path in zip(item.speakers, utterances, paths, strict=True):
                known = longest.setdefault((speaker, utterance), path)
                # WAV files of one kind: the larger one is the longer one.
                if path.stat().st_size > known.stat().st_size:
                    longest[speaker, utterance] = path
    recordings = AudioFiles(longest.values(), sample_rate=sample_rate)
    return recordings, [speaker for speaker, _ in longest]


def load_protocol_validation(
    name: str, root: str | os.PathLike[str], *, n_mixtures: int, sample_rate: int = 8000
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Read mixtures of a protocol's validation subset, evenly spread over it.

    Parameters
    ----------
    name : str
        Which protocol; see `skdc.datasets.protocols.open_protocol`.
    root : path-like
        Folder of the protocol.
    n_mixtures : int
        How many, at most.
    sample_rate : int, default=8000
        Rate of what is given back, Hz.

    Returns
    -------
    mixtures : list of float32 arrays of shape (n_samples_i,)
    references : list of float32 arrays of shape (n_sources, n_samples_i)

    Raises
    ------
    ValueError, FileNotFoundError
        As for `skdc.datasets.protocols.open_protocol`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.datasets import write_audio
    >>> from skdc.datasets.recordings import load_protocol_validation
    >>> folder = tempfile.TemporaryDirectory()
    >>> for kind in ("mix", "s1", "s2"):
    ...     path = Path(folder.name) / "wav16k" / "min" / "cv" / kind / "a.wav"
    ...     write_audio(path, np.zeros(32000), 16000)
    >>> mixtures, references = load_protocol_validation("lrs3-2mix", folder.name, n_mixtures=9)
    >>> mixtures[0].shape, references[0].shape
    ((16000,), (2, 16000))
    >>> folder.cleanup()
    """
    rate = choose_rate(name, sample_rate)
    items = open_protocol(name, root, subset=PROTOCOLS[name].validation, sample_rate=rate)
    # Neighbours in the order of names share speakers.
    chosen = np.linspace(0, len(items), min(n_mixtures, len(items)), endpoint=False).astype(int)
    pairs = [items[index].load() for index in chosen]
    mixtures, references = (
        [resample(part, rate, sample_rate).astype(np.float32) for part in parts]
        for parts in zip(*pairs, strict=True)
    )
    return mixtures, references
