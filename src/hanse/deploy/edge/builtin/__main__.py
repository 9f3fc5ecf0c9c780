"""`python -m hanse.deploy.edge.builtin PLACE`: runs an edge; PLACE is a `Place` as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.server import EdgeServer
from hanse.deploy.edge.driven import run
from hanse.kernel.host import Host


async def _made(place: Place) -> EdgeServer:
    return EdgeServer(place, Host.system())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    raise SystemExit(run(_made, _loop_factory()))
