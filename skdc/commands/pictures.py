"""Figures of matplotlib as files, for ``--plot`` and its like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["save_picture"]


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
