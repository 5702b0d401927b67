"""Pictures of training: the curves, their axes, and histories that lack something."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from conftest import Table
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

mpl.use("agg")

from matplotlib import pyplot as plt

from skdc import DeepClusteringSeparator
from skdc.display import TrainingDisplay

pytestmark = pytest.mark.usefixtures("close_figures")

NAN = float("nan")
SCORES = [1.0, 3.0, NAN, 2.0]
HISTORY: list[dict[str, float]] = [
    {
        "epoch": float(epoch),
        "hours": 0.5 * epoch,
        "seconds": 10.0 * epoch,
        "loss": 0.5 / epoch,
        "validation_loss": 0.6 / epoch,
        "validation_si_sdr_improvement": score,
    }
    for epoch, score in enumerate(SCORES, start=1)
]


def without(*names: str) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k not in names} for row in HISTORY]


def test_curves() -> None:
    display = TrainingDisplay.from_history(HISTORY)
    losses, scores = display.axes_
    training, validation = losses.lines
    assert_allclose(training.get_xydata(), [[row["epoch"], row["loss"]] for row in HISTORY])
    assert_allclose(validation.get_ydata(), [row["validation_loss"] for row in HISTORY])
    assert_allclose(scores.lines[0].get_ydata(), SCORES)
    assert [text.get_text() for text in losses.get_legend().get_texts()] == [
        "training",
        "validation",
    ]
    assert (losses.get_ylabel(), losses.get_xlabel()) == ("loss", "epoch")
    assert scores.get_ylabel() == "validation SI-SDR improvement (dB)"
    display.figure_.canvas.draw()


def test_best_epoch_is_marked() -> None:
    best = TrainingDisplay.from_history(HISTORY).axes_[1].lines[1]
    assert_allclose(best.get_xydata(), [[2, 3.0]])
    assert best.get_label() == "best: 3.0 dB"


@pytest.mark.parametrize(
    ("against", "label", "last"),
    [("hours", "hours of mixtures seen", 2.0), ("seconds", "seconds of training", 40.0)],
)
def test_against_something_else(against: str, label: str, last: float) -> None:
    display = TrainingDisplay.from_history(HISTORY, against=against)
    for ax in display.axes_:
        assert ax.get_xlabel() == label
        assert ax.lines[0].get_xdata()[-1] == last


def test_without_validation() -> None:
    history = without("validation_loss", "validation_si_sdr_improvement")
    (ax,) = TrainingDisplay.from_history(history).axes_
    assert len(ax.lines) == 1
    assert ax.get_legend() is None


def test_validation_with_label_maps_has_no_score() -> None:
    (ax,) = TrainingDisplay.from_history(without("validation_si_sdr_improvement")).axes_
    assert len(ax.lines) == 2


def test_validation_that_came_later() -> None:
    display = TrainingDisplay.from_history([{"epoch": 0.0, "loss": 1.0}, *HISTORY])
    assert_allclose(display.axes_[1].lines[0].get_ydata(), [NAN, *SCORES])


def test_on_given_axes() -> None:
    figure, ax = plt.subplots()
    display = TrainingDisplay.from_history(without("validation_si_sdr_improvement"), ax=ax)
    assert display.figure_ is figure
    assert list(display.axes_) == [ax]
    assert display.plot().figure_ is not figure
    _, three = plt.subplots(1, 3)
    with pytest.raises(
        ValueError, match="ax has 3 axes, but there are 2 panels: loss, validation"
    ):
        TrainingDisplay.from_history(HISTORY, ax=three)


def test_panels_share_one_place() -> None:
    figure, (left, right) = plt.subplots(1, 2, layout="constrained", figsize=(12, 4))
    display = TrainingDisplay.from_history(HISTORY, ax=right)
    figure.canvas.draw()
    assert display.figure_ is figure
    loss, score = (panel.get_position() for panel in display.axes_)
    assert left.get_position().x1 < loss.x0 < loss.x1 < score.x0
    assert not right.axison
    with pytest.raises(ValueError, match="ax has 1 axes, but there are 2 panels"):
        TrainingDisplay.from_history(HISTORY, ax=plt.figure().add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize(
    ("history", "against", "message"),
    [
        ([], "epoch", "history is empty"),
        (HISTORY, "weeks", "against is 'weeks'; give one of 'epoch', 'hours', 'seconds'"),
        (without("hours"), "hours", "history has no 'hours'; it has epoch, seconds, loss"),
    ],
)
def test_histories_that_cannot_be_drawn(history: Any, against: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingDisplay.from_history(history, against=against)


def test_a_history_may_be_a_data_frame() -> None:
    names = list(HISTORY[0])
    frame: Any = Table([[row[name] for name in names] for row in HISTORY])
    frame.columns = names
    display = TrainingDisplay.from_history(frame)
    expected = TrainingDisplay.from_history(HISTORY)
    assert len(display.axes_) == len(expected.axes_) == 2
    for panel, other in zip(display.axes_, expected.axes_, strict=True):
        for line, same in zip(panel.lines, other.lines, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), same.get_xydata())


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"loss": [0.5, 0.4]}, "history is a dict; give dicts, one an epoch, .*data frame"),
        ([0.5, 0.4], "history is a list of float; give dicts"),
        ("run.csv", "history is a str; give dicts"),
        (None, "history is a NoneType; give dicts"),
    ],
)
def test_histories_that_are_none(history: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        TrainingDisplay.from_history(history)


def test_from_estimator() -> None:
    sources = np.random.default_rng(0).standard_normal((3, 2, 2000))
    separator = DeepClusteringSeparator(
        embedding_dim=3, hidden_size=4, n_layers=1, max_epochs=2, random_state=0, device="cpu"
    )
    with pytest.raises(NotFittedError, match="not fitted yet"):
        TrainingDisplay.from_estimator(separator)
    separator.fit(sources.sum(axis=1), sources, X_val=sources[:1].sum(axis=1), y_val=sources[:1])
    display = TrainingDisplay.from_estimator(separator)
    assert len(display.axes_) == 2
    assert display.history is separator.history_
