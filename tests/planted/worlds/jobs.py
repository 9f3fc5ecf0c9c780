"""Jobs at a desk are asked for again and again, and a crew elsewhere does them: each as often as it was asked for."""

import asyncio
from collections import Counter

from hanse import App, Collection, Fault, Held, NotFound, Resource, Service, World, current, rpc, rule, simulation
from hanse.sim.setup import Setup

SECONDS = 20.0
RATE = 6.0
OLD_SECONDS = 5.0
NAMES = tuple(f"job-{number}" for number in range(6))


class Job(Resource):
    """How often it was asked for, and how often that has been done; open while the one is ahead of the other."""

    asked: int
    done: int = 0
    open: bool = True


class Board(Resource):
    """What the crew knows of a job, whose id it has: since when, and whether that is long ago."""

    asked: int
    at: float
    new: bool = True


class Clash(Resource):
    """Two runs of a rule were at the same row at once."""

    job: str


class Desk(Service, owns=(Job,)):
    jobs: Collection[Job]

    @rpc
    async def ask(self, id: str) -> Job:
        try:
            job = await self.jobs.get(id)
        except NotFound:
            return await self.jobs.create(Job(id=id, asked=1))
        # What is written rests on what was read: whoever asks meanwhile makes it a conflict.
        return await self.jobs.patch(id, asked=job.asked + 1, open=True)


class Tools(Service):
    @rpc(idempotent=True)
    async def use(self, job: str) -> None:
        await asyncio.sleep(current().host.chance.uniform(0.0, 0.4))


class Crew(Service):
    tools: Tools
    jobs: Collection[Job]
    boards: Collection[Board]
    clashes: Collection[Clash]

    async def started(self) -> None:
        self._busy: set[str] = set()

    @rule(Job, where=lambda job: job.open, every="1h", lease="5s", concurrency=3)
    async def work(self, job: Held[Job]) -> None:
        found = job.value
        if found.id in self._busy:
            await self.clashes.create(Clash(job=found.id))
            return
        self._busy.add(found.id)
        try:
            await self.tools.use(found.id)
            await job.patch(done=found.asked, open=False)
        finally:
            self._busy.discard(found.id)

    @rule(Job, every="1h", concurrency=3)
    async def post(self, job: Held[Job]) -> None:
        await self.tools.use(job.value.id)
        await self.boards.put(Board(id=job.value.id, asked=job.value.asked, at=current().host.now()))

    @rule(Board, where=lambda board: board.new, every="2s")
    async def age(self, board: Held[Board]) -> None:
        # Only a sweep looks at it again: time changes no row. A clock that jumped makes it old at once.
        if abs(current().host.now() - board.value.at) >= OLD_SECONDS:
            await board.patch(new=False)


setup = Setup(app=App("jobs", Desk, Tools, Crew))


async def story(world: World) -> None:
    answered = Counter[str]()
    world.always("whoever was answered is counted", lambda: answers_are_counted(world, answered))
    world.always("a job that is closed is done", lambda: closed_are_done(world))
    world.always("a job is worked on once at a time", lambda: nothing_clashed(world))
    world.eventually("every job is done", lambda: all_are_closed(world))
    world.eventually("the board shows what is asked for", lambda: boards_are_right(world))
    world.eventually("what is on the board grows old", lambda: boards_are_old(world))
    desk = world.client(Desk)
    async with asyncio.TaskGroup() as group:
        async for _ in world.arrivals(rate=RATE):
            group.create_task(ask(world, desk, answered, world.chance.choice(NAMES)))


async def ask(world: World, desk: Desk, answered: Counter[str], id: str) -> None:
    try:
        await desk.ask(id)
        answered[id] += 1
        world.sometimes("answered")
    except Fault:
        world.sometimes("no answer")


def answers_are_counted(world: World, answered: Counter[str]) -> None:
    asked = Counter({job.id: job.asked for job in world.rows(Job)})
    for id, times in answered.items():
        assert asked[id] >= times, f"{id} was asked for {times} times with success, and counts {asked[id]}"


def closed_are_done(world: World) -> None:
    for job in world.rows(Job):
        assert job.open or job.done == job.asked, f"{job.id} is closed: asked for {job.asked} times, done {job.done}"


def nothing_clashed(world: World) -> None:
    clashes = {clash.job for clash in world.rows(Clash)}
    assert not clashes, f"{', '.join(sorted(clashes))}: two runs at once"


def all_are_closed(world: World) -> None:
    still = [job.id for job in world.rows(Job) if job.open]
    assert not still, f"{', '.join(still)}: still open"


def boards_are_old(world: World) -> None:
    new = [board.id for board in world.rows(Board) if board.new]
    assert not new, f"{', '.join(new)}: never too old"


def boards_are_right(world: World) -> None:
    shown = {board.id: board.asked for board in world.rows(Board)}
    asked = {job.id: job.asked for job in world.rows(Job)}
    assert shown == asked, f"asked for is {asked}, the board shows {shown}"


@simulation(setup, seconds=SECONDS, sometimes=("answered", "no answer"))
async def jobs(world: World) -> None:
    await story(world)
