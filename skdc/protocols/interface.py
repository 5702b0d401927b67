"""What a benchmark is: mixtures with known sources, and what is known of who speaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from skdc.audio import AudioFiles
from skdc.datasets.mixture_lists import StoredMixture

__all__ = ["ProtocolMixture", "PublishedProtocol", "check_choice"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ProtocolMixture:
    """One mixture of a protocol, and what is known of its speakers.

    Parameters
    ----------
    audio : StoredMixture
        What `load` reads.
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

    audio: StoredMixture
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
        """Sample rate of the waveforms, Hz."""
        return self.audio.sample_rate

    def load(self) -> tuple[FloatArray, FloatArray]:
        """Read the mixture and its sources; see the class of `audio`."""
        return self.audio.load()

    def check(self) -> int:
        """Read the headers of its files; see the class of `audio`."""
        return self.audio.check()


class PublishedProtocol(ABC):
    """A benchmark: which mixtures it has, at which rates, and how its folders are read.

    Attributes
    ----------
    name : str
        Such as ``"wsj0-2mix"``.
    n_sources : int or None
        Number of speakers in each mixture; None where the lists differ.
    sample_rates : tuple of int
        Rates that it comes at, Hz; the published figures are for the first.
    training, validation, test : str
        Subset to train on, to choose with and to report; no test subset where it is one of
        several lists.
    subsets : mapping of str to str
        Conditions (see `ProtocolMixture`) of each subset; empty where the folder tells.
    sizes : mapping of str to int
        How many mixtures a subset has when it is whole, where that is published.
    modes : tuple of str
        ``"min"``: cut to the shortest source; ``"max"``: padded to the longest.
    """

    name: str
    n_sources: int | None
    sample_rates: tuple[int, ...]
    training: str
    validation: str
    test: str | None
    subsets: Mapping[str, str]
    sizes: Mapping[str, int] = MappingProxyType({})
    modes: tuple[str, ...] = ("min", "max")

    def choose_rate(self, wanted: int) -> int:
        """Give `wanted` where the protocol comes at that rate, else that of its figures."""
        return wanted if wanted in self.sample_rates else self.sample_rates[0]

    @abstractmethod
    def open_subset(
        self, root: Path, subset: str, sample_rate: int, mode: str
    ) -> list[ProtocolMixture]:
        """Find the mixtures of a subset; see `skdc.protocols.open_protocol`."""

    @abstractmethod
    def open_recordings(
        self, root: Path, subset: str, sample_rate: int
    ) -> tuple[AudioFiles, list[str]]:
        """Find single speakers; see `skdc.protocols.open_protocol_recordings`."""


def check_choice(what: str, value: object, choices: Iterable[object]) -> None:
    """Raise a ValueError that names the choices if the value is none of them."""
    known = list(choices)
    if value not in known:
        raise ValueError(f"{what} is {value!r}; give {' or '.join(map(repr, known))}")
