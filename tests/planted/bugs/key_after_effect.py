"""The mark of an idempotency key is committed after the effect, by itself.
A process that dies between the two does again what was done."""

import msgspec

from hanse import World, simulation
from hanse.kernel.context import Context
from hanse.kernel.message import Message
from hanse.node import bind
from hanse.store.base import Batch, Mark, Store

from . import bank, instead


@instead(bind)
async def _once(mark: Mark, execute: bind.Execute, store: Store, context: Context, message: Message) -> msgspec.Raw:
    if (first := await store.marked(mark.scope, mark.key)) is not None:
        return bind._repeated(first, mark.digest)
    answer = await execute(context, message)
    kept = Mark(mark.scope, mark.key, mark.digest, answer)
    await store.commit(Batch(context.host.now(), marks=(kept,)))
    return msgspec.Raw(answer)


@simulation(bank.setup, seconds=bank.SECONDS)
async def key_after_effect(world: World) -> None:
    await bank.story(world)
