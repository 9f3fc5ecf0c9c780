"""A tester chooses the release of a request, and of all that is called for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from hanse.contract.declare import rpc
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.route import Route
from hanse.kernel.settings import GatewaySettings, NodeSettings, Settings, flatten, resolve
from hanse.kernel.tasks import Tasks
from hanse.mesh.routed import Routed
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service
from hanse.testing.local import LocalNetwork
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport

Value = Any  # what the fixtures give is defined in conftest.py, which cannot be imported

pytestmark = pytest.mark.virtual_time


class Bank(Service):
    release: str = ""

    @rpc(idempotent=True)
    async def name(self) -> str:
        return self.release


class Till(Service):
    bank: Bank
    release: str = ""

    @rpc(idempotent=True)
    async def price(self) -> str:
        return f"{self.release}, {await self.bank.name()}"


class Cafe(Service):
    till: Till

    @rpc(idempotent=True, route="GET /page")
    async def tea(self) -> str:
        return await self.till.price()


APP = App("cafe", Cafe, Till, Bank)
OLD = Route(releases={"1": 1, "2": 0})
ROUTES = {"till": OLD, "bank": OLD}


@pytest.fixture
async def ask(host: Host, tasks: Tasks, door: Value) -> AsyncIterator[Callable[..., Any]]:
    """Asks a gateway from an address: 10.1.0.0/16 may choose, and a proxy at 10.9.9.9 is trusted."""
    network = LocalNetwork()

    def node(service: str, release: str = "", gateway: GatewaySettings = GatewaySettings()) -> Node:  # noqa: B008
        here = Announcement(f"{service}-{release}", "", app="cafe", release=release)
        routed = Routed(here, MemoryTransport(), network.direct(here.instance), network.discovery(), host=host)
        told = {"services": {name: {"settings": {"release": release}} for name in ("till", "bank")}}
        values, _ = resolve([flatten(told, "test")])
        hosted = NodeSettings(services=(service,))
        settings = Settings(node=hosted, services=values.services, routes=ROUTES, gateway=gateway)
        return Node(APP, settings, host=host, transport=routed)

    front = node("cafe", "", GatewaySettings(trusted_proxies=("10.9.9.9",), forcing=("10.1.0.0/16",)))
    others = [node(service, release) for service in ("till", "bank") for release in ("1", "2")]
    async with AsyncExitStack() as stack:
        for one in (*others, front):
            await stack.enter_async_context(one)
        inner = Gateway().rpc(Cafe).asgi(front)

        async def asked(peer: str, **headers: str) -> Value:
            async def app(scope: dict[str, Any], receive: Value, send: Value) -> None:
                await inner({**scope, "client": (peer, 1)}, receive, send)

            return await type(door)(app, tasks)("GET", "/page", **headers)

        yield asked


async def test_a_tester_chooses_the_release_of_all_that_is_called(ask: Callable[..., Any]) -> None:
    """One that has no share."""
    assert (await ask("10.1.0.7")).json == "1, 1"
    assert (await ask("10.1.0.7", x_hanse_release="2")).json == "2, 2"
    assert (await ask("10.9.9.9", x_hanse_release="2", x_forwarded_for="10.1.0.7")).json == "2, 2"


async def test_a_release_that_nobody_has_is_answered_for_by_others(ask: Callable[..., Any]) -> None:
    assert (await ask("10.1.0.7", x_hanse_release="3")).json == "1, 1"


async def test_of_strangers_the_wish_is_passed_over(ask: Callable[..., Any]) -> None:
    assert (await ask("10.2.0.7", x_hanse_release="2")).json == "1, 1"
    assert (await ask("10.2.0.7", x_hanse_release="*")).json == "1, 1"
    assert (await ask("10.2.0.7", x_hanse_release="2", x_forwarded_for="10.1.0.7")).json == "1, 1"
    assert (await ask("10.9.9.9", x_hanse_release="2", x_forwarded_for="10.2.0.7")).json == "1, 1"
    assert (await ask("10.2.0.7", baggage="hanse-release=2")).json == "1, 1"


@pytest.mark.parametrize("wish", ["*", "a b", "2, 1", "x" * 129, ".2", "2>"])
async def test_what_is_no_name_of_a_release_is_told(ask: Callable[..., Any], wish: str) -> None:
    answer = await ask("10.1.0.7", x_hanse_release=wish)
    assert answer.status == 400
    assert "expected one release in X-Hanse-Release" in answer.json["detail"]


def test_where_nothing_is_said_nobody_chooses_and_what_is_no_network_is_told() -> None:
    assert GatewaySettings().forcing == ()
    settings = Settings(gateway=GatewaySettings(forcing=("testers.example",)))
    with pytest.raises(Misconfigured, match=r"gateway\.forcing: expected an address such as 10.0.0.7"):
        _ = Gateway().rpc(Cafe).asgi(Node(APP, settings))
