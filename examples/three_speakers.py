"""Separate three talkers with a model that was trained on two, and find out how many there are."""

from skdc import load_pretrained
from skdc.datasets import load_sample_mixture

mixture, references = load_sample_mixture(n_sources=3)
separator = load_pretrained().set_params(n_sources=3)
print(f"three talkers: {separator.score([mixture], [references]):.1f} dB better than the mixture")

separator.set_params(n_sources=None)
print(f"talkers counted: {len(separator.predict(mixture))}")
