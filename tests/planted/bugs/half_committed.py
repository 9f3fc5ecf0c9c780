"""What a handler wrote is committed though it failed.
Half of its work is done, and the mark says that all is."""

from collections.abc import Awaitable, Callable
from typing import cast

from hanse import World, simulation
from hanse.delivery.inbox import Inbox
from hanse.kernel.context import current
from hanse.kernel.message import Message
from hanse.service.unit import Unit

from . import instead, ledger

run_it = Inbox._run


@instead(Inbox)
async def _run(self: Inbox, message: Message, run: Callable[[Message], Awaitable[None]]) -> Exception | None:
    error = await run_it(self, message, run)
    if error is not None and (work := cast("Unit | None", current().work)) is not None:
        await work.commit()
    return error


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def half_committed(world: World) -> None:
    await ledger.story(world)
