"""Separate a mixture of two real talkers with the bundled model, and say how well it went."""

from skdc import load_pretrained
from skdc.datasets import load_sample_mixture, write_audio
from skdc.metrics import evaluate_separation

mixture, references = load_sample_mixture()
separator = load_pretrained()
sources = separator.predict(mixture)

scores = evaluate_separation(references, sources, mixture)
for number, gain in enumerate(scores["si_sdr_improvement"], start=1):
    print(f"source {number}: {gain:.1f} dB better than the mixture")
for number, source in enumerate(sources, start=1):
    write_audio(f"quickstart-{number}.wav", source, 8000)
