"""``skdc card``: the tables in the card of a model."""

from __future__ import annotations

import argparse

from skdc.commands.options import given_path
from skdc.commands.pictures import check_picture, save_picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("model", type=given_path, metavar="MODEL", help="model file")
    parser.add_argument(
        "tables",
        nargs="*",
        type=given_path,
        metavar="SCORES.csv",
        help="what 'skdc evaluate --csv' wrote for this model, in the order of the card",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        metavar="CARD.md",
        help="card to write; what is there outside of the tables is kept (default: beside the "
        "model, by its name)",
    )
    parser.add_argument(
        "--plot",
        type=given_path,
        metavar="CURVE.png",
        help="draw the training curve against hours of mixtures (needs matplotlib)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from skdc.evaluation.cards import check_model, curve_table, facts_table, refresh_card
    from skdc.evaluation.report import figures_tables
    from skdc.evaluation.run import model_fingerprint
    from skdc.evaluation.tables import read_rows
    from skdc.paths import atomic_path, check_outputs, reading_text
    from skdc.separator import DeepClusteringSeparator

    path = args.output or args.model.with_suffix(".md")
    pictures = [] if args.plot is None else [args.plot]
    check_outputs([path, *pictures], [args.model, *args.tables])
    if args.plot is not None:
        check_picture(args.plot)
    separator = DeepClusteringSeparator.load(args.model, device="cpu")
    tables = {"facts": facts_table(args.model, separator)}
    if args.tables:
        evaluations = [read_rows(path) for path in args.tables]
        check_model(evaluations, model_fingerprint(separator))
        tables["figures"] = figures_tables(evaluations)
    tables["curve"] = curve_table(separator.history_)
    with reading_text(path, "card"):
        old = path.read_text("utf-8") if path.is_file() else ""
    card = refresh_card(old, tables) if old else f"# {path.stem}\n\n{refresh_card('', tables)}"
    if args.plot is not None:
        from skdc.display import TrainingDisplay

        save_picture(
            lambda: TrainingDisplay.from_estimator(separator, against="hours").figure_, args.plot
        )
    with atomic_path(path) as temporary:
        temporary.write_text(card, encoding="utf-8")
    print(path)
    return 0
