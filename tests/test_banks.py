"""Banks: what a mixture is made of, where segments come from, what a batch depends on."""

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch

from skdc import signal
from skdc.signal import Framing, active_level
from skdc.training import DynamicMixing
from skdc.training.banks import (
    MixtureBank,
    SourceBank,
    make_bank,
    make_targets,
    step_seed,
)

FRAMING = Framing(win_length=16, hop_length=4)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def tone(cycles, n_samples=400, amplitude=1.0):
    """`cycles` whole periods, so that it goes on smoothly when it wraps round."""
    return amplitude * np.sin(2 * np.pi * cycles * np.arange(n_samples) / n_samples)


def draw(bank, n_mixtures=200, n_samples=400, seed=0):
    return bank.mixtures(n_mixtures, n_samples, torch.Generator().manual_seed(seed))


def heard(source):
    """Cycles of the tone in a source; 0 for silence."""
    return int(torch.fft.rfft(source).abs().argmax())


def assert_same_batch(a, b):
    for left, right in zip(a, b, strict=True):
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


# -- sources that are mixed anew -----------------------------------------------------------------


def test_sources_sum_to_their_mixtures():
    mixtures, sources = draw(SourceBank(noise(5, 1000), n_sources=3), 20, 300)
    assert mixtures.shape == (20, 300)
    assert sources.shape == (20, 3, 300)
    assert mixtures.dtype == sources.dtype == torch.float32
    torch.testing.assert_close(sources.sum(1), mixtures)


def test_nobody_is_mixed_with_themselves():
    # A speaker's tone is known by its frequency; speaker 10 has most of the recordings.
    cycles = [10, 20, 10, 30, 10, 20, 10, 10]
    bank = SourceBank([tone(c) for c in cycles], speakers=cycles, n_sources=2)
    pairs = {tuple(sorted(map(heard, item))) for item in draw(bank)[1]}
    assert pairs == {(10, 20), (10, 30), (20, 30)}


def test_without_speakers_every_recording_is_one():
    bank = SourceBank([tone(10), tone(20)])
    assert {tuple(sorted(map(heard, item))) for item in draw(bank, 50)[1]} == {(10, 20)}


def test_speakers_are_drawn_by_how_much_they_speak():
    recordings = [tone(10, 400), tone(20, 400), tone(20, 400), tone(20, 400)]
    bank = SourceBank(recordings, ["a", "b", "b", "b"], n_sources=1)
    share = np.mean([heard(item[0]) == 10 for item in draw(bank, 4000)[1]])
    # Five standard deviations.
    assert share == pytest.approx(0.25, abs=0.035)


@pytest.mark.parametrize("level_range_db", [0.0, 5.0, 20.0])
def test_levels_differ_by_no_more_than_the_range(level_range_db):
    # However loud the recordings were.
    recordings = [tone(10, amplitude=30.0), tone(20, amplitude=1e-3), tone(30)]
    _, sources = draw(SourceBank(recordings, mixing=DynamicMixing(level_range_db)), 500)
    levels = 10 * torch.log10(sources.square().mean(-1))
    difference = (levels[:, 0] - levels[:, 1]).abs()
    assert difference.max() <= level_range_db + 1e-2
    assert difference.max() >= 0.8 * level_range_db


def test_stretches_begin_anew_where_a_speaker_ends():
    # Speakers of less than a segment, of a little more and of much more, by a loop over samples.
    recordings = [noise(n, seed=n) for n in (7, 60, 90, 400)]
    bank = SourceBank(recordings)
    generator = np.random.default_rng(0)
    for n_samples in (5, 50, 100, 500, 1000):
        speaker = torch.from_numpy(generator.integers(0, 4, (8, 2)))
        length, offset = bank._lengths[speaker], bank._offsets[speaker]
        start = (torch.from_numpy(generator.random((8, 2))) * length).long()
        found = bank._stretches(start, length, offset, n_samples)
        assert found.shape == (8, 2, n_samples)
        for mixture, source in itertools.product(range(8), range(2)):
            own = recordings[int(speaker[mixture, source])]
            own = own * (0.1 / active_level(own, 8000))
            first = int(start[mixture, source])
            expected = [own[(first + i) % len(own)] for i in range(n_samples)]
            np.testing.assert_allclose(found[mixture, source], expected, rtol=1e-6)


def test_sources_are_stretches_of_what_one_speaker_said():
    recordings = noise(3, 150)
    _, sources = draw(SourceBank(recordings, mixing=DynamicMixing(0.0)), 30, 60)
    starts = set()
    for source in sources.flatten(0, 1).double().numpy():
        found = []
        for recording in recordings:
            # All stretches, also those that run over the end and go on at the beginning.
            stretches = np.stack([np.roll(recording, -start)[:60] for start in range(150)])
            likeness = stretches @ source
            likeness /= np.linalg.norm(stretches, axis=1) * np.linalg.norm(source)
            found += [int(likeness.argmax())] if likeness.max() > 1 - 1e-6 else []
        assert len(found) == 1
        starts |= set(found)
    assert min(starts) < 15
    assert max(starts) > 135


def test_recordings_of_a_speaker_are_laid_end_to_end():
    parts = [tone(5, 100), tone(10, 100)]
    bank = SourceBank(parts, ["a", "a"], n_sources=1, mixing=DynamicMixing(0.0))
    _, sources = draw(bank, 40, 200)
    whole = np.concatenate(parts)
    for source in sources[:, 0].double().numpy():
        likeness = [np.roll(whole, -start) @ source for start in range(200)]
        norm = np.linalg.norm(whole) * np.linalg.norm(source)
        assert max(likeness) == pytest.approx(norm, rel=1e-5)


def test_segments_longer_than_a_recording_go_round():
    _, sources = draw(SourceBank([tone(10), tone(20)]), 3, 1200)
    torch.testing.assert_close(sources[..., :400], sources[..., 400:800])
    torch.testing.assert_close(sources[..., :400], sources[..., 800:])


def test_batches_may_lack_a_speed():
    # In small batches no source may be played at some of the speeds.
    mixing = DynamicMixing(speeds=(0.8, 0.9, 1.0, 1.1, 1.2), noise_share=0.2, room_share=0.2)
    recordings = [tone(20), tone(40)]
    for framing in (Framing(), Framing(hears_phases=True)):
        bank = SourceBank(recordings, mixing=mixing, framing=framing)
        for step in range(10):
            assert bank.batch(1, 10, seed=0, step=step).features.isfinite().all()


def test_speeds_make_other_voices():
    bank = SourceBank([tone(20), tone(40)], mixing=DynamicMixing(0.0, speeds=(0.9, 1.0, 1.1)))
    mixtures, sources = draw(bank, 60, 4000)
    torch.testing.assert_close(sources.sum(1), mixtures)
    # A tone of 20 cycles in 400 samples has 200 in 4000, and 0.9 or 1.1 times as many when it is
    # played at that speed.
    heard_ones = {heard(source) for source in sources.flatten(0, 1)}
    assert heard_ones == {180, 200, 220, 360, 400, 440}
    levels = sources.square().mean(-1).sqrt()
    torch.testing.assert_close(levels, torch.full_like(levels, 0.1), rtol=0.05, atol=0)


def test_a_speed_of_one_is_the_recording_itself():
    recordings = noise(3, 500)
    plain, _ = draw(SourceBank(recordings), 5)
    again, _ = draw(SourceBank(recordings, mixing=DynamicMixing(speeds=(1.0,))), 5)
    assert torch.equal(plain, again)


def test_speakers_alike_are_mixed_more_often_on_request():
    # Four pairs of neighbours; a tone of a bin of its own would not be like any other.
    cycles = [25, 27, 75, 77, 125, 127, 175, 177]
    recordings = [tone(c) for c in cycles]

    def share_of_neighbours(similar_share):
        mixing = DynamicMixing(similar_share=similar_share)
        _, sources = draw(SourceBank(recordings, mixing=mixing, framing=FRAMING), 400)
        return np.mean([abs(heard(a) - heard(b)) == 2 for a, b in sources])

    assert share_of_neighbours(0.0) == pytest.approx(1 / 7, abs=0.08)
    assert share_of_neighbours(1.0) == pytest.approx(1 / 2, abs=0.1)  # one of the nearest two
    assert share_of_neighbours(0.5) == pytest.approx((1 / 7 + 1 / 2) / 2, abs=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speeds": ()}, "speeds"),
        ({"speeds": (1.0, 3.0)}, "numbers of 0.5 to 2"),
        ({"speeds": (np.nan,)}, "speeds"),
        ({"similar_share": 1.5}, "similar_share=1.5 must lie between 0 and 1"),
        ({"level_range_db": -1.0}, "level_range_db=-1.0 must be finite"),
        ({"n_sources": (0, 2)}, "n_sources"),
        ({"n_sources": (1.5,)}, "n_sources"),
    ],
)
def test_ways_of_mixing_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SourceBank(noise(3, 200), mixing=DynamicMixing(**settings))


NO_NUMBER: list[Any] = [
    None,
    "a",
    "5",
    b"5",
    1j,
    [0.5],
    [[0.5]],
    np.full((1, 1), 0.5),
    {},
    float,
    True,
]


@pytest.mark.parametrize("value", NO_NUMBER, ids=repr)
@pytest.mark.parametrize("name", ["level_range_db", "similar_share", "noise_share", "room_share"])
def test_what_must_be_a_number_is_one(name, value):
    with pytest.raises(ValueError, match=rf"^{name}={re.escape(repr(value))} must (lie|be)"):
        DynamicMixing(**{name: value}).check()


NO_NUMBERS: list[Any] = [
    "x",
    "1",
    b"1",
    1j,
    ["1"],
    [None],
    [[1]],
    [[1], [1, 2]],
    {},
    {1},
    float,
    True,
    [],
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["speeds", "n_sources"])
def test_what_must_be_numbers_is_some(name, value):
    with pytest.raises(ValueError, match=rf"^{name}={re.escape(repr(value))} must be one or sev"):
        DynamicMixing(**{name: value}).check()


def test_numbers_of_numpy_are_numbers():
    of_numpy: list[Any] = [np.float32(3), np.array([0.9, 1.1]), np.int64(1), np.int64(2), 0, 1]
    DynamicMixing(*of_numpy).check()
    single: dict[str, Any] = {"speeds": 1, "n_sources": range(1, 3)}
    DynamicMixing(**single).check()


def test_the_digest_tells_data_apart():
    recordings = noise(3, 300)
    changed = recordings.copy()
    changed[1, 7] += 1e-3
    digests = [
        SourceBank(recordings).digest,
        SourceBank(changed).digest,
        SourceBank(recordings[:, :299]).digest,
        SourceBank(recordings, ["a", "b", "b"]).digest,
        SourceBank(recordings, n_sources=3).digest,
        SourceBank(recordings, mixing=DynamicMixing(3.0)).digest,
        SourceBank(recordings, mixing=DynamicMixing(similar_share=0.5)).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert SourceBank(recordings, on_disk=True).digest == digests[0]


def test_silent_recordings_are_left_out():
    recordings = [np.zeros(400), tone(10), np.zeros(10), tone(20)]
    _, sources = draw(SourceBank(recordings), 50)
    assert {tuple(sorted(map(heard, item))) for item in sources} == {(10, 20)}


@pytest.mark.parametrize(
    ("recordings", "speakers", "n_sources", "n_speakers"),
    [
        ([tone(10)], None, 2, 1),
        ([tone(10), tone(20)], ["a", "a"], 2, 1),
        ([tone(10), np.zeros(400)], None, 2, 1),
        ([tone(10), tone(20)], None, [1, 3], 2),
        ([np.zeros(400)], None, 1, 0),
    ],
)
def test_too_few_speakers_are_refused(recordings, speakers, n_sources, n_speakers):
    with pytest.raises(ValueError, match=f"recordings of {n_speakers} speakers"):
        SourceBank(recordings, speakers, n_sources=n_sources)


def test_the_number_of_sources_may_vary_between_mixtures():
    # From a list, each entry is as likely as any other: two mixtures in three have one source.
    bank = SourceBank([tone(10), tone(20), tone(30)], n_sources=[1, 1, 3])
    mixtures, sources = draw(bank, 3000)
    counts = (sources.abs().amax(-1) > 0).sum(1)
    assert set(counts.tolist()) == {1, 3}
    assert (counts == 1).float().mean().item() == pytest.approx(2 / 3, abs=0.045)
    torch.testing.assert_close(sources.sum(1), mixtures)
    assert bank.batch(2, 10, seed=0, step=0).n_sources == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_recordings_of_any_type(dtype):
    recordings = [(1000 * tone(c)).astype(dtype) for c in (10, 20)]
    mixtures, _ = draw(SourceBank(recordings), 3)
    expected, _ = draw(SourceBank([x.astype(np.float64) for x in recordings]), 3)
    torch.testing.assert_close(mixtures, expected)


def test_source_bank_counts_the_audio_of_one_pass():
    # Every sample once: as many samples of mixtures as there are of sources, over their number.
    assert SourceBank(noise(4, 1000)).n_mixture_samples == 2000
    assert SourceBank(noise(4, 1000), n_sources=[1, 3]).n_mixture_samples == 2000
    assert SourceBank(noise(2, 1)).n_mixture_samples >= 1


# -- batches are functions of seed and step ------------------------------------------------------


def banks():
    sources = noise(4, 2, 500)
    labels = [np.random.default_rng(i).integers(-1, 3, (126, 9)) for i in range(4)]
    mixtures = list(sources.sum(1))
    return {
        "sources": SourceBank(noise(4, 500), framing=FRAMING),
        "references": MixtureBank(mixtures, list(sources), framing=FRAMING),
        "labels": MixtureBank(mixtures, labels, framing=FRAMING),
    }


@pytest.mark.parametrize("kind", ["sources", "references", "labels"])
def test_a_batch_is_a_function_of_seed_and_step(kind):
    bank, other = banks()[kind], banks()[kind]
    state = torch.get_rng_state()
    batch = bank.batch(6, 20, seed=3, step=5)
    # Other batches in between, and another bank, change nothing; neither does the global state.
    bank.batch(2, 10, seed=0, step=0)
    assert_same_batch(bank.batch(6, 20, seed=3, step=5), batch)
    assert_same_batch(other.batch(6, 20, seed=3, step=5), batch)
    assert torch.equal(torch.get_rng_state(), state)
    for seed, step in [(3, 6), (4, 5), (5, 3), (2**31, 5), (3, 10**7)]:
        different = bank.batch(6, 20, seed=seed, step=step)
        assert not torch.equal(different.features, batch.features)


def test_seeds_of_steps_differ_and_fit_the_generator():
    seeds = {step_seed(a, b) for a, b in itertools.product(range(30), range(30))}
    assert len(seeds) == 900
    # The generator on the CPU takes no more bits than these.
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert step_seed(2**31 - 1, 10**9) != step_seed(2**31 - 2, 10**9)


@pytest.mark.parametrize("kind", ["sources", "references", "labels"])
def test_shapes_and_types_of_a_batch(kind):
    batch = banks()[kind].batch(6, 20, seed=0, step=0)
    for tensor in batch[:3]:
        assert tensor.shape == (6, 20, 9)
    assert batch.features.dtype == batch.weights.dtype == torch.float32
    assert batch.labels.dtype == torch.int64
    assert batch.n_sources == (3 if kind == "labels" else 2)
    assert batch.labels.max() < batch.n_sources
    assert set(batch.weights.unique().tolist()) <= {0.0, 1.0}
    assert bool(batch.features.isfinite().all())


def test_a_batch_of_a_source_bank_comes_from_its_mixtures():
    bank = SourceBank(noise(4, 500), framing=FRAMING)
    generator = torch.Generator().manual_seed(step_seed(7, 8))
    mixtures, sources = bank.mixtures(6, FRAMING.segment_samples(20), generator)
    assert_same_batch(bank.batch(6, 20, seed=7, step=8), make_targets(mixtures, sources, FRAMING))


def test_targets_are_features_labels_and_activity():
    sources = torch.from_numpy(noise(3, 2, 200)).float()
    sources[1, :, 50:] = 0.0
    mixtures = sources.sum(1)
    batch = make_targets(mixtures, sources, FRAMING)
    spectrogram = signal.stft(mixtures, win_length=16, hop_length=4)
    torch.testing.assert_close(
        batch.features, signal.log_magnitude(spectrogram), rtol=0, atol=2e-6
    )
    assert torch.equal(batch.weights.bool(), signal.activity(spectrogram, threshold_db=40))
    assert 0 < batch.weights[1].mean() < 1
    by_source = signal.stft(sources, win_length=16, hop_length=4).abs()
    assert torch.equal(batch.labels, by_source.argmax(1))


def test_noise_where_all_sources_are_silent_is_of_none_of_them():
    sources = torch.from_numpy(noise(3, 2, 200)).float()
    sources[..., 120:] = 0.0
    mixtures = sources.sum(1) + 0.3 * torch.from_numpy(noise(3, 200, seed=5)).float()
    batch = make_targets(mixtures, sources, FRAMING)
    late = slice(-15, None)
    assert FRAMING.activity(FRAMING.stft(mixtures))[:, late].any()
    assert not batch.weights[:, late].any()
    assert batch.weights[:, :-22].bool().equal(FRAMING.activity(FRAMING.stft(mixtures))[:, :-22])


def test_targets_of_sources_are_what_phase_sensitive_masks_leave():
    sources = torch.from_numpy(noise(3, 2, 200)).float()
    sources[1, :, 50:] = 0.0  # also where nothing is heard at all
    sources[2, 1] = 0.0
    mixtures = sources.sum(1)
    batch = make_targets(mixtures, sources, FRAMING, with_spectrograms=True)
    spectrogram = FRAMING.stft(mixtures)
    magnitude = spectrogram.abs()
    masks = signal.phase_sensitive_masks(FRAMING.stft(sources), spectrogram)
    torch.testing.assert_close(batch.mixture, magnitude)
    torch.testing.assert_close(batch.sources, masks * magnitude.unsqueeze(1))
    assert batch.sources is not None
    assert not batch.sources[1, :, 30:].any()


# -- given mixtures ------------------------------------------------------------------------------


def find_start(features, mixture, n_frames):
    """Frame at which a segment was cut out of a mixture; None if it was not."""
    n_samples = FRAMING.segment_samples(n_frames)
    for frame in range((len(mixture) - n_samples) // FRAMING.hop_length + 1):
        cut = mixture[frame * FRAMING.hop_length :][:n_samples]
        expected = signal.log_magnitude(FRAMING.stft(torch.from_numpy(cut)))
        if torch.allclose(features.double(), expected, atol=1e-4):
            return frame
    return None


# Frames of a segment whose window lies within it see what those of the whole recording see.
INTERIOR = slice(2, 18)


@pytest.mark.parametrize("exponent", [-136, -100, -40, 40, 100, 120])
@pytest.mark.parametrize("kind", ["waveforms", "label maps"])
def test_targets_of_given_mixtures_have_any_level(kind, exponent):
    sources = noise(3, 2, 400).astype(np.float32)
    references = list(sources) if kind == "waveforms" else [np.zeros((101, 9), np.int64)] * 3
    gain = np.float32(2.0) ** exponent  # the smallest give numbers of fewer digits
    expected, found = (
        MixtureBank(
            [own.sum(0) * factor for own in sources],
            [own * (factor if kind == "waveforms" else 1) for own in references],
            framing=FRAMING,
        ).batch(6, 20, seed=0, step=0, with_spectrograms=kind == "waveforms")
        for factor in (np.float32(1.0), gain)
    )
    bound = 1e-6 if exponent > -130 else 1e-2
    torch.testing.assert_close(found.features, expected.features, rtol=0, atol=bound)
    assert (found.labels == expected.labels).float().mean() > 0.999
    assert (found.weights == expected.weights).float().mean() > 0.999
    if exponent > -130:
        for own, other in ((found.mixture, expected.mixture), (found.sources, expected.sources)):
            if own is None or other is None:
                assert kind == "label maps"
            else:
                torch.testing.assert_close(own / float(gain), other)


@pytest.mark.parametrize("n_samples", [400, 401, 403])
def test_segments_are_cuts_of_mixtures_and_references(n_samples):
    sources = noise(3, 2, n_samples)
    mixtures = list(sources.sum(1))
    batch = MixtureBank(mixtures, list(sources), framing=FRAMING).batch(40, 20, seed=0, step=0)
    seen = set()
    for features, labels in zip(batch.features, batch.labels, strict=True):
        starts = [find_start(features, mixture, 20) for mixture in mixtures]
        (item,) = [i for i, start in enumerate(starts) if start is not None]
        start = starts[item]
        cut = torch.from_numpy(sources[item, :, start * 4 :][:, : FRAMING.segment_samples(20)])
        assert torch.equal(labels, FRAMING.stft(cut.float()).abs().argmax(0))
        whole = FRAMING.stft(torch.from_numpy(sources[item]).float()).abs().argmax(0)
        assert torch.equal(labels[INTERIOR], whole[start : start + 20][INTERIOR])
        seen.add((item, start))
    assert {item for item, _ in seen} == {0, 1, 2}
    assert len(seen) > 25


@pytest.mark.parametrize("n_samples", [400, 401, 403])
def test_label_maps_are_cut_along_with_the_waveform(n_samples):
    sources = noise(3, 2, n_samples)
    mixtures = list(sources.sum(1))
    maps = [FRAMING.stft(torch.from_numpy(s)).abs().argmax(0).numpy() for s in sources]
    maps[1][:, 4] = -1
    batch = MixtureBank(mixtures, maps, framing=FRAMING).batch(40, 20, seed=0, step=0)
    for features, labels, weights in zip(*batch[:3], strict=True):
        starts = [find_start(features, mixture, 20) for mixture in mixtures]
        (item,) = [i for i, start in enumerate(starts) if start is not None]
        expected = torch.from_numpy(maps[item][starts[item] : starts[item] + 20])
        assert torch.equal(labels, expected)
        assert not weights[expected < 0].any()
    # The last frames of the recordings are reached as well.
    assert (batch.labels < 0).any()


def test_label_maps_and_waveforms_agree_inside_segments():
    sources = noise(3, 2, 400)
    mixtures = list(sources.sum(1))
    maps = [
        signal.dominant_source(FRAMING.stft(torch.from_numpy(s).float())).numpy() for s in sources
    ]
    by_waveform = MixtureBank(mixtures, list(sources), framing=FRAMING)
    by_map = MixtureBank(mixtures, maps, framing=FRAMING)
    for step in range(5):
        a = by_waveform.batch(8, 20, seed=1, step=step)
        b = by_map.batch(8, 20, seed=1, step=step)
        assert torch.equal(a.features, b.features)
        assert torch.equal(a.labels[:, INTERIOR], b.labels[:, INTERIOR])


@pytest.mark.parametrize("kind", ["references", "labels"])
def test_mixtures_shorter_than_a_segment_are_padded(kind):
    sources = noise(2, 30)
    spectrogram = FRAMING.stft(torch.from_numpy(sources).float())
    labels = signal.dominant_source(spectrogram)
    reference = sources if kind == "references" else labels.numpy()
    bank = MixtureBank([sources.sum(0)], [reference], framing=FRAMING)
    batch = bank.batch(3, 20, seed=0, step=0)
    n_frames = FRAMING.frame_count(30)
    padded = np.pad(sources.sum(0), (0, FRAMING.segment_samples(20) - 30))
    expected = signal.log_magnitude(FRAMING.stft(torch.from_numpy(padded).float()))
    # The last window still holds a few samples of the recording.
    end = n_frames + 2
    assert not batch.weights[:, end:].any()
    assert batch.weights[:, : n_frames - 1].any()
    for item in range(3):
        torch.testing.assert_close(batch.features[item], expected)
        assert torch.equal(batch.labels[item, :n_frames], labels)


def test_mixtures_are_drawn_by_their_length():
    # A map of one label tells which mixture it is of.
    lengths = [400, 1200]
    mixtures = [noise(n) for n in lengths]
    maps = [np.full((FRAMING.frame_count(n), 9), i) for i, n in enumerate(lengths)]
    batch = MixtureBank(mixtures, maps, framing=FRAMING).batch(4000, 4, seed=0, step=0)
    assert (batch.labels[:, 0, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.035)


def test_mixtures_of_different_numbers_of_sources():
    references = [noise(1, 400), noise(3, 400, seed=1)]
    bank = MixtureBank([r.sum(0) for r in references], references, framing=FRAMING)
    batch = bank.batch(40, 20, seed=0, step=0)
    assert batch.n_sources == 3
    assert {item.max().item() for item in batch.labels} == {0, 2}


def test_maps_without_any_label_give_no_weight():
    maps = [np.full((FRAMING.frame_count(400), 9), -1)]
    batch = MixtureBank([noise(400)], maps, framing=FRAMING).batch(3, 20, seed=0, step=0)
    assert not batch.weights.any()
    assert batch.n_sources == 1


def test_mixture_bank_counts_its_audio():
    references = [noise(2, 400), noise(2, 700)]
    assert MixtureBank([r.sum(0) for r in references], references).n_mixture_samples == 1100


def test_banks_leave_the_given_arrays_alone():
    sources = noise(3, 2, 400).astype(np.float32)
    mixtures = sources.sum(1)
    sources.setflags(write=False)
    mixtures.setflags(write=False)
    for remix in (True, False):
        bank = make_bank(list(mixtures), list(sources), remix=remix, framing=FRAMING)
        bank.batch(4, 20, seed=0, step=0)


# -- which bank ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("references", "remix", "expected"),
    [
        (list(noise(3, 2, 400)), True, SourceBank),
        (list(noise(3, 2, 400)), False, MixtureBank),
        # The sources of one mixture are mixed at other levels and from other places.
        (list(noise(1, 2, 400)), True, SourceBank),
        ([noise(2, 400), np.zeros((2, 400))], True, SourceBank),
        # Where too few sources sound, there is nothing to mix, also where one does for a moment.
        ([noise(2, 400) * [[1], [0]]], True, MixtureBank),
        ([noise(2, 400) * [np.ones(400), np.arange(400) > 398]], True, MixtureBank),
        ([noise(3, 400), np.zeros((2, 400)), noise(1, 400)], True, SourceBank),
        # Label maps have no sources.
        ([np.zeros((101, 9), np.int64)] * 3, True, MixtureBank),
        ([np.zeros((101, 9), np.int8)] * 3, True, MixtureBank),
    ],
)
def test_the_bank_that_is_made(references, remix, expected):
    mixtures = list(noise(len(references), 400))
    bank = make_bank(mixtures, references, remix=remix, framing=FRAMING)
    assert type(bank) is expected
    assert bank.framing == FRAMING
    assert bank.batch(2, 20, seed=0, step=0).features.shape == (2, 20, 9)


def test_silent_references_count_for_nobody():
    references = noise(4, 3, 400)
    references[:, 2] = 0.0
    bank = make_bank(list(references.sum(1)), list(references), framing=FRAMING)
    assert type(bank) is SourceBank
    assert set((draw(bank, 40)[1].abs().amax(-1) > 0).sum(1).tolist()) == {2}


def test_the_sources_of_one_mixture_are_mixed_as_asked():
    references = [noise(2, 4000)]
    mixing = DynamicMixing(level_range_db=0.0, n_sources=1)
    bank = make_bank([references[0].sum(0)], references, remix=mixing, framing=FRAMING)
    assert set((draw(bank, 100)[1].abs().amax(-1) > 0).sum(1).tolist()) == {1}
    bank = make_bank([references[0].sum(0)], references, framing=FRAMING)
    first, second = draw(bank, 100)[1].square().mean(-1).sqrt().unbind(1)
    assert (first / second).log10().abs().max() > 0.1
    # A model that was trained on up to four goes on with a mixture of two as it is.
    mixing = DynamicMixing(n_sources=(1, 2, 3, 4))
    with pytest.warns(UserWarning, match="changes nothing, because too few sources sound to mix"):
        bank = make_bank([references[0].sum(0)], references, remix=mixing, framing=FRAMING)
    assert type(bank) is MixtureBank


@pytest.mark.parametrize(
    ("references", "why"),
    [
        ([noise(2, 400) * [[1], [0]]], "too few sources sound to mix"),
        ([np.zeros((101, 9), np.int64)] * 3, "label maps have no sources to mix"),
    ],
)
def test_a_way_of_mixing_that_changes_nothing_is_told_of(references, why):
    mixtures = list(noise(len(references), 400))
    message = rf"^remix=DynamicMixing\(noise_share=0\.5\) changes nothing, because {why}"
    with pytest.warns(UserWarning, match=message):
        make_bank(mixtures, references, remix=DynamicMixing(noise_share=0.5), framing=FRAMING)


def test_remixing_keeps_the_numbers_of_sources():
    references = [noise(1, 400), noise(3, 400, seed=1)]
    bank = make_bank([r.sum(0) for r in references], references)
    counts = (draw(bank, 300)[1].abs().amax(-1) > 0).sum(1)
    assert set(counts.tolist()) == {1, 3}


# -- small parts ---------------------------------------------------------------------------------


def test_active_level_counts_loud_frames_only():
    loud, faint = tone(25, 1600), tone(25, 1600, amplitude=0.02)
    assert active_level(np.r_[loud, faint], 8000) == pytest.approx(np.sqrt(0.5), rel=1e-3)
    assert active_level(np.r_[np.zeros(16000), loud], 8000) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("gain", [1e-6, 1.0, 1e6])
def test_active_level_against_a_loop(gain):
    waveform = gain * noise(3000) * np.repeat(10 ** np.linspace(-3, 0, 30), 100)
    powers = [np.mean(waveform[i : i + 160] ** 2) for i in range(0, 2880 + 1, 160)][:18]
    loud = [p for p in powers if 10 * np.log10(p / max(powers)) >= -30]
    assert active_level(waveform, 8000) == pytest.approx(np.sqrt(np.mean(loud)))


def test_active_level_of_very_little():
    assert active_level(np.zeros(1), 8000) == 0
    assert active_level(np.array([-0.5]), 8000) == 0.5
    assert active_level(np.full(100, 16000, np.int16), 8000) == 16000


def test_framing_is_the_transforms_with_its_settings():
    framing = Framing(win_length=32, hop_length=16, activity_threshold_db=6.0)
    waveform = torch.from_numpy(noise(333))
    spectrogram = framing.stft(waveform)
    assert torch.equal(spectrogram, signal.stft(waveform, win_length=32, hop_length=16))
    torch.testing.assert_close(framing.istft(spectrogram, 333), waveform)
    assert torch.equal(
        framing.activity(spectrogram), signal.activity(spectrogram, threshold_db=6.0)
    )
    assert framing.frame_count(333) == spectrogram.shape[0]


@pytest.mark.parametrize("n_frames", [2, 3, 50])
def test_segment_samples_give_exactly_the_frames(n_frames):
    assert FRAMING.frame_count(FRAMING.segment_samples(n_frames)) == n_frames
