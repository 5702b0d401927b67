"""``skdc voices``: a model that knows who is who in long recordings, from one that does not."""

from __future__ import annotations

import argparse
import os

from skdc.commands.options import (
    DATA_HELP,
    add_model_argument,
    add_output_argument,
    check_output,
    given_name,
    save_model,
)
from skdc.paths import check_outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_model_argument(parser)
    parser.add_argument("--data", required=True, type=given_name, metavar="WHERE", help=DATA_HELP)
    parser.add_argument(
        "--subset",
        type=given_name,
        metavar="NAME",
        help="which split of the table to train on (default: train of utterances.csv, all of "
        "other tables)",
    )
    add_output_argument(parser, "MODEL", "model file to write", "model.safetensors")
    parser.add_argument(
        "--force", action="store_true", help="overwrite a model that is there, and is not MODEL"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from skdc.pretrained import load_pretrained

    # A folder or a pattern is no file that could be replaced.
    may_replace = args.force or os.path.realpath(args.output) == os.path.realpath(args.model)
    before = check_output(args.output, [args.data], may_replace=may_replace)
    model = load_pretrained(args.model, device=args.device)

    from skdc.datasets import find_recordings
    from skdc.persistence import narrowest_weights

    rate = model.input_rate or model.sample_rate
    recordings, speakers = find_recordings(args.data, args.subset, sample_rate=rate)
    check_outputs([args.output], recordings.paths, advice="give -o another name")
    weights = narrowest_weights(model.network_.state_dict())
    print(
        f"Training heads for voices, counts and noise on {len(recordings)} recordings of "
        f"{len(set(speakers))} speakers"
    )
    model.set_params(verbose=1).fit_voices(recordings, speakers)
    # The weights that were there come out as they went in.
    output = save_model(model.set_params(verbose=0), args.output, before, weights)
    print(f"{output}: knows who is who in long recordings, how many talk, and what is noise")
    return 0
