"""The public namespace: quick to import, complete, and the same for people and type checkers."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import skdc

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "sklearn", "scipy", "soundfile", "matplotlib", "numpy")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, skdc; dir(skdc); skdc.__version__; print({{*sys.modules}} & {{*{HEAVY}}})"
    assert run(code) == "set()"


@pytest.mark.parametrize("name", skdc.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(skdc, name) is getattr(skdc, name)
    assert name in dir(skdc)


def test_names_are_what_their_modules_hold() -> None:
    assert skdc.make_mixtures is importlib.import_module("skdc.datasets").make_mixtures
    assert skdc.signal is importlib.import_module("skdc.signal")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'skdc' has no attribute 'dps'"):
        getattr(skdc, "dps")  # noqa: B009


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("skdc.checkpoint", "skdc.model_file", "read_tensors"),
        ("skdc.clustering", "skdc.separation", "kmeans"),
        ("skdc.datasets.protocols", "skdc.protocols", "open_protocol"),
        ("skdc.dsp", "skdc.signal", "log_magnitude"),
        ("skdc.mixing", "skdc.signal", "Framing"),
        ("skdc.mixing", "skdc.training", "SourceBank"),
        ("skdc.validation", "skdc.exceptions", "AudioWarning"),
    ],
)
def test_names_of_version_0_1_are_found_where_they_are_now(old: str, new: str, name: str) -> None:
    module = importlib.import_module(old)
    with pytest.warns(DeprecationWarning, match=f"{old}.{name} has moved to {new}.{name}"):
        found = getattr(module, name)
    assert found is getattr(importlib.import_module(new), name)
    with pytest.raises(AttributeError, match=f"module '{old}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_version_is_that_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(skdc), "__version__", raising=False)
    monkeypatch.setattr(metadata, "version", lambda name: f"version of {name}")
    assert skdc.__version__ == "version of skdc"
    monkeypatch.delitem(vars(skdc), "__version__")


def test_version_without_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.delitem(vars(skdc), "__version__", raising=False)
    monkeypatch.setattr(metadata, "version", absent)
    assert skdc.__version__ == "0+unknown"
    monkeypatch.delitem(vars(skdc), "__version__")


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "skdc" / "__init__.py").read_text("utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    names = {
        alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names | {"__version__"} == set(skdc.__all__)


def test_typed_marker_is_there() -> None:
    assert (ROOT / "skdc" / "py.typed").is_file()
