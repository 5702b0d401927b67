"""Write what a microphone hears to the standard output, for ``skdc stream`` to separate.

Run: ``python examples/pipes/microphone.py | skdc stream - --model speech-2mix-8k-live --block 0
--no-wait | aplay -f S16_LE -r 8000 -c 2``, one speaker in each ear, until Ctrl-C. It takes the
package ``sounddevice``, which the library does without: ``pip install sounddevice``. To a file:
``... | skdc stream - | ffmpeg -f s16le -ar 8000 -ac 2 -i - sources.wav``.
"""

import argparse
import sys

import sounddevice

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rate", type=int, default=8000, help="of the model, Hz (%(default)s)")
parser.add_argument("--block", type=int, default=160, help="samples at a time (%(default)s)")
parser.add_argument("--device", help="number or name of the microphone, as sounddevice lists them")
args = parser.parse_args()

device = int(args.device) if args.device and args.device.isdecimal() else args.device
with sounddevice.RawInputStream(
    samplerate=args.rate, channels=1, dtype="int16", blocksize=args.block, device=device
) as microphone:
    try:
        while True:
            block, was_late = microphone.read(args.block)
            sys.stdout.buffer.write(bytes(block))
            sys.stdout.buffer.flush()
            if was_late:
                print("some audio was lost: the pipe is too slow", file=sys.stderr)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
