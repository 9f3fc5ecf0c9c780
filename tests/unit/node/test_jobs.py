"""Calls that are answered later: once in effect, whoever dies in between, and only for who asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.guard import scope
from hanse.contract.model import Resource, collection_of
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import Fault, Forbidden, Invalid, NotFound, Overloaded, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity, Kind
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.fault import fault_in
from hanse.node.app import App
from hanse.node.jobs import AT_ONCE_MAX, BEGUN_MAX, JOB_SECONDS_MAX
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.job import KEPT_SECONDS, OPEN_MAX, Job, Jobs, Standing, progress
from hanse.service.service import Service, descriptions_of
from hanse.store.base import Store
from hanse.store.query import PAGE_MAX
from hanse.store.sqlite import InlineDesk, SqliteStore

pytestmark = pytest.mark.virtual_time


class Line(Resource):
    text: str


class Broken(Fault, status=422):
    """It cannot be printed."""


class Printer(Service):
    lines: Collection[Line]

    async def started(self) -> None:
        self.away = 0
        self.tries = 0
        self.ended = 0
        self.let = asyncio.Event()

    @rpc
    async def print(self, text: str, pages: int = 1) -> int:
        self.tries += 1
        if self.away:
            self.away -= 1
            raise Unavailable("no paper")
        if text == "bad":
            raise Broken
        try:
            for page in range(pages):
                await progress(page / pages, f"page {page + 1}")
                await asyncio.sleep(1.0)
            await self.lines.create(Line(text=text))
        finally:
            self.ended += 1
        return pages

    @rpc(allow=scope("print:secret"))
    async def secret(self) -> None:
        """Only for some."""


ARGUMENTS = {
    operation.address: operation.arguments
    for description in descriptions_of(Printer)
    for operation in description.operations.values()
}
ADA, BEN = Headers(identity=Identity("ada")), Headers(identity=Identity("ben"))


def body(address: str = "printer.print", **arguments: object) -> bytes:
    kind = ARGUMENTS[address]
    return codec_for(kind).encode(msgspec.convert(arguments, kind))


class Office:
    """A node with the printer, and one that asks as Ada."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.jobs: Jobs = node.jobs("printer")

    @property
    def printer(self) -> Printer:
        found = self.node.hosted[0].instance
        assert isinstance(found, Printer)
        return found

    async def start(self, address: str = "printer.print", *, headers: Headers = ADA, **arguments: object) -> Standing:
        with self.node.context(headers):
            return await self.jobs.start(address, body(address, **arguments))

    async def get(self, id: str, headers: Headers = ADA) -> Standing:
        with self.node.context(headers):
            return await self.jobs.get(id)

    async def ended(self, id: str) -> Standing:
        with self.node.context(ADA):
            return [standing async for standing in self.jobs.follow(id)][-1]

    async def printed(self) -> list[str]:
        return [line.text async for line in self.node.collection(Line).scan()]


def file_of(url: str) -> Store:
    return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())


def node_of(folder: Path, host: Host) -> Node:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{folder}", grace=2.0))
    return Node(App("office", Printer), settings, host=host, stores=file_of)


@pytest.fixture
async def office(host: Host) -> AsyncIterator[Office]:
    async with Node(App("office", Printer), Settings(node=NodeSettings(grace=2.0)), host=host) as node:
        yield Office(node)


async def test_what_cannot_be_a_job_is_refused_at_once(office: Office) -> None:
    with pytest.raises(UnknownOperation, match=r"'printer\.paint'"):
        await office.jobs.start("printer.paint", b"\x80")
    with pytest.raises(Invalid, match="text"):
        await office.jobs.start("printer.print", b"\x80")
    with pytest.raises(Forbidden, match="needs the scope print:secret"):
        await office.start("printer.secret")


async def test_a_job_of_somebody_else_is_not_there(office: Office) -> None:
    job = await office.start(text="a")

    for ask in (office.jobs.get, office.jobs.cancel):
        with pytest.raises(NotFound), office.node.context(BEN):
            await ask(job.id)
    with pytest.raises(NotFound), office.node.context(BEN):
        _ = [standing async for standing in office.jobs.follow(job.id)]
    with pytest.raises(NotFound), office.node.context(ADA):
        await office.jobs.get("nothing")


async def test_a_job_is_done_and_tells_how_far_it_is(office: Office) -> None:
    job = await office.start(text="a", pages=4)
    with office.node.context(ADA):
        told = [(one.state, one.progress, one.text) async for one in office.jobs.follow(job.id)]

    assert job.state == "waiting"
    assert [progress for state, progress, _ in told if state == "running" and progress >= 0] == [0.0, 0.25, 0.5, 0.75]
    assert told[-1] == ("done", 1.0, "page 4")
    reply = (await office.get(job.id)).reply()
    assert reply is not None
    assert msgspec.msgpack.decode(reply.body) == 4
    assert await office.printed() == ["a"]


async def test_a_call_that_is_no_job_tells_nobody_how_far_it_is(office: Office) -> None:
    assert await office.node.client(Printer).print("a", 2) == 2
    assert await office.node.hosted[0].jobs.count() == 0


async def test_who_asked_is_stored_in_the_same_bytes_everywhere(office: Office) -> None:
    """The scopes are a set, and where a text lies in it depends on the process."""
    scopes = [f"scope-{number:02}" for number in range(20)]
    _ = await office.start(headers=Headers(identity=Identity("ada", scopes=frozenset(scopes))), text="a")
    [stored] = (await office.node.hosted[0].store.changes(0, limit=1, names=(collection_of(Job),))).entries

    assert stored.after is not None
    assert sorted(scopes, key=stored.after.decode().index) == scopes


async def test_what_a_job_fails_with_is_kept(office: Office) -> None:
    last = await office.ended((await office.start(text="bad")).id)

    reply = last.reply()
    assert last.state == "failed"
    assert reply is not None
    assert reply.kind is Kind.FAULT
    assert isinstance(fault_in(reply, [Broken]), Broken)


async def test_who_is_away_is_asked_again_until_it_is_there(office: Office) -> None:
    office.printer.away = 9
    last = await office.ended((await office.start(text="a")).id)

    assert (last.state, office.printer.tries) == ("done", 10)
    assert await office.printed() == ["a"]


async def test_a_job_ends_as_failed_where_nobody_comes_back_within_a_day(office: Office) -> None:
    office.printer.away = 10**9
    last = await office.ended((await office.start(text="a")).id)

    assert last.state == "failed"
    assert JOB_SECONDS_MAX <= last.ended_at - last.asked_at < JOB_SECONDS_MAX + 301.0


async def test_a_job_that_is_cancelled_ends_its_handler_and_leaves_nothing(office: Office) -> None:
    job = await office.start(text="a", pages=100)
    await asyncio.sleep(3.5)
    with office.node.context(ADA):
        cancelled = await office.jobs.cancel(job.id)
        again = await office.jobs.cancel(job.id)
    await asyncio.sleep(1.0)

    assert (cancelled.state, cancelled) == ("cancelled", again)
    assert (await office.get(job.id)).state == "cancelled"
    assert (office.printer.tries, office.printer.ended) == (1, 1)
    assert await office.printed() == []


async def test_a_job_that_has_ended_is_not_cancelled(office: Office) -> None:
    job = await office.ended((await office.start(text="a")).id)
    with office.node.context(ADA):
        assert await office.jobs.cancel(job.id) == job


async def test_what_is_too_much_at_once_waits(office: Office) -> None:
    jobs = [await office.start(text=str(number)) for number in range(AT_ONCE_MAX + 20)]
    await asyncio.sleep(0.5)
    states = [(await office.get(job.id)).state for job in jobs]
    for job in jobs:
        assert (await office.ended(job.id)).state == "done"

    assert (states.count("running"), states.count("waiting")) == (AT_ONCE_MAX, 20)
    assert len(await office.printed()) == AT_ONCE_MAX + 20


async def test_jobs_are_forgotten_a_day_after_their_end(office: Office) -> None:
    job = await office.ended((await office.start(text="a")).id)
    await asyncio.sleep(KEPT_SECONDS)
    waiting = await office.start(text="b", pages=10_000)
    await asyncio.sleep(3601.0)

    with pytest.raises(NotFound):
        await office.get(job.id)
    assert (await office.get(waiting.id)).state == "running"


async def test_a_job_outlives_its_node_and_takes_effect_once(tmp_path: Path, host: Host) -> None:
    async with node_of(tmp_path, host) as node:
        first = Office(node)
        job = await first.start(text="a", pages=60)
        await asyncio.sleep(5.0)
        running = (await first.get(job.id)).state
    async with node_of(tmp_path, host) as node:
        second = Office(node)
        last = await second.ended(job.id)

        assert (running, last.state) == ("running", "done")
        assert await second.printed() == ["a"]
        [row] = (await node.hosted[0].jobs.find()).items
        assert row.attempts == 1


async def altered(node: Node, id: str, **fields: object) -> None:
    """Have a job stand as a crash may have left it."""
    jobs = node.hosted[0].jobs
    _ = await jobs.change(id, lambda job: msgspec.structs.replace(jobs.there(id, job), **fields))


async def test_a_job_whose_answer_was_not_noted_is_not_done_twice(office: Office) -> None:
    job = await office.ended((await office.start(text="a")).id)
    await altered(office.node, job.id, state="running", open=True, ended_at=0.0, answer=b"")
    again = await office.ended(job.id)

    assert again.state == "done"
    assert again.answer
    assert (await office.printed(), office.printer.tries) == (["a"], 1)


async def test_a_job_that_kills_its_processes_is_given_up(tmp_path: Path, host: Host) -> None:
    async with node_of(tmp_path, host) as node:
        job = await Office(node).start(text="a", pages=1_000)
        await asyncio.sleep(1.0)
    async with node_of(tmp_path, host) as node:
        await altered(node, job.id, attempts=BEGUN_MAX)
        await asyncio.sleep(1.0)
    async with node_of(tmp_path, host) as node:
        last = await Office(node).ended(job.id)
        reply = last.reply()

        assert last.state == "failed"
        assert reply is not None
        assert "5 processes died while they ran printer.print" in str(fault_in(reply, ()))
        assert Office(node).printer.tries == 0


async def test_there_are_only_so_many_jobs_that_have_not_ended(office: Office) -> None:
    jobs = office.node.hosted[0].jobs
    for number in range(OPEN_MAX):
        _ = await jobs.create(Job(id=str(number), address="printer.print", body=body(text="a"), caller="/ben"))

    with pytest.raises(Overloaded, match="10000 jobs"):
        await office.start(text="a")


async def test_old_jobs_are_forgotten_however_many_there_are(office: Office) -> None:
    jobs = office.node.hosted[0].jobs
    for number in range(2 * PAGE_MAX + 1):
        _ = await jobs.create(Job(id=str(number), address="x", body=b"", state="done", open=False, ended_at=1.0))
    await asyncio.sleep(KEPT_SECONDS + 3601.0)

    assert await jobs.count() == 0
