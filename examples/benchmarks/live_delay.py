"""Whether a machine keeps up with live audio, and how much a player must have in hand for that.

The sample clips, whose five speakers follow one another, are pushed in pieces of one hop, as a
microphone would give them. One thread; the time is that of the clock, so that nothing else should
run beside it.

Run: python examples/benchmarks/live_delay.py [--model speech-2mix-8k-live] [--minutes 2.5]
"""

import argparse
import time
from itertools import cycle

import numpy as np
import torch

from skdc import StreamingSeparator, load_pretrained
from skdc.datasets import load_sample_clips

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", default="speech-2mix-8k-live", help="name or file of a model")
parser.add_argument("--block", type=float, default=0.0, help="seconds (default: one frame)")
parser.add_argument("--minutes", type=float, default=2.5)
args = parser.parse_args()

torch.set_num_threads(1)
separator = load_pretrained(args.model, device="cpu")
stream = StreamingSeparator(separator, block=args.block, wait=False)
rate, hop = stream.sample_rate, separator.hop_length
n_samples = int(60 * args.minutes * rate)
parts, n_made = [], 0
for clip in cycle(load_sample_clips()):
    if n_made >= n_samples:
        break
    parts.append(clip.waveform / np.abs(clip.waveform).max())
    n_made += len(clip.waveform)
mixture = np.concatenate(parts)[:n_samples].astype(np.float32)

spent, late = [], [0.0]
for start in range(0, n_samples, hop):
    begun = time.perf_counter()
    stream.push(mixture[start : start + hop])
    spent.append(time.perf_counter() - begun)
    # A piece waits until those before it are done: seconds from its coming in to its sources.
    late.append(max(0.0, late[-1] - hop / rate) + spent[-1])

middle, most, longest = (f"{1000 * x:.1f} ms" for x in np.quantile(spent, [0.5, 0.99, 1.0]))
print(f"{args.model}, {args.minutes:g} minutes in pieces of {1000 * hop / rate:.0f} ms:")
print(f"  a piece takes {middle}, 99 of 100 at most {most}, the longest {longest}")
print(f"  sources come {1000 * max(late):.1f} ms late at most, beside the latency")
print(f"  {n_samples / rate / sum(spent):.1f} times real time")
