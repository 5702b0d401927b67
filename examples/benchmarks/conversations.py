"""Whether long recordings keep who is who: conversations of two people, made of a corpus.

Run: ``python examples/benchmarks/conversations.py SPEECH --split valid --minutes 10``

SPEECH is a folder of recordings with `utterances.csv`, whose table has the columns split, speaker,
sex, path. Each kind of conversation is made for pairs of f+m, m+m and f+f. The utterances of a
speaker are joined in an order drawn anew each time they are through. With ``--one-day`` these are
of one chapter, where names are those of LibriSpeech, ``speaker-chapter-number``: others of the
same speaker were recorded on other days, often by another microphone in another room, as is
nobody within one recording.

A row is one recording. It is compared to its references in blocks of 5 s: a block is in the wrong
output where more of its energy would be right the other way round, and a swap is a change from
right to wrong or back. The leak is what is heard in the output of who is silent for 5 s or more,
in dB relative to the mixture. The SI-SDR improvement is given as it is and with the right order
in every block. ``--count`` leaves the number of talkers open and prints what was found, also for
recordings of one person, each of somebody else, and at the end how many were counted right.
``--stream`` separates while the recording comes in, by `StreamingSeparator`, in pieces of 2 s.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from skdc import DeepClusteringSeparator, StreamingSeparator, load_pretrained, metrics
from skdc.audio import AudioFiles
from skdc.datasets.tables import read_table

RATE = 8000
BLOCK = 5 * RATE
SEXES = ("fm", "mm", "ff")

Signal = NDArray[np.float32]
# Who of the two speaks from when to when, in seconds.
Turns = Iterator[tuple[tuple[int, ...], float]]


def constant_overlap(rng: np.random.Generator, seconds: float) -> Turns:
    """Let both speak all the time."""
    yield (0, 1), seconds


def conversation(rng: np.random.Generator, seconds: float) -> Turns:
    """Overlap, with nobody alone for more than some seconds."""
    while True:
        yield (0, 1), rng.uniform(2, 10)
        yield (int(rng.integers(2)),), rng.uniform(0.5, 3)


def turns_and_pauses(rng: np.random.Generator, seconds: float) -> Turns:
    """Take turns, overlap, pause, and now and then be alone for a minute."""
    who, passed, alone_at = 0, 0.0, min(120.0, seconds / 3)
    while True:
        parts = [
            ((who,), rng.uniform(2, 12)),
            ((0, 1), rng.uniform(0, 4)),
            ((), rng.uniform(0, 2)),
        ]
        if passed >= alone_at:
            parts[0] = ((who,), 60.0)
            alone_at += 300
        yield from parts
        passed += sum(length for _, length in parts)
        who = 1 - who


def long_turns(rng: np.random.Generator, seconds: float) -> Turns:
    """Take turns of 60 s that never overlap."""
    while True:
        yield (0,), 60.0
        yield (1,), 60.0


def interview(rng: np.random.Generator, seconds: float) -> Turns:
    """Let a host ask short questions and a guest answer at length."""
    while True:
        yield (0,), rng.uniform(3, 10)
        yield (1,), rng.uniform(45, 120)


def silence(rng: np.random.Generator, seconds: float) -> Turns:
    """Interrupt a conversation by 60 s of digital silence."""
    passed = 0.0
    for who, length in conversation(rng, seconds):
        yield who, length
        passed += length
        if passed <= seconds / 2 < passed + 10:
            yield (), 60.0
            passed += 60.0


def one_person(rng: np.random.Generator, seconds: float) -> Turns:
    """Let one person speak alone."""
    yield (0,), seconds


KINDS: dict[str, Callable[[np.random.Generator, float], Turns]] = {
    "constant_overlap": constant_overlap,
    "conversation": conversation,
    "turns_and_pauses": turns_and_pauses,
    "long_turns": long_turns,
    "interview": interview,
    "silence": silence,
}


# Names of LibriSpeech, of which the first two numbers are those of speaker and chapter.
CHAPTER = re.compile(r"(\d+-\d+)-\d+")


def longest_chapter(paths: list[Path]) -> list[Path]:
    """Give the chapter with the most utterances, the first of these; all where there are none."""
    chapters: dict[str, list[Path]] = {}
    for path in paths:
        name = CHAPTER.fullmatch(path.stem)
        chapters.setdefault(name[1] if name else "", []).append(path)
    return max(chapters.values(), key=len)


class Corpus:
    """Utterances of a split, by sex and speaker."""

    def __init__(self, root: Path, split: str, *, one_day: bool = False) -> None:
        _, rows = read_table(root / "utterances.csv", ("split", "speaker", "sex", "path"))
        self._paths: dict[str, list[Path]] = {}
        self.sexes: dict[str, str] = {}
        for _, row in rows:
            if row["split"] == split and row["sex"] in "fm":
                self._paths.setdefault(row["speaker"], []).append(root / row["path"])
                self.sexes[row["speaker"]] = row["sex"]
        if not self._paths:
            splits = sorted({row["split"] for _, row in rows})
            raise ValueError(f"no women and men in split {split!r}; there are {splits}")
        if one_day:
            self._paths = {who: longest_chapter(own) for who, own in self._paths.items()}

    def draw_pair(self, rng: np.random.Generator, sexes: str) -> list[str]:
        """Draw two different speakers."""
        pair: list[str] = []
        for sex in sexes:
            of_sex = sorted(name for name, its in self.sexes.items() if its == sex)
            pair.append(str(rng.choice([name for name in of_sex if name not in pair])))
        return pair

    def speech(self, rng: np.random.Generator, speaker: str, n_samples: int) -> Signal:
        """Join a speaker's utterances, each at the same level."""
        utterances = [
            clip / np.sqrt(np.mean(clip**2))
            for clip in AudioFiles(self._paths[speaker], sample_rate=RATE).load()
        ]
        parts = [np.zeros(0, dtype=np.float32)]
        while sum(map(len, parts)) < n_samples:
            parts += [utterances[i] for i in rng.permutation(len(utterances))]
        return np.concatenate(parts)[:n_samples]


def make(
    corpus: Corpus, kind: Callable[..., Turns], speakers: list[str], seconds: float, seed: int
) -> Signal:
    """Make the references of one recording, (2, n_samples)."""
    rng = np.random.default_rng(seed)
    n_samples = int(seconds * RATE)
    speaks = np.zeros((2, n_samples), dtype=bool)
    start = 0
    for who, length in kind(rng, seconds):
        stop = start + int(length * RATE)
        speaks[list(who), start:stop] = True
        start = stop
        if start >= n_samples:
            break
    sources = np.zeros((2, n_samples), dtype=np.float32)
    for source, on, speaker, level in zip(
        sources, speaks, speakers, (0.05, 0.05 * 10 ** (rng.uniform(-4, 4) / 20)), strict=True
    ):
        # Nobody goes on with a sentence while they are silent.
        source[on] = level * corpus.speech(rng, speaker, int(on.sum()))
    return sources


def by_telephone(sources: Signal) -> Signal:
    """Leave what lies from 300 to 3400 Hz, and silent who is silent."""
    filters = butter(4, [300, 3400], "bandpass", fs=RATE, output="sos")
    narrow = sosfiltfilt(filters, sources.astype(np.float64))
    return np.where(sources != 0, narrow, 0.0).astype(np.float32)


def blocks_right(sources: Signal, estimates: Signal) -> NDArray[np.float64]:
    """Say how much more is right than the other way round, for each block of 5 s."""
    gains = []
    for start in range(0, sources.shape[1], BLOCK):
        shared = np.abs(sources[:, start : start + BLOCK] @ estimates[:, start : start + BLOCK].T)
        gains.append(shared[0, 0] + shared[1, 1] - shared[0, 1] - shared[1, 0])
    return np.array(gains)


def leak_db(sources: Signal, estimates: Signal) -> float:
    """Give what is heard of who is silent for 5 s and more, relative to the mixture."""
    leaked = total = 0.0
    mixture = sources.sum(axis=0)
    for source, estimate in zip(sources, estimates, strict=True):
        # From the last sample before a silence to the first one after it.
        heard = np.concatenate([[-1], np.flatnonzero(source), [len(source)]])
        for i in np.flatnonzero(np.diff(heard) >= BLOCK):
            quiet = slice(heard[i] + 1, heard[i + 1])
            leaked += float(np.square(estimate[quiet], dtype=float).sum())
            total += float(np.square(mixture[quiet], dtype=float).sum())
    return 10 * np.log10(max(leaked, 1e-12) / total) if total else np.nan


def score(sources: Signal, estimates: Signal) -> list[float]:
    """Give swaps an hour, % of blocks in the wrong output, leak, and SI-SDR improvements."""
    mixture = sources.sum(axis=0)
    if blocks_right(sources, estimates).sum() < 0:
        estimates = estimates[::-1]
    gains = blocks_right(sources, estimates)
    wrong = gains < 0
    spoken = gains != 0
    swaps = np.abs(np.diff(wrong[spoken].astype(int))).sum()
    ordered = estimates.copy()
    for i in np.flatnonzero(wrong):
        ordered[:, i * BLOCK : (i + 1) * BLOCK] = estimates[::-1, i * BLOCK : (i + 1) * BLOCK]
    as_it_is, in_order = (
        metrics.si_sdr_improvement(sources, x, mixture).mean() for x in (estimates, ordered)
    )
    hours = len(mixture) / RATE / 3600
    share = 100 * wrong.sum() / max(spoken.sum(), 1)
    return [swaps / hours, share, leak_db(sources, estimates), as_it_is, in_order]


def streamed(separator: DeepClusteringSeparator, mixture: Signal) -> Signal:
    """Separate a recording as it comes in, in pieces of 2 s."""
    stream = StreamingSeparator(separator)
    pieces = np.array_split(mixture, max(1, len(mixture) // (2 * RATE)))
    return np.concatenate([*map(stream.push, pieces), stream.flush()], axis=1)


def main() -> None:
    """Print a row for each recording, and means by kind and sexes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, metavar="SPEECH")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=1, help="of each of f+m, m+m, f+f")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--sexes", nargs="+", default=list(SEXES), choices=SEXES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one-day", action="store_true", help="one chapter of each speaker")
    parser.add_argument("--model", default="speech-8k", help="name or file of a model")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--count", action="store_true", help="n_sources=None")
    how.add_argument("--stream", action="store_true", help="while it comes in")
    parser.add_argument("--noise", type=float, metavar="DB", help="white noise so much weaker")
    parser.add_argument("--telephone", action="store_true", help="of 300 to 3400 Hz alone")
    args = parser.parse_args()

    separator = load_pretrained(args.model)
    corpus = Corpus(args.root, args.split, one_day=args.one_day)
    kinds = KINDS | {"one_person": one_person}
    recordings = [
        (name, sexes, corpus.draw_pair(np.random.default_rng(seed), sexes), seed)
        for name in args.kinds
        for sexes in args.sexes
        for seed in range(args.seed, args.seed + args.pairs)
    ]
    if args.count:
        separator.set_params(n_sources=None)
        people = sorted(who for who, sex in corpus.sexes.items() if sex in "".join(args.sexes))
        # The second one of the pair is never heard.
        recordings += [
            ("one_person", corpus.sexes[who], [who, who], args.seed + number)
            for number, who in enumerate(people[: len(args.sexes) * args.pairs])
        ]
    else:
        print("kind | sexes | swaps/h | wrong % | leak dB | SI-SDRi dB | in order | ms a second")
    rows: dict[tuple[str, str], list[list[float]]] = {}
    n_made: Counter[str] = Counter()
    n_right: Counter[str] = Counter()
    seconds = 60 * args.minutes
    for name, sexes, speakers, seed in recordings:
        sources = make(corpus, kinds[name], speakers, seconds, seed)
        if args.telephone:
            sources = by_telephone(sources)
        mixture = sources.sum(axis=0)
        if args.noise is not None:
            level = np.sqrt(np.square(mixture).mean()) * 10 ** (-args.noise / 20)
            noise = level * np.random.default_rng(seed).standard_normal(len(mixture))
            mixture += noise.astype(np.float32)
        began = time.perf_counter()
        estimates = streamed(separator, mixture) if args.stream else separator.predict(mixture)
        took = (time.perf_counter() - began) / seconds * 1000
        if args.count:
            print(f"{name} | {sexes} | {len(estimates)} talkers", flush=True)
            n_made[name] += 1
            n_right[name] += len(estimates) == len(set(speakers))
            continue
        row = [*score(sources, estimates), took]
        rows.setdefault((name, sexes), []).append(row)
        print(name, sexes, *(f"{x:.1f}" for x in row), sep=" | ", flush=True)
    for name, n_recordings in n_made.items():
        print(f"right of {name}: {n_right[name]} of {n_recordings}")
    if args.count:
        print(f"right of all: {n_right.total()} of {n_made.total()}")
    for (name, sexes), found in rows.items():
        # A kind in which nobody is silent has no leak.
        columns = np.array(found).T
        mean = [np.nan if np.isnan(own).all() else np.nanmean(own) for own in columns]
        print("mean of", len(found), name, sexes, *(f"{x:.1f}" for x in mean), sep=" | ")


if __name__ == "__main__":
    main()
