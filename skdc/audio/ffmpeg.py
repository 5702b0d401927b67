"""Formats that libsndfile does not know, through a program `ffmpeg` where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["SUFFIXES", "converted"]

SUFFIXES = frozenset(
    {".3gp", ".aac", ".amr", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma"}
)
"""Suffixes of the files of sound, or of sound with pictures, that are given to ffmpeg."""

# Which part of ffmpeg speaks, and where that is in memory.
_PART_OF_FFMPEG = re.compile(r"^\[[^]]*\] ")


@contextmanager
def converted(path: Path) -> Iterator[tuple[Path, str]]:
    """Give the first track of sound of a file as a WAV file, for as long as the block lasts.

    The file is a temporary one of 32-bit floating samples, with the rate and channels of the
    track. With it comes what ffmpeg found wrong, such as that the file ends in the middle; empty
    where it is whole. A ValueError says that there is no ffmpeg on the path, or that it cannot
    read the file.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise ValueError(
            f"cannot read {str(path)!r} as audio: {path.suffix} files need the program ffmpeg, "
            "and there is none on the path; install ffmpeg, or convert the file to WAV"
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "sound.wav"
        # "file:", because a name with a colon would stand for a protocol.
        command = [program, "-nostdin", "-v", "error", "-i", f"file:{path.resolve()}", "-vn"]
        command += ["-map", "0:a:0", "-c:a", "pcm_f32le", "-rf64", "auto", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        why = (done.stderr.strip().splitlines() or [""])[-1]
        if done.returncode or not target.is_file():
            reason = why or "no reason given"
            raise ValueError(f"ffmpeg cannot read {str(path)!r} as audio ({reason})")
        yield target, _PART_OF_FFMPEG.sub("", why)
