"""Where the time of a training step goes: its parts, in both precisions.

Run: python examples/benchmarks/parts.py [--threads 2] [--profile]
"""

from __future__ import annotations

import argparse

import torch
from cases import speakers
from measure import alternate

from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.network.kernels.projection import project_active
from skdc.objectives import BalancedAffinity, Outputs, Targets, one_hot_labels
from skdc.training import Trainer, TrainingConfig
from skdc.training.banks import SourceBank


def main() -> None:
    """Print milliseconds of each part at three shapes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="of the LSTM: torch's operators")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bank = SourceBank(list(speakers()))
    for hidden, dim, size, frames in (
        (300, 20, 16, 100),
        (600, 40, 16, 100),
        (600, 40, 8, 400),
    ):
        network = EmbeddingNetwork(NetworkConfig(129, dim, hidden, 2))
        trainer = Trainer(network, bank, TrainingConfig(max_epochs=10**6))
        batch = bank.batch(size, frames, seed=0, step=0)
        labels = one_hot_labels(batch.labels, 2).flatten(1, 2)
        hidden_states = torch.randn(size, frames, 2 * hidden, requires_grad=True)
        vectors = torch.randn(size, frames * 129, dim, requires_grad=True)

        def train(forward, precision, network=network) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                outputs = forward()
            torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])
            network.zero_grad()

        def optimise(trainer=trainer) -> None:
            for parameter in trainer.network.parameters():
                parameter.grad = torch.zeros_like(parameter)
            trainer.optimizer.step()

        def objective(vectors=vectors, labels=labels, batch=batch) -> list[torch.Tensor]:
            targets = Targets(labels, batch.weights.flatten(1))
            return [BalancedAffinity()(Outputs(vectors), targets)]

        def active(precision, layer=network.embed, batch=batch, states=hidden_states):
            states = states.to(getattr(torch, precision))
            return project_active(states, layer.weight, layer.bias, batch.weights > 0)

        works = {
            "batch": lambda size=size, frames=frames: bank.batch(size, frames, seed=0, step=0),
            "objective": lambda objective=objective: train(objective, "float32"),
            "optimiser": optimise,
        }
        for precision in ("float32", "bfloat16"):
            works[f"LSTM, {precision}"] = lambda n=network, b=batch, p=precision: train(
                lambda: [n.states(b.features)], p
            )
            works[f"whole layer, {precision}"] = lambda n=network, h=hidden_states, p=precision: (
                train(lambda: [n.spread(h)], p)
            )
            works[f"active bins, {precision}"] = lambda f=active, p=precision: train(
                lambda: f(p), p
            )
        medians = alternate(works, args.repeats)
        print(f"2 x {hidden}, K {dim}, batch {size} x {frames}")
        for name, seconds in medians.items():
            print(f"  {name:24s} {1000 * seconds:7.0f} ms")
        if args.profile:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
                works["LSTM, bfloat16"]()
            print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=8))


if __name__ == "__main__":
    main()
