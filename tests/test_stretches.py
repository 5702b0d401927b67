"""Long recordings: stretches cover everything, and sources keep their order across them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from itertools import cycle
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from torch import Tensor, nn

from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.separation import Separator, pipeline
from skdc.separation.stretches import fade, join, spans, stitch
from skdc.signal import Framing


class TwoBands(EmbeddingNetwork):
    """Embeds low and high bins apart, and mirrored by the loudness of a stretch's first frames."""

    def __init__(self) -> None:
        super().__init__(NetworkConfig(embedding_dim=2, hidden_size=1))
        self.embed: Any = MirroredEmbedding()

    def states(self, features: Tensor) -> Tensor:
        return features


class MirroredEmbedding(nn.Module):
    def forward(self, states: Tensor) -> Tensor:
        is_high = torch.arange(129) >= 40
        # The sources trade places in embedding space from stretch to stretch.
        flip = bool(states[0, :5].mean() > states[0].mean())
        return nn.functional.one_hot((is_high ^ flip).long(), 2).float().expand(*states.shape, 2)


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, n_frames in (("_LONGEST_WHOLE_S", 64), ("STRETCH_S", 64), ("OVERLAP_S", 16)):
        monkeypatch.setattr(pipeline, name, n_frames * 64 / 8000)


@given(st.integers(1, 30_000))
@settings(max_examples=200)
def test_spans_cover_every_frame_and_overlap(n_frames: int) -> None:
    cut = list(spans(n_frames, 312, 78))
    assert cut[0][0] == cut[0][2] == 0
    assert cut[-1][1] == n_frames
    for (_, stop, _), (start, next_stop, overlap) in itertools.pairwise(cut):
        assert overlap == stop - start
        assert 78 <= overlap <= 79
        assert next_stop > stop
    (length,) = {stop - start for start, stop, _ in cut}
    assert length <= 312


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize("n_samples", [4000, 4033, 11_111, 30_000])
@pytest.mark.parametrize("mask", ["binary", "soft"])
def test_sources_keep_their_order_and_sum_to_the_mixture(n_samples: int, mask: str) -> None:
    generator = torch.Generator().manual_seed(0)
    loudness = 0.1 + torch.rand(n_samples // 1000 + 1, generator=generator)
    mixture = torch.randn(n_samples, generator=generator)
    mixture *= loudness.repeat_interleave(1000)[:n_samples]
    separator = Separator(TwoBands().eval(), Framing(), mask=mask)
    sources = next(separator.separate([mixture], [2]))
    assert (sources.sum(0) - mixture).abs().max() < 1e-5 * mixture.abs().max()
    masks = next(separator.masks([mixture], [2]))
    torch.testing.assert_close(masks.sum(0), torch.ones_like(masks[0]))
    # The low band stays in one source from the first frame to the last.
    low = masks[:, :, :40].mean(2)
    first = low[:, 0].argmax()
    assert (low[first] > 0.5).all()
    whole = Framing().istft(masks * Framing().stft(mixture), n_samples)
    # Waveforms fade where masks are cut, so only the neighbourhood of the cuts may differ.
    error = (whole - sources).square().mean() / sources.square().mean()
    assert error < 1e-2


@pytest.mark.usefixtures("short_stretches")
def test_a_recording_of_just_the_longest_length_is_whole() -> None:
    separator = Separator(TwoBands().eval(), Framing())
    for n_samples, is_whole in ((64 * 64, True), (64 * 64 + 1, False)):
        (parts,) = separator.stretches([torch.randn(n_samples)], [2])
        assert (len(list(parts)) == 1) == is_whole


def test_stitch_cuts_in_the_middle_of_the_overlap() -> None:
    def piece(start: int, overlap: int, value: float) -> tuple[int, int, Tensor]:
        return start, overlap, torch.full((1, 6, 1), value)

    whole = stitch([piece(0, 0, 1.0), piece(4, 2, 2.0), piece(6, 4, 3.0)], 12)
    assert whole.flatten().tolist() == [1] * 5 + [2] * 3 + [3] * 4


def test_nothing_to_join_is_an_error() -> None:
    with pytest.raises(ValueError, match="no stretches"):
        stitch([], 3)
    with pytest.raises(ValueError, match="no stretches"):
        list(fade([]))
    with pytest.raises(ValueError, match="no blocks"):
        join([], 3)


@pytest.mark.usefixtures("short_stretches")
def test_the_number_of_sources_is_the_same_in_all_windows() -> None:
    generator = torch.Generator().manual_seed(2)
    mixture = torch.randn(20_000, generator=generator)
    separator = Separator(TwoBands().eval(), Framing())
    assert next(separator.separate([mixture], [None])).shape == (2, 20_000)


class ByTurns(ClusterMixin, BaseEstimator):
    """Finds one cluster, then two, then four, and so on."""

    found: ClassVar[Iterator[int]] = cycle([1, 2, 4])

    def fit_predict(self, X: Any, y: Any = None) -> Any:
        return np.arange(len(X)) % next(self.found)


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize(("clusterer", "most"), [(KMeans(1, n_init=1), 1), (ByTurns(), 4)])
def test_a_clusterer_may_find_another_number_in_each_stretch(clusterer: Any, most: int) -> None:
    mixture = torch.randn(20_000, generator=torch.Generator().manual_seed(2))
    separator = Separator(TwoBands().eval(), Framing(), clusterer=clusterer)
    sources = next(separator.separate([mixture], [None]))
    assert 1 <= len(sources) <= most
    torch.testing.assert_close(sources.sum(0), mixture, rtol=0, atol=1e-4)
