"""A connection that lasts: it goes from server to server, and has its subscriptions with it.

What is published while no server is there waits, up to `PENDING_BYTES_MAX`. What was written to a server that went
away may have been lost; whoever has to know is told by `lost`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import final

import msgspec

from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.transport.brokered.lasting import Lasting, RefusedError, Steps
from hanse.transport.brokered.post import HEAD_BYTES
from hanse.transport.brokered.servers import Server, Servers
from hanse.transport.nats.login import Info, Options, connect_line
from hanse.transport.nats.parse import Take
from hanse.transport.nats.wire import Wire

_log = logging.getLogger("hanse.transport.nats")

CONNECT_SECONDS = 3.0
"""For which one server has the time to answer when it is connected to."""

PENDING_BYTES_MAX = 8 * 1024 * 1024
"""Published while no server is there, or faster than it takes it; what comes beyond is refused."""

LEAD_BYTES = 16
"""Of a frame before its message, at most."""

LARGE_BYTES = 65_536
"""Of a message that does not wait for others to go out with."""

CLOSE_SECONDS = 2.0
"""For which a server has the time to take what was said last."""

_ENDS_MAX = 2_048
_ENDS = tuple(b" %d\r\n" % size for size in range(_ENDS_MAX))
"""How a line ends that announces so many bytes."""

_REFUSALS = ("authorization", "authentication", "user auth", "account", "revoked", "maximum", "cannot")


class Subscription(msgspec.Struct, eq=False):
    """What is listened to.

    Attributes:
        subject: With wildcards.
        take: Given each message.
        group: Of those with the same one, each message is given to one; empty for all.
    """

    subject: bytes
    take: Take
    group: bytes = b""
    id: bytes = b""


@final
class Connection:
    """To one of several servers at a time.

    Attributes:
        broker: What people call them.
        info: What the server said of itself last.
        body_bytes_max: Of one body: what the server takes, less what goes along.
        is_up: Whether there is a server.
    """

    broker: str = "NATS"

    def __init__(self, named: list[Server], options: Options, host: Host, *, lost: Callable[[str], None]) -> None:
        """Know where to go.

        Args:
            named: Servers to begin with.
            options: Who asks, and for how long a first server is looked for.
            host: Draws which server is next, and when.
            lost: Told why, when the connection broke; what was written may not have come.
        """
        self._options = options
        self._servers = Servers(named, host)
        steps = Steps(self._dial, _alone, self._use, self._broke)
        self._lasting = Lasting(self.broker, self._servers, steps, _log)
        self._lost = lost
        self._tasks = Tasks(self._failed)
        self._wire: Wire | None = None
        self._subscriptions: dict[bytes, Subscription] = {}
        self._takes: dict[bytes, Take] = {}
        self._greeted: set[bytes] = set()
        self._count = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._up = asyncio.Event()
        self._closing = False
        self.info: Info = Info()
        self.body_bytes_max: int = 0
        self.is_up: bool = False
        self._learn(self.info, None)

    @property
    def trouble(self) -> str:
        """Why there is no server at the moment; empty if there is."""
        return "" if self._wire is not None else f"there is no connection to {self.broker}: {self._lasting.why}"

    @property
    def native(self) -> asyncio.Transport | None:
        """The socket underneath, while there is one."""
        return None if self._wire is None else self._wire.transport

    async def open(self) -> None:
        """Find a server. Raises `CouldNotStart` if none is there within `Options.patience`, or all refuse."""
        self._closing = False
        wire = await self._lasting.open(self._options.patience)
        _ = self._tasks.start(self._lasting.keep(wire), name="nats connection")

    async def close(self) -> None:
        """Have the server take what was said, and leave."""
        self._closing = True
        wire = self._wire
        if wire is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await wire.round_trip()
            except (TimeoutError, ConnectionError) as error:
                _log.warning("NATS did not take all before the end: %s", str(error) or "it was too slow")
        await self._tasks.cancel()
        self._down()
        self._lasting.why = "it was closed"
        if wire is not None:
            wire.abort(self._lasting.why)

    def over(self, message: Message, size: int) -> str | None:
        """See `Post.over`."""
        if len(message.body) > self.body_bytes_max:
            return f"{self.body_bytes_max} bytes, as the NATS server takes messages of {self.info.max_payload} bytes"
        if size + LEAD_BYTES > self.info.max_payload:
            return f"{self.info.max_payload} bytes with its headers, which is all that the NATS server takes"
        return None

    async def up(self) -> None:
        """Wait until there is a server."""
        await self._up.wait()

    async def writable(self) -> None:
        """Wait until the server takes what it is sent."""
        if self._wire is not None and self._wire.full:
            await self._wire.writable.wait()

    def push(self) -> None:
        """See `Post.push`."""
        if self._wire is not None:
            self._wire.flush()

    def has_room(self, body: bytes) -> bool:
        """Whether a message of this body could wait for the server, besides all that waits already."""
        return self._pending_bytes + len(body) + HEAD_BYTES <= PENDING_BYTES_MAX

    async def flush(self) -> None:
        """Wait until the server has taken all that was said. Raises `ConnectionError` where it goes away."""
        if self._wire is None:
            raise ConnectionError(self.trouble)
        await self._wire.round_trip()

    def subscribe(self, subject: bytes, take: Take, group: bytes = b"") -> Subscription:
        """Listen; also on every server that is gone to later."""
        self._count += 1
        subscription = Subscription(subject, take, group, b"%d" % self._count)
        self._subscriptions[subscription.id] = subscription
        self._takes[subscription.id] = take
        if self._wire is not None:
            self._wire.write(_sub(subscription))
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Listen no more; what is under way to here may still come."""
        # It is forgotten once the server has taken this, as until then it may have sent something.
        if self._wire is not None and not self._closing:
            self._wire.write(b"UNSUB %b\r\n" % subscription.id)
            _ = self._tasks.start(self._forget(subscription, self._wire), name="nats unsubscribe")
        else:
            self._end(subscription)

    def publish(self, subject: bytes, reply: bytes, payload: bytes, lead: bytes = b"") -> bool:
        """Say something; False if there is no room for it while no server takes it.

        Args:
            subject: Where to.
            reply: Where to answer; empty for nowhere.
            payload: What.
            lead: Bytes before the payload.
        """
        return self.put(b"PUB %b %b" % (subject, reply), b"", lead, payload)

    def put(self, start: bytes, token: bytes, lead: bytes, payload: bytes) -> bool:
        """As `publish`, where to answer is in two parts, of which the first is known from before.

        Args:
            start: `PUB`, a space, where to, a space, and where to answer.
            token: The rest of where to answer.
            lead: Bytes before the payload.
            payload: What.
        """
        wire, size = self._wire, len(lead) + len(payload)
        # In pieces, which are joined with all others: to make one text of them costs three times as much.
        end = _ENDS[size] if size < _ENDS_MAX else b" %d\r\n" % size
        # What waits goes first: whoever is told two things of one node is told them in order.
        if wire is None or wire.full or self._pending:
            return self._keep_for_later(b"".join((start, token, end, lead)), payload)
        if not (out := wire.out):
            wire.begin()
        out += (start, token, end, lead, payload, b"\r\n")
        if size > LARGE_BYTES:
            # Gains nothing by going out with others; and at once it is known whether the server takes more.
            wire.flush()
        return True

    def publish_with_headers(self, subject: bytes, headers: bytes, payload: bytes, reply: bytes = b"") -> bool:
        """Say something under headers, which begin with `NATS/1.0` and end with an empty line."""
        head = b"HPUB %b %b %d %d\r\n%b" % (subject, reply, len(headers), len(headers) + len(payload), headers)
        if self._wire is None or self._wire.full or self._pending:
            return self._keep_for_later(head, payload)
        self._wire.write(head, payload, b"\r\n")
        return True

    def _keep_for_later(self, head: bytes, payload: bytes) -> bool:
        size = len(head) + len(payload) + 2
        if self._closing or self._pending_bytes + size > PENDING_BYTES_MAX:
            return False
        if not self._pending and self._wire is not None:
            _ = self._tasks.start(self._when_writable(self._wire), name="nats pending")
        self._pending_bytes += size
        self._pending += (head, payload, b"\r\n")
        return True

    async def _when_writable(self, wire: Wire) -> None:
        await wire.writable.wait()
        if wire is self._wire:
            self._write_pending(wire)

    def _write_pending(self, wire: Wire) -> None:
        if self._pending:
            wire.write(*self._pending)
        self._pending.clear()
        self._pending_bytes = 0

    def _end(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.id, None)
        self._takes.pop(subscription.id, None)

    async def _forget(self, subscription: Subscription, wire: Wire) -> None:
        try:
            await wire.round_trip()
        except ConnectionError:
            pass  # then no server knows of it any more
        finally:
            self._end(subscription)

    # From server to server.

    async def _dial(self, server: Server) -> Wire:
        """See `Steps.dial`."""

        def make() -> Wire:
            return Wire(self._takes, lambda info: self._learn(info, server), self._complained)

        async with asyncio.timeout(CONNECT_SECONDS):
            _, wire = await asyncio.get_running_loop().create_connection(make, server.host, server.port)
            try:
                await wire.greeted
                await self._greet(wire, server)
            except BaseException as error:
                wire.abort("the greeting came to nothing")
                if isinstance(error, ConnectionError) and wire.why.lower().startswith(_REFUSALS):
                    raise RefusedError(wire.why) from None
                raise
        self._learn(wire.info, server)
        return wire

    async def _greet(self, wire: Wire, server: Server) -> None:
        if server.tls or wire.info.tls_required or self._options.tls is not None:
            context = self._options.tls or ssl.create_default_context()
            try:
                await wire.secure(context, server.host)
            except ssl.SSLError as error:
                raise ConnectionError(f"no TLS: {error}") from None
        wire.write(connect_line(self._options, server, wire.info))
        self._greeted = set(self._subscriptions)
        for subscription in self._subscriptions.values():
            wire.write(_sub(subscription))
        await wire.round_trip()

    def _use(self, wire: Wire) -> None:
        self._wire, self.is_up = wire, True
        # While the greeting was under way others may have come, and some may have gone: a member of a group that does
        # not listen any more would swallow what it is given.
        for id in self._greeted - self._subscriptions.keys():
            wire.write(b"UNSUB %b\r\n" % id)
        for id in self._subscriptions.keys() - self._greeted:
            wire.write(_sub(self._subscriptions[id]))
        self._write_pending(wire)
        self._up.set()

    async def _broke(self, why: str) -> None:
        self._down()
        self._lost(why)

    def _down(self) -> None:
        self._wire, self.is_up = None, False
        self._up.clear()

    def _learn(self, info: Info, server: Server | None) -> None:
        self.info = info
        self.body_bytes_max = max(1, info.max_payload - HEAD_BYTES)
        if info.connect_urls and server is not None:
            self._servers.learn(info.connect_urls, server)

    @staticmethod
    def _complained(problem: str) -> None:
        _log.error("NATS: %s; give the user of this node the permission", problem)

    @staticmethod
    def _failed(error: BaseException) -> None:
        _log.error("the connection to NATS failed", exc_info=error)


def _sub(subscription: Subscription) -> bytes:
    return b"SUB %b %b %b\r\n" % (subscription.subject, subscription.group, subscription.id)


def _alone(wire: Wire) -> tuple[Wire]:
    return (wire,)
