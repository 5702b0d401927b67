"""``skdc demo``: mix the clips of the package, separate them, and show how well that went."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skdc.commands.options import (
    add_model_argument,
    add_output_argument,
    positive_int,
    warn_of_count,
)
from skdc.commands.pictures import save_picture
from skdc.paths import check_outputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CLIP_RATE_HZ = 8000
_MOST_SOURCES = 5  # who speak in the clips that come with the package


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_output_argument(parser, "DIR", "folder for the results", "skdc-demo")
    parser.add_argument(
        "--n-sources",
        type=positive_int,
        default=2,
        metavar="N",
        help=f"speakers to mix, 2 to {_MOST_SOURCES} (default: %(default)s)",
    )
    add_model_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from skdc.audio import write_audio
    from skdc.audio.sources import source_paths
    from skdc.datasets import load_sample_mixture, resample
    from skdc.display import ListeningPage, SeparationDisplay, match_estimates
    from skdc.display.inputs import separate_once
    from skdc.metrics import evaluate_separation
    from skdc.pretrained import load_pretrained

    _check_folder(args)
    model = load_pretrained(args.model, device=args.device)
    warn_of_count(model, args.n_sources)
    model.set_params(n_sources=args.n_sources)
    rate = model.sample_rate
    mixture, references = (
        resample(part, _CLIP_RATE_HZ, rate) for part in load_sample_mixture(args.n_sources)
    )
    print(f"Separating {len(mixture) / rate:.1f} s of {args.n_sources} people speaking at once")
    estimates, masks = separate_once(model, mixture)
    order = match_estimates(references, estimates)
    display = SeparationDisplay(
        mixture, estimates[order], masks=masks[order], references=references, sample_rate=rate
    )

    # An earlier demo may have had more speakers; other files of such names are not its own.
    if (args.output / "index.html").is_file() and (args.output / "mixture.wav").is_file():
        for path in source_paths(args.output, "source", _MOST_SOURCES)[args.n_sources :]:
            path.unlink(missing_ok=True)
    paths = [args.output / "mixture.wav", *source_paths(args.output, "source", args.n_sources)]
    for path, waveform in zip(paths, [mixture, *display.estimates], strict=True):
        write_audio(path, waveform, rate)
    picture = args.output / "demo.png"
    try:
        save_picture(lambda: display.plot().figure_, picture)
    except ImportError as error:
        print(f"No picture: {error}")
    else:
        paths.append(picture)
    page = ListeningPage(
        mixture,
        display.estimates,
        rate,
        references=references,
        title=f"{args.n_sources} people speaking at once, separated",
    ).save(args.output / "index.html")
    print(f"\n{_table(evaluate_separation(references, estimates, mixture))}\n")
    print("\n".join(str(path) for path in paths))
    print(f"\nTo listen, open {page}")
    return 0


def _check_folder(args: argparse.Namespace) -> None:
    from skdc.audio.sources import source_paths

    first, *last = (args.output / name for name in ("mixture.wav", "demo.png", "index.html"))
    outputs = [first, *source_paths(args.output, "source", args.n_sources), *last]
    check_outputs(outputs, [args.model], advice="give -o another folder")


def _table(scores: dict[str, NDArray[np.float64]]) -> str:
    import numpy as np

    # (sources, 6): before, after and gain, in SDR and in SI-SDR
    columns = []
    for name in ("sdr", "si_sdr"):
        after, gain = (scores[name], scores[f"{name}_improvement"])
        columns += [after - gain, after, gain]
    rows = np.stack(columns, axis=1)
    widths = (12, 8, 8, 16, 8, 8)
    titles = ("SDR before", "after", "gain", "SI-SDR before", "after", "gain")
    lines = [_line("dB", titles, widths)]
    names = [f"source {number}" for number in range(1, len(rows) + 1)]
    for name, row in zip([*names, "mean"], [*rows, rows.mean(axis=0)], strict=True):
        lines.append(_line(name, [f"{value:.1f}" for value in row], widths))
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"{name:<9}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True))
