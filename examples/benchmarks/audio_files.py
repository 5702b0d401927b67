"""Broken and hostile audio files: is each read or refused by name, in little time and memory?

Crafts files whose headers claim what cannot be, and mutates small sound ones in the formats that
libsndfile reads; with ``--ffmpeg``, in those that need ffmpeg, too. Each goes through
`read_header`, `read_audio` and `AudioRecording`, in a process of its own every so many files, so
that one that crashes the decoder, or hangs, is counted and the others go on. Memory is told on
Linux only. What a file executes is told by Python's audit: code, modules that are loaded, pickled
functions, and programs other than ffmpeg.

Run: ``python examples/benchmarks/audio_files.py --n 10000``
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from skdc.audio import AudioRecording, read_audio, read_header

# What a file may be refused with.
NAMED = (ValueError, OSError)
# What one may take: seconds of the processor, and MB; after so many seconds in all, it hangs.
MOST_SECONDS, MOST_MEGABYTES, HANGS_AFTER = 2.0, 300.0, 60.0
FILES_A_PROCESS = 200
HUNG = "MISBEHAVED: hung"
# What Python tells of before it runs what is not the program. Texts are compiled to be parsed,
# which tells of `compile`; to run, what is compiled needs `exec`, which `eval` tells of, too.
EXECUTIONS = {
    *("exec", "import", "marshal.loads", "pickle.find_class", "code.__new__", "function.__new__"),
    *("ctypes.dlopen", "subprocess.Popen", "pty.spawn", "os.system", "os.exec"),
    *("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
}
# Calls `eval` where it is unpickled.
PICKLE = b"cbuiltins\neval\n(V1\ntR."
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
        yield "a pickle", suffix, PICKLE
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


def written(cases: Iterator[Case], folder: Path) -> Iterator[tuple[str, Path]]:
    """Write one file after the other; give what it is, and where."""
    for what, suffix, content in cases:
        path = folder / f"a.{suffix}"
        path.write_bytes(content)
        yield f"{what}, {suffix}", path


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


def watch() -> list[str]:
    """Note from now on what this process executes."""
    noted: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        is_ffmpeg = event == "subprocess.Popen" and Path(arguments[0]).name == "ffmpeg"
        if event in EXECUTIONS and not is_ffmpeg:
            noted.append(f"{event} {arguments!r:.200}")

    sys.addaudithook(note)
    return noted


def try_files(
    files: Iterator[tuple[str, Path]],
    read: Callable[[Path], Any],
    judge: Callable[[str, Any], str],
    answers: Connection,
) -> None:
    """Read files; answer what each is, and then what came of it.

    That is the outcome, of what could be read as `judge` gives it, the seconds, the megabytes, and
    what was executed.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the decoder of MP3 says what it skips
    noted = watch()
    for what, path in files:
        answers.send(what)
        found, outcome = None, ""
        noted.clear()
        before, began = start_peak(), time.process_time()
        try:
            found = read(path)
        except NAMED as error:
            outcome = f"refused: {type(error).__name__}"
            # Long names may be shortened, and odd ones are escaped.
            if repr(path.name)[1:-1][:20] not in str(error):
                outcome = f"MISBEHAVED: no name of the file in {error}"
        except BaseException as error:  # noqa: BLE001 - counted
            outcome = f"MISBEHAVED: {type(error).__name__} ({str(error)[:200]})"
        seconds, megabytes = time.process_time() - began, peak_megabytes() - before
        outcome = outcome or judge(what, found)
        answers.send((outcome, seconds, megabytes, noted))
    answers.close()


class Tally:
    """What came of the files that were tried."""

    def __init__(self, most_seconds: float) -> None:
        self._most_seconds = most_seconds
        self._counts: Counter[str] = Counter()
        self._longest = self._most = (0.0, "")
        self._n_executed = 0

    def note(
        self, what: str, outcome: str, seconds: float, megabytes: float, executed: list[str]
    ) -> None:
        """Count a file, and print what is wrong with it."""
        self._longest = max(self._longest, (seconds, what))
        self._most = max(self._most, (megabytes, what))
        self._n_executed += bool(executed)
        if executed:
            outcome = f"MISBEHAVED: executed ({executed})"
        elif seconds > self._most_seconds or megabytes > MOST_MEGABYTES:
            outcome = f"MISBEHAVED: took too much ({seconds:.1f} s, {megabytes:.0f} MB)"
        self._counts[outcome.partition(" (")[0]] += 1
        if outcome.startswith("MIS"):
            print(f"{what}: {outcome}", flush=True)

    def report(self) -> int:
        """Print the counts; give how many files misbehaved."""
        print(f"{self._counts.total()} files")
        for outcome, number in self._counts.most_common():
            print(f"  {number:6d} {outcome}")
        print(f"  longest {self._longest[0]:.2f} s of the processor ({self._longest[1]})")
        print(f"  most memory of one file {self._most[0]:.0f} MB ({self._most[1]})")
        wrong = sum(n for outcome, n in self._counts.items() if outcome.startswith("MIS"))
        hung = self._counts[HUNG]
        print(f"{wrong} misbehaved: {self._n_executed} executed, {hung} hung", flush=True)
        return wrong


def answers_of(process: BaseProcess, answers: Connection) -> Iterator[Any]:
    """Give what a process answers until it ends; kill it where it hangs."""
    while True:
        if not answers.poll(HANGS_AFTER):
            process.kill()
        try:
            yield answers.recv()
        except EOFError:
            process.join()
            return


def try_all(work: Callable[[int, Connection], None], n_files: int, most_seconds: float) -> int:
    """Let one process after the other try files; give how many misbehaved.

    `work` is given the number of files that are done, and runs `try_files` on the next ones.
    """
    tally = Tally(most_seconds)
    context = multiprocessing.get_context("fork")
    n_done, what = 0, ""
    while n_done < n_files:
        answers, end = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(n_done, end))
        process.start()
        end.close()
        for answer in answers_of(process, answers):
            if isinstance(answer, str):
                what = f"{answer}, number {n_done}"
            else:
                tally.note(what, *answer)
                n_done, what = n_done + 1, ""
        if what:
            outcome = HUNG if process.exitcode == -signal.SIGKILL else "MISBEHAVED: crashed"
            tally.note(what, outcome, 0, 0, [])
            n_done, what = n_done + 1, ""
        elif process.exitcode:
            raise RuntimeError("a process crashed where it tried no file")
    return tally.report()


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
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)

        def work(n_done: int, answers: Connection) -> None:
            cases = islice(all_cases(files, args.n), n_done, n_done + FILES_A_PROCESS)
            # Sound ones first: what reading loads late is loaded before it is watched.
            for _, path in written((("sound", *file) for file in files), folder):
                read_all(path)
            try_files(written(cases, folder), read_all, lambda *_: "read", answers)

        return try_all(work, args.n, MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(bool(main()))
