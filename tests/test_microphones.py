"""Several microphones: against loops over bins, and better than one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional

from skdc import DeepClusteringSeparator, load_pretrained, separate_array
from skdc.exceptions import AudioWarning
from skdc.metrics import si_sdr_improvement
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.separation import (
    Separator,
    mvdr_weights,
    spatial_covariances,
    spatial_masks,
    wiener_filter,
)
from skdc.signal import Framing

N_CHANNELS, N_FRAMES, N_BINS, N_SOURCES = 3, 12, 4, 2
Complex = NDArray[np.complex128]


@pytest.fixture
def spectrograms() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (N_CHANNELS, N_FRAMES, N_BINS)
    return torch.randn(shape, generator=generator, dtype=torch.complex128)


@pytest.fixture
def masks() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(N_SOURCES, N_FRAMES, N_BINS, generator=generator).double().softmax(0)


# -- oracles: loops over sources, frequencies and frames ------------------------------------------


def naive_covariance(sounds: Complex, weights: NDArray[np.float64]) -> Complex:
    """That of one source in one bin; sounds are ``(n_channels, n_frames)``."""
    total = np.zeros((N_CHANNELS, N_CHANNELS), complex)
    for frame, weight in enumerate(weights):
        total += weight * np.outer(sounds[:, frame], sounds[:, frame].conj())
    return total / weights.sum()


def loaded(covariance: Complex, loading: float) -> Complex:
    return covariance + loading * np.trace(covariance).real / N_CHANNELS * np.eye(N_CHANNELS)


def test_covariances(spectrograms: Tensor, masks: Tensor) -> None:
    found = spatial_covariances(spectrograms, masks).numpy()
    for source, frequency in np.ndindex(N_SOURCES, N_BINS):
        expected = naive_covariance(
            spectrograms[:, :, frequency].numpy(), masks[source, :, frequency].numpy()
        )
        np.testing.assert_allclose(found[source, frequency], expected)


@pytest.mark.parametrize("reference", [0, 2])
def test_mvdr(spectrograms: Tensor, masks: Tensor, reference: int) -> None:
    source = spatial_covariances(spectrograms, masks)
    noise = spatial_covariances(spectrograms, 1 - masks)
    found = mvdr_weights(source, noise, reference).numpy()
    for index in np.ndindex(N_SOURCES, N_BINS):
        ratio = np.linalg.inv(loaded(noise[index].numpy(), 1e-5)) @ source[index].numpy()
        np.testing.assert_allclose(found[index], (ratio / np.trace(ratio))[:, reference])


def test_mvdr_is_that_of_torchaudio() -> None:
    """Frozen from ``mvdr_weights_souden`` of torchaudio 2.11.0; the loading is what differs.

    ``torchaudio.functional.mvdr_weights_souden(torch.from_numpy(source)[None],
    torch.from_numpy(noise)[None], 1, diagonal_loading=False)``
    """
    half = np.exp(1j * np.arange(1, 10).reshape(3, 3) ** 2)
    source = np.outer(half[0], half[0].conj()) + 0.1 * np.outer(half[1], half[1].conj())
    noise = half @ half.conj().T + np.eye(3)
    found = mvdr_weights(torch.from_numpy(source), torch.from_numpy(noise), 1).numpy()
    expected = [(-0.205423 - 0.009397j), (0.363776 + 0.182052j), (-0.04071 - 0.457062j)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_mvdr_passes_a_source_as_its_microphone_hears_it() -> None:
    steering = np.array([1.0, 0.5j, -0.3 + 0.1j])
    noise = np.diag([1.0, 2.0, 3.0]) + 0.3 * np.ones((3, 3))
    weights = mvdr_weights(
        torch.from_numpy(4 * np.outer(steering, steering.conj())),
        torch.from_numpy(noise.astype(complex)),
        1,
    ).numpy()
    assert weights.conj() @ steering == pytest.approx(steering[1])
    # The classic form: of all filters that do so, the one with the least noise.
    inverse = np.linalg.inv(loaded(noise.astype(complex), 1e-5)) @ steering
    expected = inverse / (steering.conj() @ inverse) * steering[1].conj()
    np.testing.assert_allclose(weights, expected)


def test_mvdr_of_nothing_is_the_microphone() -> None:
    nothing = torch.zeros(2, 3, 3, dtype=torch.complex128)
    assert mvdr_weights(nothing, nothing, 1).tolist() == [[0, 1, 0]] * 2


def test_spatial_masks(spectrograms: Tensor, masks: Tensor) -> None:
    found = spatial_masks(spectrograms, masks, n_iter=3).numpy()
    prior = masks.numpy()
    for frequency in range(N_BINS):
        sounds = spectrograms[:, :, frequency].numpy()
        directions = sounds / np.linalg.norm(sounds, axis=0)
        expected, fits = prior[:, :, frequency], np.ones((N_SOURCES, N_FRAMES))
        for _ in range(3):
            likelihoods = np.empty((N_SOURCES, N_FRAMES))
            previous, fits = fits, np.empty_like(fits)
            for source in range(N_SOURCES):
                weights = expected[source] / previous[source]
                spread = naive_covariance(directions, weights) * weights.sum()
                spread = loaded(N_CHANNELS * spread / expected[source].sum(), 1e-5)
                for frame in range(N_FRAMES):
                    z = directions[:, frame]
                    fits[source, frame] = (z.conj() @ np.linalg.inv(spread) @ z).real
                density = np.linalg.det(spread).real * fits[source] ** N_CHANNELS
                likelihoods[source] = 1 / density
            expected = prior[:, :, frequency] * likelihoods
            expected = expected / expected.sum(axis=0)
        np.testing.assert_allclose(found[:, :, frequency], expected, rtol=1e-6)


@pytest.mark.parametrize("n_iter", [0, 1, 3])
@pytest.mark.parametrize("reference", [0, 2])
def test_wiener(
    spectrograms: Tensor,
    masks: Tensor,
    reference: int,
    n_iter: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("skdc.separation.microphones._CHUNK_BINS", 2 * N_FRAMES)
    found = wiener_filter(spectrograms, masks, reference, n_iter).numpy()
    for frequency in range(N_BINS):
        sounds, shares = spectrograms[:, :, frequency].numpy(), masks[:, :, frequency].numpy()
        power = np.mean(np.abs(sounds) ** 2, axis=0)
        powers = shares * power
        spreads = [
            loaded(
                naive_covariance(sounds, share / power) * (share / power).sum() / share.sum(), 1e-3
            )
            for share in shares
        ]
        for _ in range(n_iter):
            powers, spreads = naive_full_rank(sounds, powers, spreads)
        for frame in range(N_FRAMES):
            heard = [powers[i, frame] * spreads[i] for i in range(N_SOURCES)]
            for source in range(N_SOURCES):
                expected = heard[source] @ np.linalg.inv(sum(heard)) @ sounds[:, frame]
                np.testing.assert_allclose(
                    found[source, frame, frequency], expected[reference], rtol=1e-6
                )


def naive_full_rank(
    sounds: Complex, powers: NDArray[np.float64], spreads: list[Complex]
) -> tuple[NDArray[np.float64], list[Complex]]:
    """Iterate as Duong, Vincent and Gribonval (2010) write it, eqs. (27) to (33)."""
    likelier = np.empty_like(powers)
    moments: list[list[Complex]] = []
    for source, spread in enumerate(spreads):
        moments.append([])
        for frame in range(N_FRAMES):
            own = powers[source, frame] * spread
            heard = sum(powers[i, frame] * spreads[i] for i in range(N_SOURCES))
            filters = own @ np.linalg.inv(heard)
            image = filters @ sounds[:, frame]
            moments[source].append(
                np.outer(image, image.conj()) + (np.eye(N_CHANNELS) - filters) @ own
            )
            ratio = np.linalg.inv(spread) @ moments[source][frame]
            likelier[source, frame] = np.trace(ratio).real / N_CHANNELS
    means = [
        np.mean([m / v for m, v in zip(moments[i], likelier[i], strict=True)], axis=0)
        for i in range(N_SOURCES)
    ]
    return likelier, [loaded(mean, 1e-5) for mean in means]


def test_one_microphone_knows_no_directions(masks: Tensor) -> None:
    one = torch.randn(1, N_FRAMES, N_BINS, dtype=torch.complex128)
    torch.testing.assert_close(spatial_masks(one, masks), masks)
    torch.testing.assert_close(wiener_filter(one, masks), masks * one)


@pytest.mark.parametrize("n_iter", [0, 8])
@pytest.mark.parametrize("gain", [0.0, 1e-150, 1e100])
def test_sources_sum_to_the_microphone_at_any_level(
    spectrograms: Tensor, masks: Tensor, gain: float, n_iter: int
) -> None:
    scaled = gain * spectrograms
    scaled[:, 3:5] = 0  # a moment of silence
    found = wiener_filter(scaled, spatial_masks(scaled, masks), 1, n_iter)
    torch.testing.assert_close(found.sum(0), scaled[1], rtol=1e-6, atol=1e-8 * gain)


# -- recordings -----------------------------------------------------------------------------------


class Unsure(nn.Module):
    """Says which source a bin is from, in a third of all bins at random."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        shape = features.shape
        is_second = (torch.arange(shape[1]) // 32 % 2).view(1, -1, 1).expand(shape) == 1
        is_wrong = torch.rand(shape, generator=torch.Generator().manual_seed(5)) < 0.3
        return self.scale * functional.one_hot((is_second ^ is_wrong).long(), 2).float()


class UnsureNetwork(EmbeddingNetwork):
    def __init__(self, n_masks: int) -> None:
        super().__init__(NetworkConfig(embedding_dim=2, hidden_size=1, n_masks=n_masks))
        self.embed: Any = Unsure(1.0)
        self.mask_head: Any = Unsure(3.0) if n_masks else None

    def step(self, features: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return features, None


def fake(n_masks: int = 0, **options: Any) -> Any:
    """A separator that was fitted, of a network that was not."""
    pipeline = Separator(UnsureNetwork(n_masks).eval(), Framing(), **options)
    return SimpleNamespace(
        n_sources=2, sample_rate=8000, input_rate=None, pipeline=lambda: pipeline
    )


def in_turns(n_samples: int = 16_000) -> NDArray[np.float64]:
    """Images of two noises that take turns every 32 frames: ``(2, n_channels, n_samples)``."""
    rng = np.random.default_rng(0)
    is_second = (np.arange(n_samples) + 32) // 2048 % 2
    gates = np.stack([1.0 - 0.8 * is_second, 0.2 + 0.8 * is_second])
    noises = rng.standard_normal((2, n_samples)) * gates
    delays = [[0, 2, 5, 6], [5, 4, 1, 0]]
    return np.stack(
        [
            [np.roll(noise, delay) for delay in row]
            for noise, row in zip(noises, delays, strict=True)
        ]
    )


def in_a_room(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add reverberation as loud as the direct sound, with a T60 of 0.4 s."""
    rng = np.random.default_rng(0)
    tails = rng.standard_normal((*images.shape[:2], 1600)) * 10 ** (-3 * np.arange(1600) / 3200)
    tails /= np.linalg.norm(tails, axis=-1, keepdims=True)
    n_samples = images.shape[-1]
    return images + fftconvolve(images, tails, axes=-1)[..., :n_samples]


@pytest.mark.parametrize("options", [{}, {"mask": "binary"}, {"mask": "head", "n_masks": 2}])
def test_microphones_correct_what_the_network_is_unsure_of(options: dict[str, Any]) -> None:
    images = in_a_room(in_turns())
    scores = []
    for n_channels in (1, 2, 4):
        recording = images[:, :n_channels].sum(axis=0)
        found = separate_array(fake(**options), recording)
        np.testing.assert_allclose(found.sum(axis=0), recording[0], atol=1e-4)
        scores.append(si_sdr_improvement(images[:, 0], found, recording[0]).mean())
    assert scores[1] > scores[0] + 3, scores
    assert scores[2] > scores[1] + 0.5, scores


def naive_stft(waveform: NDArray[np.float64], win_length: int, hop: int) -> Complex:
    window = np.sin(np.pi * np.arange(win_length) / win_length)
    n_frames = -(-len(waveform) // hop) + 1
    padded = np.zeros((n_frames - 1) * hop + win_length)
    padded[win_length // 2 : win_length // 2 + len(waveform)] = waveform
    return np.array(
        [np.fft.rfft(window * padded[i * hop : i * hop + win_length]) for i in range(n_frames)]
    )


def naive_istft(frames: Complex, n_samples: int, win_length: int, hop: int) -> NDArray[np.float64]:
    window = np.sin(np.pi * np.arange(win_length) / win_length)
    sums = np.zeros((len(frames) - 1) * hop + win_length)
    weights = np.zeros_like(sums)
    for index, frame in enumerate(frames):
        covered = slice(index * hop, index * hop + win_length)
        sums[covered] += window * np.fft.irfft(frame, win_length)
        weights[covered] += window**2
    middle = slice(win_length // 2, win_length // 2 + n_samples)
    return sums[middle] / weights[middle]


@pytest.mark.parametrize("n_channels", [1, 3])
def test_what_was_found_guides_filters_of_longer_windows(
    n_channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = in_turns(4000)[:, :n_channels].sum(axis=0)
    n_frames = 4000 // 64 + 2
    shares = np.random.default_rng(3).uniform(0.1, 0.9, (n_frames, 129))
    shares = np.stack([shares, 1 - shares])
    monkeypatch.setattr(
        "skdc.separation.microphones.joined_masks",
        lambda *args: torch.from_numpy(shares).float(),
    )
    found = separate_array(fake(), recording)
    expected: list[NDArray[np.float64]] = []
    # 32, 128 and 256 ms; a single microphone has filters of the first window only.
    windows = ((256, 64), (1024, 256), (2048, 512))
    for win_length, hop in windows[: 1 if n_channels == 1 else 3]:
        channels = np.array([naive_stft(channel, win_length, hop) for channel in recording])
        if expected:
            heard = np.array([np.abs(naive_stft(x, win_length, hop)) for x in expected])
            shares = heard / heard.sum(axis=0)
        seen, masks = torch.from_numpy(channels), torch.from_numpy(shares)
        # More microphones than sources: the last filters go on to what explains more.
        n_iter = 8 if n_channels == 3 and win_length == 2048 else 0
        filtered = wiener_filter(seen, spatial_masks(seen, masks, n_iter=2), 0, n_iter).numpy()
        expected = [naive_istft(frames, 4000, win_length, hop) for frames in filtered]
    # As the reference hears them, the one with most energy comes first.
    expected = [expected[i] for i in np.argsort([-np.square(np.abs(x)).sum() for x in filtered])]
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(recording).max())


def test_longer_windows_hold_more_of_a_reverberation(monkeypatch: pytest.MonkeyPatch) -> None:
    images = in_a_room(in_turns())
    recording = images.sum(axis=0)
    scores = []
    for windows in ((), (0.128, 0.256)):
        monkeypatch.setattr("skdc.separation.microphones._FILTER_WINDOWS", windows)
        for method in ("wiener", "mvdr"):
            found = separate_array(fake(), recording, method=method)
            scores.append(si_sdr_improvement(images[:, 0], found, recording[0]).mean())
    assert scores[2] > scores[0] + 3, scores
    assert scores[3] > scores[1] + 3, scores


def test_mvdr_of_a_recording() -> None:
    images = in_turns()
    recording = images.sum(axis=0)
    found = separate_array(fake(), recording, reference=2, method="mvdr")
    assert si_sdr_improvement(images[:, 2], found, recording[2]).mean() > 8


@pytest.fixture(scope="module")
def separator() -> DeepClusteringSeparator:
    images = in_turns(4000)[:, :1].repeat(4, axis=1).swapaxes(0, 1)  # (mixtures, sources, n)
    return make_separator().fit(images.sum(axis=1), images)


def test_one_microphone_is_what_predict_gives(separator: DeepClusteringSeparator) -> None:
    recording = in_turns(4000)[:, 0].sum(axis=0).astype(np.float32)
    expected = separator.predict(recording)
    found = separate_array(separator, recording[None])
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(recording).max())


def test_other_numbers_of_sources(separator: DeepClusteringSeparator) -> None:
    recording = in_turns(4000).sum(axis=0)
    assert separate_array(separator, recording, n_sources=3).shape == (3, 4000)
    counted = separate_array(separator, recording, n_sources="auto")
    separator.n_sources = "auto"
    np.testing.assert_array_equal(separate_array(separator, recording), counted)
    separator.n_sources = 2
    with pytest.warns(AudioWarning, match=r"of 2 microphones .* are silent and left out: 0, 1"):
        silent = separate_array(separator, np.zeros((2, 4000)))
    np.testing.assert_array_equal(silent, np.zeros((2, 4000)))


def test_a_mask_head_does_not_tell_the_number_of_sources() -> None:
    images = in_turns(4000)[:, :1].repeat(4, axis=1).swapaxes(0, 1)
    objective = "balanced_affinity + mask_inference"
    separator = make_separator(objective=objective, mask="head").fit(images.sum(axis=1), images)
    recording = in_turns(4000)[:, 0].sum(axis=0).astype(np.float32)
    counted = separator.predict(recording, n_sources="auto")
    found = separate_array(separator, recording[None], n_sources="auto")
    assert len(found) == len(counted)
    assert len(separate_array(separator, recording[None], n_sources=2)) == 2


def test_the_clusterer_of_the_first_model_tells_the_number_of_sources() -> None:
    recording = in_turns(16_000).sum(axis=0)
    first = load_pretrained("speech-2mix-8k-small").set_params(clusterer=KMeans(3, n_init=1))
    models = [first, load_pretrained("speech-2mix-8k-small")]
    assert separate_array(models, recording, n_sources="auto").shape == (3, 16_000)


@pytest.mark.parametrize("method", ["wiener", "mvdr"])
def test_the_loudest_at_the_reference_comes_first(method: Any) -> None:
    levels = np.array([[1.0, 0.2], [0.2, 1.0]])
    recording = (levels.T[:, :, None] * in_turns()[:, :2]).sum(axis=0)
    for reference in (0, 1):
        found = separate_array(fake(), recording, reference=reference, method=method)
        first, second = np.abs(found).sum(axis=1)
        assert first > 1.5 * second


def test_the_level_does_not_matter(separator: DeepClusteringSeparator) -> None:
    recording = in_turns(4000).sum(axis=0)
    expected = separate_array(separator, recording)
    for gain in (1e-20, 1e20):
        found = separate_array(separator, gain * recording) / gain
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("method", ["wiener", "mvdr"])
@pytest.mark.parametrize("reference", [0, 1])
def test_how_loud_a_microphone_records_does_not_matter(method: Any, reference: int) -> None:
    images = in_turns()[:, :3]
    recording = images.sum(axis=0)
    options: dict[str, Any] = {"reference": reference, "method": method}
    expected = separate_array(fake(), recording, **options)
    for gains in ([1, 1e-3, 1], [1e-4, 1, 30], [1, -1e-9, 1e9], [1e-30, 1, 1e30]):
        found = separate_array(fake(), np.array(gains)[:, None] * recording, **options)
        np.testing.assert_allclose(found / gains[reference], expected, atol=5e-3)


@pytest.mark.parametrize("method", ["wiener", "mvdr"])
@pytest.mark.parametrize("told", [0.0, 0.3])  # silent, or all offset
def test_dead_microphones_are_left_out(method: Any, told: float) -> None:
    recording = in_turns().sum(axis=0)
    for dead in ([1], [0, 2], [0, 1, 3]):
        live = [index for index in range(4) if index not in dead]
        broken = recording.copy()
        broken[dead] = told
        expected = separate_array(fake(), recording[live], method=method)
        with pytest.warns(AudioWarning, match=f"silent and left out: {dead[0]}"):
            found = separate_array(fake(), broken, method=method, reference=live[0])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        with pytest.warns(AudioWarning, match="silent and left out"):
            nothing = separate_array(fake(), broken, method=method, reference=dead[0])
        np.testing.assert_allclose(nothing, np.full_like(expected, told / 2), atol=1e-7)


@pytest.mark.parametrize("method", ["wiener", "mvdr"])
def test_copies_of_a_channel_are_left_out(method: Any) -> None:
    recording = in_turns()[:, :2].sum(axis=0)
    steps = np.round(0.01 * recording[:1] * 32768) / 32768  # as of 16 bits
    cases = [(recording[[0, 0, 1]], [0, 2]), (np.vstack([recording, 0.01 * -steps]), [0, 1])]
    for copies, kept in cases:
        expected = separate_array(fake(), copies[kept], method=method)
        with pytest.warns(AudioWarning, match="of 3 microphones .* the same as others and left"):
            found = separate_array(fake(), copies, method=method)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # One that is told as the reference stays.
    with pytest.warns(AudioWarning, match="the same as others and left out: 0"):
        found = separate_array(fake(), recording[[0, 0]] * [[1], [-3]], method=method, reference=1)
    one = separate_array(fake(), recording[:1])
    np.testing.assert_allclose(found, -3 * one, atol=1e-4)


def test_one_microphone_has_no_filter() -> None:
    recording = in_turns()[:, :1].sum(axis=0)
    expected = separate_array(fake(), recording)
    np.testing.assert_array_equal(separate_array(fake(), recording, method="mvdr"), expected)


@pytest.mark.parametrize("method", ["wiener", "mvdr"])
def test_offsets_do_not_matter(method: Any) -> None:
    recording = in_turns().sum(axis=0)
    recording -= recording.mean(axis=1, keepdims=True)
    expected = separate_array(fake(), recording, method=method)
    offsets = np.array([0.5, 0, -30.0, 0])[:, None]
    found = separate_array(fake(), recording + offsets, method=method)
    np.testing.assert_allclose(found, expected + 0.25, atol=1e-4)


def test_scores_are_those_of_what_is_separated() -> None:
    images = in_turns(4000)
    recording, references = images.sum(axis=0), images[:, 0]
    separator = make_separator(trunk="phase_blstm", remix=False)
    separator.fit([recording], [references])
    recording[2] *= 1e-3
    found = separate_array(separator, recording)
    expected = si_sdr_improvement(references, found, recording[0]).mean()
    assert separator.score([recording], [references]) == pytest.approx(expected, abs=0.05)


def test_what_is_no_recording_is_refused() -> None:
    good = np.ones((2, 400))
    with pytest.raises(TypeError, match="type int16; give floats"):
        separate_array(fake(), good.astype(np.int16))
    for shape in ((400,), (0, 400), (1, 2, 400)):
        with pytest.raises(ValueError, match=r"give \(n_channels, n_samples\)"):
            separate_array(fake(), np.ones(shape))
    with pytest.raises(ValueError, match="255 samples; at least 256"):
        separate_array(fake(), good[:, :255])
    for shape in ((400, 2), (65, 800)):
        with pytest.raises(ValueError, match=rf"{shape[0]} channels of {shape[1]} samples; give"):
            separate_array(fake(), np.ones(shape))
    with pytest.raises(ValueError, match="the recording contains NaN"):
        separate_array(fake(), np.full((2, 400), np.nan))
    references: list[Any] = [-1, 2, 1.0, True, "0", None]
    for reference in references:
        with pytest.raises(
            ValueError, match=f"reference={reference!r} of 2 microphones; give 0 to 1"
        ):
            separate_array(fake(), good, reference=reference)
    with pytest.raises(ValueError, match="method='delay'; give 'wiener' or 'mvdr'"):
        separate_array(fake(), good, method="delay")  # type: ignore[arg-type]
