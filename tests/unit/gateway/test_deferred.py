"""Writes that are answered later."""

import asyncio
from typing import Any

import msgspec
import pytest

from hanse.contract.model import Resource
from hanse.gateway.asgi import Request, Response
from hanse.gateway.deferred import DEFERRED_BYTES_MAX, DEFERRED_MAX, KEPT_SECONDS, Deferrals
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits
from hanse.gateway.prefer import CHARACTERS_MAX, NONE, Preferences, preferences_in
from hanse.gateway.streams import Streams
from hanse.kernel.faults import NotFound, Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Identity

Door = Any
Opened = Any
Json = Any

pytestmark = pytest.mark.virtual_time

LATER = Preferences(later=True)


def request(method: str = "GET", **parameters: str) -> Request:
    async def never() -> Any:  # noqa: ANN401 - an ASGI event
        await asyncio.Event().wait()

    made = Request({"type": "http", "method": method, "path": "/"}, never, never)  # type: ignore[arg-type]
    made.parameters = parameters
    return made


async def quickly() -> Response:
    return Response(201, b'{"id":"1"}', ((b"etag", b'"7"'), (b"x-other", b"1")))


async def slowly() -> Response:
    await asyncio.sleep(5)
    return Response(204, type="")


@pytest.fixture
def streams(host: Host) -> Streams:
    return Streams(Limits(), host)


@pytest.fixture
def deferrals(streams: Streams) -> Deferrals:
    return Deferrals("/deferred", streams)


async def told(deferrals: Deferrals, response: Response) -> Json:
    location = dict(response.headers)[b"location"].decode()
    answer = await deferrals.get(request(id=location.rpartition("/")[2]))
    assert answer is not None
    return msgspec.json.decode(answer.body)


async def test_what_was_never_deferred_is_not_found(door: Door) -> None:
    assert (await door("GET", "/deferred/none")).status == 404


async def test_who_does_not_prefer_it_is_answered_at_once(deferrals: Deferrals) -> None:
    assert (await deferrals.answer(request(), NONE, quickly)).status == 201
    assert len(deferrals) == 0


async def test_a_write_is_answered_where_its_location_says(door: Door) -> None:
    accepted = await door("POST", "/orders", {"id": "1", "sku": "tea"}, prefer="respond-async, return=representation")
    running = accepted.json
    await asyncio.sleep(1)
    done = await door("GET", accepted.headers["location"])

    assert (accepted.status, accepted.headers["preference-applied"]) == (202, "respond-async")
    assert (running["status"], done.json["status"]) == ("running", "done")
    assert done.json["answer"]["status"] == 201
    assert done.json["answer"]["headers"]["location"] == "/orders/1"
    assert (await door("GET", "/orders/1")).json["sku"] == "tea"
    known = await door("GET", accepted.headers["location"], if_none_match=done.headers["etag"])
    assert (known.status, known.body) == (304, b"")


@pytest.mark.parametrize(
    ("method", "path", "value", "status"),
    [
        ("POST", "/orders", {}, 422),
        ("PUT", "/orders/1", {"sku": "tea"}, 201),
        ("PATCH", "/orders/9", {}, 404),
        ("DELETE", "/orders/9", None, 404),
        ("DELETE", "/orders?id=9", None, 404),
    ],
)
async def test_every_write_may_be_deferred_and_its_faults_are_told(
    door: Door, method: str, path: str, value: Json, status: int
) -> None:
    accepted = await door(method, path, value, prefer="respond-async")
    await asyncio.sleep(1)
    answer = (await door("GET", accepted.headers["location"])).json

    assert accepted.status == 202
    assert answer["answer"]["status"] == status
    assert answer["status"] == ("done" if status < 400 else "failed")


async def test_a_body_that_cannot_be_read_is_refused_at_once(door: Door) -> None:
    assert (await door("POST", "/orders", b"{}", content_type="text/plain", prefer="respond-async")).status == 415


async def test_who_would_wait_is_answered_if_it_does_not_take_longer(deferrals: Deferrals) -> None:
    soon = await deferrals.answer(request(), Preferences(later=True, wait=10), slowly)
    late = await deferrals.answer(request(), Preferences(later=True, wait=1), slowly)

    assert (soon.status, late.status) == (204, 202)
    assert len(deferrals) == 1
    await asyncio.sleep(10)
    assert (await told(deferrals, late))["answer"]["body"] is None


async def test_a_deferred_write_is_followed_until_it_ends(deferrals: Deferrals) -> None:
    accepted = await deferrals.answer(request(), LATER, slowly)
    sent: list[bytes] = []

    async def send(event: Json) -> None:
        sent.append(event.get("body", b""))

    following = request(id=dict(accepted.headers)[b"location"].decode().rpartition("/")[2])
    asking = {**following.scope, "headers": [(b"accept", b"text/event-stream")]}
    stream = Request(asking, following.receive, send)
    stream.parameters = following.parameters
    await deferrals.get(stream)

    events = b"".join(sent).decode().split("\n\n")
    assert [event.partition("\n")[0] for event in events if "data" in event] == [
        "event: status",
        "event: status",
        "event: end",
    ]
    assert '"running"' in events[1]
    assert '"status":204' in events[2]


async def test_a_drain_waits_for_what_was_deferred_and_takes_no_more(streams: Streams, deferrals: Deferrals) -> None:
    accepted = await deferrals.answer(request(), LATER, slowly)
    await streams.drain()

    assert (await told(deferrals, accepted))["status"] == "done"
    with pytest.raises(Unavailable):
        await deferrals.answer(request(), LATER, quickly)


async def test_there_are_only_so_many_under_way_and_those_that_ended_make_room(deferrals: Deferrals) -> None:
    for _ in range(DEFERRED_MAX):
        await deferrals.answer(request(), LATER, slowly)
    with pytest.raises(Overloaded):
        await deferrals.answer(request(), LATER, quickly)

    await asyncio.sleep(10)
    assert (await deferrals.answer(request(), LATER, quickly)).status == 202
    assert len(deferrals) == DEFERRED_MAX


async def test_an_answer_is_kept_for_a_while(deferrals: Deferrals) -> None:
    accepted = await deferrals.answer(request(), LATER, quickly)
    await asyncio.sleep(KEPT_SECONDS - 1)
    assert (await told(deferrals, accepted))["status"] == "done"
    await asyncio.sleep(2)
    with pytest.raises(NotFound):
        await told(deferrals, accepted)


async def test_answers_that_are_large_together_push_out_the_oldest(deferrals: Deferrals) -> None:
    async def large() -> Response:
        return Response(200, b'"%b"' % (b"x" * (DEFERRED_BYTES_MAX // 2)))

    first, second, third = [await deferrals.answer(request(), LATER, large) for _ in range(3)]
    await asyncio.sleep(1)

    for forgotten in (first, second):
        with pytest.raises(NotFound):
            await told(deferrals, forgotten)
    assert (await told(deferrals, third))["status"] == "done"


async def test_what_is_waited_for_is_answered_though_it_was_pushed_out(deferrals: Deferrals) -> None:
    async def large() -> Response:
        asyncio.get_running_loop().call_soon(deferrals._forget)
        return Response(200, b'"%b"' % (b"x" * DEFERRED_BYTES_MAX))

    assert (await deferrals.answer(request(), Preferences(later=True, wait=10), large)).status == 200


async def test_what_somebody_else_deferred_is_not_found(opened: Opened, order: type[Resource]) -> None:
    async def identify(headers: Any) -> Identity:  # noqa: ANN401 - of strings
        return Identity(headers.get("who", ""), headers.get("tenant", ""))

    door = opened(Gateway(identify=identify).resources(order))
    ada = {"who": "ada", "tenant": "a"}
    accepted = await door("POST", "/orders", {"sku": "tea"}, prefer="respond-async", **ada)

    for other in ({**ada, "who": "ben"}, {**ada, "tenant": "b"}, {}):
        assert (await door("GET", accepted.headers["location"], **other)).status == 404
    assert (await door("GET", accepted.headers["location"], **ada)).status == 200


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
