"""Broken and hostile model files: how many are refused, and whether any is taken for sound.

Crafts some hundred files, and mutates the others, from a tiny model and from a given one; loads
each, and compares what loads with the sound model, bit for bit. Prints the errors, the longest
time and the memory that a file took (on Linux, which tells it), and what was executed and hung, as
`audio_files.py` does. A file that takes a second of the processor or 300 MB misbehaves, too.

Run: ``python examples/benchmarks/model_files.py --n 10000 --model speech-2mix-8k-small``
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from audio_files import PICKLE, try_all, try_files

from skdc import DeepClusteringSeparator, load_pretrained

Header = dict[str, Any]
MOST_SECONDS = 1.0
NAN, HUGE = float("nan"), 10**9


def make_tiny(path: Path) -> None:
    """Train a model of some kilobytes."""
    sources = np.random.default_rng(0).standard_normal((3, 2, 640)).astype(np.float32)
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
        precision="float32",
        random_state=0,
    ).fit(sources.sum(axis=1), sources).save(path)


def unpack(content: bytes) -> tuple[Header, Header, bytes]:
    """Give the entries of the tensors, what skdc states, and the numbers."""
    end = 8 + int.from_bytes(content[:8], "little")
    entries = json.loads(content[8:end])
    return entries, json.loads(entries.pop("__metadata__")["skdc"]), content[end:]


def pack(entries: Header, stated: Header | str, data: bytes) -> bytes:
    """Make a file without a digest, so that only its values can tell that it is unsound."""
    text = stated if isinstance(stated, str) else json.dumps(stated)
    return framed(json.dumps({"__metadata__": {"skdc": text}, **entries}), data)


def framed(text: str, data: bytes) -> bytes:
    """Make a file of the text of its header and of its numbers."""
    header = text.encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def many_tensors(stated: Header, number: int) -> bytes:
    """Make a file of so many empty tensors; `json` would take seconds."""
    first = json.dumps({"__metadata__": {"skdc": json.dumps(stated)}})
    entry = '{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}'
    more = (f', "t{i}": {entry}' for i in range(number))
    return framed(first[:-1] + "".join(more) + "}", b"")


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file at random."""
    changed = bytearray(content)
    place = int(rng.integers(len(changed)))
    kind = rng.integers(7)
    if kind == 0:
        return bytes(changed[:place])
    if kind == 1:
        return content + rng.bytes(int(rng.integers(1, 1000)))
    if kind == 2:
        return content[:place] + content[place + int(rng.integers(1, 100)) :]
    if kind == 3:
        changed[place : place + 64] = bytes(len(changed[place : place + 64]))
    elif kind == 4:  # in the header, where it is small beside the weights
        changed[int(rng.integers(min(len(changed), 6000)))] ^= 1 << int(rng.integers(8))
    else:
        for _ in range(int(rng.integers(1, 9))):
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def crafted(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Give files that each state one thing that cannot be."""
    entries, stated, data = unpack(content)

    def with_parameter(name: str, value: Any) -> bytes:
        return pack(entries, stated | {"parameters": stated["parameters"] | {name: value}}, data)

    def with_network(name: str, value: Any) -> bytes:
        return pack(entries, stated | {"network": stated["network"] | {name: value}}, data)

    odd: list[object] = ["x", "no", None, [], {}, -1, 0, 0.5, HUGE, -HUGE, 10**30, NAN]
    odd += [True, [[1]], {"name": 1}]
    sizes = ("n_bins", "embedding_dim", "hidden_size", "n_layers", "n_masks")
    for name in sizes:
        for value in odd:
            if name != "n_masks" or (value != 0 and value is not False):
                yield f"network {name}", with_network(name, value)
    for value in [*odd, {"name": "no"}, {"name": "blstm", "dropout": "x"}]:
        yield "network trunk", with_network("trunk", value)
        yield "network bidirectional", with_network("bidirectional", 2 if value is True else value)
    for value in ({"dropout": 2.0}, {"residual": "no"}, {"dropout": None}, {"layers": 3}):
        yield "network trunk", with_network("trunk", {"name": "blstm", **value})
    for name in ("n_sources", "win_length", "hop_length", "batch_size", "sample_rate"):
        for value in ("x", [], -1, 0, 0.5, 10**30, NAN, True):
            if (name, value) != ("batch_size", 10**30):
                yield f"parameter {name}", with_parameter(name, value)
    for name in ("mask", "output", "clusterer", "precision", "objective", "trunk", "remix"):
        for value in ("x", [], -1, 0.5, {"name": "x"}, "(" * 5000, "-" * 3000, "a+" * 3000):
            yield f"parameter {name}", with_parameter(name, value)
        for code in ("eval('1')", "balanced_affinity(a=eval('1'))", "__import__('this')"):
            yield f"code as {name}", with_parameter(name, code)
    for name in ("unknown", "trunk__x", "objective__x", "checkpoint", "device", "a.b", ""):
        yield "unknown parameter", with_parameter(name, "x")
    yield "activity", with_parameter("activity_threshold_db", NAN)
    yield "n_sources", with_parameter("n_sources", HUGE)
    yield "framing", with_parameter("win_length", stated["parameters"]["win_length"] + 2)
    for value in ("7", None, -1, 2**32, 2**200, 0.5, True, [], NAN):
        yield "seed", pack(entries, stated | {"seed": value}, data)
    for key in ("kind", "format", "parameters", "network", "history"):
        for value in (None, "x", 7, [1], {"a": 1} if key != "parameters" else {"n_sources": "x"}):
            yield key, pack(entries, stated | {key: value}, data)
        yield f"no {key}", pack(entries, {k: v for k, v in stated.items() if k != key}, data)
    yield "no JSON", pack(entries, "{", data)
    yield "no object", pack(entries, "[1]", data)
    yield "nested", pack(entries, "[" * 100_000 + "]" * 100_000, data)
    yield "nested object", pack(entries, '{"a":' * 50_000 + "1" + "}" * 50_000, data)
    yield "long number", pack(entries, '{"seed": ' + "9" * 10_000 + "}", data)
    yield "wide JSON", pack(entries, "[" + "[]," * 1_500_000 + "[]]", data)
    yield "a million tensors", many_tensors(stated, 10**6)
    yield "many tensors", many_tensors(stated, 50_000)
    yield "header of 2**60 bytes", (2**60).to_bytes(8, "little") + content[8:]
    yield "empty", b""
    yield "a pickle", PICKLE
    yield "a pickle as header", len(PICKLE).to_bytes(8, "little") + PICKLE
    yield "a pickle as statement", pack(entries, PICKLE.decode(), data)
    for name, entry in entries.items():
        start, stop = entry["data_offsets"]
        for dtype, value in (("F32", NAN), ("F32", np.inf), ("F16", NAN), ("F64", 1e300)):
            kind = np.dtype(
                dtype.lower()
                .replace("f", "f"[0])
                .replace("32", "4")
                .replace("16", "2")
                .replace("64", "8")
            )
            numbers = np.ones(int(np.prod(entry["shape"])), kind)
            numbers[len(numbers) // 2] = value
            yield f"{value} in a tensor", replaced(entries, stated, data, name, dtype, numbers)
        whole = np.ones(int(np.prod(entry["shape"])), np.int32)
        yield "whole numbers", replaced(entries, stated, data, name, "I32", whole)
        claimed = entries | {name: entry | {"shape": [2**40]}}
        yield "claimed size", pack(claimed, stated, data)
        claimed = entries | {name: entry | {"data_offsets": [start, stop + 2**40]}}
        yield "claimed place", pack(claimed, stated, data)
        lost = {k: v for k, v in entries.items() if k != name}
        yield "lost tensor", pack(lost, stated, data)
    size = entries["input_scale"]["shape"][0]
    for value in (0.0, -1.0):
        scale = np.ones(size, np.float32)
        scale[0] = value
        changed = replaced(entries, stated, data, "input_scale", "F32", scale)
        yield "scale", changed


def replaced(
    entries: Header, stated: Header, data: bytes, name: str, dtype: str, numbers: np.ndarray
) -> bytes:
    """Give a file with another tensor in place of one."""
    parts, laid = {}, {}
    for key, entry in entries.items():
        start, stop = entry["data_offsets"]
        parts[key] = numbers.tobytes() if key == name else data[start:stop]
    place = 0
    for key, part in parts.items():
        kind = dtype if key == name else entries[key]["dtype"]
        span = [place, place + len(part)]
        laid[key] = {"dtype": kind, "shape": entries[key]["shape"], "data_offsets": span}
        place += len(part)
    return pack(laid, stated, b"".join(parts.values()))


def sparse_file(path: Path, content: bytes) -> None:
    """Write a file that states, and on the disk seems to have, a tensor of a terabyte."""
    entries, stated, data = unpack(content)
    size = 2**40
    entries["more"] = {
        "dtype": "U8",
        "shape": [size],
        "data_offsets": [len(data), len(data) + size],
    }
    with path.open("wb") as file:
        file.write(pack(entries, stated, data))
        file.truncate(file.tell() + size)


def all_files(content: bytes, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write one file after the other, crafted ones and then mutated ones; give what and where."""
    path = folder / "model.safetensors"
    for what, made in crafted(content):
        path.write_bytes(made)
        yield what, path
    path.unlink()
    sparse_file(path, content)
    yield "sparse file of a terabyte", path
    for odd in (folder / ("x" * 5000), folder / "a\0b", folder, folder / "absent"):
        yield f"path {str(odd)[-20:]!r}", odd
    rng = np.random.default_rng(0)
    while True:
        path.write_bytes(mutated(content, rng))
        yield "mutation", path


def check(content: bytes, n_files: int, folder: Path) -> int:
    """Load mutated and crafted files; give how many misbehaved."""
    mixture = np.random.default_rng(1).standard_normal(4000).astype(np.float32)

    def load(path: Path) -> DeepClusteringSeparator:
        return DeepClusteringSeparator.load(path, device="cpu")

    def work(n_done: int, answers: Connection) -> None:
        warnings.simplefilter("ignore")
        # Also loads what is loaded late, before it is watched.
        sound = folder / "sound.safetensors"
        sound.write_bytes(content)
        expected = load(sound).predict(mixture).tobytes()

        def judge(what: str, model: DeepClusteringSeparator) -> str:
            if not what.startswith("mutation"):
                return "MISBEHAVED: loaded what cannot be"
            if model.predict(mixture).tobytes() != expected:
                return "MISBEHAVED: loaded with other output"
            return "loaded, output to the bit as before"

        files = islice(all_files(content, folder), n_done, n_files)
        try_files(files, load, judge, answers)

    return try_all(work, n_files, MOST_SECONDS)


def in_a_process(make: Callable[..., None], *arguments: Any) -> None:
    """Compute in a process of its own: one that has computed cannot be forked into others."""
    process = multiprocessing.get_context("fork").Process(target=make, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError("a model could not be made")


def save_again(name: str, path: Path) -> None:
    """Save a given model again: a file of an early version has no digest."""
    load = DeepClusteringSeparator.load if Path(name).is_file() else load_pretrained
    load(name, device="cpu").save(path, weights="float16")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; give the number of files that misbehaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--n", type=int, default=10_000, help="files of each model, crafted ones among them"
    )
    parser.add_argument("--model", help="a bundled model or a model file, besides the tiny one")
    args = parser.parse_args(arguments)
    wrong = 0
    with tempfile.TemporaryDirectory() as text:
        path = Path(text) / "made.safetensors"
        in_a_process(make_tiny, path)
        models = {"tiny": path.read_bytes()}
        if args.model is not None:
            in_a_process(save_again, args.model, path)
            models[args.model] = path.read_bytes()
        for name, content in models.items():
            print(f"{name}:")
            wrong += check(content, args.n, Path(text))
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))
