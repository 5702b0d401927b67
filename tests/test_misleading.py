"""Inputs that are not what they seem: an error or a warning that says what to do."""

from __future__ import annotations

import copy
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from conftest import error_of, make_separator
from numpy.testing import assert_array_equal

from skdc import (
    DeepClusteringSeparator,
    StreamingSeparator,
    load_pretrained,
    make_mixtures,
    separate,
    separate_array,
    separate_file,
)
from skdc.audio import (
    AudioFiles,
    AudioRecording,
    read_audio,
    read_header,
    write_audio,
    write_sources,
)
from skdc.cli import main
from skdc.commands.train import read_config
from skdc.datasets import (
    find_recordings,
    load_corpus,
    load_mixture_list,
    load_sample_clips,
    load_sample_mixture,
)
from skdc.display import ListeningPage
from skdc.exceptions import AudioWarning
from skdc.inputs.format import AudioFormat
from skdc.preprocessing import HighPass
from skdc.pretrained.one_call import Separation
from skdc.protocols import PROTOCOLS, open_mixture_list
from skdc.protocols.making import FolderProtocol, Output
from skdc.signal import active_level, active_speech_level, channel_similarity, find_turns, resample

Capture = pytest.CaptureFixture[str]


def noise(*shape: int) -> Any:
    return 0.1 * np.random.default_rng(1).standard_normal(shape)


def write(samples: Any) -> str:
    write_audio("talk.wav", samples, 8000)
    return "talk.wav"


@pytest.fixture(scope="module")
def separator() -> DeepClusteringSeparator:
    y = np.random.default_rng(0).standard_normal((2, 2, 4000))
    return make_separator().fit(y.sum(axis=1), y)


@pytest.fixture
def model(
    separator: DeepClusteringSeparator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.chdir(tmp_path)
    separator.save("tiny.safetensors")
    return "tiny.safetensors"


# -- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_channels", [2, 8])
def test_samples_before_channels(separator: DeepClusteringSeparator, n_channels: int) -> None:
    recording = noise(4000, n_channels)
    message = re.escape(f"X has shape (4000, {n_channels}), that is 4000 mixtures of {n_channels}")
    with pytest.raises(ValueError, match=f"{message}.* give \\[X.T\\] to predict"):
        separator.predict(recording)
    (found,) = separator.predict([recording.T])
    assert found.shape == (2, n_channels, 4000)


def test_samples_in_a_column(separator: DeepClusteringSeparator) -> None:
    column = noise(4000, 1)
    with pytest.raises(ValueError, match=r"X has shape \(4000, 1\).* give X\[:, 0\]"):
        separator.predict(column)
    assert separator.predict(column[:, 0]).shape == (2, 4000)


def test_channels_that_pass_for_mixtures(separator: DeepClusteringSeparator) -> None:
    recording = noise(4000)
    stereo = np.stack([recording, 0.7 * recording + 0.001 * noise(4000)])
    with pytest.warns(AudioWarning, match=r"the 2 rows of X are nearly the same.* give \[X\]"):
        separator.predict(stereo)
    # These are of one channel.
    calls: list[Callable[..., Any]] = [separator.transform, separator.predict_masks]
    calls.append(partial(separator.predict, band="network"))
    for call in calls:
        with pytest.warns(AudioWarning, match=r"the 2 rows of X .* give X\.mean\(axis=0\)"):
            call(stereo)
    separator.predict([stereo])
    separator.predict(list(stereo))
    separator.predict(noise(2, 4000))


RAGGED: Any = [[0.1] * 4000, [0.1] * 3000]
CHANNELS = noise(2, 4000)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("X[0]", lambda separator: separator.predict([RAGGED])),
        ("X", lambda separator: separator.predict([0.1, [0.2, 0.3]])),
        ("y[0]", lambda separator: separator.score(CHANNELS[0], RAGGED)),
        ("recording", lambda separator: separator.listen(RAGGED)),
        ("recording", lambda separator: separate(RAGGED, rate=8000, model=separator)),
        ("the recording", lambda separator: separate_array(separator, RAGGED)),
        ("samples", lambda separator: StreamingSeparator(separator).push(RAGGED)),
        ("recordings[0]", lambda _: make_mixtures([RAGGED, RAGGED], n_mixtures=1)),
        ("X[0]", lambda _: HighPass().fit_transform([RAGGED])),
        ("sources", lambda _: find_turns(RAGGED, 8000)),
        ("channels", lambda _: channel_similarity(RAGGED, 8000)),
        ("waveform", lambda _: active_speech_level(RAGGED, 8000)),
        ("waveform", lambda _: write_audio("ragged.wav", RAGGED, 8000)),
        ("mixture", lambda _: ListeningPage(RAGGED, CHANNELS, 8000)),
        ("sources", lambda _: ListeningPage(CHANNELS[0], RAGGED, 8000)),
        ("references", lambda _: ListeningPage(CHANNELS[0], CHANNELS, 8000, references=RAGGED)),
    ],
)
def test_ragged_lists(separator: DeepClusteringSeparator, name: str, call: Any) -> None:
    words = "is not an array of samples: its parts have different lengths; cut or pad them"
    with pytest.raises(ValueError, match=f"^{re.escape(name)} {words} to one length$"):
        call(separator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_with_gradients(separator: DeepClusteringSeparator, dtype: torch.dtype) -> None:
    X = torch.from_numpy(noise(2, 4000)).to(dtype).requires_grad_()
    expected = separator.predict(X.detach().numpy())
    assert_array_equal(separator.predict(X), expected)
    assert_array_equal(separator.predict(list(X))[1], expected[1])
    assert_array_equal(separator.predict(X[0]), expected[0])
    y = torch.stack([X / 3, X * 2 / 3], dim=1)
    assert y.requires_grad
    assert make_separator().fit(X, y).score(X, y) == pytest.approx(
        make_separator().fit(X.detach().numpy(), y.detach().numpy()).score(X, y)
    )
    make_separator().fit_recordings(list(y.flatten(0, 1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_that_are_tensors(separator: DeepClusteringSeparator, dtype: torch.dtype) -> None:
    channels = [torch.tensor(noise(4000), dtype=dtype, requires_grad=True) for _ in range(2)]
    expected = separator.separate(np.stack([x.detach().float().numpy() for x in channels]))[0]
    assert_array_equal(separator.separate(channels)[0], expected)
    assert_array_equal(separate(channels, rate=8000, model=separator).sources, expected)


def test_no_channels(separator: DeepClusteringSeparator) -> None:
    message = r"has shape \(0, 4000\), and so no channel; give one at least"
    with pytest.raises(ValueError, match=rf"^X\[0\] {message}"):
        separator.predict([np.zeros((0, 4000))])
    with pytest.raises(ValueError, match=f"^recording {message}"):
        separate(np.zeros((0, 4000)), rate=8000, model=separator)


def test_recordings_of_files_in_the_place_of_arrays(
    separator: DeepClusteringSeparator, tmp_path: Path
) -> None:
    y = np.round(noise(2, 4000) * 2**12) / 2**15
    for samples, name in ((y.sum(axis=0), "mono.wav"), (np.stack([y[0], y[1]]), "stereo.wav")):
        write_audio(tmp_path / name, samples, 8000)
        files = AudioFiles([tmp_path / name], mono=False)
        expected = separator.predict([np.atleast_2d(samples)])[0]
        assert_array_equal(separator.predict(files)[0], expected)
        with AudioRecording(tmp_path / name) as recording:
            found = separate(recording, rate=8000, model=separator).sources
            assert_array_equal(found, separator.separate(samples)[0])
    with AudioRecording(tmp_path / "mono.wav") as recording:
        mono = y.sum(axis=0)
        assert_array_equal(separator.transform([recording])[0], separator.transform([mono])[0])
        assert separator.score([recording], [y]) == pytest.approx(separator.score([mono], [y]))


@pytest.mark.parametrize("rate", [44100, 48000])
def test_rate_that_is_not_given(separator: DeepClusteringSeparator, rate: int) -> None:
    clips = [clip.waveform[:24000] for clip in load_sample_clips()]
    separator.predict(clips)
    speech, sources = (x[..., :24000] for x in load_sample_mixture())
    separator.predict(speech)
    fast = resample(sources, 8000, rate).astype(np.float32)
    message = "seems to be at a higher rate; give that as input_rate"
    with pytest.warns(AudioWarning, match=f"X is so deep and slow, at 8000 Hz.*{message}"):
        separator.predict(fast.sum(axis=0))
    with pytest.warns(AudioWarning, match=rf"X\[0\].*{message}"):
        make_separator().fit([fast.sum(axis=0)], [fast])
    with pytest.warns(AudioWarning, match=rf"recordings\[0\].*{message}"):
        make_separator().fit_recordings(list(fast))
    with pytest.warns(AudioWarning, match=rf"recordings\[0\].*at 8000 Hz.*{message}"):
        make_mixtures(list(fast), n_mixtures=1, random_state=0)
    make_mixtures(list(fast), n_mixtures=1, sample_rate=rate, random_state=0)
    separator.predict(fast.sum(axis=0), input_rate=rate)
    separator.predict((32767 * speech).astype(np.int16))


def test_rate_of_deep_and_steady_sounds(separator: DeepClusteringSeparator) -> None:
    speech, _ = load_sample_mixture()
    hum = np.sin(2 * np.pi * 50 * np.arange(len(speech)) / 8000)
    separator.predict(speech + 0.5 * speech.std() * hum)


TOO_MANY = "got 50, expected an integer from 1 to 20, or 'auto'"


@pytest.mark.parametrize(
    "call",
    [
        lambda separator, x: separator.predict(x, n_sources=50),
        lambda separator, x: separator.predict_masks(x, n_sources=50),
        lambda separator, x: separator.set_params(n_sources=50).predict(x),
        lambda separator, x: separator.set_params(n_sources=50).score(x, np.stack([x, -x / 2])),
        lambda separator, x: DeepClusteringSeparator(n_sources=50).fit(x, np.stack([x / 2] * 2)),
        lambda separator, x: separator.listen(x, n_sources=50),
        lambda separator, x: separate(x, rate=8000, model=separator, n_sources=50),
        lambda separator, x: separate("nowhere.wav", model=separator, n_sources=50),
        lambda separator, x: separate_file(write(x), "out", model=separator, n_sources=50),
        lambda separator, x: separate_array(separator, x[None], n_sources=50),
        lambda separator, x: StreamingSeparator(separator, n_sources=50),
    ],
)
def test_too_many_sources(
    separator: DeepClusteringSeparator, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^n_sources: {TOO_MANY}$"):
        call(copy.deepcopy(separator), noise(4000))
    assert list(tmp_path.glob("out/*")) == []


@pytest.mark.parametrize("command", [["separate", "talk.wav", "-o", "out"], ["stream"]])
def test_too_many_sources_on_the_command_line(command: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--n-sources", "50"])
    assert f"argument --n-sources: {TOO_MANY}\n" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, -1, True, 2.0, "two", np.array(2)])
def test_what_is_no_number_of_sources(separator: DeepClusteringSeparator, count: Any) -> None:
    message = re.escape(f"n_sources: got {count!r}, expected an integer")
    with pytest.raises(ValueError, match=message):
        separator.predict(noise(4000), n_sources=count)
    assert separator.predict(noise(4000), n_sources=cast("int", np.int64(3))).shape == (3, 4000)


# -- files ----------------------------------------------------------------------------------------


def test_standard_input(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    write_audio("talk.flac", noise(8000), 16000)
    content = Path("talk.flac").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(["separate", "-", "-o", "out", "--model", model]) == 0
    first, second = (Path("out", f"stdin-{number}.wav") for number in (1, 2))
    assert capsys.readouterr().out == f"- -> {first}, {second}\n"
    assert main(["separate", "talk.flac", "-o", "out", "--model", model]) == 0
    assert first.read_bytes() == Path("out", "talk-1.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"not audio")))
    assert main(["separate", "-", "-o", "other", "--model", model]) == 2
    assert "cannot read '-' as audio" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["separate", "-", "-o", "other", "--model", model]) == 2
    assert "the standard input is empty" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    command = ["separate", "-", "-o", "out", "--model", model, "--json", "--skip-existing"]
    assert main(command) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["input"], row["skipped"]) == ("-", "separated already")


def test_files_that_are_left_out_are_named(model: str, capsys: Capture) -> None:
    write_audio("in/talk.wav", noise(8000), 8000)
    for name in ("notes.txt", "deep.pdf", "a.csv", "b.csv", "c.csv", "d.csv", ".hidden"):
        Path("in", name).touch()
    assert main(["separate", "in", "-o", "in/out", "--model", model]) == 0
    said = capsys.readouterr().err
    assert said.startswith("skdc: left out, because their names are not those of audio files: ")
    assert str(Path("in", "deep.pdf")) in said
    assert said.endswith(" and 1 more\n")
    assert "hidden" not in said


def test_files_that_are_left_out_are_in_json(model: str, capsys: Capture) -> None:
    write_audio("in/talk.wav", noise(8000), 8000)
    Path("in", "notes.txt").touch()
    command = ["separate", "in", "-o", "out", "--model", model, "--json"]
    assert main(command) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    skipped = {Path(row["input"]).name: row["skipped"] for row in rows}
    assert skipped == {"notes.txt": "its name is not that of an audio file", "talk.wav": None}
    assert main([*command, "--skip-existing"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    skipped = {Path(row["input"]).name: row["skipped"] for row in rows}
    assert skipped["talk.wav"] == "separated already"
    assert len({tuple(row) for row in rows}) == 1


def test_exit_codes(model: str, capsys: Capture) -> None:
    write_audio("talk.wav", noise(8000), 8000)
    Path("bad.wav").write_text("not audio")
    for names, code in ((["talk.wav"], 0), (["bad.wav", "talk.wav"], 1), (["bad.wav"], 2)):
        command = ["separate", *names, "-o", "out", "--model", model, "--force"]
        assert main(command) == code, names
    capsys.readouterr()


def test_formats_of_ffmpeg_without_it(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PATH", "")
    Path("in").mkdir()
    Path("in", "talk.M4A").write_bytes(b"anything")
    assert main(["separate", "in", "-o", "out", "--model", model, "--json"]) == 2
    said, errors = capsys.readouterr()
    assert "M4A files need the program ffmpeg" in errors
    assert "install ffmpeg" in said


STUB = """#!/bin/sh
# Stands for ffmpeg: copies a file to the last argument, or fails as ffmpeg does.
for last; do :; done
case "$*" in *bad.mp4*) echo "Invalid data found" >&2; exit 1;; esac
cp "{source}" "$last"
"""


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for ffmpeg is a shell script")
def test_formats_of_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_audio(tmp_path / "sound.wav", noise(2, 8000), 44100, subtype="FLOAT")
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(STUB.format(source=tmp_path / "sound.wav"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("talk.m4a", "bad.mp4"):
        (tmp_path / name).write_bytes(b"anything")
    samples, rate = read_audio(tmp_path / "talk.m4a", mono=False)
    assert rate == 44100
    assert read_header(tmp_path / "talk.m4a") == (2, 8000, 44100)
    files = AudioFiles([tmp_path / "talk.m4a"], sample_rate=8000)
    assert files.headers()[0].shape == files[0].shape == (1452,)
    assert_array_equal(samples, read_audio(tmp_path / "sound.wav", mono=False)[0])
    message = r"ffmpeg cannot read .*bad.mp4.*Invalid data found"
    with pytest.raises(ValueError, match=message):
        read_audio(tmp_path / "bad.mp4")
    with pytest.raises(ValueError, match=message):
        read_header(tmp_path / "bad.mp4")
    program.unlink()
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(ValueError, match=r"m4a files need the program ffmpeg.*install ffmpeg"):
        AudioFiles([tmp_path / "talk.m4a"]).headers()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg on the path")
@pytest.mark.parametrize("suffix", [".m4a", ".mp4", ".aac", ".webm"])
def test_real_ffmpeg(tmp_path: Path, suffix: str) -> None:
    import subprocess

    time_s = np.arange(48000) / 48000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    write_audio(tmp_path / "tone.wav", np.stack([tone, tone]), 48000)
    target = tmp_path / f"a: 'tone'{suffix}"
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "tone.wav"), f"file:{target}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    samples, rate = read_audio(target, mono=False)
    assert (rate, len(samples)) == (48000, 2)
    assert samples.shape[1] == pytest.approx(48000, abs=4000)
    assert 0.3 < np.abs(samples[0, 20000:30000]).max() < 0.7


@pytest.mark.parametrize("name", ["talk.wav", "latin.csv"])
@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["report", "{}"], "csv file"),
        (["evaluate", "--list", "{}"], "csv file"),
        (["card", "tiny.safetensors", "{}"], "csv file"),
        (["card", "tiny.safetensors", "-o", "{}"], "card"),
        (["train", "--data", "voices", "--valid", "{}"], "csv file"),
        (["train", "--data", "voices", "--config", "{}"], "configuration file"),
        (["train", "--data", "voices.csv"], "csv file"),
        (["voices", "--data", "voices.csv", "-o", "taught.safetensors"], "csv file"),
        (["make", "wsj0-2mix", "--root", "voices", "--lists", "lists", "-o", "o"], "list of mix"),
    ],
)
def test_what_is_no_text(
    model: str, command: list[str], what: str, name: str, capsys: Capture
) -> None:
    for speaker in ("ann", "bob"):
        write_audio(f"voices/{speaker}/1.wav", noise(8000), 8000)
    write(noise(800))
    Path("latin.csv").write_text("speaker,path\nJosé,ann/1.wav\n", encoding="latin-1")
    Path("lists").mkdir()
    for subset in ("tr", "cv", "tt"):
        shutil.copy(name, f"lists/mix_2_spk_{subset}.txt")
    shutil.copy(name, "voices.csv")
    if command[0] in ("evaluate", "voices"):
        command = [*command, "--model", model]
    said = error_of([word.format(name) for word in command], capsys)
    assert re.search(rf"'[^']*\.(wav|csv|txt)' is no {what}.*: it is not text in UTF-8", said)


def recipes(name: str, path: str) -> Any:
    """What a protocol makes of a list."""
    protocol = PROTOCOLS[name]
    assert isinstance(protocol, FolderProtocol)
    return protocol.plan("voices", path, Output("out", "tt", "min", (8000,))).recipes


LISTED = "mixture_id,n_samples,source_1,gain_1,source_2,gain_2\nm,400,ann/1.wav,1,bob/1.wav,1\n"
LISTED_FOR_LIBRI = (
    "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain\n"
    "m,ann/1.wav,1,bob/1.wav,1\n"
)
UTTERANCES = "split,speaker,path\ntrain,ann,ann/1.wav\ntrain,bob,bob/1.wav\n"


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("pairs.csv", LISTED, lambda path: load_mixture_list(path, "voices")),
        ("voices/utterances.csv", UTTERANCES, lambda _: load_corpus("voices", "train")[1]),
        ("voices/utterances.csv", UTTERANCES, lambda _: open_mixture_list("list.csv", "voices")),
        (
            "voices/voices.csv",
            "speaker,path\nann,ann/1.wav\nbob,bob/1.wav\n",
            lambda path: find_recordings(path)[1],
        ),
        (
            "tr.csv",
            "mixture_id,n_samples,source_1,start_1,level_db_1\nm,400,ann/1.wav,0,0\n",
            partial(recipes, "lrs3-2mix"),
        ),
        ("libri2mix_test-clean.csv", LISTED_FOR_LIBRI, partial(recipes, "libri2mix")),
        ("mix_2_spk_tt.txt", "ann/1.wav 1 bob/1.wav -1\n", partial(recipes, "wsj0-2mix")),
        ("run.toml", "hidden_size = 3\n", read_config),
    ],
)
@pytest.mark.usefixtures("in_tmp_path")
def test_byte_order_marks(name: str, text: str, read: Callable[[str], Any]) -> None:
    for speaker in ("ann", "bob"):
        write_audio(f"voices/{speaker}/1.wav", noise(800), 8000)
    Path("list.csv").write_text(LISTED)
    found = []
    for encoding in ("utf-8", "utf-8-sig"):
        Path(name).write_text(text, encoding)
        found.append(read(name))
    assert found[0] == found[1]
    assert found[0]


def test_what_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "voices.csv"
    path.write_text(f"speaker,path\n{'x' * 200_000},ann/1.wav\n")
    with pytest.raises(ValueError, match=r"voices\.csv' is no csv file: field larger than"):
        find_recordings(path)


@pytest.mark.parametrize("item", ["talk.wav", Path("talk.wav"), b"talk.wav", None, {"a": 1}])
def test_what_is_no_array_of_samples(separator: DeepClusteringSeparator, item: Any) -> None:
    reads = "skdc.audio.read_audio reads files"
    kind = type(item).__name__
    with pytest.raises(TypeError, match=f"^recording is of type {kind}; give .*; {reads}"):
        separator.listen(item)
    with pytest.raises(TypeError, match=f"^X is of type {kind}; give an array .*; {reads}"):
        separator.predict(item)
    for items in ([item], [item, item]):
        with pytest.raises(TypeError, match=f"{reads}$"):
            separator.predict(items)
    if not isinstance(item, str | Path):
        with pytest.raises(TypeError, match=f"^recording is of type {kind}; give .*; {reads}"):
            separate(item)


# -- levels, rates and results --------------------------------------------------------------------


@pytest.mark.parametrize(("subtype", "peak"), [("PCM_16", 1e-4), ("PCM_24", 1e-6)])
def test_sources_of_which_a_file_keeps_nothing(tmp_path: Path, subtype: str, peak: float) -> None:
    mixture = peak * np.sin(np.arange(800) / 5)
    paths = [tmp_path / "1.wav", tmp_path / "2.wav"]
    with pytest.warns(AudioWarning, match=f"of which {subtype} keeps next to nothing"):
        write_sources(paths, np.stack([mixture, 0 * mixture]), mixture, 8000, subtype=subtype)
    # Neither louder ones, nor silence, nor floats
    write_sources(paths, np.stack([mixture, 0 * mixture]), mixture, 8000, subtype="FLOAT")
    for scale in (0.0, 100.0):
        own = scale * mixture
        write_sources(paths, np.stack([own, 0 * own]), own, 8000, subtype=subtype)


def test_channels_that_cancel_in_less_than_a_second() -> None:
    mixture, _ = load_sample_mixture()
    model = load_pretrained("speech-2mix-8k-small", device="cpu")
    with pytest.warns(AudioWarning, match="the channels cancel each other"):
        separate(np.stack([mixture[:7000], -mixture[:7000]]), rate=8000, model=model)


@pytest.mark.parametrize("kind", [np.int32, np.uint16, np.uint32, np.uint64])
def test_rates_may_be_integers_of_numpy(kind: Any) -> None:
    # 8000 times as many samples do not fit into 32 bits.
    waveform = 0.1 * np.random.default_rng(0).standard_normal(300_000)
    assert AudioFormat(sample_rate=8000, input_rate=kind(44100)).network_length(300_000) == 54422
    assert active_level(waveform, kind(16000)) == active_level(waveform, 16000)


def test_results_are_told_apart_by_identity() -> None:
    recording, sources = np.zeros(8, np.float32), np.zeros((2, 8), np.float32)
    one, other = (Separation(recording, sources, 8000, "talk") for _ in range(2))
    assert one != other
    assert [one, other].index(other) == 1
    assert len({one, other}) == 2
