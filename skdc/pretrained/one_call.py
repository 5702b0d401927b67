"""One call from a recording to its sources."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skdc import DEFAULT_MODEL
from skdc.audio import AudioRecording, check_rate, write_source_blocks, write_sources
from skdc.audio.io import read_audio_with_notes
from skdc.audio.sources import source_paths
from skdc.exceptions import AudioWarning
from skdc.inputs import LongRecording, as_channels, read_samples
from skdc.parameters import call_parameters, is_full_band
from skdc.paths import atomic_path, check_outputs
from skdc.pretrained.models import load_pretrained
from skdc.separation import Separability
from skdc.separation.counts import MOST_SOURCES, asked_count
from skdc.separation.pairs import PAIR_SWEEPS
from skdc.separator import DeepClusteringSeparator
from skdc.signal import (
    Turn,
    TurnFinder,
    channel_similarity,
    find_turns,
    mean_power_ratio,
    to_rttm,
)

if TYPE_CHECKING:
    from skdc.display import ListeningPage

__all__ = ["SUBTYPES", "SeparatedFile", "Separation", "separate", "separate_file"]

FloatArray = NDArray[np.floating]

SUBTYPES = {"pcm16": "PCM_16", "pcm24": "PCM_24", "float": "FLOAT"}
"""How samples are stored, and libsndfile's names for that."""

# An improvement of less than this, dB, leaves much of each voice in the other.
_LOW_QUALITY_DB = 3.0
# Microphones of one room have more in common, and channels of one talker each less: of 80 pairs of
# talkers, 0.01 to 0.08 where each has a channel; of two microphones in rooms, 0.38 and more.
_UNRELATED_CHANNELS = 0.1
# The mean of channels that have nothing in common has 1 / n_channels of their power. Where it has
# a tenth of that, they take each other away.
_CANCELLED = 0.1


@dataclass(frozen=True, repr=False, eq=False)
class Separation:
    """A recording and what it was separated into.

    Attributes
    ----------
    mixture : float array of shape (n_samples,) or (n_channels, n_samples)
        The recording.
    sources : float array of shape (n_sources, n_samples) or (n_sources, n_channels, n_samples)
        Its sources, the loudest first, at the recording's rate and with its channels; they sum to
        it, with the noise, if that was kept out of them.
    rate : int
        Hz.
    name : str
        Name of the file, without its suffix; "recording" for an array.
    band : {"full", "network"}
        Whether the sources have all frequencies of the recording, and so sum to it, or those that
        the network hears.
    quality_db : float or None
        SI-SDR improvement over the recording that is to be expected, mean over the sources, as the
        model estimates it from how clearly it told them apart; None where the model has no such
        estimate (see `skdc.evaluation.calibrate`), of a single source, of silence, and of a long
        recording for whose stretches ``n_sources="auto"`` took another number than for the whole.
        With ``mask="binary"`` it is that of soft masks, with `speeds` that of the first speed.
    quality_error_db : float or None
        Standard error of that, dB.
    notes : tuple of str
        What to be careful about, as the warnings of `separate` said it.
    noise : float array of the shape of `mixture`, or None
        What was kept out of the sources with ``noise=True``.
    recording : Path or None
        The file that was separated, which `save` and `save_rttm` leave as it is; None for an
        array.
    count_probability : float or None
        With ``n_sources="auto"``, the probability that so many people speak, 0...1, by the count
        head. None with a number that was given, without such a head, of silence, and of recordings
        of more than 30 s, whose voices are counted.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import separate
    >>> from skdc.datasets import load_sample_mixture
    >>> result = separate(load_sample_mixture()[0][:16000], rate=8000)
    >>> result
    <Separation of 'recording': 2 sources, 2.0 s at 8000 Hz>
    >>> np.allclose(result.sources.sum(axis=0), result.mixture, atol=1e-5)
    True
    """

    mixture: FloatArray
    sources: FloatArray
    rate: int
    name: str = "recording"
    band: Literal["full", "network"] = "full"
    quality_db: float | None = None
    quality_error_db: float | None = None
    notes: tuple[str, ...] = ()
    noise: FloatArray | None = None
    recording: Path | None = None
    count_probability: float | None = None

    @property
    def _parts(self) -> FloatArray:
        """The sources, and the noise, if any, after them."""
        return self.sources if self.noise is None else np.stack([*self.sources, self.noise])

    def __repr__(self) -> str:
        seconds = self.mixture.shape[-1] / self.rate
        return (
            f"<Separation of {self.name!r}: {len(self.sources)} sources, {seconds:.1f} s at "
            f"{self.rate} Hz>"
        )

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        subtype: Literal["pcm16", "pcm24", "float"] = "pcm16",
    ) -> list[Path]:
        """Write each source to a WAV file, and the noise to NAME-noise.wav, if there is any.

        With the full band, the files sum to the recording.

        Parameters
        ----------
        folder : path-like
            Where NAME-1.wav, NAME-2.wav, ... go; made where it does not exist. Files of these
            names are replaced.
        subtype : {"pcm16", "pcm24", "float"}, default="pcm16"
            How samples are stored. The first plays everywhere.

        Returns
        -------
        list of Path
            The files; that of the noise is the last.

        Raises
        ------
        ValueError
            If `subtype` is unknown.
        OSError
            If a file cannot be written, or would replace the recording itself.
        """
        _check_subtype(subtype)
        paths = source_paths(folder, self.name, len(self.sources), noise=self.noise is not None)
        _check_outputs(paths, self.recording)
        parts = self._parts
        total = self.mixture if self.band == "full" else parts.sum(axis=0)
        write_sources(paths, parts, total, self.rate, subtype=SUBTYPES[subtype])
        return paths

    def turns(self) -> list[Turn]:
        """Find who speaks when.

        Returns
        -------
        list of Turn
            ``(source, start_s, stop_s)``, by their starts; as `skdc.signal.find_turns` finds them.
            ``sources[turn.source]`` is the source: they count from 0 here, and from 1 in RTTM,
            where the numbers are those of the files of `save`.
        """
        return find_turns(self.sources, self.rate)

    def save_rttm(self, path: str | os.PathLike[str]) -> Path:
        """Write who speaks when as an RTTM file, which tools for diarisation read.

        Parameters
        ----------
        path : path-like
            File to write, ``.rttm`` by convention; replaced where it exists.

        Returns
        -------
        Path
            The file.
        """
        _check_outputs([path], self.recording)
        return _save_rttm(path, self.turns(), self.name)

    def listen(self) -> ListeningPage:
        """Give a page with players for the recording and its sources.

        Returns
        -------
        ListeningPage
            Shown as it is by a notebook; ``listen().save("page.html")`` writes it.
        """
        from skdc.display import ListeningPage

        notes = list(self.notes)
        if self.quality_db is not None:
            expected = f"{self.quality_db:+.1f} dB (give or take {self.quality_error_db:.1f} dB)"
            notes.insert(0, f"Expected improvement over the recording: SI-SDR {expected}")
        names = [f"Source {number}" for number in range(1, len(self.sources) + 1)]
        names += ["Noise"] * (self.noise is not None)
        options: dict[str, Any] = {"title": self.name, "names": names, "notes": notes}
        return ListeningPage(self.mixture, self._parts, self.rate, **options)


@dataclass(frozen=True)
class SeparatedFile:
    """What came of a recording that was separated from file to files.

    Attributes
    ----------
    paths : list of Path
        The files of its sources, the loudest first, and that of the noise, if any.
    rate : int
        Hz.
    n_samples : int
        Length of the recording.
    turns : list of Turn
        Who speaks when, as for `Separation.turns`.
    name : str
        What the files are named after.
    n_sources : int
        How many people.
    quality_db, quality_error_db, notes, recording, count_probability
        As for `Separation`.
    """

    paths: list[Path]
    rate: int
    n_samples: int
    turns: list[Turn]
    name: str
    n_sources: int
    quality_db: float | None = None
    quality_error_db: float | None = None
    notes: tuple[str, ...] = ()
    recording: Path | None = None
    count_probability: float | None = None

    def save_rttm(self, path: str | os.PathLike[str]) -> Path:
        """Write who speaks when to a file, as `Separation.save_rttm` does."""
        _check_outputs([path], self.recording)
        return _save_rttm(path, self.turns, self.name)


def separate(
    recording: str | os.PathLike[str] | ArrayLike,
    *,
    rate: int | None = None,
    n_sources: int | Literal["auto"] | None = None,
    model: str | os.PathLike[str] | DeepClusteringSeparator = DEFAULT_MODEL,
    band: Literal["full", "network"] = "full",
    channels: bool = False,
    noise: bool = False,
    phase_iterations: int = 0,
    pair_sweeps: int = PAIR_SWEEPS,
    speeds: int = 1,
    device: str = "auto",
) -> Separation:
    """Separate a recording with a model that is trained already.

    Parameters
    ----------
    recording : path-like or array
        A file; or samples of shape ``(n_samples,)`` or ``(n_channels, n_samples)``, floating or
        integer PCM.
    rate : int, optional
        Sample rate of an array, Hz. A file has its own.
    n_sources : int or "auto", optional
        Sources to find; ``"auto"`` estimates the number. By default what the model's parameter of
        that name says, which is 2 for the bundled models.
    model : str, path-like or DeepClusteringSeparator, default="speech-8k"
        As for `load_pretrained`; or a fitted separator, which saves loading one in every call and
        is left as it is.
    band : {"full", "network"}, default="full"
        As for `DeepClusteringSeparator.predict`. With ``"network"``, channels are mixed down.
    channels : bool, default=False
        Whether to take each channel as a source, as it is, where each person had a microphone; the
        recording is then their sum.
    noise : bool, default=False
        Whether to keep noise out of the sources; the result has it apart.
    phase_iterations : int, default=0
        As for `DeepClusteringSeparator.predict`: 5 make the sources a little cleaner.
    pair_sweeps : int, default=2
        As for `DeepClusteringSeparator.predict`: 0 is faster with three or more sources.
    speeds : int, default=1
        As for `DeepClusteringSeparator.predict`: 2 separate better, in twice the time.
    device : str, default="auto"
        Where to compute; a separator that is given has its own.

    Returns
    -------
    Separation
        With `sources`, `rate`, `quality_db`, `save`, `turns` and `listen`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError, TypeError
        If the recording is unusable, has one channel with ``channels=True``, `rate` is missing for
        an array or given for a file, or as `load_pretrained` does.

    Warns
    -----
    AudioWarning
        Where the model estimates that sources were hardly told apart, that one person speaks alone
        or that more speak than sources were looked for, where two channels have so little in
        common that each holds one person already, where channels cancel each other, or where a
        model that hears the phases between microphones is given the mean of several.

    Examples
    --------
    >>> import skdc
    >>> result = skdc.separate("talk.mp3", n_sources="auto")  # doctest: +SKIP
    >>> result.save("parts")  # doctest: +SKIP
    [PosixPath('parts/talk-1.wav'), PosixPath('parts/talk-2.wav')]
    """
    asked_count(n_sources)  # before a long file is read
    signal, rate, name, file, notes = _read(recording, rate)
    is_full_band(band)
    if not isinstance(channels, bool | np.bool_):
        raise ValueError(f"channels={channels!r} must be True or False")
    call: dict[str, Any] = {"n_sources": n_sources, "noise": noise, "band": band, "speeds": speeds}
    call |= {"phase_iterations": phase_iterations, "pair_sweeps": pair_sweeps}
    if channels:
        parts = _apart_already(signal, name, **call)
        _warn(notes)
        heard: dict[str, Any] = {"notes": tuple(notes), "recording": file}
        return Separation(parts.sum(axis=0), parts, rate, name, **heard)
    model = _given_model(model, device)
    notes += _notes_of_channels(model, signal, rate)
    if band == "network" and signal.ndim == 2:
        signal = read_samples(signal, "recording").mean(axis=0)
    sources, found = model.separate(signal, input_rate=rate, **call)
    apart = None
    if noise:
        sources, apart = sources[:-1], sources[-1]
    gain_db, error_db, probability, of_quality = _judge(model, found, n_sources, len(sources))
    notes += of_quality
    _warn(notes)
    return Separation(
        read_samples(signal, "recording"),
        sources,
        rate,
        name,
        band,
        gain_db,
        error_db,
        tuple(notes),
        apart,
        file,
        probability,
    )


def separate_file(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    n_sources: int | Literal["auto"] | None = None,
    model: str | os.PathLike[str] | DeepClusteringSeparator = DEFAULT_MODEL,
    subtype: Literal["pcm16", "pcm24", "float"] = "pcm16",
    noise: bool = False,
    phase_iterations: int = 0,
    pair_sweeps: int = PAIR_SWEEPS,
    speeds: int = 1,
    device: str = "auto",
) -> SeparatedFile:
    """Separate a recording of any length from file to files, in memory that does not grow.

    The files are those that ``separate(path).save(folder)`` writes. The recording is decoded
    several times; masks of what is longer than some minutes lie in a temporary file.

    Parameters
    ----------
    path : path-like
        A recording.
    folder : path-like
        Where NAME-1.wav, NAME-2.wav, ... go; made where it does not exist. Files of these names
        are replaced.
    name : str, optional
        That of the recording, without its suffix, by default.
    n_sources, model : optional
        As for `separate`.
    subtype : {"pcm16", "pcm24", "float"}, default="pcm16"
        As for `Separation.save`.
    noise, phase_iterations, pair_sweeps, speeds : optional
        As for `separate`; the noise goes to NAME-noise.wav.
    device : str, default="auto"
        As for `separate`.

    Returns
    -------
    SeparatedFile
        With `paths`, `turns` and `quality_db`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the recording is unusable, or a name is longer than the file system takes.
    OSError
        If a file cannot be written. FileExistsError, before any work, if one would replace the
        recording itself.

    Warns
    -----
    AudioWarning
        As for `separate`.

    Examples
    --------
    >>> import skdc
    >>> skdc.separate_file("meeting.wav", "parts").paths  # doctest: +SKIP
    [PosixPath('parts/meeting-1.wav'), PosixPath('parts/meeting-2.wav')]
    """
    _check_subtype(subtype)
    model = _given_model(model, device)
    name = Path(path).stem if name is None else name
    call: dict[str, Any] = {"noise": noise, "phase_iterations": phase_iterations}
    call |= {"pair_sweeps": pair_sweeps, "speeds": speeds}
    asked, _ = call_parameters(model, n_sources, None, **call, caller="separate_file")
    noise = bool(noise)
    # Where the number is known after the work only, files of as many as there may be are checked.
    _check_outputs(source_paths(folder, name, asked or MOST_SOURCES, noise=noise), path)
    with AudioRecording(path) as recording:
        rate = recording.rate
        notes = list(_notes_of_channels(model, recording, rate))
        call |= {"n_sources": n_sources, "input_rate": rate}
        blocks, found = model.separate_in_blocks(recording, **call)
        count = blocks.n_sources - noise  # people
        gain_db, error_db, probability, of_quality = _judge(model, found, n_sources, count)
        notes += of_quality
        _warn(notes)
        notes = [*recording.notes, *notes]  # of which the first were said already
        finder = TurnFinder(count, rate)

        def pairs() -> Iterator[tuple[FloatArray, FloatArray]]:
            nonlocal finder
            finder = TurnFinder(count, rate)
            start = 0
            for sources in blocks:
                finder.add(sources[:count])
                stop = start + sources.shape[-1]
                yield recording[..., start:stop], sources
                start = stop

        paths = source_paths(folder, name, count, noise=noise)
        write_source_blocks(paths, pairs, recording.shape, rate, subtype=SUBTYPES[subtype])
        n_samples = recording.shape[-1]
        turns = finder.turns()
    heard = (gain_db, error_db, tuple(notes), Path(path), probability)
    return SeparatedFile(paths, rate, n_samples, turns, name, count, *heard)


def _read(
    recording: str | os.PathLike[str] | ArrayLike, rate: int | None
) -> tuple[NDArray[Any], int, str, Path | None, list[str]]:
    """Give samples, their rate, a name, the file they are from, and what to be careful about."""
    if isinstance(recording, str | os.PathLike):
        if rate is not None:
            raise ValueError(
                f"rate={rate} was given for the file {os.fspath(recording)!r}, which has its own; "
                "leave it out"
            )
        file = Path(recording)
        samples, rate, notes = read_audio_with_notes(file)
        signal: NDArray[Any] = samples[0] if len(samples) == 1 else samples
        return signal, rate, file.stem, file, notes
    signal = as_channels(recording, "recording")
    if rate is None:
        raise ValueError("rate is missing; give the sample rate of the array in Hz")
    check_rate(rate, "rate")
    return signal, int(rate), "recording", None, []


def _apart_already(
    signal: NDArray[Any],
    name: str,
    *,
    n_sources: Any,
    noise: bool,
    band: str,
    phase_iterations: int,
    pair_sweeps: int,
    speeds: int,
) -> FloatArray:
    """Give the channels of a recording as its sources; refuse wishes that are for separating."""
    asked = [
        ("n_sources", n_sources, None),
        ("noise", noise, False),
        ("phase_iterations", phase_iterations, 0),
        ("pair_sweeps", pair_sweeps, PAIR_SWEEPS),
        ("speeds", speeds, 1),
        ("band", band, "full"),
    ]
    if unfit := [f"{key}={value!r}" for key, value, default in asked if value != default]:
        raise ValueError(
            f"channels=True (--channels) takes them as they are; leave {', '.join(unfit)} out"
        )
    if signal.ndim == 1:
        raise ValueError(
            f"{name!r} has one channel; leave --channels (channels=True) out to separate it"
        )
    return read_samples(signal, "recording")


def _warn(notes: Iterable[str]) -> None:
    """Warn the caller of the one that calls this."""
    for note in notes:
        warnings.warn(note, AudioWarning, stacklevel=3)


def _given_model(
    model: str | os.PathLike[str] | DeepClusteringSeparator, device: str
) -> DeepClusteringSeparator:
    if isinstance(model, str | os.PathLike):
        return load_pretrained(model, device=device)
    if not isinstance(model, DeepClusteringSeparator):
        what = model if isinstance(model, type) else type(model)
        raise TypeError(
            f"model: got {what!r}, expected the name or file of a model, or a fitted "
            "DeepClusteringSeparator"
        )
    check_is_fitted(model)
    return model


def _check_subtype(subtype: str) -> None:
    if subtype not in SUBTYPES:
        raise ValueError(f"subtype={subtype!r}; give one of {', '.join(map(repr, SUBTYPES))}")


def _check_outputs(
    paths: Iterable[str | os.PathLike[str]], recording: str | os.PathLike[str] | None
) -> None:
    inputs = [] if recording is None else [recording]
    check_outputs(paths, inputs, advice="give another folder, or a shorter or another name")


def _save_rttm(path: str | os.PathLike[str], turns: list[Turn], name: str) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_text(to_rttm(turns, name), encoding="utf-8")
    return Path(path)


def _judge(
    model: DeepClusteringSeparator,
    found: Separability,
    n_sources: int | Literal["auto"] | None,
    n_found: int,
) -> tuple[float | None, float | None, float | None, list[str]]:
    """Give the expected improvement, its error, how probable the count is, and what to say."""
    expected = None
    # Stretches of a long recording may have been divided into more than there are in the whole.
    if model.quality_ and found.n_sources == n_found:
        expected = model.quality_.predict(found)
    is_counted = asked_count(model.n_sources if n_sources is None else n_sources) is None
    notes = list(_notes_of_quality(model, found, expected, is_counted=is_counted))
    probability = found.count_probability() if is_counted else None
    return *(expected or (None, None)), probability, notes


def _notes_of_channels(
    model: DeepClusteringSeparator, signal: NDArray[Any] | LongRecording, rate: int
) -> Iterator[str]:
    if signal.ndim > 1 and model.network_.config.trunk.hears_phases:
        yield (
            "the model hears the phases between microphones, but here the mean of the channels "
            "alone; skdc.separate_array separates what several microphones recorded"
        )
    if signal.ndim < 2 or not signal.shape[1]:
        return
    first = signal[..., : 60 * rate]  # a minute is enough
    if mean_power_ratio(first) < _CANCELLED / len(first):
        yield (
            "the channels cancel each other in their mean, which is what the model hears, as they "
            "do where one is wired the wrong way round; change its sign, or give one channel alone"
        )
    elif (
        len(first) == 2
        and first.shape[1] >= rate  # shorter ones may correlate by chance, or not
        and channel_similarity(first, rate) < _UNRELATED_CHANNELS
    ):
        yield (
            "the two channels have so little in common that each seems to hold one person "
            "already; --channels (channels=True) takes them as they are"
        )


def _notes_of_quality(
    model: DeepClusteringSeparator,
    found: Separability,
    expected: tuple[float, float] | None,
    *,
    is_counted: bool,
) -> Iterator[str]:
    if not is_counted and (more := found.more_talkers()) is not None:
        yield (
            f"more than {found.n_sources} people seem to speak; --n-sources {more} "
            f"(n_sources={more}) looks for {more}, and 'auto' counts them"
        )
    if (
        model.quality_ is not None
        and expected is not None
        and not is_counted
        and found.is_one_talker(model.quality_.smallest_spread)
    ):
        yield (
            f"one person seems to be speaking; the {found.n_sources} sources are then parts of "
            "one voice"
        )
        return
    yield from found.notes
    if expected is not None and expected[0] < _LOW_QUALITY_DB:
        yield (
            f"the sources were hardly told apart: an improvement of {expected[0]:.1f} dB is to be "
            f"expected (give or take {expected[1]:.1f} dB)"
        )
