"""Events that a broker keeps: who tells and who hears know the topic, and nothing else of each other."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.transport.keeping import Keeping, Medium

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.delivery.action import Selection
from hanse.kernel.context import current
from hanse.kernel.faults import Misconfigured, TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import EVENT, Headers, Identity, Message
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.change import Change, Created
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.service import Service
from hanse.transport.memory import MemoryTransport

OPERATOR = Headers(identity=Identity("ada", scopes=frozenset({"deadletters:write"})))
LOOKS_MAX = 20_000
BROKER = Settings(node=NodeSettings(events="broker"))


class Order(Resource):
    sku: str


class Placed(Event):
    order_id: str
    number: int = 0


class Receipt(Resource):
    order_id: str
    number: int


class Sent(Event):
    order_id: str


class Shop(Service, events=(Placed,)):
    orders: Collection[Order]

    @rpc
    async def place(self, sku: str) -> str:
        order = await self.orders.create(Order(sku=sku))
        await self.emit(Placed(order_id=order.id))
        return order.id

    @rpc
    async def burst(self, keys: int, numbers: int) -> None:
        for number in range(numbers):
            await self.emit(*(Placed(order_id=str(key), number=number) for key in range(keys)))

    @rpc
    async def tell(self, order_ids: list[str]) -> None:
        await self.emit(*(Placed(order_id=id, number=number) for number, id in enumerate(order_ids)))


class Mailer(Service, events=(Sent,)):
    receipts: Collection[Receipt]
    fails: int = 0

    @on(Placed, key=lambda event: event.order_id)
    async def receipt(self, event: Placed) -> None:
        if self.fails:
            self.fails -= 1
            raise Unavailable("the printer is out of paper")
        await self.receipts.create(Receipt(order_id=event.order_id, number=event.number))
        await self.emit(Sent(order_id=event.order_id))


class Tally(Resource):
    order_id: str


class Counter(Service):
    tallies: Collection[Tally]

    @on(Sent)
    async def count(self, event: Sent) -> None:
        assert current().headers.causation_id
        await self.tallies.create(Tally(order_id=event.order_id))

    @on(Order)
    async def note(self, change: Change[Order]) -> None:
        assert isinstance(change, Created)
        await self.tallies.create(Tally(order_id=change.after.id))


ALL = App("shop", Shop, Mailer, Counter)


def node_of(app: App, medium: Medium, *, settings: Settings = BROKER, host: Host | None = None) -> Node:
    return Node(app, settings, transport=Keeping(medium), host=host)


async def numbers(node: Node) -> dict[str, list[int]]:
    """Of the receipts, by order, as they were written."""
    found: dict[str, list[int]] = {}
    receipts = node.collection(Receipt)
    for receipt in sorted((await receipts.find(limit=1000)).items, key=lambda one: one.rev):
        found.setdefault(receipt.order_id, []).append(receipt.number)
    return found


async def settled(node: Node) -> None:
    async with asyncio.timeout(600.0):
        await node.settle()


async def test_one_node_tells_and_hears() -> None:
    async with node_of(ALL, Medium()) as node:
        await node.client(Shop).burst(keys=3, numbers=4)
        await settled(node)
        assert await numbers(node) == {str(key): [0, 1, 2, 3] for key in range(3)}
        # What the first led to was told, kept and heard as well, before all had settled.
        assert await node.collection(Tally).count() == 3 * 4


class Narrow(Keeping):
    """Keeps events that it cannot carry to whoever wants them."""

    carries = 700

    async def request(self, message: Message, /) -> Message:
        if message.kind is EVENT and len(message.body) > self.carries:
            raise TooLarge(f"the message to {message.address}", f"{self.carries} bytes")
        return await super().request(message)


async def test_one_that_is_kept_and_cannot_be_carried_is_parked_and_replayed_when_it_can() -> None:
    transport = Narrow(Medium())
    async with Node(ALL, BROKER, transport=transport) as node:
        orders = ("1", "2" * 700, "3")
        await node.client(Shop).tell([*orders, orders[1]])
        await settled(node)
        assert await numbers(node) == {"1": [0], "3": [2]}
        with node.context(OPERATOR):
            letters = node.letters("mailer")
            failed, waiting = (await letters.find(Selection())).items
            assert (failed.code, failed.group, waiting.waits_for) == ("too_large", "mailer.receipt", failed.id)
            assert failed.text == "the message to on/mailer.receipt.handle is over its limit of 700 bytes"
            _ = await letters.replay(Selection())
            for _ in range(LOOKS_MAX):
                if not await letters.count(Selection()):
                    break
                await asyncio.sleep(0.001)
        assert (await numbers(node))[orders[1]] == [1, 3]


async def test_code_bases_that_share_nothing_but_a_topic_hear_of_each_other() -> None:
    medium = Medium()
    async with node_of(App("shop", Shop), medium) as shop:
        await shop.client(Shop).burst(keys=2, numbers=2)
        await settled(shop)
        async with node_of(App("mail", Mailer), medium) as mail:
            await settled(mail)
            assert await numbers(mail) == {"0": [0, 1], "1": [0, 1]}
            await shop.client(Shop).place("tea")
            await settled(shop)
            await settled(mail)
            assert len(await numbers(mail)) == 3


async def test_changes_of_rows_go_by_the_log_as_ever() -> None:
    medium = Medium()
    async with node_of(ALL, medium) as node:
        await node.client(Shop).place("tea")
        await settled(node)
        assert {relay.name for hosted in node.hosted for relay in hosted.relays} == {"published", "counter.note"}
        assert await node.collection(Tally).count() == 2
    assert {message.headers.type for message in medium.log} == {"placed", "sent"}


async def test_a_restart_loses_and_repeats_nothing(tmp_path: Path) -> None:
    medium = Medium()
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}", events="broker", grace=5.0))
    for _ in range(3):
        async with node_of(ALL, medium, settings=settings) as node:
            await node.client(Shop).burst(keys=3, numbers=2)
    async with node_of(ALL, medium, settings=settings) as node:
        await settled(node)
        assert await numbers(node) == {str(key): [0, 1] * 3 for key in range(3)}


async def test_an_instance_that_waits_for_the_duty_settles_when_another_has_handled_all(tmp_path: Path) -> None:
    medium = Medium()
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}", events="broker", grace=5.0))
    async with node_of(ALL, medium, settings=settings) as one, node_of(ALL, medium, settings=settings) as other:
        await one.client(Shop).burst(keys=3, numbers=2)
        await settled(other)
        assert await numbers(other) == {str(key): [0, 1] for key in range(3)}


@pytest.mark.virtual_time
async def test_what_is_told_while_the_broker_is_away_is_heard_later(host: Host) -> None:
    medium = Medium()
    async with node_of(ALL, medium, host=host) as node:
        medium.away = True
        await node.client(Shop).burst(keys=1, numbers=3)
        await asyncio.sleep(300.0)
        assert (await node.health())["relay:shop/published"].state == "behind"
        assert await numbers(node) == {}
        medium.away = False
        await settled(node)
        assert await numbers(node) == {"0": [0, 1, 2]}
        assert (await node.health())["relay:shop/published"].state == "ok"


@pytest.mark.virtual_time
async def test_a_handler_that_fails_is_tried_again_and_its_lag_is_told(host: Host) -> None:
    async with node_of(ALL, Medium(), host=host) as node:
        mailer = next(one for one in node.hosted if one.part.name == "mailer")
        assert isinstance(mailer.instance, Mailer)
        mailer.instance.fails = 8
        await node.client(Shop).burst(keys=1, numbers=2)
        await asyncio.sleep(1.0)
        assert (await node.health())["subscriber:mailer/mailer.receipt"].lag == 2
        figures = await node.figures()
        [told] = [one.relays for one in figures.stores if one.service == "mailer"]
        assert {one.name: one.lag for one in told}["mailer.receipt"] == 2
        await settled(node)
        assert await numbers(node) == {"0": [0, 1]}
        assert (await node.health())["subscriber:mailer/mailer.receipt"].lag == 0


def test_a_transport_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"memory: keeps no events; expected node\.transport to be nats://"):
        _ = Node(ALL, BROKER)
    with pytest.raises(Misconfigured, match="keeps no events"):
        _ = Node(ALL, BROKER, transport=MemoryTransport())
