"""
Three speakers in one mixture
=============================

The same model separates two, three or four: it was trained on mixtures of one to four. What it
learnt is which bins belong together, not who speaks, so that even a model that was trained on two
alone separates three.
"""

import numpy as np
from matplotlib import pyplot as plt

from skdc import load_pretrained
from skdc.datasets import load_sample_clips
from skdc.display import EmbeddingDisplay, SeparationDisplay

# Two women, who speak English and French, and a man, who speaks Italian. They stand in the middle
# of all such mixtures of the clips of the package: half are separated better, half worse.
names = ("allison-1", "june-1", "carlo-2")
clips = [clip.waveform for clip in load_sample_clips() if clip.name in names]
n_samples = min(len(clip) for clip in clips)
references = np.stack([clip[:n_samples] / clip[:n_samples].std() for clip in clips])
mixture = references.sum(axis=0)

separator = load_pretrained().set_params(n_sources=3)
print(f"three talkers: {separator.score([mixture], [references]):.1f} dB better than the mixture")

# %%
# With ``n_sources="auto"`` a small head of the network tells the number. It is right about nearly
# all single speakers and pairs that it never heard, and most mixtures of three, where they pause
# now and then. These three, recorded in studios, never pause, which it takes for one more talker.
# So give the number where you know it:

counter = load_pretrained().set_params(n_sources="auto")
print(f"talkers counted: {len(counter.predict(mixture))}")

# %%
# The embeddings, coloured by the talker who really dominates the bin:

EmbeddingDisplay.from_estimator(separator, mixture, references, random_state=0)
plt.show()

# %%
# The mixture, what was found, and what each really said:

SeparationDisplay.from_estimator(separator, mixture, references)
plt.show()
