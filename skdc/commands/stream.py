"""``skdc stream``: live audio in from the standard input, its sources out as channels."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    # Python has None for a stream that was closed before it started.
    if sys.stdin is None:
        raise ValueError("the standard input is closed; pipe audio into it, or give a WAV file")
    if sys.stdout is None:
        raise ValueError("the standard output is closed; send it to a player or a file")
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
    live, output = _Input(), _Output()
    with live.noting_interrupts():
        for came in live.pieces():
            output.write(stream.push(decoder.push(came)))
        output.write(stream.push(decoder.finish()))
        output.write(stream.flush())
    if live.is_interrupted:
        raise KeyboardInterrupt
    if decoder.missing_s > MISCOUNTED_S:
        warnings.warn(
            f"the standard input ended {decoder.missing_s:.2f} s before the end that its header "
            "states",
            AudioWarning,
            stacklevel=1,
        )
    return 0


class _Input:
    """The standard input, which the first Ctrl-C ends; a second one ends the command at once.

    An interruption within `StreamingSeparator.push` would lose what the stream has heard. So the
    first one is noted, and raises KeyboardInterrupt only where the command waits for input.
    """

    def __init__(self) -> None:
        self.is_interrupted = False
        self._is_waiting = False

    @contextmanager
    def noting_interrupts(self) -> Iterator[None]:
        # Only the main thread may change what a signal does. A handler that is not Python's own
        # stays: the caller has set it, or a shell that ignores Ctrl-C for work in the background.
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def pieces(self) -> Iterator[bytes]:
        """Give what has come, without waiting for more of it, until the end or Ctrl-C."""
        is_last = False
        while not is_last:
            self._wait()
            is_last = self.is_interrupted
            # After Ctrl-C, what is in the pipe already is read, but nothing is waited for.
            if is_last and not _has_input(0):
                return
            came = os.read(sys.stdin.fileno(), _READ_BYTES)
            if not came:
                return
            yield came

    def _wait(self) -> None:
        with suppress(KeyboardInterrupt):
            self._is_waiting = True
            if not self.is_interrupted:
                _has_input(None)
            self._is_waiting = False

    def _note(self, *_: object) -> None:
        is_second = self.is_interrupted
        self.is_interrupted = True
        if is_second or self._is_waiting:
            raise KeyboardInterrupt


def _has_input(timeout: float | None) -> bool:
    """Wait for input for some seconds, or for as long as it takes, and tell whether there is."""
    if sys.platform == "win32":
        # Only sockets can be waited for there. Ctrl-C does not interrupt the read that follows,
        # which gives what comes next, or the end where Ctrl-C ends the program that writes.
        return timeout is None
    return bool(select.select([sys.stdin], [], [], timeout)[0])


class _Output:
    """The standard output, whose channels are the sources, as samples of 16 bits."""

    def __init__(self) -> None:
        self._has_clipped = False

    def write(self, sources: NDArray[Any]) -> None:
        levels = (sources * _FULL_SCALE).round()
        peak = float(abs(levels).max(initial=0.0)) / _FULL_SCALE
        if peak > 1 and not self._has_clipped:
            self._has_clipped = True
            warnings.warn(
                f"sources have a peak of {peak:.3g} so far, and samples of 16 bits clip what is "
                "beyond 1; record more quietly, or scale the audio before it is piped in: how "
                "loud a stream becomes is not known beforehand",
                AudioWarning,
                stacklevel=1,
            )
        levels = levels.clip(-_FULL_SCALE, _FULL_SCALE - 1)
        # (sources, samples) -> (samples, sources): the channels take turns
        sys.stdout.buffer.write(levels.T.astype("<i2").tobytes())
        sys.stdout.buffer.flush()
