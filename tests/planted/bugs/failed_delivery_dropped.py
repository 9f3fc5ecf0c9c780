"""A delivery that fails is not tried again.
What a subscriber could not take at that moment never takes effect."""

from hanse import World, simulation
from hanse.delivery.courier import Courier
from hanse.delivery.outbox import Taken, message_of

from . import instead, ledger


@instead(Courier)
async def see_through(self: Courier, wanted: Taken) -> bool:
    await self._try(message_of(wanted, self._options.ack_seconds))
    return True


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def failed_delivery_dropped(world: World) -> None:
    await ledger.story(world)
