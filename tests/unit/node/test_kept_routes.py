"""Routes that are kept as rows: who follows them, what overrides what, and what happens while their keeper is away."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack

import pytest

from hanse.contract.declare import rpc
from hanse.kernel.faults import Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.route import Route
from hanse.kernel.settings import NodeSettings, ServiceSettings, Settings
from hanse.mesh.routed import Routed
from hanse.node.app import App
from hanse.node.kept_routes import NEEDS_SECONDS_MAX, SAYS_SECONDS, KeptRoute, RouteKeeper
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

    @rpc
    async def through(self) -> str:
        return await self.orders.place()


class Keeper(Service, RouteKeeper, owns=(KeptRoute,)):
    routes: Collection[KeptRoute]

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)
        self.heard: dict[str, int] = {}

    async def followed(self, instance: str, position: int) -> None:
        self.heard[instance] = position


class Till(Service):
    release: str = ""

    @rpc
    async def price(self) -> str:
        return self.release


class Cafe(Service):
    till: Till
    release: str = ""

    @rpc
    async def tea(self) -> tuple[str, str]:
        return self.release, await self.till.price()


class Door(Service):
    cafe: Cafe
    till: Till


CAFE = App("shop", Door, Cafe, Till)
SPLIT = Route(releases={"1": 1, "2": 1})
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
        self.needs = False

    async def start(self, app: App, service: str, release: str = "", **routes: Route) -> Node:
        here = Announcement(f"{service}{release}", "", app=app.name, release=release)
        network = self.network
        routed = Routed(here, MemoryTransport(), network.direct(here.instance), network.discovery(), host=self.host)
        follows = service == "front" or app is CAFE
        node = NodeSettings(
            services=(service,),
            instance=here.instance,
            release=release,
            follow_routes=follows,
            need_routes=follows and self.needs,
        )
        known = {service: ServiceSettings(settings={"release": release})} if release else {}
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


async def test_a_node_that_needs_routes_begins_when_it_knows_them(host: Host) -> None:
    fleet = Fleet(host)
    fleet.needs = True
    async with fleet.nodes, asyncio.TaskGroup() as tasks:
        for release in ("1", "2"):
            other = await fleet.start(SHOP, "orders", release)
        keeper = await fleet.start(PLATFORM, "hanse_route_keeper")
        await keeper.collection(KeptRoute).create(KeptRoute(id="orders", route=ALL_OLD))
        await keeper.stop()
        starting = tasks.create_task(fleet.start(SHOP, "front"))
        await asyncio.sleep(NEEDS_SECONDS_MAX - 5.0)
        assert not starting.done()
        with pytest.raises(UnknownOperation, match="nobody serves 'front'"):
            _ = await other.client(Front).through()
        again = await fleet.start(PLATFORM, "hanse_route_keeper")
        assert await again.collection(KeptRoute).count() == 1
        assert await asked(await starting) == {"1"}


async def test_a_node_that_needs_routes_and_is_told_none_says_what_to_do(host: Host) -> None:
    fleet = Fleet(host)
    fleet.needs = True
    async with fleet.nodes:
        _ = await fleet.start(SHOP, "orders", "1")
        with pytest.raises(Unavailable, match=r"heard nothing for 30 s: .* node.need_routes = false"):
            _ = await fleet.start(SHOP, "front")


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


async def cafes(host: Host, cafe: Route, till: Route, ask: str = "door") -> set[tuple[str, str]]:
    """Which release of the cafe, and which of its till, answer to stories that begin at the door, or elsewhere."""
    fleet = Fleet(host)
    async with fleet.nodes:
        keeper = await fleet.start(PLATFORM, "hanse_route_keeper")
        for name, route in (("cafe", cafe), ("till", till)):
            await keeper.collection(KeptRoute).create(KeptRoute(id=name, route=route))
        for service in ("cafe", "till"):
            for release in ("1", "2"):
                one = await fleet.start(CAFE, service, release)
                if (service, release) == ("cafe", "2"):
                    second = one
        if ask == "cafe":
            return {("2", await second.client(Till).price()) for _ in range(50)}
        door = await fleet.start(CAFE, "door")
        return {await door.client(Cafe).tea() for _ in range(50)}


async def test_a_story_stays_in_one_release_where_both_ends_are_in_two(host: Host) -> None:
    assert await cafes(host, SPLIT, SPLIT) == {("1", "1"), ("2", "2")}


async def test_the_one_release_of_a_caller_is_no_choice_that_another_service_is_bound_by(host: Host) -> None:
    """A till that is to have none yet is not asked by all who come through a cafe of the same name."""
    assert await cafes(host, ALL_NEW, ALL_OLD) == {("2", "1")}
    assert {till for _, till in await cafes(host, ALL_NEW, SPLIT)} == {"1", "2"}


async def test_what_begins_in_one_of_two_releases_stays_there(host: Host) -> None:
    assert await cafes(host, SPLIT, SPLIT, ask="cafe") == {("2", "2")}
    assert await cafes(host, ALL_NEW, SPLIT, ask="cafe") == {("2", "1"), ("2", "2")}
