"""The page at /docs in a real browser: it shows, calls, tells of errors, follows, and asks nobody else."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.request import Request, urlopen

import pytest

from .browser import Tab
from .served import serving

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


def found(id: str) -> str:
    return f"document.getElementById({json.dumps(id)})"


def open_docs(tab: Tab, url: str) -> None:
    tab.open(f"{url}/api/docs")
    tab.wait("document.querySelector('.op')")


def operation(tab: Tab, id: str) -> None:
    """Open one operation."""
    tab.run(f"location.hash = {json.dumps(id)}")
    tab.wait(f"document.getElementById({json.dumps(id)}).open && {found(id)}.querySelector('form')")


def fill(tab: Tab, id: str, name: str, value: str) -> None:
    field = f"{found(id)}.querySelector({json.dumps(f'[name={name}]')})"
    tab.run(f"{field}.value = {json.dumps(value)}")


def send(tab: Tab, id: str) -> None:
    tab.run(f"{found(id)}.querySelector('button.main').click()")
    tab.wait(f"{found(id)}.querySelector('.out .status')")


def text(tab: Tab, id: str, selector: str) -> str:
    return cast("str", tab.run(f"{found(id)}.querySelector({json.dumps(selector)}).textContent"))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "app.py").write_text(APP)
    with serving(tmp_path, "app.py") as url:
        yield url


def create(url: str, name: str) -> str:
    body = json.dumps({"name": name, "left": 2}).encode()
    with urlopen(Request(f"{url}/api/items", body, {"Content-Type": "application/json"})) as answer:
        return cast("str", json.load(answer)["id"])


def test_the_page_shows_what_is_exposed_and_asks_nobody_else(tab: Tab, url: str) -> None:
    open_docs(tab, url)

    assert tab.run("document.title") == "shop: API"
    assert tab.run("document.querySelectorAll('.op').length") >= 9
    assert "A thing on the <b>shelf</b>." in tab.run("document.querySelector('main').textContent")
    operation(tab, "create_item")
    assert "colour" in tab.run(f"{found('create_item')}.querySelector('.inside > div').innerText")
    assert not re.search("false|undefined|null|NaN", tab.run(f"{found('create_item')}.innerText"))
    assert {one.split("?")[0] for one in tab.requests if not one.startswith("data:")} == {
        f"{url}/api/docs",
        f"{url}/api/openapi.json",
    }
    assert tab.complaints == []


def test_a_form_is_made_from_the_schema_and_sent(tab: Tab, url: str) -> None:
    open_docs(tab, url)
    operation(tab, "create_item")
    fill(tab, "create_item", "name", "tea's")
    fill(tab, "create_item", "colour", '"blue"')
    send(tab, "create_item")

    assert text(tab, "create_item", ".status").startswith("201")
    tab.wait(f"{found('create_item')}.querySelector('.body')")
    body = json.loads(text(tab, "create_item", ".body"))
    assert (body["name"], body["left"], body["colour"]) == ("tea's", 1, "blue")
    curl = text(tab, "create_item", ".out pre")
    told = (
        subprocess.run(["/bin/sh", "-c", f"{curl} -s"], capture_output=True, check=True)
        if shutil.which("curl")
        else None
    )
    assert told is None or json.loads(told.stdout)["name"] == "tea's"
    assert tab.complaints == []


def test_an_error_of_the_service_is_shown(tab: Tab, url: str) -> None:
    id = create(url, "ink")
    open_docs(tab, url)
    operation(tab, "rpc_shop_buy")
    fill(tab, "rpc_shop_buy", "id", id)
    fill(tab, "rpc_shop_buy", "count", "9")
    send(tab, "rpc_shop_buy")

    assert text(tab, "rpc_shop_buy", ".status").startswith("409")
    tab.wait(f"{found('rpc_shop_buy')}.querySelector('.body')")
    assert json.loads(text(tab, "rpc_shop_buy", ".body"))["fields"] == {"left": 2}
    lines = tab.run(f"[...{found('rpc_shop_buy')}.querySelectorAll('.copy pre')].map(one => one.textContent)")
    assert lines[1] == f"""hanse call --url '{url}/api' shop.buy '{{"id":"{id}","count":9}}'"""


def test_what_is_not_filled_in_is_told_before_anything_is_sent(tab: Tab, url: str) -> None:
    open_docs(tab, url)
    operation(tab, "get_item")
    tab.run(f"{found('get_item')}.querySelector('button.main').click()")
    tab.wait(f"{found('get_item')}.querySelector('[aria-invalid=true]')")

    assert text(tab, "get_item", ".wrong") == "expected a value"
    assert not any("/items" in one for one in tab.requests)


def test_a_feed_is_followed_as_it_changes(tab: Tab, url: str) -> None:
    create(url, "ink")
    open_docs(tab, url)
    operation(tab, "list_items")
    tab.run(f"{found('list_items')}.querySelector('.follow').click()")
    tab.wait(f"{found('list_items')}.querySelector('.feed .ready')")
    create(url, "tea")
    tab.wait(f"{found('list_items')}.querySelector('.feed .created')?.textContent.includes('tea')")
    tab.run(f"[...{found('list_items')}.querySelectorAll('button')].find(one => one.textContent === 'Stop').click()")
    tab.wait(f"{found('list_items')}.querySelector('.feed .end')")

    names = tab.run(f"[...{found('list_items')}.querySelectorAll('.feed b')].map(one => one.textContent)")
    assert names == ["end", "created", "ready", "snapshot"]


def test_a_stream_is_shown_item_by_item(tab: Tab, url: str) -> None:
    open_docs(tab, url)
    operation(tab, "rpc_shop_count")
    fill(tab, "rpc_shop_count", "upto", "3")
    send(tab, "rpc_shop_count")
    tab.wait(f"{found('rpc_shop_count')}.querySelector('.feed .end')")

    items = tab.run(f"[...{found('rpc_shop_count')}.querySelectorAll('.feed .item span')].map(one => one.textContent)")
    assert items == ["2", "1", "0"]


def test_a_token_is_sent_and_stays_in_its_session(tab: Tab, url: str) -> None:
    open_docs(tab, url)
    operation(tab, "rpc_shop_close")
    send(tab, "rpc_shop_close")
    assert text(tab, "rpc_shop_close", ".status").startswith("401")
    tab.run("document.getElementById('token').focus()")
    tab.run("document.getElementById('token').value = 'secret'")
    tab.run("document.getElementById('token').dispatchEvent(new Event('input'))")
    tab.run(f"{found('rpc_shop_close')}.querySelector('button.main').click()")
    tab.wait(f"{found('rpc_shop_close')}.querySelector('.status')?.textContent.startsWith('200')")

    assert "secret" not in text(tab, "rpc_shop_close", ".out pre")
    assert tab.run("sessionStorage.length") == 1
    assert tab.run("JSON.stringify(localStorage)") == "{}"


def test_operations_are_found_by_words_and_reached_by_keys(tab: Tab, url: str) -> None:
    open_docs(tab, url)
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
    open_docs(tab, url)
    assert tab.run("document.documentElement.dataset.theme") == "dark"
    tab.run("document.getElementById('theme').click(); document.getElementById('theme').click()")

    assert tab.run("document.documentElement.dataset.theme") == "light"
    assert tab.run("document.getElementById('theme').ariaLabel") == "Colours: light"


def test_what_is_asked_for_by_a_document_is_found(tab: Tab, url: str) -> None:
    create(url, "ink")
    open_docs(tab, url)
    operation(tab, "query_items")
    tab.run(f"{found('query_items')}.querySelector('[type=checkbox]').click()")
    fill(tab, "query_items", "body", '{"where": {"name": "ink"}}')
    send(tab, "query_items")

    assert text(tab, "query_items", ".status").startswith("200")
    tab.wait(f"{found('query_items')}.querySelector('.body')")
    assert [one["name"] for one in json.loads(text(tab, "query_items", ".body"))["items"]] == ["ink"]


def test_a_row_is_patched_in_the_way_that_is_chosen(tab: Tab, url: str) -> None:
    id = create(url, "ink")
    open_docs(tab, url)
    operation(tab, "patch_item")
    kind = f"{found('patch_item')}.querySelector('select[aria-label]')"
    tab.run(f"{kind}.value = 'application/json-patch+json'; {kind}.dispatchEvent(new Event('change'))")
    fill(tab, "patch_item", "id", id)
    fill(tab, "patch_item", "body", '[{"op": "replace", "path": "/left", "value": 7}]')
    send(tab, "patch_item")

    assert text(tab, "patch_item", ".status").startswith("200")
    tab.wait(f"{found('patch_item')}.querySelector('.body')")
    assert json.loads(text(tab, "patch_item", ".body"))["left"] == 7
