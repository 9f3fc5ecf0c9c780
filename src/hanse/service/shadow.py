"""Work under the shadow mark: of what it writes nothing lasts, and whoever asked for it is answered as if it did.

A release that is to be compared with another one is sent copies of requests, each of them marked
(`Headers.shadow`); the mark goes wherever the request tree goes. A batch that is committed under it is planned on what
is stored, by the same decision as any other, so that it is refused where it would have been; and then it is dropped.

What a batch rests on is not looked at: a lease that was taken under the mark is in no store, and none is needed by who
writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from hanse.kernel.faults import Fault
from hanse.store.base import Batch, Delete, Put, Store
from hanse.store.group import Known, Wanted
from hanse.store.plan import plan


class NotInShadow(Fault, status=409, detail="a copied request lets nothing last, and {problem}"):
    """Work under the shadow mark came to something that can neither be dropped nor answered without being done."""

    problem: str


async def written(store: Store, batch: Batch, *, shadow: bool) -> tuple[int, ...]:
    """Commit a batch; under the shadow mark, only find out what it would come to.

    Args:
        store: Where.
        batch: What.
        shadow: Whether the work is marked.

    Returns:
        The positions of its writes; under the mark, those that they would have had at this moment.

    Raises:
        NotFound, Conflict, PreconditionFailed, AlreadyHandled: As `Store.commit`.
    """
    return await _foreseen(store, batch) if shadow else await store.commit(batch)


async def _foreseen(store: Store, batch: Batch) -> tuple[int, ...]:
    alone = msgspec.structs.replace(batch, expects=())
    collections = {write.collection for write in batch.writes if isinstance(write, Put | Delete)}
    wanted = Wanted.of([alone], collections)
    known = Known(collections)
    for collection, ids in wanted.rows.items():
        await _look_up(store, known, collection, ids)
    for scope, key in wanted.marks:
        if await store.marked(scope, key) is not None:
            known.marks.add((scope, key))
    return plan(alone, await store.head(), known).positions


async def _look_up(store: Store, known: Known, collection: str, ids: Iterable[str]) -> None:
    for id in ids:
        row = await store.load(collection, id)
        if row is not None:
            known.rows[collection, id] = row
