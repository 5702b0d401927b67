"""The script that builds a corpus from public ones, on tiny trees of their layouts."""

from __future__ import annotations

import csv
import runpy
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from skdc.cli import main
from skdc.datasets import load_corpus, load_mixture_list

SCRIPT = Path(__file__).parent.parent / "examples" / "corpus" / "build.py"
build: Any = runpy.run_path(str(SCRIPT))["main"]


def record(path: Path, seed: int, rate: int = 16000, seconds: float = 1.2, **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    samples = 0.1 * rng.standard_normal(int(seconds * rate))
    soundfile.write(path, samples, rate, **how)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    libri = root / "LibriSpeech"
    for part, speakers in (("train-clean-100", "19 26"), ("test-other", "367 533 1688"),
                           ("test-clean", "61 121 237")):  # fmt: skip
        for speaker in speakers.split():
            for number in range(6):
                path = libri / part / speaker / "1" / f"{speaker}-1-{number:04d}.flac"
                record(path, int(speaker) + number)
    (libri / "SPEAKERS.TXT").write_text(
        ";ID  |SEX| SUBSET           |MINUTES| NAME\n19   | F | train-clean-100 | 25.19 | Kara\n"
    )
    ocean = root / "speechocean762"
    for index in range(20):
        for number in range(2):
            path = ocean / "WAVE" / f"SPEAKER{index:04d}" / f"{index:05d}{number:04d}.WAV"
            record(path, 100 + index + number)
    (ocean / "train").mkdir()
    (ocean / "train" / "spk2gender").write_text("0000 f\n0001 m\n")
    for speaker in ("fash", "mmtm"):
        path = root / "an4" / "wav" / "an4_clstk" / speaker / f"an251-{speaker}-b.sph"
        record(path, len(speaker), format="NIST", subtype="PCM_16")
    for number in range(6):
        wav = root / "cmu_us_slt_arctic" / "wav" / f"arctic_a{number:04d}.wav"
        record(wav, number, seconds=0.5 if number == 5 else 1.5)
    return root


def arguments(corpora: Path, output: Path) -> list[str]:
    return [
        str(output),
        *("--librispeech", str(corpora / "LibriSpeech")),
        *("--speechocean", str(corpora / "speechocean762")),
        *("--an4", str(corpora / "an4")),
        *("--arctic", str(corpora / "cmu_us_slt_arctic")),
    ]


@pytest.fixture(scope="module")
def built(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("built") / "speech"
    build(arguments(corpora, output))
    return output


def test_what_is_built(built: Path) -> None:
    with (built / "utterances.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    splits = defaultdict(set)
    for row in rows:
        splits[row["split"]].add(row["speaker"])
        found = soundfile.info(built / row["path"])
        assert (found.samplerate, found.channels) == (8000, 1)
        assert float(row["seconds"]) == pytest.approx(found.duration, abs=0.01)
    assert splits["train"] & splits["valid"] == splits["train"] & splits["test-open"] == set()
    assert splits["valid"] & splits["test-open"] == set()
    assert len(splits["test-closed"]) >= 3
    assert splits["test-closed"] <= splits["train"]
    assert {"libri-61", "libri-121", "libri-237"} <= splits["test-open"]
    assert {"libri-367", "libri-533", "libri-1688"} <= splits["valid"]
    sexes = {row["speaker"]: row["sex"] for row in rows}
    known = {"libri-19": "f", "libri-26": "?", "ocean-SPEAKER0000": "f", "ocean-SPEAKER0001": "m"}
    known |= {"an4-fash": "f", "an4-mmtm": "m", "arctic-slt": "f"}
    assert sexes.items() >= known.items()
    # What is shorter than a second is left out.
    assert not any(row["path"].endswith("arctic_a0005.flac") for row in rows)
    recordings, _ = load_corpus(built, "train")
    assert recordings


@pytest.mark.parametrize(("name", "count"), [("2spk-valid", 200), ("3spk-open", 200)])
def test_lists(built: Path, name: str, count: int) -> None:
    items = load_mixture_list(built / "mixtures" / f"{name}.csv")
    assert len(items) == count
    for item in items[:20]:
        mixture, sources = item.load()
        assert np.abs(mixture).max() == pytest.approx(0.9, abs=1e-3)
        assert len({path.parent for path in item.paths}) == len(sources) == int(name[0])
        levels = 20 * np.log10(np.std(sources, axis=1))
        assert np.ptp(levels) < 5.5


def test_the_same_again(corpora: Path, built: Path, tmp_path: Path) -> None:
    build(arguments(corpora, tmp_path / "speech"))
    for path in sorted(built.rglob("*.csv")):
        again = tmp_path / "speech" / path.relative_to(built)
        assert path.read_bytes() == again.read_bytes()


def test_it_trains_and_measures(
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "--data", str(built), "--time-limit", "0.01", "-o", "m.safetensors"]
    assert main([*command, "--set", "hidden_size=8", "embedding_dim=4"]) == 0
    command = ["evaluate", "--protocol", "speech", "--root", str(built), "--subset", "2spk-open"]
    assert main([*command, "--model", "m.safetensors", "--limit", "1"]) == 0
    assert "1 mixture of 2 sources" in capsys.readouterr().out


def test_what_is_refused(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        ([str(corpora), "--an4", str(corpora / "an4")], "exists already"),
        ([str(tmp_path / "new"), "--an4", str(corpora)], "expected wav/PART/SPEAKER"),
        ([str(tmp_path / "new")], "give the folder of a corpus"),
    ):
        with pytest.raises(SystemExit, match="2"):
            build(words)
        assert message in capsys.readouterr().err
