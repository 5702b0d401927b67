"""Tables in csv files, read with errors that name the line."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from skdc.paths import check_file, reading_text

__all__ = [
    "LARGEST_GAIN",
    "LARGEST_LEVEL_DB",
    "check_columns",
    "count_groups",
    "read_number",
    "read_table",
]

# Far beyond any recording, and far from where sums of squares leave the range of float32.
LARGEST_GAIN = 1e9
LARGEST_LEVEL_DB = 180.0


def read_table(
    path: Path, needed: Iterable[str]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the columns and, with their line numbers, the rows of a csv file.

    The columns that are needed must be there, with no cell that is empty or blank, no name may
    stand twice, and no row may have more cells than there are columns, but for empty ones at its
    end; a ValueError names the line. Raises a FileNotFoundError if there is no such file, and a
    ValueError if it is no table.
    """
    check_file(path, "csv file")
    with reading_text(path, "csv file"), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        columns = list(reader.fieldnames or ())
        while columns and not columns[-1]:
            columns.pop()
        reader.fieldnames = columns
        check_columns(path, columns, needed)
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(
                f"{str(path)!r} has more than one column {', '.join(map(repr, twice))}; give each "
                "another name"
            )
        rows = []
        for row in reader:
            if any(more := row.pop(None, [])):
                raise ValueError(
                    f"{str(path)!r}, line {reader.line_num}: {len(columns) + len(more)} cells, "
                    f"but {len(columns)} columns; name the others, and quote cells with commas"
                )
            empty = [
                name
                for name in columns
                if not row[name].strip() and (name in needed or name.startswith("source_"))
            ]
            if empty:
                raise ValueError(f"{str(path)!r}, line {reader.line_num}: no {', '.join(empty)}")
            rows.append((reader.line_num, row))
    return columns, rows


def check_columns(path: Path, columns: Iterable[str], needed: Iterable[str]) -> None:
    """Raise a ValueError that names the needed columns that a file does not have."""
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(
            f"{str(path)!r} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, columns)) or 'none'}"
        )


def count_groups(path: Path, columns: Iterable[str], stems: Sequence[str]) -> int:
    """Count the groups of numbered columns, such as ``source_1, gain_1, source_2, gain_2``.

    Raises a ValueError that names columns that are missing, because groups are numbered from 1
    without a gap, or that are written another way, such as ``Source_2``.
    """
    columns = list(columns)
    numbered = re.compile(rf"\s*(?:{'|'.join(stems)})[\s_-]*([0-9]+)\s*", re.IGNORECASE)
    found = {name: match[1] for name in columns if (match := numbered.fullmatch(name))}
    n_groups = len({number.lstrip("0") for number in found.values()})
    expected = [f"{stem}_{number}" for number in range(1, n_groups + 1) for stem in stems]
    check_columns(path, columns, expected)
    others = [name for name in found if name not in expected]
    if others:
        raise ValueError(
            f"{str(path)!r} has the columns {', '.join(map(repr, others))} beside "
            f"{', '.join(expected)}; number them from 1 without a gap, or name them another way"
        )
    return n_groups


def read_number(
    path: Path,
    line: int,
    row: dict[str, str],
    name: str,
    *,
    whole: bool = False,
    largest: float = math.inf,
) -> float:
    """Read a finite number from a row, or raise a ValueError that names file, line and column.

    With `whole` it is an integer of at least 1. Neither it nor its negative exceeds `largest`.
    """
    try:
        value = float(int(row[name])) if whole else float(row[name])
    except (ValueError, OverflowError):  # a word, or an integer beyond the range of floats
        value = math.nan
    if not math.isfinite(value) or (whole and value < 1) or abs(value) > largest:
        expected = "an integer of at least 1" if whole else "a finite number"
        if largest < math.inf:
            expected += f" within ±{largest:g}"
        raise ValueError(
            f"{str(path)!r}, line {line}: {name} is {row[name]!r}; expected {expected}"
        )
    return value
