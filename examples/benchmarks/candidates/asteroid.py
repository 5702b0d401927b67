"""asteroid 0.7.0: its loss, recurrent block, filterbanks and activity; its recipe's glue rebuilt.

The network, its training step and its clustering are not in the package but in a recipe. What is
here does what the recipe does, less its second head and its data loader.
"""

from __future__ import annotations

import numpy as np
import torch
from asteroid.dsp.vad import ebased_vad
from asteroid.losses import deep_clustering_loss
from asteroid.masknn.recurrent import SingleRNN
from asteroid_filterbanks import make_enc_dec
from asteroid_filterbanks.transforms import apply_mag_mask, mag
from cases import (
    HOP_LENGTH,
    N_BINS,
    N_SOURCES,
    WIN_LENGTH,
    embedding_layer,
    mix,
    objective_inputs,
    recording,
    speakers,
)
from sklearn.cluster import KMeans
from torch import Tensor, nn

SMALLEST = 1e-8


def unit_norm(vectors: Tensor) -> Tensor:
    """Divide by the norm, as the recipe's network does after its last layer."""
    return vectors / (torch.norm(vectors, p=2, dim=-1, keepdim=True) + SMALLEST)


class Network(nn.Module):
    """The recipe's layers: logarithm, SingleRNN, linear layer, tanh, unit norm."""

    def __init__(self, hidden: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.rnn = SingleRNN("lstm", N_BINS, hidden, n_layers=2, bidirectional=True)
        self.embed = nn.Linear(2 * hidden, N_BINS * dim)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Map `(batch, bins, frames)` to `(batch, bins * frames, dim)`."""
        features = torch.log(magnitude + SMALLEST).transpose(1, 2)
        vectors = torch.tanh(self.embed(self.rnn(features)))
        vectors = vectors.unflatten(-1, (N_BINS, self.dim)).transpose(1, 2)
        return unit_norm(vectors.flatten(1, 2))


def transforms():
    """Its short-time Fourier transform and the inverse."""
    return make_enc_dec("stft", n_filters=WIN_LENGTH, kernel_size=WIN_LENGTH, stride=HOP_LENGTH)


def objective(options):
    """Take the unit norm and the loss, weights by activity."""
    vectors, classes, active = (torch.from_numpy(array) for array in objective_inputs(options))
    vectors = vectors.flatten(1, 2).requires_grad_()

    def run():
        vectors.grad = None
        deep_clustering_loss(unit_norm(vectors), classes, active).mean().backward()

    return run, lambda _: {}


def training_step(options):
    """Mixing (glue), features, labels, activity, network, loss, clipping, Adam."""
    network = Network(options["hidden"], options["dim"])
    encoder, _ = transforms()
    optimizer = torch.optim.Adam(network.parameters())
    bank, rng = speakers(), np.random.default_rng(0)
    n_samples = (options["frames"] - 1) * HOP_LENGTH + WIN_LENGTH

    def run():
        sources = torch.from_numpy(mix(bank, options["batch"], n_samples, rng))
        with torch.no_grad():
            magnitude = mag(encoder(sources.sum(1, keepdim=True)))
            classes = mag(encoder(sources)).argmax(1)
            active = ebased_vad(magnitude)
        loss = deep_clustering_loss(network(magnitude), classes, active).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    return run, lambda _: {"parameters": sum(x.numel() for x in network.parameters())}


@torch.no_grad()
def separation(options):
    """Transform, network, KMeans of the active bins, binary masks, inverse transform."""
    network = Network(options["hidden"], options["dim"]).eval()
    network.embed.weight.copy_(
        torch.from_numpy(embedding_layer(2 * options["hidden"], options["dim"]))
    )
    network.embed.bias.zero_()
    encoder, decoder = transforms()
    mixture = torch.from_numpy(recording(options))[None, None]

    @torch.no_grad()
    def run():
        spectrogram = encoder(mixture)
        magnitude = mag(spectrogram)
        vectors = network(magnitude)
        active = ebased_vad(magnitude)
        found = KMeans(n_clusters=N_SOURCES).fit_predict(vectors[active.flatten(1)].numpy())
        masks = torch.ones(1, N_SOURCES, *active.shape[1:])
        for source in range(N_SOURCES):
            masks[0, source][active[0]] = torch.from_numpy(found == source).float()
        return decoder(apply_mag_mask(spectrogram, masks))

    return run, lambda _: {"parameters": sum(x.numel() for x in network.parameters())}
