"""Links between rows of different services, each in a node of its own: one call to each service, over sockets."""

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


class Agent(Resource):
    region: Annotated[str, Link(Region)]


class Sale(Resource):
    agent: Annotated[str, Link(Agent)]
    customer: Annotated[str, Link(Customer)]
    payer: Annotated[str, Link(Customer)]


class Regions(Service, owns=(Region,)):
    regions: Collection[Region]


class Parties(Service, owns=(Customer, Agent)):
    customers: Collection[Customer]
    agents: Collection[Agent]


class Sales(Service, owns=(Sale,)):
    sales: Collection[Sale]


gateway = Gateway().resources(Sale).resources(Customer).resources(Agent).resources(Region)
APP = App("shop", Sales, Parties, Regions, gateway=gateway)
HOSTS = ("sales", "parties", "regions", GATEWAY)
SALES, CUSTOMERS, AGENTS, REGIONS = 90, 30, 5, 3


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


async def sold(nodes: dict[str, Node]) -> None:
    """Rows of every service that link to those of another."""
    regions, sales = nodes["regions"].collection(Region), nodes["sales"].collection(Sale)
    customers, agents = nodes["parties"].collection(Customer), nodes["parties"].collection(Agent)
    for number in range(REGIONS):
        await regions.create(Region(id=f"r{number}", name=f"region {number}"))
    for number in range(AGENTS):
        await agents.create(Agent(id=f"a{number}", region=f"r{number % REGIONS}"))
    for number in range(CUSTOMERS):
        await customers.create(Customer(id=f"c{number}", name=f"customer {number}", region=f"r{number % REGIONS}"))
    for number in range(SALES):
        agent, customer, payer = f"a{number % AGENTS}", f"c{number % CUSTOMERS}", f"c{(number + 1) % CUSTOMERS}"
        await sales.create(Sale(id=f"s{number:02d}", agent=agent, customer=customer, payer=payer))


async def test_links_are_followed_by_one_call_to_each_service_and_level(nodes: dict[str, Node]) -> None:
    await sold(nodes)
    before = await calls(nodes)

    transport = httpx2.ASGITransport(gateway.asgi(nodes[GATEWAY]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
        page = (await client.get(f"/sales?limit={SALES}&expand=customer.region,agent.region,payer")).json()

    shown = [row["expanded"] for row in page["items"]]
    assert len(shown) == SALES
    for name in ("agent", "customer", "payer"):
        assert [one[name]["id"] for one in shown] == [row[name] for row in page["items"]]
    for name in ("agent", "customer"):
        assert all(one[name]["expanded"]["region"]["id"] == one[name]["region"] for one in shown)
    made = await calls(nodes) - before
    assert sum(made.values()) == 3
    assert sorted(address for address in made) == ["rows/customers.many", "rows/regions.many", "rows/sales.find"]
