"""An event is told at once, and not with the writes of its handler.
Where these are refused, something was told that never was."""

from hanse import World, simulation
from hanse.contract.model import Event, topic_of
from hanse.kernel.codec import encode_json
from hanse.kernel.context import current
from hanse.service.service import Outlet
from hanse.service.unit import Unit

from . import instead, ledger


@instead(Outlet)
async def emit(self: Outlet, events: tuple[Event, ...]) -> None:
    assert self._store is not None
    unit = Unit(self._store, current())
    for event in events:
        unit.emit(topic_of(type(event)), "", encode_json(event))
    await unit.commit()


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def event_outside_unit(world: World) -> None:
    await ledger.story(world)
