"""What a network is trained to do: outputs and targets in, one loss for each mixture out.

An objective is named (`OBJECTIVES`), written as a sum of names, or an object of the caller's own;
`resolve_objective` makes all of them objects that can be called. No matrix of points by points is
ever built: the cost is linear in their number.
"""

from skdc.objectives.affinity import (
    Affinity,
    BalancedAffinity,
    SimplexAffinity,
    affinity_loss,
    partition_weights,
)
from skdc.objectives.attractors import AttractorMasks
from skdc.objectives.interface import (
    NEEDS,
    Objective,
    Outputs,
    Targets,
    one_hot_labels,
)
from skdc.objectives.mask_inference import MaskInference
from skdc.objectives.registry import (
    OBJECTIVES,
    describe_objective,
    objective_spec,
    resolve_objective,
)
from skdc.objectives.sums import WeightedSum, check_objective
from skdc.objectives.unit_vectors import EmbeddingObjective, weighted_products
from skdc.objectives.whitened import DeepLDA, WhitenedKMeans, whitened_kmeans_loss

__all__ = [
    "NEEDS",
    "OBJECTIVES",
    "Affinity",
    "AttractorMasks",
    "BalancedAffinity",
    "DeepLDA",
    "EmbeddingObjective",
    "MaskInference",
    "Objective",
    "Outputs",
    "SimplexAffinity",
    "Targets",
    "WeightedSum",
    "WhitenedKMeans",
    "affinity_loss",
    "check_objective",
    "describe_objective",
    "objective_spec",
    "one_hot_labels",
    "partition_weights",
    "resolve_objective",
    "weighted_products",
    "whitened_kmeans_loss",
]
