"""Train a small separator on mixtures of the sample clips, stop, and go on from the checkpoint.

A minute of speech does not make a separator for everybody; the script shows the way.
"""

import tempfile
from pathlib import Path

from skdc import DeepClusteringSeparator, make_mixtures
from skdc.datasets import load_sample_clips

clips = load_sample_clips()
X, y = make_mixtures(
    [clip.waveform for clip in clips],
    [clip.speaker for clip in clips],
    n_mixtures=40,
    random_state=0,
)
with tempfile.TemporaryDirectory() as folder:
    separator = DeepClusteringSeparator(
        embedding_dim=10,
        hidden_size=40,
        hop_length=128,
        max_epochs=4,
        random_state=0,
        checkpoint=Path(folder) / "run.safetensors",
    )
    separator.set_params(max_epochs=2).fit(X[:32], y[:32], X_val=X[32:], y_val=y[32:])
    separator.set_params(max_epochs=4).fit(X[:32], y[:32], X_val=X[32:], y_val=y[32:])
    for row in separator.history_:
        print(
            f"epoch {row['epoch']:.0f}: loss {row['loss']:.3f}, "
            f"{row['validation_si_sdr_improvement']:.2f} dB"
        )
    separator.save(Path(folder) / "mine.safetensors")
    again = DeepClusteringSeparator.load(Path(folder) / "mine.safetensors")
print(f"{again.score(X[32:], y[32:]):.2f} dB on mixtures that were held out")
