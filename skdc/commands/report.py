"""``skdc report``: a page of results from the tables of evaluations."""

from __future__ import annotations

import argparse

from skdc.commands.options import add_output_argument, given_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "tables",
        nargs="+",
        type=given_path,
        metavar="SCORES.csv",
        help="what 'skdc evaluate --csv' wrote, in the order of the page",
    )
    text = "page to write; a picture MODEL-curve.png beside it is shown"
    add_output_argument(parser, "PAGE.md", text, "results.md")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from skdc.evaluation.report import make_page
    from skdc.evaluation.tables import read_rows
    from skdc.paths import atomic_path, check_outputs

    check_outputs([args.output], args.tables, advice="give -o another name")
    tables = [read_rows(path) for path in args.tables]
    curves = {rows[0]["model"]: f"{rows[0]['model']}-curve.png" for rows in tables}
    there = {
        model: name for model, name in curves.items() if (args.output.parent / name).is_file()
    }
    page = make_page(tables, there)
    with atomic_path(args.output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(args.output)
    return 0
