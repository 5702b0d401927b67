"""What a service must reckon with: loading, latency, many requests at once, memory.

For one request, the time on the clock and the time of the processor are printed: the second is
what an idle machine would take with one thread. Run with as many threads of a product as a request
is to have, for instance
``OMP_NUM_THREADS=1 python examples/benchmarks/service.py``
"""

import argparse
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

import skdc
from skdc.datasets import load_sample_mixture

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", default="speech-8k", help="name or file of a model")
parser.add_argument("--seconds", type=float, nargs="+", default=[1, 3, 10, 60, 600])
parser.add_argument("--requests", type=int, default=16)
args = parser.parse_args()


def memory():
    """Largest memory of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


print(f"{args.model}, {torch.get_num_threads()} threads for a product")
load = "import sys, skdc; skdc.load_pretrained(sys.argv[1], device='cpu')"
start = time.perf_counter()
subprocess.run([sys.executable, "-c", load, args.model], check=True)
clock, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
processor = used.ru_utime + used.ru_stime
print(f"a new process that loads it: {clock:.1f} s, {processor:.1f} s of the processor")
model = skdc.load_pretrained(args.model, device="cpu")
print(f"memory with the model {memory():.0f} MB")
speech = load_sample_mixture()[0]
skdc.separate(speech, rate=8000, model=model)
for seconds in args.seconds:
    recording = np.resize(speech, int(8000 * seconds))
    clocks: list[float] = []
    processors: list[float] = []
    for _ in range(3):
        start, start_processor = time.perf_counter(), time.process_time()
        skdc.separate(recording, rate=8000, model=model)
        clocks.append(time.perf_counter() - start)
        processors.append(time.process_time() - start_processor)
    print(
        f"{seconds:g} s of audio: {1000 * min(clocks):.0f} ms, {1000 * min(processors):.0f} ms of "
        f"the processor; {memory():.0f} MB",
        flush=True,
    )
recordings = [speech[i : i + 24000] for i in range(args.requests)]
for n_threads in (1, 2, 4):
    with ThreadPoolExecutor(n_threads) as pool:
        start = time.perf_counter()
        list(pool.map(lambda x: skdc.separate(x, rate=8000, model=model), recordings))
        rate = args.requests / (time.perf_counter() - start)
    print(
        f"{n_threads} requests of 3 s at once: {rate:.1f} a second; {memory():.0f} MB", flush=True
    )
start = time.perf_counter()
model.predict(recordings)
rate = args.requests / (time.perf_counter() - start)
print(f"all of them in one call: {rate:.1f} a second; {memory():.0f} MB")
