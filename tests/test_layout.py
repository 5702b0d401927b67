"""How the package is laid out: floors, entries, lengths of files."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
MAX_LINES = 700
MAX_FLOORS = 9
MAX_ENTRIES = 28


def rooms() -> dict[str, set[str]]:
    """What each module or package at the top of the package imports of the others."""
    graph = grimp.build_graph("skdc", exclude_type_checking_imports=True, cache_dir=None)
    children = graph.find_children("skdc")
    for child in children:
        graph.squash_module(child)
    return {
        child: (graph.find_modules_directly_imported_by(child) & children) - {child}
        for child in children
    }


def test_floors_from_the_command_line_down(capsys: pytest.CaptureFixture[str]) -> None:
    imported = rooms()
    floor, floors = {"skdc.cli"}, []
    while floor:
        floors.append(sorted(floor))
        assert len(floors) <= len(imported), "imports go round in a circle"
        floor = set().union(*(imported[room] for room in floor))
    # A room stands on the lowest floor that it is needed on.
    lowest = {room: number for number, names in enumerate(floors, 1) for room in names}
    with capsys.disabled():
        for number in range(1, len(floors) + 1):
            names = [room.removeprefix("skdc.") for room in lowest if lowest[room] == number]
            print(f"\n{number}: {', '.join(names)}", end="")  # noqa: T201
        print()  # noqa: T201
    assert len(floors) <= MAX_FLOORS


def test_entries_at_the_top() -> None:
    entries = [p.name for p in (ROOT / "skdc").iterdir() if not p.name.startswith("__pyc")]
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


@pytest.mark.parametrize("folder", ["skdc", "tests", "examples"])
def test_no_file_is_too_long(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: n for path, n in lengths.items() if n > MAX_LINES} == {}


# What changes the axes of an array; without arguments, `flatten` says all that there is to say.
_CHANGES_SHAPE = re.compile(
    r"\.(reshape|view|permute|movedim|transpose|unflatten|swapaxes|moveaxis|unfold|flatten)"
    r"\((?!\)|torch\.|np\.)"
)
_SHAPE = re.compile(r"#.*(\(.*[,.].*\)|->)")


def test_shapes_stand_beside_what_changes_them() -> None:
    lacking = []
    for path in sorted((ROOT / "skdc").rglob("*.py")):
        lines = path.read_text("utf-8").splitlines()
        for number, line in enumerate(lines):
            is_text = ">>>" in line or "``" in line
            near = lines[max(0, number - 6) : number + 1]
            if not is_text and _CHANGES_SHAPE.search(line) and not any(map(_SHAPE.search, near)):
                lacking.append(f"{path.relative_to(ROOT)}:{number + 1}: {line.strip()}")
    assert lacking == []


# Beginnings of fragments, and words that are not the standard terms.
_UNCLEAR = re.compile(
    r"(^\s*|[.!?] |# |\"\"\")Of (?!course)|running (mean|average)|dynamic remixing|time.flipped"
)


def test_language_is_plain() -> None:
    found = []
    for folder in ("skdc", "tests", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                if _UNCLEAR.search(line) and "_UNCLEAR" not in line and path != Path(__file__):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def test_modules_list_what_others_import_of_them() -> None:
    listed: dict[str, set[str]] = {}
    imported: dict[str, set[str]] = {}
    for path in sorted((ROOT / "skdc").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                listed[module] = {*ast.literal_eval(node.value)}
            # The names of the package itself are found in their modules.
            if isinstance(node, ast.ImportFrom) and node.module and node.module != "skdc":
                names = {alias.name for alias in node.names}
                imported.setdefault(node.module, set()).update(names)
    modules = {*listed} | {*imported}
    lacking = {
        f"{module}.{name}"
        for module, names in imported.items()
        for name in names - listed.get(module, names)
    }
    assert lacking - modules == set()


def test_every_test_file_is_collected() -> None:
    names = {path.name for path in (ROOT / "tests").glob("*.py")}
    names -= {"conftest.py", "browser.py", "other_device.py"}  # what several of them need
    assert [name for name in sorted(names) if not name.startswith("test_")] == []


def test_constraints_pin_what_every_extra_asks_for() -> None:
    """The README gives them to pip for every extra; one that is not pinned may contradict them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [Requirement(line) for line in project["dependencies"]]
    asked += [
        Requirement(each) for extra in project["optional-dependencies"].values() for each in extra
    ]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()[1:]
    pins = [line.split("==") for line in lines]
    versions = {canonicalize_name(name): version for name, version in pins}
    assert len(versions) == len(pins)
    lacking = [
        str(each)
        for each in asked
        if each.name != project["name"]
        and not each.specifier.contains(versions.get(canonicalize_name(each.name), "0"))
    ]
    assert lacking == []
    contradicted = [
        f"{installed.name} asks for {each}"
        for installed in distributions()
        if versions.get(canonicalize_name(installed.name)) == installed.version
        for each in map(Requirement, installed.requires or [])
        if each.marker is None or each.marker.evaluate({"extra": ""})
        if (pinned := versions.get(canonicalize_name(each.name))) is not None
        if not each.specifier.contains(pinned)
    ]
    assert contradicted == []
