"""How a node says that what it needs is: by name, since when and why; and what of it makes it unready."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.delivery.brake import FAILING_MAX
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.reaction import on
from hanse.service.service import Service
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time


class Placed(Event):
    order_id: str


class Orders(Service, events=(Placed,)):
    @rpc
    async def place(self) -> None:
        await self.emit(Placed(order_id="1"))


class Mailer(Service):
    @on(Placed)
    async def confirm(self, event: Placed) -> None: ...


class Printer(Service):
    """Prints what was placed, as long as it has paper."""

    paper: bool = False

    @on(Placed, attempts=1)
    async def print(self, event: Placed) -> None:
        if not self.paper:
            raise OSError("no paper")


class Bank(Service):
    """Says how it is."""

    word: str = ""

    async def unready(self) -> str:
        match self.word:
            case "slow":
                await asyncio.Event().wait()
            case "lost":
                raise Unavailable("the bank hung up")
            case "crash":
                raise ZeroDivisionError
        return self.word


class Plain(Service):
    """Has an operation of the name that services say how they are under."""

    @rpc
    async def unready(self) -> str:
        raise AssertionError("called as if it were ours")


async def test_all_is_well_and_dated(host: Host) -> None:
    async with Node(App("shop", Orders, Bank, Plain), host=host) as node:
        seen = await node.health()

    assert list(seen) == ["transport", "store:orders", "store:bank", "service:bank", "store:plain"]
    assert {(one.state, one.why) for one in seen.values()} == {("ok", "")}


async def test_it_is_known_since_when(host: Host) -> None:
    async with Node(App("shop", Bank), host=host) as node:
        began = datetime.fromtimestamp(host.now(), UTC)
        await node.health()
        bank = node.hosted[0].instance
        for word, after in (("", 0), ("away", 20), ("still away", 20)):
            await asyncio.sleep(10)
            bank.__dict__["word"] = word
            one = (await node.health())["service:bank"]
            assert (one.why, one.since) == (word, began + timedelta(seconds=after))


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("the ledger is closed", "the ledger is closed"),
        ("slow", "no answer in 2 s"),
        ("lost", "the bank hung up"),
        ("crash", "an unexpected error: ZeroDivisionError"),
    ],
)
async def test_a_service_has_its_own_word(host: Host, word: str, why: str) -> None:
    async with Node(App("shop", Bank), host=host) as node:
        node.hosted[0].instance.__dict__["word"] = word
        seen = await node.health()

    assert (seen["service:bank"].state, seen["service:bank"].why) == ("failing", why)
    assert seen["store:bank"].state == "ok"


async def test_services_are_not_asked_before_they_have_started(host: Host) -> None:
    async with Node(App("shop", Bank), host=host) as node:
        node.state = "starting"
        assert "service:bank" not in await node.health()


async def test_a_transport_that_cannot_be_used_is_told(host: Host) -> None:
    transport = MemoryTransport()
    async with Node(App("shop", Bank), host=host, transport=transport) as node:
        await transport.close()
        seen = (await node.health())["transport"]

    assert (seen.state, seen.why) == ("failing", "the transport is closed")


async def test_what_cannot_be_delivered_is_behind_and_waits(host: Host) -> None:
    settings = Settings(node=NodeSettings(services=("orders",), grace=0.0))
    async with Node(App("shop", Orders, Mailer), settings, host=host) as node:
        relay = "relay:orders/mailer.confirm"
        assert (await node.health())[relay].state == "ok"
        await node.client(Orders).place()
        await asyncio.sleep(1)
        seen = (await node.health())[relay]

    assert (seen.state, seen.lag) == ("behind", 1)
    assert seen.why.startswith("it cannot deliver: ")


async def test_a_group_that_fails_at_everything_is_told_of_until_it_does_not(host: Host) -> None:
    group = "group:printer/printer.print"
    async with Node(App("shop", Orders, Printer), host=host) as node, asyncio.timeout(120):
        for _ in range(2 * FAILING_MAX):
            await node.client(Orders).place()
        while (told := (await node.health()).get(group)) is None:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.1)
        assert (told.state, "one message at a time" in told.why) == ("behind", True)
        printer = node.hosted[1].instance
        assert isinstance(printer, Printer)
        printer.paper = True
        while group in await node.health():  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.1)
