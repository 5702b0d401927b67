"""Commands killed at random moments: is anything lost, half-written or left over?

Kills ``skdc train``, ``separate``, ``evaluate`` and ``make`` as ``kill -9`` does, half of the
times within a write: the process may write so many bytes and no more to a file chosen at random,
and is killed in the call that would write the next one. The others are killed from outside at a
random moment. Then checks that what is there is whole, runs the same command again, and compares
with a run that nobody killed. The exit status is 1 if anything is wrong, a command hangs, or
there were fewer kills than asked for, or less than half of them within a write. Not for Windows.

Run: ``python examples/benchmarks/kills.py --kills 200``
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # optimisers load it late: once here, not in each process

from skdc import DeepClusteringSeparator
from skdc.cli import main as skdc
from skdc.datasets import write_audio
from skdc.model_file import read_tensors
from skdc.training.checkpoint import RunFile

Files = dict[str, bytes]
# Seconds that a command may take, which needs about one.
LONGEST = 60
# Files that grow line by line. The last line may be unfinished; the next run cuts that off.
GROWING = (".csv", ".jsonl")
FAULTS = ("half-written", "leftovers", "other results", "hangs")
OUT = Path("out")
TRAIN = "hidden_size=8 n_layers=1 embedding_dim=4 win_length=64 hop_length=16 segment_frames=20"
COMMANDS = {
    "train": [
        *("train", "--data", "corpus", "-o", "out/model.safetensors", "--device", "cpu"),
        *("--checkpoint", "out/run.safetensors", "--set", *TRAIN.split(), "max_epochs=4"),
    ],
    "separate": [
        *("separate", "in", "-o", "out", "--model", "model.safetensors", "--device", "cpu"),
        "--skip-existing",
    ],
    "evaluate": [
        *("evaluate", "--list", "list.csv", "--root", "corpus", "--csv", "out/scores.csv"),
        *("--model", "model.safetensors", "--device", "cpu"),
    ],
    "make": ["make", "wsj0-2mix", "--root", "corpus", "-o", "out", "--subset", "tr"],
}


def plant() -> None:
    """Make a corpus, its lists, recordings to separate and a model, in the working folder."""
    rng = np.random.default_rng(0)
    rows, lines, mixtures = ["split,speaker,path"], [], []
    for number, speaker in enumerate(("01a", "02b", "03c", "04d")):
        envelope = np.repeat(rng.random(40), 400)
        noise = 0.2 * envelope * rng.standard_normal(16000)
        write_audio(Path("corpus") / f"{speaker}.wav", noise, 16000)
        write_audio(Path("corpus/8k") / f"{speaker}.wav", noise[::2], 8000)
        write_audio(Path("in") / f"talk-{number}.wav", 0.1 * rng.standard_normal(9000), 16000)
        rows.append(f"train,{speaker},8k/{speaker}.wav")
    for number, (first, second) in enumerate([("01a", "02b"), ("03c", "04d"), ("01a", "03c")]):
        lines.append(f"{first}.wav {number} {second}.wav -{number}")
        mixtures.append(f"m{number},8000,8k/{first}.wav,1,8k/{second}.wav,0.5")
    Path("corpus/utterances.csv").write_text("\n".join(rows) + "\n")
    Path("corpus/mix_2_spk_tr.txt").write_text("\n".join(lines) + "\n")
    header = "mixture_id,n_samples,source_1,gain_1,source_2,gain_2"
    Path("list.csv").write_text("\n".join([header, *mixtures]) + "\n")


def make_model() -> None:
    """Train the model of the commands that need one."""
    sources = np.random.default_rng(1).standard_normal((3, 2, 640)).astype(np.float32)
    DeepClusteringSeparator(
        embedding_dim=4,
        hidden_size=8,
        n_layers=1,
        win_length=64,
        hop_length=16,
        segment_frames=20,
        batch_size=4,
        max_epochs=1,
        device="cpu",
        random_state=0,
    ).fit(sources.sum(axis=1), sources).save("model.safetensors")


def start(command: list[str], limit: tuple[int, int] | None = None) -> int:
    """Run a command in a forked process; give its id.

    With a limit ``(k, n_bytes)``, the process is killed when it writes more than so many bytes to
    a file after the start of its write number `k`; ``k = 0`` is the start of the process.
    """
    if process := os.fork():
        return process
    code = 70
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if limit is not None:
            limit_writes(*limit)
        code = skdc(command)
    finally:
        os._exit(code)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def kill_itself(_: int) -> None:
    """Kill this process, in the write that passes the limit."""
    os.kill(os.getpid(), signal.SIGKILL)


def limit_writes(k: int, n_bytes: int) -> None:
    """Let the process be killed in a write; see `start`."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    n_begun = 0
    # Not by Python's own handlers, which run when the write has returned.
    ctypes.CDLL(None).signal(signal.SIGXFSZ, kill_itself)

    def note(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal n_begun
        if event == "os.truncate":  # every write to a temporary file begins so
            n_begun += 1
            if n_begun == k:
                resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))

    if k == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    sys.addaudithook(note)


def wait_for(process: int) -> int | None:
    """Give the status of a process when it ends; None of one that hangs, which is killed."""
    began = time.monotonic()
    while time.monotonic() < began + LONGEST:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def files_of(folder: Path) -> Files:
    """Read all files below a folder, hidden ones too."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def hidden(files: Files) -> list[str]:
    """Give the names of unfinished files."""
    return [name for name in files if Path(name).name.startswith(".")]


def is_whole(name: str, content: bytes, expected: Files) -> bool:
    """Whether a file is what a run that nobody killed writes, or, as a table, begins like it."""
    if name not in expected:
        return False
    try:
        if name == "run.safetensors":  # the state of a run that is under way
            return bool(RunFile.read(OUT / name).network)
        if name == "model.safetensors":
            return same_weights(content, expected[name])
    except ValueError:
        return False
    if name.endswith(GROWING):
        return expected[name].startswith(content)
    return content == expected[name]


def same_weights(content: bytes, other: bytes) -> bool:
    """Compare model files, but not the seconds of training in them."""
    tensors = []
    for number, part in enumerate((content, other)):
        path = Path(f"compared-{number}.safetensors")
        path.write_bytes(part)
        tensors.append(read_tensors(path)[0])
    first, second = tensors
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def same_results(found: Files, expected: Files) -> bool:
    """Compare the files of two whole runs."""
    if found.keys() != expected.keys():
        return False
    return all(
        is_whole(name, content, expected)
        and (not name.endswith(GROWING) or content == expected[name])
        for name, content in found.items()
    )


def kill_once(
    name: str, inside: bool, seconds: float, expected: Files, rng: np.random.Generator
) -> Counter[str]:
    """Kill a command, look at what is there, run it again and compare."""
    shutil.rmtree(OUT, ignore_errors=True)
    command = COMMANDS[name]
    if inside:
        # Some are written line by line, each of the other files in one go.
        largest = max(len(content) for content in expected.values())
        k = 0 if name == "evaluate" else int(rng.integers(1, len(expected) + 1))
        n_bytes = int(rng.integers(largest // 2))
        how = f"by the byte {n_bytes} after the start of write {k}"
        status = wait_for(start(command, (k, n_bytes)))
    else:
        moment = rng.uniform(0, seconds)
        how = f"after {moment:.3f} s"
        process = start(command)
        time.sleep(moment)
        os.kill(process, signal.SIGKILL)
        status = wait_for(process)
    left = files_of(OUT)
    counts: Counter[str] = Counter()

    def note(fault: str, what: str) -> None:
        print(f"{name}, killed {how}: {what}", flush=True)
        counts[fault] += 1

    if status is None:
        note("hangs", "it hangs")
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        counts["kills"] += 1
        is_cut_short = any(x.endswith(GROWING) and not c.endswith(b"\n") for x, c in left.items())
        counts["within a write"] += bool(hidden(left)) or is_cut_short
    elif status == 0:
        counts["ended before the kill"] += 1
    else:
        note("other results", f"it ended with the status {status}")
    for file, content in left.items():
        if file not in hidden(left) and not is_whole(file, content, expected):
            note("half-written", f"{file} is half-written")
    status = wait_for(start(command))
    found = files_of(OUT)
    if hidden(found):
        note("leftovers", f"the rerun left {hidden(found)}")
    if status is None:
        note("hangs", "the rerun hangs")
    elif status or not same_results(found, expected):
        note("other results", f"the rerun ended with {status} and other results: {sorted(found)}")
    return counts


def kill_often(name: str, n_kills: int, rng: np.random.Generator) -> Counter[str]:
    """Kill a command so many times, at least half of them within a write."""
    shutil.rmtree(OUT, ignore_errors=True)
    began = time.monotonic()
    if wait_for(start(COMMANDS[name])) != 0:
        raise RuntimeError(f"skdc {name} fails, though nobody kills it")
    seconds = time.monotonic() - began
    expected = files_of(OUT)
    counts: Counter[str] = Counter()
    # Some end before they are killed.
    for _ in range(10 * n_kills):
        if n_kills <= counts["kills"] <= 2 * counts["within a write"]:
            break
        inside = 2 * counts["within a write"] <= counts["kills"]
        counts.update(kill_once(name, inside, seconds, expected, rng))
    print(f"{name}: {dict(counts)}", flush=True)
    return counts


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; give the number of faults; too few kills are one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of all commands together")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    args = parser.parse_args(arguments)
    total: Counter[str] = Counter()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            plant()
            if not (process := os.fork()):
                # The parent must not compute itself, or it could not be forked.
                try:
                    make_model()
                    os._exit(0)
                finally:
                    os._exit(1)
            if wait_for(process) != 0:
                raise RuntimeError("no model could be made")
            rng = np.random.default_rng(0)
            n_each = math.ceil(args.kills / len(args.commands))
            for name in args.commands:
                total.update(kill_often(name, n_each, rng))
        finally:
            os.chdir(before)
    print(
        f"{total['kills']} kills, {total['within a write']} of them within a write: "
        + ", ".join(f"{total[fault]} {fault}" for fault in FAULTS)
    )
    is_enough = args.kills <= total["kills"] <= 2 * total["within a write"]
    if not is_enough:
        print(f"too few: there must be {args.kills} kills, half of them within a write")
    return sum(total[fault] for fault in FAULTS) + (not is_enough)


if __name__ == "__main__":
    sys.exit(bool(main()))
