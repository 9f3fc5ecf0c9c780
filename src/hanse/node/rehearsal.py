"""A rehearsal: runs a handler against the live store, and tells what it would have done; nothing of it lasts.

What the handler writes and emits is staged in a unit of work, as always, that is never committed. Calls to others are
refused, as nobody can take back what they would do there; but rows of others may be read, since most handlers cannot
decide anything without. What a handler does outside of Hanse cannot be held back: it may look at
`current().rehearsal`, which is set then.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

import msgspec

from hanse.contract.model import Model
from hanse.delivery.courier import ACK_SECONDS
from hanse.delivery.inbox import HANDLER_SHARE
from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import DeadlineExceeded, Fault, PreconditionFailed
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.node.events import Subscription
from hanse.node.hosted import Hosted
from hanse.service.unit import COMMIT, Unit
from hanse.store.base import Batch, Delete, Emit, Put

READS = frozenset({"get", "find", "count", "many", "cursor"})
"""Operations on rows of others that a rehearsal may call: they are ours, and known to change nothing."""

TEXT_CHARACTERS_MAX = 2_000


class NotInRehearsal(Fault, status=409, detail="a rehearsal lets nothing last, and {problem}"):
    """A handler that is only rehearsed would have done something that cannot be taken back."""

    problem: str


class RowEffect(Model):
    """A row that would have changed: what it was and what it would be, as JSON; empty where there is none."""

    collection: str
    id: str
    before: str = ""
    after: str = ""


class EventEffect(Model):
    """An event that would have been told, as JSON."""

    topic: str
    value: str


class Rehearsed(Model):
    """What a handler would have done.

    Attributes:
        code, text: What it failed with; empty where it did not.
        rows: What it would have written.
        events: What it would have told.
        reads: Rows of others that it has asked for, as addresses.
    """

    code: str = ""
    text: str = ""
    rows: tuple[RowEffect, ...] = ()
    events: tuple[EventEffect, ...] = ()
    reads: tuple[str, ...] = ()


async def rehearsed(hosted: Hosted, subscription: Subscription, message: Message, host: Host) -> Rehearsed:
    """Run the handler of a message, and tell what it would have done."""
    reads: dict[str, None] = {}

    def ask(address: str) -> None:
        service, _, operation = address.rpartition(".")
        if address == COMMIT:
            raise NotInRehearsal("its handler commits something by itself")
        if not service.startswith("rows/") or operation not in READS:
            raise NotInRehearsal(f"its handler calls {address}, which may change something there")
        reads[address] = None

    headers = msgspec.structs.replace(message.headers, attempt=1, idempotency_key="")
    seconds = ACK_SECONDS * HANDLER_SHARE
    context = Context(host, headers, host.monotonic() + seconds, message.id, subscription.address, hosted.store)
    context.rehearsal = ask
    error = await _run(hosted, subscription, message, context, seconds)
    # The store stays: what a task of the handler's writes later goes the way of the rest.
    unit = cast("Unit", context.work) if context.work is not None else Unit(hosted.store, context)
    await _give_back(unit, hosted, host)
    code = "" if error is None else error.code if isinstance(error, Fault) else type(error).__qualname__
    rows = [await _row_effect(hosted, write) for write in unit.writes if not isinstance(write, Emit)]
    events = [EventEffect(topic=one.topic, value=one.value.decode()) for one in unit.writes if isinstance(one, Emit)]
    return Rehearsed(
        code=code,
        text=str(error or "")[:TEXT_CHARACTERS_MAX],
        rows=tuple(rows),
        events=tuple(events),
        reads=tuple(reads),
    )


async def _run(
    hosted: Hosted, subscription: Subscription, message: Message, context: Context, seconds: float
) -> Exception | None:
    timer = asyncio.timeout(seconds)
    token = ambient.set(context)
    try:
        async with timer:
            await subscription.handle(hosted, message)
    except TimeoutError as error:
        return DeadlineExceeded(subscription.group) if timer.expired() else error
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is what would have happened
        return error
    finally:
        ambient.reset(token)
    return None


async def _give_back(unit: Unit, hosted: Hosted, host: Host) -> None:
    """Give back the locks that the handler took, which others see at once: it would have with its commit."""
    if unit.positions:
        held = {fence.name for fence in unit.fences}
        positions = tuple(position for position in unit.positions if position.name in held)
        with suppress(PreconditionFailed):
            _ = await hosted.store.commit(Batch(host.now(), positions=positions, expects=tuple(unit.fences)))


async def _row_effect(hosted: Hosted, write: Put | Delete) -> RowEffect:
    row = await hosted.store.load(write.collection, write.id)
    before = "" if row is None else row.value.decode()
    after = write.value.decode() if isinstance(write, Put) else ""
    return RowEffect(collection=write.collection, id=write.id, before=before, after=after)
