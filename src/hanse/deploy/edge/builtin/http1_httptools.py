"""HTTP/1.1 read by httptools, the extra `standard`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, cast

import httptools

from hanse.deploy.edge.builtin.http1 import (
    OK,
    Body,
    End,
    Event,
    Field,
    RequestHead,
    ResponseHead,
    Upgraded,
    framing_of,
)
from hanse.kernel.faults import Malformed

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_CONTROL = frozenset(b"\0\r\n")


class _Parser(Protocol):
    """What is used of httptools' parsers."""

    def feed_data(self, data: bytes, /) -> None: ...
    def get_http_version(self) -> str: ...
    def should_keep_alive(self) -> bool: ...
    def should_upgrade(self) -> bool: ...


class _Messages(ABC):
    """Messages of one side of one connection."""

    def __init__(self) -> None:
        self.in_message: bool = False
        self.in_body: bool = False
        self._events: list[Event] = []
        self._fields: list[Field] = []
        self._trailers: list[Field] = []
        self._parser = self._new()

    @abstractmethod
    def _new(self) -> _Parser: ...

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes bring.

        Raises:
            Malformed: They are no HTTP; what came before is told by `taken`.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._over()
            offset = cast("int", upgrade.args[0])
            self._events.append(Upgraded(bytes(data[offset:])))
            self._parser = self._new()
        except httptools.HttpParserError as error:
            raise Malformed(f"expected HTTP/1.1: {error}") from None
        return self.taken()

    def taken(self) -> list[Event]:
        """What has been read and not taken yet."""
        events, self._events = self._events, []
        return events

    # What httptools calls.

    def on_message_begin(self) -> None:
        """See httptools."""
        self.in_message, self.in_body = True, False
        self._fields = []
        self._trailers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools; what comes behind a body is trailers."""
        if not _CONTROL.isdisjoint(value):
            raise ValueError(value)
        (self._trailers if self.in_body else self._fields).append((name.lower(), name, value))

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._events.append(Body(body))

    def on_message_complete(self) -> None:
        """See httptools."""
        self._over()
        self._events.append(End(self._trailers))

    def _over(self) -> None:
        """No message is being read."""
        self.in_message, self.in_body = False, False


class ToolsRequests(_Messages):
    r"""The requests that come over one connection.

    Example:
        >>> requests = ToolsRequests()
        >>> head, end = requests.feed(b"GET /users HTTP/1.1\r\nHost: shop\r\n\r\n")
        >>> head.method, head.target, head.fields, end.trailers
        ('GET', b'/users', [(b'host', b'Host', b'shop')], [])
    """

    def __init__(self) -> None:
        super().__init__()
        self._target = b""
        self._tunnels = False
        self._muted = False

    def feed(self, data: bytes) -> list[Event]:
        """See `_Messages`; behind a request for a protocol that is not handed on, requests go on."""
        events = super().feed(data)
        while events and isinstance(last := events[-1], Upgraded) and not self._tunnels:
            _ = events.pop()
            if resumed := self._resumed():
                # The parser took the request for one without a body.
                _ = events.pop()
            events += super().feed(resumed + last.rest) if resumed or last.rest else []
        return events

    def _resumed(self) -> bytes:
        """A head by which the next parser knows of the body that the last one left; nothing where there is none."""
        framing = [(raw, value) for name, raw, value in self._fields if name in _FRAMING]
        if not framing:
            return b""
        self._muted = True
        return b"POST / HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in framing) + b"\r\n"

    def _new(self) -> _Parser:
        self._http = httptools.HttpRequestParser(self)
        return self._http

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self._target = b""

    def on_url(self, url: bytes) -> None:
        """See httptools: it comes in pieces."""
        self._target += url

    def on_headers_complete(self) -> None:
        """See httptools."""
        self.in_body = True
        if self._muted:
            self._muted = False
            return
        parser = self._http
        method = parser.get_method().decode("latin-1")
        keep = parser.should_keep_alive()
        upgrade = parser.should_upgrade() and any(
            n == b"upgrade" and v.lower() == b"websocket" for n, _, v in self._fields
        )
        self._tunnels = upgrade
        head = RequestHead(method, self._target, self._fields, parser.get_http_version(), keep, upgrade)
        self._events.append(head)


class ToolsResponses(_Messages):
    r"""The answers that come over one connection to a server.

    Attributes:
        to_head: Whether the next one answers HEAD, and so has no body, whatever its headers say.

    Example:
        >>> responses = ToolsResponses()
        >>> head, body, end = responses.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        >>> head.status, head.framing, body.data
        (200, 'length', b'hi')
    """

    def __init__(self) -> None:
        super().__init__()
        self.to_head: bool = False
        self._reason = b""
        self._framing = "none"
        self._dropping = False

    def _new(self) -> _Parser:
        self._http = httptools.HttpResponseParser(self)
        return self._http

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self._reason = b""

    def on_status(self, status: bytes) -> None:
        """See httptools."""
        self._reason += status

    def on_headers_complete(self) -> None:
        """See httptools."""
        parser = self._http
        status = parser.get_status_code()
        self._framing = framing_of(status, self._fields, to_head=self.to_head)
        head = ResponseHead(status, self._reason, self._fields, parser.should_keep_alive(), self._framing)
        self.in_body = True
        self._events.append(head)
        if self.to_head and status >= OK:
            # The parser waits for the body that the headers tell of; the answer is over for us.
            self._dropping = True
            self._events.append(End())

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        if not self._dropping:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self._dropping:
            super().on_message_complete()

    def feed(self, data: bytes) -> list[Event]:
        """See `_Messages`."""
        events = super().feed(data)
        if self._dropping:
            self._dropping = False
            self._over()
            self._parser = self._new()
        return events

    def eof(self) -> list[Event]:
        """What the end of the connection brings: the end of a body that has no other, or nothing."""
        if self.in_body and self._framing == "close":
            self._over()
            return [End()]
        return []
