from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from skdc.training import DynamicMixing
from skdc.training.acoustics import add_noise, add_rooms, even_out
from skdc.training.banks import SourceBank

RATE = 8000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clicks(n_mixtures: int, n_sources: int = 2) -> Tensor:
    sources = torch.zeros(n_mixtures, n_sources, RATE)
    sources[..., 0] = 1.0
    return sources


def in_rooms(sources: Tensor, share: float = 1.0, seed: int = 0) -> Tensor:
    return add_rooms(sources, share, sample_rate=RATE, generator=generator(seed))


def test_reverberation_falls_by_60_db_within_t60() -> None:
    responses = in_rooms(clicks(60, 1))[:, 0].double().numpy()
    # Schroeder's integral of the energy that is still to come, of the tail alone.
    left = np.cumsum(responses[:, ::-1] ** 2, axis=1)[:, ::-1]
    after = left[:, 80]
    times = []
    for energy, first in zip(left, after, strict=True):
        t5, t25 = (np.argmax(energy < first * 10 ** (-db / 10)) for db in (5, 25))
        times.append(3 * (t25 - t5) / RATE)
    assert 0.09 < min(times) < 0.2
    assert 0.4 < max(times) < 0.55


def test_direct_sound_comes_first_and_the_tail_after_a_gap() -> None:
    responses = in_rooms(clicks(60, 1))[:, 0]
    direct, tail = responses[:, 0].square(), responses[:, 1:].square().sum(1)
    assert float(responses[:, 1 : int(0.002 * RATE)].abs().max()) < 1e-6
    assert (responses[:, int(0.008 * RATE) + 1 :].abs().amax(1) > 0).all()
    ratio_db = 10 * torch.log10(direct / tail)
    assert -3.01 < float(ratio_db.min()) < -1
    assert 4 < float(ratio_db.max()) < 6.01


def test_each_source_has_its_own_response_and_its_level() -> None:
    sources = torch.randn(5, 3, RATE, generator=generator(1))
    heard = in_rooms(sources)
    assert_allclose(heard.square().mean(-1), sources.square().mean(-1), rtol=1e-4)
    one, other = in_rooms(clicks(1))[0]
    assert not torch.allclose(one, other, atol=1e-3)
    # A source that does not speak stays silent.
    assert (in_rooms(torch.zeros(1, 2, RATE)) == 0).all()


def test_a_room_is_a_convolution() -> None:
    sources = torch.randn(1, 2, 3000, generator=generator(1)).double()
    response = in_rooms(torch.nn.functional.pad(torch.ones(1, 2, 1), (0, 6000)).double())
    heard = in_rooms(sources)
    for own, h, found in zip(sources[0], response[0], heard[0], strict=True):
        naive = np.convolve(own, h)[:3000]
        naive *= float(own.square().sum().sqrt()) / np.sqrt(np.square(naive).sum())
        assert_allclose(found, naive, atol=1e-5)


def test_noise_has_the_levels_it_states() -> None:
    mixtures = torch.randn(200, RATE, generator=generator(1))
    noise = add_noise(mixtures, 1.0, generator=generator()) - mixtures
    snr_db = 10 * torch.log10(mixtures.square().mean(1) / noise.square().mean(1))
    assert 2.9 < float(snr_db.min()) < 4
    assert 24 < float(snr_db.max()) < 25.1
    # From rumble to hiss: where half of the power lies, as a share of the band.
    power = torch.fft.rfft(noise).abs().square().cumsum(1)
    half = (power < power[:, -1:] / 2).sum(1) / power.shape[1]
    assert float(half.min()) < 0.05
    assert float(half.max()) > 0.5


@pytest.mark.parametrize("shape", [(600, RATE), (600, 2, RATE)])
def test_some_noise_has_the_spectrum_of_the_speech(shape: tuple[int, ...]) -> None:
    # Speech that is all within an octave, which no tilt is
    bins = torch.fft.rfft(torch.randn(shape, generator=generator(1)))
    bins[..., : RATE // 8] = 0
    bins[..., RATE // 4 :] = 0
    mixtures = torch.fft.irfft(bins, RATE)
    power = torch.fft.rfft(add_noise(mixtures, 1.0, generator=generator()) - mixtures).abs() ** 2
    within = power[..., RATE // 8 : RATE // 4].sum(-1) / power.sum(-1)
    is_like_it = within > 0.9
    assert 0.2 < float(is_like_it.float().mean()) < 0.4
    if len(shape) == 3:  # of the same kind in both microphones, but not the same
        assert torch.equal(is_like_it[:, 0], is_like_it[:, 1])


@pytest.mark.parametrize(
    "add", [in_rooms, lambda x, s: add_noise(x[:, 0], s, generator=generator())]
)
def test_shares(add: Any) -> None:
    sources = torch.randn(400, 1, 400, generator=generator(1))
    changed = (add(sources, 0.25).flatten(1) != sources.flatten(1)).any(1)
    assert 0.15 < float(changed.float().mean()) < 0.35
    before = sources.clone()
    assert torch.equal(add(sources, 0.0).flatten(1), sources.flatten(1))
    add(sources, 1.0)
    assert torch.equal(sources, before)


def test_bank_adds_noise_that_is_in_no_source() -> None:
    recordings = np.random.default_rng(0).standard_normal((4, RATE)).astype(np.float32)

    def draw(**mixing: Any) -> tuple[Tensor, Tensor]:
        bank = SourceBank(list(recordings), mixing=DynamicMixing(**mixing))
        return bank.mixtures(40, 4000, generator(3))

    mixtures, sources = draw()
    assert torch.equal(mixtures, sources.sum(1))
    noisy, same = draw(noise_share=0.5)
    assert torch.equal(same, sources)
    has_noise = (noisy != mixtures).any(1)
    assert 5 < int(has_noise.sum()) < 35
    reverberant, heard = draw(room_share=0.5)
    assert torch.equal(reverberant, heard.sum(1))
    assert 5 < int((heard != sources).any(2).any(1).sum()) < 35
    assert all(
        torch.equal(*pair) for pair in zip(draw(noise_share=0.5), (noisy, same), strict=True)
    )


def test_way_of_mixing_is_in_the_digest() -> None:
    recordings = list(np.random.default_rng(0).standard_normal((4, RATE)).astype(np.float32))
    ways = [DynamicMixing(), DynamicMixing(noise_share=0.3), DynamicMixing(room_share=0.3)]
    assert len({SourceBank(recordings, mixing=way).digest for way in ways}) == 3


@pytest.mark.parametrize("name", ["noise_share", "room_share"])
def test_wrong_shares_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=1.5 must lie between 0 and 1"):
        DynamicMixing().set_params(**{name: 1.5}).check()


def level_db(waveforms: Tensor) -> Tensor:
    return 10 * torch.log10(waveforms.square().mean(-1))


def test_levels_are_evened_out_by_up_to_four_fifths_and_those_of_sources_stay() -> None:
    # A second each at -20 dB and at 0 dB, 40 times, and before them silence of -60 dB.
    noise = torch.randn(40, 3 * RATE, generator=generator(1))
    noise[:, :RATE] *= 1e-3
    noise[:, RATE : 2 * RATE] *= 0.1
    evened = even_out(noise, sample_rate=RATE, generator=generator())
    assert_allclose(level_db(evened), level_db(noise), atol=1e-4)
    # Away from the borders, where both levels are heard at once.
    silent, soft, loud = (
        level_db(evened[:, first + 1000 : first + 7000]) for first in (0, RATE, 2 * RATE)
    )
    between = loud - soft
    assert 4 <= float(between.min()) < 5
    assert 17 < float(between.max()) <= 20.5
    # What is more than 30 dB below the loudest is not raised further than that: 40 dB become 30
    # dB less four fifths at most, and 10 dB.
    share = 1 - between / 20
    assert_allclose(soft - silent, 40 - 10 * share, atol=1)


def test_evened_levels_of_silence_are_silence_and_repeat() -> None:
    silence = torch.zeros(2, RATE)
    assert torch.equal(even_out(silence, sample_rate=RATE, generator=generator()), silence)
    noise = torch.randn(2, RATE, generator=generator(1))
    one, again = (even_out(noise, sample_rate=RATE, generator=generator(3)) for _ in range(2))
    assert torch.equal(one, again)
