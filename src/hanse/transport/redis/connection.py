"""A connection that lasts: sockets to one server at a time, which come and go together.

On one all is said, and what is told comes; on another `Pull` waits for requests; a third is made for events where any
are kept, so that answers do not wait behind them, and as servers cut off who listens where too much is on its way.
What is published while no server is there waits, up to `PENDING_BYTES_MAX`. What was said to a server that went away
may have been lost; whoever has to know is told by `lost`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, cast, final

from hanse.kernel.faults import Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.resp import ReplyError, Then, Wire, command
from hanse.kernel.tasks import Tasks
from hanse.transport.brokered.frames import NotTakenError
from hanse.transport.brokered.lasting import Lasting, RefusedError, Steps
from hanse.transport.brokered.post import HEAD_BYTES, over
from hanse.transport.brokered.servers import Server, Servers, servers_in
from hanse.transport.redis.judge import Told, absence, distrust, refusal, told_in, warning
from hanse.transport.redis.names import Names
from hanse.transport.redis.options import SCHEME, Options, database_in
from hanse.transport.redis.pull import Pull
from hanse.transport.redis.queued import entry
from hanse.transport.redis.scripts import ALL, FULL, LIST_SECONDS, NOBODY, SEND, SWEEP, TAKEN, WAITING_MAX

_log = logging.getLogger("hanse.transport.redis")

CONNECT_SECONDS = 3.0
"""For which one server has the time to answer when it is connected to, on each socket."""

LASTING = 2
"""Sockets that there are always."""

PENDING_BYTES_MAX = 16 * 1024 * 1024
"""Published while no server is there, or faster than it takes it; what comes beyond is refused."""

BODY_BYTES_MAX = 1024 * 1024
"""Of one body: servers cut off a node to which more than 32 MiB are on their way, unless they are told otherwise."""

LARGE_BYTES = 65_536
"""Of what does not wait for others to go out with: at once it is known whether the server takes more."""

CLOSE_SECONDS = 2.0
"""For which a server has the time to take what was said last."""

_REFUSALS = ("NOAUTH", "WRONGPASS", "NOPERM", "NOPROTO", "ERR AUTH", "ERR invalid password", "ERR DB", "ERR unknown")

_SEND = b"*5\r\n$7\r\nEVALSHA\r\n$40\r\n" + SEND.sha + b"\r\n$1\r\n1\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
_PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b %b%b\r\n"


class _Dialed(NamedTuple):
    """Sockets to one server: what is said goes through the first, requests come on the second; and how to get more."""

    wires: list[Wire]
    another: Callable[[], Awaitable[Wire]]


class Ears(NamedTuple):
    """Whoever is told what comes. None of these raises.

    Attributes:
        lost: The connection broke, and why; what was said may not have come.
        back: There is a connection, for the first time or again.
        told: Something came on the channel of this node.
        gone: Nobody listened where something was said; given is what was to say so.
        took: A request came: the key of its list, the entry, and the server's clock.
        refused: A request was not taken, by its token; `NotTakenError` where nobody is there to serve it.
    """

    lost: Callable[[str], None]
    back: Callable[[], None]
    told: Callable[[bytes], None]
    gone: Callable[[bytes], None]
    took: Callable[[bytes, bytes, float], None]
    refused: Callable[[bytes, Exception], None]


@final
class Connection:
    """To one of several servers at a time.

    Attributes:
        broker: What people call them.
        body_bytes_max: Of one body.
        is_up: Whether there is a server.
        told: What the one that was reached last says of itself.
    """

    broker: str = "Redis"
    body_bytes_max: int = BODY_BYTES_MAX

    def __init__(self, url: str, names: Names, options: Options, host: Host, ears: Ears) -> None:
        """Know where to go.

        Args:
            url: Of the servers to begin with.
            names: Channels of this node, and where it is woken.
            options: Who asks, and for how long a first server is looked for.
            host: Draws which server is next, and when.
            ears: Told what comes.

        Raises:
            Misconfigured: The URL is none of Redis.
        """
        self._database = b"%d" % database_in(url)
        self._names = names
        self._options = options
        steps = Steps(self._dial, _wires, self._use, self._broke)
        self._lasting = Lasting(self.broker, Servers(servers_in(url, SCHEME), host), steps, _log)
        self._ears = ears
        self._tasks = Tasks(self._failed)
        self._wire: Wire | None = None
        self._pull = Pull(names.channel, ears.took)
        self._live: list[Wire] = []
        self._another: Callable[[], Awaitable[Wire]] | None = None
        self._dialing = asyncio.Lock()
        self._followed: dict[bytes, Callable[[bytes], None]] = {}
        self._channels: dict[bytes, None] = {names.channel: None}
        self._greeted: frozenset[bytes] = frozenset()
        self._pending: list[tuple[bytes, Then]] = []
        self._pending_bytes = 0
        self._up = asyncio.Event()
        self._closing = False
        self._said = ""
        self.is_up: bool = False
        self.told: Told = Told()

    @property
    def trouble(self) -> str:
        """Why there is no server at the moment; empty if there is."""
        return "" if self._wire is not None else f"there is no connection to {self.broker}: {self._lasting.why}"

    @property
    def native(self) -> Wire | None:
        """The socket underneath, while there is one: its `ask` sends any command."""
        return self._wire

    async def open(self) -> None:
        """Find a server. Raises `CouldNotStart` if none is there within `Options.patience`, or all refuse."""
        self._closing = False
        dialed = await self._lasting.open(self._options.patience)
        _ = self._tasks.start(self._lasting.keep(dialed), name="redis connection")

    async def close(self) -> None:
        """Take no more requests, have the server take what was said, and leave."""
        self._closing = True
        wire = self._wire
        if wire is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    for key in self._pull.keys:
                        self._retire(wire, key)
                    self._wake()
                    await self._pull.stop()
                    for _ in ("what waited", "how it was refused"):
                        _ = await wire.ask(b"PING")
            except (TimeoutError, ConnectionError, ReplyError) as error:
                _log.warning("Redis did not take all before the end: %s", str(error) or "it was too slow")
        await self._tasks.cancel()
        self._down()
        self._lasting.why = "it was closed"
        for one in self._live:
            one.abort(self._lasting.why)

    def over(self, message: Message, size: int) -> str | None:
        """See `Post.over`."""
        return over(message, size, BODY_BYTES_MAX)

    async def up(self) -> None:
        """Wait until there is a server."""
        _ = await self._up.wait()

    async def writable(self) -> None:
        """Wait until the server takes what it is sent."""
        if self._wire is not None:
            _ = await self._wire.writable.wait()

    def push(self) -> None:
        """See `Post.push`."""
        if self._wire is not None:
            self._wire.flush()

    def has_room(self, body: bytes) -> bool:
        """Whether a message of this body could wait for the server, besides all that waits already."""
        waiting = self._pending_bytes if self._wire is None else self._wire.waiting
        return waiting + len(body) + HEAD_BYTES <= PENDING_BYTES_MAX

    async def flush(self) -> None:
        """Wait until the server has taken all that was said. Raises `ConnectionError` where it goes away."""
        if self._wire is None:
            raise ConnectionError(self.trouble)
        _ = await self._wire.ask(b"PING")

    async def events(self) -> Wire:
        """The socket that events go through. Raises `OSError`, `TimeoutError` or `ReplyError`."""
        async with self._dialing:
            another, known = self._another, self._live
            if another is None:
                raise ConnectionError(self.trouble)
            if len(known) == LASTING:
                async with asyncio.timeout(CONNECT_SECONDS):
                    wire = await another()
                if wire.ended.is_set():
                    wire.abort(self._lasting.why)
                    raise ConnectionError(self.trouble or "it broke")
                known.append(wire)
            return known[LASTING]

    def follow(self, channel: bytes, told: Callable[[bytes], None]) -> None:
        """Have somebody told what is said on a channel; it never raises."""
        if channel not in self._followed:
            self._join(channel)
        self._followed[channel] = told

    def serve(self, key: bytes) -> None:
        """Take requests from a list, and be known to; also on every server that is gone to later."""
        self._pull.keys[key] = None
        self._join(key)
        self._wake()

    def leave(self, key: bytes) -> None:
        """Take no more, and hand back what waits where nobody else does."""
        self._channels.pop(key, None)
        self._pull.keys.pop(key, None)
        if self._wire is not None:
            self._retire(self._wire, key)
            self._wake()

    def call(self, address: str, token: bytes, head: bytes, rest: bytes) -> bool:
        """Send a request: see `Send`."""
        key = self._names.call(address)
        said = entry(self._options.silence, self._names.here + token, rest, head)
        wire = self._wire
        if wire is None or wire.waiting + len(said) > PENDING_BYTES_MAX:
            return False
        wire.say(_SEND % (len(key), key, len(said), said), partial(self._sent, token))
        if len(said) > LARGE_BYTES:
            wire.flush()
        return True

    def publish(self, subject: bytes, reply: bytes, payload: bytes, lead: bytes = b"") -> bool:
        """See `Post.publish`."""
        channel, _, token = subject.rpartition(b".")
        size = len(token) + 1 + len(lead) + len(payload)
        said = _PUBLISH % (len(channel), channel, size, token, lead, payload)
        then = partial(self._heard, reply) if reply else self._checked
        if self._wire is not None:
            if self._wire.waiting + size > PENDING_BYTES_MAX:
                return False
            self._wire.say(said, then)
            if size > LARGE_BYTES:
                self._wire.flush()
            return True
        if self._closing or self._pending_bytes + size > PENDING_BYTES_MAX:
            return False
        self._pending_bytes += size
        self._pending.append((said, then))
        return True

    def _join(self, channel: bytes) -> None:
        self._channels[channel] = None
        if self._wire is not None:
            self._wire.say(command(b"SUBSCRIBE", channel), self._checked)

    def _sent(self, token: bytes, came: object) -> None:
        """What became of a request."""
        if came == TAKEN or isinstance(came, ConnectionError):
            return
        if came == NOBODY:
            fault: Exception = NotTakenError()
        elif came == FULL:
            fault = Overloaded(f"the limit of {WAITING_MAX} requests that wait for a service")
        elif str(came).startswith("NOSCRIPT"):
            # Somebody had the server forget its scripts; nothing has been done.
            self._load()
            fault = NotTakenError("Redis has forgotten what it does for Hanse")
        else:
            fault = Unavailable(f"Redis takes no requests: {came}")
        self._ears.refused(token, fault)

    def _load(self) -> None:
        if self._wire is not None:
            for script in ALL:
                self._wire.say(command(b"SCRIPT", b"LOAD", script.source), self._checked)

    def _wake(self) -> None:
        """Have what waits for requests ask anew: for others, or for none."""
        if self._wire is not None:
            self._wire.say(command(b"RPUSH", self._names.channel, b""), self._checked)
            self._wire.say(command(b"EXPIRE", self._names.channel, b"%d" % LIST_SECONDS), self._checked)

    def _retire(self, wire: Wire, key: bytes) -> None:
        """Be known no more, and refuse what waits where nobody else is."""

        def then(reply: object) -> None:
            if isinstance(reply, list):
                for entry in cast("list[bytes]", reply):
                    self._ears.took(key, entry, 0.0)
                if reply:
                    wire.say(sweep, then)
            else:
                self._checked(reply)

        sweep = command(b"EVALSHA", SWEEP.sha, b"1", key)
        wire.say(command(b"UNSUBSCRIBE", key), self._checked)
        wire.say(sweep, then)

    def _heard(self, reply: bytes, count: object) -> None:
        """How many listened where something was said."""
        if count == 0:
            self._ears.gone(reply)
        else:
            self._checked(count)

    def _checked(self, reply: object) -> None:
        if isinstance(reply, ReplyError) and str(reply) != self._said:
            self._said = str(reply)  # once, not for each message
            _log.error("Redis refuses a command of this node: %s", reply)

    # From server to server.

    async def _dial(self, server: Server) -> _Dialed:
        """See `Steps.dial`."""
        ended = asyncio.Event()

        async def another() -> Wire:
            wire = Wire(self._pushed, ended)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._connect(server, wire)
            except BaseException:
                wire.abort("the greeting came to nothing")
                raise
            return wire

        wires: list[Wire] = []
        try:
            for _ in range(LASTING):
                wires.append(await another())  # noqa: PERF401 - those that are made are needed where the next fails
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._greet(wires[0])
        except BaseException as error:
            for one in wires:
                one.abort("the greeting came to nothing")
            if isinstance(error, ReplyError):
                refused = str(error).startswith(_REFUSALS)
                raise (RefusedError if refused else ConnectionError)(str(error)) from None
            raise
        return _Dialed(wires, another)

    async def _connect(self, server: Server, wire: Wire) -> None:
        context: ssl.SSLContext | None = None
        if server.tls or self._options.tls is not None:
            context = self._options.tls or ssl.create_default_context()
        loop = asyncio.get_running_loop()
        _ = await loop.create_connection(lambda: wire, server.host, server.port, ssl=context)
        hello = [b"HELLO", b"3"]
        user, password = server.user or self._options.user, server.password or self._options.password
        if user or password:
            hello += [b"AUTH", (user or "default").encode(), password.encode()]
        _ = await wire.ask(*hello, b"SETNAME", self._options.name.encode())
        if self._database != b"0":
            _ = await wire.ask(b"SELECT", self._database)

    async def _greet(self, wire: Wire) -> None:
        """Look at the server, and have it know what belongs to this node. Raises `RefusedError`."""
        info = await wire.ask(b"INFO")
        self.told = told = told_in(info if isinstance(info, bytes) else str(info).encode())
        if problem := refusal(told) or (distrust(told) if self._options.keeps else ""):
            raise RefusedError(problem)
        if problem := absence(told):
            raise ConnectionError(problem)
        if (problem := warning(told)) and problem != self._said:
            self._said = problem
            _log.warning("%s", problem)
        for script in ALL:
            _ = await wire.ask(b"SCRIPT", b"LOAD", script.source)
        self._greeted = frozenset(self._channels)
        for channel in self._greeted:
            _ = await wire.ask(b"SUBSCRIBE", channel)

    def _use(self, dialed: _Dialed) -> None:
        self._live, self._another = dialed
        wire, pull = self._live
        self._wire, self.is_up = wire, True
        # While the greeting was under way some may have come, and some gone.
        for word, channels in (
            (b"UNSUBSCRIBE", self._greeted - self._channels.keys()),
            (b"SUBSCRIBE", self._channels.keys() - self._greeted),
        ):
            for channel in sorted(channels):
                wire.say(command(word, channel), self._checked)
        for said, then in self._pending:
            wire.say(said, then)
        self._pending.clear()
        self._pending_bytes = 0
        self._pull.start(pull)
        self._up.set()
        self._ears.back()

    async def _broke(self, why: str) -> None:
        self._down()
        self._ears.lost(why)

    def _down(self) -> None:
        self._wire, self._another, self.is_up = None, None, False
        self._up.clear()

    def _pushed(self, push: list[object]) -> None:
        if push[0] == b"message" and isinstance(data := push[-1], bytes):
            followed = self._followed.get(cast("bytes", push[1]))
            (followed or self._ears.told)(data)

    @staticmethod
    def _failed(error: BaseException) -> None:
        _log.error("the connection to Redis failed", exc_info=error)


def _wires(dialed: _Dialed) -> list[Wire]:
    return dialed.wires
