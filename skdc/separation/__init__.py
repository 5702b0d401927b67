"""From a mixture's waveform to its sources: embed, cluster, mask, resynthesise.

`Separator` is the whole way. Its parts are the clustering of embeddings (`kmeans`, `assign`,
`soft_assign`, `estimate_n_clusters`, `find_centroids`) and the windows of long recordings
(`skdc.separation.windows`).
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
