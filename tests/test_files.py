"""Audio files as X and y: read when they are used, and worth the same as lists of arrays."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import make_separator, weights
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing

from skdc.audio import AudioRecording, files
from skdc.compose import TransformedSourcesSeparator
from skdc.datasets import AudioFiles, AudioSources, read_audio, write_audio
from skdc.metrics import si_sdr_improvement_scorer
from skdc.preprocessing import NormalizeLevel, RemoveDC, ToMono
from skdc.signal import frame_count

Array = NDArray[Any]

RNG = np.random.default_rng(0)
SOURCES = [(0.1 * RNG.standard_normal((2, 800 + 40 * i))).astype(np.float32) for i in range(5)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[AudioFiles, AudioSources]:
    folder = tmp_path_factory.mktemp("corpus")
    mixtures, sources = [], []
    for index, item in enumerate(SOURCES):
        mixtures.append(folder / f"mixture-{index}.wav")
        write_audio(mixtures[-1], item.sum(axis=0), 8000, subtype="FLOAT")
        sources.append([folder / f"source-{index}-{number}.wav" for number in (1, 2)])
        for path, source in zip(sources[-1], item, strict=True):
            write_audio(path, source, 8000, subtype="FLOAT")
    return AudioFiles(mixtures), AudioSources(sources)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files in the order in which they are read."""
    log: list[str] = []

    def logged(path: str, **how: Any) -> Any:
        log.append(Path(path).name)
        return read_audio(path, **how)

    monkeypatch.setattr(files, "read_audio", logged)
    return log


# -- the sequences --------------------------------------------------------------------------------


def test_items(corpus: tuple[AudioFiles, AudioSources]) -> None:
    X, y = corpus
    assert len(X) == len(y) == len(SOURCES)
    for index, item in enumerate(SOURCES):
        assert_array_equal(X[index], item.sum(axis=0))
        assert_array_equal(y[np.int64(index)], item)
    assert_array_equal(X[-1], X[4])
    assert [len(x) for x in X] == [item.shape[1] for item in SOURCES]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (slice(1, None, 2), [1, 3]),
        ([3, 0, 3, -1], [3, 0, 3, 4]),
        (np.array([2, 1], dtype=np.int32), [2, 1]),
        (np.array([True, False, False, True, False]), [0, 3]),
        ([False] * 5, []),
        ([], []),
        ((np.array([2]), ...), [2]),
    ],
)
def test_parts(corpus: tuple[AudioFiles, AudioSources], key: Any, expected: list[int]) -> None:
    X, y = corpus
    assert X[key].paths == tuple(X.paths[i] for i in expected)
    assert y[key].paths == tuple(y.paths[i] for i in expected)


@pytest.mark.parametrize(
    "key", [5, -6, [0, 5], [True], True, 1.5, "a", (0, 1), np.eye(2, dtype=int)]
)
def test_indices_that_cannot_be(corpus: tuple[AudioFiles, AudioSources], key: Any) -> None:
    with pytest.raises(IndexError, match=r"out of range|give an integer|has one axis"):
        corpus[0][key]


def test_parts_read_alike(corpus: tuple[AudioFiles, AudioSources]) -> None:
    X = AudioFiles(corpus[0].paths, sample_rate=4000, mono=False)[1:]
    assert (X.sample_rate, X.mono) == (4000, False)
    assert X[0].shape == (1, 420)
    y = AudioSources(corpus[1].paths, sample_rate=4000)[1:]
    assert y[0].shape == (2, 420)


def test_nothing_is_read_before_it_is_used(
    corpus: tuple[AudioFiles, AudioSources], reads: list[str]
) -> None:
    X, y = corpus
    X_train, X_test, y_train, _ = train_test_split(X, y, test_size=2, random_state=0)
    headers = X_train.headers() + y_train.headers()
    assert [header.shape[-1] for header in headers[:3]] == [
        header.shape[-1] for header in headers[3:]
    ]
    assert reads == []
    assert_array_equal(X_test[0], read_audio(X_test.paths[0])[0])
    assert reads == [X_test.paths[0].name]


def test_scikit_learn_indexes_without_copying(corpus: tuple[AudioFiles, AudioSources]) -> None:
    mask = np.arange(5) > 2
    for key in (slice(2), np.array([4, 0]), mask, mask.tolist(), [4, 0]):
        assert isinstance(_safe_indexing(corpus[0], key), AudioFiles)
        assert isinstance(_safe_indexing(corpus[1], key), AudioSources)


def test_pickles_are_small_and_whole(corpus: tuple[AudioFiles, AudioSources]) -> None:
    for sequence in corpus:
        data = pickle.dumps(sequence)
        assert len(data) < 2000
        assert pickle.loads(data).paths == sequence.paths


def test_repr(corpus: tuple[AudioFiles, AudioSources]) -> None:
    assert repr(corpus[0]) == "<AudioFiles: 5 items>"
    assert repr(AudioSources(corpus[1].paths, sample_rate=16000)[:2]) == (
        "<AudioSources: 2 items at 16000 Hz>"
    )


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_headers_tell_what_is_read(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"stereo{suffix}"
    how = {"subtype": "MPEG_LAYER_III"} if suffix == ".mp3" else {}
    write_audio(path, 0.1 * RNG.standard_normal((2, 12345)), rate, **how)
    for sample_rate in (None, 8000, 11025):
        for mono in (False, True):
            sequence = AudioFiles([path], sample_rate=sample_rate, mono=mono)
            (header,) = sequence.headers()
            assert header == (str(path), sequence[0].shape, sample_rate or rate)


KINDS = [
    (kind, subtype)
    for kind in sorted(soundfile.available_formats().keys() - {"RAW"})
    for subtype in sorted(soundfile.available_subtypes(kind))
]


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_what_soundfile_writes_is_read(tmp_path: Path, kind: str, subtype: str) -> None:
    path = tmp_path / f"talk.{kind.lower()}"
    tone = 0.5 * np.sin(np.arange(8000) / 5)
    try:
        soundfile.write(path, tone, 8000, format=kind, subtype=subtype)
    except soundfile.LibsndfileError as error:
        pytest.skip(f"soundfile does not write it: {error}")
    waveform, rate = read_audio(path)
    (header,) = AudioFiles([path]).headers()
    assert header == (str(path), waveform.shape, rate)
    with AudioRecording(path) as recording:
        assert_array_equal(recording[..., 1000:3000], waveform[1000:3000])
        assert_array_equal(recording[..., 6000:], waveform[6000:])
    if kind == "SVX":
        return
    # Codings of whole blocks end with silence; MP3 begins and ends softly.
    assert 8000 <= len(waveform) <= 8320
    middle = slice(1000, 7000)
    assert_allclose(waveform[middle], tone[middle], atol=0.2)


# -- what is refused before anything is read ------------------------------------------------------


def test_missing_files(corpus: tuple[AudioFiles, AudioSources], reads: list[str]) -> None:
    X, y = corpus
    broken = AudioFiles([*X.paths[:4], "nowhere.wav"])
    separator = make_separator().fit(X, y)
    reads.clear()
    actions: list[Callable[[], Any]] = [
        lambda: make_separator().fit(broken, y),
        lambda: make_separator().fit(X, AudioSources([*y.paths[:4], ["a.wav", "b.wav"]])),
        lambda: make_separator().fit_recordings(broken),
        lambda: separator.predict(broken),
        lambda: separator.score(broken, y),
    ]
    for action in actions:
        with pytest.raises(FileNotFoundError, match=r"of the 5 audio files are m|2 of the 10"):
            action()
    assert reads == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:0], y[:0]), "X is empty; give at least one file"),
        (
            lambda X, y: (AudioFiles(X.paths, sample_rate=16000), y),
            r"X\[0\] \(.*mixture-0.wav\) is at 16000 Hz, but is expected at 8000 Hz; read",
        ),
        (
            lambda X, y: (X, AudioSources(y.paths, sample_rate=16000)),
            r"y\[0\] \(.*source-0-1.wav\) is at 16000 Hz",
        ),
        (
            lambda X, y: (AudioFiles(X.paths, mono=False), y),
            r"has shape \(1, 800\); expected \(n_samples,\): read it with mono=True",
        ),
        (
            lambda X, y: (X, y[::-1]),
            r"y\[0\] \(.*source-4-1.wav\) has 960 samples but its mixture \(.*\) has 800",
        ),
        (
            lambda X, y: (X, AudioSources([[y.paths[0][0], y.paths[1][0]]] * 5)),
            "sources of item 0 differ: .* has 800 samples at 8000 Hz, .* 840 at 8000 Hz",
        ),
        (lambda X, y: (X, AudioFiles(X.paths)), r"y\[0\] .* expected 2 dimensions"),
    ],
)
def test_refused_by_their_headers(
    corpus: tuple[AudioFiles, AudioSources],
    reads: list[str],
    change: Callable[[AudioFiles, AudioSources], tuple[Any, Any]],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        make_separator().fit(*change(*corpus))
    assert reads == []


def test_other_numbers_of_items(corpus: tuple[AudioFiles, AudioSources]) -> None:
    with pytest.raises(ValueError, match="y has 4 items, but there are 5 mixtures"):
        make_separator().fit(corpus[0], corpus[1][:4])


def test_too_short(corpus: tuple[AudioFiles, AudioSources], tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    write_audio(path, np.ones(63), 8000)
    X = AudioFiles([*corpus[0].paths, path])
    message = r"X\[5\] \(.*short.wav\) has 63 samples; at least 64"
    with pytest.raises(ValueError, match=message):
        make_separator().fit(*corpus).predict(X)


def test_not_audio(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(ValueError, match=r"cannot read '.*text.wav' as audio"):
        AudioFiles([tmp_path / "text.wav"]).headers()


def test_bad_samples_are_named(corpus: tuple[AudioFiles, AudioSources], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.full(800, np.nan), 8000, subtype="FLOAT")
    X = AudioFiles([*corpus[0].paths[:2], tmp_path / "nan.wav"])
    with pytest.raises(ValueError, match=r"X\[2\] contains NaN"):
        make_separator().fit(*corpus).predict(X)
    with pytest.raises(ValueError, match=r"X\[2\] contains NaN"):
        make_separator().fit(X, corpus[1][[0, 1, 0]])


@pytest.mark.parametrize("kind", [AudioFiles, AudioSources])
def test_arguments(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"is one path, 'a.wav'; give a list of paths"):
        kind("a.wav" if kind is AudioFiles else ["a.wav"])
    with pytest.raises(ValueError, match="sample_rate is 0; give a positive integer"):
        kind([], sample_rate=0)


def test_mixture_without_sources() -> None:
    with pytest.raises(ValueError, match=r"paths\[1\] is empty; give a file for each source"):
        AudioSources([["a.wav"], []])


# -- the same as lists of arrays ------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"remix": False}, {"n_iter_no_change": 10}])
def test_fit_is_that_on_lists(
    corpus: tuple[AudioFiles, AudioSources], changes: dict[str, Any]
) -> None:
    X, y = corpus
    lazy = make_separator(**changes).fit(X, y)
    eager = make_separator(**changes).fit(list(X), list(y))
    assert_array_equal(weights(lazy), weights(eager))
    assert lazy.history_[0]["loss"] == eager.history_[0]["loss"]


def test_everything_else_is_that_on_lists(corpus: tuple[AudioFiles, AudioSources]) -> None:
    X, y = corpus
    separator = make_separator().fit(list(X), list(y))
    for method in (separator.predict, separator.transform, separator.predict_masks):
        results = method(X)
        assert isinstance(results, list)
        for result, expected in zip(results, method(list(X)), strict=True):
            assert_array_equal(result, expected)
    assert separator.score(X, y) == separator.score(list(X), list(y))
    score = si_sdr_improvement_scorer(separator, X, y)
    assert score == si_sdr_improvement_scorer(separator, list(X), list(y))
    lazy, eager = make_separator().fit(X, y), make_separator().fit(X, y)
    assert_array_equal(
        weights(lazy.partial_fit(X, y)), weights(eager.partial_fit(list(X), list(y)))
    )


def test_fit_recordings(corpus: tuple[AudioFiles, AudioSources]) -> None:
    X, y = corpus
    lazy = make_separator().fit_recordings(X, "abcab", X_val=X[:2], y_val=y[:2])
    eager = make_separator().fit_recordings(list(X), "abcab", X_val=list(X[:2]), y_val=list(y[:2]))
    assert_array_equal(weights(lazy), weights(eager))


def test_one_of_both_may_be_in_memory(corpus: tuple[AudioFiles, AudioSources]) -> None:
    X, y = corpus
    expected = weights(make_separator().fit(X, y))
    assert_array_equal(weights(make_separator().fit(list(X), y)), expected)
    assert_array_equal(weights(make_separator().fit(X, list(y))), expected)


def test_label_maps(corpus: tuple[AudioFiles, AudioSources]) -> None:
    X, _ = corpus
    labels = [RNG.integers(-1, 2, (frame_count(len(x), 16), 33)) for x in X]
    lazy, eager = make_separator().fit(X, labels), make_separator().fit(list(X), labels)
    assert_array_equal(weights(lazy), weights(eager))


def test_another_rate(corpus: tuple[AudioFiles, AudioSources]) -> None:
    X = AudioFiles(corpus[0].paths, sample_rate=16000)
    y = AudioSources(corpus[1].paths, sample_rate=16000)
    lazy = make_separator(input_rate=16000).fit(X, y)
    eager = make_separator(input_rate=16000).fit(list(X), list(y))
    assert_array_equal(weights(lazy), weights(eager))
    sources = lazy.predict(X)
    assert [item.shape[1] for item in sources] == [2 * item.shape[1] for item in SOURCES]
    assert_array_equal(sources[4], eager.predict(list(X))[4])


def test_predict_reads_one_file_at_a_time(
    corpus: tuple[AudioFiles, AudioSources], reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = corpus
    separator = make_separator().fit(X, y)
    reads.clear()
    separate = type(separator.pipeline()).separate_full_band

    def logged(*args: Any) -> Any:
        reads.append("separated")
        return separate(*args)

    monkeypatch.setattr("skdc.separation.Separator.separate_full_band", logged)
    separator.predict(X[:2])
    assert reads == ["mixture-0.wav", "separated", "mixture-1.wav", "separated"]


def test_model_selection(corpus: tuple[AudioFiles, AudioSources], reads: list[str]) -> None:
    X, y = corpus
    scores = cross_val_score(make_separator(), X, y, cv=KFold(2))
    assert_array_equal(scores, cross_val_score(make_separator(), list(X), list(y), cv=KFold(2)))
    search = GridSearchCV(make_separator(), {"embedding_dim": [2, 3]}, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_pipelines(corpus: tuple[AudioFiles, AudioSources]) -> None:
    X, y = AudioFiles(corpus[0].paths, mono=False), corpus[1]
    sources = make_pipeline(ToMono(), RemoveDC(), make_separator()).fit(X, y).predict(X)
    assert [item.shape for item in sources] == [item.shape for item in SOURCES]
    model = TransformedSourcesSeparator(make_separator(), NormalizeLevel())
    sources = model.fit(corpus[0], y).predict(corpus[0])
    assert_allclose(sources[0].sum(axis=0), corpus[0][0], atol=1e-3)


# -- memory ---------------------------------------------------------------------------------------

MEMORY = """
import re
from pathlib import Path
from skdc import DeepClusteringSeparator
from skdc.datasets import AudioFiles, AudioSources
short, long = [f"short-{name}.wav" for name in "mab"], [f"long-{name}.wav" for name in "mab"]
parts = [short] * 132 + [long] * 5  # of 25 s and of a minute: separated whole, and in stretches
X, y = AudioFiles([part[0] for part in parts]), AudioSources([part[1:] for part in parts])
sizes = {"hidden_size": 16, "n_layers": 1, "embedding_dim": 8, "hop_length": 128}
separator = DeepClusteringSeparator(**sizes, max_epochs=1, random_state=0, device="cpu")
separator.fit(X, y).predict(X)
# Not ru_maxrss, which begins with what the process had that started this one.
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_hour_in_little_memory(tmp_path: Path) -> None:
    for name, seconds in (("short", 25), ("long", 60)):
        # A low and a high tone, of which k-means is sooner sure than of noise
        time_s = np.arange(seconds * 8000) / 8000
        sources = 0.1 * np.sin(2 * np.pi * np.outer([500, 2500], time_s))
        for part, signal in zip("mab", [sources.sum(axis=0), *sources], strict=True):
            write_audio(tmp_path / f"{name}-{part}.wav", signal, 8000)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    # Mixtures and sources are 0.35 GB, and what is separated, which is given back, is 0.23 GB.
    assert int(done.stdout) < 0.85e9  # 0.72 GB when this was written


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are Unicode there")
def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    with pytest.raises(ValueError, match=r"caf\\udce9\.wav' is no name in UTF-8; give it another"):
        write_audio(path, SOURCES[0][0], 8000)
    write_audio(tmp_path / "a.wav", SOURCES[0][0], 8000)
    (tmp_path / "a.wav").rename(path)
    with pytest.raises(ValueError, match=r"caf\\udce9\.wav' is no name in UTF-8; give it another"):
        read_audio(path)
