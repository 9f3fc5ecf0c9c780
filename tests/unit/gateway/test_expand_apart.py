"""Links between rows of different services, each in a node of its own: one call to each collection, over sockets."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import httpx2
import pytest

from hanse.contract.link import Link
from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import GATEWAY, App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.service import Service


class Region(Resource):
    name: str


class Customer(Resource):
    name: str
    region: Annotated[str, Link(Region)]


class Sale(Resource):
    customer: Annotated[str, Link(Customer)]
    payer: Annotated[str, Link(Customer)]


class Regions(Service, owns=(Region,)):
    regions: Collection[Region]


class Customers(Service, owns=(Customer,)):
    customers: Collection[Customer]


class Sales(Service, owns=(Sale,)):
    sales: Collection[Sale]


gateway = Gateway().resources(Sale).resources(Customer).resources(Region)
APP = App("shop", Sales, Customers, Regions, gateway=gateway)
HOSTS = ("sales", "customers", "regions", GATEWAY)
SALES, CUSTOMERS, REGIONS = 90, 30, 3


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[dict[str, Node]]:
    """One for each part, which know of each other by a folder."""
    async with AsyncExitStack() as stack:
        found: dict[str, Node] = {}
        for name in HOSTS:
            here = NodeSettings(services=(name,), transport=f"unix:{tmp_path}", grace=1.0)
            found[name] = await stack.enter_async_context(Node(APP, Settings(node=here)))
        yield found


async def calls(nodes: dict[str, Node]) -> Counter[str]:
    """Those that were handled, by operation."""
    counted: Counter[str] = Counter()
    for node in nodes.values():
        for (address, _), count in (await node.figures()).calls.items():
            counted[address] += count
    return counted


async def test_links_to_other_services_are_followed_by_one_call_to_each_collection(nodes: dict[str, Node]) -> None:
    regions, customers, sales = (
        nodes[name].collection(kind) for name, kind in (("regions", Region), ("customers", Customer), ("sales", Sale))
    )
    for number in range(REGIONS):
        await regions.create(Region(id=f"r{number}", name=f"region {number}"))
    for number in range(CUSTOMERS):
        await customers.create(Customer(id=f"c{number}", name=f"customer {number}", region=f"r{number % REGIONS}"))
    for number in range(SALES):
        payer = f"c{(number + 1) % CUSTOMERS}"
        await sales.create(Sale(id=f"s{number:02d}", customer=f"c{number % CUSTOMERS}", payer=payer))
    before = await calls(nodes)

    transport = httpx2.ASGITransport(gateway.asgi(nodes[GATEWAY]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
        page = (await client.get(f"/sales?limit={SALES}&expand=customer.region&expand=payer")).json()

    shown = [row["expanded"] for row in page["items"]]
    assert len(shown) == SALES
    assert [one["customer"]["id"] for one in shown] == [row["customer"] for row in page["items"]]
    assert [one["payer"]["id"] for one in shown] == [row["payer"] for row in page["items"]]
    assert all(
        one["customer"]["expanded"]["region"]["name"] == f"region {one['customer']['region'][1:]}" for one in shown
    )
    made = await calls(nodes) - before
    assert sum(made.values()) == len(made) == 3
    assert {address.partition(".")[0] for address in made} == {"rows/sales", "rows/customers", "rows/regions"}
