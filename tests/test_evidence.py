"""What is gathered of the stretches of a recording, and how many voices that makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from skdc.network.count import CountHead
from skdc.network.voice import VoiceHead
from skdc.separation.activity import cut_moments
from skdc.separation.counts import MOST_SOURCES
from skdc.separation.evidence import Clue, take_clue
from skdc.separation.identity import Identity, identify
from skdc.separation.stretches import Stretch

FRAME_S, N_MOMENT, N_FRAMES = 0.032, 31, 188


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def clues_of_two(cosine: float, several: float, n_stretches: int = 30) -> list[Clue]:
    """Two voices, each a cluster of all stretches, whose vectors have this cosine."""
    rng = np.random.default_rng(0)
    axes = np.eye(64)
    voices = np.stack([axes[0], cosine * axes[0] + np.sqrt(1 - cosine**2) * axes[1]])
    clues = []
    for _ in range(n_stretches):
        order = rng.permutation(2)
        vectors = unit(voices[order] + 0.3 * rng.normal(size=(2, 64)) / 8)
        clues.append(
            Clue(
                vectors.astype(np.float32),
                np.full((2, N_FRAMES), 1.0 + order[:, None], np.float32),
                np.array([[1, -0.3], [-0.3, 1]], np.float32),
                np.zeros((2, 2), np.float32),
                np.repeat(vectors[None], 11, axis=0).astype(np.float16),
                several,
            )
        )
    return clues


def count(clues: list[Clue]) -> int:
    found = identify(clues, None, FRAME_S, N_MOMENT, odds=(-6.0, 11.0, 5.0), seed=0)
    assert found.n_voices == 1 + max(int(own.max()) for own in found.voices)
    return found.n_voices


@pytest.mark.parametrize(
    ("cosine", "several", "expected"), [(0.1, 0.0, 2), (0.9, 0.0, 1), (0.9, 0.9, 2)]
)
def test_alike_voices_are_two_where_several_are_heard_at_once(
    cosine: float, several: float, expected: int
) -> None:
    assert count(clues_of_two(cosine, several)) == expected


def test_that_several_are_heard_in_one_stretch_of_thirty_makes_no_second_voice() -> None:
    first, *others = clues_of_two(0.9, 0.0)
    assert count([first._replace(several=1.0), *others]) == 1


def clues_of(voices: Any, who: Any, loudness: Any, seed: int = 0) -> list[Clue]:
    """Stretches of two clusters, each of which has the voice that `who`, (stretches, 2), says."""
    rng = np.random.default_rng(seed)
    dim = voices.shape[1]
    clues = []
    for own in who:
        moments = unit(voices[own] + 0.3 * rng.normal(size=(11, 2, dim)) / np.sqrt(dim))
        nearness = 1.0 if own[0] == own[1] else -0.3
        clues.append(
            Clue(
                unit(moments.mean(0)).astype(np.float32),
                np.repeat(loudness[own][:, None], N_FRAMES, axis=1).astype(np.float32),
                np.array([[1, nearness], [nearness, 1]], np.float32),
                np.zeros((2, 2), np.float32),
                moments.astype(np.float16),
                0.0,
            )
        )
    return clues


def test_who_speaks_for_one_stretch_of_twenty_is_a_talker() -> None:
    who = np.zeros((60, 2), dtype=int)
    who[[7, 30, 51]] = 1
    voices = unit(np.eye(2, 64) + [[0.4], [0.0]] * np.eye(64)[1])
    clues = clues_of(voices, who, np.ones(2))
    found = identify(clues, None, FRAME_S, N_MOMENT, odds=(-6.0, 11.0, 5.0), seed=0)
    assert found.n_voices == 2
    assert found.alike == ()
    assert all((own == one[0]).all() for own, one in zip(found.voices, who, strict=True))
    # But who is heard for one stretch of sixty is no more than a mood.
    who[[30, 51]] = 0
    assert count(clues_of(voices, who, np.ones(2))) == 1


def test_voices_that_are_too_alike_to_be_sure_are_named() -> None:
    rng = np.random.default_rng(1)
    who = np.array([rng.permutation(3)[:2] for _ in range(60)])
    first, second, third = np.eye(3, 64)
    voices = unit(np.stack([first, second, first + 0.35 * third]))
    call: Any = {"odds": (-6.0, 11.0, 5.0), "seed": 0}
    # The loudest voice comes first: that of the middle is loudest, then the last.
    clues = clues_of(voices, who, np.array([1.0, 9.0, 4.0]))
    found = identify(clues, 3, FRAME_S, N_MOMENT, **call)
    assert found.alike == ((1, 2),)
    (note,) = found.notes()
    assert note.startswith("the voices of the second and the third source are so alike that")
    voices[2] = third
    assert identify(clues_of(voices, who, np.ones(3)), 3, FRAME_S, N_MOMENT, **call).alike == ()


def test_any_of_the_most_voices_can_be_named() -> None:
    alike = tuple((i, MOST_SOURCES - 1) for i in range(MOST_SOURCES - 1))
    notes = Identity([], MOST_SOURCES, alike).notes()
    assert len(set(notes)) == MOST_SOURCES - 1
    assert notes[5].startswith(f"the voices of the 6th and the {MOST_SOURCES}th source are")


def test_without_a_voice_head_no_voices_are_named() -> None:
    clues = [
        clue._replace(moments=np.zeros((0, 2, 0), np.float16)) for clue in clues_of_two(0.99, 0.0)
    ]
    assert identify(clues, 2, FRAME_S, N_MOMENT, odds=None, seed=0).alike == ()


@pytest.mark.parametrize("n_shared", [0, 3, 6, 20])
def test_without_a_voice_head_who_is_never_heard_with_another_is_one(n_shared: int) -> None:
    rng = np.random.default_rng(0)
    nothing = np.zeros((0, 2, 0), np.float16)
    clues = []
    for stretch in range(20):
        nearness = 0.0 if stretch < n_shared else 0.98
        clues.append(
            Clue(
                rng.standard_normal((2, 32)).astype(np.float32),
                np.ones((2, N_FRAMES), np.float32),
                np.array([[1, nearness], [nearness, 1]], np.float32),
                np.zeros((2, 2), np.float32),
                nothing,
                0.0,
            )
        )
    found = identify(clues, None, FRAME_S, N_MOMENT, odds=None, seed=0)
    # Clusters that are two voices in more than 15 % of the speech; never more than at once
    assert found.n_voices == (2 if n_shared > 3 else 1)


def test_the_louder_voice_is_the_first() -> None:
    clues = clues_of_two(0.1, 0.0)
    found = identify(clues, 2, FRAME_S, N_MOMENT, odds=(-6.0, 11.0, 5.0), seed=0)
    for clue, own in zip(clues, found.voices, strict=True):
        assert own.dtype == np.uint8
        assert (own == (clue.energy < 1.5)).all()


@pytest.mark.parametrize("has_heads", [True, False])
def test_a_clue_takes_little_room(has_heads: bool) -> None:
    torch.manual_seed(0)
    spectrogram = torch.randn(N_FRAMES, 257, dtype=torch.complex64)
    mask = torch.rand(1, N_FRAMES, 257)
    states = torch.randn(1, N_FRAMES, 1, 600)
    stretch = Stretch(0, 0, spectrogram, states, torch.cat([mask, 1 - mask]), torch.randn(2, 20))
    bands = ((0, 257),)
    clue = take_clue(
        stretch,
        torch.rand(2, N_FRAMES),
        None,
        VoiceHead(257, 64) if has_heads else None,
        CountHead(bands, 600, 4) if has_heads else None,
        N_MOMENT,
    )
    arrays = [value for value in clue if isinstance(value, np.ndarray)]
    # Four hours have 3,200 stretches.
    assert sum(array.nbytes for array in arrays) < 6_500
    assert all(array.base is None or array.base.nbytes <= array.nbytes for array in arrays)
    assert len(clue.moments) == (11 if has_heads else 0)
    assert 0 < clue.several < 1 if has_heads else clue.several == 0


def test_moments_have_the_voice_and_the_spectrum_of_each_cluster() -> None:
    torch.manual_seed(0)
    spectrogram = torch.randn(N_FRAMES, 257, dtype=torch.complex64)
    masks = torch.rand(2, N_FRAMES, 257)
    stretch = Stretch(0, 0, spectrogram, torch.zeros(0), masks, torch.randn(2, 20))
    head = VoiceHead(257, 64)
    clue = take_clue(stretch, torch.rand(2, N_FRAMES), None, head, None, N_MOMENT)
    assert clue.moments.shape == (11, 2, 64 + 32)
    shares = (masks * spectrogram.abs()).double().numpy()
    for m, start in enumerate(cut_moments(N_FRAMES, N_MOMENT)):
        for c in range(2):
            part = shares[c, start : start + N_MOMENT]
            with torch.no_grad():
                voice = head(torch.from_numpy(part[None]).float())[0]
            np.testing.assert_allclose(clue.moments[m, c, :64], voice, atol=1e-3)
            # Bands as adaptive pooling cuts them: from the floor to the ceiling of i * 257 / 32.
            cuts = [(i * 257 // 32, -(-(i + 1) * 257 // 32)) for i in range(32)]
            bands = np.stack([(part[:, a:b] ** 2).mean(1) for a, b in cuts], axis=1)
            bands /= bands.mean()
            loud = np.sqrt(bands.sum(1, keepdims=True))
            envelope = (loud * np.log(bands + 1e-4)).sum(0) / loud.sum()
            np.testing.assert_allclose(clue.moments[m, c, 64:], 0.2 * envelope, atol=1e-3)


@pytest.mark.parametrize("n_known", [0, 4, 11])
def test_moments_that_are_known_are_not_taken_again(n_known: int) -> None:
    torch.manual_seed(0)
    spectrogram = torch.randn(N_FRAMES, 257, dtype=torch.complex64)
    masks, energy = torch.rand(2, N_FRAMES, 257), torch.rand(2, N_FRAMES)
    stretch = Stretch(0, 0, spectrogram, torch.zeros(0), masks, torch.randn(2, 20))
    head = VoiceHead(257, 64)
    whole = take_clue(stretch, energy, None, head, None, N_MOMENT)
    known = np.full_like(whole.moments[:n_known], 7)
    clue = take_clue(stretch, energy, None, head, None, N_MOMENT, known)
    np.testing.assert_array_equal(clue.moments[:n_known], known)
    np.testing.assert_allclose(clue.moments[n_known:], whole.moments[n_known:], atol=1e-3)
