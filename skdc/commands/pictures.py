"""Figures of matplotlib as files, for ``--plot`` and its like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["check_picture", "save_picture"]


def check_picture(path: Path) -> None:
    """Check that matplotlib is there, and draws files of a suffix.

    Raises an ImportError or a ValueError.
    """
    from skdc.display import import_pyplot

    known = import_pyplot().Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise ValueError(
            f"{str(path)!r} does not end in the name of a format of pictures; expected one of "
            f"{', '.join(f'.{name}' for name in sorted(known))}"
        )


def save_picture(draw: Callable[[], Any], path: Path) -> None:
    """Draw a figure of matplotlib into a file, atomically; its suffix names the format."""
    from skdc.display import import_pyplot
    from skdc.paths import atomic_path

    pyplot = import_pyplot()
    # This backend draws into files and needs no screen.
    pyplot.switch_backend("agg")
    figure = draw()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)
