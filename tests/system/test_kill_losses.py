"""Each part of an app is killed, again and again, while somebody writes: nothing that was acknowledged is lost.

Writes, events, a replica and a feed of the gateway are looked at together, as they share logs and connections.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from .fleet import MEDIUMS, RABBIT, Fleet, fleet, medium

SHOP = """
from hanse import App, Collection, Conflict, Event, Gateway, Replica, Resource, Service, on, rpc


class Note(Resource):
    text: str


class NoteAdded(Event):
    note: str


class Letter(Resource):
    note: str


class Notes(Service, owns=(Note,), events=(NoteAdded,)):
    notes: Collection[Note]

    @rpc
    async def add(self, id: str) -> None:
        await self.notes.create(Note(id=id, text="new"))
        await self.emit(NoteAdded(note=id))


class Letters(Service, owns=(Letter,)):
    letters: Collection[Letter]
    copies: Replica[Note]

    @on(NoteAdded)
    async def write(self, event: NoteAdded) -> None:
        await self.letters.create(Letter(note=event.note))

    @rpc
    async def copied(self) -> list[str]:
        return [note.id async for note in self.copies.scan()]


gateway = Gateway().rpc(Notes).rpc(Letters).resources(Note).resources(Letter)
app = App("shop", Notes, Letters, gateway=gateway)
"""
PARTS = ("notes", "letters", "gateway")
ROUNDS = 2
"""How often each is killed."""
MORE = 15
"""Writes that are acknowledged between two kills."""
LOOK_SECONDS = 0.05
LIMIT_SECONDS = 120.0
CONFLICT = 409


class Stop:
    """Has threads end, and waits with them for what nothing tells of."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def __bool__(self) -> bool:
        return self._stopped.is_set()

    def set(self) -> None:
        self._stopped.set()

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so, with a limit."""
        for _ in range(int(LIMIT_SECONDS / LOOK_SECONDS)):
            if true():
                return
            _ = self._stopped.wait(LOOK_SECONDS)
        raise AssertionError(f"it did not come true within {LIMIT_SECONDS:g} s")

    def rest(self) -> None:
        _ = self._stopped.wait(LOOK_SECONDS)


class Writer:
    """Adds one note after the other, each until it is acknowledged."""

    def __init__(self, url: str, stop: Stop) -> None:
        self.acknowledged: list[str] = []
        self._url = url
        self._stop = stop

    def has(self, count: int) -> bool:
        """Whether so many were acknowledged."""
        return len(self.acknowledged) >= count

    def run(self) -> None:
        """Add them until the end."""
        number = 0
        while not self._stop:
            if self._added(f"n{number:04d}"):
                self.acknowledged.append(f"n{number:04d}")
                number += 1
            else:
                self._stop.rest()

    def _added(self, id: str) -> bool:
        body = json.dumps({"id": id}).encode()
        try:
            urlopen(Request(f"{self._url}/rpc/notes/add", body, {"Content-Type": "application/json"})).close()
        except HTTPError as error:
            error.close()
            # It was added, and the answer did not come through.
            return error.code == CONFLICT
        except (OSError, http.client.HTTPException):
            return False
        return True


class Follower:
    """Reads the gateway's feed of the notes, and goes on from its cursor whenever the connection is lost."""

    def __init__(self, url: str, stop: Stop) -> None:
        self.told: list[tuple[str, str]] = []
        self.ready = threading.Event()
        self._address = url.removeprefix("http://")
        self._stop = stop
        self._cursor = ""

    def run(self) -> None:
        """Read until the end."""
        while not self._stop:
            connection = http.client.HTTPConnection(self._address, timeout=LIMIT_SECONDS)
            try:
                self._read(connection)
            except (OSError, http.client.HTTPException):
                self._stop.rest()
            finally:
                connection.close()

    def _read(self, connection: http.client.HTTPConnection) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": self._cursor}
        connection.request("GET", "/notes", headers=headers)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(answer.status)
        event = cursor = ""
        for line in answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "id":
                cursor = value
            elif name == "data":
                self._take(event, json.loads(value))
            elif not name and cursor:
                # Only what came whole was told.
                self._cursor = cursor
            if self._stop:
                return

    def _take(self, event: str, data: dict[str, Any]) -> None:
        if event == "ready":
            self.ready.set()
        elif event != "fault":  # whoever is told of one reads again from its cursor
            self.told.append((event, str(data.get("key"))))


KEPT = ", which keeps events"
"""Of a medium, that events wait there."""


@pytest.fixture(params=[*MEDIUMS, f"nats{KEPT}", f"redis{KEPT}", RABBIT])
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    target = tmp_path / "shop.py"
    _ = target.write_text(SHOP)
    name: str = request.param
    if name.endswith(KEPT):
        _ = (tmp_path / "hanse.toml").write_text('[node]\nevents = "broker"\n')
    with (
        medium(name.removesuffix(KEPT), tmp_path) as options,
        fleet(target, PARTS[:-1], tmp_path, *options, "--store", "sqlite:///data") as found,
    ):
        yield found


def rows(url: str, name: str) -> list[dict[str, Any]]:
    """All rows of a collection."""
    found: list[dict[str, Any]] = []
    page = f"{url}/{name}?limit=1000"
    while page:
        with urlopen(page) as answer:
            told = json.load(answer)
        found += told["items"]
        page = f"{url}/{name}?limit=1000&cursor={told['next']}" if told.get("next") else ""
    return found


def copied(url: str) -> list[str]:
    """What the replica has."""
    with urlopen(Request(f"{url}/rpc/letters/copied", b"{}", {"Content-Type": "application/json"})) as answer:
        found: list[str] = json.load(answer)
    return sorted(found)


@contextmanager
def threads(*bodies: Callable[[], None], ended: Stop) -> Generator[None]:
    """Run them beside, until the end."""
    running = [threading.Thread(target=body) for body in bodies]
    for one in running:
        one.start()
    try:
        yield
    finally:
        ended.set()
        for one in running:
            one.join(LIMIT_SECONDS)


@pytest.mark.timeout(200)
def test_nothing_that_was_acknowledged_is_lost_or_doubled(parts: Fleet) -> None:
    written, read = Stop(), Stop()
    url = parts.start("gateway")
    writer, follower = Writer(url, written), Follower(url, read)
    with threads(follower.run, ended=read):
        assert follower.ready.wait(LIMIT_SECONDS)
        with threads(writer.run, ended=written):
            for killed in (*PARTS * ROUNDS, ""):
                enough = len(writer.acknowledged) + MORE
                written.until(partial(writer.has, enough))
                if killed:
                    _ = parts.again(killed)
        kept = sorted(row["id"] for row in rows(url, "notes"))
        assert set(writer.acknowledged) <= set(kept)
        read.until(lambda: len(rows(url, "letters")) >= len(kept))
        assert Counter(row["note"] for row in rows(url, "letters")) == dict.fromkeys(kept, 1)
        read.until(lambda: copied(url) == kept)
        read.until(lambda: len(follower.told) >= len(kept))
        # Its reader ends where the connection does.
        read.set()
        parts.kill("gateway")
    assert follower.told == [("created", id) for id in kept]
