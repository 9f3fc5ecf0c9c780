"""The message of an entry has another id each time it is sent.
An event that is delivered twice cannot be told from two events."""

import msgspec

from hanse import World, simulation
from hanse.delivery import courier, outbox
from hanse.delivery.outbox import Taken
from hanse.kernel.context import current
from hanse.kernel.message import Message

from . import instead, ledger

tell = outbox.message_of


@instead(courier)
def message_of(wanted: Taken, timeout: float, *, producer: str = "", attempt: int = 1, since: float = 0.0) -> Message:
    message = tell(wanted, timeout, producer=producer, attempt=attempt, since=since)
    return msgspec.structs.replace(message, id=current().host.new_id())


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def message_id_anew(world: World) -> None:
    await ledger.story(world)
