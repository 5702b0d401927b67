"""How a training run went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skdc.display.inputs import as_axes, import_pyplot

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = ["TrainingDisplay"]

_LABELS = {"epoch": "epoch", "hours": "hours of mixtures seen", "seconds": "seconds of training"}
_LOSS = "loss"
_SCORE = "validation SI-SDR improvement (dB)"


class TrainingDisplay:
    """Loss and validation score of a training run.

    Make one with `from_estimator` or `from_history`, which draw at once.

    Parameters
    ----------
    history : sequence of dict, or data frame
        Rows such as those of ``history_``: one an epoch, with its ``loss``, and where there were
        mixtures to validate with ``validation_loss`` and ``validation_si_sdr_improvement``.
    against : {"epoch", "hours", "seconds"}, default="epoch"
        What the curves run over.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : array of matplotlib Axes
        Axes of the loss, and of the score where there is one.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores by the amount of data.

    Examples
    --------
    >>> from skdc.display import TrainingDisplay
    >>> history = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}]
    >>> display = TrainingDisplay.from_history(history)
    >>> len(display.axes_)
    1
    """

    figure_: Any
    axes_: NDArray[np.object_]

    def __init__(self, history: Sequence[Mapping[str, float]], *, against: str = "epoch") -> None:
        self.history = history
        self.against = against

    @classmethod
    def from_estimator(
        cls, estimator: DeepClusteringSeparator, *, against: str = "epoch", ax: Any = None
    ) -> Self:
        """Draw how an estimator was trained.

        Parameters
        ----------
        estimator : DeepClusteringSeparator
            Fitted.
        against, ax
            As for `from_history`.

        Returns
        -------
        TrainingDisplay

        Raises
        ------
        NotFittedError
            Before `fit`.
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from skdc import DeepClusteringSeparator
        >>> from skdc.display import TrainingDisplay
        >>> y = np.random.default_rng(0).standard_normal((4, 2, 8000))
        >>> separator = DeepClusteringSeparator(
        ...     embedding_dim=5, hidden_size=8, max_epochs=2, random_state=0
        ... )
        >>> separator = separator.fit(y.sum(axis=1), y)
        >>> display = TrainingDisplay.from_estimator(separator, against="hours")
        >>> display.axes_[0].get_xlabel()
        'hours of mixtures seen'
        """
        check_is_fitted(estimator)
        return cls.from_history(estimator.history_, against=against, ax=ax)

    @classmethod
    def from_history(
        cls,
        history: Sequence[Mapping[str, float]],
        *,
        against: str = "epoch",
        ax: Any = None,
    ) -> Self:
        """Draw a history.

        Parameters
        ----------
        history : sequence of dict, or data frame
            As for the class.
        against : {"epoch", "hours", "seconds"}, default="epoch"
            What the curves run over.
        ax : matplotlib Axes or sequence of them, optional
            As for `plot`.

        Returns
        -------
        TrainingDisplay

        Raises
        ------
        ValueError
            If the history is empty or does not have `against`.
        TypeError
            If it is neither dicts, one an epoch, nor a data frame.
        ImportError
            If matplotlib is not installed.
        """
        if against not in _LABELS:
            raise ValueError(
                f"against is {against!r}; give one of {', '.join(map(repr, _LABELS))}"
            )
        rows = _rows(history)
        if not len(rows):
            raise ValueError("history is empty: no epoch was trained")
        if against not in rows[0]:
            raise ValueError(
                f"history has no {against!r}; it has {', '.join(map(str, rows[0])) or 'nothing'}"
            )
        return cls(rows, against=against).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, optional
            Where to draw: one place, which the loss and the score share where there is a score, or
            axes for each; by default a new figure.

        Returns
        -------
        TrainingDisplay
            This one, with `figure_` and `axes_` set.

        Raises
        ------
        ValueError
            If `ax` has another number of axes than there are panels.
        ImportError
            If matplotlib is not installed.
        """
        pyplot = import_pyplot()
        score = self._curve("validation_si_sdr_improvement")
        panels = [_LOSS, _SCORE] if np.isfinite(score).any() else [_LOSS]
        if ax is None:
            size = (5.0 * len(panels), 3.6)
            _, ax = pyplot.subplots(1, len(panels), figsize=size, layout="constrained")
        self.axes_ = as_axes(ax, panels)
        self.figure_ = self.axes_[0].figure
        for panel, name in zip(self.axes_, panels, strict=True):
            panel.set(xlabel=_LABELS[self.against], ylabel=name)
            panel.grid(alpha=0.3)
            if self.against == "epoch":
                panel.xaxis.set_major_locator(pyplot.MaxNLocator(integer=True))
        self._draw(self.axes_[0], self._curve("loss"), "training", "C0")
        held_out = self._curve("validation_loss")
        if np.isfinite(held_out).any():
            self._draw(self.axes_[0], held_out, "validation", "C1")
            self.axes_[0].legend()
        if len(panels) > 1:
            self._draw(self.axes_[1], score, "", "C1")
            best = int(np.nanargmax(score))
            self.axes_[1].plot(
                self._curve(self.against)[best],
                score[best],
                "*",
                color="C1",
                markersize=13,
                markeredgecolor="black",
                label=f"best: {score[best]:.1f} dB",
            )
            self.axes_[1].legend(loc="lower right")
        return self

    def _curve(self, name: str) -> NDArray[np.float64]:
        return np.array([row.get(name, np.nan) for row in self.history], dtype=np.float64)

    def _draw(self, panel: Any, values: NDArray[np.float64], label: str, colour: str) -> None:
        # Few epochs are points; many are a curve.
        marker = "o" if len(values) <= 30 else None
        panel.plot(
            self._curve(self.against),
            values,
            marker=marker,
            markersize=4,
            color=colour,
            label=label or None,
        )


def _rows(history: Any) -> Sequence[Mapping[str, float]]:
    """Give the rows of a history or a data frame; a TypeError says what it should be."""
    if hasattr(history, "columns") and hasattr(history, "__array__"):
        names, cells = list(history.columns), np.asarray(history)
        return [dict(zip(names, row, strict=True)) for row in cells]
    is_sequence = isinstance(history, Sequence) and not isinstance(history, str | bytes)
    if not is_sequence or not all(isinstance(row, Mapping) for row in history):
        what = type(history).__name__
        if is_sequence:
            what += f" of {next(type(r).__name__ for r in history if not isinstance(r, Mapping))}"
        raise TypeError(
            f"history is a {what}; give dicts, one an epoch, such as the history_ of a fitted "
            "separator, or a data frame of them"
        )
    return history
