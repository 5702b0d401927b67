"""From a mixture's waveform to its sources: embed, cluster, mask, resynthesise.

`Separator` is the whole way. Its parts are the clustering of embeddings (`kmeans`, `assign`,
`soft_assign`, `estimate_n_clusters`, `find_centroids`), the windows of long recordings
(`skdc.separation.windows`), what carries masks to a recording at another rate
(`skdc.separation.full_band`), and how far to trust the result (`skdc.separation.quality`).
"""

from skdc.separation.clustering import (
    assign,
    estimate_n_clusters,
    find_centroids,
    kmeans,
    soft_assign,
)
from skdc.separation.full_band import Recording
from skdc.separation.pipeline import Separator
from skdc.separation.quality import QualityModel, Separability

__all__ = [
    "QualityModel",
    "Recording",
    "Separability",
    "Separator",
    "assign",
    "estimate_n_clusters",
    "find_centroids",
    "kmeans",
    "soft_assign",
]
