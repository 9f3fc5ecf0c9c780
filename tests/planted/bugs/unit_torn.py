"""Each write of a unit of work is committed by itself.
A process that is killed in between leaves half of what its handler did."""

from collections.abc import Callable

import msgspec

from hanse import World, simulation
from hanse.service.unit import Unit, _headers, _telling, _write
from hanse.store.base import Batch

from . import bank, instead


@instead(Unit)
async def commit(self: Unit, answer: Callable[[], object] | None = None) -> None:
    now, headers = self._context.host.now(), _headers(self._context)
    for (collection, id), staged in self._rows.items():
        (rev,) = await self.store.commit(Batch(now, writes=(_write(collection, id, staged),), headers=headers))
        if staged.value is not None:
            msgspec.structs.force_setattr(staged.value, "rev", rev)
    kept = () if self.first is None else (_telling(self.first, [], answer),)
    await self.store.commit(Batch(now, marks=(*self.marks, *kept)))
    self.clear()
    self.first = None
    self.marks.clear()


@simulation(bank.setup, seconds=bank.SECONDS)
async def unit_torn(world: World) -> None:
    await bank.story(world)
