"""The process of the built-in edge: it listens, is driven over its socket of control, and stops in order."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from contextlib import suppress
from typing import final

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.client import LIMITS, Client
from hanse.deploy.edge.builtin.edge import SWEEP_SECONDS, Edge
from hanse.deploy.edge.builtin.reading import reading
from hanse.deploy.edge.driven import BACKLOG, SOCKET, Question, Reply, control
from hanse.deploy.edge.renewal import Chain, chain_of, follow
from hanse.gateway.callers import Callers
from hanse.gateway.listen import bound, url_of
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

_STEP = 250
_log = logging.getLogger("hanse.edge")


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
        # Sockets keep the first one, whose place another one takes as soon as somebody has said hello.
        self._chain = chain_of(place) if place.certificate else None
        self._tls = self._now = _tls(place)
        if self._tls is not None:
            self._tls.sni_callback = self._greeted
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
            driven = await control(place.folder, self._done)
            async with Tasks(_failed) as tasks:
                _ = tasks.start(self._sweep())
                if self._chain is not None:
                    _ = tasks.start(follow(place, self._chain, self._renew))
                try:
                    _ = await self.stopped.wait()
                    await self._drain(server)
                finally:
                    server.close()
                    driven.close()
                    (place.folder / SOCKET).unlink(missing_ok=True)
                    for client in list(self._clients):
                        client.abort()
                    await self.edge.close()

    async def _renew(self, _: Chain) -> None:
        self._now = _tls(self._place)

    def _greeted(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Show the certificate of now."""
        if self._now is not None:
            connection.context = self._now

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
    context.load_cert_chain(place.certificate, place.key or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
