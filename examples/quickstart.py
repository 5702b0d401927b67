"""
Separate two people
===================

A mixture of two real talkers, the bundled model, and how well it went.
"""

from matplotlib import pyplot as plt

from skdc import load_pretrained
from skdc.datasets import load_sample_mixture
from skdc.display import SeparationDisplay
from skdc.metrics import evaluate_separation

mixture, references = load_sample_mixture()  # a man and a woman, 8 kHz
separator = load_pretrained()
sources = separator.predict(mixture)
print(f"{len(sources)} sources of {sources.shape[1]} samples, as long as the mixture")

# %%
# The references are known here, so the gain over the unprocessed mixture can be measured:

scores = evaluate_separation(references, sources, mixture)
for number, gain in enumerate(scores["si_sdr_improvement"], start=1):
    print(f"source {number}: {gain:.1f} dB better than the mixture")

# %%
# Spectrograms of the mixture, and for each talker the mask, the estimate and the reference:

SeparationDisplay.from_estimator(separator, mixture, references)
plt.show()

# %%
# Listen: the tracks play in step, and one is switched to another while they play.

separator.listen(mixture, references=references)
