"""What users pass wrongly is refused at once, with a message that names the item."""

from __future__ import annotations

import re
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdc import DeepClusteringSeparator
from skdc.exceptions import AudioWarning
from skdc.inputs import AudioFormat, check_mixtures, check_pairs, collect, hold_out
from skdc.network import BLSTM
from skdc.parameters import (
    PARAMETER_CONSTRAINTS,
    check_segment_frames,
    resolve_device,
    resolve_precision,
)
from skdc.signal import Framing
from skdc.training import DynamicMixing

Array = NDArray[Any]

AUDIO = AudioFormat(Framing(64, 16))
SOURCES = np.random.default_rng(0).standard_normal((4, 2, 640))
MIXTURES = SOURCES.sum(axis=1)
LABELS = np.random.default_rng(0).integers(-1, 2, (4, 41, 33))


@pytest.fixture(scope="module")
def fitted() -> DeepClusteringSeparator:
    return make_separator().fit(MIXTURES, SOURCES)


@pytest.fixture
def nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*args: Any, **kwargs: Any) -> None:
        pytest.fail("something was computed before the error")

    monkeypatch.setattr("skdc.separator.train", computed)
    monkeypatch.setattr("skdc.separation.Separator.embed", computed)


def with_value(array: Array, index: tuple[int, ...], value: Any) -> Array:
    changed = array.copy()
    changed[index] = value
    return changed


def with_item(array: Array, index: int, item: Any) -> list[Any]:
    return [item if i == index else x for i, x in enumerate(array)]


# -- mixtures -------------------------------------------------------------------------------------

BAD_MIXTURES: dict[str, tuple[Any, type[Exception], str]] = {
    "NaN": (with_value(MIXTURES, (3, 7), np.nan), ValueError, r"X\[3\] contains NaN"),
    "infinity": (with_value(MIXTURES, (2, 7), -np.inf), ValueError, r"X\[2\] contains infinity"),
    "NaN in a list": (
        with_item(MIXTURES, 1, with_value(MIXTURES[1], (0,), np.nan)),
        ValueError,
        r"X\[1\] contains NaN",
    ),
    "NaN in nested lists": (
        with_value(MIXTURES, (1, 1), np.nan).tolist(),
        ValueError,
        r"X\[1\] contains NaN",
    ),
    "NaN in one recording": (np.full(640, np.nan), ValueError, "^X contains NaN"),
    "None": (None, TypeError, "X is of type NoneType; give an array"),
    "a string": ("mixture.wav", TypeError, "X is of type str; give an array"),
    "strings": (["a.wav", "b.wav"], TypeError, "X has dtype <U5; give floating or integer"),
    "an array of strings": (np.full((4, 640), "a"), ValueError, "(?i)numeric|convert"),
    "empty list": ([], ValueError, "X is empty; give at least one mixture"),
    "empty array": (np.empty((0, 640)), ValueError, r"0 sample\(s\)"),
    "empty object array": (np.empty(0, dtype=object), ValueError, "X"),
    "no samples": (np.empty((4, 0)), ValueError, r"0 feature\(s\)"),
    "one empty recording": (np.empty(0), ValueError, "X is empty"),
    "an empty item": (with_item(MIXTURES, 1, []), ValueError, r"X\[1\] is empty"),
    "one sample": (
        MIXTURES[:, :1],
        ValueError,
        r"X\[0\] has 1 samples; at least 64 \(one window, 8 ms\) are needed: leave it out or pad",
    ),
    "too short": (with_item(MIXTURES, 2, MIXTURES[0, :63]), ValueError, r"X\[2\] has 63 samples"),
    "stereo array": (
        SOURCES,
        ValueError,
        r"X has shape \(4, 2, 640\); mixtures are \(n_mixtures, n_samples\).*stereo down to mono",
    ),
    "stereo item": (
        with_item(MIXTURES, 1, SOURCES[0]),
        ValueError,
        r"X\[1\] has shape \(2, 640\); a recording is one channel.*mono",
    ),
    "four axes": (SOURCES[np.newaxis], ValueError, "(?i)dim 4"),
    "a number": (1.0, TypeError, "X is of type float"),
    "numbers and arrays": (with_item(MIXTURES, 3, 0.5), ValueError, r"X\[3\] has shape \(\)"),
    "None as an item": (with_item(MIXTURES, 0, None), TypeError, r"X\[0\] is of type NoneType"),
    "a string as an item": (with_item(MIXTURES, 3, "a"), TypeError, r"X\[3\] is of type str"),
    "objects as an item": (
        with_item(MIXTURES, 3, np.array([{}] * 640)),
        TypeError,
        r"X\[3\] has dtype object",
    ),
    "a ragged item": (with_item(MIXTURES, 3, [[1.0], [1.0, 2.0]]), ValueError, r"X\[3\] is not"),
    "complex array": (MIXTURES + 0j, ValueError, "Complex data not supported"),
    "complex item": (
        with_item(MIXTURES, 1, MIXTURES[0] + 0j),
        ValueError,
        r"Complex data not supported: X\[1\] is complex",
    ),
    "sparse": (
        sparse.csr_array(MIXTURES),
        TypeError,
        r"(?i)sparse data was passed for X.*toarray",
    ),
    "dates": (np.full((4, 640), "2020", "datetime64[D]"), TypeError, "(?i)date"),
}


@pytest.mark.parametrize("case", BAD_MIXTURES)
@pytest.mark.usefixtures("nothing_computed")
def test_bad_mixtures(fitted: DeepClusteringSeparator, case: str) -> None:
    X, error, message = BAD_MIXTURES[case]
    uses: list[Any] = [fitted.predict_masks, fitted.transform]
    # With its channels, a recording in a list can be separated.
    uses += [partial(fitted.predict, band="network")] + [fitted.predict] * (case != "stereo item")
    for use in uses:
        with pytest.raises(error, match=f"(?s){message}"):
            use(X)
    learn: Any
    for learn in (fitted.fit, fitted.partial_fit, fitted.score):
        with pytest.raises(error, match=f"(?s){message}"):
            learn(X, SOURCES)
    with pytest.raises(error, match=f"(?s){message}".replace("X", "X_val")):
        fitted.fit(MIXTURES, SOURCES, X_val=X, y_val=SOURCES)


@pytest.mark.usefixtures("nothing_computed")
def test_silent_mixtures_are_not_learned_from(fitted: DeepClusteringSeparator) -> None:
    X = with_value(MIXTURES, (2,), 0)
    method: Any
    for method in (fitted.fit, fitted.partial_fit, fitted.score):
        with pytest.raises(ValueError, match=r"X\[2\] is silent: all its samples are 0; leave it"):
            method(X, SOURCES)


@pytest.mark.usefixtures("nothing_computed")
def test_too_short_is_told_at_the_rate_that_came_in() -> None:
    separator = make_separator(input_rate=44100)
    with pytest.raises(ValueError, match=r"X\[0\] has 300 samples; at least 353 \(one window, 8 "):
        separator.fit(MIXTURES[:, :300], SOURCES[..., :300])


# -- references -----------------------------------------------------------------------------------

BAD_REFERENCES: dict[str, tuple[Any, type[Exception], str]] = {
    "None": (None, ValueError, "requires y to be passed, but the target y is None.*reference"),
    "a number": (3, TypeError, r"y is of type int; give an array \(n_mixtures, n_sources"),
    "an array of no axes": (np.array(3.0), TypeError, "y is of type ndarray"),
    "too few": (SOURCES[:3], ValueError, "y has 3 items, but there are 4 mixtures: one each"),
    "too many": (list(SOURCES) * 2, ValueError, "y has 8 items, but there are 4 mixtures"),
    "none": ([], ValueError, "y has 0 items"),
    "class labels": ([0, 1, 0, 1], ValueError, r"y\[0\] has shape \(\); give reference sources"),
    "one source": (MIXTURES, ValueError, r"y\[0\] has shape \(640,\)"),
    "four axes": (SOURCES[..., np.newaxis], ValueError, r"y\[0\] has shape \(2, 640, 1\)"),
    "other lengths": (
        with_item(SOURCES, 2, SOURCES[2][:, :639]),
        ValueError,
        r"y\[2\] has 639 samples but its mixture has 640",
    ),
    "sources of different lengths": (
        with_item(SOURCES, 2, [[1.0], [1.0, 2.0]]),
        ValueError,
        r"y\[2\] is not an array",
    ),
    "no sources": (
        with_item(SOURCES, 1, np.empty((0, 640))),
        ValueError,
        r"y\[1\] has no sources",
    ),
    "NaN": (with_value(SOURCES, (3, 1, 5), np.nan), ValueError, r"y\[3\] contains NaN"),
    "infinity": (with_value(SOURCES, (0, 1, 5), np.inf), ValueError, r"y\[0\] contains infinity"),
    "complex": (SOURCES + 0j, ValueError, r"Complex data not supported: y\[0\] is complex"),
    "strings": (["a", "b", "c", "d"], TypeError, r"y\[0\] has dtype <U1"),
    "Nones": ([None] * 4, TypeError, r"y\[0\] has dtype object"),
    "silent": (with_value(SOURCES, (1,), 0), ValueError, r"y\[1\] is silent: all its sources"),
    "labels below -1": (LABELS - 1, ValueError, r"y\[0\] holds the label -2; labels are 0, 1"),
    "nothing labelled": (
        with_value(LABELS, (2,), -1),
        ValueError,
        r"y\[2\] labels no bin: all are -1; leave",
    ),
    "label maps of another size": (
        LABELS[:, :40],
        ValueError,
        r"y\[0\] has 33 samples but its mixture has 640.*\(41, 33\) here",
    ),
    "floating label maps": (LABELS * 1.0, ValueError, r"y\[0\] has 33 samples.*maps are integer"),
    "two forms": (
        with_item(SOURCES, 3, LABELS[3]),
        ValueError,
        "y mixes reference sources and label maps; give one form",
    ),
}


@pytest.mark.parametrize("case", BAD_REFERENCES)
@pytest.mark.usefixtures("nothing_computed")
def test_bad_references(fitted: DeepClusteringSeparator, case: str) -> None:
    y, error, message = BAD_REFERENCES[case]
    method: Any
    for method in (fitted.fit, fitted.partial_fit, fitted.score):
        with pytest.raises(error, match=f"(?s){message}"):
            method(MIXTURES, y)
        with pytest.raises(error, match=f"(?s){message}"):
            method(list(MIXTURES), y)
    with pytest.raises(error, match="(?s)" + re.sub(r"\by\b", "y_val", message)):
        fitted.fit(MIXTURES, SOURCES, X_val=MIXTURES, y_val=y)


@pytest.mark.usefixtures("nothing_computed")
def test_references_of_a_single_mixture(fitted: DeepClusteringSeparator) -> None:
    with pytest.raises(ValueError, match=r"y\[0\] has 639 samples but its mixture has 640"):
        fitted.fit(MIXTURES[0], SOURCES[0, :, :639])
    with pytest.raises(ValueError, match=r"y\[0\] is not an array of samples"):
        fitted.fit(MIXTURES[0], [SOURCES[0, 0], SOURCES[0, 1, :9]])
    with pytest.raises(ValueError, match="y has 4 items, but there are 1 mixtures"):
        fitted.fit(MIXTURES[0], SOURCES)


@pytest.mark.usefixtures("nothing_computed")
def test_validation_data(fitted: DeepClusteringSeparator) -> None:
    with pytest.raises(ValueError, match="requires y_val to be passed"):
        fitted.fit(MIXTURES, SOURCES, X_val=MIXTURES)
    with pytest.raises(TypeError, match="X_val is of type NoneType"):
        fitted.fit(MIXTURES, SOURCES, y_val=SOURCES)
    with pytest.raises(ValueError, match="n_iter_no_change sets a tenth of the mixtures aside"):
        make_separator(n_iter_no_change=10).fit(MIXTURES[:1], SOURCES[:1])


def test_an_objective_that_cannot_validate_is_told_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[object] = []
    monkeypatch.setattr("skdc.separator.train", lambda *args, **kwargs: steps.append(args))
    three = np.concatenate([SOURCES, SOURCES[:, :1]], axis=1)
    # The first mixtures would do.
    y_val = [*SOURCES, three[0]]
    X_val = [y.sum(axis=0) for y in y_val]
    separator = make_separator(objective="mask_inference", mask="head")
    with pytest.raises(ValueError, match="the head gives 2 masks, expected 3"):
        separator.fit(MIXTURES, SOURCES, X_val=X_val, y_val=y_val)
    assert steps == []


def test_score_names_a_silent_reference(fitted: DeepClusteringSeparator) -> None:
    with pytest.raises(ValueError, match=r"y\[2\]: reference\[1\] is silent"):
        fitted.score(MIXTURES, with_value(SOURCES, (2, 1), 0))


# -- parameters -----------------------------------------------------------------------------------

BAD_PARAMETERS: list[tuple[str, Any]] = [
    ("n_sources", 0),
    ("n_sources", 2.0),
    ("embedding_dim", 0),
    ("hidden_size", -1),
    ("n_layers", 0),
    ("bidirectional", "yes"),
    ("objective", "dpcl"),
    ("sample_rate", 0),
    ("input_rate", 16000.0),
    ("win_length", 0),
    ("win_length", 65),
    ("hop_length", 33),
    ("hop_length", 0),
    ("activity_threshold_db", -40),
    ("activity_threshold_db", np.nan),
    ("segment_frames", 1),
    ("segment_frames", []),
    ("segment_frames", [20, 1]),
    ("segment_frames", [20, 2.5]),
    ("segment_frames", "20"),
    ("batch_size", 0),
    ("learning_rate", 0.0),
    ("max_epochs", 0),
    ("n_iter_no_change", 0),
    ("remix", 2),
    ("clusterer", "dbscan"),
    ("clusterer", None),
    ("clusterer", object()),
    ("mask", "ratio"),
    ("output", "waveforms"),
    ("device", None),
    ("device", "gpu"),
    ("device", "cuda:99"),
    ("precision", "float16"),
    ("random_state", "zero"),
    ("verbose", -1),
    ("warm_start", "no"),
]


@pytest.mark.parametrize(
    ("name", "value"), BAD_PARAMETERS, ids=lambda x: re.sub(" at .*", "", repr(x))
)
@pytest.mark.usefixtures("nothing_computed")
def test_bad_parameters(fitted: DeepClusteringSeparator, name: str, value: Any) -> None:
    message = f"{name}.*{re.escape(str(value))}"
    separator = make_separator(**{name: value})
    for fit in (separator.fit, separator.partial_fit):
        with pytest.raises(ValueError, match=message):
            fit(MIXTURES, SOURCES)
    with pytest.raises(ValueError, match=message):
        separator.fit_recordings(SOURCES.reshape(8, -1))
    before = fitted.get_params(deep=False)[name]
    fitted.set_params(**{name: value})
    try:
        for method in (fitted.predict, fitted.predict_masks, fitted.transform):
            with pytest.raises(ValueError, match=message):
                method(MIXTURES)
        with pytest.raises(ValueError, match=message):
            fitted.score(MIXTURES, SOURCES)
    finally:
        fitted.set_params(**{name: before})


@pytest.mark.parametrize("run", [{"time_limit": 0}, {"time_limit": "1 h"}, {"checkpoint": 3}])
@pytest.mark.usefixtures("nothing_computed")
def test_bad_keywords_of_a_run(run: dict[str, Any]) -> None:
    ((name, value),) = run.items()
    with pytest.raises(ValueError, match=f"'{name}' parameter of fit must be .* Got {value!r}"):
        make_separator().fit(MIXTURES, SOURCES, **run)
    with pytest.raises(ValueError, match=f"'{name}' parameter of fit_recordings must be"):
        make_separator().fit_recordings(SOURCES.reshape(8, -1), **run)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("checkpoint", r"fit\(X, y, checkpoint="),
        ("time_limit", r"fit\(X, y, time_limit="),
        ("early_stopping", "n_iter_no_change="),
        ("dropout", r"trunk=BLSTM\(dropout="),
    ],
)
def test_parameters_that_have_moved_say_where(name: str, instead: str) -> None:
    message = f"{name} is no longer a parameter; write {instead}"
    value: dict[str, Any] = {name: None}
    for take in (DeepClusteringSeparator, DeepClusteringSeparator().set_params):
        with pytest.raises(TypeError, match=message):
            take(**value)
    assert name not in signature(DeepClusteringSeparator).parameters


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trunk__dropout", r"trunk='blstm' has no parameter 'dropout'.*such as trunk=BLSTM\(\)"),
        ("objective__sharpness", r"objective='.*' has no .* as objective=BalancedAffinity\(\)"),
        ("remix__speeds", r"remix=True has no parameter 'speeds'.*remix=DynamicMixing\(\)"),
        ("clusterer__n_init", r"clusterer='kmeans' has no .* such as clusterer=KMeans\(\)"),
        ("n_layers__size", "n_layers=1 has no parameter 'size', as n_layers__size says; leave"),
        ("random_state__seed", "random_state=.* has no parameter 'seed'"),
    ],
)
def test_parameters_of_what_is_no_object(name: str, message: str) -> None:
    separator = make_separator()
    parameters: dict[str, Any] = {"max_epochs": 9, name: 1}
    with pytest.raises(ValueError, match=message):
        separator.set_params(**parameters)
    assert separator.max_epochs == 1
    with pytest.raises(ValueError, match=r"trunk=<class .*BLSTM'> has no parameter 'dropout'"):
        separator.set_params(trunk=BLSTM, trunk__dropout=0.2)


def test_an_object_and_its_parameters_in_one_call() -> None:
    separator: Any = make_separator()
    separator.set_params(trunk__dropout=0.2, trunk=BLSTM(), remix=DynamicMixing(), remix__speeds=2)
    assert separator.trunk.dropout == 0.2
    assert separator.remix.speeds == 2
    with pytest.raises(ValueError, match="Invalid parameter 'n_bands' for estimator BLSTM"):
        separator.set_params(trunk__n_bands=2)
    with pytest.raises(ValueError, match="Invalid parameter 'heads' for estimator"):
        separator.set_params(heads__n_bands=2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"foo": 1}, "Invalid parameter 'foo'"),
        ({"clusterer__kmeans__foo": 1}, "Invalid parameter 'foo' for estimator KMeans"),
        ({"clusterer__foo": 1}, "Invalid parameter 'foo' for estimator Pipeline"),
        ({"trunk__residual__x": 1}, "trunk__residual=False has no parameter 'x'"),
        ({"clusterer__kmeans": 3, "clusterer__kmeans__n_init": 1}, "clusterer__kmeans=3 has no"),
    ],
)
def test_nothing_is_set_where_one_cannot_be(wrong: dict[str, Any], message: str) -> None:
    clusterer = make_pipeline(StandardScaler(), KMeans(2, n_init=1))
    separator = make_separator(clusterer=clusterer, trunk=BLSTM())
    before = repr(separator.get_params())
    right: dict[str, Any] = {"clusterer__kmeans__n_init": 7, "trunk__dropout": 0.3}
    for parameters in (right | wrong, wrong | right):
        with pytest.raises(ValueError, match=message):
            separator.set_params(**parameters)
        assert repr(separator.get_params()) == before
    separator.set_params(clusterer__kmeans=KMeans(5), **right)
    assert repr(separator.clusterer).endswith("KMeans(n_clusters=5, n_init=7))])")


def test_there_are_no_more_parameters_than_one_can_know() -> None:
    names = signature(DeepClusteringSeparator).parameters
    assert len(names) <= 26
    assert list(names) == list(PARAMETER_CONSTRAINTS)


def test_clusterer_must_be_an_object_not_a_class() -> None:
    with pytest.raises(TypeError, match=r"clusterer=KMeans is a class; give an instance"):
        make_separator(clusterer=KMeans).fit(MIXTURES, SOURCES)


def test_construction_checks_nothing() -> None:
    assert make_separator(n_sources="many").get_params()["n_sources"] == "many"


@pytest.mark.parametrize("method", ["predict", "predict_masks", "transform", "score"])
def test_unfitted(method: str) -> None:
    arguments = (MIXTURES, SOURCES) if method == "score" else (MIXTURES,)
    with pytest.raises(NotFittedError, match="DeepClusteringSeparator instance is not fitted yet"):
        getattr(make_separator(), method)(*arguments)


def test_segment_frames() -> None:
    assert check_segment_frames(100) == (100,)
    assert check_segment_frames([100, 400]) == (100, 400)
    assert check_segment_frames(np.array(7).tolist()) == (7,)


def test_devices_and_precisions() -> None:
    assert resolve_device("auto").type in ("cpu", "cuda")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device='nowhere' cannot be used.*use 'auto'"):
        resolve_device("nowhere")
    # A GPU without a number is the one where the network is, and not that of the present thread.
    there = torch.device("cuda:1")
    assert resolve_device("cuda", beside=there) == there
    assert resolve_device("cpu", beside=there) == torch.device("cpu")
    cpu = torch.device("cpu")
    assert resolve_precision("bfloat16", cpu) == "bfloat16"
    assert resolve_precision("auto", cpu) in ("float32", "bfloat16")


def test_a_gpu_that_this_torch_cannot_use_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def zeros(*size: int, device: torch.device, **how: Any) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with ...")

    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.warns(UserWarning, match=r"not for this torch.*CPU computes: .*no kernel image"):
        assert resolve_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(
    ("used", "expected"), [("AVX512", "bfloat16"), ("AVX2", "float32"), ("DEFAULT", "float32")]
)
def test_the_precision_is_that_of_the_instructions_in_use(
    used: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: used)
    assert resolve_precision("auto", torch.device("cpu")) == expected
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert resolve_precision("auto", torch.device("cpu")) == "float32"


def test_a_device_without_float64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    make = torch.zeros

    def without_float64(*args: Any, **kwargs: Any) -> torch.Tensor:
        # As Apple's GPUs answer, which are not everywhere that tests run.
        if str(kwargs.pop("device", "cpu")) == "mps" and kwargs.get("dtype") == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return make(*args, **kwargs)

    monkeypatch.setattr(torch, "zeros", without_float64)
    message = r"device='mps' cannot be used \(Cannot convert a MPS Tensor to float64 dtype\); use"
    with pytest.raises(ValueError, match=message):
        make_separator(device="mps").fit(MIXTURES[:2], SOURCES[:2])
    with pytest.raises(ValueError, match=message):
        resolve_device(torch.device("mps"))


# -- what comes out -------------------------------------------------------------------------------


def test_checked_mixtures_have_a_peak_of_one() -> None:
    checked = check_mixtures([MIXTURES[0] * 1e-30, MIXTURES[1] * 1e30], AUDIO)
    assert checked.container == "list"
    assert checked.lengths == [640, 640]
    for waveform, mixture, peak in zip(checked.waveforms, MIXTURES, checked.peaks, strict=False):
        assert waveform.dtype == np.float32
        assert np.abs(waveform).max() == 1
        assert_allclose(waveform, mixture / np.abs(mixture).max(), atol=1e-6)
        assert 0 < peak < np.inf


def test_references_keep_their_place_in_the_mixture() -> None:
    checked, references, _ = check_pairs(MIXTURES, SOURCES, AUDIO)
    for waveform, sources in zip(checked.waveforms, references, strict=True):
        assert_allclose(sources.sum(axis=0), waveform, atol=1e-5)
        assert sources.dtype == np.float32


def test_silence_is_kept_and_told() -> None:
    with pytest.warns(AudioWarning, match="^mixture is silent"):
        checked = check_mixtures(np.zeros(99), AUDIO, name="mixture")
    assert checked.peaks == [1.0]
    assert not checked.waveforms[0].any()


def test_resampled_mixtures() -> None:
    audio = AudioFormat(AUDIO.framing, 8000, 16000)
    checked = check_mixtures(np.sin(np.arange(3200.0)).reshape(2, 1600), audio)
    assert [len(waveform) for waveform in checked.waveforms] == [800, 800]
    sources = np.ones((3, 800), np.float32)
    assert checked.restore(0, sources, audio).shape == (3, 1600)


def test_results_take_the_form_of_the_input() -> None:
    results: list[Array] = [np.zeros((2, 3)), np.ones((2, 3))]

    assert_array_equal(collect(results, "array"), np.stack(results))
    assert collect(results, "list") is results
    assert collect(results[:1], "single") is results[0]
    ragged = [np.zeros((2, 3)), np.ones((3, 3))]
    assert collect(ragged, "array") is ragged


def test_holding_out() -> None:
    pairs = check_pairs(np.tile(MIXTURES, (6, 1)), np.tile(SOURCES, (6, 1, 1)), AUDIO)
    kept, held_out = hold_out(pairs, np.random.RandomState(0))
    assert [len(part.references) for part in (kept, held_out)] == [22, 2]
    for part in (kept, held_out):
        for waveform, sources in zip(part.mixtures.waveforms, part.references, strict=True):
            assert_allclose(sources.sum(axis=0), waveform, atol=1e-5)
