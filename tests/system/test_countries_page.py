"""The live page in a real browser: it lists, follows, renames, and comes back by itself when the server was killed."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

APP = Path(__file__).parents[2] / "examples/countries/app.py"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
ANSWER_SECONDS_MAX = 20

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed here, and the page needs a browser")

# Resolves when the condition holds; looks again whenever the page changes.
WAIT = """
new Promise(resolve => {
  const look = () => { if (CONDITION) { watcher.disconnect(); resolve(true); } };
  const watcher = new MutationObserver(look);
  watcher.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  look();
})
"""


class Tab:
    """One tab of a headless browser, by the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._commands = 0

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        self._commands += 1
        self._socket.send(json.dumps({"id": self._commands, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=ANSWER_SECONDS_MAX))
            if answer.get("id") == self._commands:
                return cast("dict[str, Any]", answer["result"])

    def run(self, script: str) -> object:
        answer = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return cast("object", answer["result"].get("value"))

    def wait(self, condition: str) -> None:
        self.run(WAIT.replace("CONDITION", condition))

    def open(self, url: str) -> None:
        self.command("Page.navigate", url=url)
        self.wait("document.querySelectorAll('#rows li').length > 100")


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


@contextmanager
def serving(folder: Path, port: str = "0") -> Iterator[str]:
    command = [sys.executable, "-m", "hanse", "run", str(APP), "--port", port, "--store", "sqlite:///data"]
    with subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


def rename(url: str, id: str, name: str) -> None:
    body = json.dumps({"name": name}).encode()
    with urlopen(Request(f"{url}/states/{id}", body, {"Content-Type": "application/json"}, method="PATCH")) as answer:
        assert answer.status == 200


def log_has(text: str) -> str:
    return f"document.getElementById('log').textContent.includes({json.dumps(text)})"


def test_the_page_shows_changes_live_and_resumes_after_its_server_was_killed(tmp_path: Path) -> None:
    with browser(tmp_path) as tab:
        with serving(tmp_path) as url:
            tab.open(f"{url}/#FR")
            rename(url, "FR-75C", "Lutetia")
            tab.wait(log_has("Paris → Lutetia"))
        tab.wait("document.getElementById('status').textContent === 'reconnecting'")
        with serving(tmp_path, url.rpartition(":")[2]):
            rename(url, "FR-75C", "Parisii")
            tab.wait(log_has("Lutetia → Parisii"))
            assert tab.run("document.querySelectorAll('#log li').length") == 2


def test_a_state_is_found_as_one_types_and_renamed_in_the_page(tmp_path: Path) -> None:
    with browser(tmp_path) as tab, serving(tmp_path) as url:
        tab.open(f"{url}/#FR")
        tab.run("document.getElementById('text').focus()")
        tab.command("Input.insertText", text="girond")
        tab.wait("document.querySelector('.found')?.textContent.includes('Gironde')")
        tab.run("document.querySelector('.found').click()")
        tab.wait("document.getElementById('FR-33')")
        tab.run("document.querySelector('#FR-33 button').click()")
        tab.command("Input.insertText", text="Aquitania")
        tab.command("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13)
        tab.wait(log_has("Gironde → Aquitania"))
        assert tab.run("document.querySelector('#FR-33 .words').firstChild.textContent") == "Aquitania"
