"""Memory and time of ``skdc separate`` by the length of the recording: both should be flat.

Makes stereo recordings at 44.1 kHz of the sample clips, separates each in a process of its own,
from file to files, and prints the largest memory of the process and the time for a second of
audio. On Linux: `peak` is the resident memory of the process at its largest (VmHWM), packages and
model included.

Run: ``OMP_NUM_THREADS=1 python examples/benchmarks/memory_of_files.py --minutes 10 30 60 240``
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from skdc.datasets import load_sample_mixture
from skdc.signal import resample

RATE = 44_100
RUN = """
import sys, time
from skdc.cli import main
code = main(sys.argv[1:])
print(open("/proc/self/status").read(), time.process_time())
sys.exit(code)
"""


class Figures(NamedTuple):
    """What a run took.

    Attributes
    ----------
    peak_mb : float
        Largest resident memory.
    wall_ms, process_ms : float
        For a second of audio: by the clock, and of the process, which other programs do not slow.
    """

    peak_mb: float
    wall_ms: float
    process_ms: float


def write_recording(path: Path, minutes: float) -> None:
    """Write people who talk all the time, block by block."""
    speech, _ = load_sample_mixture()
    left = 0.5 * resample(speech, 8000, RATE)
    # A little later and weaker in the other channel, as in a room.
    block = np.stack([left, 0.7 * np.roll(left, 20)], axis=1)
    n_left = int(minutes * 60 * RATE)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16", None, "RF64") as file:
        while n_left > 0:
            file.write(block[:n_left])
            n_left -= len(block)


def measure(minutes: float, folder: Path, model: str) -> Figures:
    """Separate a recording of so many minutes in a folder, which must have room for four of it."""
    path = folder / f"{minutes:g}.wav"
    write_recording(path, minutes)
    command = ["separate", str(path), "-o", str(folder / "out"), "--model", model, "--force"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command, "--device", "cpu"],
        capture_output=True,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - began
    for written in [path, *(folder / "out").iterdir()]:
        written.unlink()
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    if peak is None:
        raise RuntimeError("/proc/self/status does not tell VmHWM: this needs Linux")
    seconds, process = 60 * minutes, float(done.stdout.split()[-1])
    return Figures(int(peak[1]) / 1024, 1000 * wall / seconds, 1000 * process / seconds)


def main() -> None:
    """Print a line for each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 30, 60])
    parser.add_argument("--model", default="speech-8k", help="name or file of a model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for minutes in args.minutes:
            found = measure(minutes, Path(folder), args.model)
            print(
                f"{minutes:g} min: {found.peak_mb:.0f} MB, {found.wall_ms:.1f} ms a second of "
                f"audio, {found.process_ms:.1f} ms of the process",
                flush=True,
            )


if __name__ == "__main__":
    main()
