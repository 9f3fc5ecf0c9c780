"""What holds while tables change: drains, aborts, and nothing lost; on every engine."""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import h11
import msgspec
import pytest

from hanse.control.edge_figures import Line
from hanse.control.edge_table import Pool, Table
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.engine import BuiltinEngine
from hanse.kernel.faults import CouldNotStart, Misconfigured

from .conftest import Edge
from .wire import PATIENCE, Exchange, Upstream, ask, connected, grows, serving, until


class Held(Upstream):
    """A server whose answers wait until they are let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name, self._holds)
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()

    async def _holds(self, exchange: Exchange) -> None:
        _ = await exchange.whole()
        self.begun.set()
        _ = await self.let_go.wait()
        await exchange.answer(200, self.name.encode())


async def test_a_server_is_drained_when_its_last_request_is_over(edge: Edge) -> None:
    held, other = Held("held"), Upstream("other")
    async with serving(held, other), asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        _ = await edge.show_one(held)
        asking = group.create_task(ask(edge.url))
        _ = await held.begun.wait()
        pool = Pool(service=edge.service, release="1", servers=(edge.server(held, "draining"), edge.server(other)))
        _ = await edge.show(edge.table(pool))
        assert [(await ask(edge.url)).body for _ in range(4)] == [b"other"] * 4
        assert not await edge.engine.drained(edge.server(held).id, 0.05)
        waiting = group.create_task(edge.engine.drained(edge.server(held).id, PATIENCE))
        held.let_go.set()
        assert await waiting
        assert (await asking).body == b"held"


async def test_what_is_under_way_at_a_server_goes_on_when_a_table_forgets_it(edge: Edge) -> None:
    held, other = Held("held"), Upstream("other")
    async with serving(held, other), asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        _ = await edge.show_one(held)
        asking = group.create_task(ask(edge.url))
        _ = await held.begun.wait()
        _ = await edge.show_one(other)
        assert (await ask(edge.url)).body == b"other"
        assert (await edge.engine.figures()).in_flight[edge.server(held).id] == 1
        held.let_go.set()
        assert (await asking).body == b"held"
    assert await edge.engine.drained(edge.server(held).id, PATIENCE)


async def test_who_waits_for_an_answer_is_told_until_it_comes(edge: Edge) -> None:
    if not edge.features.waiting:
        pytest.skip("it does not tell who waits")
    held = Held("held")
    async with serving(held), asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        _ = await edge.show_one(held)
        asking = group.create_task(ask(edge.url))
        _ = await held.begun.wait()
        (line,) = await waiting_at(edge)
        assert (line.key.server, line.counts.requests, sum(line.counts.buckets)) == (edge.server(held).id, 1, 1)
        held.let_go.set()
        assert (await asking).body == b"held"
    assert await waiting_at(edge) == []


async def waiting_at(edge: Edge) -> list[Line]:
    return [line for line in (await edge.engine.figures()).waiting if line.key.service == edge.service]


async def broken_off(url: str) -> bool:
    """Whether a request gets no answer, but for one of the edge's own that says so."""
    try:
        return (await ask(url)).status in {502, 503}
    except (h11.RemoteProtocolError, ConnectionError):
        return True


async def test_what_is_under_way_can_be_cut(edge: Edge) -> None:
    held = Held("held")
    async with serving(held), asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        _ = await edge.show_one(held)
        asking = group.create_task(broken_off(edge.url))
        _ = await held.begun.wait()
        assert await edge.engine.cut(edge.server(held).id) == 1
        assert await asking
        assert await edge.engine.drained(edge.server(held).id, PATIENCE)
        held.let_go.set()


async def test_no_request_fails_while_servers_are_drained_and_replaced(edge: Edge) -> None:
    """Each server stops as soon as it is drained, as a process that is told to end."""
    old, answers = Upstream("0"), list[int]()
    over = asyncio.Event()

    async def client(method: str) -> None:
        while not over.is_set():
            async with connected(edge.url) as connection:
                for _ in range(25):
                    answers.append((await connection.ask(method, "/")).status)

    async with serving(old), asyncio.timeout(PATIENCE):
        _ = await edge.show_one(old)
        async with asyncio.TaskGroup() as group:
            for method in ("GET", "POST", "POST"):
                _ = group.create_task(client(method))
            for number in range(1, 9):
                fresh = Upstream(str(number))
                await fresh.start()
                servers = (edge.server(old, "draining"), edge.server(fresh))
                _ = await edge.show(edge.table(Pool(service=edge.service, release="1", servers=servers)))
                assert await edge.engine.drained(edge.server(old).id, PATIENCE)
                await old.kill()
                await grows(answers, 40)
                old = fresh
            over.set()
        await old.kill()
    assert set(answers) == {200}
    assert len(answers) >= 320


async def test_after_an_abort_is_acknowledged_nothing_new_goes_there(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    over = asyncio.Event()

    async def client() -> None:
        async with connected(edge.url) as connection:
            while not over.is_set():
                _ = await connection.ask("GET", "/")

    async with serving(old, new), asyncio.timeout(PATIENCE):
        pools = edge.pool(old), edge.pool(new, release="2")
        for _ in range(5):
            _ = await edge.show(edge.table(*pools, target=edge.target({"2": 5_000, "1": 5_000})))
            over.clear()
            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    _ = group.create_task(client())
                await grows(new.asked, 20)
                _ = await edge.show(edge.table(*pools, target=edge.target({"2": 0, "1": 10_000})))
                assert await edge.engine.drained(edge.server(new).id, PATIENCE)
                late = len(new.asked)
                await grows(old.asked, 40)
                over.set()
            assert len(new.asked) == late


async def test_idle_connections_to_a_server_that_drains_are_closed(edge: Edge) -> None:
    one, other = Upstream("one"), Upstream("other")
    async with serving(one, other), asyncio.timeout(PATIENCE):
        _ = await edge.show_one(one)
        _ = await ask(edge.url)
        assert len(one.open) == 1
        pool = Pool(service=edge.service, release="1", servers=(edge.server(one, "draining"), edge.server(other)))
        _ = await edge.show(edge.table(pool))
        await until(lambda: not one.open)


async def test_a_table_that_does_not_fit_together_changes_nothing(edge: Edge) -> None:
    one = Upstream("one")
    async with serving(one):
        shown = await edge.show_one(one)
        with pytest.raises(Misconfigured, match="which is no target"):
            await edge.engine.apply(Table(revision=shown.revision + 1, routes=shown.routes))
        with pytest.raises(Misconfigured, match="expected a later table"):
            await edge.engine.apply(msgspec.structs.replace(shown, revision=shown.revision - 1))
        assert (await ask(edge.url)).body == b"one"
    assert (await edge.engine.figures()).revision == shown.revision


async def refused(url: str) -> bool:
    """Whether nobody listens any more; who is just about to stop may reset whoever comes, too."""
    try:
        async with connected(url):
            return False
    except ConnectionError:
        return True


async def test_an_engine_that_runs_is_taken_over_and_stops_when_its_work_is_done() -> None:
    held = Held("held")
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        place = Place(folder=Path(folder) / "run", port=0)
        first, second = BuiltinEngine(place), BuiltinEngine(place)
        url = await first.start()
        edge = Edge(first, url)
        async with (
            AsyncExitStack() as open_ones,
            serving(held),
            asyncio.timeout(PATIENCE),
            asyncio.TaskGroup() as group,
        ):
            _ = await edge.show_one(held)
            assert await second.start() == url
            idle = await open_ones.enter_async_context(connected(url))
            asking = group.create_task(ask(url))
            _ = await held.begun.wait()
            assert (await second.figures()).in_flight[edge.server(held).id] == 1
            stopping = group.create_task(first.stop(PATIENCE))
            while not await refused(url):
                pass
            assert await idle.reader.read() == b""
            held.let_go.set()
            answer = await asking
            await stopping
        assert (answer.body, answer.headers["connection"]) == (b"held", "close")
        assert not list(place.folder.glob("*.sock"))


async def test_each_request_has_a_line_of_log_where_the_place_says_so() -> None:
    one = Upstream("one")
    processes: list[asyncio.subprocess.Process] = []

    async def starts(command: Sequence[str]) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        processes.append(process)
        return process

    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = BuiltinEngine(Place(folder=Path(folder), port=0, access_log=True), starts)
        edge = Edge(engine, await engine.start())
        async with serving(one):
            _ = await edge.show_one(one)
            answer = await ask(edge.url, target="/users/7?secret=1")
        await engine.stop(0.0)
        _, told = await processes[0].communicate()
    line = next(line for line in map(json.loads, told.splitlines()) if line["logger"] == "hanse.access")
    assert line["message"].startswith("GET /users/7 200 ")
    assert (line["server"], line["http.response.status_code"]) == (edge.server(one).id, 200)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert b"secret" not in told


async def test_an_address_that_is_taken_is_told(edge: Edge) -> None:
    port = int(edge.url.rpartition(":")[2])
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = BuiltinEngine(Place(folder=Path(folder), port=port))
        with pytest.raises(CouldNotStart, match=f"cannot listen on http://127.0.0.1:{port}"):
            _ = await engine.start()
