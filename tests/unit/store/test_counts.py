"""Stores that come with Hanse say how many batches they have committed."""

import pytest

from hanse.kernel.faults import NotFound
from hanse.kernel.host import Host
from hanse.store.base import Batch, CountsCommits, Delete, Mark, Store
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
