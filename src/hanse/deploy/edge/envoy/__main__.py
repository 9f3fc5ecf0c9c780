"""`python -m hanse.deploy.edge.envoy PLACE PROGRAM`: drives Envoy; PLACE is a `Place` as JSON."""

from __future__ import annotations

import sys

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driven import run
from hanse.deploy.edge.envoy.program import ENVOY
from hanse.deploy.edge.envoy.server import EnvoyServer
from hanse.kernel.host import Host


async def _made(place: Place) -> EnvoyServer:
    return EnvoyServer(place, await ENVOY.usable(sys.argv[2]), Host.system())


if __name__ == "__main__":
    raise SystemExit(run(_made))
