"""A call is tried again whether it may be repeated or not.
What had taken effect when its answer was lost takes effect twice."""

import msgspec

from hanse import World, simulation
from hanse.contract.derive import Operation
from hanse.mesh.chain import Handler
from hanse.mesh.client import Caller, Policy

from . import inn, instead

chain_of = Caller.chain


@instead(Caller)
def chain(self: Caller, operation: Operation, policy: Policy) -> Handler | None:
    return chain_of(self, operation, msgspec.structs.replace(policy, retry=True))


@simulation(inn.setup, seconds=inn.SECONDS)
async def retries_everything(world: World) -> None:
    await inn.story(world)
