"""How the package is built: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A module imports lower levels only. Decimals order the parts of what is one level in the design.
LEVELS = {
    "skdc.checkpoint": 0,
    "skdc.dsp": 0,
    "skdc.linalg": 0,
    "skdc.metrics": 0,
    "skdc.projection": 0,
    "skdc.recurrent": 0,
    "skdc.resampling": 0,
    "skdc.storage": 0,
    "skdc.clustering": 1,
    "skdc.network": 1,
    "skdc.objectives.interface": 1,
    "skdc.objectives.unit_vectors": 1.1,
    "skdc.objectives.affinity": 1.2,
    "skdc.objectives.attractors": 1.2,
    "skdc.objectives.mask_inference": 1.2,
    "skdc.objectives.sums": 1.2,
    "skdc.objectives.whitened": 1.2,
    "skdc.objectives.registry": 1.3,
    "skdc.objectives": 1.4,
    "skdc.windows": 1,
    "skdc.mixing": 2,
    "skdc.parameters": 3.1,
    "skdc.separation": 3,
    "skdc.training": 3,
    "skdc.checks": 3.8,
    "skdc.lazy": 3.9,
    "skdc.validation": 4,
    "skdc.model_selection": 4,
    "skdc.persistence": 4.1,
    "skdc.scoring": 4.1,
    "skdc.waveforms": 4.1,
    "skdc.compose": 4.2,
    "skdc.preprocessing": 4.2,
    "skdc.separator": 5,
    "skdc.datasets.audio": 6,
    "skdc.datasets.tables": 6,
    "skdc.datasets.mixtures": 6,
    "skdc.datasets.clips": 6.1,
    "skdc.datasets.files": 6.05,
    "skdc.datasets.lists": 6.1,
    "skdc.datasets.speech_level": 6,
    "skdc.datasets.recipes": 6.1,
    "skdc.datasets.items": 6.12,
    "skdc.datasets.protocols": 6.15,
    "skdc.datasets.plans": 6.16,
    "skdc.datasets.makers": 6.17,
    "skdc.datasets.recordings": 6.16,
    "skdc.datasets": 6.2,
    "skdc.display.inputs": 6,
    "skdc.display.affinity": 6.1,
    "skdc.display.embedding": 6.1,
    "skdc.display.separation": 6.1,
    "skdc.display.training": 6.1,
    "skdc.display": 6.2,
    "skdc.pretrained": 6,
    "skdc.evaluation": 6.3,
    "skdc.results": 6.4,
    "skdc.report": 6.5,
    "skdc.cards": 6.6,
    "skdc": 7,
    "skdc.commands": 7.1,
    "skdc.commands.common": 7.1,
    "skdc.commands.card": 7.2,
    "skdc.commands.demo": 7.2,
    "skdc.commands.evaluate": 7.2,
    "skdc.commands.info": 7.2,
    "skdc.commands.make": 7.2,
    "skdc.commands.report": 7.2,
    "skdc.commands.separate": 7.2,
    "skdc.commands.train": 7.2,
    "skdc.cli": 8,
    "skdc.__main__": 9,
}
MAX_LINES = 500

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "skdc").rglob("*.py"))
}


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of each import of skdc, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield node.lineno, submodule if submodule in LEVELS else str(node.module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_lower_levels(module: str) -> None:
    assert module in LEVELS, f"{module} is new: give it a level in {Path(__file__).name}"
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    for line, imported in imports_of(tree):
        if imported.split(".")[0] == "skdc":
            assert imported in LEVELS, f"{module}, line {line}: unknown module {imported}"
            assert LEVELS[imported] < LEVELS[module], f"{module}, line {line}: imports {imported}"


def test_finds_every_kind_of_import() -> None:
    source = """
import skdc.dsp as d
from skdc import metrics, make_mixtures
def late():
    from skdc.datasets import read_audio, clips
"""
    assert [name for _, name in imports_of(ast.parse(source))] == [
        "skdc.dsp",
        "skdc.metrics",
        "skdc",
        "skdc.datasets",
        "skdc.datasets.clips",
    ]


@pytest.mark.parametrize("folder", ["skdc", "tests", "examples"])
def test_no_file_is_too_long(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: n for path, n in lengths.items() if n > MAX_LINES} == {}


def test_every_test_file_is_collected() -> None:
    names = {path.name for path in (ROOT / "tests").glob("*.py")} - {"conftest.py"}
    assert [name for name in sorted(names) if not name.startswith("test_")] == []
