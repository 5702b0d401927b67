"""Models of the package: found by name, described when there is no such name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import skdc
from skdc import DeepClusteringSeparator, pretrained
from skdc.datasets import load_sample_mixture
from skdc.metrics import si_sdr_improvement
from skdc.parameters import restored_parameters
from skdc.pretrained import list_pretrained, load_pretrained

BUNDLED = "speech-8k"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the package's, with two tiny models and a card."""
    sources = np.random.default_rng(0).standard_normal((2, 2, 4000))
    separator = DeepClusteringSeparator(
        embedding_dim=3, hidden_size=4, n_layers=1, max_epochs=1, random_state=0
    )
    separator.fit(sources.sum(axis=1), sources)
    separator.save(tmp_path / "b.safetensors")
    separator.save(tmp_path / "a.safetensors")
    (tmp_path / "a.md").write_text("a card")
    monkeypatch.setattr(pretrained.models, "_FOLDER", tmp_path)
    return tmp_path


def test_lists_model_files_only(folder: Path) -> None:
    assert list_pretrained() == ["a", "b"]


def test_loads_by_name(folder: Path) -> None:
    separator = load_pretrained("a", device="cpu")
    assert separator.embedding_dim == 3
    assert separator.predict(np.random.default_rng(0).standard_normal(4000)).shape == (2, 4000)


def test_unknown_name_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'c' is neither a model .* model \(a, b\)"):
        load_pretrained("c")


def test_path_of_a_model_file(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a model file nor a bundled model"):
        load_pretrained(folder / "a")
    assert load_pretrained(folder / "a.safetensors", device="cpu").embedding_dim == 3
    assert load_pretrained(str(folder / "b.safetensors"), device="cpu").embedding_dim == 3


def test_no_models_at_all(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="none is installed"):
        load_pretrained()


# The model that really comes with the package


def test_bundled_model_separates_people() -> None:
    mixture, sources = load_sample_mixture()
    separator = skdc.load_pretrained(device="cpu")
    improvement = si_sdr_improvement(sources, separator.predict(mixture), mixture)
    assert improvement.min() >= 6


def test_bundled_model_gives_the_same_sources_at_any_level() -> None:
    mixture, _ = load_sample_mixture()
    separator = skdc.load_pretrained(device="cpu")
    expected = separator.predict(mixture)
    peak = np.abs(mixture).max()
    for gain in (1e-3, 0.3, 1000.0):
        sources = separator.predict(mixture * np.float32(gain))
        # Rounding of the scaled mixture goes through the network's arithmetic: a swap of sources
        # would be a hundred times as large.
        assert np.abs(sources / gain - expected).max() < 0.02 * peak


def test_bundled_models_separate_what_two_microphones_hear() -> None:
    """Two people on either side of two microphones, 8.6 cm apart, outdoors."""
    _, (one, other) = load_sample_mixture()
    late_one, late_other = (np.concatenate([np.zeros(2), x[:-2]]) for x in (one, other))
    recording = np.stack([one + late_other, late_one + other])
    references = np.stack([one, late_other])
    models = [load_pretrained(name, device="cpu") for name in (BUNDLED, "speech-8k-pairs")]
    for given in (models, models[1]):
        found = skdc.separate_array(given, recording)
        assert si_sdr_improvement(references, found, recording[0]).min() >= 11


def test_bundled_models_have_cards_and_configurations() -> None:
    package = Path(skdc.__file__).parent
    assert BUNDLED in list_pretrained()
    for name in list_pretrained():
        card = (package / "pretrained" / f"{name}.md").read_text("utf-8")
        (configuration,) = set(re.findall(r"\]\(\.\./commands/configs/(.+?\.toml)\)", card))
        parameters = tomllib.loads(
            (package / "commands/configs" / configuration).read_text("utf-8")
        )
        del parameters["random_state"]  # belongs to the run, not to the model
        model = load_pretrained(name)
        parameters = restored_parameters(parameters)
        wanted = {key: repr(value) for key, value in parameters.items()}
        assert wanted == {key: repr(model.get_params()[key]) for key in wanted}


def test_bundled_models_are_small() -> None:
    largest = {BUNDLED: 25e6, "speech-2mix-8k": 25e6, "speech-2mix-8k-small": 6e6}
    largest |= {"speech-2mix-8k-live": 13e6, "speech-8k-pairs": 6e6}
    for name in list_pretrained():
        path = Path(skdc.__file__).parent / "pretrained" / f"{name}.safetensors"
        assert path.stat().st_size < largest[name]
