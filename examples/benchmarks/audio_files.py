"""Broken and hostile audio files: is each read or refused by name, in little time and memory?

Crafts files whose headers claim what cannot be, and mutates small sound ones in the formats that
libsndfile reads; with ``--ffmpeg``, in those that need ffmpeg, too. Each goes through
`read_header`, `read_audio` and `AudioRecording`, in a process of its own every so many files, so
that one that crashes the decoder is counted and the others go on. Memory is told on Linux only.

Run: ``python examples/benchmarks/audio_files.py --n 10000``
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import soundfile

from skdc.audio import AudioRecording, read_audio, read_header

# What a file may be refused with, and what one may take: seconds of the processor, MB.
NAMED = (ValueError, OSError)
MOST_SECONDS, MOST_MEGABYTES = 2.0, 300.0
FILES_A_PROCESS = 200
FORMATS = (
    *(("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM")),
    *(("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16")),
    *(("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")),
    ("MP3", "MPEG_LAYER_III"),
)
SUFFIXES = {"RF64": "wav", "AIFF": "aif"}
Case = tuple[str, str, bytes]  # what it is, suffix, content


def sound_files() -> list[tuple[str, bytes]]:
    """Give small files in all formats: suffix and content."""
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal((2400, 2))
    files = []
    for container, subtype in FORMATS:
        target = io.BytesIO()
        soundfile.write(target, samples, 16000, subtype, format=container)
        files.append((SUFFIXES.get(container, container.lower()), target.getvalue()))
    return files


def files_for_ffmpeg() -> list[tuple[str, bytes]]:
    """Give small files of formats that need ffmpeg, made by it."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("m4a", "mkv"):
            path = Path(folder) / f"a.{suffix}"
            tone = ["-f", "lavfi", "-i", "sine=frequency=300:duration=0.3", "-c:a", "aac"]
            subprocess.run(["ffmpeg", "-v", "error", *tone, str(path)], check=True)
            files.append((suffix, path.read_bytes()))
    return files


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file at random, often in its head."""
    changed = bytearray(content)
    reach = min(len(changed), 200) if rng.random() < 0.6 else len(changed)
    place = int(rng.integers(reach))
    kind = rng.integers(8)
    if kind == 0:
        return bytes(changed[:place])
    if kind == 1:
        return content[:place] + rng.bytes(int(rng.integers(1, 500))) + content[place:]
    if kind == 2:
        return content[:place] + content[place + int(rng.integers(1, 100)) :]
    if kind == 3:
        changed[place : place + 16] = bytes(len(changed[place : place + 16]))
    elif kind == 4:
        changed[place : place + 4] = b"\xff" * len(changed[place : place + 4])
    elif kind == 5:
        return content + content[place:]
    else:
        for _ in range(int(rng.integers(1, 9))):
            changed[int(rng.integers(reach))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def crafted(files: list[tuple[str, bytes]]) -> Iterator[Case]:
    """Give files that claim what cannot be."""

    def wav(channels: int, rate: int, bits: int, n_bytes: int, riff: int = 36) -> bytes:
        width = max(1, channels * bits // 8)
        form = struct.pack("<HHIIHH", 1, channels, rate, rate * width % 2**32, width % 2**16, bits)
        head = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + form
        return head + b"data" + struct.pack("<I", n_bytes) + bytes(1000)

    for channels in (0, 1, 2, 255, 1024, 1025, 65535):
        for rate in (0, 1, 8000, 2**31, 2**32 - 1):
            for bits in (0, 1, 8, 16, 24, 32, 64, 65535):
                for n_bytes in (0, 1000, 2**31, 2**32 - 1):
                    yield (
                        f"WAV of {(channels, rate, bits, n_bytes)}",
                        "wav",
                        wav(channels, rate, bits, n_bytes),
                    )
    for suffix, content in files:
        yield "empty", suffix, b""
        yield "zeros", suffix, bytes(70_000)
        yield "a head alone", suffix, content[:64]
        yield "another suffix", "wav" if suffix != "wav" else "mp3", content
        yield "a thousand heads", suffix, content[:64] * 1000
        # Counts of samples and bytes lie somewhere in the head, in either order.
        for place in range(min(120, len(content) - 8)):
            for claim in (b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\xff" * 3 + b"\x7f", b"\0" * 8):
                changed = content[:place] + claim + content[place + len(claim) :]
                yield f"{claim.hex()} at {place}", suffix, changed


def all_cases(files: list[tuple[str, bytes]], n_files: int) -> Iterator[Case]:
    """Give crafted files, at most half of all, and mutated ones."""
    rng = np.random.default_rng(0)
    ready = list(crafted(files))
    order = rng.permutation(len(ready))[: n_files // 2]
    yield from (ready[i] for i in order)
    for number in range(n_files - len(order)):
        suffix, content = files[number % len(files)]
        yield "mutation", suffix, mutated(content, rng)


def read_all(path: Path) -> None:
    """Read a file by each of the readers; they must agree on what it holds."""
    n_channels, _, rate = read_header(path)
    samples, same_rate = read_audio(path, mono=False)
    with AudioRecording(path) as recording:
        parts = np.atleast_2d(recording[..., :])
    expected = n_channels, rate
    if (samples.shape, same_rate) != (parts.shape, rate) or (len(parts), same_rate) != expected:
        raise RuntimeError("the readers disagree")
    if not np.array_equal(samples, parts, equal_nan=True):
        raise RuntimeError("the readers give other samples")


def start_peak() -> float:
    """Begin to note the most memory that this process holds; give what it holds now, MB."""
    if sys.platform != "linux":
        return 0.0
    Path("/proc/self/clear_refs").write_text("5")
    return peak_megabytes()


def peak_megabytes() -> float:
    """Give the most memory that this process has held since, MB."""
    if sys.platform != "linux":
        return 0.0
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def work(cases: list[Case], folder: Path, answers: Connection) -> None:
    """Read files, and answer with outcome, seconds and megabytes of each."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the decoder of MP3 says what it skips
    for what, suffix, content in cases:
        path = folder / f"a.{suffix}"
        path.write_bytes(content)
        before, began = start_peak(), time.process_time()
        try:
            read_all(path)
        except NAMED as error:
            outcome = f"refused: {type(error).__name__}"
            if "a." not in str(error):
                outcome = f"MISBEHAVED: no name of the file in {error}"
        except BaseException as error:  # noqa: BLE001 - counted
            outcome = f"MISBEHAVED: {type(error).__name__}: {error} ({what}, {suffix})"
        else:
            outcome = "read"
        seconds = time.process_time() - began
        answers.send((outcome, seconds, peak_megabytes() - before))
    answers.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; give the number of files that misbehaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="files (default: %(default)s)")
    parser.add_argument("--ffmpeg", action="store_true", help="its formats, too")
    args = parser.parse_args(arguments)
    files = sound_files()
    if args.ffmpeg:
        if not shutil.which("ffmpeg"):
            parser.error("there is no ffmpeg on the path")
        files += files_for_ffmpeg()
    counts: Counter[str] = Counter()
    longest, most = (0.0, ""), (0.0, "")
    cases = all_cases(files, args.n)
    context = multiprocessing.get_context("fork")
    waiting: list[Case] = []
    with tempfile.TemporaryDirectory() as text:
        while True:
            waiting += islice(cases, FILES_A_PROCESS - len(waiting))
            if not waiting:
                break
            answers, end = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(waiting, Path(text), end))
            process.start()
            end.close()
            n_done = 0
            while n_done < len(waiting):
                try:
                    if not answers.poll(60):
                        process.kill()
                    outcome, seconds, megabytes = answers.recv()
                except EOFError:
                    outcome, seconds, megabytes = "MISBEHAVED: crashed or hung", 0.0, 0.0
                what = f"{waiting[n_done][0]}, {waiting[n_done][1]}"
                n_done += 1
                counts[outcome.partition(" (")[0]] += 1
                longest, most = max(longest, (seconds, what)), max(most, (megabytes, what))
                if seconds > MOST_SECONDS or megabytes > MOST_MEGABYTES:
                    counts["MISBEHAVED: took too much"] += 1
                    print(f"{what}: {seconds:.1f} s, {megabytes:.0f} MB")
                if outcome.startswith("MIS"):
                    print(f"{what}: {outcome}", flush=True)
                if outcome.endswith("hung"):
                    break
            process.join()
            waiting = waiting[n_done:]
    print(f"{sum(counts.values())} files")
    for outcome, number in counts.most_common():
        print(f"  {number:6d} {outcome}")
    print(f"  longest {longest[0]:.2f} s of the processor ({longest[1]})")
    print(f"  most memory of one file {most[0]:.0f} MB ({most[1]})")
    wrong = sum(number for outcome, number in counts.items() if outcome.startswith("MIS"))
    print(f"{wrong} misbehaved")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))
