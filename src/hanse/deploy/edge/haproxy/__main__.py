"""`python -m hanse.deploy.edge.haproxy PLACE PROGRAM`: drives HAProxy; PLACE is a `Place` as JSON."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import msgspec

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.server import FAILED
from hanse.deploy.edge.haproxy.program import usable
from hanse.deploy.edge.haproxy.server import HaproxyServer
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.logs import Labels, set_up
from hanse.kernel.settings import LogSettings


def main() -> int:
    """Run until told to stop; the process's exit code."""
    place = msgspec.json.decode(sys.argv[1], type=Place, dec_hook=_as_path)
    _ = set_up(LogSettings(), Labels(service="edge"), sys.stderr)
    try:
        asyncio.run(_serve(place, sys.argv[2]))
    except Fault as fault:
        said = place.folder / f"{FAILED}.{os.getpid()}"
        _ = said.write_bytes(msgspec.json.encode(fault.detail))
        _ = said.rename(place.folder / FAILED)
        return fault.exit_code
    return 0


def _as_path(kind: type, text: object) -> object:
    return kind(text)


async def _serve(place: Place, program: str) -> None:
    server = HaproxyServer(place, await usable(program), Host.system())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stopped.set)
    await server.run()


if __name__ == "__main__":
    raise SystemExit(main())
