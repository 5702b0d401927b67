"""What the mixtures of a folder were made of: a line for each, in a file beside them.

It spares work and decides nothing: a mixture that has no line, or another one than its recipe has
now, is made once more and compared with its files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from skdc.paths import atomic_path

__all__ = ["RecipeRecord"]


@dataclass(frozen=True)
class RecipeRecord:
    """The record of a folder, ``recipes.jsonl``.

    Parameters
    ----------
    folder : Path
        That of the mixtures, such as ``wav8k/min/tr``.
    recipes : mapping of str to str
        By the name of each mixture, what its recipe comes to now.
    trusted : set of str
        Names of those whose files are of that recipe.
    """

    folder: Path
    recipes: Mapping[str, str]
    trusted: set[str] = field(default_factory=set)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.folder / "recipes.jsonl"

    def open(self) -> None:
        """Read it, and take away what is not so any more.

        A line that stayed would be wrong as soon as the mixture is made by its new recipe.
        """
        text = ""
        if self.path.is_file():
            text = self.path.read_text("utf-8", errors="replace")
        # Lines that cannot be understood, such as the last one of a run that was killed, are none.
        lines = [line for line in text.splitlines(keepends=True) if self._is_right(line)]
        self.trusted.update(json.loads(line)[0] for line in lines)
        if (kept := "".join(lines)) != text:
            self._write(kept, "w")

    def add(self, name: str) -> None:
        """Note that the files of a mixture, which are whole, are of its recipe."""
        if name not in self.trusted:
            self.trusted.add(name)
            self._write(self._line(name), "a")

    def _write(self, text: str, mode: Literal["a", "w"]) -> None:
        # A complete folder may be read-only: its mixtures are compared each time.
        if not os.access(self.folder, os.W_OK):
            return
        if mode == "a":
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            with atomic_path(self.path) as temporary:
                temporary.write_text(text, "utf-8")

    def _line(self, name: str) -> str:
        return json.dumps([name, self.recipes[name]]) + "\n"

    def _is_right(self, line: str) -> bool:
        try:
            name, _ = json.loads(line)
            return name in self.recipes and line == self._line(name)
        except (ValueError, TypeError):
            return False
