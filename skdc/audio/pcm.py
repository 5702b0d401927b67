"""Samples of a pipe, raw or in a WAV file without an end, as they come."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdc.audio.headers import states_no_size
from skdc.audio.streams import mpeg_frame

__all__ = ["SampleDecoder"]

_WAV = b"RIFF"
# What files of other kinds begin with: FLAC, Ogg, MP3 with a tag, long and big-endian WAV, AIFF,
# CAF, AU, NIST SPHERE, W64, WebM and Matroska, AMR, WMA, and MP4 with its likes after a number.
_OTHER_FILES = (
    *(b"fLaC", b"OggS", b"ID3", b"RF64", b"RIFX", b"FORM", b"caff", b".snd", b"NIST"),
    *(b"riff\x2e\x91\xcf\x11", b"\x1a\x45\xdf\xa3", b"#!AMR", b"\x30\x26\xb2\x75"),
)
_MP4 = re.compile(rb"\0\0\0.ftyp", re.DOTALL)
# Bytes before a frame of AAC that lies in no container, and how many sample rates it may state.
_AAC_HEADER = 7
_AAC_RATES = 13
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# A header that goes on for longer is none.
_LONGEST_HEADER = 1 << 16


class _Layout(NamedTuple):
    """How samples lie in bytes."""

    n_channels: int
    width: int  # bytes of a sample
    is_float: bool


class SampleDecoder:
    """Turn the bytes of a pipe into samples of one channel.

    A pipe that begins as a WAV file does is taken as one, of 8 to 32 bits or floats, with any
    number of channels, whose mean is given. Any other holds raw samples: 16 bits, little-endian,
    one channel.

    Parameters
    ----------
    sample_rate : int
        What the samples are expected to have, Hz.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.audio import SampleDecoder
    >>> decoder = SampleDecoder(8000)
    >>> raw = np.array([16384, -32768], "<i2").tobytes()
    >>> decoder.push(raw[:3]).tolist(), decoder.push(raw[3:]).tolist()
    ([0.5], [-1.0])
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._layout: _Layout | None = None
        self._rest = b""
        self._n_left: int | None = None  # bytes of a WAV file that says how many it has

    @property
    def missing_s(self) -> float:
        """Seconds of sound that a WAV file has promised and that have not come."""
        if self._layout is None or self._n_left is None:
            return 0.0
        n_samples = self._n_left // (self._layout.n_channels * self._layout.width)
        return n_samples / self.sample_rate

    def push(self, came: bytes) -> NDArray[np.float32]:
        """Take the bytes that come next.

        Parameters
        ----------
        came : bytes
            Any number of them.

        Returns
        -------
        float32 array of shape (n_samples,)
            What is whole of them, from -1 to 1.

        Raises
        ------
        ValueError
            If they are a file of another kind, or a WAV file at another rate or of a coding that
            is not known.
        """
        return self._take(came)

    def finish(self) -> NDArray[np.float32]:
        """Give the samples that were kept back until it was clear what they are.

        Returns
        -------
        float32 array of shape (n_samples,)
            Few of them, if any.

        Raises
        ------
        ValueError
            If what came ends within the header of a WAV file, or is a file of another kind.
        """
        samples = self._take(b"", is_end=True)
        if self._layout is None and self._rest:
            raise ValueError("the standard input is a WAV file that ends within its header")
        return samples

    def _take(self, came: bytes, *, is_end: bool = False) -> NDArray[np.float32]:
        data = self._rest + came
        if self._layout is None:
            data = self._begin(data, is_end=is_end)
        if self._layout is None:
            self._rest = data
            return np.zeros(0, np.float32)
        size = self._layout.n_channels * self._layout.width
        n_bytes = len(data) if self._n_left is None else min(len(data), self._n_left)
        n_bytes -= n_bytes % size
        if self._n_left is not None:
            self._n_left -= n_bytes
        # What follows the samples of a file that says how many it has is no audio.
        self._rest = b"" if self._n_left is not None and self._n_left < size else data[n_bytes:]
        return _decode(data[:n_bytes], self._layout)

    def _begin(self, data: bytes, *, is_end: bool) -> bytes:
        """Find out what comes, if enough has come, and give what follows the header."""
        is_other = _is_other_file(data, is_end=is_end)
        if is_other:
            raise ValueError(
                "the standard input is an audio file; give a WAV file or raw samples, for "
                f"instance of ffmpeg -i FILE -f s16le -ac 1 -ar {self.sample_rate} -, or use skdc "
                "separate"
            )
        if is_other is None:
            return data
        if not data.startswith(_WAV):
            self._layout = _Layout(1, 2, is_float=False)
            return data
        position, layout = 12, None
        while len(data) >= position + 8:
            name, size = (
                data[position : position + 4],
                *struct.unpack_from("<I", data, position + 4),
            )
            position += 8
            if name == b"data":
                if layout is None or data[8:12] != b"WAVE":
                    raise ValueError("the standard input is a damaged WAV file: it has no format")
                self._layout = layout
                self._n_left = None if states_no_size(size) else size
                return data[position:]
            if name == b"fmt " and len(data) >= position + size:
                layout = self._read_layout(data[position : position + size])
            position += size + size % 2  # chunks begin at even bytes
        if len(data) > _LONGEST_HEADER:
            raise ValueError("the standard input is a damaged WAV file: it has no samples")
        return data

    def _read_layout(self, chunk: bytes) -> _Layout:
        if len(chunk) < 16:
            raise ValueError("the standard input is a damaged WAV file: its format is cut off")
        coding, n_channels, rate, _, _, n_bits = struct.unpack_from("<HHIIHH", chunk)
        if coding == _EXTENSIBLE and len(chunk) >= 26:
            (coding,) = struct.unpack_from("<H", chunk, 24)
        if rate != self.sample_rate:
            raise ValueError(
                f"the standard input has {rate} Hz, but the model works at {self.sample_rate}; "
                f"record at that rate, or convert with ffmpeg -i - -f wav -ar {self.sample_rate} -"
            )
        known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
        if n_bits not in known.get(coding, ()) or n_channels == 0:
            raise ValueError(
                f"the standard input is a WAV file of {n_channels} channels, coding {coding} and "
                f"{n_bits} bits; give PCM of 8, 16, 24 or 32 bits, or floats"
            )
        return _Layout(n_channels, n_bits // 8, coding == _FLOAT)


def _is_other_file(data: bytes, *, is_end: bool) -> bool | None:
    """Whether bytes are the first of a file that is no WAV file; None where more must come."""
    if data.startswith(_OTHER_FILES) or _MP4.match(data):
        return True
    if size := _frame_size(data):
        # Two samples may look like the header of a frame: one counts that the next one follows.
        if len(data) >= size + _AAC_HEADER:
            return _frame_size(data[size:]) > 0
        return True if is_end else None
    names = (_WAV, *_OTHER_FILES, b"\0\0\0" + (data[3:4] or b"\0") + b"ftyp")
    is_open = any(len(data) < len(name) and name.startswith(data) for name in names)
    is_open |= len(data) < _AAC_HEADER and data.startswith(b"\xff")
    return None if is_open and not is_end else False


def _frame_size(data: bytes) -> int:
    """Give the bytes of a frame of MP3 or AAC, if its header comes first; 0 where none does."""
    if frame := mpeg_frame(data, 0):
        return frame.size
    if len(data) < _AAC_HEADER or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return 0
    if data[2] >> 2 & 0xF >= _AAC_RATES:
        return 0
    size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    return size if size > _AAC_HEADER else 0


def _decode(data: bytes, layout: _Layout) -> NDArray[np.float32]:
    samples: NDArray[np.float64]
    if layout.is_float:
        samples = np.frombuffer(data, f"<f{layout.width}").astype(float)
    elif layout.width == 1:  # the only one without a sign
        samples = (np.frombuffer(data, np.uint8) - 128.0) / 128
    elif layout.width == 3:
        # (n, 3) bytes, the lowest first, become the upper three of four
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = wide.view("<i4")[:, 0] / 2.0**31
    else:
        samples = np.frombuffer(data, f"<i{layout.width}") / 2.0 ** (8 * layout.width - 1)
    # (n_samples * n_channels,) -> (n_samples, n_channels)
    mean: NDArray[np.float32] = samples.reshape(-1, layout.n_channels).mean(1).astype(np.float32)
    return mean
