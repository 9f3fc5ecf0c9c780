"""Events and changes, from the handler that tells of them to the one that hears: once in effect, in order per key."""

import asyncio
import shutil
from collections.abc import Awaitable
from pathlib import Path
from typing import ClassVar

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.delivery.deadletter import DEAD_LETTERS, letter_in
from hanse.delivery.outbox import message_of, taken
from hanse.kernel.context import current
from hanse.kernel.faults import Fault, Misconfigured, Misdeclared, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.change import Change, Created, Deleted, Updated
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.service import Service
from hanse.store.query import Query
from hanse.transport.memory import MemoryTransport


class Order(Resource):
    sku: str
    status: str = "new"


class Placed(Event):
    order_id: str
    number: int = 0


class Unlisted(Event):
    order_id: str


class Broken(Fault):
    """The printer is broken."""


class Receipt(Resource):
    order_id: str


class Shop(Service, events=(Placed,)):
    orders: Collection[Order]

    @rpc
    async def place(self, sku: str) -> Order:
        order = await self.orders.create(Order(sku=sku))
        await self.emit(Placed(order_id=order.id))
        if sku == "nothing":
            raise Broken
        return order

    @rpc
    async def burst(self, keys: int, numbers: int) -> None:
        for number in range(numbers):
            await self.emit(*(Placed(order_id=str(key), number=number) for key in range(keys)))

    @rpc
    async def wrong(self) -> None:
        await self.emit(Unlisted(order_id="1"))


class Mailer(Service):
    receipts: Collection[Receipt]

    @on(Placed, key=lambda event: event.order_id, attempts=3)
    async def receipt(self, event: Placed) -> None:
        TRIES.append((event.order_id, event.number))
        await self.receipts.create(Receipt(order_id=event.order_id))
        name = "0" if event.order_id == "0" else "order"
        if TROUBLE.get(name, 0) > 0:
            TROUBLE[name] -= 1
            raise Broken
        SEEN.append((event.order_id, event.number))
        TAGS.append(current().tags)


class Watcher(Service):
    @on(Order)
    async def changed(self, change: Change[Order]) -> None:
        match change:
            case Created(after=order):
                CHANGES.append(f"+{order.status}")
            case Updated(before=old, after=new):
                CHANGES.append(f"{old.status}>{new.status}")
            case Deleted(before=order):
                CHANGES.append(f"-{order.status}")


TRIES: list[tuple[str, int]] = []
SEEN: list[tuple[str, int]] = []
TAGS: list[dict[str, str]] = []
CHANGES: list[str] = []
TROUBLE: dict[str, int] = {}
APP = App("shop", Shop, Mailer, Watcher)


@pytest.fixture(autouse=True)
def _forget() -> None:
    TROUBLE.clear()
    for noted in (TRIES, SEEN, TAGS, CHANGES):
        noted.clear()


async def settled(node: Node) -> None:
    async with asyncio.timeout(60):
        await node.settle()


async def receipts(node: Node) -> int:
    return await node.collection(Receipt).count()


async def test_marks_that_go_before_a_message_is_tried_for_the_last_time_are_refused() -> None:
    with pytest.raises(Misconfigured, match=r"a message of mailer\.receipt may be tried for 270 s"):
        await Node(APP, Settings(node=NodeSettings(retention=60.0))).start()


async def test_an_event_that_the_service_does_not_list_is_refused() -> None:
    async with Node(APP) as node:
        shop = node.hosted[0].instance
        with pytest.raises(Misdeclared, match=r"Shop tells of Unlisted, which its `events` do not list; add it"):
            await shop.emit(Unlisted(order_id="1"))


async def test_a_handler_that_failed_told_nobody() -> None:
    async with Node(APP) as node:
        with pytest.raises(Broken):
            await node.client(Shop).place("nothing")
        await settled(node)
    assert (TRIES, CHANGES) == ([], [])


async def test_events_and_changes_are_heard_with_their_story() -> None:
    async with Node(APP) as node:
        with node.context() as context:
            context.tag(booking_ref="ABC123")
            order = await node.client(Shop).place("tea")
        await node.collection(Order).patch(order.id, status="paid")
        await node.collection(Order).delete(order.id)
        await settled(node)
        assert (SEEN, await receipts(node)) == ([(order.id, 0)], 1)
    assert TAGS == [{"booking_ref": "ABC123"}]
    assert CHANGES == ["+new", "new>paid", "-paid"]


async def test_events_of_one_key_are_handled_in_order() -> None:
    async with Node(APP) as node:
        await node.client(Shop).burst(4, 25)
        await settled(node)
    for key in "0123":
        assert [number for order, number in SEEN if order == key] == list(range(25))


@pytest.mark.virtual_time
async def test_a_handler_that_fails_is_tried_again_and_takes_effect_once(host: Host) -> None:
    TROUBLE["order"] = 2
    async with Node(APP, host=host) as node:
        order = await node.client(Shop).place("tea")
        await settled(node)
        assert (len(TRIES), SEEN, await receipts(node)) == (3, [(order.id, 0)], 1)


@pytest.mark.virtual_time
async def test_one_that_keeps_failing_is_parked_and_its_key_waits_behind_it(host: Host) -> None:
    TROUBLE["0"] = 3
    async with Node(APP, host=host) as node:
        await node.client(Shop).burst(1, 2)
        await node.client(Shop).place("tea")
        await settled(node)
        found = await node.hosted[1].store.find(DEAD_LETTERS, Query(limit=10))
        failed, waiting = sorted(map(letter_in, found.rows), key=lambda letter: letter.waits_for)
        assert (failed.group, failed.code, failed.attempts, failed.key) == ("mailer.receipt", "broken", 3, "0")
        assert (waiting.waits_for, waiting.key) == (failed.id, "0")
        assert len(SEEN) == await receipts(node) == 1, "another key goes on"


async def test_what_was_not_handled_before_a_stop_is_handled_after_the_next_start(tmp_path: Path) -> None:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}", grace=1.0))
    async with Node(App("shop", Shop), settings) as node:
        order = await node.client(Shop).place("tea")
    for _ in range(2):
        async with Node(APP, settings) as node:
            await settled(node)
            assert (SEEN, await receipts(node)) == ([(order.id, 0)], 1)
    assert CHANGES == ["+new"]


class Counting(MemoryTransport):
    """Notes the ids of the messages that are delivered to subscribers."""

    def __init__(self) -> None:
        super().__init__()
        self.delivered: list[str] = []

    def request(self, message: Message, /) -> Awaitable[Message]:
        if message.kind is Kind.EVENT:
            self.delivered.append(message.id)
        return super().request(message)


async def test_a_restart_under_load_repeats_nothing(tmp_path: Path) -> None:
    settings, transport = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}")), Counting()
    for _ in range(3):
        async with Node(APP, settings, transport=transport) as node:
            await node.client(Shop).burst(keys=7, numbers=3)
    async with Node(APP, settings, transport=transport) as node:
        await settled(node)
        assert await receipts(node) == len(TRIES) == 3 * 7 * 3
    assert len(transport.delivered) == len(set(transport.delivered)) > 0


async def test_what_has_settled_is_not_repeated_after_a_crash(tmp_path: Path) -> None:
    settings, transport = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}")), Counting()
    async with Node(APP, settings, transport=transport) as node:
        await node.client(Shop).burst(keys=2, numbers=1)
        await settled(node)
        # What a crash would leave: the file, as it is now.
        left = tmp_path.parent / f"{tmp_path.name}-left"
        _ = shutil.copytree(tmp_path, left)
    before = len(transport.delivered)
    crashed = Settings(node=NodeSettings(store=f"sqlite:///{left}"))
    async with Node(APP, crashed, transport=transport) as node:
        await settled(node)
    assert (len(transport.delivered), before) == (before, len(set(transport.delivered)))


async def test_a_message_delivered_twice_takes_effect_once() -> None:
    async with Node(APP) as node:
        await node.client(Shop).place("tea")
        await settled(node)
        relay = next(relay for relay in node.hosted[0].relays if relay.name == "mailer.receipt")
        [topic] = relay._topics.values()
        entries = (await node.hosted[0].store.changes(0, limit=10, names=["placed"])).entries
        await relay.courier._deliver(message_of(taken(entries[0], topic), 10.0))
        assert (len(TRIES), await receipts(node)) == (1, 1)


async def test_nothing_settles_on_a_node_that_is_stopped() -> None:
    node = Node(APP)
    await node.start()
    await node.hosted[0].relays[0].stop(0.0)
    await node.client(Shop).place("tea")
    with pytest.raises(Unavailable, match="has stopped"):
        await node.settle()
    await node.stop(grace=0.1)


class Flood(Service, events=(Placed,)):
    @rpc
    async def tell(self, many: int) -> None:
        await self.emit(*[Placed(order_id=str(number)) for number in range(many)])


class Dam(Service):
    opened: ClassVar[asyncio.Event]
    heard: ClassVar[int] = 0

    @on(Placed)
    async def hear(self, event: Placed) -> None:
        del event
        _ = await Dam.opened.wait()
        Dam.heard += 1


@pytest.mark.virtual_time
async def test_a_backlog_alone_keeps_within_the_limit_of_its_node(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    Dam.opened, Dam.heard = asyncio.Event(), 0
    async with Node(App("dam", Flood, Dam), host=host) as node:
        await node.client(Flood).tell(3_000)
        await asyncio.sleep(1)
        Dam.opened.set()
        await node.settle()
    assert Dam.heard == 3_000
    assert "cannot deliver" not in caplog.text
