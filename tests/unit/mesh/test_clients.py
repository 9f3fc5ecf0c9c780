"""Retries, policies, notes without an answer, and guards."""

import asyncio
import logging
import random  # noqa: TID251 - the host of a test draws from a seed
from typing import Any, cast

import pytest

from hanse.kernel.faults import (
    Forbidden,
    Unauthenticated,
    Unavailable,
)
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import Caller, policy, send
from hanse.node.app import App
from hanse.node.node import Node
from hanse.transport.memory import MemoryTransport

from .back import Back, FrontDoor, OutOfStock, script


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


def seeded(seed: int) -> Host:
    clock, chance = asyncio.get_running_loop().time, random.Random(seed)
    return Host("test", now=lambda: 1e9 + clock(), monotonic=clock, chance=chance, entropy=chance.randbytes)


@pytest.mark.virtual_time
async def test_a_call_from_outside_any_handler_draws_from_the_host_of_its_node() -> None:
    """Or two runs of one seed would wait differently before they try again."""

    async def flaky(self: Back) -> object:
        tries.append(1)
        if len(tries) % 3:
            raise Unavailable("for a moment")
        return None

    async def took(seed: int) -> float:
        loop = asyncio.get_running_loop()
        async with Node(App("shop", Back, FrontDoor), host=seeded(seed)) as node:
            start = loop.time()
            await node.client(Back).again(script(flaky))
            return round(loop.time() - start, 9)

    tries: list[int] = []
    assert await took(1) == await took(1) != await took(2)


async def test_ids_of_messages_are_those_of_one_node_alone() -> None:
    """Machines that start in the same millisecond have only their draws to be told apart by."""
    hosts = [Host.fixed(wall=1_700_000_000.0, seed=seed) for seed in range(1_000)]
    callers = [Caller(MemoryTransport(), host, Tasks(print), timeout=1.0) for host in hosts]
    ids = [caller.next_id() for caller in callers for _ in range(2)]
    assert len(set(ids)) == len(ids)
