"""The voice head: trained on who speaks, stored with the model, and the rest stays as it is."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import error_of, make_separator
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skdc import DeepClusteringSeparator, load_pretrained
from skdc.cli import main
from skdc.datasets import load_sample_clips, load_sample_mixture, write_audio
from skdc.model_file import read_tensors, write_tensors
from skdc.network import BLSTM, EmbeddingNetwork, NetworkConfig
from skdc.network.count import CountHead
from skdc.network.noise import NoiseHead
from skdc.network.voice import VoiceHead
from skdc.signal import Framing
from skdc.training.heads import Voices
from skdc.training.voices import _Examples as Examples
from skdc.training.voices import _sources as learnt_from
from skdc.training.voices import train_voice_head, within_speaker_whitening


def head(n_bins: int = 9) -> VoiceHead:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return VoiceHead(n_bins, dim=6)


def test_vectors_are_of_unit_norm_and_the_level_does_not_matter() -> None:
    shares = torch.rand(3, 20, 9)
    vectors = head()(shares)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(head()(1e-6 * shares), vectors)
    torch.testing.assert_close(head()(1e6 * shares), vectors)


def test_a_source_has_the_same_vector_alone_and_among_others() -> None:
    shares = torch.rand(3, 20, 9)
    torch.testing.assert_close(head()(shares)[1:2], head()(shares[1:2]))


@pytest.mark.parametrize("n_frames", [1, 2, 9, 20])
def test_the_layers_are_those_that_are_described(n_frames: int) -> None:
    own = head().double()
    shares = torch.rand(1, n_frames, 9)
    weights = {name: value.double().numpy() for name, value in own.state_dict().items()}
    share = shares[0].double().numpy()
    share = np.pad(share / share.max(), ((0, n_frames % 2), (0, 0))).reshape(-1, 18)
    loudness = np.square(share).mean(1)
    level = np.sqrt(np.average(loudness, weights=loudness))
    steps = np.log(share / level + 0.01)
    hidden = np.maximum(steps @ weights["frames.weight"].T + weights["frames.bias"], 0)
    for layer, dilation in enumerate((1, 2, 4)):
        norm = (hidden - hidden.mean(1, keepdims=True)) / np.sqrt(
            hidden.var(1, keepdims=True) + 1e-5
        )
        norm = norm * weights[f"norms.{layer}.weight"] + weights[f"norms.{layer}.bias"]
        kernel = weights[f"convolutions.{layer}.weight"]  # (units, units, 3)
        sums = np.tile(weights[f"convolutions.{layer}.bias"], (len(norm), 1))
        for step, tap in itertools.product(range(len(norm)), range(3)):
            if 0 <= (neighbour := step + (tap - 1) * dilation) < len(norm):
                sums[step] += kernel[:, :, tap] @ norm[neighbour]
        hidden = hidden + np.maximum(sums, 0)
    scores = hidden @ weights["attention.weight"][0] + weights["attention.bias"]
    parts = np.exp(scores) * np.sqrt(loudness / loudness.max() + 1e-3)
    parts /= parts.sum()
    mean = parts @ hidden
    spread = np.sqrt(parts @ np.square(hidden - mean) + 1e-4)
    vector = weights["out.weight"] @ np.concatenate([mean, spread]) + weights["out.bias"]
    with torch.no_grad():
        found = head()(shares)[0].numpy()
    np.testing.assert_allclose(found, vector / np.linalg.norm(vector), atol=1e-5)


def test_silent_frames_and_sources_do_no_harm() -> None:
    shares = torch.rand(1, 80, 9, generator=torch.Generator().manual_seed(0))
    shares[:, 40:] = 0
    assert (head()(shares) * head()(shares[:, :40])).sum() > 0.95
    assert torch.isfinite(head()(torch.zeros(1, 20, 9))).all()


def test_sources_to_learn_from_are_of_the_voices_that_they_name() -> None:
    # Two tones, and a mask with mistakes: most of each source is of its own tone.
    seconds = np.arange(24000) / 8000
    tones = [np.sin(2 * np.pi * f * seconds).astype(np.float32) for f in (500, 2000)]
    framing = Framing(256, 64)
    voices = Voices(tones, ["ann", "bob"], 8000, 0)
    shares = list(itertools.islice(learnt_from(framing, voices, 0), 300))
    assert {number for _, number in shares} == {0, 1}
    right = []
    for share, number in shares:
        assert share.shape == (framing.frame_count(8000), 129)
        assert share.min() >= 0
        power = share.square().sum(0)
        own, other = (power[16 * f - 8 : 16 * f + 8].sum() for f in ((1, 4), (4, 1))[number])
        right.append(float(own / (own + other).clamp_min(1e-20)))
    # Where a gap hides the voice itself, nothing of it is left.
    assert np.mean(np.array(right) > 0.8) > 0.8


def test_every_step_hears_new_mixtures() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 24000)).astype(np.float32)
    voices = Voices(list(noise), ["ann", "bob"], 8000, 0)
    drawn = learnt_from(Framing(256, 64), voices, 0)
    shares = torch.stack([share for share, _ in itertools.islice(drawn, 40)])
    distances = torch.cdist(shares.flatten(1), shares.flatten(1))
    assert distances[~torch.eye(40, dtype=torch.bool)].min() > 1


def test_the_network_stays_as_it_is(plain: DeepClusteringSeparator, model: Path) -> None:
    loaded = DeepClusteringSeparator.load(model)
    before, after = plain.network_.state_dict(), loaded.network_.state_dict()
    heads = ("voice_head", "count_head", "noise_head")
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == set(heads)
    assert all(torch.equal(after[name], before[name]) for name in before)
    mixture, _ = load_sample_mixture()
    assert_array_equal(loaded.predict(mixture), plain.predict(mixture))


def test_the_head_tells_speakers_that_it_was_taught(model: Path) -> None:
    separator = DeepClusteringSeparator.load(model)
    network = separator.network_
    clips = {clip.name: clip.waveform[:32000] for clip in load_sample_clips()}
    pieces = separator.pipeline()
    vectors = {}
    for name, waveform in clips.items():
        ((stretch,),) = (list(s) for s in pieces.stretches([torch.from_numpy(waveform)], [1]))
        assert network.voice_head is not None
        shares = stretch.masks * stretch.spectrogram.abs()
        vectors[name] = network.voice_head(shares)[0]
    same = [vectors[f"{who}-1"] @ vectors[f"{who}-2"] for who in ("allison", "carlo", "june")]
    other = [vectors["allison-1"] @ vectors["carlo-1"], vectors["june-1"] @ vectors["carlo-2"]]
    assert min(same) > max(other)


def test_a_speaker_at_another_speed_is_another_voice() -> None:
    seconds = np.arange(8000) / 8000
    tones = [np.sin(2 * np.pi * f * seconds).astype(np.float32) for f in (400, 900)]
    voices = Voices(tones, ["ann", "bob"], 4000, 0, speeds=((1, 1), (10, 9), (9, 10)))
    heard = {}
    for _ in range(6):
        (clip,), (number,) = voices.draw(1)
        assert len(clip) == 4000
        peak = np.abs(np.fft.rfft(clip.numpy() * np.hanning(4000))).argmax() * 2
        heard[voices.names[number]] = peak
    assert len(heard) == 6
    for (speaker, (up, down)), frequency in heard.items():
        expected = (400 if speaker == "ann" else 900) * up / down
        assert frequency == pytest.approx(expected, abs=2)


def test_the_odds_are_those_of_the_examples() -> None:
    own = head().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    examples = object.__new__(Examples)
    # Spectra that differ, so that the cosines do.
    spectra = (2 * torch.randn(60, 2, 1, 9, generator=generator)).exp()
    examples._shares = list(spectra * torch.rand(60, 2, 20, 9, generator=generator))
    examples._labels = [[0, 0], [0, 1]] * 30
    # One voice that is cut in two has clusters that are near to each other, now and then.
    noise = 0.4 * torch.randn(60, generator=generator)
    examples._nearness = [0.9 + float(x) if i % 2 == 0 else float(x) for i, x in enumerate(noise)]
    read = []
    for shares, nearness in zip(examples._shares, examples._nearness, strict=True):
        first, second = (own(share[None])[0] for share in shares)
        read.append([1.0, float(first @ second), nearness])
    x = np.array(read)
    told = x @ examples.odds(*examples.vectors(own)).numpy()
    # By Newton's method, where those of two voices weigh ten times as much, with a little penalty.
    is_one, weights, line = np.array([1, 0] * 30), np.array([1, 10] * 30), np.zeros(3)
    penalty = np.diag([0, 1e-3, 1e-3])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ line))
        slope = x.T @ (weights * (is_one - p)) - penalty @ line
        line += np.linalg.solve((x.T * (weights * p * (1 - p))) @ x + penalty, slope)
    np.testing.assert_allclose(told, x @ line, atol=0.05)
    assert np.median(told[::2]) > 0 > np.median(told[1::2])


def test_the_odds_count_a_lost_voice_more() -> None:
    # The same sounds as one voice and as two: what is said is that these are two.
    own = head().requires_grad_(False)
    shares = torch.rand(2, 20, 9).half()
    examples = object.__new__(Examples)
    examples._shares = [shares] * 16
    examples._labels = [[0, 0], [0, 1]] * 8
    examples._nearness = [0.0] * 16
    first, second = own(shares)
    odds = examples.odds(*examples.vectors(own))
    told = float(odds @ torch.tensor([1.0, float(first @ second), 0.0]))
    assert told == pytest.approx(-np.log(10), abs=0.01)


def test_whitening_is_by_how_vectors_of_one_speaker_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([3.0, 1.0, 0.5, 0.1])
    labels = torch.tensor([0, 4, 4, 1, 1, 1, 2, 4, 1, 2] * 20 + [3])
    centres = 5 * torch.randn(5, 4, generator=generator)
    vectors = centres[labels] + spread * torch.randn(len(labels), 4, generator=generator)
    sums = torch.zeros(4, 4)
    for speaker in range(5):
        own = vectors[labels == speaker]
        for vector in own:
            sums += torch.outer(vector - own.mean(0), vector - own.mean(0))
    covariance = 0.7 * sums / sums.diagonal().mean() + 0.3 * torch.eye(4)
    found = within_speaker_whitening(vectors, labels)
    torch.testing.assert_close(found @ covariance @ found.T, torch.eye(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(found, found.T)


def test_whitening_and_odds_are_of_speakers_who_were_not_trained_on(
    plain: DeepClusteringSeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[set[Any]] = []
    begun = Voices.__init__

    def begin(self: Any, recordings: Any, speakers: Any, *rest: Any) -> None:
        heard.append(set(speakers))
        begun(self, recordings, speakers, *rest)

    monkeypatch.setattr(Voices, "__init__", begin)
    clip = load_sample_clips()[0].waveform
    recordings = [clip[1000 * i : 1000 * i + 8000] for i in range(40)]
    for n_speakers in (19, 20):
        speakers = [i % n_speakers for i in range(40)]
        train_voice_head(plain.pipeline(), recordings, speakers, seed=0, n_examples=8)
    few, same, most, rest = heard
    assert few == same == set(range(19))
    assert len(most) == 18
    assert most | rest == set(range(20))
    assert not most & rest


def test_there_is_no_whitening_where_nobody_is_heard_twice() -> None:
    vectors = torch.randn(3, 4)
    assert torch.equal(within_speaker_whitening(vectors, torch.arange(3)), torch.eye(4))


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_a_voice_head_of_before_is_left_out(
    weights: Any, model: Path, plain: DeepClusteringSeparator, tmp_path: Path
) -> None:
    path = tmp_path / "before.safetensors"
    DeepClusteringSeparator.load(model).save(path, weights=weights)
    tensors, header = read_tensors(path)
    # As it was: one hidden layer, which heard the states too, and nothing that is there now.
    kept = {name: value for name, value in tensors.items() if not name.startswith("voice_head.")}
    kept["voice_head.hidden.weight"] = torch.zeros(128, 400)
    kept["voice_head.hidden.bias"] = torch.zeros(128)
    write_tensors(path, kept, header)
    with pytest.warns(UserWarning, match="voice head of an earlier version, which is left out"):
        loaded = DeepClusteringSeparator.load(path)
    assert loaded.network_.voice_head is None
    assert loaded.network_.count_head is not None
    loaded.save(path)
    assert DeepClusteringSeparator.load(path).network_.config.voice_dim == 0
    # It separates as the model without heads does that was stored in the same precision.
    plain.save(tmp_path / "plain.safetensors", weights=weights)
    expected = DeepClusteringSeparator.load(tmp_path / "plain.safetensors")
    mixture, _ = load_sample_mixture()
    np.testing.assert_allclose(loaded.predict(mixture), expected.predict(mixture), atol=1e-6)


def test_training_repeats(plain: DeepClusteringSeparator, model: Path, tmp_path: Path) -> None:
    clips = load_sample_clips()
    path = tmp_path / "plain.safetensors"
    plain.save(path)
    again = DeepClusteringSeparator.load(path)
    again.fit_voices([c.waveform for c in clips], [c.speaker for c in clips], n_examples=20)
    first = DeepClusteringSeparator.load(model).network_.state_dict()
    assert all(torch.equal(w, first[name]) for name, w in again.network_.state_dict().items())


@pytest.mark.parametrize("how", ["recordings", "mixtures", "partial"])
def test_training_the_network_on_keeps_the_heads(how: str, model: Path, tmp_path: Path) -> None:
    before = DeepClusteringSeparator.load(model).network_
    separator = DeepClusteringSeparator.load(model).set_params(warm_start=True, max_epochs=1)
    clips = load_sample_clips()
    y = np.random.default_rng(0).standard_normal((2, 2, 8000))
    if how == "recordings":
        separator.fit_recordings([c.waveform for c in clips], [c.speaker for c in clips])
    elif how == "mixtures":
        separator.fit(y.sum(axis=1), y)
    else:
        separator.partial_fit(y.sum(axis=1), y)
    separator.save(tmp_path / "on.safetensors")
    after = DeepClusteringSeparator.load(tmp_path / "on.safetensors").network_
    assert after.config == before.config
    weights = after.state_dict()
    is_same = {name: torch.equal(weights[name], w) for name, w in before.state_dict().items()}
    assert not all(is_same.values())
    heads = [
        name for name in is_same if name.startswith(("voice_head.", "count_head.", "noise_head."))
    ]
    assert len(heads) > 8
    assert all(is_same[name] for name in heads)


def test_training_from_nothing_has_no_heads(model: Path) -> None:
    separator = DeepClusteringSeparator.load(model)
    y = np.random.default_rng(0).standard_normal((2, 2, 8000))
    separator.fit(y.sum(axis=1), y)
    assert separator.network_.voice_head is None
    assert separator.network_.count_head is None


def test_a_network_that_grows_loses_the_heads_that_hear_it_and_says_so() -> None:
    y = np.random.default_rng(0).standard_normal((2, 2, 8000))
    separator = make_separator(n_layers=2, trunk=BLSTM(residual=True))
    network = separator.fit(y.sum(axis=1), y).network_
    read = network.trunk.bands, network.trunk.width
    before = VoiceHead(network.config.n_bins, 8)
    network.set_heads(voice=before, count=CountHead(*read, most=4), noise=NoiseHead(*read))
    separator.set_params(n_layers=3, warm_start=True)
    match = "heads for count and noise belong to 2 layers .* has 3; fit_voices, or skdc voices"
    with pytest.warns(UserWarning, match=match):
        separator.fit(y.sum(axis=1), y)
    assert separator.network_.count_head is None
    assert separator.network_.noise_head is None
    after = separator.network_.voice_head
    assert after is not None
    assert all(torch.equal(w, before.state_dict()[k]) for k, w in after.state_dict().items())


def test_the_command_that_trains_on_keeps_the_heads_and_says_so(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    start = DeepClusteringSeparator.load(model)
    start.quality_ = load_pretrained("speech-2mix-8k-small").quality_
    start.save("start.safetensors")
    for clip in load_sample_clips()[:4]:
        write_audio(f"v/{clip.speaker}/{clip.name}.flac", clip.waveform[:16000], clip.sample_rate)
    command = ["train", "--from", "start.safetensors", "--data", "v", "-o", "new.safetensors"]
    assert main([*command, "--set", "max_epochs=1"]) == 0
    said = capsys.readouterr().out
    assert "is told by the heads of start.safetensors as they were; skdc voices trains" in said
    assert "(quality_db) is left out: it was fitted to start.safetensors" in said
    new = DeepClusteringSeparator.load("new.safetensors")
    assert new.quality_ is None
    weights, before = new.network_.state_dict(), start.network_.state_dict()
    for name in before:
        if name.startswith(("voice_head.", "count_head.", "noise_head.")):
            assert torch.equal(weights[name], before[name].half().float())


def test_too_few_speakers_are_refused(model: Path) -> None:
    separator = DeepClusteringSeparator.load(model)
    with pytest.raises(ValueError, match="speakers names 1 speaker; give recordings of 2"):
        separator.fit_voices([np.ones(8000), np.ones(8000)], ["a", "a"])
    with pytest.raises(ValueError, match="n_examples=0"):
        separator.fit_voices([np.ones(8000), np.ones(8000)], ["a", "b"], n_examples=0)


def test_only_fitted_separators_learn_voices(plain: DeepClusteringSeparator) -> None:
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="not fitted"):
        clone(plain).fit_voices([np.ones(8000)] * 2, ["a", "b"])


def test_configurations_of_before_have_no_head() -> None:
    stored = NetworkConfig().as_dict()
    del stored["voice_dim"]
    assert EmbeddingNetwork(NetworkConfig.from_dict(stored)).voice_head is None


def test_command(
    plain: DeepClusteringSeparator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit_voices = inspect.unwrap(DeepClusteringSeparator.fit_voices)
    monkeypatch.setattr(fit_voices, "__kwdefaults__", {"n_examples": 8})
    plain.save(tmp_path / "plain.safetensors", weights="float16")
    rows = []
    for clip in load_sample_clips():
        write_audio(tmp_path / f"{clip.name}.flac", clip.waveform[:16000], clip.sample_rate)
        rows.append(f"train,{clip.speaker},{clip.name}.flac\n")
    (tmp_path / "utterances.csv").write_text("split,speaker,path\n" + "".join(rows))
    command = ["voices", "--model", str(tmp_path / "plain.safetensors"), "--data", str(tmp_path)]
    assert main([*command, "-o", str(tmp_path / "voices.safetensors")]) == 0
    before, after = (
        DeepClusteringSeparator.load(tmp_path / f"{name}.safetensors").network_
        for name in ("plain", "voices")
    )
    assert after.voice_head is not None
    capsys.readouterr()
    # Another model is not overwritten, nor is a folder found to be one after the training.
    for output, message in (("voices.safetensors", "use --force"), ("", "is a folder")):
        assert message in error_of([*command, "-o", str(tmp_path / output)], capsys)
    weights = after.state_dict()
    assert all(torch.equal(weights[name], w) for name, w in before.state_dict().items())


@pytest.mark.parametrize(
    "where", [["v"], ["v.csv"], ["v.csv", "--subset", "b"], ["v/{speaker}/*.wav"], ["corpus"]]
)
def test_command_takes_the_layouts_of_training(
    where: list[str],
    plain: DeepClusteringSeparator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    taught: dict[str, list[str]] = {}

    def learn(self: DeepClusteringSeparator, _: Any, speakers: list[str]) -> None:
        taught["speakers"] = speakers

    monkeypatch.setattr(DeepClusteringSeparator, "fit_voices", learn)
    plain.save("plain.safetensors")
    paths = ["v/ann/1.wav", "v/ann/2.wav", "v/bob/1.wav"]
    for path in paths:
        write_audio(path, np.ones(8000), 8000)
    rows = "".join(f"b,{path.split('/')[1]},{path}\n" for path in paths)
    Path("v.csv").write_text("split,speaker,path\n" + rows)
    Path("corpus").mkdir()
    rows = "".join(f"train,{path.split('/')[1]},../{path}\n" for path in paths)
    Path("corpus/utterances.csv").write_text("split,speaker,path\n" + rows)
    command = ["voices", "--model", "plain.safetensors", "-o", "new.safetensors", "--data"]
    assert main([*command, *where]) == 0
    assert taught["speakers"] == ["ann", "ann", "bob"]
    assert "on 3 recordings of 2 speakers" in capsys.readouterr().out
