"""`python -m hanse.deploy.edge.haproxy PLACE PROGRAM`: drives HAProxy; PLACE is a `Place` as JSON."""

from __future__ import annotations

import sys

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driven import run
from hanse.deploy.edge.foreign_server import ForeignServer
from hanse.deploy.edge.haproxy.program import HAPROXY
from hanse.deploy.edge.haproxy.server import haproxy_server
from hanse.kernel.host import Host


async def _made(place: Place) -> ForeignServer:
    return haproxy_server(place, await HAPROXY.usable(sys.argv[2]), Host.system())


if __name__ == "__main__":
    raise SystemExit(run(_made))
