"""Audio files to waveforms and back."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from skdc.audio import ffmpeg
from skdc.audio.headers import MISCOUNTED_S, sound_bytes
from skdc.audio.streams import Stream, open_streams
from skdc.exceptions import AudioWarning
from skdc.paths import atomic_path, check_file
from skdc.signal import resample
from skdc.signal.demands import MAX_CHANNELS, as_array, check_finite, check_same_rate

__all__ = [
    "AUDIO_SUFFIXES",
    "PCM_BITS",
    "UNBOUNDED",
    "Source",
    "check_rate",
    "check_samples",
    "file_format",
    "find_fault",
    "opened_source",
    "opened_streams",
    "quantise",
    "read_at_rate",
    "read_audio",
    "read_audio_with_notes",
    "read_header",
    "read_length",
    "read_rate",
    "stream_blocks",
    "telling_failed_writes",
    "write_audio",
]

FloatArray = NDArray[np.float32]

AUDIO_SUFFIXES = ffmpeg.SUFFIXES | {
    *(".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav")
}
"""Suffixes of the files that are taken for audio where a folder is given. A file that is named
itself is tried whatever its suffix is."""

# Bits of a sample of the subtypes that hold integers. They are quantised here, not by libsndfile,
# which writes with a scale of 2**15 - 1 and reads with 2**15, so that files changed when copied.
PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
UNBOUNDED = ("FLOAT", "DOUBLE")
# Bytes of a file of no audio, where it is not known how long its header is: texts and pictures
# may be in there.
_LARGEST_HEADER = 65_536
_BLOCK_SAMPLES = 262_144


def read_audio(
    path: str | os.PathLike[str], *, sample_rate: int | None = None, mono: bool = True
) -> tuple[FloatArray, int]:
    """Read an audio file: WAV, FLAC, Ogg Vorbis or Opus, MP3 and what else libsndfile knows.

    M4A, AAC, MP4, WebM and the like are read through the program ffmpeg, if it is on the path.

    Parameters
    ----------
    path : path-like
        File to read.
    sample_rate : int, optional
        Rate to resample to, Hz; the file's own by default.
    mono : bool, default=True
        Whether to give one channel: the mean of all that the file has.

    Returns
    -------
    waveform : float32 array of shape (n_samples,)
        Within +-1 where the file holds integers. The shape is ``(n_channels, n_samples)`` with
        ``mono=False``, also for a single channel.
    sample_rate : int
        Rate of `waveform`, Hz.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not audio that libsndfile or ffmpeg reads, if ffmpeg is needed and missing,
        or if `sample_rate` is not positive.

    Warns
    -----
    AudioWarning
        If the file was cut or damaged: it holds less than its header promises, parts of it cannot
        be read, or it ends in the middle of a piece. What can be read of it is given.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import read_audio, write_audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(Path(folder) / "a.wav", np.zeros(16000), 16000)
    ...     waveform, rate = read_audio(Path(folder) / "a.wav", sample_rate=8000)
    >>> waveform.shape, rate
    ((8000,), 8000)
    """
    path = Path(path)
    if sample_rate is not None:
        check_rate(sample_rate)
    waveform, rate, fault = _read_streams(path, mono)
    if fault:
        warnings.warn(f"{str(path)!r} {fault}", AudioWarning, stacklevel=2)
    if sample_rate is None:
        return waveform, rate
    resampled: FloatArray = resample(waveform, rate, sample_rate).astype(np.float32)
    return resampled, sample_rate


def read_audio_with_notes(path: Path) -> tuple[FloatArray, int, list[str]]:
    """Read all channels of an audio file, and give what `read_audio` would warn of.

    Parameters
    ----------
    path : Path

    Returns
    -------
    waveform : float32 array of shape (n_channels, n_samples)
    sample_rate : int
        Hz.
    notes : list of str
    """
    waveform, rate, fault = _read_streams(path, mono=False)
    return waveform, rate, [f"the recording {fault}"] if fault else []


def _read_streams(path: Path, mono: bool) -> tuple[FloatArray, int, str]:
    with opened_source(path) as source, opened_streams(path, source) as streams:
        rate = streams[0].samplerate
        # Block by block to the end: what the header says may be less or more than there is.
        blocks = []
        for frames in chain.from_iterable(map(stream_blocks, streams)):
            block = np.ascontiguousarray(frames.T)  # (samples, channels) -> (channels, samples)
            blocks.append(block.mean(axis=0) if mono else block)
        if not blocks:
            blocks.append(np.zeros(0 if mono else (streams[0].channels, 0), np.float32))
        waveform = np.concatenate(blocks, axis=-1)
        return waveform, rate, find_fault(source, streams, waveform.shape[-1])


def read_header(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Read how much audio a file holds; the audio is read only where no header tells that.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    n_channels : int
    n_samples : int
        Samples of each channel.
    sample_rate : int
        Hz.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not audio that libsndfile or ffmpeg reads, or ffmpeg is needed and missing.
    """
    path = Path(path)
    with opened_source(path) as source, opened_streams(path, source) as streams:
        n_samples = sum(
            stream.frames if stream.states_length() else sum(map(len, stream_blocks(stream)))
            for stream in streams
        )
        return streams[0].channels, n_samples, streams[0].samplerate


def read_rate(path: str | os.PathLike[str]) -> int:
    """Read the sample rate of a file; errors are those of `read_header`.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    int
        Hz.
    """
    return read_header(path)[2]


def read_at_rate(
    path: str | os.PathLike[str], sample_rate: int, advice: str, *, item: str = ""
) -> FloatArray:
    """Read a file that must be at a rate, mixed down to mono.

    Parameters
    ----------
    path : path-like
    sample_rate : int
        Hz.
    advice : str
        What to do about another rate.
    item : str, optional
        What the file belongs to, for the message.

    Returns
    -------
    float32 array of shape (n_samples,)

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not audio, or at another rate.
    """
    waveform, rate = read_audio(path)
    check_same_rate(rate, sample_rate, _named(path, item), advice)
    return waveform


def read_length(
    path: str | os.PathLike[str], sample_rate: int, advice: str, *, item: str = ""
) -> int:
    """Read how many samples a file has, which must be at a rate.

    Parameters and errors are those of `read_at_rate`; of the file no more is read than its header,
    where that tells.

    Parameters
    ----------
    path : path-like
    sample_rate : int
        Hz.
    advice : str
        What to do about another rate.
    item : str, optional
        What the file belongs to, for the message.

    Returns
    -------
    int
    """
    _, n_samples, rate = read_header(path)
    check_same_rate(rate, sample_rate, _named(path, item), advice)
    return n_samples


def _named(path: str | os.PathLike[str], item: str) -> str:
    return f"{item}: {str(path)!r}" if item else repr(str(path))


class Source(NamedTuple):
    """The file that libsndfile reads, and what ffmpeg found wrong in the one it made it of."""

    path: Path
    fault: str = ""


@contextmanager
def opened_source(path: Path) -> Iterator[Source]:
    """Give the file that libsndfile reads in place of one: itself, or what ffmpeg made of it.

    Raises a FileNotFoundError if there is no such file, and a ValueError if ffmpeg is needed and
    missing, or cannot read it.
    """
    check_file(path, "audio file")
    with ExitStack() as stack:
        needs_ffmpeg = path.suffix.lower() in ffmpeg.SUFFIXES
        if needs_ffmpeg:
            yield Source(*stack.enter_context(ffmpeg.converted(path)))
        else:
            yield Source(path)


@contextmanager
def opened_streams(path: Path, source: Source) -> Iterator[list[Stream]]:
    """Open the streams of a file that follow each other, of one rate and number of channels.

    They are read from `source`, as `opened_source` gives it; errors name `path`. Raises a
    ValueError if it is not audio, also while it is read.
    """
    try:
        with ExitStack() as stack:
            streams = [stack.enter_context(stream) for stream in open_streams(source.path)]
            _check_streams(source.path, streams)
            yield streams
    except (soundfile.SoundFileError, TypeError) as error:
        check_file(path, "audio file")  # it may be gone, where work on it takes long
        # TypeError: a headerless format, which soundfile knows by its suffix alone.
        raise ValueError(
            f"cannot read {str(path)!r} as audio ({error}); give a WAV, FLAC, Ogg or MP3 "
            "file, or have ffmpeg on the path for others, such as M4A"
        ) from error


def _check_streams(path: Path, streams: list[Stream]) -> None:
    formats = {(stream.samplerate, stream.channels) for stream in streams}
    if len(formats) > 1:
        raise ValueError(
            f"{str(path)!r} was joined from recordings of several formats (Hz, channels): "
            f"{sorted(formats)}; give each as a file of its own"
        )
    if not any(stream.frames for stream in streams):
        _check_empty(path)


def _check_empty(path: Path) -> None:
    """Raise a ValueError if a file whose header says that there is no audio has some."""
    n_bytes, found = path.stat().st_size, sound_bytes(path)
    if found and found.stated is None:
        is_unfinished = found.there > 0
    else:
        is_unfinished = n_bytes > _LARGEST_HEADER
    if is_unfinished:
        raise ValueError(
            f"the header of {str(path)!r} says that there is no audio, but the file has {n_bytes} "
            "bytes: its recorder did not finish it; repair it, for instance by "
            "'ffmpeg -i FILE repaired.flac'"
        )


def stream_blocks(stream: Stream) -> Iterator[FloatArray]:
    """Read a stream to its end, in float32 arrays of shape ``(n_samples_i, n_channels)``."""
    # All channels together: a header may claim a thousand of them.
    n_frames = max(1, _BLOCK_SAMPLES // stream.channels)
    n_read, is_over = 0, False
    while not is_over:
        block: FloatArray = np.empty((n_frames, stream.channels), np.float32)
        try:
            block = stream.read(out=block)
            is_over = not len(block)
        except soundfile.LibsndfileError:
            # The decoder of FLAC fails at the place where a file was cut, or where a tag follows.
            is_over, n_decoded = True, stream.tell()
            if not stream.is_cut and n_decoded < stream.frames:
                raise
            block = block[: n_decoded - n_read]
        n_read += len(block)
        if len(block):
            yield block


def find_fault(source: Source, streams: Sequence[Stream], n_samples: int) -> str:
    """Say what is missing of a file of which all streams were read, if anything is.

    Parameters
    ----------
    source : Source
    streams : sequence of Stream
        Those of the source.
    n_samples : int
        What was read of each channel.

    Returns
    -------
    str
        To be put after the name of the file: what its header promises and what is there. Empty
        where all is well.
    """
    rate = streams[0].samplerate
    n_promised = sum(stream.n_promised for stream in streams)
    there = f"{n_samples / rate:.2f} s"
    if n_promised - n_samples > MISCOUNTED_S * rate:
        promised = f"{n_promised / rate:.2f} s"
        return f"is not whole: its header promises {promised} of sound, and {there} are there"
    if any(stream.is_damaged for stream in streams):
        return f"is not whole: parts of it are damaged, and {there} of sound are there"
    if streams[-1].is_cut:
        return f"is not whole: it ends in the middle, and {there} of sound are there"
    if source.fault:
        return f"may not be whole: {there} of sound are there, but ffmpeg says: {source.fault}"
    return ""


def write_audio(
    path: str | os.PathLike[str],
    waveform: NDArray[np.floating],
    sample_rate: int,
    *,
    subtype: str = "PCM_16",
) -> None:
    """Write a waveform to an audio file, atomically.

    What was read from a file of a PCM subtype of up to 24 bits and is written to another of the
    same subtype has the same samples.

    Parameters
    ----------
    path : path-like
        File to write; its suffix names the format (``.wav``, ``.flac``, ``.ogg``, ...). Its folder
        is made where it does not exist.
    waveform : floating array of shape (n_samples,) or (n_channels, n_samples)
        Within +-1. A louder one is scaled down as a whole to a peak of 1, with an `AudioWarning`;
        the subtypes ``"FLOAT"`` and ``"DOUBLE"`` hold it as it is.
    sample_rate : int
        Hz.
    subtype : str, default="PCM_16"
        How samples are stored, by libsndfile's names: ``"PCM_24"``, ``"FLOAT"``, ``"VORBIS"``,
        ``"OPUS"``, ...

    Raises
    ------
    ValueError
        If the waveform holds NaN or infinity or has another shape, if the suffix names no format
        or one that does not hold `subtype`, or if `sample_rate` is not positive.
    TypeError
        If the waveform is not floating.
    OSError
        If the file cannot be written; what stood there before stays.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdc.audio import read_audio, write_audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(Path(folder) / "tone.flac", np.array([0.0, 0.5, -1.0]), 8000)
    ...     read_audio(Path(folder) / "tone.flac")
    (array([ 0. ,  0.5, -1. ], dtype=float32), 8000)
    """
    path = Path(path)
    check_rate(sample_rate)
    container = file_format(path, subtype)
    samples: NDArray[Any] = check_samples(waveform)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > 1 and subtype not in UNBOUNDED:
        warnings.warn(
            f"waveform has a peak of {peak:.3g}, and {path.name!r} holds samples within +-1: "
            f"written scaled by {1 / peak:.3g}; divide by the peak yourself, or give "
            "subtype='FLOAT'",
            AudioWarning,
            stacklevel=2,
        )
        samples = samples / peak
    if subtype in PCM_BITS:
        samples = quantise(samples, PCM_BITS[subtype])
    with atomic_path(path) as temporary, telling_failed_writes():
        # (n_channels, n_samples) -> (n_samples, n_channels)
        soundfile.write(temporary, samples.T, sample_rate, format=container, subtype=subtype)


@contextmanager
def telling_failed_writes() -> Iterator[None]:
    """Raise an OSError where libsndfile could not write.

    It reports a full disk and, say, a rate that MP3 does not have alike; and soundfile asserts
    that all samples were written.
    """
    try:
        yield
    except (soundfile.LibsndfileError, AssertionError) as error:
        raise OSError(str(error)) from error


def check_rate(rate: int, name: str = "sample_rate") -> None:
    """Raise a ValueError if a sample rate is not a positive integer.

    Parameters
    ----------
    rate : int
        Hz.
    name : str, default="sample_rate"
        What the message calls it.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate <= 0:
        raise ValueError(f"{name} is {rate!r}; give a positive integer, in Hz")


def check_samples(waveform: NDArray[np.floating]) -> NDArray[np.floating]:
    """Give what is to be written as libsndfile takes it, float32 or float64 of this machine.

    Raises the errors of which `write_audio` tells.
    """
    samples = as_array(waveform, "waveform")
    if not np.issubdtype(samples.dtype, np.floating):
        raise TypeError(
            f"waveform has dtype {samples.dtype}; give floating samples within +-1 (divide 16-bit "
            "integers by 32768)"
        )
    if samples.ndim not in (1, 2):
        raise ValueError(
            f"waveform has shape {samples.shape}; give (n_samples,) or (n_channels, n_samples)"
        )
    if samples.ndim == 2 and not 1 <= samples.shape[0] <= MAX_CHANNELS:
        raise ValueError(
            f"waveform has shape {samples.shape}, that is {samples.shape[0]} channels; give "
            f"(n_channels, n_samples) with 1 to {MAX_CHANNELS} channels, or transpose it"
        )
    check_finite(samples, "waveform")
    return samples.astype(np.float32 if samples.dtype.itemsize <= 4 else np.float64, copy=False)


def file_format(path: Path, subtype: str) -> str:
    """Give libsndfile's name of the format that a suffix stands for.

    Raises a ValueError if there is none, or if it does not hold the subtype.
    """
    name = path.suffix.lstrip(".").upper()
    name = {"AIF": "AIFF", "OGA": "OGG", "OPUS": "OGG"}.get(name, name)
    if name not in soundfile.available_formats() or name == "RAW":
        raise ValueError(
            f"{path.name!r} does not end in the name of an audio format that can be written; "
            "expected .wav, .flac, .ogg or another of soundfile.available_formats()"
        )
    if not soundfile.check_format(name, subtype):
        possible = ", ".join(repr(name) for name in soundfile.available_subtypes(name))
        raise ValueError(
            f"{path.suffix} files do not hold subtype {subtype!r}; give one of {possible}"
        )
    return name


def quantise(samples: NDArray[np.floating], bits: int) -> NDArray[np.integer]:
    """Bring samples within +-1 to integers, whose upper bits libsndfile takes.

    They are int16 for 16 bits, and int32 for 8, 24 and 32.
    """
    full = 2 ** (bits - 1)
    levels = np.rint(samples.astype(np.float64) * full).clip(-full, full - 1)
    # libsndfile takes the upper bits of wider integers.
    if bits == 16:
        return levels.astype(np.int16)
    return (levels * 2 ** (32 - bits)).astype(np.int32)
