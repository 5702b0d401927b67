"""Audio files as streams that can be read whole, also where the header is wrong about how much.

libsndfile takes the length of an MP3 file from its first frames and of an Ogg file from its first
stream, and reads no further. Files that were cut, joined or recorded from a broadcast hold more.
Where a file holds less than its header promises, or ends in the middle, its stream tells so.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import soundfile

from skdc.audio.headers import sound_bytes

__all__ = ["Stream", "mpeg_frame", "open_streams"]

# kbit/s of layer III by the index in the header of a frame: MPEG 1, and MPEG 2 and 2.5.
_BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
# Hz, by the two bits of the version: MPEG 2.5, none, MPEG 2, MPEG 1.
_RATES = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
# Tags in the first frame of a file, which holds no audio then.
_TAGS = (b"Xing", b"Info", b"VBRI")
# What the first two say that they hold: the number of frames, with or without three others.
_TAGS_WITH_LENGTH = range(1, 16, 2)
# Frames by which a length in a tag may differ from those that are there: encoders note how much
# of the first and the last ones is padding.
_PADDING_FRAMES = 4
_OGG_HEADER = 27
_OGG_BEGINS = 2


class Frame(NamedTuple):
    start: int
    size: int
    n_samples: int


class Stream(soundfile.SoundFile):
    """An audio file that is read from front to back.

    Attributes
    ----------
    n_promised : int
        Samples of each channel that the header promises, where that may be more than there are;
        0 where it is not, or where the header does not tell.
    is_cut : bool
        Whether the file ends in the middle of a piece that is decoded as one.
    """

    n_promised = 0
    is_cut = False

    def seekable(self) -> bool:
        """Whether reading may jump, which soundfile does after every block where it may.

        Jumps change what is decoded from MP3, and fail where the length is not known.
        """
        return False

    def states_length(self) -> bool:
        """Whether the header tells how much there is."""
        # What libsndfile gives where it does not is near the largest integer. A FLAC file that
        # was cut has the length of the whole in its header.
        return bool(self.frames < 2**62) and not (self.format == "FLAC" and self.is_cut)


def open_streams(path: Path) -> list[Stream]:
    """Open an audio file as one stream, or as several that follow each other.

    They are to be read to their ends, in this order, and closed. Raises a soundfile.SoundFileError
    if libsndfile cannot read the file.
    """
    file = Stream(path)
    if file.format == "OGG":
        links, is_cut = _ogg_links(path)
        if len(links) > 1:
            file.close()
            streams = [Stream(link) for link in links]
            streams[-1].is_cut = is_cut
            return streams
        file.is_cut = is_cut
    elif file.subtype == "MPEG_LAYER_III":
        if right := _with_right_length(file, path.read_bytes()):
            return [right]
    elif file.format == "FLAC":
        file = _found_cut(file, path)
    elif found := sound_bytes(path):
        stated, there = found
        # How long the whole would be is told by what is there, if anything is.
        file.n_promised = file.frames * stated // max(1, there)
        file.is_cut = not file.frames
    if file.states_length():
        # As soundfile does before it reads; the decoder of MP3 rounds in another way without.
        file.seek(0)
    return [file]


def _found_cut(file: Stream, path: Path) -> Stream:
    """Find out if a FLAC file ends before the last of the samples that its header promises."""
    if file.states_length() and file.frames:
        try:
            file.seek(file.frames - 1)
        except soundfile.LibsndfileError:
            # Nothing can be read of what was moved in vain.
            file.close()
            file = Stream(path)
            file.is_cut, file.n_promised = True, file.frames
    return file


def _with_right_length(file: Stream, data: bytes) -> Stream | None:
    """Note what an MP3 file promises; where it holds another length, open it anew with that."""
    frames = list(_mpeg_frames(data))
    if not frames:
        return None
    head, n_samples = data[: frames[0].start], frames[0].n_samples
    held = sum(frame.n_samples for frame in frames)
    padding = _PADDING_FRAMES * n_samples if any(tag in head for tag in _TAGS) else 0
    # Some encoders count the frame of the tag, too.
    n_stated = _stated_frames(head)
    n_promised = n_stated * n_samples if n_stated > len(frames) + 1 else 0
    file.n_promised = n_promised
    if 0 <= held - file.frames <= padding:
        return None
    file.close()
    file = Stream(_with_length(data, frames))
    file.n_promised = n_promised
    return file


def _stated_frames(head: bytes) -> int:
    """Give the number of frames that a tag before them states; 0 where there is none."""
    place = max(map(head.rfind, (b"Xing", b"Info")))
    if place >= 0 and int.from_bytes(head[place + 4 : place + 8], "big") in _TAGS_WITH_LENGTH:
        return int.from_bytes(head[place + 8 : place + 12], "big")
    place = head.rfind(b"VBRI")
    return int.from_bytes(head[place + 14 : place + 18], "big") if place >= 0 else 0


def _mpeg_frames(data: bytes) -> Iterator[Frame]:
    """Find the frames of audio of an MP3 file."""
    place = 0
    while (place := data.find(b"\xff", place)) >= 0:
        frame = mpeg_frame(data, place)
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
    return is_tag or mpeg_frame(data, place) is not None


def mpeg_frame(data: bytes, place: int) -> Frame | None:
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
    return Frame(place, size, n_samples)


def _with_length(data: bytes, frames: list[Frame]) -> BinaryIO:
    """Give frames with one before them that tells how many they are."""
    audio = b"".join(data[frame.start : frame.start + frame.size] for frame in frames)
    head = bytearray(data[frames[0].start :][:4])
    head[1] |= 1  # no checksum
    head[2] = head[2] & 0x0C | 0xA0  # a bit rate at which the tag fits, no padding
    size = mpeg_frame(bytes(head), 0)
    is_first, is_mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    # The tag comes after the side information, whose length depends on version and channels.
    side = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    tag = b"Info" + (3).to_bytes(4, "big") + len(frames).to_bytes(4, "big")
    tag += (len(audio) + size.size).to_bytes(4, "big") if size else b""
    first = bytes(head) + bytes(side) + tag
    return io.BytesIO(first.ljust(size.size if size else len(first), b"\0") + audio)


def _ogg_links(path: Path) -> tuple[list[BinaryIO], bool]:
    """Split an Ogg file where one stream has ended and another begins; one link is left whole.

    Also tells whether the file ends within a page.
    """
    starts, has_audio, is_cut = [], True, False
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        place = 0
        while place < end:
            file.seek(place)
            header = file.read(_OGG_HEADER)
            if not header.startswith(b"OggS"):
                break
            if len(header) < _OGG_HEADER:
                is_cut = True
                break
            begins = bool(header[5] & _OGG_BEGINS)
            if begins and has_audio:
                starts.append(place)
            has_audio = not begins
            place += _OGG_HEADER + header[26] + sum(file.read(header[26]))
            is_cut = place > end
        if len(starts) < 2:
            return [], is_cut
        file.seek(0)
        data = file.read()
    links = zip(starts, [*starts[1:], end], strict=True)
    return [io.BytesIO(data[a:b]) for a, b in links], is_cut
