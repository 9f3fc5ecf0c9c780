"""`Prefer: respond-async`: a write that is answered later. Its answer is kept for a while, to be asked for or followed.

What is deferred lives in this process, as the connection of a client that waits would: it goes on when the client has
gone, a drain waits for it, and a crash loses it. What it had committed by then stays; an `Idempotency-Key` makes asking
again safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from http import HTTPStatus
from typing import Literal

import msgspec

from hanse.gateway.asgi import EVENT_STREAM, Request, Response
from hanse.gateway.preconditions import digest, is_same
from hanse.gateway.prefer import Preferences
from hanse.gateway.problem import known, problem_response
from hanse.gateway.sse import sse_form
from hanse.gateway.streams import HttpStream, Streams
from hanse.kernel.codec import encode_json
from hanse.kernel.context import current
from hanse.kernel.faults import NotFound, Overloaded
from hanse.kernel.tasks import Tasks

_log = logging.getLogger("hanse.gateway")

Work = Callable[[], Awaitable[Response]]

DEFERRED_MAX = 1_000
"""Deferred writes that one gateway keeps, under way and answered; 503 when all are under way."""

DEFERRED_BYTES_MAX = 16 * 1024 * 1024
"""Of the answers that are kept: beyond, the oldest are forgotten."""

KEPT_SECONDS = 3600.0
"""How long an answer is kept."""

_TOLD = frozenset({b"location", b"etag", b"retry-after"})


class Answered(msgspec.Struct, frozen=True):
    """What the write was answered with."""

    status: int
    headers: dict[str, str]
    body: msgspec.Raw


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a deferred write stands.

    Attributes:
        id: Its name.
        status: Whether it is under way, has been done, or was refused.
        began, ended: Wall-clock seconds; `ended` is missing until it has.
        answer: What it was answered with; missing until then.
    """

    id: str
    status: Literal["running", "done", "failed"]
    began: float
    ended: float | None = None
    answer: Answered | None = None


class Deferred:
    """One write that is answered later."""

    def __init__(self, id: str, caller: str, began: float) -> None:
        self.caller: str = caller
        self.told: bytes = encode_json(Status(id, "running", began))
        self.ended: asyncio.Event = asyncio.Event()
        self.until: float = 0.0
        self._id = id
        self._began = began

    def end(self, response: Response, now: float) -> None:
        """It was answered."""
        headers = {name.decode(): value.decode("latin-1") for name, value in response.headers if name in _TOLD}
        answer = Answered(response.status, headers, msgspec.Raw(response.body or b"null"))
        failed = response.status >= HTTPStatus.BAD_REQUEST
        self.told = encode_json(Status(self._id, "failed" if failed else "done", self._began, now, answer))
        self.until = now + KEPT_SECONDS
        self.ended.set()


class Deferrals:
    """The deferred writes of one gateway.

    Args of the constructor:
        path: Where they are followed, without the id.
        streams: Whose drain waits for them.
    """

    def __init__(self, path: str, streams: Streams) -> None:
        self.path: str = path
        self._streams = streams
        self._host = streams.host
        self._tasks = Tasks(_failed, limit=DEFERRED_MAX)
        # In the order in which they began.
        self._kept: dict[str, Deferred] = {}
        form = sse_form(streams.limits.retry_seconds, end=b"event: end\ndata: {}\n\n")
        self._form = form

    def __len__(self) -> int:
        return len(self._kept)

    async def answer(self, request: Request, preferences: Preferences, work: Work) -> Response:
        """The answer of the work; where the client prefers so and it takes its time, 202 and where it will be.

        Raises:
            Overloaded: As many as may be are under way.
            Unavailable: The node drains.
        """
        if not preferences.later:
            return await work()
        deferred, task = self._begin(work)
        if preferences.wait:
            _ = await asyncio.wait([task], timeout=preferences.wait)
            if task.done():
                _ = self._kept.pop(deferred, None)  # a large answer may have been pushed out in the same moment
                return task.result()
        location = f"{request.root}{self.path}/{deferred}".encode()
        headers = ((b"location", location), (b"preference-applied", b"respond-async"), (b"retry-after", b"1"))
        return Response(202, self._kept[deferred].told, headers)

    async def get(self, request: Request) -> Response | None:
        """How a deferred write stands; as a stream that ends with it, where the client asks for events.

        Raises:
            NotFound: There is none, it is somebody else's, or it was forgotten.
        """
        self._forget()
        id = request.parameters["id"]
        deferred = self._kept.get(id)
        if deferred is None or deferred.caller != current().identity.caller:
            raise NotFound("deferred write", id[:100])
        if request.method == "GET" and request.accepts(EVENT_STREAM):
            await HttpStream(request, self._streams, self._form, ((b"vary", b"accept"),)).run(_events(deferred))
            return None
        tag = digest(deferred.told)
        headers = ((b"etag", tag), (b"vary", b"accept"), (b"cache-control", b"no-store"))
        if is_same(request.header(b"if-none-match"), tag):
            return Response(304, b"", headers, "")
        return Response(200, deferred.told, headers if deferred.ended.is_set() else (*headers, (b"retry-after", b"1")))

    def _begin(self, work: Work) -> tuple[str, asyncio.Task[Response]]:
        self._forget()
        if len(self._kept) >= DEFERRED_MAX and not self._forget_oldest():
            raise Overloaded(f"the limit of {DEFERRED_MAX} deferred writes")
        id = self._host.new_id()
        deferred = Deferred(id, current().identity.caller, self._host.now())
        place = self._streams.opened()
        _ = place.__enter__()  # held until the work has ended, which is in another task
        self._kept[id] = deferred
        task = self._tasks.start(self._do(work, deferred), name=f"deferred {id}")
        task.add_done_callback(lambda _: place.__exit__(None, None, None))
        return id, task

    async def _do(self, work: Work, deferred: Deferred) -> Response:
        try:
            response = await work()
        except Exception as error:  # noqa: BLE001 - told to whoever asks
            response = problem_response(known(error, self._host))
        deferred.end(response, self._host.now())
        return response

    def _forget(self) -> None:
        """Those whose time is over, and the oldest where their answers are too much together."""
        now = self._host.now()
        ended = [(id, one) for id, one in self._kept.items() if one.ended.is_set()]
        size = sum(len(one.told) for _, one in ended)
        for id, one in ended:
            if one.until <= now or size > DEFERRED_BYTES_MAX:
                size -= len(one.told)
                del self._kept[id]

    def _forget_oldest(self) -> bool:
        oldest = next((id for id, one in self._kept.items() if one.ended.is_set()), None)
        return oldest is not None and self._kept.pop(oldest, None) is not None


async def _events(deferred: Deferred) -> AsyncGenerator[bytes, None]:
    event = b"event: status\ndata: %b\n\n"
    if not deferred.ended.is_set():
        yield event % deferred.told
        _ = await deferred.ended.wait()
    yield event % deferred.told


def _failed(error: BaseException) -> None:
    _log.error("a deferred write failed", exc_info=error)
