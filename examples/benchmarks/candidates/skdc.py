"""The library itself."""

from __future__ import annotations

import torch
from cases import (
    N_BINS,
    N_SOURCES,
    embedding_layer,
    embeddings,
    inertia,
    objective_inputs,
    recording,
    speakers,
)

from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.objectives import affinity_loss, one_hot_labels
from skdc.parameters import resolve_precision
from skdc.separation import Separator, kmeans
from skdc.signal import Framing
from skdc.training import Trainer, TrainingConfig
from skdc.training.banks import SourceBank

CPU = torch.device("cpu")


def objective(options, precision="float32"):
    """Take the unit norm and the affinity objective; in float32, as it always is."""
    arrays = (torch.from_numpy(array).flatten(1, 2) for array in objective_inputs(options))
    vectors, classes, active = arrays
    labels, weights = one_hot_labels(classes, N_SOURCES), active.float()
    vectors.requires_grad_()

    def run():
        vectors.grad = None
        affinity_loss(vectors, labels, weights).mean().backward()

    return run, lambda _: {}


def training_step(options, precision="float32", device=CPU):
    """Mixing, features, network, objective, clipping, Adam and the moving average of weights."""
    network = EmbeddingNetwork(NetworkConfig(N_BINS, options["dim"], options["hidden"], 2))
    network.to(device)
    config = TrainingConfig(
        segment_frames=(options["frames"],),
        batch_size=options["batch"],
        precision=resolve_precision(precision, device),
        max_epochs=10**6,
    )
    trainer = Trainer(network, SourceBank(list(speakers()), device=device), config)
    return trainer.train_step, lambda _: {
        "parameters": sum(x.numel() for x in network.parameters())
    }


def clustering(options, precision="float32"):
    """k-means on all bins."""
    points = embeddings(options)
    tensor = torch.from_numpy(points)
    return (
        lambda: kmeans(tensor, N_SOURCES, seed=0).labels,
        lambda labels: {"inertia": inertia(points, labels.numpy())},
    )


@torch.no_grad()
def separation(options, precision="float32"):
    """Waveform to waveforms."""
    network = EmbeddingNetwork(NetworkConfig(N_BINS, options["dim"], options["hidden"], 2))
    layer = embedding_layer(2 * options["hidden"], options["dim"])
    network.embed.weight.copy_(torch.from_numpy(layer))
    network.embed.bias.zero_()
    separator = Separator(network.eval(), Framing(), precision=resolve_precision(precision, CPU))
    mixture = torch.from_numpy(recording(options))
    return (
        lambda: next(separator.separate([mixture], [N_SOURCES])),
        lambda _: {"parameters": sum(x.numel() for x in network.parameters())},
    )
