"""What development adds around an app: a line for each request, and pages about errors for browsers on this machine."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import cast, final

import click

from hanse.cli.dev_page import HTML, POLICY, STANDING, page, wants_page
from hanse.cli.excerpt import Excerpt, as_text, excerpt_of
from hanse.gateway.asgi import Application, Event, Receive, Scope, Send
from hanse.kernel.codec import encode_json
from hanse.kernel.logs import TextLines

FAILURES_MAX = 50
"""Errors that are kept to be shown."""

PATH_CHARACTERS_MAX = 200
PROBLEM = "application/problem+json"
STREAMS = ("text/event-stream", "application/jsonl")
INTERNAL = 500

REQUESTS = logging.getLogger("request")
"""Gets a line for each request."""


@final
class Failures(logging.Handler):
    """Keeps the errors that were logged last, to be found by what was said of them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._kept: deque[tuple[str, Excerpt]] = deque(maxlen=FAILURES_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one that has an error."""
        if record.exc_info and record.exc_info[1] is not None:
            references = [str(value) for value in record.args] if isinstance(record.args, tuple) else []
            self._kept.append((references[-1] if references else "", excerpt_of(record.exc_info[1])))

    def told_in(self, text: str) -> Excerpt | None:
        """The error whose reference stands in a text."""
        return next((found for reference, found in reversed(self._kept) if reference and reference in text), None)


@final
class ShortLines(TextLines):
    """Lines for people, with the lines of their code that led to an error in place of its whole traceback."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__(colour=colour)
        self._coloured = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, and the excerpt of its error below."""
        error = record.exc_info[1] if record.exc_info else None
        found = excerpt_of(error) if error is not None else None
        if found is None or not found.spots:
            return super().format(record)
        plain = logging.makeLogRecord({**vars(record), "exc_info": None, "exc_text": None})
        return f"{super().format(plain)}\n{as_text(found, colour=self._coloured)}"


@final
class Developing:
    """An ASGI application around another."""

    def __init__(self, app: Application, generation: int, failures: Failures, *, colour: bool) -> None:
        """Stand around an app.

        Args:
            app: What answers.
            generation: Which start of it this is.
            failures: The errors that were logged.
            colour: Whether lines of the log may be coloured.
        """
        self._app = app
        self._generation = generation
        self._failures = failures
        self._colour = colour

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == STANDING:
            await answer(send, 200, "application/json", encode_json({"generation": self._generation, "runs": True}))
        else:
            await self._watched(scope, receive, send)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer = Answer(send, self._page if wants_page(_headers(scope["headers"])) else None)

        async def watched(event: Event) -> None:
            first = not answer.known
            await answer.send(scope, event)
            if first and answer.known:
                how = "streams" if answer.streams else f"{(loop.time() - begun) * 1000:.0f} ms"
                REQUESTS.info("%s %s %s", self._painted(answer.status), _what(scope), how)

        await self._app(scope, receive, watched)

    def _page(self, scope: Scope, body: bytes) -> bytes | None:
        found = self._failures.told_in(body.decode("utf-8", "replace"))
        method = str(scope["method"])
        return None if found is None else page(found, f"{_what(scope)} failed", self._generation, method)

    def _painted(self, status: int) -> str:
        colour = {2: "green", 3: "cyan", 4: "yellow"}.get(status // 100, "red")
        return click.style(str(status), fg=colour) if self._colour else str(status)


@final
class Answer:
    """An answer on its way to the client; a problem without cause to tell may become a page that has one.

    Attributes:
        status: HTTP status; 0 before it is known.
        streams: Whether it goes on for as long as somebody listens.
        known: Whether there is something to log: it has ended, or streams.
    """

    def __init__(self, send: Send, page_for: Callable[[Scope, bytes], bytes | None] | None) -> None:
        """Pass events on to `send`; `page_for` makes a page of a problem's body, where somebody wants one."""
        self._send = send
        self._page_for = page_for
        self._held: Event | None = None
        self._body = b""
        self.status: int = 0
        self.streams: bool = False
        self.known: bool = False

    async def send(self, scope: Scope, event: Event) -> None:
        """Pass an event on, or hold it back until it is known what becomes of it."""
        if event["type"] == "http.response.start":
            await self._begin(event)
            return
        ends = event["type"] == "http.response.body" and not event.get("more_body")
        if self._held is None:
            await self._send(event)
        else:
            self._body += cast("bytes", event.get("body", b""))
            if ends:
                await self._release(scope, self._held)
        self.known = self.known or ends

    async def _begin(self, event: Event) -> None:
        self.status = cast("int", event["status"])
        media_type = _headers(event.get("headers", ())).get("content-type", "")
        self.known = self.streams = media_type.startswith(STREAMS)
        if self._page_for is not None and self.status == INTERNAL and media_type.startswith(PROBLEM):
            self._held = event
        else:
            await self._send(event)

    async def _release(self, scope: Scope, held: Event) -> None:
        found = self._page_for(scope, self._body) if self._page_for else None
        if found is not None:
            await answer(self._send, self.status, HTML, found)
            return
        await self._send(held)
        await self._send({"type": "http.response.body", "body": self._body})


async def answer(send: Send, status: int, media_type: str, body: bytes) -> None:
    """Send a whole answer that nobody is to keep."""
    headers = {
        "content-type": media_type,
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "content-security-policy": POLICY,
    }
    pairs = [(name.encode(), text.encode()) for name, text in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _what(scope: Scope) -> str:
    """Method and path, still percent-encoded: whatever somebody sends, it stays one line."""
    path = cast("bytes", scope.get("raw_path") or b"/")[:PATH_CHARACTERS_MAX]
    query = cast("bytes", scope.get("query_string") or b"")[:PATH_CHARACTERS_MAX]
    told = path + b"?" + query if query else path
    return f"{scope['method']} {told.decode('ascii', 'backslashreplace')}"


def _headers(pairs: object) -> dict[str, str]:
    found = cast("Iterable[tuple[bytes, bytes]]", pairs)
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in found}
