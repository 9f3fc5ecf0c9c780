"""Bodies come whole, of the right type, in time and within their limit, or not at all."""

import asyncio
from collections.abc import Iterable

import msgspec
import pytest

from hanse.gateway.asgi import Event, Request
from hanse.gateway.body import read_body
from hanse.gateway.limits import Limits
from hanse.gateway.problem import RequestTimeout, UnsupportedMediaType
from hanse.kernel.faults import Cancelled, TooLarge

pytestmark = pytest.mark.virtual_time

LIMITS = Limits(body_bytes=10)
JSON = (b"content-type", b"application/json; charset=utf-8")


def request(parts: Iterable[bytes | None], *headers: tuple[bytes, bytes], last: bool = True) -> Request:
    """One whose body comes in parts; None stands for a client that leaves, and none at all for one that waits."""
    events: list[dict[str, object]] = [
        {"type": "http.disconnect"} if part is None else {"body": part, "more_body": True} for part in parts
    ]
    if last and events:
        events[-1]["more_body"] = False

    async def receive() -> Event:
        return {"type": "http.request", **events.pop(0)} if events else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(event: Event) -> None:
        raise AssertionError(event)

    return Request({"type": "http", "method": "POST", "path": "/", "headers": [JSON, *headers]}, receive, send)


async def test_a_length_over_the_limit_is_refused_before_the_body_comes() -> None:
    with pytest.raises(TooLarge, match="10 bytes"):
        await read_body(request([], (b"content-length", b"11")), LIMITS)


async def test_a_body_without_a_length_is_refused_when_it_passes_the_limit() -> None:
    with pytest.raises(TooLarge):
        await read_body(request([b"123456", b"123456"], last=False), LIMITS)


async def test_a_body_that_does_not_come_is_given_up_after_the_grace() -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(RequestTimeout, match="expected 240 bytes of the body a second, got 1 in all"):
        await read_body(request([b"1"], last=False), LIMITS)

    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0 + 1 / 240)


async def test_a_body_of_any_rate_has_an_end() -> None:
    asked = request([b"1"], last=False)
    with pytest.raises(RequestTimeout, match="the whole body within 30 s"):
        await read_body(asked, msgspec.structs.replace(LIMITS, body_rate=0))


async def test_a_body_that_keeps_the_least_rate_is_given_up_at_the_end_alone() -> None:
    limits = Limits(body_rate=100)

    async def receive() -> Event:
        await asyncio.sleep(1)
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    asked = request([])
    asked.receive = receive
    with pytest.raises(RequestTimeout, match="the whole body within 30 s"):
        await read_body(asked, limits)


async def test_a_client_that_leaves_is_not_answered() -> None:
    with pytest.raises(Cancelled):
        await read_body(request([b"1", None], last=False), LIMITS)


async def test_a_body_of_no_type_is_refused() -> None:
    asked = request([b"1"])
    with pytest.raises(UnsupportedMediaType, match="text/csv"):
        await read_body(asked, LIMITS, ("text/csv",))


async def test_a_body_comes_in_parts() -> None:
    assert await read_body(request([b"12", b"", b"34"]), LIMITS) == b"1234"
    assert await read_body(request([b""]), LIMITS) == b""


async def test_a_body_that_is_whole_by_its_length_is_not_waited_for() -> None:
    assert await read_body(request([b"12", b"34"], (b"content-length", b"4"), last=False), LIMITS) == b"1234"


async def test_a_length_that_no_number_can_be_is_not_believed() -> None:
    assert await read_body(request([b"12"], (b"content-length", b"9" * 5000)), LIMITS) == b"12"


async def test_a_length_beside_chunks_is_not_believed() -> None:
    lengths = ((b"content-length", b"2"), (b"transfer-encoding", b"chunked"))
    assert await read_body(request([b"12", b"34"], *lengths), LIMITS) == b"1234"
