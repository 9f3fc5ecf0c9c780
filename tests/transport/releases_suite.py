"""Releases over brokers: what nodes of two releases of a service are asked, over whatever broker it is."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import pytest

from hanse.contract.declare import rpc
from hanse.kernel.message import Headers
from hanse.kernel.route import Condition, Route, Rule
from hanse.kernel.settings import NodeSettings, ServiceSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service

_apps = map("releases-%d".__mod__, itertools.count(1))
CALLS = 60
WAIT_SECONDS = 60.0


class Stock(Service):
    release: str = ""

    @rpc
    async def which(self) -> str:
        return self.release


class Orders(Service):
    stock: Stock
    release: str = ""

    @rpc
    async def which(self) -> str:
        return self.release

    @rpc
    async def both(self) -> str:
        return f"{self.release} {await self.stock.which()}"

    @rpc
    async def count(self) -> AsyncIterator[str]:
        for _ in range(3):
            yield self.release


class Front(Service):
    orders: Orders


NEW = Route((Rule({"1.5": 1}, (Condition("header.beta", "yes"),)),), releases={"1.4": 90, "1.5": 10})
BETA = Headers(extra={"beta": "yes"})


class Running(Protocol):
    """A broker."""

    @property
    def url(self) -> str: ...


class ReleasesSuite:
    """An app on a broker; a subclass has the fixture `server`."""

    @pytest.fixture(autouse=True)
    def _server(self, server: Running) -> None:
        self.url: str = server.url
        self.app: App = App(next(_apps), Orders, Stock, Front)

    @asynccontextmanager
    async def nodes(self, route: Route | None, *hosted: tuple[str, str]) -> AsyncGenerator[tuple[Node, list[Node]]]:
        """A node that asks, and those that host a service in a release."""
        async with AsyncExitStack() as opened:
            serving = [await opened.enter_async_context(self.node(*one)) for one in hosted]
            front = await opened.enter_async_context(self.node("front", "", route))
            for service, release in hosted:
                await _served(front, service, release)
            yield front, serving

    def node(self, service: str, release: str, route: Route | None = None) -> Node:
        settings = Settings(
            node=NodeSettings(services=(service,), transport=self.url, release=release, grace=2.0),
            services={name: ServiceSettings(settings={"release": release}) for name in ("orders", "stock")},
            routes={} if route is None else {"orders": route},
        )
        return Node(self.app, settings)

    async def test_a_release_has_the_share_that_its_weight_says(self) -> None:
        async with self.nodes(NEW, ("orders", "1.4"), ("orders", "1.5")) as (front, _):
            came = Counter(await asyncio.gather(*(front.client(Orders).which() for _ in range(CALLS))))
            # Fewer than one in ten thousand runs of a fair draw lie outside.
            assert 0 < came["1.5"] < CALLS // 3
            assert came["1.4"] + came["1.5"] == CALLS

    async def test_a_header_pins_calls_and_streams_to_a_release(self) -> None:
        async with self.nodes(NEW, ("orders", "1.4"), ("orders", "1.5")) as (front, _):
            with front.context(BETA, timeout=WAIT_SECONDS):
                assert {await front.client(Orders).which() for _ in range(20)} == {"1.5"}
                assert [item async for item in front.client(Orders).count()] == ["1.5"] * 3

    async def test_a_story_stays_with_its_release_where_that_has_the_service(self) -> None:
        hosted = (("orders", "1.4"), ("orders", "1.5"), ("stock", "1.4"), ("stock", "1.5"))
        async with self.nodes(NEW, *hosted) as (front, _):
            with front.context(BETA, timeout=WAIT_SECONDS):
                assert {await front.client(Orders).both() for _ in range(10)} == {"1.5 1.5"}

    async def test_what_a_release_does_not_have_another_answers(self) -> None:
        async with self.nodes(NEW, ("orders", "1.5"), ("stock", "1.4")) as (front, _):
            assert {await front.client(Orders).both() for _ in range(10)} == {"1.5 1.4"}

    async def test_a_release_that_goes_is_followed_by_another(self) -> None:
        async with self.nodes(NEW, ("orders", "1.4"), ("orders", "1.5")) as (front, (_, new)):
            with front.context(BETA, timeout=WAIT_SECONDS):
                assert await front.client(Orders).which() == "1.5"
                await new.stop()
                assert [await front.client(Orders).which() for _ in range(10)] == ["1.4"] * 10
                assert [item async for item in front.client(Orders).count()] == ["1.4"] * 3

    async def test_who_has_no_route_is_answered_by_any_release(self) -> None:
        async with self.nodes(None, ("orders", "1.4"), ("orders", "1.5")) as (front, _):
            came = set[str]()
            async with asyncio.timeout(WAIT_SECONDS):
                # A node that has just come may not be given calls yet.
                while came != {"1.4", "1.5"}:
                    came.update(await asyncio.gather(*(front.client(Orders).which() for _ in range(CALLS))))

    async def test_it_is_told_which_nodes_there_are(self) -> None:
        async with self.nodes(None, ("orders", "1.4"), ("stock", "1.5")) as (front, _):
            found = {(one.services, one.release, one.since > 0.0) for one in await front.nodes()}
            assert found == {(("orders",), "1.4", True), (("stock",), "1.5", True), (("front",), "", True)}

    async def test_it_is_told_which_release_a_call_goes_to(self) -> None:
        async with self.nodes(NEW, ("orders", "1.5")) as (front, _):
            async with asyncio.timeout(WAIT_SECONDS):
                # Who was asked before the release was there is remembered for a second.
                while (found := front.explain("orders.which", BETA)).release != "1.5":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert found.route == "routes.orders"


async def _served(front: Node, service: str, release: str) -> None:
    """Until the broker knows that a release of a service is there."""
    ask = front.client(Orders).which if service == "orders" else front.client(Stock).which
    wanted = Headers(release=release)
    with front.context(wanted, timeout=WAIT_SECONDS):
        async with asyncio.timeout(WAIT_SECONDS):
            # Who was asked before the release was there is remembered for a second, in which any may answer.
            while await ask() != release or front.explain(f"{service}.which", wanted).release != release:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
