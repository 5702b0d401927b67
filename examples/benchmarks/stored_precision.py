"""What storing a model as float16 costs: dB against the float32 weights of its training run.

Run: python examples/benchmarks/stored_precision.py MODEL CHECKPOINT LIST.csv [--mixtures 100]

MODEL is what `skdc train -o` wrote, CHECKPOINT what `--checkpoint` kept, LIST a list of mixtures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from skdc import DeepClusteringSeparator
from skdc.evaluation.run import Benchmark, evaluate_model
from skdc.evaluation.tables import score_values
from skdc.model_file import read_tensors
from skdc.protocols import open_mixture_list


def main() -> None:
    """Print the improvements of both, and what lies between."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("--mixtures", type=int, default=100)
    args = parser.parse_args()
    benchmark = Benchmark("speech", args.list.stem, open_mixture_list(args.list))
    stored, exact = (DeepClusteringSeparator.load(args.model) for _ in range(2))
    tensors, _ = read_tensors(args.checkpoint)
    kept = "best." if any(name.startswith("best.") for name in tensors) else "averaged."
    weights = {name.removeprefix(kept): t for name, t in tensors.items() if name.startswith(kept)}
    exact.network_.load_state_dict(weights)
    for name, weight in stored.network_.state_dict().items():
        if not weight.equal(weights[name].half().float()):
            raise SystemExit(f"{name} of the model is not that of the checkpoint, rounded")
    means = {}
    for name, model in (("float32", exact), ("float16", stored)):
        rows = evaluate_model(model, benchmark, limit=args.mixtures, progress=None)
        columns = ("sdr_improvement", "si_sdr_improvement")
        means[name] = [score_values(rows, column).mean() for column in columns]
        print(f"{name}: SDR {means[name][0]:.3f} dB, SI-SDR {means[name][1]:.3f} dB improvement")
    lost = [
        exact - stored for exact, stored in zip(means["float32"], means["float16"], strict=True)
    ]
    print(f"lost: SDR {lost[0]:.3f} dB, SI-SDR {lost[1]:.3f} dB on {len(rows)} mixtures")


if __name__ == "__main__":
    main()
