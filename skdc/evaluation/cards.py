"""Model cards: tables made from a model file and its evaluations, within a text by hand.

A table stands between the lines ``<!-- skdc card: NAME -->`` and ``<!-- end -->``; what is outside
of them is never touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skdc.evaluation.report import markdown_table
from skdc.evaluation.run import Row, model_fingerprint
from skdc.model_file import read_tensors

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = ["check_model", "curve_table", "facts_table", "refresh_card"]

_HEADINGS = {"facts": "", "figures": "## Measured\n\n", "curve": "## Training curve\n\n"}
_CURVE = {
    "epoch": ("epoch", 1.0, ".0f"),
    "hours": ("hours of mixtures", 1.0, ".0f"),
    "seconds": ("minutes", 1 / 60, ".0f"),
    "learning_rate": ("learning rate", 1.0, ".1e"),
    "loss": ("loss", 1.0, ".4f"),
    "validation_loss": ("validation loss", 1.0, ".4f"),
    "validation_si_sdr_improvement": ("validation, dB", 1.0, ".2f"),
}


def facts_table(path: str | os.PathLike[str], separator: DeepClusteringSeparator) -> str:
    """Describe, in Markdown, a model file and the separator that was loaded from it."""
    tensors, header = read_tensors(path)
    n_weights = sum(weights.numel() for weights in separator.network_.parameters())
    # The matrices: vectors and steps, of which there are few, may be of another type.
    stored = ", ".join(
        sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.dim() > 1})
    )
    counts = getattr(separator.remix, "n_sources", None) or header["parameters"]["n_sources"]
    milliseconds = 1000 / separator.sample_rate
    last = separator.history_[-1]
    trunk = type(separator.network_.config.trunk).__name__
    if not separator.bidirectional:
        trunk = trunk.replace("BLSTM", "LSTM")
    facts = {
        "works at": f"{separator.sample_rate} Hz; other rates through `input_rate`",
        "trained on mixtures of": ", ".join(str(count) for count in np.unique(counts)),
        "network": f"{trunk}, {separator.n_layers} x "
        f"{separator.hidden_size} units, {separator.embedding_dim} embedding dimensions, window "
        f"{separator.win_length * milliseconds:g} ms, hop {separator.hop_length * milliseconds:g} "
        "ms",
        "objective": f"`{separator.objective}`",
        "file": f"{n_weights / 1e6:.1f} million weights as {stored}, "
        f"{Path(path).stat().st_size / 1e6:.1f} MB",
        "training": f"{last['hours']:.0f} hours of mixtures in {last['seconds'] / 60:.0f} minutes",
        "weights and parameters": f"`{model_fingerprint(separator)}`",
    }
    return markdown_table(["", ""], [[name, fact] for name, fact in facts.items()])


def check_model(evaluations: Sequence[Sequence[Row]], model_id: str) -> None:
    """Raise a ValueError if one of several evaluations is not of the model of a card."""
    for rows in evaluations:
        if rows[0]["model_id"] != model_id:
            raise ValueError(
                f"the scores on {rows[0]['protocol']} {rows[0]['subset']} are of the model "
                f"{rows[0]['model_id']}, but this one is {model_id}; evaluate it anew"
            )


def curve_table(history: Sequence[Mapping[str, float]]) -> str:
    """Lay out a history, such as an estimator's ``history_``, in Markdown, one row an epoch."""
    columns = {k: how for k, how in _CURVE.items() if any(k in row for row in history)}
    # Epochs that went on from an earlier training may have been measured in another way.
    lines = [
        [
            format(factor * row[name], form) if name in row else ""
            for name, (_, factor, form) in columns.items()
        ]
        for row in history
    ]
    return markdown_table([title for title, _, _ in columns.values()], lines)


def refresh_card(card: str, tables: Mapping[str, str]) -> str:
    """Put tables, by the names of their places, into a card; an empty card gets the places.

    Raises a ValueError if the card has no place for a table, or several.
    """
    if not card:
        places = [f"{_HEADINGS[name]}<!-- skdc card: {name} -->\n<!-- end -->" for name in tables]
        card = "\n\n".join(places) + "\n"
    for name, table in tables.items():
        begin = f"<!-- skdc card: {name} -->"
        place = re.compile(f"{re.escape(begin)}\n.*?<!-- end -->", re.DOTALL)
        found = list(place.finditer(card))
        if len(found) != 1:
            raise ValueError(
                f"the card has no place for its {name}, or several: write the lines {begin!r} and "
                "'<!-- end -->' where the table is to stand"
            )
        start, stop = found[0].span()
        card = f"{card[:start]}{begin}\n\n{table}\n\n<!-- end -->{card[stop:]}"
    return card
