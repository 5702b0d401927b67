"""The affinity objective, forward and backward: closed form against plain autograd.

Run: python examples/benchmarks/objective.py [--threads 2]
"""

from __future__ import annotations

import argparse

import torch
from measure import alternate, report
from torch import Tensor
from torch.nn import functional

from skdc.objectives import affinity_loss, one_hot_labels


def plain_affinity_loss(vectors: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Compute the same as most implementations do: all bins, gradients by autograd."""
    unit = functional.normalize(vectors, dim=-1)
    root = weights.sqrt().unsqueeze(-1)
    v, y = root * unit, root * labels
    terms = [(v, v, 1.0), (v, y, -2.0), (y, y, 1.0)]
    loss = sum(k * (a.transpose(1, 2) @ b).square().sum((1, 2)) for a, b, k in terms)
    return loss / weights.sum(-1).square()


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--active", type=float, default=0.5, help="share of bins with a weight")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    n_mixtures, n_points = 8, 400 * 129
    for dim in (20, 40):
        vectors = torch.randn(n_mixtures, n_points, dim, generator=generator, requires_grad=True)
        classes = torch.randint(2, (n_mixtures, n_points), generator=generator)
        labels = one_hot_labels(classes, 2)
        weights = (torch.rand(n_mixtures, n_points, generator=generator) < args.active).float()

        def step(objective, vectors=vectors, labels=labels, weights=weights) -> None:
            vectors.grad = None
            objective(vectors, labels, weights).mean().backward()

        medians = alternate(
            {
                "skdc": lambda step=step: step(affinity_loss),
                "plain autograd": lambda step=step: step(plain_affinity_loss),
            },
            args.repeats,
        )
        title = f"batch 8 x 400 frames x 129 bins, embedding_dim {dim}, {args.threads} threads"
        report(title, medians, "skdc")


if __name__ == "__main__":
    main()
