"""Streams of people who take turns: each voice stays in its place."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from skdc import StreamingSeparator, load_pretrained
from skdc.datasets import load_sample_clips
from skdc.network.voice import VoiceHead
from skdc.separation import live_voices
from skdc.separation.live_voices import LiveVoices

N_BINS = 40
FRAME_S = 0.1


class LowAndHigh(VoiceHead):
    """Hears whether a source has more of the low or of the high bins."""

    def __init__(self) -> None:
        super().__init__(N_BINS, dim=2)

    def forward(self, shares: Tensor) -> Tensor:
        # (sources, frames, bins) -> (sources, halves of the bins)
        halves = shares.square().sum(1).unflatten(-1, (2, -1)).sum(-1)
        return functional.normalize(halves + 1e-6 * halves.sum(), dim=-1)


def frames_of(
    who: set[int], n_frames: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Masks, spectrogram and centroids where these people speak; 0 is low and 1 is high.

    Who is alone is cut in two at random, with centroids that are near each other. The cluster
    that has the low bins otherwise is the second one.
    """
    amplitude = np.abs(rng.standard_normal((n_frames, N_BINS))) + 0.1
    is_high = np.arange(N_BINS) >= N_BINS // 2
    for person in {0, 1} - who:
        amplitude[:, is_high == bool(person)] *= 1e-3
    phases = np.exp(2j * np.pi * rng.random(amplitude.shape))
    first = np.broadcast_to(is_high, amplitude.shape).astype(float)
    centroids = np.eye(2)
    if len(who) == 1:
        first = rng.random(amplitude.shape)
        centroids = np.array([[1.0, 0.0], [0.99, 0.1]])
    masks = np.stack([first, 1 - first])
    spectrogram = torch.from_numpy(amplitude * phases).to(torch.complex64)
    return torch.from_numpy(masks).float(), spectrogram, torch.from_numpy(centroids).float()


def follow(
    voices: LiveVoices,
    turns: list[tuple[set[int], int]],
    *,
    n_ahead: int = 0,
    gains: Any = None,
    seed: int = 0,
) -> list[list[list[int]]]:
    """Give the places of both clusters, block by block of 5 frames, for each turn."""
    rng = np.random.default_rng(seed)
    found = []
    for number, (who, n_blocks) in enumerate(turns):
        own = []
        for _ in range(n_blocks):
            masks, spectrogram, centroids = frames_of(who, 5 + n_ahead, rng)
            if gains is not None:
                spectrogram = (spectrogram.to(torch.complex128) * gains[number]).to(spectrogram)
            own.append(voices.follow(masks, spectrogram, centroids, 5).tolist())
        found.append(own)
    return found


TURNS: list[tuple[set[int], int]] = [
    ({0, 1}, 8),
    ({0}, 30),
    ({1}, 30),
    ({0, 1}, 10),
    ({1}, 40),
    ({0}, 10),
]


@pytest.mark.parametrize("n_ahead", [0, 3])
def test_who_is_alone_stays_in_one_place(n_ahead: int) -> None:
    found = follow(LiveVoices(LowAndHigh(), 2, FRAME_S), TURNS, n_ahead=n_ahead)
    both, low, high, again, high_again, low_again = found
    # In the beginning sources are where the clusters are; the low voice is in the second one.
    assert both[-1] == [0, 1]
    # A second and a half after each change
    for places, expected in (
        (low, [1, 1]),
        (high, [0, 0]),
        (again, [0, 1]),
        (high_again, [0, 0]),
        (low_again, [1, 1]),
    ):
        assert places[3:] == [expected] * len(places[3:])


def test_who_begins_alone_is_one_source_as_soon_as_the_other_was_heard() -> None:
    found = follow(
        LiveVoices(LowAndHigh(), 2, FRAME_S), [({0}, 40), ({1}, 40), ({0}, 40), ({1}, 40)]
    )
    *_, third, fourth = found
    places = {tuple(third[-1]), tuple(fourth[-1])}
    assert places == {(0, 0), (1, 1)}
    assert third[4:] == [third[-1]] * len(third[4:])
    assert fourth[4:] == [fourth[-1]] * len(fourth[4:])


@pytest.mark.parametrize("gain", [1e-36, 1e-12, 1e12, 1e33])
def test_the_level_does_not_matter(gain: float) -> None:
    expected = follow(LiveVoices(LowAndHigh(), 2, FRAME_S), TURNS)
    found = follow(LiveVoices(LowAndHigh(), 2, FRAME_S), TURNS, gains=[gain] * len(TURNS))
    assert found == expected


def test_what_is_as_good_as_silent_in_the_beginning_does_not_matter() -> None:
    voices = LiveVoices(LowAndHigh(), 2, FRAME_S)
    for gain in (0.0, 1e-43):
        assert follow(voices, [({0, 1}, 60)], gains=[gain]) == [[[0, 1]] * 60]
        # Nothing is kept of silence, however long it is, but what the next stretch begins with.
        assert not voices._remembered
        assert sum(map(len, voices._spectrograms)) <= 60
    follow(voices, [({0, 1}, 30)], gains=[1e-30])
    *_, high, low = follow(voices, TURNS)
    assert (high[3:], low[3:]) == ([[0, 0]] * 37, [[1, 1]] * 7)


def test_who_has_long_been_silent_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_voices, "_MOST_STRETCHES", 5)
    voices = LiveVoices(LowAndHigh(), 2, FRAME_S)
    follow(voices, TURNS)
    for seed in range(4):
        ((*_, last),) = follow(voices, [({0}, 60)], seed=seed)
        assert last == [1, 1]
        assert len(voices._remembered) <= 5
        # Only what the last stretch ends with is kept of the frames.
        assert sum(map(len, voices._spectrograms)) <= 60
    ((*_, last),) = follow(voices, [({1}, 6)])
    assert last == [0, 0]


@pytest.mark.parametrize("gain", [0.0, 1e-6])
def test_a_pause_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    monkeypatch.setattr(live_voices, "_MOST_STRETCHES", 5)
    voices = LiveVoices(LowAndHigh(), 2, FRAME_S)
    follow(voices, TURNS)
    said = [clue.energy.sum() for clue, _ in voices._remembered]
    follow(voices, [({0, 1}, 200)], gains=[gain])
    left = [clue.energy.sum() for clue, _ in voices._remembered]
    # One stretch of the pause is the last one, and all others are of what was said.
    assert sum(energy > 0.1 * max(said) for energy in left) == 4
    high, low = follow(voices, [({1}, 12), ({0}, 12)])
    assert (high[3:], low[3:]) == ([[0, 0]] * 9, [[1, 1]] * 9)


def test_reluctance_keeps_clusters_apart() -> None:
    voices = LiveVoices(LowAndHigh(), 2, FRAME_S, reluctance=1e6)
    for places in follow(voices, TURNS):
        assert all(sorted(block) == [0, 1] for block in places)


# -- whole streams --------------------------------------------------------------------------------


def conversation() -> NDArray[np.float32]:
    """Two people who speak at once for 6 s, then alone for 15 s each, and again, 72 s in all."""
    clips = load_sample_clips()
    people = sorted({clip.speaker for clip in clips})[:2]
    sources = []
    for number, who in enumerate(people):
        own = np.concatenate([clip.waveform for clip in clips if clip.speaker == who])
        on = np.concatenate([np.ones(48_000), np.arange(240_000) // 120_000 == number])
        speech = np.resize(own, 2 * len(on)).astype(np.float32)
        # Nobody goes on with a sentence while they are silent.
        on = np.concatenate([on, on])
        spoken = np.zeros(len(on), dtype=np.float32)
        spoken[on > 0] = speech[: int(on.sum())] / speech.std()
        sources.append(0.05 * spoken)
    return np.stack(sources)


def n_wrong(sources: NDArray[np.float32], found: NDArray[np.float32]) -> int:
    """Count the blocks of 3 s of which more would be right the other way round."""
    # (sources, samples) -> (sources, blocks, samples)
    blocks = [x.reshape(2, -1, 24_000) for x in (sources, found)]
    shared = np.abs(np.einsum("sbt,pbt->bsp", *blocks))
    gains = shared[:, 0, 0] + shared[:, 1, 1] - shared[:, 0, 1] - shared[:, 1, 0]
    return int(min((gains < 0).sum(), (gains > 0).sum()))


@pytest.fixture(scope="module")
def talk() -> NDArray[np.float32]:
    return conversation()


def test_people_who_take_turns_keep_their_places(talk: NDArray[np.float32]) -> None:
    separator = load_pretrained("speech-8k", device="cpu")
    mixture = talk.sum(axis=0)
    stream = StreamingSeparator(separator)
    parts = [stream.push(part) for part in np.split(mixture, range(16_000, len(mixture), 16_000))]
    found = np.concatenate([*parts, stream.flush()], axis=1)
    np.testing.assert_allclose(found.sum(axis=0), mixture, atol=1e-5)
    assert n_wrong(talk, found) == 0
    # Without its voice head, the order is lost.
    separator.network_.voice_head = None
    stream = StreamingSeparator(separator)
    blind = np.concatenate([stream.push(mixture), stream.flush()], axis=1)
    assert n_wrong(talk, blind) > 3


def test_voices_in_blocks_of_any_size_are_the_same_bits(talk: NDArray[np.float32]) -> None:
    mixture = talk[:, 40_000:160_000].sum(axis=0)
    stream = StreamingSeparator(load_pretrained("speech-2mix-8k-live", device="cpu"))
    expected = np.concatenate([stream.push(mixture), stream.flush()], axis=1)
    cuts = [0, *sorted(np.random.default_rng(0).integers(0, len(mixture), 40)), len(mixture)]
    parts = [stream.push(mixture[start:stop]) for start, stop in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()], axis=1), expected)
    # A copy goes on where the stream was.
    stream.push(mixture[:70_000])
    other = pickle.loads(pickle.dumps(stream))
    for each in (stream, other):
        rest = np.concatenate([each.push(mixture[70_000:]), each.flush()], axis=1)
        np.testing.assert_array_equal(rest, expected[:, -rest.shape[1] :])


def test_one_block_of_many_seconds_is_followed_within(talk: NDArray[np.float32]) -> None:
    # Six seconds of both, then the first one alone
    mixture = talk[:, :80_000].sum(axis=0)
    separator = load_pretrained("speech-2mix-8k-live", device="cpu")
    for stream in (
        StreamingSeparator(separator, warm_up=9.0),
        StreamingSeparator(separator, block=9.0),
    ):
        found = np.concatenate([stream.push(mixture), stream.flush()], axis=1)
        # While both speak, neither source is silent.
        level = np.square(found[:, 8_000:40_000]).mean(axis=1)
        assert level.min() > 0.05 * level.max()


def test_copies_of_a_stream_hold_no_more_than_they_need(talk: NDArray[np.float32]) -> None:
    separator = load_pretrained("speech-2mix-8k-live", device="cpu")
    sizes = []
    for voices in (True, False):
        if not voices:
            separator.network_.voice_head = None
        stream = StreamingSeparator(separator, block=0)
        stream.push(talk[:, :40_000].sum(axis=0))
        sizes.append(len(pickle.dumps(stream)))
    assert sizes[0] < sizes[1] + 6e6


def test_three_sources(talk: NDArray[np.float32]) -> None:
    mixture = talk[:, :80_000].sum(axis=0)
    stream = StreamingSeparator(load_pretrained("speech-2mix-8k-live", device="cpu"), n_sources=3)
    found = np.concatenate([stream.push(mixture), stream.flush()], axis=1)
    assert found.shape == (3, len(mixture))
    np.testing.assert_allclose(found.sum(axis=0), mixture, atol=1e-5)


@pytest.mark.parametrize("n_sources", [1, 4])
def test_other_numbers_go_by_their_clusters(n_sources: int) -> None:
    separator = load_pretrained("speech-2mix-8k-live", device="cpu")
    assert StreamingSeparator(separator, n_sources=n_sources)._voices is None


def test_masks_of_a_head_go_by_their_places() -> None:
    separator = load_pretrained("speech-2mix-8k-live", device="cpu").set_params(mask="head")
    assert StreamingSeparator(separator)._voices is None
