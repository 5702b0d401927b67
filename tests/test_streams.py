"""Recordings whose container does not tell their length are read whole, or refused by name."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal

from skdc.audio import AudioFiles, read_audio
from skdc.audio.io import read_header
from skdc.exceptions import AudioWarning

RATE = 16000
NOISE = np.random.default_rng(0).standard_normal(3 * RATE).clip(-3, 3) / 4
NOISE[RATE // 2 :] *= 0.01  # loud first, soft then: frames of other sizes


def encoded(file_format: str, subtype: str, n_channels: int = 1, **how: Any) -> bytes:
    file = io.BytesIO()
    samples = np.repeat(NOISE[:, np.newaxis], n_channels, axis=1)
    soundfile.write(file, samples, RATE, format=file_format, subtype=subtype, **how)
    return file.getvalue()


def mp3(n_channels: int = 1, mode: str = "VARIABLE") -> bytes:
    how = {"bitrate_mode": mode, "compression_level": 0.0}
    return encoded("MP3", "MPEG_LAYER_III", n_channels, **how)


def without_tag(data: bytes) -> bytes:
    """Cut off the first frame, whose tag states the length."""
    return data[data.index(data[:2], 4) :]


def read(path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    waveform, rate = read_audio(path)
    assert read_header(path)[1:] == (len(waveform), rate)
    assert AudioFiles([path]).headers()[0].shape == waveform.shape
    return waveform


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_mp3_files_of_any_kind_are_read_whole(tmp_path: Path, mode: str, n_channels: int) -> None:
    data, path = mp3(n_channels, mode), tmp_path / "talk.mp3"
    whole = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
    assert_array_equal(read(path, data), np.ascontiguousarray(whole.T).mean(axis=0))
    n_samples = len(whole)
    assert abs(len(read(path, without_tag(data))) - n_samples) < 0.05 * n_samples
    # The padding of each part is audio here.
    assert abs(len(read(path, data + data)) - 2 * n_samples) < 0.06 * n_samples
    cut = data[: len(data) // 2 + len(data) // 4]
    with pytest.warns(AudioWarning, match="is not whole"):
        assert abs(len(read(path, cut)) / n_samples - 0.75) < 0.15
    pictures = b"ID3\x03\x00\x00\x00\x00\x07\x68" + b"\xff\xfb" * 500
    assert abs(len(read(path, pictures + without_tag(data))) - n_samples) < 0.05 * n_samples


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_joined_ogg_files_are_read_whole(tmp_path: Path, subtype: str) -> None:
    data = encoded("OGG", subtype)
    once = read(tmp_path / "talk.ogg", data)
    twice = read(tmp_path / "talk.ogg", data + data)
    assert_array_equal(twice, np.concatenate([once, once]))


def test_joined_files_of_several_rates_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, NOISE, 2 * RATE, format="OGG", subtype="VORBIS")
    (tmp_path / "talk.ogg").write_bytes(encoded("OGG", "VORBIS") + file.getvalue())
    with pytest.raises(ValueError, match=r"joined from recordings of several formats.*16000"):
        read_audio(tmp_path / "talk.ogg")


def test_flac_without_a_length(tmp_path: Path) -> None:
    data = bytearray(encoded("FLAC", "PCM_16"))
    whole = read(tmp_path / "talk.flac", bytes(data))
    data[21] &= 0xF0  # the number of samples has 36 bits
    data[22:26] = bytes(4)
    assert_array_equal(read(tmp_path / "talk.flac", bytes(data)), whole)


@pytest.mark.parametrize("size", [2**32 - 1, 2**31 - 1])
def test_wav_from_a_pipe(tmp_path: Path, size: int) -> None:
    data = bytearray(encoded("WAV", "PCM_16"))
    whole = read(tmp_path / "talk.wav", bytes(data))
    data[40:44] = size.to_bytes(4, "little")
    assert_array_equal(read(tmp_path / "talk.wav", bytes(data)), whole)


def test_wav_that_its_recorder_did_not_finish(tmp_path: Path) -> None:
    data = bytearray(encoded("WAV", "PCM_16"))
    data[40:44] = bytes(4)
    (tmp_path / "talk.wav").write_bytes(data)
    with pytest.raises(ValueError, match="says that there is no audio, but the file has 96044"):
        read_audio(tmp_path / "talk.wav")


def test_names_that_are_too_long(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no audio file at"):
        read_audio(tmp_path / ("x" * 5000))


def test_hostile_files_are_read_or_refused_by_name() -> None:
    # In a process of its own, which forks others: one that has computed cannot be forked.
    benchmarks = Path(__file__).parent.parent / "examples" / "benchmarks"
    done = subprocess.run(
        [sys.executable, str(benchmarks / "audio_files.py"), "--n", "120"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(benchmarks.parent.parent), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "120 files" in done.stdout
    assert "0 misbehaved" in done.stdout


def test_many_channels_take_no_more_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((10, 1000)), 8000)
    tracemalloc.start()
    try:
        waveform, _ = read_audio(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert waveform.shape == (10,)
    assert peak < 10e6  # bytes; blocks of a fixed number of frames would be a gigabyte
