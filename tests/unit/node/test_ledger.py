"""What a node counts of calls and messages, for whoever judges its release."""

from __future__ import annotations

from contextlib import suppress

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.kernel.faults import Fault, NotFound, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.mesh.server import UNTIMED, Endpoint, Server
from hanse.node.app import App
from hanse.node.ledger import Calls, Ledger, Messages, ledger_of
from hanse.node.node import Node
from hanse.service.reaction import on
from hanse.service.service import Service

pytestmark = pytest.mark.virtual_time


class Sold(Event):
    text: str


class Till(Service, events=(Sold,)):
    @rpc
    async def sell(self, text: str) -> str:
        match text:
            case "nothing":
                raise NotFound("tea", text)
            case "away":
                raise Unavailable("no tea is there")
            case "broken":
                raise ValueError(text)
            case _:
                await self.emit(Sold(text=text))
        return text

    @rpc
    async def count(self) -> int:
        return 2**70


class Mailer(Service):
    @on(Sold, attempts=2)
    async def thank(self, sold: Sold) -> None:
        if sold.text == "nonsense":
            raise ValueError(sold.text)


async def test_calls_are_counted_by_whose_failure_they_are(host: Host) -> None:
    async with Node(App("shop", Till, Mailer), host=host) as node:
        for text in ("tea", "nothing", "away", "broken"):
            with suppress(Fault):
                _ = await node.client(Till).sell(text)
        told = node.ledger().calls["till.sell"]
        assert (told.asked, told.failed, told.broken) == (4, 2, 0), "that nothing is found is the caller's"
        with pytest.raises(Exception, match="cannot be told"):
            _ = await node.client(Till).count()
        told = node.ledger().calls["till.count"]
        assert (told.asked, told.failed, told.broken) == (1, 1, 1)


async def test_messages_are_counted_at_their_first_try_and_when_they_are_parked(host: Host) -> None:
    async with Node(App("shop", Till, Mailer), host=host) as node:
        for text in ("tea", "nonsense", "coffee"):
            _ = await node.client(Till).sell(text)
        await node.settle()
        assert node.ledger().messages == {"mailer.thank": Messages(handled=2, failed=1, parked=1)}
        assert not any(address.startswith("on/") for address in node.ledger().calls)


async def test_what_a_node_turned_away_as_it_stops_is_asked_elsewhere_and_counts_there(host: Host) -> None:
    async def run(_context: object, _message: Message) -> str:
        return "well"

    server = Server(host, calls_max=10)
    server.add("till.sell", Endpoint(run=run))
    server.open()
    _ = await server.serve(Message(Kind.CALL, "1", "till.sell"))
    server.drain()
    reply = await server.serve(Message(Kind.CALL, "2", "till.sell"))
    assert reply.kind is Kind.FAULT
    told = ledger_of(server, []).calls["till.sell"]
    assert (told.asked, told.failed) == (1, 0)
    server.close()


async def test_a_part_of_the_calls_is_timed(host: Host) -> None:
    times = 3 * (UNTIMED + 1)
    async with Node(App("shop", Till, Mailer), host=host) as node:
        for _ in range(times):
            _ = await node.client(Till).sell("tea")
        told = node.ledger().calls["till.sell"]
    assert (told.asked, sum(told.buckets)) == (times, 3)


def test_what_was_counted_since_is_the_difference() -> None:
    before, after = Calls(2, 1, 0), Calls(5, 3, 1)
    after.buckets[3] = 7
    left = Ledger({"a": after, "b": before}, lag=0.5).since(Ledger({"a": before}))
    assert (left.calls["a"].asked, left.calls["a"].failed, left.calls["a"].broken, left.lag) == (3, 2, 1, 0.5)
    assert (left.calls["a"].buckets, left.calls["b"]) == (after.buckets, before)
