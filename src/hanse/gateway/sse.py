"""Server-Sent Events: how feeds and streams look as https://html.spec.whatwg.org/multipage/server-sent-events.html.

The `id` of an event is the cursor after it. During a snapshot there is none, and a `reset` takes back the last one: a
client that is cut off amid a snapshot begins again, and one that is cut off later resumes where it was.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import cast

from hanse.contract.model import Resource
from hanse.gateway.asgi import Request
from hanse.gateway.filters import asked
from hanse.gateway.problem import Problem
from hanse.gateway.streams import Form, HttpStream, Streams
from hanse.kernel.codec import encode_json
from hanse.service.change import position_of
from hanse.service.rows import Line, Rows

MEDIA_TYPE = "text/event-stream"

NAMES = {"existing": "snapshot"}
"""What an event of a feed is called on the wire, where that differs."""


def sse_form(retry_seconds: float, *, end: bytes = b"") -> Form:
    """How an event stream begins, keeps alive and ends."""
    retry = b"retry: %d\n\n" % round(retry_seconds * 1000)
    farewell = b": the server is stopping, come back and resume\n" + retry
    return Form(MEDIA_TYPE, _fault, retry, b":\n\n", farewell, end)


def _fault(problem: Problem) -> bytes:
    return b"event: fault\ndata: %b\n\n" % encode_json(problem)


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
    parts: list[bytes] = []
    if line.id:
        gone = line.event == "deleted"
        before = line.value if gone else line.before
        parts.append(
            b'"key":%b,"rev":%d,"value":%b' % (encode_json(line.id), line.rev, b"null" if gone else line.value)
        )
        if before:
            parts.append(b'"before":%b' % before)
    if line.cursor and resumable:
        parts.append(b'"cursor":%b' % encode_json(line.cursor))
    return b"{%b}" % b",".join(parts)


class Position:
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


class FeedStream:
    """Answers a request of a resource's list path with the stream of its changes."""

    def __init__(self, kind: type[Resource], rows: Rows, streams: Streams) -> None:
        self._kind = kind
        self._rows = rows
        self._streams = streams
        self._form = sse_form(streams.limits.retry_seconds)

    async def __call__(self, request: Request) -> None:
        """Stream until the client goes, or the node drains."""
        wanted = asked(self._kind, request.query)
        after = checked_cursor(request.header(b"last-event-id") or wanted.after)
        lines = self._rows.follow(wanted.query.where, after, snapshot=wanted.snapshot)
        stream = HttpStream(request, self._streams, self._form, ((b"vary", b"accept"),))
        await stream.run(_events(lines, Position(resumable=bool(after))))


async def _events(lines: AsyncIterator[Line], position: Position) -> AsyncGenerator[bytes, None]:
    lines = cast("AsyncGenerator[Line, None]", lines)
    try:
        async for line in lines:
            yield event_of(line, resumable=position.moves(line))
    finally:
        await lines.aclose()


def checked_cursor(cursor: str) -> str:
    """The cursor, if it is one.

    Raises:
        Malformed: It is none.
    """
    if cursor:
        _ = position_of("", cursor)
    return cursor
