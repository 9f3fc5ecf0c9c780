"""What a server tells a transport of what handles the calls of an address: asked once for many of them."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanse.kernel.context import Context, ambient, current
from hanse.kernel.faults import Conflict, DeadlineExceeded, Overloaded, Unavailable, UnknownOperation
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
    """Keeps the answers, and who was at work on which."""

    def __init__(self) -> None:
        self.working: dict[Worker, None] = {}
        self.answers: list[Answer | None] = []
        self.keys: list[str] = []

    def told(self, key: str, body: bytes, /) -> None:
        assert key in [worker.key for worker in self.working]
        self.keys.append(key)
        self.answers.append(body)

    def handled(self, key: str, message: Message, answer: Answer | None, /) -> None:
        assert key == message.id
        self.keys.append(key)
        self.answers.append(answer)


def lot_of(asker: Asker, handle: Handle, name: str, *ids: str, timeout: float = 0.0) -> Lot[str]:
    asks = [(id, id, timeout, id.encode()) for id in reversed(ids)]
    return Lot(asker, Kind.CALL, f"desk.{name}", NO_HEADERS, 0.0, asks, handle)


def worker_here() -> Worker:
    task = asyncio.current_task()
    assert task is not None
    context = contextvars.copy_context()
    return Worker(task, context, context.copy())


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
        assert not asker.working
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


# Several calls of one lot.

LEFT: contextvars.ContextVar[str] = contextvars.ContextVar("left", default="")


async def in_a_task(server: Server, lot: Lot[str]) -> None:
    """Have a lot handled as workers do: by tasks, one after the other, each as long as it is fit."""
    while lot.asks:
        context = contextvars.copy_context()

        async def work(context: contextvars.Context = context) -> None:
            task = asyncio.current_task()
            assert task is not None
            await lot.handle(lot, Worker(task, context, context.copy()))
            assert not server.running

        await asyncio.get_running_loop().create_task(work(), context=context)


async def some_of(lot: Lot[str]) -> None:
    await lot.handle(lot, worker_here())


async def test_each_of_a_lot_has_a_context_of_its_own_and_so_have_tasks_that_outlive_it() -> None:
    seen, later = list[Context](), list[asyncio.Task[str]]()

    async def operation() -> str:
        return current().message_id

    async def call_of(body: bytes) -> str:
        seen.append(current())
        later.append(asyncio.get_running_loop().create_task(operation()))
        return body.decode()

    async def unused(context: Context, message: Message) -> object:
        raise AssertionError("what has no key needs no message")

    server, asker, before = Server(Host.system(), calls_max=8), Asker(), current()
    server.add("desk.each", Endpoint(run=unused, call=call_of, encode=lambda answer: str(answer).encode()))
    lot = lot_of(asker, server.handler("desk.each"), "each", "1", "2", "3")
    await in_a_task(server, lot)
    assert asker.keys == ["1", "2", "3"]
    assert asker.answers == [b"1", b"2", b"3"]
    assert [context.message_id for context in seen] == ["1", "2", "3"]
    assert [await task for task in later] == ["1", "2", "3"], "not that of the one after it"
    assert current() is before
    assert server.ended == {("desk.each", ""): 3}


async def test_what_one_of_a_lot_leaves_behind_the_next_does_not_see() -> None:
    seen = list[str]()

    async def call_of(body: bytes) -> bytes:
        seen.append(LEFT.get())
        LEFT.set(body.decode())
        return body

    server, asker = Server(Host.system(), calls_max=8), Asker()
    server.add("desk.leave", Endpoint(run=run, call=call_of, encode=as_it_is))
    await in_a_task(server, lot_of(asker, server.handler("desk.leave"), "leave", "1", "2", "3"))
    assert (asker.keys, seen) == (["1", "2", "3"], ["", "", ""])


async def test_one_that_cancels_itself_does_not_cancel_the_next() -> None:
    async def call_of(body: bytes) -> bytes:
        task = asyncio.current_task()
        assert task is not None
        if body == b"1":
            task.cancel()
        return body

    server, asker = Server(Host.system(), calls_max=8), Asker()
    server.add("desk.cancel", Endpoint(run=run, call=call_of, encode=as_it_is))
    lot, worker = lot_of(asker, server.handler("desk.cancel"), "cancel", "1", "2"), worker_here()
    await lot.handle(lot, worker)
    worker.task.uncancel()
    assert (asker.keys, len(lot.asks)) == (["1"], 1), "its worker is not fit for another"
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert ambient.get().message_id == ""


async def test_one_whose_time_is_over_ends_alone() -> None:
    gate = asyncio.Event()

    async def call_of(body: bytes) -> bytes:
        if body == b"1":
            await gate.wait()
        return body

    server, asker = Server(Host.system(), calls_max=8), Asker()
    server.add("desk.slow", Endpoint(run=run, call=call_of, encode=as_it_is))
    await in_a_task(server, lot_of(asker, server.handler("desk.slow"), "slow", "1", timeout=0.01))
    await in_a_task(server, lot_of(asker, server.handler("desk.slow"), "slow", "2", "3", timeout=60.0))
    first, *rest = asker.answers
    assert first is not None
    assert isinstance(fault_of(first), DeadlineExceeded)
    assert rest == [b"2", b"3"]
    assert server.ended == {("desk.slow", "deadline_exceeded"): 1, ("desk.slow", ""): 2}
    server.close()


async def test_what_waits_is_counted_and_found_by_its_key_until_it_has_ended() -> None:
    gate = asyncio.Event()

    async def call_of(body: bytes) -> bytes:
        await gate.wait()
        return body

    server, asker = Server(Host.system(), calls_max=8), Asker()
    server.add("desk.hold", Endpoint(run=run, call=call_of, encode=as_it_is))
    async with asyncio.TaskGroup() as tasks:
        lot = lot_of(asker, server.handler("desk.hold"), "hold", "1", "2")
        for _ in range(2):
            tasks.create_task(some_of(lot))
        await asyncio.sleep(0)
        assert (server.running, [worker.key for worker in asker.working]) == (2, ["1", "2"])
        gate.set()
    await server.idle()
    assert (server.running, asker.working, asker.answers) == (0, {}, [b"1", b"2"])
