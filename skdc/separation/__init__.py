"""From a mixture's waveform to its sources: embed, cluster, mask, resynthesise.

`Separator` is the whole way. Its parts are the clustering of embeddings (`kmeans`, `assign`,
`soft_assign`, `estimate_n_clusters`, `find_centroids`), the stretches of long recordings
(`skdc.separation.stretches`) and who is who in them (`skdc.separation.voices`).
"""

from skdc.separation.clustering import (
    assign,
    estimate_n_clusters,
    find_centroids,
    kmeans,
    soft_assign,
)
from skdc.separation.pipeline import Separator

__all__ = [
    "Separator",
    "assign",
    "estimate_n_clusters",
    "find_centroids",
    "kmeans",
    "soft_assign",
]
