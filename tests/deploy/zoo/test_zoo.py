"""Services of every kind, none of which knows of the platform, in one system: asked, killed, replaced, and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from urllib.request import urlopen

import pytest
from socketio import Client  # type: ignore[import-untyped]
from tests.deploy.systems import Running, running

from hanse.cli.system import until
from hanse.deploy.control_words import Row, Status, is_settled
from hanse.deploy.home import Home
from hanse.deploy.linux import marked

from .kinds import INSTANCES, KINDS, STARTUP_SECONDS, lay_out
from .visitors import Visitors

pytestmark = pytest.mark.timeout(600)

GROWS_MAX = 100
"""Requests that make one grow, before it is taken to have room for ever."""

ROUNDS = 4
"""That visitors ask each kind, before anything happens to it and after."""

ASKS = 6
"""Of one client, in a row."""

CLIENTS_MAX = 20
"""Until both instances were given one."""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("zoo")
    mark = f"ZOO={folder}"
    (folder / ".env").write_text(mark)
    with running(folder, lay_out(folder), "--quiet") as system:
        ports = [row.port for row in stands(system).instances]
        yield system
        there = len(list(marked(mark)))
        assert system.end() == 0
        assert there > len(ports)
        assert list(marked(mark)) == []
        assert [port for port in ports if listens(port)] == []


def stands(system: Running, also: Callable[[Status], bool] = lambda _: True) -> Status:
    """How it is once all is ready, and something else is so, too."""
    home = Home(system.folder)
    found = until(home, STARTUP_SECONDS, lambda one: one is not None and is_settled(one) and also(one), "all")
    assert found is not None
    return found


def has_ended(now: Status, before: Row) -> bool:
    """Whether an instance has ended since, whatever has become of it."""
    return all(one.restarts > before.restarts for one in now.instances if one.instance == before.instance)


def listens(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


def by_kind(rows: Iterable[Row]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in KINDS}
    for row in rows:
        found.setdefault(row.service, set()).add(row.instance)
    return {name: found[name] for name in KINDS}


def test_each_is_asked_through_the_edge_and_both_of_its_instances_answer(zoo: Running) -> None:
    status = stands(zoo)
    with Visitors(status.edge) as visitors:
        visitors.more(2 * INSTANCES)
    assert visitors.failed() == {}
    assert {name: {who for _, who in seen} for name, seen in visitors.seen.items()} == by_kind(status.instances)


def test_one_of_each_is_killed_and_comes_back_and_no_request_is_lost(zoo: Running) -> None:
    before = stands(zoo)
    killed = {row.instance: row for row in before.instances if row.service in KINDS and row.instance.endswith("-1")}
    with Visitors(before.edge) as visitors:
        visitors.more(ROUNDS)
        for row in killed.values():
            os.kill(row.pid, signal.SIGKILL)
        after = stands(zoo, lambda now: all(has_ended(now, row) for row in killed.values()))
        visitors.more(ROUNDS)
    assert visitors.failed() == {}
    assert by_kind(after.instances) == by_kind(before.instances)


def test_all_are_replaced_under_requests_and_none_of_these_is_lost(zoo: Running) -> None:
    before = stands(zoo)
    with Visitors(before.edge, posts=True) as visitors:
        visitors.more(ROUNDS)
        done = zoo.hanse("restart")
        assert done.returncode == 0, done.stderr
        after = stands(zoo)
        visitors.more(ROUNDS)
    assert visitors.failed() == {}
    assert {one.pid for one in before.instances} & {one.pid for one in after.instances} == set()
    assert {name: len(there) for name, there in by_kind(after.instances).items()} == dict.fromkeys(KINDS, INSTANCES)


def test_whoever_leaks_is_seen_to_grow_and_its_end_costs_nobody_a_request(zoo: Running) -> None:
    status = stands(zoo)
    leak = next(row for row in status.instances if row.service == "leaky")
    before = taken(zoo, leak.instance)
    with Visitors(status.edge, ["leaky"]) as visitors:
        visitors.more(ROUNDS)
        grow(leak.port)
        assert taken(zoo, leak.instance) > before + (16 << 20)
        with suppress(OSError, HTTPException):
            for _ in range(GROWS_MAX):
                grow(leak.port)
        after = stands(zoo, lambda now: has_ended(now, leak))
        visitors.more(ROUNDS)
    assert visitors.failed() == {}
    assert "out of memory" in zoo.hanse("logs", "leaky").stdout
    assert len([row for row in after.instances if row.service == "leaky"]) == INSTANCES


def taken(system: Running, instance: str) -> int:
    found = json.loads(system.hanse("top", "--json").stdout)
    return next(int(one["memory_bytes"]) for one in found if one["instance"] == instance)


def grow(port: int) -> None:
    with urlopen(f"http://127.0.0.1:{port}/grow", timeout=60.0) as answer:
        answer.read()


def test_whoever_fails_at_all_that_it_is_asked_is_neither_hidden_nor_restarted(zoo: Running) -> None:
    """What an application answers is its own: to see that it is bad takes something to compare it with."""
    before = stands(zoo)
    with Visitors(before.edge, ["sick"]) as visitors:
        visitors.more(5 * ROUNDS)
    after = stands(zoo)
    assert {status for status, _ in visitors.seen["sick"]} == {500}
    assert {who for _, who in visitors.seen["sick"]} == by_kind(before.instances)["sick"]
    assert processes(after, "sick") == processes(before, "sick")


def processes(status: Status, service: str) -> list[tuple[str, int]]:
    return [(row.instance, row.pid) for row in status.instances if row.service == service]


@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"], ["websocket"]], ids="-".join)
def test_sessions_of_socket_io_stay_with_one_instance(zoo: Running, transports: list[str]) -> None:
    status = stands(zoo)
    wanted = {row.instance for row in status.instances if row.service == "socketio"}
    served: set[str] = set()
    for _ in range(CLIENTS_MAX):
        with connected(status.edge, transports) as client:
            answers = {client.call("who", timeout=60) for _ in range(ASKS)}
        assert len(answers) == 1
        served |= answers
        if served == wanted:
            return
    raise AssertionError(f"only {served} of {wanted} were given clients")


def test_a_client_of_socket_io_finds_another_instance_when_its_own_is_killed(zoo: Running) -> None:
    status = stands(zoo)
    again = threading.Event()
    with connected(status.edge, ["polling", "websocket"]) as client:
        first = client.call("who", timeout=60)
        client.on("connect", again.set)
        os.kill(next(row.pid for row in status.instances if row.instance == first), signal.SIGKILL)
        assert again.wait(STARTUP_SECONDS)
        assert client.call("who", timeout=60) in {row.instance for row in stands(zoo).instances}


@contextmanager
def connected(url: str, transports: list[str]) -> Generator[Client]:
    client = Client(reconnection_delay_max=1)
    client.connect(url, transports=transports, wait_timeout=60)
    try:
        yield client
    finally:
        # A farewell in order would wait for the poll that is under way.
        client.eio.disconnect(abort=True)
