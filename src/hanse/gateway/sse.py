"""Server-Sent Events: how feeds and streams look as https://html.spec.whatwg.org/multipage/server-sent-events.html.

The `id` of an event is the cursor after it. During a snapshot there is none, and a `reset` takes back the last one: a
client that is cut off amid a snapshot begins again, and one that is cut off later resumes where it was. A quiet stream
has the `id` with its signs of life, so that who has seen nothing for long resumes from where it really was.
"""

from __future__ import annotations

import asyncio
from typing import final

from hanse.contract.model import Event, Resource
from hanse.gateway.asgi import EVENT_STREAM, Header, Request
from hanse.gateway.feeds import Source
from hanse.gateway.filters import asked, asked_of_topic
from hanse.gateway.outlet import Outlet, SendOutlet, WireOutlet
from hanse.gateway.problem import Problem, known, problem_of
from hanse.gateway.streams import FAREWELL_SECONDS, SETTLE_SECONDS, Form, Streams, abort
from hanse.gateway.told import Framing
from hanse.gateway.view import View
from hanse.gateway.views import Views
from hanse.gateway.wire import lent
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault
from hanse.service.events import parts_of_cursor

TEXT, CHUNK = Framing("text"), Framing("chunk")


def sse_form(retry_seconds: float, *, end: bytes = b"") -> Form:
    """How an event stream begins, keeps alive and ends."""
    retry = b"retry: %d\n\n" % round(retry_seconds * 1000)
    farewell = b": the server is stopping, come back and resume\n" + retry
    return Form(EVENT_STREAM, _fault, retry, b":\n\n", farewell, end)


def _fault(problem: Problem) -> bytes:
    return b"event: fault\ndata: %b\n\n" % encode_json(problem)


class FeedStream:
    """Answers a request with the stream of what is told of a resource or a topic.

    Args of the constructor:
        kind: The resource, or the event.
        views: What is followed.
        streams: Where streams are counted.
    """

    def __init__(self, kind: type[Resource | Event], views: Views, streams: Streams) -> None:
        self._kind = kind
        self._views = views
        self._streams = streams
        self._form = sse_form(streams.limits.retry_seconds)

    async def __call__(self, request: Request) -> None:
        """Stream until the client goes, or the node drains.

        Raises:
            Invalid, Malformed: The filter, the fields or the cursor cannot be.
            Overloaded: Too much is followed already.
        """
        source, after, snapshot = _wanted(self._kind, request.query)
        after = checked_cursor(request.header(b"last-event-id") or after)
        stream = EventStream(request, self._form, self._views)
        with self._streams.opened(stream.end):
            await stream.run(self._views.view(source), after, snapshot=snapshot)


def _wanted(kind: type[Resource | Event], query: str) -> tuple[Source, str, bool]:
    """What a query string asks to follow, after which cursor, and whether it begins with what is there."""
    if issubclass(kind, Event):
        where, after = asked_of_topic(kind, query)
        return Source(kind, where), after, False
    wanted = asked(kind, query)
    return Source(kind, wanted.query.where, wanted.project), wanted.after, wanted.snapshot


@final
class EventStream:
    """One client that follows a view. It costs no task: its request waits for its end, and others write to it.

    Attributes:
        outlet: The way out, once the answer has begun.
        group: How it is told.
    """

    __slots__ = (
        "_beginning",
        "_cut",
        "_ended",
        "_fault",
        "_form",
        "_request",
        "_view",
        "_views",
        "_wait",
        "group",
        "outlet",
    )

    outlet: Outlet

    def __init__(self, request: Request, form: Form, views: Views) -> None:
        self.group: Framing = TEXT
        self._request = request
        self._form = form
        self._views = views
        self._view: View | None = None
        self._beginning: asyncio.Lock | None = None
        self._wait: asyncio.Timeout | None = None
        self._ended = False
        self._cut = False
        self._fault: Fault | None = None

    async def run(self, view: View, after: str, *, snapshot: bool) -> None:
        """Stream until the client goes, or the stream has to end.

        Raises:
            Fault: The feed failed before the answer began.
        """
        self._view = view
        try:
            async with asyncio.timeout(None) as self._wait:
                await self._admitted(view, after, snapshot=snapshot)
                while (await self._request.receive())["type"] != "http.disconnect":
                    pass
                self._cut = True
        except TimeoutError:
            if not self._ended:
                raise
        except Exception as error:
            if not self._begun:
                raise
            self._fault = known(error, self._views.host)
        finally:
            self._wait = None
            view.leave(self)
            self._views.forget(self)
        await self._finish()

    def end(self) -> None:
        """The stream has to end."""
        if not self._ended:
            self._ended = True
            if self._wait is not None:
                self._wait.reschedule(0.0)

    async def _admitted(self, view: View, after: str, *, snapshot: bool) -> None:
        if self._ended:
            raise TimeoutError
        late = asyncio.get_running_loop().call_later(
            SETTLE_SECONDS, lambda: self._views.tasks.start(self.begin(), name="begin")
        )
        try:
            await view.admit(self, after, snapshot=snapshot)
        finally:
            late.cancel()

    # As readers of a view are.

    @property
    def _begun(self) -> bool:
        return hasattr(self, "outlet")

    async def begin(self) -> None:
        """See `Reader.begin`."""
        if self._begun:
            return
        self._beginning = self._beginning or asyncio.Lock()
        async with self._beginning:
            if not self._begun:
                await self._start()

    def fell(self) -> None:
        """See `Reader.fell`."""
        self.stuck()

    def failed(self, fault: Fault) -> None:
        """See `Reader.failed`."""
        self._fault = fault
        self.end()

    # As the owner of an outlet.

    def waits(self) -> None:
        """See `Owner.waits`."""
        self._views.watch(self)

    def filled(self) -> None:
        """See `Owner.filled`."""
        if self._view is not None:
            self._view.rest(self)

    def emptied(self) -> None:
        """See `Owner.emptied`."""
        if self._view is not None:
            self._view.serve(self)

    def stuck(self) -> None:
        """See `Stuck.stuck`: what it does not read it would not read as a farewell either."""
        self._cut = True
        self.outlet.cut()
        self.end()

    # The answer.

    async def _start(self) -> None:
        headers: list[Header] = [
            (b"content-type", self._form.type.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"vary", b"accept"),
        ]
        self._request.begun = 200
        await self._request.send({"type": "http.response.start", "status": 200, "headers": headers})
        wire = lent(self._request)
        if wire is not None and wire.chunked:
            self.group = CHUNK
            outlet: Outlet = WireOutlet(self, wire)
        else:
            outlet = SendOutlet(self, self._send, lambda: abort(self._request), self._views.tasks)
        self.outlet = outlet
        outlet.write(self.group.around(self._form.opening))

    async def _send(self, piece: bytes) -> None:
        await self._request.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _finish(self) -> None:
        await self.begin()
        outlet = self.outlet
        if not self._cut and not outlet.gone:
            last = self._form.farewell if self._fault is None else self._form.fault(self._problem(self._fault))
            try:
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await outlet.settled()
                    await self._request.send({"type": "http.response.body", "body": last, "more_body": False})
            except TimeoutError:
                outlet.cut()
        outlet.close()

    def _problem(self, fault: Fault) -> Problem:
        return problem_of(fault, self._request.trace_id)


def checked_cursor(cursor: str) -> str:
    """The cursor, if it is one.

    Raises:
        Malformed: It is none.
    """
    if cursor:
        _ = parts_of_cursor(cursor)
    return cursor
