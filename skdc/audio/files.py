"""Audio files as sequences of recordings that are read when they are used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import EllipsisType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdc.audio.io import AUDIO_SUFFIXES, check_rate, read_audio, read_header
from skdc.exceptions import name_some
from skdc.inputs import Header
from skdc.paths import file_identity

__all__ = ["AudioFiles", "AudioSources", "check_files", "files_below", "is_audio"]

FloatArray = NDArray[np.float32]
PathLike = str | os.PathLike[str]
_ADVICE = "give the paths of files that are there"
Indices = slice | ArrayLike | tuple[ArrayLike, EllipsisType]


class _Lazy(Sequence[FloatArray]):
    """A sequence of what is read from files, indexed like a one-dimensional array."""

    _items: Sequence[Any]
    sample_rate: int | None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def shape(self) -> tuple[int]:
        """Number of items, as scikit-learn asks for it: its splitters then index, not copy."""
        return (len(self),)

    @overload
    def __getitem__(self, key: int) -> FloatArray: ...
    @overload
    def __getitem__(self, key: Indices) -> Self: ...
    def __getitem__(self, key: int | Indices) -> FloatArray | Self:
        if isinstance(key, tuple):  # scikit-learn's `array[key, ...]`
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(f"got {len(key)} indices; {type(self).__name__} has one axis")
            key = key[0]
        if isinstance(key, slice):
            return self._select(self._items[key])
        indices = np.asarray(key)
        if indices.dtype == bool and indices.shape == (len(self),):
            (indices,) = np.nonzero(indices)
        if not indices.size:
            indices = indices.astype(np.intp)
        if indices.dtype.kind not in "iu" or indices.ndim > 1:
            raise IndexError(
                f"got an index of dtype {indices.dtype} and shape {indices.shape}; give an "
                f"integer, a slice, integers, or a mask of shape ({len(self)},)"
            )
        if not indices.ndim:
            return self._read(self._items[int(indices)])
        return self._select([self._items[index] for index in indices.tolist()])

    def __repr__(self) -> str:
        rate = "" if self.sample_rate is None else f" at {self.sample_rate} Hz"
        return f"<{type(self).__name__}: {len(self)} items{rate}>"

    def _select(self, items: Sequence[Any]) -> Self:
        raise NotImplementedError

    def _read(self, item: Any) -> FloatArray:
        raise NotImplementedError


class AudioFiles(_Lazy):
    """Recordings in audio files, each read when it is used.

    Goes wherever a list of recordings goes: as `X` of `DeepClusteringSeparator`, into
    scikit-learn's splitters and searches. Indexing with a slice, integers or a mask gives another
    `AudioFiles`; nothing is read then.

    Parameters
    ----------
    paths : iterable of path-like
        One file a recording: WAV, FLAC, Ogg, MP3.
    sample_rate : int, optional
        Rate to resample to, Hz; each file's own by default.
    mono : bool, default=True
        Whether to mix channels down. Without, recordings are ``(n_channels, n_samples)``, for
        instance for `skdc.preprocessing.ToMono`.

    See Also
    --------
    AudioSources : The sources of mixtures.
    read_audio : What reads them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import AudioFiles, write_audio
    >>> folder = tempfile.TemporaryDirectory()
    >>> paths = [Path(folder.name) / f"{number}.wav" for number in range(3)]
    >>> for path in paths:
    ...     write_audio(path, np.zeros(16000), 16000)
    >>> files = AudioFiles(paths, sample_rate=8000)
    >>> files
    <AudioFiles: 3 items at 8000 Hz>
    >>> files[0].shape, files[[0, 2]]
    ((8000,), <AudioFiles: 2 items at 8000 Hz>)
    >>> folder.cleanup()
    """

    def __init__(
        self, paths: Iterable[PathLike], *, sample_rate: int | None = None, mono: bool = True
    ) -> None:
        if sample_rate is not None:
            check_rate(sample_rate)
        self._items = _as_paths(paths, "paths")
        self.sample_rate = sample_rate
        self.mono = mono

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(Path(path) for path in self._items)

    def headers(self) -> list[Header]:
        """Read the headers of all files.

        Returns
        -------
        list of Header
            Path, shape and rate of each.

        Raises
        ------
        FileNotFoundError
            If files are missing.
        ValueError
            If one is not audio.
        """
        check_files(self._items, "audio files", _ADVICE)
        headers = []
        for path in self._items:
            n_channels, n_samples, rate = _read_header(path, self.sample_rate)
            shape = (n_samples,) if self.mono else (n_channels, n_samples)
            headers.append(Header(path, shape, rate))
        return headers

    def load(self) -> list[FloatArray]:
        """Read all files into memory.

        Returns
        -------
        list of float32 arrays
            In their order.
        """
        # libsndfile decodes without holding Python's lock, so that threads run in parallel.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._read, self._items))

    def _select(self, items: Sequence[Any]) -> Self:
        return type(self)(items, sample_rate=self.sample_rate, mono=self.mono)

    def _read(self, item: str) -> FloatArray:
        return read_audio(item, sample_rate=self.sample_rate, mono=self.mono)[0]


class AudioSources(_Lazy):
    """The sources of mixtures in audio files, one a source, each read when it is used.

    The `y` to an `X` of `AudioFiles`. Indexing works as there.

    Parameters
    ----------
    paths : iterable of sequences of path-like
        For each mixture the files of its sources, which are mixed down to mono and must be of one
        length.
    sample_rate : int, optional
        Rate to resample to, Hz; each file's own by default.

    See Also
    --------
    AudioFiles : The mixtures.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import AudioSources, write_audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [Path(folder) / "ann.wav", Path(folder) / "bob.wav"]
    ...     for path in paths:
    ...         write_audio(path, np.zeros(8000), 8000)
    ...     AudioSources([paths, paths])[0].shape
    (2, 8000)
    """

    def __init__(
        self, paths: Iterable[Sequence[PathLike]], *, sample_rate: int | None = None
    ) -> None:
        if sample_rate is not None:
            check_rate(sample_rate)
        self._items = [
            tuple(_as_paths(item, f"paths[{index}]")) for index, item in enumerate(paths)
        ]
        for index, item in enumerate(self._items):
            if not item:
                raise ValueError(f"paths[{index}] is empty; give a file for each source")
        self.sample_rate = sample_rate

    @property
    def paths(self) -> tuple[tuple[Path, ...], ...]:
        """The files of each mixture's sources."""
        return tuple(tuple(Path(path) for path in item) for item in self._items)

    def headers(self) -> list[Header]:
        """Read the headers of all files.

        Returns
        -------
        list of Header
            Path of the first source, shape and rate of each item.

        Raises
        ------
        FileNotFoundError
            If files are missing.
        ValueError
            If one is not audio, or sources of one mixture differ in length or rate.
        """
        check_files((path for item in self._items for path in item), "audio files", _ADVICE)
        headers = []
        for index, item in enumerate(self._items):
            first, *others = (_read_header(path, self.sample_rate)[1:] for path in item)
            for path, other in zip(item[1:], others, strict=True):
                if other != first:
                    raise ValueError(
                        f"sources of item {index} differ: {item[0]!r} has {first[0]} samples at "
                        f"{first[1]} Hz, {path!r} {other[0]} at {other[1]} Hz"
                    )
            headers.append(Header(item[0], (len(item), first[0]), first[1]))
        return headers

    def _select(self, items: Sequence[Any]) -> Self:
        return type(self)(items, sample_rate=self.sample_rate)

    def _read(self, item: tuple[str, ...]) -> FloatArray:
        sources = [read_audio(path, sample_rate=self.sample_rate)[0] for path in item]
        lengths = [len(source) for source in sources]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"the sources {', '.join(map(repr, item))} have {lengths} samples; those of one "
                "mixture must be of one length"
            )
        return np.stack(sources)


def _as_paths(paths: Iterable[PathLike], name: str) -> list[str]:
    if isinstance(paths, str | os.PathLike):
        raise TypeError(f"{name} is one path, {os.fspath(paths)!r}; give a list of paths")
    # Strings are smaller than Path objects, in memory and in pickles.
    return [os.fspath(path) for path in paths]


def is_audio(path: Path) -> bool:
    """Whether the suffix of a file is one of `AUDIO_SUFFIXES`."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def files_below(folder: Path) -> list[Path]:
    """Give the files in a folder and in those below it, sorted, but not the hidden ones.

    Links are followed, also to folders, each of which is looked through once.
    """
    found: list[Path] = []
    seen: set[tuple[int, int] | None] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        there = file_identity(place)
        if there in seen:
            folders.clear()
            continue
        seen.add(there)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in names if not name.startswith("."))
        found += filter(Path.is_file, paths)
    return sorted(found)


def check_files(
    paths: Iterable[PathLike],
    what: str,
    advice: str,
    *,
    note: Callable[[Any], str] = lambda path: "",
) -> None:
    """Raise an error if files are missing.

    Parameters
    ----------
    paths : iterable of path-like
    what : str
        What they are, in the plural.
    advice : str
        What to do about it.
    note : callable, optional
        Gives what the message adds to the name of a file.

    Raises
    ------
    FileNotFoundError
        With the number of those that are missing, and the names of the first.
    """
    paths = list(paths)
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        named = name_some([f"{os.fspath(path)!r}{note(path)}" for path in missing])
        raise FileNotFoundError(
            f"{len(missing)} of the {len(paths)} {what} are missing: {named}; {advice}"
        )


def _read_header(path: str, sample_rate: int | None) -> tuple[int, int, int]:
    """Channels, samples and rate that reading a file will give."""
    n_channels, n_samples, own_rate = read_header(path)
    rate = sample_rate or own_rate
    return n_channels, -(-n_samples * rate // own_rate), rate
