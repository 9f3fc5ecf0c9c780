"""An outage of what a handler needs counts as an attempt of its message.
Some seconds of it are enough, and messages are put aside that nothing is wrong with.
"""

from hanse import World, simulation
from hanse.delivery import inbox

from . import ledger

inbox.OUTAGES = ()  # type: ignore[assignment]


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def outages_use_up_attempts(world: World) -> None:
    await ledger.story(world)
