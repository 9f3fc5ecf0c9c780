"""`python -m hanse.deploy.edge.envoy PLACE PROGRAM`: drives Envoy; PLACE is a `Place` as JSON."""

from __future__ import annotations

import sys

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driven import run
from hanse.deploy.edge.envoy.program import ENVOY
from hanse.deploy.edge.envoy.server import envoy_server
from hanse.deploy.edge.foreign_server import ForeignServer
from hanse.kernel.host import Host


async def _made(place: Place) -> ForeignServer:
    return envoy_server(place, await ENVOY.usable(sys.argv[2]), Host.system())


if __name__ == "__main__":
    raise SystemExit(run(_made))
