"""Evaluating, training and reporting by the command line, on tiny trees of every layout."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import soundfile
from conftest import error_of, interrupted, mixture_folder, rows_in

from skdc import DeepClusteringSeparator
from skdc.cli import main
from skdc.commands.train import read_config
from skdc.datasets import write_audio
from skdc.datasets.mixture_lists import load_mixtures
from skdc.evaluation.run import IDENTITY_COLUMNS
from skdc.protocols import PROTOCOLS, open_protocol_recordings, open_protocol_validation

TINY = ["embedding_dim=4", "hidden_size=8", "n_layers=1", "segment_frames=20", "max_epochs=1"]
SPEAKERS = ("101", "202", "303", "404")

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def voice(speaker: str, n_samples: int, seed: int = 0) -> np.ndarray:
    """A noise that comes and goes, each speaker in another rhythm and colour."""
    kind = SPEAKERS.index(speaker)
    rng = np.random.default_rng((kind, seed))
    noise = rng.standard_normal(n_samples + 2)
    coloured = noise[2:] + (-1) ** kind * 0.9 * noise[1:-1] + 0.4 * kind * noise[:-2]
    return 0.05 * coloured * np.sin(np.arange(n_samples) / (150 + 50 * kind) + kind) ** 2


def mixture_name(protocol: str, speakers: tuple[str, ...], number: int) -> str:
    if protocol.startswith("libri"):
        return "_".join(f"{speaker}-1-{number}" for speaker in speakers)
    if protocol.startswith("wsj0"):
        return "_".join(f"{speaker}a01{number:02}_1.5" for speaker in speakers)
    return "_".join(f"id{speaker}_{number:05}_1.50" for speaker in speakers)


def plant(root: Path, name: str, n_samples: int = 2400, numbers: int = 2) -> None:
    """Make some mixtures of each subset of a protocol in its layout."""
    protocol = PROTOCOLS[name]
    if protocol.n_sources is None:
        plant_lists(root, n_samples)
        return
    rate = protocol.sample_rates[0]
    for subset in (protocol.training, protocol.validation, protocol.test):
        folder = root / f"wav{rate // 1000}k" / "min" / str(subset)
        for number in range(numbers):
            speakers = tuple(np.roll(SPEAKERS, -number)[: protocol.n_sources])
            mixture_id = mixture_name(name, speakers, number)
            sources = [voice(speaker, n_samples, number) for speaker in speakers]
            write_audio(
                folder / mixture_folder(name) / f"{mixture_id}.wav", np.sum(sources, axis=0), rate
            )
            for i, source in enumerate(sources, start=1):
                write_audio(folder / f"s{i}" / f"{mixture_id}.wav", source, rate)


def plant_lists(root: Path, n_samples: int) -> None:
    rows = ["split,speaker,sex,path"]
    for split, speakers in (("train", SPEAKERS[:2]), ("test", SPEAKERS)):
        for speaker in speakers:
            path = f"{split}/{speaker}.wav"
            write_audio(root / path, voice(speaker, n_samples, len(split)), 8000)
            rows.append(f"{split},{speaker},{'fm'[int(speaker) % 2]},{path}")
    (root / "utterances.csv").write_text("\n".join(rows) + "\n")
    (root / "mixtures").mkdir()
    for name in ("2spk-valid", "2spk-open"):
        lines = ["mixture_id,n_samples,source_1,gain_1,source_2,gain_2"]
        lines += [f"a,{n_samples},test/303.wav,1,test/404.wav,0.8"]
        lines += [f"b,{n_samples - 100},test/404.wav,1,test/101.wav,1.2"]
        (root / "mixtures" / f"{name}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def model(plain_file: str) -> str:
    return plain_file


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    plant(tmp_path / "speech", "speech")
    return tmp_path / "speech"


def naive_improvements(
    sources: np.ndarray, estimates: np.ndarray, mixture: np.ndarray, taps: int
) -> list[float]:
    """Improvement in SDR (512 taps) or SI-SDR (1), straight from the definition."""
    if taps == 1:
        signals = (sources, estimates, mixture)
        sources, estimates, mixture = (x - x.mean(axis=-1, keepdims=True) for x in signals)
    padding = ((0, 0), (0, taps - 1))
    scored = np.pad(np.vstack([estimates, mixture]).astype(float), padding)
    table = []
    for source in np.pad(sources.astype(float), padding):
        delays = scipy.linalg.toeplitz(source, np.zeros(taps))
        weights = scipy.linalg.solve(delays.T @ delays, delays.T @ scored.T, assume_a="pos")
        targets = (delays @ weights).T
        errors = ((scored - targets) ** 2).sum(axis=1)
        table.append(10 * np.log10((targets**2).sum(axis=1) / errors))
    best = max(
        itertools.permutations(range(len(estimates))),
        key=lambda order: sum(table[i][j] for i, j in enumerate(order)),
    )
    return [row[j] - row[-1] for row, j in zip(table, best, strict=True)]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_train_and_evaluate(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    plant(Path("tree"), name)
    tree = ["--protocol", name, "--root", "tree"]
    assert main(["train", *tree, "-o", "tiny.safetensors", "--set", *TINY]) == 0
    said = capsys.readouterr().out
    n_recordings = 2 if name == "speech" else 2 * (PROTOCOLS[name].n_sources or 0)
    assert said.startswith(f"Training on {n_recordings} recordings of ")
    assert "validation: SI-SDR improvement" in said

    subset = PROTOCOLS[name].test or "2spk-open"
    command = ["evaluate", *tree, "--subset", subset, "--model", "tiny.safetensors"]
    assert main([*command, "--csv", "scores.csv"]) == 0
    n_sources = PROTOCOLS[name].n_sources or 2
    said = capsys.readouterr().out
    assert said.startswith(f"{name} {subset}: 2 mixtures of {n_sources} sources, model tiny\n")
    separator = DeepClusteringSeparator.load("tiny.safetensors")
    assert separator.n_sources == n_sources
    rate = PROTOCOLS[name].sample_rates[0]
    separator.set_params(input_rate=rate)
    improvements = []
    for row in rows_in("scores.csv"):
        sources, mixture = read_mixture(name, row["mixture_id"])
        estimates = separator.predict(mixture)
        for column, taps in (("sdr_improvement", 512), ("si_sdr_improvement", 1)):
            expected = naive_improvements(sources, estimates, mixture, taps)
            found = [float(row[f"{column}_{number + 1}"]) for number in range(n_sources)]
            np.testing.assert_allclose(found, expected, atol=5e-3)
            improvements += expected if taps == 512 else []
    (line,) = [line for line in said.splitlines() if line.startswith("SDR improvement   ")]
    assert float(line.split()[2]) == pytest.approx(np.mean(improvements), abs=0.01)


def read_mixture(name: str, mixture_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Sources and mixture as the tree or the list has them, without the library."""
    if name == "speech":
        paths, gains, n_samples = {
            "a": (("303", "404"), (1.0, 0.8), 2400),
            "b": (("404", "101"), (1.0, 1.2), 2300),
        }[mixture_id]
        found = [soundfile.read(f"tree/test/{path}.wav", dtype="float32")[0] for path in paths]
        sources = np.stack([g * x[:n_samples] for g, x in zip(gains, found, strict=True)])
        return sources, sources.sum(axis=0)
    protocol = PROTOCOLS[name]
    (folder,) = Path("tree").glob(f"wav*/min/{protocol.test}")
    kinds = [f"s{i + 1}" for i in range(protocol.n_sources or 0)] + [mixture_folder(name)]
    parts = [
        soundfile.read(folder / kind / f"{mixture_id}.wav", dtype="float32")[0] for kind in kinds
    ]
    return np.stack(parts[:-1]), parts[-1]


# evaluate


def test_list_and_protocol_are_one(
    speech: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = ["--list", str(speech / "mixtures" / "2spk-open.csv")]
    assert main(["evaluate", *lists, "--model", model, "--csv", "out/s.csv"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("2spk-open: 2 mixtures of 2 sources, model tiny\n")
    assert "f+m (2)" in first
    before = Path("out/s.csv").read_bytes()
    # All is there already: nothing is computed, and the same is said.
    assert main(["evaluate", *lists, "--model", model, "--csv", "out/s.csv"]) == 0
    assert capsys.readouterr().out == first
    assert Path("out/s.csv").read_bytes() == before
    protocol = ["--protocol", "speech", "--root", str(speech), "--subset", "2spk-open"]
    assert main(["evaluate", *protocol, "--model", model, "--csv", "out/p.csv"]) == 0
    assert capsys.readouterr().out == f"speech {first}"
    rows = rows_in("out/s.csv")
    # Only the name differs: a list of one's own is no benchmark of ours.
    assert {row["protocol"] for row in rows} == {"list"}
    assert [row | {"protocol": "speech"} for row in rows] == rows_in("out/p.csv")
    assert [row["conditions"] for row in rows] == ["open", "mixed"]
    table = {line[:20].strip(): line[20:].split() for line in first.splitlines()[4:8]}
    assert list(table) == ["SDR improvement", "SI-SDR improvement", "SDR", "SI-SDR"]
    for name, cells in table.items():
        key = name.lower().replace("-", "_").replace(" ", "_")
        systems = ["", "ideal_binary_", "phase_sensitive_", "mixture_"]
        expected = []
        for system in systems[: len(cells) // 2]:
            values = [float(row[f"{system}{key}_{n}"]) for row in rows for n in (1, 2)]
            expected += [np.mean(values), np.median(values)]
        assert [float(cell) for cell in cells] == pytest.approx(expected, abs=0.006)
    assert [len(cells) for cells in table.values()] == [6, 6, 8, 8]


def test_no_aim_stands_beside_a_list_of_ones_own(
    speech: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = str(speech / "mixtures" / "2spk-open.csv")
    command = ["evaluate", "--list", pairs, "--model", model, "--csv", "s.csv", "--limit", "1"]
    assert main(command) == 0
    assert [row["conditions"] for row in rows_in("s.csv")] == ["open"]
    assert main(["report", "s.csv", "-o", "page.md"]) == 0
    page = Path("page.md").read_text("utf-8")
    line = next(line for line in page.splitlines() if line.startswith("| list 2spk-open"))
    assert line.endswith("| none |")
    assert "speech 2spk-open" not in page


@pytest.mark.parametrize("rate", [16000, 11025])
def test_lists_at_another_rate(
    tmp_path: Path, model: str, rate: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are resampled, for evaluation and for validation alike."""
    rng = np.random.default_rng(0)
    names = [f"{number}.wav" for number in range(3)]
    for name in names:
        write_audio(tmp_path / "train" / name, 0.1 * rng.standard_normal(rate), rate)
    rows = "".join(f"train,{name},train/{name}\n" for name in names)
    (tmp_path / "utterances.csv").write_text("split,speaker,path\n" + rows)
    (tmp_path / "mixtures").mkdir()
    pairs = str(tmp_path / "mixtures" / "pairs.csv")
    Path(pairs).write_text(
        "mixture_id,n_samples,source_1,gain_1,source_2,gain_2\n"
        f"a,{rate},train/0.wav,1,train/1.wav,1\n"
    )
    assert main(["evaluate", "--list", pairs, "--model", model, "--csv", "s.csv"]) == 0
    (row,) = rows_in("s.csv")
    assert (row["sample_rate"], row["n_samples"]) == (str(rate), str(rate))
    command = ["train", "--data", str(tmp_path), "--valid", pairs, "--set", *TINY, "max_epochs=1"]
    assert main(command) == 0
    assert "validation: SI-SDR improvement" in capsys.readouterr().out
    # One at yet another rate is refused, and what is advised can be done.
    write_audio(tmp_path / "train" / "1.wav", 0.1 * rng.standard_normal(8000), 8000)
    for command in (
        ["evaluate", "--list", pairs, "--model", model],
        ["train", "--data", str(tmp_path), "--valid", pairs, "--force", "--set", *TINY],
    ):
        said = error_of(command, capsys)
        assert f"1.wav' is at 8000 Hz, but is expected at {rate} Hz" in said
        assert "sample_rate" not in said


def test_evaluate_in_processes(
    speech: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--protocol", "speech", "--root", str(speech), "--subset", "2spk-open"]
    command += ["--model", model]
    assert main(command) == 0
    expected = capsys.readouterr().out
    assert main([*command, "--jobs", "2"]) == 0
    assert capsys.readouterr().out == expected
    assert main([*command, "--limit", "1", "--n-sources", "3"]) == 0
    assert "2spk-open: 1 mixture of 2 sources" in capsys.readouterr().out


def test_evaluate_says_how_to_go_on(
    speech: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--list", str(speech / "mixtures" / "2spk-open.csv"), "--model", model]
    with monkeypatch.context() as patch:
        patch.setattr(DeepClusteringSeparator, "predict", interrupted)
        assert main([*command, "--csv", "s.csv"]) == 130
    expected = "The same command goes on from s.csv\nskdc: interrupted\n"
    assert capsys.readouterr().err == expected
    assert main([*command, "--csv", "s.csv"]) == 0
    assert len(rows_in("s.csv")) == 2


# Runs a command that stops, as if it took for ever, at the second mixture that it separates.
ENDLESS = """
import sys, time
from skdc import DeepClusteringSeparator
from skdc.cli import main

predict, seen = DeepClusteringSeparator.predict, []

def endless(separator, X):
    seen.append(X)
    if len(seen) == 2:
        print("endless", flush=True)
        time.sleep(600)
    return predict(separator, X)

DeepClusteringSeparator.predict = endless
main(sys.argv[1:])
"""


def test_evaluate_twice_at_once(
    speech: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--list", str(speech / "mixtures" / "2spk-open.csv"), "--model", model]
    assert main([*command, "--csv", "whole.csv"]) == 0
    command += ["--csv", "s.csv"]
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "endless\n"
            before = Path("s.csv").read_bytes()
            assert len(rows_in("s.csv")) == 1
            said = error_of(command, capsys)
            assert "another evaluation is writing to 's.csv'; wait until it has ended, or" in said
            assert Path("s.csv").read_bytes() == before
        finally:
            first.kill()
    assert Path("s.csv").read_bytes() == before
    # What was killed keeps nothing locked.
    assert main(command) == 0
    assert Path("s.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_evaluate_draws(
    speech: Path, model: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--list", str(speech / "mixtures" / "2spk-open.csv"), "--model", model]
    command += ["--plot", "out/scores.png"]
    assert main(command) == 0
    assert Path("out/scores.png").read_bytes().startswith(b"\x89PNG")
    request.getfixturevalue("without_matplotlib")
    capsys.readouterr()
    assert 'pip install "skdc[plot]"' in error_of([*command, "--model", "none"], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "wsj0-2mix"], "--protocol needs --root"),
        (["--protocol", "wsj1", "--root", "."], "name is 'wsj1'; give 'wsj0-2mix' or"),
        (["--protocol", "wsj0-2mix", "--root", "gone"], "no folder at 'gone'"),
        (["--protocol", "wsj0-2mix", "--root", "."], "no folder at 'wav8k/min/tt'; make the mix"),
        (["--protocol", "wsj0-2mix", "--root", ".", "--subset", "x"], "'x'; give 'tr' or 'cv'"),
        (["--protocol", "speech", "--root", "speech"], "needs --subset; there is 2spk-open, 2spk"),
        (["--list", "speech/mixtures/2spk-open.csv", "--subset", "x"], "--subset goes with --pr"),
        (["--list", "speech/mixtures/2spk-open.csv", "--root", "."], "3 of the 3 recordings"),
        (["--list", "speech/mixtures/2spk-open.csv", "--n-sources", "1"], "is less than the 2 so"),
        (["--list", "empty.csv"], "lists no mixtures"),
        (["--list", "silent.csv", "--root", "."], "1 of 1 mixtures have a silent source"),
        (["--list", "speech/mixtures/2spk-open.csv", "--csv", "empty.csv"], "is not a table of"),
        (
            ["--list", "speech/mixtures/2spk-open.csv", "--csv", "latin.csv"],
            "'latin.csv' is no table of an evaluation: it is not text in UTF-8; save it as such",
        ),
    ],
)
def test_evaluate_errors(
    speech: Path,
    model: str,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    header = "mixture_id,n_samples,source_1,gain_1,source_2,gain_2\n"
    Path("empty.csv").write_text(header)
    Path("latin.csv").write_text(f"{','.join(IDENTITY_COLUMNS)}\nJosé\n", encoding="latin-1")
    loud = "speech/test/101.wav"
    Path("silent.csv").write_text(f"{header}odd,2000,{loud},1,{loud},0\n")
    arguments = ["evaluate", "--model", model, *arguments]
    assert message in error_of(arguments, capsys).replace("\\", "/")
    assert Path("empty.csv").read_text() == header


def test_lists_without_a_table(speech: Path, model: str) -> None:
    (speech / "utterances.csv").unlink()
    pairs = str(speech / "mixtures" / "2spk-open.csv")
    assert main(["evaluate", "--list", pairs, "--model", model, "--csv", "s.csv"]) == 0
    assert [(row["conditions"], row["sexes"]) for row in rows_in("s.csv")] == [("unknown", "")] * 2


# train


def test_recordings_of_mixtures(tmp_path: Path) -> None:
    plant(tmp_path, "wsj0-2mix", numbers=3)
    folder = tmp_path / "wav8k" / "min" / "tr"
    longer = mixture_name("wsj0-2mix", ("101", "404"), 0)
    for kind, speaker in (("mix", "101"), ("s1", "101"), ("s2", "404")):
        write_audio(folder / kind / f"{longer}.wav", voice(speaker, 3000), 8000)
    files, speakers = open_protocol_recordings("wsj0-2mix", tmp_path)
    recordings = files.load()
    # 101a0100 is in two mixtures, once for longer; all other utterances in one.
    assert sorted(speakers) == ["101", "202", "202", "303", "303", "404", "404"]
    lengths = dict(zip(speakers, map(len, recordings), strict=True))
    assert lengths["101"] == 3000
    expected = voice("101", 3000)
    np.testing.assert_allclose(recordings[speakers.index("101")], expected, atol=2**-15)
    mixtures, references = load_mixtures(
        open_protocol_validation("wsj0-2mix", tmp_path, n_mixtures=2), 8000
    )
    assert [mixture.shape for mixture in mixtures] == [(2400,)] * 2
    assert [sources.shape for sources in references] == [(2, 2400)] * 2
    np.testing.assert_allclose(mixtures[0], references[0].sum(axis=0), atol=2**-14)
    # At another rate than the tree's.
    files, _ = open_protocol_recordings("wsj0-2mix", tmp_path, "tt", sample_rate=4000)
    assert {header.shape for header in files.headers()} == {(1200,)}


def test_more_than_memory_may_hold(capsys: pytest.CaptureFixture[str]) -> None:
    plant(Path("tree"), "wsj0-3mix")
    command = ["train", "--protocol", "wsj0-3mix", "--root", "tree", "--set", *TINY]
    command += ["random_state=0", "max_epochs=3"]
    assert main([*command, "-o", "held.safetensors"]) == 0
    assert "hours\n" in capsys.readouterr().out
    streamed = [*command, "--memory", "0", "-o", "streamed.safetensors"]
    # Stopped after a step and resumed, again and again.
    parts = [*streamed, "--checkpoint", "run.safetensors", "--time-limit", "1e-9"]
    for _ in range(4):
        assert main(parts) == 0
    said = capsys.readouterr().out
    assert "hours, 5.76e-05 GB in a temporary file\n" in said
    assert said.count("Resuming from run.safetensors") == 3
    whole = [DeepClusteringSeparator.load(f"{name}.safetensors") for name in ("held", "streamed")]
    assert [len(separator.history_) for separator in whole] == [3, 3]
    weights = [separator.network_.state_dict() for separator in whole]
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])


def test_train_on_another_subset(capsys: pytest.CaptureFixture[str]) -> None:
    plant(Path("tree"), "libri2mix")
    Path("tree/wav8k/min/train-100").rename("tree/wav8k/min/train-360")
    command = ["train", "--protocol", "libri2mix", "--root", "tree", "--set", *TINY]
    assert "no folder at" in error_of(command, capsys)
    assert main([*command, "n_sources=3", "--subset", "train-360", "--valid-count", "1"]) == 0
    assert DeepClusteringSeparator.load("model.safetensors").n_sources == 3


def test_train_protocol_errors(capsys: pytest.CaptureFixture[str]) -> None:
    plant(Path("tree"), "wsj0-2mix", numbers=1)
    command = ["train", "--protocol", "wsj0-2mix", "--set", *TINY]
    assert "--protocol needs --root" in error_of(command, capsys)
    both = ["train", "--data", "tree", "--root", "tree", "--set", *TINY]
    assert "--root tree is the folder of a --protocol" in error_of(both, capsys)
    assert "name is 'wsj1'" in error_of(["train", "--protocol", "wsj1", "--root", "."], capsys)
    for path in Path("tree/wav8k/min/tr").glob("*/*.wav"):
        path.rename(path.with_name("nameless.wav"))
    said = error_of([*command, "--root", "tree"], capsys)
    assert "'nameless' of 'wsj0-2mix' does not tell who speaks" in said
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--data", ".", "--protocol", "wsj0-2mix"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_paper_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config("paper2015")
    stated: dict[str, Any] = {
        "win_length": 256,
        "hop_length": 64,
        "hidden_size": 600,
        "n_layers": 2,
    }
    stated |= {"embedding_dim": 40, "segment_frames": 100, "activity_threshold_db": 40.0}
    stated |= {"mask": "binary", "sample_rate": 8000}
    assert config | stated == config
    plant(Path("tree"), "wsj0-3mix")

    seen: list[dict[str, Any]] = []

    def fit(separator: DeepClusteringSeparator, *args: Any, **kwargs: Any) -> None:
        seen.append(separator.get_params())
        raise KeyboardInterrupt

    monkeypatch.setattr(DeepClusteringSeparator, "fit_recordings", fit)
    command = ["train", "--protocol", "wsj0-3mix", "--root", "tree", "--config", "paper2015"]
    assert main(command) == 130
    assert seen[0] | config | {"n_sources": 3} == seen[0]
    assert main([*command, "--set", "n_sources=2"]) == 130
    assert seen[1]["n_sources"] == 2


# report


def test_report(speech: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--protocol", "speech", "--root", str(speech), "--model", model]
    for name in ("2spk-open", "2spk-valid"):
        assert main([*command, "--subset", name, "--csv", f"{name}.csv"]) == 0
    capsys.readouterr()
    assert main(["report", "2spk-open.csv", "2spk-valid.csv", "-o", "docs/results.md"]) == 0
    assert capsys.readouterr().out == f"{Path('docs/results.md')}\n"
    page = Path("docs/results.md").read_text("utf-8")
    assert page.startswith("# Results\n")
    for name in ("2spk-open", "2spk-valid"):
        rows = rows_in(f"{name}.csv")
        values = [float(row[f"sdr_improvement_{n}"]) for row in rows for n in (1, 2)]
        cell = f"{np.mean(values):.2f} ({np.median(values):.2f})"
        assert f"| speech {name} | 2 | 2 | mixed, open | {cell} |" in page
    assert "no csv file at 'none.csv'" in error_of(["report", "none.csv"], capsys)
    assert not Path("results.md").exists()
