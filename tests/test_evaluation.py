"""Tables of scores: what they hold, how they go on after a break, and what is made of them."""

from __future__ import annotations

import csv
import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import matplotlib as mpl
import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import rows_in

from skdc import DeepClusteringSeparator, signal
from skdc.datasets import write_audio
from skdc.datasets.mixture_lists import ListedMixture, StoredMixture
from skdc.evaluation import run as evaluation_run
from skdc.evaluation.report import PUBLISHED, make_page
from skdc.evaluation.run import (
    Benchmark,
    evaluate_model,
    list_fingerprint,
    model_fingerprint,
    oracle_estimates,
    score_mixture,
)
from skdc.evaluation.tables import (
    format_summary,
    group_by_sexes,
    plot_improvements,
    read_rows,
    score_values,
)
from skdc.exceptions import AudioWarning
from skdc.paths import lock_file
from skdc.protocols import FolderMixture, ProtocolMixture

mpl.use("agg")

TINY: dict[str, Any] = {"embedding_dim": 4, "hidden_size": 8, "n_layers": 1, "hop_length": 128}


def voices(n_sources: int, n_samples: int = 2400, seed: int = 0) -> np.ndarray:
    """Noises that come and go, each in its own rhythm and colour."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples)
    noise = rng.standard_normal((n_sources, n_samples + 2))
    coloured = np.stack(
        [n[2:] + (-1) ** k * 0.9 * n[1:-1] + 0.5 * k * n[:-2] for k, n in enumerate(noise)]
    )
    rhythm = [np.sin(time / (150 + 60 * k) + k) ** 2 for k in range(n_sources)]
    return (0.05 * coloured * np.stack(rhythm)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> DeepClusteringSeparator:
    sources = np.stack([voices(2, 8000, seed) for seed in range(2)])
    separator = DeepClusteringSeparator(**TINY, max_epochs=1, random_state=0, device="cpu")
    return separator.fit(sources.sum(axis=1), sources)


@pytest.fixture
def benchmark_(tmp_path: Path) -> Benchmark:
    """Four mixtures of two in a folder."""
    items = []
    for number, sexes in enumerate(("fm", "mf", "ff", "")):
        sources = voices(2, seed=number)
        paths = [tmp_path / "tree" / kind / f"m{number}.wav" for kind in ("mix", "s1", "s2")]
        for path, samples in zip(paths, (sources.sum(axis=0), *sources), strict=True):
            write_audio(path, samples, 8000)
        audio = FolderMixture(f"m{number}", paths[0], tuple(paths[1:]), 8000)
        items.append(ProtocolMixture(audio, "open", sexes=tuple(sexes)))
    return Benchmark("wsj0-2mix", "tt", items)


# Scores, against naive computations


def naive_sdr(reference: np.ndarray, estimate: np.ndarray, taps: int) -> float:
    column = np.r_[reference.astype(float), np.zeros(taps - 1)]
    delays = scipy.linalg.toeplitz(column, np.zeros(taps))  # (samples + taps - 1, taps)
    padded = np.r_[estimate.astype(float), np.zeros(taps - 1)]
    target = delays @ scipy.linalg.solve(delays.T @ delays, delays.T @ padded, assume_a="pos")
    return 10 * np.log10((target**2).sum() / ((padded - target) ** 2).sum())


def naive_si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    reference, estimate = (x.astype(float) - x.astype(float).mean() for x in (reference, estimate))
    return naive_sdr(reference, estimate, 1)


def naive_scores(
    references: np.ndarray, estimates: np.ndarray, mixture: np.ndarray
) -> dict[str, list[float]]:
    scores = {}
    for name, measure in (("sdr", lambda r, e: naive_sdr(r, e, 512)), ("si_sdr", naive_si_sdr)):
        table = [[measure(r, e) for e in estimates] for r in references]
        best = max(
            itertools.permutations(range(len(estimates)), len(references)),
            key=lambda order: sum(table[i][j] for i, j in enumerate(order)),
        )
        scores[name] = [table[i][j] for i, j in enumerate(best)]
        scores[f"mixture_{name}"] = [measure(r, mixture) for r in references]
        scores[f"{name}_improvement"] = list(np.subtract(scores[name], scores[f"mixture_{name}"]))
    return scores


def test_scores_equal_naive_ones(model: DeepClusteringSeparator) -> None:
    references = voices(2, seed=7)
    mixture = references.sum(axis=0)
    found = score_mixture(model, mixture, references)
    expected = naive_scores(references, model.predict(mixture), mixture)
    framing = {"win_length": model.win_length, "hop_length": model.hop_length}
    sources = signal.stft(torch.from_numpy(references), **framing).numpy()
    spectrogram = signal.stft(torch.from_numpy(mixture), **framing).numpy()
    loudest = np.abs(sources).argmax(axis=0)
    masks = {
        "ideal_binary": np.stack([loudest == 0, loudest == 1]),
        "phase_sensitive": (sources / spectrogram).real.clip(0, 1),
    }
    for oracle, mask in masks.items():
        masked = torch.from_numpy((mask * spectrogram).astype(np.complex64))
        estimates = signal.istft(masked, len(mixture), **framing).numpy()
        scores = naive_scores(references, estimates, mixture)
        expected |= {f"{oracle}_{k}": v for k, v in scores.items() if "mixture" not in k}
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-3, err_msg=name)


def test_oracles_last_as_long_at_another_rate(model: DeepClusteringSeparator) -> None:
    references = voices(2, 4800)
    twice = DeepClusteringSeparator(**TINY | {"hop_length": 256}, win_length=512)
    expected = oracle_estimates(twice, references.sum(axis=0), references)
    faster = DeepClusteringSeparator(**TINY, input_rate=16000)
    found = oracle_estimates(faster, references.sum(axis=0), references)
    for name, estimates in expected.items():
        np.testing.assert_array_equal(found[name], estimates)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
def test_integer_pcm_has_the_scores_of_floats(model: DeepClusteringSeparator, dtype: Any) -> None:
    references = np.round(128 * voices(2, seed=7)).clip(-60, 60)
    scale = 1 if np.iinfo(dtype).bits == 8 else -np.iinfo(dtype).min // 128
    silence = 128 if dtype == np.uint8 else 0
    mixture = references.sum(axis=0)
    as_floats = score_mixture(model, mixture / 128, references / 128)
    as_integers = score_mixture(
        model, *((x * scale + silence).astype(dtype) for x in (mixture, references))
    )
    for name, values in as_floats.items():
        np.testing.assert_allclose(as_integers[name], values, atol=1e-3, err_msg=name)


# Tables, and going on with them


def test_table(model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.csv"
    rows = evaluate_model(model, benchmark_, name="tiny", csv_path=path)
    assert rows == rows_in(path) == read_rows(path)
    assert rows == evaluate_model(model, benchmark_, name="tiny")
    assert [row["mixture_id"] for row in rows] == ["m0", "m1", "m2", "m3"]
    assert [row["sexes"] for row in rows] == ["fm", "mf", "ff", ""]
    first = rows[0]
    assert (first["protocol"], first["subset"], first["n_listed"]) == ("wsj0-2mix", "tt", "4")
    assert (first["model"], first["model_id"]) == ("tiny", model_fingerprint(model))
    assert (first["n_samples"], first["sample_rate"]) == ("2400", "8000")
    mixture, references = benchmark_.items[0].load()
    for name, values in score_mixture(model, mixture, references).items():
        found = [float(first[f"{name}_{number}"]) for number in (1, 2)]
        np.testing.assert_allclose(found, values, atol=6e-5)


class Broken:
    """A model's predictions that break off after a while, and are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException) -> None:
        self.count = 0
        predict = DeepClusteringSeparator.predict

        def counting(separator: DeepClusteringSeparator, X: Any) -> Any:
            if self.count == after:
                raise error
            self.count += 1
            return predict(separator, X)

        monkeypatch.setattr(DeepClusteringSeparator, "predict", counting)


@pytest.mark.parametrize("tail", ["", "wsj0-2mix,tt,4,abc", "wsj0"])
def test_goes_on_after_a_break(
    model: DeepClusteringSeparator,
    benchmark_: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tail: str,
) -> None:
    whole, path = tmp_path / "whole.csv", tmp_path / "scores.csv"
    rows = evaluate_model(model, benchmark_, csv_path=whole)
    with monkeypatch.context() as patch:
        Broken(patch, 2, KeyboardInterrupt("break"))
        with pytest.raises(KeyboardInterrupt, match="break"):
            evaluate_model(model, benchmark_, csv_path=path)
    assert [row["mixture_id"] for row in rows_in(path)] == ["m0", "m1"]
    with path.open("a") as file:
        file.write(tail)  # what a kill leaves of a row
    counter = Broken(monkeypatch, 9, RuntimeError())
    assert evaluate_model(model, benchmark_, csv_path=path) == rows
    assert counter.count == 2
    assert path.read_bytes() == whole.read_bytes()
    assert evaluate_model(model, benchmark_, csv_path=path) == rows
    assert counter.count == 2


@pytest.mark.parametrize("left", ["", "proto", "header", "header and part"])
def test_goes_on_from_less_than_a_row(
    model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path, left: str
) -> None:
    whole, path = tmp_path / "whole.csv", tmp_path / "scores.csv"
    evaluate_model(model, benchmark_, csv_path=whole, limit=1)
    header = whole.read_text().splitlines()[0] + "\n"
    path.write_text({"header": header, "header and part": header + "wsj0-2"}.get(left, left))
    evaluate_model(model, benchmark_, csv_path=path, limit=1)
    assert path.read_bytes() == whole.read_bytes()


def test_goes_on_after_a_full_disk(
    model: DeepClusteringSeparator,
    benchmark_: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "scores.csv"
    rows = evaluate_model(model, benchmark_)

    def full(table: Any, row: dict[str, str]) -> None:
        table.write(",".join(row)[:40].encode())
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(evaluation_run, "_append", full)
        with pytest.raises(OSError, match="no space left"):
            evaluate_model(model, benchmark_, csv_path=path)
    assert path.stat().st_size == 40
    assert evaluate_model(model, benchmark_, csv_path=path) == rows == rows_in(path)


@pytest.mark.parametrize("left", ["", "header", "rows", "rows and part"])
def test_a_table_that_another_run_writes_to(
    model: DeepClusteringSeparator,
    benchmark_: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    left: str,
) -> None:
    path = tmp_path / "scores.csv"
    rows = evaluate_model(model, benchmark_, csv_path=path)
    lines = path.read_text().splitlines(keepends=True)
    n_lines = {"header": 1, "rows": 2, "rows and part": 2}.get(left, 0)
    begun = "".join(lines[:n_lines]) + (lines[2][:40] if left == "rows and part" else "")
    path.write_text(begun)
    message = (
        r"^another evaluation is writing to '.*scores\.csv'; wait until .* another --csv file"
    )
    with path.open("ab") as other, monkeypatch.context() as patch:
        assert lock_file(other.fileno())
        Broken(patch, 0, AssertionError("work was begun"))
        with pytest.raises(BlockingIOError, match=message):
            evaluate_model(model, benchmark_, csv_path=path)
        assert path.read_text() == begun
        # It is this table alone that is locked.
        with pytest.raises(AssertionError, match="work was begun"):
            evaluate_model(model, benchmark_, csv_path=tmp_path / "other.csv")
    assert evaluate_model(model, benchmark_, csv_path=path) == rows == rows_in(path)


def test_a_table_is_locked_as_long_as_it_is_written(
    model: DeepClusteringSeparator,
    benchmark_: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "scores.csv"
    predict = DeepClusteringSeparator.predict
    could_lock = []

    def can_lock() -> bool:
        with path.open("ab") as other:
            return lock_file(other.fileno())

    def watched(separator: DeepClusteringSeparator, X: Any) -> Any:
        could_lock.append(can_lock())
        return predict(separator, X)

    with monkeypatch.context() as patch:
        patch.setattr(DeepClusteringSeparator, "predict", watched)
        evaluate_model(model, benchmark_, csv_path=path)
    assert could_lock == [False] * 4
    assert can_lock()
    path.unlink()
    Broken(monkeypatch, 2, KeyboardInterrupt("break"))
    with pytest.raises(KeyboardInterrupt, match="break"):
        evaluate_model(model, benchmark_, csv_path=path)
    assert can_lock()


@pytest.mark.skipif(os.name != "posix", reason="replaces the lock of POSIX")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_tables_on_file_systems_without_locks(
    model: DeepClusteringSeparator,
    benchmark_: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    path = tmp_path / "scores.csv"

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    if code == errno.EIO:  # a disk that fails is no reason to go on
        with pytest.raises(OSError, match=os.strerror(code)):
            evaluate_model(model, benchmark_, csv_path=path)
        return
    assert evaluate_model(model, benchmark_, csv_path=path) == rows_in(path)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_goes_on_with_a_table_that_a_spreadsheet_saved(
    model: DeepClusteringSeparator,
    benchmark_: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    newline: str,
) -> None:
    """It begins with a byte order mark, and lines may end in another way."""
    path = tmp_path / "scores.csv"
    rows = evaluate_model(model, benchmark_)
    for limit, begun in ((2, None), (1, 20)):
        path.unlink(missing_ok=True)
        evaluate_model(model, benchmark_, csv_path=path, limit=limit)
        path.write_text("\ufeff" + path.read_text()[:begun], "utf-8", newline=newline)
        with monkeypatch.context() as patch:
            counter = Broken(patch, 9, RuntimeError())
            assert evaluate_model(model, benchmark_, csv_path=path) == rows == read_rows(path)
        assert counter.count == (2 if begun is None else 4)


def test_more_mixtures_and_workers(
    model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    (first,) = evaluate_model(model, benchmark_, csv_path=path, limit=1)
    with joblib.parallel_config("threading"):
        rows = evaluate_model(model, benchmark_, csv_path=path, n_jobs=2)
    assert rows == evaluate_model(model, benchmark_)
    assert rows[0] == first
    # Rows beyond the limit stay in the file and out of the result.
    assert evaluate_model(model, benchmark_, csv_path=path, limit=2) == rows[:2]
    assert rows_in(path) == rows


def test_tables_of_others_are_left_alone(
    model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    evaluate_model(model, benchmark_, csv_path=path, limit=1)
    before = path.read_bytes()
    binary = DeepClusteringSeparator(**model.get_params() | {"mask": "binary"})
    binary._adopt(model.network_, model.history_, 0)
    three = DeepClusteringSeparator(**model.get_params() | {"n_sources": 3})
    three._adopt(model.network_, model.history_, 0)
    shorter = Benchmark("wsj0-2mix", "tt", benchmark_.items[:3])
    other = Benchmark("wsj0-2mix", "cv", benchmark_.items)
    for wrong, of in ((binary, benchmark_), (three, benchmark_), (model, shorter), (model, other)):
        with pytest.raises(ValueError, match=r"line 2, is of model .* giving 2 sources on wsj0"):
            evaluate_model(wrong, of, csv_path=path)
    assert path.read_bytes() == before
    notes = tmp_path / "notes.csv"
    for text in ("my notes", "a,b\n1,2\n", "1,2\nunfinished"):
        notes.write_text(text)
        with pytest.raises(ValueError, match=r"notes\.csv' is not a table of an evaluation"):
            evaluate_model(model, benchmark_, csv_path=notes)
        assert notes.read_text() == text
    path.write_bytes(before + b"wsj0-2mix,tt\n")
    with pytest.raises(ValueError, match=r"scores\.csv', line 3: not a row of an evaluation"):
        evaluate_model(model, benchmark_, csv_path=path)
    header, row = before.decode().splitlines()
    path.write_text(f"{header},extra\n{row},1\n")
    with pytest.raises(ValueError, match="by another version, with other columns: extra;"):
        evaluate_model(model, benchmark_, csv_path=path)


def test_tables_that_were_changed(
    model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    rows = evaluate_model(model, benchmark_, csv_path=path, limit=2)
    first, second = rows
    remeasured = "; remove the line, to have the mixture measured again, or give another --csv"
    for changes, message in (
        ({"sdr_1": "nan"}, rf"line 3: sdr_1 is 'nan'; expected a finite number{remeasured}"),
        ({"mixture_si_sdr_2": "loud"}, "line 3: mixture_si_sdr_2 is 'loud'; expected a finite"),
        ({"ideal_binary_sdr_1": ""}, "line 3: ideal_binary_sdr_1 is ''; expected a finite"),
        ({"phase_sensitive_si_sdr_2": "1,5"}, "line 3: phase_sensitive_si_sdr_2 is '1,5'"),
        ({"sample_rate": "8k"}, "line 3: sample_rate is '8k'; expected an integer"),
        ({"mixture_id": "m9"}, "line 3: 'm9' is no mixture of wsj0-2mix tt; remove the line"),
        ({"mixture_id": "m0"}, "line 3: mixture 'm0' is on line 2 already; remove the line"),
    ):
        before = write_rows(path, [first, second | changes]).read_bytes()
        with pytest.raises(ValueError, match=rf"scores\.csv', {message}"):
            evaluate_model(model, benchmark_, csv_path=path)
        assert path.read_bytes() == before


def test_tables_with_other_columns(
    model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    rows = evaluate_model(model, benchmark_)
    for limit in (2, 4):  # also where no row is to be added
        names = list(rows[0])
        swapped = [*names[:-2], names[-1], names[-2]]
        write_rows(path, [{name: row[name] for name in swapped} for row in rows[:limit]])
        message = (
            r"scores\.csv' has its columns in another order: 'phase_\w+_2' where 'phase_\w+_1'"
        )
        with pytest.raises(ValueError, match=message):
            evaluate_model(model, benchmark_, csv_path=path)
        write_rows(path, [{n: row[n] for n in names if n != "si_sdr_1"} for row in rows[:limit]])
        with pytest.raises(
            ValueError, match="another version, with other columns: si_sdr_1; give"
        ):
            evaluate_model(model, benchmark_, csv_path=path)


def test_what_headers_tell_is_told_before_the_first_mixture(
    model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path
) -> None:
    table = tmp_path / "scores.csv"
    last = benchmark_.items[-1].audio
    assert isinstance(last, FolderMixture)
    listed = ListedMixture("m4", 2400, last.source_paths, (1.0, 1.0))
    assert [item.check() for item in benchmark_.items] == [2400] * 4
    assert listed.check() == 2400
    unusable: list[tuple[StoredMixture, str]] = [
        (replace(listed, n_samples=2401), r"m4: .*s1.*has 2400 samples, but .* takes 2401"),
        (replace(listed, sample_rate=16000), r"m4: .*8000 Hz.*16000"),
        (replace(last, sample_rate=16000), r"m3: .*8000 Hz.*16000"),
        (replace(listed, n_samples=200), r"m4 has 200 samples; at least 256"),
    ]
    for audio, message in unusable:
        items = [*benchmark_.items[:3], ProtocolMixture(audio, "open")]
        with pytest.raises(ValueError, match=message):
            evaluate_model(model, Benchmark("wsj0-2mix", "tt", items), csv_path=table)
        assert not rows_in(table)
    write_audio(last.source_paths[0], voices(1, 2399)[0], 8000)
    with pytest.raises(ValueError, match=r"m3: .*s1.*2399 samples, but the mixture has 2400"):
        evaluate_model(model, benchmark_, csv_path=table)
    assert not rows_in(table)


def test_fingerprints(
    model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "tree"
    shutil.copytree(tmp_path / "tree", moved)
    items = list(benchmark_.items)

    def at(root: Path, item: ProtocolMixture) -> ProtocolMixture:
        name = f"{item.mixture_id}.wav"
        sources = (root / "s1" / name, root / "s2" / name)
        audio = FolderMixture(item.mixture_id, root / "mix" / name, sources, 8000)
        return ProtocolMixture(audio, "open", sexes=item.sexes)

    assert list_fingerprint(at(moved, item) for item in items) == list_fingerprint(items)
    assert list_fingerprint(items[1:]) != list_fingerprint(items)
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = DeepClusteringSeparator.load(path)
    assert model_fingerprint(loaded) == model_fingerprint(model)
    assert model_fingerprint(loaded.set_params(n_sources=3)) == model_fingerprint(model)
    with torch.no_grad():
        next(loaded.network_.parameters()).mul_(1.5)
    assert model_fingerprint(loaded) != model_fingerprint(model)


def test_mixtures_that_cannot_be_scored(
    model: DeepClusteringSeparator, benchmark_: Benchmark, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="wsj0-2mix tt has no mixtures"):
        Benchmark("wsj0-2mix", "tt", [])
    with pytest.raises(ValueError, match="has two mixtures 'm1'"):
        Benchmark("wsj0-2mix", "tt", [*benchmark_.items, benchmark_.items[1]])
    write_audio(tmp_path / "tree" / "s2" / "m2.wav", np.zeros(2400), 8000)
    path = tmp_path / "scores.csv"
    for _ in range(2):
        with pytest.warns(AudioWarning, match=r"^1 of 4 mixtures have a silent source.*out: m2$"):
            rows = evaluate_model(model, benchmark_, csv_path=path)
        assert [row["mixture_id"] for row in rows] == ["m0", "m1", "m3"]
        assert rows_in(path) == rows
    alone = Benchmark("wsj0-2mix", "tt", benchmark_.items[2:3])
    with pytest.raises(ValueError, match=r"^1 of 1 mixtures have a silent source"):
        evaluate_model(model, alone)
    (tmp_path / "tree" / "s2" / "m2.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"no audio file at '.*m2\.wav'"):
        evaluate_model(model, benchmark_, csv_path=path)


# What is made of tables


def row(number: int, *, sexes: str = "", n_sources: int = 2, **changes: str) -> dict[str, str]:
    base = {
        "protocol": "speech",
        "subset": f"{n_sources}spk-open",
        "n_listed": "3",
        "list_id": "1" * 12,
        "model": "tiny",
        "model_id": "2" * 12,
        "n_estimates": str(n_sources),
        "mixture_id": f"m{number}",
        "sample_rate": "8000",
        "conditions": "open",
        "sexes": sexes,
    }
    scores = {}
    for offset, prefix in ((0, ""), (5, "ideal_binary_"), (7, "phase_sensitive_")):
        for k, name in enumerate(evaluation_run.MEASURES):
            for source in range(1, n_sources + 1):
                scores[f"{prefix}{name}_{source}"] = f"{10 * number + offset + k + source:.4f}"
    for source in range(1, n_sources + 1):
        scores |= {f"mixture_sdr_{source}": "0.5000", f"mixture_si_sdr_{source}": "0.2500"}
    return base | changes | scores


@pytest.fixture
def rows() -> list[dict[str, str]]:
    return [row(0, sexes="fm"), row(1, sexes="mf"), row(5, sexes="ff")]


def test_summary(rows: list[dict[str, str]]) -> None:
    np.testing.assert_array_equal(score_values(rows, "sdr"), [1, 2, 11, 12, 51, 52])
    assert {k: len(v) for k, v in group_by_sexes(rows).items()} == {"f+f": 1, "f+m": 2}
    lines = format_summary(rows).splitlines()
    assert " ".join(lines[0].split()) == "dB model ideal binary mask phase-sensitive mixture"
    table = {line[:20].strip(): [float(c) for c in line[20:].split()] for line in lines[2:6]}
    assert table["SDR"] == [21.5, 11.5, 26.5, 16.5, 28.5, 18.5, 0.5, 0.5]
    assert table["SDR improvement"] == [22.5, 12.5, 27.5, 17.5, 29.5, 19.5]
    assert table["SI-SDR improvement"] == [24.5, 14.5, 29.5, 19.5, 31.5, 21.5]
    assert " ".join(lines[8].split()) == "f+f (1) 52.50 52.50 57.50 57.50 59.50 59.50"
    assert " ".join(lines[9].split()) == "f+m (2) 7.50 7.50 12.50 12.50 14.50 14.50"
    assert len(format_summary([row(0)]).splitlines()) == 6


@pytest.fixture
def pyplot() -> Iterator[Any]:
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_plot(rows: list[dict[str, str]], pyplot: Any) -> None:
    ax = plot_improvements(rows)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "model: mean 22.5 dB",
        "ideal binary mask: mean 27.5 dB",
        "phase-sensitive: mean 29.5 dB",
        "model, f+f: mean 52.5 dB",
        "model, f+m: mean 7.5 dB",
    ]
    line = ax.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), [2, 3, 12, 13, 52, 53])
    np.testing.assert_allclose(line.get_ydata(), (np.arange(6) + 0.5) / 6)
    assert ax.get_title() == "speech 2spk-open, tiny"
    own = pyplot.figure().subplots()
    assert plot_improvements([row(0)], ax=own) is own


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_tables_that_cannot_be_read(rows: list[dict[str, str]], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no csv file at"):
        read_rows(tmp_path / "none.csv")
    path = tmp_path / "scores.csv"
    path.write_text("a,b\n")
    with pytest.raises(ValueError, match="has no column 'protocol', 'subset'"):
        read_rows(path)
    write_rows(path, rows)
    assert read_rows(path) == rows
    text = path.read_text()
    path.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="has no rows"):
        read_rows(path)
    path.write_text(text[:-3])
    with pytest.raises(ValueError, match="ends within a row; run the evaluation again"):
        read_rows(path)
    write_rows(path, [rows[0], rows[1] | {"list_id": "other"}])
    with pytest.raises(ValueError, match="line 3: another model or list than"):
        read_rows(path)
    write_rows(path, [rows[0], rows[1] | {"n_estimates": "3"}])
    with pytest.raises(ValueError, match=r"line 3: another .*, with n_estimates '3' and not '2'"):
        read_rows(path)
    write_rows(path, [rows[0], rows[1], rows[0]])
    message = "line 4: mixture 'm0' is on line 2 already, and would count twice; remove one"
    with pytest.raises(ValueError, match=message):
        read_rows(path)
    for name in ("n_listed", "n_estimates", "sample_rate"):
        write_rows(path, [rows[0] | {name: "many"}])
        with pytest.raises(ValueError, match=f"line 2: {name} is 'many'; expected an integer"):
            read_rows(path)
    for name in ("conditions", "sexes", "si_sdr_2", "ideal_binary_sdr_2"):
        write_rows(path, [{k: v for k, v in item.items() if k != name} for item in rows])
        with pytest.raises(ValueError, match=f"has no column '{name}'"):
            read_rows(path)
    write_rows(path, [rows[0] | {"phase_sensitive_sdr_2": "high"}])
    with pytest.raises(ValueError, match="line 2: phase_sensitive_sdr_2 is 'high'"):
        read_rows(path)


def test_page(rows: list[dict[str, str]]) -> None:
    closed = [row(0, conditions="closed", subset="2spk-closed", n_listed="1")]
    three = [row(0, n_sources=3, sexes="fmm", n_listed="1")]
    same = [row(0, protocol="wsj0-2mix", subset="tt", n_listed="1")]
    mixed = [row(0, n_listed="2"), row(1, conditions="closed", n_listed="2")]
    rate: dict[str, Any] = {"sample_rate": "16000"}
    other = [row(0, protocol="lrs3-2mix", subset="tt", model="big", model_id="3" * 12, **rate)]
    faster = [row(0, protocol="wsj0-2mix", subset="tt", **rate)]
    lines = make_page([rows, closed, other, three, same, mixed, faster]).splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# Results",
        "## tiny",
        "## big",
        "## Published",
        "## What is comparable",
    ]
    assert (
        "| speech 2spk-open | 3 | 2 | open | 22.50 (12.50) | 24.50 (14.50) | 27.50 (17.50) "
        "| 29.50 (19.50) | 29.50 (19.50) | 31.50 (21.50) "
        "| aim: SDR 6.45 of other recordings, wsj0-2mix tt, 2015 |"
    ) in lines
    ends = [line.split(" | ")[-1] for line in lines if "speech 3spk-open | 1 | 3" in line]
    assert ends == ["aim: SDR 2.81 of other recordings, wsj0-3mix tt, 2015 |"]
    ends = [line.split(" | ")[-1] for line in lines if "2spk-closed | 1 | 2" in line]
    assert ends == ["aim: SDR 6.54 of other recordings, wsj0-2mix cv, 2015 |"]
    ends = [line.split(" | ")[-1] for line in lines if "wsj0-2mix tt | 1 of 3000 |" in line]
    assert ends == ["SDR 6.45; SI-SDR 10.8; SI-SDR 11.5; SI-SDR 12.6 |"]
    ends = [line.split(" | ")[-1] for line in lines if "| closed, open |" in line]
    assert ends == ["none |"]
    assert any("| lrs3-2mix tt | 1 of 3 | 2 |" in line for line in lines)
    ends = [line.split(" | ")[-1] for line in lines if "tt at 16000 Hz | 1 of 3000 |" in line]
    assert ends == ["aim: SDR 6.45 of other recordings, wsj0-2mix tt, 2015 |"]
    told = "Not all mixtures were measured of: "
    assert f"{told}lrs3-2mix tt." in lines
    assert f"{told}wsj0-2mix tt, wsj0-2mix tt at 16000 Hz." in lines
    assert "| speech 2spk-open | f+m | 2 | 7.50 (7.50) | 12.50 (12.50) | 14.50 (14.50) |" in lines
    assert "| speech 3spk-open | f+m+m | 1 |" in " ".join(lines)
    for figure in PUBLISHED:
        assert any(f"| {figure.improvement_db:g} |" in line for line in lines)
