"""
Preprocess in a pipeline
========================

Recordings come in stereo, with an offset, with rumble from the street. Transformers before the
separator take care of that: in a scikit-learn pipeline where they leave the sources in y alone, in
a :class:`~skdc.compose.TransformedSourcesSeparator` where the sources must go through them too.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.pipeline import make_pipeline

from skdc import DeepClusteringSeparator, load_pretrained, make_mixtures
from skdc.compose import TransformedSourcesSeparator
from skdc.datasets import load_sample_clips, load_sample_mixture
from skdc.display import SeparationDisplay
from skdc.metrics import evaluate_separation
from skdc.preprocessing import HighPass, RemoveDC, ToMono

# %%
# Fit behind a pipeline
# ---------------------
# Stereo mixtures, one channel fainter than the other, go in; the first step mixes them down.

clips = load_sample_clips()
X, y = make_mixtures(
    [clip.waveform for clip in clips],
    [clip.speaker for clip in clips],
    n_mixtures=16,
    n_samples=16000,
    random_state=0,
)
stereo = np.stack([1.2 * X, 0.8 * X], axis=1)  # (n_mixtures, n_channels, n_samples)
small = DeepClusteringSeparator(
    embedding_dim=10, hidden_size=30, hop_length=128, max_epochs=8, random_state=0
)
pipeline = make_pipeline(ToMono(), RemoveDC(), small)
pipeline.fit(stereo, y)

# %%
# Every step and every parameter can be reached as usual, say for a search over
# ``deepclusteringseparator__embedding_dim``.

print(f"{pipeline.score(stereo, y):.2f} dB after a moment of training")

# %%
# Filter what a trained model gets
# --------------------------------
# A rumble at 30 Hz, as loud as the talkers, goes to one of them. Behind a high-pass filter the
# bundled model does nearly as well as without the rumble; part of the gain is the filter's own.

mixture, references = load_sample_mixture()
time = np.arange(len(mixture)) / 8000
rumble = np.sqrt(2) * mixture.std() * np.sin(2 * np.pi * 30 * time)
recording = mixture + rumble

separator = load_pretrained()
behind_filter = TransformedSourcesSeparator(separator, HighPass(80))
models: dict[str, DeepClusteringSeparator | TransformedSourcesSeparator] = {
    "as it is": separator,
    "high-pass": behind_filter,
}
for name, model in models.items():
    gains = evaluate_separation(references, model.predict(recording), recording)
    print(f"{name}: {gains['si_sdr_improvement'].mean():.1f} dB better than the recording")

# %%
# The sources that come out:

SeparationDisplay.from_predictions(
    recording, behind_filter.predict(recording), references=references
)
plt.show()
