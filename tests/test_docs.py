"""The documentation is whole: pages that are reachable, links that lead somewhere, every name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from numpydoc.validate import validate

import skdc

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *DOCS.glob("*.md"), *(ROOT / "skdc" / "pretrained").glob("*.md")]


def links_of(page: Path) -> list[str]:
    """Links to files, as they stand there."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    return [link for link in links if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links_of(page) if not (page.parent / link).exists()] == []


def anchors_of(page: Path) -> set[str]:
    """Anchors of the headings of a page, as the site and code hosts make them."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text("utf-8"))
    anchors: list[str] = []
    for title in re.findall(r"(?m)^#+ (.+)$", text):
        anchor = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        count = sum(re.fullmatch(rf"{anchor}(-\d+)?", other) is not None for other in anchors)
        anchors.append(f"{anchor}-{count}" if count else anchor)
    return {*anchors}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^):#]*)#([^)]+)\)", page.read_text("utf-8"))
    assert [
        (path, anchor)
        for path, anchor in links
        if anchor not in anchors_of(page.parent / path if path else page)
    ] == []


def test_the_index_leads_to_every_page() -> None:
    linked = {(DOCS / link).resolve() for link in links_of(DOCS / "index.md")}
    pages = {*DOCS.glob("*.md"), *DOCS.glob("*.rst"), *(ROOT / "skdc/pretrained").glob("*.md")}
    written = {"index.md", "sg_execution_times.rst"}  # the second by the build
    assert {page for page in pages if page.name not in written} <= linked


def reference_names() -> list[str]:
    """What `api.rst` lists: modules, and some of what is in them."""
    return re.findall(r"^   (skdc\.\S+)$", (DOCS / "api.rst").read_text("utf-8"), re.MULTILINE)


def test_the_reference_has_every_public_name() -> None:
    listed = {*reference_names()}
    assert {f"skdc.{name}" for name in skdc.__all__} - {"skdc.__version__"} <= listed


# -- docstrings -----------------------------------------------------------------------------------


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(skdc.__path__, "skdc."):
        if found.name != "skdc.__main__":
            yield importlib.import_module(found.name)


def public_objects(module: ModuleType) -> Iterator[str]:
    """Full names of the functions and classes that are defined in a module and listed there."""
    for name in getattr(module, "__all__", []):
        found = getattr(module, name)
        is_documented = inspect.isclass(found) or inspect.isfunction(found)
        if is_documented and found.__module__ == module.__name__:
            yield f"{module.__name__}.{name}"


def methods(name: str) -> Iterator[str]:
    module, _, own_name = name.rpartition(".")
    found = getattr(importlib.import_module(module), own_name)
    for method, value in vars(found).items() if inspect.isclass(found) else ():
        is_function = inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod))
        if is_function and not method.startswith("_"):
            yield f"{name}.{method}"


def errors_of(name: str, ignored: set[str]) -> list[str]:
    return [
        f"{name}: {code} {message}"
        for code, message in validate(name)["errors"]
        if code not in ignored
    ]


def documented_modules() -> list[str]:
    names = {module.__name__ for module in modules()}
    return [name for name in reference_names() if name in names]


def test_docstrings_are_whole() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    checks = settings["tool"]["numpydoc_validation"]["checks"]
    assert checks[0] == "all"
    ignored = set(checks[1:])
    errors = []
    for module in modules():
        for name in public_objects(module):
            for documented in (name, *methods(name)):
                # Where a sentence says all, there are no lists of parameters and results.
                is_short = "Parameters\n" not in validate(documented)["docstring"]
                short = {"PR01", "RT01", "YD01"} if is_short else set()
                errors += errors_of(documented, ignored | short)
    assert errors == []


@pytest.mark.parametrize("module", documented_modules())
def test_public_functions_list_parameters_and_results(module: str) -> None:
    found = importlib.import_module(module)
    wrong = [
        f"{name}: {code} {message}"
        for name in found.__all__
        if inspect.isfunction(getattr(found, name))
        for code, message in validate(f"{module}.{name}")["errors"]
        if code in {"PR01", "RT01"}
    ]
    assert wrong == []
