"""What a node works on for others, over a broker that takes what it likes."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from hanse.kernel.faults import NotFound
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.mesh.fault import fault_message
from hanse.transport.brokered.frames import (
    MESSAGE,
    REFUSED,
    REPLIES,
    REPLY,
    TOGETHER_TOKEN,
    Refusal,
    encode,
    head_of,
    message_in,
    replies_in,
    rest_of,
)
from hanse.transport.brokered.replies import GATHERED_MAX
from hanse.transport.brokered.served import SERVED_MAX, Served
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

    def push(self) -> None:
        """All is there at once."""

    def over(self, message: Message, size: int) -> str | None:
        del message
        return f"{self.body_bytes_max} bytes, with {size}" if size > self.body_bytes_max else None


class Desk:
    """Answers by the name of the operation."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.left: list[float] = []
        self.gate: asyncio.Event = asyncio.Event()

    async def serve(self, message: Message, /) -> Message:
        operation = message.address.partition(".")[2]
        self.began.append(operation)
        self.left.append(message.timeout)
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
        self.served: Served = Served(self.broker, HERE, lambda: None, Host.system().monotonic)
        assert self.served.listen("desk", self.desk)
        self.served.open = True

    def ask(self, token: bytes, operation: str, kind: Kind = Kind.CALL, *, age: float = 0.0) -> None:
        message = Message(kind, "1", f"desk.{operation}", 5.0, NO_HEADERS, BODY)
        self.take(INBOX + token, operation, head_of(kind, message.address, b"") + rest_of(message), age=age)

    def take(self, reply: bytes, operation: str, payload: bytes, *, age: float = 0.0) -> None:
        self.served.take(HERE.call(f"desk.{operation}"), reply, payload, b"", age)

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
    assert not place.served._replies.working
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


async def test_of_a_lot_that_has_not_begun_a_part_may_be_cancelled() -> None:
    place = Place()
    for number in range(4):
        place.ask(b"%d" % number, "echo")
    place.served.cancel(THERE.node, [b"1", b"3"])
    assert await place.told() == (TOGETHER_TOKEN, REPLIES, encode([(b"0", BODY), (b"2", BODY)]))
    assert len(place.desk.began) == 2
    assert not place.served.works
    await place.served.end()


async def test_of_a_lot_whose_half_waits_that_half_may_be_cancelled() -> None:
    place = Place()
    for number, operation in enumerate(("wait", "wait", "wait", "wait")):
        place.ask(b"%d" % number, operation)
    await turns()
    place.served.cancel(THERE.node, [b"1", b"3"])
    assert {(await place.told())[:2] for _ in range(2)} == {(b"1", REFUSED), (b"3", REFUSED)}
    place.desk.gate.set()
    assert await place.told() == (TOGETHER_TOKEN, REPLIES, encode([(b"0", BODY), (b"2", BODY)]))
    assert not place.served.works
    await place.served.end()


async def test_what_was_handled_and_is_not_told_yet_is_told_at_the_end() -> None:
    place = Place()
    place.ask(b"1", "echo")
    while not place.desk.began or place.served._replies.working:  # noqa: ASYNC110 - what waits is told a turn later
        await asyncio.sleep(0)
    place.served.cancel(THERE.node, [b"1"])  # too late
    await place.served.end()
    assert await place.told() == (b"1", REPLY, BODY)
    assert place.broker.said.empty()


async def test_what_has_waited_has_less_time_left_each_by_its_age() -> None:
    place = Place()
    for number, age in enumerate((1.0, 0.0, 5.0, 2.0)):
        place.ask(b"%d" % number, "echo", age=age)
    assert await place.told() == (TOGETHER_TOKEN, REPLIES, encode([(b"%d" % number, BODY) for number in (0, 1, 3)]))
    assert place.desk.left == [4.0, 5.0, 3.0], "of one, the time was over"
    await place.served.end()


async def test_a_request_that_cannot_be_read_is_refused_and_no_other_of_its_lot() -> None:
    place = Place()
    head = head_of(Kind.CALL, "desk.echo", b"")
    place.ask(b"1", "echo")
    place.take(INBOX + b"2", "echo", head + b"of tomorrow")
    place.take(INBOX + b"3", "echo", head[:-2])
    place.take(INBOX + b"4", "echo", REPLY)
    message = Message(Kind.CALL, "1", "desk.echo", 5.0, NO_HEADERS, BODY)
    place.take(INBOX + b"5", "echo", head_of(Kind.CALL, "desk.echo", b"no headers") + rest_of(message))
    place.take(INBOX + b"6", "other", head)
    place.take(b"", "echo", head)
    place.ask(b"1", "echo")
    place.ask(b"7", "echo")
    refused = [await place.told() for _ in range(6)]
    assert [(token, lead, why(payload)) for token, lead, payload in refused] == [
        *((b"%d" % number, REFUSED, "unreadable") for number in range(2, 7)),
        (b"1", REFUSED, "busy"),
    ]
    assert await place.told() == (TOGETHER_TOKEN, REPLIES, encode([(b"1", BODY), (b"7", BODY)]))
    await place.served.end()


async def test_more_than_may_be_worked_on_is_refused() -> None:
    place = Place()
    place.ask(b"1", "wait")
    await turns()
    [lot] = place.served.works.values()
    others = [b"x%d" % number for number in range(SERVED_MAX - 2)]
    place.served.works.update(dict.fromkeys(others, lot))
    for token in (b"2", b"3"):
        place.ask(token, "wait")
    token, lead, payload = await place.told()
    assert (token, lead, why(payload)) == (b"3", REFUSED, "busy")
    for other in others:
        place.served.ended(other)
    await place.served.end()


async def test_who_is_no_node_of_ours_is_told_each_answer_alone() -> None:
    place = Place()
    message = Message(Kind.CALL, "1", "desk.echo", 5.0, NO_HEADERS, BODY)
    for reply in (b"_INBOX.1", b"_INBOX.2"):
        place.take(reply, "echo", head_of(Kind.CALL, message.address, b"") + rest_of(message))
    assert [await place.told() for _ in range(2)] == [(b"_INBOX.1", REPLY, BODY), (b"_INBOX.2", REPLY, BODY)]
    await place.served.end()


async def test_more_answers_than_may_wait_are_told_at_once() -> None:
    place = Place()
    for number in range(GATHERED_MAX + 2):
        place.ask(b"%d" % number, "echo")
    count = 0
    while count < GATHERED_MAX + 2:
        _, lead, payload = await place.told()
        count += 1 if lead == REPLY else len(replies_in(REPLIES + payload))
    assert not place.served.works
    await place.served.end()


async def test_who_serves_no_more_gets_no_more_of_a_lot() -> None:
    place = Place()
    place.ask(b"1", "echo")
    assert place.served.leave("desk")
    place.ask(b"2", "echo")
    assert (await place.told())[:2] == (b"2", REFUSED)
    assert await place.told() == (b"1", REPLY, BODY)
    await place.served.end()


async def test_whoever_is_cancelled_amid_its_work_is_told_of() -> None:
    place = Place()
    place.ask(b"1", "wait")
    await turns()
    place.served.drop(THERE.node)
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
