"""Batches made ahead are those of their source, in any order of asking."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from skdc.training import DynamicMixing
from skdc.training.ahead import BatchesAhead
from skdc.training.banks import Batch, SourceBank


@pytest.fixture
def bank() -> SourceBank:
    sources = np.random.default_rng(0).standard_normal((4, 9000)).astype(np.float32)
    return SourceBank(list(sources), mixing=DynamicMixing(noise_share=0.5, room_share=0.5))


def assert_same(one: Batch, other: Batch) -> None:
    for mine, theirs in zip(one, other, strict=True):
        if isinstance(mine, torch.Tensor):
            assert isinstance(theirs, torch.Tensor)
            assert torch.equal(mine, theirs)
        else:
            assert mine == theirs


def test_gives_what_the_source_gives(bank: SourceBank) -> None:
    ahead = BatchesAhead(bank)
    # Steps in order, one again, one skipped, another size, another seed, with spectrograms.
    asked: list[dict[str, Any]] = [{"seed": 0, "step": step} for step in (0, 1, 2, 2, 4)]
    asked += [{"seed": 1, "step": 5}, {"seed": 1, "step": 6, "with_spectrograms": True}]
    for size, options in zip((3, 3, 3, 3, 3, 2, 2), asked, strict=True):
        assert_same(ahead.batch(size, 30, **options), bank.batch(size, 30, **options))
    for name in ("framing", "n_mixture_samples", "has_waveforms", "digest"):
        assert getattr(ahead, name) == getattr(bank, name)


def test_the_next_batch_is_made_before_it_is_asked_for(
    bank: SourceBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = threading.Event()
    original = bank.batch

    def watched(*args: Any, **options: Any) -> Batch:
        batch = original(*args, **options)
        if options["step"] == 1:
            made.set()
        return batch

    monkeypatch.setattr(bank, "batch", watched)
    BatchesAhead(bank).batch(2, 20, seed=0, step=0)
    assert made.wait(20)


def test_an_error_reaches_the_step_that_it_belongs_to(
    bank: SourceBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = bank.batch

    def failing(*args: Any, **options: Any) -> Batch:
        if options["step"] == 1:
            raise RuntimeError("out of memory")
        return original(*args, **options)

    monkeypatch.setattr(bank, "batch", failing)
    ahead = BatchesAhead(bank)
    ahead.batch(2, 20, seed=0, step=0)
    with pytest.raises(RuntimeError, match="out of memory"):
        ahead.batch(2, 20, seed=0, step=1)
    assert_same(ahead.batch(2, 20, seed=0, step=2), original(2, 20, seed=0, step=2))
