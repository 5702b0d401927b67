"""What surrounds the package may be as it likes: torch's default device, threads, forks, kills."""

from __future__ import annotations

import ast
import copy
import errno
import importlib
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator, weights
from numpy.testing import assert_array_equal

from skdc import DeepClusteringSeparator, StreamingSeparator, separate_array
from skdc.audio import write_audio
from skdc.model_file import read_tensors, write_tensors
from skdc.paths import atomic_path, check_free, hold_file

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "examples" / "benchmarks"
SOURCES = np.random.default_rng(0).standard_normal((4, 2, 640)).astype(np.float32)
MIXTURES = SOURCES.sum(axis=1)

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs fork or file locks")


# -- torch's default device and type --------------------------------------------------------------

# Functions of torch that make tensors on the default device where none is named.
FACTORIES = {
    *("arange", "as_tensor", "asarray", "empty", "eye", "full", "hann_window", "linspace"),
    *("logspace", "ones", "rand", "randint", "randn", "randperm", "scalar_tensor", "tensor"),
    *("tril_indices", "triu_indices", "zeros", "Generator"),
}
# Those that make numbers of the default type where none is named, whatever they are given.
OF_DEFAULT_TYPE = {"empty", "eye", "hann_window", "linspace", "ones", "rand", "randn", "zeros"}
# What calls share by ``**``
SHARED = {"device": {"_EXACT", "of_cpu"}, "dtype": {"_EXACT"}}
# Networks are built where the caller says, as any module of torch.
MAY_DEPEND = {"__init__"}


def factories_without(word: str, factories: set[str], path: Path) -> list[str]:
    """Give the calls of factories of tensors that do not name their device, or type."""
    found = []

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "torch"
            and node.func.attr in factories
            and not any(
                given.arg == word
                or (given.arg is None and ast.unparse(given.value) in SHARED[word])
                for given in node.keywords
            )
            and not (node.func.attr == "Generator" and node.args)
            and not (path.parent.name == "network" and function in MAY_DEPEND)
        ):
            found.append(f"{path.name}, line {node.lineno}: torch.{node.func.attr}")
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


@pytest.mark.parametrize(
    ("word", "factories"), [("device", FACTORIES), ("dtype", OF_DEFAULT_TYPE)]
)
def test_every_tensor_is_made_on_a_named_device_of_a_named_type(
    word: str, factories: set[str]
) -> None:
    found = [
        text
        for path in (ROOT / "skdc").rglob("*.py")
        for text in factories_without(word, factories, path)
    ]
    assert found == []


DEFAULT_DEVICE = """
import sys
import numpy as np, torch
sys.path[:0] = sys.argv[2:]
from conftest import make_separator
from skdc import DeepClusteringSeparator
from skdc.training import DynamicMixing
sources = np.random.default_rng(0).standard_normal((4, 2, 640)).astype(np.float32)
mixtures = sources.sum(axis=1)
def results():
    mixing = DynamicMixing(speeds=(0.9, 1.1), similar_share=0.5)
    for remix in (True, False, mixing):
        separator = make_separator(remix=remix)
        separator.fit(mixtures, sources, X_val=mixtures, y_val=sources)
        yield separator.predict(mixtures)
    yield separator.set_params(n_sources=None).predict_masks(mixtures)[0]
    separator.set_params(n_sources=2, mask="binary").partial_fit(mixtures, sources)
    yield np.float64(separator.score(mixtures, sources))
    separator.save(sys.argv[1])
    yield DeepClusteringSeparator.load(sys.argv[1], device="cpu").transform(mixtures)
expected = list(results())
torch.set_default_device("meta")
for one, other in zip(expected, results(), strict=True):
    np.testing.assert_array_equal(one, other)
"""


def test_the_default_device_of_torch_changes_nothing(tmp_path: Path) -> None:
    # "meta" stands in for a GPU: what is made there has no values, and shows.
    command = [sys.executable, "-c", DEFAULT_DEVICE, str(tmp_path / "model"), str(ROOT)]
    done = subprocess.run([*command, str(ROOT / "tests")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


DEFAULT_TYPE = """
import sys
import numpy as np, torch
sys.path[:0] = sys.argv[2:]
from conftest import make_separator
from skdc import DeepClusteringSeparator, StreamingSeparator, separate_array
from skdc.network.voice import VoiceHead
sources = np.random.default_rng(0).standard_normal((4, 2, 4000)).astype(np.float32)
mixtures = sources.sum(axis=1)
separator = make_separator().fit(mixtures, sources)
separator.network_.set_heads(voice=VoiceHead(separator.network_.config.n_bins, 8))
separator.save(sys.argv[1])
def results():
    separator = DeepClusteringSeparator.load(sys.argv[1], device="cpu")
    yield separator.transform(mixtures)
    for n_sources in (2, 3, None):
        yield separator.set_params(n_sources=n_sources).predict(mixtures)[0]
    yield separator.set_params(n_sources=2).predict(np.tile(mixtures[0], 80))
    yield separate_array(separator, mixtures[:2])
    yield np.float64(separator.score(mixtures, sources))
    stream = StreamingSeparator(separator, warm_up=0.1, wait=False)
    yield np.concatenate([stream.push(mixtures.ravel()), stream.flush()], axis=1)
expected = list(results())
torch.set_default_dtype(torch.float64)
for one, other in zip(expected, results(), strict=True):
    np.testing.assert_array_equal(one, other)
separator = make_separator().fit(mixtures, sources, X_val=mixtures, y_val=sources)
assert {x.dtype for x in separator.network_.state_dict().values()} == {torch.float32}
"""


def test_the_default_type_of_torch_changes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEFAULT_TYPE, str(tmp_path / "model"), str(ROOT)]
    done = subprocess.run([*command, str(ROOT / "tests")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- modes of torch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_the_modes_of_the_caller_change_nothing(mode: Any) -> None:
    def results(separator: DeepClusteringSeparator) -> Any:
        yield separator.transform(MIXTURES)
        yield separator.predict(MIXTURES)
        yield separator.predict(MIXTURES, n_sources=3)
        yield separate_array(separator, MIXTURES[:2])
        yield np.float64(separator.score(MIXTURES, SOURCES))
        stream = StreamingSeparator(separator, warm_up=0.02, block=0.02, context=0.05)
        yield np.concatenate([stream.push(MIXTURES.ravel()), stream.flush()], axis=1)

    sizes: dict[str, Any] = {"win_length": 256, "hop_length": 128, "precision": "float32"}
    plain = make_separator(**sizes).fit(MIXTURES, SOURCES)
    with mode():
        separator = make_separator(**sizes).fit(MIXTURES, SOURCES)
        assert_array_equal(weights(separator), weights(plain))
        for found, expected in zip(results(separator), results(plain), strict=True):
            assert_array_equal(found, expected)
    expected = [*results(plain)]
    with mode():
        for found, own in zip(results(separator), expected, strict=True):
            assert_array_equal(found, own)
    separator.partial_fit(MIXTURES, SOURCES)
    assert_array_equal(weights(separator), weights(plain.partial_fit(MIXTURES, SOURCES)))
    with mode():
        separator.fit_voices(list(SOURCES[:, 0]), list("abab"), n_examples=2)
    plain.fit_voices(list(SOURCES[:, 0]), list("abab"), n_examples=2)
    assert_array_equal(weights(separator), weights(plain))


# -- threads and forks ----------------------------------------------------------------------------


def test_threads_share_a_separator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    assert importlib.import_module("threads").count_failures(200, 6).total() == 0


@pytest.mark.parametrize("travel", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_separators_still_travel_after_use(travel: Any) -> None:
    separator = make_separator().fit(MIXTURES, SOURCES)
    expected = separator.predict(MIXTURES)
    assert_array_equal(travel(separator).predict(MIXTURES), expected)


@posix_only
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_processes_can_separate() -> None:
    separator = make_separator(hidden_size=64).fit(MIXTURES, SOURCES)
    long = np.tile(MIXTURES[0], 50)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        separator.predict(long)
        context: Any = multiprocessing.get_context("fork")
        child = context.Process(target=separator.predict, args=(long,))
        child.start()
        child.join(60)
        code = child.exitcode
        child.kill()
    finally:
        torch.set_num_threads(n_threads)
    assert code == 0


# -- writes that are cut short --------------------------------------------------------------------

KILLED = """
import os, signal, sys
from skdc.paths import atomic_path, check_free, hold_file
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half of the n")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@posix_only
def test_what_a_killed_program_has_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, cwd=ROOT)
    assert len(names(tmp_path)) == 2
    # As two programs leave it that were killed while they wrote to one target.
    (tmp_path / ".model.part1.safetensors").write_text("half of another")
    assert path.read_text() == "old"
    write_tensors(path, {"a": torch.ones(2)}, {})
    assert names(tmp_path) == [path.name]
    assert read_tensors(path)[0]["a"].tolist() == [1, 1]


@posix_only
def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_path(path) as first:
        first.write_text("first")
        with atomic_path(path) as second:
            second.write_text("second")
            assert first != second
        assert (path.read_text(), first.read_text()) == ("second", "first")
        with atomic_path(path) as third:
            third.write_text("third")
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


@posix_only
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_writers_do_not_meet_on_a_file_system_without_locks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    path, left = tmp_path / "a.txt", tmp_path / ".a.part0.txt"
    # What a killed program left may be that of one that is writing.
    left.write_text("of another program")
    with atomic_path(path) as first:
        first.write_text("first")
        with atomic_path(path) as second:
            second.write_text("second")
            assert first != second
        assert (path.read_text(), first.read_text()) == ("second", "first")
    assert path.read_text() == "first"
    assert left.read_text() == "of another program"
    assert names(tmp_path) == sorted([left.name, "a.txt"])


HOLDING = """
import os, signal, sys
from skdc.paths import hold_file
with hold_file(sys.argv[1], "text"):
    print("held", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@posix_only
def test_a_file_is_held_by_one_program_and_free_after_its_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    check_free(path, "text")
    assert not path.parent.exists()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    message = r"another program is writing to '.*a\.txt', the text; wait until it has ended, or gi"
    # Replacing it does not free it.
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    with pytest.raises(BlockingIOError, match=message), hold_file(path, "text"):
        pass
    with pytest.raises(BlockingIOError, match=message):
        check_free(path, "text")
    with hold_file(path.with_name("b.txt"), "text"):
        pass
    other.communicate("\n")
    # It was killed, and what it has left goes with the next who holds the path.
    assert len(names(path.parent)) == 2
    check_free(path, "text")
    with hold_file(path, "text"), pytest.raises(BlockingIOError, match=message):
        check_free(path, "text")
    assert names(path.parent) == ["a.txt"]
    assert names(tmp_path) == ["new"]


def test_files_with_long_names_are_held_apart(tmp_path: Path) -> None:
    paths = [tmp_path / f"{'a' * 120}-seed={seed}.st" for seed in range(2)]
    with hold_file(paths[0], "text"):
        check_free(paths[1], "text")
        with hold_file(paths[1], "text"):
            assert len(names(tmp_path)) == 2
    assert names(tmp_path) == []


def test_where_nothing_can_be_made_nobody_is_kept_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with hold_file(tmp_path / "file" / "a.txt", "text"):
        check_free(tmp_path / "file" / "a.txt", "text")


def test_names_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 245 + ".txt")
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


@posix_only
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_text("old")
    full = os.statvfs_result((4096, 4096, 10, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda folder: full)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError  # as soundfile does where not all samples were written

    monkeypatch.setattr("soundfile.write", fail)
    message = rf"cannot write '{path}'.*the disk of the folder '{tmp_path}' is full"
    with pytest.raises(OSError, match=message):
        write_audio(path, np.zeros(100), 8000)
    assert names(tmp_path) == ["a.wav"]
    assert path.read_text() == "old"


def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*args: Any) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    message = rf"cannot write '.*model': Read-only file system; the folder '{tmp_path}' cannot"
    with pytest.raises(OSError, match=message) as e:
        write_tensors(tmp_path / "model", {}, {})
    assert e.value.errno == errno.EROFS
    assert names(tmp_path) == []


@posix_only
def test_killed_commands_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # In a process of its own: one that has computed cannot be forked into others with threads.
    command = [sys.executable, str(BENCHMARKS / "kills.py"), "--kills", "4", "--commands"]
    done = subprocess.run(
        [*command, "separate", "make"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 half-written, 0 leftovers, 0 other results" in done.stdout
