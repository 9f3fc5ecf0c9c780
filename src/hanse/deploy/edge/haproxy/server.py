"""What drives HAProxy: the listening socket, which all its processes share, and the pipe in which they tell.

It is asked in the same words as the built-in edge. While HAProxy is started again, clients wait in the queue of the
listening socket.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import contextmanager

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driven import BACKLOG
from hanse.deploy.edge.foreign_process import put
from hanse.deploy.edge.foreign_server import ForeignServer, Opened
from hanse.deploy.edge.haproxy.config import CERTIFICATE, files
from hanse.deploy.edge.haproxy.edge import HaproxyEdge
from hanse.deploy.edge.haproxy.layout import Layout
from hanse.deploy.edge.haproxy.log_pipe import LogPipe
from hanse.deploy.edge.haproxy.shown import Shown
from hanse.deploy.edge.haproxy.worker import Worker, started
from hanse.deploy.edge.renewal import Chain
from hanse.gateway.listen import bound, url_of
from hanse.kernel.host import Host


def haproxy_server(place: Place, program: str, host: Host) -> ForeignServer:
    """What drives HAProxy.

    Args:
        place: Where, and how.
        program: Path of HAProxy.
        host: Clocks.
    """

    @contextmanager
    def opened(server: ForeignServer, chain: Chain | None) -> Generator[Opened]:
        with bound(place.host, place.port) as listener, LogPipe() as told:
            listener.listen(BACKLOG)
            inherited = (listener.fileno(), told.end)
            numbers = itertools.count(1)

            async def start(layout: Layout, now: Shown) -> Worker:
                name = f"haproxy-{next(numbers)}.sock"
                read = files(place, layout, now, listener=inherited[0], told=inherited[1], socket=name)
                return await server.started(started(program, place.folder, inherited, read, name), Worker.ended)

            async def renew(chain: Chain) -> None:
                # Whoever is started from now on reads it, and who runs is told.
                put(place.folder, CERTIFICATE, chain.together)
                await edge.renew(CERTIFICATE, chain.together.decode())

            edge = HaproxyEdge(host, start, told)
            if chain is not None:
                put(place.folder, CERTIFICATE, chain.together)
            yield Opened(url_of(listener), edge, renew, listener.close)

    return ForeignServer("HAProxy", place, opened)
