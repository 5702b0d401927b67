"""Whether speed costs quality: validation curves of the fast and of the plain training, by seed.

Run: python examples/benchmarks/training_quality.py SPEECH LIST.csv [--seeds 3] [--epochs 4]

SPEECH is a folder of recordings with `utterances.csv`, LIST a list of mixtures. The plain training
is float32 with the objective by autograd over all bins, the fast one what the estimator does, and
the third as it does where layers are wide.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest import mock

import numpy as np
from candidates.plain import plain_affinity_loss

from skdc import DeepClusteringSeparator
from skdc.datasets import load_corpus
from skdc.network import recurrent
from skdc.objectives import one_hot_labels, partition_weights
from skdc.protocols import open_mixture_list
from skdc.training import trainer


def plain_batch_loss(network, batch, objective):
    """Balanced affinity of all bins, as most implementations compute it."""
    embeddings = network.project(batch.features).flatten(1, 2).float()
    labels = one_hot_labels(batch.labels, batch.n_sources).flatten(1, 2)
    weights = partition_weights(labels, batch.weights.flatten(1))
    return plain_affinity_loss(embeddings, labels, weights).mean()


def main() -> None:
    """Print both curves, their means and spreads over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--recordings", type=int, default=1500)
    parser.add_argument("--mixtures", type=int, default=60)
    args = parser.parse_args()
    recordings, speakers = load_corpus(args.speech, "train")
    chosen = np.random.default_rng(0).permutation(len(recordings))[: args.recordings]
    recordings, speakers = [recordings[i] for i in chosen], [speakers[i] for i in chosen]
    held_out = [item.load() for item in open_mixture_list(args.list)[: args.mixtures]]
    X_val, y_val = ([pair[i] for pair in held_out] for i in range(2))
    ways = {
        "plain": (plain_batch_loss, "float32", recurrent._WIDE),
        "fast": (trainer.batch_loss, "auto", recurrent._WIDE),
        "fast, as with wide layers": (trainer.batch_loss, "auto", 1),
    }
    for name, (batch_loss, precision, wide) in ways.items():
        curves = []
        for seed in range(args.seeds):
            separator = DeepClusteringSeparator(
                embedding_dim=12,
                hidden_size=100,
                win_length=512,
                hop_length=128,
                max_epochs=args.epochs,
                objective="balanced_affinity",
                precision=precision,
                random_state=seed,
            )
            with (
                mock.patch.object(trainer, "batch_loss", batch_loss),
                mock.patch.object(recurrent, "_WIDE", wide),
            ):
                separator.fit_recordings(recordings, speakers, X_val=X_val, y_val=y_val)
            rows = separator.history_
            curves.append([row["validation_si_sdr_improvement"] for row in rows])
            print(f"{name}, seed {seed}: {np.round(curves[-1], 2)} dB", flush=True)
        mean, spread = np.mean(curves, axis=0), np.std(curves, axis=0, ddof=1)
        print(f"{name}: {np.round(mean, 2)} dB, spread {np.round(spread, 2)} dB", flush=True)


if __name__ == "__main__":
    main()
