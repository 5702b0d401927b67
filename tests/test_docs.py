"""The documentation is whole: pages that are reachable, links that lead somewhere, every name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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


def test_the_index_leads_to_every_page() -> None:
    linked = {(DOCS / link).resolve() for link in links_of(DOCS / "index.md")}
    pages = {*DOCS.glob("*.md"), *DOCS.glob("*.rst"), *(ROOT / "skdc/pretrained").glob("*.md")}
    written = {"index.md", "sg_execution_times.rst"}  # the second by the build
    assert {page for page in pages if page.name not in written} <= linked


def test_the_reference_has_every_public_name() -> None:
    listed = re.findall(r"^   (skdc\.\S+)$", (DOCS / "api.rst").read_text("utf-8"), re.MULTILINE)
    assert {f"skdc.{name}" for name in skdc.__all__} - {"skdc.__version__"} <= {*listed}
