"""Audio files as streams that can be read whole, also where the header is wrong about how much.

libsndfile takes the length of an MP3 file from its first frames and of an Ogg file from its first
stream, and reads no further. Files that were cut, joined or recorded from a broadcast hold more.
Where a file holds less than its header promises, is damaged, or ends in the middle, its stream
tells so.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
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
# Flags, samples, stream, number, checksum, and how many sizes of the parts of the page follow.
_OGG_HEADER = struct.Struct("<5xBQIIIB")
_OGG_BEGINS, _OGG_ENDS = 2, 4
# Each byte with its bits in the other order, in which the checksum of Ogg takes them.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Frame(NamedTuple):
    start: int
    size: int
    n_samples: int


class _OggPage(NamedTuple):
    start: int
    end: int
    begins: bool  # whether it is the first of its stream
    ends: bool
    n_samples: int  # of the stream up to its end; 0 in those of the header
    stream: int
    number: int  # in the stream

    def follows(self, before: _OggPage | None) -> bool:
        """Whether no page of its stream is missing between this one and the one before it."""
        if self.begins or before is None:
            return self.begins
        # After the header any page may come: where a recorder tuned in to a broadcast.
        return not before.n_samples or self.number == before.number + 1


class _OggFile(NamedTuple):
    links: list[BinaryIO]  # streams that follow each other; none where there is only one
    is_cut: bool
    is_damaged: bool


class Stream(soundfile.SoundFile):
    """An audio file that is read from front to back.

    Attributes
    ----------
    n_promised : int
        Samples of each channel that the header promises, where that may be more than there are;
        0 where it is not, or where the header does not tell.
    is_cut : bool
        Whether the file ends in the middle of a piece that is decoded as one.
    is_damaged : bool
        Whether parts of the file that are not its end are missing or cannot be read.
    """

    n_promised = 0
    is_cut = False
    is_damaged = False

    def seekable(self) -> bool:
        """Whether reading may jump, which soundfile does after every block where it may.

        Jumps change what is decoded from MP3, and fail where the length is not known.
        """
        return False

    def states_length(self) -> bool:
        """Whether the header tells how much there is."""
        # What libsndfile gives where it does not is near the largest integer. A FLAC file that
        # was cut has the length of the whole in its header, and so has a damaged Ogg file in its
        # last page.
        is_short = self.is_damaged or (self.format == "FLAC" and self.is_cut)
        return bool(self.frames < 2**62) and not is_short

    def rewind(self) -> None:
        """Go to the beginning, as soundfile does before it reads, where that is possible.

        The decoder of MP3 rounds in another way without. GSM 6.10 and others cannot be moved in.
        """
        if self.states_length() and super().seekable():
            self.seek(0)


def open_streams(path: Path) -> list[Stream]:
    """Open an audio file as one stream, or as several that follow each other.

    They are to be read to their ends, in this order, and closed. Raises a soundfile.SoundFileError
    if libsndfile cannot read the file.
    """
    file = Stream(path)
    if file.format == "OGG":
        with path.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as data:
            ogg, streams = _read_ogg(data), [file]
        if ogg.links:
            file.close()
            streams = [Stream(link) for link in ogg.links]
        for stream in streams:
            stream.is_damaged = ogg.is_damaged
            stream.n_promised = stream.frames if ogg.is_damaged else 0
            stream.rewind()
        streams[-1].is_cut = ogg.is_cut
        return streams
    if file.subtype == "MPEG_LAYER_III":
        if right := _with_right_length(file, path.read_bytes()):
            return [right]
    elif file.format == "FLAC":
        file = _found_cut(file, path)
    elif (found := sound_bytes(path)) and found.stated is not None:
        # How long the whole would be is told by what is there, if anything is.
        file.n_promised = file.frames * found.stated // max(1, found.there)
        file.is_cut = not file.frames
    file.rewind()
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


def _read_ogg(data: mmap) -> _OggFile:
    """Split an Ogg file where one stream has ended and another begins; see what it lacks.

    Pages are numbered, so that those that are missing or cannot be read leave a gap.
    """
    spans: list[tuple[int, int]] = []  # of the streams that follow each other
    latest: dict[int, _OggPage] = {}  # of each stream
    last, is_damaged = None, False
    for page in _ogg_pages(data):
        if page.begins and not (last and last.begins):
            spans.append((page.start, page.end))
        elif spans:
            spans[-1] = (spans[-1][0], page.end)
        # What lies between the end of a stream and the next one is not part of them.
        is_broken = last is not None and not last.ends and page.start > last.end
        is_damaged |= is_broken or not page.follows(latest.get(page.stream))
        latest[page.stream] = last = page
    end = last.end if last else 0
    has_ended = last is None or last.ends
    is_cut = data[end : end + 4] == b"OggS" or (len(data) > end and not has_ended)
    links = spans if len(spans) > 1 else []
    return _OggFile([io.BytesIO(data[a:b]) for a, b in links], is_cut, is_damaged)


def _ogg_pages(data: mmap) -> Iterator[_OggPage]:
    """Find the pages of an Ogg file that are whole, which are those that libsndfile decodes."""
    place = data.find(b"OggS")
    while 0 <= place <= len(data) - _OGG_HEADER.size:
        flags, *numbers, checksum, n_sizes = _OGG_HEADER.unpack_from(data, place)
        sizes = place + _OGG_HEADER.size
        end = sizes + n_sizes + sum(data[sizes : sizes + n_sizes])
        # The checksum is that of a page which has zeros in its place.
        page = data[place : place + 22] + bytes(4) + data[place + 26 : end]
        is_whole = end <= len(data) and checksum == _ogg_checksum(page)
        if is_whole:
            begins, ends = bool(flags & _OGG_BEGINS), bool(flags & _OGG_ENDS)
            yield _OggPage(place, end, begins, ends, *numbers)
        place = data.find(b"OggS", end if is_whole else place + 1)


def _ogg_checksum(page: bytes) -> int:
    """Give the checksum of a page, which is that of zlib with all bits in the other order."""
    checksum = ~zlib.crc32(page.translate(_REVERSED), 2**32 - 1) % 2**32
    return int.from_bytes(checksum.to_bytes(4, "big").translate(_REVERSED), "little")
