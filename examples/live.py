"""
Separate live audio
===================

Audio that comes in block by block, as from a sound card. Here a sample mixture takes the place of
the microphone; with one, and the package ``sounddevice``, the blocks would come from::

    with sounddevice.InputStream(samplerate=8000, channels=1, dtype="float32") as microphone:
        while True:
            block, _ = microphone.read(800)
            sources = stream.push(block[:, 0])

Without a line of Python, ``arecord -t raw -f S16_LE -r 8000 | skdc stream --no-wait | aplay -f
S16_LE -r 8000 -c 2`` does the same through pipes. ``--no-wait``, in Python ``wait=False``, plays
the mixture until the speakers are told apart, so that nothing is heard late.
"""

import numpy as np
from matplotlib import pyplot as plt

from skdc import StreamingSeparator, load_pretrained
from skdc.datasets import load_sample_mixture
from skdc.metrics import si_sdr_improvement

mixture, references = load_sample_mixture()
separator = load_pretrained()
stream = StreamingSeparator(separator, block=0.25, lookahead=0.25)

# %%
# Each block of 100 ms gives what has become final of the sources: nothing during the warm-up, then
# a quarter of a second at a time.

n_in, n_out = [0], [0]
parts = []
for block in np.split(mixture, range(800, len(mixture), 800)):
    parts.append(stream.push(block))
    n_in.append(n_in[-1] + len(block))
    n_out.append(n_out[-1] + parts[-1].shape[1])
sources = np.concatenate([*parts, stream.flush()], axis=1)
print(f"first sound after {stream.warm_up_ms:.0f} ms, latency {stream.latency_ms:.0f} ms")

# %%
# The price of not knowing what comes.

for name, found in (("live", sources), ("whole recording", separator.predict(mixture))):
    gains = si_sdr_improvement(references, found, mixture)
    print(f"{name}: {gains.mean():.1f} dB better than the mixture")

# %%
# What has come out by when.

seconds = np.array([n_in, n_out]) / 8000
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.plot(seconds[0], seconds[0], color="0.7", label="came in")
axes.step(seconds[0], seconds[1], where="post", label="came out")
axes.set(xlabel="audio that came in (s)", ylabel="audio (s)")
axes.legend()
plt.show()
