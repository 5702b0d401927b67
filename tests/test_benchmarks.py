"""The benchmarks run, without peers and past a peer that does not."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skdc.commands.train import read_config
from skdc.datasets import load_sample_clips, write_audio
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.objectives import BalancedAffinity
from skdc.training import batch_loss
from skdc.training.banks import SourceBank

HERE = Path(__file__).parent.parent / "examples" / "benchmarks"


@pytest.mark.parametrize("name", ["skdc", "plain"])
@pytest.mark.parametrize("key", ["objective-20", "step-300", "kmeans-30", "separation-30"])
def test_candidates_run(name: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    cases = importlib.import_module("cases")
    case = cases.CASES[key]
    settings = next(s for module, s in case.candidates.values() if module == name)
    candidate = importlib.import_module(f"candidates.{name}")
    run, figures = getattr(candidate, case.kind)(cases.shrink(case.options), **settings)
    assert all(value > 0 for value in figures(run()).values())


def test_skdc_train_takes_the_winner_of_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    winner = importlib.import_module("learning").WINNER
    default = read_config("best")
    names = ["objective", "hop_length", "batch_size", "learning_rate"]
    names += ["embedding_dim", "hidden_size", "n_layers"]
    assert all(default[name] == getattr(winner, name) for name in names)


@pytest.mark.parametrize("script", sorted(HERE.parent.rglob("*.py")), ids=lambda path: path.stem)
def test_what_scripts_take_from_the_package_is_there(script: Path) -> None:
    # Some take hours or need a corpus, so no other test runs them; a name that has moved, private
    # ones above all, would be noticed when the figures are made again.
    tree = ast.parse(script.read_text(encoding="utf-8"))
    modules: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "skdc":
            for alias in node.names:
                try:
                    found = getattr(importlib.import_module(node.module or ""), alias.name)
                except AttributeError:
                    found = importlib.import_module(f"{node.module}.{alias.name}")
                if inspect.ismodule(found):
                    modules[alias.asname or alias.name] = found
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "skdc":
                    modules[alias.asname or "skdc"] = importlib.import_module(alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            assert module is None or hasattr(module, node.attr), f"{node.value.id}.{node.attr}"


def test_inertia_is_that_of_kmeans(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.cluster import KMeans

    monkeypatch.syspath_prepend(HERE)
    cases = importlib.import_module("cases")
    points = cases.embeddings({"seconds": 1, "dim": 5})
    fitted = KMeans(2, n_init=1, random_state=0, tol=0).fit(points)
    assert cases.inertia(points, fitted.labels_) == pytest.approx(fitted.inertia_, rel=1e-4)


def test_plain_training_has_the_loss_and_gradient_of_the_fast_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(HERE)
    plain = importlib.import_module("training_quality").plain_batch_loss
    bank = SourceBank(list(np.random.default_rng(0).standard_normal((3, 8000))))
    batch = bank.batch(3, 20, seed=0, step=0)
    network = EmbeddingNetwork(NetworkConfig(hidden_size=8, embedding_dim=5))
    losses = [loss(network, batch, BalancedAffinity()) for loss in (plain, batch_loss)]
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, list(network.parameters())) for loss in losses]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_one_device_runs_on_the_cpu() -> None:
    command = [sys.executable, str(HERE / "one_device.py"), "--device=cpu", "--hidden=8"]
    command += ["--dim=5", "--batch=2", "--frames=20", "--repeats=1", "--side=64", "--minutes=0.1"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "x bare network" in text
    assert "hours of mixtures a second" in text
    assert "bundled model, 0.1 minutes" in text


def test_live_delay_tells_how_late_the_sources_come() -> None:
    command = [sys.executable, str(HERE / "live_delay.py"), "--minutes=0.1"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "0.1 minutes in pieces of 32 ms" in text
    longest, late = (
        float(text.split(before)[1].split(" ms")[0]) for before in ("longest ", "sources come ")
    )
    assert 0 < longest <= late


def test_compare_and_report(tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    # An environment that does not hold the peer it should.
    command = [sys.executable, str(HERE / "compare.py"), f"--peer=nussl={sys.executable}"]
    command += ["--quick", "--cases=objective-20", "--threads=1", f"--output={results}"]
    subprocess.run(command, check=True, capture_output=True)
    candidates = json.loads(results.read_text("utf-8"))["objective-20"]["candidates"]
    assert set(candidates) == {"skdc", "plain autograd", "nussl"}
    assert candidates["skdc"]["median_s"] > 0
    assert "No module named 'nussl'" in candidates["nussl"]["error"]

    page.write_text(
        "Before.\n<!-- begin results -->\nold\n<!-- end results -->\nAfter.\n", "utf-8"
    )
    command = [sys.executable, str(HERE / "report.py"), str(results), "--page", str(page)]
    subprocess.run(command, check=True)
    text = page.read_text("utf-8")
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "| skdc | " in text
    assert (tmp_path / "page.png").read_bytes()[1:4] == b"PNG"


def test_swaps_and_leaks_of_conversations_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    conversations = importlib.import_module("conversations")
    sources = np.random.default_rng(0).standard_normal((2, 12 * conversations.BLOCK))
    sources = sources.astype(np.float32)
    sources[1, -3 * conversations.BLOCK :] = 0
    estimates = sources + 0.1 * sources[::-1]
    swaps, wrong, leak, as_it_is, in_order = conversations.score(sources, estimates[::-1])
    assert swaps == wrong == 0
    assert leak == pytest.approx(-20, abs=0.1)
    assert as_it_is == in_order > 15
    # Blocks 3 and 4 of 12 the other way round: two swaps in a minute.
    turned = slice(3 * conversations.BLOCK, 5 * conversations.BLOCK)
    estimates[:, turned] = estimates[::-1, turned]
    swaps, wrong, _, as_it_is, in_order = conversations.score(sources, estimates)
    assert swaps == pytest.approx(120)
    assert wrong == pytest.approx(100 * 2 / 12)
    assert in_order > 15 > as_it_is


@pytest.mark.parametrize("kind", ["turns_and_pauses", "long_turns", "interview", "silence"])
def test_conversations_are_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    conversations = importlib.import_module("conversations")
    rows = ["split,speaker,sex,path"]
    for clip in load_sample_clips():
        write_audio(tmp_path / f"{clip.name}.flac", clip.waveform, clip.sample_rate)
        rows.append(
            f"valid,{clip.speaker},{'m' if 'Carlo' in clip.speaker else 'f'},{clip.name}.flac"
        )
    (tmp_path / "utterances.csv").write_text("\n".join(rows))
    corpus = conversations.Corpus(tmp_path, "valid")
    speakers = corpus.draw_pair(np.random.default_rng(0), "fm")
    assert len(set(speakers)) == 2
    sources = conversations.make(corpus, conversations.KINDS[kind], speakers, 180, seed=0)
    assert sources.shape == (2, 180 * conversations.RATE)
    speaks = (sources != 0).reshape(2, -1, conversations.RATE).any(-1)  # in each second
    assert speaks.any(1).all()
    if kind in ("long_turns", "interview"):
        assert not (sources != 0).all(0).any()
    if kind == "silence":
        assert (~speaks.any(0)).sum() >= 59
