"""Batches made ahead, so that a GPU need not wait for them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from skdc.training.banks import Batch, BatchSource

__all__ = ["BatchesAhead"]


class BatchesAhead:
    """Another source of batches, which makes the next batch while a step is computed.

    A GPU computes on by itself once a step is handed to it; meanwhile a thread draws the next
    mixtures, and their noise and rooms, on the CPU. Batches are functions of seed and step, so
    they are the same as without.

    Parameters
    ----------
    data : BatchSource
        Where the batches come from.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skdc.training.ahead import BatchesAhead
    >>> from skdc.training.banks import SourceBank
    >>> bank = SourceBank(np.random.default_rng(0).standard_normal((3, 8000)))
    >>> ahead = BatchesAhead(bank)
    >>> expected = bank.batch(2, 20, seed=0, step=1).features
    >>> for step in (0, 1):
    ...     batch = ahead.batch(2, 20, seed=0, step=step)
    >>> torch.equal(batch.features, expected)
    True
    """

    def __init__(self, data: BatchSource) -> None:
        self._data = data
        self.framing = data.framing
        self.n_mixture_samples = data.n_mixture_samples
        self.has_waveforms = data.has_waveforms
        self.digest = data.digest
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[tuple[int, int, int, int, bool], Future[Batch]] | None = None

    def batch(
        self,
        n_mixtures: int,
        n_frames: int,
        *,
        seed: int,
        step: int,
        with_spectrograms: bool = False,
    ) -> Batch:
        """Give batch number `step`, and begin with the one after it; see `BatchSource.batch`."""
        wanted = (n_mixtures, n_frames, seed, step, with_spectrograms)
        if self._next is not None and self._next[0] == wanted:
            batch = self._next[1].result()
        else:
            batch = self._make(*wanted)
        after = (n_mixtures, n_frames, seed, step + 1, with_spectrograms)
        self._next = after, self._pool.submit(self._make, *after)
        return batch

    def _make(self, n_mixtures: int, n_frames: int, seed: int, step: int, full: bool) -> Batch:
        return self._data.batch(n_mixtures, n_frames, seed=seed, step=step, with_spectrograms=full)
