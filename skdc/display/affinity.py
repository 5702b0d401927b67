"""How alike the embeddings of a mixture's bins are, against how alike they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdc.display.inputs import as_axes, choose_bins, embed_and_label, import_pyplot

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = ["AffinityDisplay"]


class AffinityDisplay:
    """The affinity of a mixture's bins beside the ideal one, bins ordered by source.

    Make one with `from_estimator` or `from_predictions`, which draw at once. The affinity of two
    bins is the inner product of their embeddings; the ideal is 1 within a source and 0 between
    sources. Training brings the left picture closer to the right one.

    Parameters
    ----------
    embeddings : array of shape (n_bins, embedding_dim)
        V, of unit norm.
    labels : int array of shape (n_bins,)
        Source of each bin, in rising order.
    label_name : str, default="source"
        What the axes call a label.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : array of 2 matplotlib Axes
        Images of the estimated and the ideal affinity.

    See Also
    --------
    EmbeddingDisplay : Where the bins lie.
    skdc.objectives : What is minimised.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.display import AffinityDisplay
    >>> labels = np.array([0, 1, 1, 0])
    >>> display = AffinityDisplay.from_predictions(np.eye(3)[labels], labels)
    >>> display.estimated
    array([[1., 1., 0., 0.],
           [1., 1., 0., 0.],
           [0., 0., 1., 1.],
           [0., 0., 1., 1.]])
    """

    figure_: Any
    axes_: NDArray[np.object_]

    def __init__(
        self,
        embeddings: NDArray[np.floating],
        labels: NDArray[np.integer],
        *,
        label_name: str = "source",
    ) -> None:
        self.embeddings = embeddings
        self.labels = labels
        self.label_name = label_name

    @property
    def estimated(self) -> NDArray[np.floating]:
        """Estimated affinity V Vᵀ, array of shape (n_bins, n_bins)."""
        return self.embeddings @ self.embeddings.T

    @property
    def ideal(self) -> NDArray[np.floating]:
        """Ideal affinity Y Yᵀ, array of shape (n_bins, n_bins)."""
        return (self.labels[:, np.newaxis] == self.labels).astype(np.float64)

    @classmethod
    def from_estimator(
        cls,
        estimator: DeepClusteringSeparator,
        mixture: ArrayLike,
        references: ArrayLike | None = None,
        *,
        max_bins: int = 500,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
    ) -> Self:
        """Embed a mixture and draw the affinity of its active bins.

        Parameters
        ----------
        estimator : DeepClusteringSeparator
            Fitted.
        mixture : array of shape (n_samples,)
            One mixture, at the estimator's `input_rate` where that is set.
        references : array of shape (n_sources, n_samples), optional
            The true sources: a bin belongs to its dominant one. Without them, it belongs to the
            source that the estimator puts it with.
        max_bins, random_state, ax
            As for `from_predictions`.

        Returns
        -------
        AffinityDisplay

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
        >>> from skdc.display import AffinityDisplay
        >>> y = np.random.default_rng(0).standard_normal((4, 2, 8000))
        >>> separator = DeepClusteringSeparator(
        ...     embedding_dim=5, hidden_size=8, max_epochs=1, random_state=0
        ... )
        >>> separator = separator.fit(y.sum(axis=1), y)
        >>> display = AffinityDisplay.from_estimator(separator, y[0].sum(axis=0), y[0])
        >>> display.estimated.shape
        (500, 500)
        """
        return cls.from_predictions(
            *embed_and_label(estimator, mixture, references),
            label_name="estimate" if references is None else "reference",
            max_bins=max_bins,
            random_state=random_state,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        embeddings: ArrayLike,
        labels: ArrayLike,
        *,
        label_name: str = "source",
        max_bins: int = 500,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
    ) -> Self:
        """Draw the affinity of embeddings that are already there.

        Parameters
        ----------
        embeddings : array of shape (..., embedding_dim)
            Such as `transform` gives, of unit norm.
        labels : int array of shape (...)
            Source of each bin, negative for bins that are left out.
        label_name : str, default="source"
            What the axes call them: ``source 1``, ``source 2``.
        max_bins : int, default=500
            How many bins to draw, at most; more are subsampled.
        random_state : int, RandomState or None, default=0
            Seed of the subsampling.
        ax : matplotlib Axes or sequence of 2, optional
            As for `plot`.

        Returns
        -------
        AffinityDisplay

        Raises
        ------
        ValueError
            If shapes do not fit together.
        ImportError
            If matplotlib is not installed.
        """
        vectors, sources = choose_bins(embeddings, labels, max_bins, random_state)
        order = np.argsort(sources, kind="stable")
        return cls(vectors[order], sources[order], label_name=label_name).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of 2, optional
            Where to draw: one place to share, or two; by default a new figure.

        Returns
        -------
        AffinityDisplay
            This one, with `figure_` and `axes_` set.

        Raises
        ------
        ValueError
            If `ax` are more than two.
        ImportError
            If matplotlib is not installed.
        """
        pyplot = import_pyplot()
        if ax is None:
            _, ax = pyplot.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
        self.axes_ = as_axes(ax, ["estimated affinity", "ideal affinity"])
        self.figure_ = self.axes_[0].figure
        estimated, ideal = self.estimated, self.ideal
        # (bins, bins): whether two different bins are of the same source
        pairs = ~np.eye(len(ideal), dtype=bool)
        means = [
            f"{name} {estimated[there].mean():.2f}"
            for name, there in (
                ("within a source", pairs & (ideal > 0)),
                ("between", pairs & (ideal == 0)),
            )
            if there.any()
        ]
        titles = ["\n".join(("estimated, V Vᵀ", ", ".join(means))), "ideal, Y Yᵀ\n"]
        for panel, affinity, title in zip(self.axes_, (estimated, ideal), titles, strict=True):
            image = panel.imshow(affinity, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
            panel.set_title(title)
            self._mark_sources(panel)
        self.figure_.colorbar(image, ax=list(self.axes_), label="affinity", pad=0.02)
        return self

    def _mark_sources(self, panel: Any) -> None:
        sources, counts = np.unique(self.labels, return_counts=True)
        ends = counts.cumsum()
        for edge in ends[:-1] - 0.5:
            panel.axhline(edge, color="black", linewidth=0.8)
            panel.axvline(edge, color="black", linewidth=0.8)
        centres, names = (
            ends - counts / 2 - 0.5,
            [f"{self.label_name} {source + 1}" for source in sources],
        )
        panel.set_xticks(centres, names)
        panel.set_yticks(centres, names, rotation=90, va="center")
        panel.tick_params(length=0)
