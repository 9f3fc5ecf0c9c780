"""Nodes are asked what they have counted: by real servers, that answer, answer nonsense, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.edge.wire import Upstream, serving

from hanse.control.instances import Instance
from hanse.deploy.ledgers import BYTES_MAX, FORGET_SECONDS, PATH, Ledgers
from hanse.kernel.host import Host
from hanse.node.ledger import Calls, Ledger


class Door:
    """Answers with what it is told to; where that is None, it breaks off."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.status = 200
        self.heads: list[str] = []
        self.server = Upstream("door", raw=self._answer)

    @property
    def port(self) -> int:
        """Where it is."""
        return self.server.port

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if self.body is not None:
            head = f"HTTP/1.1 {self.status} Well\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + self.body)

    def tells(self, asked: int, failed: int = 0) -> None:
        self.body = msgspec.json.encode(Ledger({"till.sell": Calls(asked, failed)}))


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    async with serving(door.server):
        yield door


def node(door: Door, run: int = 1) -> Instance:
    return Instance("till", 1, "2", phase="ready", run=run, pid=1, port=door.port)


def asked(told: dict[str, Ledger]) -> dict[str, int]:
    return {name: ledger.calls["till.sell"].asked for name, ledger in told.items()}


async def test_what_a_node_has_counted_is_told_by_its_process(door: Door) -> None:
    ledgers = Ledgers(Host.system())
    door.tells(5, 1)
    gone = Instance("till", 2, "2", phase="backing off", run=9)
    assert asked(await ledgers.heard([node(door), gone])) == {"till-1.1": 5}
    door.tells(2)
    assert asked(await ledgers.heard([node(door, run=3)], "s3cret")) == {"till-1.3": 2}, "another one, which began anew"
    assert door.heads[0].startswith(f"GET {PATH} ")
    assert "Authorization" not in door.heads[0]
    assert "Authorization: Bearer s3cret" in door.heads[1]


@pytest.mark.parametrize("body", [None, b"[]", b"{", b'{"calls": {"a": {"asked": "x"}}}', b" " * (BYTES_MAX + 1)])
async def test_who_tells_nothing_of_use_has_told_what_it_told_before(door: Door, body: bytes | None) -> None:
    ledgers = Ledgers(Host.system())
    door.tells(5)
    _ = await ledgers.heard([node(door)])
    door.body = body
    assert asked(await ledgers.heard([node(door)])) == {"till-1.1": 5}
    door.tells(7)
    assert asked(await ledgers.heard([node(door)])) == {"till-1.1": 7}


async def test_an_error_is_no_ledger(door: Door) -> None:
    door.tells(5)
    door.status = 403
    assert await Ledgers(Host.system()).heard([node(door)]) == {}


async def test_what_was_counted_before_a_node_could_be_heard_is_no_burst(door: Door) -> None:
    ledgers = Ledgers(Host.system())
    assert await ledgers.heard([node(door)]) == {}
    for count, told in ((1_000, 0), (1_010, 10)):
        door.tells(count)
        assert asked(await ledgers.heard([node(door)])) == {"till-1.1": told}


async def test_what_was_told_long_ago_is_forgotten(door: Door) -> None:
    clock = [0.0]
    host = Host("a", now=lambda: 0.0, monotonic=lambda: clock[0], chance=Host.system().chance, entropy=bytes)
    ledgers = Ledgers(host)
    door.tells(5)
    _ = await ledgers.heard([node(door)])
    door.body = None
    clock[0] = FORGET_SECONDS
    assert await ledgers.heard([node(door)]) == {}
    door.tells(900)
    assert asked(await ledgers.heard([node(door)])) == {"till-1.1": 0}
