"""``skdc stream``: raw audio in, the sources out as channels, whatever comes when."""

from __future__ import annotations

import io
import itertools
import os
import re
import runpy
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import error_of
from hypothesis import given, settings
from hypothesis import strategies as st

from skdc import DeepClusteringSeparator, StreamingSeparator
from skdc.audio import SampleDecoder
from skdc.cli import main

TIMES = ["--block=0.02", "--context=0.05", "--lookahead=0.03", "--warm-up=0.1"]


# Stands for Ctrl-C among the parts that come, when all before it were read.
CTRL_C = None
Run = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def run(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    def run_command(parts: Sequence[bytes | None], *options: str) -> tuple[int, bytes, str]:
        reading, writing = os.pipe()
        has_ended.clear()
        with io.TextIOWrapper(io.BytesIO()) as output, open(reading, "rb") as source:
            monkeypatch.setattr(sys, "stdin", source)
            monkeypatch.setattr(sys, "stdout", output)
            feeder = threading.Thread(target=feed, args=(reading, writing, parts))
            feeder.start()
            code = main(["stream", "--model", str(tiny), "--device=cpu", *options])
            has_ended.set()
            feeder.join()
            written = output.buffer
            assert isinstance(written, io.BytesIO)
            return code, written.getvalue(), capfd.readouterr().err

    def feed(reading: int, writing: int, parts: Sequence[bytes | None]) -> None:
        for part in parts:
            if part is CTRL_C:
                while select.select([reading], [], [], 0)[0]:
                    time.sleep(0.01)
                time.sleep(0.2)
                main_thread = threading.main_thread().ident
                assert main_thread is not None
                signal.pthread_kill(main_thread, signal.SIGINT)
                # The pipe stays open: its end is not what ends the command.
                has_ended.wait(timeout=60)
            else:
                os.write(writing, part)
                time.sleep(0.05)
        os.close(writing)

    has_ended = threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield run_command
    signal.signal(signal.SIGINT, before)
    monkeypatch.undo()


def test_channels_are_the_sources(run: Run, tiny: Path) -> None:
    rng = np.random.default_rng(1)
    mixture = (3000 * rng.standard_normal(6000)).astype("<i2")
    raw = mixture.tobytes()
    # A sample may come in two parts.
    code, output, messages = run([raw[:501], raw[501:3002], raw[3002:]], *TIMES)
    assert code == 0, messages
    assert "8000 Hz, 2 channels out" in messages
    found = np.frombuffer(output, "<i2").reshape(-1, 2).T
    durations: dict[str, Any] = {"block": 0.02, "context": 0.05, "lookahead": 0.03}
    separator = DeepClusteringSeparator.load(tiny, device="cpu")
    stream = StreamingSeparator(separator, warm_up=0.1, **durations)
    assert f"latency {stream.latency_ms:.0f} ms" in messages
    expected = np.concatenate([stream.push(mixture / 32768), stream.flush()], axis=1)
    np.testing.assert_allclose(found, 32768 * expected, atol=2)
    np.testing.assert_allclose(found.sum(axis=0), mixture, atol=2)


def test_three_channels_of_nothing(run: Run) -> None:
    code, output, messages = run([b""], "--n-sources=3")
    assert (code, output) == (0, b"")
    assert "3 channels out" in messages


def test_files_are_told_from_raw_samples(run: Run) -> None:
    code, output, messages = run([b"fLaC" + bytes(100)])
    assert (code, output) == (2, b"")
    assert "error: the standard input is an audio file; give a WAV file or raw" in messages


def encoded(file_format: str, subtype: str | None = None, seconds: float = 1.0) -> bytes:
    """A file of noise, without the tag that some begin with."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(8000 * seconds))
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format=file_format, subtype=subtype)
    return file.getvalue()


def aac(n_bytes: int, n_frames: int = 3) -> bytes:
    """Frames of AAC as they lie in no container, at 8 kHz."""
    header = bytes(
        [0xFF, 0xF1, 11 << 2, 0x40 | n_bytes >> 11, n_bytes >> 3 & 255, n_bytes << 5 & 224]
    )
    return (header + b"\xfc" + bytes(n_bytes - 7)) * n_frames


OTHER_FILES = {
    **{kind: encoded(kind) for kind in ("FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64")},
    "SPHERE": encoded("NIST"),
    "MP3 with a tag": b"ID3\3\0\0\0\0\0\0" + encoded("MP3"),
    "AAC": aac(371),
    "M4A": b"\0\0\0\x1cftypM4A " + bytes(100),
    "MP4": b"\0\0\0\x20ftypisom" + bytes(100),
    "WebM": b"\x1a\x45\xdf\xa3" + bytes(100),
    "AMR": b"#!AMR\n" + bytes(100),
    "WMA": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(100),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
@pytest.mark.parametrize("n_bytes", [1, 7, 10_000])
def test_files_of_every_kind_are_no_samples(kind: str, n_bytes: int) -> None:
    def push_all() -> None:
        for start in range(0, len(OTHER_FILES[kind]), n_bytes):
            assert not len(decoder.push(OTHER_FILES[kind][start : start + n_bytes]))

    decoder = SampleDecoder(8000)
    with pytest.raises(ValueError, match="the standard input is an audio file; give a WAV file"):
        push_all()


@pytest.mark.parametrize("kind", ["MP3", "AAC"])
def test_a_file_that_ends_within_its_first_frame_is_one(run: Run, kind: str) -> None:
    code, output, messages = run([OTHER_FILES[kind][:100]], *TIMES)
    assert (code, output) == (2, b"")
    assert "error: the standard input is an audio file" in messages


# What the samples of silence, of faint noise and of one loud value may begin with: as files do,
# but no second frame follows where the first one says.
LOOKALIKES = [
    *(b"", b"\0\0\0", b"\0\0\0\x1c", b"\xff\xff", b"\xff\xf3", b"\xff\xfb", b"\xff\xf1"),
    *(b"RIF", b"fLa", b"ri", b"riff\2\0", b"N", b"#!", b"\x1a\x45"),
    *(OTHER_FILES[kind][:8] for kind in ("MP3", "AAC")),
]
# Longer than any frame.
FILLINGS = [(part * 9000)[:9000] for part in (b"\0", b"\xff", b"\xff\xfb", b"\1\0\xff\xff")]


@pytest.mark.parametrize("first", LOOKALIKES)
@pytest.mark.parametrize("n_bytes", [3, 500, 10_000])
def test_samples_are_no_file(first: bytes, n_bytes: int) -> None:
    whole = [first + rest for rest in FILLINGS]
    # A header alone, at the end of all that comes, is taken for one.
    short = [first] * (len(first) < 7) + [bytes(size) for size in (1, 2, 4, 7, 8, 9)]
    for data in (*whole, *short):
        samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2") / 32768
        decoder = SampleDecoder(8000)
        parts = [decoder.push(data[i : i + n_bytes]) for i in range(0, len(data), n_bytes)]
        found = np.concatenate([*parts, decoder.finish()])
        np.testing.assert_array_equal(found, samples.astype(np.float32))


@pytest.mark.parametrize("n_bytes", [4, 11, 12, 20, 36, 43])
def test_a_wav_file_that_ends_within_its_header_is_said(run: Run, n_bytes: int) -> None:
    code, output, messages = run([encoded("WAV")[:n_bytes]], *TIMES)
    assert (code, output) == (2, b"")
    assert "error: the standard input is a WAV file that ends within its header" in messages


def test_a_wav_file_is_separated_as_its_samples_are(run: Run) -> None:
    samples = (3000 * np.random.default_rng(1).standard_normal(4000)).astype("<i2")
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="WAV", subtype="PCM_16")
    whole = file.getvalue()
    _, expected, _ = run([samples.tobytes()], *TIMES)
    code, output, messages = run([whole[:3], whole[3:50], whole[50:]], "-", *TIMES)
    assert code == 0, messages
    assert output == expected


SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]


@given(
    subtype=st.sampled_from(SUBTYPES),
    container=st.sampled_from(["WAV", "WAVEX"]),
    n_channels=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 900), max_size=5),
    is_endless=st.booleans(),
)
@settings(max_examples=60)
def test_wav_files_in_any_pieces_are_what_soundfile_reads(
    subtype: str, container: str, n_channels: int, cuts: list[int], is_endless: bool
) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (99, n_channels))
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format=container, subtype=subtype)
    data = bytearray(file.getvalue())
    expected, _ = soundfile.read(io.BytesIO(data), always_2d=True)
    if is_endless:  # as recorders write it who cannot go back to the header
        position = data.index(b"data")
        data[position + 4 : position + 8] = b"\xff\xff\xff\xff"
    else:
        data += b"LIST" + bytes(20)
        n_bytes = len(expected) * n_channels * (1 if subtype == "PCM_U8" else 2)
        cuts = [cut for cut in cuts if cut < n_bytes]
    decoder = SampleDecoder(8000)
    edges = [0, *sorted(cuts), len(data)]
    parts = [decoder.push(bytes(data[a:b])) for a, b in itertools.pairwise(edges)]
    found = np.concatenate(parts)[: len(expected)]
    np.testing.assert_allclose(found, expected.mean(axis=1), atol=1e-6)
    if not is_endless:
        assert sum(map(len, parts)) == len(expected)


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize(("size", "missing"), [(None, 0.5), (2**32 - 1, 0), (2**31, 0), (0, 0)])
def test_an_end_before_the_promised_one_is_said(
    run: Run, size: int | None, missing: float
) -> None:
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.ones((8000, 2)), 8000, format="WAV")
    data = bytearray(file.getvalue()[:-16_000])
    if size is not None:
        data[40:44] = size.to_bytes(4, "little")
    code, _, said = run([bytes(data)], *TIMES)
    assert code == 0
    ends = "warning: the standard input ended 0.50 s before the end that its header states"
    assert (ends in said) == bool(missing)


def test_wav_files_that_do_not_serve_are_refused() -> None:
    def written(rate: int, subtype: str) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, np.zeros(99), rate, format="WAV", subtype=subtype)
        return file.getvalue()

    with pytest.raises(ValueError, match="has 16000 Hz, but the model works at 8000; record"):
        SampleDecoder(8000).push(written(16_000, "PCM_16"))
    with pytest.raises(ValueError, match="1 channels, coding 7 and 8 bits; give PCM"):
        SampleDecoder(8000).push(written(8000, "ULAW"))
    with pytest.raises(ValueError, match="damaged WAV file: it has no format"):
        SampleDecoder(8000).push(b"RIFF" + bytes(4) + b"WAVEdata" + bytes(100))
    with pytest.raises(ValueError, match="damaged WAV file: it has no samples"):
        SampleDecoder(8000).push(b"RIFF" + bytes(100_000))
    with pytest.raises(ValueError, match="its format is cut off"):
        SampleDecoder(8000).push(b"RIFF" + bytes(4) + b"WAVEfmt " + bytes(100))


def test_the_microphone_writes_what_the_command_reads(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    samples = (3000 * np.random.default_rng(1).standard_normal(1600)).astype("<i2")
    blocks = iter(np.split(samples, 4))

    class Microphone:
        def __init__(self, **options: Any) -> None:
            assert (options["samplerate"], options["channels"]) == (8000, 1)
            assert options["dtype"] == "int16"

        def __enter__(self) -> Microphone:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, n_samples: int) -> tuple[bytes, bool]:
            block = next(blocks, None)
            if block is None:
                raise KeyboardInterrupt
            return block.tobytes(), False

    fake = SimpleNamespace(RawInputStream=Microphone)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    path = Path(__file__).parent.parent / "examples" / "pipes" / "microphone.py"
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    found = SampleDecoder(8000).push(capfdbinary.readouterr().out)
    np.testing.assert_array_equal(found, samples / np.float32(32768))


def test_durations_are_checked(run: Run) -> None:
    code, _, messages = run([b""], "--block=-1")
    assert code == 2
    assert "error: block=-1.0 must be a number of seconds" in messages


@pytest.mark.parametrize("stream", ["input", "output"])
def test_closed_streams_are_said(
    stream: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, {"input": "stdin", "output": "stdout"}[stream], None)
    assert f"the standard {stream} is closed; " in error_of(["stream"], capsys)


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize(("peak", "n_warnings"), [(16, 1), (0.5, 0)])
def test_clipping_is_said_once(run: Run, peak: float, n_warnings: int) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 4000)
    noise[100] = 1
    file = io.BytesIO()
    soundfile.write(file, peak * noise, 8000, format="WAV", subtype="FLOAT")
    whole = file.getvalue()
    parts = [whole[i : i + 1600] for i in range(0, len(whole), 1600)]
    code, output, messages = run(parts, *TIMES)
    assert code == 0
    found = re.findall("warning: sources have a peak of ([0-9.]+) so far, .*quietly", messages)
    assert len(found) == n_warnings
    assert all(1 < float(so_far) <= 1.5 * peak for so_far in found)
    levels = np.frombuffer(output, "<i2").astype(int)
    assert (np.abs(levels).max() >= 32767) == bool(n_warnings)


RAW = (3000 * np.random.default_rng(1).standard_normal(6000)).astype("<i2").tobytes()
HAS_SIGNALS = pytest.mark.skipif(
    sys.platform == "win32", reason="Ctrl-C interrupts no read of a pipe there"
)


@HAS_SIGNALS
@pytest.mark.parametrize("n_bytes", [600, 12_000])  # within the warm-up of 0.1 s, and after it
def test_ctrl_c_ends_the_input_and_loses_nothing(run: Run, n_bytes: int) -> None:
    _, expected, _ = run([RAW[:n_bytes]], *TIMES)
    code, output, messages = run([RAW[:n_bytes], CTRL_C, RAW], *TIMES)
    assert code == 130
    assert messages.endswith("skdc: interrupted\n")
    assert len(output) == 2 * n_bytes
    assert output == expected
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def interrupt_pushes(monkeypatch: pytest.MonkeyPatch, n_times: int) -> None:
    """Have Ctrl-C come within the first calls of `push`, when more input is there already."""

    def push_interrupted(stream: StreamingSeparator, samples: Any) -> Any:
        nonlocal n_times
        if n_times:
            n_times -= 1
            select.select([sys.stdin], [], [])
            signal.raise_signal(signal.SIGINT)
        return push(stream, samples)

    push = StreamingSeparator.push
    monkeypatch.setattr(StreamingSeparator, "push", push_interrupted)


@HAS_SIGNALS
@pytest.mark.parametrize(
    ("handler", "expected_code"), [(signal.default_int_handler, 130), (signal.SIG_IGN, 0)]
)
def test_ctrl_c_loses_neither_what_is_separated_nor_what_waits_in_the_pipe(
    run: Run, monkeypatch: pytest.MonkeyPatch, handler: Any, expected_code: int
) -> None:
    _, expected, _ = run([RAW], *TIMES)
    interrupt_pushes(monkeypatch, 1)
    signal.signal(signal.SIGINT, handler)
    code, output, _ = run([RAW[:8000], RAW[8000:]], *TIMES)
    assert (code, output) == (expected_code, expected)
    assert signal.getsignal(signal.SIGINT) is handler


@HAS_SIGNALS
def test_a_second_ctrl_c_ends_the_command_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_pushes(monkeypatch, 2)
    code, output, messages = run([RAW[:8000], RAW[8000:]], *TIMES)
    assert code == 130
    assert messages.endswith("skdc: interrupted\n")
    assert len(output) < 2 * len(RAW)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_runs_in_other_threads(run: Run) -> None:
    # Only the main thread may change what a signal does.
    with ThreadPoolExecutor(1) as executor:
        code, output, _ = executor.submit(run, [RAW], *TIMES).result()
    assert (code, len(output)) == (0, 2 * len(RAW))
