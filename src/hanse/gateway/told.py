"""What a view tells, as bytes: encoded once for each way in which readers are told it, however many they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from hanse.gateway.cloud_events import moment
from hanse.kernel.codec import encode_json
from hanse.service.rows import Line

NAMES = {"existing": "snapshot"}
"""What an event of a feed is called on the wire, where that differs."""

FRAMINGS_MAX = 16
"""Ways in which the bytes of one change are kept; clients number their subscriptions, and most alike."""

OVERHEAD = 200
"""Bytes of a change beside its rows, about."""

_SHORT_MAX, _MEDIUM_MAX = 125, 0xFFFF


class Framing(msgspec.Struct, frozen=True):
    """How a reader is told.

    Attributes:
        kind: `text` for an event of an event stream, `chunk` for the same as a chunk of an HTTP body; `frame` for a
            message of a WebSocket, `lines` for one that somebody else frames, with a line feed at its end.
        head: How a WebSocket's messages begin: with the id of its subscription.
    """

    kind: Literal["text", "chunk", "lines", "frame"]
    head: bytes = b""

    def beat(self, cursor: str = "") -> bytes:
        r"""A sign of life, with a cursor to go on from; empty where there is none, and the server gives signs itself.

        An event stream has the cursor in a comment's block, which browsers take and tell to nobody; over a WebSocket
        `ready` comes again.

        Example:
            >>> Framing("text").beat("log.7")
            b':\nid: log.7\n\n'
        """
        if self.kind in {"text", "chunk"}:
            return self.around(b":\nid: %b\n\n" % cursor.encode() if cursor else b":\n\n")
        return Told(Line("ready", cursor), resumable=True).encoded(self) if cursor else b""

    def around(self, body: bytes) -> bytes:
        """An event, or a message, as it goes into the socket."""
        match self.kind:
            case "text":
                return body
            case "chunk":
                return b"%x\r\n%b\r\n" % (len(body), body)
            case "lines":
                return body + b"\n"
            case "frame":
                return framed(body)


def framed(text: bytes) -> bytes:
    r"""A WebSocket text message of a server (RFC 6455, 5.2).

    Example:
        >>> framed(b"{}")
        b'\x81\x02{}'
    """
    size = len(text)
    if size <= _SHORT_MAX:
        return b"\x81%c%b" % (size, text)
    if size <= _MEDIUM_MAX:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)


class Told:
    """One thing that a view tells.

    Attributes:
        line: What the feed said.
        size: Bytes that it holds, about.
    """

    __slots__ = ("_encoded", "_resumable", "line", "size")

    def __init__(self, line: Line, *, resumable: bool) -> None:
        """Take it.

        Args:
            line: What the feed said.
            resumable: Whether a reader may go on from its cursor.
        """
        self.line: Line = line
        self.size: int = 2 * (len(line.value) + len(line.before) + OVERHEAD)
        self._resumable = resumable
        self._encoded: dict[Framing, bytes] = {}

    def encoded(self, framing: Framing) -> bytes:
        """Its bytes, for readers who are told so."""
        found = self._encoded.get(framing)
        if found is None:
            event = framing.kind in {"text", "chunk"}
            body = event_of(self.line, resumable=self._resumable) if event else self._message(framing.head)
            found = framing.around(body)
            if len(self._encoded) < FRAMINGS_MAX:
                self._encoded[framing] = found
        return found

    def at(self, cursor: str) -> Told:
        """The same, for a reader that goes on from another cursor after it."""
        return Told(msgspec.structs.replace(self.line, cursor=cursor), resumable=self._resumable)

    def _message(self, head: bytes) -> bytes:
        line = self.line
        if line.event == "emitted":
            cursor = b'"cursor":%b,' % encode_json(line.cursor) if self._resumable else b""
            return b'%b"event":"emitted",%b"key":%b,"value":%b}' % (head, cursor, encode_json(line.id), line.value)
        data = data_of(line, resumable=self._resumable)
        name = encode_json(NAMES.get(line.event, line.event))
        return b'%b"event":%b%b' % (head, name, data[1:] if data == b"{}" else b"," + data[1:])


def together(told: Sequence[Told], framing: Framing) -> bytes:
    """The bytes of several things, for one write."""
    return told[0].encoded(framing) if len(told) == 1 else b"".join([one.encoded(framing) for one in told])


def event_of(line: Line, *, resumable: bool) -> bytes:
    r"""One thing that a feed tells, as an event.

    Example:
        >>> event_of(Line("ready", "log.7"), resumable=True)
        b'event: ready\nid: log.7\ndata: {"cursor":"log.7"}\n\n'
    """
    name = NAMES.get(line.event, line.event).encode()
    if line.event == "reset":
        return b"event: reset\nid\ndata: {}\n\n"
    cursor = b"id: %b\n" % line.cursor.encode() if resumable else b""
    return b"event: %b\n%bdata: %b\n\n" % (name, cursor, data_of(line, resumable=resumable))


def data_of(line: Line, *, resumable: bool) -> bytes:
    """What stands in an event's data, as a JSON object: rows are spliced in as they came."""
    if line.event == "emitted":
        return line.value
    parts: list[bytes] = []
    if line.id:
        gone = line.event == "deleted"
        before = line.value if gone else line.before
        parts.append(
            b'"key":%b,"rev":%d,"value":%b' % (encode_json(line.id), line.rev, b"null" if gone else line.value)
        )
        if before:
            parts.append(b'"before":%b' % before)
        if line.at:
            parts.append(b'"at":"%b"' % moment(line.at).encode())
    if line.cursor and resumable:
        parts.append(b'"cursor":%b' % encode_json(line.cursor))
    return b"{%b}" % b",".join(parts)


class Resumption:
    """Where a reader of a feed is: whether it may resume from the cursors that it is given."""

    __slots__ = ("resumable",)

    def __init__(self, *, resumable: bool) -> None:
        self.resumable: bool = resumable

    def moves(self, line: Line) -> bool:
        """Take one more line; whether its cursor may be told."""
        if line.event == "ready":
            self.resumable = True
        elif line.event in {"reset", "existing"}:
            self.resumable = False
        return self.resumable
