"""Every row is linearizable, whoever asks for it; owners that are careless about that are found."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import msgspec
import pytest

from hanse import App, Collection, Conflict, Event, Fault, NotFound, Resource, Service, World, policy, rpc
from hanse.kernel.codec import encode, encode_json
from hanse.kernel.context import Context, current
from hanse.kernel.message import Kind, Message
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import Caller
from hanse.mesh.server import Endpoint, Server
from hanse.node.bind import endpoint
from hanse.node.hosted import rows_client
from hanse.service.local import LocalCollection
from hanse.service.rows import PatchForm, Rows, RowsOf, Written, rows_contract
from hanse.service.shape import schema_of
from hanse.sim.disk import DiskDesk
from hanse.sim.lane import Lane
from hanse.sim.machine import host_of
from hanse.sim.observe.linearizable import Linearizable
from hanse.sim.setup import Setup
from hanse.sim.simulation import Story
from hanse.sim.transport import SimTransport
from hanse.store.base import Batch, Put, Row, Store
from hanse.store.sqlite.store import SqliteStore

Watch = Callable[..., list[str]]

NORMAL = Settings(node=NodeSettings(store="sqlite:///{service}.db"))


class Note(Resource):
    text: str = ""
    edits: int = 0


class Counted(Event):
    id: str


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def count(self, id: str) -> Note:
        note = await self.notes.get(id)
        await self.emit(Counted(id=id))
        return await self.notes.patch(id, edits=note.edits + 1)


class Clock(Service):
    """Has no rows."""


app = App("notes", Notes, Clock)


class Careless(RowsOf[Note]):
    """Serves the rows of the file by itself; what is wrong with it is in those that derive from it."""

    forgets_keys = False

    def __init__(self, store: Store, lane: Lane) -> None:
        super().__init__(LocalCollection(Note, store), store, {})
        self.store: Store = store
        self.lane: Lane = lane

    async def commit(self, id: str, value: bytes, context: Context | None = None) -> Written:
        """Write without asking what is there."""
        context = context or current()
        headers = msgspec.structs.replace(context.headers, causation_id=context.message_id)
        batch = Batch(context.host.now(), (Put("notes", id, value, context.host.new_id()),), headers=headers)
        [rev] = await self.store.commit(batch)
        return Written(id, rev, value)


async def take_over(world: World, kind: type[Careless]) -> None:
    """Have another owner answer for the notes, on their machine, from their file."""
    machine = world.machine_of(Notes)
    lane = cast("Lane", machine.lane)
    store = SqliteStore(
        "notes.db", synchronous="full", desk=DiskDesk(machine.disk, "notes.db", lane), disk=machine.disk
    )
    await store.open([schema_of(Note)])
    host = host_of(lane, chance=(world.seed, "careless", 0), wall=machine.wall)
    rows, server = kind(store, lane), Server(host, calls_max=100)
    for name, operation in rows_contract(Note).operations.items():
        bound = endpoint(operation, getattr(rows, name), store)
        server.add(operation.address, without_keys(bound) if kind.forgets_keys else bound)
    world.net.forget("rows/notes")
    SimTransport(world.net, lane).listen("rows/notes", server)


def without_keys(bound: Endpoint) -> Endpoint:
    def run(context: Context, message: Message) -> Awaitable[object]:
        assert bound.run is not None
        return bound.run(context, message.with_headers(msgspec.structs.replace(message.headers, idempotency_key="")))

    return msgspec.structs.replace(bound, run=run) if bound.run is not None else bound


class Stale(Careless):
    """Answers with what it has read once."""

    async def get(self, id: str) -> Row:
        self.copies: dict[str, Row] = getattr(self, "copies", {})
        if id not in self.copies:
            self.copies[id] = await super().get(id)
        return self.copies[id]


class Blind(Careless):
    """Does not see what is there."""

    async def get(self, id: str) -> Row:
        raise NotFound("note", id)


class Mixed(Careless):
    """Answers with another row."""

    async def get(self, id: str) -> Row:
        return msgspec.structs.replace(await super().get(id), id="another")


class Painter(Careless):
    """Answers with another value."""

    async def get(self, id: str) -> Row:
        return msgspec.structs.replace(await super().get(id), value=b'{"id":"a","rev":1,"text":"painted"}')


class Hasty(Careless):
    """Answers first, and commits then."""

    async def put(self, id: str, value: bytes, if_match: int | None = None) -> Written:
        _ = self.lane.start(self.commit(id, value, current()), "later")
        return Written(id, await self.store.head() + 1, value)


class Unchecked(Careless):
    """Takes any revision for the right one."""

    async def patch(
        self, id: str, changes: bytes, if_match: int | None = None, *, form: PatchForm = "merge"
    ) -> Written:
        row = await super().get(id)
        return await self.commit(id, encode_json({**msgspec.json.decode(row.value), **msgspec.json.decode(changes)}))


class Slow(Careless):
    """Patches what it has read some time ago."""

    async def patch(
        self, id: str, changes: bytes, if_match: int | None = None, *, form: PatchForm = "merge"
    ) -> Written:
        row = await super().get(id)
        await asyncio.sleep(1.0)
        return await self.commit(id, encode_json({**msgspec.json.decode(row.value), **msgspec.json.decode(changes)}))


class Twice(Careless):
    """Writes, and writes again."""

    async def put(self, id: str, value: bytes, if_match: int | None = None) -> Written:
        _ = await self.commit(id, value)
        return await self.commit(id, value)


class Elsewhere(Careless):
    """Writes another row."""

    async def put(self, id: str, value: bytes, if_match: int | None = None) -> Written:
        return msgspec.structs.replace(await self.commit("elsewhere", value), id=id)


class Modest(Careless):
    """Writes, and says that it did not."""

    async def put(self, id: str, value: bytes, if_match: int | None = None) -> Written:
        _ = await self.commit(id, value)
        raise Conflict("no")


class Sly(Careless):
    """Says that it will not, and writes."""

    async def put(self, id: str, value: bytes, if_match: int | None = None) -> Written:
        _ = self.lane.start(self.commit(id, value, current()), "later")
        raise Conflict("no")


class Idle(Careless):
    """Does nothing."""

    async def delete(self, id: str, if_match: int | None = None) -> None:
        pass


class Claiming(Careless):
    """Takes another's write for its own."""

    async def put(self, id: str, value: bytes, if_match: int | None = None) -> Written:
        return Written(id, await self.store.head(), value)


class Forgetful(Careless):
    """Has never heard of idempotency keys."""

    forgets_keys = True


async def reads(world: World) -> None:
    notes = world.collection(Note)
    _ = await notes.get("a")
    _ = await notes.patch("a", text="b")
    _ = await notes.get("a")


async def puts(world: World) -> None:
    _ = await world.collection(Note).put(Note(id="a", text="b"))
    await asyncio.sleep(1.0)


async def insists(world: World) -> None:
    notes = world.collection(Note)
    first = await notes.get("a")
    for edits in (1, 2):
        _ = await notes.patch("a", if_match=first.rev, edits=edits)


async def meets(world: World) -> None:
    notes = world.collection(Note)
    async with asyncio.TaskGroup() as group:
        _ = group.create_task(notes.patch("a", text="b"))
        _ = group.create_task(notes.patch("a", edits=1))


async def deletes(world: World) -> None:
    await world.collection(Note).delete("a")


async def repeats(world: World) -> None:
    rows = policy(rows_of(world), idempotency_key="once")
    for _ in range(2):
        _ = await rows.patch("a", b'{"edits": 1}')


def rows_of(world: World) -> Rows:
    transport, tasks = SimTransport(world.net, world.loop.home), Tasks(lambda error: None)
    return rows_client(Note, Caller(transport, world.host, tasks, timeout=10.0))


@pytest.mark.parametrize(
    ("kind", "story", "what"),
    [
        (Stale, reads, "told revision 1, but it was at 2 since "),
        (Blind, reads, "was told not_found, but it was at 1 since "),
        (Mixed, reads, "was answered with the row 'another'"),
        (Painter, reads, "was told another text at 1 than was committed there"),
        (Hasty, puts, "was told that it wrote revision 2, but it has written nothing by then"),
        (Claiming, puts, "was told that it wrote revision 1, but it has written nothing by then"),
        (Twice, puts, "took effect at 2, and again at 3"),
        (Elsewhere, puts, "wrote notes 'elsewhere'"),
        (Modest, puts, "was refused with conflict, and has written at 2"),
        (Sly, puts, "was refused with conflict, and wrote at 2 later"),
        (Unchecked, insists, "was to be written at 1 only, and written at 3 when it was at 2 since "),
        (Slow, meets, "wrote at 3 also "),
        (Idle, deletes, "was told that the row is gone, and has deleted nothing by then"),
        (Forgetful, repeats, "took effect at 2, and again at 3"),
    ],
)
def test_an_owner_that_is_careless_is_found(watch: Watch, kind: type[Careless], story: Story, what: str) -> None:
    async def told(world: World) -> None:
        _ = await world.collection(Note).create(Note(id="a", text="a"))
        await take_over(world, kind)
        with suppress(Fault):
            await story(world)

    [found, *_] = [one for one in watch(app, told) if one.startswith("linearizable: rows/notes.")]
    assert what in found
    assert "'a'" in found


def observer_of(world: World) -> Linearizable:
    [found] = [one for one in world.observers if isinstance(one, Linearizable)]
    return found


Edit = Callable[[World, str, str], Awaitable[object]]


async def puts_one(world: World, id: str, text: str) -> None:
    _ = await world.collection(Note).put(Note(id=id, text=text))


async def puts_new(world: World, id: str, text: str) -> None:
    _ = await world.collection(Note).put(Note(id=id, text=text), if_match=0)


async def creates(world: World, id: str, text: str) -> None:
    _ = await world.collection(Note).create(Note(id=world.chance.choice((id, "")), text=text))


async def counts(world: World, id: str, text: str) -> None:
    _ = await world.client(Notes).count(id)


async def removes(world: World, id: str, text: str) -> None:
    await world.collection(Note).delete(id)


async def patches_under_a_key(world: World, id: str, text: str) -> None:
    for _ in range(2):
        with suppress(Conflict):
            _ = await policy(rows_of(world), idempotency_key=text).patch(id, encode_json({"text": text}))


async def patches_again(world: World, id: str, text: str) -> None:
    _ = await policy(rows_of(world), retry=True).patch(id, encode_json({"text": text}))


async def patches_what_it_read(world: World, id: str, text: str) -> None:
    note = await world.collection(Note).get(id)
    _ = await world.collection(Note).patch(id, if_match=note.rev, edits=note.edits + 1)


EDITS: tuple[Edit, ...] = (
    puts_one,
    puts_new,
    creates,
    counts,
    removes,
    patches_under_a_key,
    patches_again,
    patches_what_it_read,
    patches_what_it_read,
)


async def edits(world: World) -> None:
    """Several editors, on few rows: by what they have read, blindly, under keys, and behind the back of the rows."""

    async def edit(number: int) -> None:
        with suppress(Fault):
            await world.chance.choice(EDITS)(world, world.chance.choice("abc"), f"{number}")

    async with asyncio.TaskGroup() as editors:
        async for number in world.arrivals(rate=10.0):
            _ = editors.create_task(edit(number))
    assert observer_of(world).judged
    assert not observer_of(world).undecided


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("profile", ["hostile", "power"])
@pytest.mark.parametrize("settings", [None, NORMAL])
def test_an_owner_that_is_right_is_left_alone(watch: Watch, seed: int, profile: str, settings: Settings | None) -> None:
    setup = Setup(app=app) if settings is None else Setup(app=app, settings=settings)
    found = watch(setup, edits, plan=None, profile=profile, seed=seed)
    assert [one for one in found if one.startswith(("linearizable", "story"))] == []


def test_what_a_power_cut_may_take_has_not_been(watch: Watch) -> None:
    """Where commits do not wait for the disk, the row is afterwards what it was before; so is what a key has done."""

    async def story(world: World) -> None:
        notes, rows = world.collection(Note), policy(rows_of(world), idempotency_key="once")
        first = await notes.create(Note(id="a"))
        await world.advance("10s")
        _ = await rows.patch("a", b'{"text":"lost"}')
        _ = await notes.create(Note(id="b"))
        world.power_cut(Notes)
        await world.restart(Notes)
        await world.advance("5s")
        assert (await notes.get("a")).rev == first.rev
        with pytest.raises(NotFound):
            _ = await notes.get("b")
        _ = await rows.patch("a", b'{"text":"here"}')
        assert not observer_of(world).undecided

    assert watch(Setup(app=app, settings=NORMAL), story) == []


def test_a_row_of_which_the_log_knows_nothing_any_more_is_not_judged_by_it(watch: Watch) -> None:
    brief = Settings(node=NodeSettings(store="sqlite:///{service}.db", retention=600.0))

    async def story(world: World) -> None:
        notes = world.collection(Note)
        _ = await notes.create(Note(id="a"))
        await asyncio.sleep(2 * 3600.0)
        _ = await notes.patch("a", text="lost")
        world.power_cut(Notes)
        await world.restart(Notes)
        await world.advance("5s")
        assert not (await notes.get("a")).text
        assert observer_of(world).undecided == 1
        _ = await notes.patch("a", text="here")
        _ = await notes.get("a")
        assert observer_of(world).undecided == 1

    assert watch(Setup(app=app, settings=brief), story, seconds=3 * 3600.0) == []


def test_what_came_of_a_key_that_nobody_knows_is_not_judged(watch: Watch) -> None:
    async def story(world: World) -> None:
        await take_over(world, Claiming)
        _ = await policy(rows_of(world), idempotency_key="once").put("a", b"{}")
        assert observer_of(world).undecided == 1

    assert watch(app, story) == []


def test_what_is_no_question_of_rows_is_somebody_elses_business(watch: Watch) -> None:
    async def story(world: World) -> None:
        transport = SimTransport(world.net, world.loop.home)
        reply = await transport.request(Message(Kind.CALL, "odd", "rows/notes.get", 5.0, body=encode(7)))
        assert reply.kind is Kind.FAULT
        assert observer_of(world).undecided == 0

    found = watch(app, story)
    assert not [one for one in found if one.startswith(("linearizable", "story"))]


def test_rows_in_memory_are_not_judged(watch: Watch) -> None:
    async def story(world: World) -> None:
        _ = await world.collection(Note).create(Note(id="a"))
        _ = await world.collection(Note).get("a")
        assert not observer_of(world).judged

    assert watch(Setup(app=app, settings=Settings(node=NodeSettings(store="memory:"))), story) == []
