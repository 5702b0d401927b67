"""What would replace an input, or could not be written, is found out before any work."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import error_of, files_of, make_separator, touch, write_lines
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

import skdc
from skdc import DeepClusteringSeparator
from skdc.audio import read_audio, write_audio
from skdc.cli import main
from skdc.commands.separate import find_inputs
from skdc.paths import atomic_path, check_outputs
from skdc.protocols import draw_mixture_list, plan_protocol
from skdc.separator import DeepClusteringSeparator as Separator

Capture = pytest.CaptureFixture[str]

# The longest stems of WAV files, or nearly so, in letters of one, two and three bytes.
LONG_STEMS = [
    pytest.param("x" * 250, id="one"),
    pytest.param("\u00e9" * 125, id="two"),
    pytest.param("\u65e5" * 83 + "x", id="three"),
]
TINY = ["--set", "embedding_dim=4", "hidden_size=8", "n_layers=1", "max_epochs=1"]

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="names and links are others there")


def noise(path: str, seed: int = 0) -> None:
    write_audio(path, 0.1 * np.random.default_rng(seed).standard_normal(16000), 8000)


@pytest.fixture
def desk(tiny: Path, in_tmp_path: None) -> Path:
    """A folder with something to read for every command."""
    for name in ("talk.wav", "talk-1.wav", "voices/ann/1.wav", "voices/bob/1.wav"):
        noise(name, len(name))
    for name in ("tiny.safetensors", "index.html"):
        shutil.copy(tiny, name)
    write_lines(Path("voices.csv"), "speaker,path", "ann,voices/ann/1.wav", "bob,voices/bob/1.wav")
    write_lines(
        Path("voices/mixtures/pairs.csv"),
        "mixture_id,n_samples,source_1,gain_1,source_2,gain_2",
        "pair,8000,ann/1.wav,1,bob/1.wav,1",
    )
    write_lines(Path("run.toml"), "embedding_dim = 4")
    write_lines(Path("scores.csv"), "model")
    return Path.cwd()


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all that takes long fail."""

    def work(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("work was begun")

    for name in ("separate", "separate_in_blocks", "fit_recordings", "fit_voices", "predict"):
        monkeypatch.setattr(Separator, name, work)


# -- inputs --------------------------------------------------------------------------------------

TRAIN = ["train", "--data", "voices", "--force", *TINY]
EVALUATE = ["evaluate", "--list", "voices/mixtures/pairs.csv", "--model", "tiny.safetensors"]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("command", "taken"),
    [
        (["separate", "talk.wav", "talk-1.wav", "-o", ".", "--force"], "talk-1.wav"),
        (["separate", "link.wav", "-o", ".", "--force"], "link.wav"),
        (["separate", "link.wav", "-o", ".", "--n-sources", "auto", "--force"], "link.wav"),
        (["separate", "link.wav", "-o", ".", "--page", "--force"], "link.wav"),
        ([*TRAIN, "-o", "voices/ann/1.wav"], "voices/ann/1.wav"),
        ([*TRAIN, "--config", "run.toml", "-o", "run.toml"], "run.toml"),
        ([*TRAIN, "--data", "voices.csv", "-o", "voices.csv"], "voices.csv"),
        (
            [*TRAIN, "--valid", "voices/mixtures/pairs.csv", "-o", "voices/mixtures/pairs.csv"],
            "voices/mixtures/pairs.csv",
        ),
        ([*TRAIN, "--config", "run.toml", "--checkpoint", "run.toml"], "run.toml"),
        (
            [*TRAIN, "--from", "tiny.safetensors", "--checkpoint", "tiny.safetensors"],
            "tiny.safetensors",
        ),
        (["voices", "--data", "voices", "-o", "voices/bob/1.wav", "--force"], "voices/bob/1.wav"),
        (["voices", "--data", "voices.csv", "-o", "voices.csv", "--force"], "voices.csv"),
        ([*EVALUATE, "--csv", "voices/mixtures/pairs.csv"], "voices/mixtures/pairs.csv"),
        ([*EVALUATE, "--plot", "tiny.safetensors"], "tiny.safetensors"),
        (["report", "scores.csv", "-o", "./scores.csv"], "scores.csv"),
        (["card", "tiny.safetensors", "scores.csv", "-o", "scores.csv"], "scores.csv"),
        (["card", "tiny.safetensors", "--plot", "tiny.safetensors"], "tiny.safetensors"),
        (["demo", "-o", ".", "--model", "index.html"], "index.html"),
    ],
)
def test_no_command_replaces_what_it_reads(
    desk: Path, command: list[str], taken: str, capsys: Capture
) -> None:
    Path("link.wav").symlink_to("link-1.wav")
    noise("link-1.wav")
    if command[0] in ("separate", "voices"):
        command = [*command, "--model", "tiny.safetensors"]
    before = files_of(desk)
    said = error_of(command, capsys)
    assert f"would replace {taken!r}, which is an input; give" in said
    assert files_of(desk) == before


@posix_only
@pytest.mark.usefixtures("in_tmp_path")
def test_links_and_permissions_stay_and_pipes_are_refused(tiny: Path, capsys: Capture) -> None:
    noise("real.wav")
    os.chmod("real.wav", 0o600)
    Path("link.wav").symlink_to("real.wav")
    noise("link.wav", 1)
    assert Path("link.wav").is_symlink()
    assert Path("real.wav").stat().st_mode & 0o777 == 0o600
    np.testing.assert_array_equal(read_audio("real.wav")[0], read_audio("link.wav")[0])
    os.mkfifo("pipe.wav")
    with pytest.raises(ValueError, match="is a device or a pipe, and no file; give the name of"):
        noise("pipe.wav")
    said = error_of(["card", str(tiny), "-o", "pipe.wav"], capsys)
    assert "'pipe.wav' is a device or a pipe, and no file; give" in said
    assert Path("pipe.wav").is_fifo()


@pytest.mark.usefixtures("desk", "no_work")
def test_separate_file_does_not_replace_its_recording(tiny: Path) -> None:
    before = Path("talk-1.wav").read_bytes()
    for n_sources in (2, "auto"):
        with pytest.raises(FileExistsError, match=r"'talk-1\.wav' would replace 'talk-1\.wav'"):
            skdc.separate_file("talk-1.wav", ".", name="talk", model=tiny, n_sources=n_sources)
    os.rename("talk-1.wav", "talk-noise.wav")
    with pytest.raises(FileExistsError, match=r"would replace 'talk-noise\.wav', which"):
        skdc.separate_file("talk-noise.wav", ".", name="talk", model=tiny, noise=True)
    assert Path("talk-noise.wav").read_bytes() == before


@pytest.mark.usefixtures("desk", "no_work")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "../talk"}, r"name='\.\./talk' must be the name of a file, without a folder"),
        ({"name": "a/b"}, "name='a/b' must be"),
        ({"name": ""}, "name='' must be"),
        ({"name": 5}, "name=5 must be"),
        ({"noise": "yes"}, "'noise' parameter of separate_file must be"),
        ({"pair_sweeps": -1}, "'pair_sweeps' parameter of separate_file"),
    ],
)
def test_separate_file_refuses_before_any_work(
    tiny: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        skdc.separate_file("talk-1.wav", "parts", model=tiny, **wrong)
    assert not Path("parts").exists()


@pytest.mark.parametrize("channels", ["no", 1, np.array([1, 0])])
def test_channels_are_taken_apart_or_not(channels: Any) -> None:
    with pytest.raises(ValueError, match=r"channels=.* must be True or False"):
        skdc.separate(np.ones((2, 800)), rate=8000, channels=channels)


def test_an_unfitted_model_is_told_before_the_channels_are_looked_at() -> None:
    for recording in (np.ones(800), np.ones((2, 800))):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            skdc.separate(recording, rate=8000, model=make_separator())


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("name", ["talk-1.wav", "TALK-1.wav", "hard.wav"])
def test_results_do_not_replace_their_recording(tiny: Path, name: str) -> None:
    if name == "hard.wav":
        os.link("talk-1.wav", name)
    elif not os.path.exists(name):
        pytest.skip("letters of another case are another name here")
    before = Path("talk-1.wav").read_bytes()
    result = replace(skdc.separate(name, model=tiny), name="talk")
    assert result.recording == Path(name)
    with pytest.raises(FileExistsError, match=f"'talk-1.wav' would replace '{name}'"):
        result.save(".")
    of_file = skdc.separate_file(name, "out", model=tiny)
    for writer in (result, of_file):
        with pytest.raises(FileExistsError, match=f"'{name}' would replace '{name}'"):
            writer.save_rttm(name)
    assert Path("talk-1.wav").read_bytes() == before
    assert not os.path.exists("talk-2.wav")
    assert replace(result, name="other").save(".") == [Path("other-1.wav"), Path("other-2.wav")]


@pytest.mark.usefixtures("desk")
def test_makers_do_not_replace_their_corpus() -> None:
    inside = "wav16k/min/tt/s1/first.wav"
    noise(f"corpus/{inside}")
    noise("corpus/bob/1.wav")
    write_lines(
        Path("corpus/tt.csv"),
        "mixture_id,n_samples,source_1,start_1,level_db_1,source_2,start_2,level_db_2",
        f"first,8000,{inside},0,1,bob/1.wav,0,-1",
    )
    with pytest.raises(FileExistsError, match=f"would replace 'corpus/{inside}', which is an in"):
        plan_protocol("lrs3-2mix", "corpus", "corpus", "corpus", subsets=["tt"])
    plan_protocol("lrs3-2mix", "corpus", "corpus", "elsewhere", subsets=["tt"])
    before = files_of("voices")
    with pytest.raises(FileExistsError, match=r"would replace 'voices/ann/1\.wav'"):
        draw_mixture_list("voices", "voices/ann/1.wav", n_mixtures=1)
    assert files_of("voices") == before


# -- names ---------------------------------------------------------------------------------------


@posix_only
@given(
    st.text(st.sampled_from("x\u00e9\u65e5\U0001f600"), min_size=50, max_size=300),
    st.sampled_from(["", "new", "new/er"]),
)
def test_names_are_refused_that_cannot_be_written(
    tmp_path_factory: pytest.TempPathFactory, name: str, folder: str
) -> None:
    root = tmp_path_factory.mktemp("names")
    path = root / folder / name
    try:
        check_outputs([path])
    except ValueError as error:
        assert f"a name of {len(name.encode())} bytes" in str(error)  # noqa: PT017
        with pytest.raises(OSError, match="name too long"), atomic_path(path):
            pass
    else:
        with atomic_path(path) as temporary:
            temporary.write_text("whole")
        assert path.read_text() == "whole"


@posix_only
def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "folder").mkdir()
    check_outputs([tmp_path / "a.wav", tmp_path / "new" / "b.wav"], [tmp_path / "no.wav"])
    with pytest.raises(ValueError, match="a name of 300 bytes is longer"):
        check_outputs([tmp_path / ("x" * 300) / "a.wav"])
    with pytest.raises(ValueError, match=r"a path of 6\d+ bytes is longer .*; take another"):
        check_outputs([tmp_path / "/".join(["x" * 200] * 30)], advice="take another")
    with pytest.raises(ValueError, match="folder' is a folder; give it another name"):
        check_outputs([tmp_path / "folder"])
    with pytest.raises(NotADirectoryError, match=r"a\.wav' is a file; give a folder"):
        check_outputs([tmp_path / "a.wav" / "new" / "b.wav"])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    message = f"the folder '{tmp_path}' cannot be written to"
    # What is replaced is a new file, too.
    for name in ("new/b.wav", "a.wav"):
        with pytest.raises(PermissionError, match=message):
            check_outputs([tmp_path / name])
    check_outputs([tmp_path / "a.wav"], replaces=False)
    with pytest.raises(PermissionError, match=message):
        check_outputs([tmp_path / "b.wav"], replaces=False)
    # The file that a link leads to is replaced, and not the link.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.wav").touch()
    (tmp_path / "c.wav").symlink_to("elsewhere/c.wav")
    monkeypatch.setattr(os, "access", lambda path, mode: "elsewhere" not in str(path))
    with pytest.raises(PermissionError, match=f"the folder '{tmp_path}/elsewhere' cannot be"):
        check_outputs([tmp_path / "c.wav"])


@posix_only
@pytest.mark.usefixtures("desk", "no_work")
@pytest.mark.parametrize("stem", LONG_STEMS)
def test_separate_file_finds_names_too_long_before_the_work(tiny: Path, stem: str) -> None:
    os.rename("talk.wav", f"{stem}.wav")
    with pytest.raises(ValueError, match="than the file system takes; give another folder, or a"):
        skdc.separate_file(f"{stem}.wav", "out", model=tiny)
    assert not os.path.exists("out")


@posix_only
@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("stem", LONG_STEMS)
@pytest.mark.parametrize("options", [[], ["--page"], ["--n-sources", "auto"]])
def test_the_other_files_of_a_folder_are_separated(
    stem: str, options: list[str], capsys: Capture, monkeypatch: Any
) -> None:
    noise("in/a.wav")
    noise(f"in/{stem}.wav")
    noise("in/z.wav")
    read: list[str] = []

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(recording: Any, *args: Any, **kwargs: Any) -> Any:
            read.append(Path(recording).stem)
            return function(recording, *args, **kwargs)

        return call

    for name in ("separate", "separate_file"):
        monkeypatch.setattr(f"skdc.pretrained.{name}", logged(getattr(skdc, name)))
    command = ["separate", "in", "-o", "out", "--model", "tiny.safetensors", "--json", *options]
    assert main(command) == 1
    said, errors = capsys.readouterr()
    done = {Path(line["input"]).stem: line for line in map(json.loads, said.splitlines())}
    assert read == ["a", "z"]
    assert [bool(done[name]["outputs"]) for name in ("a", stem, "z")] == [True, False, True]
    advice = "takes; give the recording a shorter name, or -o another folder"
    assert done[stem]["error"].endswith(advice)
    assert errors.count("\n") == 1
    assert advice in errors
    # Going on, where the folder is there now, fails at the same file again.
    read.clear()
    assert main([*command, "--skip-existing"]) == 1
    assert read == []
    assert main(["separate", f"in/{stem}.wav", *command[2:], "--force"]) == 2


@posix_only
@pytest.mark.usefixtures("desk", "no_work")
@pytest.mark.parametrize(
    "command",
    [
        ["train", "--data", "voices", "-o", "LONG", *TINY],
        ["train", "--data", "voices", "--checkpoint", "LONG", *TINY],
        ["voices", "--data", "voices", "--model", "tiny.safetensors", "-o", "LONG"],
        [*EVALUATE, "--csv", "LONG"],
        [*EVALUATE, "--plot", "LONG.png"],
        ["report", "scores.csv", "-o", "LONG"],
        ["card", "tiny.safetensors", "-o", "LONG"],
        ["card", "tiny.safetensors", "--plot", "LONG.png"],
        ["demo", "-o", "LONG", "--model", "tiny.safetensors"],
        ["separate", "talk.wav", "-o", "LONG", "--model", "tiny.safetensors"],
    ],
)
def test_every_command_finds_names_too_long_before_the_work(
    command: list[str], capsys: Capture
) -> None:
    said = error_of([word.replace("LONG", "\u65e5" * 100) for word in command], capsys)
    assert "a name of 30" in said
    assert "is longer than the file system takes; give" in said


@posix_only
@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize("checkpoint", ["x" * 300, ".", "there/x.safetensors"])
def test_checkpoints_that_cannot_be_written(checkpoint: str) -> None:
    touch("there")
    mixtures = np.ones((2, 8000))
    with pytest.raises((ValueError, NotADirectoryError), match=r"longer than|a folder"):
        make_separator().fit(mixtures, mixtures[:, np.newaxis], checkpoint=checkpoint)
    with pytest.raises((ValueError, NotADirectoryError), match=r"longer than|a folder"):
        make_separator().fit_recordings(mixtures, checkpoint=checkpoint)


@posix_only
@pytest.mark.usefixtures("desk")
def test_makers_find_names_too_long_before_the_work() -> None:
    header = "mixture_id,n_samples,source_1,start_1,level_db_1,source_2,start_2,level_db_2"
    row = ",8000,ann/1.wav,0,1,bob/1.wav,0,-1"
    write_lines(Path("tt.csv"), header, f"short{row}", "x" * 252 + row)
    with pytest.raises(ValueError, match="a name of 256 bytes"):
        plan_protocol("lrs3-2mix", "voices", ".", "out", subsets=["tt"])


@pytest.mark.usefixtures("desk", "no_work")
@pytest.mark.parametrize("name", ["curve", "curve.txt", "curve.safetensors"])
@pytest.mark.parametrize("command", [EVALUATE, ["card", "tiny.safetensors"]])
def test_pictures_of_no_format_are_found_before_the_work(
    command: list[str], name: str, capsys: Capture
) -> None:
    said = error_of([*command, "--plot", name], capsys)
    assert f"{name!r} does not end in the name of a format of pictures; expected one of" in said
    assert not os.path.exists(name)


@posix_only
@pytest.mark.usefixtures("desk")
def test_a_folder_in_the_place_of_a_result(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out/talk-2.wav").mkdir(parents=True)
    monkeypatch.setattr(DeepClusteringSeparator, "separate_in_blocks", None)
    with pytest.raises(ValueError, match=r"'out/talk-2\.wav' is a folder; give another folder"):
        skdc.separate_file("talk.wav", "out", model=tiny)


# -- results of earlier runs ---------------------------------------------------------------------


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    "inputs",
    [
        ["in"],
        ["in/**"],
        ["in/**/*.wav"],
        ["in/*"],
        ["in/a.wav", "in/deep", "in/out"],  # as a shell gives what matches in/*
        ["in/out", "in/a.wav", "in/deep"],
    ],
)
def test_results_of_an_earlier_run_are_no_input(inputs: list[str], capsys: Capture) -> None:
    noise("in/a.wav")
    noise("in/deep/b.wav")
    command = ["separate", *inputs, "-o", "in/out", "--model", "tiny.safetensors"]
    Path("in/out").mkdir()
    assert main(command) == 0
    before, (_, errors) = files_of("in"), capsys.readouterr()
    assert errors == ""
    for option in ("--skip-existing", "--force"):
        assert main([*command, option]) == 0
        said, errors = capsys.readouterr()
        assert errors.count("left out, because they lie in the output folder 'in/out': ") == 1
        assert "in/out/a-1.wav" in errors
        assert "out/a-1.wav ->" not in said
    assert files_of("in") == before


@pytest.mark.usefixtures("in_tmp_path")
def test_recordings_that_share_a_folder_with_their_results_are_input() -> None:
    touch("a.wav", "deep/b.wav", "c/d.wav", "e/f.wav")

    def found(*inputs: str, output: str) -> tuple[list[str], list[str]]:
        jobs, _, results = find_inputs(list(inputs), Path(output))
        return [job.source.as_posix() for job in jobs], [path.as_posix() for path in results]

    assert found("a.wav", output=".") == (["a.wav"], [])
    assert found("*.wav", output=".") == (["a.wav"], [])
    assert found("deep", output=".") == (["deep/b.wav"], [])
    assert found("deep", "a.wav", output=".") == (["deep/b.wav", "a.wav"], [])
    assert found("deep", output="deep") == (["deep/b.wav"], [])
    assert found("deep/*", output="deep") == (["deep/b.wav"], [])
    assert found("deep/b.wav", "e", output="deep") == (["deep/b.wav", "e/f.wav"], [])
    assert found("deep", "e", output="deep") == (["e/f.wav"], ["deep/b.wav"])
    assert found("?", "e", output="c") == (["e/f.wav"], ["c/d.wav"])
    assert found("[a-d]*", "a.wav", output="new") == (["a.wav", "c/d.wav", "deep/b.wav"], [])
    with pytest.raises(FileNotFoundError, match="no audio file is given but what lies in the out"):
        found("c*", output="c")
