"""Connections between simulated machines: who listens, who connects, and what becomes of it when one of them goes.

What goes over a connection are packets of the world's network: late, torn, held up where a link is cut, and lost with
the connection where that lasts. A process that is killed resets its connections; one whose machine goes dark says
nothing. Where nobody listens a connection is refused, and where nobody can answer it takes its time.

Each machine has one address, and is found by its name, too. Only what connects to itself is found at the loopback.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from functools import partial
from ipaddress import ip_address
from typing import Final, final

from hanse.sim.chance import Draws
from hanse.sim.connecting import EVERYWHERE, Connected, Make
from hanse.sim.flow import Outgoing
from hanse.sim.lane import Lane
from hanse.sim.network import Network, Port
from hanse.sim.socket import Address, Socket, SocketInfo

TRIES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""How long each try to connect waits for an answer, where none comes; then the connection has timed out."""

FREE_PORT_FIRST: Final = 32_768
OWN_PORT_FIRST: Final = 49_152
PORTS: Final = 16_384
"""Ports that are chosen where none is named, of those who listen and of those who connect."""

_NOTHING = b""


class _Trying:
    """A connection that is being made."""

    def __init__(self, key: int, own: Address, peer: Address, answer: asyncio.Future[Socket]) -> None:
        self.key = key
        self.own = own
        self.peer = peer
        self.answer = answer
        self.target: Sockets | None = None


@final
class SimServer(asyncio.AbstractServer):
    """What listens at a port of a machine."""

    def __init__(self, sockets: Sockets, make: Make, address: str, port: int) -> None:
        self.address: str = address
        self.port: int = port
        self._sockets = sockets
        self._make = make
        self._context: Context = copy_context()
        self._open = 0
        self._none = asyncio.Event()
        self._none.set()
        self._serving = True

    @property
    def sockets(self) -> tuple[SocketInfo, ...]:
        """See `asyncio.Server.sockets`."""
        return (SocketInfo((self.address, self.port), None),) if self._serving else ()

    def take(self, socket: Socket) -> None:
        """Somebody has connected: the process learns it in its next turn."""
        _ = self._sockets.lan.network.loop.call_soon(self._accept, socket, context=self._context)

    def _accept(self, socket: Socket) -> None:
        if not self._serving:
            socket.abort()
            return
        self._open += 1
        self._none.clear()
        socket.begin(self._make(), self._context, self._ended)

    def _ended(self) -> None:
        self._open -= 1
        if not self._open:
            self._none.set()

    def is_serving(self) -> bool:
        """See `asyncio.Server.is_serving`."""
        return self._serving

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """See `asyncio.Server.get_loop`."""
        return self._sockets.lan.network.loop

    async def start_serving(self) -> None:
        """See `asyncio.Server.start_serving`: it does, from the beginning."""

    async def serve_forever(self) -> None:
        """See `asyncio.Server.serve_forever`."""
        try:
            await self.get_loop().create_future()
        finally:
            self.close()

    def close(self) -> None:
        """See `asyncio.Server.close`."""
        if self._serving:
            self._serving = False
            self._sockets.listen_no_more(self)

    async def wait_closed(self) -> None:
        """See `asyncio.Server.wait_closed`, as of Python 3.12: also until its connections have ended."""
        _ = await self._none.wait()


@final
class _Way:
    """From one end of a connection to the other; see `hanse.sim.socket.Wire`."""

    def __init__(self, here: Sockets, there: Sockets, key: int) -> None:
        self.there = there
        self._here = here
        self._key = key

    def data(self, piece: bytes) -> None:
        self._here.send(self.there, f"{len(piece)} bytes", piece, partial(self.there.came, self._here, self._key ^ 1))

    def given_back(self, count: int) -> None:
        self._here.send(self.there, "room", b"%d" % count, partial(self.there.room_came, self._key ^ 1))

    def end(self) -> None:
        self._here.send(self.there, "end", _NOTHING, partial(self.there.end_came, self._key ^ 1))

    def gone(self, *, reset: bool) -> None:
        if self._here.forget(self._key) is None:
            return
        if reset:
            self._here.send(self.there, "reset", _NOTHING, partial(self.there.reset_came, self._key ^ 1))
        else:
            self.end()


@final
class Sockets:
    """Those of one process. An end of the network.

    Attributes:
        port: Where its packets go.
        lan: What connects it with others.
        address: Of its machine.
        losses: Told of each process whose connections to this one broke.
    """

    def __init__(self, lan: Lan, lane: Lane) -> None:
        """Have none.

        Args:
            lan: What connects it with others.
            lane: The process.
        """
        self.port: Port = Port(lane, self)
        self.lan: Lan = lan
        self.address: str = lan.address_of(lane.name)
        self.losses: list[Callable[[Port], None]] = []
        self._ends: dict[int, tuple[Socket, Sockets]] = {}
        self._trying: dict[int, _Trying] = {}
        self._listening: dict[int, SimServer] = {}
        lan.network.join(self.port)

    # What the process does.

    def listen(self, make: Make, address: str, port: int) -> SimServer:
        """Take connections at a port. Raises `OSError`."""
        if port == 0:
            port = next(free for free in range(FREE_PORT_FIRST, FREE_PORT_FIRST + PORTS) if free not in self._listening)
        if port in self._listening:
            raise OSError(errno.EADDRINUSE, f"error while attempting to bind on address ('{address}', {port})")
        server = self._listening[port] = SimServer(self, make, address, port)
        return server

    def listen_no_more(self, server: SimServer) -> None:
        """Take no more connections; those that there are go on."""
        if self._listening.get(server.port) is server:
            del self._listening[server.port]

    async def connect(self, make: Make, address: str, port: int) -> Connected:
        """Connect. Raises `OSError`."""
        loop = self.lan.network.loop
        number, context = self.lan.count(), copy_context()
        own = "127.0.0.1" if ip_address(address).is_loopback else self.address
        own_port = OWN_PORT_FIRST + number % PORTS
        trying = _Trying(2 * number, (own, own_port), (address, port), loop.create_future())
        self._trying[trying.key] = trying
        try:
            end = await self._answered(trying)
        except BaseException:
            _leave(trying.answer)
            raise
        finally:
            del self._trying[trying.key]
        protocol = make()
        end.begin(protocol, context)
        return end, protocol

    async def _answered(self, trying: _Trying) -> Socket:
        address, port = trying.peer
        for seconds in TRIES_SECONDS:
            self._try(trying)
            try:
                async with asyncio.timeout(seconds):
                    return await asyncio.shield(trying.answer)
            except TimeoutError:
                continue
        raise TimeoutError(errno.ETIMEDOUT, f"connect to ('{address}', {port}): {os.strerror(errno.ETIMEDOUT)}")

    def _try(self, trying: _Trying) -> None:
        """Knock, unless that is under way; a machine without a process refuses by itself, as long as it can."""
        if trying.target is not None:
            return
        lan, (address, port) = self.lan, trying.peer
        name = self.port.name if ip_address(address).is_loopback else lan.name_of(address)
        there = lan.latest(name)
        if there is not None and there.port.alive:
            trying.target = there
            self.send(there, f"connect :{port}", _NOTHING, partial(there.knocked, self, trying, port))
        elif (there is None or not there.port.dark) and name and not lan.is_cut(self.port.name, name):
            _ = lan.network.loop.at(lan.network.loop.now + 2 * lan.network.latency_high, self.refused, trying, b"")

    # What arrives; called on the network's own lane.

    def knocked(self, caller: Sockets, trying: _Trying, port: int, body: bytes) -> None:
        """Somebody wants to connect."""
        del body
        server = self._listening.get(port)
        if server is None or not _reaches(trying.peer[0], server.address):
            self.send(caller, "refuse", _NOTHING, partial(caller.refused, trying))
            return
        key = trying.key + 1
        end = self._made(key, caller, trying.peer, trying.own)
        self.send(caller, "accept", _NOTHING, partial(caller.accepted, self, trying))
        server.take(end)

    def accepted(self, there: Sockets, trying: _Trying, body: bytes) -> None:
        """A connection is made; nobody may want it any more."""
        del body
        if trying.key in self._trying and not trying.answer.done():
            trying.answer.set_result(self._made(trying.key, there, trying.own, trying.peer))
        else:
            self.send(there, "reset", _NOTHING, partial(there.reset_came, trying.key ^ 1))

    def refused(self, trying: _Trying, body: bytes) -> None:
        """Nobody listens."""
        del body
        if not trying.answer.done():
            address, port = trying.peer
            trying.answer.set_exception(
                ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed ('{address}', {port})")
            )

    def came(self, sender: Sockets, key: int, body: bytes) -> None:
        """Bytes came; where there is no socket for them any more, they are answered by a reset."""
        found = self._ends.get(key)
        if found is None:
            self.send(sender, "reset", _NOTHING, partial(sender.reset_came, key ^ 1))
        elif found[0].incoming.broken is None:
            found[0].incoming.put(body)
            found[0].stir()

    def room_came(self, key: int, body: bytes) -> None:
        """The other side has read something."""
        if (found := self._ends.get(key)) is not None:
            found[0].given_back(int(body))

    def end_came(self, key: int, body: bytes) -> None:
        """The other side says nothing more."""
        del body
        if (found := self._ends.get(key)) is not None:
            found[0].incoming.ended = True
            found[0].stir()

    def reset_came(self, key: int, body: bytes) -> None:
        """The other side knows of no connection."""
        del body
        if (found := self._ends.get(key)) is not None:
            _break(found[0], ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def lost(self, port: Port, /) -> None:
        """See `hanse.sim.network.End.lost`."""
        silent = port.dark or port.lane.alive
        for end, there in list(self._ends.values()):
            if there.port is port:
                code = errno.ETIMEDOUT if silent else errno.ECONNRESET
                _break(end, OSError(code, os.strerror(code)))
        for trying in list(self._trying.values()):
            if trying.target is not None and trying.target.port is port:
                trying.target = None
                if not silent:
                    self.refused(trying, _NOTHING)
        for tell in self.losses:
            tell(port)

    # The ways out.

    def send(self, there: Sockets, what: str, body: bytes, arrive: partial[None]) -> None:
        """Send a packet, in order with all others to the same machine."""
        self.lan.network.carry(self.port, there.port, what, body, arrive)

    def forget(self, key: int) -> object:
        """A socket is closed; None where it was before."""
        return self._ends.pop(key, None)

    def _made(self, key: int, there: Sockets, own: Address, peer: Address) -> Socket:
        outgoing = Outgoing(Draws(self.lan.seed, "socket", key))
        end = Socket(self.lan.network.loop, _Way(self, there, key), outgoing, own, peer)
        self._ends[key] = end, there
        return end


@final
class Lan:
    """All machines of a world, as those know them who connect to them; see `hanse.sim.connecting.Internet`."""

    def __init__(self, network: Network, seed: int) -> None:
        """Know no machine yet.

        Args:
            network: Carries the packets.
            seed: Decides where pieces end.
        """
        self.network: Network = network
        self.seed: int = seed
        self._names: list[str] = []
        self._latest: dict[str, Sockets] = {}
        self._count = 0

    def join(self, lane: Lane) -> Sockets:
        """Have a process take part; it is its machine's latest from now on."""
        sockets = self._latest[lane.name] = Sockets(self, lane)
        return sockets

    def latest(self, name: str) -> Sockets | None:
        """The sockets of the last process of a machine."""
        return self._latest.get(name)

    def address_of(self, name: str) -> str:
        """The address of a machine."""
        if name not in self._names:
            self._names.append(name)
        number = self._names.index(name) + 1
        return f"10.0.{number >> 8}.{number & 255}"

    def name_of(self, address: str) -> str:
        """The machine at an address; empty where there is none."""
        number = int(ip_address(address)) - int(ip_address("10.0.0.0"))
        return self._names[number - 1] if 0 < number <= len(self._names) else ""

    def is_cut(self, one: str, other: str) -> bool:
        """Whether nothing goes from one machine to another, or nothing back."""
        return bool(self.network.link(one, other).cuts or self.network.link(other, one).cuts)

    def count(self) -> int:
        """Number a connection."""
        self._count += 1
        return self._count

    async def connect(self, lane: Lane, make: Make, host: str, port: int, /) -> Connected:
        """See `Internet.connect`."""
        return await self._of(lane).connect(make, self.resolve(lane, host), port)

    def listen(self, lane: Lane, make: Make, hosts: Sequence[str], port: int, /) -> SimServer:
        """See `Internet.listen`."""
        sockets = self._of(lane)
        addresses = [self.resolve(lane, host) for host in hosts]
        for address in addresses:
            if address not in {EVERYWHERE, sockets.address} and not ip_address(address).is_loopback:
                raise OSError(
                    errno.EADDRNOTAVAIL, f"{address} is no address of {lane.name}, which has {sockets.address}"
                )
        return sockets.listen(make, addresses[0] if len(addresses) == 1 else EVERYWHERE, port)

    def resolve(self, lane: Lane, host: str, /) -> str:
        """See `Internet.resolve`."""
        del lane
        if host == "localhost":
            return "127.0.0.1"
        try:
            return str(ip_address(host))
        except ValueError:
            pass
        found = [name for name in self._names if name.casefold() == host.casefold()]
        if not found:
            known = ", ".join(self._names)
            raise socket.gaierror(socket.EAI_NONAME, f"no machine is called {host!r}; there are {known}")
        return self.address_of(found[0])

    def _of(self, lane: Lane) -> Sockets:
        """The sockets of a process; what the story does by itself, it does on its machine."""
        if not lane.alive:
            raise ConnectionAbortedError(errno.ECONNABORTED, f"the process of {lane.name} is dead")
        sockets = self._latest.get(lane.name)
        if sockets is None or (sockets.port.lane is not lane and lane is not self.network.loop.home):
            sockets = self.join(lane)
        return sockets


def _reaches(address: str, listening: str) -> bool:
    """Whether what is sent to an address comes to a listener."""
    return listening in {EVERYWHERE, address}


def _leave(answer: asyncio.Future[Socket]) -> None:
    """Nobody waits for an answer any more, though it may have come."""
    if answer.cancel() or answer.cancelled() or answer.exception() is not None:
        return
    answer.result().abort()


def _break(end: Socket, why: OSError) -> None:
    if end.incoming.broken is None:
        end.incoming.broken = why
        end.stir()
