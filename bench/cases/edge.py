"""What an edge adds to a request: `edge.py alone|haproxy|envoy|ENGINE SECONDS`.

`haproxy` and `envoy` are configured by hand, with one thread; engines of ours are `our-builtin`, `our-haproxy` and
`our-envoy`, as they are with every table: of the two that others have made, what drives them is counted too.

The server is as little as an asyncio protocol can be, in a process of its own; the edge is in another one. Requests
are without a body, each answered with 100 bytes: first one at a time, for how long each takes, then 64 under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import cast

import meter
from calls import spent
from calls_nats import free_port

from hanse.control.edge_table import EdgeRoute, Pool, Server, Share, Split, Table, Target
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.engine import BuiltinEngine
from hanse.deploy.edge.driver import Driver
from hanse.deploy.edge.envoy import program as envoy
from hanse.deploy.edge.envoy.engine import EnvoyEngine
from hanse.deploy.edge.haproxy import program as haproxy
from hanse.deploy.edge.haproxy.engine import HaproxyEngine
from hanse.deploy.linux import children_of
from hanse.kernel.faults import CouldNotStart

CONNECTIONS = 64
READY_SECONDS_MAX = 20.0
REQUEST = b"GET /api/users/42 HTTP/1.1\r\nHost: shop.example\r\nAccept: application/json\r\nUser-Agent: bench\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
HAPROXY = """
global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 30s
frontend edge
  bind 127.0.0.1:{port}
  use_backend users if {{ path_beg /api }}
backend users
  option forwardfor
  http-reuse always
  server a 127.0.0.1:{upstream}
"""

HTTP = "type.googleapis.com/envoy.extensions."
ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: edge
        typed_config:
          "@type": {http}filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          use_remote_address: true
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /api}}, route: {{cluster: users}}}}]}}
          http_filters:
          - name: router
            typed_config: {{"@type": {http}filters.http.router.v3.Router}}
  clusters:
  - name: users
    load_assignment:
      cluster_name: users
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""
PROGRAMS: dict[str, Callable[[], str]] = {"haproxy": haproxy.found, "envoy": envoy.found}
OURS: dict[str, Callable[[Place], Driver]] = {
    "our-builtin": BuiltinEngine,
    "our-haproxy": HaproxyEngine,
    "our-envoy": EnvoyEngine,
}


class Answering(asyncio.Protocol):
    """The server."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._came = b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        while b"\r\n\r\n" in self._came:
            _, _, self._came = self._came.partition(b"\r\n\r\n")
            self._transport.write(ANSWER)


class Asking(asyncio.Protocol):
    """One connection of the load: a request, its answer, the next request."""

    def __init__(self, took: list[float]) -> None:
        self._took = took
        self._size = 0
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._came = b""
        self._began = time.perf_counter()
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._came += data
        assert self._came.startswith(b"HTTP/1.1 200"), self._came
        head, blank, body = self._came.partition(b"\r\n\r\n")
        if blank and len(body) == 100:  # noqa: PLR2004 - the length of the answer
            self._took.append(time.perf_counter() - self._began)
            self._ask()
        del head


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


@contextlib.contextmanager
def started(*command: str) -> Generator[int]:
    with subprocess.Popen(command) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def by_hand(case: str, folder: Path, port: int, upstream: int) -> list[str]:
    """A command of a program that others have made."""
    if case == "haproxy":
        config = folder / "haproxy.cfg"
        _ = config.write_text(HAPROXY.format(port=port, upstream=upstream))
        return [haproxy.found(), "-db", "-f", str(config)]
    config = folder / "envoy.yaml"
    _ = config.write_text(ENVOY.format(port=port, upstream=upstream, http=HTTP))
    return [envoy.found(), "--concurrency", "1", "--log-level", "error", "-c", str(config)]


@contextlib.asynccontextmanager
async def edge(case: str, folder: Path, upstream: int) -> AsyncGenerator[tuple[int, Callable[[], list[int]]]]:
    """Port of what is asked, and its processes of now: one that a table has replaced ends after a while."""
    port = free_port()
    if case in PROGRAMS:
        with started(*by_hand(case, folder, port, upstream)) as pid:
            yield port, lambda: [pid]
        return
    engine = OURS[case](Place(folder=folder, port=port))
    _ = await engine.start()
    try:
        await engine.apply(
            Table(
                revision=1,
                routes=(EdgeRoute(service="users", path="/api"),),
                targets=(Target(service="users", split=Split(shares=(Share(release="1", points=10_000),))),),
                pools=(Pool(service="users", release="1", servers=(Server(id="a", port=upstream),)),),
            )
        )
        yield port, lambda: [engine.pid, *children_of(engine.pid)]
    finally:
        await engine.stop(0.0)


async def wait_open(port: int) -> None:
    async with asyncio.timeout(READY_SECONDS_MAX):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


async def load(port: int, connections: int, seconds: float) -> list[float]:
    """How long each request took, in seconds."""
    took: list[float] = []
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: Asking(took), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.sleep(meter.WARM_UP_SECONDS)
    took.clear()
    await asyncio.sleep(seconds)
    for transport, _ in opened:
        transport.abort()
    return took.copy()


async def main(case: str, seconds: float) -> None:
    try:
        _ = PROGRAMS.get(case.removeprefix("our-"), str)()
    except CouldNotStart as missing:
        meter.tell(skipped=missing.detail)
        return
    upstream = free_port()
    with tempfile.TemporaryDirectory() as name, started(sys.executable, __file__, "serve", str(upstream)) as server:
        await wait_open(upstream)
        async with contextlib.AsyncExitStack() as stack:
            port, processes = upstream, lambda: [server]
            if case != "alone":
                port, processes = await stack.enter_async_context(edge(case, Path(name), upstream))
            await wait_open(port)
            alone = await load(port, 1, seconds)
            pids = processes()
            before = sum(map(spent, pids))
            many = await load(port, CONNECTIONS, seconds)
            used = sum(map(spent, pids)) - before
    share = seconds / (seconds + meter.WARM_UP_SECONDS)
    meter.tell(
        cpu_us=used * share / len(many) * 1e6,
        per_second=len(many) / seconds,
        one_ms=statistics.median(alone) * 1e3,
        one_p99_ms=statistics.quantiles(alone, n=100)[98] * 1e3,
        many_p99_ms=statistics.quantiles(many, n=100)[98] * 1e3,
    )


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        meter.run(serve(int(sys.argv[2])))
    else:
        meter.run(main(sys.argv[1], float(sys.argv[2])))
