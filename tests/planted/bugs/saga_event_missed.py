"""A saga waits for events that come after it began to wait, and not after it began.
One that came while it did something else is missed, and the saga turns back for nothing."""

from collections.abc import Callable
from typing import Any

import msgspec

from hanse import Event, World, simulation
from hanse.node.saga_logbook import SagaLogbook

from . import instead, trips

waited = SagaLogbook.event


@instead(SagaLogbook)
async def event(
    self: SagaLogbook, name: str, kind: type[Event], where: Callable[[Any], bool] | None, timeout: float, /
) -> Event:
    if name not in self._journal.steps:
        since = await self._journal.place.store.head()
        self._journal.row = msgspec.structs.replace(self._journal.row, since=since)
    return await waited(self, name, kind, where, timeout)


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_event_missed(world: World) -> None:
    await trips.story(world)
