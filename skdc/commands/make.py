"""``skdc make``: the mixtures of a published protocol from the corpus that they are made of."""

from __future__ import annotations

import argparse
import sys

from skdc.commands.options import (
    add_jobs_argument,
    add_output_argument,
    given_name,
    given_path,
    positive_int,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "protocol",
        type=given_name,
        metavar="PROTOCOL",
        help="wsj0-2mix, wsj0-3mix, libri2mix, libri3mix, lrs3-2mix or voxceleb2-2mix",
    )
    parser.add_argument(
        "--root",
        type=given_path,
        required=True,
        metavar="DIR",
        help="folder of the corpus: wsj0, LibriSpeech, or the one that holds the speakers",
    )
    parser.add_argument(
        "--lists",
        type=given_path,
        metavar="DIR",
        help="folder of the lists (mix_2_spk_tr.txt, libri2mix_dev-clean.csv, tr.csv, ...; "
        "default: that of the corpus)",
    )
    text = "folder to make wav8k/min/tr, ... in; what is there of the same list is kept"
    add_output_argument(parser, "DIR", text)
    parser.add_argument(
        "--subset",
        nargs="+",
        type=given_name,
        metavar="NAME",
        help="which of them to make (default: all that there is a list of)",
    )
    parser.add_argument(
        "--mode",
        type=given_name,
        default="min",
        help="min: cut to the shortest source; max: pad to the longest (default: %(default)s)",
    )
    parser.add_argument(
        "--sample-rate",
        nargs="+",
        type=positive_int,
        metavar="HZ",
        help="8000, 16000 or both (default: that of the published figures)",
    )
    add_jobs_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from skdc.protocols import PROTOCOLS, plan_protocol

    # All lists are read and all recordings found before the first file is made.
    jobs = plan_protocol(
        args.protocol,
        args.root,
        args.lists or args.root,
        args.output,
        subsets=args.subset,
        mode=args.mode,
        sample_rates=args.sample_rate,
    )
    try:
        for subset, job in jobs.items():
            n_listed, published = len(job.recipes), PROTOCOLS[args.protocol].sizes.get(subset)
            n_made = job.make(n_jobs=args.jobs, progress=None)
            note = f"; the published list has {published}" if published != n_listed else ""
            print(
                f"{subset}: {n_listed} mixtures, {n_made} of them made now"
                f"{note if published else ''}",
                flush=True,
            )
    except KeyboardInterrupt:
        print("The same command makes what is missing", file=sys.stderr)
        raise
    print(args.output)
    return 0
