"""What goes from server to server: whom it tries, what it says of it, and when it gives up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import pytest

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.host import Host
from hanse.sim.loop import Loop
from hanse.transport.brokered.lasting import LOOK_SECONDS, Lasting, RefusedError, Steps
from hanse.transport.brokered.servers import Server, Servers

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
QUIET_MAX = 3


class Wire:
    """A socket to a server that says something to so many looks."""

    def __init__(self, server: Server, *, says: int = 1_000_000) -> None:
        self.server: Server = server
        self.ended: asyncio.Event = asyncio.Event()
        self.why: str = ""
        self.quiet: int = 0
        self.looks: int = 0
        self._says = says

    def look(self) -> None:
        self.looks += 1
        self.quiet = 0 if self.looks <= self._says else self.quiet + 1

    def abort(self, why: str) -> None:
        self.why = self.why or why
        self.ended.set()


class Client:
    """A connection of two servers, that notes what it is told."""

    def __init__(self, dial: Callable[[Server], Awaitable[Wire]]) -> None:
        servers = Servers([Server("a", 1), Server("b", 2)], Host.fixed(wall=0.0, seed=7))
        steps = Steps(dial, lambda wire: (wire,), self._use, self._broke)
        self.lasting: Lasting[Wire] = Lasting("Thing", servers, steps, logging.getLogger("t"), quiet_max=QUIET_MAX)
        self.used: list[Wire] = []
        self.broke: list[str] = []
        self.again = asyncio.Event()

    def _use(self, wire: Wire) -> None:
        self.used.append(wire)
        if self.broke:
            self.again.set()

    async def _broke(self, why: str) -> None:
        self.broke.append(why)

    async def kept_until_again(self) -> None:
        """Keep it until another server has been gone to."""
        wire = await self.lasting.open(PATIENCE_SECONDS)
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self.lasting.keep(wire))
            _ = await self.again.wait()
            _ = keeping.cancel()


def played(story: Coroutine[object, object, T]) -> T:
    loop = Loop()
    try:
        return loop.play(story)
    finally:
        loop.close()


async def refused(fault: Exception) -> tuple[str, list[str]]:
    """Why it could not start where every server ends in this fault, and who was tried."""
    tried: list[str] = []

    async def dial(server: Server) -> Wire:
        tried.append(str(server))
        raise fault

    client = Client(dial)
    with pytest.raises(CouldNotStart) as raised:
        _ = await client.lasting.open(PATIENCE_SECONDS)
    assert client.used == []
    return raised.value.detail, tried


@pytest.mark.parametrize("fault", [RefusedError("no such user"), Misconfigured("no such user")])
def test_it_gives_up_once_every_server_has_refused_it(fault: Exception) -> None:
    said, tried = played(refused(fault))
    assert sorted(tried) == ["a:1", "b:2"]
    assert said == f"Thing cannot be used: {tried[-1]}: {fault}"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OSError("nobody listens"), "nobody listens"),
        (TimeoutError(), "it did not answer in time"),
        (ValueError("no name"), "no name"),
    ],
)
def test_it_tries_again_while_patience_lasts_where_none_is_there(fault: Exception, told: str) -> None:
    said, tried = played(refused(fault))
    assert len(tried) > 4
    assert said == (
        f"no Thing could be reached in {PATIENCE_SECONDS} s; the last said: {tried[-1]}: {told}."
        " Is one running, and is the URL right?"
    )


def test_a_server_that_ends_is_left_for_the_next_whatever_that_says_at_first() -> None:
    async def story() -> Client:
        count = 0

        async def dial(server: Server) -> Wire:
            nonlocal count
            count += 1
            if 1 < count < 5:
                raise RefusedError("not now")
            return Wire(server)

        client = Client(dial)
        asyncio.get_running_loop().call_later(1.0, lambda: client.used[0].abort("it was stopped"))
        await client.kept_until_again()
        return client

    client = played(story())
    assert client.broke == ["it was stopped"]
    assert len(client.used) == 2
    assert client.lasting.why == ""


def test_a_server_that_says_nothing_any_more_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> tuple[Client, float]:
        silent = 1

        async def dial(server: Server) -> Wire:
            return Wire(server, says=silent)

        client = Client(dial)
        await client.kept_until_again()
        return client, asyncio.get_running_loop().time()

    with caplog.at_level(logging.INFO, "t"):
        client, time = played(story())
    assert time == (1 + QUIET_MAX) * LOOK_SECONDS
    assert client.broke == [f"it said nothing for {QUIET_MAX * LOOK_SECONDS:g} s"]
    assert "the connection to Thing broke (it said nothing" in caplog.text
    assert f"connected to Thing again, at {client.used[1].server}" in caplog.text
