"""How far to trust a separation: how clearly its masks divide the mixture, in decibels.

Where each embedding lies near one centroid, masks are near 0 and 1, and sources are separated
well. How many decibels that means is learnt from mixtures whose sources are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skdc.network.count import CountHead
from skdc.network.voice import VoiceHead
from skdc.separation.counts import are_several, count_logits, one_voice_odds
from skdc.separation.stretches import Stretch
from skdc.signal import Framing

__all__ = ["QualityModel", "Separability"]

_N_FIGURES = 2
# Mixtures of a number of sources that a line through their figures needs.
_FEWEST = 20
# The smallest spread that is kept is smaller than that of all but this part of the mixtures that a
# model is fitted to; one recording that went wrong does not move it.
_OUTLIERS = 0.005
# Log-odds from which on a count head is believed that hears more people than were looked for.
_SURE_OF_MORE = 2.0


@dataclass
class Separability:
    """How clearly the masks of a recording divide it; grows stretch by stretch.

    Attributes
    ----------
    n_sources : int
        Number of masks; 0 before the first stretch.
    certainty : float
        How far the largest share of a bin is above an equal one, 0...1: mean over the bins that
        count, weighted by their power.
    scatter : float
        Mean squared distance of the embeddings to the centroids of their sources, 0...1.
    spread : float
        Mean squared distance of the embeddings to the mean of all, 0...1.
    notes : list of str
        What to be careful about: which voices of a long recording are alike.
    """

    n_sources: int = 0
    notes: list[str] = field(default_factory=list)
    _power: float = 0.0
    _excess: float = 0.0  # power times how far the largest share is above an equal one
    _magnitude: float = 0.0
    _concentration: float = 0.0  # magnitude times the squared length of the source's centroid
    _centre: Tensor | None = None  # magnitude times the mean of the embeddings
    _n_stretches: int = 0
    _odds: Tensor | None = None  # log-probability of each number of talkers, summed over stretches
    _alike: Tensor | None = None  # log-odds that two sources of the first stretch are one voice

    def watch(
        self,
        stretches: Iterable[Stretch],
        framing: Framing,
        count_head: CountHead | None = None,
        voice_head: VoiceHead | None = None,
    ) -> Iterator[Stretch]:
        """Give stretches on, and count what they hold.

        Parameters
        ----------
        stretches : iterable of Stretch
            In order.
        framing : Framing
            Tells which bins count.
        count_head : CountHead, optional
            What counts the talkers of a stretch.
        voice_head : VoiceHead, optional
            What tells their voices apart, where the count head hears one.

        Yields
        ------
        Stretch
        """
        for stretch in stretches:
            # What lies in the stretch before, too, counts once.
            # Masks of several speeds are surer, binary ones always are, and by how much they are
            # better or worse is not known.
            masks = stretch.masks if stretch.first_masks is None else stretch.first_masks
            masks = masks[:, stretch.overlap :]
            spectrogram = stretch.spectrogram[stretch.overlap :]
            self._add(masks, spectrogram.abs() * framing.activity(spectrogram), stretch.centroids)
            if count_head is not None and bool(stretch.spectrogram.any()):
                logits = count_logits(count_head, stretch.spectrogram, stretch.states)
                odds = logits.log_softmax(0).cpu()
                self._odds = odds if self._odds is None else self._odds + odds
                if voice_head is not None and len(masks) > 1 and self._n_stretches == 1:
                    shares = masks * spectrogram.abs()  # of all of it: no stretch lies before
                    self._alike = one_voice_odds(voice_head, shares, stretch.centroids).cpu()
            yield stretch

    def _add(self, masks: Tensor, magnitude: Tensor, centroids: Tensor) -> None:
        self.n_sources = len(masks)
        self._n_stretches += 1
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

    def is_one_talker(self, spread_of_one: float) -> bool:
        """Whether one person alone seems to speak, as ``n_sources="auto"`` tells it.

        Parameters
        ----------
        spread_of_one : float
            How far the embeddings of a single talker spread, at most. This decides where there is
            no count head, and in recordings of several stretches, in each of which a count head
            hears one talker, tells whether it is always the same one.

        Returns
        -------
        bool
        """
        if self.is_empty or (self._odds is not None and int(self._odds.argmax()) > 0):
            return False
        if self._odds is not None and self._n_stretches == 1:
            return self._alike is None or not are_several(self._odds, self._alike)
        return self.spread < spread_of_one

    def count_probability(self) -> float | None:
        """Give the probability, by the count head, that there are as many talkers as masks.

        Returns
        -------
        float or None
            0...1. None without a count head, of silence, and of several stretches, whose voices
            are counted.
        """
        if self._odds is None or self._n_stretches > 1:
            return None
        if not 0 < self.n_sources <= len(self._odds):
            return None
        return float(self._odds.softmax(0)[self.n_sources - 1])

    def more_talkers(self) -> int | None:
        """Count the people who speak, where these are more than were looked for.

        Returns
        -------
        int or None
            None where the count head does not clearly hear more, and without one.
        """
        if self._odds is None or not 0 < self.n_sources < len(self._odds):
            return None
        expected, more = self._odds[: self.n_sources], self._odds[self.n_sources :]
        if float(more.logsumexp(0) - expected.logsumexp(0)) < _SURE_OF_MORE:
            return None
        return self.n_sources + 1 + int(more.argmax())


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
        Spread of the embeddings of mixtures of two or more, at least; a recording of less has one
        talker.

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
