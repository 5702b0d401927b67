"""
Another clusterer from scikit-learn
===================================

What groups the embeddings of a mixture is k-means, in which loud bins count more. Any
clusterer of scikit-learn can take its place: whatever has ``fit_predict``, finds as many clusters
as there are sources, and can cope with some ten thousand points. No training is needed.
"""

from matplotlib import pyplot as plt
from sklearn.cluster import BisectingKMeans, MiniBatchKMeans
from sklearn.mixture import GaussianMixture

from skdc import load_pretrained
from skdc.datasets import load_sample_mixture
from skdc.display import EmbeddingDisplay

mixture, references = load_sample_mixture()
separator = load_pretrained()
clusterers = {
    "kmeans, the default": "kmeans",
    "MiniBatchKMeans": MiniBatchKMeans(n_clusters=2, random_state=0),
    "BisectingKMeans": BisectingKMeans(n_clusters=2, random_state=0),
    "GaussianMixture": GaussianMixture(n_components=2, random_state=0),
    "GaussianMixture, diagonal": GaussianMixture(2, covariance_type="diag", random_state=0),
}
for name, clusterer in clusterers.items():
    score = separator.set_params(clusterer=clusterer).score([mixture], [references])
    print(f"{name}: {score:.2f} dB better than the mixture")

# %%
# Its clusters give the centroids, and each bin is shared by how near the centroids are; so the
# results differ little. With ``mask="binary"`` every bin goes to the nearest one.
#
# Methods that compare every point with every other, such as ``SpectralClustering``, are too slow
# for all bins of a recording. And the clusterer has to be told the number of sources by its own
# parameter: where it finds another number than ``n_sources``, an error says so.
#
# The two groups that all of them find, in the first three principal components:

separator.set_params(clusterer="kmeans")
EmbeddingDisplay.from_estimator(separator, mixture, references, n_components=3, random_state=0)
plt.show()
