"""Short recordings of real people that come with the package, for examples and first steps."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from skdc.audio import read_audio
from skdc.datasets.mixtures import mix_sources
from skdc.signal import active_level

__all__ = ["SampleClip", "load_sample_clips", "load_sample_mixture"]

FloatArray = NDArray[np.float32]

# Men and women in turn, each a different speaker.
_MIXTURE = ("librivox-1", "allison-2", "june-2", "carlo-3", "ivrvoice-2")


@dataclass(frozen=True, eq=False)
class SampleClip:
    """A recording of one speaker, some six seconds long.

    Parameters
    ----------
    name : str
        Such as ``"allison-1"``.
    speaker : str
        Who speaks.
    sex : {"f", "m"}
        Sex of the speaker.
    language : str
        ISO 639-1 code: ``"en"``, ``"fr"``, ``"it"``, ``"ru"``.
    text : str
        What is said.
    licence : str
        Under which the clip may be passed on; it is not that of the code.
    waveform : float32 array of shape (n_samples,)
        Peak 0.7.
    sample_rate : int
        Hz.
    """

    name: str
    speaker: str
    sex: str
    language: str
    text: str
    licence: str
    waveform: FloatArray
    sample_rate: int


def load_sample_clips() -> list[SampleClip]:
    """Load the recordings that come with the package: 12 clips of 5 speakers in 4 languages.

    The clips are real speech under open licences of their own; credits stand in ``LICENCE.md`` in
    their folder, ``skdc/datasets/samples``.

    Returns
    -------
    list of SampleClip
        8 kHz, ordered as in the folder's ``samples.csv``.

    Examples
    --------
    >>> from skdc.datasets import load_sample_clips
    >>> clips = load_sample_clips()
    >>> clips[0].name, clips[0].sex, clips[0].waveform.shape
    ('allison-1', 'f', (52000,))
    """
    folder = files("skdc.datasets") / "samples"
    clips = []
    for row in csv.DictReader((folder / "samples.csv").read_text("utf-8").splitlines()):
        with as_file(folder / row["clip"]) as path:
            waveform, sample_rate = read_audio(path)
        clips.append(
            SampleClip(
                name=row["clip"].removesuffix(".flac"),
                speaker=row["speaker"],
                sex=row["sex"],
                language=row["language"],
                text=row["text"],
                licence=row["licence"],
                waveform=waveform,
                sample_rate=sample_rate,
            )
        )
    return clips


def load_sample_mixture(n_sources: int = 2) -> tuple[FloatArray, FloatArray]:
    """Load a fixed mixture of real speech, with its references.

    Parameters
    ----------
    n_sources : int, default=2
        Speakers, 2 to 5. Two are a man and a woman who speak English; the third is a woman who
        speaks French, the fourth a man who speaks Italian, the fifth a woman who speaks Russian.

    Returns
    -------
    mixture : float32 array of shape (n_samples,)
        8 kHz, some 7 seconds, all speakers at the same active level.
    sources : float32 array of shape (n_sources, n_samples)
        References; they sum to the mixture.

    Raises
    ------
    ValueError
        If `n_sources` is not 2 to 5.

    Examples
    --------
    >>> from skdc.datasets import load_sample_mixture
    >>> mixture, sources = load_sample_mixture()
    >>> mixture.shape, sources.shape
    ((55920,), (2, 55920))
    """
    if n_sources not in range(2, len(_MIXTURE) + 1):
        raise ValueError(f"n_sources is {n_sources!r}; give 2 to {len(_MIXTURE)}")
    clips = {clip.name: clip for clip in load_sample_clips()}
    chosen = [clips[name] for name in _MIXTURE[:n_sources]]
    levels = [active_level(clip.waveform, clip.sample_rate) for clip in chosen]
    return mix_sources([clip.waveform for clip in chosen], 1 / np.array(levels))
