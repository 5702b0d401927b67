"""A training step and the bundled model on one device, beside the limits measured there.

Run: python examples/benchmarks/one_device.py [--device cuda] [--batch 64 256] [--frames 400]

The step stands beside the bare network (the same layers, forward and backward, no data and no
objective) and beside one large product of matrices in bfloat16, whose rate counts as the device's
peak.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
from candidates import plain
from candidates import skdc as library
from cases import HOP_LENGTH, SAMPLE_RATE
from measure import alternate, report

from skdc import load_pretrained
from skdc.datasets import load_sample_mixture
from skdc.parameters import resolve_precision


def main() -> None:
    """Print the comparison for each size of the batch, then the speed of the bundled model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--hidden", type=int, default=600)
    parser.add_argument("--dim", type=int, default=40)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--side", type=int, default=8192, help="of the matrices of the product")
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0, 60.0])
    args = parser.parse_args()
    device = torch.device(args.device)
    precision = resolve_precision("auto", device)

    def finished(work):
        def run() -> None:
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    square = torch.randn(args.side, args.side, device=device, dtype=torch.bfloat16)
    for size in args.batch:
        options = {"hidden": args.hidden, "dim": args.dim, "batch": size, "frames": args.frames}
        bare, _ = plain.training_step(options, precision, device)
        step, figures = library.training_step(options, precision, device)
        works = {"bare network": bare, "skdc": step, "product": lambda: torch.mm(square, square)}
        medians = alternate({name: finished(work) for name, work in works.items()}, args.repeats)
        peak = 2 * args.side**3 / medians.pop("product")
        report(f"step, {precision}, batch {size} x {args.frames}", medians, "bare network")
        hours = size * args.frames * HOP_LENGTH / SAMPLE_RATE / 3600
        # A multiplication and an addition a weight and frame, forward and twice backward.
        rate = 6 * figures(None)["parameters"] * size * args.frames / medians["skdc"]
        print(f"  {hours / medians['skdc']:.3g} hours of mixtures a second")
        print(f"  {rate / 1e12:.3g} TFLOP/s, {rate / peak:.3g} of {peak / 1e12:.3g}")

    separator = load_pretrained(device=args.device)
    clip, _ = load_sample_mixture()
    for minutes in args.minutes:
        mixture = np.resize(clip, round(60 * minutes * SAMPLE_RATE))
        seconds = alternate({"skdc": partial(separator.predict, mixture)}, 3)["skdc"]
        print(f"bundled model, {minutes:g} minutes: {60 * minutes / seconds:.0f} x real time")


if __name__ == "__main__":
    main()
