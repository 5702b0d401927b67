"""What is compared, and on which inputs: known to the driver and to every worker.

NumPy and soundfile only, which every environment has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

Options = Mapping[str, Any]
# Name to a module of `candidates/`, and what to set in it.
Candidates = dict[str, tuple[str, dict[str, str | bool]]]

CLIPS = Path(__file__).parents[2] / "skdc" / "datasets" / "samples"

N_BINS, WIN_LENGTH, HOP_LENGTH, SAMPLE_RATE, N_SOURCES = 129, 256, 64, 8000, 2

SKDC: Candidates = {"skdc": ("skdc", {"precision": "auto"}), "skdc, float32": ("skdc", {})}
PEERS: Candidates = {name: (name, {}) for name in ("asteroid", "nussl", "espnet")}
BARE: Candidates = {
    "bare network, float32": ("plain", {}),
    "bare network, bfloat16": ("plain", {"precision": "bfloat16"}),
}


class Case(NamedTuple):
    """One comparison.

    Attributes
    ----------
    kind : str
        The function that prepares it, in every module of `candidates/`.
    title : str
    options : dict
        Sizes, given to that function.
    candidates : dict
        Name to module and settings; the first is the one that the others are measured against.
    repeats : int
        Turns.
    warm_seconds : float, default=1.0
        How long each candidate runs before its times count.
    """

    kind: str
    title: str
    options: dict[str, Any]
    candidates: Candidates
    repeats: int
    warm_seconds: float = 1.0


def _objective(dim: int) -> Case:
    title = f"Objective, forward and backward: batch 8 x 400 frames, K {dim}, half the bins active"
    options = {"batch": 8, "frames": 400, "dim": dim, "active": 0.5}
    candidates = {"skdc": SKDC["skdc"], "plain autograd": ("plain", {})} | PEERS
    # What it has not by itself, so that it computes what the others do.
    candidates["espnet, unit norm added"] = ("espnet", {"unit_norm": True})
    return Case("objective", title, options, candidates, 20)


def _step(hidden: int, dim: int, batch: int, frames: int) -> Case:
    title = f"Training step: 2 x {hidden} BLSTM, K {dim}, batch {batch} x {frames} frames"
    options = {"hidden": hidden, "dim": dim, "batch": batch, "frames": frames}
    candidates = SKDC | PEERS | BARE
    # Without the layer that halves the width, so that it trains the network that the others train.
    candidates["espnet, full width"] = ("espnet", {"full_width": True})
    # In half precision a kernel is compiled for every shape of a product, and the number of bins
    # that count differs from step to step: a run of thousands of steps soon has them all.
    return Case("training_step", title, options, candidates, 15 if hidden < 600 else 7, 10.0)


def _kmeans(seconds: int) -> Case:
    title = f"k-means: all {seconds * 125 * N_BINS:,} bins of {seconds} s, K 40"
    options = {"seconds": seconds, "dim": 40}
    # What asteroid's recipe calls is scikit-learn's.
    candidates = {"skdc": SKDC["skdc"], "scikit-learn": ("plain", {})}
    candidates |= {name: PEERS[name] for name in ("nussl", "espnet")}
    return Case("clustering", title, options, candidates, 7)


def _separation(seconds: int) -> Case:
    title = f"Separation of {seconds} s, end to end: 2 x 300 BLSTM, K 20"
    options = {"seconds": seconds, "hidden": 300, "dim": 20}
    return Case("separation", title, options, SKDC | PEERS | BARE, 7 if seconds < 100 else 4)


CASES = {
    "objective-20": _objective(20),
    "objective-40": _objective(40),
    "step-300": _step(300, 20, 16, 100),
    "step-600": _step(600, 40, 16, 100),
    "step-600-long": _step(600, 40, 8, 400),
    "kmeans-30": _kmeans(30),
    "kmeans-120": _kmeans(120),
    "separation-30": _separation(30),
    "separation-120": _separation(120),
}


def shrink(options: Options) -> dict[str, Any]:
    """Give sizes that take no time."""
    tiny = {"batch": 2, "frames": 20, "hidden": 8, "seconds": 1, "dim": 5}
    return {key: tiny.get(key, value) for key, value in options.items()}


def objective_inputs(
    options: Options,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Give outputs of a network `(batch, frames, bins, dim)`, and classes and activity."""
    rng = np.random.default_rng(0)
    shape = (options["batch"], options["frames"], N_BINS)
    vectors = rng.standard_normal((*shape, options["dim"]), dtype=np.float32)
    return vectors, rng.integers(N_SOURCES, size=shape), rng.random(shape) < options["active"]


def speakers() -> NDArray[np.float32]:
    """Five people, 100 s each, `(speakers, samples)`: the clips that come with skdc, repeated."""
    clips: dict[str, list[NDArray[np.float32]]] = {}
    for path in sorted(CLIPS.glob("*.flac")):
        clip, rate = soundfile.read(path, dtype="float32")
        if rate != SAMPLE_RATE:
            raise ValueError(f"{path} has {rate} Hz, expected {SAMPLE_RATE}")
        clips.setdefault(path.stem.rpartition("-")[0], []).append(0.1 * clip / clip.std())
    return np.stack([np.resize(np.concatenate(own), 100 * rate) for own in clips.values()])


def noise() -> NDArray[np.float32]:
    """Two recordings of 100 s, `(2, samples)`: noise with pauses."""
    rng = np.random.default_rng(0)
    pauses = np.repeat(rng.random((2, 400)) < 0.6, 2000, axis=1)
    return (rng.standard_normal(pauses.shape, dtype=np.float32) * pauses).astype(np.float32)


def mix(
    bank: NDArray[np.float32], n_mixtures: int, n_samples: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw the sources `(mixtures, sources, samples)` of a training batch.

    For the peers, which read theirs from files made beforehand: this is the least it could take.
    """
    sources = np.empty((n_mixtures, N_SOURCES, n_samples), np.float32)
    for mixture in sources:
        for source, speaker in zip(mixture, rng.permutation(len(bank)), strict=False):
            start = rng.integers(bank.shape[1] - n_samples)
            np.multiply(
                bank[speaker, start : start + n_samples],
                10 ** (rng.uniform(-2.5, 2.5) / 20),
                out=source,
            )
    return sources


def embeddings(options: Options) -> NDArray[np.float32]:
    """Give unit vectors `(bins, dim)` about two directions, some bins clear and some not."""
    rng = np.random.default_rng(0)
    n_points, dim = options["seconds"] * SAMPLE_RATE // HOP_LENGTH * N_BINS, options["dim"]
    centres = rng.standard_normal((N_SOURCES, dim)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    points = rng.standard_normal((n_points, dim), dtype=np.float32)
    points *= rng.uniform(0.05, 0.45, (n_points, 1)).astype(np.float32)
    points += centres[rng.integers(N_SOURCES, size=n_points)]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def inertia(points: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    """Sum of the squared distances of all points to the mean of their cluster."""
    total = float(np.square(points, dtype=np.float64).sum())
    for label in np.unique(labels):
        members = points[labels == label].astype(np.float64)
        total -= float(np.square(members.mean(axis=0)).sum()) * len(members)
    return total


def recording(options: Options) -> NDArray[np.float32]:
    """Give a mixture `(samples,)` to separate."""
    return np.float32(0.05) * np.resize(noise().sum(0), options["seconds"] * SAMPLE_RATE)


def embedding_layer(n_hidden: int, dim: int) -> NDArray[np.float32]:
    """Weights `(bins * dim, hidden)` of the last layer of a network nobody trained.

    They put the embeddings about two opposite directions, so that every candidate's k-means
    finds clusters, as after training; those of random weights would have none.
    """
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(dim) / dim**0.5
    detector = rng.standard_normal(n_hidden)
    signs = rng.choice([-1.0, 1.0], N_BINS)
    weights = np.einsum("f,d,h->fdh", signs, direction, detector)
    weights += 0.2 * rng.standard_normal(weights.shape) / dim**0.5
    return weights.reshape(N_BINS * dim, n_hidden).astype(np.float32)
