"""A replay writes how far it has come, whatever has become of it meanwhile.
One that was stopped while a handler ran goes on, after its operator was told that it does not."""

from hanse import World, simulation
from hanse.delivery.action import ACTIONS, LetterAction
from hanse.node.carrying import Carrying
from hanse.service.unit import Unit

from . import broken, instead


@instead(Carrying)
async def _put(self: Carrying, unit: Unit, action: LetterAction) -> None:
    unit.put(ACTIONS, action, None)
    await (unit.commit() if self._duty is None else self._duty.commit(unit))
    self._action = action


@instead(Carrying)
async def _check_action(self: Carrying) -> None:
    pass


@simulation(broken.setup, seconds=broken.SECONDS)
async def stop_overwritten(world: World) -> None:
    await broken.story(world)
