"""The mark of an idempotency key is committed before the effect, by itself.
A process that dies between the two leaves a key that is used up, and nothing done."""

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
    await store.commit(Batch(context.host.now(), marks=(mark,)))
    return msgspec.Raw(await execute(context, message))


@simulation(bank.setup, seconds=bank.SECONDS)
async def key_before_effect(world: World) -> None:
    await bank.story(world)
