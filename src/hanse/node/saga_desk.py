"""What people do about sagas: see them, have one that is stuck go on, have one turn back; by the store that keeps them.

A saga is a row: whoever writes it tells the process that works on it, wherever that is, and none has to be up.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import final

import msgspec

from hanse.delivery.saga_rows import BY_HAND, SAGA_STEPS, SAGAS, SagaRow, SagaStep, saga_in, step_id, step_in
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Conflict, Misconfigured, NotFound
from hanse.kernel.host import Host
from hanse.kernel.settings import Settings
from hanse.node.app import App, parts_named
from hanse.node.hosted import schemas_of
from hanse.node.stores import open_store, url_for
from hanse.service.saga_method import sagas_of
from hanse.store.base import Batch, Put, Row, Store
from hanse.store.query import PAGE_MAX, And, Compare, OneOf, Query, Where


@final
class SagaDesk:
    """The sagas in the stores of an app."""

    def __init__(self, stores: dict[str, Store], host: Host) -> None:
        self._stores = stores
        self._host = host

    async def rows(
        self,
        *,
        states: tuple[str, ...] = (),
        name: str = "",
        tags: Mapping[str, str] = MappingProxyType({}),
        limit: int = 100,
    ) -> list[SagaRow]:
        """Sagas, the newest first.

        Args:
            states: Those in one of these; all where there is none.
            name: Those of one name.
            tags: Those whose story has all of these.
            limit: As many at most.
        """
        parts: list[Where] = [OneOf(("state",), states)] if states else []
        parts += [Compare("eq", ("name",), name)] if name else []
        parts += [Compare("eq", ("tags", tag), value) for tag, value in tags.items()]
        found: list[SagaRow] = []
        for store in self._stores.values():
            found += [saga_in(row) async for row in _all(store, SAGAS, And(tuple(parts)) if parts else None)]
        return sorted(found, key=lambda row: row.started_at, reverse=True)[:limit]

    async def steps(self, id: str) -> list[SagaStep]:
        """What a saga did and waits for, in the order in which that was written."""
        store, _ = await self._find(id)
        found = [step_in(row) async for row in _all(store, SAGA_STEPS, Compare("eq", ("saga",), id))]
        return sorted(found, key=lambda step: step.rev)

    async def get(self, id: str) -> SagaRow:
        """A saga.

        Raises:
            NotFound: There is none.
        """
        return (await self._find(id))[1]

    async def resume(self, id: str, *, by: str) -> SagaRow:
        """Have a saga that is stuck go on, where it was.

        Args:
            id: Which.
            by: Who wants that; the journal keeps it.

        Raises:
            NotFound: There is none.
            Conflict: It is not stuck.
        """
        store, row = await self._find(id)
        if row.state != "stuck":
            raise Conflict(f"the saga {id} is {row.state}; only one that is stuck can be resumed")
        turned = self._host.now() if row.stuck_in == "undoing" else row.turned_at
        changed = msgspec.structs.replace(row, state=row.stuck_in, why="", step="", turned_at=turned)
        return await self._write(store, changed, "resume", by)

    async def abort(self, id: str, *, by: str) -> SagaRow:
        """Have a saga turn back.

        Args:
            id: Which.
            by: Who wants that; the journal keeps it.

        Raises:
            NotFound: There is none.
            Conflict: It is over, or on its way back.
        """
        store, row = await self._find(id)
        forward = row.stuck_in if row.state == "stuck" else row.state
        if forward != "running":
            hint = "; `hanse sagas resume` has it go on" if row.state == "stuck" else ""
            raise Conflict(f"the saga {id} is {forward} already{hint}")
        changed = msgspec.structs.replace(row, state="running", abort=True, why="", step="")
        return await self._write(store, changed, "abort", by)

    async def _find(self, id: str) -> tuple[Store, SagaRow]:
        for store in self._stores.values():
            if (found := await store.load(SAGAS, id)) is not None:
                return store, saga_in(found)
        raise NotFound("saga", id)

    async def _write(self, store: Store, row: SagaRow, done: str, by: str) -> SagaRow:
        """Write the row of a saga, and who did that, in one commit that nobody else's may have overtaken."""
        now, name = self._host.now(), f"{BY_HAND}{done}@{row.rev}"
        noted = SagaStep(id=step_id(row.id, name), saga=row.id, name=name, kind=done, begun_at=now, at=now, by=by)
        writes = (
            Put(SAGAS, row.id, encode_json(row), self._host.new_id(), expected=row.rev),
            Put(SAGA_STEPS, noted.id, encode_json(noted), self._host.new_id(), expected=0),
        )
        positions = await store.commit(Batch(now, writes=writes))
        return msgspec.structs.replace(row, rev=positions[0])


@asynccontextmanager
async def desk_of(app: App, settings: Settings, host: Host) -> AsyncGenerator[SagaDesk]:
    """The sagas of the services that a node would host, by their stores.

    Raises:
        Misconfigured: No service has sagas, or a store is of no use to another process than its own.
        CouldNotStart: A store was written by another version, and cannot be read by this one.
    """
    parts = [part for part in parts_named(app, settings.node.services) if sagas_of(part.cls)]
    if not parts:
        raise Misconfigured(f"expected a service with an `@saga` method, but none of the app {app.name!r} has any")
    async with AsyncExitStack() as opened:
        stores: dict[str, Store] = {}
        for part in parts:
            url = url_for(settings, part.name)
            if url.startswith("memory:"):
                raise Misconfigured(
                    f"the sagas of {part.name} are in the memory of the process that runs it; give it a store that "
                    f'lasts, such as `node.store = "sqlite:///data"`'
                )
            store = stores[part.name] = open_store(url)
            owned = [kind for kind, owner in app.owners.items() if owner is part]
            await store.open(schemas_of(part, owned))
            opened.push_async_callback(store.close)
        yield SagaDesk(stores, host)


async def _all(store: Store, collection: str, where: Where | None) -> AsyncIterator[Row]:
    cursor: str | None = None
    while True:
        found = await store.find(collection, Query(where, limit=PAGE_MAX, cursor=cursor))
        for row in found.rows:
            yield row
        cursor = found.next
        if cursor is None:
            return
