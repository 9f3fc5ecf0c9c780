"""Connections to Redis: how they are made, and how scripts are run on them."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast, final

import msgspec

from hanse.kernel.faults import CouldNotStart, Fault, Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.resp import ReplyError, Script, Wire, parser
from hanse.store.redis.failures import is_lost, kind_of, meaning
from hanse.store.redis.judge import Told, absence, doubt, refusal, told_in
from hanse.store.redis.names import Names
from hanse.store.redis.scripts import GREET
from hanse.store.redis.sentinel import NoSentinelError, leader
from hanse.store.redis.url import RedisUrl, shown
from hanse.store.remote.reach import Reach

_log = logging.getLogger("hanse.store.redis")

CONNECT_SECONDS = 3.0
"""For which a server has the time to answer when it is connected to."""

ASK_SECONDS = 10.0
"""For which it has the time to do what it is asked; then the connection is given up."""

HOPS_MAX = 3
"""Of servers of a cluster that send on to another one."""

_REFUSALS = (
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "NOPROTO",
    "ERR AUTH",
    "ERR invalid",
    "ERR DB",
    "ERR unknown",
    "ERR Client",
)

_Place = tuple[str, int]
_T = TypeVar("_T")


class _NeverError(Exception):
    """A server does not want us, or will not do; to try again does not help."""


class Link(msgspec.Struct, frozen=True, eq=False):
    """A connection.

    Attributes:
        wire: What goes over it.
        told: What the server says of itself.
        log_id: Names the log that is there; empty where there is no store yet.
    """

    wire: Wire
    told: Told
    log_id: str

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, by whichever side."""
        return self.wire.ended.is_set()

    async def ask(self, *parts: bytes) -> object:
        """The reply to a command, in time.

        Raises:
            ReplyError: The server refuses it.
            OSError, TimeoutError: It is not known what became of it; the connection is given up.
        """
        return await self._in_time(self.wire.ask(*parts))

    async def run(self, script: Script, keys: Sequence[bytes], *arguments: bytes) -> object:
        """What a script comes to; the server is told it where it does not know it. Raises as `ask`."""
        parts = (b"%d" % len(keys), *keys, *arguments)
        try:
            return await self.ask(b"EVALSHA", script.sha, *parts)
        except ReplyError as error:
            if kind_of(error) != "NOSCRIPT":
                raise
            return await self.ask(b"EVAL", script.source, *parts)

    async def all(self, *commands: tuple[bytes, ...]) -> list[object]:
        """The replies to some commands that are said at once, in order. Raises as `ask`, the first error of all."""
        found = await self._in_time(asyncio.gather(*(self.wire.ask(*one) for one in commands), return_exceptions=True))
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return list(found)

    async def _in_time(self, asked: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await asked
        except TimeoutError:
            self.give_up(f"no answer within {ASK_SECONDS:.0f} s")
            raise

    def give_up(self, why: str) -> None:
        """End it now; whoever waits for an answer is told."""
        self.wire.abort(why)
        self.wire.ended.set()


@final
class Dialer:
    """Makes connections; while the server is away, only now and then, so that whoever asks is told at once.

    Attributes:
        place: Which store, without secrets.
        reach: To its server.
        names: Of its keys.
        url: Where it is.
        run: Of the server that was found last; connections to another one are to a server that leads no more.
    """

    def __init__(self, url: RedisUrl, host: Host) -> None:
        """Know where to.

        Args:
            url: Of the store.
            host: Its clock, chance for pauses, and ids.

        Raises:
            Misconfigured: The library that cuts the protocol is not installed, or certificates cannot be used.
        """
        _ = parser()
        self._tls = _tls(url)
        self.place: str = url.place
        self.reach: Reach = Reach(url.place, host)
        self.names: Names = Names(url.prefix, url.database)
        self.url: RedisUrl = url
        self.run: str = ""
        self._host = host
        self._said = ""

    async def dial(self, pushed: Callable[[list[object]], object] = lambda _: None) -> Link:
        """A new connection to the server that has the keys.

        Args:
            pushed: Given what the server says without being asked; it never raises.

        Raises:
            Unavailable: No server can be reached, or none could a moment ago.
            CouldNotStart: A server does not want us, or may not be trusted with rows.
        """
        self.reach.check()
        try:
            link = await self._found(pushed)
        except Fault as fault:
            self.reach.failed(fault.detail)
            raise
        self.reach.found()
        self.run = link.told.run
        return link

    async def _found(self, pushed: Callable[[list[object]], object]) -> Link:
        """A connection to the first of the servers that will do."""
        why: Exception = OSError("no server is named")
        for server in self.url.servers:
            try:
                place = await self._leader(server) if self.url.sentinel else server
                return await self._at(place, pushed, HOPS_MAX)
            except _NeverError as error:
                raise CouldNotStart(f"the store {self.place} cannot be used: {error}") from None
            except (OSError, TimeoutError, ReplyError) as error:
                why = error
        meant = meaning(why, self.place)
        raise meant if isinstance(meant, Fault) else Unavailable(f"the store {self.place} cannot be reached: {why}")

    async def _leader(self, sentinel: _Place) -> _Place:
        wire = Wire(lambda _: None, asyncio.Event())
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connect(sentinel, wire)
                return await leader(wire, self.url.sentinel, self.url.sentinel_password)
        except NoSentinelError as error:
            raise _NeverError(f"{shown(*sentinel)}: {error}") from None
        except (OSError, TimeoutError) as error:
            raise ConnectionError(f"{shown(*sentinel)}: {str(error) or 'no answer'}") from error
        finally:
            wire.abort("the Sentinel was asked")

    async def _connect(self, server: _Place, wire: Wire) -> None:
        try:
            _ = await asyncio.get_running_loop().create_connection(lambda: wire, *server, ssl=self._tls)
        except ssl.SSLCertVerificationError as error:
            problem = f"the certificate of {shown(*server)} is not trusted: {error.verify_message}"
            raise _NeverError(f"{problem}; name who signed it: ssl_ca_certs=/path/ca.pem in the URL") from None

    async def _at(self, server: _Place, pushed: Callable[[list[object]], object], hops: int) -> Link:
        wire = Wire(pushed, asyncio.Event())
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._greeted(server, wire)
        except BaseException as error:
            wire.abort("the greeting came to nothing")
            if kind_of(error) == "MOVED" and hops:
                host, _, port = str(error).split(" ")[2].rpartition(":")
                return await self._at((host or server[0], int(port)), pushed, hops - 1)
            if isinstance(error, ReplyError) and str(error).startswith(_REFUSALS):
                raise _NeverError(f"{error}; see to user, password and database in its URL") from None
            if is_lost(error):
                raise ConnectionError(f"{shown(*server)}: {str(error) or 'no answer'}") from error
            raise

    async def _greeted(self, server: _Place, wire: Wire) -> Link:
        url = self.url
        await self._connect(server, wire)
        hello = [b"HELLO", b"3"]
        if url.user or url.password:
            hello += [b"AUTH", (url.user or "default").encode(), url.password.encode()]
        _ = await wire.ask(*hello, b"SETNAME", b"hanse")
        if url.database:
            _ = await wire.ask(b"SELECT", b"%d" % url.database)
        link = Link(wire, await self._judged(wire), "")
        return msgspec.structs.replace(link, log_id=await self._log_id(link))

    async def _log_id(self, link: Link) -> str:
        """What the log is called, which may be something else than before the server was started again."""
        try:
            found = await link.ask(b"HMGET", self.names.meta, b"run", b"log_id")
        except ReplyError as error:
            if kind_of(error) != "WRONGTYPE":
                raise
            # Something else has the key; whoever opens the store is told.
            return ""
        run, log_id = cast("list[bytes | None]", found)
        told = link.told
        if run is not None and run != told.run.encode():
            given = [told.run.encode(), b"%d" % told.keeps_all, self._host.new_id().encode()]
            log_id = cast("bytes", await link.run(GREET, [self.names.meta], *given))
        return (log_id or b"").decode()

    async def _judged(self, wire: Wire) -> Told:
        info = await wire.ask(b"INFO")
        told = told_in(info if isinstance(info, bytes) else str(info).encode(), await _fsync(wire))
        # While it reads what it kept, it does not say whether it keeps anything.
        if problem := absence(told):
            raise ConnectionError(problem)
        if problem := refusal(told, self.url):
            raise _NeverError(problem)
        if (problem := doubt(told, self.url)) and problem != self._said:
            self._said = problem
            _log.warning("the store %s: %s", self.place, problem)
        return told


def _tls(url: RedisUrl) -> ssl.SSLContext | None:
    """How servers are verified, and what this process shows of itself; None without TLS."""
    if not url.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=url.ssl_ca_certs or None)
        if url.ssl_certfile:
            context.load_cert_chain(url.ssl_certfile, url.ssl_keyfile or None)
    except OSError as error:
        raise Misconfigured(f"the certificates in the URL of the store {url.place} cannot be used: {error}") from None
    return context


async def _fsync(wire: Wire) -> str:
    """What is set as appendfsync; empty where that is not told to everybody, as with servers that others run."""
    try:
        found = await wire.ask(b"CONFIG", b"GET", b"appendfsync")
    except ReplyError:
        return ""
    value = cast("dict[bytes, object]", found).get(b"appendfsync") if isinstance(found, dict) else None
    return value.decode() if isinstance(value, bytes) else ""
