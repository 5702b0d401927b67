"""Sphinx configuration; `contributing.md` has the command that builds the site."""

from __future__ import annotations

import importlib
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html import HTMLTranslator
from sphinx_gallery.sorting import ExplicitOrder

import skdc
from skdc.datasets import load_sample_mixture

DOCS = Path(__file__).parent
CARDS = DOCS.parent / "skdc" / "pretrained"
PLAYER = "player.html"
FRAME = f"""```{{raw}} html
<iframe src="{PLAYER}" title="Two people, separated" allow="autoplay"
  style="width:100%;height:620px;border:0"></iframe>
```"""

project = "skdc"
author = copyright = "The skdc developers"
version = release = skdc.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["templates"]
templates_path = ["templates"]
default_role = "py:obj"
smartquotes = False  # or the quotes of strings in docstrings would turn

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"skdc {version}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# The names that the page of each module in the reference lists.
listed = re.findall(r"^   (skdc\.[a-z_.]+)$", (DOCS / "api.rst").read_text("utf-8"), re.MULTILINE)
autosummary_context = {
    "public_names": {
        name: importlib.import_module(name).__all__ for name in listed if find_spec(name)
    }
}
# Readers and writers of files stand in skdc.datasets too, under the names that they had first.
# They are described once.
in_audio = autosummary_context["public_names"]["skdc.audio"]
autosummary_context["public_names"]["skdc.datasets"] = [
    name for name in autosummary_context["public_names"]["skdc.datasets"] if name not in in_audio
]
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # the docstrings have them
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    # Which examples are run: all, unless the tests have run them before.
    "filename_pattern": os.environ.get("SKDC_GALLERY", r"\.py$"),
    # What most people come for is first.
    "within_subsection_order": ExplicitOrder(
        ["quickstart.py", "own_recording.py", "train_your_own.py", "three_speakers.py", "*"]
    ),
    "capture_repr": ("_repr_html_",),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,  # a page that loads scripts from elsewhere
}

# What the pages link to in the repository, and where the site has it.
on_site = {
    "../examples/README.rst": "auto_examples/index.rst",
    "../skdc/pretrained/": "generated/",
}


def write_model_cards(app: Sphinx) -> None:
    """Make a page of each model card, which lies beside its model."""
    (DOCS / "generated").mkdir(exist_ok=True)
    for card in CARDS.glob("*.md"):
        include = f"```{{include}} ../../skdc/pretrained/{card.name}\n:relative-docs: ..\n```\n"
        (DOCS / "generated" / card.name).write_text(include, "utf-8")


def write_player(app: Sphinx, error: Exception | None) -> None:
    """Make the page to listen with that the index shows: the mixture of `skdc demo`."""
    if error is None and app.builder.format == "html":
        mixture, references = load_sample_mixture()
        page = skdc.load_pretrained().listen(mixture, references=references)
        page.save(Path(app.outdir) / PLAYER)


def stay_offline(app: Sphinx, error: Exception | None) -> None:
    """Refuse pages that load scripts or styles from elsewhere: the site is read offline, too."""
    foreign = re.compile(r"""<script[^>]*src="(https?:)?//|<link[^>]*href="[^"]*//[^"]*\.css""")
    for page in Path(app.outdir).rglob("*.html") if error is None else ():
        if found := foreign.search(page.read_text("utf-8")):
            raise ExtensionError(f"{page.relative_to(app.outdir)} has {found[0]!r}")


def write_formula(translator: HTMLTranslator, node: nodes.math) -> None:
    """Write a formula within a line as MathML, which browsers show without a network."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def write_equation(translator: HTMLTranslator, node: nodes.math_block) -> None:
    """Write a formula of its own, which scrolls where the page is narrower."""
    formula = convert(node.astext(), display="block")
    style = "overflow-x:auto;overflow-y:hidden;padding:0.5em 0"  # no bar beside the formula
    translator.body.append(f'<div class="math" style="{style}">{formula}</div>')
    raise nodes.SkipNode


def adapt_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links stay within the site, and make the contents of the site from those of the index.

    Each section of `index.md` with links to pages becomes a part of the navigation.
    """
    for here, there in on_site.items():
        source[0] = source[0].replace(f"]({here}", f"]({there}")
    if page == "index":
        # In place of the picture, which a reader of the repository sees.
        source[0] = re.sub(r"(?m)^!\[.*\]\(demo\.png\)$", FRAME, source[0])
        for title, section in re.findall(r"^## (.+)\n((?:(?!## ).*\n)+)", source[0], re.MULTILINE):
            pages = re.findall(r"\]\(([\w/.-]+)\.(?:md|rst)\)", section)
            toctree = "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages])
            source[0] += f"\n{toctree}\n```\n"


def skip_foreign(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what scikit-learn and Python add to classes: it is documented there."""
    is_request = re.fullmatch("set_.*_request", name)  # of metadata routing
    is_field = str(getattr(member, "__doc__", None)).startswith("Alias for field number")
    is_foreign = not str(getattr(member, "__module__", "skdc")).startswith("skdc")
    return True if is_request or is_field or is_foreign else None


def setup(app: Sphinx) -> None:
    """Connect the functions above to the build."""
    app.add_html_math_renderer("mathml", (write_formula, None), (write_equation, None))
    app.connect("builder-inited", write_model_cards)
    app.connect("source-read", adapt_links)
    app.connect("build-finished", write_player)
    app.connect("build-finished", stay_offline)
    app.connect("autodoc-skip-member", skip_foreign)
