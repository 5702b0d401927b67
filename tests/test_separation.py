"""Mixtures and stretches share passes of the LSTM, and get from them what they would get alone."""

from dataclasses import replace

import pytest
import torch

from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.separation import Separator, hearing, pipeline
from skdc.signal import Framing, log_magnitude

FRAMING = Framing()


@pytest.fixture
def passes():
    """Shapes of the batches that go through the LSTM."""
    return []


@pytest.fixture(params=["float32", "bfloat16"])
def separator(passes, request):
    torch.manual_seed(0)
    network = EmbeddingNetwork(NetworkConfig(hidden_size=12, embedding_dim=4)).eval()
    network.trunk.register_forward_hook(lambda _, inputs, __: passes.append(inputs[0].shape[:2]))
    return Separator(network, FRAMING, precision=request.param)


def noise(*n_samples):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, generator=generator) for n in n_samples]


def test_neighbours_of_the_same_length_share_a_pass(separator, passes):
    lengths = [4000, 4000, 4000, 5000, 4000, 4000]
    found = list(separator.separate(noise(*lengths), [2] * 6))
    frames, more_frames = (FRAMING.frame_count(n) for n in (4000, 5000))
    assert passes == [(3, frames), (1, more_frames), (2, frames)]
    assert [sources.shape for sources in found] == [(2, n) for n in lengths]


def test_a_pass_takes_no_more_frames_than_it_may(separator, passes, monkeypatch):
    frames = FRAMING.frame_count(4000)
    monkeypatch.setattr(hearing, "_FRAMES_TOGETHER", 2 * frames + 1)
    list(separator.embed(noise(*[4000] * 5)))
    assert passes == [(2, frames), (2, frames), (1, frames)]
    monkeypatch.setattr(hearing, "_FRAMES_TOGETHER", 1)
    passes.clear()
    list(separator.embed(noise(4000, 4000)))
    assert passes == [(1, frames)] * 2


@pytest.fixture
def short_stretches(monkeypatch):
    monkeypatch.setattr(pipeline, "_LONGEST_WHOLE_S", 0.6)
    monkeypatch.setattr(pipeline, "STRETCH_S", 0.5)
    monkeypatch.setattr(pipeline, "OVERLAP_S", 0.1)


@pytest.mark.usefixtures("short_stretches")
def test_stretches_of_a_recording_share_a_pass(separator, passes):
    list(separator.masks(noise(12_000), [2]))
    (shape,) = passes
    assert shape[0] > 1
    passes.clear()
    # Counting looks at some stretches before.
    list(replace(separator, pair_sweeps=0).masks(noise(12_000), [None]))
    assert len(passes) == 2
    passes.clear()
    # So do the pairs of three sources, three in each sweep.
    list(separator.masks(noise(12_000), [3]))
    assert passes == [shape] * (1 + 2 * 3)


@pytest.mark.parametrize("count", [2, None])
def test_alone_and_together_are_the_same(separator, count):
    # Pairs take long where many sources are found in noise.
    separator = replace(separator, pair_sweeps=0 if count is None else 2)
    mixtures = noise(4000, 4000, 4000, 6000)
    together = [separator.embed(mixtures), separator.separate(mixtures, [count] * 4)]
    for index, (vectors, sources) in enumerate(zip(*together, strict=True)):
        alone = mixtures[index : index + 1]
        torch.testing.assert_close(vectors, next(separator.embed(alone)), rtol=0, atol=1e-6)
        torch.testing.assert_close(
            sources, next(separator.separate(alone, [count])), rtol=0, atol=1e-4
        )


def test_results_come_one_at_a_time(separator, passes):
    mixtures = noise(4000, 5000, 6000)
    found = separator.separate(mixtures, [2, 2, 2])
    assert passes == []
    next(found)
    assert len(passes) == 1


def test_each_mixture_has_its_own_number_of_sources(separator):
    found = separator.masks(noise(4000, 4000, 4000), [1, 3, 2])
    assert [len(masks) for masks in found] == [1, 3, 2]
    with pytest.raises(ValueError, match="shorter"):
        list(separator.masks(noise(4000, 4000), [2]))


def test_nothing_gives_nothing(separator):
    assert list(separator.separate([], [])) == []


def test_the_precision_ends_with_each_result(separator):
    for _ in separator.embed(noise(4000, 4000)):
        assert not torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()


# -- masks of a head -----------------------------------------------------------------------------


def headed_separator(**options):
    torch.manual_seed(0)
    network = EmbeddingNetwork(NetworkConfig(hidden_size=12, embedding_dim=4, n_masks=2)).eval()
    return Separator(network, Framing(), mask="head", **options)


def test_masks_of_a_head_are_its_softmax():
    separator, mixture = headed_separator(), torch.randn(4000)
    (masks,) = separator.masks([mixture], [2])
    features = log_magnitude(separator.framing.stft(mixture))[None]
    with torch.no_grad():
        logits = separator.network.mask_head(separator.network.states(features))[0]
    expected = logits.softmax(-1).movedim(-1, 0)
    louder = (expected * separator.framing.stft(mixture).abs()).sum((1, 2)).argmax()
    torch.testing.assert_close(masks, expected if louder == 0 else expected.flip(0))
    (sources,) = separator.separate([mixture], [2])
    torch.testing.assert_close(sources.sum(0), mixture, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("short_stretches")
def test_masks_of_a_head_are_linked_between_stretches():
    separator, mixture = headed_separator(), torch.randn(20_000)
    (sources,) = separator.separate([mixture], [2])
    torch.testing.assert_close(sources.sum(0), mixture, rtol=1e-4, atol=1e-5)


def test_other_numbers_than_a_head_has_masks_are_clustered():
    # The pairs of three are for the head, which has two masks.
    separator, mixture = replace(headed_separator(), pair_sweeps=0), torch.randn(4000)
    soft = replace(separator, mask="soft")
    for n_sources in (1, 3):
        (masks,), (expected,) = (x.masks([mixture], [n_sources]) for x in (separator, soft))
        assert torch.equal(masks, expected)
    # An unknown number is that of the clusters; where that is the head's, so are the masks.
    (masks,), (clustered,) = (x.masks([mixture], [None]) for x in (separator, soft))
    assert len(masks) == len(clustered)


def test_masks_of_a_head_come_loudest_first():
    separator, mixture = headed_separator(), torch.randn(4000)
    with torch.no_grad():
        separator.network.mask_head.bias.view(-1, 2)[:, 1] += 2  # (bins, masks)
    (masks,) = separator.masks([mixture], [2])
    (sources,) = separator.separate([mixture], [2])
    assert masks[0].mean() > 0.7
    assert sources[0].norm() > sources[1].norm()


@pytest.mark.parametrize("mask", ["soft", "binary"])
@pytest.mark.parametrize("n_sources", [2, 3])
def test_sources_come_loudest_first(mask, n_sources):
    # Few bins hold most of the energy, so that the largest cluster is often not the loudest.
    torch.manual_seed(0)
    network = EmbeddingNetwork(NetworkConfig(hidden_size=12, embedding_dim=4)).eval()
    separator = Separator(network, FRAMING, mask=mask)
    times = torch.arange(4000) / 8000
    for loud in noise(*[4000] * 5):
        mixture = 0.1 * loud + torch.sin(6000 * times) * (times < 0.2)
        for calls in (separator, replace(separator, speeds=2)):
            (masks,) = calls.masks([mixture], [n_sources])
            energy = (masks * FRAMING.stft(mixture).abs()).square().sum((1, 2))
            assert torch.equal(energy, energy.sort(descending=True).values)
            (sources,) = calls.separate([mixture], [n_sources])
            levels = sources.square().sum(1)
            assert (levels.diff() < 0.01 * levels[0]).all()


def test_head_masks_need_a_head():
    torch.manual_seed(0)
    plain = EmbeddingNetwork(NetworkConfig(hidden_size=12, embedding_dim=4)).eval()
    with pytest.raises(ValueError, match="needs a network with a mask head"):
        list(Separator(plain, Framing(), mask="head").separate([torch.randn(4000)], [2]))
