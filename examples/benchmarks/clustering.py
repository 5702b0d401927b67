"""k-means on all active bins of 30 s and 120 s of speech: skdc against scikit-learn.

Run: python examples/benchmarks/clustering.py [--threads 2]
"""

from __future__ import annotations

import argparse

import torch
from measure import alternate, report
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from skdc.clustering import kmeans


def clustered(n_points: int, dim: int, noise: float) -> Tensor:
    """Give unit vectors about two directions."""
    generator = torch.Generator().manual_seed(0)
    centres = functional.normalize(torch.randn(2, dim, generator=generator), dim=1)
    which = torch.randint(2, (n_points,), generator=generator)
    spread = noise * torch.randn(n_points, dim, generator=generator)
    return functional.normalize(centres[which] + spread, dim=1)


def exact_inertia(points: Tensor, centroids: Tensor) -> float:
    """Sum of the squared distances to the nearest centroid, in double precision."""
    return float(torch.cdist(points.double(), centroids.double()).amin(1).square().sum())


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for seconds in (30, 120):
        for noise in (0.1, 0.3):
            points = clustered(seconds * 125 * 129, 40, noise)
            array = points.numpy()
            found = {
                "skdc": lambda p=points: kmeans(p, 2, seed=0).centroids,
                "scikit-learn": lambda a=array: torch.from_numpy(
                    KMeans(2, random_state=0).fit(a).cluster_centers_
                ),
            }
            medians = alternate(found, args.repeats)
            report(f"{seconds} s, {len(points)} x 40, noise {noise}", medians, "skdc")
            inertia = [exact_inertia(points, work()) for work in found.values()]
            print(f"  inertia, skdc / scikit-learn: {inertia[0] / inertia[1]:.6f}")


if __name__ == "__main__":
    main()
