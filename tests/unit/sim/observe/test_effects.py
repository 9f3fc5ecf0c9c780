"""No event takes effect twice, none is lost, and no dead letter comes from nowhere."""

from collections.abc import Callable
from contextlib import suppress
from typing import cast

import msgspec
import pytest

from hanse import App, Change, Collection, Event, Fault, Resource, Service, Terminal, World, current, on, rpc
from hanse.delivery.relay import SAVE_SECONDS
from hanse.kernel.settings import NodeSettings, ServiceSettings, Settings
from hanse.service.unit import Unit
from hanse.sim.plan import Kill, Repeat
from hanse.sim.setup import STORE, Setup
from hanse.store.base import Mark

Watch = Callable[..., list[str]]


class Note(Resource):
    text: str = ""


class Written(Event):
    id: str


class Counted(Resource):
    id: str = ""


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def write(self, id: str) -> None:
        await self.notes.put(Note(id=id))
        await self.emit(Written(id=id))


class Counter(Service):
    counted: Collection[Counted]

    @on(Written)
    async def hear(self, event: Written) -> None:
        await self.counted.create(Counted())

    @on(Note, group="watchers")
    async def see(self, change: Change[Note]) -> None:
        await self.counted.create(Counted())


class Forgetful(Service, name="counter"):
    """Commits what it did without a mark."""

    counted: Collection[Counted]

    @on(Written)
    async def hear(self, event: Written) -> None:
        await self.counted.create(Counted())
        cast("Unit", current().work).marks.clear()


class Mistaken(Service, name="counter"):
    """Marks another message than the one that it was given."""

    @on(Written)
    async def hear(self, event: Written) -> None:
        cast("Unit", current().work).marks[:] = [Mark("counter.hear", "another")]


class Stubborn(Service, name="counter"):
    """Cannot be told anything."""

    @on(Written, key=lambda event: "all")
    async def hear(self, event: Written) -> None:
        raise Terminal("no")


right = App("notes", Notes, Counter)


async def write_two(world: World) -> None:
    for id in ("a", "b"):
        await world.client(Notes).write(id)
    await world.settle()


async def begin_anew(world: World) -> None:
    """The relays of the notes forget how far they had come."""
    world.crash(Notes)
    _ = world.query(Notes, "DELETE FROM positions")
    await world.restart(Notes)
    await world.settle()


@pytest.mark.parametrize("seed", range(4))
def test_repeats_that_are_told_apart_are_all_right(watch: Watch, seed: int) -> None:
    async def story(world: World) -> None:
        await write_two(world)
        await begin_anew(world)
        world.eventually("each counted once", lambda: len(world.rows(Counted)) == 4)

    assert watch(right, story, plan=(Repeat(at=0.0, seconds=20.0, machine="counter", share=1.0),), seed=seed) == []


def test_a_mark_that_is_made_twice_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        await write_two(world)
        _ = world.query(Counter, "DELETE FROM marks WHERE scope = 'counter.hear'")
        await begin_anew(world)

    [told] = watch(right, story)
    assert told.startswith("effects: counter.hear has handled 0")
    assert told.endswith("twice: its mark was made anew in counter.db on counter")


def test_effects_without_a_mark_may_come_once(watch: Watch) -> None:
    async def story(world: World) -> None:
        await write_two(world)
        await begin_anew(world)

    told = watch(App("notes", Notes, Forgetful), story)
    assert "has taken effect 2 times in counter.db on counter, where 1 of its handlers may write: see the" in told[0]


def test_what_is_never_marked_was_never_handled(watch: Watch) -> None:
    [told] = watch(App("notes", Notes, Forgetful), write_two)
    assert told.startswith("effects: counter.hear has never handled 0")
    assert "(entry 4 of notes.db on notes), and has not parked it: expected a mark of 'counter.hear'" in told


def test_what_a_relay_skips_is_told_for_each_group(watch: Watch) -> None:
    async def story(world: World) -> None:
        await write_two(world)
        # Until the relays have saved their positions.
        await world.advance(2 * SAVE_SECONDS)
        world.crash(Notes)
        _ = world.query(Notes, "UPDATE positions SET seq = 6")
        await world.restart(Notes)
        await world.advance("5s")
        await world.client(Notes).write("c")

    told = watch(right, story)
    assert ["counter.hear has never" in told[0], "counter.see has never" in told[1]] == [True, True]
    assert "(entry 5 of notes.db on notes)" in told[1]


def test_a_mark_of_what_was_never_told_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        await world.client(Notes).write("a")

    told, never = watch(App("notes", Notes, Mistaken), story)
    assert "counter.hear has handled another, of which no log tells" in told
    assert "has never handled 0" in never


def test_where_a_log_is_in_memory_nobody_can_say_what_it_told(watch: Watch) -> None:
    settings = Settings(node=NodeSettings(store=STORE), services={"notes": ServiceSettings(store="memory:")})

    async def story(world: World) -> None:
        await write_two(world)
        assert len(world.rows(Counted)) == 4

    assert watch(Setup(app=right, settings=settings), story) == []


def test_a_dead_letter_is_told_with_what_parked_it(watch: Watch) -> None:
    [told] = watch(App("notes", Notes, Stubborn), write_two)
    assert "counter.db on counter has 2 dead letters: counter.hear parked written 0" in told
    assert "(terminal: no), counter.hear parked written 0" in told
    assert "(it waits for 0" in told


def test_dead_letters_may_be_all_right(watch: Watch) -> None:
    assert watch(Setup(app=App("notes", Notes, Stubborn), dead_letters=True), write_two) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"attempts": 7}, "it tells of 7 attempts at 0"),
        ({"attempts": 0}, "it tells of 0 attempts at 0"),
        ({"waits_for": "nobody"}, "it waits for nobody, which never was"),
    ],
)
def test_a_dead_letter_without_a_cause_is_told(watch: Watch, change: dict[str, object], problem: str) -> None:
    async def story(world: World) -> None:
        await world.client(Notes).write("a")
        await world.settle()
        [(value,)] = world.query(Stubborn, "SELECT value FROM 'rows:dead_letters'")
        letter = msgspec.json.decode(cast("str", value)) | change
        _ = world.query(Stubborn, "UPDATE 'rows:dead_letters' SET value = ?", msgspec.json.encode(letter).decode())

    [told] = watch(Setup(app=App("notes", Notes, Stubborn), dead_letters=True), story)
    assert "has no cause" in told
    assert problem in told


def test_a_service_whose_place_a_fake_took_has_nothing_left_to_handle(watch: Watch) -> None:
    async def story(world: World) -> None:
        await write_two(world)
        world.fake(Notes, Fake())

    class Fake:
        async def write(self, id: str) -> None: ...

    assert watch(right, story) == []


def test_what_dies_with_a_process_is_handled_by_the_next(watch: Watch) -> None:
    plan = tuple(Kill(at=0.5 * n, seconds=0.3, machine=("notes", "counter")[n % 2]) for n in range(1, 20))

    async def story(world: World) -> None:
        for number in range(10):
            await world.advance("1s")
            await world.restart(Notes)
            with suppress(Fault):
                await world.client(Notes).write(str(number))

    assert watch(right, story, plan=plan) == []
