"""Real processes of one service on one store, and of two with a replica between: killed, and stopped for a while."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from threading import Event
from typing import Any
from urllib.request import Request, urlopen

import pytest
from tests.planted.unmeasured import unmeasured
from tests.store.postgresql.server import started, why_not

from .fleet import fleet, hanse, medium

NOTES = """
import asyncio
import os
from hanse import App, Change, Collection, Created, Gateway, Held, Lock, Resource, Service, every, on, rpc, rule


class Note(Resource):
    text: str = "new"
    by: int = 0


class Letter(Resource):
    note: str


class Tick(Resource):
    by: int


class Notes(Service):
    notes: Collection[Note]
    letters: Collection[Letter]
    ticks: Collection[Tick]
    turns: Lock

    @rpc
    async def turn(self, mark: str) -> int:
        async with self.turns.hold(lease="1h", wait="8s"):
            if mark:
                print(mark, flush=True)
                await asyncio.sleep(3600.0)
        return os.getpid()

    @on(Note)
    async def tell(self, change: Change[Note]) -> None:
        if isinstance(change, Created):
            await self.letters.create(Letter(note=change.after.id))

    @rule(Note, where=lambda note: note.text == "new")
    async def see(self, note: Held[Note]) -> None:
        await note.patch(text="seen", by=os.getpid())

    @every("0.2s")
    async def tick(self) -> None:
        await self.ticks.create(Tick(by=os.getpid()))


gateway = Gateway().rpc(Notes).resources(Note).resources(Letter).resources(Tick)
app = App("notes", Notes, gateway=gateway)
"""

BILLS = """
from hanse import App, Collection, Replica, Resource, Service, rpc


class Customer(Resource):
    name: str


class Customers(Service, owns=(Customer,)):
    customers: Collection[Customer]

    @rpc
    async def join(self, name: str) -> Customer:
        return await self.customers.create(Customer(id=name, name=name))

    @rpc
    async def leave(self, name: str) -> None:
        await self.customers.delete(name)

    @rpc
    async def place(self) -> str:
        return await self.customers.cursor()


class Bills(Service):
    customers: Replica[Customer]

    @rpc
    async def names(self, at_least: int | None = None, cursor: str | None = None) -> list[str]:
        wanted = at_least if cursor is None else cursor
        return [row.name for row in (await self.customers.find(at_least=wanted)).items]


app = App("bills", Customers, Bills)
"""
LIMIT_SECONDS = 120.0


class Process:
    """One instance, by its address."""

    def __init__(self, folder: Path, store: str = "sqlite:///data") -> None:
        command = [sys.executable, "-m", "hanse", "run", "notes.py", "--port", "0", "--store", store]
        self.running = subprocess.Popen(command, cwd=folder, env=unmeasured(), text=True, stdout=subprocess.PIPE)
        self.url: str = self.line().split()[-1]

    def line(self) -> str:
        """The next that it prints."""
        assert self.running.stdout is not None
        return self.running.stdout.readline().rstrip("\n")

    def rows(self, name: str) -> list[dict[str, object]]:
        """All rows of a collection, in the order of their ids."""
        rows: list[dict[str, object]] = []
        url: str | None = f"{self.url}/{name}?limit=1000"
        while url:
            with urlopen(url) as answer:
                page = json.load(answer)
            rows += page["items"]
            url = f"{self.url}/{name}?limit=1000&cursor={page['next']}" if page.get("next") else None
        return rows

    def put(self, id: str) -> None:
        request = Request(f"{self.url}/notes/{id}", b"{}", {"content-type": "application/json"}, method="PUT")
        urlopen(request).close()

    def turn(self, mark: str = "") -> int:
        """Have its turn; with a mark it says so, and keeps it."""
        body = json.dumps({"mark": mark}).encode()
        with urlopen(Request(f"{self.url}/rpc/notes/turn", body, {"content-type": "application/json"})) as answer:
            pid: int = json.load(answer)
        return pid

    def kill(self) -> None:
        self.running.kill()
        _ = self.running.wait()
        assert self.running.stdout is not None
        self.running.stdout.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store that several processes may share."""
    if request.param == "sqlite":
        yield "sqlite:///data"
        return
    if why := why_not():
        pytest.skip(why)
    server = started()
    try:
        yield server.store()
    finally:
        server.remove()


@contextmanager
def instances(folder: Path, store: str) -> Generator[list[Process]]:
    _ = (folder / "notes.py").write_text(NOTES)
    found: list[Process] = []
    try:
        found.append(Process(folder, store))
        found.append(Process(folder, store))
        yield found
    finally:
        for one in found:
            one.kill()


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so, with a limit."""
    never = Event()
    for _ in range(int(LIMIT_SECONDS / 0.1)):
        if true():
            return
        _ = never.wait(0.1)
    raise AssertionError(f"it did not come true within {LIMIT_SECONDS:g} s")


def ticks(process: Process) -> list[object]:
    return [row["by"] for row in process.rows("ticks")]


def test_one_instance_does_the_duty_and_one_that_slept_has_lost_it(tmp_path: Path, store: str) -> None:
    with instances(tmp_path, store) as (one, two):
        until(lambda: len(ticks(two)) > 5)
        first = ticks(two)[0]
        holder, other = (one, two) if one.running.pid == first else (two, one)
        assert first in (one.running.pid, two.running.pid)
        holder.running.send_signal(signal.SIGSTOP)
        other.put("a")
        until(lambda: other.running.pid in ticks(other))
        holder.running.send_signal(signal.SIGCONT)
        more = len(ticks(other)) + 10
        until(lambda: len(ticks(other)) > more)
        until(lambda: all(row["by"] == other.running.pid for row in other.rows("notes")))
        other.running.kill()
        holder.put("b")
        until(lambda: all(row["text"] == "seen" for row in holder.rows("notes")))
        told = ticks(holder)
    changed = [by for by, before in zip(told[1:], told, strict=False) if by != before]
    assert changed in ([other.running.pid], [other.running.pid, holder.running.pid])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process began")
def test_what_a_killed_process_held_is_had_by_the_next_though_its_lease_goes_on(tmp_path: Path) -> None:
    _ = (tmp_path / "notes.py").write_text(NOTES)
    before = Process(tmp_path)
    with ThreadPoolExecutor() as threads:
        turn = threads.submit(before.turn, "mine")
        assert before.line() == "mine"
        before.kill()
        with pytest.raises((OSError, HTTPException)):
            _ = turn.result(LIMIT_SECONDS)
    after = Process(tmp_path)
    try:
        assert after.turn() == after.running.pid
    finally:
        after.kill()


def test_no_write_is_lost_and_each_is_heard_of_once_through_a_kill(tmp_path: Path, store: str) -> None:
    with instances(tmp_path, store) as found:
        for number in range(60):
            found[number % 2].put(f"n{number}")
            if number == 30:
                found[0].kill()
                found[0] = Process(tmp_path, store)
        until(lambda: len(found[0].rows("letters")) >= 60)
        until(lambda: all(row["text"] == "seen" for row in found[1].rows("notes")))
        letters = Counter(str(row["note"]) for row in found[1].rows("letters"))
    assert letters == {f"n{number}": 1 for number in range(60)}


@pytest.mark.parametrize("way", ["unix", "nats"])
def test_a_replica_has_each_change_through_kills_of_either_side(tmp_path: Path, way: str) -> None:
    target = tmp_path / "bills.py"
    _ = target.write_text(BILLS)
    with (
        medium(way, tmp_path) as options,
        fleet(target, ("customers", "bills"), tmp_path, *options, "--store", "sqlite:///data") as parts,
    ):

        def call(operation: str, *arguments: str) -> Any:  # noqa: ANN401 - what JSON has
            done = hanse(tmp_path, "call", operation, *arguments, *options, "--app", str(target))
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout) if done.stdout.strip() else None

        rev = call("customers.join", "name=Ada")["rev"]
        assert call("bills.names", f"at_least={rev}") == ["Ada"]
        parts.kill("bills")
        rev = call("customers.join", "name=Bob")["rev"]
        _ = parts.start("bills")
        assert call("bills.names", f"at_least={rev}") == ["Ada", "Bob"]
        parts.kill("customers")
        assert call("bills.names") == ["Ada", "Bob"]
        _ = parts.start("customers")
        call("customers.leave", "name=Ada")
        cursor = call("customers.place")
        assert call("bills.names", f"cursor={cursor}") == ["Bob"]
