"""Server-Sent Events as a browser reads them: https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure."""

from __future__ import annotations

import codecs
from typing import Any, final

import msgspec


class SseEvent(msgspec.Struct, frozen=True):
    """One event.

    Attributes:
        id: The last event id that came until now: what to send as `Last-Event-ID`; empty where none came.
        event: What happened; `message` where the server does not say.
        data: Its text.
    """

    id: str
    event: str
    data: str

    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """What the data says as JSON.

        Example:
            >>> SseEvent("7", "updated", '{"key": "a"}').json()
            {'key': 'a'}
        """
        return msgspec.json.decode(self.data)


@final
class SseParser:
    r"""Makes events of bytes, however they come in pieces.

    Attributes:
        last_id: What to resume from.

    Example:
        >>> parser = SseParser()
        >>> parser.feed(b"retry: 1000\n\nid: 7\nevent: upd"), parser.feed(b"ated\ndata: {}\n\n")
        ([], [SseEvent(id='7', event='updated', data='{}')])
    """

    def __init__(self, last_id: str = "") -> None:
        """Begin a stream.

        Args:
            last_id: The last event id of the stream that this one goes on from.
        """
        self.last_id: str = last_id
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Take bytes; the events that are whole by now."""
        # A carriage return at the end may be half of a line's end.
        text = self._rest + self._text.decode(piece)
        kept = "\r" if text.endswith("\r") else ""
        *lines, rest = text.removesuffix(kept).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = rest + kept
        return [event for event in map(self._line, lines) if event is not None]

    def _line(self, line: str) -> SseEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id" if "\0" not in value:
                self.last_id = value
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case _:
                pass  # a comment, or something that is not for us
        return None

    def _dispatch(self) -> SseEvent | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        return SseEvent(self.last_id, event or "message", "\n".join(data)) if data else None
