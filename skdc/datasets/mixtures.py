"""Mixtures with references, made from recordings of single speakers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skdc.inputs import (
    AudioFormat,
    CheckedPairs,
    CheckedRecordings,
    check_pairs,
    check_recordings,
    hold_out_speakers,
)
from skdc.signal import active_level
from skdc.training.pairs import hear_in_pairs

__all__ = ["check_count", "hold_out_mixtures", "make_mixtures", "mix_sources"]

FloatArray = NDArray[np.float32]

_PEAK = 0.9
# A stretch of a recording that is this far below the level of the recording is a pause.
_PAUSE_DB = 30.0
_MAX_DRAWS = 100
# So many that their mean score differs little from that of many more.
_N_HELD_OUT_MIXTURES = 50


def mix_sources(
    sources: Sequence[NDArray[np.floating]], gains: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Mix sources, cut to the shortest, with one shared gain that keeps them from clipping.

    At least one of the sources ``(n_samples_i,)`` is not silent. Gives the mixture
    ``(n_samples,)`` and its references ``(n_sources, n_samples)``, float32; the largest absolute
    sample of all of these is 0.9.
    """
    n_samples = min(len(source) for source in sources)
    cut = np.stack([np.asarray(source[:n_samples], dtype=np.float64) for source in sources])
    scaled = cut * np.asarray(gains, dtype=np.float64)[:, None]  # (sources, samples)
    peak = max(np.abs(scaled).max(), np.abs(scaled.sum(axis=0)).max())
    references = (scaled * (_PEAK / peak)).astype(np.float32)
    return references.sum(axis=0), references


@overload
def make_mixtures(
    recordings: Sequence[NDArray[Any]] | NDArray[Any],
    speakers: Sequence[Hashable] | NDArray[Any] | None = ...,
    *,
    n_mixtures: int,
    n_sources: int = ...,
    level_range_db: float = ...,
    n_samples: int,
    sample_rate: int = ...,
    random_state: int | np.random.RandomState | None = ...,
) -> tuple[FloatArray, FloatArray]: ...


@overload
def make_mixtures(
    recordings: Sequence[NDArray[Any]] | NDArray[Any],
    speakers: Sequence[Hashable] | NDArray[Any] | None = ...,
    *,
    n_mixtures: int,
    n_sources: int = ...,
    level_range_db: float = ...,
    n_samples: None = ...,
    sample_rate: int = ...,
    random_state: int | np.random.RandomState | None = ...,
) -> tuple[list[FloatArray], list[FloatArray]]: ...


def make_mixtures(
    recordings: Sequence[NDArray[Any]] | NDArray[Any],
    speakers: Sequence[Hashable] | NDArray[Any] | None = None,
    *,
    n_mixtures: int,
    n_sources: int = 2,
    level_range_db: float = 5.0,
    n_samples: int | None = None,
    sample_rate: int = 8000,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[list[FloatArray] | FloatArray, list[FloatArray] | FloatArray]:
    """Make mixtures X and their reference sources y from recordings of single speakers.

    For each mixture, `n_sources` different speakers are drawn, and one recording of each; they are
    brought to active levels that differ by at most `level_range_db`, and summed. Mixture and
    references share one gain that brings the largest absolute sample of them all to 0.9.

    Parameters
    ----------
    recordings : sequence of arrays of shape (n_samples_i,)
        One speaker each. Silent ones are left out, and so are those shorter than `n_samples`.
    speakers : sequence of hashables of shape (n_recordings,), optional
        Who speaks in each recording: nobody is mixed with themselves. Without it, every recording
        counts as a speaker.
    n_mixtures : int
        How many to make.
    n_sources : int, default=2
        Speakers of a mixture.
    level_range_db : float, default=5.0
        Largest difference between the active levels of two recordings of a mixture, dB.
    n_samples : int, optional
        Length of all mixtures: random stretches of the recordings. By default each mixture begins
        where its recordings do and is as long as the shortest of them.
    sample_rate : int, default=8000
        Sample rate of the recordings, Hz; used for measuring levels only.
    random_state : int, RandomState or None, default=None
        An int makes the mixtures reproducible.

    Returns
    -------
    mixtures : list of float32 arrays of shape (n_samples_i,)
        With `n_samples` given, one array of shape ``(n_mixtures, n_samples)``.
    sources : list of float32 arrays of shape (n_sources, n_samples_i)
        References; they sum to the mixtures. With `n_samples` given, one array of shape
        ``(n_mixtures, n_sources, n_samples)``. None of them is silent: a mixture for which a
        recording's stretch is a mere pause is drawn again.

    Raises
    ------
    ValueError
        If a recording is empty, not one-dimensional, or holds NaN or infinity, if too few speakers
        have recordings that are long enough, if these hold too little speech, or if a parameter is
        out of its range.

    See Also
    --------
    skdc.training.banks.SourceBank : Mixtures made anew for every training batch.

    Examples
    --------
    >>> from skdc.datasets import load_sample_clips, make_mixtures
    >>> clips = load_sample_clips()
    >>> X, y = make_mixtures(
    ...     [clip.waveform for clip in clips],
    ...     [clip.speaker for clip in clips],
    ...     n_mixtures=10,
    ...     n_samples=16000,
    ...     random_state=0,
    ... )
    >>> X.shape, y.shape
    ((10, 16000), (10, 2, 16000))
    """
    check_count(n_mixtures, "n_mixtures")
    check_count(n_sources, "n_sources")
    check_count(sample_rate, "sample_rate")
    if n_samples is not None:
        check_count(n_samples, "n_samples")
    if not isinstance(level_range_db, Real) or not 0 <= level_range_db < np.inf:
        raise ValueError(f"level_range_db is {level_range_db!r}; give a number of dB, 0 or more")
    by_speaker = _by_speaker(recordings, speakers, n_samples or 1, n_sources, sample_rate)
    rng = check_random_state(random_state)
    mixtures, references = [], []
    for index in range(n_mixtures):
        sources = _draw_sources(by_speaker, n_sources, n_samples, sample_rate, rng, index)
        gains = 10 ** (rng.uniform(-0.5, 0.5, n_sources) * level_range_db / 20)
        mixture, reference = mix_sources(sources, gains)
        mixtures.append(mixture)
        references.append(reference)
    if n_samples is None:
        return mixtures, references
    return np.stack(mixtures), np.stack(references)


def check_count(value: object, name: str, *, least: int = 1) -> None:
    """Raise a ValueError if a value is not an integer of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; give an integer of at least {least}")


def _by_speaker(
    recordings: Sequence[NDArray[Any]] | NDArray[Any],
    speakers: Sequence[Hashable] | NDArray[Any] | None,
    min_samples: int,
    n_sources: int,
    sample_rate: int,
) -> list[list[FloatArray]]:
    # The usable recordings of each speaker, scaled to an active level of 1.
    audio = AudioFormat(sample_rate=sample_rate)
    checked, names = check_recordings(recordings, speakers, audio)
    waveforms = list(checked)
    by_speaker: dict[Hashable, list[FloatArray]] = {}
    for index, waveform in enumerate(waveforms):
        level = active_level(waveform, sample_rate)  # 0 also of what sounds for a moment
        if len(waveform) >= min_samples and level > 0:
            speaker = index if names is None else names[index]
            by_speaker.setdefault(speaker, []).append(waveform / np.float32(level))
    if len(by_speaker) < n_sources:
        longer = f" and have at least {min_samples} samples" if min_samples > 1 else ""
        n_speakers = len(waveforms if names is None else set(names))
        raise ValueError(
            f"mixtures of {n_sources} sources need recordings of as many different speakers, but "
            f"{len(by_speaker)} of {n_speakers} have some that are not silent{longer}; give "
            "recordings of more speakers" + (", or a smaller n_samples" if longer else "")
        )
    return list(by_speaker.values())


def _draw_sources(
    by_speaker: list[list[FloatArray]],
    n_sources: int,
    n_samples: int | None,
    sample_rate: int,
    rng: np.random.RandomState,
    index: int,
) -> list[FloatArray]:
    for _ in range(_MAX_DRAWS):
        chosen = rng.choice(len(by_speaker), n_sources, replace=False)
        sources = [
            by_speaker[speaker][rng.randint(len(by_speaker[speaker]))] for speaker in chosen
        ]
        if n_samples is None:
            shortest = min(len(source) for source in sources)
            cuts = [source[:shortest] for source in sources]
        else:
            starts = [rng.randint(len(source) - n_samples + 1) for source in sources]
            cuts = [s[start:][:n_samples] for s, start in zip(sources, starts, strict=True)]
        if all(_is_heard(cut, sample_rate) for cut in cuts):
            return cuts
    raise ValueError(
        f"mixture {index}: {_MAX_DRAWS} draws of {n_sources} recordings all had one with nothing "
        "but a pause in the stretch that was cut; trim the silence of the recordings, or give a "
        "larger n_samples"
    )


def _is_heard(cut: FloatArray, sample_rate: int) -> bool:
    return bool(np.ptp(cut)) and active_level(cut, sample_rate) >= 10 ** (-_PAUSE_DB / 20)


def hold_out_mixtures(
    recordings: CheckedRecordings,
    speakers: Sequence[Hashable] | None,
    n_sources: int,
    audio: AudioFormat,
    seed: int,
    *,
    n_left: int,
) -> tuple[CheckedRecordings, list[Hashable], CheckedPairs]:
    """Set a tenth of the speakers aside, and mix their recordings.

    Parameters
    ----------
    recordings, speakers, n_sources
        As for `hold_out_speakers`, with the same errors.
    audio : AudioFormat
    seed : int
    n_left : int
        Speakers that must be left.

    Returns
    -------
    kept : CheckedRecordings
        Recordings of the other speakers.
    kept_speakers : list of hashables
    held_out : CheckedPairs
        Mixtures of those set aside, at the rate of the network, and their sources; as pairs of
        microphones hear them in rooms, where the framing hears phases.
    """
    kept, kept_speakers, others, names = hold_out_speakers(
        recordings, speakers, n_sources, np.random.RandomState(seed), n_left=n_left
    )
    X, y = make_mixtures(
        others,
        names,
        n_mixtures=_N_HELD_OUT_MIXTURES,
        n_sources=n_sources,
        sample_rate=audio.rate,
        random_state=seed,
    )
    audio = replace(audio, input_rate=None)
    if audio.framing.hears_phases:
        generator = torch.Generator("cpu").manual_seed(seed)
        room: dict[str, Any] = {"sample_rate": audio.sample_rate, "generator": generator}
        heard = [hear_in_pairs(torch.from_numpy(item)[None], 1.0, **room)[0] for item in y]
        X, y = ([images.sum(0).numpy() for images in heard], [x[:, 0].numpy() for x in heard])
    return kept, kept_speakers, check_pairs(X, y, audio)
