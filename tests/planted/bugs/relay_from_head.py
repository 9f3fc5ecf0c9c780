"""A relay begins at the head of the log, and not at its position.
What was told while it was away is never delivered."""

from hanse import World, simulation
from hanse.delivery.relay import Relay

from . import instead, ledger


@instead(Relay)
async def _start(self: Relay) -> None:
    self._saved = await self._store.head()
    self._window.skip_to(self._saved)


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def relay_from_head(world: World) -> None:
    await ledger.story(world)
