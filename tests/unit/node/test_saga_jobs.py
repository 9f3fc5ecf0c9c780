"""Sagas that are jobs: each lives as long as the other, and to cancel the job has the saga turn back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.delivery.saga_machine import SagaAborted
from hanse.kernel.codec import codec_for
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.fault import fault_in
from hanse.node.app import App
from hanse.node.jobs import JOB_SECONDS_MAX, SAGA_LOOK_SECONDS, SAGA_SECONDS_MAX, STUCK_TEXT
from hanse.node.node import Node
from hanse.service.job import Job, Jobs, Standing
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service, descriptions_of
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore

pytestmark = pytest.mark.virtual_time

ADA = Headers(identity=Identity("ada"))


class Signed(Event):
    name: str


class World:
    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken = False


world = World()


class Bureau(Service, events=(Signed,)):
    @rpc
    @saga(timeout="30d", events=(Signed,))
    async def contract(self, s: Saga, name: str) -> str:
        _ = await s.step(self._draft, name).undo(self._shred)
        _ = await s.event(Signed, where=lambda event: event.name == name, timeout="20d")
        return await s.step(self._file, name)

    @rpc
    async def sign(self, name: str) -> None:
        await self.emit(Signed(name=name))

    async def _draft(self, name: str) -> str:
        world.done.append(f"draft {name}")
        return name

    async def _shred(self, name: str) -> None:
        world.done.append(f"shred {name}")

    async def _file(self, name: str) -> str:
        if world.broken:
            raise KeyError(name)
        world.done.append(f"file {name}")
        return f"filed {name}"


ARGUMENTS = {
    operation.address: operation.arguments
    for description in descriptions_of(Bureau)
    for operation in description.operations.values()
}


@pytest.fixture(autouse=True)
def _anew() -> None:
    world.__init__()  # type: ignore[misc]


@pytest.fixture
def make(tmp_path: Path, host: Host) -> Callable[[], Node]:
    def stores(url: str) -> Store:
        return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())

    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}", grace=2.0))
    return lambda: Node(App("bureau", Bureau), settings, host=host, stores=stores)


@pytest.fixture
async def node(make: Callable[[], Node]) -> AsyncIterator[Node]:
    async with make() as made:
        yield made


async def start(node: Node, name: str) -> Standing:
    kind = ARGUMENTS["bureau.contract"]
    body = codec_for(kind).encode(msgspec.convert({"name": name}, kind))
    with node.context(ADA):
        return await jobs(node).start("bureau.contract", body)


def jobs(node: Node) -> Jobs:
    return node.jobs("bureau")


async def cancel(node: Node, id: str) -> Standing:
    with node.context(ADA):
        return await jobs(node).cancel(id)


async def get(node: Node, id: str) -> Standing:
    with node.context(ADA):
        return await jobs(node).get(id)


async def asked_before(node: Node, id: str, seconds: float) -> None:
    """Have a job stand as if it had been asked for so long ago."""
    rows = node.hosted[0].jobs

    def older(job: Job | None) -> Job:
        job = rows.there(id, job)
        return msgspec.structs.replace(job, asked_at=job.asked_at - seconds)

    _ = await rows.change(id, older)


async def ended(node: Node, id: str) -> Standing:
    with node.context(ADA):
        return [standing async for standing in jobs(node).follow(id)][-1]


async def test_a_saga_that_is_cancelled_goes_back_over_its_steps_and_then_its_job_ends(node: Node) -> None:
    job = await start(node, "a")
    await asyncio.sleep(10.0)
    cancelling = await cancel(node, job.id)
    last = await ended(node, job.id)
    reply = last.reply()

    assert (cancelling.state, cancelling.ended, last.state) == ("cancelling", False, "cancelled")
    assert reply is not None
    assert isinstance(fault_in(reply), SagaAborted)
    assert world.done == ["draft a", "shred a"]
    [row] = await node.hosted[0].stored_sagas.newest(None, 10)
    steps = await node.hosted[0].stored_sagas.steps(row.id)
    assert (row.state, [step.by for step in steps if step.kind == "abort"]) == ("undone", ["/ada"])


async def test_a_job_that_is_cancelled_before_its_saga_begins_begins_none(make: Callable[[], Node]) -> None:
    async with make() as node:
        job = await start(node, "a")
        cancelled = await cancel(node, job.id)
        await asyncio.sleep(100.0)

        assert cancelled.state == "cancelled"
        assert world.done == []


async def test_a_saga_that_was_to_begin_as_its_process_died_does_not_once_its_job_is_cancelled(node: Node) -> None:
    rows = node.hosted[0].jobs
    job = await start(node, "a")
    _ = await cancel(node, job.id)
    # As it is where it was begun by a process that died before the saga was there.
    _ = await rows.change(
        job.id, lambda job: msgspec.structs.replace(rows.there("", job), state="cancelling", open=True, ended_at=0.0)
    )

    assert (await ended(node, job.id)).state == "cancelled"
    assert world.done == []


async def test_the_job_of_a_saga_lives_as_long_as_that_and_through_restarts(make: Callable[[], Node]) -> None:
    async with make() as one:
        job = await start(one, "a")
        await asyncio.sleep(10.0)
        await asked_before(one, job.id, 2 * JOB_SECONDS_MAX)
        await asyncio.sleep(2 * SAGA_LOOK_SECONDS)
        assert (await get(one, job.id)).state == "running"
        stopped = asyncio.get_running_loop().time()
    took = asyncio.get_running_loop().time() - stopped
    async with make() as two:
        await asyncio.sleep(100.0)
        await two.client(Bureau).sign("a")
        last = await ended(two, job.id)
        reply = last.reply()

        assert last.state == "done"
        assert reply is not None
        assert msgspec.msgpack.decode(reply.body) == "filed a"
        assert world.done == ["draft a", "file a"]
    assert took < 1.0


async def test_a_saga_that_was_done_as_its_job_was_cancelled_counts(node: Node) -> None:
    job = await start(node, "a")
    await asyncio.sleep(10.0)
    await node.client(Bureau).sign("a")
    await asyncio.sleep(0.01)
    cancelling = await cancel(node, job.id)

    assert (await ended(node, job.id)).state == "done"
    assert cancelling.state in {"cancelling", "done"}


async def test_the_job_of_a_saga_that_is_stuck_waits_until_somebody_has_mended_it(node: Node) -> None:
    world.broken = True
    job = await start(node, "a")
    await asyncio.sleep(10.0)
    await node.client(Bureau).sign("a")
    await asyncio.sleep(600.0)
    stuck = await get(node, job.id)
    world.broken = False
    [row] = await node.hosted[0].stored_sagas.newest(None, 10)
    _ = await node.hosted[0].stored_sagas.resume(row.id, by="ben")
    last = await ended(node, job.id)

    assert (stuck.state, stuck.text) == ("running", STUCK_TEXT)
    assert (last.state, last.text) == ("done", "")


async def test_the_job_of_a_saga_that_nobody_mends_ends_as_failed(node: Node) -> None:
    job = await start(node, "a")
    await asyncio.sleep(10.0)
    await asked_before(node, job.id, SAGA_SECONDS_MAX)
    assert (await ended(node, job.id)).state == "failed"
