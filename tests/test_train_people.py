"""Training by people: recordings in the layouts that they have, and models to go on from."""

from __future__ import annotations

import re
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import make_separator, touch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skdc import DeepClusteringSeparator
from skdc.audio import AudioFiles, write_audio
from skdc.cli import main
from skdc.datasets import find_recordings
from skdc.datasets.corpora import _matching_recordings
from skdc.network import BLSTM, BandBLSTM, Trunk
from skdc.training import DynamicMixing

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def voices(*names: str) -> None:
    for seed, name in enumerate(names):
        write_audio(name, 0.1 * np.random.default_rng(seed).standard_normal(8000), 8000)


def found(source: str, split: str | None = None) -> list[tuple[str, str]]:
    recordings, speakers = find_recordings(source, split)
    paths = [path.as_posix() for path in recordings.paths]
    return list(zip(paths, speakers, strict=True))


# -- layouts --------------------------------------------------------------------------------------


def list_a_pair() -> None:
    """Write lists/pairs.csv: a mixture of v/ann/1.wav and v/bob/1.wav."""
    Path("lists").mkdir()
    Path("lists/pairs.csv").write_text(
        "mixture_id,n_samples,source_1,gain_1,source_2,gain_2\n"
        "pair-0,8000,v/ann/1.wav,1.0,v/bob/1.wav,1.0\n"
    )


def test_a_folder_for_each_speaker() -> None:
    touch("v/ann/1.wav", "v/ann/deep/2.FLAC", "v/bob/1.mp3", "v/notes.txt", "v/bob/notes.txt")
    touch("v/.cache/1.wav", "v/ann/.hidden.wav", "v/ann/call.m4a")
    assert found("v") == [
        ("v/ann/1.wav", "ann"),
        ("v/ann/call.m4a", "ann"),
        ("v/ann/deep/2.FLAC", "ann"),
        ("v/bob/1.mp3", "bob"),
    ]


def test_audio_beside_the_folders_of_speakers_is_named() -> None:
    touch("v/ann/1.wav", "v/bob/1.wav", "v/loose.wav", "v/other.flac", "v/notes.txt")
    with pytest.warns(
        UserWarning, match=r"^'v' has audio beside .* left out: loose\.wav, other\.f"
    ):
        assert found("v") == [("v/ann/1.wav", "ann"), ("v/bob/1.wav", "bob")]


@pytest.mark.parametrize("layout", ["table", "corpus", "link"])
def test_one_recording_of_two_speakers_is_refused(layout: str) -> None:
    touch("v/ann/1.wav", "v/bob/1.wav", "v/bob/2.wav")
    rows = "train,ann,ann/1.wav\ntrain,bob,bob/1.wav\ntrain,bob,bob/../ann/1.wav\n"
    if layout == "link":
        Path("v/bob/3.wav").symlink_to("../ann/1.wav")
    else:
        name = "utterances.csv" if layout == "corpus" else "voices.csv"
        Path("v", name).write_text(f"split,speaker,path\n{rows}")
    source = "v/voices.csv" if layout == "table" else "v"
    with pytest.raises(
        ValueError, match=r"gives the recording '.*/[13]\.wav' to 'ann' and to 'bob"
    ):
        find_recordings(source)


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
@pytest.mark.parametrize("name", ["utterances.csv", "voices.csv"])
def test_rows_without_a_speaker_are_refused(name: str, blank: str) -> None:
    touch("v/1.wav", "v/2.wav", "v/3.wav")
    rows = f"train,ann,1.wav\ntrain,{blank},2.wav\ntrain,bob,3.wav\n"
    Path("v", name).write_text(f"split,speaker,path\n{rows}")
    with pytest.raises(ValueError, match=rf"{name}', line 3: no speaker"):
        find_recordings("v" if name == "utterances.csv" else f"v/{name}")


def test_folders_that_are_links() -> None:
    touch("elsewhere/2.wav", "v/ann/1.wav", "v/bob/1.wav")
    Path("v/ann/session").symlink_to("../../elsewhere")
    Path("v/ann/session/again").symlink_to(".")  # a loop, which is gone through once
    assert found("v") == [
        ("v/ann/1.wav", "ann"),
        ("v/ann/session/2.wav", "ann"),
        ("v/bob/1.wav", "bob"),
    ]


def test_a_table() -> None:
    touch("a/1.wav", "a/2.wav")
    Path("a/voices.csv").write_text("path,speaker,split\n1.wav,ann,train\n2.wav,bob,test\n")
    assert found("a/voices.csv") == [("a/1.wav", "ann"), ("a/2.wav", "bob")]
    with pytest.raises(ValueError, match=r"gives 1 recordings of 1 speakers"):
        find_recordings("a/voices.csv", "test")
    with pytest.raises(ValueError, match="has no split 'dev'; it has 'test', 'train'"):
        find_recordings("a/voices.csv", "dev")
    Path("a/voices.csv").write_text("path,speaker\n1.wav,ann\n2.wav, ann \n")
    with pytest.raises(ValueError, match=r"gives 2 recordings of 1 speakers"):
        find_recordings("a/voices.csv")
    Path("a/voices.csv").write_text("path,speaker\n1.wav,ann\n3.wav,bob\n")
    with pytest.raises(
        FileNotFoundError, match=r"1 of the 2 audio files of voices.csv are missing"
    ):
        find_recordings("a/voices.csv")
    with pytest.raises(ValueError, match="has no column split, and so no split 'test'"):
        find_recordings("a/voices.csv", "test")
    Path("a/voices.csv").write_text("file,speaker\n1.wav,ann\n")
    with pytest.raises(ValueError, match="path"):
        find_recordings("a/voices.csv")


def test_a_corpus() -> None:
    touch("c/1.wav", "c/2.wav", "c/3.wav", "c/4.wav")
    Path("c/utterances.csv").write_text(
        "split,speaker,path\ntrain,ann,1.wav\ntrain,bob,2.wav\nmore,eve,3.wav\nmore,kim,4.wav\n"
    )
    assert [speaker for _, speaker in found("c")] == ["ann", "bob"]
    assert [speaker for _, speaker in found("c", "more")] == ["eve", "kim"]


UNDERSCORED = {"x/eve/eve_1.wav": "eve", "x/kim/eve_1.wav": "kim", "x/kim/kim_2.wav": "kim"}


@pytest.mark.filterwarnings("ignore:the names of speakers in .* are ambiguous")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("p/{speaker}-*.wav", {"ann-1.wav": "ann", "bob-2.wav": "bob", "bob-x-3.wav": "bob"}),
        ("p/x/{speaker}/**/*.flac", {"x/eve/a.flac": "eve", "x/kim/d/e/b.flac": "kim"}),
        ("p/*/{speaker}/{speaker}_?.wav", {"x/eve/eve_1.wav": "eve", "x/kim/kim_2.wav": "kim"}),
        ("./p/{speaker}-?.wav", {"ann-1.wav": "ann", "bob-2.wav": "bob", "bob-x-3.wav": "bob-x"}),
        ("p/{speaker}-[12].wav", {"ann-1.wav": "ann", "bob-2.wav": "bob"}),
        ("p/{speaker}-[!3-9].wav", {"ann-1.wav": "ann", "bob-2.wav": "bob"}),
        ("[!q]/x/{speaker}/**", {"x/eve/a.flac": "eve", "x/kim/d/e/b.flac": "kim"} | UNDERSCORED),
        ("p/**/x/{speaker}/**/?.flac", {"x/eve/a.flac": "eve", "x/kim/d/e/b.flac": "kim"}),
        ("p/x/{speaker}/{speaker}*", {"x/eve/eve_1.wav": "eve", "x/kim/kim_2.wav": "kim"}),
    ],
)
def test_names_by_pattern(pattern: str, expected: dict[str, str]) -> None:
    touch("p/ann-1.wav", "p/bob-2.wav", "p/bob-x-3.wav", "p/ann-1.txt", "p/x/eve/a.flac")
    touch("p/x/kim/d/e/b.flac", "p/x/eve/eve_1.wav", "p/x/kim/eve_1.wav", "p/x/kim/kim_2.wav")
    assert found(pattern) == sorted((f"p/{path}", name) for path, name in expected.items())


def test_people_whom_a_pattern_joins_are_named() -> None:
    touch("p/anna-maria-1.wav", "p/anna-lena-1.wav", "p/anna-lena-2.wav", "p/bob-1.wav")
    message = r"in 'p/\{speaker\}-\*\.wav' are .*: 'anna' for 'anna-lena', 'anna-maria'\. If these"
    with pytest.warns(UserWarning, match=message):
        assert {speaker for _, speaker in found("p/{speaker}-*.wav")} == {"anna", "bob"}
    assert {speaker for _, speaker in found("p/{speaker}-[0-9].wav")} == {
        "anna-lena",
        "anna-maria",
        "bob",
    }
    # One longer name is the same person.
    Path("p/anna-maria-1.wav").unlink()
    assert {speaker for _, speaker in found("p/{speaker}-*.wav")} == {"anna", "bob"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    names = ("a", "b", "a1", "[a]", "]", "!", "^", "a-b", "a.b")
    for path in (*names, *(f"{x}/{y}" for x in names[:5] for y in names), "a1/b/a/]/a"):
        file = root / f"{path.replace('/', '.d/')}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (root / "a.d" / "folder.wav").mkdir()
    return root


PIECES = ["*", "?", "a", "b", "[ab]", "[!a]", "[a-]", "[]]", "[!]]", "[[]", "]", "[", "^", "[^a]"]
PARTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=3).map("".join), st.just("**"))


def speaker_is_in_a_class(part: str) -> bool:
    at, name = 0, part.index("{speaker}")
    while (at := part.find("[", at)) >= 0:
        first = at + 1 + part.startswith("!", at + 1)
        end = part.find("]", first + 1)  # a bracket that comes first is one of the class
        if at < name < end:
            return True
        at = max(end, at) + 1
    return False


@example(above=[], before="[", after="[ab]", below=[])
@example(above=[], before="[[]", after="]", below=[])
@given(st.lists(PARTS, max_size=2), PARTS, PARTS, st.lists(PARTS, max_size=2))
def test_patterns_find_what_glob_finds(
    tree: Path, above: list[str], before: str, after: str, below: list[str]
) -> None:
    pattern = "/".join([str(tree), *above, f"{before}{{speaker}}{after}", *below])
    if speaker_is_in_a_class(f"{before}{{speaker}}{after}.wav"):
        with pytest.raises(ValueError, match=r"between brackets.*write \[\[\] for"):
            _matching_recordings(f"{pattern}.wav")
        return
    for end in ("", ".wav", "/**"):
        everything = glob(f"{pattern}{end}".replace("{speaker}", "?*"), recursive=True)
        audio = {Path(x) for x in everything if x.endswith(".wav") and not Path(x).is_dir()}
        named = _matching_recordings(f"{pattern}{end}")
        assert [file for file, _ in named] == sorted(audio)


@given(st.text(st.characters(codec="ascii", exclude_characters="/\x00{}*?[]\\-"), min_size=1))
def test_any_name_of_a_speaker(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    if name.startswith(".") or name != name.strip():
        return
    folder = tmp_path_factory.mktemp("names")
    try:
        (folder / f"{name}-1.wav").touch()
    except OSError:
        return
    ((_, speaker),) = _matching_recordings(f"{folder}/{{speaker}}-*.wav")
    assert speaker == name


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (
            "x/[{speaker}]/*.wav",
            ValueError,
            r"one character of several.*write \[\[\] for an opening",
        ),
        ("gone", FileNotFoundError, "there is nothing at 'gone'; give one of: a folder with"),
        ("empty", ValueError, r"'empty' gives 0 recordings of 0 speakers.*voices/ann/1\.wav"),
        ("one", ValueError, r"'one' gives 1 recordings of 1 .*'voices/\{speaker\}-\*\.wav'"),
        ("x/{speaker}.wav", ValueError, "gives 0 recordings of 0 speakers"),
        ("talk.wav", ValueError, r"'talk\.wav' is a file, but no table \(\.csv\)"),
    ],
)
def test_what_is_not_understood(source: str, error: type[Exception], message: str) -> None:
    touch("one/ann/1.wav", "talk.wav")
    Path("empty").mkdir()
    with pytest.raises(error, match=message):
        find_recordings(source)


def test_a_split_of_what_has_none() -> None:
    touch("v/ann/1.wav", "v/bob/1.wav")
    with pytest.raises(ValueError, match="'v' has no table, and so no split 'test'; leave it out"):
        find_recordings("v", "test")


# -- the command ----------------------------------------------------------------------------------

TINY = ["--set", "hidden_size=8", "embedding_dim=4", "n_layers=1", "max_epochs=2", "trunk=blstm"]


def weights(path: str) -> dict[str, Any]:
    return DeepClusteringSeparator.load(path).network_.state_dict()


@pytest.mark.parametrize("more", [[], ["--memory", "1e-9"]], ids=["memory", "streamed"])
def test_recordings_that_cannot_be_used_are_named_by_their_files(
    more: list[str], capsys: Capture
) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav", "v/bob/2.wav")
    spoilt = np.full(8000, np.nan, np.float32)
    soundfile.write("v/bob/2.wav", spoilt, 8000, subtype="FLOAT")
    for early in ([], ["n_iter_no_change=1"]):
        if early:
            voices("v/cyn/1.wav", "v/dan/1.wav", "v/eve/1.wav")
        command = ["train", "--data", "v", *more, *TINY, *early]
        assert main(command) == 2
        assert "v/bob/2.wav" in capsys.readouterr().err.replace("\\", "/")


def test_train_on_folders(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/ann/2.wav", "v/bob/1.wav")
    assert main(["train", "--data", "v", "-o", "m.safetensors", *TINY]) == 0
    assert capsys.readouterr().out.startswith("Training on 3 recordings of 2 speakers")
    before = Path("m.safetensors").read_bytes()
    assert main(["train", "--data", "v/{speaker}/1.wav", "-o", "m.safetensors", *TINY]) == 2
    assert "'m.safetensors' exists already; use --force" in capsys.readouterr().err
    assert Path("m.safetensors").read_bytes() == before
    command = ["train", "--data", "v/{speaker}/1.wav", "-o", "m.safetensors", "--force", *TINY]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("Training on 2 recordings of 2 speakers")
    assert Path("m.safetensors").read_bytes() != before


@pytest.mark.filterwarnings("always:another program has written")
@pytest.mark.parametrize("way", ["nothing there", "force", "goes on"])
def test_a_model_that_another_run_has_written_meanwhile_stays(
    way: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    command = ["train", "--data", "v", "-o", "m.safetensors", *TINY]
    if way == "goes on":
        command[1:1] = ["--checkpoint", "run"]
    if way != "nothing there":
        assert main(command) == 0
    if way == "force":
        command.insert(1, "--force")
    fit = DeepClusteringSeparator.fit_recordings
    touch("m-2.safetensors")

    def meanwhile(separator: DeepClusteringSeparator, *args: Any, **how: Any) -> Any:
        Path("m.safetensors").unlink(missing_ok=True)
        Path("m.safetensors").write_text("of another run")
        return fit(separator, *args, **how)

    monkeypatch.setattr(DeepClusteringSeparator, "fit_recordings", meanwhile)
    capsys.readouterr()
    assert main(command) == 0
    said, warned = capsys.readouterr()
    assert "another program has written 'm.safetensors' in the meantime" in warned
    assert "the model is 'm-3.safetensors'" in warned
    assert "m-3.safetensors: " in said
    assert Path("m.safetensors").read_text() == "of another run"
    assert Path("m-2.safetensors").read_text() == ""
    assert DeepClusteringSeparator.load("m-3.safetensors").n_iter_ == 2


def test_a_model_that_was_taken_away_meanwhile_leaves_its_name_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    command = ["train", "--data", "v", "-o", "m.safetensors", *TINY]
    assert main(command) == 0
    fit = DeepClusteringSeparator.fit_recordings

    def meanwhile(separator: DeepClusteringSeparator, *args: Any, **how: Any) -> Any:
        Path("m.safetensors").unlink()
        return fit(separator, *args, **how)

    monkeypatch.setattr(DeepClusteringSeparator, "fit_recordings", meanwhile)
    assert main([command[0], "--force", *command[1:]]) == 0
    assert Path("m.safetensors").is_file()
    assert not Path("m-2.safetensors").exists()


@pytest.mark.filterwarnings("always:another program has written")
def test_heads_do_not_replace_a_model_that_another_run_has_written_meanwhile(
    capsys: Capture, plain_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")

    def meanwhile(model: DeepClusteringSeparator, *args: Any) -> DeepClusteringSeparator:
        touch("m.st")
        return model

    monkeypatch.setattr(DeepClusteringSeparator, "fit_voices", meanwhile)
    assert main(["voices", "--data", "v", "--model", plain_file, "-o", "m.st"]) == 0
    said, warned = capsys.readouterr()
    assert "written 'm.st' in the meantime, which stays as it is; the model is 'm-2.st'" in warned
    assert "m-2.st: knows who is who" in said
    assert Path("m.st").read_bytes() == b""
    assert DeepClusteringSeparator.load("m-2.st").n_iter_ > 0


def test_the_model_to_go_on_from_is_read_once(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    list_a_pair()
    y = 0.1 * np.random.default_rng(3).standard_normal((2, 2, 8000))
    make_separator().fit(y.sum(axis=1), y).save("old.safetensors")
    command = ["train", "--from", "old.safetensors", "--data", "v"]
    command += ["--valid", "lists/pairs.csv", "--set", "max_epochs=3", "mask=binary"]
    assert main([*command, "-o", "expected.safetensors"]) == 0
    expected = capsys.readouterr().out.splitlines()[1:]
    fit = DeepClusteringSeparator.fit_recordings

    def meanwhile(separator: DeepClusteringSeparator, *args: Any, **how: Any) -> Any:
        Path("old.safetensors").unlink()
        return fit(separator, *args, **how)

    monkeypatch.setattr(DeepClusteringSeparator, "fit_recordings", meanwhile)
    assert main([*command, "-o", "new.safetensors"]) == 0
    said = capsys.readouterr().out.replace("new.", "expected.").splitlines()[1:]
    assert said == expected
    for name, value in weights("expected.safetensors").items():
        assert (weights("new.safetensors")[name] == value).all()


def test_a_run_that_goes_on_needs_no_force(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    command = ["train", "--data", "v", "-o", "m.safetensors", "--checkpoint", "run", *TINY]
    assert main(command) == 0
    assert main([*command, "max_epochs=3"]) == 0
    assert "Resuming from run" in capsys.readouterr().out


def test_train_on_from_a_model(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    list_a_pair()
    y = 0.1 * np.random.default_rng(3).standard_normal((2, 2, 8000))
    make_separator(learning_rate=0.5).fit(y.sum(axis=1), y).save("old.safetensors")
    command = ["train", "--from", "old.safetensors", "--data", "v", "-o", "new.safetensors"]
    command += ["--valid", "lists/pairs.csv", "--set", "max_epochs=3"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "lists/pairs.csv: SI-SDR improvement " in said
    assert " dB before, " in said
    new = DeepClusteringSeparator.load("new.safetensors")
    old = DeepClusteringSeparator.load("old.safetensors")
    assert (new.learning_rate, new.max_epochs) == (3e-4, 3)
    assert (new.hidden_size, new.win_length) == (old.hidden_size, old.win_length)
    assert new.n_iter_ == old.n_iter_ + 3
    # Trained by steps of 3e-4.
    for name, value in weights("old.safetensors").items():
        assert_allclose(weights("new.safetensors")[name], value, rtol=1e-3, atol=6e-3)
    assert any(
        (weights("new.safetensors")[name] != value).any()
        for name, value in weights("old.safetensors").items()
    )


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (("v/ann/1.wav", "v/bob/1.wav"), "mixture 'pair-0' of 'lists/pairs.csv' is silent"),
        (("v/ann/2.wav",), "mixture 'pair-0' of 'lists/pairs.csv' has 100 samples; at least"),
    ],
)
def test_mixtures_of_validation_are_named(
    spoilt: tuple[str, ...], message: str, capsys: Capture
) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav", "v/ann/2.wav", "v/bob/2.wav")
    list_a_pair()
    if len(spoilt) == 1:
        text = Path("lists/pairs.csv").read_text().replace("8000,", "100,")
        Path("lists/pairs.csv").write_text(text)
    else:
        Path("valid").mkdir()
        text = Path("lists/pairs.csv").read_text().replace("v/", "valid/")
        Path("lists/pairs.csv").write_text(text)
        for name in ("ann", "bob"):
            write_audio(f"valid/{name}/1.wav", np.zeros(8000), 8000)
    command = ["train", "--data", "v", "--valid", "lists/pairs.csv", *TINY]
    assert main(command) == 2
    assert message in capsys.readouterr().err


@pytest.mark.filterwarnings("always:.*looks clipped")
def test_warnings_of_mixtures_of_validation_name_them(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    list_a_pair()
    noise = np.random.default_rng(0).standard_normal(8000)
    is_first = np.arange(8000) < 7000
    write_audio("w/ann/1.wav", 0.5 * np.clip(noise, -1, 1) * is_first, 8000)
    write_audio("w/bob/1.wav", 0.05 * noise * ~is_first, 8000)
    text = Path("lists/pairs.csv").read_text().replace("v/", "w/")
    Path("lists/pairs.csv").write_text(text)
    assert main(["train", "--data", "v", "--valid", "lists/pairs.csv", *TINY]) == 0
    said = capsys.readouterr().err
    assert "warning: mixture 'pair-0' of 'lists/pairs.csv' looks clipped" in said


def test_mixtures_of_more_sources_than_the_model_looks_for(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav", "v/cyn/1.wav")
    list_a_pair()
    header, row = Path("lists/pairs.csv").read_text().splitlines()
    text = f"{header},source_3,gain_3\n{row},v/cyn/1.wav,1.0\n"
    Path("lists/pairs.csv").write_text(text)
    y = 0.1 * np.random.default_rng(3).standard_normal((2, 2, 8000))
    make_separator().fit(y.sum(axis=1), y).save("old.safetensors")
    command = ["train", "--from", "old.safetensors", "--data", "v", "-o", "new.safetensors"]
    assert main([*command, "--valid", "lists/pairs.csv", "--set", "max_epochs=1"]) == 0
    assert " dB before, " in capsys.readouterr().out
    assert DeepClusteringSeparator.load("new.safetensors").n_sources == 2


def test_silent_sources_of_validation_are_left_out(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    list_a_pair()
    table = Path("lists/pairs.csv")
    table.write_text(table.read_text().replace("v/bob/1.wav,1.0", "v/bob/1.wav,0"))
    y = 0.1 * np.random.default_rng(3).standard_normal((2, 2, 8000))
    make_separator().fit(y.sum(axis=1), y).save("old.safetensors")
    command = ["train", "--from", "old.safetensors", "--data", "v", "-o", "new.safetensors"]
    assert main([*command, "--valid", "lists/pairs.csv", "--set", "max_epochs=1"]) == 0
    assert " dB before, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "warm_start=false"], "leave warm_start out"),
        (["--set", "device=nowhere"], "give --device"),
        (["-o", "lists/../old.safetensors", "--force", "--checkpoint", "c"], "-o another name"),
        (["-o", "c", "--checkpoint", "lists/../c"], "give different files"),
    ],
)
def test_what_does_not_go_together(more: list[str], message: str, capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    list_a_pair()
    y = np.random.default_rng(3).standard_normal((2, 2, 8000))
    make_separator().fit(y.sum(axis=1), y).save("old.safetensors")
    assert main(["train", "--from", "old.safetensors", "--data", "v", *more]) == 2
    assert message in capsys.readouterr().err


def test_settings_that_a_model_cannot_take(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    y = np.random.default_rng(3).standard_normal((2, 2, 8000))
    make_separator().fit(y.sum(axis=1), y).save("old.safetensors")
    command = ["train", "--from", "old.safetensors", "--data", "v", "--set", "hidden_size=5"]
    assert main(command) == 2
    assert "cannot train on from the present weights: hidden_size is 5" in capsys.readouterr().err
    assert main(["train", "--from", "gone", "--data", "v"]) == 2
    assert "'gone' is neither a model file nor a bundled model" in capsys.readouterr().err


def test_fewer_speakers_than_the_model_mixes(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav", "v/cyn/1.wav")
    y = 0.1 * np.random.default_rng(3).standard_normal((2, 2, 8000))
    remix = DynamicMixing(n_sources=(1, 2, 3, 3, 4), level_range_db=2.0)
    make_separator(remix=remix).fit(y.sum(axis=1), y).save("old.safetensors")
    command = ["train", "--from", "old.safetensors", "--data", "v", "-o", "new.safetensors"]
    assert main([*command, "--set", "max_epochs=1"]) == 0
    assert (
        "Mixing at most 3 sources, because there are recordings of 3 speakers; the model to go on "
        "from was trained on mixtures of up to 4\n"
    ) in capsys.readouterr().out
    mixed = DeepClusteringSeparator.load("new.safetensors").remix
    assert isinstance(mixed, DynamicMixing)
    assert (mixed.n_sources, mixed.level_range_db) == ([1, 2, 3, 3], 2.0)


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (["n_sources=3"], "--set n_sources=2"),
        (["remix={n_sources=[1, 2, 3]}"], r"--set 'remix=\{n_sources=\[1, 2\]\}'"),
    ],
)
@pytest.mark.parametrize("start", [[], ["--from", "old.safetensors"]])
def test_more_sources_wanted_than_there_are_speakers(
    settings: list[str],
    remedy: str,
    start: list[str],
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    y = 0.1 * np.random.default_rng(3).standard_normal((2, 2, 8000))
    make_separator().fit(y.sum(axis=1), y).save("old.safetensors")
    capsys.readouterr()
    monkeypatch.setattr(AudioFiles, "load", None)  # said before any audio is read
    assert main(["train", *start, "--data", "v", "--set", *settings]) == 2
    message = "mixtures of 3 sources need recordings of 3 speakers, but these are of 2; give"
    assert re.search(f"{message}.*{remedy}", capsys.readouterr().err)


class Unread(list[Any]):
    """Recordings that nobody may read."""

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError(f"item {index} was read")


@pytest.mark.parametrize(
    ("parameters", "n_speakers", "remedy"),
    [
        ({"n_sources": 3}, 2, r"DynamicMixing\(n_sources=2\)"),
        ({"remix": DynamicMixing(n_sources=(1, 2, 2, 3, 4))}, 3, r"n_sources=\(1, 2, 3\)\)"),
        ({"remix": DynamicMixing(n_sources=(3, 4))}, 2, r"DynamicMixing\(n_sources=2\)"),
        ({}, 1, "recordings of more speakers$"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_too_few_speakers_are_told_before_any_work(
    parameters: dict[str, Any], n_speakers: int, remedy: str, named: bool
) -> None:
    recordings = Unread([np.ones(8000)] * n_speakers)
    # A rate, so that not even the first is looked at for it.
    separator = make_separator(input_rate=8000, **parameters)
    with pytest.raises(ValueError, match=rf"got recordings of {n_speakers} speakers; .*{remedy}"):
        separator.fit_recordings(recordings, list(range(n_speakers)) if named else None)


def test_silent_speakers_do_not_count() -> None:
    recordings = [np.sin(np.arange(8000.0)), np.zeros(8000)]
    with pytest.raises(ValueError, match=r"of 1 speakers that are not silent; mixtures of 2"):
        make_separator().fit_recordings(recordings, ["ann", "bob"])


def test_early_stopping_leaves_enough_to_mix() -> None:
    separator = make_separator(remix=DynamicMixing(n_sources=4), n_iter_no_change=1)
    with pytest.raises(ValueError, match=r"aside, .* 2, and 4 must be left to mix, but .* 5"):
        separator.fit_recordings(np.random.default_rng(0).standard_normal((5, 8000)))


@pytest.mark.parametrize("has_list", [False, True])
def test_the_summary_is_of_this_run(has_list: bool, capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    list_a_pair()
    y = 0.1 * np.random.default_rng(3).standard_normal((2, 2, 8000))
    old = make_separator(max_epochs=7).fit(y.sum(axis=1), y)
    old.history_ = [
        row | {"hours": 301.0, "validation_si_sdr_improvement": 8.44} for row in old.history_
    ]
    old.save("old.safetensors")
    command = ["train", "--from", "old.safetensors", "--data", "v", "-o", "new.safetensors"]
    command += ["--valid", "lists/pairs.csv"] * has_list
    assert main([*command, "--set", "max_epochs=3"]) == 0
    said = capsys.readouterr().out
    assert "8.44" not in said
    assert ("lists/pairs.csv: SI-SDR improvement " in said) is has_list
    summary = re.search(
        r"weights, 3 epochs, (\S+) hours of mixtures seen, after 7 epochs, (.*)", said
    )
    assert summary is not None
    assert float(summary[1]) < 1
    assert summary[2] == "301 hours, of old.safetensors"


def test_the_summary_says_that_time_ended_the_run(capsys: Capture) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    command = [
        "train",
        "--data",
        "v",
        *TINY[:-2],
        TINY[-1],
        "max_epochs=1000",
        "--time-limit",
        "0.001",
    ]
    assert main(command) == 0
    assert re.search(r"weights, \d+ of 1000 epochs, ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("trunk", "gains"), [(BLSTM(residual=True), "gates"), (BandBLSTM(n_bands=4), "project.weight")]
)
def test_train_on_with_more_layers(trunk: Trunk, gains: str) -> None:
    voices("v/ann/1.wav", "v/bob/1.wav")
    y = 0.1 * np.random.default_rng(3).standard_normal((2, 2, 8000))
    start = make_separator(n_layers=2, trunk=trunk)
    start.fit(y.sum(axis=1), y).save("old.safetensors")
    command = ["train", "--from", "old.safetensors", "--data", "v", "-o", "new.safetensors"]
    assert main([*command, "--set", "max_epochs=1", "n_layers=3"]) == 0
    new, old = weights("new.safetensors"), weights("old.safetensors")
    assert len(new) > len(old)
    # What the added layer has learnt is not averaged away.
    added = [bool(new[name].any()) for name in new if name not in old and gains in name]
    assert added
    assert all(added)
