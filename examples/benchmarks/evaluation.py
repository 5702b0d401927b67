"""What measuring takes, the network left out: 3,000 mixtures of two speakers, six seconds each.

Run: python examples/benchmarks/evaluation.py [--mixtures 40] [--jobs 2]

mir_eval is measured beside it where it is installed, and on a few mixtures alone.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType

import numpy as np
from joblib import Parallel, delayed

from skdc import DeepClusteringSeparator
from skdc.datasets import load_sample_mixture
from skdc.evaluation.run import score_mixture
from skdc.inputs import Waveforms
from skdc.metrics import evaluate_separation

N_PUBLISHED = 3000
N_SAMPLES = 6 * 8000


class Known(DeepClusteringSeparator):
    """A separator that takes no time: it gives what it was told."""

    estimates: np.ndarray

    def predict(self, X: Waveforms, **options: object) -> np.ndarray:
        """Give the estimates."""
        return self.estimates


def main() -> None:
    """Print what a sample takes, and what 3,000 mixtures would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mixtures", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    cases = [make_case(rng) for _ in range(args.mixtures)]
    kinds: dict[str, Callable[..., object]] = {
        "SDR and SI-SDR of the model": both_measures,
        "the same, and of two oracles": with_oracles,
    }
    few = cases[: max(2, args.mixtures // 10)]
    try:
        import mir_eval

        seconds = measure(partial(of_mir_eval, mir_eval), few, args.jobs)
        print(report("mir_eval, SDR of model and mixture", seconds, args.jobs))
    except ImportError:
        seconds = None
    for name, work in kinds.items():
        ours = measure(work, cases, args.jobs)
        ratio = "" if seconds is None else f", mir_eval {seconds / ours:.1f} x"
        print(report(name, ours, args.jobs) + ratio)


def make_case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give sources, estimates and their mixture: speech, begun anywhere."""
    sources = np.stack(
        [
            np.roll(source, rng.integers(len(source)))[:N_SAMPLES]
            for source in load_sample_mixture()[1]
        ]
    )
    mixture = sources.sum(axis=0)
    return sources, (0.9 * sources + 0.1 * mixture)[::-1].copy(), mixture


def measure(
    work: Callable[..., object], cases: Sequence[tuple[np.ndarray, ...]], jobs: int
) -> float:
    """Seconds a mixture, shared by processes."""
    with Parallel(n_jobs=jobs) as pool:
        pool(delayed(work)(*case) for case in cases[:jobs])  # starts the processes
        start = time.perf_counter()
        pool(delayed(work)(*case) for case in cases)
        return (time.perf_counter() - start) / len(cases)


def both_measures(sources: np.ndarray, estimates: np.ndarray, mixture: np.ndarray) -> object:
    """Score the model alone."""
    return evaluate_separation(sources, estimates, mixture)


def with_oracles(sources: np.ndarray, estimates: np.ndarray, mixture: np.ndarray) -> object:
    """Score model and oracles, as `skdc evaluate` does."""
    model = Known()
    model.estimates = estimates
    return score_mixture(model, mixture, sources)


def of_mir_eval(
    mir_eval: ModuleType, sources: np.ndarray, estimates: np.ndarray, mixture: np.ndarray
) -> object:
    """Score the model and the mixture by the reference implementation."""
    measured = [estimates, np.stack([mixture] * len(sources))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it will go one day
        return [mir_eval.separation.bss_eval_sources(sources, signals) for signals in measured]


def report(name: str, seconds: float, jobs: int) -> str:
    """Lay out one line."""
    minutes = N_PUBLISHED * seconds / 60
    return (
        f"{name:36s} {1000 * seconds:8.1f} ms a mixture, "
        f"{minutes:6.1f} min for {N_PUBLISHED} in {jobs} processes"
    )


if __name__ == "__main__":
    main()
