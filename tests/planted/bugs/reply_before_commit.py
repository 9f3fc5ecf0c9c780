"""A call is answered before its writes are committed.
Whoever was answered finds nothing, where the commit was refused or the process died."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from hanse import World, simulation
from hanse.kernel.faults import Fault
from hanse.service.unit import Unit

from . import counter, instead

commit_it = Unit.commit


@instead(Unit)
async def commit(self: Unit, answer: Callable[[], object] | None = None) -> None:
    async def behind() -> None:
        with suppress(Fault):
            await commit_it(self, answer)

    _ = asyncio.get_running_loop().create_task(behind())


@simulation(counter.setup, seconds=counter.SECONDS)
async def reply_before_commit(world: World) -> None:
    await counter.story(world)
