"""Streams: the same sources for any blocks, in their places, as late as they say."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from skdc import DeepClusteringSeparator, StreamingSeparator, separate_array
from skdc.commands.train import read_config
from skdc.network import BLSTM, EmbeddingNetwork, NetworkConfig
from skdc.parameters import network_config, restored_parameters
from skdc.separation import Separator
from skdc.signal import (
    FrameReader,
    FrameWriter,
    Framing,
    log_magnitude,
    root_mean_square,
    running_root_mean_square,
)
from skdc.training.banks import make_targets

KINDS: dict[str, dict[str, Any]] = {
    "both directions": {},
    "causal": {"bidirectional": False},
    "bands": {"trunk": "band_blstm", "win_length": 256, "hop_length": 64},
    "binary": {"mask": "binary"},
    "head": {"mask": "head", "objective": "mask_inference + whitened_kmeans"},
    "causal head": {
        "mask": "head",
        "objective": "mask_inference + whitened_kmeans",
        "bidirectional": False,
    },
    "another precision": {"precision": "bfloat16"},
}
TIMES: dict[str, Any] = {
    "block": 0.02,
    "context": 0.05,
    "lookahead": 0.03,
    "warm_up": 0.1,
    "memory": 0.3,
}


def noises(n_samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Two noises in turns, at another pace each: ``(2, n_samples)``."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples) / 8000
    gates = np.stack([np.sin(40 * time) ** 2, np.cos(27 * time) ** 2])
    return (rng.standard_normal((2, n_samples)) * gates * 0.1).astype(np.float32)


@pytest.fixture(scope="module", params=KINDS)
def separator(request: pytest.FixtureRequest) -> DeepClusteringSeparator:
    sources = np.stack([noises(4000, seed) for seed in range(4)])
    return make_separator(**KINDS[request.param]).fit(sources.sum(axis=1), sources)


def push_all(
    stream: StreamingSeparator, mixture: NDArray[np.float32], cuts: list[int]
) -> NDArray[np.float32]:
    parts = [stream.push(part) for part in np.split(mixture, cuts)]
    return np.concatenate([*parts, stream.flush()], axis=1)


# -- the same for any blocks ----------------------------------------------------------------------


def test_blocks_of_any_size_give_the_same_bits(separator: DeepClusteringSeparator) -> None:
    mixture = noises(16_000).sum(axis=0)
    stream = StreamingSeparator(separator, **TIMES)
    expected = push_all(stream, mixture, [])
    assert expected.shape == (2, 16_000)
    np.testing.assert_allclose(expected.sum(axis=0), mixture, atol=1e-5)
    for size in (7, 160, 1001, 8000):
        found = push_all(stream, mixture, list(range(size, 16_000, size)))
        np.testing.assert_array_equal(found, expected)
    cuts = sorted(np.random.default_rng(0).integers(0, 16_000, 50).tolist())
    np.testing.assert_array_equal(push_all(stream, mixture, cuts), expected)


def test_samples_one_by_one(separator: DeepClusteringSeparator) -> None:
    mixture = noises(2500).sum(axis=0)
    stream = StreamingSeparator(separator, **TIMES)
    expected = push_all(stream, mixture, [])
    np.testing.assert_array_equal(push_all(stream, mixture, list(range(1, 2500))), expected)


@pytest.mark.parametrize("n_samples", [0, 1, 15, 64, 799, 801, 2000])
def test_recordings_of_any_length(separator: DeepClusteringSeparator, n_samples: int) -> None:
    mixture = noises(n_samples).sum(axis=0)
    found = push_all(StreamingSeparator(separator, **TIMES), mixture, [n_samples // 2])
    assert found.dtype == np.float32
    assert found.shape == (2, n_samples)
    np.testing.assert_allclose(found.sum(axis=0), mixture, atol=1e-6)


def test_a_warm_up_of_the_whole_recording_gives_what_predict_gives(
    separator: DeepClusteringSeparator,
) -> None:
    # So short that all active bins are clustered.
    mixture = noises(40 * separator.hop_length // (separator.win_length // 64)).sum(axis=0)
    found = push_all(StreamingSeparator(separator, warm_up=10.0), mixture, [100])
    tolerance = 1e-2 if separator.precision == "bfloat16" else 1e-4
    peak = np.abs(mixture).max()
    np.testing.assert_allclose(found / peak, separator.predict(mixture) / peak, atol=tolerance)


def test_a_stream_copies_no_heads_that_it_does_not_use(model: Path) -> None:
    separator = DeepClusteringSeparator.load(model)
    network = StreamingSeparator(separator)._separator.network
    assert (network.config.voice_dim, network.config.most_counted) == (0, 0)
    assert (network.voice_head, network.count_head, network.noise_head) == (None, None, None)
    assert not network.config.hears_noise
    assert separator.network_.voice_head is not None
    assert separator.network_.count_head is not None
    features = log_magnitude(torch.rand(1, 20, network.config.n_bins))
    torch.testing.assert_close(network(features), separator.network_(features))


@pytest.mark.parametrize("trunk", [BLSTM(), BLSTM(residual=True)])
@pytest.mark.parametrize("n_frames", [1, 3, 8, 9])
def test_few_frames_give_what_many_give(trunk: BLSTM, n_frames: int) -> None:
    config = NetworkConfig(
        hidden_size=6, n_layers=4, embedding_dim=3, bidirectional=False, trunk=trunk
    )
    network = EmbeddingNetwork(config).eval()
    with torch.no_grad():
        for gate in getattr(network.trunk, "gates", []):
            gate.fill_(0.7)
        features = torch.randn(2, 36, 129)
        whole, _ = network.step(features)
        parts, state = [], None
        for part in features.split(n_frames, dim=1):
            states, state = network.step(part, state)
            parts.append(states)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)


def test_a_causal_separator_hears_nothing_of_what_comes() -> None:
    sources = np.stack([noises(4000, seed) for seed in range(4)])
    separator = make_separator(bidirectional=False).fit(sources.sum(axis=1), sources)
    hop, win_length = separator.hop_length, separator.win_length
    mixture = noises(16_000).sum(axis=0)
    louder = mixture.copy()
    louder[8000:] *= 50
    n_same = (8000 - win_length // 2) // hop
    embedded, changed = separator.transform(mixture), separator.transform(louder)
    # Samples differ in their last digits by then.
    np.testing.assert_allclose(embedded[:n_same], changed[:n_same], atol=1e-4)
    assert not np.allclose(embedded[n_same + 2 :], changed[n_same + 2 :], atol=1e-3)
    # Nor does the network learn from what would not be there in a stream.
    framing = Framing(win_length, hop, is_causal=True)
    features = [
        make_targets(torch.from_numpy(x)[None], torch.from_numpy(noises(16_000))[None], framing)
        for x in (mixture, louder)
    ]
    torch.testing.assert_close(
        features[0].features[:, :n_same], features[1].features[:, :n_same], rtol=0, atol=0
    )


def test_a_stream_of_a_causal_network_embeds_what_the_whole_recording_embeds() -> None:
    sources = np.stack([noises(4000, seed) for seed in range(4)])
    separator = make_separator(bidirectional=False, precision="float32")
    separator.fit(sources.sum(axis=1), sources)
    mixture = noises(16_000).sum(axis=0)
    stream = StreamingSeparator(separator, block=0, warm_up=0.1)
    for part in np.array_split(mixture, 100):
        stream.push(part)
    found = torch.nn.functional.normalize(stream._vectors.rows, dim=-1).numpy()
    np.testing.assert_allclose(found, separator.transform(mixture)[: len(found)], atol=1e-4)


def test_steps_of_a_causal_network_go_on_from_each_other() -> None:
    network = EmbeddingNetwork(NetworkConfig(hidden_size=6, embedding_dim=3, bidirectional=False))
    separator = Separator(network.eval(), Framing())
    features = torch.randn(30, 129)
    whole, _, _ = separator.step(features)
    parts, state = [], None
    for part in features.split(7):
        vectors, _, state = separator.step(part, state)
        parts.append(vectors)
    torch.testing.assert_close(torch.cat(parts), whole)


# -- places ---------------------------------------------------------------------------------------


class TwoBands(EmbeddingNetwork):
    """Tells low bins from high ones, and changes their places from window to window."""

    def __init__(self, n_masks: int = 0) -> None:
        super().__init__(NetworkConfig(embedding_dim=2, hidden_size=1, n_masks=n_masks))
        self.embed: Any = Mirrored(1.0)
        self.mask_head: Any = Mirrored(20.0, flips=True) if n_masks else None

    def states(self, features: Tensor) -> Tensor:
        return features

    def step(self, features: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return features, None


class Mirrored(nn.Module):
    def __init__(self, scale: float, *, flips: bool = False) -> None:
        super().__init__()
        self.scale, self.flips = scale, flips

    def forward(self, states: Tensor) -> Tensor:
        is_high = torch.arange(129) >= 80  # 2500 Hz
        # The clusters of most energy come first, and which these are changes with the sounds. The
        # masks of a head trade places at random.
        flip = self.flips and bool(states[0, :5].mean() > states[0].mean())
        found = nn.functional.one_hot((is_high ^ flip).long(), 2).float()
        return self.scale * found.expand(*states.shape, 2)


def fake(network: EmbeddingNetwork, **options: Any) -> Any:
    """A separator that was fitted, of a network that was not."""
    pipeline = Separator(network.eval(), Framing(), **options)
    return SimpleNamespace(
        n_sources=2, sample_rate=8000, input_rate=None, pipeline=lambda: pipeline
    )


def low_and_high(n_samples: int) -> NDArray[np.float32]:
    """A low and a high noise, each louder than the other for a while: ``(2, n_samples)``."""
    spectra = np.fft.rfft(np.random.default_rng(0).standard_normal((2, n_samples)))
    frequencies = np.fft.rfftfreq(n_samples, 1 / 8000)
    spectra[0, frequencies > 1800] = 0
    spectra[1, frequencies < 3200] = 0
    time = np.arange(n_samples) / 8000
    gates = np.stack([1.2 + np.sin(5 * time), 1.2 - np.sin(5 * time)])
    return (np.fft.irfft(spectra, n_samples) * gates).astype(np.float32)


@pytest.mark.parametrize("mask", ["soft", "binary", "head"])
def test_sources_keep_their_places(mask: str) -> None:
    separator = fake(TwoBands(n_masks=2 if mask == "head" else 0), mask=mask)
    sources = low_and_high(40_000)
    stream = StreamingSeparator(separator, block=0.1, context=0.3, lookahead=0.1, warm_up=0.3)
    found = push_all(stream, sources.sum(axis=0), list(range(777, 40_000, 777)))
    # By tenths of a second, which source each place has: (places, sources)
    blocks = found.reshape(2, 1, 50, 800), sources.reshape(1, 2, 50, 800)
    likeness = (blocks[0] * blocks[1]).sum(-1) > 0.5 * (blocks[1] ** 2).sum(-1)
    assert len(np.unique(likeness, axis=2).T) == 1


@pytest.mark.parametrize("mask", ["soft", "head"])
def test_silence_before_and_between(mask: str) -> None:
    separator = fake(TwoBands(n_masks=2 if mask == "head" else 0), mask=mask)
    sources = low_and_high(24_000)
    sources[:, :8000] = sources[:, 16_000:18_000] = 0
    stream = StreamingSeparator(separator, block=0.1, context=0.3, warm_up=0.3)
    found = push_all(stream, sources.sum(axis=0), [])
    assert np.isfinite(found).all()
    assert np.abs(found[:, :7000]).max() < 1e-6
    late = found[:, 10_000:15_000] @ sources[:, 10_000:15_000].T  # (places, sources)
    assert sorted(late.argmax(axis=1)) == [0, 1]


def test_the_level_does_not_matter() -> None:
    sources = low_and_high(12_000)
    stream = StreamingSeparator(fake(TwoBands()))
    expected = push_all(stream, sources.sum(axis=0), [])
    for gain in (1e-36, 1e-12, 1e12, 1e33):
        found = push_all(stream, gain * sources.sum(axis=0, dtype=np.float64), [])
        np.testing.assert_allclose(found / gain, expected, atol=1e-4)
    # So quiet that float32 has hardly any digits left
    found = push_all(stream, 1e-43 * sources.sum(axis=0, dtype=np.float64), [])
    assert np.isfinite(found).all()


@pytest.mark.parametrize("mask", ["soft", "head"])
@pytest.mark.parametrize("offset", [-0.5, 20.0])
def test_an_offset_does_not_matter(mask: str, offset: float) -> None:
    network = TwoBands(n_masks=2 if mask == "head" else 0)
    mixture = low_and_high(24_000).sum(axis=0)
    stream = StreamingSeparator(fake(network, mask=mask), block=0.1, warm_up=0.3)
    expected = push_all(stream, mixture, [])
    found = push_all(stream, mixture + np.float32(offset), list(range(500, 24_000, 500)))
    np.testing.assert_allclose(found.sum(axis=0), mixture + offset, atol=1e-4)
    # All but what stays of it, a tenth of what varies, is shared equally.
    difference = found - expected - offset / 2
    assert np.abs(difference).max() < 0.15 * mixture.std()


def test_a_causal_network_hears_nothing_of_an_offset() -> None:
    sources = np.stack([noises(4000, seed) for seed in range(4)])
    separator = make_separator(bidirectional=False).fit(sources.sum(axis=1), sources)
    mixture = noises(16_000).sum(axis=0)
    stream = StreamingSeparator(separator, block=0, warm_up=0.2)
    expected = push_all(stream, mixture, [])
    gains = []
    for shifted in (mixture, mixture + np.float32(10 * mixture.std())):
        found = push_all(stream, shifted, [])
        gains.append(np.linalg.norm(found - found.mean(axis=1, keepdims=True) - expected))
    assert gains[1] < 0.2 * np.linalg.norm(expected), gains


# -- latency and memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("lookahead", [0.0, 0.032, 0.1])
@pytest.mark.parametrize("block", [0.0, 0.04])
def test_latency_is_what_it_says(block: float, lookahead: float) -> None:
    stream = StreamingSeparator(
        fake(TwoBands()), block=block, context=0.1, lookahead=lookahead, warm_up=0.2
    )
    mixture = low_and_high(6000).sum(axis=0)
    came = np.zeros(6000, dtype=int)  # how many samples were there when each one came out
    n_out = 0
    for n_in in range(1, 6001):
        n_new = stream.push(mixture[n_in - 1 : n_in]).shape[1]
        came[n_out : n_out + n_new] = n_in
        n_out += n_new
    first = came[0]
    assert first == stream.warm_up_ms * 8
    waits = (came - np.arange(6000))[:n_out]
    assert waits[came[:n_out] > first].max() == stream.latency_ms * 8


@pytest.mark.parametrize("lookahead", [0.0, 0.032])
@pytest.mark.parametrize("block", [0.0, 0.04])
def test_without_waiting_nothing_comes_late(block: float, lookahead: float) -> None:
    times: dict[str, Any] = {"block": block, "context": 0.1, "lookahead": lookahead}
    stream = StreamingSeparator(fake(TwoBands()), warm_up=0.2, wait=False, **times)
    mixture = low_and_high(6000).sum(axis=0)
    parts = []
    n_out = 0
    for n_in in range(1, 6001):
        parts.append(stream.push(mixture[n_in - 1 : n_in]))
        n_out += parts[-1].shape[1]
        assert n_in - n_out <= stream.latency_ms * 8
    found = np.concatenate([*parts, stream.flush()], axis=1)
    np.testing.assert_allclose(found.sum(axis=0), mixture, atol=1e-5)
    # All have the same until they are told apart, and then what they have with waiting.
    n_alike = int(stream.warm_up_ms * 8) - int(stream.latency_ms * 8)
    np.testing.assert_allclose(found[0, :n_alike], found[1, :n_alike], atol=1e-6)
    expected = push_all(StreamingSeparator(fake(TwoBands()), warm_up=0.2, **times), mixture, [])
    np.testing.assert_allclose(found[:, 4000:], expected[:, 4000:], atol=1e-4)
    gain = np.square(found[0, 4000:] - found[1, 4000:]).mean()
    assert gain > 0.1 * np.square(mixture).mean()


def test_without_waiting_blocks_of_any_size_give_the_same_bits(
    separator: DeepClusteringSeparator,
) -> None:
    mixture = noises(8000).sum(axis=0)
    stream = StreamingSeparator(separator, wait=False, **TIMES)
    expected = push_all(stream, mixture, [])
    np.testing.assert_allclose(expected.sum(axis=0), mixture, atol=1e-5)
    for size in (7, 160, 1001):
        found = push_all(stream, mixture, list(range(size, 8000, size)))
        np.testing.assert_array_equal(found, expected)
    # What ends before anything is told apart
    short = push_all(stream, mixture[:300], [100])
    np.testing.assert_allclose(short, np.stack([mixture[:300] / 2] * 2), atol=1e-5)


@pytest.mark.parametrize("wait", [None, "no", 1])
def test_whether_to_wait_is_yes_or_no(wait: Any) -> None:
    with pytest.raises(ValueError, match="wait="):
        StreamingSeparator(fake(TwoBands()), wait=wait)


def test_memory_does_not_grow() -> None:
    stream = StreamingSeparator(fake(TwoBands()), memory=1.0, context=0.3)
    mixture = low_and_high(8000).sum(axis=0)
    sizes = []
    for _ in range(12):
        stream.push(mixture)
        tails = (stream._spectrogram, stream._vectors, stream._masks)
        sizes.append(sum(tail._room.numel() for tail in tails if tail._room is not None))
    assert max(sizes[4:]) <= max(sizes[:4])


def test_a_stream_begins_anew_after_its_end(separator: DeepClusteringSeparator) -> None:
    stream = StreamingSeparator(separator, **TIMES)
    first, other = noises(4000).sum(axis=0), noises(3000, 5).sum(axis=0)
    expected = push_all(stream, first, [])
    push_all(stream, other, [])
    np.testing.assert_array_equal(push_all(stream, first, []), expected)
    assert stream.flush().shape == (2, 0)


# -- errors ---------------------------------------------------------------------------------------


def test_what_is_no_block_is_refused() -> None:
    stream = StreamingSeparator(fake(TwoBands()))
    with pytest.raises(TypeError, match=r"type int16; give floats, such as int16 samples / 32768"):
        stream.push(np.zeros(10, np.int16))
    with pytest.raises(ValueError, match=r"shape \(2, 10\); give one channel"):
        stream.push(np.zeros((2, 10)))
    with pytest.raises(ValueError, match="samples contains NaN"):
        stream.push([0.0, np.nan])
    assert stream.flush().shape == (2, 0)


@pytest.mark.parametrize("gain", [1, 1e4])
def test_blocks_of_any_precision(gain: float) -> None:
    mixture = (gain * low_and_high(8000).sum(axis=0)).astype(np.float16)
    stream = StreamingSeparator(fake(TwoBands()), warm_up=0.2)
    expected = push_all(stream, mixture.astype(np.float32), [])
    for dtype in (np.float16, np.float64, np.longdouble):
        np.testing.assert_array_equal(push_all(stream, mixture.astype(dtype), [3000]), expected)


def test_what_is_refused_leaves_the_stream_as_it_was() -> None:
    mixture = low_and_high(12_000).sum(axis=0)
    stream = StreamingSeparator(fake(TwoBands()), warm_up=0.2)
    expected = push_all(stream, mixture, [])
    parts = [stream.push(mixture[:5000])]
    refused: list[Any] = [
        [np.nan],
        [np.inf],
        [1e300],
        [1e36],
        mixture[:10, None],
        0.5,
        b"RIFF",
        None,
        [1, 2],
    ]
    for samples in refused:
        with pytest.raises((TypeError, ValueError), match="samples"):
            stream.push(samples)
    parts += [stream.push(np.zeros(0)), stream.push(torch.zeros(0)), stream.push([])]
    parts += [stream.push(mixture[5000:]), stream.flush()]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


def test_what_is_interrupted_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = low_and_high(12_000).sum(axis=0)
    stream = StreamingSeparator(fake(TwoBands()), warm_up=0.2)
    expected = push_all(stream, mixture, [])

    def stop(*_: object) -> None:
        raise KeyboardInterrupt("stopped")

    methods: dict[str, Any] = {"_order": stream.push, "_read": lambda _: stream.flush()}
    for name, method in methods.items():
        stream.push(mixture[:5000])
        with monkeypatch.context() as patch:
            patch.setattr(stream, name, stop)
            with pytest.raises(KeyboardInterrupt, match="stopped"):
                method(mixture)
        assert stream.flush().shape == (2, 0)
        np.testing.assert_array_equal(push_all(stream, mixture, [300]), expected)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))]
)
def test_copies_go_on_by_themselves(separator: DeepClusteringSeparator, copied: Any) -> None:
    mixture = noises(6000).sum(axis=0)
    stream = StreamingSeparator(separator, **TIMES)
    expected = push_all(stream, mixture, [])
    first = stream.push(mixture[:3000])
    other = copied(stream)
    # As fast as the stream: the weights are laid out for it, too.
    packed = [
        [getattr(part, "_packed", None) is not None for part in each._separator.network.modules()]
        for each in (stream, other)
    ]
    assert packed[0] == packed[1]
    for each in (stream, other):
        found = np.concatenate([first, each.push(mixture[3000:]), each.flush()], axis=1)
        np.testing.assert_array_equal(found, expected)


def test_threads(separator: DeepClusteringSeparator) -> None:
    mixture = noises(8000).sum(axis=0)
    expected = push_all(StreamingSeparator(separator, **TIMES), mixture, [])

    def separate(size: int) -> NDArray[np.float32]:
        cuts = list(range(size, 8000, size))
        return push_all(StreamingSeparator(separator, **TIMES), mixture, cuts)

    shared = StreamingSeparator(separator, **TIMES)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(separate, (160, 333, 1000, 5000)):
            np.testing.assert_array_equal(found, expected)
        # Into one stream their pieces go one after another, in some order.
        lengths = [part.shape[1] for part in pool.map(shared.push, np.split(mixture, 80))]
    assert sum(lengths) + shared.flush().shape[1] == 8000


def test_copies_while_another_thread_pushes(separator: DeepClusteringSeparator) -> None:
    stream = StreamingSeparator(separator, **TIMES)
    pieces = np.split(noises(24_000).sum(axis=0), 240)
    with ThreadPoolExecutor(1) as pool:
        pushed = pool.map(lambda piece: stream.push(piece).shape[1], pieces)
        copies = [pickle.loads(pickle.dumps(stream)) for _ in range(40)]
        given = list(pushed)
    # What a copy still gives and what the stream had given by then is all of some pieces.
    came_out = {0, *np.cumsum(given).tolist()}
    for each in copies:
        left = each.flush().shape[1]
        assert any((left + out) % 100 == 0 for out in came_out)
    assert sum(given) + stream.flush().shape[1] == 24_000


def test_buffers_are_the_callers() -> None:
    mixture = low_and_high(8000).sum(axis=0)
    stream = StreamingSeparator(fake(TwoBands()), warm_up=0.2)
    expected = push_all(stream, mixture, [])
    parts, buffer = [], np.empty(800, np.float32)
    for piece in np.split(mixture, 10):
        buffer[:] = piece
        found = stream.push(buffer)
        parts.append(found.copy())
        buffer[:] = found[...] = np.nan
    parts.append(stream.flush())
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


@pytest.mark.parametrize("name", ["block", "context", "lookahead", "warm_up", "memory"])
@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf"), 1e308])
def test_durations_are_checked(name: str, seconds: float) -> None:
    durations: dict[str, Any] = {name: seconds}
    message = re.escape(f"{name}={seconds!r} must be a number of seconds")
    with pytest.raises(ValueError, match=message):
        StreamingSeparator(fake(TwoBands()), **durations)


@pytest.mark.parametrize("name", ["block", "context", "lookahead", "warm_up", "memory"])
@pytest.mark.parametrize("what", ["0.1", True, [1], 1j, np.array(0.1)])
def test_durations_are_numbers(name: str, what: Any) -> None:
    durations: dict[str, Any] = {name: what}
    with pytest.raises(ValueError, match=f"{name}=.* must be a number of seconds"):
        StreamingSeparator(fake(TwoBands()), **durations)


@pytest.mark.parametrize("name", ["block", "context", "lookahead", "warm_up", "memory"])
def test_durations_may_be_longer_than_any_recording(name: str) -> None:
    durations: dict[str, Any] = {name: np.float64(1e12)}
    mixture = low_and_high(16_000).sum(axis=0)
    found = push_all(StreamingSeparator(fake(TwoBands()), **durations), mixture, [5000, 9000])
    np.testing.assert_allclose(found.sum(axis=0), mixture, atol=1e-5)


@pytest.mark.parametrize(
    "separator",
    ["speech-8k", None, DeepClusteringSeparator, np.zeros((2, 800)), Pipeline([("a", None)])],
)
def test_what_is_no_separator_is_refused(separator: Any) -> None:
    with pytest.raises(TypeError, match=r"separator: got .* expected a fitted DeepClustering"):
        StreamingSeparator(separator)
    with pytest.raises(TypeError, match=r"separator: got .* expected a fitted DeepClustering"):
        separate_array(separator, np.zeros((2, 800)))


def test_another_rate_is_refused() -> None:
    separator = fake(TwoBands())
    separator.input_rate = 16_000
    for separate in (StreamingSeparator, lambda s: separate_array(s, np.zeros((2, 800)))):
        with pytest.raises(ValueError, match=r"input_rate=16000: .* the network, 8000 Hz; res"):
            separate(separator)
    separator.input_rate = 8000
    assert StreamingSeparator(separator).sample_rate == 8000


@pytest.mark.parametrize("unknown", [None, "auto"])
def test_the_number_of_sources_must_be_known(unknown: Any) -> None:
    separator = fake(TwoBands())
    separator.n_sources = unknown
    with pytest.raises(ValueError, match="n_sources must be a number: a stream cannot wait"):
        StreamingSeparator(separator)
    stream = StreamingSeparator(separator, n_sources=3)
    assert push_all(stream, low_and_high(8000).sum(axis=0), []).shape == (3, 8000)


def test_the_recipe_of_a_live_model_is_fast_and_small() -> None:
    parameters = restored_parameters(read_config("live"))
    with torch.device("meta"):
        network = EmbeddingNetwork(
            network_config(DeepClusteringSeparator(**parameters).get_params())
        )
    n_weights = sum(weights.numel() for weights in network.parameters())
    assert 2 * n_weights < 13e6  # bytes, as float16
    framing = Framing(parameters["win_length"], parameters["hop_length"], is_causal=True)
    pipeline = Separator(network, framing)
    separator: Any = SimpleNamespace(
        n_sources=2, sample_rate=8000, input_rate=None, pipeline=lambda: pipeline
    )
    assert StreamingSeparator(separator, block=0).latency_ms <= 100


def test_a_causal_network_needs_no_look_ahead() -> None:
    causal = EmbeddingNetwork(NetworkConfig(hidden_size=2, embedding_dim=2, bidirectional=False))
    assert StreamingSeparator(fake(causal), block=0).latency_ms == 32
    assert StreamingSeparator(fake(TwoBands()), block=0).latency_ms == 32 + 8 * 31


# -- transforms -----------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60)
def test_frames_of_blocks_are_those_of_the_whole(data: st.DataObject) -> None:
    win_length = 2 * data.draw(st.integers(1, 40))
    framing = Framing(win_length, data.draw(st.integers(1, win_length // 2)))
    n_samples = data.draw(st.integers(1, 400))
    generator = torch.Generator().manual_seed(n_samples)
    waveform = torch.randn(n_samples, generator=generator)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_samples), max_size=5)))
    reader, writer = FrameReader(framing), FrameWriter(framing)
    frames, samples = [], []

    def take() -> None:
        if reader.n_ready:
            frames.append(reader.take(reader.n_ready))
            samples.append(writer.add(frames[-1][None])[0])

    for part in torch.tensor_split(waveform, cuts):
        reader.push(part)
        take()
    reader.finish()
    writer.n_samples = n_samples
    take()
    samples.append(writer.finish()[0])
    torch.testing.assert_close(torch.cat(frames), framing.stft(waveform), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat(samples), waveform, atol=1e-4, rtol=1e-4)


def test_nothing_to_finish() -> None:
    with pytest.raises(ValueError, match="no frames were added"):
        FrameWriter(Framing()).finish()


@given(st.data())
@settings(max_examples=40)
def test_the_running_level_is_the_weighted_mean_of_what_came(data: st.DataObject) -> None:
    n_frames = data.draw(st.integers(1, 700))
    time_constant = data.draw(st.floats(1.0, 1000.0))
    gain = data.draw(st.sampled_from([1e-30, 1.0, 1e30]))
    generator = torch.Generator().manual_seed(n_frames)
    spectrogram = gain * torch.randn(n_frames, 3, dtype=torch.complex64, generator=generator)
    cuts = sorted(data.draw(st.lists(st.integers(1, max(1, n_frames - 1)), max_size=4)))
    found, state = [], None
    for part in torch.tensor_split(spectrogram, cuts):
        if len(part):
            level, state = running_root_mean_square(part, time_constant=time_constant, state=state)
            found.append(level)
    total = weight = 0.0
    expected = []
    for power in (np.abs(spectrogram.numpy().astype(complex)) ** 2).mean(axis=1):
        total = total * np.exp(-1 / time_constant) + power
        weight = weight * np.exp(-1 / time_constant) + 1
        expected.append(np.sqrt(total / weight))
    level = torch.cat(found)
    assert level.shape == (n_frames, 1)
    assert level.dtype == torch.float32
    np.testing.assert_allclose(level[:, 0], expected, rtol=1e-5)


def test_no_frames_have_no_level() -> None:
    with pytest.raises(ValueError, match="spectrogram has no frames"):
        running_root_mean_square(torch.zeros(0, 3), time_constant=10.0)


@pytest.mark.parametrize("gain", [1e-30, 1.0, 1e30])
def test_features_relative_to_a_level(gain: float) -> None:
    spectrogram = gain * torch.rand(5, 7)
    level = root_mean_square(spectrogram)
    expected = np.sqrt(np.mean(spectrogram.double().numpy() ** 2))
    assert float(level) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(log_magnitude(spectrogram, level=level), log_magnitude(spectrogram))
    doubled = log_magnitude(2 * spectrogram, level=2 * level)
    torch.testing.assert_close(doubled, log_magnitude(spectrogram))
