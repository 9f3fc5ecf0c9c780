"""The process that drives HAProxy: it holds the listening socket, is driven by a socket of control, and stops in order.

It is asked in the same words as the built-in edge. HAProxy ends with it; should HAProxy end, it is started again with
what it showed, while clients wait in the queue of the listening socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import final

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driven import BACKLOG, Question, Reply, control, done
from hanse.deploy.edge.haproxy.config import CERTIFICATE, files
from hanse.deploy.edge.haproxy.edge import HaproxyEdge, Process
from hanse.deploy.edge.haproxy.layout import Layout
from hanse.deploy.edge.haproxy.log_pipe import LogPipe
from hanse.deploy.edge.haproxy.shown import Shown
from hanse.deploy.edge.haproxy.worker import Worker, started
from hanse.deploy.edge.renewal import Chain, chain_of, follow
from hanse.gateway.listen import bound, url_of
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

AGAIN_SECONDS = 0.1
"""Before HAProxy is started again, after it ended by itself; doubled each time that it ends at once."""

AGAIN_SECONDS_MAX = 5.0

_log = logging.getLogger("hanse.edge")


@final
class HaproxyServer:
    """Drives HAProxy.

    Attributes:
        stopped: Set when a driver has asked for its end.
    """

    def __init__(self, place: Place, program: str, host: Host) -> None:
        """Listen nowhere yet.

        Args:
            place: Where, and how.
            program: Path of HAProxy.
            host: Clocks.
        """
        self.stopped: asyncio.Event = asyncio.Event()
        self._place = place
        self._program = program
        self._host = host
        self._grace = 0.0
        self._url = ""
        self._number = 0
        self._watching: Tasks | None = None
        self._edge: HaproxyEdge | None = None
        self._listener: socket.socket | None = None
        self._told: LogPipe | None = None

    async def run(self) -> None:
        """Serve until a driver says stop, or this is cancelled.

        Raises:
            CouldNotStart: The address is taken, or HAProxy does not start.
        """
        place = self._place
        chain = chain_of(place) if place.certificate else None
        if chain is not None:
            _keep(place.folder, chain)
        with bound(place.host, place.port) as listener, LogPipe() as told:
            listener.listen(BACKLOG)
            self._listener, self._told = listener, told
            url = url_of(listener)
            self._url = url.replace("http:", "https:", 1) if place.certificate else url
            self._edge = edge = HaproxyEdge(self._host, self._start, told)
            async with Tasks(_failed) as tasks:
                self._watching = tasks
                try:
                    await edge.start()
                    if chain is not None:
                        _ = tasks.start(follow(place, chain, self._renew))
                    loop = asyncio.get_running_loop()
                    _ = loop.add_reader(told, edge.read_log)
                    driven = await control(place.folder, self._done)
                    _ = await self.stopped.wait()
                    # What this process holds open would be listened at for ever.
                    listener.close()
                    await edge.stop(self._grace)
                    _ = loop.remove_reader(told)
                    driven.close()
                finally:
                    self._watching = None
                    await edge.stop(0.0)
                    for path in place.folder.glob("*.sock"):
                        path.unlink(missing_ok=True)

    async def _start(self, layout: Layout, now: Shown) -> Process:
        """A process of HAProxy, which is started again where it ends by itself."""
        self._number += 1
        name = f"haproxy-{self._number}.sock"
        assert self._listener is not None
        assert self._told is not None
        inherited = (self._listener.fileno(), self._told.end)
        read = files(self._place, layout, now, listener=inherited[0], told=inherited[1], socket=name)
        worker = await started(self._program, self._place.folder, inherited, read, name)
        if self._watching is not None:
            _ = self._watching.start(self._watch(worker, self._place.folder / name))
        return worker

    async def _watch(self, worker: Worker, path: Path) -> None:
        code = await worker.process.wait()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - a name in a folder of our own
        edge, pause = self._edge, AGAIN_SECONDS
        while edge is not None and edge.is_current(worker) and not self.stopped.is_set():
            _log.error("HAProxy ended by itself with %s, and is started again", code)
            with suppress(Fault):
                await edge.start(worker)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, AGAIN_SECONDS_MAX)

    async def _renew(self, chain: Chain) -> None:
        """Show another certificate: whoever is started from now on reads it, and who runs is told."""
        _keep(self._place.folder, chain)
        if self._edge is not None:
            await self._edge.renew(CERTIFICATE, chain.together.decode())

    async def _done(self, asked: Question) -> Reply:
        assert self._edge is not None
        match asked.do:
            case "hello":
                return Reply(url=self._url, pid=os.getpid())
            case "stop":
                self._grace = asked.seconds
                self.stopped.set()
                return Reply()
            case _:
                return await done(self._edge, asked)


def _failed(error: BaseException) -> None:
    _log.error("the edge looks after nothing any more", exc_info=error)


def _keep(folder: Path, chain: Chain) -> None:
    """Put certificate and key into the one file that HAProxy reads."""
    beside = folder / f"{CERTIFICATE}.new"
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        _ = file.write(chain.together)
    _ = beside.replace(folder / CERTIFICATE)
