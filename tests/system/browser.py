"""A tab of a headless browser, for tests of pages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
WAIT_SECONDS_MAX = 80
"""For a page to come to what a test waits for, however much else it does meanwhile."""

ANSWER_SECONDS_MAX = 90.0
"""For the browser to say anything."""

# Resolves when the condition holds; looks again whenever the page changes.
WAIT = """
new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error("it did not come true")), SECONDS * 1000);
  const look = () => { if (CONDITION) { watcher.disconnect(); resolve(true); } };
  const watcher = new MutationObserver(look);
  watcher.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  look();
})
"""


class Tab:
    """One tab of a headless browser, by the DevTools protocol.

    Attributes:
        requests: URLs that its pages have asked for.
        complaints: What its pages have thrown or complained of, but for servers that were away.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._commands = 0
        self.requests: list[str] = []
        self.complaints: list[object] = []
        for domain in ("Network", "Runtime", "Log", "Page"):
            _ = self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """What the browser answers to a command of the protocol; nothing where its page went away meanwhile."""
        self._commands += 1
        self._socket.send(json.dumps({"id": self._commands, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=ANSWER_SECONDS_MAX))
            self._hear(answer)
            if answer.get("id") == self._commands:
                return cast("dict[str, Any]", answer.get("result", {}))

    def run(self, script: str) -> Any:  # noqa: ANN401 - whatever the script gives
        """What a script gives in the page, once it has it."""
        answer = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, (script, answer, self.complaints)
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a condition holds in the page."""
        self.run(WAIT.replace("CONDITION", condition).replace("SECONDS", str(WAIT_SECONDS_MAX)))

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is there."""
        _ = self.command("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def _hear(self, told: dict[str, Any]) -> None:
        method, what = told.get("method"), told.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        elif method == "Runtime.exceptionThrown" or (
            method == "Runtime.consoleAPICalled" and what["type"] in {"error", "warning"}
        ):
            self.complaints.append(what)
        elif method == "Log.entryAdded" and what["entry"]["source"] not in {"network", "javascript"}:
            self.complaints.append(what["entry"])


@contextmanager
def browsing(folder: Path) -> Generator[Tab]:
    """A browser of its own, with one tab."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    command = [CHROMIUM, *options, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(found[1] for line in process.stderr if (found := re.search(r"ws://([^/]+)/", line)))
            with urlopen(f"http://{address}/json") as listed:
                page = next(tab for tab in json.load(listed) if tab["type"] == "page")
            with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            _ = process.communicate()
