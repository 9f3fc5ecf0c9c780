"""Carries out one action on dead letters: letter by letter, each in one commit with all that it leads to.

A letter is handled as its subscription would handle the message. What the handler wrote, the end of the letter, the
count of the action and its outcome are one commit. That commit rests on the letter being as it was read: so no letter
takes effect twice, whoever else has it. It rests on the action being as it was read: so nothing takes effect once an
action was stopped. And it rests on the drawer of the letter's key: so no message is parked behind a letter that goes.
A letter that a relay could not send is sent again, and takes effect once where it gets to, by the mark of its message.

Of a key in order the oldest letter is handled first. When it is done, those that only waited for it are handled, until
one fails; the action remembers whose turn that is, so that another process goes on there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import cast, final

import msgspec

from hanse.delivery.action import ACTIONS, OUTCOMES, LetterAction, What, counted, ended, outcome_of
from hanse.delivery.courier import ACK_SECONDS
from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, failure_of, letter_in, message_in
from hanse.delivery.drawers import is_moved, oldest_of, place_of_drawer
from hanse.delivery.inbox import HANDLER_SHARE, OUTAGES
from hanse.delivery.pause import pause
from hanse.delivery.relay import Relay
from hanse.delivery.retry import HandlerFailed, next_delay
from hanse.kernel.context import Context, ambient
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Conflict, DeadlineExceeded, NotFound, PreconditionFailed
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers, Message
from hanse.node.events import Subscription
from hanse.node.hosted import Hosted
from hanse.node.places import place_of
from hanse.service.leases import Grant, LeaseLost
from hanse.service.shape import schema_of, shape_of
from hanse.service.unit import Unit, unit_for
from hanse.store.base import Expect, Position
from hanse.store.evaluate import predicate
from hanse.store.query import Query

_log = logging.getLogger("hanse.delivery")

PAGE = 100
"""Letters that are read at once."""

RACES_MAX = 3
"""Races in a row that the handling of one letter may lose before that is its failure."""

HANDLER_SECONDS = ACK_SECONDS * HANDLER_SHARE
"""How long a handler may take for one letter, as for a message that is delivered."""

REPLAYED_BY = "replayed-by"
"""Extra header of a message that is replayed: the id of the action."""

_RACES = (Conflict, PreconditionFailed, NotFound)


class Moved(Exception):
    """The action, or the letter, is not as it was read."""


@final
class Carrying:
    """One action, being carried out.

    Args of the constructor:
        action: As it was read, running.
        hosted: The service whose dead letters they are.
        subscriptions: Those of the service, by address.
        host: Clocks, chance and ids.
        duty: What commits rest on, where several share the store.
        stopping: Set when no more letters are to be begun.
    """

    def __init__(
        self,
        action: LetterAction,
        hosted: Hosted,
        subscriptions: Mapping[str, Subscription],
        host: Host,
        duty: Grant | None,
        stopping: asyncio.Event,
    ) -> None:
        self._id = action.id
        self._action = action
        self._hosted = hosted
        self._store = hosted.store
        self._subscriptions = subscriptions
        self._host = host
        self._duty = duty
        self._stopping = stopping
        test = predicate(action.meant(), schema_of(DeadLetter))
        self._meant: Callable[[DeadLetter], bool] = lambda letter: test(shape_of(DeadLetter).plain(letter))

    async def run(self) -> None:
        """Go on with it until it has ended, or something is in the way; then it is gone on with later.

        Raises:
            Fault: The store cannot be reached, or another instance has the duty.
        """
        try:
            if self._action.releasing is not None:
                await self._key(*self._action.releasing)
            while letters := await self._page():
                for letter in letters:
                    if self._stopping.is_set():
                        return
                    await self._letter(letter)
            await self._end()
        except Moved:
            _log.info("the action %s on dead letters has ended, or another instance has it", self._id)

    async def _page(self) -> list[DeadLetter]:
        found = await self._store.find(DEAD_LETTERS, Query(self._action.where(), limit=PAGE))
        return [letter_in(row) for row in found.rows]

    async def _letter(self, letter: DeadLetter) -> None:
        """Deal with a letter that is meant; what comes after it in the walk is not met again."""
        fresh = await self._fresh(letter.id)
        if fresh is not None and fresh.action != self._id:
            if self._action.kind == "drop":
                await self._drop(fresh)
            elif fresh.drawer < 0:
                _ = await self._replay(fresh)
            if fresh.drawer >= 0:
                await self._key(fresh.group, fresh.key)
        self._action = msgspec.structs.replace(self._action, after=letter.id)

    async def _key(self, group: str, key: str) -> None:
        """Handle the letters of a key, the oldest first, as long as they succeed: those meant, and those that wait."""
        while not self._stopping.is_set():
            oldest = await oldest_of(self._store, group, key)
            if oldest is None or oldest.action == self._id:
                return
            chosen = self._meant(oldest)
            if not (oldest.waits_for or chosen) or (chosen and self._action.kind == "drop"):
                return
            if not await self._replay(oldest):
                return

    async def _fresh(self, id: str) -> DeadLetter | None:
        row = await self._store.load(DEAD_LETTERS, id)
        return None if row is None else letter_in(row)

    async def _replay(self, letter: DeadLetter) -> bool:
        """Have a letter handled; whether it succeeded, or is gone."""
        races, attempt = 0, 1
        while not self._stopping.is_set():
            await self._check_action()
            error = await self._handled(letter, attempt)
            if error is None:
                await self._pace()
                return True
            await self._check_action()
            again = await self._fresh(letter.id)
            if again is None or again.rev != letter.rev:
                return again is None  # it was dealt with otherwise, or edited
            races += 1
            if isinstance(error, (*OUTAGES, HandlerFailed)):
                # Whoever handles it elsewhere tries it as often as any message, and parks it where it is then.
                attempt += isinstance(error, HandlerFailed)
                await self._rest(error, races)
            elif not (is_moved(error, letter.group, letter.key) or (isinstance(error, _RACES) and races < RACES_MAX)):
                await self._failed(letter, error)
                await self._pace()
                return False
        return False

    async def _handled(self, letter: DeadLetter, attempt: int) -> Exception | None:
        """Have it handled, and commit the end of the letter with what was written; what it failed with."""
        timer = asyncio.timeout(HANDLER_SECONDS)
        try:
            message = self._again(message_in(letter), attempt)
            place = place_of(letter, message, self._subscriptions, self._hosted)
            fault_point("replay.before_handler")
            async with timer:
                if isinstance(place, Relay):
                    await place.send(message)
                    await self._commit(self._unit(letter), letter, "succeeded")
                else:
                    await self._run(place, message, letter)
            fault_point("replay.after_commit")
        except TimeoutError as error:
            return DeadlineExceeded(letter.group) if timer.expired() else error
        except Exception as error:
            if isinstance(error, LeaseLost) and self._duty is not None and error.name == self._duty.name:
                raise
            return error
        return None

    async def _run(self, subscription: Subscription, message: Message, letter: DeadLetter) -> None:
        """Run a handler of this service as a unit of work, in the context of the message."""
        deadline = self._host.monotonic() + HANDLER_SECONDS
        context = Context(self._host, message.headers, deadline, message.id, subscription.address, self._store)
        token = ambient.set(context)
        try:
            await subscription.handle(self._hosted, message)
            await self._commit(cast("Unit", unit_for(self._store)), letter, "succeeded")
        finally:
            ambient.reset(token)
            context.store = None

    def _again(self, message: Message, attempt: int) -> Message:
        """As a delivery would have it; who has it replayed stands in the action."""
        extra = {**message.headers.extra, REPLAYED_BY: self._id}
        headers = msgspec.structs.replace(message.headers, attempt=attempt, idempotency_key="", extra=extra)
        return msgspec.structs.replace(message, timeout=HANDLER_SECONDS, headers=headers)

    async def _moves(self, letter: DeadLetter) -> tuple[Expect, Position] | None:
        """What tells others that something is taken out of the letter's drawer, and what that rests on."""
        if letter.drawer < 0:
            return None
        place = place_of_drawer(letter.group, letter.key)
        at = await self._store.position(place)
        return Expect(place, at), Position(place, at + 1)

    async def _drop(self, letter: DeadLetter) -> None:
        """Let a letter go unhandled."""
        while True:
            await self._check_action()
            try:
                await self._commit(self._unit(letter), letter, "dropped")
            except (PreconditionFailed, NotFound, Conflict) as fault:
                if not is_moved(fault, letter.group, letter.key):
                    return  # it was dealt with otherwise, or edited: then it is not what was to be dropped
            else:
                return

    async def _failed(self, letter: DeadLetter, error: Exception) -> None:
        """Note that a letter has failed again."""
        now = self._host.now()
        failed = failure_of(letter, error, now)
        unit = self._unit(letter)
        unit.put(DEAD_LETTERS, msgspec.structs.replace(failed, action=self._id), letter.rev, insisted=True)
        _log.warning("%s has failed again at %s %s", letter.group, letter.topic, letter.message_id, exc_info=error)
        await self._count(unit, failed, "failed")

    async def _commit(self, unit: Unit, letter: DeadLetter, what: What) -> None:
        """Commit what a unit has with the end of a letter."""
        unit.delete(DEAD_LETTERS, letter.id, letter.rev)
        moves = await self._moves(letter)
        if moves is not None:
            unit.fences.append(moves[0])
            unit.positions.append(moves[1])
        await self._count(unit, letter, what)

    async def _count(self, unit: Unit, letter: DeadLetter, what: What) -> None:
        now = self._host.now()
        action = counted(self._action, what, now, chosen=self._meant(letter))
        if action.state == "running":
            releasing = (letter.group, letter.key) if letter.drawer >= 0 and what != "failed" else None
            action = msgspec.structs.replace(action, releasing=releasing)
        unit.put(OUTCOMES, outcome_of(self._id, letter, what, now), None)
        await self._put(unit, action)

    async def _put(self, unit: Unit, action: LetterAction) -> None:
        """Commit a unit with the action as it is after it, if that is as it was read."""
        unit.put(ACTIONS, action, self._action.rev, insisted=True)
        await (unit.commit() if self._duty is None else self._duty.commit(unit))
        self._action = action

    async def _end(self) -> None:
        if self._action.state == "running":
            try:
                await self._put(self._unit(), ended(self._action, "done", self._host.now()))
            except PreconditionFailed:
                raise Moved from None

    async def _check_action(self) -> None:
        """Make sure that the action goes on, and is as it was read.

        Raises:
            Moved: It has halted, or somebody has stopped it.
        """
        if self._action.state != "running":
            raise Moved
        row = await self._store.load(ACTIONS, self._id)
        if row is None or row.rev != self._action.rev:
            raise Moved

    async def _rest(self, error: Exception, times: int) -> None:
        """Wait while something is away that the handler needs; that is no failure of the letter."""
        if times == 1:
            _log.warning("the action %s on dead letters waits: %s", self._id, error)
        _ = await pause(self._stopping, next_delay(times + 1, error, self._host.chance.random()))

    async def _pace(self) -> None:
        if self._action.rate > 0.0:
            _ = await pause(self._stopping, 1.0 / self._action.rate)

    def _unit(self, letter: DeadLetter | None = None) -> Unit:
        headers = NO_HEADERS if letter is None else Headers(tags=letter.tags)
        return Unit(self._store, Context(self._host, headers))
