"""Requests and responses over raw ASGI: as little as the hot paths need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from hanse.gateway.room import Room
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Malformed
from hanse.kernel.message import RELEASE_WISH, SHADOW

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
Header = tuple[bytes, bytes]


class Response(msgspec.Struct, frozen=True):
    """A whole answer.

    Attributes:
        status: HTTP status.
        body: Its bytes.
        headers: Beside the content's type and length.
        type: Media type of the body; empty for none.

    Example:
        >>> Response.of({"sku": "tea"}, status=201, headers={"Location": "/stock/tea"}).body
        b'{"sku":"tea"}'
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    type: str = JSON

    @staticmethod
    def of(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None, type: str = JSON) -> Response:  # noqa: A002 - as the field
        """A value as an answer.

        Args:
            value: Sent as JSON; where `type` is another media type, text and bytes are sent as they are.
            status: HTTP status.
            headers: By name.
            type: Media type.

        Raises:
            ValueError: A header has a line end in it.
        """
        raw = value if isinstance(value, bytes) else str(value).encode()
        body = encode_json(value) if type == JSON else raw
        pairs = [(_line(name.lower()), _line(text)) for name, text in (headers or {}).items()]
        return Response(status, body, tuple(pairs), type)


def _line(text: str) -> bytes:
    if {"\r", "\n", "\0"} & set(text):
        raise ValueError(f"expected one line for a header, got {text[:100]!r}")
    return text.encode("latin-1")


_NONE: Mapping[str, Any] = {}

SPECIAL = frozenset(
    {
        *(b"traceparent", b"tracestate", b"baggage", b"x-request-id", b"idempotency-key"),
        *(b"if-match", b"if-none-match", b"prefer", b"origin", b"sec-fetch-site", SHADOW, RELEASE_WISH),
    }
)
"""Headers that most requests of programs do without: whoever looks for several of them asks `Request.plain` first."""


NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
"""Has browsers take the type of an answer for what it is, whatever its bytes look like."""


class Request:
    """One HTTP request (or WebSocket handshake) as its handler sees it.

    Attributes:
        scope: The ASGI scope.
        receive, send: The ASGI callables; `send` may be wrapped on the way, so that it adds or notes something.
        sender: `send` as it came.
        extensions: What the server lends besides ASGI's events.
        fields: All headers as they came, by name in lower case, those of one name joined.
        method: In capitals; GET for a handshake.
        path: The path within this application, still percent-encoded, so that an id may hold a slash.
        status: What was answered, where somebody sent the answer by themselves and it was noted; 0 elsewhere.
        template: The path as it was declared, with its placeholders; empty where nothing was found.
        parameters: What the path's placeholders stand for, decoded.
        charge: Counts what is asked over its WebSocket, as a method and a path, against the rates of whoever asks; None
            where there are none.
        prefix: Encoded path that a trusted proxy took away in front of all others.
        begun: The status of an answer that goes on, such as a stream, once it has begun; 0 elsewhere.
        room: Where its body is counted while it is waited for; None where nobody counts.
        trace_id, id: Of the story and of this request, as answers name them.
        trusted: Whether it came from a proxy whose word is taken.
        plain: Whether it has none of the `SPECIAL` headers, so that nobody need look for each of them.
    """

    __slots__ = (
        "begun",
        "charge",
        "extensions",
        "fields",
        "id",
        "method",
        "parameters",
        "path",
        "plain",
        "prefix",
        "receive",
        "room",
        "scope",
        "send",
        "sender",
        "status",
        "template",
        "trace_id",
        "trusted",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope: Scope = scope
        self.receive: Receive = receive
        self.send: Send = send
        self.sender: Send = send
        self.extensions: Mapping[str, Any] = scope.get("extensions") or _NONE
        self.method: str = scope.get("method", "GET")
        self.status: int = 0
        self.begun: int = 0
        self.template: str = ""
        self.parameters: dict[str, str] = {}
        self.prefix: str = ""
        self.trusted: bool = False
        self.charge: Callable[[str, str], None] | None = None
        self.room: Room | None = None
        self.trace_id: str = ""
        self.id: str = ""
        self.path: str = _path(scope)
        self.fields: dict[bytes, bytes] = headers_in(scope.get("headers", []))
        self.plain: bool = SPECIAL.isdisjoint(self.fields)

    def header(self, name: bytes) -> str:
        """The value of a header, by its name in lower case; empty where it did not come."""
        value = self.fields.get(name)
        return value.decode("latin-1") if value is not None else ""

    def headers(self) -> dict[str, str]:
        """All headers, by name in lower case."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.fields.items()}

    @property
    def query(self) -> str:
        """The query string, still encoded."""
        query: bytes = self.scope.get("query_string", b"")
        return query.decode("latin-1")

    def set_header(self, name: bytes, value: str) -> None:
        """Replace what a header says, for whoever asks this request."""
        self.fields[name] = value.encode("latin-1")
        self.plain = self.plain and name not in SPECIAL

    @property
    def address(self) -> str:
        """Who asks, as far as it is known: behind trusted proxies the client; empty for a socket without addresses."""
        client: tuple[str, int] | None = self.scope.get("client")
        return client[0] if client else ""

    @property
    def root(self) -> str:
        """The encoded path that this application is reached at; empty where it is the whole server."""
        path: str = self.scope.get("root_path", "")
        return self.prefix + quote(path) if path else self.prefix

    def accepts(self, media_type: str) -> bool:
        """Whether the client names a media type in `Accept`; a mere `*/*` does not count."""
        return media_type in self.header(b"accept").lower()


def _path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    path = raw.decode() if raw and raw.isascii() else raw.decode("latin-1") if raw else quote(scope["path"])
    root: str = scope.get("root_path", "")
    return path.removeprefix(quote(root)) if root else path


def headers_in(pairs: list[Header]) -> dict[bytes, bytes]:
    """Headers by name; one that came on several lines is joined, as RFC 9110 says."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    found.clear()
    for name, value in pairs:
        found[name] = found[name] + b", " + value if name in found else value
    return found


def segments_of(path: str) -> tuple[str, ...]:
    """The decoded parts of an encoded path.

    Raises:
        Malformed: A part does not decode to UTF-8.

    Example:
        >>> segments_of("/orders/a%2Fb")
        ('orders', 'a/b')
    """
    if "%" not in path:
        return tuple(path[1:].split("/"))
    try:
        return tuple(unquote(part, errors="strict") for part in path[1:].split("/"))
    except UnicodeDecodeError:
        raise Malformed("expected a path in UTF-8, percent-encoded") from None


WHOLE = "hanse.whole"
"""Name of the ASGI extension by which our server lends a `WriteWhole`."""

BODY = "hanse.body"
"""Name of the ASGI extension by which our server lends a `TakeWhole`."""

TakeWhole = Callable[[Receive], "bytes | None"]
"""Gives the body of a request, where all of it has come."""

WriteWhole = Callable[[Send, int, "list[Header]", bytes], bool]
"""Writes an answer with its body at once, from its status and all headers but the length; whether it could."""


async def answer(request: Request, response: Response, extra: tuple[Header, ...] = ()) -> None:
    """Send a whole answer; the body is left out for HEAD. A handshake is refused with it."""
    headers = [*response.headers, *extra]
    if response.type:
        headers += ((b"content-type", response.type.encode()), NOSNIFF)
    write: WriteWhole | None = request.extensions.get(WHOLE)
    if write is not None and write(request.send, response.status, headers, response.body):
        return
    kind = "http.response"
    if request.scope["type"] == "websocket":
        kind = "websocket.http.response"
        if kind not in request.extensions:
            await request.send({"type": "websocket.close", "code": 1008})
            return
    if response.status not in {204, 304}:
        headers.append((b"content-length", str(len(response.body)).encode()))
    await request.send({"type": f"{kind}.start", "status": response.status, "headers": headers})
    body = b"" if request.method == "HEAD" else response.body
    await request.send({"type": f"{kind}.body", "body": body})
