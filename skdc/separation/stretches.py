"""A long recording as overlapping stretches, and their results laid end to end.

Embedding a few stretches at a time, and clustering one, keeps memory bounded and time linear.
A piece is where a stretch begins, how much of it the one before it covers too, and what was found
of its sources, all in frames or all in samples; sources are the first axis, time the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["OVERLAP_S", "STRETCH_S", "Stretch", "fade", "join", "spans", "stitch"]

STRETCH_S = 6.0
"""Seconds of a stretch of a long recording."""
OVERLAP_S = 1.5
"""Seconds that neighbours share."""


class Stretch(NamedTuple):
    """A stretch of a recording, separated by itself.

    Attributes
    ----------
    start : int
        First frame.
    overlap : int
        Frames that the stretch before it covers too.
    spectrogram : complex64 Tensor of shape (n_frames, n_bins)
        Spectrogram of the mixture.
    states : Tensor of shape (1, n_frames, n_bands, width)
        States of the trunk.
    masks : float32 Tensor of shape (n_clusters, n_frames, n_bins)
    centroids : float32 Tensor of shape (n_clusters, embedding_dim)
    first_masks : float32 Tensor of shape (n_clusters, n_frames, n_bins) or None
        Where the stretch was heard at several speeds, those of the first alone; and with
        ``mask="binary"`` those from which bins were given to one source.
    """

    start: int
    overlap: int
    spectrogram: Tensor
    states: Tensor
    masks: Tensor
    centroids: Tensor
    first_masks: Tensor | None = None


def spans(n_frames: int, length: int, overlap: int) -> Iterator[tuple[int, int, int]]:
    """Cut a recording into stretches.

    Parameters
    ----------
    n_frames : int
        Frames of the recording.
    length : int
        The most frames of a stretch.
    overlap : int
        The least frames that neighbours share.

    Yields
    ------
    start, stop, overlap : int
        Frames of the stretch, and how many of them the one before it covers too. All have the
        same length, so that they can be embedded together.

    Examples
    --------
    >>> from skdc.separation.stretches import spans
    >>> list(spans(500, length=300, overlap=40))
    [(0, 270, 0), (230, 500, 40)]
    """
    # As few stretches and as little overlap as possible: frames in two of them cost twice.
    n_stretches = max(1, -(-(n_frames - overlap) // (length - overlap)))
    length = -(-(n_frames - overlap) // n_stretches) + overlap
    stop = 0
    for index in range(n_stretches):
        start = index * (n_frames - length) // max(n_stretches - 1, 1)
        overlap, stop = max(stop - start, 0), start + length
        yield start, stop, overlap


def stitch(pieces: Iterable[tuple[int, int, Tensor]], n_frames: int) -> Tensor:
    """Lay frames of stretches end to end.

    Parameters
    ----------
    pieces : iterable of (int, int, Tensor of shape (n_sources, n_frames_i, ...))
        First frame of each stretch, frames that the one before it covers too, and what each source
        has of its frames, such as masks.
    n_frames : int
        Frames of the recording.

    Returns
    -------
    Tensor of shape (n_sources, n_frames, ...)
        One stretch gives way to the next in the middle of their overlap.
    """
    whole: Tensor | None = None
    for start, overlap, values in pieces:
        n_sources, length, *others = values.shape
        if length == n_frames:
            return values
        if whole is None:
            whole = values.new_empty(n_sources, n_frames, *others)
        taken = overlap // 2
        whole[:, start + taken : start + length] = values[:, taken:]
    if whole is None:
        raise ValueError("there are no stretches to join")
    return whole


def fade(pieces: Iterable[tuple[int, int, Tensor]]) -> Iterator[Tensor]:
    """Lay the sources of stretches end to end, block by block, fading from one into the next.

    Parameters
    ----------
    pieces : iterable of (int, int, Tensor of shape (n_sources, ..., n_samples_i))
        First sample of each stretch, samples that the one before it covers too, and its sources,
        which are changed in place.

    Yields
    ------
    Tensor of shape (n_sources, ..., n_samples_j)
        What follows the block before it. Sums to the mixture where the sources of each stretch do.

    Raises
    ------
    ValueError
        If there are no pieces.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation.stretches import fade
    >>> list(fade([(0, 0, torch.ones(1, 4)), (2, 2, torch.ones(1, 3))]))
    [tensor([[1., 1.]]), tensor([[1., 1., 1.]])]
    """
    held: Tensor | None = None
    begin = 0
    for start, overlap, sources in pieces:
        if held is not None:
            yield held[..., : start - begin]
            rise = torch.arange(1, overlap + 1, dtype=sources.dtype, device=sources.device)
            rise = rise / (overlap + 1)
            sources[..., :overlap] *= rise
            sources[..., :overlap] += held[..., start - begin :] * (1 - rise)
        held, begin = sources, start
    if held is None:
        raise ValueError("there are no stretches to join")
    yield held


def join(blocks: Iterable[Tensor], n_samples: int) -> Tensor:
    """Put blocks that follow each other into one tensor.

    Parameters
    ----------
    blocks : iterable of Tensor of shape (..., n_samples_i)
    n_samples : int
        That of all together.

    Returns
    -------
    Tensor of shape (..., n_samples)

    Raises
    ------
    ValueError
        If there are no blocks.
    """
    whole: Tensor | None = None
    start = 0
    for block in blocks:
        stop = start + block.shape[-1]
        if stop - start == n_samples:
            return block
        if whole is None:
            whole = block.new_zeros(*block.shape[:-1], n_samples)
        whole[..., start:stop] = block
        start = stop
    if whole is None:
        raise ValueError("there are no blocks to join")
    return whole
