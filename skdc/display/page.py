"""A page to listen with: one HTML file that holds sound, spectrograms and player.

It needs no network. The sound is cut into blocks, each a file of its own, so that a browser
decodes a little at a time and all tracks play from the same sample on. The files are Ogg Opus, of
which browsers decode every sample; they lose some at the end of Ogg Vorbis.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import ArrayLike, NDArray

from skdc.audio import check_rate
from skdc.display.inputs import without_offset
from skdc.inputs import read_samples
from skdc.metrics import si_sdr
from skdc.paths import atomic_path
from skdc.signal import resample, stft

__all__ = ["ListeningPage", "encode_png", "picture_rows"]

FloatArray = NDArray[np.floating]

_BLOCK_S = 20
_WINDOW_S = 0.032
_HOP_S = 0.008
_RANGE_DB = 65.0
_MAX_COLUMNS = 2000
_N_ROWS = 160
_TICKS_HZ = (0, 500, 1000, 2000, 4000, 8000, 16000, 32000)
_OPUS_RATES_HZ = (8000, 12000, 16000, 24000, 48000)
# Red, green and blue, from silence to the loudest bin.
_COLOURS = np.array(
    [
        (5, 6, 16),
        (44, 17, 88),
        (120, 28, 109),
        (190, 55, 82),
        (236, 105, 37),
        (251, 180, 26),
        (252, 255, 190),
    ]
)
_GREYS = np.array([(0, 0, 0), (255, 255, 255)])


class ListeningPage:
    """A recording and its sources, to listen to in a browser or a notebook.

    All tracks play at once and in step; what is heard is switched while they play. Each has a
    spectrogram with a cursor, solo, mute and a level, and each source its mask: the share that it
    has of the recording. Constant offsets are left out.

    Parameters
    ----------
    mixture : array of shape (n_samples,) or (n_channels, n_samples)
        Floating or integer PCM. More than two channels are mixed down.
    sources : array of shape (n_sources, n_samples) or (n_sources, n_channels, n_samples)
        What it was separated into.
    rate : int
        Hz.
    references : array of shape (n_references, n_samples), optional
        The true sources, in the order of `sources`: tracks of their own, and figures.
    title : str, default="Separated recording"
        Heading.
    names : sequence of str, optional
        One a source; "Source 1", ... by default.
    notes : str or sequence of str, default=()
        Sentences to show above the tracks.

    Attributes
    ----------
    html : str
        The page.

    Raises
    ------
    ValueError
        If shapes or numbers do not fit to each other, samples are NaN or infinite, or the rate is
        no positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.display import ListeningPage
    >>> sources = 0.1 * np.random.default_rng(0).standard_normal((2, 8000))
    >>> page = ListeningPage(sources.sum(axis=0), sources, 8000, names=["Ann", "Bob"])
    >>> "Ann" in page.html
    True
    """

    def __init__(
        self,
        mixture: ArrayLike,
        sources: ArrayLike,
        rate: int,
        *,
        references: ArrayLike | None = None,
        title: str = "Separated recording",
        names: Sequence[str] | None = None,
        notes: str | Sequence[str] = (),
    ) -> None:
        signal = read_samples(mixture, "mixture").astype(np.float32)
        parts = read_samples(sources, "sources").astype(np.float32)
        if parts.ndim != signal.ndim + 1 or parts.shape[1:] != signal.shape or not signal.size:
            raise ValueError(
                f"sources have shape {parts.shape} and the mixture {signal.shape}; expected "
                "(n_sources, ...) and the shape of each of them"
            )
        if not len(parts):
            raise ValueError(f"sources have shape {parts.shape}: none; give one at least")
        called = _names(parts) if names is None else list(map(str, names))
        if len(called) != len(parts):
            raise ValueError(f"got {len(called)} names for {len(parts)} sources: one each")
        truth = None
        if references is not None:
            truth = read_samples(references, "references").astype(np.float32)
        if truth is not None and truth.shape[1:] != signal.shape:
            raise ValueError(
                f"references have shape {truth.shape}; expected (n_references, {signal.shape[-1]})"
            )
        check_rate(rate, "rate")
        self.title = str(title)
        data = _data(signal, parts, int(rate), truth, self.title, called)
        self.html = _render(
            self.title, data | {"notes": [notes] if isinstance(notes, str) else list(notes)}
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, atomically.

        Parameters
        ----------
        path : path-like
            File to write, ``.html`` by convention. Its folder is made where it does not exist.

        Returns
        -------
        Path
            The file.
        """
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(self.html, encoding="utf-8")
        return Path(path)

    def _repr_html_(self) -> str:
        # A frame, so that neither the page nor the notebook changes how the other looks.
        n_tracks = self.html.count('"picture":')
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="{html.escape(self.title)}" '
            f'style="width:100%;height:{min(160 + 235 * n_tracks, 900)}px;border:0" '
            'allow="autoplay"></iframe>'
        )


def _names(sources: FloatArray) -> list[str]:
    return [f"Source {number}" for number in range(1, len(sources) + 1)]


def _render(title: str, data: dict[str, Any]) -> str:
    template = files("skdc.display").joinpath("page.html").read_text("utf-8")
    # In a script, only "<" could end it or begin a comment.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    head, body = template.split("@DATA@")
    page = head.replace("@TITLE@", html.escape(title)) + text + body
    # Names of files may hold bytes that are no characters.
    return page.encode(errors="replace").decode()


def _data(
    mixture: FloatArray,
    sources: FloatArray,
    rate: int,
    references: FloatArray | None,
    title: str,
    names: list[str],
) -> dict[str, Any]:
    """Give what the script of the page reads."""
    seconds = mixture.shape[-1] / rate
    (mixture, _), (sources, _) = without_offset(mixture), without_offset(sources)
    signals = [("Recording", "", mixture)]
    figures = [""] * len(sources)
    if references is not None:
        references, _ = without_offset(references)
        # (sources, channels, samples) -> (sources, channels * samples), where there are channels
        flat = [part.reshape(len(part), -1) for part in (references, sources)]
        whole = mixture.reshape(-1)
        # One by one, so that each figure is that of the source that it stands beside
        for number, (reference, source) in enumerate(zip(*flat, strict=False)):
            if reference.any():  # there is no figure for one that is silent
                gain = si_sdr(reference, source) - si_sdr(reference, whole)
                figures[number] = f"SI-SDR {gain:+.1f} dB over the recording"
    signals += list(zip(names, figures, sources, strict=True))
    for number, reference in enumerate(references if references is not None else []):
        name = names[number] if number < len(names) else f"Source {number + 1}"
        signals.append((f"{name}, as recorded alone", "reference", reference))
    pictures = [_powers(signal, rate) for *_, signal in signals]
    # (n_rows, n_columns) each
    loudest = pictures[0].max(initial=0) or 1.0
    # One gain for all: the loudest track plays at full scale.
    peak = max(float(np.abs(signal).max(initial=0)) for *_, signal in signals) or 1.0
    total = np.sqrt(np.stack(pictures[1 : len(sources) + 1])).sum(axis=0)
    sound_rate = min((hz for hz in _OPUS_RATES_HZ if hz >= rate), default=_OPUS_RATES_HZ[-1])
    tracks = []
    for index, (name, note, signal) in enumerate(signals):
        decibels = 10 * np.log10(pictures[index] / loudest + 1e-12)
        track = {
            "name": name,
            "figures": note,
            "picture": _picture(1 + decibels / _RANGE_DB, _COLOURS),
            "blocks": _blocks(signal * (0.99 / max(peak, 0.99)), rate, sound_rate),
        }
        if 1 <= index <= len(sources):
            share = np.sqrt(pictures[index]) / np.maximum(total, np.finfo(float).tiny)
            track["mask"] = _picture(share, _GREYS)
        tracks.append(track)
    n_channels = mixture.shape[0] if mixture.ndim == 2 else 1
    channels = {1: "mono", 2: "stereo"}.get(n_channels, f"{n_channels} channels, mixed down")
    return {
        "title": title,
        "about": f"Separated into {len(sources)}, {rate / 1000:g} kHz, {channels}. Space plays; "
        f"the keys 1 to {min(len(tracks), 9)} switch between the tracks while they play.",
        "rate": sound_rate,
        "seconds": seconds,
        "block_seconds": _BLOCK_S,
        "ticks": [
            {
                "text": f"{hz / 1000:g} kHz" if hz else "0",
                "place": float(_scale(hz) / _scale(rate / 2)),
            }
            for hz in _TICKS_HZ
            if hz < 0.97 * rate / 2
        ],
        "tracks": tracks,
    }


def _blocks(signal: FloatArray, rate: int, sound_rate: int) -> list[str]:
    """Encode a track as one file every `_BLOCK_S` seconds, in base64."""
    channels = signal if signal.ndim == 2 and len(signal) == 2 else _mono(signal)[None]
    channels = resample(channels, rate, sound_rate)
    starts = range(0, channels.shape[1], _BLOCK_S * sound_rate)
    blocks = [channels[:, start : start + starts.step] for start in starts]
    # Encoding, which is most of the work of a page, does not hold the interpreter's lock.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(partial(_encoded, sound_rate=sound_rate), blocks))


def _encoded(block: FloatArray, sound_rate: int) -> str:
    """Encode sound ``(n_channels, n_samples)``."""
    frames = np.ascontiguousarray(block.T)  # (n_samples, n_channels)
    target = io.BytesIO()
    with soundfile.SoundFile(
        target, "w", sound_rate, frames.shape[1], format="OGG", subtype="OPUS"
    ) as file:
        # libsndfile's encoder overflows the stack where it gets much at once.
        for first in range(0, len(frames), 4096):
            file.write(frames[first : first + 4096])
    return base64.b64encode(target.getvalue()).decode("ascii")


def _mono(signal: FloatArray) -> FloatArray:
    return signal.mean(axis=0) if signal.ndim == 2 else signal


def _scale(hz: float | NDArray[np.floating]) -> Any:
    """Place of a frequency on the axis: even below 1 kHz, logarithmic above."""
    return np.log1p(np.asarray(hz) / 1000.0)


def picture_rows(n_bins: int, rate: int, n_rows: int = _N_ROWS) -> NDArray[np.intp]:
    """Give the first bin of each row of a picture, and the end of the last.

    Parameters
    ----------
    n_bins : int
        Bins of a spectrogram, from 0 to half of `rate`.
    rate : int
        Hz.
    n_rows : int, default=160

    Returns
    -------
    int array of shape (n_rows + 1,)
        Rising from 0 to `n_bins`, where rows of low frequencies may share a bin.

    Examples
    --------
    >>> from skdc.display.page import picture_rows
    >>> picture_rows(129, 8000, 4)
    array([  0,  16,  40,  76, 129])
    """
    top = float(_scale(rate / 2))
    hz = 1000.0 * np.expm1(np.linspace(0, top, n_rows + 1))
    return np.rint(hz / (rate / 2) * n_bins).astype(np.intp)


def _powers(signal: FloatArray, rate: int) -> NDArray[np.float64]:
    """Mean power of each pixel ``(n_rows, n_columns)`` of a spectrogram, high bins first."""
    waveform = torch.from_numpy(np.ascontiguousarray(_mono(signal)))
    window = 2 * max(8, round(_WINDOW_S * rate / 2))
    hop = max(1, round(_HOP_S * rate))
    n_frames = -(-len(waveform) // hop)
    n_columns = min(n_frames, _MAX_COLUMNS)
    rows = picture_rows(window // 2 + 1, rate)
    pixels = np.zeros((_N_ROWS, n_columns))
    counts = np.bincount(np.arange(n_frames) * n_columns // n_frames, minlength=n_columns)
    step = 2048  # frames at once, so that long recordings take little memory
    for first in range(0, n_frames, step):
        part = waveform[first * hop : (first + step) * hop]
        if len(part) < hop:
            part = torch.nn.functional.pad(part, (0, hop - len(part)))
        power = stft(part, win_length=window, hop_length=hop).abs().square().double().numpy()
        power = power[: min(step, n_frames - first)]
        sums = np.concatenate([np.zeros((len(power), 1)), power.cumsum(axis=1)], axis=1)
        # A row of low frequencies that holds no bin of its own takes the nearest.
        low = np.minimum(rows[:-1], power.shape[1] - 1)
        high = np.maximum(rows[1:], low + 1)
        means = (sums[:, high] - sums[:, low]) / (high - low)  # (n_frames, n_rows)
        columns = np.arange(first, first + len(power)) * n_columns // n_frames
        np.add.at(pixels.T, columns, means)
    return (pixels / counts)[::-1]


def _picture(values: NDArray[np.floating], colours: NDArray[np.integer]) -> str:
    """Give an image of values between 0 and 1 as a data URI."""
    levels = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    places = np.linspace(0, len(colours) - 1, 256)
    knots = np.arange(len(colours))
    palette = np.stack([np.interp(places, knots, colours[:, c]) for c in range(3)], axis=1)
    png = encode_png(levels, np.rint(palette).astype(np.uint8))
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def encode_png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Encode an image of indexed colours.

    Parameters
    ----------
    pixels : uint8 array of shape (n_rows, n_columns)
        Indices into the palette.
    palette : uint8 array of shape (n_colours, 3)
        Red, green, blue.

    Returns
    -------
    bytes
        A PNG file.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.display.page import encode_png
    >>> encode_png(np.zeros((2, 3), np.uint8), np.zeros((1, 3), np.uint8))[1:4]
    b'PNG'
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    n_rows, n_columns = pixels.shape
    # 8 bits a pixel, colour type 3 (palette), no interlacing; each row begins with its filter, 0.
    header = struct.pack(">IIBBBBB", n_columns, n_rows, 8, 3, 0, 0, 0)
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", palette.tobytes())
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )
