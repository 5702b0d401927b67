"""Audio files that were cut or damaged: what is left is read, and it is said what they are."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal

import skdc
from skdc.audio import AudioFiles, AudioRecording, read_audio, read_header
from skdc.audio.headers import states_no_size
from skdc.cli import main
from skdc.exceptions import AudioWarning

RATE = 16000
NOISE = np.random.default_rng(0).standard_normal((3 * RATE, 2)).clip(-3, 3) / 8

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")

# Format, subtype, and whether the header promises a length.
KINDS = [
    ("WAV", "PCM_16", True),
    ("WAV", "PCM_U8", True),
    ("WAV", "IMA_ADPCM", True),
    ("WAVEX", "FLOAT", True),
    ("RF64", "PCM_24", True),
    ("W64", "PCM_16", True),
    ("AIFF", "PCM_16", True),
    ("AU", "ULAW", True),
    ("CAF", "PCM_16", True),
    ("NIST", "PCM_16", True),
    ("FLAC", "PCM_16", True),
    ("MP3", "MPEG_LAYER_III", True),
    ("OGG", "VORBIS", False),
    ("OGG", "OPUS", False),
]
# Those that cannot be moved in, and hold one channel.
IN_ORDER = [
    ("WAV", "GSM610"),
    ("WAV", "G721_32"),
    ("WAV", "NMS_ADPCM_16"),
    ("W64", "GSM610"),
    ("AIFF", "GSM610"),
    ("AU", "G723_24"),
]


def encoded(kind: str, subtype: str, samples: Any = NOISE, **how: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=kind, subtype=subtype, **how)
    return file.getvalue()


def heard(path: Path) -> tuple[Any, list[str]]:
    """Read a file, which must be read as its header is, and give what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        waveform, rate = read_audio(path, mono=False)
    said = [str(warning.message) for warning in caught]
    assert {warning.category for warning in caught} <= {AudioWarning}
    assert read_header(path) == (*waveform.shape, rate)
    assert AudioFiles([path], mono=False).headers()[0].shape == waveform.shape
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with AudioRecording(path) as recording:
            assert recording.shape[-1] == waveform.shape[1]
            assert_array_equal(np.atleast_2d(recording[..., :]), waveform)
            assert len(recording.notes) == len(said)
    assert [str(warning.message) for warning in caught] == said
    return waveform, said


@pytest.mark.parametrize(("kind", "subtype", "promises"), KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
def test_what_is_there_is_read_and_what_is_missing_is_said(
    tmp_path: Path, kind: str, subtype: str, promises: bool, share: float
) -> None:
    data, path = encoded(kind, subtype), tmp_path / "talk.audio"
    path.write_bytes(data)
    whole, said = heard(path)
    assert said == []
    path.write_bytes(data[: int(share * len(data))])
    if kind == "CAF" or (kind == "OGG" and share < 0.2):  # libsndfile refuses these
        with pytest.raises(ValueError, match=r"cannot read '.*talk\.audio' as audio"):
            read_audio(path)
        return
    part, (message,) = heard(path)
    n_samples = part.shape[1]
    assert abs(n_samples / whole.shape[1] - share) < (0.3 if kind == "OGG" else 0.15)
    there = f"{n_samples / RATE:.2f} s"
    assert message.startswith(f"{str(path)!r} is not whole: ")
    if promises:
        promised = float(re.findall(r"promises (.*) s of sound, and ", message)[0])
        # The padding of MP3 is promised, too, and ADPCM comes in blocks of 64 ms.
        is_padded = kind == "MP3" or subtype == "IMA_ADPCM"
        assert promised == pytest.approx(3, abs=0.3 if is_padded else 0.006)
        assert message.endswith(f"and {there} are there")
    else:
        assert message.endswith(f"it ends in the middle, and {there} of sound are there")
    if kind not in ("OGG", "MP3"):  # whose decoders begin and end softly
        # ADPCM decodes noise where a part of the last block is missing.
        n_same = n_samples - (1024 if subtype == "IMA_ADPCM" else 0)
        assert_allclose(part[:, :n_same], whole[:, :n_same], atol=1e-6)


@pytest.mark.parametrize(("kind", "subtype"), IN_ORDER)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_files_that_are_read_in_order(
    tmp_path: Path, kind: str, subtype: str, share: float
) -> None:
    data, path = encoded(kind, subtype, NOISE[:, 0]), tmp_path / "talk.audio"
    path.write_bytes(data[: int(share * len(data))])
    part, (message,) = heard(path)
    assert part.shape[1] == pytest.approx(share * 3 * RATE, abs=0.06 * RATE)
    promised = float(re.findall(r"promises (.*) s of sound, and ", message)[0])
    assert promised == pytest.approx(3, abs=0.3)


def wav(size: int, tail: bytes = b"") -> bytes:
    data = bytearray(encoded("WAV", "PCM_16"))
    data[40:44] = struct.pack("<I", size)
    return bytes(data) + tail


@pytest.mark.parametrize(
    "size",
    [2**32 - 1, 2**32 - 37, 2**31 - 1, 2**31, 2**31 + 36, 0x7FFFF000, 0x7FFF0000],
)
def test_headers_of_streams_promise_nothing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(size))
    waveform, said = heard(path)
    assert (waveform.shape, said) == ((2, 3 * RATE), [])
    assert states_no_size(size)
    assert states_no_size(0)


def test_large_promises_that_are_meant_are_taken_so(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(3_000_000_000))
    _, (message,) = heard(path)
    assert "promises 46875.00 s of sound, and 3.00 s are there" in message


def test_headers_that_count_themselves_are_no_matter(tmp_path: Path) -> None:
    path, n_bytes = tmp_path / "talk.wav", NOISE.size * 2
    for size in (n_bytes, n_bytes + 44, n_bytes + 8):
        path.write_bytes(wav(size))
        assert heard(path)[1] == []
    # What follows the sound is no sound.
    path.write_bytes(wav(n_bytes, b"LIST" + struct.pack("<I", 1000)))
    assert heard(path)[1] == []


def unfinished(kind: str, n_samples: int) -> bytes:
    """Give a file whose header is as it was before anything was recorded."""
    data = encoded(kind, "PCM_16", NOISE[:n_samples])
    header = encoded(kind, "PCM_16", NOISE[:0])
    return header + data[len(header) :]


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "AIFF", "AU", "CAF"])
@pytest.mark.parametrize("n_samples", [1, 100, 3 * RATE])
def test_headers_that_were_not_finished(tmp_path: Path, kind: str, n_samples: int) -> None:
    path = tmp_path / "talk.audio"
    path.write_bytes(unfinished(kind, n_samples))
    for read in (read_audio, read_header, AudioRecording):
        with pytest.raises(ValueError, match="its recorder did not finish it; repair it"):
            read(path)
    path.write_bytes(unfinished(kind, 0))
    assert heard(path)[0].shape == (2, 0)


def test_silence_behind_a_header_that_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(unfinished("WAV", 0) + bytes(8000))
    with pytest.raises(ValueError, match="the file has 8044 bytes: its recorder did not finish"):
        read_audio(path)


def test_empty_files_with_texts(tmp_path: Path) -> None:
    data, path = encoded("WAV", "PCM_16", NOISE[:0]), tmp_path / "talk.wav"
    for n_bytes in (1, 100, 100_000):
        text = b"LIST" + struct.pack("<I", n_bytes) + bytes(n_bytes)
        padding = bytes(n_bytes % 2)
        for empty in (data + text, data + text + padding, data[:12] + text + padding + data[12:]):
            path.write_bytes(empty)
            waveform, said = heard(path)
            assert (waveform.shape, said) == ((2, 0), [])


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU"])
def test_files_that_end_with_their_header(tmp_path: Path, kind: str) -> None:
    data, path = encoded(kind, "PCM_16"), tmp_path / "talk.wav"
    for n_left in (0, 1):
        path.write_bytes(data[: len(data) - NOISE.size * 2 + n_left])
        waveform, (message,) = heard(path)
        assert waveform.shape == (2, 0)
        assert message.endswith(
            "is not whole: it ends in the middle, and 0.00 s of sound are there"
        )


def test_flac_with_a_tag_behind_it(tmp_path: Path) -> None:
    data, path = encoded("FLAC", "PCM_16"), tmp_path / "talk.flac"
    path.write_bytes(data)
    whole, _ = heard(path)
    path.write_bytes(data + b"TAG" + bytes(125))
    tagged, said = heard(path)
    assert said == []
    assert_array_equal(tagged, whole)


def test_flac_that_is_damaged_in_the_middle_is_refused(tmp_path: Path) -> None:
    data, path = bytearray(encoded("FLAC", "PCM_16")), tmp_path / "talk.flac"
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"cannot read '.*talk\.flac' as audio"):
        read_audio(path)


def test_joined_ogg_files_of_which_the_last_was_cut(tmp_path: Path) -> None:
    data, path = encoded("OGG", "VORBIS"), tmp_path / "talk.ogg"
    path.write_bytes(data + data[: len(data) // 2])
    waveform, (message,) = heard(path)
    assert 3 * RATE < waveform.shape[1] < 6 * RATE
    assert "it ends in the middle" in message


def ogg_pages(data: bytes) -> list[bytes]:
    return [b"OggS" + page for page in data.split(b"OggS")[1:]]


DAMAGES = {
    "overwritten": lambda page: page[:100] + b"\xaa" * 50 + page[150:],
    "one bit": lambda page: page[:-1] + bytes([page[-1] ^ 1]),
    "another name": lambda page: b"oggs" + page[4:],
    "another length": lambda page: page[:26] + bytes([page[26] ^ 3]) + page[27:],
    "shorter": lambda page: page[:-10],
    "lost": lambda page: b"",
}


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_ogg_files(tmp_path: Path, subtype: str, damage: str) -> None:
    pages, path = ogg_pages(encoded("OGG", subtype, np.tile(NOISE, (3, 1)))), tmp_path / "talk.ogg"
    n_headers = sum(page[6:14] == bytes(8) for page in pages)
    for index in (n_headers, len(pages) // 2, len(pages) - 1):
        is_first, is_last = pages[index - 1][6:14] == bytes(8), index == len(pages) - 1
        if damage == "lost" and (is_first or is_last):  # as in a recording of a broadcast
            continue
        hurt = DAMAGES[damage](pages[index])
        path.write_bytes(b"".join([*pages[:index], hurt, *pages[index + 1 :]]))
        part, (message,) = heard(path)
        n_samples = part.shape[1]
        assert 5 * RATE < n_samples < 9 * RATE
        there = f"{n_samples / RATE:.2f} s"
        if is_last:
            assert message.endswith(f"it ends in the middle, and {there} of sound are there")
        elif is_first:
            assert message.endswith(f"parts of it are damaged, and {there} of sound are there")
        else:
            assert message.endswith(f"promises 9.00 s of sound, and {there} are there")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_joined_ogg_files_of_which_one_is_damaged(tmp_path: Path, subtype: str) -> None:
    data, path = encoded("OGG", subtype), tmp_path / "talk.ogg"
    pages = ogg_pages(data)
    middle = len(pages) - 2
    hurt = b"".join([*pages[:middle], pages[middle][:-10], *pages[middle + 1 :]])
    for joined in (data + hurt, hurt + data):
        path.write_bytes(joined)
        waveform, (message,) = heard(path)
        assert 4 * RATE < waveform.shape[1] < 6 * RATE
        assert "promises 6.00 s of sound" in message
    # The end of the first is lost, and the beginning of the second.
    other = encoded("OGG", subtype)
    for joined in (data[:-10] + data, data + data[10:], data + other[10:]):
        path.write_bytes(joined)
        assert "parts of it are damaged" in heard(path)[1][0]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("duration_s", [0.1, 0.7, 3])
def test_ogg_files_that_are_not_damaged(tmp_path: Path, subtype: str, duration_s: float) -> None:
    n_samples, tag, path = int(duration_s * RATE), b"TAG" + bytes(125), tmp_path / "talk.ogg"
    data = encoded("OGG", subtype, NOISE[:n_samples])
    for n_links, whole in ((1, data), (1, data + tag), (2, data + data), (2, data + tag + data)):
        if subtype == "OPUS" and duration_s < 0.2 and tag in whole:
            continue  # libsndfile refuses these
        path.write_bytes(whole)
        waveform, said = heard(path)
        assert (waveform.shape, said) == ((2, n_links * n_samples), [])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_recordings_of_broadcasts_in_ogg(tmp_path: Path, subtype: str) -> None:
    pages, path = ogg_pages(encoded("OGG", subtype, np.tile(NOISE, (3, 1)))), tmp_path / "talk.ogg"
    n_headers = sum(page[6:14] == bytes(8) for page in pages)
    path.write_bytes(b"".join([*pages[:n_headers], *pages[n_headers + 2 : -1]]))
    waveform, said = heard(path)
    assert 2 * RATE < waveform.shape[1] < 8 * RATE
    assert said == []


@needs_ffmpeg
@pytest.mark.parametrize("name", ["talk.m4a", "talk.webm", "talk.mka"])
def test_what_ffmpeg_reads(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (tmp_path / "talk.wav").write_bytes(encoded("WAV", "PCM_16"))
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(tmp_path / "talk.wav")]
    fast = ["-movflags", "+faststart"] if name.endswith("m4a") else []
    subprocess.run([*command, *fast, str(path)], check=True)
    assert heard(path)[1] == []
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    waveform, rate = None, 0
    with pytest.warns(AudioWarning, match=f"{name}' may not be whole: .* ffmpeg says: [^[]"):
        waveform, rate = read_audio(path)
    assert 0.5 * rate < len(waveform) < 2.5 * rate


# -- what comes of it ----------------------------------------------------------------------------


@pytest.fixture
def cut(in_tmp_path: None) -> Path:
    path = Path("in", "talk.wav")
    path.parent.mkdir()
    samples = NOISE.copy()
    samples[:, 1] += samples[:, 0]  # as in one room
    data = encoded("WAV", "PCM_16", samples)
    path.write_bytes(data[: len(data) // 2])
    return path


MISSING = "promises 3.00 s of sound, and 1.50 s are there"


def test_results_keep_what_was_said(cut: Path, tiny: Path) -> None:
    with pytest.warns(AudioWarning, match=MISSING):
        result = skdc.separate(cut, model=tiny)
    assert MISSING in result.notes[0]
    assert MISSING in result.listen().html
    with pytest.warns(AudioWarning, match=MISSING) as caught:
        of_file = skdc.separate_file(cut, "out", model=tiny)
    assert of_file.notes == result.notes
    assert [MISSING in str(warning.message) for warning in caught].count(True) == 1
    with pytest.warns(AudioWarning, match=MISSING):
        channels = skdc.separate(cut, channels=True)
    assert MISSING in channels.notes[0]


@pytest.mark.parametrize("options", [[], ["--page"], ["--channels"]])
def test_the_command_says_it(
    cut: Path, tiny: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["separate", str(cut), "-o", "out", "--model", str(tiny), "--json", *options]
    assert main(command) == 0
    said, errors = capsys.readouterr()
    (line,) = said.splitlines()
    found = [text for text in json.loads(line)["warnings"] if MISSING in text]
    assert len(found) == 1
    assert errors.count(MISSING) == 1
    # What was separated as far as it goes is done.
    assert main([*command, "--skip-existing"]) == 0
    assert "1 of 1 files are separated already" in capsys.readouterr().err


def test_a_cut_flac_file_counts_as_done(tiny: Path, in_tmp_path: None) -> None:
    data = encoded("FLAC", "PCM_16", NOISE[:, 0])
    Path("talk.flac").write_bytes(data[: len(data) // 2])
    command = ["separate", "talk.flac", "-o", "out", "--model", str(tiny), "--skip-existing"]
    assert main(command) == 0
    before = os.stat("out/talk-1.wav").st_mtime_ns
    assert main(command) == 0
    assert os.stat("out/talk-1.wav").st_mtime_ns == before
