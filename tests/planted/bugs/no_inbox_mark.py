"""Nobody remembers what was handled: each delivery makes a mark of its own.
An event that is delivered twice takes effect twice."""

from hanse import World, simulation
from hanse.delivery.inbox import Inbox
from hanse.kernel.message import Message
from hanse.store.base import Mark

from . import instead, ledger


@instead(Inbox)
def mark(self: Inbox, message: Message) -> Mark:
    return Mark(self.group, self._host.new_id())


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def no_inbox_mark(world: World) -> None:
    await ledger.story(world)
