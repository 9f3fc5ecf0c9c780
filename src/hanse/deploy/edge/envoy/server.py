"""What drives Envoy: the port at which it listens by itself, and the certificate that it reads."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.envoy.bootstrap import CERTIFICATE, bootstrap, told_certificate
from hanse.deploy.edge.envoy.edge import EnvoyEdge
from hanse.deploy.edge.envoy.pools import Resource
from hanse.deploy.edge.envoy.worker import Worker, started, write
from hanse.deploy.edge.foreign_server import ForeignServer, Opened
from hanse.deploy.edge.renewal import Chain
from hanse.gateway.listen import bound, url_of
from hanse.kernel.host import Host


def envoy_server(place: Place, program: str, host: Host) -> ForeignServer:
    """What drives Envoy.

    Args:
        place: Where, and how.
        program: Path of Envoy.
        host: Clocks.
    """

    @contextmanager
    def opened(server: ForeignServer, chain: Chain | None) -> Generator[Opened]:
        # Envoy listens by itself: this finds a free port, and whoever has taken the one that is wanted.
        with bound(place.host, place.port) as listener:
            url, port = url_of(listener), listener.getsockname()[1]
        versions = itertools.count()

        async def start(shown: Mapping[str, Resource]) -> Worker:
            # Its certificate is there already, and may be another by now than at the last start.
            read = {**shown, "envoy.json": bootstrap(place, port)}
            return await server.started(started(program, place.folder, read), edge.heard)

        def show(chain: Chain) -> None:
            write(place.folder, CERTIFICATE, told_certificate(chain, str(next(versions))))

        async def renew(chain: Chain) -> None:
            show(chain)

        edge = EnvoyEdge(host, place, start)
        if chain is not None:
            show(chain)
        yield Opened(url, edge, renew, lambda: None)

    return ForeignServer("Envoy", place, opened)
