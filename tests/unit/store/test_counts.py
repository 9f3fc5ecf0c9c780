"""Stores that come with Hanse say how many batches they have committed."""

import pytest

from hanse.kernel.faults import NotFound, PreconditionFailed
from hanse.kernel.host import Host
from hanse.store.base import Batch, CountsCommits, CountsLate, Delete, Expect, Mark, Position, Store
from hanse.store.memory import MemoryStore
from hanse.store.sqlite import SqliteStore
from hanse.testing.store_hooks import ORDERS, batch, put

HOST = Host.fixed(wall=0.0, seed=1)


@pytest.mark.parametrize(
    "store", [MemoryStore(host=HOST), SqliteStore(":memory:", host=HOST)], ids=["memory", "sqlite"]
)
async def test_a_store_counts_what_it_has_committed_and_not_what_it_refused(store: Store) -> None:
    await store.open([ORDERS])
    await store.commit(batch(put("1")))
    await store.commit(Batch(1.0, marks=(Mark("a", "b"),)))
    with pytest.raises(NotFound):
        await store.commit(batch(Delete("orders", "none", "m")))
    await store.close()

    assert isinstance(store, CountsCommits)
    assert store.commits == 2


@pytest.mark.parametrize(
    "store", [MemoryStore(host=HOST), SqliteStore(":memory:", host=HOST)], ids=["memory", "sqlite"]
)
async def test_a_store_counts_what_rests_on_what_another_has_by_now(store: Store) -> None:
    await store.open([ORDERS])
    await store.commit(Batch(1.0, positions=(Position("lease", 3),)))
    with pytest.raises(PreconditionFailed):
        await store.commit(Batch(1.0, (put("1"),), expects=(Expect("lease", 1),)))
    # Who tries to get it was not late, only second.
    with pytest.raises(PreconditionFailed):
        await store.commit(Batch(1.0, positions=(Position("lease", 5),), expects=(Expect("lease", 2),)))
    with pytest.raises(NotFound):
        await store.commit(batch(Delete("orders", "none", "m")))
    await store.commit(Batch(1.0, (put("1"),), expects=(Expect("lease", 3),)))
    await store.close()

    assert isinstance(store, CountsLate)
    assert store.late == 1
