"""The page to listen with: what is in it. How it behaves is tested in a browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal

from skdc.display import ListeningPage
from skdc.display.page import encode_png, picture_rows
from skdc.metrics import si_sdr


def make(n_sources: int = 2, n_samples: int = 12000, rate: int = 8000, **options: Any) -> Any:
    sources = 0.1 * np.random.default_rng(0).standard_normal((n_sources, n_samples))
    return ListeningPage(sources.sum(axis=0), sources, rate, **options)


def data_of(page: ListeningPage) -> Any:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.html, re.S)
    assert found is not None
    return json.loads(found[1])


def image(uri: str) -> Any:
    """Decode a PNG of indexed colours."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", content[place + 8 + length : place + 12 + length])
        assert zlib.crc32(kind + body) == checksum
        chunks[kind], place = body, place + 12 + length
    n_columns, n_rows = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(n_rows, -1)
    assert not rows[:, 0].any()
    assert rows.shape[1] == n_columns + 1
    return rows[:, 1:]


def test_names_cannot_leave_their_place(tmp_path: Path) -> None:
    names = ["</script><script>alert(1)</script>", "<!-- \"'&ü @DATA@ @TITLE@"]
    page = make(names=names, title=f"{names[0]} @DATA@ {names[1]}")
    text = page.save(tmp_path / "deep" / "page.html").read_text("utf-8")
    assert text == page.html
    assert text.count("<script") == text.count("</script>") == 2
    assert [track["name"] for track in data_of(page)["tracks"][1:]] == names
    assert f"<title>{html.escape(page.title)}</title>" in text
    assert "http://" not in text
    assert "https://" not in text
    frame = page._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert "<script" not in frame


@pytest.mark.parametrize(
    ("rate", "sound_rate"), [(8000, 8000), (11025, 12000), (44100, 48000), (96000, 48000)]
)
def test_blocks_hold_all_samples(rate: int, sound_rate: int) -> None:
    seconds = 45.3
    n_samples = int(seconds * rate)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(n_samples) / rate)
    data = data_of(ListeningPage(np.stack([tone] * 2), np.stack([[tone] * 2] * 2) / 2, rate))
    assert (data["rate"], data["seconds"]) == (sound_rate, pytest.approx(seconds, abs=1e-4))
    for track in data["tracks"]:
        parts = [soundfile.read(io.BytesIO(base64.b64decode(b))) for b in track["blocks"]]
        assert {part[1] for part in parts} <= {sound_rate, 48000}  # libopus decodes at its own
        lengths = [len(samples) / rate_ for samples, rate_ in parts]
        assert lengths == pytest.approx([20, 20, n_samples / rate - 40], abs=1e-3)
        assert parts[0][0].shape[1] == 2


def test_pictures_show_where_the_sound_is() -> None:
    rate, time_s = 16000, np.arange(32000) / 16000
    low = 0.3 * np.sin(2 * np.pi * 500 * time_s) * (time_s < 1)
    high = 0.3 * np.sin(2 * np.pi * 6000 * time_s) * (time_s >= 1)
    tracks = data_of(ListeningPage(low + high, np.stack([low, high]), rate))["tracks"]
    mixture, first, second = (image(track["picture"]) for track in tracks)
    n_rows, n_columns = mixture.shape
    place = np.log1p(np.array([0.5, 6.0])) / np.log1p(8.0)
    expected = n_rows - 1 - (place * n_rows).astype(int)
    for picture, column, row in ((first, 0.25, expected[0]), (second, 0.75, expected[1])):
        at = int(column * n_columns)
        assert abs(int(picture[:, at].argmax()) - row) <= 2
        assert picture[:, int((1 - column) * n_columns)].max() == 0
        assert_array_equal(picture[:, at], mixture[:, at])
    assert "mask" not in tracks[0]
    masks = [image(track["mask"]) for track in tracks[1:]]
    assert masks[0][expected[0], n_columns // 4] > 250
    assert masks[1][expected[1], 3 * n_columns // 4] > 250


def test_long_recordings_have_small_pictures() -> None:
    data = data_of(make(n_samples=8000 * 60))
    assert image(data["tracks"][1]["picture"]).shape == (160, 2000)


@pytest.mark.parametrize("n_samples", [1, 100, 300])
def test_short_recordings(n_samples: int) -> None:
    data = data_of(make(n_samples=n_samples))
    assert data["seconds"] == n_samples / 8000


def test_silence() -> None:
    data = data_of(ListeningPage(np.zeros(8000), np.zeros((2, 8000)), 8000))
    assert image(data["tracks"][0]["picture"]).max() == 0


def test_figures_stand_beside_the_source_that_was_scored() -> None:
    references = 0.1 * np.random.default_rng(0).standard_normal((2, 4000))
    sources = references + np.array([[0.3], [0.1]]) * references[::-1]
    mixture = references.sum(axis=0)
    gains = si_sdr(references, sources) - si_sdr(references, np.stack([mixture, mixture]))
    expected = [f"SI-SDR {gain:+.1f} dB over the recording" for gain in gains]
    assert gains[1] > gains[0] + 5

    def figures(truth: Any) -> list[str]:
        page = ListeningPage(mixture, sources, 8000, references=truth)
        return [track["figures"] for track in data_of(page)["tracks"][1:3]]

    assert figures(references) == expected
    assert all("-" in figure for figure in figures(references[::-1]))  # in the wrong order
    assert figures(np.stack([references[0], 0 * references[1]])) == [expected[0], ""]


def test_names_of_any_kind() -> None:
    sources = 0.1 * np.random.default_rng(0).standard_normal((2, 4000))
    title: Any = Path("t")
    kinds: Any = (np.array(["a", "b"]), [Path("a"), "b"], ("a\udce9", "b"))
    for names in kinds:
        page = ListeningPage(sources.sum(axis=0), sources, 8000, names=names, title=title)
        assert data_of(page)["tracks"][2]["name"] == "b"
        page.html.encode()
    with pytest.raises(ValueError, match=r"\(0, 4000\): none; give one at least"):
        ListeningPage(sources[0], sources[:0], 8000)


@pytest.mark.parametrize("how", ["offset", "int16", "uint8"])
def test_offsets_and_integers(how: str) -> None:
    def changed(signals: Any) -> Any:
        if how == "offset":
            return signals + 0.5
        silence, scale = {"int16": (0, 32768), "uint8": (128, 128)}[how]
        return (scale * signals + silence).round().astype(how)

    sources = 0.1 * np.random.default_rng(0).standard_normal((2, 4000))
    signals = (sources.sum(axis=0), sources, sources + 0.3 * sources[::-1])
    pages = [
        ListeningPage(mixture, parts, 8000, references=references)
        for mixture, parts, references in (signals, map(changed, signals))
    ]
    for track, expected in zip(*(data_of(page)["tracks"] for page in pages), strict=True):
        shown, drawn = image(track["picture"]), image(expected["picture"])
        assert np.abs(shown.astype(float) - drawn).mean() < 2  # of 255
        heard, played = (
            soundfile.read(io.BytesIO(base64.b64decode(t["blocks"][0])))[0]
            for t in (track, expected)
        )
        assert heard.std() == pytest.approx(played.std(), rel=0.05)
        assert track["figures"] == expected["figures"]


def test_references_have_tracks_and_figures() -> None:
    sources = np.random.default_rng(0).standard_normal((2, 8000))
    page = ListeningPage(
        sources.sum(axis=0), sources + 0.1 * sources[::-1], 8000, references=sources, names="AB"
    )
    tracks = data_of(page)["tracks"]
    names = ["Recording", "A", "B", "A, as recorded alone", "B, as recorded alone"]
    assert [track["name"] for track in tracks] == names
    assert re.fullmatch(r"SI-SDR \+\d\d\.\d dB over the recording", tracks[1]["figures"])
    assert tracks[0]["figures"] == ""


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_rows_rise_and_cover_all_bins(rate: int) -> None:
    rows = picture_rows(513, rate)
    assert (rows[0], rows[-1], len(rows)) == (0, 513, 161)
    assert (np.diff(rows) >= 0).all()


def test_png_of_every_index() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    content = encode_png(pixels, np.zeros((256, 3), np.uint8))
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    assert_array_equal(image(uri), pixels)


def test_what_does_not_fit() -> None:
    sources = np.zeros((2, 100))
    with pytest.raises(ValueError, match=r"sources have shape \(2, 100\) and the mixture \(99,\)"):
        ListeningPage(np.zeros(99), sources, 8000)
    with pytest.raises(ValueError, match="got 1 names for 2 sources"):
        ListeningPage(np.zeros(100), sources, 8000, names=["A"])
    with pytest.raises(ValueError, match=r"references have shape \(2, 99\)"):
        ListeningPage(np.zeros(100), sources, 8000, references=np.zeros((2, 99)))
    for rate in (0, 8000.5, True, "8000"):
        with pytest.raises(ValueError, match=f"rate is {rate!r}; give a positive integer, in Hz"):
            ListeningPage(np.zeros(100), sources, rate)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mixture contains NaN; every sample must be a finite"):
        ListeningPage(np.full(100, np.nan), sources, 8000)
    with pytest.raises(ValueError, match=r"'\.' is a folder; give the name of a file"):
        make().save("")


def test_a_note_is_one_sentence() -> None:
    assert data_of(make(notes="Be careful."))["notes"] == ["Be careful."]
