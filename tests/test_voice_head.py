"""The voice head: trained on who speaks, stored with the model, and the rest stays as it is."""

from __future__ import annotations

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
from skdc.network.voice import VoiceHead
from skdc.training.heads import Voices
from skdc.training.voices import _Examples as Examples
from skdc.training.voices import train_voice_head, within_speaker_whitening


def head(n_bins: int = 9, n_bands: int = 2) -> VoiceHead:
    edges = np.linspace(0, n_bins, n_bands + 1).astype(int).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return VoiceHead(tuple(itertools.pairwise(edges)), width=5, dim=6)


def test_vectors_are_of_unit_norm_and_the_level_does_not_matter() -> None:
    states, shares = torch.randn(3, 20, 2, 5), torch.rand(3, 20, 9)
    vectors = head()(states, shares)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(head()(states, 1e-6 * shares), vectors)
    torch.testing.assert_close(head()(states, 1e6 * shares), vectors)


def test_a_source_has_the_same_vector_alone_and_among_others() -> None:
    states, shares = torch.randn(3, 20, 2, 5), torch.rand(3, 20, 9)
    torch.testing.assert_close(head()(states, shares)[1:2], head()(states[1:2], shares[1:2]))


def test_what_is_heard_once_serves_every_part_and_source() -> None:
    states, shares = torch.randn(1, 20, 2, 5), torch.rand(3, 20, 9)
    own = head()
    # The layer as it is described: states and spectrum of a frame, side by side.
    level = (shares.square()).mean((1, 2), keepdim=True).sqrt()
    inputs = torch.cat(
        [states.expand(3, -1, -1, -1).flatten(2), (shares / level + 0.01).log()], -1
    )
    layer = own.hidden
    with torch.no_grad():
        heard = own.hear(states)
        expected = own.hidden(inputs).relu()
        got = (heard + inputs[..., -9:] @ layer.weight[:, -9:].T).relu()
        torch.testing.assert_close(got, expected)
        for cut in (slice(0, 20), slice(3, 11)):
            alone = own(states.expand(3, -1, -1, -1)[:, cut], shares[:, cut])
            torch.testing.assert_close(own.tell(heard[:, cut], shares[:, cut]), alone)


def test_silent_frames_and_sources_do_no_harm() -> None:
    states, shares = torch.randn(1, 20, 2, 5), torch.rand(1, 20, 9)
    shares[:, 10:] = 0
    other = states.clone()
    other[:, 10:] += 1
    near = (head()(states, shares) * head()(other, shares)).sum()
    assert near > 0.95
    assert torch.isfinite(head()(states, torch.zeros(1, 20, 9))).all()


def test_the_network_stays_as_it_is(plain: DeepClusteringSeparator, model: Path) -> None:
    loaded = DeepClusteringSeparator.load(model)
    before, after = plain.network_.state_dict(), loaded.network_.state_dict()
    assert {
        n for n in after if n not in before and not n.startswith(("count_head", "noise_head"))
    } == {
        f"voice_head.{layer}.{part}"
        for layer in ("hidden", "attention", "out")
        for part in ("weight", "bias")
    } | {"voice_head.odds"}
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
        vectors[name] = network.voice_head(stretch.states, shares)[0]
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
    examples._states = list(torch.randn(60, 20, 2, 5, generator=generator).half())
    examples._shares = list(torch.rand(60, 2, 20, 9, generator=generator).half())
    examples._labels = [[0, 0], [0, 1]] * 30
    # One voice that is cut in two has clusters that are near to each other, now and then.
    noise = 0.3 * torch.randn(60, generator=generator)
    examples._nearness = [0.9 + float(x) if i % 2 == 0 else float(x) for i, x in enumerate(noise)]
    read = []
    for states, shares, nearness in zip(
        examples._states, examples._shares, examples._nearness, strict=True
    ):
        first, second = (own(states[None], share[None])[0] for share in shares)
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
    states, shares = torch.randn(1, 20, 2, 5).half(), torch.rand(2, 20, 9).half()
    examples = object.__new__(Examples)
    examples._states, examples._shares = [states[0]] * 16, [shares] * 16
    examples._labels = [[0, 0], [0, 1]] * 8
    examples._nearness = [0.0] * 16
    first, second = own(states, shares)
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
    drawn = Examples.__init__

    def draw(self: Any, separator: Any, voices: Voices, *rest: Any) -> None:
        heard.append({name[0] if isinstance(name, tuple) else name for name in voices.names})
        drawn(self, separator, voices, *rest)

    monkeypatch.setattr(Examples, "__init__", draw)
    clip = load_sample_clips()[0].waveform
    recordings = [clip[1000 * i : 1000 * i + 8000] for i in range(40)]
    for n_speakers in (19, 20):
        speakers = [i % n_speakers for i in range(40)]
        train_voice_head(plain.pipeline(), recordings, speakers, seed=0, n_examples=8)
    few, most, rest = heard
    assert len(few) == 19
    assert len(most) == 18
    assert len(rest) == 2
    assert not most & rest


def test_there_is_no_whitening_where_nobody_is_heard_twice() -> None:
    vectors = torch.randn(3, 4)
    assert torch.equal(within_speaker_whitening(vectors, torch.arange(3)), torch.eye(4))


def test_a_file_of_before_has_the_odds_of_then(model: Path, tmp_path: Path) -> None:
    tensors, header = read_tensors(model)
    del tensors["voice_head.odds"]
    write_tensors(tmp_path / "before.safetensors", tensors, header)
    own = DeepClusteringSeparator.load(tmp_path / "before.safetensors").network_.voice_head
    assert own is not None
    assert own.odds.tolist() == [-6, 11, 5]


def test_training_repeats(plain: DeepClusteringSeparator, model: Path, tmp_path: Path) -> None:
    clips = load_sample_clips()
    path = tmp_path / "plain.safetensors"
    plain.save(path)
    again = DeepClusteringSeparator.load(path)
    again.fit_voices([c.waveform for c in clips], [c.speaker for c in clips], n_examples=60)
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


def test_a_network_that_grows_loses_the_heads_and_says_so() -> None:
    y = np.random.default_rng(0).standard_normal((2, 2, 8000))
    separator = make_separator(n_layers=2, trunk=BLSTM(residual=True))
    separator.fit(y.sum(axis=1), y).fit_voices(list(y[0]), ["ann", "bob"], n_examples=8)
    separator.set_params(n_layers=3, warm_start=True)
    with pytest.warns(UserWarning, match="to 2 layers .* has 3; fit_voices, or skdc voices"):
        separator.fit(y.sum(axis=1), y)
    assert separator.network_.voice_head is None
    assert separator.network_.count_head is None


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
    monkeypatch.setattr(DeepClusteringSeparator.fit_voices, "__kwdefaults__", {"n_examples": 8})
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
