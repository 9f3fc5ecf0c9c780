"""The page of the office in a real browser: bookings as they change, through a kill, and the whole story of one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx

from . import served
from .browser import Tab

EXAMPLE = Path(__file__).parents[2] / "examples/tickets/tickets.py"
EMPTY = "4000000000000002"
MALLORY = "<img/src=x/onerror=console.error(1)>@example.org"

# In the order in which they came; the page shows the latest first.
SHOWN = "[...document.querySelectorAll('#log li')].reverse().map(one => Number(one.dataset.cursor.split('.').at(-1)))"


def serving(folder: Path, port: str = "0", out: str = "0") -> AbstractContextManager[str]:
    sets = (
        "--set",
        f"services.bank.settings.out={out}",
        "--set",
        'services.notifications.settings.blocked=["lost.example"]',
    )
    return served.serving(folder, EXAMPLE, "--store", "sqlite:///data", *sets, port=port)


def rows(folder: Path, service: str, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{folder}/data/{service}.db?mode=ro", uri=True)) as store:
        return store.execute(query).fetchall()


@contextmanager
def opened(url: str) -> Generator[httpx.Client]:
    """A client of the office, and a show that is on."""
    with httpx.Client(base_url=url, headers={"x-api-key": "office"}, timeout=60.0) as client:
        show = {"title": "Hamlet", "seats": 9, "price": 2500}
        assert client.put("/office/shows/hamlet", json=show).is_success
        yield client


def sign_up(client: httpx.Client, folder: Path, email: str, card: str) -> None:
    id = client.post("/sign-ups", json={"email": email}).json()
    query = f"SELECT json_extract(CAST(value AS TEXT), '$.code') FROM \"rows:sign_ups\" WHERE id = '{id}'"
    [(code,)] = rows(folder, "users", query)
    assert client.post(f"/sign-ups/{id}/code", json={"code": code}).json()
    assert client.post(f"/sign-ups/{id}/user", json={"name": email, "card": card}).is_success


def book(client: httpx.Client, email: str, seat: int) -> Any:  # noqa: ANN401 - a booking, or a problem
    return client.post("/bookings", json={"email": email, "show": "hamlet", "seat": seat}).json()


def unlock(tab: Tab, url: str, key: str = "office") -> None:
    tab.open(f"{url}/office/?long=0")
    tab.run(f"document.getElementById('key').value = {json.dumps(key)}; document.querySelector('#door button').click()")


def shows(id: str, text: str) -> str:
    return f"document.getElementById('{id}').textContent === {json.dumps(text)}"


def log_of(folder: Path) -> list[int]:
    """The places in the store's log of what it tells of bookings."""
    return [seq for (seq,) in rows(folder, "bookings", "SELECT seq FROM log WHERE name = 'bookings' ORDER BY seq")]


def test_through_a_kill_each_change_is_shown_once_and_a_click_tells_the_story(tab: Tab, tmp_path: Path) -> None:
    with serving(tmp_path) as url, opened(url) as client:
        unlock(tab, url)
        tab.wait(shows("status", "live"))
        sign_up(client, tmp_path, MALLORY, EMPTY)
        sign_up(client, tmp_path, "ada@example.org", "4242")
        assert book(client, MALLORY, 1)["code"] == "declined"
        tab.wait("document.querySelectorAll('#log li').length === 2")
    tab.wait(shows("status", "reconnecting"))
    with serving(tmp_path, url.rpartition(":")[2]), opened(url) as client:
        booking = book(client, "ada@example.org", 1)["id"]  # maybe before the page is back: it has to catch up
        tab.wait(f"{shows('status', 'live')} && document.querySelectorAll('#log li').length === 4")
        assert tab.run(SHOWN) == log_of(tmp_path)
        tab.run(f"document.querySelector('#log .booking[data-id={json.dumps(booking)}]').click()")
        tab.wait("document.querySelectorAll('#mails li').length === 1")
        assert tab.run("document.querySelector('#story dl').dataset.status") == "confirmed"
        told = "[...document.querySelectorAll('#transfers li, #mails li')].map(one => one.textContent)"
        transfer, mail = tab.run(told)
        assert transfer == "25.00 taken from the card that ends in 4242"
        assert mail == "ada@example.org: Seat 1 of hamlet is yours."
        sign_up(client, tmp_path, "eve@lost.example", "4242")
        booking = book(client, "eve@lost.example", 2)["id"]
        tab.run(f"location.hash = {json.dumps(booking)}")
        tab.wait("document.querySelector('#unsent li')?.textContent.startsWith('lost.example takes no mail from us')")
    assert tab.run("document.querySelector('img')") is None
    assert tab.complaints == []


def test_what_is_held_for_long_stands_out_and_is_turned_back_from_the_page(tab: Tab, tmp_path: Path) -> None:
    """The bank says nothing, so that nobody knows yet what is to be given back."""
    with serving(tmp_path, out="1") as url, opened(url) as client:
        sign_up(client, tmp_path, "ada@example.org", "4242")
        unlock(tab, url)
        tab.wait(shows("status", "live"))
        tab.run(
            "fetch('/bookings', {method: 'POST', headers: {'Content-Type': 'application/json'},"
            " body: JSON.stringify({email: 'ada@example.org', show: 'hamlet', seat: 2})}).catch(() => null); null"
        )
        tab.wait("document.querySelector('#held .long')?.textContent.startsWith('for long')")
        tab.run("document.getElementById('state').value = 'running'; document.querySelector('#look button').click()")
        tab.wait("document.querySelector('#sagas .booking')")
        tab.run("document.querySelector('#sagas .booking').click()")
        tab.wait("document.querySelector('.saga[data-state=running]') && document.querySelector('[data-act=abort]')")
        tab.run("document.querySelector('[data-act=abort]').click()")
        tab.wait("[...document.querySelectorAll('.steps li')].some(one => one.textContent.endsWith('abort by office'))")
    tab.wait(shows("status", "reconnecting"))
    with serving(tmp_path, url.rpartition(":")[2]):
        tab.wait(f"{shows('count', '0')} && document.querySelector('#log .given')")
        tab.run("document.querySelector('#log .booking').click()")
        tab.wait("document.querySelector('.saga[data-state=undone]')")
        assert tab.run("document.querySelector('[data-act]')") is None


def test_who_has_no_key_is_told_so_and_sees_nothing(tab: Tab, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        unlock(tab, url, "guessed")
        tab.wait("document.getElementById('refused').textContent")
        assert tab.run("[document.querySelector('main').hidden, document.getElementById('door').hidden]") == [
            True,
            False,
        ]
        unlock(tab, url)
        tab.wait(shows("status", "live"))
        tab.run("document.getElementById('reference').value = 'NONE'; document.querySelector('#ask button').click()")
        tab.wait("document.getElementById('wrong').textContent.startsWith('NONE: ')")
        assert all(one.startswith((url, "data:")) for one in tab.requests)
