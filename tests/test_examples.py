"""Every example runs, away from the source tree, and says something; so does the notebook."""

from __future__ import annotations

import re
import runpy
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
import pytest
import torch
from nbclient import NotebookClient

mpl.use("agg")

from matplotlib import pyplot as plt

from skdc import load_pretrained
from skdc.datasets import load_sample_mixture

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


@pytest.fixture(autouse=True)
def _pictures_stay_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    yield
    plt.close("all")


# The others train, or cluster slowly.
QUICK = {"live", "own_recording", "pipeline", "quickstart", "three_speakers"}


def marked(path: Path) -> Any:
    return pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("path", [marked(path) for path in EXAMPLES])
def test_example_runs(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(path), run_name="__main__")
    assert "dB" in capsys.readouterr().out
    assert plt.get_fignums(), "the gallery shows a picture of each example"
    assert not list(tmp_path.iterdir()), "examples write to temporary folders only"
    if path.stem == "instruments":
        assert names["improvement"] > 9


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7


def python_of(page: str) -> list[str]:
    """Give the blocks of Python of a page, also those that are indented in a list."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"(?ms)^( *)```python\n(.*?)^\1```", text)
    assert len(blocks) == text.count("```python")
    return [textwrap.dedent(block) for _, block in blocks]


@pytest.mark.parametrize("page", ["README.md", "docs/displays.md"])
def test_the_python_of_a_page_runs_as_written(page: str) -> None:
    names: dict[str, Any] = {}
    for block in python_of(page):
        exec(block, names)
    assert names["separator"].predict(names["mixture"]).shape[1] == len(names["mixture"])


def test_the_python_of_the_page_on_live_audio_runs() -> None:
    names: dict[str, Any] = {}
    one_microphone, several = python_of("docs/live.md")
    exec(one_microphone, names)
    assert names["sources"].shape == (2, len(names["mixture"]))
    exec(several, names)
    assert names["sources"].shape == (2, len(names["mixture"]))


def test_the_python_of_the_page_on_fine_tuning_runs(tmp_path: Path) -> None:
    (block,) = python_of("docs/fine-tuning.md")
    assert "max_epochs=40" in block
    _, clips = load_sample_mixture()
    names: dict[str, Any] = {"recordings": [clip[:8000] for clip in clips], "speakers": "ab"}
    # One epoch is as many lines as forty.
    exec(block.replace("max_epochs=40", "max_epochs=1"), names)
    mine, before = names["mine"].network_, names["before"].network_
    n_moved = sum(
        not torch.equal(own, theirs)
        for own, theirs in zip(mine.parameters(), before.parameters(), strict=True)
    )
    assert n_moved > 0
    assert load_pretrained(tmp_path / "mine.safetensors").network_.config == before.config


def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # or there would be no pictures
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear its outputs"
    # Without resources of its own the kernel would run where the tests do.
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert sum("skdcPage" in output.get("data", {}).get("text/html", "") for output in shown) == 1
    assert kinds.count("image/png") == 2
    assert any("dB better" in output.get("text", "") for output in shown)
