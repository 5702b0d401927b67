"""A long recording as overlapping windows, and its sources in the same order in all of them.

Embedding a few windows at a time, and clustering one, keeps memory bounded and time linear. Which
cluster of a window is which source is decided where windows overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from skdc.metrics import best_permutation

__all__ = ["Window", "crossfade", "link", "spans", "stitch"]

WINDOW_FRAMES = 4096
OVERLAP_FRAMES = 256
# Weight of the similarity of centroids beside the agreement of bins: small, so that it decides
# only where the overlap is silent.
_CENTROID_SHARE = 0.1


class Window(NamedTuple):
    """Masks of one window.

    Attributes
    ----------
    start : int
        First frame.
    overlap : int
        Frames that the window before it covers too.
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
    centroids : float32 Tensor of shape (n_sources, embedding_dim)
    spectrogram : complex64 Tensor of shape (n_frames, n_bins)
        Spectrogram of the mixture.
    """

    start: int
    overlap: int
    masks: Tensor
    centroids: Tensor
    spectrogram: Tensor


def spans(n_frames: int) -> Iterator[tuple[int, int, int]]:
    """Cut a recording into windows.

    Parameters
    ----------
    n_frames : int
        Frames of the recording.

    Yields
    ------
    start, stop, overlap : int
        Frames of the window, and how many of them the window before it covers too. All have the
        same length, so that they can be embedded together.

    Examples
    --------
    >>> from skdc.separation.windows import spans
    >>> list(spans(5000))
    [(0, 2628, 0), (2372, 5000, 256)]
    """
    # As few windows and as little overlap as possible: frames in two windows cost twice.
    n_windows = max(1, -(-(n_frames - OVERLAP_FRAMES) // (WINDOW_FRAMES - OVERLAP_FRAMES)))
    length = -(-(n_frames - OVERLAP_FRAMES) // n_windows) + OVERLAP_FRAMES
    stop = 0
    for index in range(n_windows):
        start = index * (n_frames - length) // max(n_windows - 1, 1)
        overlap, stop = max(stop - start, 0), start + length
        yield start, stop, overlap


def link(previous: Window, current: Window) -> Window:
    """Put the sources of a window into the order of the one before it.

    Parameters
    ----------
    previous, current : Window
        Neighbours, with the same number of sources.

    Returns
    -------
    Window
        `current`, reordered so that as much energy as can be goes to the same source in both.
    """
    overlap = current.overlap
    before = previous.masks[:, previous.masks.shape[1] - overlap :]
    after = current.masks[:, :overlap]
    energy = current.spectrogram[:overlap].abs().square()
    energy = energy / energy.sum().clamp_min(torch.finfo(energy.dtype).tiny)
    # Energy that sources i and j share, over frames f and bins b: (n_sources, n_sources)
    shared = torch.einsum("ifb,jfb,fb->ij", before, after, energy)
    directions = [
        torch.nn.functional.normalize(window.centroids, dim=-1) for window in (previous, current)
    ]
    shared = shared + _CENTROID_SHARE * directions[0] @ directions[1].T
    order = torch.from_numpy(best_permutation(shared.cpu().numpy())).to(after.device)
    return current._replace(masks=current.masks[order], centroids=current.centroids[order])


def stitch(windows: Iterable[Window], n_frames: int) -> Tensor:
    """Lay the masks of windows end to end.

    Parameters
    ----------
    windows : iterable of Window
        In order, linked.
    n_frames : int
        Frames of the recording.

    Returns
    -------
    Tensor of shape (n_sources, n_frames, n_bins)
        One window gives way to the next in the middle of their overlap.
    """
    whole: Tensor | None = None
    for window in windows:
        n_sources, length, n_bins = window.masks.shape
        if length == n_frames:
            return window.masks
        if whole is None:
            whole = window.masks.new_empty(n_sources, n_frames, n_bins)
        taken = window.overlap // 2
        whole[:, window.start + taken : window.start + length] = window.masks[:, taken:]
    if whole is None:
        raise ValueError("there are no windows to stitch")
    return whole


def crossfade(pieces: Iterable[tuple[int, int, Tensor]], n_samples: int) -> Tensor:
    """Lay the sources of windows end to end, fading from one into the next.

    Parameters
    ----------
    pieces : iterable of (int, int, Tensor of shape (n_sources, ..., n_samples_i))
        First sample of each window, samples that the one before it covers too, and its sources.
    n_samples : int
        Samples of the recording.

    Returns
    -------
    Tensor of shape (n_sources, ..., n_samples)
        Sums to the mixture where the sources of each window do.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation.windows import crossfade
    >>> crossfade([(0, 0, torch.ones(1, 4)), (2, 2, torch.ones(1, 3))], 5)
    tensor([[1., 1., 1., 1., 1.]])
    """
    whole: Tensor | None = None
    for start, overlap, sources in pieces:
        if whole is None:
            if sources.shape[-1] == n_samples:
                return sources
            whole = sources.new_zeros(*sources.shape[:-1], n_samples)
        else:
            rise = torch.arange(1, overlap + 1, device=sources.device) / (overlap + 1)
            whole[..., start : start + overlap] *= 1 - rise
            sources[..., :overlap] *= rise
        whole[..., start : start + sources.shape[-1]] += sources
    if whole is None:
        raise ValueError("there are no windows to join")
    return whole
