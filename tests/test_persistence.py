"""Model files and pickles of a separator: round trips, foreign and damaged files, no GPU."""

from __future__ import annotations

import copy
import io
import json
import pickle
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pytest
import torch
from conftest import make_separator
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import save_file
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError

from skdc import DeepClusteringSeparator, StreamingSeparator, load_pretrained
from skdc.model_file import read_tensors, write_tensors
from skdc.network import BLSTM
from skdc.network.quantized import from_int8, to_int8
from skdc.parameters import resolve_device
from skdc.persistence import narrowest_weights

SOURCES = np.random.default_rng(0).standard_normal((3, 2, 640))
MIXTURES = SOURCES.sum(axis=1)


@pytest.fixture(scope="module")
def fitted() -> DeepClusteringSeparator:
    return make_separator(segment_frames=(20, 30)).fit(MIXTURES, SOURCES)


@pytest.fixture
def model_file(fitted: DeepClusteringSeparator, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    return path


# -- pickles --------------------------------------------------------------------------------------


def by_joblib(separator: DeepClusteringSeparator) -> Any:
    file = io.BytesIO()
    joblib.dump(separator, file)
    return joblib.load(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    "travel", [lambda x: pickle.loads(pickle.dumps(x)), by_joblib, copy.deepcopy, copy.copy]
)
def test_pickles(fitted: DeepClusteringSeparator, travel: Any) -> None:
    expected = fitted.predict(MIXTURES)
    arrived = travel(fitted)
    assert_array_equal(arrived.predict(MIXTURES), expected)
    assert arrived.history_ == fitted.history_
    # Training goes on in the one and leaves the other.
    arrived.partial_fit(MIXTURES, SOURCES)
    assert arrived.n_iter_ == fitted.n_iter_ + 1
    assert_array_equal(fitted.predict(MIXTURES), expected)


def test_unfitted_pickles() -> None:
    arrived = pickle.loads(pickle.dumps(make_separator(clusterer=KMeans(3))))
    assert arrived.clusterer.n_clusters == 3
    with pytest.raises(NotFittedError, match="not fitted yet"):
        arrived.predict(MIXTURES)


def test_pickles_hold_no_tensors_of_a_device(fitted: DeepClusteringSeparator) -> None:
    assert b"torch._utils" not in pickle.dumps(fitted)
    assert b"torch.storage" not in pickle.dumps(fitted)


def test_a_pickle_from_a_gpu_loads_without_one(
    fitted: DeepClusteringSeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gpu(device: str | torch.device) -> torch.device:
        if torch.device(device).type == "cuda":
            raise ValueError(f"device={device!r} cannot be used")
        return resolve_device(device)

    travelling = pickle.dumps(copy.deepcopy(fitted).set_params(device="cuda"))
    monkeypatch.setattr("skdc.persistence.resolve_device", no_gpu)
    with pytest.warns(UserWarning, match="device='cuda' is not here; computing on the CPU"):
        arrived = pickle.loads(travelling)
    assert arrived.device == "cpu"
    assert_array_equal(arrived.predict(MIXTURES), fitted.predict(MIXTURES))


# -- model files ----------------------------------------------------------------------------------


def test_model_files(fitted: DeepClusteringSeparator, model_file: Path) -> None:
    loaded = DeepClusteringSeparator.load(model_file, device="cpu")
    assert_array_equal(loaded.predict(MIXTURES), fitted.predict(MIXTURES))
    assert_array_equal(loaded.transform(MIXTURES), fitted.transform(MIXTURES))
    assert loaded.history_ == fitted.history_
    assert loaded.n_iter_ == fitted.n_iter_
    wanted = fitted.get_params() | {"random_state": None, "segment_frames": [20, 30]}
    assert loaded.get_params() == wanted
    loaded.save(model_file)
    again = DeepClusteringSeparator.load(model_file, device="cpu")
    assert_array_equal(again.predict(MIXTURES), fitted.predict(MIXTURES))


def test_what_belongs_to_the_place_is_not_stored(tmp_path: Path) -> None:
    separator = make_separator(input_rate=16000, verbose=1)
    separator.fit(MIXTURES, SOURCES).save(tmp_path / "model.safetensors")
    loaded = DeepClusteringSeparator.load(tmp_path / "model.safetensors")
    assert loaded.device == "auto"
    assert loaded.verbose == 0
    assert loaded.input_rate is None


def test_files_of_when_fit_had_fewer_keywords(
    fitted: DeepClusteringSeparator, model_file: Path
) -> None:
    tensors, header = read_tensors(model_file)
    header["parameters"] |= {"time_limit": 3600.0}
    write_tensors(model_file, tensors, header)
    loaded = DeepClusteringSeparator.load(model_file, device="cpu")
    assert_array_equal(loaded.predict(MIXTURES), fitted.predict(MIXTURES))


def test_pickles_of_when_fit_had_fewer_keywords(fitted: DeepClusteringSeparator) -> None:
    old = copy.copy(fitted)
    once = {"time_limit": 3600.0, "early_stopping": False, "dropout": 0.25}
    old.__dict__.update(checkpoint="run.safetensors", **once)
    loaded = pickle.loads(pickle.dumps(old))
    assert vars(loaded).keys() == vars(fitted).keys()
    # What they mean is kept, as model files keep it.
    assert loaded.n_iter_no_change is None
    assert loaded.trunk == BLSTM(dropout=0.25)
    assert_array_equal(loaded.predict(MIXTURES), fitted.predict(MIXTURES))


def test_subclasses_load_as_themselves(model_file: Path) -> None:
    class Own(DeepClusteringSeparator):
        pass

    assert type(Own.load(str(model_file), device="cpu")) is Own


@pytest.mark.parametrize(
    ("weights", "share", "atol"), [("float16", 0.7, 0.02), ("int8", 0.5, 0.1)]
)
def test_narrow_weights(
    fitted: DeepClusteringSeparator,
    tmp_path: Path,
    model_file: Path,
    weights: Literal["float16", "int8"],
    share: float,
    atol: float,
) -> None:
    path = tmp_path / "narrow.safetensors"
    fitted.save(path, weights=weights)
    assert path.stat().st_size < share * model_file.stat().st_size
    loaded = DeepClusteringSeparator.load(path, device="cpu")
    assert_allclose(loaded.transform(MIXTURES), fitted.transform(MIXTURES), atol=atol)
    assert narrowest_weights(loaded.network_.state_dict()) == weights
    # What was rounded once is stored as it is.
    loaded.save(tmp_path / "again.safetensors", weights=weights)
    again = DeepClusteringSeparator.load(tmp_path / "again.safetensors", device="cpu")
    assert_array_equal(again.transform(MIXTURES), loaded.transform(MIXTURES))


def test_unknown_weights_are_refused(fitted: DeepClusteringSeparator, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"weights='int4'; expected one of float32, float16, int8"
    ):
        fitted.save(tmp_path / "model.safetensors", weights="int4")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_steps_that_do_not_fit_are_refused(
    fitted: DeepClusteringSeparator, tmp_path: Path
) -> None:
    path = tmp_path / "narrow.safetensors"
    fitted.save(path, weights="int8")
    tensors, header = read_tensors(path)
    name = next(name for name in tensors if name.endswith(".step"))
    write_tensors(path, tensors | {name: tensors[name][1:]}, header)
    with pytest.raises(ValueError, match=r"do not fit the network .*\.step"):
        DeepClusteringSeparator.load(path)
    del tensors[name]
    write_tensors(path, tensors, header)
    with pytest.raises(ValueError, match=r"is of the type torch\.int8"):
        DeepClusteringSeparator.load(path)
    write_tensors(
        path, tensors | {name: torch.full((len(tensors[name[:-5]]),), torch.nan)}, header
    )
    with pytest.raises(ValueError, match="not finite"):
        DeepClusteringSeparator.load(path)


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=3, max_side=6),
        elements=st.floats(-1e4, 1e4, width=32),
    )
)
def test_int8_moves_no_weight_by_more_than_half_a_step(matrix: np.ndarray) -> None:
    stored = to_int8({"w": torch.from_numpy(matrix)})
    once = from_int8(stored)["w"]
    largest = np.abs(matrix.reshape(len(matrix), -1)).max(1)
    error = np.abs(once.numpy() - matrix).reshape(len(matrix), -1).max(1)
    assert (error <= largest / 254 * (1 + 1e-4) + 1e-28).all()
    assert torch.equal(from_int8(to_int8({"w": once}))["w"], once)


def test_unfitted_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        make_separator().save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_clusterer_objects_cannot_be_saved(
    fitted: DeepClusteringSeparator, model_file: Path
) -> None:
    before = model_file.read_bytes()
    separator = copy.deepcopy(fitted).set_params(clusterer=KMeans(2))
    with pytest.raises(TypeError, match=r"clusterer=KMeans\(n_clusters=2\) cannot be stored"):
        separator.save(model_file)
    assert model_file.read_bytes() == before


def test_a_save_that_fails_leaves_the_old_file(
    fitted: DeepClusteringSeparator, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = model_file.read_bytes()

    def full_disk(path: Path, content: bytes) -> None:
        path.write_text("half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        fitted.save(model_file)
    assert model_file.read_bytes() == before
    assert list(model_file.parent.iterdir()) == [model_file]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model file at '.*absent\.safetensors'"):
        DeepClusteringSeparator.load(tmp_path / "absent.safetensors")


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    for write in (
        lambda: path.write_text("RIFF....WAVE"),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(pickle.dumps({"network": 1})),
        lambda: save_file({"a": torch.ones(1)}, path),
    ):
        write()
        with pytest.raises(ValueError, match="is not an skdc model file, or it is damaged"):
            DeepClusteringSeparator.load(path)


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    separator = make_separator().fit(MIXTURES, SOURCES, checkpoint=path)
    message = "is the checkpoint of a training run, and no model yet; the command or the call of"
    for load in (DeepClusteringSeparator.load, load_pretrained):
        with pytest.raises(ValueError, match=rf"^'.*run\.safetensors' {message}"):
            load(tmp_path / "run.safetensors")
    other = {"kind": "picture", "format": 1}
    write_tensors(tmp_path / "other.safetensors", {"a": torch.ones(2)}, other)
    with pytest.raises(ValueError, match="is a file of kind 'picture', format 1; expected"):
        DeepClusteringSeparator.load(tmp_path / "other.safetensors")
    separator.save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="is a model file, not the checkpoint"):
        separator.fit(MIXTURES, SOURCES, checkpoint=tmp_path / "model.safetensors")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def change_header(**changes: Any) -> Any:
    def change(path: Path) -> None:
        tensors, header = read_tensors(path)
        write_tensors(path, tensors, header | changes)

    return change


def lose_a_tensor(path: Path) -> None:
    tensors, header = read_tensors(path)
    tensors.pop("input_mean")
    write_tensors(path, tensors, header)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "is not an skdc model file, or it is damaged"),
        (lose_a_tensor, "is damaged or of another version.*input_mean"),
        (change_header(format=99), "format 99; expected a separator of format 1"),
        (change_header(parameters={"magic": 1}), "is damaged or of another version.*magic"),
        (change_header(parameters={"n_sources": "x"}), "is damaged or of another version"),
        (change_header(parameters=None), "is damaged or of another version"),
        (change_header(network={"n_bins": 9}), "is damaged or of another version"),
        (change_header(history=None), "is damaged or of another version"),
    ],
)
def test_damaged_files(model_file: Path, damage: Any, message: str) -> None:
    damage(model_file)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        DeepClusteringSeparator.load(model_file, device="cpu")


def test_loading_needs_a_device_that_is_there(model_file: Path) -> None:
    with pytest.raises(ValueError, match="device='cuda:99' cannot be used"):
        DeepClusteringSeparator.load(model_file, device="cuda:99")


def test_the_header_is_readable_json(model_file: Path) -> None:
    raw = model_file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["skdc"])
    assert header["kind"] == "separator"
    assert header["parameters"]["sample_rate"] == 8000
    assert header["network"]["embedding_dim"] == 4


def test_streams_of_another_device_go_on(separator: DeepClusteringSeparator) -> None:
    mixture = np.random.default_rng(0).standard_normal(6000)
    stream = StreamingSeparator(separator, warm_up=0.1, block=0.05)
    expected = np.concatenate([stream.push(mixture), stream.flush()], axis=1)
    first = stream.push(mixture[:3000])
    other = StreamingSeparator.__new__(StreamingSeparator)
    with pytest.warns(UserWarning, match="device='cuda:99' is not here"):
        other.__setstate__(stream.__getstate__() | {"device": "cuda:99"})
    found = np.concatenate([first, other.push(mixture[3000:]), other.flush()], axis=1)
    assert_array_equal(found, expected)
