"""nussl 1.1.9: its model, loss, training closure, data set with transforms, and separation.

Glue are the mixing, and what its `load_model` sets on a separation object.
"""

from __future__ import annotations

import numpy as np
import nussl
import torch
from cases import (
    HOP_LENGTH,
    N_BINS,
    N_SOURCES,
    SAMPLE_RATE,
    WIN_LENGTH,
    embedding_layer,
    embeddings,
    inertia,
    mix,
    objective_inputs,
    recording,
    speakers,
)
from nussl.datasets import transforms
from torch import nn

STFT = nussl.STFTParams(window_length=WIN_LENGTH, hop_length=HOP_LENGTH, window_type="sqrt_hann")


def model(options):
    """Its deep-clustering network as its recipes build it."""
    config = nussl.ml.networks.builders.build_recurrent_dpcl(
        num_features=N_BINS,
        hidden_size=options["hidden"],
        num_layers=2,
        bidirectional=True,
        dropout=0.0,
        embedding_size=options["dim"],
        embedding_activation=["sigmoid", "unit_norm"],
    )
    return nussl.ml.SeparationModel(config)


def objective(options):
    """Loss, which has the unit norm in it."""
    vectors, classes, active = (torch.from_numpy(array) for array in objective_inputs(options))
    vectors.requires_grad_()
    labels, weights = nn.functional.one_hot(classes, N_SOURCES).float(), active.float()
    loss = nussl.ml.train.loss.DeepClusteringLoss()

    def run():
        vectors.grad = None
        loss(vectors, labels, weights).backward()

    return run, lambda _: {}


def training_step(options):
    """Mixing (glue), its data set, transforms, model and closure; clipping and Adam."""
    network = model(options)
    bank, rng = speakers(), np.random.default_rng(0)

    def draw(dataset, index):
        sources = mix(bank, 1, options["frames"] * HOP_LENGTH, rng)[0]
        mixture, *parts = (
            nussl.AudioSignal(audio_data_array=x, sample_rate=SAMPLE_RATE, stft_params=STFT)
            for x in (sources.sum(0), *sources)
        )
        return {"mix": mixture, "sources": {str(i): part for i, part in enumerate(parts)}}

    dataset = nussl.datasets.OnTheFly(
        draw,
        10**6,
        sample_rate=SAMPLE_RATE,
        stft_params=STFT,
        transform=transforms.Compose(
            [
                transforms.MagnitudeSpectrumApproximation(),
                transforms.MagnitudeWeights(),
                transforms.ToSeparationModel(),
                transforms.GetExcerpt(options["frames"]),
            ]
        ),
    )
    batches = iter(torch.utils.data.DataLoader(dataset, batch_size=options["batch"]))
    optimizer = torch.optim.Adam(network.parameters())

    def clip(*_):
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)

    optimizer.register_step_pre_hook(clip)
    closure = nussl.ml.train.closures.TrainClosure({"DeepClusteringLoss": {}}, optimizer, network)

    def run():
        closure(None, {key: value.float() for key, value in next(batches).items()})

    return run, lambda _: {"parameters": sum(x.numel() for x in network.parameters())}


def signal(samples):
    """Wrap a waveform."""
    return nussl.AudioSignal(audio_data_array=samples, sample_rate=SAMPLE_RATE, stft_params=STFT)


def clustering(options):
    """Cluster as its separation classes do: fit on the loudest tenth of the bins, assign all."""
    points = embeddings(options)
    mixture = signal(recording(options))
    n_frames = mixture.stft().shape[1]
    # The transform of the peer has a few frames more than the others'; their bins get the first.
    shape = (N_BINS, n_frames, 1, options["dim"])
    features = np.resize(points, shape)

    separator = nussl.separation.base.ClusteringSeparationBase(mixture, N_SOURCES)
    separator._preprocess_audio_signal()  # finds the loudest bins

    def run():
        return separator.run(features)

    def figures(masks):
        labels = np.argmax([mask.mask.ravel() for mask in masks], axis=0)
        return {"inertia": inertia(points, labels[: len(points)])}

    return run, figures


@torch.no_grad()
def separation(options):
    """Transform, network, clustering, soft masks, inverse transform."""
    network = model(options).eval()
    linear = network.layers["embedding"].linear
    linear.weight.copy_(torch.from_numpy(embedding_layer(2 * options["hidden"], options["dim"])))
    linear.bias.zero_()
    mixture = recording(options)

    def run():
        separator = nussl.separation.deep.DeepClustering(signal(mixture), N_SOURCES)
        separator.model, separator.device = network, "cpu"
        separator.transform = transforms.Compose(
            [transforms.MagnitudeSpectrumApproximation(), transforms.ToSeparationModel()]
        )
        separator.metadata.update(sample_rate=SAMPLE_RATE, stft_params=STFT, num_channels=1)
        return separator()

    return run, lambda _: {"parameters": sum(x.numel() for x in network.parameters())}
