"""ZeroMQ as a kind of sockets for `StreamDirect`.

zmq://                       a free port of the loopback
zmq://10.0.0.7:7421          that port of that interface
zmq://0.0.0.0:7421?advertise=shop.example:7421       all interfaces; others are told the second address
zmq+ipc:/run/shop            a folder; each process has a socket file of its own in it
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import zmq

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.transport.stream.limits import StreamLimits
from hanse.transport.stream.socket_file import listen_at, own, remove_dead, remove_own
from hanse.transport.stream.sockets import Make, Server, is_wildcard
from hanse.transport.zmq.curve import Curve
from hanse.transport.zmq.dialed import Dialed
from hanse.transport.zmq.driven import Raw
from hanse.transport.zmq.gatekeeper import DOMAIN, Gatekeeper
from hanse.transport.zmq.keys import Keys, is_key
from hanse.transport.zmq.listening import Listening
from hanse.transport.zmq.options import new_context, set_dialing, set_listening, set_options
from hanse.transport.zmq.pipe import Peer

SUFFIX: Final = ".zmq"
"""Of socket files, so that other transports may use the folder too."""

EXPECTED: Final = "'zmq://10.0.0.7:7421' or 'zmq+ipc:/run/shop'"


_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Place(NamedTuple):
    """What an address says.

    Attributes:
        host: Its interface or name; a path where the port is -1.
        port: 0 for a free one.
        key: The public key of whoever is there.
        query: What else it says.
    """

    host: str
    port: int
    key: str = ""
    query: Mapping[str, str] = _NOTHING

    @property
    def endpoint(self) -> str:
        """As ZeroMQ writes it; the host has to be an address."""
        if self.port < 0:
            return f"ipc://{self.host}"
        return f"tcp://{_bracketed(self.host)}:{self.port or '*'}"


def place_of(url: str) -> Place:
    """The parts of an address. Raises `Misconfigured`."""
    scheme, _, rest = url.partition(":")
    if scheme == "zmq+ipc" and rest:
        return Place(str(Path(rest.removeprefix("//")).absolute()), -1)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise Misconfigured(f"{url!r} is no address: {error}") from None
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    unknown = query.keys() - {"advertise", "key"}
    if parts.scheme != "zmq" or parts.path not in {"", "/"} or parts.username or unknown:
        raise Misconfigured(f"{url!r} was expected to be like {EXPECTED}")
    return Place(host, port, query.get("key", ""), query)


@final
class ZmqSockets:
    """DEALER sockets that connect, and the ROUTER socket that they connect to; see `Sockets`."""

    def __init__(self, url: str, limits: StreamLimits, curve: Curve | None = None) -> None:
        """Be ready to listen.

        Args:
            url: Where; see the head of this module.
            limits: What is allowed.
            curve: Who may connect. Without, anybody who reaches the port may call everything.

        Raises:
            Misconfigured: The URL cannot be used.
            CouldNotStart: The keys cannot.
        """
        self._place = place = place_of(url)
        self._limits = limits
        self._advertise = place.query.get("advertise", "")
        if is_wildcard(place.host) and not self._advertise:
            raise Misconfigured(f"{url!r} takes connections on all interfaces; add ?advertise=HOST:PORT for the others")
        if curve is not None and place.port < 0:
            raise Misconfigured(f"{url!r} is for processes of one user, and has no keys")
        self._keys: Keys | None = Keys(curve) if curve is not None else None
        self._context: zmq.Context[Raw] | None = None
        self._gatekeeper: Gatekeeper | None = None
        self._own: tuple[Path, int] | None = None

    async def listen(self, make: Make, instance: str, /) -> tuple[Server, str]:
        """See `Sockets.listen`."""
        self._context = context = new_context(self._limits)
        listening: Listening | None = None
        try:
            if self._keys is not None:
                self._gatekeeper = Gatekeeper(context, self._keys.allows)
            socket = context.socket(zmq.ROUTER)
            self._set(socket)
            set_listening(socket)
            if self._keys is not None:
                socket.setsockopt(zmq.CURVE_SERVER, 1)
                socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
            listening = Listening(context, socket, make, self._ended)
            return listening, await self._bind(socket, instance)
        except BaseException as error:
            if listening is not None:
                listening.end()
            await self._ended()
            if isinstance(error, zmq.ZMQError):
                raise CouldNotStart(f"cannot listen at {self._place.endpoint}: {error.strerror}") from None
            raise

    async def dial(self, address: str, make: Make, /) -> None:
        """See `Sockets.dial`."""
        place = place_of(address)
        if self._context is None or self._context.closed:
            raise OSError("this node does not listen, so it does not connect either")
        if (place.port < 0) is not (self._place.port < 0):
            raise ValueError("one of the two nodes speaks zmq://, and the other zmq+ipc:")
        place = await _resolved(place)
        socket = self._context.socket(zmq.DEALER)
        try:
            self._set(socket, ipv6=":" in place.host)
            set_dialing(socket)
            if self._keys is not None:
                socket.setsockopt(zmq.CURVE_SERVERKEY, self._believed(place.key))
            dialed = Dialed(self._context, socket)
        except BaseException:
            socket.close(0)
            raise
        await dialed.connect(place.endpoint, Peer(place.host, place.key), make)

    def trusts(self, address: str, peer: object, /) -> bool:
        """See `Sockets.trusts`: it has to have proven the key that it names; without keys, come from there."""
        if not isinstance(peer, Peer):
            return False
        try:
            place = place_of(address)
        except Misconfigured:
            return False
        if self._keys is not None:
            return bool(peer.key) and place.key == peer.key
        # Whoever can connect to a socket file is this very user.
        return (place.port < 0) is (self._place.port < 0) and (place.port < 0 or place.host == peer.host)

    def close(self) -> None:
        """See `Sockets.close`."""
        if self._own is not None:
            remove_own(*self._own)

    def _set(self, socket: Raw, *, ipv6: bool | None = None) -> None:
        set_options(socket, self._limits, ipv6=":" in self._place.host if ipv6 is None else ipv6)
        if self._keys is not None:
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self._keys.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self._keys.secret)

    def _believed(self, key: str) -> bytes:
        """The key of who is called. Raises `OSError` where it is none that is believed."""
        assert self._keys is not None
        if not is_key(key):
            raise OSError("it has no key, and this node asks only those that have one")
        if not self._keys.allows(key):
            raise OSError(f"its key {key} is not in this node's list")
        return key.encode()

    async def _bind(self, socket: Raw, instance: str) -> str:
        if self._place.port < 0:
            return await self._bind_file(socket, instance)
        place = await _resolved(self._place)
        socket.bind(place.endpoint)
        bound = urlsplit(socket.getsockopt_string(zmq.LAST_ENDPOINT))
        address = self._advertise or f"{_bracketed(bound.hostname or '')}:{bound.port}"
        return f"zmq://{address}" if self._keys is None else f"zmq://{address}?{self._key_told(self._keys)}"

    async def _bind_file(self, socket: Raw, instance: str) -> str:
        path = Path(self._place.host)
        if path.suffix != SUFFIX:
            await remove_dead(path, SUFFIX)
            path = path / f"{quote(instance, safe='')}{SUFFIX}"
        with await listen_at(path) as listening:
            self._own = own(path)
            socket.setsockopt(zmq.USE_FD, listening.fileno())
            socket.bind(f"ipc://{path}")
            _ = listening.detach()
        return f"zmq+ipc:{path}"

    @staticmethod
    def _key_told(keys: Keys) -> str:
        return urlencode({"key": keys.public.decode()})

    async def _ended(self) -> None:
        """The socket that listens is closed; wait until what was sent has gone out, or had its time."""
        if self._gatekeeper is not None:
            self._gatekeeper.close()
        if self._context is not None:
            await asyncio.to_thread(self._context.term)


async def _resolved(place: Place) -> Place:
    """A place whose host is an address: ZeroMQ looks names up too, but moves nothing else meanwhile."""
    if place.port < 0:
        return place
    found = await asyncio.get_running_loop().getaddrinfo(place.host or "127.0.0.1", place.port)
    return place._replace(host=str(found[0][4][0]))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
