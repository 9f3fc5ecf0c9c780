"""Each retry of a call has as much time as the call had at first.
Who waits for an answer waits longer than they said that they would.
"""

import msgspec

from hanse import World, simulation
from hanse.kernel.message import Message
from hanse.mesh import chain

from . import instead, oracle


@instead(chain)
def again(message: Message, left: float) -> Message:
    headers = msgspec.structs.replace(message.headers, attempt=message.headers.attempt + 1)
    return message.with_headers(headers)


@simulation(oracle.setup, seconds=oracle.SECONDS)
async def retries_forget_the_time(world: World) -> None:
    await oracle.story(world)
