"""Audio files, mixtures with references, corpora and lists on disk, and the package's clips."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import make_separator
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skdc.datasets import (
    load_corpus,
    load_mixture_list,
    load_sample_clips,
    load_sample_mixture,
    make_mixtures,
    read_audio,
    resample,
    write_audio,
)
from skdc.datasets.mixture_lists import ListedMixture
from skdc.exceptions import AudioWarning
from skdc.metrics import si_sdr
from skdc.signal import active_level

Array = NDArray[Any]


def noise(seed: int, n_samples: int, level: float = 0.1) -> Array:
    return level * np.random.default_rng(seed).standard_normal(n_samples)


def tone(n_samples: int, rate: int, frequency_hz: float = 440.0) -> Array:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(n_samples) / rate)


# Audio files


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
def test_round_trip_is_within_one_step(tmp_path: Path, suffix: str) -> None:
    waveform = np.clip(noise(0, 4000, 0.5), -1, 1)
    write_audio(tmp_path / f"a{suffix}", waveform, 8000)
    back, rate = read_audio(tmp_path / f"a{suffix}")
    assert rate == 8000
    assert back.dtype == np.float32
    assert np.abs(back - waveform).max() <= 2**-15


@pytest.mark.parametrize(
    ("subtype", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24), ("PCM_32", 32)]
)
def test_every_depth_rounds_to_its_step(tmp_path: Path, subtype: str, bits: int) -> None:
    waveform = np.r_[-1.0, 1.0, 0.0, np.clip(noise(0, 4000, 0.3), -1, 1)]
    write_audio(tmp_path / "a.wav", waveform, 8000, subtype=subtype)
    back, _ = soundfile.read(tmp_path / "a.wav")
    assert np.abs(back - waveform).max() <= 2.0 ** (1 - bits)
    assert np.abs(back - waveform)[2:].max() <= 2.0**-bits * 1.001


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_copy_of_a_file_has_the_same_samples(tmp_path: Path, subtype: str) -> None:
    # libsndfile's own scaling loses a step here at every copy.
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 5000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype=subtype)
    waveform, rate = read_audio(tmp_path / "a.wav")
    write_audio(tmp_path / "b.wav", waveform, rate, subtype=subtype)
    copied, _ = soundfile.read(tmp_path / "b.wav", dtype="int16")
    np.testing.assert_array_equal(copied, samples)


def test_channels_are_averaged_unless_asked_for(tmp_path: Path) -> None:
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)])
    write_audio(tmp_path / "a.wav", stereo, 8000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], np.full(100, 0.125))
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", mono=False)[0], stereo)
    write_audio(tmp_path / "b.wav", stereo[0], 8000)
    assert read_audio(tmp_path / "b.wav", mono=False)[0].shape == (1, 100)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_reading_resamples(tmp_path: Path, rate: int) -> None:
    write_audio(tmp_path / "a.wav", tone(rate + 1, rate), rate)
    waveform, new_rate = read_audio(tmp_path / "a.wav", sample_rate=8000)
    assert (new_rate, waveform.shape) == (8000, (8001,))
    assert waveform.dtype == np.float32
    inside = slice(200, 7800)
    assert si_sdr(tone(8001, 8000)[inside], waveform[inside]) > 50


@settings(max_examples=25)
@given(
    n_samples=st.integers(1, 400),
    rates=st.tuples(*[st.sampled_from([7000, 8000, 11025, 16000, 22050, 44100, 48000])] * 2),
)
def test_resampled_length_is_exact(n_samples: int, rates: tuple[int, int]) -> None:
    resampled = resample(np.ones((2, n_samples), np.float32), *rates)
    assert resampled.shape == (2, -(-n_samples * rates[1] // rates[0]))
    assert resampled.dtype == np.float32


def test_loud_waveforms_are_scaled_with_a_warning(tmp_path: Path) -> None:
    waveform = np.array([0.5, -2.0, 1.0])
    with pytest.warns(AudioWarning, match=r"peak of 2, .*'a.wav'.* scaled by 0.5"):
        write_audio(tmp_path / "a.wav", waveform, 8000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], waveform / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_audio(tmp_path / "b.wav", waveform, 8000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "b.wav")[0], waveform)
    assert waveform.tolist() == [0.5, -2.0, 1.0]


def test_empty_and_read_only_waveforms(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", np.zeros(0), 8000)
    assert read_audio(tmp_path / "a.wav", sample_rate=16000)[0].shape == (0,)
    waveform = tone(100, 8000)
    waveform.flags.writeable = False
    write_audio(tmp_path / "a.wav", waveform, 8000)
    assert len(read_audio(tmp_path / "a.wav")[0]) == 100


def test_folders_are_made(tmp_path: Path) -> None:
    write_audio(tmp_path / "new" / "deep" / "a.FLAC", np.zeros(10), 8000)
    assert soundfile.info(tmp_path / "new" / "deep" / "a.FLAC").format == "FLAC"


@pytest.mark.parametrize(
    ("waveform", "error", "message"),
    [
        (np.array([0.0, np.nan]), ValueError, "waveform contains NaN"),
        (np.array([0.0, -np.inf]), ValueError, "waveform contains infinity"),
        (np.zeros(4, np.int16), TypeError, "dtype int16.*32768"),
        (np.zeros((1, 2, 3)), ValueError, r"shape \(1, 2, 3\)"),
        (np.zeros((1000, 2)), ValueError, "1000 channels.*transpose"),
    ],
)
def test_unwritable_waveforms(
    tmp_path: Path, waveform: Array, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_audio(tmp_path / "a.wav", waveform, 8000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a", {}, "'a' does not end in the name of an audio format"),
        ("a.txt", {}, "'a.txt' does not end"),
        ("a.ogg", {}, r"\.ogg files do not hold subtype 'PCM_16'; give one of 'VORBIS', 'OPUS'"),
        ("a.wav", {"sample_rate": 0}, "sample_rate is 0"),
        ("a.wav", {"sample_rate": 8000.5}, r"sample_rate is 8000\.5"),
    ],
)
def test_unwritable_files(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_audio(tmp_path / name, np.zeros(8), **{"sample_rate": 8000} | options)


def test_failed_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, tone(100, 8000), 8000)
    before = path.read_bytes()

    def dies_half_way(file: Path, *args: object, **options: object) -> None:
        Path(file).write_bytes(before[:50])
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile, "write", dies_half_way)
    with pytest.raises(OSError, match=r"cannot write '.*a.wav'"):
        write_audio(path, np.zeros(100), 8000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_lossy_formats(tmp_path: Path) -> None:
    waveform = tone(16000, 8000)
    write_audio(tmp_path / "a.ogg", waveform, 8000, subtype="VORBIS")
    back, _ = read_audio(tmp_path / "a.ogg")
    assert si_sdr(waveform, back[:16000]) > 20


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no audio file at '.*gone.wav'"):
        read_audio(tmp_path / "gone.wav")
    with pytest.raises(FileNotFoundError, match="no audio file"):
        read_audio(tmp_path)
    for name in ("text.wav", "text.raw", "text"):
        (tmp_path / name).write_text("not audio")
        with pytest.raises(ValueError, match=f"cannot read '.*{name}' as audio"):
            read_audio(tmp_path / name)
    with pytest.raises(ValueError, match="sample_rate is -1"):
        read_audio(tmp_path / "text.wav", sample_rate=-1)


# Mixtures


def test_mixtures_of_whole_recordings() -> None:
    recordings = [noise(seed, 4000 + 500 * seed) for seed in range(4)]
    X, y = make_mixtures(recordings, n_mixtures=20, random_state=0)
    assert isinstance(X, list)
    assert len(X) == len(y) == 20
    for mixture, sources in zip(X, y, strict=True):
        assert mixture.dtype == sources.dtype == np.float32
        assert sources.shape == (2, len(mixture))
        np.testing.assert_array_equal(mixture, sources.sum(axis=0))
        peak = max(np.abs(mixture).max(), np.abs(sources).max())
        assert peak == pytest.approx(0.9, abs=1e-6)
        # Each source is one recording from its beginning, and the shorter one goes to its end.
        found = [
            max(range(4), key=lambda i: abs(np.corrcoef(s[:4000], recordings[i][:4000])[0, 1]))
            for s in sources
        ]
        assert found[0] != found[1]
        assert len(mixture) == min(len(recordings[i]) for i in found)


@pytest.mark.parametrize("n_sources", [1, 2, 3])
def test_levels_stay_within_their_range(n_sources: int) -> None:
    recordings = [noise(seed, 16000, 10.0 ** (-seed)) for seed in range(4)]
    _, y = make_mixtures(
        recordings, n_mixtures=50, n_sources=n_sources, level_range_db=6.0, random_state=0
    )
    levels = np.array([[20 * np.log10(active_level(s, 8000)) for s in sources] for sources in y])
    spread = np.ptp(levels, axis=1)
    assert spread.max() <= 6.01
    if n_sources > 1:
        assert spread.max() > 4
    _, y = make_mixtures(recordings, n_mixtures=5, level_range_db=0, random_state=0)
    for first, second in y:
        assert active_level(first, 8000) == pytest.approx(active_level(second, 8000), rel=1e-5)


def test_nobody_is_mixed_with_themselves() -> None:
    # Each speaker's recordings are tones of one frequency.
    speakers = np.array(["ann", "bob", "ann", "ann", "cyn"])
    frequency_hz = {"ann": 300.0, "bob": 600.0, "cyn": 900.0}
    recordings = [tone(1600, 8000, frequency_hz[speaker]) for speaker in speakers]
    _, y = make_mixtures(recordings, speakers, n_mixtures=30, n_samples=800, random_state=0)
    peaks = np.abs(np.fft.rfft(y)).argmax(axis=-1) * 10
    assert (peaks[:, 0] != peaks[:, 1]).all()
    assert set(peaks.ravel()) == {300, 600, 900}


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE", "VORBIS", "ULAW", "PCM_16"])
@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f8", "f2", "g"])
def test_floats_of_any_kind_are_written(tmp_path: Path, subtype: str, dtype: str) -> None:
    name = "a.ogg" if subtype == "VORBIS" else "a.wav"
    samples = tone(4000, 8000)
    write_audio(tmp_path / "expected" / name, samples, 8000, subtype=subtype)
    write_audio(tmp_path / name, samples.astype(dtype), 8000, subtype=subtype)
    expected = read_audio(tmp_path / "expected" / name)[0]
    found = read_audio(tmp_path / name)[0]
    np.testing.assert_allclose(
        found, expected, atol=0.02 if subtype in ("ULAW", "VORBIS") else 1e-3
    )


def test_who_sounds_for_a_moment_alone_is_left_out() -> None:
    # A level of 0: the rest after the last whole 20 ms is not looked at.
    moment = np.r_[np.zeros(8000), np.tile([0.5, -0.5], 50)]
    recordings = [noise(0, 8100), noise(1, 8100), moment]
    for n_samples in (None, 80):
        X, _ = make_mixtures(
            recordings, list("abc"), n_mixtures=20, n_samples=n_samples, sample_rate=8000
        )
        assert np.isfinite(np.concatenate(list(X))).all()
    with pytest.raises(ValueError, match="but 2 of 3 have some that are not silent"):
        make_mixtures(recordings, list("abc"), n_mixtures=1, n_sources=3, sample_rate=8000)


def test_a_list_that_takes_more_than_memory_holds(tmp_path: Path) -> None:
    write_audio(tmp_path / "ann.wav", noise(0, 1600), 8000)
    item = ListedMixture("first", 10**12, (tmp_path / "ann.wav",), (1.0,))
    with pytest.raises(ValueError, match="has 1600 samples, but the mixture takes 1000000000000"):
        item.load()


class Column:
    """A column of a table whose rows were shuffled: items are taken by label, as pandas does."""

    def __init__(self, labels: list[int], values: list[Any]) -> None:
        self.by_label = dict(zip(labels, values, strict=True))

    def __len__(self) -> int:
        return len(self.by_label)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.by_label.values())

    def __getitem__(self, label: int) -> Any:
        return self.by_label[label]


@pytest.mark.parametrize("labels", [[0, 2, 1, 3], [7, 8, 9, 10]])
def test_columns_of_tables_are_taken_by_position(labels: list[int]) -> None:
    names = ["ann", "bob", "ann", "bob"]
    recordings = [noise(seed, 8000) for seed in range(4)]
    how: Any = {"n_mixtures": 9, "n_samples": 800, "random_state": 0}
    expected = make_mixtures(recordings, names, **how)[1]
    speakers: Any = Column(labels, names)
    column: Any = Column(labels, recordings)
    np.testing.assert_array_equal(make_mixtures(column, speakers, **how)[1], expected)
    options: Any = {"random_state": 0, "n_iter_no_change": None}
    once = make_separator(**options).fit_recordings(recordings, names)
    again = make_separator(**options).fit_recordings(column, speakers)
    assert [row["loss"] for row in again.history_] == [row["loss"] for row in once.history_]


def test_segments_are_stacked_and_random() -> None:
    recordings = [np.arange(1, 5001.0), np.arange(1, 8001.0), np.zeros(9000), np.ones(100)]
    X, y = make_mixtures(
        recordings, n_mixtures=40, n_samples=1000, level_range_db=0, random_state=0
    )
    assert isinstance(X, np.ndarray)
    assert X.shape == (40, 1000)
    assert y.shape == (40, 2, 1000)
    np.testing.assert_array_equal(X, y.sum(axis=1))
    starts = y[:, :, 0] / np.diff(y[:, :, [0, -1]], axis=-1)[..., 0] * 999
    assert len(np.unique(starts.round())) > 40


def test_random_state_makes_mixtures_reproducible() -> None:
    recordings = [noise(seed, 3000) for seed in range(4)]

    def mixtures(random_state: Any) -> Array:
        return make_mixtures(recordings, n_mixtures=3, n_samples=500, random_state=random_state)[0]

    np.testing.assert_array_equal(mixtures(1), mixtures(1))
    np.testing.assert_array_equal(mixtures(1), mixtures(np.random.RandomState(1)))
    assert not np.array_equal(mixtures(1), mixtures(2))


def test_global_random_state_is_untouched_and_recordings_too() -> None:
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    recordings = [noise(seed, 3000) for seed in range(2)]
    for recording in recordings:
        recording.flags.writeable = False
    make_mixtures(recordings, n_mixtures=2, random_state=0)
    after = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    np.testing.assert_array_equal(after, before)


def test_no_source_is_a_mere_pause() -> None:
    mostly_pause = np.r_[1e-5 * noise(0, 20000), noise(1, 4000)]
    _, y = make_mixtures(
        [mostly_pause, noise(2, 24000)], n_mixtures=20, n_samples=2000, random_state=0
    )
    assert y.std(axis=-1).min() > 1e-3


def test_integer_and_array_recordings() -> None:
    recordings = (noise(0, 4000).reshape(2, 2000) * 2**15).astype(np.int16)
    X, _ = make_mixtures(recordings, n_mixtures=1, n_samples=2000, random_state=0)
    Z, _ = make_mixtures(
        list(recordings.astype(float)), n_mixtures=1, n_samples=2000, random_state=0
    )
    np.testing.assert_allclose(X, Z, atol=1e-6)


GOOD = [noise(0, 1000), noise(1, 1000)]


@pytest.mark.parametrize(
    ("recordings", "options", "message"),
    [
        ([], {}, "recordings is empty"),
        ([GOOD[0], np.array([0.1, np.nan])], {}, r"recordings\[1\] contains NaN"),
        ([GOOD[0], np.zeros((2, 9))], {}, r"recordings\[1\] has shape \(2, 9\)"),
        ([GOOD[0], np.zeros(0)], {}, r"recordings\[1\] is empty"),
        (GOOD, {"n_sources": 3}, "2 of 2 have some that are not silent; give"),
        ([GOOD[0], np.zeros(99)], {}, "1 of 2 have some that are not silent"),
        (GOOD, {"speakers": ["ann", "ann"]}, "1 of 1 have"),
        (GOOD, {"speakers": ["ann"]}, "got 1 speakers for 2 recordings: one each"),
        (GOOD, {"n_samples": 1001}, "at least 1001 samples.*smaller n_samples"),
        (GOOD, {"n_mixtures": 0}, "n_mixtures is 0"),
        (GOOD, {"n_sources": 2.0}, r"n_sources is 2\.0"),
        (GOOD, {"n_samples": -1}, "n_samples is -1"),
        (GOOD, {"sample_rate": 0}, "sample_rate is 0"),
        (GOOD, {"level_range_db": -3}, "level_range_db is -3"),
        (GOOD, {"level_range_db": np.nan}, "level_range_db is nan"),
        (
            [GOOD[0], np.r_[np.zeros(2000), GOOD[1]]],
            {},
            "mixture 0: 100 draws of 2 recordings.*trim the silence",
        ),
    ],
)
def test_unusable_recordings(
    recordings: list[Array], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_mixtures(recordings, **{"n_mixtures": 1, "random_state": 0} | options)


# Corpora and lists


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = []
    for seed, (split, speaker, rate) in enumerate(
        [("train", "ann", 8000), ("train", "bob", 16000), ("test", "cyn", 8000)]
    ):
        path = f"{split}/{speaker}/{seed}.flac"
        write_audio(tmp_path / path, noise(seed, rate), rate)
        rows.append([split, "made", speaker, "?", path, "1.0"])
    write_csv(tmp_path / "utterances.csv", "split,corpus,speaker,sex,path,seconds", rows)
    write_csv(
        tmp_path / "mixtures" / "pairs.csv",
        "mixture_id,n_samples,source_1,gain_1,source_2,gain_2",
        [
            ["p-0", "7000", "train/ann/0.flac", "1.5", "test/cyn/2.flac", "0.25"],
            ["p-1", "8001", "train/ann/0.flac", "1.5", "test/cyn/2.flac", "0.25"],
            ["p-2", "10", "train/ann/0.flac", "1.5", "train/bob/1.flac", "0.25"],
            ["p-3", "10", "train/ann/0.flac", "1.5", "train/gone.flac", "0.25"],
        ],
    )
    return tmp_path


def write_csv(path: Path, header: str, rows: list[list[str]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def test_corpus_is_read_at_one_rate(corpus: Path) -> None:
    recordings, speakers = load_corpus(corpus, "train")
    assert speakers == ["ann", "bob"]
    assert [r.shape for r in recordings] == [(8000,), (8000,)]
    np.testing.assert_allclose(recordings[0], noise(0, 8000), atol=2**-15)
    assert [len(r) for r in load_corpus(corpus, "test", sample_rate=16000)[0]] == [16000]
    assert len(make_mixtures(recordings, speakers, n_mixtures=2)[0]) == 2


def test_corpora_that_are_not_whole(corpus: Path) -> None:
    with pytest.raises(ValueError, match="has no split 'dev'; it has 'test', 'train'"):
        load_corpus(corpus, "dev")
    (corpus / "train" / "bob" / "1.flac").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 audio files.*1\.flac"):
        load_corpus(corpus, "train")
    with pytest.raises(FileNotFoundError, match=r"no csv file at '.*utterances.csv'"):
        load_corpus(corpus / "train", "train")
    write_csv(corpus / "utterances.csv", "split,path", [])
    with pytest.raises(ValueError, match=r"no column 'speaker'; it has 'split', 'path'"):
        load_corpus(corpus, "train")
    write_csv(corpus / "utterances.csv", "split,speaker,path", [["train", "ann", ""]])
    with pytest.raises(ValueError, match="line 2: no path"):
        load_corpus(corpus, "train")


def test_listed_mixture(corpus: Path) -> None:
    mixtures = load_mixture_list(corpus / "mixtures" / "pairs.csv")
    assert [m.mixture_id for m in mixtures] == ["p-0", "p-1", "p-2", "p-3"]
    mixture, sources = mixtures[0].load()
    ann, cyn = (read_audio(path)[0] for path in mixtures[0].paths)
    np.testing.assert_allclose(sources, [1.5 * ann[:7000], 0.25 * cyn[:7000]], rtol=1e-6)
    np.testing.assert_array_equal(mixture, sources.sum(axis=0))
    assert mixture.dtype == sources.dtype == np.float32


def test_list_elsewhere_than_its_corpus(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = (corpus / "mixtures" / "pairs.csv").rename(corpus / "pairs.csv")
    mixtures = load_mixture_list(elsewhere, corpus)
    assert mixtures[0].load()[0].shape == (7000,)
    monkeypatch.chdir(corpus / "test")
    (corpus / "test" / "pairs.csv").write_bytes(elsewhere.read_bytes())
    assert load_mixture_list("pairs.csv")[0].load()[0].shape == (7000,)


def test_listed_mixtures_that_cannot_be_loaded(corpus: Path) -> None:
    _, too_long, wrong_rate, missing = load_mixture_list(corpus / "mixtures" / "pairs.csv")
    with pytest.raises(ValueError, match=r"p-1: .*0\.flac' has 8000 samples.*takes 8001"):
        too_long.load()
    with pytest.raises(ValueError, match=r"p-2: .*1\.flac' is at 16000 Hz.*at 8000 Hz"):
        wrong_rate.load()
    with pytest.raises(FileNotFoundError, match=r"gone\.flac"):
        missing.load()


PAIR = "mixture_id,n_samples,source_1,gain_1,source_2,gain_2"


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("mixture_id,source_1,gain_1", "a,b,1", "no column 'n_samples'; it has 'mixture_id'"),
        ("mixture_id,n_samples,source_1,gain_1,source_2", "a,9,b,1,c", "no column 'gain_2'"),
        ("mixture_id,n_samples,source_1,gain_1", "a,9.5,b,1", "line 2: n_samples is '9.5'"),
        ("mixture_id,n_samples,source_1,gain_1", "a,0,b,1", "line 2: n_samples is '0'"),
        ("mixture_id,n_samples,source_1,gain_1", "a,9,b,x", "line 2: gain_1 is 'x'"),
        ("mixture_id,n_samples,source_1,gain_1", "a,9,b,nan", "line 2: gain_1 is 'nan'"),
        (PAIR, f"a,{'9' * 400},b,1,c,1", "line 2: n_samples is '9{400}'; expected an integer of"),
        (PAIR, f"a,{'9' * 5000},b,1,c,1", "line 2: n_samples is '9{5000}'; expected an integer"),
        (PAIR, "a,9,b,1,c,1e38", r"line 2: gain_2 is '1e38'; expected .* within ±1e\+09"),
        (PAIR, "a,9,b,-1e10,c,1", r"line 2: gain_1 is '-1e10'; expected a finite number within"),
        (
            "mixture_id,n_samples,source_1,gain_1,source_2,gain_2",
            "a,9,b,1",
            "line 2: no source_2",
        ),
        (PAIR, "a,9,b,1,c,1,d,1", r"list.csv', line 2: 8 cells, but 6 columns"),
        (f"{PAIR},,", "a,9,b,1,c,1,d,1", "line 2: 8 cells, but 6 columns"),
        (PAIR.replace("2", "3"), "a,9,b,1,c,1", "no column 'source_2', 'gain_2'; it has"),
        (f"{PAIR},gain_3", "a,9,b,1,c,1,1", "no column 'source_3'; it has"),
        (f"{PAIR},source_2,gain_2", "a,9,b,1,c,1,d,1", "one column 'gain_2', 'source_2'"),
        (PAIR.replace("source_2", " Source_2"), "a,9,b,1,c,1", "no column 'source_2'; it has"),
        (f"{PAIR},source_02", "a,9,b,1,c,1,d", "has the columns 'source_02' beside source_1"),
    ],
)
def test_lists_that_make_no_sense(tmp_path: Path, header: str, row: str, message: str) -> None:
    path = write_csv(tmp_path / "list.csv", header, [row.split(",")])
    with pytest.raises(ValueError, match=message):
        load_mixture_list(path)


def test_lists_may_have_more_columns_and_empty_cells(tmp_path: Path) -> None:
    header = f",{PAIR},source_1_sex,source,,"  # the first column as pandas writes an index
    for end in (["", ""], ["", "", ""], []):
        row = ["0", "a", "9", "b", "1", "c", "2", "f", "x", *end]
        (found,) = load_mixture_list(write_csv(tmp_path / "list.csv", header, [row]), tmp_path)
        assert found.paths == (tmp_path / "b", tmp_path / "c")
        assert found.gains == (1.0, 2.0)


def test_missing_and_empty_lists(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no csv file at '.*list.csv'"):
        load_mixture_list(tmp_path / "list.csv")
    (tmp_path / "list.csv").touch()
    with pytest.raises(ValueError, match=r"no column 'mixture_id', .* it has none"):
        load_mixture_list(tmp_path / "list.csv")


# Clips of the package


def test_sample_clips_are_real_and_described() -> None:
    clips = load_sample_clips()
    assert len({clip.name for clip in clips}) == len(clips) == 12
    assert len({clip.speaker for clip in clips}) == 5
    for clip in clips:
        assert clip.sample_rate == 8000
        assert clip.sex in ("f", "m")
        assert 5 <= len(clip.waveform) / 8000 <= 8
        assert np.abs(clip.waveform).max() == pytest.approx(0.7, abs=0.01)
        assert clip.text
        assert clip.licence
        assert clip.language in ("en", "fr", "it", "ru")


def test_every_sample_clip_is_credited() -> None:
    import skdc.datasets

    folder = Path(skdc.datasets.__file__).parent / "samples"
    text = (folder / "LICENCE.md").read_text("utf-8")
    names = {clip.name for clip in load_sample_clips()}
    assert names == {path.stem for path in folder.glob("*.flac")}
    assert [name for name in sorted(names) if f"{name}.flac" not in text] == []


@pytest.mark.parametrize("n_sources", [2, 3, 4, 5])
def test_sample_mixture(n_sources: int) -> None:
    mixture, sources = load_sample_mixture(n_sources)
    assert sources.shape == (n_sources, len(mixture))
    assert len(mixture) > 5 * 8000
    np.testing.assert_array_equal(mixture, sources.sum(axis=0))
    assert max(np.abs(mixture).max(), np.abs(sources).max()) == pytest.approx(0.9, abs=1e-6)
    levels = [active_level(source, 8000) for source in sources]
    assert max(levels) / min(levels) < 1.2
    np.testing.assert_array_equal(mixture, load_sample_mixture(n_sources)[0])


def test_sample_mixture_of_too_many() -> None:
    with pytest.raises(ValueError, match="n_sources is 6; give 2 to 5"):
        load_sample_mixture(6)
