"""One, two and four microphones in simulated rooms: SI-SDR improvement at the first of them.

``SPEECH`` is a folder as for ``skdc evaluate --protocol speech``. Each mixture stands in a room of
its own, 4 x 3.5 x 2.5 to 8 x 6 x 3.2 m, that reverberates for 0.2 to 0.6 s (T60). Four microphones
5 cm apart form a line; two are the first and the last of them. The talkers are 0.7 to 2 m away, at
least 30 degrees apart. References are what each talker alone sounds like at the first microphone,
with the reverberation. Needs ``pip install "skdc[rooms]"``.

With ``--count`` it tells how many people talk instead, one, two or three, where nobody says so.
Single talkers are the first ones of the mixtures of two.

Run: ``python examples/benchmarks/microphones.py SPEECH --limit 40``
"""

import argparse
from typing import Literal

import numpy as np
import pyroomacoustics
import torch
from numpy.typing import NDArray

from skdc import load_pretrained, separate_array
from skdc.metrics import si_sdr_improvement
from skdc.protocols import open_protocol
from skdc.separation.microphones import joined_masks

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("speech", metavar="SPEECH", help="folder of recordings and lists")
parser.add_argument("--subset", default="2spk-open", help="list (default: %(default)s)")
parser.add_argument("--limit", type=int, help="mixtures (default: all)")
parser.add_argument(
    "--model", nargs="+", default=["speech-8k"], help="name or file; several separate together"
)
parser.add_argument("--count", action="store_true", help="how many talk, of 1 to 3")
args = parser.parse_args()

ARRAYS = {1: [0], 2: [0, 3], 4: [0, 1, 2, 3]}
Method = Literal["masks", "wiener", "mvdr"]
# A single microphone has the first only.
METHODS: tuple[Method, ...] = ("masks", "wiener", "mvdr")
# Reflections that are simulated one by one. Walls that absorb little need more for a whole decay;
# what is then missing is the weak end of it.
MAX_ORDER = 25

torch.set_num_threads(1)
models = [load_pretrained(name, device="cpu") for name in args.model]
rng = np.random.default_rng(0)


def draw_places(size, centre, n_talkers):
    """Places around the microphones, not too near to walls and to each other."""
    angles: list[float] = []
    places: list[NDArray[np.float64]] = []
    while len(places) < n_talkers:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 2)
        offset = [distance * np.cos(angle), distance * np.sin(angle), rng.uniform(0, 0.4)]
        apart = np.abs((np.array(angles) - angle + np.pi) % (2 * np.pi) - np.pi)
        place = centre + offset
        if (place > 0.3).all() and (place < size - 0.3).all() and (apart > np.pi / 6).all():
            angles.append(angle)
            places.append(place)
    return places


def draw_room():
    """Size, absorption of the walls, and T60 of a room."""
    while True:
        size, t60 = rng.uniform([4, 3.5, 2.5], [8, 6, 3.2]), rng.uniform(0.2, 0.6)
        try:
            absorption, order = pyroomacoustics.inverse_sabine(t60, size)
        except ValueError:  # no walls absorb as much as this takes
            continue
        return size, absorption, min(order, MAX_ORDER), t60


def simulate(talkers):
    """Images of the talkers at four microphones, ``(n_talkers, 4, n_samples)``, and T60."""
    size, absorption, order, t60 = draw_room()
    rate, material = models[0].sample_rate, pyroomacoustics.Material(absorption)
    room = pyroomacoustics.ShoeBox(size, fs=rate, materials=material, max_order=order)
    centre = np.array([*rng.uniform(1.2, size[:2] - 1.2), rng.uniform(1, 1.5)])
    angle = rng.uniform(0, np.pi)
    line = np.array([np.cos(angle), np.sin(angle), 0])
    room.add_microphone_array(centre[:, None] + line[:, None] * 0.05 * (np.arange(4) - 1.5))
    for place, talker in zip(draw_places(size, centre, len(talkers)), talkers, strict=True):
        room.add_source(place, signal=talker.astype(np.float64))
    images = room.simulate(return_premix=True)
    return images[..., : talkers.shape[1]], t60


def mask(recording, n_sources):
    """Separate by the masks of the network alone, without any filter."""
    pipelines = [model.pipeline() for model in models]
    framing = pipelines[0].framing
    spectrograms = framing.stft(torch.from_numpy(recording).float())
    with torch.no_grad():
        masks = joined_masks(pipelines, spectrograms, n_sources)
    return framing.istft(masks * spectrograms[0], recording.shape[1]).numpy()


def mixtures(subset):
    """Give what the talkers of the mixtures of a list say, ``(n_talkers, n_samples)`` each."""
    for listed in open_protocol("speech", args.speech, subset=subset)[: args.limit]:
        yield listed.load()[1]


def count():
    """Print how many of the numbers of talkers are found, by what is there and by the array."""
    split = args.subset.split("-")[1]
    print("| talkers | microphones | found 1, 2, 3, 4 or more | right |")
    print("| ---: | ---: | --- | ---: |")
    for n_talkers in (1, 2, 3):
        found = {n_microphones: np.zeros(4, int) for n_microphones in ARRAYS}
        for talkers in mixtures(f"{max(2, n_talkers)}spk-{split}"):
            recording = simulate(talkers[:n_talkers])[0].sum(axis=0)
            for n_microphones, chosen in ARRAYS.items():
                found[n_microphones][min(4, len(mask(recording[chosen], None))) - 1] += 1
        for n_microphones, counts in found.items():
            right = counts[n_talkers - 1] / counts.sum()
            told = ", ".join(map(str, counts))
            print(f"| {n_talkers} | {n_microphones} | {told} | {100 * right:.0f} % |")


if args.count:
    count()
    raise SystemExit
scores: dict[tuple[int, Method], list[float]] = {}
times = []
for talkers in mixtures(args.subset):
    images, t60 = simulate(talkers)
    recording = images.sum(axis=0)
    times.append(t60)
    for n_microphones, chosen in ARRAYS.items():
        for method in METHODS if n_microphones > 1 else METHODS[:1]:
            if method == "masks":
                found = mask(recording[chosen], len(talkers))
            else:
                found = separate_array(
                    models, recording[chosen], n_sources=len(talkers), method=method
                )
            gain = si_sdr_improvement(images[:, 0], found, recording[0]).mean()
            scores.setdefault((n_microphones, method), []).append(gain)

is_short = np.array(times) < 0.4
print(f"{len(times)} rooms, mixtures of {args.subset}, {is_short.sum()} with T60 below 0.4 s")
print("| microphones | filter | SI-SDR | to one | T60 0.2 to 0.4 s | T60 0.4 to 0.6 s |")
print("| ---: | --- | ---: | ---: | ---: | ---: |")
one = np.mean(scores[1, "masks"])
for (n_microphones, method), decibels in scores.items():
    gains = np.array(decibels)
    print(
        f"| {n_microphones} | {method} | {gains.mean():.2f} dB | {gains.mean() - one:+.2f} dB "
        f"| {gains[is_short].mean():.2f} dB | {gains[~is_short].mean():.2f} dB |"
    )
