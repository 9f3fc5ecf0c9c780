"""Discovery by datagrams: sockets and a clock around the machine that decides who is a member."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Protocol, cast, final

from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.transport.discovery import Announcement
from hanse.transport.members.addresses import address_of, one_of, parts_of
from hanse.transport.members.datagram import Refused
from hanse.transport.members.interface import Interface, find_interface
from hanse.transport.members.machine import Members, Outcome
from hanse.transport.members.record import Gone
from hanse.transport.members.rhythm import Rhythm

PORT = 7420
"""The port that members find one another at, unless it is said otherwise."""

FIND_SECONDS = 5.0
"""Until a finder is asked again; a fifth more or less, by chance."""

FIND_TASKS_MAX = 8
"""Tasks of one discovery."""

WARN_SECONDS = 60.0
"""Until it is warned again of datagrams that cannot be read."""

RECEIVE_BYTES = 1024 * 1024
"""Of datagrams that may wait while the loop is busy, where the system allows so much."""

_log = logging.getLogger("hanse.discovery")


class Finder(Protocol):
    """Knows where others can be found."""

    @property
    def group(self) -> str:
        """Whose members hear one another, and nobody else of the same app; empty where there are no groups."""
        ...

    def ports(self, interface: Interface, /) -> Sequence[int]:
        """Ports to listen on: the first that is free; 0 for any."""
        ...

    def prepare(self, own: socket.socket, interface: Interface, /) -> socket.socket | None:
        """Get the own socket ready for what it is to send, and give one at which all are heard; None for none.

        Raises:
            OSError: The network does not do that.
        """
        ...

    def everybody(self, interface: Interface, /) -> Sequence[str]:
        """Addresses at which all listen."""
        ...

    async def find(self, interface: Interface, /) -> Sequence[str]:
        """Addresses to say hello to, as they are now."""
        ...


@final
class Gossip:
    """Discovery by datagrams; see `hanse.transport.discovery.Discovery`.

    Example:
        >>> from hanse.transport.udp import Group
        >>> async def main() -> None:
        ...     discovery = Gossip(Group(), Host.system())
        ...     here = Announcement("shop-1", "tcp://127.0.0.1:7421", names=("orders",), app="shop")
        ...     await discovery.open(here, print, print)
        ...     await discovery.close()
    """

    def __init__(
        self,
        finder: Finder,
        host: Host,
        *,
        interface: str = "",
        keys: Sequence[bytes] = (),
        rhythm: Rhythm | None = None,
    ) -> None:
        """Get ready; nothing is sent before `open`.

        Args:
            finder: Knows where others are to be found.
            host: Clock and chance.
            interface: What to speak on, see `find_interface`; loopback unless it is named.
            keys: Sign all datagrams, by the first, and those of others have to be signed by any of them: so keys are
                changed with no gap. Names and addresses are signed, not hidden. Empty: whoever reaches the port can
                take part.
            rhythm: How fast; that of a LAN if None.
        """
        self._finder = finder
        self._host = host
        self._wanted = interface
        self._keys = tuple(keys)
        self._rhythm = rhythm or Rhythm()
        self._tasks = Tasks(self._failed, limit=FIND_TASKS_MAX)
        self._ends: list[_End] = []
        self._members: Members | None = None
        self._interface = Interface("")
        self._everybody: dict[str, tuple[str, int]] = {}
        self._warned_at: float | None = None
        self._said = ""
        self._broken = ""
        self._told: Callable[[Announcement], None] = _nobody
        self._gone: Callable[[str], None] = _nobody

    @property
    def address(self) -> str:
        """Where it takes datagrams; empty while it is closed."""
        return self._ends[0].address if self._ends else ""

    @property
    def native(self) -> Members | None:
        """The machine: the members as this one knows them; None while it is closed."""
        return self._members

    async def open(
        self, here: Announcement, told: Callable[[Announcement], None], gone: Callable[[str], None], /
    ) -> None:
        """See `Discovery.open`.

        Raises:
            CouldNotStart: There is no such interface, or its ports cannot be used.
            Misconfigured: What this node says of itself is too long.
        """
        self._told, self._gone = told, gone
        self._interface = find_interface(self._wanted)
        own, heard = self._sockets()
        everybody = {at: parts for at in self._finder.everybody(self._interface) if (parts := parts_of(at))}
        self._everybody = everybody
        try:
            self._members = Members(
                here,
                address_of(*own.getsockname()[:2]),
                self._host,
                group=self._finder.group,
                keys=self._keys,
                rhythm=self._rhythm,
            )
        except BaseException:
            own.close()
            if heard is not None:
                heard.close()
            raise
        for sock in (own, heard) if heard is not None else (own,):
            loop = asyncio.get_running_loop()
            _, end = await loop.create_datagram_endpoint(lambda: _End(self._receive), sock=sock)
            self._ends.append(end)
        _ = self._tasks.start(self._find(self._members), name="discovery find")
        _ = self._tasks.start(self._tick(self._members), name="discovery tick")

    def announce(self, here: Announcement, /) -> None:
        """See `Discovery.announce`.

        Raises:
            Misconfigured: It is too long.
        """
        if self._members is not None:
            self._perform(self._members.announce(here))

    def suspect(self, instance: str, /) -> None:
        """See `Discovery.suspect`."""
        if self._members is not None:
            self._perform(self._members.suspect(instance, self._host.monotonic()))

    async def close(self) -> None:
        """See `Discovery.close`."""
        await self._tasks.cancel()
        members, self._members = self._members, None
        if members is not None:
            # Nobody is told anything more, and that is not for want of others.
            self._send(members.leave())
        ends, self._ends = self._ends, []
        for end in ends:
            await end.close()

    def trouble(self) -> str:
        """What a person has to put right; empty where there is nothing."""
        if self._members is None:
            return ""
        if any(end.closed for end in self._ends):
            return "the system has closed the socket of discovery: this node hears of no others"
        return self._broken or self._members.trouble()

    def _sockets(self) -> tuple[socket.socket, socket.socket | None]:
        own = self._bound()
        try:
            return own, self._finder.prepare(own, self._interface)
        except OSError as error:
            own.close()
            raise CouldNotStart(
                f"{self._interface.address} cannot be used to find others: {error.strerror or error}; "
                "name another interface, or give seeds (static://host:port)"
            ) from None

    def _bound(self) -> socket.socket:
        """The own socket, on the first port that is free."""
        problem = ""
        for port in self._finder.ports(self._interface):
            own = socket.socket(self._interface.family, socket.SOCK_DGRAM)
            try:
                own.bind((self._interface.address, port))
            except OSError as error:
                own.close()
                problem = f"{address_of(self._interface.address, port)}: {error.strerror or error}"
                continue
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            return own
        raise CouldNotStart(f"no datagrams can be taken at {problem}; is the address this machine's, the port free?")

    async def _find(self, members: Members) -> None:
        known: Sequence[str] = ()
        while True:
            found = await self._finder.find(self._interface)
            if found and found != known:
                known = found
                self._perform(members.seed(found, self._host.monotonic(), [*self._everybody]))
            await asyncio.sleep(FIND_SECONDS * self._host.chance.uniform(0.8, 1.2))

    async def _tick(self, members: Members) -> None:
        while True:
            await asyncio.sleep(self._rhythm.tick)
            self._perform(members.tick(self._host.monotonic()))
            self._tell_trouble(members.trouble())

    def _receive(self, datagram: bytes, source: str) -> None:
        members = self._members
        if members is None:
            return
        frame = members.envelope.open(datagram)
        if isinstance(frame, Refused):
            self._refuse(frame, source)
        else:
            self._perform(members.take(frame, source, self._host.monotonic()))

    def _refuse(self, refused: Refused, source: str) -> None:
        now = self._host.monotonic()
        if refused.ours and (self._warned_at is None or now - self._warned_at >= WARN_SECONDS):
            self._warned_at = now
            _log.warning("passed over a datagram from %s: %s", source, refused.why)

    def _perform(self, outcome: Outcome) -> None:
        self._send(outcome)
        for news in outcome.news:
            if isinstance(news, Gone):
                _log.info("%s has gone: %s", news.instance, news.why)
                self._gone(news.instance)
            else:
                self._told(news)

    def _send(self, outcome: Outcome) -> None:
        if not self._ends:
            return
        for address, datagram in outcome.sends:
            to = self._everybody.get(address) or one_of(address)
            if to is not None:
                self._ends[0].send(datagram, to)

    def _tell_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._said:
            _log.error("nobody calls this node: %s", trouble)
        self._said = trouble

    def _failed(self, error: BaseException) -> None:
        self._broken = f"discovery has stopped: {error!r}"
        _log.error("discovery has stopped", exc_info=error)


@final
class _End(asyncio.DatagramProtocol):
    """A socket."""

    def __init__(self, receive: Callable[[bytes, str], None]) -> None:
        self._receive = receive
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = asyncio.Event()
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of it, before Python 3.12.
        self._transport = cast("asyncio.DatagramTransport", transport)
        host, port = transport.get_extra_info("sockname")[:2]
        self.address = address_of(host, port)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._closed.set()

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._receive(data, address_of(str(addr[0]), addr[1]))

    def error_received(self, exc: Exception) -> None:
        # Nobody listens there, or no way leads there: that is what probes are for.
        _log.debug("a datagram could not be sent: %s", exc)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent or heard any more."""
        return self._transport is None or self._transport.is_closing()

    def send(self, datagram: bytes, to: tuple[str, int]) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        try:
            self._transport.sendto(datagram, to)
        except (OSError, ValueError) as error:
            # An address of the other family, which only a lie can contain, is as good as lost.
            _log.debug("a datagram could not be sent: %s", error)

    async def close(self) -> None:
        assert self._transport is not None
        self._transport.close()
        await self._closed.wait()


def _nobody(_: object) -> None:
    """Nobody listens yet."""
