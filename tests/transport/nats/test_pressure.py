"""More than a server takes at once, nodes that stop under load, and words that nobody should say."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.transport.brokered import ask_of

from hanse.kernel.closing import closing
from hanse.kernel.faults import DeadlineExceeded, Overloaded, TooLarge, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.mesh.fault import fault_in
from hanse.testing.transport_things import Things
from hanse.transport.base import Drains
from hanse.transport.brokered import frames
from hanse.transport.brokered.asked import Asked
from hanse.transport.nats.login import Options
from hanse.transport.nats.transport import NatsTransport

from .server import Server

_apps = map("pressure-%d".__mod__, itertools.count(1))
WAIT_SECONDS = 60.0
LEFT_SECONDS = 10.0
BIG = bytes(1_000_000)


def call(operation: str, body: bytes = b"", kind: Kind = Kind.CALL, timeout: float = WAIT_SECONDS) -> Message:
    return Message(kind, "1", f"things.{operation}", timeout, body=body)


@asynccontextmanager
async def nodes(server: Server, number: int) -> AsyncGenerator[list[NatsTransport]]:
    app = next(_apps)
    made = [NatsTransport(server.url, Host.system(), Options(app=app)) for _ in range(number)]
    for node in made:
        await node.open()
    try:
        yield made
    finally:
        for node in made:
            await node.close()


async def test_more_than_may_wait_is_sent_once_there_is_room(server: Server) -> None:
    things = Things()
    async with nodes(server, 2) as (one, other):
        other.listen("things", things.server)
        await other.flush()
        replies = await asyncio.gather(*(one.request(call("echo", BIG)) for _ in range(30)))
        assert [reply.body for reply in replies] == [BIG] * 30
    things.server.close()


async def test_what_a_frozen_server_does_not_take_is_refused(server: Server) -> None:
    async with nodes(server, 1) as (one,):
        server.freeze()
        try:
            asked = [one.request(call("echo", BIG, timeout=0.5)) for _ in range(40)]
            fates = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            server.thaw()
        assert {type(fate) for fate in fates} == {Overloaded, DeadlineExceeded}
        assert "bytes that wait for the broker" in str(next(fate for fate in fates if isinstance(fate, Overloaded)))


async def test_a_node_that_stops_sends_its_callers_to_the_others(server: Server) -> None:
    first, second = Things(), Things()
    async with nodes(server, 3) as (one, other, third):
        other.listen("things", first.server)
        third.listen("things", second.server)
        for node in (other, third):
            await node.flush()
        # It refuses, but has not left yet: nothing keeps NATS from giving it calls.
        first.server.drain()
        fates = await asyncio.gather(*(one.request(call("echo", b"well")) for _ in range(40)))
        # Who came to it three times in a row is told.
        refused = [fault_in(fate) for fate in fates if fate.kind is Kind.FAULT]
        assert len(refused) < len(fates) / 2
        assert all(isinstance(fault, Unavailable) for fault in refused)
        assert first.came == []
        other.leave("things")
        await other.flush()
        fates = await asyncio.gather(*(one.request(call("echo", b"well")) for _ in range(40)))
        assert [fate.body for fate in fates] == [b"well"] * 40
    for things in (first, second):
        things.server.close()


async def left(one: NatsTransport, other: NatsTransport) -> None:
    """Until a node serves nothing for others any more."""
    name = other.names.node.decode()
    async with asyncio.timeout(LEFT_SECONDS):
        while any(said.instance == name and said.names for said in await one.nodes()):
            pass


async def test_a_lone_node_that_drains_serves_until_somebody_else_does(server: Server) -> None:
    first, second = Things(), Things()
    async with nodes(server, 3) as (one, other, third):
        other.listen("things", first.server)
        await other.flush()
        other.drain()
        [said] = [said for said in await one.nodes() if said.names]
        assert (said.names, said.weight) == (("things",), 0)
        replies = await asyncio.gather(*(one.request(call("echo", b"well")) for _ in range(40)))
        assert [reply.body for reply in replies] == [b"well"] * 40
        assert len(first.came) == 40
        third.listen("things", second.server)
        await left(one, other)
        replies = await asyncio.gather(*(one.request(call("echo", b"well")) for _ in range(40)))
        assert [reply.body for reply in replies] == [b"well"] * 40
        assert (len(first.came), len(second.came)) == (40, 40)
    for things in (first, second):
        things.server.close()


async def test_two_that_drain_do_not_leave_to_each_other(server: Server) -> None:
    first, second = Things(), Things()
    async with nodes(server, 3) as (one, other, third):
        other.listen("things", first.server)
        third.listen("things", second.server)
        for node in (other, third):
            await node.flush()
        other.drain()
        await left(one, other)
        third.drain()
        [said] = [said for said in await one.nodes() if said.names]
        assert said.instance == third.names.node.decode()
        assert (await one.request(call("echo", b"well"))).body == b"well"
    for things in (first, second):
        things.server.close()


async def test_who_cannot_ask_who_is_there_says_so(server: Server) -> None:
    transport = NatsTransport(server.url, Host.system())
    with pytest.raises(Unavailable, match="cannot be asked who is there"):
        await transport.nodes()


async def test_a_node_that_drains_is_asked_by_itself_alone(server: Server) -> None:
    first, second = Things(), Things()
    async with nodes(server, 3) as (one, other, third):
        assert isinstance(other, Drains)
        other.listen("things", first.server)
        third.listen("things", second.server)
        await third.flush()
        other.drain()
        await left(one, other)
        replies = await asyncio.gather(*(one.request(call("echo", b"well")) for _ in range(40)))
        assert [reply.body for reply in replies] == [b"well"] * 40
        assert (len(first.came), len(second.came)) == (0, 40)
        assert (await other.request(call("echo", b"mine"))).body == b"mine"
        assert len(first.came) == 1
        other.leave("things")
        other.listen("things", first.server)
        third.leave("things")
        for node in (other, third):
            await node.flush()
        assert (await one.request(call("echo", b"back"))).body == b"back"
        assert len(first.came) == 2
    for things in (first, second):
        things.server.close()


async def test_a_service_that_was_there_is_away_and_one_that_never_was_is_unknown(server: Server) -> None:
    things = Things()
    async with nodes(server, 2) as (one, other):
        other.listen("things", things.server)
        await other.flush()
        await one.request(call("echo"))
        other.leave("things")
        await other.flush()
        with pytest.raises(Unavailable, match="at the moment"):
            await one.request(call("echo"))
        with pytest.raises(UnknownOperation, match=r"nobody serves 'thing' of the app"):
            await one.request(Message(Kind.CALL, "1", "thing.echo", WAIT_SECONDS))
        with pytest.raises(Unavailable, match="at the moment"):
            async with closing(one.stream(call("count", b"1", Kind.STREAM))) as items:
                _ = await anext(items)
    things.server.close()


async def test_one_inbox_is_not_answered_twice_and_who_wants_no_answer_is_not_served(server: Server) -> None:
    things = Things()
    got: asyncio.Queue[bytes] = asyncio.Queue()
    async with nodes(server, 2) as (one, other):
        other.listen("things", things.server)
        await other.flush()
        subject = one.names.call("things.hold")
        head, rest = ask_of(call("hold"))
        _ = one.native.subscribe(b"elsewhere", lambda subject, reply, payload, headers: got.put_nowait(payload))
        for reply in (b"", b"elsewhere", b"elsewhere"):
            assert one.native.publish(subject, reply, rest, head)
        fault = frames.fault_of(await asyncio.wait_for(got.get(), WAIT_SECONDS), "things.hold")
        assert isinstance(fault, Overloaded)
        assert len(things.came) == 1
    things.server.close()


class Broken:
    """A receiver that raises, which none may."""

    async def serve(self, message: Message, /) -> Message:
        raise RuntimeError("swordfish")

    async def serve_stream(self, message: Message, /) -> AsyncGenerator[Message]:
        yield Message(Kind.ITEM, "1", "")
        raise RuntimeError("swordfish")


async def test_a_receiver_that_breaks_its_promise_answers_all_the_same(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with nodes(server, 2) as (one, other):
        other.listen("things", Broken())
        await other.flush()
        with pytest.raises(Unavailable, match=r"whoever serves things\.echo failed"):
            await one.request(call("echo"))
        items = one.stream(call("count", kind=Kind.STREAM))
        assert (await anext(items)).kind is Kind.ITEM
        with pytest.raises(Unavailable, match="whoever makes the items failed"):
            await anext(items)
    assert "swordfish" in caplog.text


async def test_an_answer_that_cannot_be_read_is_told(server: Server) -> None:
    async with nodes(server, 2) as (one, other):
        _ = other.native.subscribe(
            other.names.service("things"),
            lambda subject, reply, payload, headers: other.native.publish(reply, b"", b"\x09 of tomorrow"),
        )
        await other.flush()
        with pytest.raises(Unavailable, match="cannot be read"):
            await one.request(call("echo"))


class TestFrames:
    def test_refusals_are_faults(self) -> None:
        def fault(why: str, text: str = "") -> Exception:
            return frames.fault_of(frames.REFUSED + frames.encode(frames.Refusal(why, text)), "things.echo")

        assert isinstance(fault("too_large", "9 bytes"), TooLarge)
        assert isinstance(fault("busy", "the limit"), Overloaded)
        assert isinstance(fault("elsewhere"), frames.NotTakenError)
        assert str(fault("of tomorrow")) == "things.echo was refused: of tomorrow"


class TestAsked:
    async def test_an_item_that_is_missing_breaks_the_stream_after_those_before_it(self) -> None:
        asked = Asked(Host.fixed(wall=0.0, seed=7), 3.0)
        _, reading = asked.read(call("count", kind=Kind.STREAM))
        item = Message(Kind.ITEM, "1", "")
        reading.put(0, item)
        reading.put(2, item)
        assert await reading.take() is item
        with pytest.raises(Unavailable, match="lost on its way"):
            await reading.take()

    async def test_what_its_worker_does_not_know_any_more_has_been_answered_to_nobody(self) -> None:
        asked = Asked(Host.fixed(wall=0.0, seed=7), 3.0)
        tokens = [asked.ask(call("echo")) for _ in range(3)]
        assert asked.told(b"n2", [tokens[0][0], tokens[1][0], b"gone"]) == [b"gone"]
        asked.reconcile(b"n2", [tokens[0][0]], before=-1.0)
        assert not any(reply.done() for _, reply in tokens)
        asked.reconcile(b"n2", [tokens[0][0]], before=1.0)
        assert [reply.done() for _, reply in tokens] == [False, True, False]
        with pytest.raises(Unavailable, match="lost on the way"):
            await tokens[1][1]
        asked.close()
