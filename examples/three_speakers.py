"""
Three speakers in one mixture
=============================

The same model separates two, three or four: it was trained on mixtures of one to four. What it
learnt is which bins belong together, not who speaks, so that even a model that was trained on two
alone separates three.
"""

from matplotlib import pyplot as plt

from skdc import load_pretrained
from skdc.datasets import load_sample_mixture
from skdc.display import EmbeddingDisplay, SeparationDisplay

mixture, references = load_sample_mixture(n_sources=3)
separator = load_pretrained().set_params(n_sources=3)
print(f"three talkers: {separator.score([mixture], [references]):.1f} dB better than the mixture")

# %%
# With ``n_sources="auto"`` a small head of the network tells the number. With speakers that it
# never heard it is right about nearly all single ones and pairs, and most mixtures of three. So
# give the number where you know it:

counter = load_pretrained().set_params(n_sources="auto")
print(f"talkers counted: {len(counter.predict(mixture))}")

# %%
# The embeddings, coloured by the talker who really dominates the bin. The man, 1, lies apart; the
# two women, 2 and 3, lie close together, and it is they who are hard to separate:

EmbeddingDisplay.from_estimator(separator, mixture, references, random_state=0)
plt.show()

# %%
# Two of them speak English, the third French:

SeparationDisplay.from_estimator(separator, mixture, references)
plt.show()
