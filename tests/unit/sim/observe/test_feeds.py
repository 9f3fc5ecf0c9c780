"""Feeds have no gaps, tell nothing twice, and can be resumed; what a wrong one tells is noticed."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial

import msgspec
import pytest

from hanse import App, Collection, Fault, Resource, Service, World, rpc
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.server import Server
from hanse.node.bind import endpoint
from hanse.service.rows import Line, rows_contract
from hanse.sim.observe.feeds import MACHINE
from hanse.sim.plan import PowerLoss
from hanse.sim.setup import Setup
from hanse.sim.transport import SimTransport
from hanse.store.memory import MemoryStore
from hanse.store.query import Where

Watch = Callable[..., list[str]]
Tells = Callable[[str], list[Line]]
"""What a feed tells, given the id of the log."""

NORMAL = Settings(node=NodeSettings(store="sqlite:///{service}.db"))
BRIEF = Settings(node=NodeSettings(store="sqlite:///{service}.db?synchronous=full", retention=600.0))


class Note(Resource):
    text: str = ""
    tags: frozenset[str] = frozenset()


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def write(self, id: str, text: str) -> None:
        await self.notes.put(Note(id=id, text=text, tags=frozenset({"some", "more", text})))

    @rpc
    async def remove(self, id: str) -> None:
        await self.notes.delete(id)


right = App("notes", Notes)


async def writing(world: World, rate: float = 5.0) -> None:
    notes = world.client(Notes)
    async for number in world.arrivals(rate):
        with suppress(Fault):
            if number % 3:
                await notes.write(str(number % 7), f"{number}")
            else:
                await notes.remove(str(number % 7))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("profile", ["hostile", "power"])
def test_right_feeds_are_right_on_bad_days(watch: Watch, seed: int, profile: str) -> None:
    assert watch(right, writing, plan=None, profile=profile, seed=seed) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_feed_starts_anew_where_a_power_cut_shortened_its_log(watch: Watch, seed: int) -> None:
    plan = tuple(PowerLoss(at=4.0 * n, seconds=1.0, machine="notes") for n in range(1, 5))
    assert watch(Setup(app=right, settings=NORMAL), writing, plan=plan, seed=seed) == []


@pytest.mark.parametrize("seed", [0, 26])
def test_what_was_told_and_then_lost_in_a_power_cut_is_no_mistake(watch: Watch, seed: int) -> None:
    """It may still be on its way when the log has lost it, and whoever was told it learns of that much later."""
    plan = tuple(PowerLoss(at=float(second), seconds=0.3, machine="notes") for second in range(1, 8))
    often = partial(writing, rate=40.0)
    assert watch(Setup(app=right, settings=NORMAL), often, plan=plan, seed=seed, seconds=9.0) == []


def test_a_feed_starts_anew_where_its_log_was_trimmed(watch: Watch) -> None:
    async def story(world: World) -> None:
        links = world.net.links_of(MACHINE, ["notes"])
        await world.client(Notes).write("0", "first")
        await world.advance("1m")
        world.net.cut(links)
        for number in range(10):
            await world.client(Notes).write(str(number % 3), str(number))
        await world.advance("3h")
        assert world.query(Notes, "SELECT 1 FROM log") == []
        world.net.mend(links)
        await world.client(Notes).write("1", "last")

    assert watch(Setup(app=right, settings=BRIEF), story, seconds=4 * 3600.0) == []


class Wrong:
    """Serves the feed as a test has it."""

    def __init__(self, tells: list[Line]) -> None:
        self.tells = tells

    async def follow(
        self, where: Where | None = None, after: str = "", *, snapshot: bool = True, caught_up: bool = False
    ) -> AsyncIterator[Line]:
        for line in self.tells:
            yield line


def instead(world: World, tells: Tells) -> None:
    """Have the feed of the notes served by another, to whoever comes back to it."""
    [(log_id,)] = world.query(Notes, "SELECT value FROM meta WHERE name = 'log_id'")
    operation = rows_contract(Note).operations["follow"]
    server = Server(world.host, calls_max=10)
    server.add(operation.address, endpoint(operation, Wrong(tells(str(log_id))).follow, MemoryStore()))
    world.crash(Notes)
    world.net.forget("rows/notes")
    SimTransport(world.net, world.loop.home).listen("rows/notes", server)


def line(event: str, log: str, seq: int, id: str = "", *, text: str = "") -> Line:
    value = f'{{"id":"","rev":0,"text":"{text}","tags":[]}}'.encode()
    return Line(event, f"{log}.{seq}" if seq else "", id, seq, value, value, 0)


WRONG_FEEDS: dict[str, tuple[Tells, str]] = {
    "a reset without a cause": (
        lambda log: [Line("reset"), line("existing", log, 0, "x"), line("ready", log, 9), line("existing", log, 0)],
        "starts anew, and position 2 is still in the log of notes.db on notes",
    ),
    "what is there once all was told": (
        lambda log: [line("existing", log, 0, "x")],
        "tells of 'x' as existing after position 2",
    ),
    "a gap": (
        lambda log: [line("created", log, 4, "d")],
        "told of 'd', created at 4, after position 2; the log of notes.db on notes has 'c', created at 3, 'd',",
    ),
    "another row": (
        lambda log: [line("created", log, 3, "d")],
        "told of 'd', created at 3, after position 2; the log of notes.db on notes has 'c', created at 3",
    ),
    "an entry to come": (
        lambda log: [line("created", log, 7, "x")],
        "told of 'x', created at 7, after position 2; the log",
    ),
    "twice": (
        lambda log: [line("created", log, 3, "c"), line("created", log, 3, "c")],
        "told of 'c', created at 3, after position 3: again, or in another order than the log's",
    ),
    "another log": (
        lambda log: [line("created", "another", 3, "c"), line("created", log, 3, "c")],
        "told of 'c', created at 3, after position 3 in another log, without a Reset",
    ),
    "no cursor": (
        lambda log: [msgspec.structs.replace(line("created", log, 3, "c"), cursor="nonsense")],
        "cannot be read after position 2: ValueError: invalid literal for int() with base 10: 'nonsense'",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_FEEDS)
def test_a_wrong_feed_is_told(watch: Watch, wrong: str) -> None:
    tells, problem = WRONG_FEEDS[wrong]

    async def story(world: World) -> None:
        for id in ("a", "b"):
            await world.client(Notes).write(id, id)
        await world.advance("30s")
        # Nobody hears of the other two.
        links = world.net.links_of(MACHINE, ["notes"])
        world.net.cut(links)
        for id in ("c", "d"):
            await world.client(Notes).write(id, id)
        await world.advance("10s")
        instead(world, tells)
        world.net.mend(links)
        await world.advance("60s")

    told = watch(right, story)
    assert told[0].startswith("feeds: the feed of notes ")
    assert problem in told[0]


def test_what_comes_while_rows_are_read_has_to_be_in_the_log(watch: Watch) -> None:
    async def story(world: World) -> None:
        await world.client(Notes).write("a", "a")
        world.net.cut(world.net.links_of(MACHINE, ["notes"]))
        await world.client(Notes).write("b", "b")
        await world.advance("10s")
        _ = world.query(Notes, "UPDATE meta SET value = 'another' WHERE name = 'log_id'")
        instead(world, lambda log: [Line("reset"), line("created", log, 2, "b"), line("created", log, 2, "c")])
        world.net.mend(world.net.links_of(MACHINE, ["notes"]))
        await world.advance("60s")

    told = watch(right, story)
    problem = "told of 'c', created at 2, and the log of notes.db on notes has no such entry"
    assert told[0] == f"feeds: the feed of notes {problem}"


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM 'rows:notes' WHERE id = 'a'", "'a', which is no row"),
        ("UPDATE 'rows:notes' SET rev = 7 WHERE id = 'a'", "'a' at 1, not at 7"),
        ("UPDATE 'rows:notes' SET id = 'c' WHERE id = 'a'", "'a', which is no row, nothing of the row 'c' at 1"),
        ("UPDATE 'rows:notes' SET value = '{\"text\":\"z\"}' WHERE id = 'a'", 'not {"text":"z"}'),
        ('UPDATE \'rows:notes\' SET value = \'{"tags":["more","a","some"]}\' WHERE id = \'a\'', ""),
    ],
)
def test_who_follows_has_the_rows_in_the_end(watch: Watch, statement: str, problem: str) -> None:
    async def story(world: World) -> None:
        for id in ("a", "b"):
            await world.client(Notes).write(id, id)
        await world.advance("30s")
        _ = world.query(Notes, statement)

    told = watch(right, story)
    assert [one.startswith("feeds: who follows notes has in the end ") for one in told] == [True] * bool(problem)
    assert problem in "".join(told)


def test_a_feed_that_stands_still_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        await world.client(Notes).write("a", "a")
        await world.advance("30s")
        names = "at, op, name, id, message_id, before_rev, headers, before, after"
        _ = world.query(Notes, f"INSERT INTO log SELECT 2, {names} FROM log")

    told = watch(right, story)
    assert told[0].startswith(
        "feeds: the feed of notes has not told of the entries 2, which have been in the log since"
    )
