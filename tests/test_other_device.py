"""A training step, a separation and a stream on a device that is not the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator
from other_device import Elsewhere, other_device

from skdc import DeepClusteringSeparator, StreamingSeparator
from skdc.network.noise import NoiseHead

# Low and high tones, of which k-means is soon sure
CYCLES = np.outer([0.03, 0.04, 0.05, 0.06, 0.21, 0.24, 0.27, 0.3], np.arange(1000))
SOURCES = 0.1 * np.sin(2 * np.pi * CYCLES).astype(np.float32)
SOURCES = SOURCES.reshape(2, 4, 1000).swapaxes(0, 1)  # (mixtures, sources, samples)
MIXTURES = SOURCES.sum(axis=1)


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with other_device(monkeypatch):
        yield


@pytest.mark.usefixtures("_elsewhere")
def test_the_other_device_is_told_from_the_cpu() -> None:
    there, here = torch.ones(3, device="meta"), torch.ones(3)
    assert there.device == torch.device("meta")
    assert (there + there).sum().item() == 6
    with pytest.raises(RuntimeError, match="at least two devices"):
        there + here
    with pytest.raises(RuntimeError, match="not supported for tensor subclasses"):
        there.numpy()
    assert torch.equal((there + here.to("meta")).cpu(), torch.full((3,), 2.0))
    weights = torch.nn.Parameter(torch.ones(3, device="meta"))
    (weights * there).square().sum().backward()
    assert isinstance(weights.grad, Elsewhere)


KINDS: list[dict[str, Any]] = [
    {"objective": "balanced_affinity"},
    {
        "objective": "whitened_kmeans + attractor_masks"
        " + attractor_masks(error='distortion') + attractor_masks(n_iter=2)"
    },
    {"objective": "mask_inference + whitened_kmeans", "mask": "head"},
    {"trunk": "band_blstm", "win_length": 256, "hop_length": 64},
    {"bidirectional": False, "n_layers": 2},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(map(str, kind)))
def test_nothing_is_made_on_the_wrong_device(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = make_separator(**kind).fit(MIXTURES, SOURCES)
    expected = on_cpu.predict(MIXTURES)
    with other_device(monkeypatch):
        separator = make_separator(**kind, device="meta").fit(MIXTURES, SOURCES)
        assert {p.device.type for p in separator.network_.parameters()} == {"meta"}
        found = separator.predict(MIXTURES)
        stream = StreamingSeparator(separator, block=0.02, context=0.05, warm_up=0.1)
        live = np.concatenate([stream.push(MIXTURES[0]), stream.flush()], axis=1)
        several = separator.predict(MIXTURES[0, :800], n_sources=3, pair_sweeps=1)
        counted = separator.predict(MIXTURES[0, :800], n_sources="auto", pair_sweeps=1)
        kept = separator.__getstate__()
        trunk = separator.network_.trunk
        separator.network_.set_heads(noise=NoiseHead(trunk.bands, trunk.width).to("meta"))
        with_noise = separator.predict(MIXTURES[:, :800], noise=True)
    assert len(several) == 3
    assert len(counted) == len(on_cpu.predict(MIXTURES[0, :800], n_sources="auto"))
    np.testing.assert_allclose(with_noise.sum(axis=1), MIXTURES[:, :800], atol=1e-5)
    # The same run: the same batches, and the same arithmetic but for its last digits.
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(live.sum(axis=0), MIXTURES[0], atol=1e-5)
    # What was trained elsewhere is pickled for machines without such a device.
    restored = DeepClusteringSeparator()
    restored.__setstate__(kept | {"device": "cpu", "n_sources": 2})
    np.testing.assert_allclose(restored.predict(MIXTURES), expected, atol=1e-3)
