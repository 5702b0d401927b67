"""Fine-tuning on few voices: what is gained on them, and what is lost on others.

The recordings of a few speakers of a split are divided: some to train on, the others mixed for the
list of new speakers. The list of old ones are the mixtures of LIST.csv without these speakers.

Run: ``python examples/benchmarks/fine_tune.py speech --list speech/mixtures/2spk-valid.csv``
"""

import argparse
from collections import defaultdict
from pathlib import Path

from skdc import load_pretrained, make_mixtures
from skdc.datasets import load_corpus, load_mixture_list, load_sample_clips

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("corpus", type=Path, help="folder with utterances.csv")
parser.add_argument("--list", type=Path, required=True, metavar="LIST.csv")
parser.add_argument("--split", default="valid", help="of the speakers (default: %(default)s)")
parser.add_argument("--speakers", type=int, default=8)
parser.add_argument("--recordings", type=int, default=4, help="to train on, of each speaker")
parser.add_argument("--model", default="speech-8k", help="name or file of a model")
parser.add_argument("--limit", type=int, default=60, help="mixtures of each list")
parser.add_argument("--learning-rates", type=float, nargs="+", default=[3e-4])
parser.add_argument("--epochs", type=int, nargs="+", default=[40])
parser.add_argument("--batch-size", type=int, default=16, help="mixtures of a step")
parser.add_argument("--shares", type=float, nargs="+", default=[0.5], help="of the new weights")
parser.add_argument("--with-clips", action="store_true", help="add the clips of the package")
args = parser.parse_args()

waveforms, names = load_corpus(args.corpus, args.split)
of_speaker = defaultdict(list)
for name, waveform in zip(names, waveforms, strict=True):
    of_speaker[name].append(waveform)
# Those with most recordings, so that enough are left to measure with.
chosen = sorted(of_speaker, key=lambda name: (-len(of_speaker[name]), name))[: args.speakers]
recordings, speakers, others, other_speakers = [], [], [], []
for name in chosen:
    recordings += of_speaker[name][: args.recordings]
    speakers += [name] * args.recordings
    others += of_speaker[name][args.recordings :]
    other_speakers += [name] * (len(of_speaker[name]) - args.recordings)
new = make_mixtures(others, other_speakers, n_mixtures=args.limit, random_state=0)
items = [
    item
    for item in load_mixture_list(args.list)
    if not any(path.parent.name in chosen for path in item.paths)
][: args.limit]
old = tuple(zip(*(item.load() for item in items), strict=True))
minutes = sum(map(len, recordings)) / 8000 / 60
print(f"{len(recordings)} recordings of {len(chosen)} speakers, {minutes:.1f} minutes; ", end="")
print(f"{len(items)} old and {args.limit} new mixtures; SI-SDR improvement, dB: old, new")


def report(title, separator):
    """Print the scores of both lists."""
    scores = [separator.score(*pairs) for pairs in (old, new)]
    print(f"{title:40}{scores[0]:8.2f}{scores[1]:8.2f}", flush=True)


report(args.model, load_pretrained(args.model))
if args.with_clips:
    clips = load_sample_clips()
    recordings += [clip.waveform for clip in clips]
    speakers += [clip.speaker for clip in clips]
for rate in args.learning_rates:
    for epochs in args.epochs:
        separator = load_pretrained(args.model).set_params(
            warm_start=True, learning_rate=rate, max_epochs=epochs, random_state=0
        )
        separator.set_params(batch_size=args.batch_size)
        separator.fit_recordings(recordings, speakers)
        trained = {k: v.clone() for k, v in separator.network_.state_dict().items()}
        before = load_pretrained(args.model).network_.state_dict()
        for share in args.shares:
            averaged = {k: before[k].lerp(v, share) for k, v in trained.items()}
            separator.network_.load_state_dict(averaged)
            report(f"rate {rate:g}, {epochs} epochs, new weights by {share:g}", separator)
