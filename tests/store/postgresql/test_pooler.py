"""PgBouncer in between, which gives each transaction to another session: it works, or it is said what to set."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.host import Host
from hanse.store.postgresql import PostgresqlStore
from hanse.store.postgresql.link import Dialer
from hanse.store.postgresql.url import parse_url
from hanse.store.query import Query
from hanse.testing.store_hooks import NOTES, ORDERS, batch, emit, put

from .pooler import pooled, program
from .server import USER, Server

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timeout(120),
    pytest.mark.skipif(program() is None, reason="there is no PgBouncer on this machine: apt-get install pgbouncer"),
]

_names = count()
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def port(quick_server: Server) -> Iterator[int]:
    with pooled(quick_server, "ignore_startup_parameters =") as found:
        yield found


def url(port: int, schema: str, **options: str) -> str:
    told = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://{USER}@127.0.0.1:{port}/postgres?schema={schema}&synchronous=off&{told}"


async def test_two_processes_write_hear_and_read_through_a_pooler(port: int) -> None:
    where = url(port, f"pooled{next(_names)}", prepared="no")
    one, other = PostgresqlStore.from_url(where), PostgresqlStore.from_url(where)
    heard = asyncio.Event()
    try:
        for store in (one, other):
            await store.open([ORDERS, NOTES])
        _ = other.listen(heard.set)
        for turn in range(3):
            heard.clear()
            writes = (one.commit(batch(put(f"{turn}-{number}"), emit("k"))) for number in range(20))
            _ = await asyncio.gather(*writes, other.commit(batch(put(f"other-{turn}"))))
            async with asyncio.timeout(WAIT_SECONDS):
                _ = await heard.wait()
        assert await asyncio.gather(*(other.count("orders", Query()) for _ in range(10))) == [63] * 10
        assert [entry.seq for entry in (await other.changes(0, limit=200)).entries] == [*range(1, 124)]
        async with one.dump() as dump:
            assert [piece async for piece in dump.pieces]
    finally:
        await one.close()
        await other.close()


async def test_nobody_is_made_to_hear_in_the_session_of_somebody_else(port: int) -> None:
    where = url(port, f"pooled{next(_names)}", prepared="no")
    one, other = PostgresqlStore.from_url(where), PostgresqlStore.from_url(where)
    heard = asyncio.Event()
    try:
        for store in (one, other):
            await store.open([NOTES])
        _ = other.listen(heard.set)
        _ = await one.commit(batch(emit("1")))
        async with asyncio.timeout(WAIT_SECONDS):
            _ = await heard.wait()
    finally:
        await one.close()
        await other.close()
    # As many as there are sessions, each of which is held by a transaction: so all are looked at.
    dialer = Dialer(parse_url(where), Host.system())
    links = [await dialer.dial() for _ in range(4)]
    for link in links:
        _ = await link.execute("BEGIN")
    assert [await link.fetch("SELECT pg_listening_channels()") for link in links] == [[]] * 4
    for link in links:
        await link.close()


async def test_who_does_not_say_that_there_is_a_pooler_is_told_what_to_set(port: int) -> None:
    store = PostgresqlStore.from_url(url(port, f"pooled{next(_names)}"))
    with pytest.raises(CouldNotStart, match="a pooler such as PgBouncer is in between: add prepared=no to its URL"):
        await store.open([ORDERS])
    await store.close()


async def test_a_pooler_that_loses_prepared_statements_is_told_of(quick_server: Server) -> None:
    parameters = "jit, application_name, tcp_keepalives_idle, tcp_keepalives_interval, tcp_keepalives_count"
    with pooled(quick_server, f"ignore_startup_parameters = {parameters}") as port:
        where = url(port, f"pooled{next(_names)}")
        stores = [PostgresqlStore.from_url(where) for _ in range(3)]
        try:
            with pytest.raises(Misconfigured, match="add prepared=no to its URL"):
                await _wear(stores)
        finally:
            for store in stores:
                await store.close()


async def _wear(stores: list[PostgresqlStore]) -> None:
    """Open and use them until a session lacks what another prepared, which may be as early as the second opening."""
    for store in stores:
        await store.open([ORDERS])
    for turn in range(20):
        _ = await asyncio.gather(*(store.commit(batch(put(f"{turn}"))) for store in stores))
        _ = await asyncio.gather(*(store.load("orders", f"{turn}") for store in stores for _ in range(8)))
