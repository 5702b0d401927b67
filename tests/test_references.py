"""What was stored earlier still holds: files of the first format, and what the models gave.

What the bundled models give for the sample clips is in `references/NAME.npz`. After a model file
was replaced, or a change that is meant to alter estimates, this remakes it::

    python tests/test_references.py

It cannot tell whether the stored estimates were good: that is what `evaluate` and the model cards
are for. `references/first_format.py` wrote the files of the first format.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from references.first_format import SETTINGS, make_sources

from skdc import DeepClusteringSeparator, load_pretrained, make_mixtures
from skdc.datasets import load_sample_clips, load_sample_mixture
from skdc.metrics import si_sdr_improvement
from skdc.model_file import read_tensors
from skdc.network import BLSTM
from skdc.parameters import restored_parameters
from skdc.pretrained import list_pretrained

REFERENCES = Path(__file__).parent / "references"
FIRST_FORMAT = REFERENCES / "first_format"
# A share of the largest sample. Processors add in different orders, which moves clusters a little:
# between SSE4, AVX2 and AVX-512 by up to 6e-5.
TOLERANCE = 1e-3
STRIDE = 50


# -- what the bundled models give -----------------------------------------------------------------


def sample_mixtures() -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The mixture that comes with the package, and two of other clips: (mixture, references)."""
    clips = load_sample_clips()
    X, y = make_mixtures(
        [clip.waveform for clip in clips],
        [clip.speaker for clip in clips],
        n_mixtures=2,
        n_samples=16000,
        random_state=0,
    )
    return [load_sample_mixture(), *zip(X, y, strict=True)]


def estimates_of(name: str) -> dict[str, NDArray[Any]]:
    """Every `STRIDE`-th sample of the estimates, and the SI-SDR improvement in dB, by mixture."""
    separator = load_pretrained(name, device="cpu").set_params(precision="float32")
    found: dict[str, NDArray[Any]] = {}
    for number, (mixture, references) in enumerate(sample_mixtures()):
        sources = separator.predict(mixture)
        found[f"sources_{number}"] = sources[:, ::STRIDE].astype(np.float32)
        improvement = si_sdr_improvement(references, sources, mixture)
        found[f"si_sdr_improvement_{number}"] = np.asarray(improvement)
    return found


@pytest.mark.parametrize("name", list_pretrained())
def test_bundled_models_give_what_they_gave(name: str) -> None:
    found = estimates_of(name)
    with np.load(REFERENCES / f"{name}.npz") as stored:
        assert set(stored) == set(found)
        for key, expected in stored.items():
            atol = 0.01 if key.startswith("si_sdr") else TOLERANCE * np.abs(expected).max()
            assert_allclose(found[key], expected, rtol=0, atol=atol, err_msg=key)


# -- files of the first format --------------------------------------------------------------------


def test_models_of_the_first_format_are_the_same_models(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, header = read_tensors(FIRST_FORMAT / "model.safetensors")
    separator = DeepClusteringSeparator.load(FIRST_FORMAT / "model.safetensors", device="cpu")
    for name, tensor in separator.network_.state_dict().items():
        assert_array_equal(tensor, tensors[name], err_msg=name)
    assert separator.history_ == header["history"]
    assert separator.trunk == BLSTM(dropout=0.25)
    assert separator.n_iter_no_change == 3
    assert not hasattr(separator, "early_stopping")
    sources = make_sources()
    mixtures = sources.sum(axis=1)
    separator.set_params(mask="binary")
    # Bins counted by their magnitude itself then.
    monkeypatch.setattr("skdc.signal.bin_weights", lambda magnitude: magnitude)
    with np.load(FIRST_FORMAT / "expected.npz") as expected:
        # On the processor that wrote it, to the bit.
        assert_allclose(separator.transform(mixtures[:1]), expected["embeddings"], atol=1e-6)
        assert_allclose(separator.predict(mixtures[:1]), expected["sources"], atol=1e-5)
        assert separator.score(mixtures, sources) == pytest.approx(expected["scores"], abs=1e-3)


def test_early_stopping_of_the_first_format() -> None:
    assert restored_parameters({"early_stopping": False, "n_iter_no_change": 10}) == {
        "n_iter_no_change": None
    }
    assert restored_parameters({"early_stopping": True, "n_iter_no_change": 4}) == {
        "n_iter_no_change": 4
    }
    assert all(load_pretrained(name).n_iter_no_change is None for name in list_pretrained())


def test_runs_of_the_first_format_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    shutil.copy(FIRST_FORMAT / "run.safetensors", path)
    _, header = read_tensors(path)
    assert (header["step"], header["epoch"], header["epoch_step"]) == (11, 1, 2)
    sources = make_sources()
    mixtures = sources.sum(axis=1)
    separator = DeepClusteringSeparator(**SETTINGS).fit(mixtures, sources, checkpoint=path)
    assert separator.history_[:1] == header["history"]
    assert [row["epoch"] for row in separator.history_] == [1, 2, 3, 4]
    assert [row["steps"] for row in separator.history_] == [9, 18, 27, 36]
    assert separator.history_[-1]["loss"] < separator.history_[0]["loss"]
    # The run is finished now: there is nothing to train, and its weights come back.
    again = DeepClusteringSeparator(**SETTINGS).fit(mixtures, sources, checkpoint=path)
    assert again.history_ == separator.history_
    assert_array_equal(again.transform(mixtures), separator.transform(mixtures))


if __name__ == "__main__":
    for model in list_pretrained():
        np.savez_compressed(REFERENCES / f"{model}.npz", **estimates_of(model))  # type: ignore[arg-type]
