"""Routes that are kept as rows: who follows them, what overrides what, and what happens while their keeper is away."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack

import pytest

from hanse.contract.declare import rpc
from hanse.kernel.host import Host
from hanse.kernel.route import Route
from hanse.kernel.settings import NodeSettings, ServiceSettings, Settings
from hanse.mesh.routed import Routed
from hanse.node.app import App
from hanse.node.kept_routes import SAYS_SECONDS, KeptRoute, RouteKeeper
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.memory import MemoryStore
from hanse.testing.local import LocalNetwork
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time


class Orders(Service):
    release: str = ""

    @rpc
    async def place(self) -> str:
        return self.release


class Front(Service):
    orders: Orders


class Keeper(Service, RouteKeeper, owns=(KeptRoute,)):
    routes: Collection[KeptRoute]

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)
        self.heard: dict[str, int] = {}

    async def followed(self, instance: str, position: int) -> None:
        self.heard[instance] = position


SHOP = App("shop", Orders, Front)
PLATFORM = App("shop", Keeper)
ALL_OLD, ALL_NEW = Route(releases={"1": 1}), Route(releases={"2": 1})


class Fleet:
    """Two releases of orders, a front that calls them, and whoever keeps the routes."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.network = LocalNetwork()
        self.stores: defaultdict[str, Store] = defaultdict(MemoryStore)
        self.nodes = AsyncExitStack()

    async def start(self, app: App, service: str, release: str = "", **routes: Route) -> Node:
        here = Announcement(f"{service}{release}", "", app=app.name, release=release)
        network = self.network
        routed = Routed(here, MemoryTransport(), network.direct(here.instance), network.discovery(), host=self.host)
        node = NodeSettings(services=(service,), instance=here.instance, follow_routes=service == "front")
        known = {"orders": ServiceSettings(settings={"release": release})} if app is SHOP else {}
        settings = Settings(node=node, services=known, routes=routes)
        one = Node(app, settings, host=self.host, transport=routed, stores=lambda _url: self.stores[service])
        await self.nodes.enter_async_context(one)
        return one


async def asked(front: Node) -> set[str]:
    return {await front.client(Orders).place() for _ in range(20)}


async def soon(front: Node, wanted: set[str]) -> None:
    """Calls come to what is wanted within a few seconds."""
    for _ in range(100):
        if await asked(front) == wanted:
            return
        await asyncio.sleep(0.1)
    assert await asked(front) == wanted


async def test_whoever_changes_a_route_reaches_those_who_call(host: Host) -> None:
    fleet = Fleet(host)
    async with fleet.nodes:
        for release in ("1", "2"):
            await fleet.start(SHOP, "orders", release)
        keeper = await fleet.start(PLATFORM, "hanse_route_keeper")
        routes = keeper.collection(KeptRoute)
        await routes.create(KeptRoute(id="orders", route=ALL_OLD))
        await routes.create(KeptRoute(id="of_others", route=ALL_NEW))
        front = await fleet.start(SHOP, "front", orders=ALL_NEW)
        assert await asked(front) == {"1"}, "a node knows the routes that there are before it calls"
        changed = await routes.put(KeptRoute(id="orders", route=ALL_NEW))
        await soon(front, {"2"})
        await asyncio.sleep(SAYS_SECONDS + 1.0)
        heard = keeper.hosted[0].instance
        assert isinstance(heard, Keeper)
        assert heard.heard == {"front": changed.rev}
        await routes.put(KeptRoute(id="orders", route=ALL_OLD))
        await soon(front, {"1"})
        await routes.delete("orders")
        await soon(front, {"2"})


async def test_nodes_go_by_their_settings_until_somebody_keeps_routes(host: Host) -> None:
    fleet = Fleet(host)
    async with fleet.nodes:
        for release in ("1", "2"):
            await fleet.start(SHOP, "orders", release)
        front = await fleet.start(SHOP, "front", orders=ALL_NEW)
        assert await asked(front) == {"2"}
        keeper = await fleet.start(PLATFORM, "hanse_route_keeper")
        await keeper.collection(KeptRoute).create(KeptRoute(id="orders", route=ALL_OLD))
        await soon(front, {"1"})


async def test_what_was_known_holds_while_nobody_keeps_it(host: Host) -> None:
    fleet = Fleet(host)
    async with fleet.nodes:
        for release in ("1", "2"):
            await fleet.start(SHOP, "orders", release)
        keeper = await fleet.start(PLATFORM, "hanse_route_keeper")
        await keeper.collection(KeptRoute).create(KeptRoute(id="orders", route=ALL_NEW))
        front = await fleet.start(SHOP, "front", orders=ALL_OLD)
        await keeper.stop()
        await asyncio.sleep(60.0)
        assert await asked(front) == {"2"}
        again = await fleet.start(PLATFORM, "hanse_route_keeper")
        assert await again.collection(KeptRoute).count() == 1
        await asyncio.sleep(10.0)
        assert await asked(front) == {"2"}
        await again.collection(KeptRoute).put(KeptRoute(id="orders", route=ALL_OLD))
        await soon(front, {"1"})
