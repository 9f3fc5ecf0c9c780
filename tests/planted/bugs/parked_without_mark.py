"""A message that is parked is not marked as handled.
It is parked again when it comes again, and both wait to be dealt with.
"""

from hanse import World, simulation
from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, letter_json
from hanse.delivery.drawers import Drawer
from hanse.delivery.inbox import Inbox
from hanse.kernel.message import Message
from hanse.store.base import Batch, Put

from . import instead, parked


@instead(Inbox)
async def _park(self: Inbox, message: Message, letter: DeadLetter, drawer: Drawer | None) -> bool:
    write = Put(DEAD_LETTERS, letter.id, letter_json(letter), self._host.new_id(), expected=0)
    await self._store.commit(Batch(self._host.now(), writes=(write,), headers=message.headers))
    return True


@simulation(parked.setup, seconds=parked.SECONDS)
async def parked_without_mark(world: World) -> None:
    await parked.story(world)
