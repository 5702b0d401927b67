"""``skdc stream``: live audio in from the standard input, its sources out as channels."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from skdc.commands.options import add_model_argument, source_count, warn_of_count
from skdc.exceptions import AudioWarning

if TYPE_CHECKING:
    from numpy.typing import NDArray

_READ_BYTES = 1 << 16
_FULL_SCALE = 32768
_DURATIONS = {
    "block": "that are separated together; 0 is one frame (default: 0.25)",
    "context": "before them that are heard again with each block, where the model reads both ways "
    "(default: 1)",
    "lookahead": "after them that are waited for (default: 0.25, and 0 where the model reads "
    "forwards only)",
    "warm-up": "before speakers are told apart (default: 1.5)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.description = (
        "Separate live audio. The standard input is a WAV file, also one without an end, or raw "
        "audio, 16 bits little-endian, one channel, at the rate of the model (8000 Hz for the "
        "bundled ones); the standard output is raw audio with a channel for each speaker. For "
        "instance: arecord -t raw -f S16_LE -r 8000 | skdc stream --no-wait --block 0 --model "
        "speech-2mix-8k-live | aplay -f S16_LE -r 8000 -c 2"
    )
    parser.add_argument(
        "input",
        nargs="?",
        choices=["-"],
        default="-",
        help="the standard input, which is what there is without it too",
    )
    parser.add_argument(
        "--n-sources",
        type=source_count,
        metavar="N",
        help="speakers to find (default: the model's own)",
    )
    for name, meaning in _DURATIONS.items():
        parser.add_argument(f"--{name}", type=float, metavar="S", help=f"seconds {meaning}")
    parser.add_argument(
        "--no-wait",
        dest="wait",
        action="store_false",
        help="for listening: until speakers are told apart, give what comes in to all channels "
        "alike, in place of nothing and then all of it at once, which a player would play late",
    )
    add_model_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if sys.stdout.isatty():
        raise ValueError("the standard output is a terminal; send it to a player or a file")
    from skdc import StreamingSeparator, load_pretrained
    from skdc.audio import SampleDecoder
    from skdc.audio.headers import MISCOUNTED_S

    given = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in _DURATIONS}
    durations: dict[str, Any] = {name: s for name, s in given.items() if s is not None}
    separator = load_pretrained(args.model, device=args.device)
    warn_of_count(separator, args.n_sources)
    stream = StreamingSeparator(separator, n_sources=args.n_sources, wait=args.wait, **durations)
    later = "first sound" if args.wait else "speakers apart"
    print(
        f"skdc: {stream.sample_rate} Hz, {stream.n_sources} channels out, {later} after "
        f"{stream.warm_up_ms:.0f} ms, latency {stream.latency_ms:.0f} ms",
        file=sys.stderr,
    )
    decoder = SampleDecoder(stream.sample_rate)
    # What has come, without waiting for more
    while came := os.read(sys.stdin.fileno(), _READ_BYTES):
        _write(stream.push(decoder.push(came)))
    _write(stream.push(decoder.finish()))
    _write(stream.flush())
    if decoder.missing_s > MISCOUNTED_S:
        warnings.warn(
            f"the standard input ended {decoder.missing_s:.2f} s before the end that its header "
            "states",
            AudioWarning,
            stacklevel=1,
        )
    return 0


def _write(sources: NDArray[Any]) -> None:
    scaled = (sources * _FULL_SCALE).round().clip(-_FULL_SCALE, _FULL_SCALE - 1)
    # (sources, samples) -> (samples, sources): the channels take turns
    sys.stdout.buffer.write(scaled.T.astype("<i2").tobytes())
    sys.stdout.buffer.flush()
