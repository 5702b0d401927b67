"""Pictures of embeddings and their affinity: which bins are drawn, where, and in which colour."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import StandardScaler

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from skdc import DeepClusteringSeparator
from skdc.datasets import resample
from skdc.display import AffinityDisplay, EmbeddingDisplay
from skdc.display.inputs import embed_and_label
from skdc.signal import activity, dominant_source, stft

pytestmark = pytest.mark.usefixtures("close_figures")

Array = NDArray[Any]

RNG = np.random.default_rng(0)
LABELS = RNG.integers(-1, 3, (20, 5))
EMBEDDINGS = RNG.standard_normal((20, 5, 4)) + 3 * np.eye(4)[LABELS]
EMBEDDINGS /= np.linalg.norm(EMBEDDINGS, axis=-1, keepdims=True)
REFERENCES = RNG.standard_normal((2, 4000)) * np.hanning(400).repeat(10)
MIXTURE = REFERENCES.sum(axis=0)


def ideal_labels() -> Array:
    import torch

    mixture, references = torch.from_numpy(MIXTURE), torch.from_numpy(REFERENCES)
    how = {"win_length": 256, "hop_length": 64}
    active = activity(stft(mixture, **how))
    return np.where(active, dominant_source(stft(references, **how)), -1)


def legend(display: EmbeddingDisplay) -> list[str]:
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


# -- embeddings -----------------------------------------------------------------------------------


def test_every_bin_of_a_source_is_projected() -> None:
    display = EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS)
    chosen = EMBEDDINGS[LABELS >= 0]
    assert_array_equal(display.labels, LABELS[LABELS >= 0])
    assert_allclose(display.projected, PCA(2, random_state=0).fit_transform(chosen))
    assert display.ax_.get_xlabel().startswith("PCA 1 (")
    assert display.ax_.get_title() == f"embeddings of {len(chosen)} bins"
    display.figure_.canvas.draw()


def test_bins_have_the_colour_of_their_source() -> None:
    display = EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS)
    points, *centres = display.ax_.collections
    assert_allclose(points.get_offsets(), display.projected)
    expected = [to_rgb(f"C{label}") for label in display.labels]
    assert_allclose(points.get_facecolors()[:, :3], expected)
    assert legend(display) == ["source 1", "source 2", "source 3"]
    for label, centre in enumerate(centres):
        mean = display.projected[display.labels == label].mean(axis=0)
        assert_allclose(centre.get_offsets()[0], mean)


def test_three_dimensions() -> None:
    display = EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS, n_components=3)
    assert display.projected.shape[1] == 3
    assert display.ax_.get_zlabel().startswith("PCA 3 (")
    display.figure_.canvas.draw()


def test_any_projection() -> None:
    projection = TruncatedSVD(3, random_state=0)
    display = EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS, projection=projection)
    chosen = EMBEDDINGS[LABELS >= 0]
    assert_allclose(display.projected, projection.fit_transform(chosen))
    assert display.ax_.get_xlabel().startswith("TruncatedSVD 1")


def test_projection_is_not_fitted_itself() -> None:
    projection = PCA(2)
    EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS, projection=projection)
    assert not hasattr(projection, "components_")


def test_subsample_repeats() -> None:
    first, again, other = (
        EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS, max_bins=30, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert len(first.labels) == 30
    assert_array_equal(first.projected, again.projected)
    assert not np.array_equal(first.labels, other.labels)


def test_embedding_on_given_axes() -> None:
    figure, ax = plt.subplots()
    display = EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS, ax=ax)
    assert display.figure_ is figure
    assert display.ax_ is ax
    assert display.plot().figure_ is not figure


def test_axes_of_the_wrong_dimension() -> None:
    _, flat = plt.subplots()
    with pytest.raises(ValueError, match=r"have 3 dimensions: give ax .* with projection='3d'"):
        EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS, n_components=3, ax=flat)
    _, deep = plt.subplots(subplot_kw={"projection": "3d"})
    with pytest.raises(ValueError, match="without projection='3d'"):
        EmbeddingDisplay.from_predictions(EMBEDDINGS, LABELS, ax=deep)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": LABELS[:19]}, r"shape \(20, 5, 4\) and labels \(19, 5\); expected"),
        ({"labels": LABELS + 0.5}, "labels have dtype float64; give integers"),
        ({"labels": np.full((20, 5), -1)}, "0 bins belong to a source"),
        ({"max_bins": 1}, "max_bins is 1; give at least 2"),
        ({"n_components": 4}, "n_components is 4; give 2 or 3"),
        ({"embeddings": EMBEDDINGS[..., :1]}, "of 1 dimensions cannot be drawn in 2"),
        ({"projection": StandardScaler()}, r"StandardScaler gave shape \(\d+, 4\); set its n_com"),
    ],
)
def test_embeddings_that_cannot_be_drawn(changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"embeddings": EMBEDDINGS, "labels": LABELS}
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay.from_predictions(**{**given, **changed})


@pytest.mark.parametrize("display", [AffinityDisplay, EmbeddingDisplay])
def test_bins_that_cannot_be_drawn(display: Any) -> None:
    for value in (np.nan, np.inf):
        damaged, place = EMBEDDINGS.copy(), tuple(np.argwhere(LABELS >= 0)[30])
        damaged[place][2] = value
        message = rf"embeddings\[{place[0]}, {place[1]}\] contains NaN or infinity; give finite"
        with pytest.raises(ValueError, match=message):
            display.from_predictions(damaged, LABELS, max_bins=5)
        kept = LABELS.copy()
        kept[place] = -1  # left out, as are bins without a sound
        display.from_predictions(damaged, kept)
    for max_bins in ("a", None, 20.5):
        with pytest.raises(TypeError, match=f"max_bins is {max_bins!r}; give an integer"):
            display.from_predictions(EMBEDDINGS, LABELS, max_bins=max_bins)
    display.from_predictions(EMBEDDINGS, LABELS, max_bins=np.int64(5))


def test_embedding_from_estimator(separator: DeepClusteringSeparator) -> None:
    display = EmbeddingDisplay.from_estimator(separator, MIXTURE, REFERENCES, max_bins=10**6)
    labels = ideal_labels()
    chosen = separator.transform(MIXTURE)[labels >= 0]
    assert_array_equal(display.labels, labels[labels >= 0])
    assert_allclose(display.projected, PCA(2).fit_transform(chosen), atol=1e-5)
    assert legend(display) == ["reference 1", "reference 2"]


def test_embedding_coloured_by_what_is_predicted(separator: DeepClusteringSeparator) -> None:
    display = EmbeddingDisplay.from_estimator(separator, MIXTURE, max_bins=10**6)
    assert separator.output == "sources"
    predicted = separator.set_params(output="labels").predict(MIXTURE)
    separator.set_params(output="sources")
    assert_array_equal(display.labels, predicted[ideal_labels() >= 0])
    assert legend(display) == ["estimate 1", "estimate 2"]


def test_embedding_at_another_rate(separator: DeepClusteringSeparator) -> None:
    separator.set_params(input_rate=16000)
    fast = resample(MIXTURE, 8000, 16000)
    display = EmbeddingDisplay.from_estimator(separator, fast, resample(REFERENCES, 8000, 16000))
    separator.set_params(input_rate=None)
    assert display.projected.shape == (2000, 2)


@pytest.mark.parametrize("references", [None, REFERENCES])
def test_an_offset_makes_no_bin_active(
    separator: DeepClusteringSeparator, references: Array | None
) -> None:
    _, expected = embed_and_label(separator, MIXTURE, references)
    pcm = (4000 * MIXTURE).round().astype(np.int16)
    unsigned = (20 * MIXTURE + 128).round().astype(np.uint8)
    with_offsets = None if references is None else references + np.array([[0.7], [-0.2]])
    for mixture in (MIXTURE + 0.5, MIXTURE - 20, pcm, unsigned):
        embeddings, labels = embed_and_label(separator, mixture, with_offsets)
        assert_array_equal(embeddings, separator.transform(mixture))
        assert ((labels >= 0) == (expected >= 0)).mean() > 0.97
        if references is not None:
            assert (labels == expected).mean() > 0.95


def test_references_of_another_length(separator: DeepClusteringSeparator) -> None:
    with pytest.raises(ValueError, match="references have 3999 samples, but the mixture has 4000"):
        EmbeddingDisplay.from_estimator(separator, MIXTURE, REFERENCES[:, 1:])


# -- affinity -------------------------------------------------------------------------------------


def test_affinity_against_loops() -> None:
    display = AffinityDisplay.from_predictions(EMBEDDINGS, LABELS)
    order = sorted(np.ndindex(20, 5), key=lambda place: LABELS[place])
    order = [place for place in order if LABELS[place] >= 0]
    for i, one in enumerate(order):
        for j, other in enumerate(order):
            same = LABELS[one] == LABELS[other]
            assert display.ideal[i, j] == same
            assert display.estimated[i, j] == pytest.approx(EMBEDDINGS[one] @ EMBEDDINGS[other])
    left, right = (ax.images[0] for ax in display.axes_)
    assert_array_equal(left.get_array(), display.estimated)
    assert_array_equal(right.get_array(), display.ideal)
    assert left.get_clim() == right.get_clim() == (-1, 1)
    display.figure_.canvas.draw()


def test_affinity_title_says_the_means() -> None:
    labels = np.repeat([0, 1], 3)
    angles = np.array([0.0, 0.2, 0.4, 1.5, 1.6, 1.8])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    display = AffinityDisplay.from_predictions(vectors, labels)
    cosines = np.cos(angles[:, np.newaxis] - angles)
    within = [cosines[i, j] for i, j in np.ndindex(6, 6) if i != j and labels[i] == labels[j]]
    between = [cosines[i, j] for i, j in np.ndindex(6, 6) if labels[i] != labels[j]]
    expected = f"within a source {np.mean(within):.2f}, between {np.mean(between):.2f}"
    assert display.axes_[0].get_title().splitlines()[1] == expected


def test_affinity_marks_the_sources() -> None:
    display = AffinityDisplay.from_predictions(np.eye(3)[[0, 0, 1, 1, 1]], [3, 3, 5, 5, 5])
    for ax in display.axes_:
        assert [text.get_text() for text in ax.get_xticklabels()] == ["source 4", "source 6"]
        assert_allclose(ax.get_xticks(), [0.5, 3])
        assert [line.get_xdata()[0] for line in ax.lines if line.get_ydata()[0] == 0] == [1.5]


def test_affinity_of_one_source() -> None:
    display = AffinityDisplay.from_predictions(np.eye(3)[[0, 0, 1]], np.zeros(3, int))
    assert "between" not in display.axes_[0].get_title()


def test_affinity_on_given_axes() -> None:
    figure, axes = plt.subplots(2, 2)
    display = AffinityDisplay.from_predictions(EMBEDDINGS, LABELS, ax=axes[0])
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes[0])
    with pytest.raises(ValueError, match="ax has 4 axes, but there are 2 panels: estimated"):
        display.plot(axes)


def test_affinity_from_estimator(separator: DeepClusteringSeparator) -> None:
    display = AffinityDisplay.from_estimator(separator, MIXTURE, REFERENCES, max_bins=200)
    assert display.estimated.shape == (200, 200)
    names = [text.get_text() for text in display.axes_[0].get_xticklabels()]
    assert names == ["reference 1", "reference 2"]
    assert_allclose(np.diag(display.estimated), 1, atol=1e-5)
    share = np.mean(ideal_labels()[ideal_labels() >= 0])
    assert display.labels.mean() == pytest.approx(share, abs=0.15)
    assert (np.diff(display.labels) >= 0).all()
