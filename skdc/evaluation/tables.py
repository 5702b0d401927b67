"""Tables of evaluations: reading, means, medians, groups by sex, and a picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdc.datasets.tables import check_columns, read_number, read_table
from skdc.display import import_pyplot
from skdc.evaluation.run import IDENTITY_COLUMNS, MEASURES, ORACLES, Row, is_score

__all__ = [
    "count_sources",
    "format_summary",
    "group_by_sexes",
    "plot_improvements",
    "read_rows",
    "score_values",
]

_TITLES = {
    "sdr_improvement": "SDR improvement",
    "si_sdr_improvement": "SI-SDR improvement",
    "sdr": "SDR",
    "si_sdr": "SI-SDR",
}
_SYSTEMS = {
    "": "model",
    "ideal_binary_": "ideal binary mask",
    "phase_sensitive_": "phase-sensitive",
    "mixture_": "mixture",
}


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Read the table that `skdc.evaluation.run.evaluate_model` wrote, one row a mixture.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a table, has no rows, rows of several evaluations or two of one mixture,
        or if it ends within a row.
    """
    path = Path(path)
    scores = [f"{prefix}{name}_1" for prefix in ("", *_oracle_prefixes()) for name in MEASURES]
    columns, numbered = read_table(path, (*IDENTITY_COLUMNS, "mixture_id", "sample_rate", *scores))
    if not path.read_bytes().endswith(b"\n"):
        raise ValueError(
            f"{str(path)!r} ends within a row; run the evaluation again, which completes it"
        )
    if not numbered:
        raise ValueError(f"{str(path)!r} has no rows; run the evaluation first")
    first = numbered[0][1]
    numbers = range(1, count_sources(first) + 1)
    stems = [score.removesuffix("_1") for score in scores]
    of_sources = [f"{stem}_{number}" for stem in stems for number in numbers]
    check_columns(path, columns, ["conditions", "sexes", *of_sources])
    names = [name for name in columns if is_score(name)]
    lines: dict[str, int] = {}
    for line, row in numbered:
        # The name of a model may differ: it is called by its file or by its bundled name.
        for name in IDENTITY_COLUMNS:
            if name != "model" and row[name] != first[name]:
                raise ValueError(
                    f"{str(path)!r}, line {line}: another model or list than in the lines above, "
                    f"with {name} {row[name]!r} and not {first[name]!r}; keep one evaluation in a "
                    "file"
                )
        known = lines.setdefault(row["mixture_id"], line)
        if known != line:
            raise ValueError(
                f"{str(path)!r}, line {line}: mixture {row['mixture_id']!r} is on line {known} "
                "already, and would count twice; remove one of them"
            )
        for name in ("n_listed", "n_estimates", "sample_rate"):
            read_number(path, line, row, name, whole=True)
        for name in names:
            read_number(path, line, row, name)
    return [row for _, row in numbered]


def _oracle_prefixes() -> tuple[str, ...]:
    return tuple(f"{oracle}_" for oracle in ORACLES)


def count_sources(row: Row) -> int:
    """Count the sources of the mixture of a row."""
    return next(number for number in count(1) if f"sdr_{number + 1}" not in row)


def score_values(rows: Iterable[Row], column: str) -> NDArray[np.float64]:
    """Collect a score, such as "ideal_binary_sdr", of all sources of all mixtures, dB."""
    values = [
        float(row[f"{column}_{number}"])
        for row in rows
        for number in range(1, count_sources(row) + 1)
    ]
    return np.array(values)


def group_by_sexes(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Group mixtures by the sexes of those who speak, where they are known.

    The rows of each combination go by a name such as "f+m", whatever the order of the speakers.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["sexes"] and set(row["sexes"]) <= {"f", "m"}:
            groups.setdefault("+".join(sorted(row["sexes"])), []).append(row)
    return dict(sorted(groups.items()))


def format_summary(rows: Sequence[Row]) -> str:
    """Lay out mean and median of all scores of at least one row as text.

    It has a table over all sources of all mixtures, and where sexes are known one by sexes.
    """
    lines = [
        f"{'dB':<20}" + "".join(f"{title:>20}" for title in _SYSTEMS.values()),
        f"{'':<20}" + f"{'mean':>12}{'median':>8}" * len(_SYSTEMS),
    ]
    for name, title in _TITLES.items():
        systems = [system for system in _SYSTEMS if f"{system}{name}_1" in rows[0]]
        cells = [_cells(rows, f"{system}{name}") for system in systems]
        lines.append(f"{title:<20}" + "".join(cells))
    if groups := group_by_sexes(rows):
        lines += ["", f"{'SDR improvement of':<20}" + f"{'mean':>12}{'median':>8}" * 3]
        for sexes, group in groups.items():
            cells = [_cells(group, f"{system}sdr_improvement") for system in list(_SYSTEMS)[:3]]
            lines.append(f"{f'{sexes} ({len(group)})':<20}" + "".join(cells))
    return "\n".join(lines)


def _cells(rows: Iterable[Row], column: str) -> str:
    values = score_values(rows, column)
    return f"{values.mean():>12.2f}{np.median(values):>8.2f}"


def plot_improvements(rows: Sequence[Row], *, ax: Any = None) -> Any:
    """Draw how the SDR improvements of the sources of at least one mixture are distributed.

    Gives the axes: share of the sources below each improvement, of the model, of the oracles, and
    of the model by sexes where they are known. Dots mark the medians. Raises an ImportError if
    matplotlib is not installed.
    """
    if ax is None:
        ax = import_pyplot().subplots(figsize=(9.0, 4.5), layout="constrained")[1]
    styles: dict[str, dict[str, Any]] = {
        "": {"color": "C0", "linewidth": 2.0},
        "ideal_binary_": {"color": "0.35", "linestyle": "--"},
        "phase_sensitive_": {"color": "0.35", "linestyle": ":"},
    }
    for prefix, style in styles.items():
        _draw_share(ax, rows, f"{prefix}sdr_improvement", _SYSTEMS[prefix], style)
    groups = group_by_sexes(rows)
    for number, (sexes, group) in enumerate(groups.items() if len(groups) > 1 else (), start=1):
        style = {"color": f"C{number}", "linewidth": 1.0}
        _draw_share(ax, group, "sdr_improvement", f"model, {sexes}", style)
    ax.axvline(0.0, color="0.8", linewidth=0.8, zorder=0)
    ax.axhline(0.5, color="0.8", linewidth=0.8, zorder=0)
    ax.set(
        xlabel="SDR improvement (dB)",
        ylabel="share of sources below",
        ylim=(0, 1),
        title=f"{rows[0]['protocol']} {rows[0]['subset']}, {rows[0]['model']}",
    )
    # The legend stands beside the axes, because the curves may lie anywhere in them.
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def _draw_share(
    ax: Any, rows: Iterable[Row], column: str, label: str, style: dict[str, Any]
) -> None:
    values = np.sort(score_values(rows, column))
    label = f"{label}: mean {values.mean():.1f} dB"
    # Each source counts half below and half above itself, so that the curve is 0.5 at the median.
    shares = (np.arange(len(values)) + 0.5) / len(values)
    ax.plot(values, shares, label=label, **style)
    ax.plot(np.median(values), 0.5, ".", color=style["color"])
