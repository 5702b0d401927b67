"""The balance of lows and highs, which microphones, rooms and what lies between them change.

A network that was trained on balanced recordings hears less in those that are dull or thin.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skdc.signal.features import log_magnitude, root_mean_square
from skdc.signal.missing_bands import band_lift, heard_frames

__all__ = ["Balance", "find_balance"]

# The part of the spectrum by which it is told; of recordings up to 4 kHz, from 100 Hz to 3.7 kHz.
_LOWEST, _HIGHEST = 0.025, 0.925
# How mixtures of voices are tilted that were not trained on, relative to what is expected, dB an
# octave: mean, and three standard deviations. More than the last one is not evened.
_EXPECTED, _ORDINARY, _MOST = 0.2, 3.5, 12.0
# What lies in the floor of the features shows only as it is raised out of it, round by round.
_ROUNDS = 5
# The least root mean square distance of what is told to its middle, octaves
_LEAST_WIDTH = 0.5
_DB = 20 / math.log(10)


class Balance(NamedTuple):
    """What makes a recording one that the network knows.

    Attributes
    ----------
    gains : Tensor of shape (1, n_bins)
        To be multiplied with its spectrogram, which stays as loud; ones where it is not tilted
        much.
    lift : Tensor of shape (1, n_bins)
        To be added to the features that follow; see `band_lift`.
    """

    gains: Tensor
    lift: Tensor


def find_balance(
    spectrogram: Tensor, mean: Tensor, scale: Tensor, *, evens_tilt: bool = True
) -> Balance:
    """Tell how a recording is tilted, and which bands are missing in it.

    The tilt is a straight line, by least squares over octaves, through what the means of the
    features of bins differ from what is expected, without bands that are missing.

    Parameters
    ----------
    spectrogram : complex Tensor of shape (n_frames, n_bins)
    mean, scale : Tensor of shape (n_bins,)
        What is expected: mean and standard deviation of the features of the training mixtures.
    evens_tilt : bool, default=True
        Whether a tilt is evened that voices hardly ever have, of more than 3.5 dB an octave.

    Returns
    -------
    Balance

    Examples
    --------
    >>> import torch
    >>> from skdc.signal import find_balance, log_magnitude
    >>> noise = torch.randn(100, 129, dtype=torch.complex64)
    >>> features = log_magnitude(noise)
    >>> thin = noise * torch.arange(129).clamp_min(4)  # 6 dB an octave
    >>> gains, lift = find_balance(thin, features.mean(0), features.std(0))
    >>> round(float(gains[0, 20] / gains[0, 80])), bool(lift.any())
    (4, False)
    """
    places = torch.arange(len(mean), dtype=mean.dtype, device=mean.device) / max(1, len(mean) - 1)
    octaves = places.clamp_min(_LOWEST).log2()
    # As many for each octave
    weights = torch.where((places >= _LOWEST) & (places <= _HIGHEST), 1 / places, 0.0)
    tilt = 0.0
    for attempt in range(_ROUNDS + 1):
        gains = 10 ** (-tilt / 20 * octaves[None])  # (1, n_bins)
        features = log_magnitude(gains * spectrogram)
        lift = band_lift(features, mean, scale)
        if not evens_tilt or attempt == _ROUNDS:
            break
        heard = features[heard_frames(features)]
        found = _slope(octaves, heard.mean(0) - mean, weights * (lift[0] == 0))
        if not len(heard) or found is None:
            break
        if not attempt and abs(found - _EXPECTED) <= _ORDINARY:
            break
        tilt = min(max(tilt + found - _EXPECTED, -_MOST), _MOST)
    if tilt:
        # So that stretches of one recording, and frames of one stream, stay as loud beside others.
        gains = gains * root_mean_square(spectrogram) / root_mean_square(gains * spectrogram)
    return Balance(gains, lift)


def _slope(places: Tensor, values: Tensor, weights: Tensor) -> float | None:
    """Give the slope of the line through values, in dB; None where they lie too close together."""
    total = weights.sum()
    if not float(total):
        return None
    weights = weights / total
    distances = places - (weights * places).sum()
    variance = (weights * distances.square()).sum()
    if float(variance) < _LEAST_WIDTH**2:
        return None
    return _DB * float((weights * distances * values).sum() / variance)
