"""Sagas of a service as another one sees them, for those who may."""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from hanse.contract.declare import rpc
from hanse.delivery.saga_machine import SagaStuck
from hanse.kernel.context import current
from hanse.kernel.faults import Conflict, Fault, Forbidden, Malformed, Misconfigured, Misdeclared, NotFound
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.mesh.client import policy
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.saga_runs import STEPS_SHOWN_MAX, SagaLine, SagaRuns, SagaSelection, SagaShown, sagas_of
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service

pytestmark = pytest.mark.virtual_time

ADA = Headers(identity=Identity("ada", "acme", frozenset({"sagas:write"})))
EVE = Headers(identity=Identity("eve", scopes=frozenset({"sagas:read"})))
BOB = Headers(identity=Identity("bob"))


class Trouble:
    now: ClassVar[set[str]] = set()


class Orders(Service):
    @rpc
    @saga(timeout="1d")
    async def place(self, s: Saga, sku: str) -> str:
        current().tag(sku=sku)
        _ = await s.step(self._take, sku).undo(self._put_back)
        return await s.step(self._send, sku)

    @rpc
    @saga
    async def much(self, s: Saga, count: int) -> None:
        for _ in range(count):
            _ = await s.now()

    async def _take(self, sku: str) -> str:
        return sku

    async def _put_back(self, sku: str) -> None:
        """Nothing is left of it."""

    async def _send(self, sku: str) -> str:
        if sku in Trouble.now:
            raise KeyError(sku)
        return sku


class Office(Service):
    runs: SagaRuns = sagas_of(Orders)

    @rpc
    async def stuck(self) -> list[str]:
        return [line.tags["sku"] for line in (await self.runs.find(SagaSelection(states=("stuck",)))).items]

    @rpc
    async def mend(self, id: str) -> SagaLine:
        return await self.runs.resume(id)


@pytest.fixture
async def node(host: Host) -> AsyncIterator[Node]:
    Trouble.now = {"ink"}
    async with Node(App("shop", Orders, Office), host=host) as node:
        orders = policy(node.client(Orders), timeout="1h")
        with node.context(BOB):
            for sku in ("tea", "rum"):
                _ = await orders.place(sku)
                await asyncio.sleep(10.0)
            with pytest.raises(SagaStuck):
                _ = await orders.place("ink")
        yield node


async def ended(node: Node, id: str) -> SagaShown:
    """A saga, once it has had time to end."""
    await asyncio.sleep(60.0)
    return await node.sagas("orders").get(id)


async def stuck_one(node: Node) -> SagaLine:
    [line] = (await node.sagas("orders").find(SagaSelection(states=("stuck",)))).items
    return line


async def test_they_are_listed_page_by_page_by_what_one_looks_for(node: Node) -> None:
    runs = node.sagas("orders")
    with node.context(EVE):
        first = await runs.find(SagaSelection(), limit=2)
        second = await runs.find(SagaSelection(), limit=2, cursor=first.next)
        third = first.items[0].started_at
        counts = [
            await runs.count(which)
            for which in (
                SagaSelection(states=("done",)),
                SagaSelection(tags={"sku": "rum"}),
                SagaSelection(name="orders.much"),
                SagaSelection(begun_before=third, states=("done", "stuck")),
            )
        ]

        assert [line.tags["sku"] for line in (*first.items, *second.items)] == ["ink", "rum", "tea"]
        assert (second.next, counts) == (None, [2, 1, 0, 2])
        with pytest.raises(Malformed):
            _ = await runs.find(SagaSelection(name="orders.place"), cursor=first.next)


async def test_one_is_shown_with_what_it_did_and_why_it_is_stuck(node: Node) -> None:
    with node.context(EVE):
        line = await stuck_one(node)
        shown = await node.sagas("orders").get(line.id)
        with pytest.raises(NotFound):
            _ = await node.sagas("orders").get("nothing")

    assert (line.step, line.why) == ("send", "KeyError: 'ink'")
    assert (shown.stuck_in, shown.arguments, shown.result) == ("running", '{"sku":"ink"}', "")
    assert (shown.subject, [step.name for step in shown.steps], shown.left_out) == ("bob", ["take"], 0)


async def test_of_a_long_one_the_last_steps_are_shown(node: Node) -> None:
    with node.context(EVE):
        await policy(node.client(Orders), timeout="1h").much(STEPS_SHOWN_MAX + 5)
        [line] = (await node.sagas("orders").find(SagaSelection(name="orders.much"))).items
        shown = await node.sagas("orders").get(line.id)

    assert (len(shown.steps), shown.left_out) == (STEPS_SHOWN_MAX, 5)
    assert shown.steps[-1].name == f"now#{STEPS_SHOWN_MAX + 5}"


async def test_one_that_is_stuck_goes_on_and_the_journal_tells_who_wanted_that(node: Node) -> None:
    Trouble.now = set()
    with node.context(ADA):
        line = await stuck_one(node)
        assert (await node.client(Office).mend(line.id)).state == "running"
        shown = await ended(node, line.id)
        with pytest.raises(Conflict, match="only one that is stuck"):
            _ = await node.sagas("orders").resume(line.id)

    assert (shown.line.state, [step.by for step in shown.steps if step.kind == "resume"]) == ("done", ["acme/ada"])
    assert shown.result == '"ink"'


async def test_one_turns_back(node: Node) -> None:
    with node.context(ADA):
        line = await stuck_one(node)
        _ = await node.sagas("orders").abort(line.id)
        Trouble.now = set()
        shown = await ended(node, line.id)
        with pytest.raises(Conflict, match="is undone already"):
            _ = await node.sagas("orders").abort(line.id)

    assert (shown.line.state, [step.by for step in shown.steps if step.kind == "abort"]) == ("undone", ["acme/ada"])


async def test_the_scopes_are_asked_of_whoever_asked_the_office(node: Node) -> None:
    with node.context(EVE):
        assert await node.client(Office).stuck() == ["ink"]
        with pytest.raises(Forbidden, match="sagas:write"):
            _ = await node.client(Office).mend("any")
    with node.context(BOB), pytest.raises(Fault, match="sagas:read"):
        _ = await node.client(Office).stuck()


async def test_a_service_without_sagas_has_none_to_show(node: Node) -> None:
    with pytest.raises(Misdeclared, match=r"sagas_of\(Office\) has nothing to show"):
        _ = sagas_of(Office)
    with pytest.raises(Misconfigured, match=r"got 'office'; the app 'shop' has \['orders'\]"):
        _ = node.sagas("office")
