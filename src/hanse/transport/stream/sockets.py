"""The two kinds of sockets: `unix:` between processes of one machine, `tcp://` between machines.

unix:/run/shop               a folder; each process has a socket file of its own in it
unix:/run/shop/orders.sock   that very file
tcp://                       a free port of the loopback
tcp://10.0.0.7:7421          that port of that interface
tcp://0.0.0.0:7421?advertise=shop.example:7421     all interfaces; others are told the second address
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol, cast, final
from urllib.parse import parse_qs, quote, urlsplit

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.transport.stream.socket_file import BACKLOG, listen_at, own, remove_dead, remove_own, short
from hanse.transport.stream.tls import Tls, dialing_context, listening_context

SUFFIX: Final = ".sock"

Make = Callable[[], asyncio.BaseProtocol]


class Server(Protocol):
    """What listens, such as an `asyncio.Server`."""

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        ...

    async def wait_closed(self) -> object:
        """Let go of what was used to listen, once all connections have ended."""
        ...


class Sockets(Protocol):
    """Opens sockets of one kind."""

    async def listen(self, make: Make, instance: str, /) -> tuple[Server, str]:
        """Take connections from now on; and the address to be told to others. Raises `CouldNotStart`."""
        ...

    async def dial(self, address: str, make: Make, /) -> None:
        """Connect. Raises `OSError` or `ValueError`."""
        ...

    def trusts(self, address: str, peer: object, /) -> bool:
        """Whether a connection from there may be taken for one to that address."""
        ...

    def close(self) -> None:
        """Remove what listening left behind."""
        ...


def sockets_of(url: str, tls: Tls | None = None) -> Sockets:
    """The sockets that a URL names.

    Args:
        url: Where to listen.
        tls: For `tcp://`; without, what is sent can be read and changed on the way.

    Raises:
        Misconfigured: The URL cannot be used.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "unix":
        if not rest or tls is not None:
            raise Misconfigured(f"{url!r} was expected to be like 'unix:/run/shop', without TLS")
        return UnixSockets(Path(rest.removeprefix("//")))
    if scheme == "tcp":
        return TcpSockets(url, tls)
    raise Misconfigured(f"{url!r} was expected to begin with 'unix:' or 'tcp://'")


@final
class UnixSockets:
    """Socket files; only processes of the same user can connect to them."""

    def __init__(self, path: Path) -> None:
        """Use a folder, or a path that ends with `.sock`."""
        self._path = path.absolute()
        self._own: tuple[Path, int] | None = None

    async def listen(self, make: Make, instance: str, /) -> tuple[asyncio.Server, str]:
        """See `Sockets.listen`."""
        path = self._path
        if path.suffix != SUFFIX:
            await remove_dead(path, SUFFIX)
            path = path / f"{quote(instance, safe='')}{SUFFIX}"
        listening = await listen_at(path)
        self._own = own(path)
        server = await asyncio.get_running_loop().create_unix_server(make, sock=listening, backlog=BACKLOG)
        return server, f"unix:{path}"

    async def dial(self, address: str, make: Make, /) -> None:
        """See `Sockets.dial`."""
        scheme, _, path = address.partition(":")
        if scheme != "unix":
            raise ValueError(f"this node speaks unix:, and not {scheme}:")
        with short(Path(path)) as name:
            _ = await asyncio.get_running_loop().create_unix_connection(make, name)

    def trusts(self, address: str, peer: object, /) -> bool:
        """See `Sockets.trusts`: whoever can connect is this very user."""
        del peer
        return address.startswith("unix:")

    def close(self) -> None:
        """See `Sockets.close`."""
        if self._own is not None:
            remove_own(*self._own)


@final
class TcpSockets:
    """Ports; with TLS where that is asked for."""

    def __init__(self, url: str, tls: Tls | None) -> None:
        """Use a host, or the loopback where none is named. Raises `Misconfigured`, `CouldNotStart`."""
        self._host, self._port = _host_and_port(url)
        self._host = self._host or "127.0.0.1"
        options = parse_qs(urlsplit(url).query, keep_blank_values=True)
        if unknown := sorted(options.keys() - {"advertise"}):
            raise Misconfigured(f"expected advertise=HOST:PORT as the option of {url!r}, got {', '.join(unknown)}")
        self._advertise = options.get("advertise", [""])[0]
        if is_wildcard(self._host) and not self._advertise:
            raise Misconfigured(f"{url!r} takes connections on all interfaces; add ?advertise=HOST:PORT for the others")
        self._listening: ssl.SSLContext | None = listening_context(tls) if tls else None
        self._dialing: ssl.SSLContext | None = dialing_context(tls) if tls else None
        self._name = tls.name if tls else ""

    async def listen(self, make: Make, instance: str, /) -> tuple[asyncio.Server, str]:
        """See `Sockets.listen`."""
        del instance
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(make, self._host, self._port, ssl=self._listening, backlog=BACKLOG)
        except OSError as error:
            why = error.strerror or str(error)
            raise CouldNotStart(f"cannot listen at {_address(self._host, self._port)}: {why}") from None
        port: int = server.sockets[0].getsockname()[1]
        return server, f"tcp://{self._advertise}" if self._advertise else _address(self._host, port)

    async def dial(self, address: str, make: Make, /) -> None:
        """See `Sockets.dial`."""
        host, port = _host_and_port(address)
        name = (self._name or None) if self._dialing else None
        _ = await asyncio.get_running_loop().create_connection(
            make, host, port, ssl=self._dialing, server_hostname=name
        )

    def trusts(self, address: str, peer: object, /) -> bool:
        """See `Sockets.trusts`: it has to come from the host that it names."""
        host, _ = _host_and_port(address)
        return isinstance(peer, tuple) and cast("tuple[object, ...]", peer)[:1] == (host,)

    def close(self) -> None:
        """See `Sockets.close`."""


def _host_and_port(url: str) -> tuple[str, int]:
    """The two parts of an address. Raises `Misconfigured`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise Misconfigured(f"{url!r} is no address: {error}") from None
    if parts.scheme != "tcp" or parts.path not in {"", "/"} or parts.username:
        raise Misconfigured(f"{url!r} was expected to be like 'tcp://10.0.0.7:7421'")
    return host, port


def is_wildcard(host: str) -> bool:
    """Whether a host stands for all interfaces."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _address(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
