"""`python -m hanse.deploy.edge.builtin PLACE`: runs an edge; PLACE is a `Place` as JSON."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import msgspec

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.server import FAILED, EdgeServer
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.logs import Labels, set_up
from hanse.kernel.settings import LogSettings


def main() -> int:
    """Run until told to stop; the process's exit code."""
    place = msgspec.json.decode(sys.argv[1], type=Place, dec_hook=_as_path)
    _ = set_up(LogSettings(), Labels(service="edge"), sys.stderr)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(place))
    except Fault as fault:
        said = place.folder / f"{FAILED}.{os.getpid()}"
        _ = said.write_bytes(msgspec.json.encode(fault.detail))
        _ = said.rename(place.folder / FAILED)
        return fault.exit_code
    return 0


def _as_path(kind: type, text: object) -> object:
    return kind(text)


async def _serve(place: Place) -> None:
    server = EdgeServer(place, Host.system())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stopped.set)
    await server.run()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    raise SystemExit(main())
