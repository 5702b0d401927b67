"""Separation end to end against the bare forward pass of the same network, and against real time.

Run: python examples/benchmarks/separation.py [--threads 2] [--minutes 0.5 2 10]
"""

from __future__ import annotations

import argparse
import resource
from functools import partial

import numpy as np
import torch
from measure import alternate, report

from skdc import load_pretrained, signal
from skdc.datasets import load_sample_mixture
from skdc.parameters import resolve_precision
from skdc.separation import Separator
from skdc.signal import Framing


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="speech-8k", help="name or file of a model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 2.0, 10.0])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    separator = load_pretrained(args.model)
    precision = resolve_precision(separator.precision, torch.device("cpu"))
    framing = Framing(separator.win_length, separator.hop_length)
    core = Separator(separator.network_, framing, precision=precision)
    clip, _ = load_sample_mixture()
    for minutes in args.minutes:
        mixture = np.resize(clip, round(minutes * 60 * 8000))
        features = signal.log_magnitude(framing.stft(torch.from_numpy(mixture)))

        def bare(features=features) -> None:
            # One stretch after the other, of the length of the separator's windows.
            with torch.no_grad(), core.hearing.autocast():
                for part in features.split(4096):
                    core.network.project(part.unsqueeze(0))

        medians = alternate(
            {"bare network": bare, "skdc": partial(separator.predict, mixture)}, args.repeats
        )
        report(f"{minutes:g} minutes", medians, "bare network")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"  {60 * minutes / medians['skdc']:.0f} x real time; peak memory so far {peak:.0f} MB"
        )


if __name__ == "__main__":
    main()
