"""From a mixture's waveform to its sources: embed, cluster, mask, resynthesise.

`Separator` is the whole way. Its parts are what the network hears (`skdc.separation.hearing`), the
clustering of embeddings (`kmeans`, `assign`, `soft_assign`, `estimate_n_clusters`,
`find_centroids`), the stretches of long recordings (`skdc.separation.stretches`), what carries
masks to a recording at another rate (`skdc.separation.full_band`), and how far to trust the result
(`skdc.separation.quality`). `skdc.StreamingSeparator` does the same while audio comes in, and
`separate_array` with several microphones.
"""

from skdc.separation.clustering import (
    assign,
    estimate_n_clusters,
    find_centroids,
    kmeans,
    soft_assign,
)
from skdc.separation.full_band import Recording
from skdc.separation.microphones import (
    mvdr_weights,
    separate_array,
    spatial_covariances,
    spatial_masks,
    wiener_filter,
)
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
    "mvdr_weights",
    "separate_array",
    "soft_assign",
    "spatial_covariances",
    "spatial_masks",
    "wiener_filter",
]
