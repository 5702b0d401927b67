"""Recordings of any length: from file to files, part by part, as if they were in memory."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import make_separator
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from torch import Tensor

import skdc
from skdc import DeepClusteringSeparator
from skdc.audio import AudioRecording, read_audio, write_audio, write_source_blocks, write_sources
from skdc.exceptions import AudioWarning
from skdc.inputs import AudioFormat, LongRecording, check_mixtures
from skdc.separation.stretches import fade, join
from skdc.signal import TurnFinder, find_turns, resample, resampling_span
from skdc.signal.storage import Spool


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of two seconds are long."""
    for name, seconds in {"_LONGEST_WHOLE_S": 1.0, "STRETCH_S": 0.5, "OVERLAP_S": 0.1}.items():
        monkeypatch.setattr(f"skdc.separation.pipeline.{name}", seconds)


@pytest.fixture(scope="module")
def separator() -> DeepClusteringSeparator:
    sources = np.random.default_rng(0).standard_normal((3, 2, 900)).astype(np.float32)
    return make_separator().fit(sources.sum(axis=1), sources)


def common(n_channels: int, n_samples: int) -> NDArray[np.float64]:
    """Channels that have much in common."""
    return noise(1, n_samples) + 0.3 * noise(n_channels, n_samples, seed=1)


def noise(n_channels: int, n_samples: int, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.random(n_samples // 1000 + 1), 1000)[:n_samples]
    return 0.2 * envelope * rng.standard_normal((n_channels, n_samples))


# -- from file to files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "rate", "n_channels", "n_sources"),
    [
        (".wav", 44100, 2, 2),
        (".wav", 8000, 1, 3),
        (".flac", 16000, 1, "auto"),
        (".mp3", 44100, 2, 2),
        (".ogg", 6000, 3, 2),
    ],
)
def test_files_are_those_of_the_recording_in_memory(
    tmp_path: Path,
    separator: DeepClusteringSeparator,
    suffix: str,
    rate: int,
    n_channels: int,
    n_sources: Any,
) -> None:
    path = tmp_path / f"talk{suffix}"
    subtype = {".mp3": "MPEG_LAYER_III", ".ogg": "VORBIS"}.get(suffix, "PCM_16")
    # 24 % of the signal as a constant offset, which the sources share
    write_audio(path, common(n_channels, 2 * rate) + 0.03, rate, subtype=subtype)
    call: dict[str, Any] = {"n_sources": n_sources, "model": separator, "pair_sweeps": 1}
    whole = skdc.separate(path, **call)
    expected = whole.save(tmp_path / "whole")
    found = skdc.separate_file(path, tmp_path / "parts", **call)
    assert [p.name for p in found.paths] == [p.name for p in expected]
    for first, second in zip(found.paths, expected, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert (found.rate, found.n_samples) == (rate, whole.mixture.shape[-1])
    assert found.turns == whole.turns()
    rttm = found.save_rttm(tmp_path / "a.rttm").read_text()
    assert rttm == whole.save_rttm(tmp_path / "b.rttm").read_text()


def test_loud_sources_are_scaled_alike(tmp_path: Path, separator: DeepClusteringSeparator) -> None:
    path = tmp_path / "loud.wav"
    write_audio(path, 10 * noise(1, 16000), 8000, subtype="FLOAT")
    with pytest.warns(AudioWarning, match="sources have a peak of"):
        whole = skdc.separate(path, model=separator).save(tmp_path / "whole")
    with pytest.warns(AudioWarning, match="sources have a peak of"):
        found = skdc.separate_file(path, tmp_path / "parts", model=separator)
    for first, second in zip(found.paths, whole, strict=True):
        assert first.read_bytes() == second.read_bytes()
    # Turns do not count twice what was written twice.
    assert max(turn.stop_s for turn in found.turns) <= 2.0


def test_failures_are_named(tmp_path: Path, separator: DeepClusteringSeparator) -> None:
    with pytest.raises(FileNotFoundError, match="no audio file at"):
        skdc.separate_file(tmp_path / "gone.wav", tmp_path, model=separator)
    path = tmp_path / "talk.wav"
    write_audio(path, noise(1, 16000), 8000)
    with AudioRecording(path) as recording:
        path.rename(tmp_path / "elsewhere.wav")
        with pytest.raises(FileNotFoundError, match=r"no audio file at '.*talk\.wav'"):
            recording._rewind()  # as what lies before the last minute is read again
    (tmp_path / "elsewhere.wav").rename(path)
    with pytest.raises(ValueError, match="subtype='mp3'; give one of 'pcm16'"):
        skdc.separate_file(path, tmp_path, model=separator, subtype="mp3")  # type: ignore[arg-type]
    write_audio(path, np.full(16000, np.float32(0.5)), 8000, subtype="FLOAT")
    with soundfile.SoundFile(path, "r+") as file:
        file.seek(9000)
        file.write(np.full(1, np.nan, np.float32))
    with pytest.raises(ValueError, match="contains NaN"):
        skdc.separate_file(path, tmp_path, model=separator)
    assert [p.name for p in tmp_path.iterdir()] == ["talk.wav"]


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept_s", [0.0, 20.0])
def test_parts_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_s: float
) -> None:
    monkeypatch.setattr("skdc.audio.recording._KEPT_S", kept_s)
    monkeypatch.setattr("skdc.audio.io._BLOCK_SAMPLES", 1000)
    path = tmp_path / "a.mp3"
    write_audio(path, noise(2, 30_000), 16000, subtype="MPEG_LAYER_III")
    whole, _ = read_audio(path, mono=False)
    with AudioRecording(path) as recording:
        assert recording.shape == whole.shape
        for start, stop in [
            (0, 10),
            (5, 2500),
            (2500, 2500),
            (0, 30_000),
            (900, 901),
            (29_000, 0),
        ]:
            assert_array_equal(recording[..., start:stop], whole[..., start:stop])
        assert_array_equal(recording[..., 29_000:], whole[..., 29_000:])


def test_a_file_that_shrinks_meanwhile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, noise(1, 600_000), 8000)
    with AudioRecording(path) as recording:
        path.write_bytes(path.read_bytes()[:400_000])
        with pytest.raises(ValueError, match="it was changed while it was read"):
            recording.read(500_000, 600_000)


class InMemory(LongRecording):
    def __init__(self, samples: NDArray[np.float32]) -> None:
        self.samples, self.shape = samples, samples.shape

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        return self.samples[..., start:stop]


@pytest.mark.parametrize("rate", [8000, 44100, 6000, 11025])
def test_what_the_network_hears_is_that_of_the_whole(rate: int) -> None:
    samples = (noise(2, 3 * rate) + np.array([[0.5], [0.0]])).astype(np.float32)
    audio = AudioFormat(input_rate=rate)
    options: dict[str, Any] = {"keep_recordings": True}
    whole = check_mixtures([samples], audio, **options)
    parts = check_mixtures([InMemory(samples)], audio, **options)
    assert parts.peaks == whole.peaks
    assert_array_equal(parts.offsets[0], whole.offsets[0])
    (heard,), (expected,) = parts.tensors(), whole.tensors()
    assert len(heard) == len(expected)
    for start, stop in [(0, 100), (7001, 15_000), (23_000, 24_000), (0, 24_000)]:
        assert_array_equal(heard[start:stop], expected[start:stop])


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 900), st.data())
def test_any_span_resamples_as_in_the_whole(
    from_rate: int, to_rate: int, n_samples: int, data: st.DataObject
) -> None:
    whole = resample(np.random.default_rng(0).standard_normal(n_samples), from_rate, to_rate)
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start + 1, len(whole)))
    waveform = np.random.default_rng(0).standard_normal(n_samples)
    taken, kept = resampling_span(start, stop, n_samples, from_rate, to_rate)
    assert_array_equal(resample(waveform[taken], from_rate, to_rate)[kept], whole[start:stop])


# -- blocks ---------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=5))
def test_blocks_fade_as_a_loop_over_samples_says(shapes: list[tuple[int, int]]) -> None:
    # A piece: what it shares with the one before, what it has alone, what it shares with the next.
    rng = np.random.default_rng(0)
    pieces, start, overlap = [], 0, 0
    for alone, shared in shapes:
        pieces.append((start, overlap, rng.standard_normal((2, overlap + alone + shared))))
        start, overlap = start + overlap + alone, shared
    n_samples = start + overlap
    expected = np.zeros((2, n_samples))
    for first, covered, values in pieces:
        for t in range(values.shape[1]):
            rise = min(1.0, (t + 1) / (covered + 1))
            before = expected[:, first + t] * (1 - rise)
            expected[:, first + t] = before + rise * values[:, t]
    blocks = fade((a, b, torch.from_numpy(values.copy())) for a, b, values in pieces)
    found = join((block.clone() for block in blocks), n_samples)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("largest", [0, 2**20])
def test_spool_gives_arrays_as_often_as_wanted(
    monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    monkeypatch.setattr("skdc.signal.storage._LARGEST_IN_MEMORY", largest)
    arrays = [np.arange(6.0).reshape(2, 3), np.zeros((0, 4), np.float32), np.ones(1, np.int16)]
    spool = Spool()
    for array in arrays:
        spool.append(array[::1])
    for _ in range(2):
        for found, array in zip(spool, arrays, strict=True):
            assert_array_equal(found, array, strict=True)
    spool.append(np.full(3, 7.0))
    assert [len(array) for array in spool] == [2, 0, 1, 3]


@pytest.mark.parametrize("shape", [(2, 20_011), (3, 2, 9000)])
def test_turns_of_blocks_are_those_of_the_whole(shape: tuple[int, ...]) -> None:
    sources = noise(int(np.prod(shape[:-1])), shape[-1]).reshape(shape).astype(np.float32)
    sources *= np.repeat(np.random.default_rng(1).random(shape[-1] // 500 + 1) > 0.5, 500)[
        : shape[-1]
    ]
    finder = TurnFinder(len(sources), 8000)
    for block in np.split(sources, [1, 80, 81, 3000, 3333], axis=-1):
        finder.add(block)
    assert finder.turns() == find_turns(sources, 8000)


def test_files_beyond_the_count_of_wav_have_a_longer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skdc.audio.sources._LARGEST_WAV", 1000)
    mixture = noise(1, 5000)[0]
    write_sources(
        [tmp_path / "a.wav", tmp_path / "b.wav"], mixture * [[0.5], [0.5]], mixture, 8000
    )
    assert soundfile.info(tmp_path / "a.wav").format == "RF64"
    assert read_audio(tmp_path / "a.wav")[0].shape == (5000,)


def test_a_fault_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    paths = [tmp_path / "a-1.wav", tmp_path / "a-2.wav"]
    for path in paths:
        path.write_bytes(b"before")

    def blocks() -> Any:
        yield np.zeros(10), np.zeros((2, 10))
        raise OSError("the network drive has gone")

    with pytest.raises(OSError, match=r"^cannot write '[^']*a-2.wav': the network drive has gone"):
        write_source_blocks(paths, blocks, (20,), 8000)
    assert [path.read_bytes() for path in paths] == [b"before"] * 2
    assert len(list(tmp_path.iterdir())) == 2


# -- memory ---------------------------------------------------------------------------------------


def test_less_at_once_where_a_device_has_too_little_memory(
    separator: DeepClusteringSeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = torch.from_numpy(noise(1, 40_000)[0]).float()
    pipeline = separator.pipeline()
    expected = next(pipeline.separate([mixture], [2]))
    states: Callable[[Tensor], Tensor] = pipeline.network.states
    sizes: list[int] = []

    def short_of_memory(features: Tensor) -> Tensor:
        sizes.append(len(features))
        if len(features) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return states(features)

    monkeypatch.setattr(pipeline.network, "states", short_of_memory)
    with pytest.warns(AudioWarning, match="too little memory for .* stretches") as caught:
        found = next(pipeline.separate([mixture], [2]))
    assert "for 13 stretches of a recording at once: going on with 6" in str(caught[0].message)
    assert_array_equal(found, expected)
    assert sizes == [13, 6, 3, 3, 3, 3, 1]

    def out_of_memory(features: Tensor) -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    # Not even one fits: the device's own error says how much there is.
    monkeypatch.setattr(pipeline.network, "states", out_of_memory)
    with (
        pytest.warns(AudioWarning, match="too little memory"),
        pytest.raises(torch.cuda.OutOfMemoryError, match="CUDA out of memory"),
    ):
        next(pipeline.separate([mixture], [2]))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_memory_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples/benchmarks")
    measure = importlib.import_module("memory_of_files").measure
    short, long = (measure(minutes, tmp_path, "speech-2mix-8k-small") for minutes in (5, 10))
    # In memory, 5 minutes more would be 105 MB and their sources twice as much.
    assert long.peak_mb < short.peak_mb + 60
