"""No acknowledged write is lost, neither one that a store told of nor one that an answer names."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest

from hanse import App, Collection, Fault, Resource, Service, World, rpc
from hanse.kernel.settings import NodeSettings, Settings
from hanse.sim.plan import LostFlush, Plan, PowerLoss
from hanse.sim.setup import Setup

Watch = Callable[..., list[str]]

NORMAL = Settings(node=NodeSettings(store="sqlite:///{service}.db"))
BRIEF = Settings(node=NodeSettings(store="sqlite:///{service}.db?synchronous=full", retention=600.0))


class Note(Resource):
    text: str = ""


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def write(self, id: str) -> Note:
        return await self.notes.put(Note(id=id))


class Boaster(Service, name="notes"):
    """Says that it has written what it has not."""

    notes: Collection[Note]

    @rpc
    async def write(self, id: str) -> Note:
        return Note(id=id, rev=1)


class Prophet(Service, name="notes"):
    """Names revisions that are still to come."""

    notes: Collection[Note]

    @rpc
    async def write(self, id: str) -> Note:
        return msgspec.structs.replace(Note(id=id), rev=1_000)


right = App("notes", Notes)


async def writing(world: World) -> None:
    notes = world.client(Notes)
    async for number in world.arrivals(rate=5.0):
        with suppress(Fault):
            _ = await notes.write(str(number))


def dark(*kinds: type[PowerLoss | LostFlush]) -> Plan:
    return tuple(kind(at=5.0, seconds=4.0, machine="notes") for kind in kinds)


def test_a_disk_that_did_not_flush_what_it_had_acknowledged_is_told(watch: Watch) -> None:
    [told] = watch(right, writing, plan=dark(LostFlush))
    assert told.startswith("acknowledged: notes.db on notes has lost what it had acknowledged, after the power cut")
    assert " more" in told


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("settings", [None, NORMAL])
def test_a_power_cut_takes_nothing_that_was_promised(watch: Watch, seed: int, settings: Settings | None) -> None:
    setup = Setup(app=right) if settings is None else Setup(app=right, settings=settings)
    assert watch(setup, writing, plan=dark(PowerLoss), seed=seed) == []


def test_what_is_gone_at_the_end_is_told_with_its_ids(watch: Watch) -> None:
    async def thief(world: World) -> None:
        note = await world.client(Notes).write("a")
        await world.advance("30s")
        _ = world.query(Notes, "DELETE FROM log WHERE seq = ?", note.rev)

    [told] = watch(right, thief)
    assert "in the end" in told
    assert "lacks 1 (notes 'a')" in told


def test_what_is_gone_after_the_end_of_a_process_is_told_once(watch: Watch) -> None:
    async def thief(world: World) -> None:
        _ = await world.client(Notes).write("a")
        _ = world.query(Notes, "UPDATE log SET message_id = 'another'")
        world.crash(Notes)

    [told] = watch(right, thief)
    assert "after the end of its process" in told


def test_an_answer_that_names_another_entry_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        _ = await world.collection(Note).create(Note(id="b"))
        _ = await world.client(Boaster).write("a")

    [told] = watch(App("notes", Boaster), story)
    assert "the answer to notes.write" in told
    assert "names notes 'a' at 1, but that entry is of notes 'b' in the log of notes.db on notes" in told


def test_an_answer_that_names_an_entry_to_come_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        _ = await world.client(Prophet).write("a")

    [told] = watch(App("notes", Prophet), story)
    assert "at 1000, but there is no such entry in the log of notes.db on notes, which reaches to 0" in told


def test_writes_through_a_collection_are_looked_up_as_well(watch: Watch) -> None:
    async def thief(world: World) -> None:
        rows = world.collection(Note)
        first = await rows.create(Note(text="a"))
        _ = await rows.patch(first.id, text="b")
        _ = world.query(Notes, "DELETE FROM log WHERE seq = ?", first.rev)

    [told] = watch(right, thief)
    assert "lacks 1 (notes " in told


def test_what_was_trimmed_may_be_gone(watch: Watch) -> None:
    async def story(world: World) -> None:
        first = await world.client(Notes).write("a")
        await asyncio.sleep(2 * 3600.0)
        assert world.query(Notes, "SELECT 1 FROM log WHERE seq = ?", first.rev) == []
        _ = await world.client(Notes).write("b")
        world.crash(Notes)

    assert watch(Setup(app=right, settings=BRIEF), story, seconds=3 * 3600.0) == []


def test_what_a_fake_answers_is_nobody_elses_business(watch: Watch) -> None:
    class Fake:
        async def write(self, id: str) -> Note:
            return Note(id=id, rev=7)

    async def story(world: World) -> None:
        world.fake(Notes, Fake())
        assert (await world.client(Notes).write("a")).rev == 7

    assert watch(right, story) == []


def test_rows_in_memory_are_not_looked_up(watch: Watch) -> None:
    in_memory = Settings(node=NodeSettings(store="memory:"))

    async def story(world: World) -> None:
        _ = await world.client(Notes).write("a")

    assert watch(Setup(app=right, settings=in_memory), story) == []
