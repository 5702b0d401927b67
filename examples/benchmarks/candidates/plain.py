"""What to measure against where there are no peers.

The limit, which is a plain LSTM stack and linear layer with no data, no objective and no
clustering; the objective as most implementations write it; scikit-learn's KMeans.
"""

from __future__ import annotations

import torch
from cases import HOP_LENGTH, N_BINS, N_SOURCES, SAMPLE_RATE, embeddings, inertia, objective_inputs
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional


class Network(nn.Module):
    """Nothing but the layers that every candidate has."""

    def __init__(self, hidden: int, dim: int) -> None:
        super().__init__()
        self.trunk = nn.LSTM(N_BINS, hidden, 2, batch_first=True, bidirectional=True)
        self.embed = nn.Linear(2 * hidden, N_BINS * dim)

    def forward(self, features: Tensor) -> Tensor:
        """Map `(batch, frames, bins)` to `(batch, frames, bins * dim)`."""
        hidden, _ = self.trunk(features)
        return self.embed(hidden)


def plain_affinity_loss(vectors: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Compute what skdc computes, on all bins, the gradient by autograd."""
    root = weights.sqrt().unsqueeze(-1)
    v, y = root * functional.normalize(vectors, dim=-1), root * labels
    terms = [(v, v, 1.0), (v, y, -2.0), (y, y, 1.0)]
    loss = sum(k * (a.transpose(1, 2) @ b).square().sum((1, 2)) for a, b, k in terms)
    return loss / weights.sum(-1).square()


def objective(options):
    """Take the unit norm and the objective."""
    arrays = (torch.from_numpy(array).flatten(1, 2) for array in objective_inputs(options))
    vectors, classes, active = arrays
    labels, weights = functional.one_hot(classes, N_SOURCES).float(), active.float()
    vectors.requires_grad_()

    def run():
        vectors.grad = None
        plain_affinity_loss(vectors, labels, weights).mean().backward()

    return run, lambda _: {}


def clustering(options):
    """scikit-learn's KMeans as it comes: the clustering of asteroid's recipe."""
    points = embeddings(options)
    return (
        lambda: KMeans(n_clusters=N_SOURCES).fit_predict(points),
        lambda labels: {"inertia": inertia(points, labels)},
    )


def training_step(options, precision="float32", device="cpu"):
    """Forward and backward."""
    network = Network(options["hidden"], options["dim"]).to(device)
    features = torch.randn(options["batch"], options["frames"], N_BINS, device=device)
    n_values = options["batch"] * options["frames"] * N_BINS * options["dim"]
    gradient = torch.ones(n_values, device=device).view(options["batch"], options["frames"], -1)

    def run():
        with torch.autocast(features.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            vectors = network(features)
        vectors.backward(gradient.to(vectors.dtype))
        network.zero_grad()

    return run, lambda _: {"parameters": sum(x.numel() for x in network.parameters())}


def separation(options, precision="float32"):
    """Forward, as long a stretch at a time as skdc takes."""
    network = Network(options["hidden"], options["dim"]).eval()
    features = torch.randn(1, options["seconds"] * SAMPLE_RATE // HOP_LENGTH, N_BINS)

    @torch.no_grad()
    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            for part in features.split(4096, dim=1):
                network(part)

    return run, lambda _: {"parameters": sum(x.numel() for x in network.parameters())}
