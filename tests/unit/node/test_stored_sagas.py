"""The sagas of one store, as commands, jobs and operators see them; and what their steps came to."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from hanse.contract.model import Resource
from hanse.delivery.saga_rows import SAGAS, SagaRow, SagaStep, State
from hanse.kernel.codec import stored_json
from hanse.kernel.faults import Conflict, PreconditionFailed
from hanse.kernel.host import Host
from hanse.node.saga_result import result_in
from hanse.node.stored_sagas import RACES_MAX, StoredSagas
from hanse.service.shape import schema_of
from hanse.store.base import Batch, Put, Row, Store
from hanse.store.memory import MemoryStore
from hanse.store.query import PAGE_MAX

pytestmark = pytest.mark.virtual_time


class Order(Resource):
    sku: str = "tea"


class Busy:
    """What is needed of a store: whoever works on a saga writes it each time that somebody has read it."""

    def __init__(self, store: MemoryStore, times: int) -> None:
        self.commit = store.commit
        self._store = store
        self._times = times

    async def load(self, collection: str, id: str, /) -> Row | None:
        found = await self._store.load(collection, id)
        if self._times and found is not None:
            self._times -= 1
            _ = await self.commit(Batch(1.0, writes=(Put(SAGAS, id, found.value, "m"),)))
        return found


@pytest.fixture
async def store(host: Host) -> AsyncIterator[MemoryStore]:
    store = MemoryStore(host=host)
    await store.open([schema_of(SagaRow), schema_of(SagaStep)])
    yield store
    await store.close()


async def begun(store: MemoryStore, *ids: str, state: State = "running") -> None:
    rows = [SagaRow(id=id, name="orders.place", version=1, arguments="{}", state=state) for id in ids]
    _ = await store.commit(Batch(1.0, writes=tuple(Put(SAGAS, row.id, stored_json(row), "m") for row in rows)))


async def test_a_saga_turns_back_though_it_is_written_meanwhile(store: MemoryStore, host: Host) -> None:
    await begun(store, "1")
    busy = cast("Store", Busy(store, times=3))
    assert await StoredSagas(busy, host).turn_back("1", by="ada")
    assert (await StoredSagas(store, host).get("1")).abort


async def test_one_that_never_rests_is_told(store: MemoryStore, host: Host) -> None:
    await begun(store, "1")
    busy = cast("Store", Busy(store, times=10 * RACES_MAX))
    with pytest.raises(PreconditionFailed):
        _ = await StoredSagas(busy, host).turn_back("1", by="ada")


@pytest.mark.parametrize("state", ["done", "undone", "undoing"])
async def test_nothing_is_left_to_do_about_one_that_is_over_or_on_its_way(
    store: MemoryStore, host: Host, state: State
) -> None:
    await begun(store, "1", state=state)
    sagas = StoredSagas(store, host)
    assert await sagas.turn_back("1", by="ada")
    assert await sagas.steps("1") == []
    with pytest.raises(Conflict):
        _ = await sagas.abort("1", by="ada")


async def test_what_has_not_begun_cannot_turn_back(store: MemoryStore, host: Host) -> None:
    assert not await StoredSagas(store, host).turn_back("1", by="ada")


async def test_as_many_are_listed_as_are_asked_for(store: MemoryStore, host: Host) -> None:
    await begun(store, *map(str, range(PAGE_MAX + 1)))
    sagas = StoredSagas(store, host)
    assert [len(await sagas.newest(None, limit)) for limit in (2, PAGE_MAX + 5)] == [2, PAGE_MAX + 1]


def test_rows_in_what_a_step_came_to_know_their_revisions_wherever_they_are() -> None:
    text = '{"a":[[{"id":"1","rev":-2,"sku":"tea"},7]],"b":[[{"id":"2","rev":5,"sku":"ink"},8]]}'
    step = SagaStep(saga="1", name="note", kind="step", rev=10, result=text)
    found = result_in(step, dict[str, list[tuple[Order, int]]])
    assert [found[key][0][0].rev for key in "ab"] == [8, 5]
