"""A request and its answer as another's ASGI application sees them: under the door's limits, and answered once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import ExitStack
from typing import cast

from hanse.gateway.asgi import EVENT_STREAM, Application, Event, Header, Receive, Request, Scope, answer
from hanse.gateway.limits import Limits
from hanse.gateway.pace import body_seconds, too_slow
from hanse.gateway.problem import problem_response
from hanse.gateway.streams import Streams, abort, first_of
from hanse.kernel.faults import Fault, TooLarge
from hanse.kernel.patience import OutOfTime, within

_log = logging.getLogger("hanse.gateway")
_GONE: Event = {"type": "http.disconnect"}


class Exchange:
    """One request that an application answers.

    Its body is counted and timed while it is read. An answer that fails halfway is cut. An event stream counts among
    the streams, and is told that its client is gone when the node drains; other answers may end within the grace.

    Args of the constructor:
        request: The request.
        streams: The limits, and where event streams are counted.
    """

    def __init__(self, request: Request, streams: Streams) -> None:
        limits = streams.limits
        announced = request.header(b"content-length")
        if announced.isdigit() and int(announced) > limits.body_bytes:
            raise _too_large(limits)
        self._request = request
        self._streams = streams
        self._limits: Limits = limits
        self._size = 0
        self._waited = 0.0
        self._body = ExitStack()
        self._reading = False
        self._whole = False
        self._started = False
        self._ended = False
        self._refused = False
        self._drained = asyncio.Event()
        self._place = ExitStack()

    async def run(self, app: Application, scope: Scope, receive: Receive | None = None) -> None:
        """Have an application answer.

        Args:
            app: The application.
            scope: What it is told of the request.
            receive: Where it gets the body from, if not from here.

        Raises:
            Exception: What it raised before it began to answer.
        """
        with self._place, self._body:
            try:
                await app(scope, receive or self.receive, self.send)
            except Exception as error:  # noqa: BLE001 - whatever happens inside
                self._failed(error)
            else:
                await self._finish()

    async def receive(self) -> Event:
        """The next piece of the body, or that the client is gone."""
        if self._refused:
            return _GONE
        if self._whole:
            return await self._later()
        try:
            event = await self._next()
        except Fault as fault:
            return await self._refuse(fault)
        return event

    async def send(self, event: Event) -> None:
        """A piece of the answer."""
        if self._refused:
            return
        if event["type"] == "http.response.start" and _is_stream(cast("Iterable[Header]", event.get("headers", ()))):
            try:
                self._place.enter_context(self._streams.opened(self._drained.set))
            except Fault as fault:
                _ = await self._refuse(fault)
                return
        if event["type"] == "http.response.start":
            self._request.begun = cast("int", event["status"])
        self._started = True
        self._ended = event["type"] == "http.response.body" and not event.get("more_body", False)
        await self._request.send(event)

    async def _next(self) -> Event:
        """The next piece of the body.

        Raises:
            RequestTimeout: It came too slowly.
            TooLarge: It is over the limit.
            Overloaded: There is no room for a body that is waited for; or, when it is whole, for a request more.
        """
        if not self._reading:
            self._reading = True
            if self._request.room is not None:
                _ = self._body.enter_context(self._request.room.body())
        now = asyncio.get_running_loop().time
        began = now()
        try:
            event = await within(body_seconds(self._size, self._limits) - self._waited, self._request.receive())
        except OutOfTime:
            raise too_slow(self._size, self._limits) from None
        self._waited += now() - began
        self._size += len(cast("bytes", event.get("body", b"")))
        if self._size > self._limits.body_bytes:
            raise _too_large(self._limits)
        self._whole = not event.get("more_body", False)
        if self._whole and (room := self._request.room) is not None:
            self._body.close()
            room.check()
        return event

    async def _later(self) -> Event:
        """What comes after the body: that the client goes, or, for an event stream, the node."""
        event = _GONE

        async def from_client() -> None:
            nonlocal event
            event = await self._request.receive()

        await first_of(from_client(), self._drain())
        return event

    async def _drain(self) -> None:
        _ = await self._drained.wait()

    async def _finish(self) -> None:
        if self._drained.is_set() and self._started and not (self._ended or self._refused):
            await self._request.send({"type": "http.response.body", "body": b""})

    def _failed(self, error: Exception) -> None:
        """The application raised: it was told to, or has answered for itself, or leaves the answer to the door."""
        if self._refused:
            return
        if not self._started:
            raise error
        _log.error("%s %s failed", self._request.method, self._request.path[:200], exc_info=error)
        if not self._ended:
            abort(self._request)

    async def _refuse(self, fault: Fault) -> Event:
        self._refused = True
        self._drained.set()
        if self._started:
            abort(self._request)
        else:
            await answer(self._request, problem_response(fault, self._request.trace_id))
        return _GONE


def _is_stream(headers: Iterable[Header]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(EVENT_STREAM.encode()) for name, value in headers)


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge("the body", f"{limits.body_bytes} bytes")
