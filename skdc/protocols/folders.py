"""Mixtures in folders of the published layout: ``wav8k/min/tr/{mix,s1,s2}/NAME.wav``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from skdc.audio import check_files, read_at_rate, read_length, write_audio

__all__ = ["FolderMixture", "MixtureFolder", "Waveform"]

FloatArray = NDArray[np.float32]
Waveform = NDArray[np.floating]

_STEP = 2**-15
_ADVICE = "make the mixtures anew at that rate"


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
        self._check_lengths(len(mixture), map(len, sources))
        return mixture, np.stack(sources)

    def check(self) -> int:
        """Read the headers of the files.

        Returns
        -------
        int
            Samples of the mixture.

        Raises
        ------
        FileNotFoundError, ValueError
            As `load` does, but for what is damaged behind a header.
        """
        n_samples, *of_sources = (
            read_length(path, self.sample_rate, _ADVICE, item=self.mixture_id)
            for path in (self.mixture_path, *self.source_paths)
        )
        self._check_lengths(n_samples, of_sources)
        return n_samples

    def _read(self, path: Path) -> FloatArray:
        return read_at_rate(path, self.sample_rate, _ADVICE, item=self.mixture_id)

    def _check_lengths(self, n_samples: int, of_sources: Iterable[int]) -> None:
        for path, length in zip(self.source_paths, of_sources, strict=True):
            if length != n_samples:
                raise ValueError(
                    f"{self.mixture_id}: {str(path)!r} has {length} samples, but the mixture has "
                    f"{n_samples}; make both anew"
                )


@dataclass(frozen=True)
class MixtureFolder:
    """The folder of a subset, such as ``wav8k/min/tr``, at one rate.

    It holds ``mix/NAME.wav``, ``s1/NAME.wav``, ``s2/NAME.wav`` and so on.
    """

    folder: Path
    sample_rate: int
    n_sources: int
    mixture_folder: str = "mix"

    @property
    def kinds(self) -> list[str]:
        """Names of the folders of the sources and, last, of the mixtures."""
        return [*(f"s{i + 1}" for i in range(self.n_sources)), self.mixture_folder]

    def paths(self, name: str) -> list[Path]:
        """Give the files of the sources and, last, that of the mixture."""
        return [self.folder / kind / f"{name}.wav" for kind in self.kinds]

    def names(self) -> list[str]:
        """Give the names of the mixtures, each of which must have a file of every kind.

        Raises a FileNotFoundError if there is no such folder, or a mixture lacks a file, and a
        ValueError if there are no mixtures.
        """
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"no folder at {str(self.folder)!r}; make the mixtures first, or give the root "
                f"that holds {self.folder.parent.parent.name!r}"
            )
        names = self.found()
        if not names:
            kinds = self.kinds[-1:] + self.kinds[:-1]
            raise ValueError(
                f"{str(self.folder)!r} has no mixtures; expected WAV files in its folders "
                f"{', '.join(map(repr, kinds))}"
            )
        files = [path for name in sorted(names) for path in self.paths(name)]
        check_files(files, "files", "run the maker again, which makes what is missing")
        return sorted(names)

    def found(self) -> set[str]:
        """Give the names of all mixtures that have a file there, also of those that lack some."""
        # Hidden files are unfinished ones of a maker that was killed.
        return {
            path.stem
            for kind in self.kinds
            for path in (self.folder / kind).glob("*.wav")
            if path.name[0] != "."
        }

    def mixture(self, name: str) -> FolderMixture:
        """Give the mixture of a name; its files are not read yet."""
        *sources, mixture = self.paths(name)
        return FolderMixture(name, mixture, tuple(sources), self.sample_rate)

    def is_complete(self, name: str) -> bool:
        """Tell whether all files are there, at this rate and of one length."""
        paths = self.paths(name)
        if not all(path.is_file() for path in paths):
            return False
        try:
            infos = [soundfile.info(path) for path in paths]
        except soundfile.LibsndfileError:
            return False
        rates, lengths = ({getattr(i, a) for i in infos} for a in ("samplerate", "frames"))
        return rates == {self.sample_rate} and len(lengths) == 1

    def holds(self, name: str, sources: Sequence[Waveform]) -> bool:
        """Tell whether the files, which are whole, are those that `write` would write."""
        _, found = self.mixture(name).load()
        # Rounded to 16 bits; another machine may round a step further.
        return found.shape == np.shape(sources) and bool(
            np.abs(found - np.asarray(sources)).max() <= 2 * _STEP
        )

    def write(self, name: str, sources: Sequence[Waveform]) -> None:
        """Write sources and their sum."""
        mixture = np.sum(sources, axis=0)
        for path, waveform in zip(self.paths(name), [*sources, mixture], strict=True):
            write_audio(path, waveform, self.sample_rate)
