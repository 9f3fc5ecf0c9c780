"""What a server tells a transport of what handles the calls of an address: asked once for many of them."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanse.kernel.context import Context, current
from hanse.kernel.faults import Conflict, Overloaded, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.mesh.fault import fault_in
from hanse.mesh.server import Endpoint, Server
from hanse.transport.base import Answer, Receiver, body_of, whole
from hanse.transport.lot import Handle, Lot, Worker, handlers_of

GATES: dict[str, asyncio.Event] = {}


async def run(context: Context, message: Message) -> object:
    if message.address == "desk.fail":
        raise Conflict("taken")
    if message.address == "desk.wait":
        await GATES[message.id].wait()
    assert current() is context
    return message.body


def as_it_is(answer: object) -> bytes:
    assert isinstance(answer, bytes)
    return answer


@pytest.fixture
def server() -> Server:
    server = Server(Host.system(), calls_max=1)
    for name in ("echo", "fail", "wait"):
        server.add(f"desk.{name}", Endpoint(run=run, encode=as_it_is))
    return server


def call(name: str) -> Message:
    return Message(Kind.CALL, "1", f"desk.{name}", 5.0, NO_HEADERS, b"tea")


class Asker:
    """Keeps the one answer."""

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Task[Any]] = {}
        self.answers: list[Answer | None] = []

    def handled(self, key: str, message: Message, answer: Answer | None, /) -> None:
        assert key == message.id
        assert not self.running
        self.answers.append(answer)


async def handled(handle: Handle, message: Message) -> Answer:
    task, variables = asyncio.current_task(), contextvars.copy_context()
    assert task is not None
    asker = Asker()
    asks = [(message.id, message.id, message.timeout, message.body)]
    lot = Lot(asker, message.kind, message.address, message.headers, 0.0, asks, handle)
    try:
        await handle(lot, Worker(task, variables, variables))
    finally:
        (answer,) = asker.answers
    assert answer is not None
    return answer


def fault_of(answer: Answer) -> Exception:
    assert isinstance(answer, Message)
    return fault_in(answer)


async def test_an_answer_that_says_nothing_else_is_its_body(server: Server) -> None:
    assert await handled(server.handler("desk.echo"), call("echo")) == b"tea"
    assert server.ended == {("desk.echo", ""): 1}


async def test_a_fault_is_a_whole_message(server: Server) -> None:
    assert isinstance(fault_of(await handled(server.handler("desk.fail"), call("fail"))), Conflict)


async def test_what_nobody_has_is_refused(server: Server) -> None:
    assert isinstance(fault_of(await handled(server.handler("desk.none"), call("none"))), UnknownOperation)


async def test_over_the_limit_a_call_is_refused_when_it_begins(server: Server) -> None:
    gate = GATES["1"] = asyncio.Event()
    handle = server.handler("desk.wait")
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(handled(handle, call("wait")))
        await asyncio.sleep(0)
        assert isinstance(fault_of(await handled(handle, call("wait"))), Overloaded)
        gate.set()
    assert first.result() == b"tea"


async def test_once_it_drains_another_handler_refuses(server: Server) -> None:
    server.drain()
    assert isinstance(fault_of(await handled(server.handler("desk.echo"), call("echo"))), Unavailable)
    server.open()
    assert await handled(server.handler("desk.echo"), call("echo")) == b"tea"


async def test_who_cancels_the_task_ends_the_handler(server: Server) -> None:
    GATES["1"] = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(handled(server.handler("desk.wait"), call("wait")))
        await asyncio.sleep(0)
        assert server.running == 1
        task.cancel()
    assert task.cancelled()
    assert server.running == 0


class Plain:
    """A receiver that knows of no handlers."""

    async def serve(self, message: Message, /) -> Message:
        return whole(message.body, message)

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        yield message


async def test_a_receiver_without_handlers_serves() -> None:
    receiver: Receiver = Plain()
    answer = await handled(handlers_of(receiver)("desk.echo"), call("echo"))
    assert answer == Message(Kind.REPLY, "1", "", 0.0, NO_HEADERS, b"tea")


@pytest.mark.parametrize("said", [{"id": "2"}, {"address": "desk.echo"}, {"kind": Kind.FAULT}])
def test_an_answer_that_says_more_has_no_body_alone(said: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"kind": Kind.REPLY, "id": "1", "address": "", "body": b"tea"}
    assert body_of(Message(**plain), call("echo")) == b"tea"
    assert body_of(Message(**plain | said), call("echo")) is None
    assert body_of(None, call("echo")) is None
