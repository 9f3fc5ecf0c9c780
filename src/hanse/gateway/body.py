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
        announced = request.header(b"content-length")
        if announced.isdigit() and int(announced) > limits.body_bytes:
            raise _too_large(limits)
        body = await _waited_for(request, limits)
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


async def _waited_for(request: Request, limits: Limits) -> bytes:
    if request.room is None:
        return await _whole(request.receive, limits, lambda _: None)
    with request.room.body() as took:
        body = await _whole(request.receive, limits, took)
    request.room.check()
    return body


async def _whole(receive: Receive, limits: Limits, took: Took) -> bytes:
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
        if not event.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge("the body", f"{limits.body_bytes} bytes")
