"""Audio files whose header does not tell how much they hold, as streams that can be read whole.

libsndfile takes the length of an MP3 file from its first frames and of an Ogg file from its first
stream, and reads no further. Files that were cut, joined or recorded from a broadcast hold more.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import soundfile

__all__ = ["Stream", "open_streams"]

# kbit/s of layer III by the index in the header of a frame: MPEG 1, and MPEG 2 and 2.5.
_BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
# Hz, by the two bits of the version: MPEG 2.5, none, MPEG 2, MPEG 1.
_RATES = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
# Tags in the first frame of a file, which holds no audio then.
_TAGS = (b"Xing", b"Info", b"VBRI")
# Frames by which a length in a tag may differ from those that are there: encoders note how much
# of the first and the last ones is padding.
_PADDING_FRAMES = 4
_OGG_HEADER = 27
_OGG_BEGINS = 2


class _Frame(NamedTuple):
    start: int
    size: int
    n_samples: int


class Stream(soundfile.SoundFile):
    """An audio file that is read from front to back."""

    def seekable(self) -> bool:
        """Whether reading may jump, which soundfile does after every block where it may.

        Jumps change what is decoded from MP3, and fail where the length is not known.
        """
        return False

    def states_length(self) -> bool:
        """Whether the header tells how much there is."""
        # What libsndfile gives where it does not is near the largest integer.
        return bool(self.frames < 2**62)


def open_streams(path: Path) -> list[Stream]:
    """Open an audio file as one stream, or as several that follow each other.

    They are to be read to their ends, in this order, and closed. Raises a soundfile.SoundFileError
    if libsndfile cannot read the file.
    """
    file = Stream(path)
    if file.format == "OGG":
        links = _ogg_links(path)
        if len(links) > 1:
            file.close()
            return [Stream(link) for link in links]
    if file.subtype == "MPEG_LAYER_III":
        data = path.read_bytes()
        frames = list(_mpeg_frames(data))
        held = sum(frame.n_samples for frame in frames)
        if frames:
            is_tagged = any(tag in data[: frames[0].start] for tag in _TAGS)
            padding = _PADDING_FRAMES * frames[0].n_samples if is_tagged else 0
            if abs(held - file.frames) > padding:
                file.close()
                return [Stream(_with_length(data, frames))]
    if file.states_length():
        # As soundfile does before it reads; the decoder of MP3 rounds in another way without.
        file.seek(0)
    return [file]


def _mpeg_frames(data: bytes) -> Iterator[_Frame]:
    """Find the frames of audio of an MP3 file."""
    place = 0
    while (place := data.find(b"\xff", place)) >= 0:
        frame = _mpeg_frame(data, place)
        # Bytes between frames, such as pictures in tags, may look like the header of a frame: one
        # counts that the next one follows, or the end.
        if frame is None or not _goes_on(data, place + frame.size):
            place += 1
            continue
        if not any(tag in data[place : place + 64] for tag in _TAGS):
            yield frame
        place += frame.size


def _goes_on(data: bytes, place: int) -> bool:
    if place + 4 > len(data):
        return place <= len(data)
    is_tag = data.startswith((b"TAG", b"ID3", b"APETAGEX"), place)
    return is_tag or _mpeg_frame(data, place) is not None


def _mpeg_frame(data: bytes, place: int) -> _Frame | None:
    """Read the header of a frame of layer III, if there is one at this place."""
    if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = data[place + 1] >> 3 & 3, data[place + 2] >> 4, data[place + 2] >> 2
    if version == 1 or bitrate in (0, 15) or rate & 3 == 3:
        return None
    is_first = version == 3
    n_samples = 1152 if is_first else 576
    kbits = _BITRATES[not is_first][bitrate]
    padding = data[place + 2] >> 1 & 1
    size = n_samples // 8 * 1000 * kbits // _RATES[version][rate & 3] + padding
    return _Frame(place, size, n_samples)


def _with_length(data: bytes, frames: list[_Frame]) -> BinaryIO:
    """Give frames with one before them that tells how many they are."""
    audio = b"".join(data[frame.start : frame.start + frame.size] for frame in frames)
    head = bytearray(data[frames[0].start :][:4])
    head[1] |= 1  # no checksum
    head[2] = head[2] & 0x0C | 0xA0  # a bit rate at which the tag fits, no padding
    size = _mpeg_frame(bytes(head), 0)
    is_first, is_mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    # The tag comes after the side information, whose length depends on version and channels.
    side = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    tag = b"Info" + (3).to_bytes(4, "big") + len(frames).to_bytes(4, "big")
    tag += (len(audio) + size.size).to_bytes(4, "big") if size else b""
    first = bytes(head) + bytes(side) + tag
    return io.BytesIO(first.ljust(size.size if size else len(first), b"\0") + audio)


def _ogg_links(path: Path) -> list[BinaryIO]:
    """Split an Ogg file where one stream has ended and another begins; one link is left whole."""
    starts, has_audio = [], True
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        place = 0
        while place < end:
            file.seek(place)
            header = file.read(_OGG_HEADER)
            if len(header) < _OGG_HEADER or not header.startswith(b"OggS"):
                break
            begins = bool(header[5] & _OGG_BEGINS)
            if begins and has_audio:
                starts.append(place)
            has_audio = not begins
            place += _OGG_HEADER + header[26] + sum(file.read(header[26]))
        if len(starts) < 2:
            return []
        file.seek(0)
        data = file.read()
    return [io.BytesIO(data[a:b]) for a, b in zip(starts, [*starts[1:], end], strict=True)]
