"""Nodes that find each other by the mesh: what a kill, a drain and a stop cost their callers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest

from hanse.contract.declare import rpc
from hanse.kernel.context import current
from hanse.kernel.faults import Fault, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import BACKGROUND, Headers, Identity
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.breaker import CALLS_MIN
from hanse.mesh.client import policy
from hanse.mesh.routed import Routed
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service
from hanse.testing.local import LocalDirect, LocalNetwork
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time

CALLS = 200
KILLED_AT = 100


class Orders(Service):
    """Takes a moment, as over a network."""

    @rpc
    async def place(self) -> str:
        await asyncio.sleep(0.005)
        return "placed"

    @rpc(idempotent=True)
    async def get(self) -> str:
        await asyncio.sleep(0.005)
        return "found"

    @rpc
    async def who(self) -> tuple[str, dict[str, str], int]:
        return current().identity.subject, current().tags, current().headers.priority


class Front(Service):
    orders: Orders

    @rpc
    async def open(self) -> None: ...


class Member(NamedTuple):
    node: Node
    routed: Routed
    direct: LocalDirect


class Fleet:
    """Nodes on one network."""

    def __init__(self, host: Host, opened: AsyncExitStack) -> None:
        self._network = LocalNetwork()
        self._host = host
        self._opened = opened

    async def start(self, name: str, service: str) -> Member:
        direct, discovery = self._network.direct(name), self._network.discovery()
        here = Announcement(name, "", app="shop")
        routed = Routed(here, MemoryTransport(), direct, discovery, host=self._host)
        settings = Settings(node=NodeSettings(services=(service,), grace=1.0))
        node = Node(App("shop", Orders, Front), settings, host=self._host, transport=routed)
        await self._opened.enter_async_context(node)
        return Member(node, routed, direct)


@pytest.fixture
async def fleet(host: Host) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as opened:
        yield Fleet(host, opened)


async def outcome(node: Node, operation: str) -> str:
    try:
        return str(await getattr(node.client(Orders), operation)())
    except Fault as fault:
        return fault.code


async def steadily(caller: Node, operation: str, victim: Member) -> list[str]:
    """What calls every ten milliseconds come to, as one of those who answer them is killed amid one."""
    async with asyncio.TaskGroup() as group:
        calls: list[asyncio.Task[str]] = []
        for number in range(CALLS):
            calls.append(group.create_task(outcome(caller, operation)))
            await asyncio.sleep(0.002)
            if number == KILLED_AT:
                victim.direct.kill()
            await asyncio.sleep(0.008)
    return [call.result() for call in calls]


async def test_a_kill_costs_at_most_the_one_call_that_was_under_way(fleet: Fleet) -> None:
    caller, one = await fleet.start("caller", "front"), await fleet.start("one", "orders")
    await fleet.start("two", "orders")
    answers = await steadily(caller.node, "place", one)
    assert answers.count("placed") >= CALLS - 1
    assert set(answers) <= {"placed", "unavailable"}


async def test_a_kill_costs_nothing_where_calls_may_be_repeated(fleet: Fleet) -> None:
    caller, one = await fleet.start("caller", "front"), await fleet.start("one", "orders")
    await fleet.start("two", "orders")
    assert await steadily(caller.node, "get", one) == ["found"] * CALLS


async def test_a_stop_costs_nothing_at_all(fleet: Fleet) -> None:
    caller, one = await fleet.start("caller", "front"), await fleet.start("one", "orders")
    await fleet.start("two", "orders")
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(outcome(caller.node, "place")) for _ in range(20)]
        await asyncio.sleep(0.001)
        stopping = group.create_task(one.node.stop())
        for _ in range(20):
            calls.append(group.create_task(outcome(caller.node, "place")))
            await asyncio.sleep(0.001)
    assert stopping.done()
    assert [call.result() for call in calls] == ["placed"] * 40


async def test_one_that_comes_anew_is_asked(fleet: Fleet) -> None:
    caller, one = await fleet.start("caller", "front"), await fleet.start("one", "orders")
    one.direct.kill()
    with pytest.raises(Unavailable):
        await policy(caller.node.client(Orders), retry=False).place()
    await fleet.start("again", "orders")
    await asyncio.sleep(0)  # each says all that it serves once in a turn of the loop
    assert await caller.node.client(Orders).place() == "placed"


async def test_that_all_were_away_does_not_keep_callers_from_one_that_comes(fleet: Fleet) -> None:
    caller, one = await fleet.start("caller", "front"), await fleet.start("one", "orders")
    one.direct.kill()
    for _ in range(2 * CALLS_MIN):
        assert await outcome(caller.node, "place") == "unavailable"
    await fleet.start("again", "orders")
    await asyncio.sleep(0)
    assert await outcome(caller.node, "place") == "placed"


async def test_a_kill_under_load_does_not_keep_callers_from_the_other(fleet: Fleet) -> None:
    caller, one = await fleet.start("caller", "front"), await fleet.start("one", "orders")
    await fleet.start("two", "orders")
    async with asyncio.TaskGroup() as group:
        under_way = [group.create_task(outcome(caller.node, "place")) for _ in range(10 * CALLS_MIN)]
        await asyncio.sleep(0.001)
        one.direct.kill()
    assert [call.result() for call in under_way].count("unavailable") > CALLS_MIN
    assert await outcome(caller.node, "place") == "placed"


async def test_who_asks_and_how_urgently_goes_along(fleet: Fleet) -> None:
    caller, _ = await fleet.start("caller", "front"), await fleet.start("one", "orders")
    headers = Headers(identity=Identity("ada"), tags={"booking": "ABC"}, priority=BACKGROUND)
    with caller.node.context(headers):
        assert await caller.node.client(Orders).who() == ("ada", {"booking": "ABC"}, BACKGROUND)
