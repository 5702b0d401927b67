"""``skdc stream``: live audio in from the standard input, its sources out as channels."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from skdc.commands.options import add_model_argument, positive_int

if TYPE_CHECKING:
    from numpy.typing import NDArray

_READ_BYTES = 1 << 16
_FULL_SCALE = 32768
_DURATIONS = {
    "block": "that are separated together",
    "context": "before them that are heard again with each block",
    "lookahead": "after them that are waited for",
    "warm-up": "before the first sound comes out",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.description = (
        "Separate live audio. The standard input is raw audio, 16 bits little-endian, one "
        "channel, at the rate of the model (8000 Hz for the bundled ones); the standard output is "
        "the same with a channel for each speaker. For instance: arecord -t raw -f S16_LE -r 8000 "
        "| skdc stream | aplay -f S16_LE -r 8000 -c 2"
    )
    parser.add_argument(
        "--n-sources",
        type=positive_int,
        metavar="N",
        help="speakers to find (default: the model's own)",
    )
    for name, meaning in _DURATIONS.items():
        parser.add_argument(f"--{name}", type=float, metavar="S", help=f"seconds {meaning}")
    add_model_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if sys.stdout.isatty():
        raise ValueError("the standard output is a terminal; send it to a player or a file")
    import numpy as np

    from skdc import StreamingSeparator, load_pretrained

    given = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in _DURATIONS}
    durations: dict[str, Any] = {name: s for name, s in given.items() if s is not None}
    separator = load_pretrained(args.model, device=args.device)
    stream = StreamingSeparator(separator, n_sources=args.n_sources, **durations)
    print(
        f"skdc: {stream.sample_rate} Hz, {stream.n_sources} channels out, first sound after "
        f"{stream.warm_up_ms:.0f} ms, latency {stream.latency_ms:.0f} ms",
        file=sys.stderr,
    )
    rest = b""
    is_first = True
    # What has come, without waiting for more
    while came := os.read(sys.stdin.fileno(), _READ_BYTES):
        if is_first and came.startswith((b"RIFF", b"fLaC", b"OggS", b"ID3")):
            raise ValueError(
                "the standard input is an audio file; give raw samples, for instance of ffmpeg "
                f"-i FILE -f s16le -ac 1 -ar {stream.sample_rate} -, or use skdc separate"
            )
        is_first = False
        came = rest + came
        whole = len(came) // 2 * 2
        rest = came[whole:]
        _write(stream.push(np.frombuffer(came[:whole], "<i2") / _FULL_SCALE))
    _write(stream.flush())
    return 0


def _write(sources: NDArray[Any]) -> None:
    scaled = (sources * _FULL_SCALE).round().clip(-_FULL_SCALE, _FULL_SCALE - 1)
    # (sources, samples) -> (samples, sources): the channels take turns
    sys.stdout.buffer.write(scaled.T.astype("<i2").tobytes())
    sys.stdout.buffer.flush()
