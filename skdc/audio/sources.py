"""Sources of a recording as files that sum to it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from skdc.audio.io import (
    PCM_BITS,
    UNBOUNDED,
    check_rate,
    check_samples,
    file_format,
    quantise,
    telling_failed_writes,
)
from skdc.exceptions import AudioWarning
from skdc.paths import atomic_path

__all__ = ["is_of_sources", "source_paths", "write_source_blocks", "write_sources"]

FloatArray = NDArray[np.floating]
Blocks = Iterable[tuple[FloatArray, FloatArray]]

_BLOCK_SAMPLES = 65_536
# What WAV files are marked with, to which libsndfile adds its own name
_WRITER = "skdc"
# A peak of fewer steps of a format leaves next to nothing of the sound.
_FEW_STEPS = 32
# What WAV counts its bytes with, less what is no audio. RF64 is the same with a longer count.
_LARGEST_WAV = 2**32 - 2**16


def source_paths(
    folder: str | os.PathLike[str], name: str, n_sources: int, *, noise: bool = False
) -> list[Path]:
    """Give the files of the sources of a recording, and that of the noise, if any, after them.

    Parameters
    ----------
    folder : path-like
        Where they lie.
    name : str
        What the recording is called, without its suffix.
    n_sources : int
        How many files of sources.
    noise : bool, default=False
        Whether noise was kept out of the sources.

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        If the name is not that of a file alone, as with a folder in it.

    Examples
    --------
    >>> from skdc.audio.sources import source_paths
    >>> [path.name for path in source_paths("parts", "talk", 2, noise=True)]
    ['talk-1.wav', 'talk-2.wav', 'talk-noise.wav']
    """
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise ValueError(f"name={name!r} must be the name of a file, without a folder")
    ends = [*range(1, n_sources + 1), *["noise"] * noise]
    return [Path(folder) / f"{name}-{end}.wav" for end in ends]


def write_sources(
    paths: Sequence[str | os.PathLike[str]],
    sources: FloatArray,
    mixture: FloatArray,
    sample_rate: int,
    *,
    subtype: str = "PCM_16",
) -> None:
    """Write the sources of a mixture, one file each, so that the files sum to the mixture.

    Rounded one by one, n sources would differ from their mixture by up to n / 2 steps of the
    format. Here the first takes what rounding leaves.
    It is written last: where it is there, so are the others.

    Parameters
    ----------
    paths : sequence of path-like
        One a source; as for `write_audio`.
    sources : floating array of shape (n_sources, n_samples) or (n_sources, n_channels, n_samples)
        Where one is louder than a format of integers holds, all are scaled alike, with an
        `AudioWarning`; so quiet ones that it keeps next to nothing are only warned of.
    mixture : floating array of shape (n_samples,) or (n_channels, n_samples)
        Their sum.
    sample_rate : int
        Hz.
    subtype : str, default="PCM_16"
        As for `write_audio`.

    Raises
    ------
    ValueError, TypeError, OSError
        As `write_audio` does.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import read_audio, write_sources
    >>> mixture = np.array([0.0, 0.5, -0.25])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [Path(folder) / "1.wav", Path(folder) / "2.wav"]
    ...     write_sources(paths, mixture * [[0.7], [0.3]], mixture, 8000)
    ...     sum(read_audio(path)[0] for path in paths)
    array([ 0.  ,  0.5 , -0.25], dtype=float32)
    """

    def blocks() -> Iterator[tuple[FloatArray, FloatArray]]:
        for start in range(0, max(1, mixture.shape[-1]), _BLOCK_SAMPLES):
            part = slice(start, start + _BLOCK_SAMPLES)
            yield mixture[..., part], sources[..., part]

    write_source_blocks(paths, blocks, mixture.shape, sample_rate, subtype=subtype)


def write_source_blocks(
    paths: Sequence[str | os.PathLike[str]],
    blocks: Callable[[], Blocks],
    shape: tuple[int, ...],
    sample_rate: int,
    *,
    subtype: str = "PCM_16",
) -> None:
    """Write sources that come block by block, as `write_sources` writes them.

    Parameters
    ----------
    paths : sequence of path-like
        One a source.
    blocks : callable
        Gives pairs of a block of the mixture and the same block of its sources. Called again
        where sources are too loud for the format: only the last sample tells by how much.
    shape : tuple of int
        The shape of the mixture: ``(n_samples,)`` or ``(n_channels, n_samples)``.
    sample_rate : int
        Hz.
    subtype : str, default="PCM_16"
        As for `write_audio`.

    Raises
    ------
    ValueError, TypeError, OSError
        As `write_audio` does.

    Warns
    -----
    AudioWarning
        If all had to be scaled, or are so quiet that the format keeps next to nothing of them.
    """
    check_rate(sample_rate)
    targets = [Path(path) for path in paths]
    formats = [file_format(path, subtype) for path in targets]
    n_bytes = np.prod(shape) * PCM_BITS.get(subtype, 64) // 8
    if n_bytes > _LARGEST_WAV:
        formats = ["RF64" if name == "WAV" else name for name in formats]
    n_channels = shape[0] if len(shape) == 2 else 1
    with ExitStack() as stack:
        # The first file takes its name last.
        parts = [stack.enter_context(atomic_path(path)) for path in targets]

        def write(scale: float) -> float:
            with ExitStack() as files:
                opened = [
                    files.enter_context(
                        soundfile.SoundFile(
                            part, "w", sample_rate, n_channels, subtype, None, name
                        )
                    )
                    for part, name in zip(parts, formats, strict=True)
                ]
                for file in opened:
                    if file.format in ("WAV", "RF64"):
                        file.software = _WRITER
                return _write(opened, blocks(), scale, subtype)

        with telling_failed_writes():
            peak = write(1.0)
            if peak > 1 and subtype not in UNBOUNDED:
                warnings.warn(
                    f"sources have a peak of {peak:.3g}: all are written scaled by "
                    f"{1 / peak:.3g}; --subtype float keeps them as they are",
                    AudioWarning,
                    stacklevel=4,
                )
                write(1 / peak)
            elif subtype in PCM_BITS and 0 < peak < _FEW_STEPS * 2.0 ** (1 - PCM_BITS[subtype]):
                warnings.warn(
                    f"sources have a peak of {peak:.3g}, of which {subtype} keeps next to "
                    "nothing; --subtype float keeps them as they are",
                    AudioWarning,
                    stacklevel=4,
                )


def is_of_sources(path: str | os.PathLike[str]) -> bool:
    """Tell whether a WAV file was written by `write_sources` or `write_source_blocks`.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    bool
        False, too, where it cannot be read, or was written by an earlier version.
    """
    try:
        with soundfile.SoundFile(path) as file:
            return bool(file.software.startswith(_WRITER))
    except (OSError, soundfile.SoundFileError):
        return False


def _write(
    files: Sequence[soundfile.SoundFile], blocks: Blocks, scale: float, subtype: str
) -> float:
    """Write blocks to open files, and give the peak of all sources."""
    peak = 0.0
    bits = PCM_BITS.get(subtype)
    for mixture, given in blocks:
        sources = list(map(check_samples, given))
        peak = max(peak, *(float(np.abs(source).max(initial=0)) for source in sources))
        if bits is None:
            for file, source in zip(files, sources, strict=True):
                _append(file, source * scale)
            continue
        full = 2.0 ** (bits - 1)
        # The first file takes what rounding leaves of the mixture.
        rest = np.rint(np.multiply(mixture, scale * full, dtype=np.float64))
        for file, source in zip(files[1:], sources[1:], strict=True):
            steps = np.rint(np.multiply(source, scale * full, dtype=np.float64))
            rest -= steps
            _append(file, quantise(steps / full, bits))
        _append(files[0], quantise(rest / full, bits))
    return peak


def _append(file: soundfile.SoundFile, samples: NDArray[np.generic]) -> None:
    for start in range(0, samples.shape[-1], _BLOCK_SAMPLES):
        # (n_channels, n_samples) -> (n_samples, n_channels)
        file.write(np.ascontiguousarray(samples[..., start : start + _BLOCK_SAMPLES].T))
