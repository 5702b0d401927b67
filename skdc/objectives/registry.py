"""Objectives by name, and sums of them as text."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import numpy as np

from skdc.objectives.affinity import Affinity, BalancedAffinity, SimplexAffinity
from skdc.objectives.attractors import AttractorMasks
from skdc.objectives.interface import Objective
from skdc.objectives.mask_inference import MaskInference
from skdc.objectives.sums import WeightedSum, check_objective
from skdc.objectives.whitened import DeepLDA, WhitenedKMeans

__all__ = ["OBJECTIVES", "describe_objective", "objective_spec", "resolve_objective"]

_LONGEST_TEXT = 1000

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "affinity": Affinity,
    "balanced_affinity": BalancedAffinity,
    "simplex_affinity": SimplexAffinity,
    "whitened_kmeans": WhitenedKMeans,
    "deep_lda": DeepLDA,
    "attractor_masks": AttractorMasks,
    "mask_inference": MaskInference,
}
"""The objectives by the names that ``DeepClusteringSeparator(objective=...)`` takes.

A name added here can be used like the others, also in sums.
"""


def resolve_objective(objective: str | Objective) -> Objective:
    """Give the objective that a name or a text stands for.

    Parameters
    ----------
    objective : str or Objective
        A key of `OBJECTIVES`, with parameters in brackets where they are not the default, or a sum
        of such terms, each with a factor or without: ``"whitened_kmeans"``,
        ``"attractor_masks(sharpness=5.0)"``, ``"0.75 * mask_inference + 0.25 * whitened_kmeans"``.
        An object is given back as it is.

    Returns
    -------
    Objective

    Raises
    ------
    ValueError
        If a name or parameter is unknown, or the text is none of the above.
    TypeError
        If an object can not serve as an objective.

    Examples
    --------
    >>> from skdc.objectives import resolve_objective
    >>> resolve_objective("deep_lda")
    DeepLDA()
    >>> resolve_objective("whitened_kmeans + 0.5 * attractor_masks(sharpness=5.0)").terms()
    [(1.0, WhitenedKMeans()), (0.5, AttractorMasks(sharpness=5.0))]
    """
    if not isinstance(objective, str):
        check_objective(objective)
        return objective
    try:
        if len(objective) > _LONGEST_TEXT:
            raise ValueError
        tree = ast.parse(objective.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _not_understood(objective[:_LONGEST_TEXT]) from None
    terms = _terms(tree, objective)
    if len(terms) == 1 and terms[0][0] == 1:
        return terms[0][1]
    weights, objectives = zip(*terms, strict=True)
    return WeightedSum(list(objectives), list(weights))


def objective_spec(objective: str | Objective) -> str | None:
    """Give the text that `resolve_objective` reads back as the same objective.

    Parameters
    ----------
    objective : str or Objective

    Returns
    -------
    str or None
        None where there is no such text: for objects whose class is not in `OBJECTIVES`, and
        parameters that can not be written down.

    Raises
    ------
    ValueError, TypeError
        As `resolve_objective` does.

    Examples
    --------
    >>> from skdc.objectives import AttractorMasks, WeightedSum, WhitenedKMeans, objective_spec
    >>> objective_spec(AttractorMasks())
    'attractor_masks'
    >>> both = WeightedSum([WhitenedKMeans(), AttractorMasks(sharpness=5.0)], [1.0, 0.5])
    >>> objective_spec(both)
    'whitened_kmeans + 0.5 * attractor_masks(sharpness=5.0)'
    """
    objective = resolve_objective(objective)
    if type(objective) is not WeightedSum:
        return _term_spec(objective)
    specs = []
    for weight, term in objective.terms():
        spec = objective_spec(term)
        if spec is None:
            return None
        if type(term) is WeightedSum:
            spec = f"({spec})"
        specs.append(spec if weight == 1 else f"{float(weight)!r} * {spec}")
    return " + ".join(specs)


def describe_objective(objective: Objective) -> str:
    """Describe an objective, so that two of other parameters have other texts.

    Parameters
    ----------
    objective : Objective
        Also one of the caller's own; of parameters that are no numbers, texts or lists of them,
        the class alone is told.

    Returns
    -------
    str
        That of `objective_spec` where there is one.

    Examples
    --------
    >>> from skdc.objectives import Affinity, Objective, WeightedSum, describe_objective
    >>> class Mine(Objective):
    ...     needs = frozenset({"embeddings"})
    ...
    ...     def __init__(self, scale=1.0):
    ...         self.scale = scale
    ...
    ...     def __call__(self, outputs, targets):
    ...         return self.scale * outputs.embeddings.mean()
    >>> describe_objective(WeightedSum([Mine(2.0), Affinity()], [1.0, 0.5]))
    '1.0 * Mine(scale=2.0) + 0.5 * affinity'
    """
    if (spec := objective_spec(objective)) is not None:
        return spec
    if type(objective) is WeightedSum:
        return " + ".join(f"{w!r} * {describe_objective(term)}" for w, term in objective.terms())
    params = objective.get_params(deep=False) if hasattr(objective, "get_params") else {}
    told = [
        f"{key}={value!r}" if _is_readable(value) else f"{key}={type(value).__qualname__}"
        for key, value in params.items()
    ]
    name = getattr(objective, "__qualname__", type(objective).__qualname__)
    return name + (f"({', '.join(told)})" if told else "")


def _is_readable(value: Any) -> bool:
    """Whether the text of a value says all of it."""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (SyntaxError, ValueError):
        return False


def _terms(node: ast.expr, text: str) -> list[tuple[float, Objective]]:
    """Read a sum as weights and objectives."""
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _terms(left, text) + _terms(right, text)
        case ast.BinOp(ast.Constant(int() | float() as factor), ast.Mult(), term) | ast.BinOp(
            term, ast.Mult(), ast.Constant(int() | float() as factor)
        ) if not isinstance(factor, bool):
            return [(float(factor) * weight, part) for weight, part in _terms(term, text)]
        case ast.Name(name):
            return [(1.0, _make(name, {}))]
        case ast.Call(ast.Name(name), [], keywords) if all(word.arg for word in keywords):
            try:
                params = {str(word.arg): ast.literal_eval(word.value) for word in keywords}
            except ValueError:
                raise _not_understood(text) from None
            return [(1.0, _make(name, params))]
    raise _not_understood(text)


def _make(name: str, params: dict[str, Any]) -> Objective:
    if name not in OBJECTIVES:
        raise ValueError(f"objective {name!r} is unknown; there are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]().set_params(**params)


def _not_understood(text: str) -> ValueError:
    return ValueError(
        f"objective {text!r} is not understood; expected a name, or a sum of names with factors "
        f"such as '0.75 * mask_inference + 0.25 * whitened_kmeans'; names are "
        f"{', '.join(OBJECTIVES)}"
    )


def _term_spec(objective: Objective) -> str | None:
    names = [name for name, made in OBJECTIVES.items() if made is type(objective)]
    if not names:
        return None
    defaults = type(objective)().get_params()
    changed = []
    for key, value in objective.get_params().items():
        plain = value.item() if isinstance(value, np.generic) else value
        if plain == defaults[key]:
            continue
        if not _is_readable(plain):
            return None
        changed.append(f"{key}={plain!r}")
    return names[0] + (f"({', '.join(changed)})" if changed else "")
