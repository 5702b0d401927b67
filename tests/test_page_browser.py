"""The page to listen with, driven in a browser as a person would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, needs_browser

from skdc.display import ListeningPage

pytestmark = [pytest.mark.slow, needs_browser]


def tones(n_sources: int, seconds: float, rate: int = 8000, n_channels: int = 0) -> Any:
    """One tone a source; what is heard tells which of them play."""
    time_s = np.arange(int(seconds * rate)) / rate
    rows = [np.sin(2 * np.pi * 300 * (k + 1) * time_s) for k in range(n_sources)]
    sources = 0.2 * np.stack(rows).astype(np.float32)
    return np.stack([sources] * n_channels, axis=1) if n_channels else sources


ODD_NAMES = [
    'Ann "A" <b>',
    "Jürgen </script><script>document.title='hit'</script>",
    "O'Neill & \\",
]


def test_plays_and_switches(browser: Browser, tmp_path: Path) -> None:
    sources = tones(3, 6)
    title = '"Ä" <script>document.title = "hit"</script> @DATA@'
    page = ListeningPage(
        sources.sum(axis=0), sources, 8000, names=ODD_NAMES, references=sources, title=title
    )
    browser.open(page.save(tmp_path / 'odd "name" ü.html'))
    assert browser.run("return document.title") == title
    names = "return [...document.querySelectorAll('.name')].map((e) => e.textContent)"
    assert browser.run(names)[:4] == ["Recording", *ODD_NAMES]
    # each block decodes to its whole length, for every track
    lengths = "return skdcPage.decode(0).then((all) => all.map((b) => b.duration))"
    assert browser.run(lengths) == pytest.approx([6.0] * 7, abs=0.01)

    heard = "skdcPage.levels().map((level) => level > 0)"
    assert browser.run(f"return {heard}") == [True] + [False] * 6
    browser.click("#play")
    browser.wait("skdcPage.isPlaying() && skdcPage.position() > 0.2")
    browser.click(".solo", 2)  # while it plays
    assert browser.run("return skdcPage.isPlaying()")
    assert browser.run(f"return {heard}") == [False, False, True] + [False] * 4
    browser.wait("skdcPage.gains()[2] > 0.99 && skdcPage.gains()[0] < 0.01")
    browser.click(".solo", 2)  # none alone: all play, but for the mute ones
    browser.click(".mute", 0)
    assert browser.run(f"return {heard}") == [False] + [True] * 6
    set_level = "const s = document.querySelectorAll('.level input')[1]; s.value = -20;"
    browser.run(set_level + "s.dispatchEvent(new Event('input'))")
    assert browser.run("return skdcPage.levels()[1]") == pytest.approx(0.1)
    browser.wait("Math.abs(skdcPage.gains()[1] - 0.1) < 0.01")
    browser.click("#play")
    assert not browser.run("return skdcPage.isPlaying()")

    # the cursor follows, and a click on a picture moves it
    browser.run("return skdcPage.seek(3)")
    place = "return parseFloat(document.querySelectorAll('.cursor')[3].style.left)"
    assert browser.run(place) == pytest.approx(50)
    browser.click(".picture", 1)  # in its middle
    assert browser.run("return skdcPage.position()") == pytest.approx(3, abs=0.05)
    # masks on demand
    image = "return document.querySelectorAll('.picture img')[1].src"
    before = browser.run(image)
    browser.click("#masks")
    assert browser.run(image) != before
    assert browser.run("return document.querySelectorAll('.picture img')[1].decode().then(()=>1)")
    browser.click("#masks")
    # keys
    press = "document.dispatchEvent(new KeyboardEvent('keydown', {code: 'Digit2', key: '2'}))"
    browser.run(press)
    assert browser.run(f"return {heard}") == [False, True] + [False] * 5
    # to the end, and from the start again
    browser.run("return skdcPage.seek(5.8)")
    browser.click("#play")
    browser.wait("!skdcPage.isPlaying() && skdcPage.position() === 6")
    browser.click("#play")
    browser.wait("skdcPage.isPlaying() && skdcPage.position() < 5")
    browser.click("#play")
    assert browser.errors() == []


@pytest.mark.parametrize("width", [1200, 500])
def test_fits_the_width(browser: Browser, tmp_path: Path, width: int) -> None:
    sources = tones(2, 3)
    names = ["A name that is long enough to need more than one line on a phone", "Bob"]
    page = ListeningPage(sources.sum(axis=0), sources, 8000, names=names)
    browser.resize(width, 900)
    browser.open(page.save(tmp_path / "page.html"))
    overflow = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
    assert browser.run(overflow) == 0
    browser.picture(tmp_path / f"{width}.png")
    browser.resize(1200, 1000)


def test_twenty_minutes_in_stereo(browser: Browser, tmp_path: Path) -> None:
    sources = tones(2, 20 * 60, 16000, n_channels=2)
    page = ListeningPage(sources.sum(axis=0), sources, 16000)
    assert len(page.html) < 60e6
    browser.open(page.save(tmp_path / "long.html"))
    browser.click("#play")
    browser.wait("skdcPage.isPlaying() && skdcPage.position() > 0.2")
    browser.run("return skdcPage.seek(1100)")
    browser.wait("skdcPage.isPlaying() && skdcPage.position() > 1100.2")
    browser.run("return skdcPage.seek(1119.5)")  # over the edge of two blocks
    browser.wait("skdcPage.position() > 1120.3")
    browser.click("#play")
    assert browser.errors() == []


def test_blocks_follow_one_another_however_long_each_takes(
    browser: Browser, tmp_path: Path
) -> None:
    sources = tones(2, 21)
    browser.open(ListeningPage(sources.sum(axis=0), sources, 8000).save(tmp_path / "page.html"))
    # The first block, of 20 s, takes longer to decode than the last, of 1 s.
    browser.run("""
        window.starts = [];
        const start = AudioBufferSourceNode.prototype.start;
        AudioBufferSourceNode.prototype.start = function (when, skip, lasts) {
            window.starts.push([when, lasts]);
            return start.call(this, when, skip, lasts);
        };
        const decode = AudioContext.prototype.decodeAudioData;
        AudioContext.prototype.decodeAudioData = async function (data) {
            const buffer = await decode.call(this, data);
            if (buffer.duration > 10) await new Promise((done) => setTimeout(done, 1500));
            return buffer;
        };""")
    browser.click("#play")
    browser.wait("window.starts.length === 6")
    starts = browser.run("return window.starts")
    assert [round(lasts) for _, lasts in starts] == [20] * 3 + [1] * 3
    assert starts[3][0] == pytest.approx(starts[0][0] + 20, abs=0.1)
    browser.click("#play")
    assert browser.errors() == []


def test_in_a_frame_as_notebooks_have_it(browser: Browser, tmp_path: Path) -> None:
    sources = tones(2, 2)
    page = ListeningPage(sources.sum(axis=0), sources, 8000, names=ODD_NAMES[:2])
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><body>{page._repr_html_()}", encoding="utf-8")
    browser.open(path)
    inner = "document.querySelector('iframe').contentWindow"
    browser.wait(f"{inner}.skdcPage !== undefined")
    browser.run(f"return {inner}.skdcPage.play()")
    browser.wait(f"{inner}.skdcPage.position() > 0.1")
    assert browser.run(f"return {inner}.document.querySelectorAll('.track').length") == 3
    assert browser.errors() == []
