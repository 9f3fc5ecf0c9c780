"""A call with an idempotency key is executed once, and a repeat gets the first answer."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Resource
from hanse.kernel.codec import canonical, codec_for, encode
from hanse.kernel.faults import AnswerLost, Conflict, DeadlineExceeded, Fault, Internal, Invalid, KeyReused
from hanse.kernel.message import Headers, Identity, Kind, Message
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.rows import Written
from hanse.service.service import Service
from hanse.store.base import Batch, Mark
from hanse.transport.memory import MemoryTransport


class Payment(Resource):
    amount: int


class Declined(Fault):
    """The bank said no."""


class Till(Service):
    payments: Collection[Payment]

    @rpc
    async def charge(self, amount: int) -> Payment:
        if EVENTS:
            EVENTS["arrived"].set()
            await EVENTS["gate"].wait()
        if amount > 100:
            raise Declined
        return await self.payments.create(Payment(amount=amount))

    @rpc
    async def charge_stubbornly(self, amount: int) -> Payment:
        if EVENTS:
            with suppress(asyncio.CancelledError):
                await EVENTS["gate"].wait()
        return await self.payments.create(Payment(amount=amount))

    @rpc
    async def charge_at(self, amount: int, at: datetime) -> list[datetime]:
        await self.payments.create(Payment(amount=amount))
        return [at]

    @rpc
    async def charge_oddly(self, amount: int) -> object:
        await self.payments.create(Payment(amount=amount))
        return object()

    @rpc
    async def sum(self, numbers: set[int]) -> int:
        CALLS.append(sum(numbers))
        return CALLS[-1]

    @rpc
    async def count(self, amount: int) -> int:
        CALLS.append(amount)
        return len(CALLS)


EVENTS: dict[str, asyncio.Event] = {}
CALLS: list[int] = []


@pytest.fixture(params=["memory", "sqlite"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    EVENTS.clear()
    CALLS.clear()
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}"
    async with Node(App("shop", Till), Settings(node=NodeSettings(store=url))) as node:
        yield node


def digest_of(arguments: object) -> bytes:
    return hashlib.sha256(canonical(arguments)).digest()


def keyed(node: Node, key: str = "k", *, retry: bool | None = False) -> Till:
    return policy(node.client(Till), idempotency_key=key, retry=retry)


async def test_a_repeat_gets_the_first_answer(node: Node) -> None:
    first = await keyed(node).charge(5)
    assert first.rev > 0
    assert await keyed(node).charge(5) == first
    assert await keyed(node, "other").charge(5) != first
    assert await node.collection(Payment).count() == 2


async def test_an_answer_with_a_moment_is_given_again_as_it_was(node: Node) -> None:
    till = policy(node.client(Till), idempotency_key="k1")
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    answers = [await till.charge_at(5, at) for _ in range(2)]
    assert [answer.isoformat() for [answer] in answers] == ["2026-01-01T12:00:00+02:00"] * 2
    assert await node.collection(Payment).count() == 1


async def test_another_request_under_the_same_key_is_refused(node: Node) -> None:
    await keyed(node).charge(5)
    with pytest.raises(Invalid, match="the idempotency key 'k' was used for another request; take a new key"):
        await keyed(node).charge(6)


async def test_what_failed_may_be_tried_again_under_its_key(node: Node) -> None:
    with pytest.raises(Declined):
        await keyed(node).charge(500)
    assert (await keyed(node).charge(5)).amount == 5


async def test_a_call_under_way_is_not_executed_beside_itself(node: Node) -> None:
    EVENTS.update(arrived=asyncio.Event(), gate=asyncio.Event())
    first = asyncio.gather(keyed(node).charge(5))
    await EVENTS["arrived"].wait()
    with pytest.raises(Conflict, match="'k' is under way; ask again in a moment"):
        await keyed(node).charge(5)
    EVENTS["gate"].set()
    [payment] = await first
    assert await keyed(node).charge(5) == payment


async def test_a_call_that_another_instance_was_first_with_has_no_effect(node: Node) -> None:
    EVENTS.update(arrived=asyncio.Event(), gate=asyncio.Event())
    call = asyncio.gather(keyed(node).charge(5))
    await EVENTS["arrived"].wait()
    mark = Mark("key/till.charge", "k", digest_of({"amount": 5}), encode(Payment(id="7", amount=5)))
    await node.hosted[0].store.commit(Batch(0.0, marks=(mark,)))
    EVENTS["gate"].set()
    assert [payment.id for payment in await call] == ["7"]
    assert await node.collection(Payment).count() == 0


async def test_an_answer_that_was_not_kept_is_not_made_up(node: Node) -> None:
    mark = Mark("key/till.count", "lost", digest_of({"amount": 1}))
    await node.hosted[0].store.commit(Batch(0.0, marks=(mark,)))
    with pytest.raises(AnswerLost, match="'lost' took effect, but its answer was not kept"):
        await keyed(node, "lost").count(1)
    assert CALLS == []


async def test_the_answer_is_committed_with_its_effects(node: Node) -> None:
    payment = await keyed(node).charge(5)
    written = await policy(node.rows(Payment), idempotency_key="k").patch(payment.id, b'{"amount": 6}')

    store = node.hosted[0].store
    charged, patched = await store.marked("key/till.charge", "k"), await store.marked("key/rows/payments.patch", "k")
    assert charged is not None
    assert patched is not None
    assert codec_for(Payment).decode(charged.result) == payment
    assert codec_for(Written).decode(patched.result) == written
    assert written.rev > payment.rev > 0


async def test_a_row_that_is_deleted_under_a_key_is_gone_once(node: Node) -> None:
    payment = await keyed(node).charge(5)
    rows = policy(node.rows(Payment), idempotency_key="gone")
    await rows.delete(payment.id)
    await rows.delete(payment.id)
    with pytest.raises(KeyReused):
        await rows.delete("another")


async def test_rows_that_are_made_together_are_made_once(node: Node) -> None:
    rows = policy(node.rows(Payment), idempotency_key="k")
    first = await rows.create_many([b'{"amount": 1}', b'{"amount": 2}'])
    assert await rows.create_many([b'{"amount": 1}', b'{"amount": 2}']) == first
    assert len({row.rev for row in first}) == 2
    assert await node.collection(Payment).count() == 2


async def test_a_key_is_its_callers_own(node: Node) -> None:
    transport = MemoryTransport()
    transport.listen("till", node._server)
    for subject, tenant in (("", ""), ("anna", ""), ("bob", ""), ("anna", "x"), ("x/anna", "")):
        headers = Headers(idempotency_key="k", identity=Identity(subject=subject, tenant=tenant))
        for amount in (5, 5):
            reply = await transport.request(
                Message(Kind.CALL, "1", "till.charge", 10.0, headers, encode({"amount": amount}))
            )
            assert reply.kind is Kind.REPLY
    assert await node.collection(Payment).count() == 5


async def test_a_first_answer_survives_a_restart(tmp_path: Path) -> None:
    EVENTS.clear()
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}"))
    async with Node(App("shop", Till), settings) as node:
        first = await keyed(node).charge(5)
    async with Node(App("shop", Till), settings) as node:
        assert await keyed(node).charge(5) == first


async def test_a_call_that_writes_nothing_is_executed_once_too(node: Node) -> None:
    assert [await keyed(node).count(1), await keyed(node, retry=None).count(1), CALLS] == [1, 1, [1]]


async def test_rows_are_written_once_under_a_key(node: Node) -> None:
    rows = policy(node.rows(Payment), idempotency_key="k")
    first = await rows.create(b'{"amount": 5}')
    assert await rows.create(b'{"amount": 5}') == first
    assert await node.collection(Payment).count() == 1


async def test_a_call_that_ends_after_its_deadline_may_be_tried_again_under_its_key(node: Node) -> None:
    EVENTS.update(arrived=asyncio.Event(), gate=asyncio.Event())
    with pytest.raises(DeadlineExceeded):
        await policy(node.client(Till), idempotency_key="k", timeout="20ms").charge_stubbornly(5)
    EVENTS.clear()
    assert await node.collection(Payment).count() == 0
    assert (await keyed(node).charge_stubbornly(5)).amount == 5
    assert await node.collection(Payment).count() == 1


@pytest.mark.parametrize("again", [[8, 0], [0, 8]])
async def test_a_set_is_the_same_request_in_whatever_order_it_comes(node: Node, again: list[int]) -> None:
    """The order in which a set is sent is chance: another process, or another way to make it, has another."""
    transport = MemoryTransport()
    address, body = "till.sum", {"numbers": [0, 8]}
    headers = Headers(idempotency_key="k")
    first = Message(Kind.CALL, "1", address, 10.0, headers, encode(body))
    repeat = Message(Kind.CALL, "2", address, 10.0, headers, encode({"numbers": again}))
    transport.listen("till", node._server)
    assert (await transport.request(first)).kind is Kind.REPLY
    assert (await transport.request(repeat)).kind is Kind.REPLY
    assert CALLS == [8]


async def test_a_call_whose_answer_cannot_be_told_has_written_nothing(node: Node) -> None:
    with pytest.raises(Internal):
        await keyed(node).charge_oddly(5)
    assert await node.collection(Payment).count() == 0
