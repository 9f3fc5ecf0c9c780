"""The process that drives Envoy: it is driven by a socket of control, starts Envoy, and stops in order.

Envoy ends with it; should Envoy end, it is started again with what it showed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import final

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driven import SOCKET, Question, Reply, control, done
from hanse.deploy.edge.envoy.bootstrap import CERTIFICATE, bootstrap, told_certificate
from hanse.deploy.edge.envoy.edge import EnvoyEdge
from hanse.deploy.edge.envoy.worker import started, write
from hanse.deploy.edge.renewal import Chain, chain_of, follow
from hanse.gateway.listen import bound, url_of
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

AGAIN_SECONDS = 0.1
"""Before Envoy is started again, where that failed; doubled each time."""

AGAIN_SECONDS_MAX = 5.0

_log = logging.getLogger("hanse.edge")


@final
class EnvoyServer:
    """Drives Envoy.

    Attributes:
        stopped: Set when a driver has asked for its end.
    """

    def __init__(self, place: Place, program: str, host: Host) -> None:
        """Listen nowhere yet.

        Args:
            place: Where, and how.
            program: Path of Envoy.
            host: Clocks.
        """
        self.stopped: asyncio.Event = asyncio.Event()
        self._place = place
        self._program = program
        self._edge = EnvoyEdge(host, place)
        self._grace = 0.0
        self._url = ""
        self._port = 0
        self._chain: Chain | None = None
        self._renewed = 0

    async def run(self) -> None:
        """Serve until a driver says stop, or this is cancelled.

        Raises:
            CouldNotStart: The address is taken, or Envoy does not start.
        """
        if self._place.certificate:
            self._chain = chain_of(self._place)
        # Envoy listens by itself: this finds a free port, and whoever has taken the one that is wanted.
        with bound(self._place.host, self._place.port) as listener:
            url, self._port = url_of(listener), listener.getsockname()[1]
        self._url = url.replace("http:", "https:", 1) if self._place.certificate else url
        async with Tasks(_failed) as tasks:
            try:
                await self._start()
                _ = tasks.start(self._keep())
                _ = tasks.start(self._edge.tend())
                if self._chain is not None:
                    _ = tasks.start(follow(self._place, self._chain, self._renew))
                driven = await control(self._place.folder, self._done)
                _ = await self.stopped.wait()
                await self._edge.stop(self._grace)
                driven.close()
            finally:
                self.stopped.set()
                await self._edge.stop(0.0)
                for path in [*self._place.folder.glob("*.sock"), self._place.folder / SOCKET]:
                    path.unlink(missing_ok=True)

    async def _start(self) -> None:
        files = {**self._edge.files(), "envoy.json": bootstrap(self._place, self._port)}
        if self._chain is not None:
            files[CERTIFICATE] = told_certificate(self._chain, str(self._renewed))
        self._edge.worker = await started(self._program, self._place.folder, files)

    async def _renew(self, chain: Chain) -> None:
        """Show another certificate: whoever connects once Envoy has read it, meets it."""
        self._chain = chain
        self._renewed += 1
        write(self._place.folder, CERTIFICATE, told_certificate(chain, str(self._renewed)))

    async def _keep(self) -> None:
        """Hear what Envoy tells, and start it again where it ends by itself; never returns."""
        while True:
            worker = self._edge.worker
            assert worker is not None
            await self._edge.listen(worker)
            code = await worker.process.wait()
            pause = AGAIN_SECONDS
            while not self.stopped.is_set():
                _log.error("Envoy ended by itself with %s, and is started again", code)
                with suppress(Fault):
                    await self._start()
                    break
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_SECONDS_MAX)
            if self.stopped.is_set():
                return

    async def _done(self, asked: Question) -> Reply:
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
