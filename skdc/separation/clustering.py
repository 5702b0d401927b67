"""From embeddings to clusters: k-means on unit vectors, and the number of clusters.

Bins that one source dominates have embeddings close together, so the clusters of a mixture are
its sources. Everything runs on the device of its input; the global random state stays as it is.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor
from torch.nn import functional

from skdc.signal import long_product

__all__ = [
    "SPREAD_OF_ONE",
    "Clusterer",
    "KMeansResult",
    "assign",
    "estimate_n_clusters",
    "find_centroids",
    "kmeans",
    "loudest_first",
    "of_number",
    "seeded",
    "soft_assign",
]

_CHUNK_POINTS = 32_768  # handled at once: bounds the scratch memory of long recordings
_COARSE_POINTS = (
    5_000  # where restarts, and numbers of clusters, compete: enough to tell them apart
)
_SMALLEST_NORM = 1e-12
_SAME_CENTROID = 0.01  # centroids nearer than this are one; float32 resolves distances of 1e-3
# Chosen with a model on held-out recordings. The embeddings of one talker do not spread wider than
# the first; where they spread less, two clusters must be separated by more than the second to
# count as two talkers.
SPREAD_OF_ONE = 0.43
_CLEAR_SEPARATION = 0.55


class Clusterer(Protocol):
    """Anything with scikit-learn's ``fit_predict``."""

    def fit_predict(self, X: Any, /) -> Any:
        """Return an integer label for each row of `X`, -1 for noise."""


class KMeansResult(NamedTuple):
    """Result of :func:`kmeans`.

    Attributes
    ----------
    labels : Tensor of int64, shape (n_points,)
        Index of the nearest centroid.
    centroids : Tensor of float32, shape (n_clusters, embedding_dim)
        Means of the clusters: shorter than the points, the more so the looser the cluster.
    inertia : float
        Weighted sum of the squared distances to the nearest centroid, as in scikit-learn.
    n_iter : int
        Iterations of the final run.
    """

    labels: Tensor
    centroids: Tensor
    inertia: float
    n_iter: int


def kmeans(
    embeddings: Tensor,
    n_clusters: int,
    *,
    weights: Tensor | None = None,
    n_init: int = 8,
    max_iter: int = 100,
    tol: float = 3e-5,
    sample_points: int = 50_000,
    starts: Tensor | None = None,
    seed: int = 0,
) -> KMeansResult:
    """Cluster points by k-means with k-means++ starts.

    The restarts run as one batch on a sample of 5,000 points; the one of least inertia is refined
    on all points, or on `sample_points` of them. An emptied cluster restarts at the point
    that fits worst: none stays empty unless there are fewer distinct points than clusters.

    Parameters
    ----------
    embeddings : Tensor of float, shape (n_points, embedding_dim)
        Computed in float32. Unit norm is usual, not required.
    n_clusters : int
        From 1 to the number of points of positive weight.
    weights : Tensor of float, shape (n_points,), default=None
        How much each point counts, at least 0. None: all the same.
    n_init : int, default=8
        Number of starts.
    max_iter : int, default=100
        Limit on the iterations of each run.
    tol : float, default=3e-5
        A run ends when an iteration lowers the inertia by no more than this part of it.
    sample_points : int, default=50_000
        Above this many points, fit on a sample (one point of each equal stretch), then assign
        all. Raises the inertia by a part of about 3e-5 for clear clusters, 6e-4 for none.
    starts : Tensor of float32, shape (n_clusters, embedding_dim), default=None
        Centroids to begin with, such as those of a moment ago: a single run, which is several
        times as fast and keeps their order. None: `n_init` starts of k-means++.
    seed : int, default=0
        Fixes sample and starts, the same on every device.

    Returns
    -------
    KMeansResult
        Labels, centroids, inertia, iterations.

    Raises
    ------
    ValueError
        If `n_clusters` is below 1 or above the number of points of positive weight.

    References
    ----------
    D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    J. R. Hershey et al., "Deep clustering", ICASSP 2016, section 2: masks by k-means.

    Examples
    --------
    >>> points = torch.tensor([[1.0, 0.0], [0.96, 0.28], [0.0, 1.0]])
    >>> round(kmeans(points, 2).inertia, 4)
    0.04
    """
    with torch.no_grad():
        points = embeddings.float()
        importance = points.new_ones(len(points)) if weights is None else weights.to(points)
        fitted, fitted_weights = points, importance
        if weights is not None:
            # Points of weight 0 must not become starts, nor take places in the sample.
            fitted, fitted_weights = points[importance > 0], importance[importance > 0]
        if not 1 <= n_clusters <= len(fitted):
            raise ValueError(
                f"n_clusters={n_clusters} for {len(fitted)} points of positive weight; "
                "it must be at least 1 and at most the number of points"
            )
        generator = torch.Generator("cpu").manual_seed(seed)
        fitted, fitted_weights = _sample(fitted, fitted_weights, sample_points, generator)
        if starts is None:
            n_coarse = max(_COARSE_POINTS, 100 * n_clusters)
            coarse, coarse_weights = _sample(fitted, fitted_weights, n_coarse, generator)
            several = _plus_plus(coarse, coarse_weights, n_clusters, n_init, generator)
            runs, inertias, _ = _lloyd(coarse, coarse_weights, several, max_iter, tol)
            starts = runs[inertias.argmin()]
        # (n_clusters, embedding_dim) -> (1, n_clusters, embedding_dim)
        refined, _, n_iter = _lloyd(fitted, fitted_weights, starts[None], max_iter, tol)
        centroids = refined[0]
        labels, distances = _nearest(points, centroids)
        # Each round moves a centroid to another point, so n_clusters rounds are always enough.
        for _ in range(n_clusters):
            sizes = torch.zeros_like(centroids[:, 0]).index_add_(0, labels, importance)
            if not bool((sizes == 0).any()):
                break
            centroids = _reseed(points, importance * distances, centroids, sizes)
            labels, distances = _nearest(points, centroids)
        # In float32, a sum of millions of terms is exact to four digits only.
        inertia = float((importance * distances).sum(dtype=torch.float64))
        return KMeansResult(labels, centroids, inertia, n_iter)


def assign(embeddings: Tensor, centroids: Tensor) -> Tensor:
    """Find the centroid nearest to each embedding's unit vector (the first of equally near ones).

    Parameters
    ----------
    embeddings : Tensor of float, shape (..., embedding_dim)
        Vectors of any length: only their directions count.
    centroids : Tensor of float32, shape (n_clusters, embedding_dim)
        The centroids.

    Returns
    -------
    Tensor of int64, shape (...)
        Index of the nearest centroid.

    Examples
    --------
    >>> assign(torch.tensor([[0.6, 0.8], [5.0, 0.0]]), torch.eye(2)).tolist()
    [1, 0]
    """
    # Ten times as fast as argmax across few clusters
    return _nearness(embeddings.detach(), centroids).max(0).indices


def soft_assign(embeddings: Tensor, centroids: Tensor, sharpness: float) -> Tensor:
    """Share each embedding among clusters: softmax over k of ``-sharpness * |u - c_k|^2``.

    Parameters
    ----------
    embeddings : Tensor of float, shape (..., embedding_dim)
        Vectors of any length: the unit vector u along each is what counts.
    centroids : Tensor of float32, shape (n_clusters, embedding_dim)
        The centroids.
    sharpness : float
        At least 0: from equal shares at 0 towards :func:`assign` as it grows.

    Returns
    -------
    Tensor of float32, shape (n_clusters, ...)
        Shares, which sum to 1 over clusters; differentiable.

    Examples
    --------
    >>> soft_assign(torch.tensor([[9.0, 0.0]]), torch.eye(2), 5.0).round(decimals=3).tolist()
    [[1.0], [0.0]]
    """
    return torch.softmax(sharpness * _nearness(embeddings, centroids), dim=0)


def _nearness(vectors: Tensor, centroids: Tensor) -> Tensor:
    """``1 - |u - c|^2`` of the unit vectors u along `vectors`: ``(n_clusters, ...)``, float32."""
    # The many vectors are never copied. With clusters as the first axis, the operations that
    # follow run along contiguous memory.
    # (n_clusters, embedding_dim) @ (embedding_dim, n_points) -> (n_clusters, n_points)
    dots = centroids.to(vectors.dtype) @ vectors.flatten(0, -2).T
    norms = torch.linalg.vector_norm(vectors, dim=-1).float().clamp(min=_SMALLEST_NORM)
    cosines = dots.float().view(len(centroids), *norms.shape) / norms  # (n_clusters, ...)
    # (n_clusters,) -> (n_clusters, 1, ...), one axis for each of those of the vectors
    return 2 * cosines - centroids.square().sum(1).view(-1, *[1] * norms.dim())


def estimate_n_clusters(
    embeddings: Tensor,
    *,
    weights: Tensor | None = None,
    max_clusters: int = 5,
    min_separation: float = 0.2,
    spread_of_one: float = SPREAD_OF_ONE,
    seed: int = 0,
) -> int:
    """Estimate how many clusters, and so how many sources, there are.

    For each number of clusters, k-means runs on at most 5,000 points. A point that is a from its
    centroid and b from the next is separated by ``1 - a / b`` (simplified silhouette); the loosest
    cluster's mean counts, so small sources weigh as much as large ones. The number with the
    greatest such value wins. There is one cluster if that value is at most `min_separation`; or if
    it is at most 0.55 while the mean squared distance of all points to their mean is at most
    `spread_of_one`, as it is for a single talker, whose embeddings are spread too.

    Reliable for clusters at right angles of spread (root mean square distance to the centre) below
    about 0.6. Wider overlap counts too few: a network that was trained on mixtures of two puts a
    third talker between the others, where it is not told from two. A source with a few percent of
    the bins is missed; one cluster may be split if `embedding_dim` is 5 or less.

    Parameters
    ----------
    embeddings : Tensor of float, shape (n_points, embedding_dim)
        Unit vectors. Each cluster needs two; fewer than four are one cluster.
    weights : Tensor of float, shape (n_points,), default=None
        How much each point counts, at least 0. None: all the same.
    max_clusters : int, default=5
        The largest answer.
    min_separation : float, default=0.2
        Between 0 and 1.
    spread_of_one : float, default=0.43
        Between 0 and 1; differs between networks.
    seed : int, default=0
        As in :func:`kmeans`.

    Returns
    -------
    int
        From 1 to `max_clusters`.

    Examples
    --------
    >>> estimate_n_clusters(torch.eye(8)[:3].repeat(20, 1))
    3
    """
    with torch.no_grad():
        points = embeddings.float()
        importance = points.new_ones(len(points)) if weights is None else weights.to(points)
        points, importance = points[importance > 0], importance[importance > 0]
        generator = torch.Generator("cpu").manual_seed(seed)
        points, importance = _sample(points, importance, _COARSE_POINTS, generator)
        best, n_best = min_separation, 1
        if _spread(points, importance) <= spread_of_one:
            best = max(best, _CLEAR_SEPARATION)
        for n_clusters in range(2, min(max_clusters, len(points) // 2) + 1):
            labels, centroids, *_ = kmeans(points, n_clusters, weights=importance, seed=seed)
            distances = torch.cdist(points, centroids).sort(dim=1).values
            own, other = distances[:, 0], distances[:, 1]
            separation = importance * (other - own) / other.clamp(min=_SAME_CENTROID)
            sums, masses = (
                importance.new_zeros(n_clusters).index_add_(0, labels, x)
                for x in (separation, importance)
            )
            worst = float((sums / masses).nan_to_num().min())
            if worst > best:
                best, n_best = worst, n_clusters
        return n_best


def _spread(points: Tensor, weights: Tensor) -> float:
    """Mean squared distance of unit vectors to their mean."""
    mean = weights @ points / weights.sum()
    return 1 - float(mean.square().sum())


def find_centroids(
    embeddings: Tensor,
    active: Tensor,
    n_clusters: int | None,
    *,
    weights: Tensor | None = None,
    max_bins: int = 20_000,
    spread_of_one: float = SPREAD_OF_ONE,
    starts: Tensor | None = None,
    seed: int = 0,
    clusterer: Clusterer | None = None,
) -> Tensor:
    """Cluster the active bins of one mixture.

    Parameters
    ----------
    embeddings : Tensor of float, shape (n_frames, n_bins, embedding_dim)
        Vectors of any length: the unit vector along each is what is clustered.
    active : Tensor of bool, shape (n_frames, n_bins)
        The bins to fit on.
    n_clusters : int or None
        None: as many as `clusterer` finds, or :func:`estimate_n_clusters`.
    weights : Tensor of float, shape (n_frames, n_bins), default=None
        How much each bin pulls at the centroid of its cluster, as in :func:`kmeans`; a `clusterer`
        does without.
    max_bins : int, default=20_000
        Above this many active bins :func:`kmeans` sees a sample, one of each equal stretch. A
        `clusterer` sees them all.
    spread_of_one : float, default=0.43
        As in :func:`estimate_n_clusters`.
    starts : Tensor of float32, shape (n_clusters, embedding_dim), default=None
        Centroids to begin with, as in :func:`kmeans`; a `clusterer` does without.
    seed : int, default=0
        As in :func:`kmeans`.
    clusterer : object with fit_predict, default=None
        A scikit-learn clusterer in place of :func:`kmeans`. It is fitted in place, on a float32
        array `(n_active, embedding_dim)`; bins it labels -1 (noise) shape no centroid.

    Returns
    -------
    Tensor of float32, shape (n_clusters, embedding_dim)
        Means of the clusters, that of the cluster with most bins (by weight) first, or in the
        order of `starts`. If there are no more active bins than clusters: those bins, the first
        repeated to fill up (zeros if there is none), or `starts`.

    Raises
    ------
    ValueError
        If `clusterer` finds another number of clusters than `n_clusters`, or none, or gives
        something else than an integer for each bin.

    Examples
    --------
    >>> embeddings = torch.eye(2)[torch.tensor([[0, 1, 1]])]
    >>> find_centroids(embeddings, torch.ones(1, 3, dtype=torch.bool), 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    bins = active.flatten().nonzero().squeeze(1)  # (n_active,), indices into the flattened map
    if clusterer is None:
        bins, _ = _sample(bins, bins, max_bins, torch.Generator("cpu").manual_seed(seed))
    # (n_frames, n_bins, embedding_dim) -> (n_fitted, embedding_dim)
    points = embeddings.detach().flatten(0, 1).index_select(0, bins)
    points = torch.nn.functional.normalize(points.float(), dim=1)
    masses = points.new_ones(len(points)) if weights is None else weights.flatten()[bins].float()
    if starts is not None and clusterer is None:
        if len(points) <= len(starts):
            return starts
        return kmeans(points, len(starts), weights=masses, starts=starts, seed=seed).centroids
    if len(points) <= (n_clusters or 1):
        centroids = points.new_zeros(n_clusters or 1, points.shape[1])
        centroids[:] = points[:1] if len(points) else 0
        centroids[: len(points)] = points
    elif clusterer is None:
        n_found = n_clusters or estimate_n_clusters(
            points, weights=masses, spread_of_one=spread_of_one, seed=seed
        )
        centroids = kmeans(points, n_found, weights=masses, seed=seed).centroids
    else:
        found = np.asarray(clusterer.fit_predict(points.cpu().numpy()))
        if found.shape != (len(points),) or found.dtype.kind not in "iu":
            raise ValueError(
                f"fit_predict of {clusterer} gave {found.dtype} of shape {found.shape}, expected "
                f"an integer for each of {len(points)} rows"
            )
        names = np.unique(found[found >= 0])
        if len(names) != (n_clusters or max(len(names), 1)):
            raise ValueError(
                f"{clusterer} found {len(names)} clusters in {len(points)} active bins, but "
                f"n_sources={n_clusters}; set one or the other, so that it finds that many"
            )
        members = torch.from_numpy(found[:, None] == names).to(points)  # (n_active, n_clusters)
        # (n_clusters, n_active) @ (n_active, embedding_dim), by the sizes (n_clusters, 1)
        centroids = members.T @ points / members.sum(0)[:, None]
    # The order of the clusters that k-means finds depends on the last digits of its input. The
    # order by size does not.
    held = torch.zeros(len(centroids), dtype=torch.float64, device=masses.device)
    held.index_add_(0, assign(points, centroids), masses.double())
    return centroids[held.argsort(descending=True, stable=True)]


def loudest_first(spectrogram: Tensor, vectors: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Order masks as clusters are ordered, and give a vector of each, as centroids are.

    Parameters
    ----------
    spectrogram : Tensor of shape (n_frames, n_bins)
        That of the mixture.
    vectors : Tensor of shape (n_frames, n_bins, embedding_dim)
        Along each bin's embedding, of any length.
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)

    Returns
    -------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
        The source that has most of the magnitude first.
    centroids : float32 Tensor of shape (n_sources, embedding_dim)
        Mean unit vector of each source's bins, which count by what the source has of them.
    """
    shares = masks * spectrogram.abs()  # (sources, frames, bins)
    totals = shares.sum((1, 2))  # (sources,)
    order = totals.argsort(descending=True, stable=True)
    units = functional.normalize(vectors.float(), dim=-1)  # (frames, bins, dim)
    sums = torch.einsum("cfb,fbk->ck", shares, units)
    means = sums / totals.clamp_min(torch.finfo(totals.dtype).tiny).unsqueeze(-1)
    return masks[order], means[order]


def of_number(masks: Tensor, centroids: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Add silent sources, or give what the least of them have to the one before them.

    Parameters
    ----------
    masks : float32 Tensor of shape (n_sources, n_frames, n_bins)
    centroids : float32 Tensor of shape (n_sources, embedding_dim)
    number : int

    Returns
    -------
    masks : float32 Tensor of shape (number, n_frames, n_bins)
    centroids : float32 Tensor of shape (number, embedding_dim)
    """
    if len(masks) > number:
        last = masks[number - 1 :].sum(0, keepdim=True)
        return torch.cat([masks[: number - 1], last]), centroids[:number]
    masks, centroids = (
        torch.cat([x, x.new_zeros(number - len(x), *x.shape[1:])]) for x in (masks, centroids)
    )
    return masks, centroids


def seeded(clusterer: Any, seed: int) -> Any:
    """Copy a clusterer, and give it a seed where it has none.

    Parameters
    ----------
    clusterer : scikit-learn clusterer
        Or a pipeline that ends with one.
    seed : int
        For each `random_state`, its own and of what it consists of, that is None.

    Returns
    -------
    scikit-learn clusterer
        Unfitted.
    """
    clusterer = clone(clusterer)
    names = [k for k, v in clusterer.get_params().items() if v is None]
    own = [k for k in names if k == "random_state" or k.endswith("__random_state")]
    return clusterer.set_params(**dict.fromkeys(own, seed)) if own else clusterer


def _sample(
    points: Tensor, weights: Tensor, n_kept: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Keep at most `n_kept` points, one drawn from each of as many equal stretches."""
    if len(points) <= n_kept:
        return points, weights
    # Unlike independent draws, these are in order, without repeats, and evenly spread over time.
    edges = torch.arange(n_kept + 1, device="cpu") * len(points) // n_kept
    draws = torch.rand(n_kept, generator=generator, dtype=torch.float64, device="cpu")
    kept = edges[:-1] + (draws * edges.diff()).long()
    kept = kept.to(points.device)
    # For rows, index_select is several times as fast as indexing.
    return points.index_select(0, kept), weights.index_select(0, kept)


def _plus_plus(
    points: Tensor, weights: Tensor, n_clusters: int, n_init: int, generator: torch.Generator
) -> Tensor:
    """Draw k-means++ starts `(n_init, n_clusters, embedding_dim)`."""
    squared_norms = points.square().sum(1)
    nearest = torch.full(
        (n_init, len(points)), torch.inf, dtype=torch.float32, device=points.device
    )
    mass = weights  # broadcasts to (n_init, n_points)
    starts: list[Tensor] = []
    for _ in range(n_clusters):
        # Where every point waits for an exponential time with rate `mass`, the probability that a
        # point is the first is proportional to its mass. The times are drawn on the CPU, so that a
        # seed gives the same starts on every device.
        clocks = torch.empty(nearest.shape, dtype=torch.float32, device="cpu").exponential_(
            generator=generator
        )
        clocks = clocks.to(points.device)
        start = points[(mass / clocks).argmax(1)]  # (n_init, embedding_dim)
        distances = squared_norms - 2 * start @ points.T + start.square().sum(1, keepdim=True)
        nearest = torch.minimum(nearest, distances.clamp_(min=0))
        mass = weights * nearest
        starts.append(start)
    return torch.stack(starts, dim=1)


def _lloyd(
    points: Tensor, weights: Tensor, centroids: Tensor, max_iter: int, tol: float
) -> tuple[Tensor, Tensor, int]:
    """Run Lloyd's iterations from starts `(n_runs, n_clusters, embedding_dim)`, all at once."""
    n_runs, n_clusters, _ = centroids.shape
    chunks = [
        (x, w, _squared_norms(x)) for x, w in zip(_chunks(points), _chunks(weights), strict=True)
    ]
    inertia = points.new_full((n_runs,), torch.inf)
    n_iter = 0
    improved = True
    while improved and n_iter < max_iter:
        n_iter += 1
        flat = centroids.flatten(0, 1)  # (n_runs * n_clusters, embedding_dim)
        sums, sizes = torch.zeros_like(flat), torch.zeros_like(flat[:, 0])
        previous, inertia = inertia, torch.zeros_like(inertia)
        for x, w, squared_norms in chunks:
            scores = _scores(x, centroids)  # (n_runs, n_clusters, n_chunk)
            nearest = scores.amin(1)  # (n_runs, n_chunk)
            inertia += (nearest + squared_norms).clamp_(min=0) @ w
            member = _first_of_least(scores, nearest).mul_(w)
            # (n_runs, n_clusters, n_chunk) -> (n_runs * n_clusters, n_chunk)
            member = member.flatten(0, 1)
            # Sums over clusters as a matrix product, faster than scattered additions.
            sums += long_product(member, x)
            sizes += member.sum(1)
        means = torch.where(sizes[:, None] > 0, sums / sizes[:, None], flat)
        # (n_runs * n_clusters, embedding_dim) -> (n_runs, n_clusters, embedding_dim)
        centroids, sizes = means.view_as(centroids), sizes.view(n_runs, n_clusters)
        # One transfer to the host for each iteration. A NaN compares false and ends the run.
        checks = [(previous - inertia > tol * inertia).any(), (sizes == 0).any()]
        improved, emptied = torch.stack(checks).tolist()
        if emptied:
            misfit = [weights * _nearest(points, run)[1] for run in centroids]
            runs = zip(misfit, centroids, sizes, strict=True)
            centroids = torch.stack([_reseed(points, *run) for run in runs])
    return centroids, inertia, n_iter


def _reseed(points: Tensor, misfit: Tensor, centroids: Tensor, sizes: Tensor) -> Tensor:
    """Move the centroids of empty clusters to the points of greatest misfit."""
    empty = sizes == 0
    worst = points[misfit.topk(len(centroids)).indices]
    return torch.where(empty[:, None], worst[(empty.cumsum(0) - 1).clamp(min=0)], centroids)


def _chunks(tensor: Tensor) -> tuple[Tensor, ...]:
    return torch.split(tensor, _CHUNK_POINTS)


def _squared_norms(points: Tensor) -> Tensor:
    return torch.linalg.vector_norm(points, dim=1).square()


def _scores(points: Tensor, centroids: Tensor) -> Tensor:
    """``|x - c|^2 - |x|^2`` for the centroids c of runs: `(n_runs, n_clusters, n_points)`."""
    flat = centroids.flatten(0, 1)  # (n_runs * n_clusters, embedding_dim)
    scores = torch.addmm(flat.square().sum(1, keepdim=True), flat, points.T, alpha=-2)
    # (n_runs * n_clusters, n_points) -> (n_runs, n_clusters, n_points)
    return scores.view(*centroids.shape[:2], -1)


def _first_of_least(scores: Tensor, least: Tensor) -> Tensor:
    """1 at the first of the least scores over the clusters, 0 elsewhere, as float32."""
    # Least, equality and products run along contiguous memory, twice as fast as min with indices.
    first = torch.sub(least[:, None], scores).ge_(0)
    free = 1 - first[:, 0]
    for own in first.unbind(1)[1:]:
        free.sub_(own.mul_(free))
    return first


def _nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Label and squared distance `(n_points,)` of the nearest centroid, chunk by chunk."""
    labels, distances = [], []
    for x in _chunks(points):
        nearest, label = _scores(x, centroids[None])[0].min(dim=0)
        labels.append(label)
        distances.append((nearest + _squared_norms(x)).clamp_(min=0))
    return torch.cat(labels), torch.cat(distances)
