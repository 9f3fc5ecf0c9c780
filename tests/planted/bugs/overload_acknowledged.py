"""A relay takes it for acknowledged when a subscriber has too much to do.
What comes at such a moment never takes effect.
"""

from collections.abc import Awaitable, Callable

from hanse import World, simulation
from hanse.kernel.faults import Overloaded
from hanse.kernel.message import Kind, Message
from hanse.mesh.fault import fault_in
from hanse.node import events
from hanse.transport.base import Transport

from . import instead, ledger


@instead(events)
def deliverer(transport: Transport) -> Callable[[Message], Awaitable[None]]:
    async def deliver(message: Message) -> None:
        reply = await transport.request(message)
        if reply.kind is Kind.FAULT and not isinstance(fault := fault_in(reply), Overloaded):
            raise fault

    return deliver


@simulation(ledger.tight, seconds=ledger.SECONDS)
async def overload_acknowledged(world: World) -> None:
    await ledger.story(world)
