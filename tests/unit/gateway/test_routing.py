"""`/routez`: whom it answers, and what it tells."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanse.gateway.gateway import Gateway
from hanse.gateway.routing import FIELDS_MAX, asked_in
from hanse.kernel.faults import Malformed
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.kernel.route import Route
from hanse.kernel.settings import GatewaySettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.mesh.routed import Routed
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service
from hanse.testing.local import LocalNetwork
from hanse.transport.base import Features
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport

Door = Any  # what the fixtures give is defined in conftest.py, which cannot be imported

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def apart(host: Host, tasks: Tasks, shop: type[Service], door: Door) -> AsyncIterator[Door]:
    """The door of a node that hosts the shop, as another one does of another release."""
    network = LocalNetwork()
    here, there = (Announcement(name, "", app="shop", release=name[-1]) for name in ("one-1", "two-2"))
    one, two = (
        Routed(said, MemoryTransport(), network.direct(said.instance), network.discovery(), host=host)
        for said in (here, there)
    )
    routes = {"shop": Route(releases={"2": 1}, source="hanse.toml")}
    async with (
        Node(App("shop", shop), Settings(routes=routes), host=host, transport=one) as node,
        Node(App("shop", shop), host=host, transport=two),
    ):
        yield type(door)(Gateway.everything([shop]).asgi(node), tasks)


async def test_it_tells_who_would_answer_and_why_not_others(apart: Door) -> None:
    answer = await apart("GET", "/routez?address=shop.reserve")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    told = json.loads(answer.body)
    assert (told["summary"], told["release"], told["route"]) == (
        "two-2 would be asked, of 2 that are given calls and 2 that serve shop",
        "2",
        "routes.shop (hanse.toml)",
    )
    assert [(one["instance"], one["taken"], one["why"]) for one in told["candidates"]] == [
        ("two-2", True, "taken: is drawn by its weight, and asked if it is the lighter of two"),
        ("one-1", False, "runs in this process, but a route wants another"),
    ]


async def test_it_tells_which_nodes_there_are(apart: Door) -> None:
    told = json.loads((await apart("GET", "/nodez")).body)
    assert [(one["instance"], one["services"], one["release"], one["state"]) for one in told] == [
        ("one-1", ["shop"], "1", "in"),
        ("two-2", ["shop"], "2", "in"),
    ]


async def test_in_one_process_there_is_one_node(door: Door) -> None:
    (told,) = json.loads((await door("GET", "/nodez")).body)
    assert (told["services"], "since" in told) == (["shop"], True)


async def test_in_one_process_there_is_nothing_to_choose(door: Door) -> None:
    told = json.loads((await door("GET", "/routez?address=shop.reserve")).body)
    assert told == {
        "address": "shop.reserve",
        "summary": "messages stay within this process: whoever serves shop in it is asked",
        "release": "",
        "candidates": [],
        "route": "",
    }


async def test_to_a_stranger_it_is_as_if_there_were_nothing(
    host: Host, tasks: Tasks, shop: type[Service], door: Door
) -> None:
    settings = Settings(gateway=GatewaySettings(metrics_token="s3cret"))
    async with Node(App("shop", shop), settings, host=host) as node:
        guarded = type(door)(Gateway.everything([shop]).asgi(node), tasks)
        assert (await guarded("GET", "/routez?address=shop.reserve")).status == 403
        right = {"authorization": "Bearer s3cret"}
        assert (await guarded("GET", "/routez?address=shop.reserve", **right)).status == 200
        assert (await guarded("GET", "/nodez")).status == 403
        assert (await guarded("GET", "/nodez", **right)).status == 200


async def test_a_transport_that_cannot_tell_is_told_of(
    host: Host, tasks: Tasks, shop: type[Service], door: Door
) -> None:
    class Mute(MemoryTransport):
        features: Features = Features(durable=False, balances=True)

    async with Node(App("shop", shop), host=host, transport=Mute()) as node:
        asked = type(door)(Gateway.everything([shop]).asgi(node), tasks)
        answer = await asked("GET", "/nodez")
        assert (answer.status, b"does not know which nodes there are" in answer.body) == (503, True)


async def test_what_is_asked_wrongly_is_refused_with_what_is_expected(door: Door) -> None:
    answer = await door("GET", "/routez?address=shop")
    assert answer.status == 400
    assert "expected ?address=SERVICE.OPERATION, got 'shop'" in answer.body.decode()
    unknown = await door("GET", "/routez?address=shop.nope")
    assert (unknown.status, unknown.json["code"]) == (404, "unknown_operation")
    assert "shop has no operation 'nope'; it has " in unknown.json["detail"]


def test_what_a_call_carries_can_be_said() -> None:
    query = "address=a.b&subject=ada&tenant=acme&release=2&tag.beta=yes&header.x-plan=gold"
    assert asked_in(query) == (
        "a.b",
        Headers(identity=Identity("ada", "acme"), release="2", tags={"beta": "yes"}, extra={"x-plan": "gold"}),
    )


@pytest.mark.parametrize("query", ["address=a.b&x=y", "address=a.b&tag.=y", "", "&".join(["address=a.b"] * 200)])
def test_what_calls_do_not_carry_is_refused(query: str) -> None:
    with pytest.raises(Malformed, match=f"expected|{FIELDS_MAX}"):
        asked_in(query)
