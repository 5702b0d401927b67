"""Several objectives at once."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, Self, cast

from torch import Tensor

from skdc.objectives.interface import NEEDS, Objective, Outputs, Targets
from skdc.objectives.unit_vectors import EmbeddingObjective, on_unit_vectors

__all__ = ["WeightedSum", "check_objective"]


class WeightedSum(Objective):
    """Weighted sum of objectives, itself an objective.

    Those that depend on unit vectors alone share them, so that a sum takes less time than its
    parts.

    Parameters
    ----------
    objectives : sequence of Objective
        At least one. The parameters of each can be reached by the name of its class in snake
        case, with ``-1``, ``-2``... appended if there are several of that class:
        ``attractor_masks__sharpness``.
    weights : sequence of float or None, default=None
        One for each objective, at least 0. None: all 1.

    Attributes
    ----------
    needs : frozenset of str
        What any of the objectives needs.

    Examples
    --------
    >>> from skdc.objectives import AttractorMasks, WeightedSum, WhitenedKMeans
    >>> both = WeightedSum([WhitenedKMeans(), AttractorMasks()], weights=[1.0, 0.5])
    >>> sorted(both.needs)
    ['embeddings', 'spectrograms']
    >>> both.set_params(attractor_masks__sharpness=5.0).objectives[1]
    AttractorMasks(sharpness=5.0)
    """

    def __init__(
        self, objectives: Sequence[Objective], weights: Sequence[float] | None = None
    ) -> None:
        self.objectives = objectives
        self.weights = weights

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What any of the objectives needs."""
        return frozenset().union(*(objective.needs for objective in self.objectives))

    def terms(self) -> list[tuple[float, Objective]]:
        """Give the weights and objectives in pairs.

        Returns
        -------
        list of tuple of float and Objective

        Raises
        ------
        ValueError
            If there is no objective, not one weight for each, or a weight is negative or not
            finite.
        TypeError
            If an objective is none, see `check_objective`.
        """
        if not self.objectives:
            raise ValueError("a WeightedSum has no objectives, at least one is needed")
        weights = [1.0] * len(self.objectives) if self.weights is None else self.weights
        if len(weights) != len(self.objectives):
            raise ValueError(
                f"a WeightedSum has {len(self.objectives)} objectives and {len(weights)} weights; "
                "give one weight for each"
            )
        for index, (weight, objective) in enumerate(zip(weights, self.objectives, strict=True)):
            check_objective(objective, f"objectives[{index}]")
            if not 0 <= weight < math.inf:
                raise ValueError(
                    f"weights[{index}] is {weight}, expected a finite number of at least 0"
                )
        return list(zip(map(float, weights), self.objectives, strict=True))

    def __call__(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Give one loss a mixture, the weighted sum of all losses.

        Parameters
        ----------
        outputs : Outputs
        targets : Targets

        Returns
        -------
        float Tensor of shape (...)

        Raises
        ------
        ValueError, TypeError
            As `terms` and the objectives do.
        """
        losses, sharing = [], []
        for weight, objective in self.terms():
            if isinstance(objective, EmbeddingObjective):
                objective.check(outputs, targets)
                sharing.append((weight, objective.of_unit_vectors))
            else:
                losses.append(weight * objective(outputs, targets))

        def shared(vectors: Tensor, targets: Targets) -> Tensor:
            return _sum([weight * losses(vectors, targets) for weight, losses in sharing])

        if sharing:
            embeddings = cast(Tensor, outputs.embeddings)
            losses.append(on_unit_vectors(shared, embeddings, targets))
        return _sum(losses)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to add those of the objectives.

        Returns
        -------
        dict
        """
        params = super().get_params(deep=False)
        if deep:
            for name, objective in self._by_name().items():
                if hasattr(objective, "get_params"):
                    own = objective.get_params(deep=True)
                    params |= {f"{name}__{key}": value for key, value in own.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of the objectives too.

        Parameters
        ----------
        **params
            As in `get_params`.

        Returns
        -------
        WeightedSum
            This one.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        nested = {key: value for key, value in params.items() if "__" in key}
        super().set_params(**{key: params[key] for key in params.keys() - nested.keys()})
        by_name = self._by_name()
        for key, value in nested.items():
            name, _, parameter = key.partition("__")
            if name not in by_name:
                raise ValueError(
                    f"there is no objective {name!r} in this sum; there are "
                    f"{', '.join(map(repr, by_name))}"
                )
            by_name[name].set_params(**{parameter: value})
        return self

    def _by_name(self) -> dict[str, Objective]:
        names = [
            re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(objective).__name__).lower()
            for objective in self.objectives
        ]
        count, seen = Counter(names), Counter[str]()
        by_name = {}
        for name, objective in zip(names, self.objectives, strict=True):
            seen[name] += 1
            by_name[name if count[name] == 1 else f"{name}-{seen[name]}"] = objective
        return by_name


def _sum(losses: list[Tensor]) -> Tensor:
    return reduce(add, losses)


def check_objective(objective: object, name: str = "objective") -> None:
    """Refuse what can not serve as an objective.

    Parameters
    ----------
    objective : object
    name : str, default="objective"
        How the message calls it.

    Raises
    ------
    TypeError
        If it is a class, is not callable, or has no `needs`.
    ValueError
        If it needs something that there is not.

    Examples
    --------
    >>> from skdc.objectives import Affinity, check_objective
    >>> check_objective(Affinity)
    Traceback (most recent call last):
    ...
    TypeError: objective is the class Affinity, expected an instance: Affinity(...)
    """
    if isinstance(objective, type):
        raise TypeError(
            f"{name} is the class {objective.__name__}, expected an instance: "
            f"{objective.__name__}(...)"
        )
    needs = getattr(objective, "needs", None)
    if not callable(objective) or not isinstance(needs, (set, frozenset)):
        raise TypeError(
            f"{name} is {objective!r}, expected a callable (outputs, targets) with an attribute "
            "`needs`, a set of names"
        )
    if not needs <= NEEDS:
        raise ValueError(
            f"{name} needs {', '.join(sorted(needs - NEEDS))}; there are "
            f"{', '.join(sorted(NEEDS))}"
        )
