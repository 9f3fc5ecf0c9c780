"""What people do about the sagas of one store: see them, have one that is stuck go on, have one turn back.

A saga is a row: whoever writes it tells the process that works on it, wherever that is, and none has to be up.
"""

from __future__ import annotations

from typing import final

import msgspec

from hanse.delivery.saga_rows import BY_HAND, ENDED, SAGA_STEPS, SAGAS, SagaRow, SagaStep, saga_in, step_id, step_in
from hanse.kernel.codec import stored_json
from hanse.kernel.context import current
from hanse.kernel.faults import Conflict, NotFound, PreconditionFailed
from hanse.kernel.host import Host
from hanse.service.shadow import written
from hanse.store.base import Batch, Put, Store
from hanse.store.query import PAGE_MAX, Compare, Order, Query, Where

RACES_MAX = 10
"""How often a saga is written anew because whoever works on it has changed it meanwhile."""

NEWEST_FIRST = (Order(("started_at",), descending=True),)


@final
class StoredSagas:
    """The sagas of one store.

    Args of the constructor:
        store: Where they are.
        host: Clocks and ids.
    """

    def __init__(self, store: Store, host: Host) -> None:
        self._store = store
        self._host = host

    async def page(
        self, where: Where | None, *, limit: int, cursor: str | None = None
    ) -> tuple[list[SagaRow], str | None]:
        """Those that match, the newest first, and where the next page starts.

        Raises:
            Malformed: The cursor is of another query.
        """
        found = await self._store.find(SAGAS, Query(where, NEWEST_FIRST, min(limit, PAGE_MAX), cursor))
        return [saga_in(row) for row in found.rows], found.next

    async def newest(self, where: Where | None, limit: int) -> list[SagaRow]:
        """Those that match, the newest first, as many as there are up to a limit."""
        found: list[SagaRow] = []
        cursor: str | None = None
        while len(found) < limit:
            rows, cursor = await self.page(where, limit=limit - len(found), cursor=cursor)
            found += rows
            if cursor is None:
                break
        return found

    async def count(self, where: Where | None) -> int:
        """How many match."""
        return await self._store.count(SAGAS, Query(where))

    async def find(self, id: str) -> SagaRow | None:
        """A saga, if it is there."""
        found = await self._store.load(SAGAS, id)
        return None if found is None else saga_in(found)

    async def get(self, id: str) -> SagaRow:
        """A saga.

        Raises:
            NotFound: There is none.
        """
        found = await self.find(id)
        if found is None:
            raise NotFound("saga", id[:100])
        return found

    async def steps(self, id: str) -> list[SagaStep]:
        """What a saga did and waits for, in the order in which that was written."""
        steps: list[SagaStep] = []
        cursor: str | None = None
        while True:
            found = await self._store.find(
                SAGA_STEPS, Query(Compare("eq", ("saga",), id), limit=PAGE_MAX, cursor=cursor)
            )
            steps += map(step_in, found.rows)
            cursor = found.next
            if cursor is None:
                return sorted(steps, key=lambda step: step.rev)

    async def resume(self, id: str, *, by: str) -> SagaRow:
        """Have a saga that is stuck go on, where it was.

        Args:
            id: Which.
            by: Who wants that; the journal keeps it.

        Raises:
            NotFound: There is none.
            Conflict: It is not stuck.
        """
        row = await self.get(id)
        if row.state != "stuck":
            raise Conflict(f"the saga {id} is {row.state}; only one that is stuck can be resumed")
        turned = self._host.now() if row.stuck_in == "undoing" else row.turned_at
        changed = msgspec.structs.replace(row, state=row.stuck_in, why="", step="", turned_at=turned)
        return await self._write(changed, "resume", by)

    async def abort(self, id: str, *, by: str) -> SagaRow:
        """Have a saga turn back.

        Args:
            id: Which.
            by: Who wants that; the journal keeps it.

        Raises:
            NotFound: There is none.
            Conflict: It is over, or on its way back.
        """
        row = await self.get(id)
        forward = _goes(row)
        if forward != "running":
            hint = "; resume it to have it go on" if row.state == "stuck" else ""
            raise Conflict(f"the saga {id} is {forward} already{hint}")
        changed = msgspec.structs.replace(row, state="running", abort=True, why="", step="")
        return await self._write(changed, "abort", by)

    async def turn_back(self, id: str, *, by: str) -> bool:
        """Have a saga turn back, unless it does or is over; whether nothing is left to do about that.

        False where it has not begun.
        """
        races = 0
        while (row := await self.find(id)) is not None:
            if row.abort or row.state in ENDED or _goes(row) == "undoing":
                return True
            try:
                _ = await self.abort(id, by=by)
            except (Conflict, PreconditionFailed):
                # Whoever works on it wrote it in the same moment.
                races += 1
                if races == RACES_MAX:
                    raise
            else:
                return True
        return False

    async def _write(self, row: SagaRow, done: str, by: str) -> SagaRow:
        """Write the row of a saga, and who did that, in one commit that nobody else's may have overtaken."""
        now, name = self._host.now(), f"{BY_HAND}{done}@{row.rev}"
        noted = SagaStep(id=step_id(row.id, name), saga=row.id, name=name, kind=done, begun_at=now, at=now, by=by)
        writes = (
            Put(SAGAS, row.id, stored_json(row), self._host.new_id(), expected=row.rev),
            Put(SAGA_STEPS, noted.id, stored_json(noted), self._host.new_id(), expected=0),
        )
        positions = await written(self._store, Batch(now, writes=writes), shadow=current().shadow)
        return msgspec.structs.replace(row, rev=positions[0])


def _goes(row: SagaRow) -> str:
    """Which way a saga goes, or would if it were not stuck."""
    return row.stuck_in if row.state == "stuck" else row.state
