"""Phases between microphones as input of the network, from the features to the sources."""

from __future__ import annotations

import cmath
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator, make_sources
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from torch import Tensor

from skdc import DeepClusteringSeparator, StreamingSeparator, separate_array
from skdc.audio import AudioFiles, write_audio
from skdc.metrics import si_sdr_improvement
from skdc.network import BLSTM, EmbeddingNetwork, NetworkConfig, PhaseBLSTM
from skdc.parameters import check_resumable
from skdc.separation.clustering import find_centroids
from skdc.separation.microphones import joined_masks
from skdc.signal import Framing, bin_weights, log_magnitude, phase_differences
from skdc.training import DynamicMixing, Trainer, TrainingConfig
from skdc.training.acoustics import add_noise
from skdc.training.banks import MixtureBank, SourceBank, make_targets
from skdc.training.pairs import hear_in_pairs, image_response

Array = NDArray[Any]
RATE = 8000
PAIRS = Framing(64, 16, hears_phases=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


# -- features -------------------------------------------------------------------------------------


def test_phase_differences_of_each_bin() -> None:
    one, other = (
        torch.randn(2, 5, 4, generator=generator(seed), dtype=torch.complex128) for seed in (0, 1)
    )
    found = phase_differences(one, other)
    assert found.shape == (2, 5, 8)
    for index in itertools.product(range(2), range(5), range(4)):
        angle = cmath.phase(one[index]) - cmath.phase(other[index])
        *place, frequency = index
        assert float(found[*place, frequency]) == pytest.approx(np.cos(angle))
        assert float(found[*place, 4 + frequency]) == pytest.approx(np.sin(angle))
    # Levels say nothing, and nothing has no phase.
    assert_allclose(phase_differences(1e-30 * one, 1e30 * other), found, atol=1e-12)
    assert not phase_differences(one, torch.zeros_like(other)).any()
    # Magnitudes of unit variance have as much power as the two together.
    assert_allclose(found[..., :4] ** 2 + found[..., 4:] ** 2, 1.0)


def test_features_of_a_pair() -> None:
    one, other = PAIRS.stft(noise(2, 640))
    features = PAIRS.features(one, other)
    assert torch.equal(features[:, :33], log_magnitude(one))
    assert torch.equal(features[:, 33:], phase_differences(one, other))
    alone = PAIRS.features(one)
    assert torch.equal(alone[:, :33], features[:, :33])
    assert not alone[:, 33:].any()
    causal = replace(PAIRS, is_causal=True)
    single = replace(causal, hears_phases=False)
    assert torch.equal(causal.features(one, other)[:, :33], single.features(one))


# -- rooms ----------------------------------------------------------------------------------------


def test_responses_are_sums_over_images(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = (2, 1, 3)
    monkeypatch.setattr("skdc.training.pairs._ORDERS", orders)
    room, source = np.array([4.0, 3.0, 2.5]), np.array([1.0, 2.0, 1.2])
    microphones, gain = np.array([[2.0, 1.0, 1.1], [2.1, 1.05, 1.1]]), 0.7
    expected = np.zeros((2, 16 * 2000))
    for walls in itertools.product(*(range(-order, order + 1) for order in orders)):
        place = source.copy()
        for axis, count in enumerate(walls):
            # Step by step: each wall mirrors what the one before it has made.
            for step in range(abs(count)):
                is_far = (step % 2 == 0) == (count > 0)
                place[axis] = 2 * (room[axis] if is_far else 0.0) - place[axis]
        for index, microphone in enumerate(microphones):
            distance = np.linalg.norm(place - microphone)
            delay = round(16 * RATE * distance / 343)
            if delay < expected.shape[1]:
                expected[index, delay] += gain ** sum(map(abs, walls)) / distance
    spectrum = np.fft.rfft(expected)[:, :1001]
    found = image_response(
        *(torch.from_numpy(np.asarray(x)) for x in (room, gain, source, microphones)),
        sample_rate=RATE,
    )
    assert_allclose(found, np.fft.irfft(spectrum, 2000), atol=1e-12)


def test_without_reflections_a_pair_hears_delays() -> None:
    heard = hear_in_pairs(noise(40, 1, 4000), 0.0, sample_rate=RATE, generator=generator())[:, 0]
    first, second = torch.fft.rfft(heard.double(), 8192).unbind(1)
    # The phase falls in a straight line with the frequency, by at most 20 cm of delay.
    cross = (first * second.conj())[:, 400:3600]
    steps = torch.angle((cross[:, 40:] * cross[:, :-40].conj()).sum(1)) / 40
    delays = steps * 8192 / (2 * np.pi) / RATE
    assert float(delays.abs().max()) < 0.2 / 343 + 1e-5
    assert float(delays.abs().max()) > 0.1 / 343
    assert float(delays.min()) < 0 < float(delays.max())
    ratio = heard[:, 0].square().sum(1) / heard[:, 1].square().sum(1)
    assert float(ratio.min()) > 0.4
    assert float(ratio.max()) < 2.5


def test_each_source_keeps_its_level_in_a_room() -> None:
    sources = noise(3, 2, 4000) * torch.tensor([1.0, 0.01])[:, None]
    heard = hear_in_pairs(sources, 1.0, sample_rate=RATE, generator=generator())
    assert heard.shape == (3, 2, 2, 4000)
    assert_allclose(heard[:, :, 0].square().sum(-1), sources.square().sum(-1), rtol=1e-4)
    again = hear_in_pairs(sources, 1.0, sample_rate=RATE, generator=generator())
    assert torch.equal(heard, again)
    sources[0, 1] = 0.0  # of a mixture with fewer sources than others
    assert not hear_in_pairs(sources, 1.0, sample_rate=RATE, generator=generator())[0, 1].any()


def test_each_microphone_has_a_noise_of_its_own() -> None:
    mixtures = noise(4, 1, 4000).expand(4, 2, 4000)
    added = add_noise(mixtures, 1.0, generator=generator()) - mixtures
    level = added.square().mean(-1)
    assert_allclose(level[:, 0], level[:, 1], rtol=0.5)
    similar = (added[:, 0] * added[:, 1]).mean(-1) / level.mean(-1)
    assert float(similar.abs().max()) < 0.5


# -- batches --------------------------------------------------------------------------------------


def test_dynamic_mixing_is_heard_by_pairs() -> None:
    recordings = list(noise(4, 8000).numpy())
    mixing = DynamicMixing(room_share=1.0)
    bank = SourceBank(recordings, framing=PAIRS, mixing=mixing)
    mixtures, sources = bank.mixtures(200, 1000, generator())
    assert_allclose(mixtures[:, 0], sources.sum(1), atol=1e-5)
    is_single = ~mixtures[:, 1].any(1)
    assert 8 < int(is_single.sum()) < 40
    batch = bank.batch(3, 20, seed=0, step=0, with_spectrograms=True)
    assert batch.features.shape == (3, 20, 99)
    assert batch.labels.shape == (3, 20, 33)
    other = SourceBank(recordings, framing=PAIRS, mixing=DynamicMixing())
    assert not torch.equal(other.batch(3, 20, seed=0, step=0).features, batch.features)


def test_targets_are_of_the_first_microphone() -> None:
    sources, other = noise(2, 2, 304), noise(2, 304, seed=1)
    mixtures = torch.stack([sources.sum(1), other], dim=1)
    found = make_targets(mixtures, sources, PAIRS, with_spectrograms=True)
    expected = make_targets(
        sources.sum(1), sources, replace(PAIRS, hears_phases=False), with_spectrograms=True
    )
    assert_allclose(found.features[..., :33], expected.features, atol=2e-6)
    expected_phases = phase_differences(PAIRS.stft(sources.sum(1)), PAIRS.stft(other))
    assert_allclose(found.features[..., 33:], expected_phases, atol=1e-3)
    for name in ("labels", "weights", "mixture", "sources"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("has_labels", [False, True])
def test_given_arrays_are_heard_pair_by_pair(has_labels: bool) -> None:
    array, single = noise(3, 304).numpy(), noise(304, seed=1).numpy()
    y: list[Array] = [noise(2, 304, seed=2).numpy(), noise(2, 304, seed=3).numpy()]
    if has_labels:
        y = [np.random.default_rng(i).integers(-1, 2, (20, 33)) for i in range(2)]
    bank = MixtureBank([array, single], y, framing=PAIRS)
    features = bank.batch(60, 20, seed=0, step=0).features
    first, *others = PAIRS.stft(torch.from_numpy(array))
    expected = [PAIRS.features(first, other) for other in others]
    expected.append(PAIRS.features(PAIRS.stft(torch.from_numpy(single))))
    seen = [[torch.allclose(row, one, atol=1e-3) for one in expected] for row in features]
    assert np.sum(seen, axis=1).tolist() == [1] * 60
    assert (np.sum(seen, axis=0) > 5).all()


# -- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_layers", [2, 4])
def test_a_network_of_one_microphone_grows_to_pairs(bidirectional: bool, n_layers: int) -> None:
    shape: dict[str, Any] = {"n_bins": 33, "hidden_size": 8, "bidirectional": bidirectional}
    earlier = NetworkConfig(**shape, n_layers=2, embedding_dim=4)
    wanted = replace(earlier, trunk=PhaseBLSTM(residual=True), n_layers=n_layers)
    check_resumable(wanted, earlier)
    with torch.random.fork_rng(devices=[]):
        single, pair = EmbeddingNetwork(earlier), EmbeddingNetwork(wanted)
    single.set_input_statistics(3 * noise(50, 33) + 2)
    pair.take_weights(single)
    features = noise(2, 20, 99)
    assert_allclose(pair(features).detach(), single(features[..., :33]).detach(), atol=1e-6)
    pair(features)[..., 0].sum().backward()
    gradient = dict(pair.named_parameters())["trunk.weight_ih_l0"].grad
    assert gradient is not None
    assert gradient[:, 33:].any()  # what starts at 0 learns
    with pytest.raises(ValueError, match="name is blstm but was phase_blstm"):
        check_resumable(replace(earlier, trunk=BLSTM(residual=True), n_layers=n_layers), wanted)


def test_statistics_are_of_magnitudes_alone() -> None:
    config = NetworkConfig(33, 4, 8, trunk=PhaseBLSTM())
    with torch.random.fork_rng(devices=[]):
        network = EmbeddingNetwork(config)
    features = noise(2, 20, 99)
    network.set_input_statistics(features)
    assert_allclose(network.input_mean, features[..., :33].flatten(0, 1).mean(0), atol=1e-6)
    seen: list[Tensor] = []
    network.trunk.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    network(features)
    assert torch.equal(seen[0][..., 33:], features[..., 33:])
    assert_allclose(seen[0][..., :33].std((0, 1), correction=0), torch.ones(33), atol=1e-5)


def test_checkpoints_of_single_microphones_stay_what_they_are() -> None:
    with torch.random.fork_rng(devices=[]):
        network = EmbeddingNetwork(NetworkConfig(33, 4, 8))
    bank = SourceBank(list(noise(3, 2000).numpy()), framing=Framing(64, 16))
    identity = Trainer(network, bank, TrainingConfig()).identity()
    sizes = {"win_length": 64, "hop_length": 16, "activity_threshold_db": 40.0}
    assert identity["framing"] == sizes
    assert "phases" not in repr(identity)


# -- the separator --------------------------------------------------------------------------------


def in_room(n_mixtures: int, n_samples: int = 2000, seed: int = 0) -> tuple[list[Array], Any]:
    """What two microphones hear of two sources, and the sources at the first of them."""
    dry = torch.from_numpy(
        np.stack([make_sources(n_samples, seed=seed + i) for i in range(n_mixtures)])
    ).float()
    heard = hear_in_pairs(dry, 1.0, sample_rate=RATE, generator=generator(seed))
    heard -= heard.mean(-1, keepdim=True)  # offsets would be taken off
    return list(heard.sum(1).numpy()), list(heard[:, :, 0].numpy())


@pytest.fixture(scope="module")
def separator() -> DeepClusteringSeparator:
    return make_separator(trunk="phase_blstm", remix=False).fit(*in_room(4))


def with_more_microphones(n_samples: int = 2000) -> Array:
    (first,), _ = in_room(1, n_samples)
    (second,), _ = in_room(1, n_samples, seed=7)
    return np.concatenate([first, second])


def test_pairs_are_joined_side_by_side(separator: DeepClusteringSeparator) -> None:
    pipeline = separator.pipeline()
    spectrograms = PAIRS.stft(torch.from_numpy(with_more_microphones()))[:3]
    vectors = [
        pipeline.network(PAIRS.features(spectrograms[i], spectrograms[j])[None])[0].detach()
        for i, j in itertools.permutations(range(3), 2)
    ]
    joined = torch.cat(vectors, dim=-1)
    assert joined.shape[-1] == 3 * 2 * 4
    power = sum(spectrogram.abs() ** 2 for spectrogram in spectrograms)
    magnitudes = (power / 3) ** 0.5
    centroids = find_centroids(
        joined, PAIRS.activity(magnitudes), 2, weights=bin_weights(magnitudes), seed=0
    )
    found = joined_masks([replace(pipeline, seed=0)], spectrograms, 2)
    assert_allclose(found, pipeline.cluster_masks(joined, centroids), atol=1e-4)


@pytest.mark.parametrize("n_microphones", [2, 3, 4])
def test_the_order_of_microphones_does_not_matter(
    separator: DeepClusteringSeparator, n_microphones: int
) -> None:
    recording = with_more_microphones()[:n_microphones]
    expected = separate_array(separator, recording, reference=1)
    assert_allclose(expected.sum(0), recording[1], atol=1e-4)
    order = np.roll(np.arange(n_microphones), 1)
    found = separate_array(
        separator, recording[order], reference=int(np.flatnonzero(order == 1)[0])
    )
    assert_allclose(found, expected, atol=1e-3 * np.abs(recording).max())


def test_masks_of_the_head_are_joined_too() -> None:
    objective = "whitened_kmeans + mask_inference"
    X, y = in_room(3)
    separator = make_separator(
        trunk=PhaseBLSTM(), remix=False, objective=objective, mask="head"
    ).fit(X, y)
    assert_allclose(separate_array(separator, X[0]).sum(0), X[0][0], atol=1e-4)
    assert separate_array(separator, X[0], n_sources=3).shape == (3, 2000)


def test_arrays_come_as_lists_or_as_one_array_or_as_files(
    separator: DeepClusteringSeparator, tmp_path: Path
) -> None:
    X, y = in_room(4)
    expected = separator.score(X, y)
    assert separator.score(np.stack(X), np.stack(y)) == pytest.approx(expected, abs=1e-6)
    by_hand = [
        si_sdr_improvement(sources, separate_array(separator, recording), recording[0])
        for recording, sources in zip(X, y, strict=True)
    ]
    assert expected == pytest.approx(np.mean(by_hand), abs=1e-3)
    again = make_separator(trunk="phase_blstm", remix=False).fit(np.stack(X), np.stack(y))
    assert_array_equal(again.transform(X[0][0]), separator.transform(X[0][0]))
    paths = [tmp_path / f"{i}.wav" for i in range(4)]
    for path, recording in zip(paths, X, strict=True):
        write_audio(path, recording / np.abs(recording).max(), RATE)
    files = AudioFiles(paths, sample_rate=RATE, mono=False)
    scaled = [sources / np.abs(recording).max() for recording, sources in zip(X, y, strict=True)]
    assert separator.score(files, scaled) == pytest.approx(expected, abs=0.1)


def test_label_maps_of_arrays(separator: DeepClusteringSeparator) -> None:
    X, y = in_room(4)
    labels = [PAIRS.stft(torch.from_numpy(sources)).abs().argmax(0).numpy() for sources in y]
    assert 0.5 <= separator.score(X, labels) <= 1
    fitted = make_separator(trunk="phase_blstm").fit(X, labels, X_val=X, y_val=labels)
    assert fitted.history_[-1]["validation_loss"] > 0


def test_model_files_of_pairs(separator: DeepClusteringSeparator, tmp_path: Path) -> None:
    separator.save(tmp_path / "pairs.safetensors")
    loaded = DeepClusteringSeparator.load(tmp_path / "pairs.safetensors", device="cpu")
    assert loaded.network_.config.trunk == PhaseBLSTM()
    recording = with_more_microphones()
    assert_array_equal(separate_array(loaded, recording), separate_array(separator, recording))


def test_a_single_microphone_is_a_pair_whose_other_one_is_silent(
    separator: DeepClusteringSeparator,
) -> None:
    mixture = in_room(1)[0][0][0]
    spectrogram = PAIRS.stft(torch.from_numpy(mixture / np.abs(mixture).max()))
    features = PAIRS.features(spectrogram, torch.zeros_like(spectrogram))
    expected = separator.network_(features[None])[0].detach()
    assert_allclose(separator.transform(mixture), expected, atol=1e-5)
    assert_allclose(separator.predict(mixture).sum(0), mixture, atol=1e-5)
    stream = StreamingSeparator(separator)
    sources = np.concatenate([stream.push(mixture), stream.flush()], axis=1)
    assert_allclose(sources.sum(0), mixture, atol=1e-5)


def test_a_fitted_separator_learns_to_hear_pairs_of_simulated_rooms() -> None:
    recordings = [make_sources(4000, n_sources=1, seed=seed)[0] for seed in range(22)]
    separator = make_separator(n_layers=2).fit_recordings(recordings)
    alone = separator.transform(recordings[0])
    separator.set_params(
        trunk=PhaseBLSTM(residual=True), warm_start=True, n_iter_no_change=5, max_epochs=1
    )
    separator.fit_recordings(recordings)
    assert separator.network_.config.trunk.hears_phases
    assert "validation_si_sdr_improvement" in separator.history_[-1]
    assert np.abs(separator.transform(recordings[0]) - alone).max() > 0
    assert separator.get_params()["trunk__residual"] is True


class OfOneColour:
    """White noises from two places, in turns of a few frames in every band."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        framing = Framing(64, 16)
        shape = 40, 33
        is_first = torch.from_numpy(rng.random((10, 11)) < 0.5)
        is_first = is_first.repeat_interleave(4, 0).repeat_interleave(3, 1)[: shape[0], : shape[1]]
        spectrum = torch.from_numpy(rng.standard_normal((2, *shape, 2))).float()
        spectrum = torch.view_as_complex(spectrum)
        gates = torch.stack([is_first, ~is_first])
        dry = framing.istft(spectrum * gates, framing.segment_samples(shape[0])).numpy()
        self.sources = dry
        # Two samples earlier or later at the other microphone.
        self.heard = np.stack(
            [dry.sum(0), np.roll(dry[0], 2, axis=-1) + np.roll(dry[1], -2, axis=-1)]
        )


@pytest.mark.slow
def test_what_sounds_alike_is_told_apart_by_its_place() -> None:
    items = [OfOneColour(seed) for seed in range(40)]
    labels = [PAIRS.stft(torch.from_numpy(item.sources)).abs().argmax(0).numpy() for item in items]
    agreements = {}
    for trunk in ("blstm", "phase_blstm"):
        X = [item.heard if trunk == "phase_blstm" else item.heard[0] for item in items]
        settings = {"hidden_size": 32, "batch_size": 8, "segment_frames": 40, "max_epochs": 80}
        separator = make_separator(trunk=trunk, learning_rate=1e-2, **settings)
        separator.fit(X[:30], labels[:30])
        agreements[trunk] = separator.score(X[30:], labels[30:])
    assert agreements["phase_blstm"] > 0.8, agreements
    assert agreements["blstm"] < 0.65, agreements


def test_what_cannot_be_done_is_said() -> None:
    X, y = in_room(3)
    with pytest.raises(ValueError, match=r"X\[0\] is of several microphones.*set remix=False"):
        make_separator(trunk="phase_blstm").fit(X, y)
    with pytest.raises(ValueError, match=r"X\[0\] has shape \(2, 2000\); a recording is one"):
        make_separator(remix=False).fit(X, y)
    with pytest.raises(ValueError, match=r"X\[1\] is silent: all its samples are 0"):
        make_separator(trunk="phase_blstm", remix=False).fit([X[0], 0 * X[1]], y[:2])
    with pytest.raises(ValueError, match=r"X\[1\] is silent: all its samples are the same, 0.5"):
        make_separator(trunk="phase_blstm", remix=False).fit([X[0], 0 * X[1] + 0.5], y[:2])
    with pytest.raises(ValueError, match=r"y\[0\] has 1999 samples but its mixture has 2000"):
        make_separator(trunk="phase_blstm", remix=False).fit(X[:1], [y[0][:, :1999]])
    dry = [make_sources(2000, seed=seed) for seed in range(2)]
    mixtures = [sources.sum(0) for sources in dry]
    separator = make_separator(warm_start=True).fit(mixtures, dry)
    with pytest.raises(ValueError, match="cannot train on from the present weights: name is"):
        separator.set_params(trunk="phase_blstm").partial_fit(mixtures, dry)


# -- several networks -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single() -> DeepClusteringSeparator:
    """A separator that hears single microphones, with windows as those of the pairs."""
    X, y = in_room(4)
    return make_separator(embedding_dim=3, random_state=5).fit([pair[0] for pair in X], y)


@pytest.mark.parametrize("n_microphones", [1, 2, 3])
def test_several_networks_are_joined_side_by_side(
    separator: DeepClusteringSeparator, single: DeepClusteringSeparator, n_microphones: int
) -> None:
    pipelines = [replace(s.pipeline(), seed=0) for s in (single, separator)]
    spectrograms = PAIRS.stft(torch.from_numpy(with_more_microphones()))[:n_microphones]

    def unit_vectors(network: EmbeddingNetwork, features: Tensor) -> Tensor:
        return torch.nn.functional.normalize(network(features[None])[0].detach(), dim=-1)

    alone = [unit_vectors(pipelines[0].network, log_magnitude(x)) for x in spectrograms]
    heard = [
        PAIRS.features(spectrograms[i], spectrograms[j])
        for i, j in itertools.permutations(range(n_microphones), 2)
    ] or [PAIRS.features(spectrograms[0])]
    together = [unit_vectors(pipelines[1].network, features) for features in heard]
    # Each network has a vector of length 1, but for what microphones disagree about.
    means = torch.stack(alone).mean(0)
    joined = torch.cat([means, torch.cat(together, dim=-1) / len(heard) ** 0.5], dim=-1)
    magnitudes = spectrograms.abs().square().mean(0).sqrt()
    centroids = find_centroids(
        joined, PAIRS.activity(magnitudes), 2, weights=bin_weights(magnitudes), seed=0
    )
    found = joined_masks(pipelines, spectrograms, 2)
    assert_allclose(found, pipelines[0].cluster_masks(joined, centroids), atol=1e-4)


def test_several_separators_at_once(
    separator: DeepClusteringSeparator, single: DeepClusteringSeparator
) -> None:
    recording = with_more_microphones()
    found = separate_array((single, separator), recording, n_sources=3)
    assert found.shape == (3, 2000)
    assert_allclose(found.sum(0), recording[0], atol=1e-4)
    assert_array_equal(separate_array([single], recording), separate_array(single, recording))
    # Masks of a mask head are those of one network, so several have the masks of their embeddings.
    headed = make_separator(
        trunk=PhaseBLSTM(), remix=False, objective="whitened_kmeans + mask_inference", mask="head"
    ).fit(*in_room(3))
    found = separate_array([headed, single], recording)
    assert_array_equal(separate_array([headed.set_params(mask="soft"), single], recording), found)


def test_separators_that_do_not_fit_together(
    separator: DeepClusteringSeparator, single: DeepClusteringSeparator
) -> None:
    recording = with_more_microphones()
    with pytest.raises(ValueError, match="got an empty list"):
        separate_array([], recording)
    with pytest.raises(TypeError, match="expected a fitted DeepClusteringSeparator"):
        separate_array([single, "speech-8k"], recording)  # type: ignore[list-item]
    X, y = in_room(4)
    other = make_separator(hop_length=32).fit([pair[0] for pair in X], y)
    with pytest.raises(
        ValueError,
        match=r"separator\[1\] works at 8000 Hz with windows of 64 samples and hops of 32, "
        r"separator\[0\] at .* hops of 16",
    ):
        separate_array([single, other], recording)
