"""Two releases of a service share a store: the older one does not take away what the newer one writes."""

from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Model, Resource
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.service import Service


class Gift(Model):
    text: str


class OrderBefore(Resource, collection="orders"):
    sku: str
    status: str = "new"


class Order(Resource, collection="orders"):
    sku: str
    status: str = "new"
    gift: Gift | None = None
    note: str = ""


class Before(Service, name="orders"):
    orders: Collection[OrderBefore]

    @rpc
    async def pay(self, id: str) -> None:
        await self.orders.patch(id, status="paying")
        row = await self.orders.get(id)
        await self.orders.put(OrderBefore(id=id, rev=row.rev, sku=row.sku, status="paid"))

    @rpc
    async def replace(self, id: str) -> None:
        row = await self.orders.get(id)
        await self.orders.put(OrderBefore(id=id, rev=row.rev, sku=row.sku, status="replaced"))

    @rpc
    async def renew(self, id: str) -> None:
        await self.orders.delete(id)
        await self.orders.create(OrderBefore(id=id, sku="other"))


class After(Service, name="orders"):
    orders: Collection[Order]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}/shop.db"))


GIFT = Gift(text="dear Ada")


@pytest.fixture
async def gift(settings: Settings) -> str:
    """The id of a row as the newer release has written it."""
    async with Node(App("shop", After), settings) as node:
        return (await node.collection(Order).create(Order(sku="tea", gift=GIFT, note="ring twice"))).id


async def kept(settings: Settings, id: str) -> Order:
    async with Node(App("shop", After), settings) as node:
        return await node.collection(Order).get(id)


@pytest.mark.parametrize(("operation", "status"), [("pay", "paid"), ("replace", "replaced")])
async def test_what_the_newer_one_wrote_stays(settings: Settings, gift: str, operation: str, status: str) -> None:
    async with Node(App("shop", Before), settings) as node:
        await getattr(node.client(Before), operation)(gift)
    found = await kept(settings, gift)
    assert (found.status, found.gift, found.note) == (status, GIFT, "ring twice")


async def test_it_stays_where_a_lone_patch_writes(settings: Settings, gift: str) -> None:
    async with Node(App("shop", Before), settings) as node:
        _ = await node.collection(OrderBefore).patch(gift, status="sent")
    assert (await kept(settings, gift)).note == "ring twice"


async def test_another_row_under_the_id_has_nothing_of_it(settings: Settings, gift: str) -> None:
    async with Node(App("shop", Before), settings) as node:
        await node.client(Before).renew(gift)
    assert (await kept(settings, gift)).note == ""
