"""The page of the devices in a real browser: through kills and restarts it shows each change of the log once."""

from __future__ import annotations

import json
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from . import served
from .browser import Tab

EXAMPLE = Path(__file__).parents[2] / "examples/power/power.py"
KILLS = 4

STUCK = f"""
import sys
sys.path.insert(0, {str(EXAMPLE.parent)!r})
from hanse import App, Conflict
from power import Device, DeviceService, Worker, gateway

class Stuck(DeviceService, owns=(Device,)):
    async def ask(self, id: str, wanted: str) -> Device:
        raise Conflict("it is stuck")

app = App("power", Stuck, Worker, gateway=gateway)
"""

# In the order in which they came; the page shows the latest first.
SHOWN = "[...document.querySelectorAll('#log li')].reverse().map(one => ({...one.dataset}))"


def serving(folder: Path, port: str = "0", target: str | Path = EXAMPLE) -> AbstractContextManager[str]:
    options = ("--store", "sqlite:///data", "--set", "services.worker.settings.seconds=0.1")
    return served.serving(folder, target, *options, port=port)


def open_page(tab: Tab, url: str) -> None:
    tab.open(url)
    tab.wait(f"{shows('status', 'live')} && document.querySelectorAll('.device').length === 8")


def shows(id: str, text: str) -> str:
    return f"document.getElementById('{id}').textContent === {json.dumps(text)}"


def device(id: str) -> str:
    return f"document.getElementById('device-{id}')"


def click(tab: Tab, id: str) -> None:
    """Ask for the opposite, as a finger would."""
    tab.run(f"{device(id)}.click()")


def log_of(folder: Path, after: str) -> list[dict[str, str]]:
    """What the store's log tells of devices after a cursor, as the page would show it."""
    log, _, seen = after.rpartition(".")
    query = "SELECT op, id, seq FROM log WHERE name = 'devices' AND seq > ? ORDER BY seq"
    with closing(sqlite3.connect(f"file:{folder / 'data/devices.db'}?mode=ro", uri=True)) as store:
        entries = store.execute(query, (int(seen),)).fetchall()
    return [{"event": op, "key": id, "rev": str(seq), "cursor": f"{log}.{seq}"} for op, id, seq in entries]


def ask(url: str, id: str, wanted: str) -> None:
    body = json.dumps({"id": id, "wanted": wanted}).encode()
    with urlopen(Request(f"{url}/rpc/devices/ask", body, {"Content-Type": "application/json"})) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("via", ["sse", "websocket"])
def test_through_kills_the_page_shows_each_change_of_the_log_once_and_in_order(
    tab: Tab, tmp_path: Path, via: str
) -> None:
    port = "0"
    for kill in range(KILLS):
        with serving(tmp_path, port) as url:
            port = url.rpartition(":")[2]
            if not kill:
                open_page(tab, f"{url}/?via={via}")
            else:
                ask(url, "bell", "on" if kill % 2 else "off")  # maybe before the page is back: it has to catch up
            tab.wait(f"{shows('status', 'live')} && {shows('returns', str(kill))}")
            seen = int(tab.run("document.getElementById('count').textContent"))
            tab.wait(f"Number(document.getElementById('count').textContent) > {seen + 2}")
            click(tab, "lamp")
        tab.wait(shows("status", "reconnecting"))
    with serving(tmp_path, port):
        tab.wait(shows("returns", str(KILLS)))
        begun = tab.run("document.getElementById('log').dataset.after")
        last = log_of(tmp_path, begun)[-1]["cursor"]
        tab.wait(f"document.querySelector('#log li[data-cursor={json.dumps(last)}]')")
        shown = tab.run(SHOWN)
        assert shown == log_of(tmp_path, begun)[: len(shown)]
    assert len(shown) > 3 * KILLS
    assert tab.complaints == []


@pytest.mark.parametrize("via", ["sse", "websocket"])
def test_a_click_shows_at_once_and_an_error_says_what_came_of_it(tab: Tab, tmp_path: Path, via: str) -> None:
    with serving(tmp_path) as url:
        open_page(tab, f"{url}/?via={via}")
        gate = device("gate")
        # In one go, so that no answer gets in between.
        was, hoped, busy = tab.run(
            f"(() => {{ const was = {gate}.dataset.wanted; {gate}.click();"
            f" return [was, {gate}.dataset.wanted, {gate}.ariaBusy]; }})()"
        )
        assert (hoped, busy) == ({"on": "off", "off": "on"}[was], "true")
        tab.wait(f"document.getElementById('log').textContent.includes('gate was switched {hoped}')")
        tab.wait(f"{gate}.ariaBusy === 'false'")
    tab.wait(shows("status", "reconnecting"))
    was = tab.run(f"{device('gate')}.dataset.wanted")
    click(tab, "gate")
    tab.wait("document.getElementById('wrong').textContent.startsWith('gate: ')")
    assert tab.run(f"[{device('gate')}.dataset.wanted, {device('gate')}.ariaBusy]") == [was, "false"]


@pytest.mark.parametrize("via", ["sse", "websocket"])
def test_what_the_house_refuses_is_said_in_its_words(tab: Tab, tmp_path: Path, via: str) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    with serving(tmp_path, target="stuck.py") as url:
        open_page(tab, f"{url}/?via={via}")
        click(tab, "gate")
        tab.wait(shows("wrong", "gate: it is stuck"))
        assert tab.run(f"[{device('gate')}.dataset.wanted, {device('gate')}.ariaBusy]") == ["off", "false"]


def test_colours_follow_the_system_and_all_is_named(tab: Tab, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        grounds: set[str] = set()
        for scheme in ("light", "dark"):
            tab.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            open_page(tab, url)
            grounds.add(tab.run("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2
        assert tab.run("document.querySelector('.device').role") == "switch"
        names = tab.run("[...document.querySelectorAll('.device')].map(one => one.textContent)")
        assert all("switched" in name for name in names)
        assert all(one.startswith((url, "data:")) for one in tab.requests)


@pytest.mark.timeout(90)
def test_a_socket_whose_server_says_nothing_any_more_is_given_up(tab: Tab, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        quick = "const set = setInterval; window.setInterval = act => set(act, 200);"
        quick += "const later = setTimeout; window.setTimeout = (act, ms) => later(act, ms === 10000 ? 500 : ms);"
        tab.command("Page.addScriptToEvaluateOnNewDocument", source=quick)
        open_page(tab, f"{url}/?via=websocket")
        silent = "WebSocket.prototype.send = () => {};"  # as if nothing arrived, while the socket stays open
        tab.run(f"window.send = WebSocket.prototype.send; {silent}")
        tab.wait(shows("status", "reconnecting"))
        tab.run("WebSocket.prototype.send = window.send")
        tab.wait(f"{shows('status', 'live')} && Number(document.getElementById('count').textContent) > 3")
