"""Noise kept out of the sources: the noise head, and where what it hears goes."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import make_separator, make_sources
from numpy.testing import assert_allclose, assert_array_equal

import skdc
from skdc import DeepClusteringSeparator, load_pretrained
from skdc.audio import read_audio, write_audio
from skdc.cli import main
from skdc.datasets import load_sample_mixture
from skdc.metrics import si_sdr_improvement
from skdc.model_file import read_tensors, write_tensors
from skdc.network.noise import NoiseHead
from skdc.network.quantized import from_int8, to_int8
from skdc.training.heads import _falling_rate as falling_rate
from skdc.training.noise import train_noise_head


@pytest.fixture(scope="module")
def plain() -> DeepClusteringSeparator:
    y = np.stack([make_sources(4000, seed=seed) for seed in range(4)])
    return make_separator().fit(y.sum(axis=1), y)


@pytest.fixture(scope="module")
def separator(plain: DeepClusteringSeparator) -> DeepClusteringSeparator:
    """With a noise head whose shares differ from bin to bin."""
    hearing = copy.deepcopy(plain)
    network = hearing.network_
    torch.manual_seed(0)
    head = NoiseHead(network.trunk.bands, network.trunk.width)
    torch.nn.init.normal_(head.states.weight, std=2.0)
    torch.nn.init.normal_(head.out.weight)
    network.set_heads(noise=head.requires_grad_(False))
    return hearing


def recording(seconds: float = 0.5, rate: int = 8000) -> np.ndarray:
    return make_sources(int(seconds * rate), seed=9).sum(axis=0).astype(np.float32)


def naive_share(head: NoiseHead, states: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """One mixture, bin by bin: ``(n_frames, n_bins)``."""
    weights = {name: w.double().numpy() for name, w in head.state_dict().items()}
    n_frames, n_bins = magnitude.shape
    power = magnitude.astype(float) ** 2
    level = np.log(power / power.mean() + 1e-6) / 4
    quantiles = np.quantile(level, [0.05, 0.15, 0.3, 0.5, 0.8], axis=0)
    seen = np.zeros((10, n_frames + 2, n_bins + 2))  # with a border of zeros
    logits = np.zeros((n_frames, n_bins))
    for t, f in np.ndindex(n_frames, n_bins):
        state = states[t, [first <= f < end for first, end in head.states.bands].index(True)]
        rows = slice(5 * f, 5 * f + 5)
        own = weights["states.weight"][rows] @ state + weights["states.bias"][rows]
        logits[t, f] = own[0]
        seen[:4, t + 1, f + 1] = own[1:]
        seen[4:9, t + 1, f + 1] = level[t, f] - quantiles[:, f]
        seen[9, t + 1, f + 1] = quantiles[3, f] - quantiles[0, f]
    for name in ("near", "around"):
        w, b = weights[f"{name}.weight"], weights[f"{name}.bias"]
        after = np.zeros((len(w), n_frames + 2, n_bins + 2))
        for t, f in np.ndindex(n_frames, n_bins):
            near = seen[:, t : t + 3, f : f + 3]
            after[:, t + 1, f + 1] = np.maximum((w * near).sum((1, 2, 3)) + b, 0)
        seen = after
    change = np.tensordot(weights["out.weight"][0, :, 0, 0], seen[:, 1:-1, 1:-1], 1)
    return 1 / (1 + np.exp(-(logits + change + weights["out.bias"][0])))


def test_share_of_speech_as_it_is_defined() -> None:
    torch.manual_seed(0)
    head = NoiseHead(((0, 3), (3, 7)), width=4).requires_grad_(False)
    torch.nn.init.normal_(head.states.weight)
    torch.nn.init.normal_(head.out.weight)
    states, spectrogram = torch.randn(2, 9, 2, 4), torch.randn(2, 9, 7, dtype=torch.complex64)
    shares = head(states, spectrogram).numpy()
    assert shares.std() > 0.1
    for own, state, magnitude in zip(
        shares, states.numpy(), spectrogram.abs().numpy(), strict=True
    ):
        assert_allclose(own, naive_share(head, state.astype(float), magnitude), atol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_share_of_speech_does_not_hang_on_the_level(scale: float) -> None:
    torch.manual_seed(0)
    head = NoiseHead(((0, 3), (3, 7)), width=4).requires_grad_(False)
    torch.nn.init.normal_(head.out.weight)
    states, spectrogram = torch.randn(1, 9, 2, 4), torch.randn(1, 9, 7)
    assert_allclose(head(states, spectrogram * scale), head(states, spectrogram), atol=1e-5)


@pytest.mark.parametrize("n_frames", [1, 2, 40])
def test_share_of_speech_in_silence_is_a_number(n_frames: int) -> None:
    head = NoiseHead(((0, 3), (3, 7)), width=4).requires_grad_(False)
    torch.nn.init.normal_(head.out.weight)
    shares = head(torch.randn(1, n_frames, 2, 4), torch.zeros(1, n_frames, 7))
    assert bool(shares.isfinite().all())


def test_masks_are_those_without_noise_times_what_is_speech(
    separator: DeepClusteringSeparator,
) -> None:
    mixture = recording()
    mixture /= np.abs(mixture).max()  # as `predict` does, so that the states are the same
    pipeline = separator.pipeline()
    states, _ = next(pipeline.states([torch.from_numpy(mixture)]))
    assert separator.network_.noise_head is not None
    spectrogram = pipeline.framing.stft(torch.from_numpy(mixture)[None])
    speech = separator.network_.noise_head(states, spectrogram)[0].numpy()
    expected = separator.predict_masks(mixture) * speech
    found = copy.deepcopy(separator).set_params(output="masks").predict(mixture, noise=True)
    assert_allclose(found[:-1], expected, atol=1e-6)
    assert_allclose(found[-1], 1 - speech, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 11025])
@pytest.mark.parametrize("phase_iterations", [0, 2])
def test_sources_and_noise_sum_to_the_recording(
    separator: DeepClusteringSeparator, rate: int, phase_iterations: int
) -> None:
    recordings = [recording(rate=rate), np.stack([recording(rate=rate), recording(rate=rate) / 2])]
    options: dict[str, Any] = {"input_rate": rate, "phase_iterations": phase_iterations}
    for given, found in zip(
        recordings, separator.predict(recordings, noise=True, **options), strict=True
    ):
        assert found.shape == (3, *given.shape)
        assert_allclose(found.sum(axis=0), given, atol=1e-5)
        assert np.square(found[-1]).sum() > 1e-3 * np.square(given).sum()


@pytest.mark.parametrize("band", ["full", "network"])
def test_noise_comes_after_the_voices_of_a_long_recording(
    separator: DeepClusteringSeparator, band: str
) -> None:
    mixture = recording(36)
    found = separator.predict(mixture, noise=True, band=band)
    assert_allclose(found.sum(axis=0), mixture, atol=1e-5)
    whole = separator.predict(mixture, band=band)
    # The noise of a stretch does not depend on its voices: it is that of the stretch alone.
    part = separator.predict(mixture[: 6 * 8000], noise=True, band=band)
    middle = slice(2 * 8000, 4 * 8000)
    assert_allclose(found[-1, middle], part[-1, middle], atol=2e-3)
    assert np.square(found[:-1]).sum() < np.square(whole).sum()


def test_without_noise_all_is_as_it_was(
    plain: DeepClusteringSeparator, separator: DeepClusteringSeparator
) -> None:
    for mixture in (recording(), recording(36)):
        assert_array_equal(plain.predict(mixture), separator.predict(mixture))


def test_no_noise_head(plain: DeepClusteringSeparator) -> None:
    with pytest.raises(ValueError, match="noise=True needs a model with a noise head"):
        plain.predict(recording(), noise=True)
    with pytest.raises(ValueError, match="'noise' parameter of predict must be an instance of"):
        plain.predict(recording(), noise="yes")  # type: ignore[arg-type]


def test_files_sum_to_the_recording(separator: DeepClusteringSeparator, tmp_path: Path) -> None:
    write_audio(tmp_path / "talk.wav", recording(2, 16000), 16000)
    result = skdc.separate_file(tmp_path / "talk.wav", tmp_path, model=separator, noise=True)
    assert [path.name for path in result.paths] == ["talk-1.wav", "talk-2.wav", "talk-noise.wav"]
    assert result.n_sources == 2
    assert {turn.source for turn in result.turns} <= {0, 1}
    steps = [soundfile.read(path, dtype="int16")[0].astype(int) for path in result.paths]
    given = soundfile.read(tmp_path / "talk.wav", dtype="int16")[0]
    assert_array_equal(sum(steps), given)
    whole = skdc.separate(tmp_path / "talk.wav", model=separator, noise=True)
    assert whole.noise is not None
    assert len(whole.sources) == 2
    assert_allclose(whole.noise, read_audio(result.paths[-1])[0], atol=2e-4)
    assert "Noise" in whole.listen().html
    paths = whole.save(tmp_path / "again")
    assert [path.name for path in paths] == [path.name for path in result.paths]


def test_channels_have_no_noise_to_keep_out(separator: DeepClusteringSeparator) -> None:
    channels = np.stack([recording(), recording()[::-1]])
    with pytest.raises(ValueError, match=r"^channels=True .*; leave noise=True out"):
        skdc.separate(channels, rate=8000, model=separator, channels=True, noise=True)
    with pytest.raises(ValueError, match="leave pair_sweeps=5 out"):
        skdc.separate(channels, rate=8000, model=separator, channels=True, pair_sweeps=5)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_head_of_a_single_layer_loads_and_gives_the_same(
    separator: DeepClusteringSeparator, weights: Any, tmp_path: Path
) -> None:
    head = separator.network_.noise_head
    assert head is not None
    separator.save(tmp_path / "model.safetensors", weights=weights)
    tensors, header = read_tensors(tmp_path / "model.safetensors")
    tensors = {k: v for k, v in tensors.items() if not k.startswith("noise_head.")}
    shapes = {"noise_head.weight": (33, head.states.weight.shape[1]), "noise_head.bias": (33,)}
    earlier = {name: torch.randn(shape) for name, shape in shapes.items()}
    if weights == "int8":
        earlier = to_int8(earlier)
    weight, bias = (from_int8(earlier)[name].float() for name in shapes)
    write_tensors(tmp_path / "earlier.safetensors", tensors | earlier, header)
    loaded = DeepClusteringSeparator.load(tmp_path / "earlier.safetensors")
    mixture = recording()
    states, _ = next(loaded.pipeline().states([torch.from_numpy(mixture)]))
    speech = torch.sigmoid(states[0, :, 0] @ weight.T + bias)
    found = loaded.set_params(output="masks").predict(mixture, noise=True)
    assert_allclose(found[-1], 1 - speech, atol=1e-5)
    again = pickle.loads(pickle.dumps(loaded))
    assert_array_equal(again.predict(mixture, noise=True), found)
    # What does not fit, or is no number, is refused as everywhere.
    layer = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for unsound, message in (
        ({"noise_head.weight": layer["noise_head.weight"].int()}, "is of the type torch.int32"),
        ({"noise_head.bias": layer["noise_head.bias"] / 0}, "numbers that are not finite"),
    ):
        write_tensors(tmp_path / "unsound.safetensors", tensors | layer | unsound, header)
        with pytest.raises(ValueError, match=message):
            DeepClusteringSeparator.load(tmp_path / "unsound.safetensors")
    wrong = tensors | {"noise_head.weight": torch.zeros(33, 3), "noise_head.bias": torch.zeros(33)}
    write_tensors(tmp_path / "wrong.safetensors", wrong, header)
    with pytest.raises(ValueError, match=r"'noise_head\.weight' has the shape \(33, 3\)"):
        DeepClusteringSeparator.load(tmp_path / "wrong.safetensors")


def test_command(
    separator: DeepClusteringSeparator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    separator.save(tmp_path / "model.safetensors", weights="int8")
    write_audio(tmp_path / "talk.wav", recording(2), 8000)
    command = ["separate", str(tmp_path / "talk.wav"), "-o", str(tmp_path / "out"), "--noise"]
    command += ["--model", str(tmp_path / "model.safetensors"), "--json"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["n_sources"] == 2
    assert [Path(path).name for path in said["outputs"]][-1] == "talk-noise.wav"
    assert main(command) == 2
    (tmp_path / "out" / "talk-1.wav").unlink()
    (tmp_path / "out" / "talk-2.wav").unlink()
    assert main(command) == 2, "the noise would be overwritten"
    loaded = DeepClusteringSeparator.load(tmp_path / "model.safetensors")
    found = loaded.predict(recording(2), noise=True)
    assert_allclose(found, separator.predict(recording(2), noise=True), atol=0.02)


@pytest.mark.parametrize("n_steps", [1, 2, 5, 40, 625, 3125])
def test_a_short_training_of_a_head_has_its_rate_too(n_steps: int) -> None:
    rates = [falling_rate(step, n_steps) for step in range(n_steps)]
    full = [max(0.02, (1 + np.cos(np.pi * step / n_steps)) / 2) for step in range(n_steps)]
    first = min(99, -(-n_steps // 5))  # from which step on the rate has risen
    assert_allclose(rates[first:], full[first:])
    assert np.mean(rates) > 0.75 * np.mean(full)
    if n_steps > 500:  # those of the defaults
        assert_allclose(rates[:100], full[:100] * np.arange(0.01, 1.005, 0.01))


def test_training_hears_noise() -> None:
    """Tones are speech here: what a head learns tells them from noise."""
    rng = np.random.default_rng(0)
    rate = 2000
    time = np.arange(rate) / rate
    pitches = 62.5 * np.arange(1, 9)
    recordings = [(0.1 * np.sin(2 * np.pi * p * time)).astype(np.float32) for p in pitches]
    y = np.stack([np.stack([recordings[i], recordings[i + 4]]) for i in range(4)])
    separator = make_separator(sample_rate=rate, hidden_size=16, max_epochs=20)
    separator.fit(y.sum(axis=1), y)
    before = {name: w.clone() for name, w in separator.network_.state_dict().items()}

    def train(n_examples: int) -> NoiseHead:
        pipeline = separator.pipeline()
        return train_noise_head(pipeline, recordings, range(8), n_examples=n_examples, seed=0)

    first, again = train(16).state_dict(), train(16).state_dict()
    assert all(torch.equal(first[name], w) for name, w in again.items()), "the seed decides"
    separator.network_.set_heads(noise=train(800))
    assert all(torch.equal(separator.network_.state_dict()[n], w) for n, w in before.items())
    noisy = recordings[1] + recordings[6] + 0.03 * rng.standard_normal(rate)
    mask = separator.set_params(output="masks").predict(noisy, noise=True)[-1]
    # Tones of 125 and 437.5 Hz lie in bins 4 and 14 of 33; in the upper half is noise alone.
    assert mask[:, [4, 14]].mean() < 0.5 * mask[:, 20:].mean()


@pytest.mark.parametrize("name", ["speech-8k", "speech-2mix-8k", "speech-2mix-8k-small"])
def test_bundled_models_keep_noise_out(name: str) -> None:
    model = load_pretrained(name, device="cpu")
    mixture, sources = load_sample_mixture()
    white = np.random.default_rng(0).standard_normal(len(mixture)).astype(np.float32)
    noise = white * np.sqrt(np.mean(mixture**2)) * 10 ** (-10 / 20)
    noisy = mixture + noise
    plain = model.predict(noisy, n_sources=2)
    found = model.predict(noisy, n_sources=2, noise=True)
    assert_allclose(found.sum(axis=0), noisy, atol=1e-5)
    gain = si_sdr_improvement(sources, found[:-1], noisy).mean()
    assert gain > si_sdr_improvement(sources, plain, noisy).mean() + 0.5
    # What is kept out is noise rather than speech.
    likeness = np.corrcoef([found[-1], noise, mixture])[0]
    assert likeness[1] > max(0.6, 2 * abs(likeness[2]))
    clean = model.predict(mixture, n_sources=2, noise=True)[:-1]
    before = si_sdr_improvement(sources, model.predict(mixture, n_sources=2), mixture).mean()
    assert si_sdr_improvement(sources, clean, mixture).mean() > before - 0.15


def test_models_without_a_noise_head_say_so() -> None:
    live = load_pretrained("speech-2mix-8k-live", device="cpu")
    with pytest.raises(ValueError, match="noise=True needs a model with a noise head"):
        live.predict(recording(), noise=True)
