"""Whether each channel of a recording holds one person: what their correlation tells.

The sources of a mixture as two channels have a talker each; in a simulated room, two microphones
that are 3 to 20 cm apart hear both. Prints the correlations, of which a warning goes by 0.1.

Run: ``python examples/benchmarks/channels.py 2spk-valid.csv --limit 80``
"""

import argparse

import numpy as np
import torch

from skdc.datasets import load_mixture_list
from skdc.signal import channel_similarity
from skdc.training.pairs import hear_in_pairs

RATE = 8000
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("list", metavar="LIST.csv", help="mixtures of two talkers")
parser.add_argument("--limit", type=int, default=80, help="mixtures (default: %(default)s)")
args = parser.parse_args()

generator = torch.Generator().manual_seed(0)
apart, together = [], []
for item in load_mixture_list(args.list, sample_rate=RATE)[: args.limit]:
    sources = torch.from_numpy(np.asarray(item.load()[1], dtype=np.float32))
    apart.append(channel_similarity(sources.numpy(), RATE))
    # Shape (1, n_sources, n_microphones, n_samples).
    heard = hear_in_pairs(sources[None], 1.0, sample_rate=RATE, generator=generator)
    together.append(channel_similarity(heard[0].sum(0).numpy(), RATE))
print(f"{len(apart)} pairs")
print(f"a talker each: at most {max(apart):.2f}, median {np.median(apart):.2f}")
print(f"two microphones in a room: at least {min(together):.2f}, median {np.median(together):.2f}")
