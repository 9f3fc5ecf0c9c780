"""Where commands ask for sagas: the stores of all services of an app that have some, whether it runs or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import final

from hanse.delivery.saga_rows import SagaRow, SagaStep, State
from hanse.kernel.faults import Misconfigured, NotFound
from hanse.kernel.host import Host
from hanse.kernel.settings import Settings
from hanse.node.app import App, parts_named
from hanse.node.hosted import schemas_of
from hanse.node.saga_runs import SagaSelection
from hanse.node.stored_sagas import StoredSagas
from hanse.node.stores import open_store, url_for
from hanse.service.saga_method import pinned_in
from hanse.store.base import Store


@final
class SagaDesk:
    """The sagas in the stores of an app."""

    def __init__(self, stores: Mapping[str, Store], host: Host) -> None:
        self._stores = [StoredSagas(store, host) for store in stores.values()]

    async def rows(
        self,
        *,
        states: tuple[State, ...] = (),
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
        where = SagaSelection(states=states, name=name, tags=dict(tags)).where()
        found: list[SagaRow] = []
        for stored in self._stores:
            found += await stored.newest(where, limit)
        return sorted(found, key=lambda row: row.started_at, reverse=True)[:limit]

    async def steps(self, id: str) -> list[SagaStep]:
        """What a saga did and waits for, in the order in which that was written."""
        return await (await self._of(id)).steps(id)

    async def get(self, id: str) -> SagaRow:
        """A saga. Raises NotFound."""
        return await (await self._of(id)).get(id)

    async def resume(self, id: str, *, by: str) -> SagaRow:
        """See `StoredSagas.resume`."""
        return await (await self._of(id)).resume(id, by=by)

    async def abort(self, id: str, *, by: str) -> SagaRow:
        """See `StoredSagas.abort`."""
        return await (await self._of(id)).abort(id, by=by)

    async def _of(self, id: str) -> StoredSagas:
        for stored in self._stores:
            if await stored.find(id) is not None:
                return stored
        raise NotFound("saga", id[:100])


@asynccontextmanager
async def desk_of(app: App, settings: Settings, host: Host) -> AsyncGenerator[SagaDesk]:
    """The sagas of the services that a node would host, by their stores.

    Raises:
        Misconfigured: No service has sagas, or a store is of no use to another process than its own.
        CouldNotStart: A store was written by another version, and cannot be read by this one.
    """
    parts = [part for part in parts_named(app, settings.node.services) if pinned_in(part.cls)]
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
