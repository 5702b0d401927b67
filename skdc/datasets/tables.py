"""Tables in csv files, read with errors that name the line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from skdc.paths import check_file, reading_text

__all__ = ["check_columns", "read_number", "read_table"]


def read_table(
    path: Path, needed: Iterable[str]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the columns and, with their line numbers, the rows of a csv file.

    The columns that are needed must be there, with no empty cell; a ValueError names the line.
    Raises a FileNotFoundError if there is no such file, and a ValueError if it is no table.
    """
    check_file(path, "csv file")
    with reading_text(path, "csv file"), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        columns = list(reader.fieldnames or ())
        check_columns(path, columns, needed)
        rows = []
        for row in reader:
            empty = [
                name
                for name in columns
                if not row[name] and (name in needed or name.startswith("source_"))
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


def read_number(
    path: Path, line: int, row: dict[str, str], name: str, *, whole: bool = False
) -> float:
    """Read a finite number from a row, or raise a ValueError that names file, line and column."""
    try:
        value = float(int(row[name])) if whole else float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (whole and value < 1):
        expected = "an integer of at least 1" if whole else "a finite number"
        raise ValueError(
            f"{str(path)!r}, line {line}: {name} is {row[name]!r}; expected {expected}"
        )
    return value
