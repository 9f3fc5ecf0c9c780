from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.edge.wire import Upstream, serving

from hanse.control.desired import Probe
from hanse.deploy.ports import HIGHEST, LOWEST, free_port, is_free
from hanse.deploy.prober import HEAD_BYTES_MAX, looked
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host

PROBE = Probe("/up", timeout=30.0)


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncGenerator[int]:
    """A server that answers so, or never; its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()) in (b"GET /up HTTP/1.1\r\n", b"")
        if answer is not None:
            writer.write(answer)
        else:
            _ = await reader.read()

    async with serving(server := Upstream("up", raw=talk)):
        yield server.port


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", ""),
        (b"HTTP/1.1 503 Later\r\n\r\n", "GET /up: 503"),
        (b"SSH-2.0-OpenSSH\r\n", "GET /up: expected an answer in HTTP/1.1, got b'SSH-2.0-OpenSSH'"),
        (b"HTTP/1.1 20", "GET /up: the connection ended, with b'HTTP/1.1 20'"),
        (b"x" * (HEAD_BYTES_MAX * 3), f"GET /up: a first line of more than {HEAD_BYTES_MAX} bytes"),
    ],
)
async def test_any_answer_below_500_is_healthy_and_nothing_else_is(answer: bytes, why: str) -> None:
    async with answering(answer) as port:
        assert await looked(PROBE, "127.0.0.1", port) == why


async def test_whoever_takes_connections_and_never_answers_is_not_healthy() -> None:
    async with answering(None) as port:
        found = await looked(Probe("/up", timeout=0.01), "127.0.0.1", port)
    assert found == "no answer to GET /up in 0.01 s"


async def test_where_nobody_listens_that_is_said() -> None:
    async with answering(None) as port:
        assert not is_free("127.0.0.1", port)
    assert await looked(PROBE, "127.0.0.1", port) == f"nobody listens at port {port}"


def test_a_free_port_is_none_that_outgoing_connections_take() -> None:
    host = Host.fixed(wall=0.0, seed=7)
    port = free_port("127.0.0.1", host.chance, set())
    assert LOWEST <= port <= HIGHEST
    assert free_port("127.0.0.1", Host.fixed(wall=0.0, seed=7).chance, {port}) != port


def test_where_no_port_is_free_that_is_said() -> None:
    taken = set(range(LOWEST, HIGHEST + 1))
    with pytest.raises(CouldNotStart, match="expected a free port from 20000 to 32767"):
        free_port("127.0.0.1", Host.fixed(wall=0.0, seed=7).chance, taken)
