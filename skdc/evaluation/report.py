"""The page of results: tables of evaluations beside oracles and published figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from skdc.evaluation.run import Row
from skdc.evaluation.tables import count_sources, group_by_sexes, score_values
from skdc.protocols import PROTOCOLS

__all__ = [
    "PUBLISHED",
    "PublishedFigure",
    "figures_tables",
    "make_page",
    "markdown_table",
]


@dataclass(frozen=True)
class PublishedFigure:
    """An improvement over the mixture that others have published.

    `method` says what reached it, and when; `protocol` and `subset` what it was measured on; and
    `measure`, "SDR" or "SI-SDR", in what it is compared.
    """

    method: str
    protocol: str
    subset: str
    measure: str
    improvement_db: float


_FIRST = "deep clustering, 2015"
_BETTER = "deep clustering with better training and enhancement, 2016"
PUBLISHED = (
    PublishedFigure(_FIRST, "wsj0-2mix", "tt", "SDR", 6.45),
    PublishedFigure(_FIRST, "wsj0-2mix", "cv", "SDR", 6.54),
    PublishedFigure(_FIRST, "wsj0-3mix", "tt", "SDR", 2.81),
    PublishedFigure(_FIRST, "wsj0-3mix", "cv", "SDR", 3.5),
    PublishedFigure(_BETTER, "wsj0-2mix", "tt", "SI-SDR", 10.8),
    PublishedFigure(_BETTER, "wsj0-3mix", "tt", "SI-SDR", 7.1),
    PublishedFigure("chimera++, 2018", "wsj0-2mix", "tt", "SI-SDR", 11.5),
    PublishedFigure("the same with phase reconstruction, 2018", "wsj0-2mix", "tt", "SI-SDR", 12.6),
    PublishedFigure("deep clustering", "lrs3-2mix", "tt", "SDR", 6.2),
    PublishedFigure("deep clustering", "voxceleb2-2mix", "tt", "SDR", 2.5),
)
# Subset of WSJ0 whose speakers are open or closed, as those of the mixtures at hand.
_WSJ0_SUBSETS = {"open": "tt", "closed": "cv"}

_INTRODUCTION = """\
Written by `skdc report` from the tables of `skdc evaluate`, which have the scores of every \
mixture; see [protocols](protocols.md) for both. All figures are improvements over the \
unprocessed mixture in dB, mean over all sources and mixtures, each under its best permutation; \
medians in brackets."""
_COMPARABLE = """\
- Rows of `wsj0-2mix` and `wsj0-3mix`, all mixtures, at 8000 Hz: the same test as the published \
figures, measure by measure. It is the same task only for a model that was trained on their `tr` \
alone; whatever else a model has heard, its figure is of that data, too. `cv` is closed for such \
a model and open for any other.
- Rows of `lrs3-2mix` and `voxceleb2-2mix`: the same kind of task as the published figures, and \
the same test only with the mixtures of their authors. A model for 8000 Hz hears nothing above \
4000 Hz: what lies there is shared by a rule, and all of it is measured.
- All other rows: another test. Levels and lengths of `speech` follow WSJ0-2mix; speakers, rooms, \
microphones and codecs do not, and there is less to train on. The figure of 2015 beside such rows \
is an aim, and passing it shows nothing about WSJ0.
- Rows of `list`: mixtures of whoever measured them. Nothing published is comparable.
- The three-speaker figures of 2015 are those of a model that was trained on mixtures of two; 7.1 \
is not.
- SDR is that of BSS-eval version 3 (a filter of 512 taps), SI-SDR allows a factor alone. Figures \
from 2016 on are compared in the literature as SI-SDR improvements, those of 2015 are SDR \
improvements; set each beside the same measure.
- Oracles know the sources: the ideal binary mask gives every bin to its loudest source, the \
phase-sensitive mask is the best one within 0...1. Both use the window and hop of the model of \
the row, so that they differ between models."""


def make_page(
    tables: Sequence[Sequence[Row]], pictures: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Write the page of results, in Markdown.

    Parameters
    ----------
    tables : sequence of sequences of dict of str to str
        Rows as `skdc.evaluation.tables.read_rows` gives them, for each of one or more evaluations.
    pictures : mapping of str to str, optional
        Where, from the page, the training curve of a model is, by the model's name.

    Returns
    -------
    str
        All measured figures come from the rows, all others are `PUBLISHED`.
    """
    by_model: dict[tuple[str, str], list[Sequence[Row]]] = {}
    for rows in tables:
        by_model.setdefault((rows[0]["model"], rows[0]["model_id"]), []).append(rows)
    parts = [
        "# Results",
        _INTRODUCTION,
    ]
    for (model, model_id), of_model in by_model.items():
        parts += [f"## {model}", f"Weights and parameters `{model_id}`.", figures_tables(of_model)]
        if model in pictures:
            parts.append(f"![Training curve of {model}]({pictures[model]})")
        partial = [_name(rows) for rows in of_model if len(rows) < _whole(rows)]
        if partial:
            parts.append(f"Not all mixtures were measured of: {', '.join(partial)}.")
    parts += ["## Published", _published_table(), "## What is comparable", _COMPARABLE]
    return "\n\n".join(parts) + "\n"


def figures_tables(tables: Sequence[Sequence[Row]]) -> str:
    """Lay out, in Markdown, what evaluations of one model gave, each as `read_rows` reads it.

    These are means and medians beside oracles and what is published, also by the sexes of the
    speakers where they are known.
    """
    parts = [_main_table(tables)]
    if any(group_by_sexes(rows) for rows in tables):
        parts += ["SDR improvement by the sexes of those who speak:", _sexes_table(tables)]
    return "\n\n".join(parts)


def _main_table(tables: Iterable[Sequence[Row]]) -> str:
    header = [
        "mixtures of",
        "number",
        "sources",
        "speakers",
        "SDR",
        "SI-SDR",
        "ideal binary mask, SDR",
        "SI-SDR",
        "phase-sensitive mask, SDR",
        "SI-SDR",
        "published",
    ]
    lines = []
    for rows in tables:
        number, whole = len(rows), _whole(rows)
        systems = ("", "ideal_binary_", "phase_sensitive_")
        measures = ("sdr_improvement", "si_sdr_improvement")
        lines.append(
            [
                _name(rows),
                str(number) if number == whole else f"{number} of {whole}",
                str(count_sources(rows[0])),
                ", ".join(sorted({row["conditions"] for row in rows})),
                *(_cell(rows, f"{system}{name}") for system in systems for name in measures),
                _beside(rows),
            ]
        )
    return markdown_table(header, lines)


def _sexes_table(tables: Iterable[Sequence[Row]]) -> str:
    lines = []
    for rows in tables:
        for sexes, group in group_by_sexes(rows).items():
            columns = ("", "ideal_binary_", "phase_sensitive_")
            cells = [_cell(group, f"{column}sdr_improvement") for column in columns]
            lines.append([_name(rows), sexes, str(len(group)), *cells])
    header = ["mixtures of", "sexes", "number", "model", "ideal binary mask"]
    return markdown_table([*header, "phase-sensitive mask"], lines)


def _published_table() -> str:
    header = ["method", "mixtures of", "measure", "improvement, dB"]
    return markdown_table(
        header,
        [
            [figure.method, f"{figure.protocol} {figure.subset}", figure.measure, _figure(figure)]
            for figure in PUBLISHED
        ],
    )


def _beside(rows: Sequence[Row]) -> str:
    # What is published for the same test; else the figure of 2015 as an aim; nothing for a list of
    # the user's own, which may be of any difficulty.
    same = [figure for figure in PUBLISHED if f"{figure.protocol} {figure.subset}" == _name(rows)]
    if same:
        return "; ".join(f"{figure.measure} {_figure(figure)}" for figure in same)
    if rows[0]["protocol"] not in PROTOCOLS:
        return "none"
    conditions = {row["conditions"] for row in rows}
    subset = _WSJ0_SUBSETS.get(conditions.pop()) if len(conditions) == 1 else None
    aim = f"wsj0-{count_sources(rows[0])}mix", subset
    for figure in PUBLISHED:
        if (figure.protocol, figure.subset) == aim:
            return (
                f"aim: SDR {_figure(figure)} of other recordings, {figure.protocol} "
                f"{figure.subset}, 2015"
            )
    return "none"


def _figure(figure: PublishedFigure) -> str:
    return f"{figure.improvement_db:g}"


def _name(rows: Sequence[Row]) -> str:
    name = f"{rows[0]['protocol']} {rows[0]['subset']}"
    protocol, rate = PROTOCOLS.get(rows[0]["protocol"]), int(rows[0]["sample_rate"])
    # The published figures are for the first rate; another one is named.
    return name if protocol and rate == protocol.sample_rates[0] else f"{name} at {rate} Hz"


def _whole(rows: Sequence[Row]) -> int:
    # Number of mixtures in the list, or in the published list where that has more.
    protocol, listed = PROTOCOLS.get(rows[0]["protocol"]), int(rows[0]["n_listed"])
    return max(listed, protocol.sizes.get(rows[0]["subset"], 0)) if protocol else listed


def _cell(rows: Iterable[Row], column: str) -> str:
    values = score_values(rows, column)
    return f"{values.mean():.2f} ({np.median(values):.2f})"


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    table = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)
