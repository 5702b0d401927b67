"""Pictures of separations: what is drawn, where, and under which title."""

from __future__ import annotations

import builtins
import copy
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

mpl.use("agg")

from matplotlib import pyplot as plt

from skdc import DeepClusteringSeparator
from skdc.datasets import resample
from skdc.display import SeparationDisplay, import_pyplot, match_estimates
from skdc.display.inputs import at_network_rate
from skdc.metrics import si_sdr

pytestmark = pytest.mark.usefixtures("close_figures")

Array = NDArray[Any]

RNG = np.random.default_rng(0)
REFERENCES = RNG.standard_normal((2, 8000))
MIXTURE = REFERENCES.sum(axis=0)
ESTIMATES = REFERENCES[::-1] + 0.1 * MIXTURE
MASKS = np.stack([np.zeros((126, 129)), np.ones((126, 129))])


def titles(display: SeparationDisplay) -> list[str]:
    return [ax.get_title().split(":")[0] for ax in display.axes_]


def test_panels_of_everything() -> None:
    display = SeparationDisplay.from_predictions(MIXTURE, ESTIMATES, MASKS, REFERENCES)
    assert titles(display) == [
        "mixture",
        *("mask 1", "estimate 1", "reference 1"),
        *("mask 2", "estimate 2", "reference 2"),
    ]
    display.figure_.canvas.draw()


def test_panels_of_estimates_alone() -> None:
    display = SeparationDisplay.from_predictions(MIXTURE, list(ESTIMATES))
    assert titles(display) == ["mixture", "estimate 1", "estimate 2"]
    assert display.axes_[1].get_title() == "estimate 1"


def test_estimates_and_masks_follow_their_references() -> None:
    display = SeparationDisplay.from_predictions(MIXTURE, ESTIMATES, MASKS, REFERENCES)
    np.testing.assert_array_equal(display.estimates, ESTIMATES[::-1])
    assert display.masks is not None
    np.testing.assert_array_equal(display.masks, MASKS[::-1])


def test_titles_say_the_score() -> None:
    display = SeparationDisplay.from_predictions(MIXTURE, ESTIMATES, None, REFERENCES)
    score = si_sdr(REFERENCES[0], ESTIMATES[1])
    gain = score - si_sdr(REFERENCES[0], MIXTURE)
    expected = f"estimate 1: SI-SDR {score:.1f} dB ({gain:+.1f})"
    assert display.axes_[1].get_title() == expected


def test_more_estimates_than_references() -> None:
    estimates = np.stack([MIXTURE, *ESTIMATES])
    display = SeparationDisplay.from_predictions(MIXTURE, estimates, None, REFERENCES)
    assert titles(display)[1:] == [
        *("estimate 1", "reference 1", "estimate 2", "reference 2"),
        "estimate 3",
    ]
    assert display.axes_[-1].get_title() == "estimate 3"


def test_axes_are_in_seconds_and_kilohertz_and_shared() -> None:
    display = SeparationDisplay.from_predictions(
        MIXTURE, ESTIMATES, MASKS, REFERENCES, sample_rate=16000
    )
    for ax in display.axes_:
        assert ax.get_xlim() == (0, 0.5)
        assert ax.get_ylim() == (0, 8)
    assert display.axes_[0].get_xlabel() == "time (s)"
    assert display.axes_[0].get_ylabel() == "frequency (kHz)"
    labelled = [ax.get_title() for ax in display.axes_ if ax.get_xlabel()]
    assert [title.split(":")[0] for title in labelled] == [
        *("mixture", "mask 2", "estimate 2", "reference 2")
    ]


def test_spectrograms_share_their_scale_and_peak_at_zero() -> None:
    display = SeparationDisplay.from_predictions(MIXTURE, 0.5 * ESTIMATES)
    images = [ax.images[0] for ax in display.axes_]
    assert {image.get_clim() for image in images} == {(-60.0, 0.0)}
    assert images[0].get_array().max() == pytest.approx(0)
    assert images[1].get_array().max() < 0


def test_silence_can_be_drawn() -> None:
    display = SeparationDisplay.from_predictions(np.zeros(4000), np.zeros((2, 4000)))
    assert display.axes_[0].images[0].get_array().max() <= -60


@pytest.mark.parametrize("level", [0.0, 0.25])
@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_reference_is_drawn_without_a_figure(silent: int, level: float) -> None:
    references = REFERENCES.copy()
    references[silent] = level
    np.testing.assert_array_equal(match_estimates(references, ESTIMATES), [1, 0])
    display = SeparationDisplay.from_predictions(MIXTURE, ESTIMATES, MASKS, references)
    shown = [ax.get_title() for ax in display.axes_ if ax.get_title().startswith("estimate")]
    assert shown[silent] == f"estimate {silent + 1}"
    assert shown[1 - silent].startswith(f"estimate {2 - silent}: SI-SDR ")
    assert display.axes_[3 + 3 * silent].images[0].get_array().max() <= -60
    display.figure_.canvas.draw()


def test_references_that_are_all_silent() -> None:
    display = SeparationDisplay.from_predictions(MIXTURE, ESTIMATES, references=0 * REFERENCES)
    np.testing.assert_array_equal(display.estimates, ESTIMATES)


def test_a_silent_reference_of_an_estimator(separator: DeepClusteringSeparator) -> None:
    for rate in (None, 16000):
        changed = copy.copy(separator).set_params(input_rate=rate)
        references = np.stack([REFERENCES[0], np.full(8000, 0.1)])
        display = SeparationDisplay.from_estimator(changed, MIXTURE, references)
        shown = [ax.get_title() for ax in display.axes_ if ax.get_title().startswith("estimate")]
        assert shown[1] == "estimate 2"


def test_draws_on_given_axes() -> None:
    figure, axes = plt.subplots(1, 3)
    display = SeparationDisplay.from_predictions(MIXTURE, ESTIMATES, ax=axes)
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes)
    assert display.plot().figure_ is not figure


def test_wrong_number_of_axes() -> None:
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="ax has 2 axes, but there are 3 panels"):
        SeparationDisplay.from_predictions(MIXTURE, ESTIMATES, ax=axes)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mixture": REFERENCES}, r"mixture has shape \(2, 8000\); expected \(n_samples,\)"),
        ({"mixture": []}, r"mixture has shape \(0,\)"),
        ({"estimates": MIXTURE}, r"estimates has shape \(8000,\); expected \(n_sources, n_samp"),
        ({"estimates": ESTIMATES[:, 1:]}, "estimates have 7999 samples, but the mixture has 8000"),
        ({"references": REFERENCES[:, 1:]}, "references have 7999 samples"),
        ({"masks": MASKS[:1]}, r"masks has shape \(1, 126, 129\); expected \(2, n_frames, n_bins"),
        ({"masks": np.where(MASKS == 1, np.nan, 0)}, "masks contains NaN"),
        ({"estimates": ESTIMATES[:1], "masks": MASKS[:1]}, "1 estimates for 2 references"),
    ],
)
def test_shapes_that_do_not_fit(changed: dict[str, Array], message: str) -> None:
    given: dict[str, Any] = {
        "mixture": MIXTURE,
        "estimates": ESTIMATES,
        "masks": MASKS,
        "references": REFERENCES,
    }
    with pytest.raises(ValueError, match=message):
        SeparationDisplay.from_predictions(**{**given, **changed})


def test_from_estimator(separator: DeepClusteringSeparator) -> None:
    display = SeparationDisplay.from_estimator(separator, MIXTURE, REFERENCES)
    expected = separator.predict(MIXTURE)[match_estimates(REFERENCES, separator.predict(MIXTURE))]
    np.testing.assert_allclose(display.estimates, expected, atol=1e-6)
    assert len(display.axes_) == 7


def test_from_estimator_at_another_rate(separator: DeepClusteringSeparator) -> None:
    separator.set_params(input_rate=16000, output="masks")
    fast = resample(MIXTURE, 8000, 16000)
    display = SeparationDisplay.from_estimator(separator, fast, resample(REFERENCES, 8000, 16000))
    assert (separator.input_rate, separator.output) == (16000, "masks")
    separator.set_params(input_rate=None, output="sources")
    assert display.sample_rate == 8000
    assert display.mixture.shape == (8000,)
    assert display.estimates.shape == (2, 8000)


def changed(signals: Array, how: float | str) -> Array:
    """Signals with an offset, or as PCM of a type."""
    if isinstance(how, float):
        return signals + how
    scaled = signals / 8 * -float(np.iinfo(how).min or -128)
    return (scaled + 128 * (how == "uint8")).round().astype(how)


@pytest.mark.parametrize("how", [0.5, -20.0, "int16", "uint8"])
def test_mixtures_with_an_offset_and_of_integers(
    separator: DeepClusteringSeparator, how: float | str
) -> None:
    mixture, references = changed(MIXTURE, how), changed(REFERENCES, how)
    display = SeparationDisplay.from_estimator(separator, mixture, references)
    found = separator.predict(mixture)
    found = found[match_estimates(references, found)]
    np.testing.assert_allclose(display.estimates, found, atol=1e-5)
    plain = SeparationDisplay.from_estimator(separator, MIXTURE, REFERENCES)
    for panel, expected in zip(display.axes_, plain.axes_, strict=True):
        # to the steps of 8 bits
        assert np.abs(panel.images[0].get_array() - expected.images[0].get_array()).mean() < 0.5


def test_an_offset_at_another_rate_does_not_jump(separator: DeepClusteringSeparator) -> None:
    fast = copy.copy(separator).set_params(input_rate=16000)
    plain: Any = at_network_rate(fast, MIXTURE, REFERENCES)[1:]
    for offset in (0.5, -20.0):
        found: Any = at_network_rate(fast, MIXTURE + offset, REFERENCES + offset)[1:]
        for signals, expected in zip(found, plain, strict=True):
            # The noise has a mean of its own.
            np.testing.assert_allclose(signals, expected + offset, atol=0.01)


def test_predictions_of_integers() -> None:
    mixture, estimates = changed(MIXTURE, "uint8"), changed(ESTIMATES, "int16")
    display = SeparationDisplay.from_predictions(mixture, estimates)
    plain = SeparationDisplay.from_predictions(MIXTURE, ESTIMATES)
    for panel, expected in zip(display.axes_, plain.axes_, strict=True):
        assert np.abs(panel.images[0].get_array() - expected.images[0].get_array()).mean() < 0.5


def test_match_keeps_estimates_that_are_left_over() -> None:
    estimates = np.stack([MIXTURE, *ESTIMATES])
    np.testing.assert_array_equal(match_estimates(REFERENCES, estimates), [2, 1, 0])


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "skdc\[plot\]"'):
        import_pyplot()
