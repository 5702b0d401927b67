"""ESPnet 202511: its encoder, deep-clustering separator, criterion, solver and decoder.

Glue are the mixing and the training loop. Its network is smaller than the others': after the
BLSTM a layer halves the width, so that the last layer, the widest, has half the weights. It has no
unit norm and counts silent bins like any other.
"""

from __future__ import annotations

import numpy as np
import torch
from cases import (
    HOP_LENGTH,
    N_BINS,
    N_SOURCES,
    WIN_LENGTH,
    embedding_layer,
    embeddings,
    inertia,
    mix,
    objective_inputs,
    recording,
    speakers,
)
from espnet2.enh.decoder.stft_decoder import STFTDecoder
from espnet2.enh.encoder.stft_encoder import STFTEncoder
from espnet2.enh.loss.criterions.tf_domain import FrequencyDomainDPCL
from espnet2.enh.loss.wrappers.dpcl_solver import DPCLSolver
from espnet2.enh.separator.dpcl_separator import DPCLSeparator
from torch import nn


def objective(options, unit_norm=False):
    """Criterion; it takes spectra and finds the labels itself."""
    vectors, classes, _ = (torch.from_numpy(array) for array in objective_inputs(options))
    vectors = vectors.flatten(1, 2).requires_grad_()
    references = [(classes == source).float() for source in range(N_SOURCES)]
    criterion = FrequencyDomainDPCL()

    def run():
        vectors.grad = None
        inputs = nn.functional.normalize(vectors, dim=-1) if unit_norm else vectors
        criterion(references, inputs).mean().backward()

    return run, lambda _: {}


def training_step(options, full_width=False):
    """Mixing (glue), encoder, separator, solver, clipping, Adam."""
    network = DPCLSeparator(N_BINS, unit=options["hidden"], emb_D=options["dim"])
    if full_width:
        network.blstm.l_last = nn.Identity()
        network.linear = nn.Linear(2 * options["hidden"], N_BINS * options["dim"])
    encoder = STFTEncoder(WIN_LENGTH, WIN_LENGTH, HOP_LENGTH)
    solver = DPCLSolver(FrequencyDomainDPCL())
    optimizer = torch.optim.Adam(network.parameters())
    bank, rng = speakers(), np.random.default_rng(0)
    n_samples = (options["frames"] - 1) * HOP_LENGTH
    lengths = torch.full((options["batch"],), n_samples)

    def run():
        sources = torch.from_numpy(mix(bank, options["batch"], n_samples, rng))
        spectrogram, n_frames = encoder(sources.sum(1), lengths)
        references = [encoder(source, lengths)[0] for source in sources.unbind(1)]
        estimates, _, others = network(spectrogram, n_frames)
        loss, _, _ = solver(references, estimates, others)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    return run, lambda _: {"parameters": sum(x.numel() for x in network.parameters())}


class Given(nn.Module):
    """In place of a separator's recurrent layers: embeddings made beforehand."""

    def __init__(self, vectors) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, features, lengths):
        """Give them, whatever the input."""
        return self.vectors, lengths, None


@torch.no_grad()
def clustering(options):
    """Cluster in its separator, given embeddings in place of its network's."""
    points = embeddings(options)
    network = DPCLSeparator(N_BINS, unit=1, emb_D=options["dim"]).eval()
    network.blstm = Given(torch.from_numpy(points).view(1, -1, N_BINS * options["dim"]))
    network.linear = network.nonlinear = nn.Identity()
    spectrogram = torch.ones(1, len(points) // N_BINS, N_BINS)
    lengths = torch.tensor([spectrogram.shape[1]])

    @torch.no_grad()
    def run():
        masked, _, _ = network(spectrogram, lengths)
        return masked[1]

    # What is left of ones where the second mask is: the labels.
    return run, lambda masks: {"inertia": inertia(points, masks.flatten().long().numpy())}


@torch.no_grad()
def separation(options):
    """Run encoder, separator, decoder."""
    network = DPCLSeparator(N_BINS, unit=options["hidden"], emb_D=options["dim"]).eval()
    network.linear.weight.copy_(
        torch.from_numpy(embedding_layer(options["hidden"], options["dim"]))
    )
    network.linear.bias.zero_()
    encoder = STFTEncoder(WIN_LENGTH, WIN_LENGTH, HOP_LENGTH)
    decoder = STFTDecoder(WIN_LENGTH, WIN_LENGTH, HOP_LENGTH)
    mixture = torch.from_numpy(recording(options))[None]
    lengths = torch.tensor([mixture.shape[1]])

    @torch.no_grad()
    def run():
        masked, _, _ = network(*encoder(mixture, lengths))
        return [decoder(spectrogram, lengths)[0] for spectrogram in masked]

    return run, lambda _: {"parameters": sum(x.numel() for x in network.parameters())}
