"""Operations that are answered later, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.message import Identity
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.job import progress
from hanse.service.service import Service

Door = Any
Opened = Any

pytestmark = pytest.mark.virtual_time


class Line(Resource):
    text: str


class Jammed(Fault, status=409, detail="page {page} is stuck"):
    page: int


class Printer(Service):
    lines: Collection[Line]

    @rpc(faults=(Jammed,))
    async def print(self, text: str, pages: int = 1) -> dict[str, int]:
        for page in range(pages):
            await progress(page / pages, f"page {page + 1}")
            await asyncio.sleep(1.0)
            if text == "thick":
                raise Jammed(page + 1)
        await self.lines.create(Line(text=text))
        return {"pages": pages}

    @rpc(route="GET /ink")
    async def ink(self) -> int:
        return 7

    @rpc(route="DELETE /ink/{color}")
    async def spill(self, color: str) -> str:
        return color

    @rpc
    async def pages(self) -> AsyncIterator[int]:
        yield 1


@pytest.fixture
async def node(host: Host) -> AsyncIterator[Node]:
    async with Node(App("office", Printer), host=host) as node:
        yield node


async def identify(headers: Any) -> Identity:  # noqa: ANN401 - of strings
    return Identity(headers.get("who", "")) if "who" in headers else Identity()


@pytest.fixture
def door(opened: Opened) -> Door:
    return opened(Gateway(identify=identify).rpc(Printer))


PRINT = "/rpc/printer/print"


async def test_what_the_client_would_not_wait_for_is_found_where_it_is_told(door: Door) -> None:
    accepted = await door("POST", PRINT, {"text": "a", "pages": 4}, prefer="respond-async")
    at = accepted.headers["location"]
    await asyncio.sleep(2.5)
    running = await door("GET", at)
    await asyncio.sleep(2.0)
    done = await door("GET", at)

    assert (accepted.status, accepted.headers["preference-applied"]) == (202, "respond-async")
    assert at == f"/operations/{accepted.json['id']}"
    assert accepted.json["status"] == "waiting"
    assert (running.json["status"], running.json["progress"], running.json["text"]) == ("running", 0.5, "page 3")
    assert running.headers["retry-after"] == "1"
    assert (done.json["status"], done.json["progress"]) == ("done", 1.0)
    assert done.json["answer"] == {"status": 200, "headers": {}, "body": {"pages": 4}}
    assert "retry-after" not in done.headers


async def test_what_is_quick_enough_is_answered_at_once(door: Door) -> None:
    prefer = "respond-async, wait=5"
    quick = await door("POST", PRINT, {"text": "a"}, prefer=prefer)
    failed = await door("POST", PRINT, {"text": "thick"}, prefer=prefer)
    slow = await door("POST", PRINT, {"text": "a", "pages": 9}, prefer=prefer)

    assert (quick.status, quick.json) == (200, {"pages": 1})
    assert (failed.status, failed.json["fields"]) == (409, {"page": 1})
    assert (slow.status, slow.json["status"], slow.json["text"]) == (202, "running", "page 5")


async def test_a_job_that_failed_tells_its_problem(door: Door) -> None:
    accepted = await door("POST", PRINT, {"text": "thick"}, prefer="respond-async")
    await asyncio.sleep(2.0)
    failed = (await door("GET", accepted.headers["location"])).json

    assert failed["status"] == "failed"
    assert failed["answer"]["status"] == 409
    assert failed["answer"]["body"]["code"] == "jammed"


async def test_a_job_is_cancelled(door: Door, node: Node) -> None:
    accepted = await door("POST", PRINT, {"text": "a", "pages": 100}, prefer="respond-async")
    at = accepted.headers["location"]
    await asyncio.sleep(3.5)
    cancelled = await door("DELETE", at)
    await asyncio.sleep(200.0)
    later = await door("GET", at)

    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    assert later.json == cancelled.json
    assert await node.collection(Line).count() == 0


async def test_a_job_is_followed_until_it_ends(door: Door) -> None:
    accepted = await door("POST", PRINT, {"text": "a", "pages": 2}, prefer="respond-async")
    stream = await door("GET", accepted.headers["location"], accept="text/event-stream")
    events = [line.removeprefix("data: ") for line in stream.body.decode().splitlines() if line.startswith('data: {"')]
    told = [msgspec.json.decode(event) for event in events]

    assert [one["progress"] for one in told if one["status"] == "running" and "progress" in one] == [0.0, 0.5]
    assert told[-1]["answer"]["body"] == {"pages": 2}
    assert b"event: end" in stream.body


async def test_a_request_with_the_same_key_is_the_same_job(door: Door, node: Node) -> None:
    first, again = [
        await door("POST", PRINT, {"text": "a"}, prefer="respond-async", idempotency_key="k1") for _ in range(2)
    ]
    other = await door("POST", PRINT, {"text": "b"}, prefer="respond-async", idempotency_key="k1")
    await asyncio.sleep(2.0)

    assert first.headers["location"] == again.headers["location"]
    assert (other.status, other.json["code"]) == (422, "key_reused")
    assert await node.collection(Line).count() == 1


async def test_what_somebody_else_asked_for_is_not_there(door: Door) -> None:
    accepted = await door("POST", PRINT, {"text": "a", "pages": 9}, prefer="respond-async", who="ada")
    at = accepted.headers["location"]
    await asyncio.sleep(1.0)

    for method in ("GET", "DELETE"):
        assert (await door(method, at, who="ben")).status == 404
        assert (await door(method, at)).status == 404
    assert (await door("GET", at, who="ada")).json["status"] == "running"


@pytest.mark.parametrize("id", ["x", "printer.", "printer.x", "printers.x", ".", "%2e%2e", "a" * 3_000])
async def test_what_is_no_job_is_not_there(door: Door, id: str) -> None:
    for method in ("GET", "DELETE"):
        assert (await door(method, f"/operations/{id}")).status == 404


async def test_wrong_arguments_are_told_at_once(door: Door) -> None:
    refused = await door("POST", PRINT, {"pages": "many"}, prefer="respond-async")
    assert refused.status == 422


async def test_what_only_reads_or_streams_is_answered_as_ever(door: Door) -> None:
    assert (await door("GET", "/ink", prefer="respond-async")).json == 7
    stream = await door("POST", "/rpc/printer/pages", {}, prefer="respond-async")
    assert (stream.status, stream.body.strip()) == (200, b"1")
    assert (await door("DELETE", "/ink/red", prefer="respond-async")).status == 202


async def test_the_document_tells_of_jobs(door: Door) -> None:
    paths = (await door("GET", "/openapi.json")).json["paths"]

    assert {"get", "delete", "parameters"} == set(paths["/operations/{id}"])
    assert "Location" in paths[PRINT]["post"]["responses"]["202"]["headers"]
    assert "202" not in paths["/ink"]["get"]["responses"]
