"""Mixtures of published protocols, made from tiny corpora of their layouts."""

from __future__ import annotations

import csv
import errno
import os
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import files_of, write_lines
from numpy.typing import NDArray
from scipy.signal import resample_poly
from test_speech_level import naive_level

from skdc.commands.separate import find_inputs
from skdc.datasets import find_recordings, load_sample_clips, read_audio, write_audio
from skdc.protocols import (
    draw_mixture_list,
    folders,
    librimix,
    make_librimix,
    make_speaker_mixtures,
    make_wsj0_mix,
    making,
    open_protocol,
)
from skdc.protocols.clips import ClipMix
from skdc.protocols.records import RecipeRecord
from skdc.signal import active_speech_level

Array = NDArray[Any]

ANN, BOB, CYN = "441o030e", "40no030y", "01to030v"
PAIR = f"{ANN}_1.7108_{BOB}_-1.7108"


def speech(index: int, n_samples: int) -> Array:
    """Real speech at 16 kHz, in steps of 16 bits."""
    waveform = load_sample_clips()[index].waveform[6000 : 6000 + n_samples // 2]
    return np.rint(resample_poly(waveform.astype(float), 2, 1) * 2**15) / 2**15


def int16(path: Path) -> Array:
    return soundfile.read(path, dtype="int16")[0].astype(int)


# WSJ0


@pytest.fixture
def wsj0(tmp_path: Path) -> Path:
    """A corpus of three utterances: WAV, and SPHERE under two names."""
    root = tmp_path / "corpus" / "wsj0"
    write_audio(root / "si_et_05" / "441" / f"{ANN}.wav", speech(0, 16000), 16000)
    for speaker, name, index, n_samples, suffix in (
        ("40n", BOB, 4, 12000, "wv1"),
        ("01t", CYN, 9, 14001, "sph"),
    ):
        folder = root / "si_tr_s" / speaker
        folder.mkdir(parents=True)
        samples = (speech(index, n_samples) * 2**15).astype(np.int16)
        soundfile.write(folder / f"{name}.{suffix}", samples, 16000, format="NIST")
    return root


def path_of(name: str) -> str:
    folder = "si_et_05" if name == ANN else "si_tr_s"
    return f"wsj0/{folder}/{name[:3]}/{name}.wav"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_lines(
        tmp_path / "mix_2_spk_tt.txt",
        f"{path_of(ANN)} 1.7108 {path_of(BOB)} -1.7108",
        "",
        f"{path_of(CYN)} 0 {path_of(ANN)} 0.7642149",
    )


def naive_wsj0(
    wsj0: Path, recipe: list[tuple[str, float]], rate: int, mode: str
) -> tuple[Array, list[Array]]:
    """What the published script does, step by step, in 16-bit steps."""
    sources = []
    for name, level_db in recipe:
        (path,) = wsj0.rglob(f"{name}.*")
        recording = int16(path) / 2**15
        at_8k = resample_poly(recording, 1, 2)
        level = naive_level(at_8k, 8000)
        chosen = at_8k if rate == 8000 else recording
        sources.append(10 ** (level_db / 20) * chosen / level)
    if mode == "min":
        n_samples = min(len(source) for source in sources)
        sources = [source[:n_samples] for source in sources]
    else:
        n_samples = max(len(source) for source in sources)
        sources = [np.r_[source, np.zeros(n_samples - len(source))] for source in sources]
    mixture = np.zeros(n_samples)
    for source in sources:
        mixture += source
    largest = max(max(abs(x)) for x in [mixture, *sources])
    return (
        np.round(mixture / largest * 0.9 * 2**15),
        [np.round(source / largest * 0.9 * 2**15) for source in sources],
    )


@pytest.mark.parametrize("mode", ["min", "max"])
def test_wsj0_mix_equals_the_naive_reference(
    tmp_path: Path, wsj0: Path, pairs: Path, mode: str
) -> None:
    out = tmp_path / "2speakers"
    made = make_wsj0_mix(
        wsj0, pairs, out, n_sources=2, subset="tt", mode=mode, sample_rates=(8000, 16000)
    )
    assert made == 2
    listed = {
        PAIR: [(ANN, 1.7108), (BOB, -1.7108)],
        f"{CYN}_0_{ANN}_0.76421": [(CYN, 0.0), (ANN, 0.7642149)],
    }
    for rate in (8000, 16000):
        folder = out / f"wav{rate // 1000}k" / mode / "tt"
        assert sorted(path.stem for path in (folder / "mix").iterdir()) == sorted(listed)
        for name, recipe in listed.items():
            mixture, sources = naive_wsj0(wsj0, recipe, rate, mode)
            for kind, expected in zip(("mix", "s1", "s2"), [mixture, *sources], strict=True):
                path = folder / kind / f"{name}.wav"
                assert soundfile.info(path).subtype == "PCM_16"
                assert soundfile.info(path).samplerate == rate
                assert np.abs(int16(path) - expected).max() <= 1
            peak = max(np.abs(int16(p)).max() for p in folder.rglob(f"{name}.wav"))
            assert peak == round(0.9 * 2**15)
    items = open_protocol("wsj0-2mix", out, subset="tt", mode=mode)
    assert [item.speakers for item in items] == [("01t", "441"), ("441", "40n")]


def test_wsj0_3mix_and_the_folder_above(tmp_path: Path, wsj0: Path) -> None:
    line = f"{path_of(ANN)} 1.5 {path_of(BOB)} -1.5 {path_of(CYN)} 0"
    triples = write_lines(tmp_path / "three.txt", line)
    for root in (wsj0, wsj0.parent):
        out = tmp_path / root.name
        make_wsj0_mix(root, triples, out, n_sources=3, subset="cv")
        (item,) = open_protocol("wsj0-3mix", out, subset="cv")
        assert item.mixture_id == f"{ANN}_1.5_{BOB}_-1.5_{CYN}_0"
        assert (item.conditions, item.speakers) == ("closed", ("441", "40n", "01t"))
        mixture, sources = item.load()
        assert sources.shape == (3, 6000)
        np.testing.assert_allclose(mixture, sources.sum(axis=0), atol=2 * 2**-15)


@pytest.mark.slow  # every process imports torch
def test_making_in_parallel_gives_the_same_files(tmp_path: Path, wsj0: Path, pairs: Path) -> None:
    make_wsj0_mix(wsj0, pairs, tmp_path / "one", n_sources=2, subset="tr")
    make_wsj0_mix(wsj0, pairs, tmp_path / "two", n_sources=2, subset="tr", n_jobs=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_work_can_be_sent_to_other_processes(
    tmp_path: Path, wsj0: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []

    def parallel(jobs: Iterable[Any]) -> list[bool]:
        sent.extend(pickle.dumps(job) for job in jobs)
        results = []
        for function, arguments, options in map(pickle.loads, sent):
            results.append(function(*arguments, **options))
        return results

    monkeypatch.setattr(making, "Parallel", lambda **how: parallel)
    assert make_wsj0_mix(wsj0, pairs, tmp_path, n_sources=2, subset="tr", n_jobs=2) == 2
    assert len(sent) == 2
    assert len(open_protocol("wsj0-2mix", tmp_path, subset="tr")) == 2


def test_a_stopped_run_goes_on(
    tmp_path: Path, wsj0: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"n_sources": 2, "subset": "tr"}
    make_wsj0_mix(wsj0, pairs, tmp_path / "whole", **options)
    out = tmp_path / "out"
    written: list[Path] = []

    def stop_at_the_fifth(path: Path, *args: Any) -> None:
        if len(written) == 4:
            (path.parent / f".{path.stem}.part0.wav").write_bytes(b"RIFF")  # as a kill leaves it
            raise KeyboardInterrupt("at the fifth")
        written.append(path)
        write_audio(path, *args)

    monkeypatch.setattr(folders, "write_audio", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt, match="at the fifth"):
        make_wsj0_mix(wsj0, pairs, out, **options)
    with pytest.raises(FileNotFoundError, match=r"2 of the 6 files are .*run the maker again"):
        open_protocol("wsj0-2mix", out, subset="tr")
    monkeypatch.undo()
    kept = written[0].stat()
    assert make_wsj0_mix(wsj0, pairs, out, **options) == 1
    assert files_of(out) == files_of(tmp_path / "whole")
    assert written[0].stat().st_mtime_ns == kept.st_mtime_ns
    assert make_wsj0_mix(wsj0, pairs, out, **options) == 0


def test_files_that_are_not_whole_are_made_anew(tmp_path: Path, wsj0: Path, pairs: Path) -> None:
    options: dict[str, Any] = {"n_sources": 2, "subset": "tr"}
    make_wsj0_mix(wsj0, pairs, tmp_path, **options)
    whole = files_of(tmp_path / "wav8k")
    damaged = tmp_path / "wav8k" / "min" / "tr" / "s2" / f"{PAIR}.wav"
    for content in (damaged.read_bytes()[:5000], b"", b"nothing that is audio"):
        damaged.write_bytes(content)
        assert make_wsj0_mix(wsj0, pairs, tmp_path, **options) == 1
        assert files_of(tmp_path / "wav8k") == whole


def test_full_disk(tmp_path: Path, wsj0: Path, pairs: Path) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    out = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # less than one of the files
    try:
        with pytest.raises(OSError, match="cannot write"):
            make_wsj0_mix(wsj0, pairs, out, n_sources=2, subset="tr")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_of(out) == {}
    assert make_wsj0_mix(wsj0, pairs, out, n_sources=2, subset="tr") == 2


def test_errors_of_the_system_pass_through(
    tmp_path: Path, wsj0: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders, "write_audio", full)
    with pytest.raises(OSError, match="No space left") as raised:
        make_wsj0_mix(wsj0, pairs, tmp_path / "out", n_sources=2, subset="tr")
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{path_of(ANN)} 1 {path_of(BOB)}", "line 2: expected PATH and decibels 2 times, got"),
        (f"{path_of(ANN)} 1 {path_of(BOB)} -1 {path_of(CYN)} 0", "another number of sources"),
        (f"{path_of(ANN)} 1 {path_of(BOB)} -", "line 2: expected PATH and decibels"),
        (f"{path_of(ANN)} nan {path_of(BOB)} 1", "line 2: expected PATH and decibels"),
        (f"{path_of(ANN)} 1 {path_of(BOB)} 1e9", "line 2: levels are 1, 1e9; .* within ±180"),
        (f"{path_of(ANN)} 1 {path_of(BOB)} 1", "line 2: mixture '441.*' is on line 1 already"),
    ],
)
def test_damaged_lists(tmp_path: Path, wsj0: Path, line: str, message: str) -> None:
    damaged = write_lines(tmp_path / "list.txt", f"{path_of(ANN)} 1 {path_of(BOB)} 1", line)
    with pytest.raises(ValueError, match=message):
        make_wsj0_mix(wsj0, damaged, tmp_path / "out", n_sources=2, subset="tr")
    assert not (tmp_path / "out").exists()


def test_missing_lists_and_recordings(tmp_path: Path, wsj0: Path, pairs: Path) -> None:
    options: dict[str, Any] = {"n_sources": 2, "subset": "tr"}
    with pytest.raises(FileNotFoundError, match=r"no list of mixtures at '.*gone\.txt'"):
        make_wsj0_mix(wsj0, tmp_path / "gone.txt", tmp_path / "out", **options)
    with pytest.raises(ValueError, match="lists no mixtures"):
        make_wsj0_mix(wsj0, write_lines(tmp_path / "none.txt"), tmp_path / "out", **options)
    (wsj0 / "si_tr_s" / "01t" / f"{CYN}.sph").unlink()
    message = r"1 of the 3 recordings in '.*_tt\.txt' are missing: .*01to030v\.wav' \(line 3\)"
    with pytest.raises(FileNotFoundError, match=message):
        make_wsj0_mix(wsj0, pairs, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_recordings_that_cannot_be_used(tmp_path: Path, wsj0: Path, pairs: Path) -> None:
    options: dict[str, Any] = {"n_sources": 2, "subset": "tr"}
    path = wsj0 / "si_tr_s" / "40n" / f"{BOB}.wv1"
    plain = path.read_bytes()
    path.write_bytes(plain.replace(b"-s3 pcm\n", b"-s26 pcm,embedded-shorten-v2.00\n", 1))
    with pytest.raises(ValueError, match=r"40no030y\.wv1' is NIST SPHERE compr.*decompress"):
        make_wsj0_mix(wsj0, pairs, tmp_path / "out", **options)
    soundfile.write(path, np.zeros(9000, np.int16), 16000, format="NIST")
    with pytest.raises(ValueError, match=r"40no030y\.wv1' is silent"):
        make_wsj0_mix(wsj0, pairs, tmp_path / "out", **options)
    soundfile.write(path, np.ones(9000, np.int16), 8000, format="NIST")
    with pytest.raises(ValueError, match=r"40no030y\.wv1' is at 8000 Hz, .*at 16000 Hz"):
        make_wsj0_mix(wsj0, pairs, tmp_path / "out", **options)
    path.write_bytes(b"no audio")
    with pytest.raises(ValueError, match=r"cannot read '.*40no030y\.wv1' as audio"):
        make_wsj0_mix(wsj0, pairs, tmp_path / "out", **options)
    assert files_of(tmp_path / "out") == {}


# LibriMix


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    for index, name in enumerate(("61-70968-0000", "121-121726-0001")):
        speaker, chapter, _ = name.split("-")
        path = root / "test-clean" / speaker / chapter / f"{name}.flac"
        write_audio(path, speech(index, 9000 + 1001 * index), 16000)
    write_lines(
        tmp_path / "libri2mix_test-clean.csv",
        "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain,noise_path,noise_gain",
        "61-70968-0000_121-121726-0001,test-clean/61/70968/61-70968-0000.flac,0.5,"
        "test-clean/121/121726/121-121726-0001.flac,0.25,tt/n.wav,0.1",
    )
    return root


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_librimix(tmp_path: Path, libri: Path, mode: str, rate: int) -> None:
    table = tmp_path / "libri2mix_test-clean.csv"
    out = tmp_path / "Libri2Mix"
    options: dict[str, Any] = {"n_sources": 2, "mode": mode, "sample_rate": rate}
    assert make_librimix(libri, table, out, **options) == 1
    assert make_librimix(libri, table, out, **options) == 0
    (item,) = open_protocol("libri2mix", out, subset="test", mode=mode, sample_rate=rate)
    assert (item.conditions, item.speakers, item.sexes) == ("open", ("61", "121"), ())
    mixture, sources = item.load()
    scaled = [
        gain * resample_poly(speech(i, 9000 + 1001 * i), rate // 8000, 2)
        for i, gain in enumerate((0.5, 0.25))
    ]
    n_samples = (min if mode == "min" else max)(len(source) for source in scaled)
    expected = [np.pad(s, (0, n_samples))[:n_samples] for s in scaled]
    np.testing.assert_allclose(sources, expected, atol=2**-15)
    np.testing.assert_allclose(mixture, np.sum(expected, axis=0), atol=2**-15)


# What is there already


def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error to read a recording."""

    def read(path: Path, sample_rate: int) -> Array:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(librimix, "read_recording", read)


def test_what_is_there_is_neither_made_nor_read_again(
    tmp_path: Path, libri: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = tmp_path / "libri2mix_test-clean.csv", tmp_path / "out"
    assert make_librimix(libri, table, out, n_sources=2) == 1
    record = out / "wav8k" / "min" / "test" / "recipes.jsonl"
    noted = record.read_text()
    with monkeypatch.context() as patch:
        refusing(patch)
        assert make_librimix(libri, table, out, n_sources=2) == 0
    assert record.read_text() == noted
    # Without its line, or with half of one, a mixture is made once more and compared.
    files = files_of(out)
    for left in (None, "", noted[:20], '["x"]\n', "[[], 1]\n", "no\n" + noted):
        record.unlink()
        if left is not None:
            record.write_text(left)
        if left is None or noted not in left:
            with monkeypatch.context() as patch:
                refusing(patch)
                with pytest.raises(AssertionError, match="was read"):
                    make_librimix(libri, table, out, n_sources=2)
        assert make_librimix(libri, table, out, n_sources=2) == 0
        assert files_of(out) == files


def test_a_list_with_another_level(tmp_path: Path, libri: Path) -> None:
    table, out = tmp_path / "libri2mix_test-clean.csv", tmp_path / "out"
    assert make_librimix(libri, table, out, n_sources=2) == 1
    old, before = table.read_text(), files_of(out)
    new = old.replace(",0.25,", ",0.2505,")
    message = (
        r"line 2: mixture '61-.*' in '.*test' is there already, made of another list or of other "
        "recordings; delete the folder"
    )
    audio = {name for name in before if name.endswith(".wav")}
    for _ in range(2):  # the second time nothing is noted
        table.write_text(new)
        with pytest.raises(ValueError, match=message):
            make_librimix(libri, table, out, n_sources=2)
        assert {name: files_of(out)[name] for name in audio} == {n: before[n] for n in audio}
    table.write_text(old)
    assert make_librimix(libri, table, out, n_sources=2) == 0
    assert files_of(out) == before
    # What is not whole is made by the list as it is now, and so is not of the old one.
    table.write_text(new)
    next(out.rglob("s2/*.wav")).unlink()
    assert make_librimix(libri, table, out, n_sources=2) == 1
    assert make_librimix(libri, table, out, n_sources=2) == 0
    table.write_text(old)
    with pytest.raises(ValueError, match=message):
        make_librimix(libri, table, out, n_sources=2)


def test_a_kill_before_a_mixture_is_noted(tmp_path: Path, libri: Path) -> None:
    table, out = tmp_path / "libri2mix_test-clean.csv", tmp_path / "out"
    make_librimix(libri, table, out, n_sources=2)
    old = table.read_text()
    for path in list(out.rglob("*.wav")):
        path.unlink()
    table.write_text(old.replace(",0.25,", ",0.125,"))
    with pytest.MonkeyPatch.context() as patch:

        def killed(record: Any, name: str) -> None:
            raise KeyboardInterrupt("killed")

        patch.setattr(RecipeRecord, "add", killed)
        with pytest.raises(KeyboardInterrupt, match="killed"):
            make_librimix(libri, table, out, n_sources=2)
    assert len(list(out.rglob("*.wav"))) == 3
    table.write_text(old)  # whose line must not be there any more
    with pytest.raises(ValueError, match="already, made of another list"):
        make_librimix(libri, table, out, n_sources=2)


def test_recordings_that_moved_or_changed(tmp_path: Path, libri: Path) -> None:
    table, out = tmp_path / "libri2mix_test-clean.csv", tmp_path / "out"
    make_librimix(libri, table, out, n_sources=2)
    moved = libri.rename(tmp_path / "elsewhere")
    assert make_librimix(moved, table, out, n_sources=2) == 0
    (path,) = moved.rglob("61-*.flac")
    write_audio(path, speech(3, 9000), 16000)
    with pytest.raises(ValueError, match=r"already, made of .* other recordings"):
        make_librimix(moved, table, out, n_sources=2)


def test_one_of_two_rates_is_there(tmp_path: Path, wsj0: Path, pairs: Path) -> None:
    options: dict[str, Any] = {"n_sources": 2, "subset": "tr"}
    both: dict[str, Any] = options | {"sample_rates": (8000, 16000)}
    make_wsj0_mix(wsj0, pairs, tmp_path / "whole", **both)
    assert make_wsj0_mix(wsj0, pairs, tmp_path / "out", **options) == 2
    next(tmp_path.rglob("out/wav8k/min/tr/recipes.jsonl")).unlink()
    assert make_wsj0_mix(wsj0, pairs, tmp_path / "out", **both) == 2
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    lost = tmp_path / "out" / "wav16k" / "min" / "tr" / "s1" / f"{PAIR}.wav"
    lost.write_bytes(b"")
    assert make_wsj0_mix(wsj0, pairs, tmp_path / "out", **both) == 1
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["mix_clean", "s1", "s2"])
def test_mixtures_that_the_list_does_not_have(tmp_path: Path, libri: Path, kind: str) -> None:
    table, out = tmp_path / "libri2mix_test-clean.csv", tmp_path / "out"
    folder = out / "wav8k" / "min" / "test"
    for number in range(7):
        write_audio(folder / kind / f"other-{number}.wav", np.zeros(9), 8000)
    (folder / kind / ".other.part0.wav").write_bytes(b"RIFF")  # as a kill leaves it
    before = files_of(out)
    message = (
        r"test' holds mixtures that '.*clean\.csv' does not have, and they would count as its "
        "own: other-0, .* and 2 more; delete their files in s1, s2, mix_clean, or give another"
    )
    with pytest.raises(ValueError, match=message):
        make_librimix(libri, table, out, n_sources=2)
    assert files_of(out) == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.25,", ",x,", "line 2: source_2_gain is 'x'"),
        (",0.25,", ",1e38,", r"line 2: source_2_gain is '1e38'; .* within ±1e\+09"),
        (",0.25,", ",,", "line 2: no source_2_gain"),
        (",0.25,", ",25,", "line 2: mixture '61-.*' exceeds full scale, with a peak of"),
        ("source_2_path", "other", "no column 'source_2_path'"),
        ("61-70968-0000_", "../", "line 2: '../121-121726-0001' cannot be the name of a file"),
    ],
)
def test_damaged_metadata(tmp_path: Path, libri: Path, old: str, new: str, message: str) -> None:
    table = tmp_path / "libri2mix_test-clean.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        make_librimix(libri, table, tmp_path / "out", n_sources=2)
    assert not (tmp_path / "out").exists()


# Clips of speakers


@pytest.fixture
def speakers(tmp_path: Path) -> Path:
    root = tmp_path / "speakers"
    for index, name in enumerate(("id01/a/00001", "id01/b/00002", "-x_y/00003", "id03/00004")):
        write_audio(root / f"{name}.wav", speech(index, 24000), 16000)
    write_audio(root / "id03" / "00005.wav", speech(1, 4000), 16000)  # too short
    return root


def test_clips_of_speakers(tmp_path: Path, speakers: Path) -> None:
    table = tmp_path / "tt.csv"
    draw_mixture_list(speakers, table, n_mixtures=8, duration_s=1.25, random_state=0)
    text = table.read_text()
    draw_mixture_list(speakers, table, n_mixtures=8, duration_s=1.25, random_state=0)
    assert table.read_text() == text
    out = tmp_path / "mixtures"
    assert make_speaker_mixtures(speakers, table, out, subset="tt") == 8
    assert make_speaker_mixtures(speakers, table, out, subset="tt") == 0
    items = {item.mixture_id: item for item in open_protocol("voxceleb2-2mix", out, subset="tt")}
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(items) == sorted(row["mixture_id"] for row in rows)
    for row in rows:
        item = items[row["mixture_id"]]
        expected = []
        for i in (1, 2):
            start = int(row[f"start_{i}"])
            clip = read_audio(speakers / row[f"source_{i}"])[0][start : start + 20000]
            gain = 10 ** (float(row[f"level_db_{i}"]) / 20) / active_speech_level(clip, 16000)
            expected.append(gain * clip.astype(float))
        scale = 0.9 / max(np.abs(x).max() for x in [*expected, sum(expected)])
        mixture, sources = item.load()
        np.testing.assert_allclose(sources, scale * np.array(expected), atol=2**-15)
        assert mixture.shape == (20000,)
        assert item.speakers == tuple(row[f"source_{i}"].split("/")[0] for i in (1, 2))
        assert len(set(item.speakers)) == 2
        assert abs(float(row["level_db_1"]) - float(row["level_db_2"])) <= 5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("source_3,start_3,level_db_3", "no column 'source_2', 'start_2', 'level_db_2'"),
        ("start_2,level_db_2", "no column 'source_2'"),
        ("source_1,start_2,level_db_2", "more than one column 'source_1'"),
    ],
)
def test_lists_that_would_lose_a_source(tmp_path: Path, columns: str, message: str) -> None:
    table = tmp_path / "list.csv"
    row = ",".join(["a", "9", *"b00", *("c" for _ in columns.split(","))])
    table.write_text(f"mixture_id,n_samples,source_1,start_1,level_db_1,{columns}\n{row}\n")
    with pytest.raises(ValueError, match=message):
        make_speaker_mixtures(tmp_path, table, tmp_path / "out", subset="tt")


@pytest.mark.parametrize("level_range_db", [0, 1e-5, 5])
@pytest.mark.parametrize("n_sources", [2, 3])
def test_what_is_drawn_can_be_made_and_trained_on(
    tmp_path: Path, level_range_db: float, n_sources: int
) -> None:
    names = ("ann/a1", "ann/deep/a1", "b_b/b_2", "b_b/-1", "3/0.5", "3/x_1.25", "d.d/1_2.5_e")
    for index, name in enumerate(names):
        write_audio(tmp_path / "clips" / f"{name}.flac", speech(index, 9000), 16000)
    table, out = tmp_path / "tr.csv", tmp_path / "mixtures"
    options: dict[str, Any] = {"level_range_db": level_range_db, "n_sources": n_sources}
    clips = tmp_path / "clips"
    draw_mixture_list(clips, table, n_mixtures=40, duration_s=0.5, random_state=0, **options)
    assert "-0.0000" not in table.read_text()
    assert make_speaker_mixtures(clips, table, out, subset="tr") == 40
    protocol = ClipMix("clips", n_sources)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        told = tuple(row[f"source_{i}"].split("/")[0] for i in range(1, n_sources + 1))
        assert protocol.talkers(row["mixture_id"]) == (told, ())
    recordings, speakers = protocol.open_recordings(out, "tr", 16000)
    assert len(recordings) == 40 * n_sources
    assert set(speakers) == {"ann", "b_b", "3", "d.d"}


def test_lists_that_cannot_be_drawn(tmp_path: Path) -> None:
    for index, name in enumerate(("ann/1", "bob/1")):
        write_audio(tmp_path / "few" / f"{name}.wav", speech(index, 8000), 16000)
    options: dict[str, Any] = {"duration_s": 0.5, "level_range_db": 0, "random_state": 0}
    draw_mixture_list(tmp_path / "few", tmp_path / "list.csv", n_mixtures=2, **options)
    with pytest.raises(ValueError, match="100 draws after 2 of 3 mixtures all gave one that is"):
        draw_mixture_list(tmp_path / "few", tmp_path / "list.csv", n_mixtures=3, **options)
    for index, name in enumerate(("ann/1", "ann_1-0_0.5000_bob/1")):
        write_audio(tmp_path / "odd" / f"{name}.wav", speech(index, 8000), 16000)
    with pytest.raises(ValueError, match=r"'ann_1-0_0\.5000_bob'.* would not tell them; rename"):
        draw_mixture_list(tmp_path / "odd", tmp_path / "list.csv", n_mixtures=9, **options)


def test_lists_of_some_speakers(tmp_path: Path, speakers: Path) -> None:
    table = tmp_path / "list.csv"
    options: dict[str, Any] = {"n_mixtures": 3, "duration_s": 1.0, "random_state": 1}
    draw_mixture_list(speakers, table, speakers=["id01", "id03"], **options)
    assert "-x_y" not in table.read_text()
    with pytest.raises(FileNotFoundError, match=r"no folder of a speaker at '.*id09'"):
        draw_mixture_list(speakers, table, speakers=["id01", "id09"], **options)
    with pytest.raises(FileNotFoundError, match="no folder of speakers"):
        draw_mixture_list(speakers / "none", table, **options)
    with pytest.raises(ValueError, match="need as many speakers, but 1 of the folders"):
        draw_mixture_list(speakers, table, speakers=["id01"], **options)
    with pytest.raises(ValueError, match=r"100 draws .* less than 32000 samples"):
        draw_mixture_list(speakers, table, n_mixtures=1)
    with pytest.raises(ValueError, match=r"is at 16000 Hz, .* at 8000 Hz"):
        draw_mixture_list(speakers, table, sample_rate=8000, **options)
    with pytest.raises(ValueError, match="n_mixtures is 0"):
        draw_mixture_list(speakers, table, n_mixtures=0)
    with pytest.raises(ValueError, match="level_range_db is -1"):
        draw_mixture_list(speakers, table, n_mixtures=1, level_range_db=-1)
    with pytest.raises(ValueError, match="level_range_db is 200; give a number of dB, 0 to 180"):
        draw_mixture_list(speakers, table, n_mixtures=1, level_range_db=200)


def test_a_folder_stands_for_the_same_files_everywhere(tmp_path: Path) -> None:
    root, table = tmp_path / "clips", tmp_path / "list.csv"
    for index, name in enumerate(("ann/1.aiff", "bob/1.aiff", ".old/1.aiff", "bob/.old/1.aiff")):
        write_audio(root / name, speech(index, 24000), 16000)
    (root / "ann" / "2.wav").mkdir()  # a folder, whatever its name
    draw_mixture_list(root, table, n_mixtures=6, duration_s=1.0, random_state=0)
    with table.open() as file:
        drawn = {row[f"source_{i}"] for row in csv.DictReader(file) for i in (1, 2)}
    found, speakers = find_recordings(root, sample_rate=16000)
    jobs = find_inputs([str(root)], tmp_path / "out").jobs
    expected = ("ann/1.aiff", "bob/1.aiff")
    assert drawn == {*expected}
    assert found.paths == tuple(job.source for job in jobs) == tuple(root / x for x in expected)
    assert speakers == ["ann", "bob"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,20000,id01/a/00001.wav,4001,0,id03/00004.wav,0,0", "takes 4001 to 24001"),
        ("a,20000,id01/a/00001.wav,-1,0,id03/00004.wav,0,0", "start_1 is '-1'"),
        ("a,20000,id01/a/00001.wav,0.5,0,id03/00004.wav,0,0", r"start_1 is '0\.5'"),
        ("a,0,id01/a/00001.wav,0,0,id03/00004.wav,0,0", "n_samples is '0'"),
        ("a,20000,id01/a/00001.wav,0,0,id03/00004.wav,0", "line 2: level_db_2 is ''"),
        ("a,20000,id01/a/00001.wav,0,1e9,id03/00004.wav,0,0", "level_db_1 is '1e9'; .* ±180"),
        ("a,20000,id01/a/00001.wav,0,0", "line 2: no source_2"),
    ],
)
def test_damaged_lists_of_clips(tmp_path: Path, speakers: Path, row: str, message: str) -> None:
    header = "mixture_id,n_samples,source_1,start_1,level_db_1,source_2,start_2,level_db_2"
    table = write_lines(tmp_path / "list.csv", header, row)
    with pytest.raises(ValueError, match=message):
        make_speaker_mixtures(speakers, table, tmp_path / "out", subset="tt")


@pytest.mark.parametrize(
    ("maker", "options", "message"),
    [
        (make_wsj0_mix, {"n_sources": 1, "subset": "tr"}, "n_sources is 1; .* at least 2"),
        (make_wsj0_mix, {"n_sources": 2, "subset": "tr", "mode": "mid"}, "mode is 'mid'"),
        (make_wsj0_mix, {"n_sources": 2, "subset": "tr", "sample_rates": ()}, "sample_rates is"),
        (make_librimix, {"n_sources": 2, "sample_rate": 44100}, "sample_rate is 44100"),
        (make_librimix, {"n_sources": 2, "mode": ""}, "mode is ''"),
    ],
)
def test_options_out_of_range(
    maker: Callable[..., int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        maker("nowhere", "nowhere", "nowhere", **options)


def test_a_folder_that_is_whole_and_cannot_be_written_to_is_compared(
    tmp_path: Path, libri: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = tmp_path / "libri2mix_test-clean.csv", tmp_path / "out"
    assert make_librimix(libri, table, out, n_sources=2) == 1
    record = out / "wav8k" / "min" / "test" / "recipes.jsonl"
    for kept in (None, "of another time"):
        record.unlink()
        if kept is not None:
            record.write_text(kept)
        with monkeypatch.context() as patch:
            # Whoever is root may write everywhere, whatever the mode of a folder says.
            patch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
            assert make_librimix(libri, table, out, n_sources=2) == 0
        assert (record.read_text() if record.exists() else None) == kept
        record.touch()
