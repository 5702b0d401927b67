"""How many bytes of sound a file has, and how many its header states.

That is told of WAV and its relatives with a longer count, RF64 and W64, of AIFF, AU, CAF and NIST
SPHERE, whose headers state it. libsndfile reads what is there, and does not say that it is less.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

__all__ = ["MISCOUNTED_S", "SoundBytes", "sound_bytes", "states_no_size"]

MISCOUNTED_S = 0.01
"""What is missing at the end and is no longer than this is none: some recorders count the header,
or what follows the sound, as sound."""

# Sizes that are written where nobody can know how much will come, as into a pipe, are the largest
# that the field or a program holds, or these less a header.
_UNKNOWN_BITS = (31, 32, 63, 64)
_UNKNOWN_WITHIN = 1 << 16
# A file of more chunks before its sound is none that a recorder has written.
_MOST_CHUNKS = 1000

_SEE_ELSEWHERE = 2**32 - 1
_SPHERE_HEADER = 1024
# Their product is the number of bytes.
_SPHERE_COUNTS = (b"sample_count", b"channel_count", b"sample_n_bytes")


class SoundBytes(NamedTuple):
    """How many bytes of sound a file has.

    Attributes
    ----------
    stated : int or None
        What the header states; None where its writer could not know it, or did not come to note
        it.
    there : int
        What follows the header. Where it says that there is none, and chunks of other things
        follow, these do not count.
    """

    stated: int | None
    there: int


class _Chunk(NamedTuple):
    name: bytes
    start: int  # of what it holds
    size: int


class _Layout(NamedTuple):
    """How the chunks of a kind of file lie.

    Each has a name, the number of its bytes, and these.
    """

    start: int  # of the first chunk
    order: Literal["little", "big"]
    sound: bytes  # the name of the chunk of sound begins so
    n_before: int = 0  # bytes in that chunk before the sound
    name_bytes: int = 4
    size_bytes: int = 4
    aligned: int = 2  # chunks begin at multiples of this
    counts_all: bool = False  # whether its size includes name and size


_LAYOUTS = {
    b"RIFF": _Layout(12, "little", b"data"),
    b"RF64": _Layout(12, "little", b"data"),
    b"RIFX": _Layout(12, "big", b"data"),
    b"FORM": _Layout(12, "big", b"SSND", n_before=8),
    b"caff": _Layout(8, "big", b"data", n_before=4, size_bytes=8, aligned=1),
    b"riff": _Layout(
        40, "little", b"data", name_bytes=16, size_bytes=8, aligned=8, counts_all=True
    ),
}


def states_no_size(size: int) -> bool:
    """Whether a number of bytes in a header says that its writer could not know it."""
    return size == 0 or any(abs(size - 2**bits) <= _UNKNOWN_WITHIN for bits in _UNKNOWN_BITS)


def sound_bytes(path: Path) -> SoundBytes | None:
    """Give how many bytes of sound a file has; None if it is of another kind."""
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        kind = file.read(4)
        if kind == b".snd":  # AU
            found: tuple[int, int] | None = (_number(file, 4, "big"), _number(file, 4, "big"))
        elif kind == b"NIST":
            found = _sphere_sound(file.read(_SPHERE_HEADER))
        elif kind in _LAYOUTS:
            found = _sound_chunk(file, _LAYOUTS[kind], end)
        else:
            found = None
        if found is None:
            return None
        start, stated = found
        layout = _LAYOUTS.get(kind)
        there = max(0, end - start)
        if stated == 0 and layout and _are_chunks(file, layout, start, end):
            there = 0
    return SoundBytes(None if states_no_size(stated) else stated, there)


def _sound_chunk(file: BinaryIO, layout: _Layout, end: int) -> tuple[int, int] | None:
    """Give where the sound begins, and its size as it is stated."""
    long_size: int | None = None
    for name, start, size in _chunks(file, layout, layout.start, end):
        if name.startswith(layout.sound):
            # RF64 has the size of its sound in a chunk of its own.
            stated = size if long_size is None or size != _SEE_ELSEWHERE else long_size
            return start + layout.n_before, stated - layout.n_before
        if name == b"ds64":
            file.seek(start + 8)
            long_size = _number(file, 8, layout.order)
    return None


def _are_chunks(file: BinaryIO, layout: _Layout, place: int, end: int) -> bool:
    """Whether a file holds nothing but whole chunks from a place to its end."""
    chunks = list(_chunks(file, layout, place, end))
    if not all(chunk.name[:4].decode("latin-1").isprintable() for chunk in chunks):
        return False
    return 0 <= end - (chunks[-1].start + chunks[-1].size if chunks else place) < layout.aligned


def _chunks(file: BinaryIO, layout: _Layout, place: int, end: int) -> Iterator[_Chunk]:
    """Read the heads of the chunks of a file, from a place on."""
    head = layout.name_bytes + layout.size_bytes
    for _ in range(_MOST_CHUNKS):
        if place + head > end:
            break
        file.seek(place)
        name = file.read(layout.name_bytes)
        size = _number(file, layout.size_bytes, layout.order)
        size = max(0, size - head) if layout.counts_all else size
        yield _Chunk(name, place + head, size)
        place += head + size + -(head + size) % layout.aligned


def _sphere_sound(header: bytes) -> tuple[int, int] | None:
    """Give as much of the text that NIST SPHERE begins with, after its first four bytes."""
    size = re.match(rb"_1A\n\s*(\d+)\n", header)
    counts = [re.search(rb"\n%b -i (\d+)" % name, header) for name in _SPHERE_COUNTS]
    found = [int(count[1]) for count in counts if count]
    if size is None or len(found) < len(counts):
        return None
    return int(size[1]), math.prod(found)


def _number(file: BinaryIO, n_bytes: int, order: Literal["little", "big"]) -> int:
    return int.from_bytes(file.read(n_bytes), order)
