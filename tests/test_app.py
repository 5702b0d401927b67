"""``skdc app``: without gradio it says what to install; with it, a browser drives it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import Browser, needs_browser

from skdc.cli import main
from skdc.datasets import load_sample_mixture, write_audio

ODD_NAME = """Ann's & "Bob's" <b>50%22 off? #1 `$HOME` 日本"""
FRAME = "document.querySelector('#page iframe')"


def test_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    assert 'install it with: pip install "skdc[app]"' in capsys.readouterr().err


def test_ports_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    for port, message in (("0", "an integer of at least 1"), ("65536", "ports end at 65535")):
        with pytest.raises(SystemExit, match="2"):
            main(["app", "--port", port])
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra 'app'")
def test_a_port_that_is_taken(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "skdc", "app", "--no-browser", "--model", str(model)]
        run = subprocess.run(
            [*command, "--device", "cpu", "--port", port], capture_output=True, text=True
        )
    assert run.returncode == 2
    assert run.stderr == f"skdc: error: --port {port} is taken; give another, or none\n"


@pytest.fixture(scope="module")
def address(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address that a running app says it has."""
    folder = tmp_path_factory.mktemp("uploads")
    command = [sys.executable, "-m", "skdc", "app", "--no-browser", "--model", str(model)]
    with subprocess.Popen(
        [*command, "--device", "cpu"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"GRADIO_TEMP_DIR": str(folder)},
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.terminate()


@needs_browser
@pytest.mark.slow
@pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra 'app'")
def test_separates_what_is_dropped(browser: Browser, address: str, tmp_path: Path) -> None:
    browser.open(address)
    browser.wait("document.querySelector('#separate') !== null")
    # Nothing was given yet: a sentence says so.
    browser.click("#separate")
    browser.wait("document.body.textContent.includes('Drop a recording or record one first')")

    path = tmp_path / f"{ODD_NAME}.wav"
    write_audio(path, load_sample_mixture()[0][:16000], 8000)
    browser.write("#recording input[type=file]", str(path))
    browser.wait("document.querySelector('#recording input[type=file]') === null")
    browser.click("#talkers label", 2)  # three talkers
    browser.click("#separate")
    browser.wait(f"{FRAME} !== null && {FRAME}.contentWindow.skdcPage !== undefined")
    inner = f"{FRAME}.contentWindow"
    assert browser.run(f"return {inner}.document.querySelectorAll('.track').length") == 4
    browser.run(f"return {inner}.skdcPage.play()")
    browser.wait(f"{inner}.skdcPage.position() > 0.1")
    names = browser.run("return document.querySelector('#files').textContent")
    assert names.count(".wav") == 3
    assert names.count(".html") == 1
    browser.picture(tmp_path / "app.png")
    # On their way to the app and back, names lose nothing.
    assert browser.run(f"return {inner}.document.title") == ODD_NAME
    links = "return Promise.all([...document.querySelectorAll('#files a')].map("
    links += "async (a) => [a.download, (await (await fetch(a.href)).blob()).size]))"
    *sounds, page = browser.run(links)
    n_bytes = 44 + 44 + 2 * 16000  # header, who wrote it, samples
    assert sounds == [[f"{ODD_NAME}-{number}.wav", n_bytes] for number in (1, 2, 3)]
    assert page[0] == f"{ODD_NAME}.html"

    # What cannot be read is said in the page, and the app goes on.
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF no audio")
    browser.open(address)
    browser.wait("document.querySelector('#recording input[type=file]') !== null")
    browser.write("#recording input[type=file]", str(broken))
    browser.wait("document.querySelector('#recording input[type=file]') === null")
    browser.click("#separate")
    browser.wait("document.body.textContent.includes('as audio')")


@needs_browser
@pytest.mark.slow
@pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra 'app'")
def test_asks_nothing_of_other_computers(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.wait("document.querySelector('#separate') !== null")
    asked = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in asked if not name.startswith((address, "data:", "blob:"))] == []
