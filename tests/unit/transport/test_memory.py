from collections.abc import AsyncIterator, Awaitable

import pytest

from hanse.kernel.faults import Conflict, Unavailable, UnknownOperation
from hanse.kernel.message import Kind, Message
from hanse.transport.base import service_of
from hanse.transport.memory import MemoryTransport

CALL = Message(Kind.CALL, "1", "orders.place")


class Echo:
    def serve(self, message: Message, /) -> Awaitable[Message]:
        return self._reply(message)

    async def _reply(self, message: Message) -> Message:
        return Message(Kind.REPLY, message.id, "")

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        yield Message(Kind.END, message.id, "")


@pytest.fixture
async def transport() -> MemoryTransport:
    transport = MemoryTransport()
    await transport.open()
    transport.listen("orders", Echo())
    return transport


async def test_what_nobody_serves_is_told_at_once_with_a_suggestion(transport: MemoryTransport) -> None:
    with pytest.raises(UnknownOperation, match="no service 'order' runs here; did you mean 'orders'"):
        await transport.request(Message(Kind.CALL, "1", "order.place"))
    with pytest.raises(UnknownOperation, match="no service 'xyz' runs here; there are orders"):
        await anext(transport.stream(Message(Kind.STREAM, "1", "xyz.watch")))


async def test_an_empty_transport_says_so() -> None:
    transport = MemoryTransport()
    await transport.open()
    with pytest.raises(UnknownOperation, match="there are none"):
        await transport.request(CALL)


async def test_a_service_is_served_by_one(transport: MemoryTransport) -> None:
    with pytest.raises(Conflict, match="another node of this process serves 'orders' already"):
        transport.listen("orders", Echo())


async def test_who_leaves_is_not_asked_again(transport: MemoryTransport) -> None:
    transport.leave("orders")
    transport.leave("orders")
    with pytest.raises(UnknownOperation):
        await transport.request(CALL)


async def test_messages_arrive_and_answers_come_back(transport: MemoryTransport) -> None:
    assert (await transport.request(CALL)).kind is Kind.REPLY
    assert [reply.kind async for reply in transport.stream(CALL)] == [Kind.END]


async def test_after_the_close_nothing_goes(transport: MemoryTransport) -> None:
    await transport.close()
    with pytest.raises(Unavailable, match="the transport is closed"):
        await transport.request(CALL)


async def test_it_is_open_until_all_who_opened_it_have_closed_it(transport: MemoryTransport) -> None:
    await transport.open()
    await transport.close()
    assert (await transport.request(CALL)).kind is Kind.REPLY
    await transport.close()
    await transport.close()
    with pytest.raises(Unavailable):
        await transport.request(CALL)


def test_an_address_names_its_service() -> None:
    assert (service_of("orders.place"), service_of("rows/orders.get")) == ("orders", "rows/orders")
