"""Making published mixtures by the command line, training on them and measuring with them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import error_of, files_of, interrupted, mixture_folder, rows_in
from numpy.typing import NDArray
from scipy.signal import resample_poly
from test_cli_protocols import TINY, voice
from test_speech_level import naive_level

from skdc.cli import main
from skdc.datasets import write_audio
from skdc.protocols import PROTOCOLS, draw_mixture_list

Array = NDArray[Any]

SPEAKERS = ("101", "202", "303")
# A mixture as a list has it: its name, and of each source the file, the factor of its recording
# or of its level, and where it begins.
Listed = tuple[str, list[tuple[Path, float, int]]]

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def record(path: Path, speaker: str, seed: int) -> Path:
    """A recording at 16 kHz; each of another length."""
    write_audio(path, voice(speaker, 5000 + 300 * seed + int(speaker), seed), 16000)
    return path


def plant_wsj0(n_sources: int) -> dict[str, list[Listed]]:
    listed: dict[str, list[Listed]] = {}
    for seed, subset in enumerate(("tr", "cv", "tt")):
        lines = []
        for number in range(2):
            names = [f"{speaker}a0{seed}0{number}" for speaker in SPEAKERS[:n_sources]]
            levels = [1.25 - number, -1.25, 0.5][:n_sources]
            paths = [f"wsj0/si_tr_s/{name[:3]}/{name}" for name in names]
            found = [
                record(Path("corpus") / f"{path}.wav", path[-8:-5], 2 * seed + number)
                for path in paths
            ]
            lines.append(" ".join(f"{p}.wav {d:g}" for p, d in zip(paths, levels, strict=True)))
            mixture_id = "_".join(f"{n}_{d:g}" for n, d in zip(names, levels, strict=True))
            sources = [(p, 10 ** (d / 20), 0) for p, d in zip(found, levels, strict=True)]
            listed.setdefault(subset, []).append((mixture_id, sources))
        path = Path("corpus") / f"mix_{n_sources}_spk_{subset}.txt"
        path.write_text("\n".join(lines) + "\n")
    return listed


def plant_libri(n_sources: int) -> dict[str, list[Listed]]:
    listed: dict[str, list[Listed]] = {}
    parts = {"train-100": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
    for seed, (subset, part) in enumerate(parts.items()):
        columns = [
            f"source_{i}_{what}" for i in range(1, n_sources + 1) for what in ("path", "gain")
        ]
        rows = [["mixture_ID", *columns]]
        for number in range(2):
            names = [f"{speaker}-{seed}-{number}" for speaker in SPEAKERS[:n_sources]]
            mixture_id, row = "_".join(names), []
            sources = []
            for name, gain in zip(names, (0.5, 0.25, 0.4), strict=False):
                place = Path(part) / name[:3] / str(seed) / f"{name}.flac"
                path = record(Path("corpus") / place, name[:3], 2 * seed + number)
                sources.append((path, gain, 0))
                row += [place.as_posix(), str(gain)]
            rows.append([mixture_id, *row])
            listed.setdefault(subset, []).append((mixture_id, sources))
        with open(f"corpus/libri{n_sources}mix_{part}.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
    return listed


def plant_clips(n_sources: int) -> dict[str, list[Listed]]:
    listed: dict[str, list[Listed]] = {}
    for seed, speaker in enumerate(SPEAKERS):
        record(Path("corpus") / f"id{speaker}" / f"0000{seed}.wav", speaker, seed)
    for seed, subset in enumerate(("tr", "cv", "tt")):
        draw_mixture_list(
            "corpus", f"corpus/{subset}.csv", n_mixtures=2, duration_s=0.3, random_state=seed
        )
        for row in rows_in(f"corpus/{subset}.csv"):
            sources = [
                (
                    Path("corpus") / row[f"source_{i}"],
                    10 ** (float(row[f"level_db_{i}"]) / 20),
                    int(row[f"start_{i}"]),
                )
                for i in (1, 2)
            ]
            listed.setdefault(subset, []).append((row["mixture_id"], sources))
    return listed


PLANTS: dict[str, Callable[[int], dict[str, list[Listed]]]] = {
    "wsj0": plant_wsj0,
    "libri": plant_libri,
    "lrs3": plant_clips,
    "voxceleb2": plant_clips,
}


def plant(name: str) -> dict[str, list[Listed]]:
    """Make a corpus and its lists, and give what the lists say."""
    (make,) = (make for start, make in PLANTS.items() if name.startswith(start))
    return make(PROTOCOLS[name].n_sources or 0)


def naive_sources(name: str, listed: Listed) -> list[Array]:
    """The sources of a mixture as they are to be written, in steps of 16 bits."""
    recordings = [soundfile.read(path)[0] for path, _, _ in listed[1]]
    gains = [gain for _, gain, _ in listed[1]]
    if PROTOCOLS[name].sample_rates[0] == 8000:
        recordings = [resample_poly(recording, 1, 2) for recording in recordings]
        n_samples = min(map(len, recordings))
    else:
        n_samples = 4800
    starts = [start for _, _, start in listed[1]]
    if name.startswith("libri"):
        sources = [gain * x[:n_samples] for gain, x in zip(gains, recordings, strict=True)]
        return [np.round(source * 2**15) for source in sources]
    if name.startswith("wsj0"):
        levels = [naive_level(recording, 8000) for recording in recordings]
    recordings = [
        x[start : start + n_samples] for x, start in zip(recordings, starts, strict=True)
    ]
    if not name.startswith("wsj0"):
        levels = [naive_level(recording, 16000) for recording in recordings]
    sources = [g * x / level for g, x, level in zip(gains, recordings, levels, strict=True)]
    largest = max(np.abs(x).max() for x in [*sources, np.sum(sources, axis=0)])
    return [np.round(source / largest * 0.9 * 2**15) for source in sources]


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "speech"])
def test_make_train_and_evaluate(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = plant(name)
    assert main(["make", name, "--root", "corpus", "-o", "tree"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "tree"
    for line, (subset, mixtures) in zip(said, listed.items(), strict=False):
        assert line.startswith(f"{subset}: 2 mixtures, 2 of them made now")
        assert ("the published list has" in line) == (subset in PROTOCOLS[name].sizes)
        assert len(mixtures) == 2
    for subset, mixtures in listed.items():
        (folder,) = Path("tree").glob(f"wav*/min/{subset}")
        for mixture in mixtures:
            parts = naive_sources(name, mixture)
            kinds = {f"s{i}": part for i, part in enumerate(parts, start=1)}
            kinds[mixture_folder(name)] = np.sum(parts, axis=0)
            for kind, expected in kinds.items():
                found = soundfile.read(folder / kind / f"{mixture[0]}.wav", dtype="int16")[0]
                # The mixture is rounded once, its sources each.
                assert np.abs(found - expected).max() <= (1 if kind[1:].isdigit() else 3)

    tree = ["--protocol", name, "--root", "tree"]
    assert main(["train", *tree, "-o", "tiny.safetensors", "--set", *TINY]) == 0
    assert main(["evaluate", *tree, "--model", "tiny.safetensors", "--csv", "scores.csv"]) == 0
    # Whether the scores are right is proved by the trees of test_cli_protocols.py.
    assert sorted(row["mixture_id"] for row in rows_in("scores.csv")) == sorted(
        mixture[0] for mixture in listed[PROTOCOLS[name].test or ""]
    )


MAKE = ["make", "wsj0-2mix", "--root", "corpus"]


def test_some_subsets_modes_and_rates(capsys: pytest.CaptureFixture[str]) -> None:
    plant("wsj0-2mix")
    Path("lists").mkdir()
    Path("corpus/mix_2_spk_tt.txt").rename("lists/mix_2_spk_tt.txt")
    command = ["make", "wsj0-2mix", "--root", "corpus/wsj0", "--lists", "lists", "-o", "tree"]
    command += ["--mode", "max", "--sample-rate", "16000", "8000"]
    assert main(command) == 0
    # What there is no list of is not made.
    note = "; the published list has 3000"
    assert capsys.readouterr().out == f"tt: 2 mixtures, 2 of them made now{note}\ntree\n"
    folders = {"/".join(name.split("/")[:3]) for name in files_of("tree")}
    assert folders == {"wav8k/max/tt", "wav16k/max/tt"}
    assert main(command) == 0
    assert capsys.readouterr().out == f"tt: 2 mixtures, 0 of them made now{note}\ntree\n"
    message = error_of([*command, "--subset", "tt", "tr"], capsys)
    assert f"no list of mixtures at {str(Path('lists/mix_2_spk_tr.txt'))!r};" in message


def remove_lists() -> None:
    for path in Path("corpus").glob("*.txt"):
        path.unlink()


# The last subset is the one at fault: nothing of the others is made either.
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda: Path("corpus/wsj0/si_tr_s/101/101a0201.wav").unlink(),
            "1 of the 4 recordings in",
        ),
        (lambda: Path("corpus/mix_2_spk_tt.txt").write_text("wsj0/a.wav 1 wsj0/b"), "line 1: exp"),
        (lambda: Path("corpus/mix_2_spk_tt.txt").write_text(""), "lists no mixtures"),
        (remove_lists, "no list of mixtures at 'c"),
    ],
)
def test_nothing_is_made_of_what_is_not_whole(
    damage: Callable[[], Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant("wsj0-2mix")
    damage()
    assert message in error_of([*MAKE, "-o", "tree"], capsys).replace("\\", "/")
    assert not Path("tree").exists()


def test_missing_recordings_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    plant("wsj0-2mix")
    for path in Path("corpus").rglob("101a020?.wav"):
        path.unlink()
    said = error_of([*MAKE, "-o", "tree"], capsys).replace("\\", "/")
    for line, name in enumerate(("101a0200", "101a0201"), start=1):
        assert f"wsj0/si_tr_s/101/{name}.wav' (line {line})" in said
    assert "..." not in said


def test_wrong_rate(capsys: pytest.CaptureFixture[str]) -> None:
    plant("wsj0-2mix")
    write_audio(Path("corpus/wsj0/si_tr_s/101/101a0000.wav"), voice("101", 4000), 8000)
    said = error_of([*MAKE, "-o", "tree"], capsys)
    assert "101a0000.wav' is at 8000 Hz, but is expected at 16000" in said
    assert files_of(".").keys() & {"tree"} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["make", "speech", "--root", ".", "-o", "t"], "name is 'speech'; give 'wsj0-2mix' or"),
        ([*MAKE, "-o", "t", "--subset", "x"], "subset of 'wsj0-2mix' is 'x'; give 'tr' or"),
        ([*MAKE, "-o", "t", "--mode", "x"], "mode of 'wsj0-2mix' is 'x'; give 'min' or 'max'"),
        ([*MAKE, "-o", "t", "--sample-rate", "44100"], "is 44100; give 8000 or 16000"),
        (["make", "lrs3-2mix", "--root", ".", "-o", "t", "--mode", "max"], "give 'min'"),
    ],
)
def test_options_out_of_range(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(arguments, capsys)


def test_lists_of_more_speakers_than_the_protocol_has(capsys: pytest.CaptureFixture[str]) -> None:
    plant("lrs3-2mix")
    options: dict[str, Any] = {"duration_s": 0.3, "random_state": 0}
    draw_mixture_list("corpus", "corpus/tt.csv", n_mixtures=1, n_sources=3, **options)
    said = error_of(["make", "lrs3-2mix", "--root", "corpus", "-o", "tree"], capsys)
    assert "tt.csv' lists mixtures of 3 sources; those of 'lrs3-2mix' have 2" in said


def audio_in(folder: str) -> list[str]:
    return [name for name in files_of(folder) if name.endswith(".wav")]


def test_a_folder_of_another_list(capsys: pytest.CaptureFixture[str]) -> None:
    plant("wsj0-2mix")
    assert main([*MAKE, "-o", "tree"]) == 0
    before = files_of("tree")
    listed = Path("corpus/mix_2_spk_tt.txt")
    first, second = listed.read_text().splitlines()
    listed.write_text(f"{first}\n")
    for subset in ([], ["--subset", "tt"]):
        said = error_of([*MAKE, "-o", "tree", *subset], capsys)
        said = said.replace("\\", "/")
        assert "tt' holds mixtures that 'corpus/mix_2_spk_tt.txt' does not have, and" in said
        assert "count as its own: 101a0201_0.25_202a0201_-1.25; delete their files in s1," in said
    listed.write_text(f"{first}\n{second.replace('-1.25', '-7')}\n")
    assert "count as its own: 101a0201_0.25_202a0201_-1.25; delete" in error_of(
        [*MAKE, "-o", "tree"], capsys
    )
    assert files_of("tree") == before


KILLED = """
import os, signal, sys
import soundfile
from skdc.cli import main

def write(path, samples, *args, **kwargs):
    calls.append(path)
    whole(path, samples, *args, **kwargs)
    if len(calls) == 8:
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)

calls, whole = [], soundfile.write
soundfile.write = write
main(sys.argv[1:])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_a_kill_in_the_middle(capsys: pytest.CaptureFixture[str]) -> None:
    plant("wsj0-2mix")
    assert main([*MAKE, "-o", "whole"]) == 0
    command = [*MAKE, "-o", "tree"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *command], check=False, env=environment)
    assert killed.returncode == -signal.SIGKILL
    # A mixture is noted when it is whole.
    assert Path("tree/wav8k/min/tr/recipes.jsonl").read_text().count("\n") == 2
    assert len(audio_in("tree")) == 8  # seven whole ones, and a hidden part of one
    whole = files_of("whole")
    for name, content in files_of("tree").items():
        assert Path(name).name.startswith(".") or whole[name] == content
    capsys.readouterr()
    assert main(command) == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()[:3]] == [
        "0",
        "2",
        "2",
    ]
    assert files_of("tree") == whole


def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    plant("wsj0-2mix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))  # less than one of the files
    try:
        assert "cannot write 'tree" in error_of([*MAKE, "-o", "tree"], capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_of("tree") == {}
    assert main([*MAKE, "-o", "tree"]) == 0
    assert len(audio_in("tree")) == 18


def test_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant("wsj0-2mix")
    monkeypatch.setattr(soundfile, "write", interrupted)
    assert main([*MAKE, "-o", "tree"]) == 130
    expected = "The same command makes what is missing\nskdc: interrupted\n"
    assert capsys.readouterr().err.endswith(expected)
