"""How many sources there are: what may be asked for, and what is heard."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional

from skdc.network.count import CountHead
from skdc.network.voice import VoiceHead

__all__ = [
    "MOST_SOURCES",
    "are_fewer",
    "are_several",
    "asked_count",
    "count_logits",
    "frame_energy",
    "one_voice_odds",
]

MOST_SOURCES = 20
"""The largest number of sources that may be asked for: more people are never told apart."""

# Where the count head is less sure than this of one talker, and the voice head is surer of two by
# as much, there are two.
_SURE = 1.0


def asked_count(n_sources: int | str | None) -> int | None:
    """Give the number of sources that is asked for, after checking it.

    Parameters
    ----------
    n_sources : int, "auto" or None

    Returns
    -------
    int or None
        None where the number is to be estimated, which both "auto" and None say.

    Raises
    ------
    ValueError
        If it is none of these, less than 1 or more than `MOST_SOURCES`.

    Examples
    --------
    >>> from skdc.separation.counts import asked_count
    >>> asked_count(3), asked_count("auto"), asked_count(None)
    (3, None, None)
    >>> asked_count(50)
    Traceback (most recent call last):
        ...
    ValueError: n_sources: got 50, expected an integer from 1 to 20, or 'auto'
    """
    if n_sources is None or (isinstance(n_sources, str) and n_sources == "auto"):
        return None
    is_count = isinstance(n_sources, Integral) and not isinstance(n_sources, bool)
    if not is_count or not 1 <= int(n_sources) <= MOST_SOURCES:
        raise ValueError(
            f"n_sources: got {n_sources!r}, expected an integer from 1 to {MOST_SOURCES}, or "
            "'auto'"
        )
    return int(n_sources)


def frame_energy(spectrogram: Tensor) -> Tensor:
    """Give the energy of each frame of a mixture, (1, n_frames), as the count head takes it."""
    return spectrogram.abs().square().sum(-1)[None]


def count_logits(head: CountHead, spectrogram: Tensor, states: Tensor) -> Tensor:
    """Give the logits of the numbers of talkers of a stretch, in silence all alike.

    Parameters
    ----------
    head : CountHead
    spectrogram : Tensor of shape (n_frames, n_bins)
    states : Tensor of shape (1, n_frames, n_bands, width)

    Returns
    -------
    Tensor of shape (most,)
        From one talker on.
    """
    energy = frame_energy(spectrogram)
    with torch.no_grad():
        logits: Tensor = head(states, energy).squeeze(0)  # (most,)
    return logits if bool(energy.any()) else torch.zeros_like(logits)


def one_voice_odds(head: VoiceHead, shares: Tensor, centroids: Tensor) -> Tensor:
    """Say of each two sources of a stretch how probable it is that they are one voice.

    Parameters
    ----------
    head : VoiceHead
    shares : Tensor of shape (n_sources, n_frames, n_bins)
        What each source has of the magnitudes.
    centroids : Tensor of shape (n_sources, embedding_dim)

    Returns
    -------
    Tensor of shape (n_pairs,)
        Logarithms of the odds.
    """
    with torch.no_grad():
        vectors = head(shares)
        units = functional.normalize(centroids, dim=-1)
        constant, by_voice, by_centroid = head.odds
        # Each source with each: (n_sources, n_sources)
        odds = constant + by_voice * vectors @ vectors.T + by_centroid * units @ units.T
    first, second = torch.triu_indices(len(odds), len(odds), offset=1, device=odds.device)
    return odds[first, second]


def are_several(logits: Tensor, odds: Tensor) -> bool:
    """Whether there are several talkers where a count head hears one.

    The voice head is a second witness: who speak one after the other are never heard at once, but
    their voices differ. It is heard where the count head is not sure, and must be somewhat surer
    itself, since one person sounds different, too, farther away or louder, and so does noise.

    Parameters
    ----------
    logits : Tensor of shape (most,)
        Those of the count head, from one talker on.
    odds : Tensor of shape (n_pairs,)
        What `one_voice_odds` gives.

    Returns
    -------
    bool
    """
    certainty = float(logits[0] - logits[1:].max())
    return certainty < _SURE and float(-odds.min()) > certainty + _SURE


def are_fewer(logits: Tensor, number: int, odds: Tensor) -> bool:
    """Whether two of three or more sources that a count head hears are one voice, cut in two.

    The more alike the voice head hears two of them, the surer the count head must be that there is
    one more.

    Parameters
    ----------
    logits : Tensor of shape (most,)
        Those of the count head, from one talker on.
    number : int
        The likeliest number by these.
    odds : Tensor of shape (n_pairs,)
        What `one_voice_odds` gives for so many sources.

    Returns
    -------
    bool
    """
    return float(odds.max()) > float(logits[number - 1] - logits[number - 2])
