"""How far to trust a separation: how clearly its masks divide the mixture, in decibels.

Where each embedding lies near one centroid, masks are near 0 and 1, and sources are separated
well. How many decibels that means is learnt from mixtures whose sources are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skdc.separation.windows import Window
from skdc.signal import Framing

__all__ = ["QualityModel", "Separability"]

_N_FIGURES = 2
# Mixtures of a number of sources that a line through their figures needs.
_FEWEST = 20
# Of the mixtures that a model is fitted to, the spread of all but this part is larger than the
# smallest that is kept; one recording that went wrong does not move it.
_OUTLIERS = 0.005


@dataclass
class Separability:
    """How clearly the masks of a recording divide it; grows window by window.

    Attributes
    ----------
    n_sources : int
        Of the masks; 0 before the first window.
    certainty : float
        How far the largest share of a bin is above an equal one, 0...1: mean over the bins that
        count, weighted by their power.
    scatter : float
        Mean squared distance of the embeddings to the centroids of their sources, 0...1.
    spread : float
        Mean squared distance of the embeddings to the mean of all, 0...1.
    """

    n_sources: int = 0
    _power: float = 0.0
    _excess: float = 0.0  # power times how far the largest share is above an equal one
    _magnitude: float = 0.0
    _concentration: float = 0.0  # magnitude times the squared length of the source's centroid
    _centre: Tensor | None = None  # magnitude times the mean of the embeddings

    def watch(self, windows: Iterable[Window], framing: Framing) -> Iterator[Window]:
        """Give windows on, and count what they hold.

        Parameters
        ----------
        windows : iterable of Window
            In order, linked.
        framing : Framing
            Tells which bins count.

        Yields
        ------
        Window
        """
        for window in windows:
            # What lies in the window before, too, counts once.
            masks = window.masks[:, window.overlap :]
            spectrogram = window.spectrogram[window.overlap :]
            self._add(masks, spectrogram.abs() * framing.activity(spectrogram), window.centroids)
            yield window

    def _add(self, masks: Tensor, magnitude: Tensor, centroids: Tensor) -> None:
        self.n_sources = len(masks)
        # Embeddings are unit vectors, so that a centroid, their mean, is the shorter the more they
        # differ: 1 - |c|^2 is their mean squared distance to it.
        shares = (masks * magnitude).sum((1, 2))  # (n_sources,)
        centroids = centroids.float()
        power = magnitude.square()
        excess = (masks.amax(0) - 1 / self.n_sources) * power
        concentration = shares @ centroids.square().sum(1)
        found = torch.stack([power.sum(), excess.sum(), shares.sum(), concentration]).tolist()
        self._power += found[0]
        self._excess += found[1]
        self._magnitude += found[2]
        self._concentration += found[3]
        centre = (shares @ centroids).cpu()
        self._centre = centre if self._centre is None else self._centre + centre

    @property
    def is_empty(self) -> bool:
        """Whether nothing was heard, or there is one source, which is the recording."""
        return self.n_sources < 2 or not self._power

    @property
    def certainty(self) -> float:  # noqa: D102
        return 0.0 if self.is_empty else self._excess / self._power / (1 - 1 / self.n_sources)

    @property
    def scatter(self) -> float:  # noqa: D102
        return 0.0 if self.is_empty else 1 - self._concentration / self._magnitude

    @property
    def spread(self) -> float:  # noqa: D102
        if self.is_empty or self._centre is None:
            return 0.0
        return 1 - float(self._centre.square().sum()) / self._magnitude**2


@dataclass(frozen=True)
class QualityModel:
    """SI-SDR improvement by the figures of `Separability`: one line for each number of sources.

    Parameters
    ----------
    coefficients : mapping of int to sequence of float
        By number of sources: constant, and what certainty and scatter count, dB.
    errors_db : mapping of int to float
        By number of sources: root mean square error over what it was fitted to, dB.
    smallest_spread : float
        Of mixtures of two or more; a recording whose embeddings spread less has one talker.

    Examples
    --------
    >>> from skdc.separation.quality import QualityModel
    >>> model = QualityModel({2: (0.0, 10.0, 0.0)}, {2: 2.0}, 0.5)
    >>> QualityModel.from_dict(model.as_dict()) == model
    True
    """

    coefficients: Mapping[int, Sequence[float]]
    errors_db: Mapping[int, float]
    smallest_spread: float

    def __post_init__(self) -> None:
        rows = [row for row in self.coefficients.values() if len(row) != 1 + _N_FIGURES]
        numbers = [*self.errors_db.values(), self.smallest_spread]
        numbers += [number for row in self.coefficients.values() for number in row]
        if rows or not self.coefficients or self.coefficients.keys() != self.errors_db.keys():
            raise ValueError(
                f"coefficients are {self.coefficients}, errors {self.errors_db}; expected "
                f"{1 + _N_FIGURES} coefficients and an error for each number of sources"
            )
        if not all(isinstance(number, float) and math.isfinite(number) for number in numbers):
            raise ValueError(f"{self} holds what is no finite float")

    @classmethod
    def fit(cls, found: Sequence[Separability], gains_db: ArrayLike) -> Self:
        """Fit to recordings whose sources are known, by least squares.

        Parameters
        ----------
        found : sequence of Separability
            One a recording.
        gains_db : array-like of shape (n_recordings,)
            SI-SDR improvement of each, mean over its sources, dB.

        Returns
        -------
        QualityModel

        Raises
        ------
        ValueError
            If there are fewer than 20 recordings of each number of sources.
        """
        gains = np.asarray(gains_db, dtype=np.float64)
        counts = np.array([item.n_sources for item in found])
        coefficients, errors = {}, {}
        for count in sorted({*counts.tolist()}):
            chosen = [item for item in found if item.n_sources == count]
            if count < 2 or len(chosen) < _FEWEST:
                continue
            figures = np.stack([_figures(item) for item in chosen])
            row = np.linalg.lstsq(figures, gains[counts == count], rcond=None)[0]
            coefficients[count] = tuple(row.tolist())
            error = figures @ row - gains[counts == count]
            errors[count] = float(np.sqrt(np.mean(error**2)))
        if not coefficients:
            raise ValueError(
                f"got {len(found)} mixtures; give at least {_FEWEST} of a number of sources"
            )
        spreads = [item.spread for item in found if item.n_sources >= 2]
        return cls(coefficients, errors, float(np.quantile(spreads, _OUTLIERS)))

    def predict(self, item: Separability) -> tuple[float, float] | None:
        """Estimate how well a recording was separated.

        Parameters
        ----------
        item : Separability

        Returns
        -------
        tuple of two float, or None
            SI-SDR improvement, mean over the sources, and its standard error, dB. None of silence,
            and of one source. For a number of sources that the model was not fitted to, the line
            of the nearest one is taken.
        """
        if item.is_empty:
            return None
        count = min(self.coefficients, key=lambda n: (abs(n - item.n_sources), n))
        gain = float(_figures(item) @ np.asarray(self.coefficients[count]))
        return gain, self.errors_db[count]

    def is_one_talker(self, item: Separability) -> bool:
        """Whether one person alone seems to speak in a recording that was separated."""
        return not item.is_empty and item.spread < self.smallest_spread

    def as_dict(self) -> dict[str, Any]:
        """Give what `from_dict` takes; JSON holds it."""
        return {
            "coefficients": {str(n): list(row) for n, row in self.coefficients.items()},
            "errors_db": {str(n): error for n, error in self.errors_db.items()},
            "smallest_spread": self.smallest_spread,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Make a model of what `as_dict` gave."""
        return cls(
            {int(n): tuple(row) for n, row in stored["coefficients"].items()},
            {int(n): error for n, error in stored["errors_db"].items()},
            stored["smallest_spread"],
        )


def _figures(item: Separability) -> Any:
    return np.array([1.0, item.certainty, item.scatter])
