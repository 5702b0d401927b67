"""A recording in a file, read part by part while it is worked on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from skdc.audio.io import find_fault, opened_source, opened_streams, stream_blocks
from skdc.exceptions import AudioWarning
from skdc.inputs import LongRecording
from skdc.signal.demands import check_finite

__all__ = ["AudioRecording"]

# Parts are read again shortly after, for the stretches that overlap.
_KEPT_S = 20.0


class AudioRecording(LongRecording):
    """The samples of a file of any length, in memory that does not grow with it.

    It is decoded from front to back; what lies before the last part is decoded once more from the
    beginning. To be used in a ``with`` block.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    rate : int
        Hz.
    notes : tuple of str
        What is to be said of the file, such as that it was cut.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not audio that libsndfile or ffmpeg reads.

    Warns
    -----
    AudioWarning
        If the file was cut, as for `read_audio`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import AudioRecording, write_audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(Path(folder) / "a.wav", np.array([0.0, 0.5, -0.5]), 8000)
    ...     with AudioRecording(Path(folder) / "a.wav") as recording:
    ...         recording.shape, recording.rate, recording[..., 1:]
    ((3,), 8000, array([ 0.5, -0.5], dtype=float32))
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._reader = ExitStack()
        with ExitStack() as stack:
            self._source = stack.enter_context(opened_source(self._path))
            # Counted, because a header may say less or more than there is.
            with opened_streams(self._path, self._source) as streams:
                n_samples = sum(map(len, chain.from_iterable(map(stream_blocks, streams))))
                n_channels, self.rate = streams[0].channels, streams[0].samplerate
                fault = find_fault(self._source, streams, n_samples)
            self._rewind()
            if fault:
                warnings.warn(f"{str(path)!r} {fault}", AudioWarning, stacklevel=2)
            self._stack = stack.pop_all()
        self.notes = (f"the recording {fault}",) if fault else ()
        self.shape = (n_channels, n_samples) if n_channels > 1 else (n_samples,)

    def _rewind(self) -> None:
        self._reader.close()
        streams = self._reader.enter_context(opened_streams(self._path, self._source))
        self._blocks = chain.from_iterable(map(stream_blocks, streams))
        # What is kept, (n_samples_i, n_channels), and where it begins.
        self._held: list[NDArray[np.float32]] = []
        self._begin = self._end = 0

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read samples, as `LongRecording.read`.

        Raises
        ------
        ValueError
            If the file cannot be read on, was changed meanwhile, or holds NaN or infinity.
        """
        if start < self._begin:
            self._rewind()
        kept_from = start - int(_KEPT_S * self.rate)
        while self._end < stop:
            block = self._next_block()
            self._held.append(block)
            self._end += len(block)
            while self._held and self._begin + len(self._held[0]) <= kept_from:
                self._begin += len(self._held.pop(0))
        parts = list(self._parts(start, stop))
        if not parts:
            return np.zeros((*self.shape[:-1], 0), np.float32)
        # (n_samples, n_channels) -> (n_channels, n_samples)
        samples = np.ascontiguousarray(np.concatenate(parts).T)
        return samples[0] if len(self.shape) == 1 else samples

    def _next_block(self) -> NDArray[np.float32]:
        try:
            block = next(self._blocks, None)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"cannot read {str(self._path)!r} as audio ({error})") from error
        if block is None:
            raise ValueError(
                f"{str(self._path)!r} ended after {self._end} samples where {self.shape[-1]} were "
                "counted: it was changed while it was read"
            )
        check_finite(block, repr(str(self._path)))
        return block

    def _parts(self, start: int, stop: int) -> Iterator[NDArray[np.float32]]:
        begin = self._begin
        for block in self._held:
            if begin < stop and begin + len(block) > start:
                yield block[max(0, start - begin) : stop - begin]
            begin += len(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()
        self._stack.close()
