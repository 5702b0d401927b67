"""Clustering: oracles (a naive loop, scikit-learn), invariants, degenerate input."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score

from skdc.separation import clustering
from skdc.separation.clustering import (
    assign,
    estimate_n_clusters,
    find_centroids,
    kmeans,
    soft_assign,
)


def random_unit(n_points, embedding_dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n_points, embedding_dim, generator=generator)
    return torch.nn.functional.normalize(points, dim=-1)


def separated(sizes, embedding_dim=10, spread=0.3, seed=0):
    """Unit vectors about orthogonal centres, shuffled, and their true labels."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.standard_normal((embedding_dim, embedding_dim)))[0][: len(sizes)]
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    noise = rng.standard_normal((len(truth), embedding_dim)) * spread / np.sqrt(embedding_dim)
    points = centres[truth] + noise
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return torch.from_numpy(points).float(), truth


def naive_lloyd(points, weights, centroids, n_iter):
    """Lloyd's iterations of one run, point by point in float64."""
    points, weights, centroids = points.double(), weights.double(), centroids.double().clone()
    for _ in range(n_iter):
        sums, sizes = torch.zeros_like(centroids), torch.zeros(len(centroids)).double()
        inertia = 0.0
        for x, w in zip(points, weights, strict=True):
            distances = ((x - centroids) ** 2).sum(1)
            k = int(distances.argmin())
            inertia += float(w * distances[k])
            sums[k] += w * x
            sizes[k] += w
        for k in range(len(centroids)):
            if sizes[k] > 0:
                centroids[k] = sums[k] / sizes[k]
    return centroids, inertia


def true_inertia(points, labels, centroids):
    difference = points.double() - centroids.double()[labels]
    return float(difference.square().sum())


def same_partition(a, b):
    return adjusted_rand_score(np.ravel(a), np.ravel(b)) == 1


@pytest.mark.parametrize("weighted", [False, True])
def test_lloyd_equals_naive_loop_from_same_starts(weighted):
    points = random_unit(300, 6)
    weights = torch.rand(300, generator=torch.Generator().manual_seed(1)) if weighted else None
    weights = torch.ones(300) if weights is None else weights
    starts = torch.stack([random_unit(3, 6, seed) for seed in range(4)])
    for max_iter in (1, 5):
        runs, inertia, n_iter = clustering._lloyd(points, weights, starts, max_iter, 0.0)
        assert n_iter == max_iter
        for start, run, value in zip(starts, runs, inertia, strict=True):
            expected, expected_inertia = naive_lloyd(points, weights, start, max_iter)
            torch.testing.assert_close(run.double(), expected, atol=1e-5, rtol=0)
            assert float(value) == pytest.approx(expected_inertia, rel=1e-5)


def test_chunks_change_nothing(monkeypatch):
    points = random_unit(1000, 5)
    whole = kmeans(points, 4)
    monkeypatch.setattr(clustering, "_CHUNK_POINTS", 77)
    chunked = kmeans(points, 4)
    assert torch.equal(whole.labels, chunked.labels)
    torch.testing.assert_close(whole.centroids, chunked.centroids)


@pytest.mark.parametrize(
    ("points", "n_clusters"),
    [
        (separated([500, 500])[0], 2),
        (separated([900, 60, 40], spread=0.6)[0], 3),
        (separated([300] * 5, spread=1.0)[0], 5),
        (separated([800, 200], embedding_dim=3, spread=0.8)[0], 2),
        (separated([4000, 3000, 3000], embedding_dim=40, spread=0.8)[0], 3),
        (random_unit(2000, 2), 3),
    ],
)
def test_inertia_no_worse_than_scikit_learn(points, n_clusters):
    result = kmeans(points, n_clusters)
    reference = KMeans(n_clusters, n_init=10, random_state=0).fit(points.double().numpy())
    assert result.inertia <= 1.001 * reference.inertia_
    assert result.inertia == pytest.approx(
        true_inertia(points, result.labels, result.centroids), rel=1e-4
    )


def test_weights_equal_repeats_and_zero_weights_count_for_nothing():
    points, _ = separated([40, 30, 30], spread=0.8)
    counts = torch.arange(100) % 4
    weighted = kmeans(points, 3, weights=counts)
    repeated = kmeans(points.repeat_interleave(counts, dim=0), 3)
    assert weighted.inertia == pytest.approx(repeated.inertia, rel=1e-3)
    assert same_partition(weighted.labels.repeat_interleave(counts), repeated.labels)
    single = torch.zeros(100)
    single[7] = 2.0
    torch.testing.assert_close(kmeans(points, 1, weights=single).centroids[0], points[7])
    with pytest.raises(ValueError, match="n_clusters=2 for 1 points of positive weight"):
        kmeans(points, 2, weights=single)


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(5, 40), min_size=1, max_size=4), seed=st.integers(0, 2**31 - 1))
def test_finds_separated_clusters_whatever_the_rotation(sizes, seed):
    points, truth = separated(sizes, embedding_dim=6, spread=0.2, seed=seed)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(seed)))
    plain, rotated = kmeans(points, len(sizes)), kmeans(points @ rotation, len(sizes))
    assert same_partition(plain.labels, truth)
    assert same_partition(rotated.labels, truth)


@settings(max_examples=40)
@given(
    n_points=st.integers(1, 30),
    embedding_dim=st.integers(2, 5),
    n_clusters=st.integers(1, 30),
    seed=st.integers(0, 2**31 - 1),
)
def test_no_cluster_is_empty_and_labels_are_nearest(n_points, embedding_dim, n_clusters, seed):
    points = random_unit(n_points, embedding_dim, seed)
    # Below this distance float32 takes two points for one.
    distinct = torch.nn.functional.pdist(points.double()).min() > 3e-3 if n_points > 1 else True
    n_clusters = min(n_clusters, n_points)
    result = kmeans(points, n_clusters, seed=seed)
    if distinct:
        assert len(result.labels.unique()) == n_clusters
    assert result.labels.dtype == torch.int64
    assert result.centroids.dtype == torch.float32
    assert torch.isfinite(result.centroids).all()
    assert torch.equal(result.labels, assign(points, result.centroids))


@pytest.mark.parametrize("n_points", [1, 2, 7])
def test_as_many_clusters_as_points(n_points):
    points = torch.eye(7)[:n_points]
    result = kmeans(points, n_points)
    assert sorted(result.labels.tolist()) == list(range(n_points))
    assert result.inertia == pytest.approx(0, abs=1e-6)


def test_identical_points_end_and_stay_finite():
    points = random_unit(1, 8).expand(5000, 8)
    result = kmeans(points, 3)
    torch.testing.assert_close(result.centroids, points[:3], atol=1e-4, rtol=0)
    assert result.inertia == pytest.approx(0, abs=1e-2)
    assert result.n_iter < 100
    assert estimate_n_clusters(points) == 1


def test_duplicates_of_few_points():
    points = torch.eye(4)[:2].repeat(50, 1)
    result = kmeans(points, 2)
    assert torch.equal(result.labels[::2], result.labels[:1].expand(50))
    assert result.inertia == 0
    assert torch.isfinite(kmeans(points, 4).centroids).all()


def test_emptied_cluster_restarts_at_the_worst_point():
    points = torch.tensor([[1.0, 0.0], [0.96, 0.28], [0.0, 1.0]])
    starts = torch.tensor([[[0.9, 0.3], [-5.0, -5.0]]])  # no point is near the second
    runs, inertia, _ = clustering._lloyd(points, torch.ones(3), starts, 10, 0.0)
    assert float(inertia) == pytest.approx(0.04, abs=1e-5)
    torch.testing.assert_close(runs[0, 1], points[2])


def test_not_a_number_ends():
    points = random_unit(100, 4)
    points[3] = torch.nan
    assert kmeans(points, 2).n_iter < 100


def test_same_seed_same_result_and_global_state_untouched():
    points = random_unit(6000, 5)
    before = torch.random.get_rng_state()
    first, second = (kmeans(points, 3, seed=5, sample_points=5500) for _ in range(2))
    estimate_n_clusters(points)
    find_centroids(points.view(60, 100, 5), torch.ones(60, 100, dtype=torch.bool), None)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.centroids, second.centroids)
    torch.manual_seed(99)  # the caller's own seeding has no say
    assert torch.equal(kmeans(points, 3, seed=5, sample_points=5500).labels, first.labels)
    torch.random.set_rng_state(before)


def test_sample_of_a_long_input_is_seeded_ordered_and_distinct():
    points = torch.arange(1000.0)[:, None]
    generator = torch.Generator().manual_seed(0)
    kept, weights = clustering._sample(points, points[:, 0], 300, generator)
    assert kept.shape == (300, 1)
    assert bool((kept.diff(dim=0) > 0).all())
    assert torch.equal(kept[:, 0], weights)


def test_long_input_is_fitted_on_a_sample():
    points, truth = separated([8000, 4000], spread=0.4)
    full, sampled = kmeans(points, 2), kmeans(points, 2, sample_points=1000)
    assert same_partition(sampled.labels, truth)
    assert full.inertia <= sampled.inertia <= 1.01 * full.inertia


@pytest.mark.parametrize("n_clusters", [0, 4])
def test_refuses_impossible_numbers(n_clusters):
    with pytest.raises(ValueError, match=f"n_clusters={n_clusters} for 3 points"):
        kmeans(random_unit(3, 4), n_clusters)


def test_result_carries_no_gradient_and_half_precision_is_taken():
    points = separated([50, 50])[0].requires_grad_()
    assert not kmeans(points, 2).centroids.requires_grad
    assert kmeans(points.to(torch.bfloat16), 2).centroids.dtype == torch.float32


def test_assign_and_soft_assign():
    embeddings, centroids = random_unit(24, 5).view(4, 6, 5), random_unit(3, 5, seed=1)
    squared = (embeddings[..., None, :] - centroids).square().sum(-1)
    assert torch.equal(assign(embeddings, centroids), squared.argmin(-1))
    torch.testing.assert_close(
        soft_assign(embeddings, centroids, 3.0), torch.softmax(-3 * squared, dim=-1).movedim(-1, 0)
    )
    torch.testing.assert_close(
        soft_assign(embeddings, centroids, 0.0), torch.full((3, 4, 6), 1 / 3)
    )
    embeddings.requires_grad_()
    longer = embeddings * torch.tensor([0.1, 7.0]).repeat(3)[:, None]
    assert torch.equal(assign(longer, centroids), squared.argmin(-1))
    torch.testing.assert_close(
        soft_assign(longer, centroids, 3.0), torch.softmax(-3 * squared, dim=-1).movedim(-1, 0)
    )
    soft_assign(embeddings, centroids, 1.0)[0].sum().backward()
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("spread", [0.15, 0.5])
@pytest.mark.parametrize("embedding_dim", [8, 40])
@pytest.mark.parametrize(
    "sizes", [[900], [500, 400], [800, 100], [300, 300, 300], [600, 200, 100], [225] * 4]
)
def test_number_of_clusters(sizes, embedding_dim, spread):
    points, _ = separated(sizes, embedding_dim, spread)
    assert estimate_n_clusters(points) == len(sizes)


def test_number_of_clusters_limits():
    points, _ = separated([50, 50, 50])
    assert estimate_n_clusters(points, max_clusters=2) == 2
    assert estimate_n_clusters(points, max_clusters=1) == 1
    assert estimate_n_clusters(points, min_separation=0.99) == 1
    assert estimate_n_clusters(random_unit(3, 5)) == 1
    assert estimate_n_clusters(random_unit(4000, 10)) == 1


@pytest.fixture
def bins():
    points, truth = separated([120, 60, 20], embedding_dim=8, spread=0.3)
    active = torch.from_numpy(np.random.default_rng(0).random((20, 10)) < 0.7)
    return points.view(20, 10, 8), active, truth.reshape(20, 10)


@pytest.mark.parametrize("n_clusters", [3, None])
@pytest.mark.parametrize(
    "clusterer", [None, AgglomerativeClustering(3), DBSCAN(eps=0.5), KMeans(3, random_state=0)]
)
def test_find_centroids(bins, n_clusters, clusterer):
    embeddings, active, truth = bins
    centroids = find_centroids(embeddings, active, n_clusters, clusterer=clusterer)
    labels = assign(embeddings, centroids)
    assert labels.shape == (20, 10)
    assert labels.dtype == torch.int64
    assert centroids.shape == (3, 8)
    assert centroids.dtype == torch.float32
    assert same_partition(labels, truth)
    for k in range(3):
        members = embeddings[active & (labels == k)]
        torch.testing.assert_close(centroids[k], members.mean(0), atol=1e-5, rtol=0)


def test_inactive_bins_shape_no_centroid(bins):
    embeddings, active, _ = bins
    centroids = find_centroids(embeddings, active, 3)
    other = torch.where(active[..., None], embeddings, random_unit(200, 8).view(20, 10, 8))
    torch.testing.assert_close(find_centroids(other, active, 3), centroids)


def test_noise_of_a_clusterer_shapes_no_centroid():
    embeddings = torch.cat([torch.eye(3)[[0] * 10 + [1] * 10], -torch.eye(3)[2:]])[None]
    active = torch.ones(1, 21, dtype=torch.bool)
    centroids = find_centroids(embeddings, active, 2, clusterer=DBSCAN(eps=0.1))
    labels = assign(embeddings, centroids)
    torch.testing.assert_close(centroids, torch.eye(3)[:2])
    assert labels[0, :20].tolist() == [0] * 10 + [1] * 10


def test_clusterer_that_disagrees_is_refused(bins):
    embeddings, active, _ = bins
    with pytest.raises(ValueError, match=r"Agglomerative.* found 3 clusters.*n_sources=2"):
        find_centroids(embeddings, active, 2, clusterer=AgglomerativeClustering(3))
    with pytest.raises(ValueError, match=r"DBSCAN.* found 0 clusters.*n_sources=None"):
        find_centroids(embeddings, active, None, clusterer=DBSCAN(eps=1e-6))


@pytest.mark.parametrize("clusterer", [None, KMeans(3, random_state=0)])
@pytest.mark.parametrize("n_active", [0, 1, 2, 3])
def test_hardly_any_active_bins(n_active, clusterer):
    embeddings = random_unit(12, 5).view(3, 4, 5)
    active = (torch.arange(12) < n_active).view(3, 4)
    centroids = find_centroids(embeddings, active, 3, clusterer=clusterer)
    labels = assign(embeddings, centroids)
    assert centroids.shape == (3, 5)
    assert labels.flatten()[:n_active].tolist() == list(range(n_active))
    # Clusters that nobody is in lie where another one does; which of equals is named is open.
    nearest = torch.cdist(embeddings.flatten(0, 1), centroids)
    torch.testing.assert_close(
        nearest.gather(1, labels.flatten()[:, None])[:, 0], nearest.min(1).values
    )
    if n_active == 0:
        assert not centroids.any()


def test_one_cluster_and_unknown_number_without_active_bins():
    embeddings = random_unit(12, 5).view(3, 4, 5)
    centroids = find_centroids(embeddings, torch.ones(3, 4, dtype=torch.bool), 1)
    labels = assign(embeddings, centroids)
    assert not labels.any()
    torch.testing.assert_close(centroids[0], embeddings.flatten(0, 1).mean(0))
    centroids = find_centroids(embeddings, torch.zeros(3, 4, dtype=torch.bool), None)
    labels = assign(embeddings, centroids)
    assert not labels.any()
    assert centroids.shape == (1, 5)


def test_order_of_clusters_is_the_only_freedom(bins):
    embeddings, active, truth = bins
    labels = assign(embeddings, find_centroids(embeddings, active, 3, seed=1))
    relabelled = [np.asarray(order)[truth] for order in permutations(range(3))]
    assert any(np.array_equal(labels, candidate) for candidate in relabelled)


def test_centroids_are_followed_in_their_order() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(3, 8, generator=generator), dim=1)
    points = centres.repeat(40, 1) + 0.1 * torch.randn(120, 8, generator=generator)
    points = torch.nn.functional.normalize(points, dim=1)
    starts = centres[[2, 0, 1]] + 0.2 * torch.randn(3, 8, generator=generator)
    found = kmeans(points, 3, starts=starts)
    assert found.labels.tolist() == [1, 2, 0] * 40
    searched = kmeans(points, 3)
    assert found.inertia == pytest.approx(searched.inertia, rel=1e-4)
    active = torch.ones(12, 10, dtype=torch.bool)
    followed = find_centroids(points.view(12, 10, 8), active, 3, starts=starts)
    torch.testing.assert_close(followed, found.centroids)
    # Where there is nothing to cluster, they stay where they were.
    assert find_centroids(points.view(12, 10, 8), ~active, 3, starts=starts) is starts
