"""HTTP/1.1 read by h11, which is pure Python and always there.

h11 follows a whole connection. Here it reads one message at a time, and what is behind it is for the next: whose turn
it is to speak, the edge knows by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import h11

from hanse.deploy.edge.builtin.http1 import (
    OK,
    SWITCHING,
    Body,
    End,
    Event,
    Field,
    RequestHead,
    ResponseHead,
    Upgraded,
    framing_of,
)
from hanse.gateway.limits import HEADER_BYTES_MAX
from hanse.kernel.faults import Malformed

_ASKED_UP = [("Host", "edge"), ("Connection", "Upgrade"), ("Upgrade", "websocket")]


class _Messages(ABC):
    """Messages of one side of one connection."""

    def __init__(self) -> None:
        self.in_message: bool = False
        self.in_body: bool = False
        self._events: list[Event] = []
        self._http: h11.Connection | None = None
        self._tunnel = False

    @abstractmethod
    def _new(self) -> h11.Connection: ...

    @abstractmethod
    def _event(self, event: h11.Event) -> None: ...

    def feed(self, data: bytes) -> list[Event]:
        """See `Requests`."""
        rest = data
        while rest and not self._tunnel:
            rest = self._read(rest)
        return self.taken()

    def taken(self) -> list[Event]:
        """See `Requests`."""
        events, self._events = self._events, []
        return events

    def _read(self, data: bytes) -> bytes:
        """Read on in the message that is under way; what is behind its end."""
        http = self._http = self._http or self._new()
        self.in_message = True
        try:
            http.receive_data(data)
            while isinstance(event := http.next_event(), h11.Event):
                self._event(event)
                if isinstance(event, h11.EndOfMessage) or self._tunnel:
                    rest = http.trailing_data[0]
                    self._over()
                    if self._tunnel:
                        self._events.append(Upgraded(rest))
                    return rest
        except h11.RemoteProtocolError as error:
            raise Malformed(f"expected HTTP/1.1: {error}") from None
        return b""

    def _over(self) -> None:
        self._http, self.in_message, self.in_body = None, False, False


class H11Requests(_Messages):
    r"""The requests that come over one connection.

    Example:
        >>> requests = H11Requests()
        >>> head, end = requests.feed(b"GET /users HTTP/1.1\r\nHost: shop\r\n\r\n")
        >>> head.method, head.target, head.fields, end.trailers
        ('GET', b'/users', [(b'host', b'host', b'shop')], [])
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked_up = False

    def _new(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MAX)

    def _event(self, event: h11.Event) -> None:
        match event:
            case h11.Request():
                self.in_body = True
                self._events.append(self._head(event))
            case h11.Data(data=data):
                self._events.append(Body(bytes(data)))
            case h11.EndOfMessage(headers=trailers):
                self._events.append(End(_fields(trailers)))
                self._tunnel = self._asked_up
            case _:
                pass

    def _head(self, event: h11.Request) -> RequestHead:
        fields = _fields(event.headers)
        version = event.http_version.decode()
        words = _words(fields)
        upgrade = any(name == b"upgrade" and value.lower() == b"websocket" for name, _, value in fields)
        self._asked_up = upgrade and b"upgrade" in words
        keep = b"close" not in words if version == "1.1" else b"keep-alive" in words
        return RequestHead(event.method.decode(), event.target, fields, version, keep, self._asked_up)


class H11Responses(_Messages):
    r"""The answers that come over one connection to a server.

    Example:
        >>> responses = H11Responses()
        >>> head, body, end = responses.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        >>> head.status, head.framing, body.data
        (200, 'length', b'hi')
    """

    def __init__(self) -> None:
        super().__init__()
        self.to_head: bool = False

    def _new(self) -> h11.Connection:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)
        # It reads answers to what it has asked; whether that was HEAD, or for another protocol, makes a difference.
        _ = http.send(h11.Request(method="HEAD" if self.to_head else "GET", target="/", headers=_ASKED_UP))
        _ = http.send(h11.EndOfMessage())
        return http

    def eof(self) -> list[Event]:
        """See `Responses`."""
        if self._http is None or not self.in_body:
            return []
        try:
            self._http.receive_data(b"")
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            return []
        if isinstance(event, h11.EndOfMessage):
            self._event(event)
            self._over()
        return self.taken()

    def _event(self, event: h11.Event) -> None:
        match event:
            case h11.InformationalResponse(status_code=status) | h11.Response(status_code=status):
                self._events.append(self._head(event, status))
                if status < OK:
                    # An answer of its own here, with an end.
                    self._events.append(End())
                    self._tunnel = status == SWITCHING
                else:
                    self.in_body = True
            case h11.Data(data=data):
                self._events.append(Body(bytes(data)))
            case h11.EndOfMessage(headers=trailers):
                self._events.append(End(_fields(trailers)))
            case _:
                pass

    def _head(self, event: h11.InformationalResponse | h11.Response, status: int) -> ResponseHead:
        fields = _fields(event.headers)
        words, version = _words(fields), event.http_version
        framing = framing_of(status, fields, to_head=self.to_head)
        keep = b"close" not in words if version == b"1.1" else b"keep-alive" in words
        return ResponseHead(status, event.reason, fields, keep and framing != "close", framing)


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> list[Field]:
    """Headers as the edge has them; h11 tells their names in lower case, and so they go on."""
    return [(name, name, value) for name, value in headers]


def _words(fields: list[Field]) -> set[bytes]:
    """What `Connection` says."""
    return {word.strip().lower() for name, _, value in fields if name == b"connection" for word in value.split(b",")}
