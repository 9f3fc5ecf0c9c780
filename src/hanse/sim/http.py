"""A client of the outside: HTTP requests and event streams, to the door of an app in a simulated world.

A request either gets its answer, or raises: `Unavailable` where nobody listens or the connection broke, and
`DeadlineExceeded` where no answer came in time. In both cases nobody knows what was done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, final

import msgspec

from hanse.kernel.codec import encode_json
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import DeadlineExceeded, Fault, Misconfigured, Unavailable
from hanse.sim.door import Door, Knock, Outside, Piece, piece_of
from hanse.sim.lane import Lane
from hanse.sim.network import Network, Port
from hanse.sim.sse import SseEvent, SseParser

TIMEOUT: Duration = "30s"
"""How long an answer may take, unless the request says otherwise; also the head of a stream."""

TEXT_MAX = 500
"""Characters of an unexpected answer that are told."""

EVENTS = "text/event-stream"
HOST = "world"
OK, BAD_FROM = 200, 400

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_NOTHING = b""


class NoStream(Fault, status=502, detail="{request} was answered with {answered} and no stream of events: {text}"):
    """An event stream was asked for, and something else came.

    Attributes:
        request: What was asked.
        answered: Status of the answer.
        text: The beginning of its body.
    """

    request: str
    answered: int
    text: str


class Answer(msgspec.Struct, frozen=True):
    """A whole answer.

    Attributes:
        status: HTTP status.
        headers: By name in lower case.
        body: Its bytes.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it is no error."""
        return self.status < BAD_FROM

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """What the body says as JSON.

        Example:
            >>> Answer(200, {}, b'{"left": 3}').json()
            {'left': 3}
        """
        return msgspec.json.decode(self.body)


@final
class _Coming:
    """An answer that is coming: its pieces, in order."""

    def __init__(self, id: int, door: Door, knock: Knock) -> None:
        self.id: int = id
        self.door: Door = door
        self.knock: Knock = knock
        self.broken: bool = False
        self.ended: bool = False
        self._pieces: deque[Piece] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, piece: Piece) -> None:
        """A piece came."""
        self._pieces.append(piece)
        self._wake()

    def snap(self) -> None:
        """The connection broke."""
        self.broken = True
        self._wake()

    async def take(self) -> Piece:
        """The next piece.

        Raises:
            Unavailable: The connection broke before it came.
        """
        while not self._pieces:
            if self.broken:
                raise Unavailable(f"the connection broke before all of {self.knock.name} was answered")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        piece = self._pieces.popleft()
        self.ended = not piece.more
        return piece

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@final
class Http(Outside):
    """A client. Use it as `async with world.http() as http`."""

    def __init__(self, network: Network, lane: Lane, door: Callable[[], Door | None]) -> None:
        """Take part in the network.

        Args:
            network: Carries the packets.
            lane: The process that this is a part of.
            door: Who listens now, or did last; None where nobody ever did.
        """
        self.port: Port = Port(lane, self)
        self._network = network
        self._door = door
        self._coming: dict[int, _Coming] = {}
        self._count = 0
        network.join(self.port)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cut all connections."""
        self.port.open = False
        self._network.left(self.port)
        for coming in self._coming.values():
            coming.snap()

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = msgspec.UNSET,
        timeout: Duration = TIMEOUT,
    ) -> Answer:
        """Ask, and wait for the whole answer.

        Args:
            method: Such as `GET`.
            target: Path and query, percent-encoded.
            headers: By name.
            json: What the body says, as JSON; no body without it.
            timeout: How long to wait.

        Raises:
            Unavailable: Nobody listens, or the connection broke.
            DeadlineExceeded: There was no answer in time.
        """
        knock = _knock(method, target, headers or {}, json)
        async with self.asking(knock) as coming, _in_time(knock, timeout):
            head, body = await self.next(coming), list[bytes]()
            while not coming.ended:
                body.append((await self.next(coming)).body)
        return Answer(head.status, dict(head.headers), b"".join(body))

    def stream(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        last_event_id: str = "",
        timeout: Duration = TIMEOUT,
    ) -> Events:
        """Ask for events; use it as `async with http.stream("GET", "/orders") as events`.

        Args:
            method: Such as `GET`.
            target: Path and query, percent-encoded.
            headers: By name.
            last_event_id: Where to go on, after a stream that broke.
            timeout: How long to wait for the stream to begin.
        """
        wanted = {"accept": EVENTS, **({"last-event-id": last_event_id} if last_event_id else {}), **(headers or {})}
        return Events(self, _knock(method, target, wanted, msgspec.UNSET), last_event_id, timeout)

    @asynccontextmanager
    async def asking(self, knock: Knock) -> AsyncGenerator[_Coming]:
        """A connection with a request; it is closed behind whoever has enough.

        Raises:
            Unavailable: Nobody listens.
        """
        door = self._door()
        if door is None or not self.port.open:
            await asyncio.sleep(self._network.latency_high)
            raise Unavailable(f"nobody listens to {knock.name}")
        self._count += 1
        id = self._count
        coming = self._coming[id] = _Coming(id, door, knock)
        self._carry(door, knock.name, _encode(knock), partial(door.knock, self, id))
        try:
            yield coming
        finally:
            del self._coming[id]
            if not coming.ended and not coming.broken:
                self._carry(door, f"leave {knock.name}", _NOTHING, partial(door.left, self, id))

    async def next(self, coming: _Coming) -> Piece:
        """The next piece of an answer. Raises `Unavailable`."""
        piece = await coming.take()
        if piece.more and not piece.status:
            door = coming.door
            self._carry(door, f"took {coming.knock.name}", _NOTHING, partial(door.took, self, coming.id))
        return piece

    def _carry(self, door: Door, what: str, body: bytes, arrive: Callable[[bytes], None]) -> None:
        self._network.carry(self.port, door.port, what, body, arrive)

    # What arrives; called on the wire's own lane.

    def came(self, id: int, body: bytes) -> None:
        """See `Outside.came`."""
        if (coming := self._coming.get(id)) is not None:
            coming.put(piece_of(body))

    def broke(self, id: int, body: bytes) -> None:
        """See `Outside.broke`."""
        del body
        if (coming := self._coming.get(id)) is not None:
            coming.snap()

    def lost(self, port: Port, /) -> None:
        """See `End.lost`."""
        for coming in list(self._coming.values()):
            if coming.door.port is port:
                coming.snap()


@final
class Events:
    """A stream of events, while it is entered; it ends where the server ends it."""

    def __init__(self, http: Http, knock: Knock, last_event_id: str, timeout: Duration) -> None:
        """Ask for nothing yet.

        Args:
            http: Carries it.
            knock: The request.
            last_event_id: Where it goes on.
            timeout: How long it may take to begin.
        """
        self._http = http
        self._knock = knock
        self._timeout = timeout
        self._parser = SseParser(last_event_id)
        self._events: deque[SseEvent] = deque()
        self._opened = AsyncExitStack()
        self._coming: _Coming | None = None

    @property
    def last_id(self) -> str:
        """The last event id: what a next stream goes on from."""
        return self._parser.last_id

    async def __aenter__(self) -> Self:
        """Ask for the stream.

        Raises:
            Unavailable: Nobody listens, or the connection broke.
            DeadlineExceeded: It did not begin in time.
            NoStream: Something else came.
        """
        async with AsyncExitStack() as opening:
            coming = self._coming = await opening.enter_async_context(self._http.asking(self._knock))
            async with _in_time(self._knock, self._timeout):
                head = await self._http.next(coming)
                if head.status != OK or not dict(head.headers).get("content-type", "").startswith(EVENTS):
                    text = b""
                    while not coming.ended:
                        text += (await self._http.next(coming)).body
                    raise NoStream(self._knock.name, head.status, text[:TEXT_MAX].decode(errors="replace"))
            self._opened = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SseEvent:
        """The next event.

        Raises:
            Unavailable: The connection broke; ask again, from the id of the last event.
        """
        coming = self._coming
        if coming is None:
            raise Misconfigured("a stream has to be entered: async with http.stream(...) as events")
        while not self._events:
            if coming.ended:
                raise StopAsyncIteration
            self._events += self._parser.feed((await self._http.next(coming)).body)
        return self._events.popleft()


def _knock(method: str, target: str, headers: Mapping[str, str], json: object) -> Knock:
    body = b"" if json is msgspec.UNSET else encode_json(json)
    told = {"content-type": "application/json", "content-length": f"{len(body)}"} if body else {}
    named = {"host": HOST, **told, **{name.lower(): value for name, value in headers.items()}}
    return Knock(method, target, tuple(named.items()), body)


@asynccontextmanager
async def _in_time(knock: Knock, timeout: Duration) -> AsyncGenerator[None]:
    """Give up after some time. Raises `DeadlineExceeded`."""
    try:
        async with asyncio.timeout(seconds(timeout)):
            yield
    except TimeoutError:
        raise DeadlineExceeded(knock.name) from None
