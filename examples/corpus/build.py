"""Build a folder to train and measure on from public corpora, as people download them.

- LibriSpeech (https://www.openslr.org/12, CC BY 4.0): the folder ``LibriSpeech`` that its archives
  unpack to. ``train-*`` is trained on, ``dev-*`` and ``test-other`` give speakers to validate
  with, ``test-clean`` those to test with.
- speechocean762 (https://www.openslr.org/101): the folder with ``WAVE``, ``train`` and ``test``.
- CMU AN4 (http://www.speech.cs.cmu.edu/databases/an4): the folder ``an4`` of
  ``an4_sphere.tar.gz``.
- CMU ARCTIC (http://www.festvox.org/cmu_arctic): folders such as ``cmu_us_bdl_arctic``.

The result has ``utterances.csv``, recordings (FLAC, 8 kHz, mono) in ``SPLIT/SPEAKER/``, and lists
of mixtures in ``mixtures/``: ``2spk-valid`` and ``3spk-valid`` to choose with, and ``open``
(speakers in no other split) and ``closed`` (other recordings of speakers that are trained on) to
report. The same corpora and seed give the same folder, to the bit.

Run: ``python examples/corpus/build.py speech --librispeech LibriSpeech --speechocean
speechocean762 --an4 an4 --arctic cmu_us_bdl_arctic cmu_us_slt_arctic``, then ``skdc train --data
speech --valid speech/mixtures/2spk-valid.csv`` and ``skdc evaluate --protocol speech --root speech
--subset 2spk-open``.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skdc.audio import read_audio, write_audio
from skdc.signal import active_level

RATE_HZ = 8000
SHORTEST_S = 1.0
# At most this of each speaker to train on, and of speakers of the closed set to test with.
MOST_TRAINING_S = 14 * 60.0
MOST_TEST_S = 60.0
# Shares of the speakers of corpora that have no parts of their own for this.
VALID_SHARE, OPEN_SHARE, CLOSED_SHARE = 0.06, 0.05, 0.1
LISTS = {"valid": (200, 100), "open": (300, 200), "closed": (300, 200)}
ARCTIC_WOMEN = {"slt", "clb", "lnh", "eey", "ljm", "axb"}


class Recording(NamedTuple):
    """A file, who speaks in it, and which split its corpus has it for, if it says so."""

    corpus: str
    speaker: str
    sex: str
    path: Path
    split: str = ""


def librispeech(root):
    """PART/SPEAKER/CHAPTER/*.flac, and SPEAKERS.TXT."""
    table = root / "SPEAKERS.TXT"
    lines = table.read_text("utf-8").splitlines() if table.is_file() else []
    rows = [line.split("|") for line in lines if not line.startswith(";")]
    sexes = {row[0].strip(): row[1].strip().lower() for row in rows if len(row) > 1}
    for path in sorted(root.glob("*/*/*/*.flac")):
        part, speaker = path.relative_to(root).parts[:2]
        split = "train" if part.startswith("train") else "valid"
        split = "test-open" if part == "test-clean" else split
        yield Recording("libri", f"libri-{speaker}", sexes.get(speaker, "?"), path, split)


def speechocean(root):
    """WAVE/SPEAKERnnnn/*.WAV, and train/spk2gender, test/spk2gender."""
    sexes: dict[str, str] = {}
    for table in sorted(root.glob("*/spk2gender")):
        sexes |= dict(line.split()[:2] for line in table.read_text("utf-8").splitlines() if line)
    for path in sorted(root.glob("WAVE/SPEAKER*/*")):
        if path.suffix.lower() == ".wav":
            number = path.parent.name.removeprefix("SPEAKER")
            sex = sexes.get(number, "?")
            yield Recording("ocean", f"ocean-{path.parent.name}", sex, path)


def an4(root):
    """wav/PART/SPEAKER/*.sph; the names of speakers begin with their sex."""
    for path in sorted(root.glob("wav/*/*/*")):
        if path.suffix.lower() in {".sph", ".wav"}:
            speaker = path.parent.name
            yield Recording("an4", f"an4-{speaker}", speaker[0] if speaker else "?", path)


def arctic(root):
    """cmu_us_NAME_arctic/wav/*.wav: one speaker; all are trained on."""
    name = root.name.removeprefix("cmu_us_").split("_")[0]
    for path in sorted(root.glob("wav/*.wav")):
        sex = "f" if name in ARCTIC_WOMEN else "m"
        yield Recording("arctic", f"arctic-{name}", sex, path, "train")


def divide(recordings, rng):
    """Give each recording its split."""
    by_speaker = defaultdict(list)
    for recording in recordings:
        by_speaker[recording.corpus, recording.speaker, recording.split].append(recording)
    free = sorted(key for key in by_speaker if not key[2])
    order = rng.permutation(len(free))
    n_valid, n_open = round(VALID_SHARE * len(free)), round(OPEN_SHARE * len(free))
    split_of = {free[i]: "valid" for i in order[:n_valid]}
    split_of |= {free[i]: "test-open" for i in order[n_valid : n_valid + n_open]}
    divided = []
    for key in sorted(by_speaker):
        split = key[2] or split_of.get(key, "train")
        items = by_speaker[key]
        is_closed = split == "train" and len(items) > 4 and rng.random() < CLOSED_SHARE
        divided.append((split, items, is_closed))
    # The closed set must have three speakers at least, where there are so many.
    again = [
        i
        for i, (split, items, is_closed) in enumerate(divided)
        if split == "train" and len(items) > 4 and not is_closed
    ]
    for i in again[: max(0, 3 - sum(is_closed for *_, is_closed in divided))]:
        divided[i] = (*divided[i][:2], True)
    return divided


def convert(root, divided):
    """Write recordings; give the rows of the table, and the waveforms to mix."""
    rows: list[list[str]] = []
    waveforms: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for split, items, is_closed in divided:
        seconds: defaultdict[str, float] = defaultdict(float)
        for number, item in enumerate(items):
            # Every fifth recording of a speaker of the closed set is kept from training.
            place = "test-closed" if is_closed and number % 5 == 4 else split
            most = MOST_TRAINING_S if place == "train" else MOST_TEST_S
            waveform, _ = read_audio(item.path, sample_rate=RATE_HZ)
            length = len(waveform) / RATE_HZ
            if length < SHORTEST_S or seconds[place] + length > most or not waveform.any():
                continue
            seconds[place] += length
            path = f"{place}/{item.speaker}/{item.path.stem}.flac"
            peak = max(1.0, float(np.abs(waveform).max()))
            write_audio(root / path, waveform / peak, RATE_HZ)
            rows.append([place, item.corpus, item.speaker, item.sex, path, f"{length:.2f}"])
            if place != "train":
                waveforms[place][path] = item.speaker
    return rows, waveforms


def draw_mixtures(root, recordings, n_mixtures, n_sources, name, rng):
    """Draw mixtures of different speakers, cut to the shortest, at random levels."""
    by_speaker = defaultdict(list)
    for path, speaker in recordings.items():
        by_speaker[speaker].append(path)
    speakers = sorted(by_speaker)
    for number in range(n_mixtures if len(speakers) >= n_sources else 0):
        chosen = rng.choice(len(speakers), n_sources, replace=False)
        paths = [
            by_speaker[speakers[i]][rng.integers(len(by_speaker[speakers[i]]))] for i in chosen
        ]
        waveforms = [read_audio(root / path)[0] for path in paths]
        n_samples = min(map(len, waveforms))
        # Two talkers are 0 to 5 dB apart, three each within 2.5 dB of the mean.
        half = rng.uniform(0, 2.5)
        levels_db = [half, -half] if n_sources == 2 else rng.uniform(-2.5, 2.5, n_sources)
        gains = [
            10 ** (level / 20) / max(active_level(waveform[:n_samples], RATE_HZ), 1e-6)
            for waveform, level in zip(waveforms, levels_db, strict=True)
        ]
        mixture = sum(g * w[:n_samples] for g, w in zip(gains, waveforms, strict=True))
        scale = 0.9 / np.abs(mixture).max()
        cells = [
            cell for p, g in zip(paths, gains, strict=True) for cell in (p, f"{scale * g:.6f}")
        ]
        yield [f"{name}-{number:04d}", n_samples, *cells]


def write_table(path, columns, rows):
    """Write a csv file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def main(arguments=None):
    """Run the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="folder to build; it must not exist")
    parser.add_argument("--librispeech", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--speechocean", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--an4", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--arctic", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.output.exists():
        parser.error(f"{args.output} exists already; give another folder")
    recordings = []
    for reader in (librispeech, speechocean, an4, arctic):
        for root in getattr(args, reader.__name__):
            found = list(reader(root))
            if not found:
                parser.error(f"no recordings in {root}; expected {reader.__doc__}")
            recordings += found
    if not recordings:
        parser.error("give the folder of a corpus, such as --librispeech LibriSpeech")
    rows, waveforms = convert(args.output, divide(recordings, np.random.default_rng(args.seed)))
    columns = ["split", "corpus", "speaker", "sex", "path", "seconds"]
    write_table(args.output / "utterances.csv", columns, sorted(rows))
    for kind, counts in LISTS.items():
        split = kind if kind == "valid" else f"test-{kind}"
        for n_sources, n_mixtures in zip((2, 3), counts, strict=True):
            name = f"{n_sources}spk-{kind}"
            # A generator of its own, so that lists do not depend on each other.
            rng = np.random.default_rng([args.seed, n_sources, len(kind)])
            mixed = list(
                draw_mixtures(args.output, waveforms[split], n_mixtures, n_sources, name, rng)
            )
            numbers = range(1, n_sources + 1)
            parts = [f"{what}_{i}" for i in numbers for what in ("source", "gain")]
            columns = ["mixture_id", "n_samples", *parts]
            write_table(args.output / "mixtures" / f"{name}.csv", columns, mixed)
            print(f"{name}: {len(mixed)} mixtures")
    for split in sorted({row[0] for row in rows}):
        chosen = [row for row in rows if row[0] == split]
        hours = sum(float(row[5]) for row in chosen) / 3600
        print(f"{split}: {len({row[2] for row in chosen})} speakers, {hours:.2f} hours")


if __name__ == "__main__":
    main()
