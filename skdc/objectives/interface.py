"""What an objective is: outputs of a network and targets in, one loss a mixture out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

__all__ = ["NEEDS", "Objective", "Outputs", "Targets", "one_hot_labels"]

NEEDS = frozenset({"embeddings", "masks", "spectrograms"})
"""What an objective may ask for, see `Objective.needs`."""


class Outputs(NamedTuple):
    """What a network says of the points of a mixture; a point is a time-frequency bin.

    Points may be in any order, the same one as in `Targets`. All axes before the last two are
    axes of mixtures.

    Attributes
    ----------
    embeddings : float Tensor of shape (..., n_points, embedding_dim) or None, default=None
        Vectors of any length; objectives bring them to unit norm themselves.
    masks : float Tensor of shape (..., n_points, n_masks) or None, default=None
        What a mask head gives, before the activation that brings it between 0 and 1.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import Outputs
    >>> Outputs(embeddings=torch.ones(6, 4)).masks is None
    True
    """

    embeddings: Tensor | None = None
    masks: Tensor | None = None


class Targets(NamedTuple):
    r"""What the outputs are compared to.

    Attributes
    ----------
    labels : float Tensor of shape (..., n_points, n_sources)
        One-hot; all zero for a point of no source. Sources may be absent.
    weights : float Tensor of shape (..., n_points)
        How much each point counts, at least 0.
    mixture : float Tensor of shape (..., n_points) or None, default=None
        Magnitude of the mixture, :math:`|X|`.
    sources : float Tensor of shape (..., n_points, n_sources) or None, default=None
        Truncated phase-sensitive targets [1]_: :math:`|S| \cos(\theta_S - \theta_X)`, what a real
        mask should make of the mixture, clamped to :math:`0 \ldots |X|`.

    References
    ----------
    .. [1] Erdogan, Hershey, Watanabe, Le Roux, "Phase-sensitive and recognition-boosted speech
       separation using deep recurrent neural networks", ICASSP 2015.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import Targets, one_hot_labels
    >>> labels = one_hot_labels(torch.tensor([0, 1, -1]), 2)
    >>> Targets(labels, torch.tensor([1.0, 1.0, 0.0])).mixture is None
    True
    """

    labels: Tensor
    weights: Tensor
    mixture: Tensor | None = None
    sources: Tensor | None = None


class Objective(BaseEstimator, ABC):
    """What a network is trained to make small.

    A subclass says what it needs and gives one loss a mixture. Any other callable with the same
    attribute and arguments serves where an objective is asked for; one that derives from
    scikit-learn's `BaseEstimator`, as this class does, can be cloned and searched.

    Training gives all mixtures of a batch at once, an axis before that of the points. Points that
    have no weight, and mostly no source, fill up mixtures with fewer points than others.

    Attributes
    ----------
    needs : frozenset of str
        ``"embeddings"`` and ``"masks"`` are what the network must give, ``"spectrograms"`` means
        that `Targets.mixture` and `Targets.sources` must be there.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import Objective, Outputs, Targets, one_hot_labels
    >>> class LabelRegression(Objective):
    ...     "Mean squared distance of the vectors to the labels themselves."
    ...
    ...     needs = frozenset({"embeddings"})
    ...
    ...     def __init__(self, scale=1.0):
    ...         self.scale = scale
    ...
    ...     def __call__(self, outputs, targets):
    ...         distances = (self.scale * outputs.embeddings - targets.labels).square().sum(-1)
    ...         return (targets.weights * distances).sum(-1) / targets.weights.sum(-1)
    >>> labels = one_hot_labels(torch.tensor([0, 1, 1]), 2)
    >>> LabelRegression(scale=2.0)(Outputs(labels), Targets(labels, torch.ones(3)))
    tensor(1.)
    """

    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def __call__(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Give one loss a mixture.

        Parameters
        ----------
        outputs : Outputs
        targets : Targets

        Returns
        -------
        float Tensor of shape (...)
            Differentiable with respect to the outputs.
        """

    def check(self, outputs: Outputs, targets: Targets) -> None:
        """Refuse what can not be computed, before any work.

        Subclasses add their own parameters.

        Parameters
        ----------
        outputs : Outputs
        targets : Targets

        Raises
        ------
        ValueError
            If something that is needed is None, or its axes of mixtures, points and sources are
            not those of ``targets.weights`` and ``targets.labels``.

        Examples
        --------
        >>> import torch
        >>> from skdc.objectives import Affinity, Outputs, Targets
        >>> targets = Targets(labels=torch.ones(6, 2), weights=torch.ones(5))
        >>> Affinity().check(Outputs(embeddings=torch.ones(6, 4)), targets)
        Traceback (most recent call last):
        ...
        ValueError: labels has shape (6, 2), expected (5, any) as weights has shape (5,)
        """
        points = tuple(targets.weights.shape)
        rows = (*points, "any")
        wanted: dict[str, tuple[Tensor | None, tuple[object, ...]]]
        wanted = {"labels": (targets.labels, rows)}
        if "embeddings" in self.needs:
            wanted["embeddings"] = (outputs.embeddings, rows)
        if "masks" in self.needs:
            wanted["masks"] = (outputs.masks, rows)
        if "spectrograms" in self.needs:
            wanted["mixture"] = (targets.mixture, points)
            wanted["sources"] = (targets.sources, (*points, targets.labels.shape[-1]))
        for name, (tensor, expected) in wanted.items():
            if tensor is None:
                raise ValueError(f"{type(self).__name__} needs {name}, got None")
            got = tuple(tensor.shape)
            if len(got) != len(expected) or any(
                wish not in ("any", size) for size, wish in zip(got, expected, strict=True)
            ):
                shape = ", ".join(map(str, expected)) + "," * (len(expected) == 1)
                raise ValueError(
                    f"{name} has shape {got}, expected ({shape}) as weights has shape {points}"
                )


def one_hot_labels(labels: Tensor, n_sources: int) -> Tensor:
    """Label indices as rows of zeros and a one.

    Parameters
    ----------
    labels : int64 Tensor of shape (...)
        Source of each bin; negative for bins of no source.
    n_sources : int
        Number of classes; classes that do not occur are fine.

    Returns
    -------
    float32 Tensor of shape (..., n_sources)
        Rows of negative labels are all zero.

    Examples
    --------
    >>> import torch
    >>> from skdc.objectives import one_hot_labels
    >>> one_hot_labels(torch.tensor([1, -1]), 2)
    tensor([[0., 1.],
            [0., 0.]])
    """
    return (labels.unsqueeze(-1) == torch.arange(n_sources, device=labels.device)).float()
