"""
Sounds that are not speech
==========================

Nothing in the library knows about speech. Here a network learns to tell families of instruments
apart: plucked strings, winds, bells and drums, all synthesised below, so that there is nothing to
download. It is trained on melodies of some players of each family, and separates duets of other
players and notes.
"""

import numpy as np
from matplotlib import pyplot as plt

from skdc import DeepClusteringSeparator
from skdc.datasets import make_mixtures
from skdc.display import SeparationDisplay
from skdc.metrics import si_sdr_improvement

RATE, SECONDS = 8000, 4
NOTES_HZ = 220 * 2 ** (np.arange(24) / 12)  # two octaves from A3


def string(hz, n_samples, rng):
    """Pluck a string: each harmonic dies away, the higher the faster."""
    time = np.arange(n_samples) / RATE
    harmonics = np.arange(1, int(RATE / 2 / hz))
    pluck = np.sin(np.pi * harmonics * rng.uniform(0.1, 0.4)) / harmonics
    decay = np.exp(-np.outer(harmonics, time) * rng.uniform(1, 2))
    return pluck @ (decay * np.sin(2 * np.pi * hz * np.outer(harmonics, time)))


def wind(hz, n_samples, rng):
    """Blow a clarinet, more or less: odd harmonics that swell and tremble, and breath."""
    time = np.arange(n_samples) / RATE
    phase = 2 * np.pi * hz * time + rng.uniform(1, 3) * np.sin(2 * np.pi * 5.5 * time)
    harmonics = np.arange(1, int(RATE / 2 / hz), 2)
    strengths = harmonics ** -rng.uniform(0.8, 1.4)
    swell = np.minimum(1, 8 * time) * np.minimum(1, 20 * (time[-1] - time))
    return swell * (
        strengths @ np.sin(np.outer(harmonics, phase)) + 0.03 * rng.normal(size=len(time))
    )


def bell(hz, n_samples, rng):
    """Strike a bell: partials that are no harmonics, and ring on."""
    time = np.arange(n_samples) / RATE
    partials = np.array([1, 2.76, 5.4, 8.93]) * hz * rng.uniform(0.98, 1.02, 4)
    partials = partials[partials < RATE / 2]
    decay = np.exp(-np.outer(np.arange(1, len(partials) + 1), time) * rng.uniform(0.5, 1.5))
    return (decay * np.sin(2 * np.pi * np.outer(partials, time))).sum(0)


def drum(hz, n_samples, rng):
    """Beat a snare drum: a burst of noise, and a skin whose pitch falls."""
    time = np.arange(n_samples) / RATE
    skin = np.sin(2 * np.pi * hz / 2 * (time + 0.05 * np.exp(-20 * time)))
    rattle = rng.normal(size=n_samples) * rng.uniform(0.5, 1)
    return np.exp(-15 * time) * skin + np.exp(-rng.uniform(10, 20) * time) * rattle


def melody(play, rng):
    """Have one player of a family play notes of a quarter to a whole second."""
    samples = np.zeros(RATE * SECONDS)
    start = 0
    while start < len(samples):
        length = min(int(RATE * rng.uniform(0.25, 1)), len(samples) - start)
        note = play(rng.choice(NOTES_HZ) * rng.uniform(0.98, 1.02), max(length, 400), rng)
        samples[start : start + length] = note[:length] / np.abs(note).max()
        start += length
    return samples


def orchestra(n_players, rng):
    """Make melodies of each family, and say which family each is of."""
    names = ["string", "wind", "bell", "drum"] * n_players
    return [melody(globals()[name], rng) for name in names], names


rng = np.random.default_rng(0)

# %%
# A small network, about half a minute on one core. ``fit_recordings`` mixes families anew for
# every step; what is a speaker elsewhere is a family here.

separator = DeepClusteringSeparator(
    embedding_dim=10,
    hidden_size=80,
    objective="balanced_affinity + attractor_masks",
    win_length=512,
    hop_length=256,
    batch_size=8,
    learning_rate=2e-3,
    max_epochs=30,
    random_state=0,
)
separator.fit_recordings(*orchestra(15, rng))

# %%
# Duets that it has not heard.

duets, parts = make_mixtures(
    *orchestra(8, rng), n_mixtures=30, n_sources=2, sample_rate=RATE, random_state=0
)
found = separator.predict(duets)
gains = [si_sdr_improvement(y, s, x) for x, y, s in zip(duets, parts, found, strict=True)]
improvement = np.mean(gains)
print(f"duets of two families: {improvement:.1f} dB better than the mixture")

# %%
# One of them.

SeparationDisplay.from_estimator(separator, duets[0], parts[0])
plt.show()
