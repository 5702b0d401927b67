"""``skdc separate``: what it takes, where it writes, what it refuses before any work."""

from __future__ import annotations

import html
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import touch
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal

import skdc
from skdc import DeepClusteringSeparator
from skdc.cli import main
from skdc.commands.separate import find_inputs
from skdc.datasets import load_sample_mixture, read_audio, resample, write_audio
from skdc.training import DynamicMixing

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("in_tmp_path")


@pytest.fixture
def model(plain_file: str) -> str:
    return plain_file


def error_of(arguments: list[str], capsys: Capture) -> str:
    """Run a command that must fail at once, and give the one line it says."""
    assert main(arguments) == 2
    said, errors = capsys.readouterr()
    assert errors.startswith("skdc: error: ")
    assert (said, errors.count("\n")) == ("", 1)
    return errors


def noise(path: str, rate: int = 8000, n_samples: int = 8000, seed: int = 0, **how: Any) -> None:
    """Write a stereo file."""
    samples = 0.1 * np.random.default_rng(seed).standard_normal((2, n_samples))
    samples[1] += samples[0]  # as in one room
    write_audio(path, samples, rate, **how)


def tree(folder: str) -> list[str]:
    found = Path(folder).rglob("*")
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


# what goes in and what comes out


@pytest.mark.parametrize(
    ("name", "subtype", "rate"),
    [
        ("talk.wav", "PCM_24", 44100),
        ("talk.flac", "PCM_16", 48000),
        ("talk.ogg", "VORBIS", 22050),
        ("talk.mp3", "MPEG_LAYER_III", 44100),
    ],
)
def test_any_format_and_rate(
    name: str, subtype: str, rate: int, model: str, capsys: Capture
) -> None:
    noise(name, rate, rate + 1, subtype=subtype)
    assert main(["separate", name, "-o", "out", "--model", model]) == 0
    expected = [Path("out", f"talk-{number}.wav") for number in (1, 2)]
    assert capsys.readouterr() == (f"{name} -> {expected[0]}, {expected[1]}\n", "")
    mixture, _ = read_audio(name, mono=False)
    for path in expected:
        found = soundfile.info(path)
        assert (found.samplerate, found.channels, found.subtype) == (rate, 2, "PCM_16")
        assert found.frames == mixture.shape[1]
    total = sum(read_audio(path, mono=False)[0] for path in expected)
    # within half a step, which is what rounding the recording itself leaves
    assert_allclose(total, mixture, atol=0.51 / 2**15)


def test_band_of_the_network(model: str) -> None:
    noise("talk.wav", 44100, 44100)
    command = ["separate", "talk.wav", "-o", "out", "--model", model, "--band", "network"]
    assert main(command) == 0
    mixture, _ = read_audio("talk.wav")
    paths = [Path("out", f"talk-{number}.wav") for number in (1, 2)]
    assert {soundfile.info(path).channels for path in paths} == {1}
    total = sum(soundfile.read(path)[0] for path in paths)
    narrow = resample(resample(mixture, 44100, 8000), 8000, 44100)[: len(mixture)]
    assert_allclose(total, narrow, atol=1e-3)


def test_page(model: str, capsys: Capture) -> None:
    noise("talk.wav")
    command = ["separate", "talk.wav", "-o", "out", "--model", model, "--page", "--json"]
    assert main(command) == 0
    assert tree("out") == ["talk-1.wav", "talk-2.wav", "talk.html"]
    assert str(Path("out", "talk.html")) in json.loads(capsys.readouterr().out)["outputs"]
    assert "Source 2" in Path("out", "talk.html").read_text("utf-8")
    Path("out", "talk-1.wav").unlink()
    Path("out", "talk-2.wav").unlink()
    assert "exists already; use --force" in error_of(command, capsys)


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not allowed there")
@pytest.mark.parametrize(
    "name", ['it\'s "q" <b> #1?', "100% a%20b &amp;", "\u65e5\u672c \u00fc", "-o", "[x]*", "a\nb"]
)
def test_odd_names(name: str, model: str, capsys: Capture) -> None:
    noise(f"in/{name}.wav")
    options = ["--model", model, "--page", "--rttm", "--json", "-o", "out"]
    assert main(["separate", f"in/{name}.wav", *options]) == 0
    assert tree("out") == sorted(f"{name}{end}" for end in ("-1.wav", "-2.wav", ".html", ".rttm"))
    done = json.loads(capsys.readouterr().out)
    assert done["input"] == f"in/{name}.wav"
    assert {*map(Path, done["outputs"])} == {Path("out", file) for file in tree("out")}
    page = Path("out", f"{name}.html").read_text("utf-8")
    assert f"<title>{html.escape(name)}</title>" in page
    lines = Path("out", f"{name}.rttm").read_text("utf-8").splitlines()
    assert lines
    assert all(len(line.split()) == 10 for line in lines)


def test_one_command_and_three_lines_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    speech, _ = load_sample_mixture()
    talk = resample(speech[:24000], 8000, 44100)
    for name, subtype in (("talk.mp3", "MPEG_LAYER_III"), ("talk.flac", "PCM_16")):
        write_audio(name, np.stack([talk, 0.5 * talk]), 44100, subtype=subtype)
        assert main(["separate", name, "-o", "out", "--force"]) == 0
        page = (Path(__file__).parent.parent / "docs" / "quickstart.md").read_text("utf-8")
        code = page.split("```python\n")[1].split("```")[0]
        assert "talk.mp3" in code
        exec(code.replace("talk.mp3", name), {})
        for number in (1, 2):
            samples, rate = read_audio(f"talk-{number}.wav")
            assert (rate, len(samples)) == (44100, len(read_audio(name)[0]))
            assert samples.std() > 0.01
            assert_array_equal(samples, read_audio(f"out/talk-{number}.wav")[0])


def test_number_of_sources(model: str) -> None:
    noise("talk.wav")
    assert main(["separate", "talk.wav", "-o", "a", "--model", model, "--n-sources", "3"]) == 0
    assert len(tree("a")) == 3
    assert main(["separate", "talk.wav", "-o", "b", "--model", model, "--n-sources", "auto"]) == 0
    assert len(tree("b")) >= 1


@pytest.mark.parametrize("subtype", ["pcm16", "pcm24", "float"])
def test_nothing_is_clipped(subtype: str, model: str, capsys: Capture) -> None:
    mixture = 3 * np.sin(np.arange(8000) ** 1.3 / 50)
    write_audio("loud.wav", mixture, 8000, subtype="FLOAT")
    command = ["separate", "loud.wav", "-o", "out", "--model", model, "--subtype", subtype]
    assert main(command) == 0
    said = capsys.readouterr().err
    parts = [soundfile.read(f"out/loud-{number}.wav")[0] for number in (1, 2)]
    stored = {"pcm16": "PCM_16", "pcm24": "PCM_24", "float": "FLOAT"}[subtype]
    assert soundfile.info("out/loud-1.wav").subtype == stored
    total, peak = np.sum(parts, axis=0), np.abs(parts).max()
    scale = total @ mixture / (mixture @ mixture)
    assert_allclose(total, scale * mixture, atol=1e-3)  # one scale for all sources
    if subtype == "float":
        assert (said, scale) == ("", pytest.approx(1, abs=1e-5))
    else:
        assert "loud.wav: sources have a peak of" in said
        assert said.count("\n") == 1
        assert 0.999 < peak <= 1


def test_silence(model: str, capsys: Capture) -> None:
    write_audio("quiet.wav", np.zeros(8000), 8000)
    assert main(["separate", "quiet.wav", "-o", "out", "--model", model]) == 0
    said = capsys.readouterr().err
    assert said == "skdc: warning: quiet.wav: the recording is silent; so are its sources\n"


def test_processes_give_the_same(model: str, capsys: Capture) -> None:
    for seed in range(3):
        noise(f"in/{seed}.wav", 16000, 12000 + seed, seed=seed)
    Path("in", "bad.wav").write_text("not audio")
    said = []
    for jobs in ("1", "2"):
        command = ["separate", "in", "-o", jobs, "--model", model, "--jobs", jobs]
        assert main(command) == 1
        said.append(capsys.readouterr())
    assert said[0].err == said[1].err
    assert [line.split(" ->")[0] for line in said[1].out.splitlines()] == [
        str(Path("in", f"{seed}.wav")) for seed in range(3)
    ]
    assert tree("1") == tree("2") == [f"{seed}-{n}.wav" for seed in range(3) for n in (1, 2)]
    for name in tree("1"):
        # Processes have fewer threads, which may round another way.
        one, two = (soundfile.read(Path(jobs, name), dtype="int16")[0] for jobs in ("1", "2"))
        assert_allclose(one, two, atol=1)


# files, folders, patterns


def found(*inputs: str, output: str = "out") -> list[str]:
    return [job.sources(1)[0].as_posix() for job in find_inputs(list(inputs), Path(output)).jobs]


def test_folders() -> None:
    touch("in/b.WAV", "in/a.mp3", "in/deep/er/c.flac", "in/notes.txt", "in/._a.mp3", "in/.x/d.wav")
    assert found("in") == ["out/a-1.wav", "out/b-1.wav", "out/deep/er/c-1.wav"]
    assert found("in/deep") == ["out/er/c-1.wav"]


def test_patterns() -> None:
    touch("in/b.wav", "in/a.wav", "in/deep/c.flac", "in/n.txt", "odd[1].wav")
    assert found("in/*.wav") == ["out/a-1.wav", "out/b-1.wav"]
    assert found("in/**/*.flac") == ["out/c-1.wav"]
    assert found("in/d*") == ["out/c-1.wav"]
    assert found("in/n.t?t") == ["out/n-1.wav"]
    assert found("odd[1].wav") == ["out/odd[1]-1.wav"]


@pytest.mark.parametrize("inputs", [["in"], ["i*"], ["in", "in/d*"]])
def test_what_is_left_out_of_folders(inputs: list[str]) -> None:
    touch("in/b.wav", "in/n.txt", "in/deep/c.flac", "in/deep/m.pdf", "in/.x/d.txt", "in/out/o.txt")
    left_out = find_inputs(inputs, Path("in/out")).not_audio
    assert [path.as_posix() for path in left_out] == ["in/deep/m.pdf", "in/n.txt"]


def test_each_file_once() -> None:
    touch("in/a.wav")
    assert found("in/a.wav", "in", "./in/*.wav", "in/a.wav") == ["out/a-1.wav"]


def test_results_in_the_folder_of_recordings() -> None:
    touch("in/a.wav", "in/out/a-1.wav")
    assert found("in", output="in/out") == ["in/out/a-1.wav"]
    assert found(".", output=".") == ["in/a-1.wav", "in/out/a-1-1.wav"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("in/*.flac", "no audio file matches 'in/*.flac'"), ("in", "no audio file is in the folder")],
)
def test_no_files(name: str, message: str, model: str, capsys: Capture) -> None:
    touch("in/notes.txt")
    assert message in error_of(["separate", name, "-o", "out", "--model", model], capsys)


def test_separate_folder(model: str) -> None:
    noise("in/a.wav")
    noise("in/deep/b.flac", 16000)
    command = ["separate", "in", "-o", "in/out", "--model", model]
    assert main(command) == 0
    assert main([*command, "--force"]) == 0
    assert tree("in/out") == ["a-1.wav", "a-2.wav", "deep/b-1.wav", "deep/b-2.wav"]


# what fails, and when


def test_goes_on_after_a_bad_file(model: str, capsys: Capture) -> None:
    noise("talk.wav")
    noise("short.wav", 8000, 100)
    Path("text.wav").write_text("not audio")
    files = ["gone.wav", "text.wav", "short.wav", "talk.wav"]
    assert main(["separate", *files, "-o", "out", "--model", model]) == 1
    said, errors = capsys.readouterr()
    assert said.startswith("talk.wav -> ")
    lines = errors.splitlines()
    assert lines[0] == "skdc: error: no audio file at 'gone.wav'"
    assert lines[1].startswith("skdc: error: cannot read 'text.wav' as audio")
    assert lines[2].startswith("skdc: error: short.wav: the recording has 100 samples")
    assert len(lines) == 3
    assert tree("out") == ["talk-1.wav", "talk-2.wav"]


@pytest.mark.parametrize(
    "shortage", [MemoryError("20 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_goes_on_after_a_file_that_memory_does_not_hold(
    shortage: Exception, model: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise("huge.wav")
    noise("talk.wav")

    def separate_file(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "huge.wav":
            raise shortage
        return whole(path, *args, **options)

    whole = skdc.separate_file
    monkeypatch.setattr("skdc.pretrained.separate_file", separate_file)
    assert main(["separate", "huge.wav", "talk.wav", "-o", "out", "--model", model]) == 1
    assert "skdc: error: huge.wav: there is not enough memory for it" in capsys.readouterr().err
    assert tree("out") == ["talk-1.wav", "talk-2.wav"]
    monkeypatch.setattr("skdc.pretrained.separate_file", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        main(["separate", "talk.wav", "-o", "more", "--model", model])


def test_json(model: str, capsys: Capture) -> None:
    noise("talk.wav", 16000, 24000)
    command = ["separate", "gone.wav", "talk.wav", "-o", "out", "--model", model, "--json"]
    assert main(command) == 1
    said, errors = capsys.readouterr()
    names = "sample_rate", "seconds", "n_sources", "quality_db", "quality_error_db", "turns"
    nothing = dict.fromkeys([*names, "count_probability", "skipped"])
    assert [json.loads(line) for line in said.splitlines()] == [
        nothing
        | {"input": "gone.wav", "outputs": [], "deleted": [], "warnings": []}
        | {"error": "no audio file at 'gone.wav'"},
        {
            "input": "talk.wav",
            "outputs": [str(Path("out", f"talk-{number}.wav")) for number in (1, 2)],
            "sample_rate": 16000,
            "seconds": 1.5,
            "n_sources": 2,
            "quality_db": None,
            "quality_error_db": None,
            "count_probability": None,
            "turns": None,
            "deleted": [],
            "skipped": None,
            "error": None,
            "warnings": [],
        },
    ]
    assert errors == "skdc: error: no audio file at 'gone.wav'\n"


@pytest.mark.parametrize("n_sources", ["2", "auto"])
def test_overwrites_only_by_force(n_sources: str, model: str, capsys: Capture) -> None:
    noise("first.wav")
    noise("talk.wav")
    touch("out/talk-2.wav")
    command = ["separate", "first.wav", "talk.wav", "-o", "out", "--model", model]
    command += ["--n-sources", n_sources]
    said = error_of(command, capsys)
    assert f"{str(Path('out', 'talk-2.wav'))!r} exists already; use --force" in said
    assert tree("out") == ["talk-2.wav"]
    touch("out/first-1.wav")
    assert "exists already (and 1 more)" in error_of(command, capsys)
    assert main([*command, "--force", "--n-sources", "2"]) == 0
    assert soundfile.info("out/talk-2.wav").frames == 8000


def test_force_leaves_nothing_of_an_earlier_run(model: str) -> None:
    noise("in/talk.wav")
    noise("in/a.wav")
    command = ["separate", "in", "-o", "out", "--model", model]
    assert main([*command, "--n-sources", "3", "--page", "--rttm"]) == 0
    for name in ("a", "talk"):  # the model has no noise head
        shutil.copy(f"out/{name}-3.wav", f"out/{name}-noise.wav")
    ends = ("-1.wav", "-2.wav", "-3.wav", "-noise.wav", ".html", ".rttm")
    assert tree("out") == sorted(f"{name}{end}" for name in ("a", "talk") for end in ends)
    # What others have made stays: another length, another kind.
    noise("out/talk-5.wav", n_samples=8001)
    noise("out/talk-6.wav", rate=16000)
    others = ["a.txt", "a-3-1.wav", "talk-7.wav", "talk-03.wav", "talk-21.wav"]
    touch(*(f"out/{name}" for name in others))
    others += ["talk-5.wav", "talk-6.wav"]
    results = [f"{name}-{number}.wav" for name in ("a", "talk") for number in (1, 2)]
    assert main([*command, "--n-sources", "2", "--force"]) == 0
    assert tree("out") == sorted([*others, *results])
    # Results of a recording that was cut meanwhile, and of one that cannot be separated
    noise("in/talk.wav", n_samples=7000)
    Path("in/a.wav").write_bytes(b"no audio")
    assert main([*command, "--n-sources", "1", "--force", "--rttm"]) == 1
    results = ["a-1.wav", "a-2.wav", "talk-1.wav", "talk.rttm"]
    assert tree("out") == sorted([*others, *results])


def test_force_deletes_nothing_that_others_have_made(model: str, capsys: Capture) -> None:
    names = ["talk-3.wav", "talk-4.wav", "talk-noise.wav"]
    for seed, name in enumerate(["talk.wav", "talk-1.wav", "talk-2.wav", *names]):
        noise(name, seed=seed)
    turn = "SPEAKER talk 1 0.000 0.500 <NA> <NA> {} <NA> <NA>\n"
    Path("talk.rttm").write_text(turn.format("anna"))
    before = {name: Path(name).read_bytes() for name in [*names, "talk.rttm"]}
    command = ["separate", "talk.wav", "-o", ".", "--model", model, "--force"]
    assert main([*command, "--n-sources", "2"]) == 0
    assert {name: Path(name).read_bytes() for name in before} == before
    assert "deleted" not in capsys.readouterr().err
    # Its own results are deleted, and that is said, but not who spoke by somebody else.
    Path("talk-3.wav").unlink()
    Path("talk-4.wav").unlink()
    assert main([*command, "--n-sources", "4"]) == 0
    assert main([*command, "--n-sources", "2", "--json"]) == 0
    said, errors = capsys.readouterr()
    assert "deleted, as results of an earlier run: talk-3.wav, talk-4.wav\n" in errors
    assert json.loads(said.splitlines()[-1])["deleted"] == ["talk-3.wav", "talk-4.wav"]
    assert Path("talk.rttm").read_bytes() == before["talk.rttm"]
    assert Path("talk-noise.wav").read_bytes() == before["talk-noise.wav"]


def test_going_on_overwrites_nothing(model: str, capsys: Capture) -> None:
    noise("talk.wav")
    command = ["separate", "talk.wav", "-o", "out", "--model", model, "--skip-existing"]
    for name in ("talk-1.wav", "talk-2.wav", "talk.rttm"):
        Path("out").mkdir(exist_ok=True)
        Path("out", name).write_text("of somebody else")
        assert main([*command, "--rttm"]) == 2
        said = capsys.readouterr().err
        assert f"{str(Path('out', name))!r} exists already; use --force" in said
        assert Path("out", name).read_text() == "of somebody else"
        Path("out", name).unlink()
    # The other files of a folder are separated.
    noise("other.wav")
    Path("out/talk-2.wav").write_text("of somebody else")
    assert main(["separate", "other.wav", *command[1:]]) == 1
    assert tree("out") == ["other-1.wav", "other-2.wav", "talk-2.wav"]
    assert "talk.wav: " in capsys.readouterr().err
    for name in tree("out"):
        Path("out", name).unlink()
    # But its own results are made anew where they are not what is asked for.
    assert main([*command, "--n-sources", "3", "--rttm"]) == 0
    assert main([*command, "--n-sources", "2"]) == 0
    assert tree("out") == ["talk-1.wav", "talk-2.wav"]
    assert "earlier run: out/talk-3.wav, out/talk.rttm" in capsys.readouterr().err


def test_what_a_stopped_run_left_is_no_source_of_the_next(model: str) -> None:
    noise("talk.wav")
    command = ["separate", "talk.wav", "-o", "out", "--model", model]
    assert main([*command, "--n-sources", "4"]) == 0
    Path("out/talk-1.wav").unlink()  # which is written last
    assert main([*command, "--n-sources", "2", "--skip-existing"]) == 0
    assert tree("out") == ["talk-1.wav", "talk-2.wav"]


def test_each_of_many_channels_is_kept(model: str, capsys: Capture) -> None:
    write_audio("many.wav", 0.1 * np.random.default_rng(0).standard_normal((24, 8000)), 8000)
    touch("out/many-21.wav")
    command = ["separate", "many.wav", "-o", "out", "--model", model, "--channels"]
    assert "many-21.wav' exists already" in error_of(command, capsys)
    assert main([*command, "--force"]) == 0
    assert len(tree("out")) == 24
    two = 0.1 * np.random.default_rng(1).standard_normal((2, 8000))
    write_audio("many.wav", two, 8000)
    assert main([*command, "--force"]) == 0
    assert tree("out") == ["many-1.wav", "many-2.wav"]


def test_force_deletes_no_input(model: str) -> None:
    names = ["talk.wav", "talk-3.wav", "talk-noise.wav", "talk-4.wav"]
    for seed, name in enumerate(names):
        noise(name, seed=seed)
    Path("talk-4.wav").rename("other.wav")
    Path("talk-4.wav").symlink_to("other.wav")
    Path("talk.html").write_text("<html>of mine</html>")
    before = {name: Path(name).read_bytes() for name in [*names, "talk.html"]}
    inputs = ["talk.wav", "talk-3.wav", "talk-noise.wav", "other.wav"]
    command = ["separate", *inputs, "-o", ".", "--model", model, "--force"]
    assert main([*command, "--n-sources", "2"]) == 0
    assert {name: Path(name).read_bytes() for name in before} == before


def test_never_overwrites_its_input(model: str, capsys: Capture) -> None:
    noise("talk.wav")
    noise("talk-1.wav")
    before = Path("talk-1.wav").read_bytes()
    command = ["separate", "talk.wav", "talk-1.wav", "-o", ".", "--model", model, "--force"]
    assert "'talk-1.wav' would replace 'talk-1.wav', which is" in error_of(command, capsys)
    assert Path("talk-1.wav").read_bytes() == before


def test_refuses_two_files_of_a_name(model: str, capsys: Capture) -> None:
    files = [str(Path("a", "talk.wav")), str(Path("b", "talk.flac"))]
    said = error_of(["separate", *files, "-o", "out", "--model", model], capsys)
    assert "would both be written" in said


def test_refuses_a_file_for_a_folder(model: str, capsys: Capture) -> None:
    noise("talk.wav")
    command = ["separate", "talk.wav", "-o", "talk.wav", "--model", model]
    assert "-o talk.wav is a file; give a folder" in error_of(command, capsys)


def test_processes_that_were_started_in_another_folder(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # joblib keeps its processes. A function of torch, since one that grew by all of torch later
    # would look to joblib like one that leaks, and be replaced.
    Parallel(n_jobs=2)(delayed(torch.get_num_threads)() for _ in range(4))
    folder = tmp_path / "moved"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for seed in range(2):
        noise(f"{seed}.wav", 16000, 12000, seed=seed)
    assert main(["separate", "0.wav", "1.wav", "-o", "out", "--model", model, "--jobs", "2"]) == 0
    assert len(list(Path("out").iterdir())) == 4


# going on


def test_skips_what_is_done(model: str, capsys: Capture) -> None:
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        noise(f"in/{name}")
    command = ["separate", "in", "-o", "out", "--model", model, "--skip-existing"]
    assert main(command) == 0
    whole = {name: Path("out", name).read_bytes() for name in tree("out")}
    Path("out/a-1.wav").unlink()
    Path("out/b-2.wav").unlink()
    Path("out/c-1.wav").write_bytes(whole["c-1.wav"][:2000])
    kept = Path("out/d-1.wav").stat()
    capsys.readouterr()
    assert main(command) == 0
    said, errors = capsys.readouterr()
    assert [line.split(" -> ")[0] for line in said.splitlines()] == [
        str(Path("in", f"{name}.wav")) for name in "abc"
    ]
    assert errors.splitlines()[0] == "1 of 4 files are separated already"
    assert {name: Path("out", name).read_bytes() for name in tree("out")} == whole
    assert Path("out/d-1.wav").stat().st_mtime_ns == kept.st_mtime_ns
    assert main(command) == 0
    assert capsys.readouterr() == ("", "4 of 4 files are separated already\n")


def test_the_first_source_tells_that_all_are_there(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where their number was not known: a run that stops leaves no first file."""
    noise("a.wav")
    named: list[str] = []
    rename = os.replace

    def stop_after_one(source: Path, target: Path) -> None:
        if named:
            raise KeyboardInterrupt
        named.append(target.name)
        rename(source, target)

    command = ["separate", "a.wav", "-o", "out", "--model", model, "--skip-existing"]
    monkeypatch.setattr("skdc.paths.os.replace", stop_after_one)
    assert main([*command, "--n-sources", "3"]) == 130
    assert tree("out") == named == ["a-3.wav"]
    monkeypatch.setattr("skdc.paths.os.replace", rename)
    assert main([*command, "--n-sources", "auto"]) == 0
    assert "a-1.wav" in tree("out")


def test_skips_or_overwrites(model: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["separate", "a.wav", "-o", "out", "--model", model, "--skip-existing", "--force"])


@pytest.mark.parametrize("options", [[], ["--page"], ["--band", "network"], ["--channels"]])
@pytest.mark.parametrize("what", ["short", "silent", "clipped", "offset"])
def test_what_is_said_is_of_files_and_options(
    what: str, options: list[str], model: str, capsys: Capture
) -> None:
    sine = np.sin(np.arange(8000) / 20)
    samples = {
        "short": sine[:50],
        "silent": np.zeros(8000),
        "clipped": np.clip(3 * sine, -0.9, 0.9) * np.hanning(8000).clip(0.3, 0.9),
        "offset": 0.1 * sine + 0.5,
    }[what]
    write_audio("talk.wav", samples, 8000)
    main(["separate", "talk.wav", "-o", "out", "--model", model, "--json", *options])
    out, err = capsys.readouterr()
    for said in (out, err):
        for python in ("X[", "=True", "=None", "input_rate", "recordings["):
            assert python not in said.replace("--channels (channels=True)", "")
    if err:
        assert all(
            "talk.wav" in line or "'talk' has one channel" in line for line in err.splitlines()
        )


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("given", "is_warned"),
    [(["--n-sources", "3"], True), (["--n-sources", "2"], False), ([], False)],
)
def test_more_people_than_the_model_was_trained_on(
    given: list[str], is_warned: bool, model: str, capsys: Capture
) -> None:
    separator = DeepClusteringSeparator.load(model)
    separator.set_params(remix=DynamicMixing(n_sources=(1, 2)), n_sources=5).save("two.model")
    noise("talk.wav")
    assert main(["separate", "talk.wav", "-o", "out", "--model", "two.model", *given]) == 0
    expected = "skdc: warning: --n-sources 3: the model was trained on at most 2 people who speak"
    assert (expected in capsys.readouterr().err) is is_warned
