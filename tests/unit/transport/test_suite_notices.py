"""The suite of transports can fail: each promise that one breaks is noticed, by the test that is named for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import cast

import msgspec
import pytest

from hanse.kernel.closing import closing
from hanse.kernel.faults import TooLarge, UnknownOperation
from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.mesh.fault import fault_message
from hanse.testing.transport import TransportSuite
from hanse.transport.base import Features, Receiver, Transport, service_of
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time

BYTES_MAX = 65_536
HERE = Features(durable=False, balances=False, local=True)
APART = Features(durable=False, balances=True)


class Wrong(MemoryTransport):
    """Breaks one promise or another, in what it does around a request and around a stream."""

    features = HERE

    def request(self, message: Message, /) -> Awaitable[Message]:
        return self.asked(message)

    async def asked(self, message: Message) -> Message:
        return await super().request(message)


class OneByOne(Wrong):
    def __init__(self) -> None:
        super().__init__()
        self.turn = asyncio.Lock()

    async def asked(self, message: Message) -> Message:
        async with self.turn:
            return await super().asked(message)


class Forgetful(Wrong):
    async def asked(self, message: Message) -> Message:
        return await super().asked(message.with_headers(NO_HEADERS))

    def stream(self, message: Message, /) -> AsyncIterator[Message]:
        return super().stream(message.with_headers(NO_HEADERS))


class OfToday(Wrong):
    """Carries the headers that it knows."""

    async def asked(self, message: Message) -> Message:
        return await super().asked(message.with_headers(msgspec.structs.replace(message.headers, extra={})))


class ByTheClock(Wrong):
    """Sends the moment at which time is over, in place of the time that is left."""

    async def asked(self, message: Message) -> Message:
        return await super().asked(msgspec.structs.replace(message, timeout=1_700_000_000.0 + message.timeout))


class Silent(Wrong):
    """Does not send faults back, so that callers wait for nothing."""

    async def asked(self, message: Message) -> Message:
        reply: Message | None = None
        with suppress(UnknownOperation):
            reply = await super().asked(message)
        if reply is None or reply.kind is Kind.FAULT:
            await asyncio.Event().wait()
        assert reply is not None
        return reply


class InWords(Wrong):
    """Tells of a fault by its text."""

    async def asked(self, message: Message) -> Message:
        reply = await super().asked(message)
        return fault_message(UnknownOperation("it failed"), message.id) if reply.kind is Kind.FAULT else reply


class NoCode(Wrong):
    async def asked(self, message: Message) -> Message:
        return (await super().asked(message)).with_headers(NO_HEADERS)


class Shielded(Wrong):
    """Has handlers go on when nobody waits for them any more."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = Tasks(lambda _: None)

    async def asked(self, message: Message) -> Message:
        return await asyncio.shield(self.tasks.start(super().asked(message)))

    async def close(self) -> None:
        await super().close()
        await self.tasks.cancel()


class Twice(Wrong):
    async def asked(self, message: Message) -> Message:
        _ = await super().asked(message)
        return await super().asked(message)


class ById(Wrong):
    """Has whoever asks with an id that is known wait for the answer of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, asyncio.Future[Message]] = {}

    async def asked(self, message: Message) -> Message:
        if message.id in self.answers:
            return await self.answers[message.id]
        answer: asyncio.Future[Message]
        answer = self.answers[message.id] = asyncio.get_running_loop().create_future()
        answer.set_result(await super().asked(message))
        return answer.result()


class Overtaking(Wrong):
    """Messages wait the longer the earlier they were sent."""

    sent = 0

    async def asked(self, message: Message) -> Message:
        self.sent += 1
        await asyncio.sleep(1.0 / self.sent)
        return await super().asked(message)


class Trimmed(Wrong):
    async def asked(self, message: Message) -> Message:
        return await super().asked(msgspec.structs.replace(message, body=message.body.strip()))


class ByPrefix(Wrong):
    """Knows a service by how it begins."""

    async def asked(self, message: Message) -> Message:
        near = [known for known in self._receivers if message.address.startswith(known)]
        service = near[0] if near else service_of(message.address)
        operation = message.address.rpartition(".")[2]
        return await super().asked(msgspec.structs.replace(message, address=f"{service}.{operation}"))


class Staying(Wrong):
    def leave(self, service: str, /) -> None:
        pass


class Gathering(Wrong):
    """Sends the items of a stream when there are no more."""

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        gathered = [reply async for reply in super().stream(message)]
        for reply in gathered:
            yield reply


class RunningAhead(Wrong):
    """Takes items as fast as they are made."""

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        came: asyncio.Queue[Message] = asyncio.Queue()
        async with Tasks(lambda _: None) as tasks:
            _ = tasks.start(self.pump(message, came))
            kind = Kind.ITEM
            while kind is Kind.ITEM:
                reply = await came.get()
                kind = reply.kind
                yield reply

    async def pump(self, message: Message, came: "asyncio.Queue[Message]") -> None:
        async with closing(super().stream(message)) as replies:
            async for reply in replies:
                came.put_nowait(reply)
                await asyncio.sleep(0)


class Unclosed(RunningAhead):
    """Does not tell producers that nobody reads any more."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = Tasks(lambda _: None)

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        came: asyncio.Queue[Message] = asyncio.Queue()
        _ = self.tasks.start(self.pump(message, came))
        while True:
            yield await came.get()

    async def close(self) -> None:
        await super().close()
        await self.tasks.cancel()


class Swapping(Wrong):
    """Two by two, in the wrong order."""

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        async with closing(super().stream(message)) as replies:
            async for reply in replies:
                if reply.kind is Kind.ITEM:
                    yield await anext(replies)
                yield reply


class WellEnding(Wrong):
    """Ends streams as if nothing had happened."""

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        async with closing(super().stream(message)) as replies:
            async for reply in replies:
                yield reply if reply.kind is Kind.ITEM else Message(Kind.END, message.id, "")


class Limitless(Wrong):
    """Names a limit, and does not keep it."""

    features = Features(durable=False, balances=False, bytes_max=BYTES_MAX, local=True)


class Cutting(Limitless):
    """Sends as much as may be sent."""

    async def asked(self, message: Message) -> Message:
        reply = await super().asked(msgspec.structs.replace(message, body=message.body[:BYTES_MAX]))
        return msgspec.structs.replace(reply, body=reply.body[:BYTES_MAX])


class Endless(Shielded):
    """Handles calls by themselves, and leaves it to whoever serves them to end them."""

    features = APART


class NeverClosing(Wrong):
    """Is taken to be apart from others, and leaves what is under way alone when it closes."""

    features = APART


class Alone(Wrong):
    """Has one instance of a service get all calls."""

    features = APART

    def listen(self, service: str, receiver: Receiver, /) -> None:
        self._receivers.setdefault(service, receiver)


class OpenForEver(Wrong):
    async def close(self) -> None:
        pass


class Restless(Wrong):
    """Goes on beating after it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = Tasks(lambda _: None)

    async def open(self) -> None:
        await super().open()
        _ = self.tasks.start(asyncio.sleep(60.0))


class Suite(TransportSuite):
    """The suite on a transport that is wrong."""

    ahead_max = 1
    crowd = 100

    def __init__(self, shared: Transport) -> None:
        self.shared = shared

    async def join(self) -> Transport:
        return self.shared


NOTICED: dict[type[Wrong], tuple[str, ...]] = {
    OneByOne: (
        "calls_are_handled_side_by_side",
        "a_call_that_waits_holds_up_no_other",
        "a_handler_may_call_back_to_where_it_was_called_from",
        "a_crowd_of_calls_is_answered_or_told_of_a_limit",
    ),
    Forgetful: ("every_header_is_carried", "every_header_of_a_stream_is_carried"),
    OfToday: ("every_header_is_carried",),
    ByTheClock: ("a_call_ends_at_its_deadline_and_so_does_its_handler", "time_is_handed_on_as_time_left"),
    Silent: (
        "a_fault_arrives_as_its_own_class_with_its_fields",
        "a_service_that_nobody_serves_is_refused_at_once",
        "an_operation_that_is_not_there_is_refused_at_once",
        "a_handler_that_breaks_answers_without_telling_why",
        "a_server_that_is_full_says_so_at_once",
        "an_event_that_its_handler_refuses_is_not_acknowledged",
    ),
    InWords: ("a_fault_arrives_as_its_own_class_with_its_fields",),
    NoCode: ("a_fault_says_its_code_in_its_headers",),
    Shielded: (
        "cancelling_a_call_reaches_its_handler",
        "cancelling_a_call_leaves_others_alone",
        "calls_that_are_cancelled_at_once_leave_nothing_behind",
        "cancelling_a_call_reaches_what_its_handler_called",
    ),
    Twice: ("each_of_many_calls_has_its_own_answer", "an_event_and_a_note_are_acknowledged"),
    ById: ("two_messages_with_one_id_have_each_their_own_answer", "a_message_that_is_sent_again_is_handled_again"),
    Overtaking: ("what_is_sent_under_one_key_comes_in_order",),
    Trimmed: ("bodies_are_carried_to_the_byte",),
    ByPrefix: ("any_name_is_an_address", "a_name_that_begins_as_another_is_another"),
    Staying: ("who_leaves_gets_no_new_calls", "a_service_moves_from_node_to_node"),
    Gathering: ("items_come_as_they_are_made", "a_producer_is_not_far_ahead_of_its_reader"),
    RunningAhead: ("a_producer_is_not_far_ahead_of_its_reader",),
    Unclosed: (
        "closing_a_stream_early_reaches_its_producer",
        "cancelling_a_reader_reaches_its_producer",
    ),
    Swapping: ("items_come_in_order_and_then_the_end",),
    WellEnding: ("a_fault_amid_a_stream_comes_after_the_items_before_it", "a_stream_ends_at_its_deadline"),
    Limitless: (
        "a_body_over_the_limit_is_refused_before_it_is_sent",
        "an_answer_over_the_limit_is_a_fault_at_the_caller",
        "an_item_over_the_limit_ends_its_stream_with_a_fault",
    ),
    Cutting: (
        "a_body_over_the_limit_is_refused_before_it_is_sent",
        "an_answer_over_the_limit_is_a_fault_at_the_caller",
    ),
    Endless: ("a_call_ends_at_its_deadline_whatever_its_receiver_does",),
    NeverClosing: (
        "closing_ends_what_the_node_asked_for",
        "closing_ends_what_the_node_was_asked_for",
    ),
    Alone: ("two_instances_share_calls_and_each_is_answered_once", "two_instances_share_streams"),
    Restless: ("a_closed_transport_leaves_no_task_behind",),
    OpenForEver: (
        "a_closed_transport_says_so_and_closes_again",
        "an_open_transport_is_in_no_trouble_and_a_closed_one_is",
    ),
}
PAIRS = [pytest.param(wrong, test, id=f"{wrong.__name__}-{test}") for wrong, tests in NOTICED.items() for test in tests]


@pytest.mark.parametrize(("wrong", "test"), PAIRS)
async def test_a_broken_promise_is_noticed(wrong: type[Wrong], test: str) -> None:
    check = cast("Awaitable[None]", getattr(Suite(wrong()), f"test_{test}")())
    with pytest.raises((Exception, pytest.fail.Exception)):
        await check


class Limited(Wrong):
    """Keeps its limit."""

    features = Features(durable=False, balances=False, bytes_max=BYTES_MAX, local=True)

    async def asked(self, message: Message) -> Message:
        self.check(message)
        reply = await super().asked(message)
        return self.told(reply)

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        self.check(message)
        async with closing(super().stream(message)) as replies:
            async for reply in replies:
                yield self.told(reply)
                if reply.kind is not self.told(reply).kind:
                    return

    def check(self, message: Message) -> None:
        if len(message.body) > BYTES_MAX:
            raise TooLarge("a message's body", f"{BYTES_MAX} bytes")

    def told(self, reply: Message) -> Message:
        try:
            self.check(reply)
        except TooLarge as fault:
            return fault_message(fault, reply.id)
        return reply


@pytest.mark.parametrize("test", [*NOTICED[Limitless], "a_body_of_the_most_bytes_goes_both_ways"])
async def test_a_kept_limit_is_fine(test: str) -> None:
    await cast("Awaitable[None]", getattr(Suite(Limited()), f"test_{test}")())
