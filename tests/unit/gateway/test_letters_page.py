"""`/deadletterz` answers operators, and nobody else; who acts is kept."""

from collections.abc import AsyncGenerator, Mapping, MutableMapping
from typing import Any

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.delivery.retry import Terminal
from hanse.gateway.asgi import Request
from hanse.gateway.front_door import Identify
from hanse.gateway.gateway import Gateway
from hanse.gateway.letters import LettersPage
from hanse.gateway.limits import Limits
from hanse.gateway.peer_user import own_user
from hanse.kernel.faults import Unauthenticated
from hanse.kernel.message import Identity
from hanse.kernel.settings import GatewaySettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.reaction import on
from hanse.service.service import Service

Answer = Any  # what the fixtures give is defined in conftest.py, which cannot be imported
Door = Any


class Rung(Event):
    times: int


class Bell(Service, events=(Rung,)):
    @rpc
    async def ring(self) -> None:
        await self.emit(Rung(times=1))

    @on(Rung)
    async def hear(self, event: Rung) -> None:
        raise Terminal("deaf")


APP = App("bells", Bell)


async def identify(headers: Mapping[str, str]) -> Identity:
    match headers.get("authorization"):
        case "Bearer ada":
            return Identity("ada", "acme", frozenset({"deadletters:write"}))
        case "Bearer eve":
            return Identity("eve", scopes=frozenset({"deadletters:read"}))
        case "Bearer bob":
            return Identity("bob")
        case _:
            raise Unauthenticated


@pytest.fixture
async def bells(request: pytest.FixtureRequest) -> AsyncGenerator[Node]:
    settings = Settings(gateway=GatewaySettings(**getattr(request, "param", {})))
    async with Node(APP, settings) as node:
        await node.client(Bell).ring()
        await node.settle()
        yield node


class Page:
    """Asks the page of a node."""

    def __init__(self, bells: Node, door: Door, tasks: Tasks, identify: Identify | None = None) -> None:
        self._door = type(door)(Gateway(identify=identify).asgi(bells), tasks)

    async def __call__(
        self, operation: str = "", arguments: object = None, service: str = "bell", **headers: str
    ) -> Answer:
        asked: dict[str, object] = {"service": service, "operation": operation, "arguments": arguments or {}}
        return await self._door("POST", "/deadletterz", asked if operation else {}, **headers)


async def test_whoever_asks_on_this_machine_is_an_operator(bells: Node, door: Door, tasks: Tasks) -> None:
    page = Page(bells, door, tasks)
    assert (await page()).json == ["bell"]
    [line] = (await page("find", {"which": {}})).json["items"]
    assert (line["code"], line["text"]) == ("terminal", "deaf")
    action = (await page("replay", {"which": {"ids": [line["id"]]}}, **{"hanse-operator": "ada"})).json
    assert (action["who"], action["asked"]) == ("ada", 1)
    assert (await page("stop", {"action": action["id"]})).status == 200


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"x-forwarded-for": "192.0.2.1"}, "ask without x-forwarded-for"),
        ({"origin": "http://localhost:8000"}, "a browser asks"),
        ({"host": "evil.example"}, "ask for localhost"),
    ],
)
@pytest.mark.parametrize("bells", [{}, {"metrics": "open"}], indirect=True)
async def test_proxies_and_pages_of_browsers_are_strangers(
    bells: Node, door: Door, tasks: Tasks, headers: dict[str, str], why: str
) -> None:
    answer = await Page(bells, door, tasks)("find", {"which": {}}, **headers)
    assert answer.status == 403
    assert why in answer.json["detail"]


@pytest.mark.parametrize("bells", [{}, {"metrics_token": "s3cret"}], indirect=True)
async def test_another_user_of_this_machine_needs_the_token(bells: Node) -> None:
    """Such as a proxy that does not say that it is one."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(_: MutableMapping[str, Any]) -> None:
        raise AssertionError("the page gives its answer")

    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer s3cret"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/deadletterz", "headers": headers, "client": ("127.0.0.1", 1)}
    page = LettersPage(bells, None, Limits(), user_of=lambda _: own_user() + 1)
    answer = await page(Request(scope, receive, send))
    has_token = bool(bells.settings.gateway.metrics_token)
    assert (answer.status, b"not as user" in answer.body) == ((200, False) if has_token else (403, True))


@pytest.mark.parametrize("bells", [{"metrics_token": "s3cret"}], indirect=True)
async def test_where_there_is_a_token_it_is_needed(bells: Node, door: Door, tasks: Tasks) -> None:
    page = Page(bells, door, tasks)
    assert (await page("groups")).status == 403
    assert (await page("groups", authorization="Bearer s3cret")).status == 200


@pytest.mark.parametrize("bells", [{"metrics_token": "s3cret"}], indirect=True)
async def test_who_is_known_acts_by_their_scopes(bells: Node, door: Door, tasks: Tasks) -> None:
    page = Page(bells, door, tasks, identify=identify)
    every: dict[str, object] = {"which": {}}
    assert (await page("replay", every, authorization="Bearer ada")).json["who"] == "acme/ada"
    assert (await page("groups", authorization="Bearer eve")).status == 200
    assert (await page("replay", every, authorization="Bearer eve")).status == 403
    assert (await page("groups", authorization="Bearer bob")).status == 403


@pytest.mark.parametrize("bells", [{"metrics": "off"}], indirect=True)
async def test_it_is_not_there_where_an_operators_pages_are_off(bells: Node, door: Door, tasks: Tasks) -> None:
    assert (await Page(bells, door, tasks)("groups")).status == 404


async def test_what_makes_no_sense_is_told(bells: Node, door: Door, tasks: Tasks) -> None:
    page = Page(bells, door, tasks)
    assert "expected a service, got 'horn'; there are bell" in (await page("groups", service="horn")).json["detail"]
    assert "expected one of groups, find" in (await page("burn")).json["detail"]
    assert (await page("get", {"id": 1})).json["errors"][0]["pointer"] == "/id"
    assert (await page("get", {"id": "x"})).status == 404
    plain = type(door)(Gateway().asgi(bells), tasks)
    assert (await plain("GET", "/deadletterz")).status == 405
    assert (await plain("OPTIONS", "/deadletterz")).status == 204
