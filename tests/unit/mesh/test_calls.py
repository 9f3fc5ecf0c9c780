"""Calls between services on one node: concurrent, re-entrant, ended at their deadline, answered whatever happens."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, cast

import pytest

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import describe
from hanse.contract.guard import authenticated, scope
from hanse.contract.model import Model
from hanse.kernel.closing import closing
from hanse.kernel.context import current
from hanse.kernel.faults import (
    BrokenContract,
    DeadlineExceeded,
    Fault,
    Forbidden,
    Internal,
    Invalid,
    Misconfigured,
    Overloaded,
    Unauthenticated,
    Unavailable,
    UnknownOperation,
)
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import client_of, policy, send
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service

Handler = Callable[["Back"], Awaitable[object]]


class OutOfStock(Fault, status=409):
    sku: str
    left: int


class Parcel(Model):
    weight: int


class Front(Contract, Protocol):
    @rpc
    async def ask(self, script: str) -> object: ...

    @rpc
    async def echo(self, text: str) -> str: ...


class Back(Service):
    """Does what the test put under a name."""

    front: Front

    @rpc
    async def run(self, script: str) -> object:
        return await SCRIPTS[script](self)

    @rpc(idempotent=True)
    async def again(self, script: str) -> object:
        return await SCRIPTS[script](self)

    @rpc(timeout="2s")
    async def soon(self, script: str) -> object:
        return await SCRIPTS[script](self)

    @rpc(faults=(OutOfStock,))
    async def parcel(self, weight: int, *, label: str = "") -> Parcel:
        return Parcel(weight=cast("Any", label or weight))

    @rpc
    async def watch(self, script: str) -> AsyncIterator[int]:
        async with closing(STREAMS[script](self)) as items:
            async for item in items:
                yield item

    @rpc(allow=authenticated)
    async def known(self) -> str:
        return current().identity.subject

    @rpc(allow=scope("stock:write"))
    async def write(self) -> None: ...


class FrontDoor(Service, Front):
    back: Back

    async def ask(self, script: str) -> object:
        return await self.back.run(script)

    async def echo(self, text: str) -> str:
        return text


SCRIPTS: dict[str, Handler] = {}
STREAMS: dict[str, Callable[[Back], AsyncIterator[int]]] = {}


@pytest.fixture
def settings() -> Settings:
    return Settings(node=NodeSettings(calls_max=50, grace=1.0))


@pytest.fixture
async def node(settings: Settings, host: Host) -> AsyncIterator[Node]:
    async with Node(App("shop", Back, FrontDoor), settings, host=host) as node:
        yield node
    SCRIPTS.clear()
    STREAMS.clear()


@pytest.fixture
def back(node: Node) -> Back:
    return node.client(Back)


def script(handler: Handler) -> str:
    SCRIPTS[handler.__qualname__] = handler
    return handler.__qualname__


def stream(handler: Callable[[Back], AsyncIterator[int]]) -> str:
    STREAMS[handler.__qualname__] = handler
    return handler.__qualname__


async def test_a_fault_arrives_at_once_as_its_own_class(back: Back) -> None:
    async def fail(self: Back) -> None:
        raise OutOfStock("tea", 2)

    with pytest.raises(OutOfStock) as caught:
        await back.run(script(fail))
    assert (caught.value.sku, caught.value.left) == ("tea", 2)


async def test_an_error_stays_inside_under_a_reference(back: Back, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(self: Back) -> None:
        raise ValueError("the password is 123")

    with pytest.raises(Internal) as caught:
        await back.run(script(fail))
    assert "123" not in str(caught.value)
    [record] = [record for record in caplog.records if caught.value.reference in record.getMessage()]
    assert "the password is 123" in str(record.exc_info)


async def test_the_one_fault_of_a_group_of_tasks_arrives_as_itself(back: Back) -> None:
    async def fail(self: Back) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raises(OutOfStock("tea", 2)))

    async def fail_twice(self: Back) -> None:
        raise ExceptionGroup("both", [OutOfStock("tea", 2), OutOfStock("coffee", 0)])

    with pytest.raises(OutOfStock):
        await back.run(script(fail))
    with pytest.raises(Internal):
        await back.run(script(fail_twice))


async def raises(error: Exception) -> None:
    raise error


async def test_an_answer_that_cannot_be_encoded_is_an_internal_error(back: Back) -> None:
    async def fail(self: Back) -> object:
        return object()

    with pytest.raises(Internal):
        await back.run(script(fail))


async def test_a_handler_that_meets_a_cancelled_task_is_answered_too(back: Back) -> None:
    async def fail(self: Back) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.cancel()
        await done

    with pytest.raises(Internal):
        await back.run(script(fail))


async def test_what_does_not_exist_fails_at_once_with_a_suggestion(node: Node) -> None:
    with pytest.raises(Misconfigured, match="no service of the app 'shop' provides"):
        node.client(Parcel)
    caller = node._caller
    operation = next(one for one in node.descriptions if one.name == "back").operations["run"]

    class Renamed(Contract, Protocol, name="back"):
        @rpc
        async def rum(self, script: str) -> object: ...

        @rpc
        async def xyzzy(self) -> None: ...

        @rpc
        async def run(self) -> AsyncIterator[int]:
            yield 1

        @rpc
        async def watch(self, script: str) -> None: ...

    client = cast("Renamed", client_of(describe(Renamed), caller))
    assert operation.address == "back.run"
    with pytest.raises(UnknownOperation, match=r"there is no operation back\.rum; did you mean back\.run\?"):
        await client.rum("x")
    with pytest.raises(UnknownOperation, match=r"back\.xyzzy; it has back\.again, back\.known"):
        await client.xyzzy()
    with pytest.raises(UnknownOperation, match=r"back\.run answers once; await it"):
        await anext(client.run())
    with pytest.raises(UnknownOperation, match=r"back\.watch answers with a stream; iterate over it"):
        await client.watch("x")


async def test_arguments_that_do_not_validate_reach_no_handler(back: Back) -> None:
    with pytest.raises(Invalid, match="/weight"):
        await back.parcel(cast("Any", "heavy"))
    with pytest.raises(TypeError):
        await cast("Any", back).parcel()


async def test_an_answer_that_breaks_the_contract_is_told_so(back: Back) -> None:
    assert await back.parcel(3) == Parcel(weight=3)
    with pytest.raises(BrokenContract, match=r"back\.parcel broke its contract: /weight"):
        await back.parcel(3, label="heavy")


async def test_twenty_calls_at_once_run_at_once(back: Back) -> None:
    gate, running = asyncio.Event(), 0

    async def wait(self: Back) -> None:
        nonlocal running
        running += 1
        if running == 20:
            gate.set()
        await gate.wait()

    name = script(wait)
    await asyncio.gather(*(back.run(name) for _ in range(20)))
    assert running == 20


async def test_a_service_may_be_called_back(back: Back) -> None:
    async def outer(self: Back) -> object:
        return await self.front.ask(script(inner))

    async def inner(self: Back) -> object:
        return await self.front.echo("from A to B to A")

    assert await back.run(script(outer)) == "from A to B to A"


async def test_over_the_limit_calls_are_shed_at_once(back: Back) -> None:
    gate = asyncio.Event()

    async def wait(self: Back) -> None:
        await gate.wait()

    name = script(wait)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(cast("Any", back.run(name)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="the limit of 50 at once is reached"):
            await back.run(name)
        gate.set()


async def test_what_was_let_in_may_call_on_at_the_limit(back: Back) -> None:
    gate, running = asyncio.Event(), 0

    async def outer(self: Back) -> object:
        nonlocal running
        running += 1
        if running == 50:
            gate.set()
        await gate.wait()
        return await self.front.echo("through")

    name = script(outer)
    assert await asyncio.gather(*(back.run(name) for _ in range(50))) == ["through"] * 50


async def test_calls_among_services_have_a_limit_too(back: Back) -> None:
    async def outer(self: Back) -> object:
        calls = asyncio.gather(*(back.run(name) for _ in range(600)), return_exceptions=True)
        await asyncio.sleep(0)
        gate.set()
        results = await calls
        return len([result for result in results if isinstance(result, (Overloaded, Unavailable))])

    async def inner(self: Back) -> None:
        await gate.wait()

    gate, name = asyncio.Event(), script(inner)
    assert await back.run(script(outer)) == 101


async def test_services_that_call_one_another_for_ever_are_answered(back: Back) -> None:
    async def deeper(self: Back) -> object:
        return await back.run(name)

    name = script(deeper)
    with pytest.raises((Internal, Overloaded)):
        await back.run(name)


async def test_a_client_has_the_operations_of_its_contract_only(back: Back) -> None:
    with pytest.raises(AttributeError, match="back has no operation 'rum'; it has run, again, soon"):
        cast("Any", back).rum("x")
    assert {"run", "watch"} <= set(dir(back))
    assert back.run is back.run
    assert not hasattr(back, "__wrapped__")


# Deadlines


@pytest.mark.virtual_time
async def test_a_call_without_an_answer_ends_at_its_deadline(back: Back) -> None:
    cancelled = asyncio.Event()

    async def hang(self: Back) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    loop = asyncio.get_running_loop()
    for call, seconds in ((back.run, 10.0), (back.soon, 2.0), (policy(back, timeout="500ms").soon, 0.5)):
        cancelled.clear()
        start = loop.time()
        with pytest.raises(DeadlineExceeded, match="no answer from back"):
            await call(script(hang))
        assert loop.time() - start == pytest.approx(seconds)
        assert cancelled.is_set()
    assert cast("asyncio.Task[None]", asyncio.current_task()).cancelling() == 0


@pytest.mark.virtual_time
async def test_the_time_left_is_handed_on(back: Back) -> None:
    async def outer(self: Back) -> object:
        await asyncio.sleep(1.5)
        return await self.front.ask(script(inner))

    async def inner(self: Back) -> object:
        return current().time_left()

    assert await back.soon(script(outer)) == pytest.approx(0.5)


@pytest.mark.virtual_time
async def test_who_has_no_time_left_calls_nobody(back: Back) -> None:
    async def stubborn(self: Back) -> object:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(DeadlineExceeded, match=r"front\.echo"):
                await self.front.echo("too late")
            with pytest.raises(DeadlineExceeded, match=r"back\.watch"):
                await anext(back.watch("x"))
            refused.set()
            raise
        return None

    refused = asyncio.Event()
    with pytest.raises(DeadlineExceeded, match=r"back\.soon"):
        await back.soon(script(stubborn))
    assert refused.is_set()


@pytest.mark.virtual_time
async def test_an_inner_deadline_is_a_fault_to_the_outer_handler(back: Back) -> None:
    async def outer(self: Back) -> object:
        with pytest.raises(DeadlineExceeded, match=r"front\.ask"):
            await policy(self.front, timeout="1s").ask(script(hang))
        await asyncio.sleep(1)
        return "went on"

    async def hang(self: Back) -> None:
        await asyncio.Event().wait()

    assert await back.run(script(outer)) == "went on"


@pytest.mark.virtual_time
async def test_what_is_answered_after_a_swallowed_cancellation_comes_too_late(back: Back) -> None:
    async def stubborn(self: Back) -> object:
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    with pytest.raises(DeadlineExceeded):
        await back.soon(script(stubborn))
    task = cast("asyncio.Task[None]", asyncio.current_task())
    assert task.cancelling() == 0, "the caller's own task is as it was"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.Event().wait()


@pytest.mark.virtual_time
async def test_cleaning_up_is_not_interrupted_by_the_deadlines_of_others(back: Back) -> None:
    async def careful(self: Back) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.5)
            cleaned.append("up")

    async def hang(self: Back) -> None:
        await asyncio.Event().wait()

    cleaned: list[str] = []
    first, second = script(careful), script(hang)
    calls = [policy(back, timeout=1.0).run(first), policy(back, timeout=1.2).run(second)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [DeadlineExceeded, DeadlineExceeded]
    assert cleaned == ["up"]


@pytest.mark.virtual_time
async def test_a_caller_that_gives_up_cancels_the_handler(back: Back) -> None:
    async def hang(self: Back) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    ended = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await back.run(script(hang))
    assert ended.is_set()


@pytest.mark.virtual_time
async def test_a_caller_that_gives_up_at_the_deadline_is_cancelled_all_the_same(back: Back) -> None:
    async def hang(self: Back) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await back.soon(script(hang))


# Retries and policies


@pytest.mark.virtual_time
async def test_only_what_is_idempotent_is_tried_again(back: Back) -> None:
    async def flaky(self: Back) -> object:
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable("for a moment")
        return "done"

    tries: list[int] = []
    name = script(flaky)
    assert await back.again(name) == "done"
    for call in (back.run, policy(back, retry=False).again):
        tries.clear()
        with pytest.raises(Unavailable):
            await call(name)
        assert len(tries) == 1
    tries.clear()
    assert await policy(back, retry=True).run(name) == "done"


async def test_policies_add_up(back: Back) -> None:
    client = policy(policy(back, timeout="1s", idempotency_key="k"), retry=False)
    assert repr(client) == "<client of back 1>"
    wiring = cast("Any", client).__hanse_wiring__[2]
    assert (wiring.timeout, wiring.retry, wiring.idempotency_key) == (1.0, False, "k")


def test_a_policy_leaves_what_is_no_client_alone() -> None:
    service = Back(front=cast("Any", None))
    assert policy(service, timeout="1s") is service


async def test_a_send_does_not_wait(back: Back) -> None:
    async def handle(self: Back) -> None:
        await gate.wait()
        done.set()

    gate, done = asyncio.Event(), asyncio.Event()
    await send(back.run, script(handle))
    gate.set()
    await done.wait()


async def test_what_becomes_of_a_send_is_logged(back: Back, caplog: pytest.LogCaptureFixture, node: Node) -> None:
    async def fail(self: Back) -> None:
        raise OutOfStock("tea", 0)

    with caplog.at_level(logging.ERROR, "hanse.node"):
        await send(back.run, script(fail))
        while not caplog.records:  # noqa: ASYNC110 - a log record sets no event
            await asyncio.sleep(0)
    assert "OutOfStock" in str(caplog.records[-1].exc_info)


async def test_sending_to_what_is_no_client_awaits_it() -> None:
    async def fake(text: str) -> None:
        heard.append(text)

    heard: list[str] = []
    await send(fake, "hello")
    assert heard == ["hello"]


# Guards


async def test_guards_hold_for_calls_from_within(node: Node, back: Back) -> None:
    async def write(self: Back) -> None:
        await back.write()

    for identity, fault in ((Identity(), Unauthenticated), (Identity("ada"), Forbidden)):
        with node.context(Headers(identity=identity)):
            with pytest.raises(fault):
                await back.write()
            with pytest.raises(fault):
                await back.run(script(write))
    with node.context(Headers(identity=Identity("ada", scopes=frozenset({"stock:write"})))):
        await back.run(script(write))
        assert await back.known() == "ada"


async def test_a_refusal_says_what_is_needed(node: Node, back: Back) -> None:
    with (
        node.context(Headers(identity=Identity("ada"))),
        pytest.raises(Forbidden, match=r"back\.write needs the scope"),
    ):
        await back.write()


# Streams


async def test_a_stream_is_no_faster_than_its_reader(back: Back) -> None:
    async def count(self: Back) -> AsyncIterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    made: list[int] = []
    async with closing(back.watch(stream(count))) as items:
        assert [await anext(items) for _ in range(3)] == made == [0, 1, 2]


async def test_a_stream_that_is_left_early_runs_the_handlers_finally_in_its_context(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(current().operation)

    ended: list[str] = []
    async with closing(back.watch(stream(watch))) as items:
        assert await anext(items) == 1
    assert ended == ["back.watch"]


async def test_a_fault_in_the_middle_of_a_stream_arrives_after_the_items(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        yield 1
        raise OutOfStock("tea", 0)

    items = back.watch(stream(watch))
    assert await anext(items) == 1
    with pytest.raises(OutOfStock):
        await anext(items)


async def test_an_error_in_a_stream_stays_inside(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        yield 1
        raise ValueError("secret")

    with pytest.raises(Internal):
        assert [item async for item in back.watch(stream(watch))] == []


async def test_an_item_that_breaks_the_contract_is_told_so(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        yield cast("Any", "one")

    with pytest.raises(BrokenContract, match=r"back\.watch broke its contract"):
        await anext(back.watch(stream(watch)))


async def test_a_stream_ends(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        yield 1
        yield 2

    assert [item async for item in back.watch(stream(watch))] == [1, 2]


@pytest.mark.virtual_time
async def test_a_stream_ends_at_the_deadline_that_its_reader_set(back: Back) -> None:
    async def tick(self: Back) -> AsyncIterator[int]:
        for number in range(100):
            await asyncio.sleep(1)
            yield number

    async def burst(self: Back) -> AsyncIterator[int]:
        while True:
            yield 1

    async def times_out(self: Back) -> AsyncIterator[int]:
        raise TimeoutError
        yield 1

    seen: list[int] = []
    with pytest.raises(DeadlineExceeded, match=r"back\.watch"):  # noqa: PT012 - what came before it is the point
        async for item in policy(back, timeout="3500ms").watch(stream(tick)):
            seen.append(item)  # noqa: PERF401
    assert seen == [0, 1, 2]
    items = policy(back, timeout="1s").watch(stream(burst))
    assert await anext(items) == 1
    await asyncio.sleep(2)
    with pytest.raises(DeadlineExceeded):
        await anext(items)
    with pytest.raises(Internal):
        await anext(policy(back, timeout="1s").watch(stream(times_out)))


async def test_streams_end_with_the_node(settings: Settings, host: Host) -> None:
    async def silent(self: Back) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def read(items: AsyncIterator[int]) -> None:
        with pytest.raises(Unavailable, match="this node is stopping; go on elsewhere"):
            await anext(items)

    node = Node(App("shop", Back, FrontDoor), settings, host=host)
    await node.start()
    reading, idle = (node.client(Back).watch(stream(silent)) for _ in range(2))
    assert (await anext(reading), await anext(idle)) == (1, 1)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(read(reading))
        await asyncio.sleep(0)
        await node.stop()
        await task
    with pytest.raises(Unavailable):
        await anext(idle)
    STREAMS.clear()
