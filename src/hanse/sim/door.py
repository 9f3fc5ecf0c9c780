"""The door of an app, and whoever knocks: HTTP over the simulated network.

A request is a connection of its own: its packets come in order or not at all. What is lost of them is sent again; the
connection breaks where a process dies, where a machine goes dark, and where a cut lasts. Then whoever asked gets
`Unavailable`, and does not know what was done.

Behind the door is the ASGI application of the app's gateway, on the lane of one machine's process, served as a server
of the outside would do it: it is told when its client has gone, and waits where that does not read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeVar, TypeVarTuple, final
from urllib.parse import unquote

import msgspec

from hanse.sim.lane import Lane
from hanse.sim.network import End, Network, Port

AHEAD_MAX = 64
"""Pieces of an answer that a client has not read when its server is made to wait."""

ABORT = "hanse.abort"
"""Name of the ASGI extension by which the power to cut a connection is lent."""

BAD = 500
"""Status of an answer that the application did not give."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Event, Receive, Send], Awaitable[None]]
Header = tuple[str, str]

_log = logging.getLogger("hanse.sim")
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_NOTHING = b""


class Knock(msgspec.Struct, frozen=True):
    """A request, as it travels.

    Attributes:
        method: In capitals.
        target: Path and query, encoded.
        headers: By name in lower case.
        body: All of it.
    """

    method: str
    target: str
    headers: tuple[Header, ...] = ()
    body: bytes = b""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.method} {self.target}"


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of an answer, as it travels.

    Attributes:
        status: Of the answer, in its first piece; 0 in all others.
        headers: Of the answer, in its first piece.
        body: More of the body.
        more: Whether more comes.
    """

    status: int = 0
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    more: bool = True


_knock = msgspec.msgpack.Decoder(Knock).decode
piece_of: Callable[[bytes], Piece] = msgspec.msgpack.Decoder(Piece).decode
"""A part of an answer, from its bytes."""


class Outside(End, Protocol):
    """The end of a client, as the door sees it; see `hanse.sim.http`."""

    port: Port

    def came(self, id: int, body: bytes) -> None:
        """A piece of an answer is here."""

    def broke(self, id: int, body: bytes) -> None:
        """The server has cut the connection."""


@final
class Door:
    """What one process serves to the outside. An end of the network.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, network: Network, lane: Lane, application: Application) -> None:
        """Listen.

        Args:
            network: Carries the packets.
            lane: The process.
            application: Answers requests.
        """
        self.port: Port = Port(lane, self)
        self._network = network
        self._lane = lane
        self._application = application
        self._open: dict[tuple[Port, int], _Connection] = {}
        self._none = asyncio.Event()
        self._none.set()
        self._closing = False
        network.join(self.port)

    async def close(self, grace: float) -> None:
        """Take no more requests, let those under way be answered for at most some seconds, and cut what is left."""
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                _ = await self._none.wait()
        self.port.open = False
        self._network.left(self.port)

    def lost(self, port: Port, /) -> None:
        """See `hanse.sim.network.End.lost`."""
        for (client, _), connection in list(self._open.items()):
            if client is port:
                connection.leave()

    # What arrives; called on the wire's own lane.

    def knock(self, client: Outside, id: int, body: bytes) -> None:
        """A request came."""
        knock = _knock(body)
        connection = _Connection(self._network, self.port, client, id, knock)
        if self._closing:
            connection.cut()
            return
        self._open[client.port, id] = connection
        self._none.clear()
        _ = self._lane.start(self._serve(connection, (client.port, id)), knock.name)

    def took(self, client: Outside, id: int, body: bytes) -> None:
        """The client has read a piece."""
        del body
        if (connection := self._open.get((client.port, id))) is not None:
            connection.took()

    def left(self, client: Outside, id: int, body: bytes) -> None:
        """The client has gone."""
        del body
        if (connection := self._open.get((client.port, id))) is not None:
            connection.leave()

    async def _serve(self, connection: _Connection, key: tuple[Port, int]) -> None:
        try:
            await self._application(connection.scope(), connection.receive, connection.send)
        except Exception:  # noqa: BLE001 - as a server does it: the client is answered, the log has the rest
            if self._lane.alive:
                _log.exception("the door failed at %s", connection.knock.name)
        connection.finish()
        del self._open[key]
        if not self._open:
            self._none.set()


@final
class _Connection:
    """One request, and the answer to it."""

    def __init__(self, network: Network, port: Port, client: Outside, id: int, knock: Knock) -> None:
        self.knock: Knock = knock
        self._network = network
        self._port = port
        self._client = client
        self._id = id
        self._received = False
        self._begun = False
        self._ahead = 0
        self._over = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def scope(self) -> Event:
        """See the ASGI specification."""
        path, _, query = self.knock.target.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.knock.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.knock.headers],
            "client": (self._client.port.name, self._id),
            "server": (self._port.name, 80),
            "state": {},
            "extensions": {ABORT: self.cut},
        }

    async def receive(self) -> Event:
        """See the ASGI specification."""
        if not self._received:
            self._received = True
            return {"type": "http.request", "body": self.knock.body, "more_body": False}
        _ = await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        """See the ASGI specification."""
        _ = await self._room.wait()
        if self._over.is_set():
            return  # nobody is there any more
        if event["type"] == "http.response.start":
            self._begun = True
            self._carry(Piece(event["status"], _text(event.get("headers", ()))))
            return
        more = bool(event.get("more_body", False))
        self._carry(Piece(body=event.get("body", b""), more=more))
        if more:
            self._ahead += 1
            if self._ahead >= AHEAD_MAX:
                self._room.clear()
        else:
            self._over.set()

    def finish(self) -> None:
        """The application is done: who still waits for something is told that nothing comes."""
        if self._over.is_set():
            return
        if self._begun:
            self.cut()
        else:
            self._carry(Piece(BAD, (("content-type", "text/plain"),)))
            self._carry(Piece(body=b"Internal Server Error", more=False))
            self._over.set()

    def took(self) -> None:
        """The client has read a piece."""
        self._ahead -= 1
        self._room.set()

    def leave(self) -> None:
        """The client has gone."""
        self._over.set()
        self._room.set()

    def cut(self) -> None:
        """Cut the connection."""
        arrive = partial(self._client.broke, self._id)
        self._network.carry(self._port, self._client.port, f"cut {self.knock.name}", _NOTHING, arrive)
        self.leave()

    def _carry(self, piece: Piece) -> None:
        arrive = partial(self._client.came, self._id)
        what = f"{piece.status or 'more'} {self.knock.name}" if piece.more else f"end {self.knock.name}"
        self._network.carry(self._port, self._client.port, what, _encode(piece), arrive)


@contextmanager
def threadless() -> Generator[None]:
    """Have what Starlette and its like give to threads of anyio's done on the lane itself, as executors do it here."""
    try:
        from anyio import to_thread
    except ImportError:
        yield
        return

    async def run_sync(func: Callable[[*Ts], T], *args: *Ts, **_: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, func, *args)

    real = to_thread.run_sync
    # Which threads there may be, and who waits for them, makes no difference where there are none.
    to_thread.run_sync = run_sync
    try:
        yield
    finally:
        to_thread.run_sync = real


def _text(headers: Any) -> tuple[Header, ...]:  # noqa: ANN401 - an application's
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
