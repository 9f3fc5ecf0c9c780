"""What a gateway exposes, and what it refuses to."""

from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from hanse.contract.declare import Contract, rpc
from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Misdeclared
from hanse.kernel.host import Host
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.service import Service

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Opened = Any

pytestmark = pytest.mark.virtual_time


class Greeter(Service):
    @rpc
    async def hello(self, name: str) -> str:
        return f"Hello, {name}!"


class Clock(Contract, Protocol):
    @rpc
    async def now(self) -> float: ...


class Routed(Service):
    @rpc(route="FETCH /x")
    async def fetch(self) -> None: ...


class Lost(Service):
    @rpc(route="GET /x/{nothing}")
    async def fetch(self) -> None: ...


class Clashing(Service):
    @rpc(route="GET /things")
    async def fetch(self) -> None: ...


class Thing(Resource): ...


class Keeper(Service):
    things: Collection[Thing]


class Reader(Service):
    things: Collection[Thing]


@pytest.mark.parametrize("prefix", ["api", "/api/", "/"])
def test_a_prefix_is_a_path(prefix: str) -> None:
    with pytest.raises(Misdeclared, match="expected a prefix such as /api"):
        Gateway(prefix)


def test_only_a_resource_is_exposed_as_one() -> None:
    for wrong in (Greeter, Thing(), "Thing"):
        with pytest.raises(Misdeclared, match="expected a Resource class"):
            Gateway().resources(cast("type[Resource]", wrong))


def test_a_resource_has_a_path_of_its_own() -> None:
    with pytest.raises(Misdeclared, match="without a slash at its end"):
        Gateway().resources(Thing, "/")


def test_only_a_contract_or_a_service_is_called() -> None:
    for wrong in (Thing, Greeter(), "Greeter"):
        with pytest.raises(Misdeclared, match="expected a contract or a Service class"):
            Gateway().rpc(cast("type", wrong))


def test_nothing_is_exposed_twice() -> None:
    with pytest.raises(Misdeclared, match="exposed already, at /a"):
        Gateway().resources(Thing, "/a").resources(Thing, "/b")
    with pytest.raises(Misdeclared, match="greeter is exposed already"):
        Gateway().rpc(Greeter).rpc(Greeter)
    with pytest.raises(Misdeclared, match="GET /things is declared twice"):
        Gateway().resources(Thing).rpc(Clashing)


def test_a_route_is_a_method_and_a_path_of_arguments() -> None:
    with pytest.raises(Misdeclared, match="expected one of DELETE, GET"):
        Gateway().rpc(Routed)
    with pytest.raises(Misdeclared, match=r"has \{nothing\} in its route, but its arguments are none"):
        Gateway().rpc(Lost)


def test_a_folder_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(Misdeclared, match="expected a folder"):
        Gateway().static("/", tmp_path / "nothing")


def test_everything_exposes_each_resource_once() -> None:
    declared = Gateway.everything([Keeper, Reader, Greeter]).declared()

    assert [resource.path for resource in declared.resources] == ["/things"]
    assert [item.path for item in declared.operations] == ["/rpc/greeter/hello"]


def test_a_contract_is_exposed_without_its_service() -> None:
    assert Gateway("/api").rpc(Clock).declared().operations[0].path == "/api/rpc/clock/now"


async def test_a_prefix_stands_before_all_but_health(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway("/api").resources(order))

    assert (await door("GET", "/api/orders")).status == 200
    assert (await door("GET", "/orders")).status == 404
    assert (await door("GET", "/api/openapi.json")).status == 200
    assert (await door("GET", "/livez")).json == {"status": "ok"}
    assert (await (await door.socket("/api/live")).say({})) is None


async def test_readiness_follows_the_node(door: Door, node: Node) -> None:
    ready = await door("GET", "/readyz?verbose")
    node.state = "draining"
    draining, served = await door("GET", "/readyz"), await door("GET", "/orders")
    node.state = "starting"
    starting = await door("GET", "/orders")

    assert (ready.status, ready.json["status"]) == (200, "ready")
    assert {name: one["state"] for name, one in ready.json["checks"].items()} == {"transport": "ok", "store:shop": "ok"}
    assert (draining.status, draining.json) == (503, {"status": "draining"})
    assert (served.status, served.headers["connection"]) == (200, "close")
    assert (starting.status, starting.json["code"]) == (503, "unavailable")
    assert (await door("GET", "/livez")).status == 200
    assert (await door("POST", "/livez")).status == 405


async def test_readiness_fails_with_a_dependency(door: Door, shop: type[Service], host: Host) -> None:
    async with Node(App("shop", shop), host=host) as node:
        door.app = Gateway().asgi(node)
        await node.hosted[0].store.close()
        answer = await door("GET", "/readyz?verbose")

    assert (answer.status, answer.json["status"]) == (503, "degraded")
    assert answer.json["checks"]["store:shop"] == {
        "state": "failing",
        "since": "2023-11-14T22:13:20Z",
        "why": "the store is closed: open it first",
    }


async def test_the_document_tells_what_is_exposed(door: Door) -> None:
    first, second = await door("GET", "/openapi.json"), await door("GET", "/openapi.json")

    assert first.json["info"]["title"] == "shop"
    assert {"/orders", "/orders/{id}", "/rpc/shop/reserve", "/stock/{sku}"} <= first.json["paths"].keys()
    assert first.body == second.body


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<h1>shop</h1>")
    (tmp_path / "app.js").write_text("live()")
    return tmp_path


async def test_files_are_served_where_nothing_else_is(opened: Opened, order: type[Resource], site: Path) -> None:
    door = opened(Gateway().resources(order).static("/", site).static("/more", site))

    assert (await door("GET", "/")).body == b"<h1>shop</h1>"
    assert (await door("GET", "/more/app.js")).body == b"live()"
    assert (await door("GET", "/orders")).json == {"items": [], "next": None}
    assert (await door("HEAD", "/app.js")).body == b""


async def test_what_is_no_file_is_a_problem(opened: Opened, site: Path) -> None:
    door = opened(Gateway().static("/files", site))

    assert (await door("GET", "/files/nothing")).json["code"] == "no_route"
    assert (await door("GET", "/elsewhere")).json["code"] == "no_route"
    assert (await door("GET", "/files/%2e%2e/secret")).status == 404
    assert (await door("PUT", "/files/app.js")).headers["allow"] == "GET, HEAD"


async def test_the_protocol_of_lifespans_is_answered(door: Door) -> None:
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    told: list[object] = []

    async def receive() -> dict[str, str]:
        return next(events)

    async def send(event: dict[str, str]) -> None:
        told.append(event["type"])

    await door.app({"type": "lifespan"}, receive, send)
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("path", ["/orders", "/nothing", "/docs", "/openapi.json"])
async def test_browsers_are_told_not_to_guess_what_an_answer_is(door: Door, path: str) -> None:
    assert (await door("GET", path)).headers["x-content-type-options"] == "nosniff"
