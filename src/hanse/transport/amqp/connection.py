"""A connection that lasts: two sockets to one server at a time, which come and go together.

Over one all is said; over the other all that this node takes comes. A server that is short of memory or disk reads
nothing more from a socket over which messages are put into queues: what has been handed out can still be acknowledged.
What is published while no server takes it waits, up to `PENDING_BYTES_MAX`. What was said to a server that went away
may have been lost; whoever has to know is told by `lost`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import NamedTuple, final

from pamqp import commands

from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.transport.amqp.channel import Channel, ChannelError
from hanse.transport.amqp.frames import asked, told
from hanse.transport.amqp.greeting import Login, greet
from hanse.transport.amqp.intake import Intake, Took
from hanse.transport.amqp.names import Names
from hanse.transport.amqp.options import Options, scheme_of, world_in
from hanse.transport.amqp.wire import Wire
from hanse.transport.brokered.lasting import Lasting, Steps
from hanse.transport.brokered.post import HEAD_BYTES, over
from hanse.transport.brokered.servers import Server, Servers, servers_in

_log = logging.getLogger("hanse.transport.amqp")

CONNECT_SECONDS = 5.0
"""For which one server has the time to answer when it is connected to."""

QUIET_MAX = 3
"""Looks in a row that find nothing, after which another server is gone to; it is to say something as often as that."""

PENDING_BYTES_MAX = 16 * 1024 * 1024
"""Published while no server takes it, or faster than it does; what comes beyond is refused."""

BODY_BYTES_MAX = 1024 * 1024
"""Of one body: servers take more, but others wait behind it."""

LARGE_BYTES = 65_536
"""Of what does not wait for others to go out with: at once it is known whether the server takes more."""

CLOSE_SECONDS = 2.0
"""For which a server has the time to take what was said last."""

LASTING_SINCE = 4
"""Major version from which queues that several connections share should be there after a restart."""


class Ears(NamedTuple):
    """Whoever is told what comes. None of these raises.

    Attributes:
        lost: The connection broke, and why; what was said may not have come.
        told: The properties and the body of what this node is told.
        took: A request: see `Took`.
        returned: Those of what had nowhere to go.
    """

    lost: Callable[[str], None]
    told: Callable[[bytes, bytes], None]
    took: Took
    returned: Callable[[bytes, bytes], None]


class Wires(NamedTuple):
    """What is there while there is a server.

    Attributes:
        out: Over which all is said.
        into: Over which all comes.
        calls: The channel of `out` over which nodes speak to each other.
        version: Of the server.
    """

    out: Wire
    into: Wire
    calls: Channel
    version: str


@final
class Connection:
    """To one of several servers at a time.

    Attributes:
        broker: What people call them.
        body_bytes_max: Of one body.
        is_up: Whether there is a server, and it takes messages.
    """

    broker: str = "RabbitMQ"
    body_bytes_max: int = BODY_BYTES_MAX

    def __init__(self, url: str, names: Names, options: Options, host: Host, ears: Ears) -> None:
        """Know where to go.

        Args:
            url: Of the servers to begin with.
            names: Queues of this node.
            options: Who asks, and for how long a first server is looked for.
            host: Draws which server is next, and when.
            ears: Told what comes.

        Raises:
            Misconfigured: The URL is none of RabbitMQ.
        """
        servers = Servers(servers_in(url, scheme_of(url)), host)
        steps = Steps(self._dial, _both, self._use, self._broke)
        self._lasting = Lasting(self.broker, servers, steps, _log, quiet_max=QUIET_MAX)
        self._world = world_in(url)
        self._names = names
        self._options = options
        self._ears = ears
        self._tasks = Tasks(self._failed)
        self._intake = Intake(ears.took, self._tasks)
        self._wires: Wires | None = None
        self._pending: list[tuple[bytes, bytes, bytes, bytes, bool]] = []
        self._pending_bytes = 0
        self._up = asyncio.Event()
        self._closing = False
        self._full = ""
        self._wait = max(1, int(options.silence * 1_000))
        self.is_up: bool = False

    @property
    def trouble(self) -> str:
        """Why messages cannot be sent at the moment; empty if they can."""
        if self._wires is None:
            return f"there is no connection to {self.broker}: {self._lasting.why}"
        return self._full

    @property
    def native(self) -> Wires | None:
        """The sockets underneath, while there is a server: their `channel` opens one, to say anything on."""
        return self._wires

    async def open(self) -> None:
        """Find a server. Raises `CouldNotStart` if none is there within `Options.patience`, or all refuse."""
        self._closing = False
        wires = await self._lasting.open(self._options.patience)
        _ = self._tasks.start(self._lasting.keep(wires), name="amqp connection")

    async def close(self) -> None:
        """Take no more requests, have the server take what was said, and leave."""
        self._closing = True
        wires = self._wires
        if wires is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    for key in list(self._intake.wanted):
                        self._intake.leave(key)
                    await self.flush()
                    for wire in _both(wires):
                        _ = await wire.main.ask(_GOODBYE, commands.Connection.CloseOk)
            except (TimeoutError, ConnectionError, ChannelError) as error:
                _log.warning("RabbitMQ did not take all before the end: %s", str(error) or "it was too slow")
        await self._tasks.cancel()
        await self._intake.stop()
        self._down()
        self._lasting.why = "it was closed"
        if wires is not None:
            for wire in _both(wires):
                wire.abort(self._lasting.why)

    def over(self, message: Message, size: int) -> str | None:
        """See `Post.over`."""
        return over(message, size, BODY_BYTES_MAX)

    async def up(self) -> None:
        """Wait until there is a server that takes messages."""
        _ = await self._up.wait()

    async def writable(self) -> None:
        """Wait until the server takes what it is sent."""
        if self._wires is not None:
            _ = await self._wires.out.writable.wait()

    def push(self) -> None:
        """See `Post.push`."""
        if self._wires is not None:
            self._wires.out.flush()

    def has_room(self, body: bytes) -> bool:
        """Whether a message of this body could wait for the server, besides all that waits already."""
        return self._waiting() + len(body) + HEAD_BYTES <= PENDING_BYTES_MAX

    async def flush(self) -> None:
        """Wait until the server knows all that was said, and what is served here. Raises `ConnectionError`."""
        wires = self._wires
        if wires is None:
            raise ConnectionError(self.trouble)
        try:
            await self._intake.settled()
            # What changes nothing is answered once all before it was put into queues.
            _ = await wires.calls.ask(commands.Basic.Qos(prefetch_count=0), commands.Basic.QosOk)
        except ChannelError as error:
            raise ConnectionError(str(error)) from None

    def serve(self, key: bytes) -> None:
        """Take requests from a queue; also on every server that is gone to later."""
        self._intake.want(key)

    def leave(self, key: bytes) -> None:
        """Take no more."""
        self._intake.leave(key)

    def call(self, address: str, token: bytes, head: bytes, rest: bytes) -> bool:
        """Send a request: see `Send`."""
        key = self._names.call(address)
        if not self.is_up or self._waiting() + len(head) + len(rest) > PENDING_BYTES_MAX:
            return False
        return self._say(key, asked(self._names.here + token, self._wait), head, rest, mandatory=True)

    def put(self, key: bytes, properties: bytes, payload: bytes) -> bool:
        """Put something into a queue; False if there is no room for it while no server takes it."""
        return self._say(key, properties, b"", payload, mandatory=False)

    def publish(self, subject: bytes, reply: bytes, payload: bytes, lead: bytes = b"") -> bool:
        """See `Post.publish`."""
        key, _, token = subject.rpartition(b".")
        return self._say(key, told(token, reply), lead, payload, mandatory=bool(reply))

    def tell_all(self, token: bytes, payload: bytes) -> bool:
        """Tell all nodes of the app something, this one too; False where no server takes it."""
        if not self.is_up or self._wires is None:
            return False
        self._wires.calls.tell_all(self._names.everybody, told(token, b""), payload)
        return True

    def _say(self, key: bytes, properties: bytes, lead: bytes, payload: bytes, *, mandatory: bool) -> bool:
        size = len(lead) + len(payload)
        if (self._closing and self._wires is None) or self._waiting() + size > PENDING_BYTES_MAX:
            return False
        if not self.is_up or self._wires is None:
            self._pending_bytes += size
            self._pending.append((key, properties, lead, payload, mandatory))
            return True
        self._wires.calls.publish(key, properties, lead, payload, mandatory=mandatory)
        if size > LARGE_BYTES:
            self._wires.out.flush()
        return True

    def _waiting(self) -> int:
        return self._pending_bytes + (0 if self._wires is None else self._wires.out.waiting)

    # From server to server.

    async def _dial(self, server: Server) -> Wires:
        """See `Steps.dial`."""
        ended = asyncio.Event()
        made: list[Wire] = []

        def make() -> Wire:
            made.append(Wire(ended))
            return made[-1]

        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                version = await self._connected(server, make)
                _ = await self._connected(server, make)
                out, into = made
                return Wires(out, into, await self._settle(out, into), version)
        except BaseException as error:
            for one in made:
                one.abort("the greeting came to nothing")
            if isinstance(error, ChannelError):
                raise ConnectionError(str(error)) from None
            raise

    async def _connected(self, server: Server, make: Callable[[], Wire]) -> str:
        context: ssl.SSLContext | None = None
        if server.tls:
            context = self._options.tls or ssl.create_default_context()
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(make, server.host, server.port, ssl=context)
        user, password = server.user or self._options.user, server.password or self._options.password
        return await greet(wire, Login(user, password, self._world, self._options.name))

    async def _settle(self, out: Wire, into: Wire) -> Channel:
        """Have what belongs to this node; the channel to speak on."""
        queue, inbox = self._names.inbox_queue, await into.channel()
        inbox.takes[queue] = self._came
        inbox.cancelled = lambda _: into.abort("somebody has deleted the queue of this node")
        inbox.ended = lambda why: into.abort(str(why))
        name = queue.decode()
        _ = await inbox.ask(commands.Queue.Declare(queue=name, exclusive=True), commands.Queue.DeclareOk)
        everybody = self._names.everybody
        meeting = commands.Exchange.Declare(exchange=everybody, exchange_type="fanout", auto_delete=True)
        _ = await inbox.ask(meeting, commands.Exchange.DeclareOk)
        _ = await inbox.ask(commands.Queue.Bind(queue=name, exchange=everybody), commands.Queue.BindOk)
        taking = commands.Basic.Consume(queue=name, consumer_tag=name, no_ack=True)
        _ = await inbox.ask(taking, commands.Basic.ConsumeOk)
        calls = await out.channel()
        calls.returned = self._ears.returned
        calls.ended = lambda why: out.abort(str(why))
        out.blocked = self._blocked
        return calls

    def _came(self, number: int, again: bool, properties: bytes, body: bytes) -> None:  # noqa: FBT001 - see `Take`
        del number, again
        self._ears.told(properties, body)

    def _use(self, wires: Wires) -> None:
        self._wires = wires
        major = wires.version.partition(".")[0]
        self._intake.start(wires.into, lasting=major.isdecimal() and int(major) >= LASTING_SINCE)
        self._free()

    def _free(self) -> None:
        """Messages are taken."""
        self._full, self.is_up = "", True
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        for key, properties, lead, payload, mandatory in pending:
            _ = self._say(key, properties, lead, payload, mandatory=mandatory)
        self._up.set()

    def _blocked(self, why: str) -> None:
        """The server takes no messages for a while, or takes them again."""
        if self._wires is None:
            return
        if why:
            _log.error("RabbitMQ takes no messages: %s", why)
            self._full, self.is_up = f"RabbitMQ takes no messages: {why}", False
            self._up.clear()
        else:
            _log.warning("RabbitMQ takes messages again")
            self._free()

    async def _broke(self, why: str) -> None:
        self._down()
        self._ears.lost(why)
        await self._intake.stop()

    def _down(self) -> None:
        self._wires, self.is_up = None, False
        self._up.clear()

    @staticmethod
    def _failed(error: BaseException) -> None:
        _log.error("the connection to RabbitMQ failed", exc_info=error)


_GOODBYE = commands.Connection.Close(reply_code=200, reply_text="", class_id=0, method_id=0)


def _both(wires: Wires) -> tuple[Wire, Wire]:
    return wires.out, wires.into
