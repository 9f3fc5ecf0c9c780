"""An event is acknowledged when its handler begins, and not when its effects are committed.
What the process had begun when it died is never done."""

import asyncio
from collections.abc import Awaitable, Callable

from hanse import World, simulation
from hanse.delivery.inbox import Inbox
from hanse.kernel.message import Message

from . import instead, ledger

run_it = Inbox._run


@instead(Inbox)
async def _run(self: Inbox, message: Message, run: Callable[[Message], Awaitable[None]]) -> None:
    _ = asyncio.get_running_loop().create_task(run_it(self, message, run))


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def acknowledged_before_commit(world: World) -> None:
    await ledger.story(world)
