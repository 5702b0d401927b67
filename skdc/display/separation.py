"""Spectrograms of a separation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from skdc.display.inputs import (
    as_waveforms,
    at_network_rate,
    check_length,
    import_pyplot,
    separate_once,
    without_offset,
)
from skdc.metrics import best_permutation, si_sdr
from skdc.signal import stft
from skdc.signal.demands import as_array, check_finite

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = ["SeparationDisplay", "match_estimates"]

FloatArray = NDArray[np.floating]

_WINDOW_S = 0.032
_RANGE_DB = 60.0


def match_estimates(references: ArrayLike, estimates: ArrayLike) -> NDArray[np.intp]:
    """Order estimates like the references they belong to.

    Parameters
    ----------
    references : array of shape (n_sources, n_samples)
    estimates : array of shape (n_estimates, n_samples)
        At least as many as references.

    Returns
    -------
    int array of shape (n_estimates,)
        Indices of estimates: the best match by SI-SDR of each reference in turn, then those that
        are left over. A silent reference, which matches none, takes one that the others leave.

    Raises
    ------
    ValueError
        If there are fewer estimates than references.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.display import match_estimates
    >>> references = np.random.default_rng(0).standard_normal((2, 1000))
    >>> match_estimates(references, references[::-1])
    array([1, 0])
    """
    separated, sources = as_array(estimates, "estimates"), as_array(references, "references")
    scores = np.full((len(sources), len(separated)), np.nan)  # which ranks below any score
    for row, reference in zip(scores, sources, strict=True):
        if np.ptp(reference) > 0:
            row[:] = [float(si_sdr(reference, estimate)) for estimate in separated]
    matched = best_permutation(scores)
    left_over = np.setdiff1d(np.arange(len(separated)), matched)
    return np.concatenate([matched, left_over])


class SeparationDisplay:
    """Spectrograms of a mixture, its estimates and references, and the masks between them.

    Make one with `from_estimator` or `from_predictions`, which draw at once. All spectrograms
    share one colour scale, in dB relative to the loudest bin of the mixture; constant offsets are
    not drawn.

    Parameters
    ----------
    mixture : array of shape (n_samples,)
        What was separated.
    estimates : array of shape (n_estimates, n_samples)
        What came out.
    masks : array of shape (n_estimates, n_frames, n_bins), optional
        Mask of each estimate, 0...1, over all frequencies up to half of `sample_rate`.
    references : array of shape (n_sources, n_samples), optional
        The true sources, in the order of the estimates.
    sample_rate : int, default=8000
        Sample rate of all waveforms, Hz.

    Attributes
    ----------
    figure_ : matplotlib Figure
        That holds the picture.
    axes_ : array of matplotlib Axes
        The mixture's, then for each estimate those of its mask, itself and its reference, as far
        as there are such.

    See Also
    --------
    skdc.metrics.evaluate_separation : The figures to such a picture.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.display import SeparationDisplay
    >>> sources = np.random.default_rng(0).standard_normal((2, 8000))
    >>> display = SeparationDisplay.from_predictions(sources.sum(axis=0), sources)
    >>> len(display.axes_)
    3
    """

    figure_: Any
    axes_: NDArray[np.object_]

    def __init__(
        self,
        mixture: FloatArray,
        estimates: FloatArray,
        *,
        masks: FloatArray | None = None,
        references: FloatArray | None = None,
        sample_rate: int = 8000,
    ) -> None:
        self.mixture = mixture
        self.estimates = estimates
        self.masks = masks
        self.references = references
        self.sample_rate = sample_rate

    @classmethod
    def from_estimator(
        cls,
        estimator: DeepClusteringSeparator,
        mixture: ArrayLike,
        references: ArrayLike | None = None,
        *,
        ax: Any = None,
    ) -> Self:
        """Separate a mixture and draw what came of it.

        Parameters
        ----------
        estimator : DeepClusteringSeparator
            Fitted.
        mixture : array of shape (n_samples,)
            One mixture, at the estimator's `input_rate` where that is set.
        references : array of shape (n_sources, n_samples), optional
            The true sources.
        ax : sequence of matplotlib Axes, optional
            As for `plot`.

        Returns
        -------
        SeparationDisplay
            Everything in it is at the estimator's `sample_rate`.

        Raises
        ------
        ValueError
            If shapes do not fit, or as `predict` does.
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from skdc import DeepClusteringSeparator
        >>> from skdc.display import SeparationDisplay
        >>> y = np.random.default_rng(0).standard_normal((4, 2, 8000))
        >>> separator = DeepClusteringSeparator(
        ...     embedding_dim=5, hidden_size=8, max_epochs=1, random_state=0
        ... )
        >>> separator = separator.fit(y.sum(axis=1), y)
        >>> display = SeparationDisplay.from_estimator(separator, y[0].sum(axis=0), y[0])
        >>> display.masks.shape
        (2, 126, 129)
        """
        separator, signal, sources = at_network_rate(estimator, mixture, references)
        estimates, masks = separate_once(separator, signal)
        return cls.from_predictions(
            signal, estimates, masks, sources, sample_rate=separator.sample_rate, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        mixture: ArrayLike,
        estimates: ArrayLike | Sequence[ArrayLike],
        masks: ArrayLike | None = None,
        references: ArrayLike | None = None,
        *,
        sample_rate: int = 8000,
        ax: Any = None,
    ) -> Self:
        """Draw a separation that is already done.

        Parameters
        ----------
        mixture : array of shape (n_samples,)
            What was separated.
        estimates : array of shape (n_estimates, n_samples)
            What came out.
        masks : array of shape (n_estimates, n_frames, n_bins), optional
            Mask of each estimate, 0...1.
        references : array of shape (n_sources, n_samples), optional
            The true sources. Estimates are put in their order, by `match_estimates`; a silent one
            has no figure.
        sample_rate : int, default=8000
            Sample rate of all waveforms, Hz.
        ax : sequence of matplotlib Axes, optional
            As for `plot`.

        Returns
        -------
        SeparationDisplay

        Raises
        ------
        ValueError
            If shapes do not fit together, or there are fewer estimates than references.
        ImportError
            If matplotlib is not installed.
        """
        signal = as_waveforms(mixture, "mixture", 1)
        separated = as_waveforms(estimates, "estimates", 2)
        check_length(separated, signal, "estimates")
        shares = None if masks is None else as_array(masks, "masks", np.float64)
        if shares is not None and (shares.ndim != 3 or len(shares) != len(separated)):
            raise ValueError(
                f"masks has shape {shares.shape}; expected ({len(separated)}, n_frames, n_bins), "
                "one mask an estimate"
            )
        if shares is not None:
            check_finite(shares, "masks")
        sources = None
        if references is not None:
            sources = as_waveforms(references, "references", 2)
            check_length(sources, signal, "references")
            if len(separated) < len(sources):
                raise ValueError(
                    f"there are {len(separated)} estimates for {len(sources)} references; each "
                    "reference needs an estimate"
                )
            order = match_estimates(sources, separated)
            separated = separated[order]
            shares = None if shares is None else shares[order]
        display = cls(signal, separated, masks=shares, references=sources, sample_rate=sample_rate)
        return display.plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : sequence of matplotlib Axes, optional
            Where to draw, in the order of `axes_`; by default a new figure.

        Returns
        -------
        SeparationDisplay
            This one, with `figure_` and `axes_` set.

        Raises
        ------
        ValueError
            If `ax` has another number of axes than there are panels.
        ImportError
            If matplotlib is not installed.
        """
        pyplot = import_pyplot()
        kinds = [
            kind
            for kind, there in (
                ("mask", self.masks is not None),
                ("estimate", True),
                ("reference", self.references is not None),
            )
            if there
        ]
        panels = [
            (kind, index)
            for index in range(len(self.estimates))
            for kind in kinds
            if kind != "reference" or index < len(self.references)  # type: ignore[arg-type]
        ]
        if ax is None:
            axes = self._new_axes(pyplot, kinds, panels)
        else:
            axes = np.asarray(ax, dtype=object).ravel()
            if len(axes) != len(panels) + 1:
                raise ValueError(
                    f"ax has {len(axes)} axes, but there are {len(panels) + 1} panels: the "
                    f"mixture, and for each estimate its {', '.join(kinds)}"
                )
        self.axes_ = axes
        self.figure_ = axes[0].figure
        self._draw(axes, panels)
        return self

    def _new_axes(
        self, pyplot: Any, kinds: list[str], panels: list[tuple[str, int]]
    ) -> NDArray[np.object_]:
        n_rows = len(self.estimates)
        figure = pyplot.figure(
            figsize=(1.5 + 3.5 * (1 + len(kinds)), 0.8 + 2.3 * n_rows), layout="constrained"
        )
        # Each panel takes two rows of the grid, so that the mixture can stand half-way down.
        grid = figure.add_gridspec(2 * n_rows, 1 + len(kinds))
        first = figure.add_subplot(grid[n_rows - 1 : n_rows + 1, 0])
        axes = [first]
        for kind, index in panels:
            column = 1 + kinds.index(kind)
            cell = grid[2 * index : 2 * index + 2, column]
            ax = figure.add_subplot(cell, sharex=first, sharey=first)
            is_lowest = (kind, index + 1) not in panels
            ax.tick_params(labelleft=column == 1, labelbottom=is_lowest)
            if is_lowest:
                ax.set_xlabel("time (s)")
            axes.append(ax)
        # There is room above and below the mixture: its labels need not push the rows apart.
        for labels in (first.title, first.xaxis):
            labels.set_in_layout(False)
        return np.array(axes, dtype=object)

    def _draw(self, axes: NDArray[np.object_], panels: list[tuple[str, int]]) -> None:
        duration_s, top_khz = len(self.mixture) / self.sample_rate, self.sample_rate / 2000
        extent = (0.0, duration_s, 0.0, top_khz)
        image = {"origin": "lower", "aspect": "auto", "extent": extent}
        level = {"vmin": -_RANGE_DB, "vmax": 0.0, "cmap": "inferno"}
        full_scale = max(float(self._magnitude(self.mixture).max()), np.finfo(float).tiny)

        def draw_signal(ax: Any, signal: FloatArray) -> Any:
            decibels = 20 * np.log10(np.maximum(self._magnitude(signal) / full_scale, 1e-10))
            return ax.imshow(decibels.T, **image, **level)

        scale = draw_signal(axes[0], self.mixture)
        axes[0].set(title="mixture", xlabel="time (s)", ylabel="frequency (kHz)")
        titles = self._estimate_titles()
        for ax, (kind, index) in zip(axes[1:], panels, strict=True):
            ax.set_title(titles[index] if kind == "estimate" else f"{kind} {index + 1}")
            if kind == "mask":
                colours = _mask_colours(index)
                ax.imshow(self.masks[index].T, **image, vmin=0.0, vmax=1.0, cmap=colours)  # type: ignore[index]
            else:
                signals = self.estimates if kind == "estimate" else self.references
                draw_signal(ax, signals[index])  # type: ignore[index]
        self.figure_.colorbar(
            scale, ax=list(axes), label="level (dB)", aspect=30, pad=0.01, fraction=0.05
        )

    def _magnitude(self, waveform: FloatArray) -> FloatArray:
        # Windows of about 32 ms, an even number of samples, a quarter of one from frame to frame.
        win_length = 4 * max(1, round(_WINDOW_S * self.sample_rate / 4))
        samples, _ = without_offset(np.array(waveform, dtype=np.float64))
        spectrogram = stft(
            torch.from_numpy(samples), win_length=win_length, hop_length=win_length // 4
        )
        magnitude: FloatArray = spectrogram.abs().numpy()
        return magnitude

    def _estimate_titles(self) -> list[str]:
        titles = [f"estimate {number}" for number in range(1, len(self.estimates) + 1)]
        if self.references is None:
            return titles
        for index, reference in enumerate(self.references):
            if np.ptp(reference) > 0:  # there is no figure for one that is silent
                score = float(si_sdr(reference, self.estimates[index]))
                gain = score - float(si_sdr(reference, self.mixture))
                titles[index] += f": SI-SDR {score:.1f} dB ({gain:+.1f})"
        return titles


def _mask_colours(index: int) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(f"mask-{index}", ["white", f"C{index}"])
