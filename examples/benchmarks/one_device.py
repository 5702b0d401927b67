"""A training step and the bundled model on one device, beside the limits measured there.

Run: python examples/benchmarks/one_device.py [--device cuda] [--batch 64 256] [--frames 400]

The step stands beside the bare network (the same layers, forward and backward, no data and no
objective) and beside one large product of matrices in bfloat16, whose rate counts as the device's
peak.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from candidates.plain import Network
from cases import HOP_LENGTH, N_BINS, SAMPLE_RATE, speakers
from measure import alternate, report

from skdc import load_pretrained
from skdc.datasets import load_sample_mixture
from skdc.mixing import SourceBank
from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.parameters import resolve_precision
from skdc.training import Trainer, TrainingConfig


def main() -> None:
    """Print the comparison for each size of the batch, then the speed of the bundled model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--hidden", type=int, default=600)
    parser.add_argument("--dim", type=int, default=40)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--side", type=int, default=8192, help="of the matrices of the product")
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0, 60.0])
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    precision = resolve_precision("auto", device)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    square = torch.randn(args.side, args.side, device=device, dtype=torch.bfloat16)
    bank = SourceBank(list(speakers()), device=device)
    for size in args.batch:
        network = EmbeddingNetwork(NetworkConfig(N_BINS, args.dim, args.hidden, 2)).to(device)
        config = TrainingConfig(
            segment_frames=(args.frames,),
            batch_size=size,
            precision=precision,
            max_epochs=10**6,
        )
        trainer = Trainer(network, bank, config)
        bare_network = Network(args.hidden, args.dim).to(device)
        features = torch.randn(size, args.frames, N_BINS, device=device)

        def product() -> None:
            torch.mm(square, square)
            wait()

        def bare(network=bare_network, features=features) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                vectors = network(features)
            vectors.backward(torch.ones_like(vectors))
            network.zero_grad()
            wait()

        def step(trainer=trainer) -> None:
            trainer.train_step()
            wait()

        medians = alternate({"bare network": bare, "skdc": step, "product": product}, args.repeats)
        peak = 2 * args.side**3 / medians.pop("product")
        report(f"step, {precision}, batch {size} x {args.frames}", medians, "bare network")
        hours = size * args.frames * HOP_LENGTH / SAMPLE_RATE / 3600
        # A multiplication and an addition a weight and frame, forward and twice backward.
        n_weights = sum(w.numel() for w in network.parameters() if w.dim() == 2)
        rate = 6 * n_weights * size * args.frames / medians["skdc"]
        print(f"  {hours / medians['skdc']:.3g} hours of mixtures a second")
        print(f"  {rate / 1e12:.3g} TFLOP/s, {rate / peak:.3g} of {peak / 1e12:.3g}")

    separator = load_pretrained(device=args.device)
    clip, _ = load_sample_mixture()
    for minutes in args.minutes:
        mixture = np.resize(clip, round(60 * minutes * SAMPLE_RATE))
        seconds = alternate({"skdc": lambda m=mixture: separator.predict(m)}, 3)["skdc"]
        print(f"bundled model, {minutes:g} minutes: {60 * minutes / seconds:.0f} x real time")


if __name__ == "__main__":
    main()
