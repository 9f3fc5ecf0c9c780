"""The shop in one process: a contract, a typed fault, an event, a rule and a change feed."""

from collections.abc import AsyncIterator, Callable
from types import ModuleType

import pytest

from hanse import Created, Node, NotFound, Updated


@pytest.fixture
def shop(example: Callable[[str], ModuleType]) -> ModuleType:
    return example("shop/shop.py")


@pytest.fixture
async def node(shop: ModuleType) -> AsyncIterator[Node]:
    async with Node(shop.app) as node:
        await node.collection(shop.Item).put(shop.Item(id="tea", left=3))
        yield node


async def test_what_is_not_there_cannot_be_ordered(shop: ModuleType, node: Node) -> None:
    with pytest.raises(NotFound):
        await node.client(shop.Orders).place("coffee")
    assert await node.collection(shop.Order).count() == 0


async def test_an_order_for_too_much_is_refused_with_what_is_left(shop: ModuleType, node: Node) -> None:
    with pytest.raises(shop.OutOfStock) as refused:
        await node.client(shop.Orders).place("tea", 4)
    assert (refused.value.sku, refused.value.left) == ("tea", 3)


async def test_an_order_takes_from_the_shelf(shop: ModuleType, node: Node) -> None:
    await node.client(shop.Orders).place("tea", 2)
    assert (await node.collection(shop.Item).get("tea")).left == 1


async def test_every_order_is_confirmed_by_one_letter(shop: ModuleType, node: Node) -> None:
    order = await node.client(shop.Orders).place("tea", 2)
    await node.settle()
    letters = await node.collection(shop.Letter).find(lambda letter: letter.order_id == order.id)
    assert [letter.text for letter in letters.items] == ["2 of tea it is!"]


async def test_an_order_is_packed_by_itself_while_others_watch(shop: ModuleType, node: Node) -> None:
    orders = node.collection(shop.Order)
    changes = orders.changes(lambda order: order.sku == "tea", after=await orders.cursor())
    await node.client(shop.Orders).place("tea")
    match [await anext(changes), await anext(changes)]:
        case [Created(after=placed), Updated(before=before, after=packed)]:
            assert (placed.status, before.status, packed.status) == ("new", "new", "packed")
        case others:
            raise AssertionError(others)


async def test_a_service_alone_is_constructed_by_hand(shop: ModuleType) -> None:
    class OneTea:
        async def get(self, sku: str) -> object:
            return shop.Item(id=sku, left=1)

    with pytest.raises(shop.OutOfStock):
        await shop.InventoryService(items=OneTea()).take("tea", 2)
