"""Where the time of a training step goes: its parts, in both precisions.

Run: python examples/benchmarks/parts.py [--threads 2] [--profile]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from cases import speakers
from measure import alternate

from skdc.network import BLSTM, EmbeddingNetwork, NetworkConfig
from skdc.objectives import resolve_objective
from skdc.signal import Framing
from skdc.training import SourceBank, Trainer, TrainingConfig, batch_loss

SAMPLE_RATE = 8000
MASKS = "attractor_masks + 1.6 * attractor_masks(error='distortion', n_iter=5)"
BEST = f"balanced_affinity + {MASKS}"  # of configs/best.toml
LIVE = f"whitened_kmeans + {MASKS}"
TWO: dict[str, Any] = {"n_layers": 2}
FOUR: dict[str, Any] = {"n_layers": 4, "trunk": BLSTM(residual=True)}
CAUSAL: dict[str, Any] = FOUR | {"bidirectional": False}
# Name, window, hop, units, embedding, batch, frames, objective, more of the network.
CASES = (
    ("best", 512, 256, 192, 14, 16, 125, BEST, TWO),
    ("live", 512, 256, 300, 20, 16, 125, LIVE, CAUSAL),
    ("2 x 300", 256, 64, 300, 20, 16, 100, "balanced_affinity", TWO),
    ("2 x 600", 256, 64, 600, 40, 16, 100, "balanced_affinity", TWO),
    ("2 x 600, long", 256, 64, 600, 40, 8, 400, "balanced_affinity", TWO),
)


def main() -> None:
    """Print milliseconds of each part, and of the whole step against the bare network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=[case[0] for case in CASES])
    parser.add_argument("--profile", action="store_true", help="of the trunk: torch's operators")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name, win, hop, hidden, dim, size, frames, text, more in CASES:
        if name not in args.cases:
            continue
        framing = Framing(win, hop, is_causal=not more.get("bidirectional", True))
        bank = SourceBank(list(speakers()), framing=framing)
        objective = resolve_objective(text)
        needed = "spectrograms" in objective.needs
        make = partial(bank.batch, size, frames, seed=0, step=0, with_spectrograms=needed)
        network = EmbeddingNetwork(NetworkConfig(framing.n_bins, dim, hidden, **more))
        batch = make()
        works: dict[str, Callable[[], object]] = {"batch": make}
        for precision in ("float32", "bfloat16"):
            autocast = partial(
                torch.autocast, "cpu", torch.bfloat16, enabled=precision == "bfloat16"
            )
            config = TrainingConfig(
                objective, (frames,), size, max_epochs=10**6, precision=precision
            )
            run = Trainer(network, bank, config)

            def bare(whole, autocast=autocast, network=network, batch=batch) -> None:
                with autocast():
                    states = network.states(batch.features)
                    outputs = network.embed(states) if whole else states
                outputs.backward(torch.ones_like(outputs))
                network.zero_grad()

            def learn(autocast=autocast, network=network, batch=batch, own=objective) -> None:
                with autocast():
                    loss = batch_loss(network, batch, own)
                loss.backward()
                network.zero_grad()

            works |= {
                f"trunk, {precision}": partial(bare, False),
                f"bare network, {precision}": partial(bare, True),
                f"with objective, {precision}": learn,
                f"whole step, {precision}": run.train_step,
            }
        medians = alternate(works, args.repeats)
        layers = f"{more['n_layers']} x {hidden}"
        print(f"{name}: {layers}, K {dim}, {win}/{hop}, batch {size} x {frames}, {text}")
        for part, seconds in medians.items():
            print(f"  {part:26s} {1000 * seconds:7.0f} ms")
        for precision in ("float32", "bfloat16"):
            step, network_alone = (
                medians[f"{part}, {precision}"] for part in ("whole step", "bare network")
            )
            print(f"  whole step / bare network, {precision}: {step / network_alone:.2f}")
            speed = size * frames * hop / SAMPLE_RATE / step
            print(f"  mixtures by the whole step, {precision}: {speed:.0f} x real time")
        if args.profile:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
                works["trunk, bfloat16"]()
            print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=8))


if __name__ == "__main__":
    main()
