"""A stream beside the same network on whole recordings: dB against latency, and time.

``SPEECH`` is a folder as for ``skdc evaluate --protocol speech``. Each setting is four durations
in seconds, ``BLOCK,LOOKAHEAD,WARM_UP,CONTEXT``. Mixtures are pushed in pieces of 20 ms. The time
is that of the processor, with one thread. ``--csv`` keeps the scores of each mixture as they are
known, and the same command goes on from there. ``--no-wait`` streams with ``wait=False``, where
the warm-up is not separated, and scores what comes after the longest of the warm-ups alone.

Run: ``python examples/benchmarks/streaming.py SPEECH --csv streaming.csv --plot curve.png``
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from skdc import StreamingSeparator, load_pretrained
from skdc.metrics import evaluate_separation
from skdc.protocols import open_protocol

SETTINGS = [
    "0.064,0,1.5,0.5",
    "0.125,0.125,1.5,0.75",
    "0.25,0.25,1.5,1",
    "0.25,0.25,0.3,1",
    "0.5,0.5,1.5,1",
]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("speech", metavar="SPEECH", help="folder of recordings and lists")
parser.add_argument("--subset", default="2spk-open", help="list (default: %(default)s)")
parser.add_argument("--limit", type=int, help="mixtures (default: all)")
parser.add_argument("--model", default="speech-8k", help="name or file of a model")
parser.add_argument("--settings", nargs="+", default=SETTINGS, help="(default: %(default)s)")
parser.add_argument("--minutes", type=float, default=600, help="after which it ends with fewer")
parser.add_argument("--no-wait", action="store_true", help="score what follows the warm-up")
parser.add_argument("--csv", metavar="FILE", type=Path, help="scores of each mixture, kept")
parser.add_argument("--plot", metavar="FILE", help="picture of the curve")
args = parser.parse_args()

torch.set_num_threads(1)
model = load_pretrained(args.model, device="cpu")
streams = {}
for text in args.settings:
    block, lookahead, warm_up, context = map(float, text.split(","))
    streams[text] = StreamingSeparator(
        model,
        block=block,
        lookahead=lookahead,
        warm_up=warm_up,
        context=context,
        wait=not args.no_wait,
    )
n_left_out = 0
subset = args.subset
if args.no_wait:
    longest_ms = max(stream.warm_up_ms + stream.latency_ms for stream in streams.values())
    n_left_out = round(longest_ms * model.sample_rate / 1000)
    subset += f", after {n_left_out / model.sample_rate:.1f} s"


def pushed(stream, mixture):
    """Push a mixture in pieces of 20 ms."""
    step = model.sample_rate // 50
    parts = [stream.push(mixture[i : i + step]) for i in range(0, len(mixture), step)]
    return np.concatenate([*parts, stream.flush()], axis=1)


names = ["whole", *streams]
COLUMNS = ["model", "subset", "mixture", "name", "sdr", "si_sdr", "audio_s", "processor_s"]
rows = []
if args.csv and args.csv.exists():
    with args.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
is_done = {(r["model"], r["subset"], r["mixture"], r["name"]) for r in rows}
started = time.monotonic()
for listed in open_protocol("speech", args.speech, subset=args.subset)[: args.limit]:
    if time.monotonic() - started > 60 * args.minutes:
        break
    keys = [(args.model, subset, listed.mixture_id, name) for name in names]
    left = [key for key in keys if key not in is_done]
    if not left:
        continue
    mixture, references = listed.load()
    new = []
    for key in left:
        name = key[-1]
        start = time.process_time()
        sources = model.predict(mixture) if name == "whole" else pushed(streams[name], mixture)
        spent = time.process_time() - start
        later = (x[..., n_left_out:] for x in (references, sources, mixture))
        found = evaluate_separation(*later)
        sdrs = [found["sdr_improvement"].mean(), found["si_sdr_improvement"].mean()]
        values = [*key, *sdrs, len(mixture) / model.sample_rate, spent]
        new.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    rows += new
    if args.csv:
        is_new = not args.csv.exists()
        with args.csv.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerows(new)

rows = [r for r in rows if (r["model"], r["subset"]) == (args.model, subset)]
of_each = {name: {r["mixture"]: r for r in rows if r["name"] == name} for name in names}
# Mixtures that every setting has, so that all means are of the same ones
common = sorted(set.intersection(*(set(found) for found in of_each.values())))[: args.limit]


def column(name, what):
    """Give a column of the mixtures that every setting has."""
    return np.array([float(of_each[name][mixture][what]) for mixture in common])


means = {name: [column(name, what).mean() for what in ("sdr", "si_sdr")] for name in names}
speeds = {
    name: column(name, "audio_s").sum() / column(name, "processor_s").sum() for name in names
}
n_mixtures = len(common)
seconds = column("whole", "audio_s").sum()
print(f"{n_mixtures} mixtures of {subset}, {seconds / n_mixtures:.1f} s on average")
print(
    "| block | look-ahead | warm-up | context | latency | SDR | SI-SDR | to whole | x real time |"
)
print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
for name, (sdr, si_sdr) in means.items():
    if name == "whole":
        first = "| whole recording |  |  |  |  "
    else:
        durations = " | ".join(f"{1000 * float(x):.0f} ms" for x in name.split(","))
        latency = f"{streams[name].latency_ms:.0f} ms"
        first = f"| {durations} | {latency} "
    print(
        f"{first}| {sdr:.2f} dB | {si_sdr:.2f} dB | {sdr - means['whole'][0]:+.2f} dB "
        f"| {speeds[name]:.1f} |"
    )

if args.plot:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.axhline(means["whole"][0], color="0.6", label="whole recording")
    for warm_up in sorted({float(name.split(",")[2]) for name in streams}):
        chosen = [name for name in streams if float(name.split(",")[2]) == warm_up]
        chosen.sort(key=lambda name: streams[name].latency_ms)
        points = [(streams[name].latency_ms, means[name][0]) for name in chosen]
        axes.plot(*zip(*points, strict=True), "o-", label=f"{warm_up:g} s warm-up")
    axes.set(xlabel="latency (ms)", ylabel="SDR improvement (dB)")
    axes.set_ylim(0, 1.1 * max(sdr for sdr, _ in means.values()))
    axes.legend(loc="lower right")
    figure.savefig(args.plot, dpi=120)
