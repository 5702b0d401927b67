"""A headless browser that tests drive as a person would."""

from __future__ import annotations

import base64
import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the path"
)
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

    def open(self, place: Path | str) -> None:
        """Open a file, or an address."""
        address = place if isinstance(place, str) else place.resolve().as_uri()
        # What the page before said, such as that its server is gone, is no error of this one.
        self.ask("POST", "/url", {"url": "about:blank"})
        self.errors()
        self.ask("POST", "/url", {"url": address})

    def run(self, script: str, *values: Any) -> Any:
        """What a script returns, after the promise that it may be."""
        code = "const done = arguments[arguments.length - 1]; const args = arguments;"
        code += f"Promise.resolve((() => {{ {script} }})()).then(done, (e) => done(String(e)));"
        return self.ask("POST", "/execute/async", {"script": code, "args": list(values)})

    def click(self, selector: str, index: int = 0) -> None:
        self.ask("POST", f"/element/{self.find(selector, index)}/click", {})

    def write(self, selector: str, text: str) -> None:
        """Write into a field; the path of a file into a field for files."""
        self.ask("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def find(self, selector: str, index: int = 0) -> str:
        query = {"using": "css selector", "value": selector}
        found: str = self.ask("POST", "/elements", query)[index][ELEMENT]
        return found

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
