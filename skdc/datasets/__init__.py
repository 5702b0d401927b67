"""Speech to train on and to separate: audio files, corpora, mixtures, and clips of the package.

`make_mixtures` turns recordings of single speakers into mixtures X and references y.
`find_recordings`, `load_corpus` and `load_mixture_list` read what is on disk, `read_audio` and
`write_audio` single files, and `load_sample_clips` and `load_sample_mixture` the real speech that
comes with the package. `AudioFiles` and `AudioSources` are sequences of files that are read when
they are used.
"""

from __future__ import annotations

from skdc.audio import AudioFiles, AudioSources, read_audio, write_audio
from skdc.datasets.clips import SampleClip, load_sample_clips, load_sample_mixture
from skdc.datasets.corpora import find_recordings, load_corpus
from skdc.datasets.mixture_lists import ListedMixture, load_mixture_list
from skdc.datasets.mixtures import make_mixtures
from skdc.signal import resample

__all__ = [
    "AudioFiles",
    "AudioSources",
    "ListedMixture",
    "SampleClip",
    "find_recordings",
    "load_corpus",
    "load_mixture_list",
    "load_sample_clips",
    "load_sample_mixture",
    "make_mixtures",
    "read_audio",
    "resample",
    "write_audio",
]
