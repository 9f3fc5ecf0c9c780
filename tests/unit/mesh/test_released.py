"""Releases over a transport that chooses by itself: which name is asked, and what comes after one that is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hanse.kernel.faults import DeadlineExceeded, Fault, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Kind, Message
from hanse.kernel.route import Route
from hanse.mesh.fault import fault_message, undone_message
from hanse.mesh.released import AWAY_SECONDS, OfRelease, Released, released
from hanse.transport.base import Features, Receiver, service_of
from hanse.transport.direct import NotSent
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time

CALL = Message(Kind.CALL, "1", "orders.place", 10.0)
STREAM = Message(Kind.STREAM, "1", "orders.watch", 10.0)


class Broker:
    """One that hands each message to whoever listens, and takes as long as a test says."""

    features: Features = Features(durable=False, balances=True)

    def __init__(self) -> None:
        self.serving: dict[str, Receiver] = {}
        self.asked: list[Message] = []
        self.seconds = 0.0

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.serving.clear()

    def listen(self, service: str, receiver: Receiver, /) -> None:
        self.serving[service] = receiver

    def leave(self, service: str, /) -> None:
        del self.serving[service]

    async def request(self, message: Message, /) -> Message:
        return await (await self._found(message)).serve(message)

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        async for reply in (await self._found(message)).serve_stream(message):
            yield reply

    async def _found(self, message: Message) -> Receiver:
        self.asked.append(message)
        await asyncio.sleep(self.seconds)
        found = self.serving.get(service_of(message.address))
        if found is None:
            raise NotSent(f"nobody serves {message.address}")
        return found


class Instance:
    """Says its release and the address that it was asked at; or a fault."""

    def __init__(self, release: str, fault: Fault | None = None, *, undone: bool = True) -> None:
        self.release = release
        self.fault = fault
        self.undone = undone

    async def serve(self, message: Message, /) -> Message:
        if self.fault is not None:
            return (undone_message if self.undone else fault_message)(self.fault, message.id)
        return Message(Kind.REPLY, message.id, "", body=f"{self.release} {message.address}".encode())

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        yield Message(Kind.ITEM, message.id, "", body=f"{self.release} {message.address}".encode())
        yield Message(Kind.END, message.id, "")


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def calls(broker: Broker, host: Host) -> Released:
    calls = Released(broker, host)
    calls.listen("orders", Instance("1.4"))
    calls.listen("orders@1.5", OfRelease(Instance("1.5")))
    calls.route({"orders": Route(releases={"1.5": 1})})
    return calls


async def body(calls: Released, message: Message = CALL) -> str:
    return (await calls.request(message)).body.decode()


async def first(calls: Released, message: Message = STREAM) -> str:
    replies = [reply async for reply in calls.stream(message)]
    return replies[0].body.decode()


async def test_who_serves_a_release_sees_the_plain_address_and_is_told_what_was_chosen(
    calls: Released, broker: Broker
) -> None:
    assert (await body(calls), await first(calls)) == ("1.5 orders.place", "1.5 orders.watch")
    assert {message.headers.release for message in broker.asked} == {""}, "there was nothing to choose"
    calls.listen("orders@1.4", OfRelease(Instance("1.4")))
    calls.route({"orders": Route(releases={"1.5": 1, "1.4": 1})})
    broker.asked.clear()
    told = {await body(calls) for _ in range(50)}
    assert told == {"1.4 orders.place", "1.5 orders.place"}
    assert {(one.address, one.headers.release) for one in broker.asked} == {
        ("orders@1.4.place", "1.4"),
        ("orders@1.5.place", "1.5"),
    }


async def test_what_begins_here_stays_with_the_release_that_is_here(calls: Released, broker: Broker) -> None:
    calls.listen("orders@1.4", OfRelease(Instance("1.4")))
    calls.route({"orders": Route(releases={"1.5": 1, "1.4": 1})}, "1.4")
    assert {await body(calls) for _ in range(50)} == {"1.4 orders.place"}
    assert await first(calls) == "1.4 orders.watch"


async def test_without_a_route_the_message_goes_as_it_is(calls: Released, broker: Broker) -> None:
    calls.route({})
    assert (await body(calls), await first(calls)) == ("1.4 orders.place", "1.4 orders.watch")
    assert broker.asked == [CALL, STREAM]


async def test_a_release_that_is_away_is_asked_again_after_a_moment(calls: Released, broker: Broker) -> None:
    calls.leave("orders@1.5")
    for _ in range(3):
        assert (await body(calls), await first(calls)) == ("1.4 orders.place", "1.4 orders.watch")
    assert sum("@" in message.address for message in broker.asked) == 1
    calls.listen("orders@1.5", OfRelease(Instance("1.5")))
    await asyncio.sleep(AWAY_SECONDS)
    assert await first(calls) == "1.5 orders.watch"


async def test_a_stream_finds_out_by_itself_that_a_release_is_away(calls: Released) -> None:
    calls.leave("orders@1.5")
    assert await first(calls) == "1.4 orders.watch"


@pytest.mark.parametrize("fault", [Unavailable("it stops"), UnknownOperation("orders.place")])
async def test_what_a_release_has_not_begun_any_may_do(calls: Released, fault: Fault) -> None:
    calls.listen("orders@1.5", OfRelease(Instance("1.5", fault)))
    assert await body(calls) == "1.4 orders.place"


async def test_what_may_have_been_done_is_not_done_again(calls: Released) -> None:
    calls.listen("orders@1.5", OfRelease(Instance("1.5", Unavailable("it broke"), undone=False)))
    assert (await calls.request(CALL)).headers.type == Unavailable.code


async def test_a_story_of_a_release_asks_for_it_without_a_route(calls: Released) -> None:
    calls.route({})
    pinned = CALL.with_headers(Headers(release="1.5"))
    assert await body(calls, pinned) == "1.5 orders.place"


async def test_the_time_that_a_release_took_is_gone(calls: Released, broker: Broker) -> None:
    calls.leave("orders@1.5")
    broker.seconds = 4.0
    assert await body(calls) == "1.4 orders.place"
    assert [message.timeout for message in broker.asked] == [10.0, 6.0]
    await asyncio.sleep(AWAY_SECONDS)
    broker.seconds = 20.0
    with pytest.raises(DeadlineExceeded):
        await calls.request(CALL)


async def test_what_never_ends_is_handed_on_without_a_limit(calls: Released, broker: Broker) -> None:
    await calls.request(Message(Kind.CALL, "1", "orders.place"))
    assert broker.asked[0].timeout == 0.0


async def test_what_is_decided_is_told(calls: Released) -> None:
    found = calls.explain("orders.place")
    assert (found.release, found.route) == ("1.5", "a route of orders")
    assert "release 1.5 of orders" in found.summary
    assert calls.explain("mail.send").summary.endswith("all of mail")


async def test_it_is_for_transports_that_choose(broker: Broker, host: Host) -> None:
    memory = MemoryTransport()
    assert released(memory, host) is memory
    calls = released(broker, host)
    assert calls.features.balances
    await calls.open()
    await calls.close()
