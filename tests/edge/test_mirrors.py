"""Copies of requests to another release; on every engine that makes them."""

import asyncio

import h11
import pytest

from hanse.control.edge_mirror import Pair
from hanse.control.edge_table import Mirror, Timeouts

from .conftest import Edge
from .wire import PATIENCE, Exchange, Raw, Upstream, ask, connected, serving, until


@pytest.fixture
def mirroring(edge: Edge) -> Edge:
    if not edge.features.mirrors:
        pytest.skip("it mirrors nothing")
    return edge


async def show(edge: Edge, old: Upstream, new: Upstream, *methods: str) -> None:
    target = edge.target({"2": 0, "1": 10_000}, mirror=Mirror(release="2", methods=methods or ("GET", "HEAD")))
    _ = await edge.show(edge.table(edge.pool(old), edge.pool(new, release="2"), target=target))
    _ = await edge.engine.pairs()


async def pairs(edge: Edge, count: int) -> list[Pair]:
    """So many pairs of this test's service."""
    found: list[Pair] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += [pair for pair in (await edge.engine.pairs()).pairs if pair.service == edge.service]
    return found


async def echo(exchange: Exchange) -> None:
    request = await exchange.whole()
    await exchange.answer(200, exchange.server.name.encode() + b":" + request.body, [("Content-Type", "text/plain")])


async def test_a_copy_is_marked_and_both_answers_are_told(mirroring: Edge) -> None:
    edge, old, new = mirroring, Upstream("old", echo), Upstream("new", echo)
    async with serving(old, new):
        await show(edge, old, new, "GET", "POST")
        assert (await ask(edge.url, target="/a?x=1")).body == b"old:"
        assert (await ask(edge.url, "POST", target="/b", body=b"order")).body == b"old:order"
        chunks = [("Transfer-Encoding", "chunked")]
        async with connected(edge.url) as connection:
            await connection.send_head("POST", "/c", chunks)
            await connection.send(h11.Data(data=b"in "))
            await connection.send(h11.Data(data=b"pieces"))
            await connection.send(h11.EndOfMessage())
            assert (await connection.answer()).body == b"old:in pieces"
        told = {pair.target: pair for pair in await pairs(edge, 3)}
    assert {request.headers["x-hanse-shadow"] for request in new.asked} == {"1"}
    assert all("x-hanse-shadow" not in request.headers for request in old.asked)
    assert {request.target: request.body for request in new.asked} == {
        "/a?x=1": b"",
        "/b": b"order",
        "/c": b"in pieces",
    }
    assert (told["/b"].told.body, told["/b"].copied.body) == (b"old:order", b"new:order")
    assert (told["/b"].told.type, told["/b"].copied.status) == ("text/plain", 200)
    assert {one.headers["traceparent"][3:35] for one in new.asked} == {pair.trace_id for pair in told.values()}


async def test_some_copies_go_to_the_release_that_answers_so_that_it_is_compared_with_itself(mirroring: Edge) -> None:
    edge, old, new = mirroring, Upstream("old", echo), Upstream("new", echo)
    async with serving(old, new):
        target = edge.target({"2": 0, "1": 10_000}, mirror=Mirror(release="2", placebo=10_000))
        _ = await edge.show(edge.table(edge.pool(old), edge.pool(new, release="2"), target=target))
        _ = await edge.engine.pairs()
        assert (await ask(edge.url)).body == b"old:"
        (told,) = await pairs(edge, 1)
    assert (told.release, told.mirror) == ("1", "1")
    assert (told.told.body, told.copied.body) == (b"old:", b"old:")
    assert [request.headers.get("x-hanse-shadow") for request in old.asked] == [None, "1"]
    assert not new.asked


async def test_what_changes_something_is_not_copied_unless_the_table_says_so(mirroring: Edge) -> None:
    edge, old, new = mirroring, Upstream("old", echo), Upstream("new", echo)
    async with serving(old, new):
        await show(edge, old, new)
        assert (await ask(edge.url, "POST", body=b"order")).body == b"old:order"
        assert (await ask(edge.url)).body == b"old:"
        _ = await pairs(edge, 1)
    assert [request.method for request in new.asked] == ["GET"]


async def test_a_client_never_waits_for_a_copy(mirroring: Edge) -> None:
    let_go = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        _ = await exchange.whole()
        _ = await let_go.wait()
        await exchange.answer(500, b"late")

    edge, old, new = mirroring, Upstream("old", echo), Upstream("new", waits)
    async with serving(old, new):
        await show(edge, old, new)
        assert (await ask(edge.url)).body == b"old:"
        await until(lambda: len(new.asked) == 1)
        assert not await edge.engine.drained(edge.server(new).id, 0.01)
        let_go.set()
        pair = (await pairs(edge, 1))[0]
        assert await edge.engine.drained(edge.server(new).id, PATIENCE)
    assert (pair.told.status, pair.copied.status, pair.copied.body) == (200, 500, b"late")
    assert (await edge.counted()).errors == 0


async def test_a_copy_that_fails_is_told_and_costs_the_client_nothing(mirroring: Edge) -> None:
    edge, old, new = mirroring, Upstream("old", echo), Upstream("new")
    async with serving(old, new):
        await show(edge, old, new)
        await new.kill()
        assert (await ask(edge.url)).body == b"old:"
        pair = (await pairs(edge, 1))[0]
    assert pair.copied.status == 0
    assert pair.copied.problem


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _ = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"nonsense\r\n\r\n")
    await writer.drain()
    _ = await reader.read()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _ = await reader.read()


async def goes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _ = await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize(("raw", "told"), [(garbage, "no HTTP"), (silence, "no answer within"), (goes, "went away")])
async def test_why_a_copy_has_no_answer_is_told(mirroring: Edge, raw: Raw, told: str) -> None:
    edge, old, new = mirroring, Upstream("old", echo), Upstream("new", raw=raw)
    async with serving(old, new):
        target = edge.target({"2": 0, "1": 10_000}, mirror=Mirror(release="2"), timeouts=Timeouts(head=0.3))
        _ = await edge.show(edge.table(edge.pool(old), edge.pool(new, release="2"), target=target))
        assert (await ask(edge.url)).body == b"old:"
        pair = (await pairs(edge, 1))[0]
        assert await edge.engine.drained(edge.server(new).id, PATIENCE)
    assert told in pair.copied.problem
    assert pair.told.problem == ""


async def test_a_body_that_is_too_long_is_not_copied(mirroring: Edge) -> None:
    edge, old, new = mirroring, Upstream("old", echo), Upstream("new", echo)
    async with serving(old, new):
        await show(edge, old, new, "POST")
        before = (await edge.engine.figures()).unmirrored
        assert len((await ask(edge.url, "POST", body=b"x" * 100_000)).body) == 100_004
        assert (await edge.engine.figures()).unmirrored == before + 1
    assert new.asked == []
