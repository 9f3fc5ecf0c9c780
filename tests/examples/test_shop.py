"""The shop in one process: what is refused, what an order comes to, and what is done once though it is asked twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any

import msgspec
import pytest

from hanse import (
    App,
    Conflict,
    Created,
    DeadlineExceeded,
    Event,
    Existing,
    Fault,
    Invalid,
    Node,
    NotFound,
    Service,
    Settings,
    Updated,
    policy,
    rpc,
)
from hanse.kernel.closing import closing
from hanse.kernel.message import Kind, Message
from hanse.kernel.settings import ServiceSettings
from hanse.store.base import Store
from hanse.transport.memory import MemoryTransport

STOCK = {"tea": 3, "organ": 2}


class Unkind(MemoryTransport):
    """Delivers each event twice, and loses the first answer of each of some operations."""

    def __init__(self, *lost: str) -> None:
        super().__init__()
        self.lost = list(lost)

    async def request(self, message: Message, /) -> Message:
        answer = await super().request(message)
        if message.kind is Kind.EVENT:
            return await super().request(message)
        if message.address in self.lost:
            self.lost.remove(message.address)
            raise DeadlineExceeded(message.address)
        return answer


class Holding(MemoryTransport):
    """Keeps the answers of one operation until they are let go."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.free = asyncio.Event()

    async def request(self, message: Message, /) -> Message:
        answer = await super().request(message)
        if message.address == self.address:
            await self.free.wait()
        return answer


class Shop:
    """The example's names, and a node that runs it."""

    def __init__(self, names: ModuleType, node: Node) -> None:
        self.names: Any = names
        self.node = node
        self.orders: Any = node.client(names.Orders)
        self.inventory: Any = node.client(names.Inventory)

    async def open(self) -> None:
        items = self.node.collection(self.names.Item)
        await items.put(self.names.Item(id="tea", left=STOCK["tea"], price=5_00))
        await items.put(self.names.Item(id="organ", left=STOCK["organ"], price=900_00))

    async def rows(self, kind: str) -> dict[str, Any]:
        return {row.id: row async for row in self.node.collection(getattr(self.names, kind)).scan()}

    async def left(self, sku: str) -> int:
        return int((await self.rows("Item"))[sku].left)

    async def end_of(self, order_id: str) -> str:
        """What becomes of an order, once it is known and told."""
        orders = self.node.collection(self.names.Order).follow(lambda order: order.id == order_id)
        async with asyncio.timeout(30), closing(orders) as changes:
            async for change in changes:
                if isinstance(change, (Existing, Created, Updated)):
                    order: Any = change.value if isinstance(change, Existing) else change.after
                    if order.status in ("packed", "refused"):
                        await self.node.settle()
                        return str(order.status)
        raise AssertionError(order_id)

    async def check(self) -> None:
        """What the example promises once everything has come to its end."""
        items, orders, held = await self.rows("Item"), await self.rows("Order"), await self.rows("Reservation")
        payments, letters = await self.rows("Payment"), await self.rows("Letter")
        for sku, stock in STOCK.items():
            out = sum(one.quantity for one in held.values() if one.sku == sku and one.status != "returned")
            assert items[sku].left == stock - out >= 0
        assert orders.keys() == held.keys() >= payments.keys()
        expected = {f"{id}.placed" for id in payments} | {f"{id}.{order.status}" for id, order in orders.items()}
        assert letters.keys() == expected
        for id, order in orders.items():
            settled = id in payments and payments[id].status == "settled"
            assert (order.status, held[id].status) == (("packed", "ordered") if settled else ("refused", "returned"))


@pytest.fixture
def names(example: Callable[[str], ModuleType]) -> ModuleType:
    return example("shop/shop.py")


@pytest.fixture
async def shop(names: ModuleType) -> AsyncIterator[Shop]:
    async with Node(names.app) as node:
        shop = Shop(names, node)
        await shop.open()
        yield shop


def impatient() -> Settings:
    """Settings under which a reservation without an order is given up at once."""
    return Settings(services={"orders": ServiceSettings(settings={"patience": 0})})


# What is refused


async def test_what_is_not_there_cannot_be_ordered(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await shop.orders.place("coffee")
    assert await shop.rows("Order") == {}


async def test_an_order_for_too_much_is_refused_with_what_is_left(shop: Shop) -> None:
    with pytest.raises(shop.names.OutOfStock) as refused:
        await shop.orders.place("tea", 4)
    assert (refused.value.sku, refused.value.left) == ("tea", 3)
    await shop.check()


@pytest.mark.parametrize("quantity", [0, -1])
async def test_nobody_orders_less_than_one(shop: Shop, quantity: int) -> None:
    with pytest.raises(Invalid):
        await shop.orders.place("tea", quantity)
    assert await shop.left("tea") == 3


async def test_an_id_stands_for_one_order(shop: Shop) -> None:
    await shop.orders.place("tea", 1, "a")
    with pytest.raises(shop.names.IdUsed, match="a is the id of another order"):
        await shop.orders.place("organ", 1, "a")
    assert await shop.left("organ") == 2


async def test_what_was_taken_under_an_id_is_not_taken_for_anything_else(shop: Shop) -> None:
    await shop.inventory.take("a", "tea", 1)
    with pytest.raises(shop.names.IdUsed):
        await shop.inventory.take("a", "tea", 2)
    assert await shop.left("tea") == 2


async def test_what_was_given_back_is_not_taken_again(shop: Shop) -> None:
    await shop.inventory.take("a", "tea", 1)
    await shop.inventory.give_back("a")
    with pytest.raises(shop.names.IdUsed):
        await shop.inventory.take("a", "tea", 1)
    assert await shop.left("tea") == 3


async def test_what_was_never_taken_cannot_be_given_back(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await shop.inventory.give_back("a")


# What an order comes to


async def test_an_order_that_can_be_paid_is_packed(shop: Shop) -> None:
    order = await shop.orders.place("tea", 2)
    assert (order.status, order.total) == ("new", 10_00)
    assert await shop.end_of(order.id) == "packed"
    assert await shop.left("tea") == 1
    assert (await shop.rows("Payment"))[order.id].amount == 10_00
    await shop.check()


async def test_an_order_over_the_limit_is_refused_and_its_stock_is_back(shop: Shop) -> None:
    order = await shop.orders.place("organ", 2)
    assert await shop.end_of(order.id) == "refused"
    assert await shop.left("organ") == 2
    await shop.check()


async def test_the_limit_is_a_setting(names: ModuleType) -> None:
    generous = Settings(services={"payments": ServiceSettings(settings={"limit": 2_000_00})})
    async with Node(names.app, generous) as node:
        shop = Shop(names, node)
        await shop.open()
        assert await shop.end_of((await shop.orders.place("organ", 2)).id) == "packed"


async def test_the_customer_is_told_of_the_beginning_and_the_end(shop: Shop) -> None:
    packed, refused = await shop.orders.place("tea", 2, "a"), await shop.orders.place("organ", 1, "b")
    await shop.end_of(packed.id)
    await shop.end_of(refused.id)
    letters = {id: letter.text for id, letter in (await shop.rows("Letter")).items()}
    assert letters == {
        "a.placed": "2 of tea it is!",
        "a.packed": "2 of tea on the way!",
        "b.placed": "1 of organ it is!",
        "b.refused": "No organ for you, and nothing to pay.",
    }


async def test_a_letter_leads_to_its_order_and_the_thing_on_the_shelf(shop: Shop) -> None:
    await shop.end_of((await shop.orders.place("tea", 2, "a")).id)
    sent: list[Any] = []

    async def send(event: Any) -> None:  # noqa: ANN401 - an ASGI event
        sent.append(event)

    query = b"expand=order_id.sku&fields=order_id"
    asking = {"type": "http", "method": "GET", "path": "/letters/a.placed", "query_string": query, "headers": []}
    await shop.names.gateway.asgi(shop.node)(asking, None, send)

    letter = msgspec.json.decode(sent[1]["body"])
    assert letter["order_id"] == "a"
    assert letter["expanded"]["order_id"]["expanded"]["sku"]["left"] == STOCK["tea"] - 2


async def test_an_order_is_paid_and_packed_while_others_watch(shop: Shop) -> None:
    orders: Any = shop.node.collection(shop.names.Order)
    cursor = await orders.cursor()
    await shop.orders.place("tea")
    async with closing(orders.changes(lambda order: order.sku == "tea", after=cursor)) as changes:
        seen = [(await anext(changes)).after.status for _ in range(3)]
    assert seen == ["new", "paid", "packed"]


async def test_of_many_who_want_the_last_ones_only_some_get_them(shop: Shop) -> None:
    places = [policy(shop.orders, retry=True).place("tea", 1, f"order {n}") for n in range(8)]
    answers = await asyncio.gather(*places, return_exceptions=True)
    placed = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert all(isinstance(answer, (Conflict, shop.names.OutOfStock)) for answer in answers if answer not in placed)
    assert 1 <= len(placed) <= 3
    for order in placed:
        assert await shop.end_of(order.id) == "packed"
    await shop.check()


async def test_a_service_alone_is_constructed_by_hand(names: ModuleType) -> None:
    class OneTea:
        async def get(self, sku: str) -> object:
            return names.Item(id=sku, left=1, price=5_00)

    class Nothing:
        async def get(self, id: str) -> object:
            raise NotFound("reservation", id)

    with pytest.raises(names.OutOfStock):
        await names.InventoryService(items=OneTea(), reservations=Nothing()).take("a", "tea", 2)


# What is asked or told again


async def test_an_order_that_is_asked_for_again_is_the_same_order(shop: Shop) -> None:
    first = await shop.orders.place("tea", 2, "a")
    await shop.end_of("a")
    again = await shop.orders.place("tea", 2, "a")
    assert (first.id, again.id, again.status) == ("a", "a", "packed")
    assert await shop.left("tea") == 1
    await shop.check()


async def test_an_order_may_be_asked_for_twice_at_once(shop: Shop) -> None:
    places = [policy(shop.orders, retry=True).place("tea", 2, "a") for _ in range(2)]
    assert [order.id for order in await asyncio.gather(*places)] == ["a", "a"]
    await shop.end_of("a")
    await shop.check()


@pytest.mark.parametrize(("sku", "end"), [("tea", "packed"), ("organ", "refused")])
@pytest.mark.parametrize("lost", ["orders.place", "inventory.take", "inventory.give_back"])
async def test_whatever_answer_is_lost_an_order_that_is_asked_for_again_is_one(
    names: ModuleType, lost: str, sku: str, end: str
) -> None:
    """Every event is delivered twice as well."""
    async with Node(names.app, transport=Unkind(lost)) as node:
        shop = Shop(names, node)
        await shop.open()
        if lost != "inventory.give_back":
            with pytest.raises(DeadlineExceeded):
                await shop.orders.place(sku, 1, "a")
        assert (await shop.orders.place(sku, 1, "a")).id == "a"
        assert await shop.end_of("a") == end
        await shop.check()
        assert len(await shop.rows("Reservation")) == 1


@pytest.mark.parametrize("sku", ["tea", "organ"])
async def test_what_is_told_of_an_order_again_changes_nothing(names: ModuleType, sku: str) -> None:
    """Told by another message, that is: of the same one, twice, the inboxes take care."""

    class Gossip(Service):
        @rpc
        async def tell(self) -> None:
            news: list[Event] = [names.OrderPlaced(order_id="a", sku=sku, quantity=1, total=7)]
            await self.emit(*news, names.PaymentSettled(order_id="a"), names.PaymentDeclined(order_id="a"))

    async with Node(App("shop", *names.app.services, Gossip)) as node:
        shop = Shop(names, node)
        await shop.open()
        await shop.orders.place(sku, 1, "a")
        await shop.end_of("a")
        kinds = ("Item", "Order", "Reservation", "Payment")
        before = [await shop.rows(kind) for kind in kinds]
        await node.client(Gossip).tell()
        await node.settle()
        assert [await shop.rows(kind) for kind in kinds] == before
        await shop.check()


async def test_where_reads_take_time_stock_is_moved_once_all_the_same(
    names: ModuleType, far: Callable[[str], Store]
) -> None:
    async with Node(names.app, stores=far) as node:
        shop = Shop(names, node)
        await shop.open()
        takes = [shop.inventory.take(f"{n}", "tea", 1) for n in range(3)]
        answers = await asyncio.gather(*takes, return_exceptions=True)
        taken = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert await shop.left("tea") == 3 - len(taken) < 3
        backs = [shop.inventory.give_back(one.id) for one in taken * 9]
        await asyncio.gather(*backs, return_exceptions=True)
        statuses = [one.status for one in (await shop.rows("Reservation")).values()]
        assert await shop.left("tea") == 3 - statuses.count("taken")


# What is left behind


async def test_what_was_taken_for_an_order_that_never_came_is_put_back(names: ModuleType) -> None:
    async with Node(names.app, impatient()) as node:
        shop = Shop(names, node)
        await shop.open()
        await shop.inventory.take("a", "tea", 2)
        assert await shop.end_of("a") == "refused"
        assert await shop.left("tea") == 3
        assert await shop.rows("Payment") == {}
        await shop.check()


async def test_an_order_that_was_given_up_stays_refused(names: ModuleType) -> None:
    async with Node(names.app, impatient()) as node:
        shop = Shop(names, node)
        await shop.open()
        await shop.inventory.take("a", "tea", 2)
        await shop.end_of("a")
        assert (await shop.orders.place("tea", 2, "a")).status == "refused"
        await shop.check()


async def test_a_place_that_is_too_late_is_refused_and_takes_nothing(names: ModuleType) -> None:
    transport = Holding("inventory.take")
    async with Node(names.app, impatient(), transport=transport) as node, asyncio.TaskGroup() as group:
        shop = Shop(names, node)
        await shop.open()
        late = group.create_task(_refusal(shop.orders.place("tea", 2, "a")))
        assert await shop.end_of("a") == "refused"
        transport.free.set()
        assert isinstance(await late, Conflict)
        assert await shop.left("tea") == 3
        await shop.check()


async def test_a_reservation_is_not_given_up_before_its_time(shop: Shop) -> None:
    await shop.inventory.take("a", "tea", 2)
    order = await shop.orders.place("tea")
    await shop.end_of(order.id)
    assert (await shop.rows("Order")).keys() == {order.id}
    assert (await shop.orders.place("tea", 2, "a")).status == "new"


async def _refusal(call: Awaitable[object]) -> Fault | None:
    try:
        await call
    except Fault as fault:
        return fault
    return None
