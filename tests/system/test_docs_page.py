"""The page at /docs in a real browser: it shows, calls, tells of errors, follows, and asks nobody else."""

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

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
ANSWER_SECONDS_MAX = 20

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed here, and the page needs a browser")

APP = '''
from collections.abc import AsyncIterator
from typing import Literal

from hanse import App, Collection, Fault, Gateway, Identity, Resource, Service, Unauthenticated, authenticated, rpc


class SoldOut(Fault, detail="only {left} left"):
    left: int


class Item(Resource):
    """A thing on the <b>shelf</b>."""

    name: str
    left: int = 1
    colour: Literal["red", "blue"] = "red"


class Shop(Service):
    """Sells things."""

    items: Collection[Item]

    @rpc(faults=(SoldOut,))
    async def buy(self, id: str, count: int = 1) -> Item:
        """Take some from the shelf."""
        item = await self.items.get(id)
        if item.left < count:
            raise SoldOut(left=item.left)
        return await self.items.patch(id, left=item.left - count)

    @rpc
    async def count(self, upto: int) -> AsyncIterator[int]:
        """Count."""
        for number in range(upto):
            yield number

    @rpc(allow=authenticated)
    async def close(self) -> str:
        """Close the shop."""
        return "closed"


async def identify(headers: dict[str, str]) -> Identity:
    sent = headers.get("authorization", "")
    if sent not in ("", "Bearer secret"):
        raise Unauthenticated
    return Identity(subject="ada") if sent else Identity()


app = App("shop", Shop, gateway=Gateway("/api", identify=identify).resources(Item).rpc(Shop))
'''

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
    """One tab of a headless browser, by the DevTools protocol; keeps what it was told of requests and errors."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._commands = 0
        self.requests: list[str] = []
        self.errors: list[Any] = []

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        self._commands += 1
        self._socket.send(json.dumps({"id": self._commands, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=ANSWER_SECONDS_MAX))
            self._hear(answer)
            if answer.get("id") == self._commands:
                return cast("dict[str, Any]", answer["result"])

    def _hear(self, told: dict[str, Any]) -> None:
        method, what = told.get("method"), told.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        elif method == "Runtime.exceptionThrown" or (
            method == "Runtime.consoleAPICalled" and what["type"] in {"error", "warning"}
        ):
            self.errors.append(what)
        elif method == "Log.entryAdded" and what["entry"]["source"] != "network":
            self.errors.append(what["entry"])

    def run(self, script: str) -> Any:  # noqa: ANN401 - whatever the script gives
        answer = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        self.run(WAIT.replace("CONDITION", condition))

    def open(self, url: str) -> None:
        for domain in ("Network", "Runtime", "Log", "Page"):
            self.command(f"{domain}.enable")
        self.command("Page.navigate", url=url)
        self.wait("document.querySelector('.op')")

    def operation(self, id: str) -> str:
        """Open one operation; a script for it."""
        self.run(f"location.hash = {json.dumps(id)}")
        self.wait(f"document.getElementById({json.dumps(id)}).open && {found(id)}.querySelector('form')")
        return found(id)

    def fill(self, id: str, name: str, value: str) -> None:
        field = f"{found(id)}.querySelector({json.dumps(f'[name={name}]')})"
        self.run(f"{field}.value = {json.dumps(value)}")

    def send(self, id: str) -> None:
        self.run(f"{found(id)}.querySelector('button.main').click()")
        self.wait(f"{found(id)}.querySelector('.out .status')")

    def text(self, id: str, selector: str) -> str:
        return cast("str", self.run(f"{found(id)}.querySelector({json.dumps(selector)}).textContent"))


def found(id: str) -> str:
    return f"document.getElementById({json.dumps(id)})"


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", "about:blank"]
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


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "app.py").write_text(APP)
    with serving(tmp_path) as url:
        yield url


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "hanse", "run", "app.py", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


def create(url: str, name: str) -> str:
    body = json.dumps({"name": name, "left": 2}).encode()
    with urlopen(Request(f"{url}/api/items", body, {"Content-Type": "application/json"})) as answer:
        return cast("str", json.load(answer)["id"])


def test_the_page_shows_what_is_exposed_and_asks_nobody_else(tab: Tab, url: str) -> None:
    tab.open(f"{url}/api/docs")

    assert tab.run("document.title") == "shop: API"
    assert tab.run("document.querySelectorAll('.op').length") >= 9
    assert "A thing on the <b>shelf</b>." in tab.run("document.querySelector('main').textContent")
    tab.operation("create_item")
    assert "colour" in tab.run(f"{found('create_item')}.querySelector('.inside > div').innerText")
    assert not re.search("false|undefined|null|NaN", tab.run(f"{found('create_item')}.innerText"))
    assert {one.split("?")[0] for one in tab.requests if not one.startswith("data:")} == {
        f"{url}/api/docs",
        f"{url}/api/openapi.json",
    }
    assert tab.errors == []


def test_a_form_is_made_from_the_schema_and_sent(tab: Tab, url: str) -> None:
    tab.open(f"{url}/api/docs")
    tab.operation("create_item")
    tab.fill("create_item", "name", "tea's")
    tab.fill("create_item", "colour", '"blue"')
    tab.send("create_item")

    assert tab.text("create_item", ".status").startswith("201")
    tab.wait(f"{found('create_item')}.querySelector('.body')")
    body = json.loads(tab.text("create_item", ".body"))
    assert (body["name"], body["left"], body["colour"]) == ("tea's", 1, "blue")
    curl = tab.text("create_item", ".out pre")
    told = (
        subprocess.run(["/bin/sh", "-c", f"{curl} -s"], capture_output=True, check=True)
        if shutil.which("curl")
        else None
    )
    assert told is None or json.loads(told.stdout)["name"] == "tea's"
    assert tab.errors == []


def test_an_error_of_the_service_is_shown(tab: Tab, url: str) -> None:
    id = create(url, "ink")
    tab.open(f"{url}/api/docs")
    tab.operation("rpc_shop_buy")
    tab.fill("rpc_shop_buy", "id", id)
    tab.fill("rpc_shop_buy", "count", "9")
    tab.send("rpc_shop_buy")

    assert tab.text("rpc_shop_buy", ".status").startswith("409")
    tab.wait(f"{found('rpc_shop_buy')}.querySelector('.body')")
    assert json.loads(tab.text("rpc_shop_buy", ".body"))["fields"] == {"left": 2}
    lines = tab.run(f"[...{found('rpc_shop_buy')}.querySelectorAll('.copy pre')].map(one => one.textContent)")
    assert lines[1] == f"""hanse call --url '{url}/api' shop.buy '{{"id":"{id}","count":9}}'"""


def test_what_is_not_filled_in_is_told_before_anything_is_sent(tab: Tab, url: str) -> None:
    tab.open(f"{url}/api/docs")
    tab.operation("get_item")
    tab.run(f"{found('get_item')}.querySelector('button.main').click()")
    tab.wait(f"{found('get_item')}.querySelector('[aria-invalid=true]')")

    assert tab.text("get_item", ".wrong") == "expected a value"
    assert not any("/items" in one for one in tab.requests)


def test_a_feed_is_followed_as_it_changes(tab: Tab, url: str) -> None:
    create(url, "ink")
    tab.open(f"{url}/api/docs")
    tab.operation("list_items")
    tab.run(f"{found('list_items')}.querySelector('.follow').click()")
    tab.wait(f"{found('list_items')}.querySelector('.feed .ready')")
    create(url, "tea")
    tab.wait(f"{found('list_items')}.querySelector('.feed .created')?.textContent.includes('tea')")
    tab.run(f"[...{found('list_items')}.querySelectorAll('button')].find(one => one.textContent === 'Stop').click()")
    tab.wait(f"{found('list_items')}.querySelector('.feed .end')")

    names = tab.run(f"[...{found('list_items')}.querySelectorAll('.feed b')].map(one => one.textContent)")
    assert names == ["end", "created", "ready", "snapshot"]


def test_a_stream_is_shown_item_by_item(tab: Tab, url: str) -> None:
    tab.open(f"{url}/api/docs")
    tab.operation("rpc_shop_count")
    tab.fill("rpc_shop_count", "upto", "3")
    tab.send("rpc_shop_count")
    tab.wait(f"{found('rpc_shop_count')}.querySelector('.feed .end')")

    items = tab.run(f"[...{found('rpc_shop_count')}.querySelectorAll('.feed .item span')].map(one => one.textContent)")
    assert items == ["2", "1", "0"]


def test_a_token_is_sent_and_stays_in_its_session(tab: Tab, url: str) -> None:
    tab.open(f"{url}/api/docs")
    tab.operation("rpc_shop_close")
    tab.send("rpc_shop_close")
    assert tab.text("rpc_shop_close", ".status").startswith("401")
    tab.run("document.getElementById('token').focus()")
    tab.run("document.getElementById('token').value = 'secret'")
    tab.run("document.getElementById('token').dispatchEvent(new Event('input'))")
    tab.run(f"{found('rpc_shop_close')}.querySelector('button.main').click()")
    tab.wait(f"{found('rpc_shop_close')}.querySelector('.status')?.textContent.startsWith('200')")

    assert "secret" not in tab.text("rpc_shop_close", ".out pre")
    assert tab.run("sessionStorage.length") == 1
    assert tab.run("JSON.stringify(localStorage)") == "{}"


def test_operations_are_found_by_words_and_reached_by_keys(tab: Tab, url: str) -> None:
    tab.open(f"{url}/api/docs")
    tab.command("Input.dispatchKeyEvent", type="keyDown", key="/", code="Slash", text="/")
    tab.command("Input.insertText", text="shelf take")
    tab.wait("document.getElementById('found').textContent === '1 found'")
    assert tab.run("[...document.querySelectorAll('.op:not([hidden])')].map(one => one.id)") == ["rpc_shop_buy"]

    tab.run("document.querySelector('.op:not([hidden]) summary').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.command("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    tab.wait(f"{found('rpc_shop_buy')}.open")
    unnamed = (
        "[...document.querySelectorAll('input, select, textarea')].filter(one => !one.labels?.length && !one.ariaLabel)"
    )
    assert tab.run(f"{unnamed}.length") == 0


def test_colours_follow_the_system_until_one_chooses(tab: Tab, url: str) -> None:
    tab.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.open(f"{url}/api/docs")
    assert tab.run("document.documentElement.dataset.theme") == "dark"
    tab.run("document.getElementById('theme').click(); document.getElementById('theme').click()")

    assert tab.run("document.documentElement.dataset.theme") == "light"
    assert tab.run("document.getElementById('theme').ariaLabel") == "Colours: light"


def test_what_is_asked_for_by_a_document_is_found(tab: Tab, url: str) -> None:
    create(url, "ink")
    tab.open(f"{url}/api/docs")
    tab.operation("query_items")
    tab.run(f"{found('query_items')}.querySelector('[type=checkbox]').click()")
    tab.fill("query_items", "body", '{"where": {"name": "ink"}}')
    tab.send("query_items")

    assert tab.text("query_items", ".status").startswith("200")
    tab.wait(f"{found('query_items')}.querySelector('.body')")
    assert [one["name"] for one in json.loads(tab.text("query_items", ".body"))["items"]] == ["ink"]


def test_a_row_is_patched_in_the_way_that_is_chosen(tab: Tab, url: str) -> None:
    id = create(url, "ink")
    tab.open(f"{url}/api/docs")
    tab.operation("patch_item")
    kind = f"{found('patch_item')}.querySelector('select[aria-label]')"
    tab.run(f"{kind}.value = 'application/json-patch+json'; {kind}.dispatchEvent(new Event('change'))")
    tab.fill("patch_item", "id", id)
    tab.fill("patch_item", "body", '[{"op": "replace", "path": "/left", "value": 7}]')
    tab.send("patch_item")

    assert tab.text("patch_item", ".status").startswith("200")
    tab.wait(f"{found('patch_item')}.querySelector('.body')")
    assert json.loads(tab.text("patch_item", ".body"))["left"] == 7
