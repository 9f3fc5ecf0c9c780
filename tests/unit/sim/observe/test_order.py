"""Messages of one key are handled in the order of the log that told of them."""

from collections.abc import Callable
from contextlib import suppress
from typing import cast

import pytest

from hanse import App, Collection, Event, Fault, Resource, Service, Terminal, World, current, on, rpc
from hanse.delivery.deadletter import DEAD_LETTERS
from hanse.service.unit import Unit, unit_for
from hanse.sim.setup import Setup
from hanse.store.base import Store

Watch = Callable[..., list[str]]


class Note(Resource):
    text: str = ""


class Written(Event):
    id: str


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def write(self, id: str) -> None:
        await self.notes.put(Note(id=id))
        await self.emit(Written(id=id))


class Heard(Resource):
    by: str


class Reader(Service):
    heard: Collection[Heard]

    @on(Written, key=lambda event: event.id[0], attempts=100)
    async def hear(self, event: Written) -> None:
        if event.id.endswith("!"):
            raise Terminal("it shouts")
        await self.heard.create(Heard(by="hear"))

    @on(Written, key=lambda event: event.id[0], group="together", attempts=100)
    async def listen(self, event: Written) -> None:
        await self.heard.create(Heard(by="listen"))

    @on(Note, group="together", attempts=100)
    async def watch(self, change: object) -> None:
        await self.heard.create(Heard(by="watch"))

    @rpc
    async def forget(self, letters: list[str]) -> None:
        unit = cast("Unit", unit_for(cast("Store", current().store)))
        for id in letters:
            unit.delete(DEAD_LETTERS, id, None)


class Late(Service, name="reader"):
    """Forgets to mark what it is told first, until it is told again."""

    async def started(self) -> None:
        self.told: set[str] = set()

    @on(Written, key=lambda event: event.id[0])
    async def hear(self, event: Written) -> None:
        if event.id == "a1" and event.id not in self.told:
            cast("Unit", current().work).marks.clear()
        self.told.add(event.id)


right = App("notes", Notes, Reader)


async def write(world: World, *ids: str) -> None:
    for id in ids:
        await world.client(Notes).write(id)
    await world.settle()


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("profile", ["hostile", "power"])
def test_right_subscribers_keep_the_order_on_bad_days(watch: Watch, seed: int, profile: str) -> None:
    async def story(world: World) -> None:
        async for number in world.arrivals(rate=4.0):
            with suppress(Fault):
                await world.client(Notes).write(f"{number % 3}{'!' if number % 10 == 0 else ''}")

    assert watch(Setup(app=right, dead_letters=True), story, plan=None, profile=profile, seed=seed) == []


def test_what_is_handled_after_its_successor_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        await write(world, "a1", "a2")
        world.crash(Notes)
        _ = world.query(Notes, "DELETE FROM positions")
        await world.restart(Notes)
        await world.settle()

    told = watch(App("notes", Notes, Late), story)
    assert told[0].startswith("order: reader.hear has handled 0")
    assert "entry 2 of notes.db on notes, after 0" in told[0]
    assert told[0].endswith("entry 4: both are of the key 'a', and this is not the order of the log")


def test_other_keys_are_in_no_order(watch: Watch) -> None:
    async def story(world: World) -> None:
        await write(world, "a1", "b2")
        world.crash(Notes)
        _ = world.query(Notes, "DELETE FROM positions")
        await world.restart(Notes)

    assert [one for one in watch(App("notes", Notes, Late), story) if one.startswith("order")] == []


def test_what_overtakes_a_dead_letter_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        await write(world, "a!")
        _ = world.query(Reader, "DELETE FROM 'rows:dead_letters'")
        await write(world, "b", "a")

    told = watch(Setup(app=right, dead_letters=True), story)
    assert "order: reader.hear has handled 0" in told[0]
    assert "which is of the key 'a' as well, is parked in reader.db on reader: it has to wait behind it" in told[0]


def test_nothing_waits_behind_a_dead_letter_that_was_taken_away(watch: Watch) -> None:
    async def story(world: World) -> None:
        await write(world, "a!", "a")
        letters = world.query(Reader, "SELECT id FROM 'rows:dead_letters'")
        assert len(letters) == 2
        await world.client(Reader).forget([str(id) for (id,) in letters])
        await write(world, "a")
        assert len(world.query(Reader, "SELECT id FROM 'rows:dead_letters'")) == 0

    told = watch(Setup(app=right, dead_letters=True), story)
    # That letters go and nothing says why is told of by who watches over them.
    assert [one for one in told if not one.startswith("letters: ")] == []
