"""The promises of `hanse.transport.base`, as a table of tests over wirings; and what the simulated one does besides.

A wiring makes two transports that reach each other. Another transport keeps the promises when its wiring passes.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from hanse.kernel.faults import DeadlineExceeded, Unavailable, UnknownOperation
from hanse.kernel.message import Kind, Message
from hanse.mesh.fault import fault_in, fault_message
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import KEEPALIVE_SECONDS, NOTICE_SECONDS_MAX, Network
from hanse.sim.plan import Delay, Loss, Repeat
from hanse.sim.run import run
from hanse.sim.trace import Trace
from hanse.sim.transport import AHEAD_MAX, SEEN_MAX, SimTransport
from hanse.transport.base import Transport
from hanse.transport.memory import MemoryTransport

Items = AsyncGenerator[Message]


def call(operation: str, *, kind: Kind = Kind.CALL, timeout: float = 0.0, id: str = "1", body: bytes = b"") -> Message:
    return Message(kind, id, f"things.{operation}", timeout, body=body)


def reply(message: Message, body: bytes = b"") -> Message:
    return Message(Kind.REPLY, message.id, "", body=body)


class Things:
    """Answers by the name of the operation, and notes what becomes of each."""

    def __init__(self, back: Transport | None = None) -> None:
        self.did: list[str] = []
        self.back = back
        self.open = asyncio.Event()

    async def serve(self, message: Message, /) -> Message:
        name = message.address.partition(".")[2]
        self.did.append(name)
        try:
            match name:
                case "wait":
                    await self.open.wait()
                case "refuse":
                    return fault_message(Unavailable("not today"), message.id)
                case "nest":
                    assert self.back is not None
                    return await self.back.request(Message(Kind.CALL, message.id, "others.nest"))
                case _:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.did.append(f"{name} cancelled")
            raise
        return reply(message, message.body)

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        name = message.address.partition(".")[2]
        try:
            for n in range(int(message.body)):
                self.did.append(f"{n}")
                yield Message(Kind.ITEM, message.id, "", body=b"%d" % n)
            if name == "refuse":
                yield fault_message(Unavailable("no more"), message.id)
            elif name == "hang":
                await asyncio.Event().wait()
            else:
                yield Message(Kind.END, message.id, "")
        finally:
            self.did.append("closed")


class Asking:
    """Asks `things` for its answer."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def serve(self, message: Message, /) -> Message:
        return await self.transport.request(call("now", body=b"from the inside"))

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        yield message


class Pair(NamedTuple):
    """Two transports that reach each other; the other one serves `things`."""

    one: Transport
    other: Transport
    things: Things


class Wiring(NamedTuple):
    """How two transports are made.

    Attributes:
        pair: Makes them, and ends them.
        ahead_max: Items of a stream that are made before they are taken, at most.
    """

    pair: Callable[[], AbstractAsyncContextManager[Pair]]
    ahead_max: int


@asynccontextmanager
async def in_memory() -> AsyncGenerator[Pair]:
    transport = MemoryTransport()
    await transport.open()
    things = Things(transport)
    transport.listen("things", things)
    yield Pair(transport, transport, things)
    await transport.close()


@asynccontextmanager
async def simulated() -> AsyncGenerator[Pair]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    network = Network(loop, Trace(), 7)
    one, other = SimTransport(network, loop.home), SimTransport(network, Lane(loop, "other"))
    await one.open()
    await other.open()
    things = Things(other)
    other.listen("things", things)
    yield Pair(one, other, things)
    await one.close()
    await other.close()


EVERY = [
    pytest.param(Wiring(in_memory, 1), id="memory"),
    pytest.param(Wiring(simulated, AHEAD_MAX + 1), id="simulated"),
]
APART = EVERY[1:]
"""Those that end a request by themselves: within one process, the server that handles it does that."""

every = pytest.mark.parametrize("wiring", EVERY)
apart = pytest.mark.parametrize("wiring", APART)


async def answers(stream: AsyncIterator[Message]) -> list[bytes]:
    return [message.body if message.kind is Kind.ITEM else message.kind.name.encode() async for message in stream]


def streaming(transport: Transport, operation: str, items: int) -> Items:
    return cast("Items", transport.stream(call(operation, kind=Kind.STREAM, body=b"%d" % items)))


def start(request: Any, name: str = "") -> "asyncio.Task[Any]":  # noqa: ANN401 - whatever a transport gives to await
    async def wait() -> object:
        return await request

    return asyncio.get_running_loop().create_task(wait(), name=name)


# A request.


@every
def test_who_asks_for_what_nobody_serves_learns_it_at_once(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            with pytest.raises(UnknownOperation, match=r"nothing.*things"):
                await pair.one.request(Message(Kind.CALL, "1", "nothing.go"))
            assert asyncio.get_running_loop().time() < 0.1

    run(main())


@every
def test_who_asks_for_what_is_served_no_more_learns_it(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            pair.other.leave("things")
            with pytest.raises((Unavailable, UnknownOperation)):
                await pair.one.request(call("now"))

    run(main())


@apart
def test_a_request_ends_when_its_time_is_over(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            with pytest.raises(DeadlineExceeded, match=r"things\.wait"):
                await pair.one.request(call("wait", timeout=2.5))
            assert asyncio.get_running_loop().time() == 2.5

    run(main())


@apart
def test_requests_under_way_end_when_the_transport_closes(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            asking = start(pair.one.request(call("wait")))
            await asyncio.sleep(1)
            await pair.one.close()
            with pytest.raises(Unavailable, match="closed"):
                await asking

    run(main())


@apart
def test_requests_end_when_the_transport_that_serves_them_closes(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            asking = start(pair.one.request(call("wait")))
            await asyncio.sleep(1)
            await pair.other.close()
            with pytest.raises(Unavailable, match="other went away"):
                await asking
            assert asyncio.get_running_loop().time() < 1.1

    run(main())


@every
def test_a_closed_transport_says_so(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            await pair.one.close()
            with pytest.raises(Unavailable, match="the transport is closed"):
                await pair.one.request(call("now"))
            with pytest.raises(Unavailable, match="the transport is closed"):
                await anext(pair.one.stream(call("now", kind=Kind.STREAM)))
            await pair.one.open()

    run(main())


@every
def test_a_fault_is_an_answer(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            answer = await pair.one.request(call("refuse"))
            assert answer.kind is Kind.FAULT
            assert fault_in(answer).detail == "not today"

    run(main())


@every
def test_each_request_has_its_own_answer_once(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            asked = [pair.one.request(call("echo", id=f"{n}", body=b"%d" % n)) for n in range(100)]
            got = await asyncio.gather(*asked)
            assert [(answer.id, answer.body) for answer in got] == [(f"{n}", b"%d" % n) for n in range(100)]
            assert pair.things.did == ["echo"] * 100

    run(main())


@every
def test_a_request_that_waits_blocks_no_other(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            waiting = start(pair.one.request(call("wait")))
            for _ in range(5):
                await pair.one.request(call("now"))
            assert not waiting.done()
            pair.things.open.set()
            assert (await waiting).kind is Kind.REPLY

    run(main())


@every
def test_a_handler_may_call_back_to_where_it_was_called_from(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            pair.things.back = pair.other
            pair.one.listen("others", Asking(pair.one))
            assert (await pair.one.request(call("nest"))).body == b"from the inside"
            assert pair.things.did == ["nest", "now"]

    run(main())


@every
def test_cancelling_a_request_reaches_its_handler(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            asking = start(pair.one.request(call("wait")))
            await asyncio.sleep(1)
            asking.cancel()
            await asyncio.wait([asking])
            await asyncio.sleep(1)
            assert asking.cancelled()
            assert pair.things.did == ["wait", "wait cancelled"]

    run(main())


# A stream.


@every
def test_a_stream_that_nobody_serves_ends_at_once(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            with pytest.raises(UnknownOperation):
                await anext(pair.one.stream(Message(Kind.STREAM, "1", "nothing.go")))

    run(main())


@apart
def test_a_stream_breaks_when_the_transport_that_serves_it_closes(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            stream = streaming(pair.one, "hang", 3)
            got = [(await anext(stream)).body for _ in range(3)]
            await pair.other.close()
            with pytest.raises(Unavailable, match="broke"):
                await anext(stream)
            assert got == [b"0", b"1", b"2"]
            assert pair.things.did[-1] == "closed"

    run(main())


@apart
def test_a_stream_breaks_when_its_own_transport_closes(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            stream = streaming(pair.one, "hang", 1)
            await anext(stream)
            await pair.one.close()
            with pytest.raises(Unavailable, match="broke"):
                await anext(stream)
            await asyncio.sleep(1)
            assert pair.things.did == ["0", "closed"]

    run(main())


@every
def test_a_fault_ends_a_stream(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            assert await answers(streaming(pair.one, "refuse", 2)) == [b"0", b"1", b"FAULT"]

    run(main())


@every
def test_items_come_in_order_and_then_the_end(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            got = await answers(streaming(pair.one, "count", 100))
            assert got == [*(b"%d" % n for n in range(100)), b"END"]

    run(main())


@every
def test_items_are_made_no_faster_than_they_are_taken(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair, aclosing(streaming(pair.one, "count", 1000)) as stream:
            for taken in range(1, 50):
                await anext(stream)
                await asyncio.sleep(1)
                assert taken <= len(pair.things.did) <= taken + wiring.ahead_max

    run(main())


@every
def test_closing_a_stream_reaches_its_handler(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            stream = streaming(pair.one, "count", 1000)
            await anext(stream)
            await stream.aclose()
            await asyncio.sleep(1)
            assert pair.things.did[-1] == "closed"

    run(main())


@every
def test_cancelling_whoever_reads_reaches_the_handler(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            reading = start(answers(streaming(pair.one, "hang", 3)))
            await asyncio.sleep(1)
            reading.cancel()
            await asyncio.wait([reading])
            await asyncio.sleep(1)
            assert pair.things.did == ["0", "1", "2", "closed"]

    run(main())


@every
def test_streams_run_side_by_side(wiring: Wiring) -> None:
    async def main() -> None:
        async with wiring.pair() as pair:
            got = await asyncio.gather(*(answers(streaming(pair.one, "count", n)) for n in range(20)))
            assert [len(one) for one in got] == [n + 1 for n in range(20)]

    run(main())


# What only the simulated one does: it loses, repeats and delays, and its processes die.


class Rig:
    """Two machines, and what is wrong between them."""

    def __init__(self, seed: int = 7) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self.loop = loop
        self.network = Network(loop, Trace(), seed)
        self.lane = Lane(loop, "server")
        self.one = SimTransport(self.network, loop.home)
        self.server = SimTransport(self.network, self.lane)
        self.things = Things()
        self.server.listen("things", self.things)
        self.there = self.network.link("client", "server")
        self.back = self.network.link("server", "client")

    def kill(self, *, dark: bool = False) -> None:
        self.lane.kill()
        self.network.died(self.server.port, dark=dark)

    async def took(self, awaited: Any) -> tuple[float, object]:  # noqa: ANN401 - see start
        """How long something takes, and what comes of it."""
        began = self.loop.now
        try:
            result = await awaited
        except Unavailable as fault:
            result = fault
        return self.loop.now - began, result


def test_a_request_under_way_ends_soon_after_its_server_was_killed() -> None:
    async def main() -> None:
        rig = Rig()
        asking = start(rig.one.request(call("wait")))
        await asyncio.sleep(1)
        rig.kill()
        seconds, fault = await rig.took(asking)
        assert seconds < 0.1
        assert isinstance(fault, Unavailable)

    run(main())


def test_a_request_under_way_ends_when_silence_tells_that_its_server_is_dark() -> None:
    async def main() -> None:
        rig = Rig()
        asking = start(rig.one.request(call("wait")))
        await asyncio.sleep(1)
        rig.kill(dark=True)
        seconds, fault = await rig.took(asking)
        assert seconds == KEEPALIVE_SECONDS
        assert isinstance(fault, Unavailable)

    run(main())


@pytest.mark.parametrize(("dark", "least", "most"), [(False, 0.0, 0.1), (True, 4.9, 5.1)])
def test_who_is_sent_to_a_dead_process_learns_it(*, dark: bool, least: float, most: float) -> None:
    """Nobody has been told yet that it serves no more; the system there refuses, or nobody answers."""

    async def main() -> None:
        rig = Rig()
        rig.kill(dark=dark)
        await asyncio.sleep(0.01)
        assert rig.network.choose("things", "client") is rig.server.port
        stream = rig.one.stream(call("count", kind=Kind.STREAM, body=b"3"))
        both = await asyncio.gather(rig.took(rig.one.request(call("now"))), rig.took(anext(stream)))
        for seconds, fault in both:
            assert least <= seconds <= most
            assert isinstance(fault, Unavailable)

    run(main())


def test_nobody_is_sent_to_a_dead_process_for_long() -> None:
    async def main() -> None:
        rig = Rig()
        rig.kill()
        await asyncio.sleep(NOTICE_SECONDS_MAX)
        with pytest.raises(Unavailable, match="nobody serves 'things' at the moment"):
            await rig.one.request(call("now"))

    run(main())


def test_a_lost_request_ends_at_its_time() -> None:
    async def main() -> None:
        rig = Rig()
        rig.there.disturb(Loss(at=0.0, seconds=1.0, machine="server", share=1.0))
        with pytest.raises(DeadlineExceeded):
            await rig.one.request(call("now", timeout=3.0))
        assert rig.loop.now == 3.0
        assert rig.things.did == []

    run(main())


def test_a_lost_answer_leaves_the_handler_done() -> None:
    async def main() -> None:
        rig = Rig()
        rig.back.disturb(Loss(at=0.0, seconds=1.0, machine="server", share=1.0))
        with pytest.raises(DeadlineExceeded):
            await rig.one.request(call("now", timeout=3.0))
        assert rig.things.did == ["now"]

    run(main())


@pytest.mark.parametrize(("kind", "times"), [(Kind.CALL, 1), (Kind.SEND, 1), (Kind.EVENT, 2)])
def test_only_events_are_repeated(kind: Kind, times: int) -> None:
    async def main() -> None:
        rig = Rig()
        rig.there.disturb(Repeat(at=0.0, seconds=1.0, machine="server", share=1.0))
        answer = await rig.one.request(call("now", kind=kind))
        await asyncio.sleep(1)
        assert answer.kind is Kind.REPLY
        assert rig.things.did == ["now"] * times

    run(main())


def test_giving_up_a_repeated_event_reaches_both_handlers() -> None:
    async def main() -> None:
        rig = Rig()
        rig.there.disturb(Repeat(at=0.0, seconds=1.0, machine="server", share=1.0))
        asking = start(rig.one.request(call("wait", kind=Kind.EVENT)))
        await asyncio.sleep(1)
        asking.cancel()
        await asyncio.sleep(1)
        assert rig.things.did == ["wait", "wait", "wait cancelled", "wait cancelled"]
        assert rig.server._serving == {}

    run(main())


def test_a_request_given_up_before_it_is_handled_leaves_nothing_behind() -> None:
    async def main() -> None:
        rig = Rig()
        rig.network.latency_high = rig.network.latency_low
        asking, reading = start(rig.one.request(call("wait"))), start(answers(streaming(rig.one, "hang", 1)))
        await asyncio.sleep(0)
        asking.cancel()
        reading.cancel()
        await asyncio.sleep(1)
        assert (rig.server._serving, rig.server._writings, rig.one._waiting, rig.one._readings) == ({}, {}, {}, {})
        assert rig.loop.errors == []

    run(main())


def test_streams_keep_their_order_under_loss_delay_and_reordering() -> None:
    async def main() -> None:
        rig = Rig()
        for link in (rig.there, rig.back):
            link.disturb(Loss(at=0.0, seconds=1.0, machine="server", share=0.4))
            link.disturb(Delay(at=0.0, seconds=1.0, machine="server", most=0.5, reorder=True))
        got = await answers(streaming(rig.one, "count", 200))
        assert got == [*(b"%d" % n for n in range(200)), b"END"]

    run(main())


def test_a_stream_goes_on_after_a_short_cut() -> None:
    async def main() -> None:
        rig = Rig()
        reading = start(answers(streaming(rig.one, "count", 100)))
        await asyncio.sleep(0.01)
        for _ in range(5):
            rig.network.cut([rig.there, rig.back])
            await asyncio.sleep(KEEPALIVE_SECONDS * 0.9)
            rig.network.mend([rig.there, rig.back])
            await asyncio.sleep(0.203)
        assert await reading == [*(b"%d" % n for n in range(100)), b"END"]

    run(main())


@pytest.mark.parametrize("direction", ["there", "back"])
def test_a_stream_breaks_in_a_long_cut(direction: str) -> None:
    async def main() -> None:
        rig = Rig()
        stream = streaming(rig.one, "hang", 3)
        got = [(await anext(stream)).body for _ in range(3)]
        rig.network.cut([getattr(rig, direction)])
        seconds, fault = await rig.took(anext(stream))
        assert len(got) == 3
        assert isinstance(fault, Unavailable)
        assert seconds == KEEPALIVE_SECONDS
        await asyncio.sleep(1)
        assert rig.things.did[-1] == "closed"
        assert rig.network.under_way == 0

    run(main())


def test_a_stream_that_begins_in_a_long_cut_breaks_as_well() -> None:
    async def main() -> None:
        rig = Rig()
        rig.network.cut([rig.there])
        await asyncio.sleep(2 * KEEPALIVE_SECONDS)
        seconds, fault = await rig.took(anext(streaming(rig.one, "count", 3)))
        assert isinstance(fault, Unavailable)
        assert KEEPALIVE_SECONDS <= seconds < KEEPALIVE_SECONDS + 0.1

    run(main())


def test_a_stream_closed_during_a_cut_is_closed_after_it() -> None:
    """Opening and closing must not change places, or the handler would run for ever."""

    async def main(pause: float) -> None:
        rig = Rig()
        rig.network.cut([rig.there])
        reading = start(answers(streaming(rig.one, "hang", 1)))
        await asyncio.sleep(pause)
        reading.cancel()
        await asyncio.sleep(1.03)
        rig.network.mend([rig.there])
        await asyncio.sleep(3)
        assert rig.things.did in (["0", "closed"], [])
        assert rig.server._writings == {}

    for pause in (0.0, 0.05, 0.1, 0.15, 0.3):
        run(main(pause))


def test_a_stream_to_who_has_just_stopped_to_serve_ends_with_a_fault() -> None:
    async def main() -> None:
        rig = Rig()
        asking = start(rig.one.request(call("now")))
        reading = start(answers(streaming(rig.one, "count", 3)))
        await asyncio.sleep(0)
        rig.server.leave("things")
        assert fault_in(await asking).detail.startswith("'things' is not served here any more")
        assert await reading == [b"FAULT"]

    run(main())


def test_a_dead_process_sends_nothing() -> None:
    async def main() -> None:
        rig = Rig()
        asking = start(rig.one.request(call("wait", timeout=20.0)))
        await asyncio.sleep(1)
        rig.lane.kill()
        sent = rig.network.sent
        rig.network.send(rig.server.port, rig.one.port, "last words", b"", print)
        rig.network.carry(rig.server.port, rig.one.port, "last words", b"", print)
        assert rig.network.sent == sent
        asking.cancel()

    run(main())


def test_calls_are_remembered_up_to_a_limit() -> None:
    async def main() -> None:
        rig = Rig()
        for n in range(SEEN_MAX + 10):
            rig.server.serve(rig.one, n, msgspec.msgpack.encode(call("now")))
        await asyncio.sleep(1)
        assert len(rig.server._seen) == SEEN_MAX

    run(main())
