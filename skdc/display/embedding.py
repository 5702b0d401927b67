"""Where the bins of a mixture lie in the space of embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA

from skdc.display.inputs import choose_bins, embed_and_label, import_pyplot

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = ["EmbeddingDisplay"]

_AXES = ("x", "y", "z")


class EmbeddingDisplay:
    """Embeddings of a mixture's bins in two or three dimensions, coloured by source.

    Make one with `from_estimator` or `from_predictions`, which draw at once. The better the
    colours lie apart, the better the sources can be.

    Parameters
    ----------
    projected : array of shape (n_bins, n_components)
        Embeddings in 2 or 3 dimensions.
    labels : int array of shape (n_bins,)
        Source of each bin.
    axis_names : list of str, optional
        Names of the dimensions.
    label_name : str, default="source"
        What the legend calls a label.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
        Three-dimensional where `projected` is.

    See Also
    --------
    AffinityDisplay : Embeddings against labels without a projection.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.display import EmbeddingDisplay
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(100) % 2
    >>> embeddings = np.eye(5)[labels] + 0.1 * rng.standard_normal((100, 5))
    >>> display = EmbeddingDisplay.from_predictions(embeddings, labels)
    >>> display.projected.shape
    (100, 2)
    """

    figure_: Any
    ax_: Any

    def __init__(
        self,
        projected: NDArray[np.floating],
        labels: NDArray[np.integer],
        *,
        axis_names: list[str] | None = None,
        label_name: str = "source",
    ) -> None:
        self.projected = projected
        self.labels = labels
        self.axis_names = axis_names
        self.label_name = label_name

    @classmethod
    def from_estimator(
        cls,
        estimator: DeepClusteringSeparator,
        mixture: ArrayLike,
        references: ArrayLike | None = None,
        *,
        projection: Any = None,
        n_components: int = 2,
        max_bins: int = 2000,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
    ) -> Self:
        """Embed a mixture and draw its active bins.

        Parameters
        ----------
        estimator : DeepClusteringSeparator
            Fitted.
        mixture : array of shape (n_samples,)
            One mixture, at the estimator's `input_rate` where that is set.
        references : array of shape (n_sources, n_samples), optional
            The true sources: bins are coloured by their dominant one. Without them, bins are
            coloured by the source that the estimator puts them with.
        projection, n_components, max_bins, random_state, ax
            As for `from_predictions`.

        Returns
        -------
        EmbeddingDisplay

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
        >>> from skdc.display import EmbeddingDisplay
        >>> y = np.random.default_rng(0).standard_normal((4, 2, 8000))
        >>> separator = DeepClusteringSeparator(
        ...     embedding_dim=5, hidden_size=8, max_epochs=1, random_state=0
        ... )
        >>> separator = separator.fit(y.sum(axis=1), y)
        >>> display = EmbeddingDisplay.from_estimator(separator, y[0].sum(axis=0), max_bins=500)
        >>> display.projected.shape
        (500, 2)
        """
        return cls.from_predictions(
            *embed_and_label(estimator, mixture, references),
            label_name="estimate" if references is None else "reference",
            projection=projection,
            n_components=n_components,
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
        projection: Any = None,
        n_components: int = 2,
        max_bins: int = 2000,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
    ) -> Self:
        """Draw embeddings that are already there.

        Parameters
        ----------
        embeddings : array of shape (..., embedding_dim)
            Such as `transform` gives.
        labels : int array of shape (...)
            Source of each bin, negative for bins that are left out.
        label_name : str, default="source"
            What the legend calls them: ``source 1``, ``source 2``.
        projection : scikit-learn transformer, optional
            What brings the chosen embeddings to 2 or 3 dimensions, with a ``fit_transform``; it is
            cloned. By default `sklearn.decomposition.PCA`.
        n_components : {2, 3}, default=2
            Dimensions, where `projection` is not given.
        max_bins : int, default=2000
            How many bins to draw, at most; more are subsampled.
        random_state : int, RandomState or None, default=0
            Seed of the subsampling and of the default projection.
        ax : matplotlib Axes, optional
            As for `plot`.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ValueError
            If shapes do not fit together, or the projection gives no 2 or 3 dimensions.
        ImportError
            If matplotlib is not installed.
        """
        vectors, sources = choose_bins(embeddings, labels, max_bins, random_state)
        if projection is None:
            if n_components not in (2, 3):
                raise ValueError(f"n_components is {n_components!r}; give 2 or 3")
            if vectors.shape[1] < n_components:
                raise ValueError(
                    f"embeddings of {vectors.shape[1]} dimensions cannot be drawn in "
                    f"{n_components}"
                )
            projection = PCA(n_components, random_state=random_state)
        projection = clone(projection)
        projected = np.asarray(projection.fit_transform(vectors))
        if projected.ndim != 2 or projected.shape[1] not in (2, 3):
            raise ValueError(
                f"{type(projection).__name__} gave shape {projected.shape}; set its "
                "n_components to 2 or 3"
            )
        names = [f"{type(projection).__name__} {i}" for i in range(1, projected.shape[1] + 1)]
        shares = getattr(projection, "explained_variance_ratio_", None)
        if shares is not None:
            names = [f"{n} ({share:.0%})" for n, share in zip(names, shares, strict=True)]
        return cls(projected, sources, axis_names=names, label_name=label_name).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw, with ``projection="3d"`` for three dimensions; by default a new figure.

        Returns
        -------
        EmbeddingDisplay
            This one, with `figure_` and `ax_` set.

        Raises
        ------
        ValueError
            If `ax` has not the right number of dimensions.
        ImportError
            If matplotlib is not installed.
        """
        pyplot = import_pyplot()
        n_dims = self.projected.shape[1]
        if ax is None:
            how = {"projection": "3d"} if n_dims == 3 else None
            _, ax = pyplot.subplots(figsize=(5.5, 5), layout="constrained", subplot_kw=how)
        elif hasattr(ax, "zaxis") != (n_dims == 3):
            raise ValueError(
                f"the embeddings have {n_dims} dimensions: give ax of a subplot "
                f"{'with' if n_dims == 3 else 'without'} projection='3d'"
            )
        self.figure_, self.ax_ = ax.figure, ax
        # Drawn in one call in the order of the bins, so that no source covers all others.
        colours = np.array([f"C{label % 10}" for label in self.labels])
        ax.scatter(*self.projected.T, c=colours, s=9, alpha=0.5, linewidths=0)
        for label in np.unique(self.labels):
            centre = self.projected[self.labels == label].mean(axis=0)
            ax.scatter(
                *centre[:, np.newaxis],
                color=f"C{label % 10}",
                s=90,
                edgecolors="black",
                label=f"{self.label_name} {label + 1}",
                zorder=3,
            )
        names = self.axis_names or [f"dimension {i}" for i in range(1, n_dims + 1)]
        for axis, name in zip(_AXES, names, strict=False):
            getattr(ax, f"set_{axis}label")(name, labelpad=8 if n_dims == 3 else None)
        ax.set_title(f"embeddings of {len(self.labels)} bins")
        if n_dims == 2:
            ax.set_aspect("equal")
        else:
            # As "equal" does, but with room for the labels, which no layout leaves.
            limits = ax.get_xlim(), ax.get_ylim(), ax.get_zlim()
            ax.set_box_aspect([np.ptp(limit) for limit in limits], zoom=0.85)
            # More numbers would run into each other, and into the names of their axes.
            ax.locator_params(nbins=4)
        ax.legend(loc="best")
        return self
