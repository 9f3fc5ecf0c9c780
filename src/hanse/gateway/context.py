"""What a request brings along for its whole story: trace, business tags, id, idempotency key. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

from hanse.gateway.asgi import Request
from hanse.gateway.limits import KEY_CHARACTERS_MAX, TAGS_BYTES_MAX, TAGS_MAX
from hanse.kernel.faults import Forbidden, Malformed
from hanse.kernel.host import Host
from hanse.kernel.message import ANONYMOUS, BACKGROUND, SHADOW, Headers, Identity
from hanse.kernel.traceparent import new_trace, parse_traceparent

READING = frozenset({"GET", "HEAD", "OPTIONS", "QUERY"})
"""Methods that change nothing."""

_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]+)"|([\x21\x23-\x2b\x2d-\x7e]+)')
_ID = re.compile(r"[\x21-\x7e]{1,128}")


def headers_of(request: Request, host: Host, identity: Identity = ANONYMOUS) -> Headers:
    """The headers of a story that begins with this request; notes its ids in the request.

    A `traceparent` or `X-Request-Id` that is none is replaced by a new one.

    Raises:
        Malformed: The idempotency key is too long to be kept.
        Forbidden: It is marked as a copy, and nobody who is trusted says so.
    """
    if request.plain:
        traceparent = new_trace(host)
        request.id = request.trace_id = traceparent[3:35]
        return Headers(traceparent=traceparent, identity=identity, correlation_id=request.id)
    came = request.header(b"traceparent")
    trace = parse_traceparent(came) if came else None
    traceparent = came if trace else new_trace(host)
    request.trace_id = traceparent[3:35]
    name = request.header(b"x-request-id")
    if name and _ID.fullmatch(name):
        request.id = name
    else:
        # A story that begins here is this request's alone, so that one id is enough to look for.
        request.id = host.new_id() if trace else request.trace_id
    shadow = _is_shadow(request)
    return Headers(
        traceparent=traceparent,
        tracestate=request.header(b"tracestate") if trace else "",
        tags=tags_in(request.header(b"baggage")),
        identity=identity,
        correlation_id=request.id,
        idempotency_key="" if request.method in READING else _key(request),
        # Nobody gets the answer of a copy: whoever is busy sees to what people wait for.
        priority=BACKGROUND if shadow else 0,
        shadow=shadow,
    )


def _is_shadow(request: Request) -> bool:
    """Whether it is a copy, of which nothing lasts.

    Raises:
        Forbidden: It says so, and comes from nobody who is trusted. To handle it as any other would do twice what its
            original does, where an edge is not known as one.
    """
    if SHADOW not in request.fields:
        return False
    if not request.trusted:
        name, peer = SHADOW.decode(), request.address or "a socket without an address"
        raise Forbidden(f"{name} is believed of an edge alone; if {peer} is one, add it to gateway.trusted_proxies")
    return True


def _key(request: Request) -> str:
    """The idempotency key, with or without the quotes that a structured field has.

    Raises:
        Malformed: It is empty, too long to be kept, or has other characters than a key may; or the request is said to
            hold for several revisions, so that a repeat could not be told from another request.
    """
    came = request.header(b"idempotency-key")
    if not came:
        return ""
    match = _KEY.fullmatch(came.strip())
    key = _checked((match[1] or match[2]) if match else "", came)
    condition = request.header(b"if-match").strip()
    if condition == "*" or "," in condition:
        raise Malformed("expected one ETag in If-Match beside an Idempotency-Key, got several or *")
    return key


def checked_key(came: str) -> str:
    """An idempotency key that came as a text of its own.

    Raises:
        Malformed: It is empty, too long to be kept, or has other characters than a key may.
    """
    match = _KEY.fullmatch(f'"{came}"')
    return _checked(match[1] if match else "", came)


def _checked(key: str, came: str) -> str:
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        limit = f"1 to {KEY_CHARACTERS_MAX} visible characters of ASCII"
        raise Malformed(f"expected an Idempotency-Key of {limit}, got {len(came)}: {came[:40]!r}")
    return key


def tags_in(baggage: str) -> dict[str, str]:
    """The members of a `baggage` header; one that is too large, or too many, are left out.

    Example:
        >>> tags_in("booking_ref=ABC%20123;secret, plan = gold")
        {'booking_ref': 'ABC 123', 'plan': 'gold'}
    """
    if not baggage or len(baggage) > TAGS_BYTES_MAX:
        return {}
    members = [member.partition(";")[0].partition("=") for member in baggage.split(",")[:TAGS_MAX]]
    return {name.strip(): unquote(value.strip()) for name, equals, value in members if equals and name.strip()}
