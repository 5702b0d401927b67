"""A whole training step against the bare network: the same LSTM and linear layer, nothing else.

Run: python examples/benchmarks/training_step.py [--threads 2] [--precision bfloat16]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from measure import alternate, report

from skdc.mixing import Framing, SourceBank
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.parameters import resolve_precision
from skdc.training import Trainer, TrainingConfig


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cpu")
    precision = resolve_precision(args.precision, device)
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.random((8, 400)) < 0.6, 2000, axis=1)
    bank = SourceBank(list(rng.standard_normal(envelope.shape) * envelope), framing=Framing())
    for hidden, dim, size, frames in (
        (300, 20, 16, 100),
        (600, 40, 16, 100),
        (600, 40, 8, 400),
    ):
        network = EmbeddingNetwork(NetworkConfig(129, dim, hidden, 2))
        config = TrainingConfig(
            segment_frames=(frames,), batch_size=size, precision=precision, max_epochs=10**6
        )
        trainer = Trainer(network, bank, config)
        features = torch.randn(size, frames, 129)

        def trunk(network=network, features=features) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                vectors = network.project(features)
            vectors.backward(torch.ones_like(vectors))
            network.zero_grad()

        medians = alternate({"bare network": trunk, "skdc": trainer.train_step}, args.repeats)
        title = f"2 x {hidden}, K {dim}, batch {size} x {frames}, {precision}"
        report(title, medians, "bare network")


if __name__ == "__main__":
    main()
