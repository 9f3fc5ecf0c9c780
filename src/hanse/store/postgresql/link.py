"""Connections to PostgreSQL: how they are made, and what of the driver is used.

The driver is asyncpg, the extra `hanse[postgresql]`. It is known here only, by the few of its methods that we use.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, cast, final
from urllib.parse import urlsplit

from hanse.kernel.faults import CouldNotStart, Fault, Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.store.postgresql.failures import code_of, is_broken, meaning
from hanse.store.postgresql.url import PostgresqlUrl
from hanse.store.remote.reach import Reach

CONNECT_SECONDS = 3.0
"""For which a server has the time to answer when it is connected to."""

STATEMENT_SECONDS = 10.0
"""For which it has the time to do what it is asked; then the connection is given up."""

IDLE_SECONDS = 5
"""For which a transaction may be open and silent: then the server ends it, so that a process that was paused, or a
machine that is gone, does not keep others from writing."""

_STATEMENTS_CACHED = 200
_SETTINGS: Mapping[str, str] = {
    "application_name": "hanse",
    "jit": "off",
    "client_encoding": "UTF8",
    # The server notices within seconds that a machine has gone, and lets go of what that had locked.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_NEVER = frozenset({"28P01", "28000", "3D000"})
"""A password that is wrong, a login that is not allowed, a database that is not there: to try again does not help."""

_UNKNOWN_TO_POOLERS = "unsupported startup parameter"

Heard = Callable[[object, int, str, object], None]
"""Told of a notification: the connection, the process that sent it, its channel, and what it says."""


class Record(Protocol):
    """A row of an answer."""

    def __getitem__(self, at: int, /) -> object: ...


class Link(Protocol):
    """A connection, as asyncpg makes it."""

    async def fetch(self, query: str, *values: object, timeout: float | None = None) -> Sequence[Record]:
        """Run one statement with values, in a transaction of its own unless one is open; what it gives."""
        ...

    async def execute(self, query: str, *, timeout: float | None = None) -> str:
        """Run statements without values, in one turn to the server."""
        ...

    async def add_listener(self, channel: str, callback: Heard) -> None:
        """Have notifications on a channel told."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:
        """Say good-bye."""
        ...

    def terminate(self) -> None:
        """Close it at once; whoever waits for an answer is told."""
        ...

    def is_closed(self) -> bool:
        """Whether it is closed, by whichever side."""
        ...


class _Driver(Protocol):
    connect: Callable[..., Awaitable[Link]]


def driver() -> _Driver:
    """The library that speaks with the server.

    Raises:
        Misconfigured: It is not installed.
    """
    try:
        return cast("_Driver", importlib.import_module("asyncpg"))
    except ImportError:
        raise Misconfigured("postgresql:// needs a driver: pip install 'hanse[postgresql]'") from None


@final
class Dialer:
    """Makes connections; while the server is away, only now and then, so that whoever asks is told at once.

    Where several servers are named, each has its own time to answer: one that went down with its machine says nothing.

    Attributes:
        place: Which store, without secrets.
        reach: To its server.
        pooled: Whether each transaction may go over another connection, as the URL says: nothing is kept in sessions.
    """

    def __init__(self, url: PostgresqlUrl, host: Host) -> None:
        """Know where to.

        Args:
            url: Of the store.
            host: Its clock, and chance for pauses.

        Raises:
            Misconfigured: The driver is not installed.
        """
        self.place: str = url.place
        self.reach: Reach = Reach(url.place, host)
        self.pooled: bool = url.prepared == "no"
        self._url = url
        self._connect = driver().connect
        self._at = 0

    async def dial(self) -> Link:
        """A new connection.

        Raises:
            Unavailable: The server cannot be reached, or could not a moment ago.
            CouldNotStart: It does not want us.
        """
        self.reach.check()
        try:
            link = await self._dialed()
        except Exception as error:
            meant = _refusal(error, self.place)
            self.reach.failed(meant.detail)
            raise meant from error
        self.reach.found()
        return link

    async def _dialed(self) -> Link:
        """A connection to the first of the servers that will do, beginning with the one that did last."""
        servers, why = self._url.servers, list[str]()
        for turn in range(len(servers)):
            at = (self._at + turn) % len(servers)
            try:
                link = await self._taken(servers[at])
            except Exception as error:
                if len(servers) == 1 or not isinstance(_refusal(error, self.place), Unavailable):
                    raise
                why.append(f"{urlsplit(servers[at]).netloc.rpartition('@')[2]}: {_problem(error)}")
            else:
                self._at = at
                return link
        raise ConnectionError("; ".join(why))

    async def _taken(self, server: str) -> Link:
        """A connection to a server; one that breaks as it is made says nothing yet about who is there."""
        try:
            return await self._connected(server)
        except Exception as error:
            if not is_broken(error):
                raise
        return await self._connected(server)

    async def _connected(self, server: str) -> Link:
        return await self._connect(
            server,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            statement_cache_size=0 if self.pooled else _STATEMENTS_CACHED,
            max_cacheable_statement_size=0,
            # A pooler does not know them, and would have them hold for others as well.
            server_settings={} if self.pooled else dict(_SETTINGS),
        )


def _problem(error: Exception) -> str:
    if type(error).__name__ == "TargetServerAttributeNotMatched":
        return "it only reads, as one does that follows another"
    return str(error) or "no answer in time"


def _refusal(error: Exception, place: str) -> Fault:
    if _UNKNOWN_TO_POOLERS in str(error):
        problem = f"{error}; a pooler such as PgBouncer is in between: add prepared=no to its URL"
        return CouldNotStart(f"cannot open the store {place}: {problem}")
    if code_of(error) in _NEVER:
        return CouldNotStart(f"cannot open the store {place}: {error}; see to user, password and database in its URL")
    if isinstance(error, ValueError) and not code_of(error):
        return Misconfigured(f"the URL of the store {place} cannot be used: {error}")
    meant = meaning(error, place)
    return meant if isinstance(meant, Fault) else Unavailable(f"the store {place} cannot be reached: {error}")


async def hang_up(link: Link) -> None:
    """Close a connection, and wait for that for a moment."""
    try:
        await link.close(timeout=1.0)
    except (Exception, asyncio.CancelledError):
        # It is gone one way or the other; who is cancelled is so after it.
        link.terminate()
        raise
