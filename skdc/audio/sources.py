"""Sources of a recording as files that sum to it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skdc.audio.io import PCM_BITS, UNBOUNDED, write_audio
from skdc.exceptions import AudioWarning

__all__ = ["write_sources"]


def write_sources(
    paths: Sequence[str | os.PathLike[str]],
    sources: NDArray[np.floating],
    mixture: NDArray[np.floating],
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
        `AudioWarning`.
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
    peak = max(float(np.abs(source).max(initial=0)) for source in sources)
    scale = 1.0
    if peak > 1 and subtype not in UNBOUNDED:
        scale = 1 / peak
        warnings.warn(
            f"sources have a peak of {peak:.3g}: all are written scaled by {scale:.3g}; "
            "--subtype float keeps them as they are",
            AudioWarning,
            stacklevel=3,
        )
    # The first file is written last, and takes what rounding leaves of the mixture.
    others = reversed(list(zip(paths[1:], sources[1:], strict=True)))
    if subtype not in PCM_BITS:
        for path, source in [*others, (paths[0], sources[0])]:
            write_audio(path, source * scale, sample_rate, subtype=subtype)
        return
    full = 2.0 ** (PCM_BITS[subtype] - 1)
    rest = np.rint(np.multiply(mixture, scale * full, dtype=np.float64))
    for path, source in others:
        steps = np.rint(np.multiply(source, scale * full, dtype=np.float64))
        rest -= steps
        write_audio(path, steps / full, sample_rate, subtype=subtype)
    # Full scale itself is one step more than these formats hold.
    write_audio(paths[0], (rest / full).clip(-1, 1), sample_rate, subtype=subtype)
