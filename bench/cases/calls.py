"""What a call costs where caller and service are two processes: `calls.py CASE tcp|unix|zmq small|10k SECONDS`.

CPU is that of both processes. The client measures: it starts the server as its child.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import meter
import msgspec
from calls_raw import RawClient, RawServer
from calls_straight import Straight
from calls_zmq import ask_peer, serve_peer
from shop import ORDER, Desk, Order, desk, post

from hanse import Node, Settings
from hanse.kernel.context import FOREVER, Context, ambient
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import NodeSettings
from hanse.transport.direct import Direct
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.zmq.direct import zmq_direct

LARGE = msgspec.structs.replace(ORDER, tags=[f"t{number:03d}-{'x' * 56}" for number in range(160)])
SIZES = {"small": ORDER, "10k": LARGE}

HEADERS = Headers(
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    identity=Identity("ada", "acme", frozenset({"orders:read", "orders:write"})),
)

Operation = Callable[[], Awaitable[object]]


async def serve_raw(url: str) -> None:
    loop = asyncio.get_running_loop()
    if url.startswith("unix:"):
        server = await loop.create_unix_server(RawServer, url[5:])
        address = url
    else:
        server = await loop.create_server(RawServer, "127.0.0.1")
        address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(address, flush=True)
    # A loop may end a server to which nobody holds on.
    async with server:
        await asyncio.Event().wait()


def direct_of(url: str, host: Host) -> Direct:
    return zmq_direct(url, host) if url.startswith("zmq:") else StreamDirect(url, host)


async def serve_hanse(url: str) -> None:
    direct = direct_of(url, Host.system())
    async with Node(desk, transport=Straight(direct)):
        print(direct.address, flush=True)
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def ask_raw(address: str, order: Order) -> AsyncIterator[Operation]:
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        _, client = await loop.create_unix_connection(RawClient, address[5:])
    else:
        _, client = await loop.create_connection(RawClient, "127.0.0.1", int(address.rpartition(":")[2]))
    yield lambda: client.call(order)


@contextlib.asynccontextmanager
async def ask_hanse(address: str, order: Order) -> AsyncIterator[Operation]:
    with tempfile.TemporaryDirectory() as folder:
        host = Host.system()
        url = f"unix:{folder}" if address.startswith("unix:") else f"{address.partition(':')[0]}://"
        settings = Settings(node=NodeSettings(services=["mailer"]))
        async with Node(post, settings, transport=Straight(direct_of(url, host), address)) as node:
            ambient.set(Context(host, HEADERS, FOREVER))
            client = node.client(Desk)
            yield lambda: client.check(order)


SERVE = {"raw": serve_raw, "hanse": serve_hanse, "zmq.asyncio": serve_peer}
ASK = {"raw": ask_raw, "hanse": ask_hanse, "zmq.asyncio": ask_peer}


def spent(pid: int) -> float:
    """Seconds of CPU of another process."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


async def measure(case: str, order: Order, seconds: float, address: str, pid: int) -> None:
    async with ASK[case](address, order) as operation:
        assert await operation() == order
        await meter.crowd(operation, meter.WARM_UP_SECONDS)
        used, theirs, began = time.process_time(), spent(pid), time.perf_counter()
        done = await meter.crowd(operation, seconds)
        took = time.perf_counter() - began
        ours, theirs = time.process_time() - used, spent(pid) - theirs
    meter.tell(
        cpu_us=(ours + theirs) / done * 1e6,
        caller_us=ours / done * 1e6,
        server_us=theirs / done * 1e6,
        per_second=done / took,
    )


def main(case: str, scheme: str, size: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"unix:{folder}/served.sock" if scheme == "unix" else f"{scheme}://"
        command = [sys.executable, __file__, "serve", case, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().strip()
                meter.run(measure(case, SIZES[size], seconds, address, server.pid))
            finally:
                server.kill()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        meter.run(SERVE[sys.argv[2]](sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
