"""Reading a request's body, with limits on its size, its time and its type."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hanse.gateway.asgi import BODY, JSON, Receive, Request, TakeWhole
from hanse.gateway.coding import inflated
from hanse.gateway.depth import check_depth
from hanse.gateway.limits import Limits
from hanse.gateway.pace import body_seconds, too_slow
from hanse.gateway.problem import UnsupportedMediaType
from hanse.gateway.room import Took
from hanse.kernel.faults import Cancelled, TooLarge
from hanse.kernel.patience import OutOfTime, within

JSON_ONLY: tuple[str, ...] = (JSON,)
_JSON = JSON.encode()

LENGTH_DIGITS_MAX = 18
"""Of a length that is believed."""
ANYTHING: tuple[str, ...] = ()


async def read_body(request: Request, limits: Limits, types: Iterable[str] = JSON_ONLY) -> bytes:
    """The whole body.

    Args:
        request: Whose body.
        limits: How large, and how long it may take.
        types: The media types that are understood; a body has to say that it is of one of them. `ANYTHING` takes any
            bytes, unseen.

    Raises:
        TooLarge: It is over the limit, known from its length or found while reading.
        UnsupportedMediaType: It is of another type, or does not say.
        UnsupportedCoding: It is compressed with something else than gzip.
        Malformed: It is nested too deeply, or has a whole number of more than 64 bits.
        RequestTimeout: It did not arrive in time, or too slowly.
        Overloaded: Too many are waited for already, or, when it has come, too many requests are in work.
        Cancelled: The client has gone.
    """
    take: TakeWhole | None = request.extensions.get(BODY)
    body = None if take is None else take(request.receive)
    if body is None:
        announced = _announced(request)
        if announced > limits.body_bytes:
            raise _too_large(limits)
        body = await _waited_for(request, limits, announced)
    elif len(body) > limits.body_bytes:
        raise _too_large(limits)
    if b"content-encoding" in request.fields:
        body = inflated(body, request.header(b"content-encoding"), limits)
    if types is ANYTHING:
        return body
    if body and (types is not JSON_ONLY or request.fields.get(b"content-type") != _JSON):
        check_type(request.header(b"content-type"), types)
    return check_depth(body, limits)


def check_type(content_type: str, types: Iterable[str]) -> None:
    """Refuse a body of a type that is not understood.

    A browser sends JSON to another site only after asking, but sends a body without a type unasked: it is refused.
    """
    actual = content_type.partition(";")[0].strip().lower()
    if actual not in types:
        raise UnsupportedMediaType(" or ".join(types), actual or "no Content-Type")


def _announced(request: Request) -> int:
    """How long the body is, as its head says; -1 where it does not."""
    length = request.fields.get(b"content-length", b"")
    sound = length.isdigit() and len(length) <= LENGTH_DIGITS_MAX and b"transfer-encoding" not in request.fields
    return int(length) if sound else -1


async def _waited_for(request: Request, limits: Limits, announced: int) -> bytes:
    if request.room is None:
        return await _whole(request.receive, limits, announced, lambda _: None)
    with request.room.body() as took:
        body = await _whole(request.receive, limits, announced, took)
    request.room.check()
    return body


async def _whole(receive: Receive, limits: Limits, announced: int, took: Took) -> bytes:
    now = asyncio.get_running_loop().time
    began = now()
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            event = await within(body_seconds(size, limits) - (now() - began), receive())
        except OutOfTime:
            raise too_slow(size, limits) from None
        if event["type"] == "http.disconnect":
            raise Cancelled
        part: bytes = event.get("body", b"")
        size += len(part)
        if size > limits.body_bytes:
            raise _too_large(limits)
        took(len(part))
        parts.append(part)
        # Some servers tell that there is no more in an event of its own, which is a turn of the loop later.
        if size == announced or not event.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge("the body", f"{limits.body_bytes} bytes")
