"""gRPC behind the edge: a real server and client of it, on every engine that speaks HTTP/2 to servers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hanse.control.desired import GRPC_HEALTH, Probe
from hanse.control.edge_table import Pool, Server
from hanse.deploy.prober import looked

from .conftest import Edge
from .wire import PATIENCE, Upstream, serving

grpc: Any = pytest.importorskip("grpc")
aio: Any = pytest.importorskip("grpc.aio")

NAME, COUNT = "/shop.Stock/Name", "/shop.Stock/Count"


class Stock:
    """A service of two methods: one says who answers, and one counts as it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.begun = asyncio.Event()

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401 - gRPC says so
        if handler_call_details.method == NAME:
            return grpc.unary_unary_rpc_method_handler(self._tell)
        if handler_call_details.method == COUNT:
            return grpc.stream_stream_rpc_method_handler(self._count)
        return None

    async def _tell(self, request: bytes, context: Any) -> bytes:  # noqa: ANN401 - gRPC has no types
        self.begun.set()
        _ = await self.let_go.wait()
        if request == b"fail":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
        return self.name

    async def _count(self, requests: AsyncIterator[bytes], _: Any) -> AsyncGenerator[bytes]:  # noqa: ANN401 - gRPC has no types
        async for one in requests:
            yield self.name + b":" + one


@asynccontextmanager
async def stocked(*stocks: Stock) -> AsyncGenerator[dict[str, tuple[int, Any]]]:
    """Servers of gRPC, and where they listen."""
    there: dict[str, tuple[int, Any]] = {}
    for stock in stocks:
        server = aio.server()
        server.add_generic_rpc_handlers((stock,))
        there[stock.name.decode()] = server.add_insecure_port("127.0.0.1:0"), server
        await server.start()
    try:
        yield there
    finally:
        for _, server in there.values():
            await server.stop(None)


@pytest.fixture
def speaking(edge: Edge) -> Edge:
    """An edge that speaks HTTP/2 to servers."""
    if not edge.features.grpc:
        pytest.skip("it speaks HTTP/1.1 to servers")
    return edge


async def show(edge: Edge, there: dict[str, tuple[int, Any]], *, draining: str = "") -> None:
    servers = tuple(
        # Of other tests' servers the edge may know that they went away.
        Server(id=f"{edge.service}-{name}", port=port, state="draining" if name == draining else "up")
        for name, (port, _) in there.items()
    )
    pool = Pool(service=edge.service, release="1", servers=servers)
    _ = await edge.show(edge.table(pool, target=edge.target(protocol="h2c")))


async def test_calls_are_shared_and_streams_go_both_ways(speaking: Edge) -> None:
    async with stocked(Stock("one"), Stock("other")) as there, asyncio.timeout(PATIENCE):
        await show(speaking, there)
        async with aio.insecure_channel(speaking.url.removeprefix("http://")) as channel:
            got = [await channel.unary_unary(NAME)(b"") for _ in range(10)]
            stream = channel.stream_stream(COUNT)()
            echoed = list[bytes]()
            for number in (b"1", b"2", b"3"):
                await stream.write(number)
                echoed.append((await stream.read()).partition(b":")[2])
            await stream.done_writing()
            with pytest.raises(aio.AioRpcError) as failed:
                _ = await channel.unary_unary(NAME)(b"fail")
    assert (got.count(b"one"), got.count(b"other")) == (5, 5)
    assert echoed == [b"1", b"2", b"3"]
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not today")


async def test_a_call_under_way_ends_while_its_server_is_drained(speaking: Edge) -> None:
    held, other = Stock("held"), Stock("other")
    held.let_go.clear()
    async with stocked(held) as first, stocked(other) as second, asyncio.timeout(PATIENCE):
        await show(speaking, first)
        async with aio.insecure_channel(speaking.url.removeprefix("http://")) as channel:
            call = channel.unary_unary(NAME)(b"")
            _ = await held.begun.wait()
            await show(speaking, {**first, **second}, draining="held")
            assert [await channel.unary_unary(NAME)(b"") for _ in range(4)] == [b"other"] * 4
            assert not await speaking.engine.drained(f"{speaking.service}-held", 0.05)
            held.let_go.set()
            assert await call == b"held"
            assert await speaking.engine.drained(f"{speaking.service}-held", PATIENCE)


async def test_where_nobody_is_left_calls_are_told_so(speaking: Edge) -> None:
    async with stocked(Stock("gone")) as there:
        pass
    async with asyncio.timeout(PATIENCE):
        await show(speaking, there)
        async with aio.insecure_channel(speaking.url.removeprefix("http://")) as channel:
            with pytest.raises(aio.AioRpcError) as failed:
                _ = await channel.unary_unary(NAME)(b"")
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


class Health:
    """The health service, which says this."""

    def __init__(self, status: int) -> None:
        self.status = status

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401 - gRPC says so
        known = handler_call_details.method == "/grpc.health.v1.Health/Check"
        return grpc.unary_unary_rpc_method_handler(self._check) if known else None

    async def _check(self, _: bytes, __: Any) -> bytes:  # noqa: ANN401 - gRPC has no types
        return bytes([8, self.status])


@pytest.mark.parametrize(
    ("handler", "told"),
    [(Health(1), ""), (Health(2), "grpc.health.v1: its health service says: not serving"), (Stock("bare"), "")],
)
async def test_a_server_is_asked_how_it_is(handler: Stock | Health, told: str) -> None:
    server = aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await looked(Probe(GRPC_HEALTH, timeout=PATIENCE), "127.0.0.1", port) == told
    finally:
        await server.stop(None)
    assert await looked(Probe(GRPC_HEALTH, timeout=PATIENCE), "127.0.0.1", port) == f"nobody listens at port {port}"


async def test_who_speaks_no_http_2_is_told() -> None:
    async with serving(one := Upstream("one")):
        why = await looked(Probe(GRPC_HEALTH, timeout=PATIENCE), "127.0.0.1", one.port)
    assert why.startswith("grpc.health.v1: ")


async def test_a_server_that_is_killed_costs_no_later_call(speaking: Edge) -> None:
    async with stocked(Stock("one"), Stock("other")) as there, asyncio.timeout(PATIENCE):
        await show(speaking, there)
        async with aio.insecure_channel(speaking.url.removeprefix("http://")) as channel:
            _ = [await channel.unary_unary(NAME)(b"") for _ in range(4)]
            await there["one"][1].stop(None)
            got = [await channel.unary_unary(NAME)(b"") for _ in range(10)]
    assert got == [b"other"] * 10
