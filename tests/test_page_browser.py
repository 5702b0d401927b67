"""The page to listen with, driven in a browser as a person would."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skdc.display import ListeningPage

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the path"
    ),
]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # how WebDriver names elements


class Browser:
    """As much of the WebDriver protocol as these tests need."""

    def __init__(self, address: str) -> None:
        self.address = address
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio"]
        options += ["--autoplay-policy=no-user-gesture-required", "--window-size=1200,1000"]
        wanted = {"goog:chromeOptions": {"args": options, "binary": CHROMIUM}}
        wanted["goog:loggingPrefs"] = {"browser": "ALL"}
        capabilities = {"capabilities": {"alwaysMatch": wanted}}
        self.session = self.call("POST", "/session", capabilities)["sessionId"]

    def call(self, method: str, path: str, content: Any = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.address + path, data, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["value"]

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        return self.call(method, f"/session/{self.session}{path}", content)

    def open(self, path: Path) -> None:
        self.ask("POST", "/url", {"url": path.resolve().as_uri()})

    def run(self, script: str, *values: Any) -> Any:
        """What a script returns, after the promise that it may be."""
        code = "const done = arguments[arguments.length - 1]; const args = arguments;"
        code += f"Promise.resolve((() => {{ {script} }})()).then(done, (e) => done(String(e)));"
        return self.ask("POST", "/execute/async", {"script": code, "args": list(values)})

    def click(self, selector: str, index: int = 0) -> None:
        query = {"using": "css selector", "value": selector}
        found = self.ask("POST", "/elements", query)[index][ELEMENT]
        self.ask("POST", f"/element/{found}/click", {})

    def resize(self, width: int, height: int) -> None:
        self.ask("POST", "/window/rect", {"width": width, "height": height})

    def wait(self, condition: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.run(f"return {condition};"):
            assert time.monotonic() < end, condition
            time.sleep(0.1)

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def errors(self) -> list[str]:
        entries = self.ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            line = next(line for line in driver.stdout if "successfully on port" in line)
            made = Browser(f"http://127.0.0.1:{line.rstrip('. ' + chr(10)).split()[-1]}")
            made.ask("POST", "/timeouts", {"script": 120_000})
            yield made
            made.ask("DELETE", "")
        finally:
            driver.terminate()


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
