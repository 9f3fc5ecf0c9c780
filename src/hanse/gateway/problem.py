"""Faults as RFC 9457 problems: from the columns of the fault, and nothing else."""

from __future__ import annotations

import logging
import math
import re
from contextlib import suppress
from http import HTTPStatus

import msgspec

from hanse.gateway.asgi import Header, Response
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault, Flaw, Internal, Invalid, Malformed, RemoteFault
from hanse.kernel.host import Host
from hanse.service.json_patch import PatchConflict
from hanse.service.rows import SomeExist, SomeMissing

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger("hanse.gateway")

Listing = Invalid | PatchConflict | SomeExist | SomeMissing

LISTING = (Invalid, PatchConflict, SomeExist, SomeMissing)
"""Faults that list what is wrong with an input, each flaw with its pointer."""

_RETRY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_RETRY_SECONDS = 1.0


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as the outside sees it.

    Attributes:
        status: HTTP status.
        code: Stable name of the fault.
        title: The status in words.
        detail: What went wrong, and what to do.
        trace_id: Of the story that failed.
        errors: Everything that is wrong with the input.
        fields: What a fault carries that the contract lists.
        type: Always "about:blank": the code tells more than a page would.
    """

    status: int
    code: str
    title: str
    detail: str
    trace_id: str = ""
    errors: list[Flaw] = []
    fields: dict[str, object] = {}
    type: str = msgspec.field(default_factory=lambda: "about:blank")  # a factory, so that it is never left out


class RequestTimeout(Fault, status=408, detail="expected {expected}"):
    """A body came too slowly."""

    expected: str


class MethodNotAllowed(Fault, status=405, detail="{method} is not possible here; allowed: {allowed}"):
    """The path exists, but not for this method."""

    method: str
    allowed: str


class UnsupportedMediaType(Fault, status=415, detail="expected a body of type {expected}, got {actual}"):
    """The body is of a type that is not understood here."""

    expected: str
    actual: str


class UriTooLong(Fault, status=414, detail="the URL is over its limit of {limit} bytes"):
    """Path and query are longer than anybody needs."""

    limit: int


class Misdirected(Fault, status=421, detail="expected a name of this gateway in Host, got {host!r}; see gateway.hosts"):
    """The request is for a name that this gateway does not answer under."""

    host: str


class HeadersTooLarge(Fault, status=431, detail="the headers are over their limit of {limit}"):
    """There are more headers than anybody needs."""

    limit: str


class Ambiguous(Malformed, detail="{problem}"):
    """Two readers could understand this request differently; nothing more is read from its connection."""

    problem: str


class UnsupportedCoding(Fault, status=415, detail="expected a body in gzip or without a coding, got {coding}"):
    """The body is compressed in a way that is not understood here."""

    coding: str


class NotAcceptable(Fault, status=406, detail="expected a client that accepts {expected} here"):
    """What there is cannot be given in the form that the client wants."""

    expected: str


class NoRoute(Fault, status=404, detail="there is nothing at {path}; openapi.json lists what is exposed"):
    """Nothing is exposed under this path."""

    path: str


class UpgradeRequired(Fault, status=426, detail="expected a handshake of {protocol} here"):
    """This path speaks another protocol."""

    protocol: str


class NotInstalled(Fault, status=501, detail="{what} needs another package: pip install '{package}'"):
    """The server lacks an optional part."""

    what: str
    package: str


def problem_of(fault: Fault, trace_id: str = "", *, listed: bool = False) -> Problem:
    """The problem that a fault is to the outside.

    Args:
        fault: What went wrong.
        trace_id: Of the story that failed.
        listed: Whether a contract lists it: what it carries is public then.

    Example:
        >>> from hanse.kernel.faults import NotFound
        >>> problem_of(NotFound("order", "7")).detail
        "there is no order '7'"
    """
    code = fault.remote_code if isinstance(fault, RemoteFault) else fault.code
    errors = fault.errors if isinstance(fault, LISTING) else []
    fields = _fields(fault) if listed else {}
    return Problem(fault.status, code, _title(fault.status), fault.detail, trace_id, errors, fields)


def moved(fault: Listing, at: str) -> Fault:
    """A fault about a part of an input, told of the whole: its pointers begin where that part is.

    Example:
        >>> moved(Invalid("/sku: it is missing", [Flaw("/sku", "missing", "it is missing")]), "/value").detail
        '/value/sku: it is missing'
    """
    told = [f"{flaw.pointer}: {flaw.detail}" for flaw in fault.errors if flaw.pointer]
    text = re.sub("|".join(map(re.escape, told)), lambda match: at + match[0], fault.detail) if told else fault.detail
    return type(fault)(text, [msgspec.structs.replace(flaw, pointer=at + flaw.pointer) for flaw in fault.errors])


def problem_response(fault: Fault, trace_id: str = "", *, listed: bool = False) -> Response:
    """The answer that tells of a fault; see `problem_of`."""
    body = encode_json(problem_of(fault, trace_id, listed=listed))
    return Response(fault.status, body, tuple(_headers(fault)), MEDIA_TYPE)


def known(error: Exception, host: Host) -> Fault:
    """The fault that an exception is; one that nobody expected is logged under a reference, and told as that."""
    if isinstance(error, Fault):
        return error
    reference = host.new_id()
    _log.error("request failed, reference %s", reference, exc_info=error)
    return Internal(reference)


def _fields(fault: Fault) -> dict[str, object]:
    """The fields that can be written as JSON; one that cannot must not cost the client its answer."""
    fields: dict[str, object] = {}
    for name in fault.fields:
        with suppress(TypeError, ValueError, NotImplementedError, RecursionError):
            fields[name] = msgspec.Raw(encode_json(getattr(fault, name)))
    return fields


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _headers(fault: Fault) -> list[Header]:
    headers: list[Header] = []
    if fault.retryable and (fault.retry_after is not None or fault.status in _RETRY):
        headers.append((b"retry-after", str(math.ceil(fault.retry_after or _RETRY_SECONDS)).encode()))
    if isinstance(fault, MethodNotAllowed):
        headers.append((b"allow", fault.allowed.encode()))
    if isinstance(fault, UnsupportedMediaType):
        name = b"accept-patch" if "patch+json" in fault.expected else b"accept"
        headers.append((name, fault.expected.replace(" or ", ", ").encode()))
    if isinstance(fault, UnsupportedCoding):
        headers.append((b"accept-encoding", b"gzip"))
    if isinstance(fault, Ambiguous | RequestTimeout):
        headers.append((b"connection", b"close"))
    if isinstance(fault, UpgradeRequired):
        headers += [(b"upgrade", fault.protocol.encode()), (b"connection", b"upgrade")]
    if fault.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
