"""What an event loop of a world has of sockets: connections between simulated machines, where the world has any."""

# ruff: noqa: ANN401 - the arguments are asyncio's
from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, Protocol

from hanse.sim.lane import Lane, Turns, current_lane
from hanse.sim.walls import CONTRACT, refused

PLAIN = "leave TLS out in a world: nobody listens in there; test it against real sockets"
OWN_SOCKET = "name a host and a port: a socket of the system's leads out of the world"

EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a simulated machine

Make = Callable[[], asyncio.BaseProtocol]
Connected = tuple[asyncio.Transport, asyncio.BaseProtocol]


class Internet(Protocol):
    """What connects the machines of a world; see `hanse.sim.sockets`."""

    async def connect(self, lane: Lane, make: Make, host: str, port: int, /) -> Connected:
        """Connect to a machine. Raises `OSError`."""
        ...

    def listen(self, lane: Lane, make: Make, hosts: Sequence[str], port: int, /) -> asyncio.AbstractServer:
        """Take connections. Raises `OSError`."""
        ...

    def resolve(self, lane: Lane, host: str, /) -> str:
        """The address of a machine. Raises `socket.gaierror`."""
        ...


class Connecting(Turns):
    """A loop whose processes can connect to each other, once there is something that connects them.

    Attributes:
        internet: What does; without it, sockets are refused.
    """

    internet: Internet | None = None

    def create_connection(self, *asked: Any, **options: Any) -> Coroutine[Any, Any, tuple[asyncio.Transport, Any]]:
        """See `asyncio.loop.create_connection`: to another machine of the world, by its name or address."""
        return self._connect(self._internet("create_connection", options), *asked, **options)

    def create_server(self, *asked: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """See `asyncio.loop.create_server`: at the machine whose process asks."""
        return self._listen(self._internet("create_server", options), *asked, **options)

    def getaddrinfo(self, *asked: Any, **options: Any) -> Coroutine[Any, Any, list[tuple[Any, ...]]]:
        """See `asyncio.loop.getaddrinfo`: each machine has one address."""
        return self._resolve(self._internet("getaddrinfo", options), *asked, **options)

    async def _connect(
        self, internet: Internet, make: Make, host: str | None = None, port: int | None = None, **_: object
    ) -> Connected:
        return await internet.connect(self._asking, make, host or "localhost", port or 0)

    async def _listen(
        self,
        internet: Internet,
        make: Make,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        **_: object,
    ) -> asyncio.AbstractServer:
        hosts = [host] if isinstance(host, str) else list(host or (EVERYWHERE,))
        return internet.listen(self._asking, make, hosts, port or 0)

    async def _resolve(
        self, internet: Internet, host: str | None, port: str | int | None, **options: Any
    ) -> list[tuple[Any, ...]]:
        address = internet.resolve(self._asking, host or "localhost")
        return [(socket.AF_INET, options.get("type") or socket.SOCK_STREAM, 0, "", (address, int(port or 0)))]

    def start_tls(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: what goes over a simulated connection is plain."""
        refused("loop.start_tls()", PLAIN)

    @property
    def _asking(self) -> Lane:
        """The process that asks."""
        return current_lane.get(self.home)

    def _internet(self, name: str, options: dict[str, Any]) -> Internet:
        if self.internet is None:
            refused(f"loop.{name}()", CONTRACT)
        if options.get("ssl"):
            refused(f"loop.{name}(ssl=...)", PLAIN)
        if options.get("sock") is not None:
            refused(f"loop.{name}(sock=...)", OWN_SOCKET)
        return self.internet
