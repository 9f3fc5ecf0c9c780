"""Calls between services on one node: concurrent, re-entrant, ended at their deadline, answered whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

import pytest

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import describe
from hanse.kernel.context import current
from hanse.kernel.faults import (
    BrokenContract,
    Internal,
    Invalid,
    Misconfigured,
    Overloaded,
    UnknownOperation,
)
from hanse.kernel.message import BACKGROUND, Headers
from hanse.mesh.client import client_of
from hanse.node.node import Node

from .back import Back, OutOfStock, Parcel, script


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


async def test_near_the_limit_what_nobody_waits_for_is_shed_first(node: Node, back: Back) -> None:
    gate = asyncio.Event()

    async def wait(self: Back) -> None:
        await gate.wait()

    async def unattended(self: Back) -> object:
        current().background()
        return await self.front.echo("through")

    async def echo(self: Back) -> object:
        return "through"

    name = script(wait)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(40):
            tasks.create_task(cast("Any", back.run(name)))
        await asyncio.sleep(0)
        with (
            node.context(Headers(priority=BACKGROUND)),
            pytest.raises(Overloaded, match="of 50 at once; from 80% of it"),
        ):
            await back.run(script(echo))
        # What somebody waits for is let in; and so is what was begun, whoever waits for it.
        assert await back.run(script(echo)) == "through"
        assert await back.run(script(unattended)) == "through"
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
        return len([result for result in results if isinstance(result, Overloaded)])

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
