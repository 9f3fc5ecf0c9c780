"""Content codings (RFC 9110, section 8.4): answers are compressed where that pays, bodies are taken compressed.

gzip alone: the standard library has it, and every client. A compressed answer is another representation, so a strong
ETag gets a suffix, which is taken off again from the conditions that come back.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import cast

import msgspec

from hanse.gateway.asgi import Header, Request, Response
from hanse.gateway.limits import Limits
from hanse.gateway.problem import UnsupportedCoding
from hanse.kernel.faults import Malformed, TooLarge

LEVEL = 5
"""Of 9: twice as fast as the usual 6, for a few per cent more bytes."""

LARGE_BYTES = 64 * 1024
"""Of an answer that is compressed in a thread: more would hold up the loop for a millisecond."""

FREE_BYTES = 64 * 1024
"""Of a body that may come of any number of compressed ones."""

_GZIP = 16 + zlib.MAX_WBITS
_PLAIN = re.compile(r"text/(?!event-stream)|application/([a-z0-9.+-]*\+)?(json|jsonl|xml|javascript|yaml)\b|image/svg")
_SUFFIX = b'-gzip"'
_WEIGHT = re.compile(r"q=(0(\.\d{0,3})?|1(\.0{0,3})?)")
_CODINGS_MAX = 20


def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip suits a client at least as well as no coding.

    Example:
        >>> takes_gzip("gzip, br"), takes_gzip("gzip;q=0"), takes_gzip("gzip;q=0.5, identity"), takes_gzip("*;q=0.1")
        (True, False, False, True)
    """
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(",")[:_CODINGS_MAX]:
        name, _, parameter = part.partition(";")
        match = _WEIGHT.fullmatch(parameter.strip())
        if not parameter.strip() or match:
            weights[name.strip()] = float(match[1]) if match else 1.0
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0.0 and gzip >= weights.get("identity", 0.0)


def may_be_coded(response: Response, limits: Limits) -> bool:
    """Whether `coded` could make another answer of it; most are small, and need not be looked at further."""
    small = not limits.compress_bytes or len(response.body) < limits.compress_bytes
    return not small or response.status == 304  # noqa: PLR2004 - Not Modified


async def coded(request: Request, response: Response, limits: Limits) -> Response:
    """The answer, compressed where the client takes that and it pays; the same for HEAD as for GET."""
    if response.status == 304 and _came_coded(request):  # noqa: PLR2004 - Not Modified
        return msgspec.structs.replace(response, headers=_suffixed(response.headers))
    if not limits.compress_bytes or len(response.body) < limits.compress_bytes or not _PLAIN.match(response.type):
        return response
    names = {name for name, _ in response.headers}
    if b"content-encoding" in names or b"content-range" in names:
        return response
    vary: Header = (b"vary", b"Accept-Encoding")
    if not takes_gzip(request.header(b"accept-encoding")):
        return msgspec.structs.replace(response, headers=(*response.headers, vary))
    large = len(response.body) > LARGE_BYTES
    body = await asyncio.to_thread(deflated, response.body) if large else deflated(response.body)
    headers = (*_suffixed(response.headers), vary, (b"content-encoding", b"gzip"))
    return Response(response.status, body, headers, response.type)


def deflated(body: bytes) -> bytes:
    """Bytes as gzip; the same ones for the same body."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.flush()


def inflated(body: bytes, coding: str, limits: Limits) -> bytes:
    """A request's body without its coding.

    Raises:
        UnsupportedCoding: It is not gzip.
        TooLarge: It is more than a body may be, or many times what came.
        Malformed: It is no gzip, or not all of it.
    """
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in {"gzip", "x-gzip"}:
        raise UnsupportedCoding(name[:100])
    most = min(limits.body_bytes, max(FREE_BYTES, limits.inflate_ratio * len(body)))
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error:
        raise Malformed("expected a body in gzip, as its Content-Encoding says") from None
    if len(plain) > most:
        raise TooLarge("the body, unpacked,", f"{most} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise Malformed("expected a body that is one whole gzip stream, as its Content-Encoding says")
    return plain


def uncoded(request: Request) -> None:
    """Take the suffix from the ETags in a request's conditions: whoever compares them knows of no codings."""
    fields = request.fields
    if request.plain:
        return
    for name in (b"if-none-match", b"if-match"):
        value = fields.get(name)
        if value is not None and _SUFFIX in value:
            fields[name] = value.replace(_SUFFIX, b'"')


def _came_coded(request: Request) -> bool:
    headers = cast("list[Header]", request.scope.get("headers", []))
    return any(name == b"if-none-match" and _SUFFIX in value for name, value in headers)


def _suffixed(headers: tuple[Header, ...]) -> tuple[Header, ...]:
    return tuple(
        (name, value[:-1] + _SUFFIX) if name == b"etag" and value.startswith(b'"') else (name, value)
        for name, value in headers
    )
