"""Who speaks when, and what is still heard of who does not.

A mask never takes everything from a source that is silent: what is left sounds like an echo of who
speaks. Where a source has next to nothing for a second, it counts as silent, and what it has goes
to the loudest one. So does what has a little more and the voice of the loudest one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["cut_moments", "follow_voices", "quieten"]

# Chosen on held-out conversations, as is what follows.
_SILENT_DB = -15.0
# What is weaker than the loudest source by this goes to it where its voice is more like that of
# the loudest source than like its own, by this much of the cosine.
_FAINT_DB = -7.0
_MORE_ALIKE = 0.1


def quieten(masks: Tensor, spectrogram: Tensor, n_smoothed: int) -> tuple[Tensor, Tensor]:
    """Find where sources are silent, and silence them there.

    Parameters
    ----------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
    spectrogram : Tensor of shape (n_frames, n_bins)
        Spectrogram of the mixture; complex, or its magnitude.
    n_smoothed : int
        Frames over which energy is averaged.

    Returns
    -------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
        With the same sum over the sources.
    energy : float32 Tensor of shape (n_sources, n_frames)
        What each has of each frame then: 0 where it is silent.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation.activity import quieten
    >>> masks = torch.tensor([[[0.9], [0.9], [0.2]], [[0.1], [0.1], [0.8]]])
    >>> quieten(masks, torch.ones(3, 1), 1)[0].squeeze(-1)
    tensor([[1.0000, 1.0000, 0.2000],
            [0.0000, 0.0000, 0.8000]])
    """
    energy = (masks * spectrogram.abs()).square().sum(-1)  # (sources, frames)
    half = n_smoothed // 2
    smooth = functional.avg_pool1d(
        energy.unsqueeze(1), 2 * half + 1, stride=1, padding=half, count_include_pad=False
    ).squeeze(1)  # (sources, 1, frames) -> (sources, frames)
    loudest, which = smooth.max(0)
    silent = smooth < loudest * 10 ** (_SILENT_DB / 10)
    takes = functional.one_hot(which, len(masks)).T.unsqueeze(-1)  # (sources, frames, 1)
    freed = (masks * silent.unsqueeze(-1)).sum(0)  # (frames, bins)
    masks = torch.where(silent.unsqueeze(-1), 0.0, masks + takes * freed)
    return masks, (masks * spectrogram.abs()).square().sum(-1)


def cut_moments(n_frames: int, length: int) -> NDArray[np.int64]:
    """Give the first frames of moments, each of which begins in the middle of the one before it.

    Parameters
    ----------
    n_frames : int
        Frames of the stretch.
    length : int
        Frames of a moment; at most `n_frames`.

    Returns
    -------
    int64 array of shape (n_moments,)

    Examples
    --------
    >>> from skdc.separation.activity import cut_moments
    >>> cut_moments(100, 40).tolist()
    [0, 20, 40, 60]
    """
    return np.arange(0, n_frames - length + 1, max(1, length // 2))


def follow_voices(
    own: NDArray[np.int64],
    energy: NDArray[np.float64],
    moments: NDArray[np.float32],
    length: int,
    directions: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Say whose voice is heard in each cluster of a stretch, moment by moment.

    Parameters
    ----------
    own : int64 array of shape (n_clusters,)
        The voice of each cluster over the whole stretch.
    energy : float64 array of shape (n_clusters, n_frames)
        What each has of each frame.
    moments : float32 array of shape (n_moments, n_clusters, dim)
        Unit vector of the voice of each cluster in each moment (`cut_moments`); there may be none.
    length : int
        Frames of a moment.
    directions : float64 array of shape (n_voices, dim)
        Unit vectors of the voices of the recording.

    Returns
    -------
    int64 array of shape (n_clusters, n_frames)
        `own`, but the voice of the loudest cluster where the cluster is faint and that is the
        voice in it.

    Examples
    --------
    Two clusters of three frames, each of them a moment. In the second frame the faint cluster
    has the voice of the loud one.

    >>> import numpy as np
    >>> from skdc.separation.activity import follow_voices
    >>> energy = np.array([[9.0, 9, 9], [1, 1, 9]])
    >>> moments = np.eye(2, dtype=np.float32)[[[0, 1], [0, 0], [0, 1]]]
    >>> follow_voices(np.array([0, 1]), energy, moments, 1, np.eye(2)).tolist()
    [[0, 0, 0], [1, 0, 1]]
    """
    n_frames = energy.shape[1]
    if not len(moments):
        return np.repeat(own[:, None], n_frames, axis=1)
    starts = cut_moments(n_frames, length)
    sums = np.cumsum(np.pad(energy, ((0, 0), (1, 0))), axis=1)
    heard = sums[:, starts + length] - sums[:, starts]  # (clusters, moments)
    loudest = own[heard.argmax(0)]  # (moments,)
    likeness = moments @ directions.T  # (moments, clusters, voices)
    moment = np.arange(len(starts))
    to_own = likeness[:, np.arange(len(own)), own].T  # (clusters, moments)
    to_loudest = likeness[moment, :, loudest].T
    is_faint = heard < heard.max(0) * 10 ** (_FAINT_DB / 10)
    is_other = is_faint & (to_loudest > to_own + _MORE_ALIKE)
    voices = np.where(is_other, loudest, own[:, None])
    # Each frame is of the moment whose middle is nearest to it.
    middles = starts + (length - 1) / 2
    nearest = np.abs(np.arange(n_frames)[:, None] - middles).argmin(1)
    return voices[:, nearest]
