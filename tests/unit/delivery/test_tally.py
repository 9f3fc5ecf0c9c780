"""The tally says how many dead letters there are of each way of failing, whatever happens to them, whoever counts."""

import asyncio
import random  # noqa: TID251 - each run follows its seed
from collections import Counter
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from hanse.contract.model import Resource
from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, letter_in, letter_json
from hanse.delivery.tally import GROUPS, LetterGroup, Tally
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.service.shape import schema_of, shape_of
from hanse.store.base import Batch, Changes, Delete, Emit, Put, Store
from hanse.store.memory import MemoryStore
from hanse.store.query import PAGE_MAX, Query

pytestmark = pytest.mark.virtual_time

SEEDS = range(20)
STEPS = 120
WAYS = ("printer", "paper", "ink")
LATER = 2_000_000_000.0


class Order(Resource):
    sku: str


@pytest.fixture
async def store(host: Host) -> MemoryStore:
    store = MemoryStore(host=host)
    await store.open([schema_of(DeadLetter), schema_of(LetterGroup), schema_of(Order)])
    return store


@pytest.fixture
def tally(store: MemoryStore, host: Host) -> Tally:
    return Tally(store, host)


def letter(id: str, way: str = "printer", waits_for: str = "") -> DeadLetter:
    return DeadLetter(
        id=id,
        group="mailer.receipt",
        message_id=id,
        message=b"",
        topic="placed",
        code="" if waits_for else way,
        text=f"no {way} for {id}",
        fingerprint=way,
        waits_for=waits_for,
    )


async def park(store: MemoryStore, *letters: DeadLetter) -> None:
    writes = tuple(Put(DEAD_LETTERS, one.id, letter_json(one), f"m{one.id}") for one in letters)
    _ = await store.commit(Batch(0.0, writes))


async def go(store: MemoryStore, *ids: str) -> None:
    _ = await store.commit(Batch(0.0, tuple(Delete(DEAD_LETTERS, id, f"g{id}") for id in ids)))


async def groups(store: MemoryStore) -> dict[str, LetterGroup]:
    rows = (await store.find(GROUPS, Query(limit=PAGE_MAX))).rows
    return {row.id: shape_of(LetterGroup).read(row.value, row.id, row.rev) for row in rows}


async def test_letters_are_counted_with_one_that_is_there_to_look_at(store: MemoryStore, tally: Tally) -> None:
    await park(store, letter("a"), letter("b"), letter("c", waits_for="a"), letter("d", "paper"))
    _ = await tally.catch_up()
    found = await groups(store)
    assert (found["printer"].count, found["printer"].waiting, found["printer"].size) == (2, 1, 3)
    assert (found["printer"].example, found["printer"].text) == ("b", "no printer for b")
    await go(store, "b", "d")
    _ = await tally.catch_up()
    found = await groups(store)
    assert (found["printer"].count, found["printer"].waiting) == (1, 1)
    assert found["printer"].example in {"a", "c"}
    assert "paper" not in found


async def test_a_letter_that_fails_in_another_way_changes_its_group(store: MemoryStore, tally: Tally) -> None:
    await park(store, letter("a"), letter("b", waits_for="a"))
    _ = await tally.catch_up()
    await park(store, letter("b", "paper"))
    _ = await tally.catch_up()
    found = await groups(store)
    assert {way: (one.count, one.waiting) for way, one in found.items()} == {"printer": (1, 0), "paper": (1, 0)}


@pytest.mark.parametrize("seed", SEEDS)
async def test_it_is_right_whatever_happens_and_however_many_count(store: MemoryStore, host: Host, seed: int) -> None:
    chance = random.Random(seed)
    there: list[str] = []
    for number in range(STEPS):
        match chance.randrange(5):
            case 0 if there:
                await go(store, there.pop(chance.randrange(len(there))))
            case 1 if there:
                changed = letter(chance.choice(there), chance.choice(WAYS), chance.choice(("", "x")))
                await park(store, changed)
            case 2:
                _ = await asyncio.gather(*(Tally(store, host).catch_up() for _ in range(3)))
            case 3:
                saved = await Tally(store, host).catch_up(save_every=1)
                _ = await store.trim(LATER, keep_after=saved)
            case _:
                there.append(f"l{number}")
                await park(store, letter(there[-1], chance.choice(WAYS), chance.choice(("", "x"))))
    _ = await Tally(store, host).catch_up()
    letters = [letter_in(row) for row in (await store.find(DEAD_LETTERS, Query(limit=PAGE_MAX))).rows]
    failed = Counter(one.fingerprint for one in letters if not one.waits_for)
    waiting = Counter(one.fingerprint for one in letters if one.waits_for)
    found = await groups(store)
    assert {way: (one.count, one.waiting) for way, one in found.items()} == {
        way: (failed[way], waiting[way]) for way in {*failed, *waiting}
    }
    assert all(one.example in there for one in found.values())


async def test_a_log_that_does_not_tell_of_all_of_them_has_them_counted_anew(store: MemoryStore, tally: Tally) -> None:
    await park(store, letter("a"), letter("b", "paper"))
    _ = await tally.catch_up()
    await park(store, letter("c"))
    await go(store, "b")
    _ = await store.trim(LATER, keep_after=await store.head())
    _ = await tally.catch_up()
    assert {way: one.count for way, one in (await groups(store)).items()} == {"printer": 2}


class Unquiet:
    """A store in which one more letter is parked whenever somebody wants to know the head of its log."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def head(self) -> int:
        head = await self._store.head()
        await park(self._store, letter(f"n{head}"))
        return head

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_letters_that_come_too_fast_for_a_first_count_are_said_to(store: MemoryStore, host: Host) -> None:
    await park(store, letter("a"))
    with pytest.raises(Unavailable, match="change faster than they are counted"):
        _ = await Tally(cast("Store", Unquiet(store)), host).catch_up()
    assert await groups(store) == {}


async def test_its_position_goes_on_with_a_log_of_other_things(store: MemoryStore, tally: Tally) -> None:
    await park(store, letter("a"))
    first = await tally.catch_up()
    _ = await store.commit(Batch(0.0, tuple(Emit("placed", "", b"{}", f"e{n}") for n in range(20))))
    assert await tally.catch_up() == first
    assert await tally.catch_up(save_every=10) == await store.head()


async def test_rows_of_another_log_are_counted_anew(store: MemoryStore, host: Host, tally: Tally) -> None:
    wrong = LetterGroup(id="printer", count=7, size=7), LetterGroup(id="gone", count=1, size=1)
    puts = (Put(GROUPS, one.id, msgspec.json.encode(one), f"w{one.id}") for one in wrong)
    _ = await store.commit(Batch(0.0, tuple(puts)))
    await park(store, letter("a"))
    _ = await tally.catch_up()
    assert {way: one.count for way, one in (await groups(store)).items()} == {"printer": 1}


class Away:
    """A store whose log cannot be read at first."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.times = 2

    async def changes(self, after: int, *, limit: int, names: Sequence[str] | None = None) -> Changes:
        if self.times:
            self.times -= 1
            raise Unavailable("it is away")
        return await self._store.changes(after, limit=limit, names=names)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_it_counts_what_comes_and_goes_on_after_an_outage(store: MemoryStore, host: Host) -> None:
    tally = Tally(cast("Store", Away(store)), host)
    async with asyncio.TaskGroup() as tasks:
        _ = tasks.create_task(tally.run())
        await park(store, letter("a"))
        await asyncio.sleep(10)
        await park(store, letter("b"))
        await asyncio.sleep(10)
        assert (await groups(store))["printer"].count == 2
        assert tally.idle
        await tally.stop(1.0)
