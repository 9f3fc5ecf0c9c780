"""What a node works on for others, over a broker that takes what it likes."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from hanse.kernel.faults import NotFound
from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.mesh.fault import fault_message
from hanse.transport.brokered.frames import (
    ASK,
    MESSAGE,
    REFUSED,
    REPLY,
    Refusal,
    ask_of,
    message_in,
)
from hanse.transport.brokered.served import Served
from hanse.transport.nats.names import Names

HERE, THERE = Names("shop", "here"), Names("shop", "there")
INBOX = THERE.here
BODY = b"body"


class Broker:
    """Takes what is said, as long as there is room."""

    is_up: bool = True
    body_bytes_max: int = 1_000

    def __init__(self) -> None:
        self.said: asyncio.Queue[tuple[bytes, bytes, bytes]] = asyncio.Queue()
        self.room: asyncio.Event = asyncio.Event()
        self.room.set()

    def publish(self, subject: bytes, reply: bytes, payload: bytes, lead: bytes = b"") -> bool:
        del reply
        self.said.put_nowait((subject.removeprefix(INBOX), lead, payload))
        return self.is_up

    def has_room(self, body: bytes) -> bool:
        del body
        return self.room.is_set()

    async def writable(self) -> None:
        await self.room.wait()

    def over(self, message: Message, payload: bytes) -> str | None:
        del message
        return f"{self.body_bytes_max} bytes, with {len(payload)}" if len(payload) > self.body_bytes_max else None


class Desk:
    """Answers by the name of the operation."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.gate: asyncio.Event = asyncio.Event()

    async def serve(self, message: Message, /) -> Message:
        operation = message.address.partition(".")[2]
        self.began.append(operation)
        if operation == "wait":
            await self.gate.wait()
        if operation == "fault":
            return fault_message(NotFound("order", "7"), message.id)
        size = 2_000 if operation == "large" else 0
        return Message(Kind.REPLY, message.id, "", 0.0, NO_HEADERS, message.body + bytes(size))

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        self.began.append(message.address)
        yield Message(Kind.END, message.id, "")


class Place:
    """A node that serves a desk."""

    def __init__(self) -> None:
        self.broker: Broker = Broker()
        self.desk: Desk = Desk()
        self.served: Served = Served(self.broker, HERE, lambda: None)
        assert self.served.listen("desk", self.desk)
        self.served.open = True

    def ask(self, token: bytes, operation: str, kind: Kind = Kind.CALL) -> None:
        message = Message(kind, "1", f"desk.{operation}", 5.0, NO_HEADERS, BODY)
        self.served.take(HERE.call(message.address), INBOX + token, ASK + ask_of(message, b""), b"")

    async def told(self) -> tuple[bytes, bytes, bytes]:
        async with asyncio.timeout(30):
            return await self.broker.said.get()


async def turns(count: int = 16) -> None:
    """Let the loop go round, as nothing here waits for more than that."""
    for _ in range(count):
        await asyncio.sleep(0)


def why(payload: bytes) -> str:
    return msgspec.msgpack.decode(payload, type=Refusal).why


async def test_an_answer_that_went_well_is_its_body() -> None:
    place = Place()
    place.ask(b"1", "echo")
    assert await place.told() == (b"1", REPLY, BODY)
    assert not place.served.works
    assert not place.served.running
    await place.served.end()


async def test_a_fault_is_a_message() -> None:
    place = Place()
    place.ask(b"1", "fault")
    token, lead, payload = await place.told()
    assert (token, lead, message_in(lead + payload).headers.type) == (b"1", MESSAGE, NotFound.code)
    await place.served.end()


async def test_an_answer_that_is_too_large_is_refused() -> None:
    place = Place()
    place.ask(b"1", "large")
    token, lead, payload = await place.told()
    assert (token, lead, why(payload)) == (b"1", REFUSED, "too_large")
    await place.served.end()


async def test_what_was_done_is_told_once_there_is_room() -> None:
    place = Place()
    place.broker.room.clear()
    place.ask(b"1", "echo")
    await turns()
    assert place.broker.said.empty()
    assert list(place.served.works) == [INBOX + b"1"], "it is still under way"
    place.broker.room.set()
    assert await place.told() == (b"1", REPLY, BODY)
    await turns()
    await place.served.end()


async def test_an_answer_that_finds_no_broker_is_dropped() -> None:
    place = Place()
    place.broker.is_up = False
    place.ask(b"1", "echo")
    assert await place.told() == (b"1", REPLY, BODY)
    assert not place.served.works
    await place.served.end()


async def test_what_nobody_wants_any_more_before_it_began_does_not_begin() -> None:
    place = Place()
    place.ask(b"1", "echo")
    place.ask(b"2", "items", Kind.STREAM)
    place.served.cancel(THERE.node, [b"1", b"2", b"unheard"])
    place.ask(b"3", "echo")
    assert (await place.told())[0] == b"3"
    assert place.desk.began == ["echo"]
    await turns()
    assert not place.served.works
    await place.served.end()


async def test_whoever_is_cancelled_amid_its_work_is_told_of() -> None:
    place = Place()
    place.ask(b"1", "wait")
    await turns()
    place.served.drop(lambda work: work.reply == INBOX + b"1")
    token, lead, payload = await place.told()
    assert (token, lead, why(payload)) == (b"1", REFUSED, "closing")
    await place.served.end()


async def test_what_is_under_way_at_the_end_is_refused() -> None:
    place = Place()
    place.ask(b"1", "wait")
    place.ask(b"2", "wait")
    await turns()
    await place.served.end()
    assert {why((await place.told())[2]) for _ in range(2)} == {"closing"}
    assert not place.served.works
    place.ask(b"3", "echo")
    while (told := await place.told())[0] != b"3":
        pass
    assert told[1:] == (REPLY, BODY), "it may be opened again"
    await place.served.end()
