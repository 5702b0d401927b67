"""What users pass goes through few hands, is checked once, and takes little memory meanwhile."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from conftest import make_separator
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import skdc
from skdc import DeepClusteringSeparator
from skdc.datasets import AudioFiles, AudioSources, write_audio
from skdc.exceptions import AudioWarning
from skdc.inputs import (
    AudioFormat,
    NamedItems,
    check_mixtures,
    check_pairs,
    check_recordings,
    read_samples,
)
from skdc.inputs.waveforms import scale_samples
from skdc.preprocessing import PreEmphasis
from skdc.signal import resample

Array = NDArray[Any]

PACKAGE = str(Path(skdc.__file__).parent)
SOURCES = np.random.default_rng(0).standard_normal((4, 2, 640))
MIXTURES = SOURCES.sum(axis=1)


class Stopped(Exception):  # noqa: N818
    """Training would begin here."""


@contextmanager
def traced(recording: Array) -> Iterator[list[str]]:
    """Functions of the package that get a recording, at any scale, in the order of their calls."""
    calls: list[str] = []

    def holds_it(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return any(holds_it(item) for item in value)
        if not isinstance(value, np.ndarray) or value.shape[-1:] != recording.shape:
            return False
        rows = value.reshape(-1, len(recording)).astype(np.float64)
        cosines = rows @ recording / np.linalg.norm(rows, axis=1) / np.linalg.norm(recording)
        return bool((cosines > 0.999).any())

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and code.co_name[0] != "<":
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if any(holds_it(frame.f_locals.get(name)) for name in names):
                calls.append(code.co_qualname)

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("what", ["mixture", "source"])
@pytest.mark.parametrize("kind", ["array", "list", "files"])
def test_a_recording_passes_few_functions_and_is_checked_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    what: str,
) -> None:
    X: Any = MIXTURES if kind == "array" else list(MIXTURES)
    y: Any = SOURCES if kind == "array" else list(SOURCES)
    if kind == "files":
        for i, sources in enumerate(SOURCES / 10):
            write_audio(tmp_path / f"mix-{i}.wav", sources.sum(axis=0), 8000)
            for j, source in enumerate(sources):
                write_audio(tmp_path / f"{i}-{j}.wav", source, 8000)
        X = AudioFiles([tmp_path / f"mix-{i}.wav" for i in range(4)])
        y = AudioSources([[tmp_path / f"{i}-{j}.wav" for j in range(2)] for i in range(4)])

    def stop(*args: Any, **kwargs: Any) -> None:
        raise Stopped("before training")

    monkeypatch.setattr("skdc.separator.train", stop)
    recording = MIXTURES[2] if what == "mixture" else SOURCES[2, 1]
    with traced(recording) as calls, pytest.raises(Stopped, match="before training"):
        make_separator().fit(X, y)
    names = dict.fromkeys(calls)
    with capsys.disabled():
        print(f"\n{what} in {kind}: {len(names)} functions: {', '.join(names)} ", end="")  # noqa: T201
    assert len(names) <= 14
    assert calls.count("as_samples") == 1


PEAKS: dict[str, Callable[[Array, AudioFormat], Any]] = {
    "mixtures": check_mixtures,
    "references": lambda x, audio: check_pairs(x, [x[np.newaxis]], audio),
    "recordings": lambda x, audio: check_recordings([x], None, audio)[0],
}


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize("what", PEAKS)
@pytest.mark.parametrize("input_rate", [None, 48000])
def test_checks_take_little_memory(what: str, dtype: Any, input_rate: int | None) -> None:
    """At most 8 bytes for each sample, of which 4 are what comes out."""
    n_samples = 3_000_000
    noise = np.random.default_rng(0).uniform(-1, 1, n_samples)
    waveform = (noise * (32767 if dtype is np.int16 else 0.9)).astype(dtype)
    del noise
    tracemalloc.start()
    try:
        kept = PEAKS[what](waveform, AudioFormat(input_rate=input_rate))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept is not None
    n_given = 2 * n_samples if what == "references" else n_samples
    assert peak <= 8 * n_given


@pytest.mark.parametrize("rates", [(48000, 8000), (44100, 8000), (11025, 8000), (8000, 16000)])
@pytest.mark.parametrize("n_samples", [700, 262_144, 600_001])
def test_blocks_are_resampled_to_the_samples_of_the_whole(
    rates: tuple[int, int], n_samples: int
) -> None:
    sources = np.random.default_rng(0).standard_normal((2, n_samples))
    audio = AudioFormat(sample_rate=rates[1], input_rate=rates[0])
    expected = resample(sources / 3.0, *rates).astype(np.float32)
    assert_array_equal(scale_samples(sources, 3.0, audio), expected)


# -- types of samples -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "full_scale", "silence"),
    [(np.int8, 128, 0), (np.int16, 2**15, 0), (np.int32, 2**31, 0), (np.uint8, 128, 128)],
)
def test_pcm_is_scaled_by_its_type(dtype: Any, full_scale: int, silence: int) -> None:
    samples = np.array([-full_scale, 0, full_scale // 2, full_scale - 1]) + silence
    expected = np.array([-1, 0, 0.5, (full_scale - 1) / full_scale])
    assert_array_equal(read_samples(samples.astype(dtype), "X"), expected)
    pcm = np.full(800, silence, dtype)
    pcm[:4] = samples
    (waveform,) = check_mixtures(pcm, AudioFormat()).waveforms
    assert_array_equal(waveform[:4], expected.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float32, np.float64, np.longdouble])
def test_numbers_stay_what_they_are(dtype: Any) -> None:
    samples = np.zeros(800, dtype)
    samples[:4] = [-2, 0, 1, 2]
    checked = check_mixtures(samples, AudioFormat())
    assert checked.peaks == [2.0]
    assert_array_equal(checked.waveforms[0][:4], np.array([-1, 0, 0.5, 1], np.float32))
    assert_array_equal(read_samples(samples, "X")[:4], [-2, 0, 1, 2])


@pytest.mark.parametrize("dtype", ["Int16", "UInt8", "Float64"])
def test_frames_that_know_of_missing_samples_are_as_others(dtype: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).integers(100, 120, (2, 800)))
    nullable = frame.astype(dtype)
    (expected, found) = (
        check_mixtures(x, AudioFormat()) for x in (frame.astype(dtype.lower()), nullable)
    )
    assert found.peaks == expected.peaks
    assert_array_equal(found.waveforms, expected.waveforms)
    nullable.iloc[1, 5] = pandas.NA
    with pytest.raises(ValueError, match=r"X has missing samples; .* by \.fillna\(0\)"):
        check_mixtures(nullable, AudioFormat())


def test_integers_without_a_type_are_refused() -> None:
    samples = np.random.default_rng(0).integers(-100, 100, (2, 800))
    with pytest.raises(
        TypeError, match="X has dtype object, which does not tell how its integers"
    ):
        check_mixtures(samples.astype(object), AudioFormat())
    whole = check_mixtures((samples / 8).astype(object), AudioFormat())
    assert_array_equal(whole.waveforms, check_mixtures(samples / 8, AudioFormat()).waveforms)


REFUSED = [np.uint16, np.uint32, np.uint64, np.bool_]


@pytest.mark.parametrize("dtype", REFUSED)
@pytest.mark.parametrize("in_list", [False, True])
def test_types_that_audio_does_not_come_in_are_refused(dtype: Any, in_list: bool) -> None:
    X: Any = np.ones((4, 640), dtype)
    y = np.ones((4, 2, 640), dtype)
    name = np.dtype(dtype).name
    fitted = make_separator().fit(MIXTURES, SOURCES)
    message = rf"X(\[0\])? has dtype {name}; PCM is int8, int16, int32 or uint8: convert"
    X = list(X) if in_list else X
    for use in (fitted.predict, fitted.transform, PreEmphasis().transform):
        with pytest.raises(TypeError, match=message):
            use(X)
    for learn in (fitted.fit, fitted.score):
        with pytest.raises(TypeError, match=message):
            learn(X, SOURCES)
        with pytest.raises(TypeError, match=message.replace("X", "y")):
            learn(MIXTURES, y)
    with pytest.raises(TypeError, match=rf"recordings\[0\] has dtype {name}"):
        fitted.fit_recordings(X)


def test_unsigned_label_maps_are_taken() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (4, 41, 33)).astype(np.uint16)
    separator: DeepClusteringSeparator = make_separator().fit(MIXTURES, labels)
    assert separator.n_iter_ == 1


# -- AudioFormat ----------------------------------------------------------------------------------


@pytest.mark.parametrize("input_rate", [None, 8000, 16000, 44100, 11025])
def test_lengths_of_a_format_are_those_of_its_audio(input_rate: int | None) -> None:
    audio = AudioFormat(sample_rate=8000, input_rate=input_rate)
    for n_samples in (300, 1411, 5000):
        at_network = resample(np.zeros((2, n_samples)), audio.rate, audio.sample_rate)
        assert at_network.shape == (2, audio.network_length(n_samples))
        assert audio.from_network(at_network, n_samples).shape == (2, n_samples)
    shortest = next(n for n in range(5000) if audio.network_length(n) == audio.framing.win_length)
    audio.check_duration("X", shortest)
    with pytest.raises(ValueError, match=rf"X has {shortest - 1} samples; at least \d+ \(one win"):
        audio.check_duration("X", shortest - 1)


# -- offset ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0.3, 1, 30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_an_offset_changes_nothing_but_the_offset(times: float, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    sources = rng.standard_normal((2, 4000)) / 100
    sources -= sources.mean(axis=1, keepdims=True)
    if dtype is np.int16:
        sources = np.rint(sources * 2**15) / 2**15
    offset = np.rint(times * 0.014 * 2**15) / 2**15

    def as_type(samples: Array) -> Any:
        return (samples * 2**15).astype(dtype) if dtype is np.int16 else samples.astype(dtype)

    X, moved = as_type(sources.sum(axis=0)), as_type(sources.sum(axis=0) + offset)
    separator = make_separator(win_length=256, hop_length=64).fit(MIXTURES, SOURCES)
    plain, found = separator.predict(X), separator.predict(moved)
    assert_allclose(found, plain + offset / 2, atol=2e-5 * max(1, times))
    full_scale = 2**15 if dtype is np.int16 else 1
    assert_allclose(found.sum(axis=0), moved / full_scale, atol=1e-6 * max(1, times))
    y = as_type(sources + offset / 2)
    assert separator.score(moved, y) == pytest.approx(
        separator.score(X, as_type(sources)), abs=0.1
    )
    clean, other = (check_recordings([x], None, AudioFormat())[0] for x in (X, moved))
    assert_allclose(other, clean, atol=2e-4 * max(1, times))


def test_a_constant_is_silence() -> None:
    with pytest.warns(AudioWarning, match="X is silent"):
        assert_array_equal(
            make_separator().fit(MIXTURES, SOURCES).predict(np.full(640, 0.5)).sum(axis=0),
            np.full(640, 0.5, np.float32),
        )
    with pytest.raises(ValueError, match=r"X\[0\] is silent: all its samples are the same, 0.5"):
        check_pairs(np.full((1, 640), 0.5), SOURCES[:1], AudioFormat())


# -- mixtures and the sum of their sources --------------------------------------------------------


def test_mixtures_that_are_no_sum_are_told_of() -> None:
    noise = np.random.default_rng(1).standard_normal(MIXTURES.shape)
    message = r"^X\[0\] and 3 more have more than the sum of the sources in y, such as noise"
    with pytest.warns(AudioWarning, match=message + ".*set remix=False to train on X"):
        make_separator().fit(MIXTURES + 0.5 * noise, SOURCES)
    one = MIXTURES.copy()
    one[2] += noise[2]
    with pytest.warns(AudioWarning, match=r"^X\[2\] has more than the sum"):
        make_separator().partial_fit(one, SOURCES)
    # So it is with one mixture, but not where too few sources sound to be mixed.
    with pytest.warns(AudioWarning, match=r"^X\[0\] has more than the sum"):
        make_separator().fit(one[2], SOURCES[2])
    make_separator().fit(one[2], SOURCES[2] * [[1], [0]])
    # Without remixing the mixtures are used.
    separator = make_separator(remix=False).fit(MIXTURES + 0.5 * noise, SOURCES)
    separator.score(MIXTURES + 0.5 * noise, SOURCES)
    long = np.random.default_rng(0).standard_normal((2, 2, 16000))
    for use in (separator.fit, separator.score):
        with pytest.warns(AudioWarning, match="X.* have nothing in common.*in the same order"):
            use(long[::-1].sum(axis=1), long)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize(
    ("gain", "offset", "message"),
    [
        (
            0.5,
            0,
            r"^X\[1\] is the sum of the sources in y times a gain, 0\.5 in X\[1\]; .* multiply y",
        ),
        (-1, 0, r"^X\[1\] is the sum of the sources in y times a gain, -1 in X\[1\]"),
        (1.1, 0, r"^X\[1\] is the sum of the sources in y times a gain, 1\.1 in X\[1\]"),
        (
            1,
            0.2,
            r"^X\[1\] is the sum of the sources in y plus a constant, 0\.2 in X\[1\]; .* subtract",
        ),
    ],
)
def test_a_gain_or_an_offset_beside_the_sum_is_told_of(
    dtype: Any, gain: float, offset: float, message: str
) -> None:
    def as_type(samples: Array) -> Any:
        return np.rint(samples * 2**15).astype(dtype) if dtype is np.int16 else samples

    sources = 0.1 * np.random.default_rng(0).standard_normal((3, 2, 4000)).clip(-2, 2)
    X = sources.sum(axis=1)
    X[1] = gain * X[1] + offset
    y = sources.astype(dtype) if dtype is not np.int16 else as_type(sources)
    with pytest.warns(AudioWarning, match=message) as caught:
        check_pairs(as_type(X), y, AudioFormat(), is_remixed=False)
    assert len(caught) == 1
    with pytest.warns(AudioWarning, match=message):
        check_pairs(list(as_type(X)), list(y), AudioFormat(input_rate=16000), is_remixed=False)
    for is_remixed in (None, True):
        if offset:
            with pytest.warns(AudioWarning, match=message):
                check_pairs(as_type(X), y, AudioFormat(), is_remixed=is_remixed)
        else:  # neither scores nor sources that are mixed anew depend on the level of the mixture
            check_pairs(as_type(X), y, AudioFormat(), is_remixed=is_remixed)


@pytest.mark.parametrize(
    ("gain", "offset", "noise", "message"),
    [
        (2.0, 0.0, 0.0, r"^two\.wav is the sum of the sources in y times a gain, 2 in two\.wav;"),
        (
            1.0,
            0.2,
            0.0,
            r"^two\.wav is the sum of the sources in y plus a constant, 0\.2 in two\.wav",
        ),
        (0.0, 0.0, 1.0, r"^two\.wav has nothing in common with the sum of the sources in y"),
        (np.nan, 0.0, 0.0, r"^two\.wav contains NaN"),
        (0.0, 0.0, 0.0, r"^two\.wav is silent"),
    ],
)
def test_items_with_names_are_called_by_them(
    gain: float, offset: float, noise: float, message: str
) -> None:
    sources = 0.1 * np.random.default_rng(0).standard_normal((3, 2, 4000)).clip(-2, 2)
    X = sources.sum(axis=1)
    X[1] = gain * X[1] + offset + noise * X[0]
    names = ["one.wav", "two.wav", "three.wav"]
    is_wrong = np.isnan(gain) or not (gain or noise)
    with pytest.raises(ValueError, match=message) if is_wrong else pytest.warns(match=message):
        check_pairs(NamedItems(X, names), sources, AudioFormat(), is_remixed=False)


def test_references_with_names_are_called_by_them() -> None:
    y = NamedItems(np.zeros((1, 2, 640)), ["the sources of one.wav"])
    with pytest.raises(ValueError, match=r"^the sources of one\.wav is silent: all its sources"):
        check_pairs(MIXTURES[:1], y, AudioFormat())


def test_sums_that_are_not_exact_pass() -> None:
    sources = np.random.default_rng(0).standard_normal((3, 2, 4000)) / 10
    X = sources.sum(axis=1)
    check_pairs(1.03 * X, sources, AudioFormat())
    # Offsets that are in both, also where they are large enough to be taken off the mixture alone.
    for offset in (0.002, 0.009, 0.1):
        check_pairs(X + 2 * offset, sources + offset, AudioFormat(), is_remixed=True)
    coarse = np.rint(127 * np.stack([sources.sum(axis=1), *sources.swapaxes(0, 1)]) / 1.5)
    check_pairs(
        coarse[0].astype(np.int8), coarse[1:].swapaxes(0, 1).astype(np.int8), AudioFormat()
    )
