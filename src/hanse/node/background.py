"""Wires what runs by itself: `@rule` and `@every`, each run a unit of work in a context of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from hanse.delivery.schedule import EveryRunner
from hanse.kernel.context import Context, ambient
from hanse.kernel.host import Host
from hanse.kernel.message import BACKGROUND, NO_HEADERS, Headers
from hanse.node.hosted import Hosted
from hanse.service.held import Leases
from hanse.service.leases import Grant
from hanse.service.reaction import Every, Rule
from hanse.service.rules import RuleJob, RuleRunner
from hanse.service.unit import Unit

Call = Callable[[], Awaitable[None]]


TRIM_SECONDS = 3600.0
"""How often logs are trimmed."""

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


def runner(hosted: Hosted, method: str, reaction: Rule | Every, host: Host, duty: Grant | None = None) -> Runner:
    """What runs one `@rule` or `@every` method of a service, by the lease of its duty where there is one."""
    name = f"{hosted.part.name}.{method}"
    handler: Callable[..., Awaitable[None]] = getattr(hosted.instance, method)

    async def in_unit(call: Call) -> None:
        await as_unit(name, hosted, host, call, headers=_UNATTENDED, duty=duty)

    if isinstance(reaction, Every):
        return EveryRunner(name, reaction.period, lambda: in_unit(handler), host=host)
    job: RuleJob[Any] = RuleJob(name, reaction, hosted.collection(reaction.kind), handler)
    return RuleRunner(job, in_unit, leases=Leases(), host=host, on_duty=lambda: duty is None or duty.holds())


def trimmer(hosted: Hosted, host: Host, retention: float) -> Runner:
    """What forgets the log of a service and the marks of what it handled, once they are old and told to everybody."""

    async def trim() -> None:
        told = [relay.position for relay in hosted.relays]
        keep_after = min(told) if told else await hosted.store.head()
        _ = await hosted.store.trim(host.now() - retention, keep_after=keep_after)

    return EveryRunner(f"trim {hosted.part.name}", TRIM_SECONDS, trim, host=host)


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
