"""Subscriptions are kept over REST by whoever is known, and the documents say how."""

from collections.abc import AsyncIterator, Mapping

import pytest
from openapi_spec_validator import validate
from tests.unit.gateway.conftest import Door

from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Unauthenticated
from hanse.kernel.host import Host
from hanse.kernel.message import Identity
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node

from .conftest import URL, OrderPaid, Outside, Shop

pytestmark = pytest.mark.virtual_time


async def identify(headers: Mapping[str, str]) -> Identity:
    name = headers.get("authorization", "").removeprefix("Bearer ")
    if not name:
        raise Unauthenticated
    return Identity(name)


@pytest.fixture
async def door(host: Host, outside: Outside, tasks: Tasks) -> AsyncIterator[Door]:
    gateway = Gateway("/api", identify=identify).webhooks(OrderPaid, sender=outside)
    async with Node(App("shop", Shop, gateway=gateway), host=host) as node:
        yield Door(gateway.asgi(node), tasks)


async def test_a_subscription_is_made_shown_changed_and_removed(door: Door) -> None:
    ada = "Bearer ada"
    made = await door("POST", "/api/webhooks", {"url": URL}, authorization=ada)
    assert (made.status, made.json["secret"][:6]) == (200, "whsec_")
    at = f"/api/webhooks/{made.json['subscription']['id']}"
    assert (await door("GET", "/api/webhooks", authorization=ada)).json["items"] == [made.json["subscription"]]
    assert (await door("PATCH", at, {"where": "total[gt]=1"}, authorization=ada)).json["where"] == "total[gt]=1"
    assert (await door("POST", f"{at}/secret", {"overlap": 0}, authorization=ada)).json["secret"][:6] == "whsec_"
    assert (await door("POST", f"{at}/ping", authorization=ada)).json["type"] == "ping"
    assert len((await door("GET", f"{at}/deliveries", authorization=ada)).json["items"]) == 1
    assert (await door("POST", f"{at}/replay", {}, authorization=ada)).json["count"] == 0
    assert (await door("GET", at, authorization="Bearer bob")).status == 404
    assert (await door("DELETE", at, authorization=ada)).status == 200
    assert (await door("GET", at, authorization=ada)).status == 404


async def test_nobody_unknown_has_any_and_what_cannot_be_is_told(door: Door) -> None:
    assert (await door("GET", "/api/webhooks")).status == 401
    inside = await door("POST", "/api/webhooks", {"url": "https://10.0.0.1/"}, authorization="Bearer ada")
    assert (inside.status, inside.json["code"]) == (422, "address_refused")


async def test_secrets_and_deliveries_are_reached_by_no_other_way(door: Door) -> None:
    for path in ("/api/webhook_secrets", "/api/webhook_deliveries", "/api/rpc/webhooks/listed"):
        assert (await door("GET", path, authorization="Bearer ada")).status == 404


async def test_the_document_holds(door: Door) -> None:
    document = (await door("GET", "/api/openapi.json", authorization="Bearer ada")).json
    validate(document)
    assert {"/webhooks", "/webhooks/{id}/replay"} <= document["paths"].keys()
