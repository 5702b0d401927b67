"""The trunk of bands without gradients: its LSTMs piece by piece against torch's LSTM.

Run: python examples/benchmarks/bands.py [--threads 2] [--batches 1x938 16x250]
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import torch
from measure import alternate, report

from skdc.network import BandBLSTM, EmbeddingNetwork, NetworkConfig
from skdc.network.kernels.cells import LSTMCells

SECONDS_A_FRAME = 0.032


def main() -> None:
    """Print times, ratios, speeds and the largest difference of the embeddings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", nargs="+", default=["1x250", "1x938", "16x250"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trunk = BandBLSTM(n_bands=24, fold=2, attention=True)
    network = EmbeddingNetwork(NetworkConfig(257, 20, 96, 4, trunk=trunk)).eval()
    for batch in args.batches:
        n_mixtures, n_frames = map(int, batch.split("x"))
        features = torch.randn(n_mixtures, n_frames, 257)

        def pieces(features: torch.Tensor = features) -> torch.Tensor:
            with torch.inference_mode():
                return network.project(features)

        def whole(features: torch.Tensor = features) -> torch.Tensor:
            with patch.object(LSTMCells, "is_faster", return_value=False):
                return pieces(features)

        medians = alternate({"torch's LSTM": whole, "piece by piece": pieces}, args.repeats)
        report(f"{n_mixtures} x {n_frames} frames", medians, "torch's LSTM")
        seconds = n_mixtures * n_frames * SECONDS_A_FRAME
        speed = seconds / medians["piece by piece"]
        difference = (pieces() - whole()).abs().max()
        print(f"  {speed:.0f} x real time; embeddings differ by {difference:.1g} at most")


if __name__ == "__main__":
    main()
