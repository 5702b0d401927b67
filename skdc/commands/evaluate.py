"""``skdc evaluate``: how well a model separates the mixtures of a benchmark."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from skdc.commands.options import (
    add_jobs_argument,
    add_model_argument,
    add_speeds_argument,
    given_name,
    given_path,
    positive_int,
)
from skdc.commands.pictures import check_picture, save_picture
from skdc.paths import check_outputs

if TYPE_CHECKING:
    from skdc.evaluation.run import Benchmark


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--protocol",
        type=given_name,
        metavar="NAME",
        help="published protocol: wsj0-2mix, wsj0-3mix, libri2mix, libri3mix, lrs3-2mix, "
        "voxceleb2-2mix or speech",
    )
    what.add_argument(
        "--list",
        type=given_path,
        metavar="LIST.csv",
        help="mixtures (columns mixture_id, n_samples, source_1, gain_1, source_2, gain_2, ...)",
    )
    parser.add_argument(
        "--root",
        type=given_path,
        metavar="DIR",
        help="folder of the protocol, or the one that the list's paths are relative to (default "
        "for a list: the one above its folder)",
    )
    parser.add_argument(
        "--subset",
        type=given_name,
        metavar="NAME",
        help="which mixtures of the protocol (default: its test subset; speech has none, and "
        "needs the name of one of its lists)",
    )
    parser.add_argument(
        "--n-sources",
        type=positive_int,
        metavar="N",
        help="sources to find in each mixture (default: as many as it has)",
    )
    parser.add_argument(
        "--limit", type=positive_int, metavar="N", help="use the first N mixtures alone"
    )
    parser.add_argument(
        "--csv",
        type=given_path,
        metavar="OUT.csv",
        help="write the scores of every mixture here as they come, and go on from those that are "
        "there",
    )
    parser.add_argument(
        "--plot",
        type=given_path,
        metavar="OUT.png",
        help="draw how the improvements are distributed (needs matplotlib)",
    )
    add_speeds_argument(parser)
    add_jobs_argument(parser)
    add_model_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    table, plot, inputs = (
        [path for path in paths if path is not None]
        for paths in ([args.csv], [args.plot], [args.model, args.list])
    )
    # All that could fail after hours of work is found out before them.
    check_outputs(table, inputs, replaces=False)
    check_outputs(plot, inputs)
    if args.plot is not None:
        check_picture(args.plot)
    from skdc.evaluation.run import evaluate_model
    from skdc.evaluation.tables import format_summary, plot_improvements
    from skdc.pretrained import load_pretrained
    from skdc.separation.counts import asked_count

    model = load_pretrained(args.model, device=args.device)

    benchmark = _open(args, model.sample_rate)
    n_references = len(benchmark.items[0].load()[1])
    n_sources = asked_count(args.n_sources) or n_references
    title = benchmark.subset if args.list else f"{benchmark.protocol} {benchmark.subset}"
    if n_sources < n_references:
        raise ValueError(
            f"--n-sources {n_sources} is less than the {n_references} sources of each mixture in "
            f"{title!r}; each of them needs an estimate"
        )
    rate = benchmark.items[0].sample_rate
    model.set_params(
        n_sources=n_sources,
        output="sources",
        input_rate=None if rate == model.sample_rate else rate,
    )
    name = Path(args.model).stem if Path(args.model).is_file() else args.model
    if args.speeds > 1:
        name += f", {args.speeds} speeds"
    try:
        rows = evaluate_model(
            model,
            benchmark,
            name=name,
            limit=args.limit,
            csv_path=args.csv,
            speeds=args.speeds,
            n_jobs=args.jobs,
            progress=None,
        )
    except KeyboardInterrupt:
        if args.csv is not None:
            print(f"The same command goes on from {args.csv}", file=sys.stderr)
        raise
    counts = f"{_count(len(rows), 'mixture')} of {_count(n_references, 'source')}"
    print(f"{title}: {counts}, model {name}\n")
    print(format_summary(rows))
    print("\nideal and phase-sensitive: masks made from the sources, with the model's framing")
    if args.plot is not None:
        save_picture(lambda: plot_improvements(rows).figure, args.plot)
    return 0


def _open(args: argparse.Namespace, sample_rate: int) -> Benchmark:
    from skdc.evaluation.run import Benchmark
    from skdc.protocols import PROTOCOLS, choose_rate, open_mixture_list, open_protocol

    if args.list is not None:
        if args.subset is not None:
            raise ValueError("--subset goes with --protocol; a list is used as a whole")
        # The list is used at the rate of its recordings, whatever that is.
        items = open_mixture_list(args.list, args.root, sample_rate=None)
        return Benchmark("list", args.list.stem, items)
    if args.root is None:
        raise ValueError("--protocol needs --root, the folder of its mixtures")
    rate = choose_rate(args.protocol, sample_rate)
    subset = args.subset or PROTOCOLS[args.protocol].test
    if subset is None:
        lists = sorted(path.stem for path in (args.root / "mixtures").glob("*.csv"))
        raise ValueError(f"--protocol {args.protocol} needs --subset; there is {', '.join(lists)}")
    items = open_protocol(args.protocol, args.root, subset=subset, sample_rate=rate)
    return Benchmark(args.protocol, subset, items)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")
