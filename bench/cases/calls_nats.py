"""What a call costs through a NATS server: `calls_nats.py CASE SIZE SECONDS`.

CPU is that of caller, service and server. The script starts the server and the service as its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import meter
import msgspec
from calls import HEADERS, SIZES, spent
from shop import Desk, Order, desk, post

from hanse import Node, Settings
from hanse.kernel.context import FOREVER, Context, ambient
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings
from hanse.transport.base import Transport
from hanse.transport.nats.transport import NatsTransport

Operation = Callable[[], Awaitable[object]]
Asking = contextlib.AbstractAsyncContextManager[Operation]
Ask = Callable[[str, Order], Asking]


class Flushed(Transport, Protocol):
    async def flush(self) -> None: ...


NATS_SERVER = Path(sys.executable).parent / "nats-server"
READY_SECONDS_MAX = 10.0
PORTS = range(20_000, 20_900)

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Order).decode


async def serve_hanse(url: str) -> None:
    await serve_over(NatsTransport(url, Host.system()))


async def serve_over(transport: Flushed) -> None:
    async with Node(desk, transport=transport):
        await transport.flush()
        print("ready", flush=True)
        await asyncio.Event().wait()


async def serve_peer(url: str) -> None:
    """As little as one can do with nats-py: no trace, identity, fault or limit."""
    import nats
    from nats.aio.msg import Msg

    client = await nats.connect(url)

    async def check(message: Msg) -> None:
        await message.respond(encode(decode(message.data)))

    await client.subscribe("check", "desks", cb=check)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


def ask_hanse(url: str, order: Order) -> Asking:
    host = Host.system()
    return ask_over(NatsTransport(url, host), host, order)


@contextlib.asynccontextmanager
async def ask_over(transport: Transport, host: Host, order: Order) -> AsyncIterator[Operation]:
    settings = Settings(node=NodeSettings(services=("mailer",)))
    async with Node(post, settings, transport=transport) as node:
        ambient.set(Context(host, HEADERS, FOREVER))
        client = node.client(Desk)
        yield lambda: client.check(order)


@contextlib.asynccontextmanager
async def ask_peer(url: str, order: Order) -> AsyncIterator[Operation]:
    import nats

    client = await nats.connect(url)

    async def call() -> Order:
        return decode((await client.request("check", encode(order), timeout=10)).data)

    yield call
    await client.close()


SERVE = {"hanse": serve_hanse, "nats-py": serve_peer}
ASK = {"hanse": ask_hanse, "nats-py": ask_peer}


async def measure(ask: Ask, url: str, order: Order, seconds: float, pids: tuple[int, int]) -> None:
    async with ask(url, order) as operation:
        assert await operation() == order
        await meter.crowd(operation, meter.WARM_UP_SECONDS)
        used, theirs, began = time.process_time(), [spent(pid) for pid in pids], time.perf_counter()
        done = await meter.crowd(operation, seconds)
        took = time.perf_counter() - began
        ours = time.process_time() - used
        server, broker = (spent(pid) - before for pid, before in zip(pids, theirs, strict=True))
    meter.tell(
        cpu_us=(ours + server + broker) / done * 1e6,
        caller_us=ours / done * 1e6,
        server_us=server / done * 1e6,
        broker_us=broker / done * 1e6,
        per_second=done / took,
    )


def free_port() -> int:
    for port in PORTS:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no free port in {PORTS}")


@contextlib.contextmanager
def broker(*, keeps: bool = False) -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [str(NATS_SERVER), "-a", "127.0.0.1", "-p", str(port), "-l", f"{folder}/log"]
        command += ["-js", "-sd", folder] if keeps else []
        with subprocess.Popen(command) as process:
            try:
                until = time.monotonic() + READY_SECONDS_MAX
                while time.monotonic() < until:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as one:
                        if one.recv(5) == b"INFO ":
                            break
                    time.sleep(0.01)
                yield f"nats://127.0.0.1:{port}", process.pid
            finally:
                process.kill()


def between(server: Sequence[str], ask: Ask, broker: tuple[str, int], size: str, seconds: float) -> None:
    """Measure calls to a service that a command starts, over a broker with this URL and process."""
    url, pid = broker
    with subprocess.Popen([sys.executable, *server, url], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            meter.run(measure(ask, url, SIZES[size], seconds, (process.pid, pid)))
        finally:
            process.kill()


def main(case: str, size: str, seconds: float) -> None:
    if not NATS_SERVER.exists():
        meter.tell(skipped="there is no wheel of nats-server for this machine")
        return
    with broker() as started:
        between([__file__, "serve", case], ASK[case], started, size, seconds)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        meter.run(SERVE[sys.argv[2]](sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
