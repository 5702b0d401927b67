"""Writes the files of `first_format/` by the code of commit 4ac8286, which had that format.

In a checkout of that commit: ``PYTHONPATH=. python first_format.py FOLDER``. `model.safetensors`
is what `save` wrote, `run.safetensors` the checkpoint of a run that was interrupted after 11 of
its 36 steps, and `expected.npz` what the model gave for the first mixture with binary masks.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SETTINGS: dict[str, Any] = {
    "embedding_dim": 3,
    "hidden_size": 4,
    "n_layers": 1,
    "win_length": 16,
    "hop_length": 8,
    "segment_frames": 20,
    "batch_size": 2,
    "max_epochs": 4,
    "device": "cpu",
    "precision": "float32",
    "random_state": 0,
}


def make_sources() -> NDArray[np.float64]:
    """Make two sources of each of four mixtures: (4, 2, 640), without offset."""
    sources = np.random.RandomState(0).standard_normal((4, 2, 640))
    sources[:, 0] = np.cumsum(sources[:, 0], axis=-1) / 10
    return sources - sources.mean(axis=-1, keepdims=True)


def write(folder: Path) -> None:
    """Write the three files."""
    from skdc import DeepClusteringSeparator, training

    sources = make_sources()
    mixtures = sources.sum(axis=1)
    changes: dict[str, Any] = {"dropout": 0.25, "early_stopping": True, "n_iter_no_change": 3}
    separator = DeepClusteringSeparator(**SETTINGS, **changes).fit(mixtures, sources)
    separator.save(folder / "model.safetensors")

    trainer: Any = training.Trainer
    step = trainer.train_step

    def stopping_step(run: Any) -> None:
        if run.step == 11:
            raise KeyboardInterrupt
        step(run)

    trainer.train_step = stopping_step
    # This was a parameter then.
    own: dict[str, Any] = {"checkpoint": folder / "run.safetensors"}
    run = DeepClusteringSeparator(**SETTINGS, **own)
    with contextlib.suppress(KeyboardInterrupt):
        run.fit(mixtures, sources)
    trainer.train_step = step
    # Binary masks, because how soft the others are is a choice that later versions may change.
    separator.set_params(mask="binary")
    np.savez_compressed(
        folder / "expected.npz",
        sources=separator.predict(mixtures[:1]),
        embeddings=separator.transform(mixtures[:1]),
        scores=separator.score(mixtures, sources),
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
