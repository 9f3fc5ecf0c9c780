"""Marks of what was handled are forgotten after seconds, and not when nothing can come again.
An event that comes late takes effect twice."""

from hanse import World, simulation
from hanse.delivery.schedule import ScheduleRunner
from hanse.delivery.tally import Tally
from hanse.delivery.timetable import Period
from hanse.kernel.host import Host
from hanse.node import duty
from hanse.node.background import Runner
from hanse.node.hosted import Hosted

from . import instead, ledger


@instead(duty)
def trimmer(hosted: Hosted, host: Host, retention: float, tally: Tally) -> Runner:
    async def trim(_: float) -> None:
        await hosted.store.trim(host.now() - 2.0, keep_after=0)

    return ScheduleRunner("trim", Period(1.0), trim, host=host)


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def marks_trimmed_early(world: World) -> None:
    await ledger.story(world)
