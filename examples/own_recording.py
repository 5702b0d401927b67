"""
Separate a recording of your own
================================

From a stereo file at 44.1 kHz to one file for each talker, at 44.1 kHz too. To have such a file,
the script makes one of the sample mixture; with yours, begin at the second step.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from skdc import load_pretrained
from skdc.audio import read_audio, write_audio
from skdc.datasets import load_sample_mixture, resample
from skdc.display import SeparationDisplay

# %%
# The file: one talker more to the left, the other more to the right.

folder = Path(tempfile.mkdtemp())
_, talkers = load_sample_mixture()
pan = np.array([[0.6, 0.4], [0.4, 0.6]])  # (channels, talkers)
write_audio(folder / "talk.flac", pan @ resample(talkers, 8000, 44100), 44100)

# %%
# ``read_audio`` knows WAV, FLAC, Ogg and MP3, with ffmpeg on the path M4A too, and mixes channels
# down. The model works at 8 kHz; with ``input_rate`` it hears a resampled copy, and its masks are
# applied to the recording itself.

mixture, rate = read_audio(folder / "talk.flac")
separator = load_pretrained().set_params(input_rate=rate)
sources = separator.predict(mixture)
for number, source in enumerate(sources, start=1):
    write_audio(folder / f"talk-{number}.flac", source, rate)

# %%
# The sources are as long as the recording, and sum to it.

rest = mixture - sources.sum(axis=0)
left_over = 10 * np.log10(np.square(rest).mean() / np.square(mixture).mean())
seconds = sources.shape[1] / rate
print(f"{len(sources)} files of {seconds:.1f} s at {rate} Hz; {left_over:.0f} dB are left over")

# %%
# There are no references for a recording of your own, so the picture goes without.

SeparationDisplay.from_estimator(separator, mixture)
plt.show()
