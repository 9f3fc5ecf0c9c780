"""Wires what runs by itself: `@rule`, `@every` and `@cron`, each run a unit of work in a context of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast, final

from hanse.delivery.schedule import ScheduleRunner
from hanse.delivery.tally import Tally
from hanse.delivery.timetable import ByCron, Period, Timetable
from hanse.kernel.context import Context, ambient
from hanse.kernel.cron import Cron
from hanse.kernel.host import Host
from hanse.kernel.message import BACKGROUND, NO_HEADERS, Headers
from hanse.node.hosted import Hosted
from hanse.node.jobs import forget_jobs
from hanse.service.held import Leases
from hanse.service.leases import Grant
from hanse.service.reaction import Every, Rule, wants_moment
from hanse.service.rules import RuleJob, RuleRunner
from hanse.service.unit import Unit, unit_for
from hanse.store.base import Batch, Position, Store

Call = Callable[[], Awaitable[None]]


TRIM_SECONDS = 3600.0
"""How often logs are trimmed."""

MILLISECONDS = 1000
"""Of a second: positions are whole numbers."""

_UNATTENDED = Headers(priority=BACKGROUND)


class Runner(Protocol):
    """Something that works in the background until it is told to stop: a relay, a rule, a schedule."""

    @property
    def name(self) -> str:
        """For the log."""
        ...

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do at this moment."""
        ...

    async def run(self) -> None:
        """Work until `stop`."""
        ...

    async def stop(self, grace: float) -> None:
        """Begin nothing new, and finish what is under way within the grace."""
        ...


@final
class StoredMoments:
    """The moments of a schedule, in the store of its service: see `hanse.delivery.schedule.Moments`.

    Args of the constructor:
        store: Where they are.
        name: Of the schedule.
        host: Its clock.
        duty: What writing them rests on, where several share the store.
    """

    def __init__(self, store: Store, name: str, host: Host, duty: Grant | None) -> None:
        self._store = store
        self._place = f"every/{name}"
        self._host = host
        self._expects = () if duty is None else (duty.rests_on,)

    def at(self, moment: float) -> Position:
        """What remembers a moment, to be committed with what was done at it."""
        return Position(self._place, round(moment * MILLISECONDS))

    async def last(self) -> float:
        """See `Moments.last`."""
        return await self._store.position(self._place) / MILLISECONDS

    async def note(self, moment: float) -> None:
        """See `Moments.note`."""
        batch = Batch(self._host.now(), positions=(self.at(moment),), expects=self._expects)
        _ = await self._store.commit(batch)


def runner(hosted: Hosted, method: str, reaction: Rule | Every | Cron, host: Host, duty: Grant | None = None) -> Runner:
    """What runs one `@rule`, `@every` or `@cron` method of a service, by the lease of its duty where there is one."""
    name = f"{hosted.part.name}.{method}"
    handler: Callable[..., Awaitable[None]] = getattr(hosted.instance, method)

    async def in_unit(call: Call) -> None:
        await as_unit(name, hosted, host, call, headers=_UNATTENDED, duty=duty)

    if not isinstance(reaction, Rule):
        timetable: Timetable = Period(reaction.period) if isinstance(reaction, Every) else ByCron(reaction)
        moments = StoredMoments(hosted.store, name, host, duty)

        told = wants_moment(handler)

        async def run(moment: float) -> None:
            async def handle() -> None:
                await (handler(reaction.shown(moment)) if told else handler())
                # With its effects, so that whoever goes on neither skips nor repeats it.
                cast("Unit", unit_for(hosted.store)).positions.append(moments.at(moment))

            await in_unit(handle)

        return ScheduleRunner(name, timetable, run, host=host, moments=moments)
    job: RuleJob[Any] = RuleJob(name, reaction, hosted.collection(reaction.kind), handler)
    return RuleRunner(job, in_unit, leases=Leases(), host=host, on_duty=lambda: duty is None or duty.holds())


def trimmer(hosted: Hosted, host: Host, retention: float, tally: Tally) -> Runner:
    """What forgets the log of a service and the marks of what it handled, once they are old and told to everybody."""

    async def trim(_: float) -> None:
        keep_after = min([await tally.catch_up(save_every=1), *(relay.position for relay in hosted.relays)])
        _ = await hosted.store.trim(host.now() - retention, keep_after=keep_after)
        more = True

        async def forget() -> None:
            nonlocal more
            more = await forget_jobs(hosted.jobs, host.now())

        while more:
            await as_unit(f"{hosted.part.name} forgets jobs", hosted, host, forget)

    return ScheduleRunner(f"trim {hosted.part.name}", Period(TRIM_SECONDS), trim, host=host)


async def as_unit(
    name: str, hosted: Hosted, host: Host, call: Call, *, headers: Headers = NO_HEADERS, duty: Grant | None = None
) -> None:
    """Run a method that nobody calls as a unit of work of its service, in a context of its own.

    Raises:
        LeaseLost: It was run by a duty that another instance has by now; nothing was written.
    """
    context = Context(host, headers, message_id=host.new_id(), operation=name)
    context.store = hosted.store
    token = ambient.set(context)
    try:
        await call()
        if duty is not None and isinstance(context.work, Unit):
            await duty.commit(context.work)
        elif context.work is not None:
            await context.work.commit()
    finally:
        ambient.reset(token)
        # What a task that outlives it writes must not wait for a commit that has been.
        context.store = None
