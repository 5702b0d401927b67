"""The whole band of a recording: what its masks are, and that sources sum to it."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import make_separator
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans
from torch import Tensor

import skdc
from skdc import DeepClusteringSeparator
from skdc.audio import read_audio, write_audio
from skdc.separation import Recording
from skdc.separation.full_band import (
    full_band_masks,
    full_band_pieces,
    full_framing,
    share_upper_bins,
    stretch_masks,
)
from skdc.separation.stretches import Stretch, fade, join, spans
from skdc.signal import Framing


def random_masks(n_sources: int, n_frames: int, n_bins: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (n_sources, n_frames, n_bins)
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(3).softmax(0)


# -- masks ----------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=30)
def test_stretching_is_interpolation(n_frames: int, n_bins: int, seed: int) -> None:
    masks = random_masks(2, n_frames, n_bins, seed)
    rng = np.random.default_rng(seed)
    frames, bins = rng.uniform(-1, n_frames + 1, 7), rng.uniform(-1, n_bins + 1, 5)
    found = stretch_masks(masks, torch.from_numpy(frames), torch.from_numpy(bins))
    assert found.shape == (2, 7, 5)
    for source, i, j in itertools.product(range(2), range(7), range(5)):
        rows = [np.interp(bins[j], range(n_bins), row) for row in masks[source].numpy()]
        assert float(found[source, i, j]) == pytest.approx(
            np.interp(frames[i], range(n_frames), rows)
        )


def test_upper_bins_are_shared_as_those_below() -> None:
    masks, power = random_masks(3, 4, 9), torch.rand(4, 9, dtype=torch.float64)
    power[3, 2:6] = 0
    found = share_upper_bins(masks, power, 2, 6)
    assert_array_equal(found[..., :6], masks[..., :6])
    for frame in range(4):
        held = np.zeros(3)
        for source, b in itertools.product(range(3), range(2, 6)):
            held[source] += float(masks[source, frame, b] ** 2 * power[frame, b])
        expected = held**1.2 / (held**1.2).sum() if held.sum() else np.full(3, 1 / 3)
        for b in range(6, 9):
            assert_allclose(found[:, frame, b], expected)


@pytest.mark.parametrize("rate", [6000, 8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_frames_last_as_long_at_every_rate(rate: int) -> None:
    framing = Framing(512, 128)
    full = full_framing(framing, 8000, rate)
    assert full.win_length % 2 == 0
    assert 2 * full.hop_length <= full.win_length
    assert full.hop_length / rate == pytest.approx(128 / 8000, rel=0.04)
    assert full.win_length / rate == pytest.approx(512 / 8000, rel=0.04)
    assert (full == framing) == (rate == 8000)


# -- pieces ---------------------------------------------------------------------------------------


def separate(samples: Tensor, rate: int, masks: Tensor, spectrogram: Tensor) -> Tensor:
    """Cut masks of a whole recording at 8 kHz into stretches, and put the sources together."""
    nothing = torch.zeros(0)
    cut = []
    for start, stop, overlap in spans(masks.shape[1], 64, 16):
        own, heard = masks[:, start:stop], spectrogram[start:stop]
        stretch = Stretch(start, overlap, heard, nothing, own, nothing)
        cut.append((start, overlap, full_band_masks(stretch, own, is_higher=rate > 8000)))
    recording = Recording(rate, samples.shape[-1], lambda a, b: samples[:, a:b])
    pieces = full_band_pieces(cut, recording, FRAMING, 8000)
    return join(fade(pieces), recording.n_samples)


FRAMING = Framing(64, 16)


@pytest.mark.parametrize("n_channels", [1, 2, 8])
@pytest.mark.parametrize("rate", [6000, 8000, 11025, 44100])
def test_pieces_sum_to_the_recording(rate: int, n_channels: int) -> None:
    for seconds in (0.01, 0.5, 0.777):
        samples = torch.rand(n_channels, int(seconds * rate)) - 0.5
        n_frames = FRAMING.frame_count(-(-samples.shape[1] * 8000 // rate))
        masks = random_masks(3, n_frames, FRAMING.n_bins).float()
        found = separate(samples, rate, masks, torch.rand(n_frames, FRAMING.n_bins) + 0j)
        assert found.shape == (3, *samples.shape)
        assert_allclose(found.sum(0), samples, atol=3e-7)


def test_what_lies_above_goes_with_what_lies_below() -> None:
    rate, n = 44100, 44100
    time_s = np.arange(n) / rate
    first = time_s < 0.5
    # One source after the other, each with a tone that the network hears and one that it does not.
    sources = np.stack([first, ~first]) * (
        0.2 * np.sin(2 * np.pi * 3000 * time_s) + 0.1 * np.sin(2 * np.pi * 15000 * time_s)
    )
    n_frames = FRAMING.frame_count(8000)
    masks = torch.zeros(2, n_frames, FRAMING.n_bins)
    is_first = torch.arange(n_frames) * 16 < 4000
    masks[0, is_first], masks[1, ~is_first] = 1, 1
    low = np.sin(2 * np.pi * 3000 * np.arange(8000) / 8000)
    spectrogram = FRAMING.stft(torch.from_numpy(low).float())
    mixture = torch.from_numpy(sources.sum(0)).float()[None]
    found = separate(mixture, rate, masks, spectrogram)[:, 0].numpy()
    for source, estimate in zip(sources, found, strict=True):
        error = np.square(source - estimate).sum() / np.square(source).sum()
        assert error < 0.01


# -- the estimator --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def separator() -> DeepClusteringSeparator:
    y = np.random.default_rng(0).standard_normal((2, 2, 4000))
    return make_separator().fit(y.sum(axis=1), y)


def noise(*shape: int) -> Any:
    return np.random.default_rng(1).uniform(-1, 1, shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.uint8])
@pytest.mark.parametrize("rate", [6000, 8000, 44100])
def test_estimates_sum_to_the_recording(
    separator: DeepClusteringSeparator, rate: int, dtype: Any
) -> None:
    X = 0.9 * noise(2, rate // 4)
    scaled = X
    if np.dtype(dtype).kind != "f":
        info = np.iinfo(dtype)
        middle, full = (int(info.max) + int(info.min) + 1) // 2, (int(info.max) + 1 - info.min) / 2
        X = np.rint(X * full + middle).astype(dtype)
        scaled = (X.astype(np.float64) - middle) / full
    for band, tolerance in (("full", 3e-7), ("network", 2.0)):
        found = separator.predict(X.astype(dtype), input_rate=rate, band=band)
        assert (found.dtype, found.shape) == (np.float32, (2, 2, rate // 4))
        assert_allclose(found.sum(axis=1), scaled, atol=tolerance)
    # One more time with channels: both are one recording.
    (stereo,) = separator.predict([X.astype(dtype)], input_rate=rate, n_sources=3)
    assert stereo.shape == (3, 2, rate // 4)
    assert_allclose(stereo.sum(axis=0), scaled, atol=3e-7)


def test_the_network_band_ends_where_the_network_does(separator: DeepClusteringSeparator) -> None:
    tone = np.sin(2 * np.pi * 9000 * np.arange(22050) / 44100)
    narrow = separator.predict(tone, input_rate=44100, band="network")
    assert np.abs(narrow[:, 4000:-4000]).max() < 0.01  # beyond where the tone begins and ends
    assert_allclose(separator.predict(tone, input_rate=44100).sum(axis=0), tone, atol=1e-6)


def test_at_the_rate_of_the_network_both_bands_are_one(
    separator: DeepClusteringSeparator,
) -> None:
    X = noise(2, 3000)
    assert_allclose(separator.predict(X), separator.predict(X, band="network"), atol=1e-6)


@pytest.mark.parametrize("gain", [1e-30, 3e-5, 7.0, 1e20])
def test_any_level(separator: DeepClusteringSeparator, gain: float) -> None:
    X = noise(4000)
    expected = separator.predict(X, input_rate=16000)
    assert_allclose(separator.predict(gain * X, input_rate=16000) / gain, expected, atol=1e-5)


def test_channels_have_common_masks(separator: DeepClusteringSeparator) -> None:
    x = noise(4000)
    (stereo,) = separator.predict([np.stack([x, -0.5 * x])], input_rate=16000)
    assert_allclose(stereo[:, 1], -0.5 * stereo[:, 0], atol=1e-6)
    mono = separator.predict(0.25 * x, input_rate=16000)
    assert_allclose(0.25 * stereo[:, 0], mono, atol=1e-5)


def test_keywords_of_one_call(separator: DeepClusteringSeparator) -> None:
    X = noise(2, 6000)
    before = separator.get_params()
    found = separator.predict(X, n_sources=3, input_rate=16000)
    masks = separator.predict_masks(X, n_sources=3, input_rate=16000)
    counted = separator.predict(X[0], n_sources="auto")
    assert separator.get_params() == before
    other = make_separator(n_sources=3, input_rate=16000)
    other.__setstate__(separator.__getstate__() | {"n_sources": 3, "input_rate": 16000})
    assert_array_equal(found, other.predict(X))
    assert_array_equal(masks, other.predict_masks(X))
    other.set_params(n_sources=None, input_rate=None)
    assert_array_equal(counted, other.predict(X[0]))
    assert_array_equal(other.predict(X, n_sources=2), separator.predict(X))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"band": "wide"}, "band='wide'; give 'full' or 'network'"),
        ({"n_sources": 0}, "n_sources: got 0, expected an integer from 1 to 20, or 'auto'"),
        ({"n_sources": "two"}, "n_sources: got 'two', expected an integer from 1"),
        ({"input_rate": 44100.0}, "'input_rate' parameter of predict must be an int"),
    ],
)
def test_unusable_keywords(
    separator: DeepClusteringSeparator, keywords: Any, message: str
) -> None:
    for use in (separator.predict, separator.separate):
        with pytest.raises(ValueError, match=message):
            use(noise(4000), **keywords)


@pytest.mark.parametrize("shape", [(4000, 2), (65, 4000), (100, 100)])
def test_samples_before_channels(separator: DeepClusteringSeparator, shape: Any) -> None:
    with pytest.raises(ValueError, match=r"X\[0\] has shape .* give \(n_channels, n_samples\)"):
        separator.predict([noise(*shape)])


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_channels", [1, 2, 8])
@pytest.mark.parametrize(("subtype", "bits"), [("pcm16", 16), ("pcm24", 24)])
def test_files_sum_to_the_recording(
    separator: DeepClusteringSeparator, tmp_path: Path, subtype: Any, bits: int, n_channels: int
) -> None:
    path = tmp_path / "talk.wav"
    write_audio(path, 0.4 * noise(n_channels, 11025), 22050, subtype=f"PCM_{bits}")
    for n_sources in (2, 5):
        result = skdc.separate(path, model=separator, n_sources=n_sources)
        paths = result.save(tmp_path / "parts", subtype=subtype)
        assert [path.name for path in paths] == [f"talk-{i + 1}.wav" for i in range(n_sources)]
        assert soundfile.info(paths[0]).channels == n_channels
        total = sum(soundfile.read(path, dtype="float64")[0] for path in paths)
        recording = soundfile.read(path, dtype="float64")[0]
        # To the last bit, which is less than one step.
        assert_array_equal(total, recording)


def test_one_call(separator: DeepClusteringSeparator, tmp_path: Path) -> None:
    samples = (3000 * noise(2, 8000)).astype(np.int16)
    result = skdc.separate(samples, rate=16000, model=separator)
    assert repr(result) == "<Separation of 'recording': 2 sources, 0.5 s at 16000 Hz>"
    assert (result.rate, result.sources.shape) == (16000, (2, 2, 8000))
    assert_allclose(result.sources.sum(axis=0), samples / 32768, atol=1e-6)
    assert [path.name for path in result.save(tmp_path)] == ["recording-1.wav", "recording-2.wav"]
    assert "Source 2" in result.listen().html
    mono = skdc.separate(samples, rate=16000, model=separator, band="network")
    assert mono.sources.shape == (2, 8000)
    separator.save(tmp_path / "model.safetensors")
    write_audio(tmp_path / "talk.flac", samples / 32768, 16000)
    again = skdc.separate(tmp_path / "talk.flac", model=tmp_path / "model.safetensors")
    assert again.name == "talk"
    assert_allclose(again.sources, result.sources, atol=1e-5)
    assert "Source 2" in separator.listen(samples, input_rate=16000).html


def test_references_to_listen_to(separator: DeepClusteringSeparator) -> None:
    sources = noise(2, 2, 4000)  # with two channels
    recording = sources.sum(axis=0)
    tracks = "as recorded alone"
    assert separator.listen(recording, references=sources).html.count(tracks) == 2
    assert separator.listen(recording[0], references=sources[:1, 0]).html.count(tracks) == 1
    silent = np.stack([sources[0], np.zeros((2, 4000))])
    page = separator.listen(recording, references=silent).html
    assert (page.count(tracks), page.count("over the recording")) == (2, 1)
    message = r"^references have shape \(2, 4000\) and the recording \(2, 4000\); expected"
    with pytest.raises(ValueError, match=message):
        separator.listen(recording, references=sources[:, 0])
    message = "^got 3 references for 2 sources; give at most as many, or n_sources=3"
    with pytest.raises(ValueError, match=message):
        separator.listen(recording[0], references=noise(3, 4000))


def test_what_one_call_refuses(separator: DeepClusteringSeparator, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rate is missing"):
        skdc.separate(noise(4000), model=separator)
    for rate in (0, True, "8000"):
        with pytest.raises(ValueError, match=f"^rate is {rate!r}; give a positive integer, in Hz"):
            skdc.separate(noise(4000), rate=rate, model=separator)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"rate=8000 was given for the file 'talk\.wav'"):
        skdc.separate("talk.wav", rate=8000, model=separator)
    with pytest.raises(FileNotFoundError, match="no audio file at"):
        skdc.separate(tmp_path / "gone.wav", model=separator)
    with pytest.raises(FileNotFoundError, match="neither a model file nor a bundled model"):
        skdc.separate(noise(4000), rate=8000, model="no-such-model")
    with pytest.raises(ValueError, match=r"give \(n_channels, n_samples\)"):
        skdc.separate(noise(4000, 2), rate=8000, model=separator)
    result = skdc.separate(noise(4000), rate=8000, model=separator)
    with pytest.raises(ValueError, match="subtype='mp3'; give one of 'pcm16'"):
        result.save(tmp_path, subtype="mp3")  # type: ignore[arg-type]
    call: Any = {"channels": True, "n_sources": 3, "phase_iterations": -3, "band": "network"}
    unfit = "leave n_sources=3, phase_iterations=-3, band='network' out"
    with pytest.raises(ValueError, match=unfit):
        skdc.separate(noise(2, 4000), rate=8000, model=separator, **call)
    for call in ({"phase_iterations": True}, {"pair_sweeps": True}):
        with pytest.raises(ValueError, match="=True; give an integer of 0 or more"):
            skdc.separate(noise(4000), rate=8000, model=separator, **call)


@pytest.mark.parametrize("model", [None, DeepClusteringSeparator, KMeans(2)])
def test_what_is_no_model_is_refused(model: Any, tmp_path: Path) -> None:
    write_audio(tmp_path / "talk.wav", noise(4000), 8000)
    for call in (skdc.separate, partial(skdc.separate_file, folder=tmp_path)):
        with pytest.raises(TypeError, match=r"^model: got .*, expected the name or file of a mod"):
            call(tmp_path / "talk.wav", model=model)


def test_loud_sources_are_scaled_alike(tmp_path: Path) -> None:
    mixture = np.zeros(1000)
    sources = np.stack([1.5 * noise(1000), -1.5 * noise(1000)])
    result = skdc.pretrained.Separation(mixture, sources, 8000)
    with pytest.warns(skdc.exceptions.AudioWarning, match="sources have a peak of 1.5"):
        paths = result.save(tmp_path)
    total = sum(read_audio(path)[0] for path in paths)
    assert_allclose(total, mixture, atol=1.01 / 2**15)  # full scale is one step short of 1
