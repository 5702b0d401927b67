"""The command line: every command on small real data, and what users are told when it fails."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import error_of, interrupted
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

import skdc
from skdc import DeepClusteringSeparator, pretrained
from skdc.cli import _COMMANDS, main
from skdc.commands import demo, info
from skdc.commands.train import parse_settings, read_config
from skdc.datasets import load_sample_clips, load_sample_mixture, write_audio
from skdc.network import BLSTM
from skdc.parameters import restored_parameters
from skdc.training import DynamicMixing, Trainer

ROOT = Path(__file__).parent.parent
TINY = ["embedding_dim=4", "hidden_size=8", "n_layers=1", "hop_length=128", "segment_frames=50"]

pytestmark = pytest.mark.usefixtures("in_tmp_path")


@pytest.fixture
def model(plain_file: str) -> str:
    return plain_file


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of each clip, a table of them, and a list of two mixtures."""
    root = tmp_path_factory.mktemp("corpus")
    rows = []
    for clip in load_sample_clips():
        path = f"train/{clip.name}.flac"
        write_audio(root / path, clip.waveform[8000:24000], clip.sample_rate)
        rows.append(f"train,{clip.speaker},{path}\n")
    (root / "utterances.csv").write_text("split,speaker,path\n" + "".join(rows))
    (root / "mixtures").mkdir()
    (root / "mixtures" / "pairs.csv").write_text(
        "mixture_id,n_samples,source_1,gain_1,source_2,gain_2\n"
        "pair-0,12000,train/allison-1.flac,1.0,train/carlo-1.flac,0.8\n"
        "pair-1,16000,train/june-1.flac,0.5,train/librivox-1.flac,0.5\n"
    )
    return root


# The command itself


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from skdc.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'soundfile', 'joblib', 'matplotlib'}\n"
        "print(heavy & {*sys.modules})"
    )
    done = python("-c", code)
    assert done.stdout.splitlines()[-1] == "set()"
    for command in _COMMANDS:
        assert f"    {command} " in done.stdout


def test_runs_as_a_module() -> None:
    done = python("-m", "skdc", "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("skdc ")


@pytest.mark.parametrize("command", _COMMANDS)
def test_commands_explain_themselves(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"usage: skdc {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required: COMMAND"),
        (["separat"], "invalid choice: 'separat'"),
        (["separate", "a.wav"], "required: -o/--output"),
        (["demo", "--n-sources", "0"], "got '0', expected an integer of at least 1"),
        (["separate", "a.wav", "-o", ".", "--n-sources", "two"], "from 1 to 20, or 'auto'"),
    ],
)
def test_usage_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


EMPTY_NAMES = {
    "separate": ["", "-o", "--model", "--device", "--dask"],
    "demo": ["-o", "--model"],
    "stream": ["--model"],
    "make": ["", "--root", "--lists", "-o", "--subset"],
    "train": [
        "--data",
        "--root",
        "--subset",
        "--valid",
        "--from",
        "--config",
        "--checkpoint",
        "-o",
    ],
    "voices": ["--data", "--model", "--subset", "-o"],
    "evaluate": ["--list", "--protocol", "--root", "--subset", "--csv", "--plot", "--model"],
    "report": ["", "-o"],
    "card": ["", "-o", "--plot"],
    "info": [""],
}


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize(
    ("command", "option"),
    [(command, option) for command, options in EMPTY_NAMES.items() for option in options],
)
def test_empty_names_are_refused(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # As those of variables that are not set; a path of no letters is that of the current folder.
    with pytest.raises(SystemExit, match="2"):
        main([command, *filter(None, [option]), ""])
    said = capsys.readouterr().err
    assert re.search(rf"error: argument \S*{option}\S*: got an empty name, such as that of", said)
    assert list(Path.cwd().iterdir()) == []


def raising(error: BaseException) -> Callable[[Any], int]:
    def run(args: Any) -> int:
        raise error

    return run


def test_interruptions_and_errors_take_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(info, "run", raising(KeyboardInterrupt()))
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "skdc: interrupted\n"
    monkeypatch.setattr(info, "run", raising(OSError("no space\n  left")))
    assert error_of(["info"], capsys) == "skdc: error: no space left\n"
    with pytest.raises(OSError, match="no space"):
        main(["info", "--debug"])


@pytest.mark.parametrize("error", [TypeError, AttributeError, KeyError, RuntimeError])
def test_defects_of_the_package_show_their_trace(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(info, "run", raising(error("internal")))
    with pytest.raises(error, match="internal"):
        main(["info"])


def test_debug_shows_the_trace_of_a_file_that_cannot_be_separated(model: str) -> None:
    Path("text.wav").write_text("no audio")
    command = ["separate", "text.wav", "-o", "out", "--model", model]
    assert main(command) != 0
    with pytest.raises(ValueError, match=r"cannot read 'text\.wav' as audio"):
        main([*command, "--debug"])


def test_warnings_take_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: Any) -> int:
        warnings.simplefilter("always")
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(info, "run", run)
    assert main(["info"]) == 0
    assert capsys.readouterr().err == "skdc: warning: two lines\n"


# No terminal shows it all but those of UTF-8.
NAME = "Gespräch-日本"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_a_terminal_cannot_show_is_escaped(
    model: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(model, f"{NAME}.safetensors")
    shown = {"stdout": io.BytesIO(), "stderr": io.BytesIO()}
    for name, shows in shown.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(shows, encoding, write_through=True))
    assert main(["info", f"{NAME}.safetensors"]) == 0
    assert main(["info", NAME]) == 2
    for shows in shown.values():
        assert NAME.encode(encoding, "backslashreplace") in shows.getvalue()


def test_commands_on_a_terminal_of_ascii(model: str, corpus: Path) -> None:
    own = f"{NAME}.safetensors"
    shutil.copy(model, own)
    shutil.copy(corpus / "train" / "june-1.flac", f"{NAME}.flac")
    shutil.copy(corpus / "mixtures" / "pairs.csv", f"{NAME}.csv")
    lists = ["--list", f"{NAME}.csv", "--root", str(corpus)]
    data = ["train", "--data", str(corpus), "--time-limit", "0.01", "--set", *TINY]
    commands = [
        ["info", own],
        ["separate", f"{NAME}.flac", "-o", "out", "--model", own],
        ["evaluate", *lists, "--model", own, "--csv", f"scores-{NAME}.csv"],
        ["report", f"scores-{NAME}.csv", "-o", f"{NAME}.md"],
        ["card", own, "-o", f"card-{NAME}.md"],
        [*data, "-o", f"new-{NAME}", "--checkpoint", f"run-{NAME}"],
        [*data, "-o", f"new-{NAME}", "--checkpoint", f"run-{NAME}", "--force"],
    ]
    code = (
        "import json, sys; from skdc.cli import main\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    print('ran', command[0], main(command))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="ascii",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ran = re.findall(r"^ran (\w+) (\d)$", done.stdout, re.MULTILINE)
    assert ran == [(command[0], "0") for command in commands], done.stderr
    shown = NAME.encode("ascii", "backslashreplace").decode()
    for said in re.split(r"^ran .*\n", done.stdout, flags=re.MULTILINE)[:-1]:
        assert shown in said
    assert Path("out", f"{NAME}-1.wav").is_file()


def test_reader_that_has_had_enough() -> None:
    code = (
        "import sys; from skdc.cli import info, main\n"
        "info.run = lambda args: print('versions') or 0\n"
        "sys.exit(main(['info']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


# demo


def test_demo(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", model, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    folder = Path("skdc-demo")
    names = ["mixture.wav", "source-1.wav", "source-2.wav", "demo.png"]
    assert out.splitlines()[-6:-2] == [str(folder / name) for name in names]
    assert out.splitlines()[-2:] == ["", f"To listen, open {folder / 'index.html'}"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "index.html"])
    assert "as recorded alone" in (folder / "index.html").read_text("utf-8")
    for name in names[:3]:
        found = soundfile.info(folder / name)
        assert (found.samplerate, found.subtype, found.frames) == (8000, "PCM_16", 55920)
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    mixture, _ = load_sample_mixture()
    parts = [soundfile.read(folder / f"source-{number}.wav")[0] for number in (1, 2)]
    assert np.abs(sum(parts) - mixture).max() < 1e-3
    rows = [line.split() for line in out.splitlines() if line.startswith(("source", "mean"))]
    assert [len(row) for row in rows] == [8, 8, 7]
    for row in rows:
        before, after, gain = map(float, row[-6:-3])
        assert after - before == pytest.approx(gain, abs=0.11)


def test_demo_of_more(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["demo", "-o", "more", "--model", model, "--n-sources"]
    assert main([*command, "3"]) == 0
    assert len(list(Path("more").glob("source-*.wav"))) == 3
    Path("more/source-7.wav").touch()  # none that a demo writes
    assert main([*command, "2"]) == 0
    names = sorted(path.name for path in Path("more").glob("source-*.wav"))
    assert names == ["source-1.wav", "source-2.wav", "source-7.wav"]
    Path("mine").mkdir()
    Path("mine/source-3.wav").touch()  # in a folder that no demo has written to
    assert main([*command, "2", "-o", "mine"]) == 0
    assert Path("mine/source-3.wav").exists()
    capsys.readouterr()
    assert "n_sources is 9; give 2 to 5" in error_of([*command, "9"], capsys)


@pytest.mark.usefixtures("without_matplotlib")
def test_demo_without_matplotlib(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", model]) == 0
    assert 'pip install "skdc[plot]"' in capsys.readouterr().out
    assert Path("skdc-demo", "source-1.wav").is_file()
    assert not Path("skdc-demo", "demo.png").exists()


# train, and what its models are good for


def test_train_resume_evaluate_separate_info(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = str(corpus / "mixtures" / "pairs.csv")
    command = ["train", "--data", str(corpus), "--valid", pairs, "--valid-count", "1"]
    command += ["--checkpoint", "run.safetensors", "-o", "models/tiny.safetensors", "--set", *TINY]
    assert main([*command, "max_epochs=1"]) == 0
    said, logged = capsys.readouterr()
    assert said.startswith("Training on 12 recordings of 5 speakers, 0.01 hours\n")
    assert "Resuming" not in said
    assert "validation: SI-SDR improvement" in said
    assert logged.count("epoch 1, ") == logged.count("\n") == 1

    assert main([*command, "max_epochs=3"]) == 0
    said, logged = capsys.readouterr()
    assert "Resuming from run.safetensors\n" in said
    assert "models/tiny.safetensors: " in said.replace("\\", "/")
    assert "3 epochs" in said
    assert ["epoch 1," in logged, "epoch 2," in logged, "epoch 3," in logged] == [0, 1, 1]

    model = "models/tiny.safetensors"
    separator = DeepClusteringSeparator.load(model)
    check_is_fitted(separator)
    assert (separator.hidden_size, separator.random_state) == (8, None)

    assert main(["evaluate", "--list", pairs, "--model", model]) == 0
    assert "pairs: 2 mixtures of 2 sources" in capsys.readouterr().out
    assert main(["separate", str(corpus / "train/june-1.flac"), "-o", ".", "--model", model]) == 0
    assert Path("june-1-2.wav").is_file()
    capsys.readouterr()
    assert main(["info", model]) == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert rows["epochs"].strip() == "3"
    assert rows["hidden_size"].strip() == "8"
    assert float(rows["hours of mixtures"]) > 0
    assert float(rows["validation si sdr improvement"]) < 20


def test_train_stops_in_time(corpus: Path) -> None:
    command = ["train", "--data", str(corpus), "--time-limit", "0.01", "--set", *TINY]
    assert main(command) == 0
    assert DeepClusteringSeparator.load("model.safetensors").n_iter_ == 1


def test_a_terminal_shows_how_far_an_epoch_is(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    every_step = partial(tqdm, mininterval=0, miniters=0)
    monkeypatch.setattr("skdc.training.trainer.tqdm", every_step)
    command = ["train", "--data", str(corpus), "--set", *TINY, "max_epochs=2", "batch_size=1"]
    assert main(command) == 0
    shown = capsys.readouterr().err
    n_steps = int(DeepClusteringSeparator.load("model.safetensors").history_[0]["steps"])
    assert n_steps > 2
    for part in (1 / n_steps, 1, 1 + 1 / n_steps, 2):
        assert f"| {part:.2f}/2 epochs [" in shown
    assert re.search(r"[\r\n]\S+ \S+ epoch 1, .*\n", shown)
    assert DeepClusteringSeparator.load("model.safetensors").verbose == 0


def test_train_says_how_to_resume(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DeepClusteringSeparator, "fit_recordings", interrupted)
    assert main(["train", "--data", str(corpus), "--checkpoint", "run.safetensors"]) == 130
    expected = "The same command resumes from run.safetensors\nskdc: interrupted\n"
    assert capsys.readouterr().err == expected


def test_an_interrupted_training_leaves_a_model(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Trainer.train_step

    monkeypatch.setattr(
        Trainer, "train_step", lambda run: interrupted() if run.step == 2 else step(run)
    )
    command = ["train", "--data", str(corpus), "--checkpoint", "run.safetensors", "--set", *TINY]
    assert main(command) == 130
    assert "resumes from run.safetensors\nskdc: interrupted\n" in capsys.readouterr().err
    assert DeepClusteringSeparator.load("model.safetensors").history_[-1]["steps"] == 2


def test_train_with_a_configuration_of_trunk_and_mixing(corpus: Path) -> None:
    Path("deep.toml").write_text(
        'n_layers = 3\ntrunk = {name = "blstm", residual = true}\n'
        "remix = {speeds = [0.9, 1.0], similar_share = 0.5}\n"
        'objective = "whitened_kmeans + attractor_masks"\n'
    )
    settings = [setting for setting in TINY if not setting.startswith("n_layers")]
    command = ["train", "--data", str(corpus), "--config", "deep.toml", "--time-limit", "0.01"]
    assert main([*command, "--set", *settings]) == 0
    model = DeepClusteringSeparator.load("model.safetensors")
    assert model.trunk == BLSTM(residual=True)
    assert isinstance(model.remix, DynamicMixing)
    assert model.remix.similar_share == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "hiden_size=3"], "no parameter 'hiden_size'; it has"),
        (["--set", "hidden_size"], "--set hidden_size: expected NAME=VALUE"),
        (["--set", "hidden_size=many"], "The 'hidden_size' parameter"),
        (["--set", "win_length=511"], "win_length=511"),
        (["--set", "trunk={dropout=0.1}"], 'a table [trunk] needs name = "blstm"'),
        (["--set", "time_limit=60"], "time_limit belongs to one run, not to the separator; give"),
        (["--config", "run.toml"], "not to the separator; give --checkpoint"),
        (["--time-limit", "-1"], "The 'time_limit' parameter of fit_recordings must be"),
        (["--config", "none"], "'none' is neither a configuration file nor one that comes with"),
        (["--config", "bad.toml"], "'bad.toml' is not a TOML file"),
        (["--config", "tables.toml"], "'tables.toml' has the table [network]"),
        (["--device", "abacus"], "device='abacus' cannot be used"),
        (
            ["--data", "."],
            "'.' gives 0 recordings of 0 speakers, but mixtures need two or more; give",
        ),
        (["--subset", "test"], "has no split 'test'; it has 'train'"),
        (["--set", "trunk=5"], "trunk=5 must be one of the names"),
        (["--set", "remix={level=3}"], "its remix has no such parameters: "),
        (["--valid", "none.csv"], "no csv file at 'none.csv'"),
        (["--valid", "empty.csv"], "'empty.csv' lists no mixtures"),
        (["-o", "."], "-o . is a folder"),
        (["-o", "a", "--checkpoint", "a"], "-o and --checkpoint are both a"),
        (["--checkpoint", "bad.toml"], "'bad.toml' is not an skdc model file"),
    ],
)
def test_train_errors(
    corpus: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.toml").write_text("hidden_size = = 3")
    Path("run.toml").write_text('checkpoint = "run.safetensors"')
    Path("tables.toml").write_text("[network]\nhidden_size = 3")
    Path("empty.csv").write_text("mixture_id,n_samples,source_1,gain_1\n")
    assert message in error_of(["train", "--data", str(corpus), *arguments], capsys)
    assert not Path("model.safetensors").exists()


def test_configurations_that_come_with_the_package() -> None:
    for path in (Path(skdc.__file__).parent / "commands" / "configs").glob("*.toml"):
        DeepClusteringSeparator(**restored_parameters(read_config(path.stem)))._validate_params()


def test_settings_are_toml() -> None:
    settings = ["a=3", "b=1e-3", "c=[1, 2]", "d=true", "e=soft", 'f="soft"', "g=None", "h=a=b"]
    assert parse_settings(settings) == {
        **dict(zip("abcd", (3, 1e-3, [1, 2], True), strict=True)),
        **dict(zip("efgh", ("soft", "soft", None, "a=b"), strict=True)),
    }


# info, and models by name


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert rows["skdc"].strip() == skdc.__version__
    assert {"torch", "numpy", "scikit-learn", "device", "threads", "bundled models"} <= set(rows)


def test_info_of_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.safetensors").write_text("text")
    assert "is not an skdc model file" in error_of(["info", "text.safetensors"], capsys)
    assert "neither a model file nor a bundled model" in error_of(["info", "none"], capsys)


def test_models_by_name(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretrained.models, "_FOLDER", Path(model).parent)
    assert pretrained.load_pretrained("tiny", device="cpu").hidden_size == 8
    assert "bundled model (tiny)" in error_of(["info", "none"], capsys)


def test_table_of_scores() -> None:
    scores = {
        "sdr": np.array([10.0, 6.0]),
        "sdr_improvement": np.array([9.0, 7.0]),
        "si_sdr": np.array([8.0, 5.0]),
        "si_sdr_improvement": np.array([8.5, 5.5]),
    }
    assert demo._table(scores).splitlines() == [
        "dB         SDR before   after    gain   SI-SDR before   after    gain",
        "source 1          1.0    10.0     9.0            -0.5     8.0     8.5",
        "source 2         -1.0     6.0     7.0            -0.5     5.0     5.5",
        "mean              0.0     8.0     8.0            -0.5     6.5     7.0",
    ]
