"""Writes of rows that are answered later: jobs of the service that owns them."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.gateway.prefer import CHARACTERS_MAX, NONE, Preferences, preferences_in
from hanse.kernel.codec import codec_for
from hanse.kernel.host import Host
from hanse.kernel.message import Identity
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.rows import rows_contract
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore

Door = Any
Opened = Any
Json = Any

pytestmark = pytest.mark.virtual_time

LATER = {"prefer": "respond-async"}


async def told(door: Door, accepted: Any) -> Json:  # noqa: ANN401 - an answer
    """How a write stands after a second."""
    await asyncio.sleep(1)
    return (await door("GET", accepted.headers["location"])).json


async def test_what_was_never_asked_for_is_not_found(door: Door) -> None:
    for name in ("none", "shop.none", "rows/orders.none"):
        assert (await door("GET", f"/operations/{name}")).status == 404


async def test_a_write_is_answered_where_its_location_says(door: Door) -> None:
    accepted = await door("POST", "/orders", {"id": "1", "sku": "tea"}, prefer="respond-async, return=representation")
    done = await told(door, accepted)

    assert (accepted.status, accepted.headers["preference-applied"]) == (202, "respond-async")
    assert (accepted.json["status"], accepted.json["operation"]) == ("waiting", "rows/orders.create")
    assert (done["status"], done["answer"]["status"], done["answer"]["body"]["sku"]) == ("done", 201, "tea")
    assert done["answer"]["headers"]["location"] == "/orders/1"
    assert done["answer"]["headers"]["etag"] == (await door("GET", "/orders/1")).headers["etag"]


@pytest.mark.parametrize(
    ("method", "path", "value", "status"),
    [
        ("POST", "/orders", {}, 422),
        ("POST", "/orders", [{"id": "1", "sku": "tea"}, {"id": "2", "sku": "ink"}], 201),
        ("PUT", "/orders/1", {"sku": "tea"}, 201),
        ("PATCH", "/orders/9", {}, 404),
        ("DELETE", "/orders/9", None, 404),
        ("DELETE", "/orders?id=9", None, 404),
    ],
)
async def test_every_write_may_be_answered_later_and_its_faults_are_told(
    door: Door, method: str, path: str, value: Json, status: int
) -> None:
    accepted = await door(method, path, value, **LATER)
    answer = await told(door, accepted)

    assert accepted.status == 202
    assert answer["answer"]["status"] == status
    assert answer["status"] == ("done" if status < 400 else "failed")


async def test_rows_that_are_removed_later_are_gone(door: Door) -> None:
    for id in "123":
        _ = await door("POST", "/orders", {"id": id, "sku": "tea"})
    one = await told(door, await door("DELETE", "/orders/1", **LATER))
    many = await told(door, await door("DELETE", "/orders?id=2&id=3", **LATER))

    assert (one["answer"]["status"], many["answer"]["status"]) == (204, 204)
    assert one["answer"]["body"] is None
    assert (await door("GET", "/orders")).json["items"] == []


async def test_conditions_hold_when_the_write_is_done(door: Door) -> None:
    """A row that somebody else has written meanwhile is not overwritten."""
    first = await door("POST", "/orders", {"id": "1", "sku": "tea"})
    later = await door("PUT", "/orders/1", {"sku": "ink"}, if_match=first.headers["etag"], **LATER)
    at_once = await door("PUT", "/orders/1", {"sku": "rum"}, if_match=first.headers["etag"])
    answer = await told(door, later)

    assert (at_once.status, answer["answer"]["status"]) == (200, 412)
    assert (await door("GET", "/orders/1")).json["sku"] == "rum"


@pytest.mark.parametrize(("id", "status"), [("1", 200), ("2", 412)])
async def test_a_row_is_written_over_whatever_is_there_but_not_over_nothing(door: Door, id: str, status: int) -> None:
    _ = await door("POST", "/orders", {"id": "1", "sku": "tea"})
    answer = await told(door, await door("PUT", f"/orders/{id}", {"sku": "ink"}, if_match="*", **LATER))
    assert answer["answer"]["status"] == status


@pytest.mark.parametrize(
    ("method", "path", "value", "status"),
    [
        ("POST", "/orders", {"sku": "tea", "colour": "red"}, 422),
        ("POST", "/orders", [], 422),
        ("PATCH", "/orders/1", {"colour": "red"}, 422),
        ("PUT", "/orders/1", {"colour": "red"}, 422),
    ],
)
async def test_what_can_be_refused_at_once_is(door: Door, method: str, path: str, value: Json, status: int) -> None:
    refused = await door(method, path, value, prefer="respond-async, handling=strict")
    assert refused.status == status


async def test_a_revision_that_is_required_is_asked_for_at_once(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway().resources(order, require_match=True))
    for method, value in (("PUT", {"sku": "tea"}), ("PATCH", {"sku": "tea"}), ("DELETE", None)):
        assert (await door(method, "/orders/1", value, **LATER)).status == 428


async def test_a_body_that_cannot_be_read_is_refused_at_once(door: Door) -> None:
    assert (await door("POST", "/orders", b"{}", content_type="text/plain", **LATER)).status == 415


async def test_who_would_wait_is_answered_as_they_like_it(door: Door) -> None:
    soon = await door("POST", "/orders", {"id": "1", "sku": "tea"}, prefer="respond-async, wait=10, return=minimal")
    assert (soon.status, soon.body, soon.headers["location"]) == (204, b"", "/orders/1")


async def test_a_repeat_under_the_same_key_is_told_of_the_same_job(door: Door) -> None:
    first, again = [await door("POST", "/orders", {"sku": "tea"}, idempotency_key='"k1"', **LATER) for _ in range(2)]
    _ = await told(door, first)

    assert first.headers["location"] == again.headers["location"]
    assert len((await door("GET", "/orders")).json["items"]) == 1


async def test_what_somebody_else_asked_for_is_not_found(opened: Opened, order: type[Resource]) -> None:
    async def identify(headers: Any) -> Identity:  # noqa: ANN401 - of strings
        return Identity(headers.get("who", ""), headers.get("tenant", ""))

    door = opened(Gateway(identify=identify).resources(order))
    ada = {"who": "ada", "tenant": "a"}
    accepted = await door("POST", "/orders", {"sku": "tea"}, **LATER, **ada)

    for other in ({**ada, "who": "ben"}, {**ada, "tenant": "b"}, {}):
        assert (await door("GET", accepted.headers["location"], **other)).status == 404
    assert (await door("GET", accepted.headers["location"], **ada)).status == 200


class Leaf(Resource):
    name: str


class Garden(Service):
    leaves: Collection[Leaf]


async def test_a_write_outlives_the_process_that_took_it_and_is_done_once(tmp_path: Path, host: Host) -> None:
    def stores(url: str) -> Store:
        return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())

    def node() -> Node:
        settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}"))
        return Node(App("garden", Garden), settings, host=host, stores=stores)

    operation = rows_contract(Leaf).operations["create"]
    async with node() as one:
        body = codec_for(operation.arguments).encode(operation.arguments(value=b'{"name": "oak"}'))
        job = await one.jobs("garden").start(operation.address, body)
        await asyncio.sleep(1)
        jobs = one.hosted[0].jobs
        # As it is where the process dies after the row is there, and before the job knows.
        running = {"state": "running", "open": True, "ended_at": 0.0, "answer": b""}
        _ = await jobs.change(job.id, lambda job: msgspec.structs.replace(jobs.there("", job), **running))
    async with node() as two:
        await asyncio.sleep(1)
        last = await two.jobs("garden").get(job.id)
        leaves = [leaf.name async for leaf in two.collection(Leaf).scan()]

    assert (last.state, leaves) == ("done", ["oak"])


@pytest.mark.parametrize(
    ("header", "preferences"),
    [
        ("", NONE),
        ("shiny", NONE),
        ("return=nothing, handling=, wait=soon", NONE),
        ("RETURN=minimal", Preferences(minimal=True)),
        ('return="representation"; x=1', Preferences(minimal=False)),
        ("return=minimal, return=representation", Preferences(minimal=True)),
        ("handling = strict,respond-async , wait= 5", Preferences(strict=True, later=True, wait=5.0)),
        ("wait=99999999999999999999", Preferences(wait=30.0)),
        (';;=,=,"', NONE),
        (" " * CHARACTERS_MAX + "return=minimal", NONE),
    ],
)
def test_preferences_that_make_no_sense_are_passed_over(header: str, preferences: Preferences) -> None:
    assert preferences_in(header) == preferences
