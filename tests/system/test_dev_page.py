"""The page about an error in a real browser: it shows the lines, and goes by itself when they are mended."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
ANSWER_SECONDS_MAX = 30
APP = """
from hanse import App, Gateway

gateway = Gateway()

@gateway.get("/tea")
async def tea() -> str:
    return f"tea at {12 / 4}"

app = App("tea", gateway=gateway)
"""

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed here, and the page needs a browser")


class Tab:
    """One tab of a headless browser, by the DevTools protocol; keeps what the pages complain of."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._commands = 0
        self.complaints: list[str] = []

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        self._commands += 1
        self._socket.send(json.dumps({"id": self._commands, "method": method, "params": parameters}))
        while True:
            answer = self._heard()
            if answer.get("id") == self._commands:
                return cast("dict[str, Any]", answer.get("result", {}))

    def wait_for_page(self, part: str) -> str:
        """The text of the first page from now on that has this in it; pages come and go meanwhile."""
        for _ in range(ANSWER_SECONDS_MAX * 10):
            script = "new Promise(told => setTimeout(() => told(document.body ? document.body.innerText : ''), 100))"
            answer = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
            text = str(answer.get("result", {}).get("value", ""))
            if part in text:
                return text
        raise AssertionError(text)

    def _heard(self) -> dict[str, Any]:
        heard = cast("dict[str, Any]", json.loads(self._socket.recv(timeout=ANSWER_SECONDS_MAX)))
        if heard.get("method") == "Log.entryAdded" and heard["params"]["entry"]["source"] == "security":
            self.complaints.append(str(heard["params"]["entry"]["text"]))
        if heard.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(heard["params"]))
        return heard


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    command = [CHROMIUM, *options, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = next(found[1] for line in process.stderr if (found := re.search(r"ws://([^/]+)/", line)))
        with urlopen(f"http://{address}/json") as listed:
            page = next(tab for tab in json.load(listed) if tab["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.timeout(120)
def test_an_error_is_shown_and_goes_when_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "tea.py"
    file.write_text(APP.replace("12 / 4", "12 / 0"))
    command = [sys.executable, "-m", "hanse", "dev", "tea.py", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            with browser(tmp_path) as tab:
                for domain in ("Log", "Runtime", "Page"):
                    tab.command(f"{domain}.enable")
                tab.command("Page.navigate", url=f"{url}/tea")
                assert "tea.py, line 8, in tea" in tab.wait_for_page("ZeroDivisionError: division by zero")
                file.write_text(APP.replace("async def tea", "asyn def tea"))
                assert "tea.py, line 7" in tab.wait_for_page("SyntaxError: invalid syntax")
                file.write_text(APP)
                tab.wait_for_page("tea at 3.0")
                assert tab.complaints == []
        finally:
            process.terminate()
            process.stdout.read()
