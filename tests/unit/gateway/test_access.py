"""The access log: a line for each request that is over, by route and without secrets; and none unless it is wanted."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from hanse.contract.model import Resource
from hanse.gateway.asgi import Receive, Scope, Send
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Unauthenticated
from hanse.kernel.host import Host
from hanse.kernel.message import Identity
from hanse.kernel.settings import GatewaySettings, LogSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service

Door = Any
Doors = Callable[..., Door]

pytestmark = pytest.mark.virtual_time

SETTINGS = Settings(log=LogSettings(access="on"), gateway=GatewaySettings(trusted_proxies=("127.0.0.1",)))


@pytest.fixture
async def doors(opened: Callable[[Gateway], Door], shop: type[Service], host: Host) -> AsyncIterator[Doors]:
    """The door of a node that logs what it is asked."""
    async with Node(App("shop", shop), SETTINGS, host=host) as node:

        def made(gateway: Gateway | None = None) -> Door:
            gateway = gateway or Gateway.everything([shop])
            door = opened(gateway)
            door.app = gateway.asgi(node)
            return door

        yield made


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """What was logged since, by the names that programs read."""
    caplog.set_level(logging.INFO, "hanse.access")

    def read() -> list[dict[str, Any]]:
        found = [
            {**{key: value for key, value in vars(one).items() if "." in key}, "text": one.getMessage(), "record": one}
            for one in caplog.records
            if one.name == "hanse.access"
        ]
        caplog.clear()
        return found

    return read


Lines = Callable[[], list[dict[str, Any]]]


async def test_nothing_is_logged_unless_it_is_wanted(door: Door, lines: Lines) -> None:
    await door("GET", "/count/2")

    assert lines() == []


async def test_a_request_is_told_by_its_route_and_without_its_query(doors: Doors, lines: Lines) -> None:
    answer = await doors()("GET", "/orders/42?token=secret", x_forwarded_for="192.0.2.7", x_request_id="mine")
    [line] = lines()

    assert answer.status == 422
    assert (line["http.request.method"], line["http.route"]) == ("GET", "/orders/{id}")
    assert (line["http.response.status_code"], line["http.response.body.size"]) == (answer.status, len(answer.body))
    assert (line["client.address"], line["record"].request_id) == ("192.0.2.7", "mine")
    assert line["http.server.request.duration"] >= 0
    assert "secret" not in str(vars(line["record"]))
    assert line["text"].startswith("GET /orders/{id} 422 ")


async def test_who_is_refused_before_the_route_is_looked_for_is_told_by_it_too(
    doors: Doors, lines: Lines, order: type[Resource]
) -> None:
    async def nobody(_headers: Mapping[str, str]) -> Identity:
        raise Unauthenticated

    await doors(Gateway(identify=nobody).resources(order))("GET", "/orders/42")

    assert lines()[0]["http.route"] == "/orders/{id}"


async def test_a_path_that_nothing_answers_is_told_as_it_came_in_one_line(doors: Doors, lines: Lines) -> None:
    door = doors()
    await door("GET", "/no" + "x" * 300)
    await door("GET", "/no\x1b[31m")
    long, odd = lines()

    assert (len(long["url.path"]), "http.route" in long) == (200, False)
    assert odd["url.path"] == r"'/no\x1b[31m'"


async def test_an_answer_to_head_has_no_bytes(doors: Doors, lines: Lines) -> None:
    await doors()("HEAD", "/openapi.json")

    assert lines()[0]["http.response.body.size"] == 0


async def test_health_and_figures_are_not_told(doors: Doors, lines: Lines) -> None:
    door = doors()
    for path in ("/livez", "/readyz", "/metrics", "/docs"):
        await door("GET", path)

    assert lines() == []


async def test_streams_and_sockets_are_told_when_they_are_over(doors: Doors, lines: Lines, shop: type[Service]) -> None:
    gateway = Gateway.everything([shop])

    @gateway.get("/raw")
    async def raw() -> object:
        async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 203, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        return answer

    door = doors(gateway)
    await door("GET", "/count/2")
    stream = door.open("/orders")
    await stream.next()
    stream.leave()
    await stream.ended.wait()
    talk = await door.socket()
    talk.leave("websocket")
    await talk.ended.wait()
    await door("GET", "/raw")
    told = [(one["http.route"], one["http.response.status_code"]) for one in lines()]

    assert told == [("/count/{upto}", 200), ("/orders", 200), ("/live", 101), ("/raw", 203)]


async def test_a_client_that_goes_in_its_body_is_told_as_gone(doors: Doors, lines: Lines) -> None:
    door = doors()
    wire = door.open("/orders", method="POST", content_type="application/json", content_length="10")
    wire.sent.get_nowait()
    wire.leave()
    await wire.ended.wait()
    [line] = lines()

    assert (line["error.type"], "http.response.status_code" in line) == ("cancelled", False)
    assert " gone " in line["text"]
