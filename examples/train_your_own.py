"""
Train a separator of your own
=============================

A small one, on mixtures of the sample clips; then stop, and go on from the checkpoint. A minute of
speech does not make a separator for everybody: the script shows the way.
"""

import tempfile
from pathlib import Path

from matplotlib import pyplot as plt

from skdc import DeepClusteringSeparator, make_mixtures
from skdc.datasets import load_sample_clips
from skdc.display import TrainingDisplay

# %%
# Mixtures and their sources from recordings of single speakers. The last eight are held out.

clips = load_sample_clips()
X, y = make_mixtures(
    [clip.waveform for clip in clips],
    [clip.speaker for clip in clips],
    n_mixtures=40,
    random_state=0,
)
training, held_out = (X[:32], y[:32]), (X[32:], y[32:])

# %%
# A run with a checkpoint can be stopped at any time. Here it stops after three epochs; the second
# ``fit`` finds the checkpoint and goes on as if nothing had happened.

folder = Path(tempfile.mkdtemp())
separator = DeepClusteringSeparator(
    embedding_dim=10,
    hidden_size=40,
    hop_length=128,
    max_epochs=3,
    random_state=0,
)
run = folder / "run.safetensors"
X_val, y_val = held_out
separator.fit(*training, X_val=X_val, y_val=y_val, checkpoint=run)
separator.set_params(max_epochs=6).fit(*training, X_val=X_val, y_val=y_val, checkpoint=run)

# %%
# The file of the model holds numbers and settings, no code.

separator.save(folder / "mine.safetensors")
again = DeepClusteringSeparator.load(folder / "mine.safetensors")
print(f"{again.score(*held_out):.2f} dB of improvement on mixtures that were held out")

# %%
# How training went:

for row in separator.history_:
    print(
        f"epoch {row['epoch']:.0f}: loss {row['loss']:.3f}, "
        f"{row['validation_si_sdr_improvement']:.2f} dB"
    )
TrainingDisplay.from_estimator(separator)
plt.show()
