"""Each two of three or more sources, separated again from their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from skdc.metrics import best_permutation

__all__ = ["PAIR_SWEEPS", "in_order", "separate_pairs"]

# Chosen on held-out mixtures: of 1, 2 and 3 sweeps, 1 gains most of it, 3 hardly more than 2.
PAIR_SWEEPS = 2

# Takes some of the mixtures, by index, with the part of each bin that belongs to a pair, of shape
# (n_frames, n_bins), and gives the masks of two sources of each.
Split = Callable[[Sequence[tuple[int, Tensor]]], Iterable[Tensor]]


def separate_pairs(
    masks: Sequence[Tensor], magnitudes: Sequence[Tensor], split: Split, n_sweeps: int
) -> list[Tensor]:
    """Separate each two sources of mixtures again from their sum, one pair after the other.

    Two talkers are told apart more easily than three: what two masks leave of a mixture is nearly
    one of two talkers, whatever the first separation made of it. Each pair begins with what the
    pairs before it found, so that what lies with a wrong talker comes to the right one by and by.

    Parameters
    ----------
    masks : sequence of float Tensors of shape (n_sources_i, n_frames_i, n_bins)
        Those of each mixture, which sum to 1. Mixtures of one or two sources stay as they are.
    magnitudes : sequence of float Tensors of shape (n_frames_i, n_bins)
        That of each mixture.
    split : callable
        Separates. It takes, for some of the mixtures, the index and the sum of two masks, and
        gives two masks of each sum; any other number of masks leaves that pair as it was.
    n_sweeps : int
        Times that all pairs are gone through.

    Returns
    -------
    list of float Tensors of shape (n_sources_i, n_frames_i, n_bins)
        The sources in the same order. They sum to 1.

    Examples
    --------
    A mixture of three sources, each in bins of its own, of which the first separation found one:

    >>> import torch
    >>> from skdc.separation.pairs import separate_pairs
    >>> truth = torch.eye(3)[:, None]  # (n_sources, n_frames, n_bins)
    >>> def split(sums):
    ...     for _, kept in sums:
    ...         first = truth[(truth * kept).sum((1, 2)).argmax()]
    ...         yield torch.stack([first, 1 - first])
    >>> blurred = torch.tensor([[0.8, 0.2, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]])[:, None]
    >>> (better,) = separate_pairs([blurred], [torch.ones(1, 3)], split, 1)
    >>> torch.equal(better, truth)
    True
    """
    found = [own.clone() for own in masks]
    for _ in range(n_sweeps):
        for pair in combinations(range(max(map(len, found), default=0)), 2):
            chosen = [index for index, own in enumerate(found) if len(own) > max(2, pair[1])]
            sums = [(index, found[index][list(pair)].sum(0)) for index in chosen]
            for (index, kept), parts in zip(sums, split(sums), strict=True):
                if len(parts) == 2:
                    own = found[index][list(pair)]
                    found[index][list(pair)] = kept * in_order(own, parts, magnitudes[index])
    return found


def in_order(masks: Tensor, others: Tensor, magnitude: Tensor) -> Tensor:
    """Put masks into the order of some, by the energy that they share.

    Parameters
    ----------
    masks, others : float Tensors of shape (n_sources, n_frames, n_bins)
    magnitude : float Tensor of shape (n_frames, n_bins)
        That of the mixture, of any scale.

    Returns
    -------
    float Tensor of shape (n_sources, n_frames, n_bins)
        The others.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation.pairs import in_order
    >>> masks = torch.eye(3)[:, None]
    >>> torch.equal(in_order(masks, masks.roll(1, 0), torch.ones(1, 3)), masks)
    True
    """
    # To its peak first: squares of very quiet or loud recordings would leave float32.
    power = (magnitude / magnitude.max().clamp_min(torch.finfo(magnitude.dtype).tiny)).square()
    shared = torch.einsum("ifb,jfb,fb->ij", masks, others, power)
    return others[torch.from_numpy(best_permutation(shared.cpu().numpy())).to(others.device)]
