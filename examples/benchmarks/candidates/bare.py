"""The limit: a plain LSTM stack and linear layer, with no data, no objective, no clustering."""

from __future__ import annotations

import torch
from cases import HOP_LENGTH, N_BINS, SAMPLE_RATE
from torch import Tensor, nn


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


def training_step(options, precision="float32"):
    """Forward and backward."""
    network = Network(options["hidden"], options["dim"])
    features = torch.randn(options["batch"], options["frames"], N_BINS)
    n_values = options["batch"] * options["frames"] * N_BINS * options["dim"]
    gradient = torch.ones(n_values).view(options["batch"], options["frames"], -1)

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
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
