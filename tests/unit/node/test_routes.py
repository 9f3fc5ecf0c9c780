"""Routes of settings: which names they are for, and what calls make of them."""

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Resource
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.route import Route
from hanse.kernel.settings import NodeSettings, Settings, flatten, resolve
from hanse.mesh.routed import Routed
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.routes import routes_of
from hanse.service.collection import Collection
from hanse.service.service import Service
from hanse.testing.local import LocalNetwork
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time


class Order(Resource):
    sku: str = ""


class Orders(Service):
    orders: Collection[Order]
    release: str = ""

    @rpc
    async def place(self) -> str:
        return self.release


class Front(Service):
    orders: Orders


APP = App("shop", Orders, Front)
NEW = Route(releases={"1.5": 1})


def test_a_service_s_route_is_that_of_all_it_serves() -> None:
    assert set(routes_of(APP, {"orders": NEW})) == {"orders", "rows/orders", "events/orders"}


def test_a_route_of_rows_goes_before_that_of_their_service() -> None:
    own = Route(zones="any")
    assert routes_of(APP, {"rows/orders": own, "orders": NEW})["rows/orders"].zones == "any"


def test_a_route_of_nothing_is_refused_by_its_key_and_source() -> None:
    settings, _ = resolve([flatten({"routes": {"ordres": {"releases": {"1.5": 1}}}}, "hanse.toml")])
    with pytest.raises(Misconfigured, match=r"^routes\.ordres \(hanse\.toml\): .*did you mean 'orders'"):
        Node(APP, settings)


async def test_calls_of_a_node_follow_the_routes_of_its_settings(host: Host) -> None:
    network = LocalNetwork()

    def node(release: str, service: str, **routes: Route) -> Node:
        here = Announcement(f"{service}-{release}", "", app="shop", release=release)
        routed = Routed(here, MemoryTransport(), network.direct(here.instance), network.discovery(), host=host)
        values, _ = resolve([flatten({"services": {"orders": {"settings": {"release": release}}}}, "test")])
        settings = Settings(node=NodeSettings(services=(service,)), services=values.services, routes=routes)
        return Node(APP, settings, host=host, transport=routed)

    front = node("", "front", orders=NEW)
    async with node("1.4", "orders"), node("1.5", "orders"), front:
        assert {await front.client(Orders).place() for _ in range(20)} == {"1.5"}
        assert front.explain("rows/orders.get").route == "routes.orders"
