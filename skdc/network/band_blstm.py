"""A trunk of few weights: LSTMs along the bands of each frame and along the frames of each band.

All bands share them, so what is learnt of one frequency holds for the others, and each block sees
both axes of the spectrogram.
"""

from __future__ import annotations

import math
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, cast

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import functional

from skdc.network.interface import State, Trunk, TrunkModule
from skdc.network.kernels.bands import linear_bands
from skdc.network.kernels.cells import LSTMCells, pieces
from skdc.network.recurrent import TrunkLSTM

__all__ = ["BandBLSTM", "split_bands"]

# How much wider the mel scale makes the top of a band of 4 kHz than its bottom.
_WIDENING = 1 + 4000 / 700
_SMALLEST_BAND = 2
_MOST_HEADS = 4


class BandBLSTM(Trunk):
    """Blocks of a BLSTM along the bands of each frame and an LSTM along the frames of each band.

    Bins are grouped into bands, narrower at low frequencies, as in the band-split RNN [1]_. Each
    band goes through a linear layer of its own to `hidden_size` numbers; the blocks add to these.
    `n_layers` is the number of blocks. Since all bands share their weights, a `hidden_size` of 32
    to 128 takes the place of the 300 to 600 of `BLSTM`: far fewer weights, for about as much
    arithmetic.

    Reading frames in one direction only makes the trunk causal; bands are always read both ways.

    Parameters
    ----------
    n_bands : int, default=16
        Number of bands, of at least 2 bins each. More bands mean finer detail in frequency, and
        as much more time.
    fold : int, default=1
        Neighbouring frames that are taken together as one step, as in TF-GridNet [2]_. 2 takes
        less than half the time, with less detail in time. A causal trunk takes 1 only: otherwise
        the first frame of a step would wait for the last one.
    attention : bool, default=False
        Whether each block ends with self-attention over frames, all bands of a frame together, as
        in [2]_, so that a frame may look at any other. Its time grows with the square of the
        number of frames. A causal trunk has none.
    dropout : float, default=0.0
        Share of what each LSTM and each attention reads that is set to zero at random while
        training, 0...1. Helps against overfitting where there is little data.

    References
    ----------
    .. [1] Luo, Yu, "Music source separation with band-split RNN", IEEE/ACM TASLP 31, 2023
       (arXiv:2209.15174).
    .. [2] Wang, Cornell, Choi, Lee, Kim, Watanabe, "TF-GridNet: integrating full- and sub-band
       modeling for speech separation", IEEE/ACM TASLP 31, 2023 (arXiv:2211.12433).

    Examples
    --------
    >>> import torch
    >>> from skdc.network import BandBLSTM
    >>> trunk = BandBLSTM(n_bands=4).build(129, hidden_size=8, n_layers=2, bidirectional=True)
    >>> trunk.bands
    ((0, 14), (14, 36), (36, 72), (72, 129))
    >>> states, _ = trunk(torch.zeros(2, 20, 129))
    >>> states.shape
    torch.Size([2, 20, 4, 8])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_bands": [Interval(Integral, 1, None, closed="left")],
        "fold": [Interval(Integral, 1, None, closed="left")],
        "attention": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self, n_bands: int = 16, fold: int = 1, attention: bool = False, dropout: float = 0.0
    ) -> None:
        self.n_bands = n_bands
        self.fold = fold
        self.attention = attention
        self.dropout = dropout

    def check(self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool) -> None:
        """Refuse more bands than there is room for, and what a causal trunk cannot do.

        Parameters
        ----------
        n_bins, hidden_size, n_layers, bidirectional
            As for `Trunk.build`.

        Raises
        ------
        ValueError
            If a parameter is out of its range or there are too few bins for the bands; or if
            `bidirectional` is False and there is attention or folding.
        """
        super().check(n_bins, hidden_size, n_layers, bidirectional)
        if n_bins < _SMALLEST_BAND * self.n_bands:
            raise ValueError(
                f"n_bands={self.n_bands} takes at least {_SMALLEST_BAND * self.n_bands} bins, but "
                f"a frame has {n_bins} (win_length // 2 + 1)"
            )
        if bidirectional:
            return
        if self.attention:
            raise ValueError(
                "attention=True looks at later frames, which bidirectional=False rules out; set "
                "attention=False or bidirectional=True"
            )
        if self.fold > 1:
            raise ValueError(
                f"fold={self.fold} takes later frames together with earlier ones, which "
                "bidirectional=False rules out; set fold=1 or bidirectional=True"
            )

    def build(
        self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool
    ) -> TrunkModule:
        """Make the trunk; see `Trunk.build`."""
        self.check(n_bins, hidden_size, n_layers, bidirectional)
        blocks = [
            _Block(hidden_size, bidirectional, bool(self.attention), float(self.dropout))
            for _ in range(n_layers)
        ]
        bands = split_bands(n_bins, int(self.n_bands))
        return _BandStack(bands, hidden_size, blocks, int(self.fold), not bidirectional)

    def grows_from(self, earlier: Trunk, n_layers: int) -> bool:
        """Whether all blocks are alike, so that more can be added; see `Trunk.grows_from`."""
        if not isinstance(earlier, BandBLSTM):
            return False
        return {**self.get_params(), "dropout": 0.0} == {**earlier.get_params(), "dropout": 0.0}


def split_bands(n_bins: int, n_bands: int) -> tuple[tuple[int, int], ...]:
    """Split the bins of a frame into bands that widen with frequency as the mel scale does.

    Gives the first bin, and one past the last bin, of each band; from the lowest to the highest,
    without gaps, at least two bins each, which there must be.

    Examples
    --------
    >>> from skdc.network.band_blstm import split_bands
    >>> split_bands(33, 6)
    ((0, 2), (2, 5), (5, 9), (9, 15), (15, 22), (22, 33))
    """
    edges = [0]
    for index in range(1, n_bands + 1):
        wanted = n_bins * (_WIDENING ** (index / n_bands) - 1) / (_WIDENING - 1)
        # Two bins at least for this band, and for all that come after it.
        lowest = edges[-1] + _SMALLEST_BAND
        highest = n_bins - _SMALLEST_BAND * (n_bands - index)
        edges.append(min(max(round(wanted), lowest), highest))
    return tuple(pairwise(edges))


class _BandStack(TrunkModule):
    """Bands to vectors, blocks that add to these, and vectors of steps to states of frames."""

    def __init__(
        self,
        bands: tuple[tuple[int, int], ...],
        size: int,
        blocks: list[_Block],
        fold: int,
        is_causal: bool,
    ) -> None:
        super().__init__()
        self.bands, self.width, self.fold, self.is_causal = bands, size, fold, is_causal
        self.read = nn.ModuleList(nn.Linear(fold * (end - first), size) for first, end in bands)
        self.blocks = nn.ModuleList(blocks)
        self.unfold = nn.Linear(size, fold * size) if fold > 1 else nn.Identity()
        self.norm = nn.LayerNorm(size)

    def forward(self, features: Tensor, state: State = None) -> tuple[Tensor, State]:
        n_frames = features.shape[1]
        # The last step is filled up with zeros, the mean of the features.
        filled = functional.pad(features, (0, 0, 0, -n_frames % self.fold))
        # (mixtures, frames, bins) -> (mixtures, steps, fold, bins)
        folded = filled.unflatten(1, (-1, self.fold))
        # A band at a time (mixtures, steps, fold, bins of it) -> (mixtures, steps, fold * bins of
        # it) -> (mixtures, steps, size), and all bands (mixtures, steps, bands, size).
        vectors = linear_bands(
            [folded[..., first:end].flatten(-2) for first, end in self.bands],
            [cast("Tensor", read.weight) for read in self.read],
            [cast("Tensor", read.bias) for read in self.read],
        ).unflatten(-1, (len(self.bands), -1))
        after = []
        for block, before in zip(self.blocks, state or [None] * len(self.blocks), strict=True):
            vectors, own = block(vectors, before)
            after.append(own)
        # (mixtures, steps, bands, fold * size) -> (mixtures, steps, bands, fold, size)
        states = self.unfold(vectors).unflatten(-1, (self.fold, -1))
        # -> (mixtures, steps, fold, bands, size) -> (mixtures, frames, bands, size)
        states = states.transpose(2, 3).flatten(1, 2)[:, :n_frames]
        return self.norm(states), after if self.is_causal else None

    def bypass(self, n_layers: int) -> None:
        for block in cast("list[_Block]", self.blocks)[n_layers:]:
            for part in block.children():
                project = cast("_AddedLSTM | _AddedAttention", part).project
                nn.init.zeros_(project.weight)
                nn.init.zeros_(project.bias)


class _Block(nn.Module):
    """Along the bands of each step, then along the steps of each band."""

    def __init__(self, size: int, bidirectional: bool, attention: bool, dropout: float) -> None:
        super().__init__()
        self.along_bands = _AddedLSTM(size, True, dropout)
        self.along_steps = _AddedLSTM(size, bidirectional, dropout)
        self.attention = _AddedAttention(size, dropout) if attention else None

    def forward(self, vectors: Tensor, before: State) -> tuple[Tensor, State]:
        vectors, _ = self.along_bands(vectors, None)
        # (mixtures, steps, bands, size) -> (mixtures, bands, steps, size), and back
        vectors, after = self.along_steps(vectors.transpose(1, 2), before)
        vectors = vectors.transpose(1, 2)
        if self.attention is not None:
            vectors = self.attention(vectors)
        return vectors, after


class _AddedLSTM(nn.Module):
    """What an LSTM makes of sequences, added to them."""

    def __init__(self, size: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.lstm = TrunkLSTM(size, size, bidirectional=bidirectional)
        self.project = nn.Linear(2 * size if bidirectional else size, size)

    def forward(self, vectors: Tensor, before: State) -> tuple[Tensor, State]:
        is_plain = before is None and not (self.training and self.dropout.p)
        if is_plain and LSTMCells.is_faster(self.lstm, len(vectors) * vectors.shape[1]):
            return self._run_in_pieces(vectors), None
        # (mixtures, sequences, length, size) -> (mixtures * sequences, length, size)
        inputs = self.dropout(self.norm(vectors)).flatten(0, 1)
        outputs, after = self.lstm(inputs, before)
        # (mixtures * sequences, length, size) -> (mixtures, sequences, length, size)
        return vectors + self.project(outputs).unflatten(0, vectors.shape[:2]), after

    def _run_in_pieces(self, vectors: Tensor) -> Tensor:
        """Do the same in place, without gradients, piece by piece; each of them fits the cache."""
        cells = LSTMCells(self.lstm)
        project = (2 * self.project.weight).T  # the cells give half of the outputs
        for piece in pieces(vectors):
            # (n, m, length, size) -> (length, n, m, size)
            steps = piece.permute(2, 0, 1, 3)
            # -> (length, n * m, size) -> (length * n * m, 2 * size)
            outputs = cells(self.norm(steps.contiguous()).flatten(1, 2)).flatten(0, 1)
            steps += torch.addmm(self.project.bias, outputs, project).view(steps.shape)
        return vectors


class _AddedAttention(nn.Module):
    """What each step takes from all steps, by how alike they are in all bands; added."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = math.gcd(_MOST_HEADS, size)
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.read = nn.Linear(size, 3 * size)
        self.project = nn.Linear(size, size)

    def forward(self, vectors: Tensor) -> Tensor:
        if torch.is_grad_enabled() or vectors.device.type != "cpu":
            return vectors + self._taken(vectors)
        # In place, mixture by mixture: what is made of one fits the cache.
        for own in vectors.split(1):
            own += self._taken(own)
        return vectors

    def _taken(self, vectors: Tensor) -> Tensor:
        n_bands = vectors.shape[2]
        # (mixtures, steps, bands, 3 * size) -> (mixtures, steps, bands, 3, heads, size / heads)
        read = self.read(self.dropout(self.norm(vectors))).unflatten(-1, (3, self.n_heads, -1))
        # -> (3, mixtures, heads, steps, bands, size / heads) -> the last two as one
        queries, keys, values = read.permute(3, 0, 4, 1, 2, 5).flatten(-2)
        taken = functional.scaled_dot_product_attention(queries, keys, values)
        # (mixtures, heads, steps, bands * size / heads) -> (mixtures, heads, steps, bands, ...)
        # -> (mixtures, steps, bands, heads, size / heads) -> (mixtures, steps, bands, size)
        taken = taken.unflatten(-1, (n_bands, -1)).permute(0, 2, 3, 1, 4).flatten(-2)
        projected: Tensor = self.project(taken)
        return projected
