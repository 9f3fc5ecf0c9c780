"""The process of the built-in edge: it listens, is driven over its socket of control, and stops in order.

The socket of control takes a line of JSON, and answers with one: `{"do": "apply", "table": {...}}`. A connection is for
one question; whoever waits for a server to be drained waits on a connection of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from contextlib import suppress
from typing import final

import msgspec

from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import Table
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.client import LIMITS, Client
from hanse.deploy.edge.builtin.edge import SWEEP_SECONDS, Edge
from hanse.deploy.edge.builtin.reading import reading
from hanse.deploy.own_socket import own_socket, why_not
from hanse.gateway.callers import Callers
from hanse.gateway.listen import bound, url_of
from hanse.kernel.faults import Fault, Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

LINE_BYTES_MAX = 64 * 1024 * 1024
"""Of one question: a table of some thousand servers is some hundred KiB."""

ASKING_SECONDS = 10.0
"""That whoever drives has for a question."""

BACKLOG = 2048
"""Connections that wait to be accepted."""

SOCKET = "control.sock"
"""Name of the socket of control, in the edge's folder."""

FAILED = "failed.json"
"""Name of the file in which a process that could not start says why."""

_STEP = 250
_log = logging.getLogger("hanse.edge")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver asks.

    Attributes:
        do: The verb.
        table: To show.
        server: That is to be drained or cut.
        seconds: To wait.
    """

    do: str
    table: Table | None = None
    server: str = ""
    seconds: float = 0.0


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What it is told.

    Attributes:
        problem: What is wrong with the question; empty where nothing is.
        url: Where the edge listens.
        pid: Of its process.
        figures: What it has counted.
        pairs: What copies of requests came to.
        done: Whether a server is drained.
        count: How many were cut.
    """

    problem: str = ""
    url: str = ""
    pid: int = 0
    figures: Figures | None = None
    pairs: Pairs | None = None
    done: bool = False
    count: int = 0


@final
class EdgeServer:
    """An edge that listens.

    Attributes:
        edge: What it does.
        url: Where clients reach it.
        stopped: Set when a driver has asked for its end.
    """

    def __init__(self, place: Place, host: Host) -> None:
        """Listen nowhere yet.

        Args:
            place: Where, and how.
            host: Clocks, chance and ids.
        """
        self._place = place
        self._tls = _tls(place)
        self.edge: Edge = Edge(
            host, reading(pure=place.pure), scheme="https" if self._tls else "http", access_log=place.access_log
        )
        self.url: str = ""
        self.stopped: asyncio.Event = asyncio.Event()
        self._grace = 0.0
        self._clients: set[Client] = set()
        self._callers = Callers(LIMITS)

    async def run(self) -> None:
        """Serve until a driver says stop, or this is cancelled.

        Raises:
            CouldNotStart: The address is taken.
        """
        place, loop = self._place, asyncio.get_running_loop()
        with bound(place.host, place.port) as listener:
            server = await loop.create_server(self._client, sock=listener, backlog=BACKLOG, ssl=self._tls)
            url = url_of(listener)
            self.url = url.replace("http:", "https:", 1) if self._tls else url
            own = own_socket(place.folder / SOCKET)
            control = await asyncio.start_unix_server(self._driven, sock=own, limit=LINE_BYTES_MAX)
            async with Tasks(_failed) as tasks:
                _ = tasks.start(self._sweep())
                try:
                    _ = await self.stopped.wait()
                    await self._drain(server)
                finally:
                    server.close()
                    control.close()
                    (place.folder / SOCKET).unlink(missing_ok=True)
                    for client in list(self._clients):
                        client.abort()
                    await self.edge.close()

    def _client(self) -> Client:
        return Client(self.edge, self._callers, self._clients)

    async def _sweep(self) -> None:
        before = self.edge.loop.time()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self.edge.loop.time()
            self.edge.sweep()
            self._callers.sweep()
            for count, client in enumerate(list(self._clients), 1):
                client.look(now, now - before)
                if count % _STEP == 0:
                    await asyncio.sleep(0)
            before = now

    async def _drain(self, server: asyncio.Server) -> None:
        """Accept nobody new, close what is idle, and wait for the rest."""
        server.close()
        self.edge.stopping = True
        # Who was accepted just now says its first word.
        await asyncio.sleep(0.02)
        for client in [client for client in self._clients if client.idle]:
            client.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                await self.edge.quiet()

    async def _driven(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question of whoever drives."""
        with suppress(ConnectionError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            if why_not(writer.get_extra_info("socket")):
                writer.close()
                return
            async with asyncio.timeout(ASKING_SECONDS):
                line = await reader.readuntil(b"\n")
            writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> Reply:
        try:
            asked = msgspec.json.decode(line, type=Question)
            return await self._done(asked)
        except msgspec.DecodeError as error:
            return Reply(problem=f"expected a question such as {{'do': 'figures'}}: {error}")
        except Fault as fault:
            return Reply(problem=fault.detail)

    async def _done(self, asked: Question) -> Reply:
        edge, reply = self.edge, Reply()
        match asked.do:
            case "hello":
                reply = Reply(url=self.url, pid=os.getpid())
            case "apply" if asked.table is not None:
                edge.apply(asked.table)
            case "figures":
                reply = Reply(figures=edge.figures())
            case "pairs":
                reply = Reply(pairs=edge.mirrors.take())
            case "drained":
                reply = Reply(done=await self._drained(asked.server, asked.seconds))
            case "cut":
                reply = Reply(count=edge.cut(asked.server))
            case "stop":
                self._grace = asked.seconds
                self.stopped.set()
            case _:
                raise Misconfigured(f"the edge knows no {asked.do!r} like this")
        return reply

    async def _drained(self, server: str, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.edge.tally.drained(server)
        except TimeoutError:
            return False
        return True


def _failed(error: BaseException) -> None:
    _log.error("the edge looks after nothing any more", exc_info=error)


def _tls(place: Place) -> ssl.SSLContext | None:
    if not place.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(place.certificate, place.key or None)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"edge.certificate: expected a certificate and its key (PEM) in {place.certificate} and "
            f"{place.key or place.certificate}: {error}"
        ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context
