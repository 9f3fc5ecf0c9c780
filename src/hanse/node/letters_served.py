"""Serves the dead letters of a hosted service: reads them, and keeps what is asked for as rows; see `letters`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from hanse.delivery.action import (
    ACTIONS,
    HALT_SHARE,
    OUTCOMES,
    Kind,
    LetterAction,
    LetterOutcome,
    Selection,
    What,
    ended,
    outcome_of,
)
from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, letter_in, message_in
from hanse.delivery.drawers import of_key, oldest_of
from hanse.delivery.relay import Relay
from hanse.delivery.tally import GROUPS, LetterGroup, Tally
from hanse.kernel.codec import canonical, codec_for
from hanse.kernel.context import current
from hanse.kernel.faults import Conflict, Fault, Invalid, Malformed, NotFound, PreconditionFailed, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.mesh.server import Server
from hanse.node.app import App
from hanse.node.bind import endpoint
from hanse.node.events import Subscription, edited, published_topic, subscriptions_by_address
from hanse.node.hosted import Hosted
from hanse.node.letters import (
    ActionPage,
    GroupPage,
    LetterLine,
    LetterPage,
    LetterShown,
    OutcomePage,
    Waits,
    letters_contract,
)
from hanse.node.places import event_told, place_of
from hanse.node.rehearsal import NotInRehearsal, Rehearsed, rehearsed
from hanse.service.shape import merge_patch, shape_of
from hanse.service.unit import Unit, unit_for
from hanse.store.base import Entry, Op, Store
from hanse.store.query import PAGE_MAX, Compare, Order, Query

IDS_MAX = 1_000
"""Letters that are named one by one."""

_entries = codec_for(Entry)


def serve_letters(hosted: Hosted, app: App, server: Server, host: Host) -> str:
    """Serve those of a hosted service; the name under which the transport has to listen."""
    letters = LettersOf(hosted, subscriptions_by_address(app), host)
    description = letters_contract(hosted.part.name)
    for name, operation in description.operations.items():
        server.add(operation.address, endpoint(operation, getattr(letters, name), hosted.store))
    return description.name


class LettersOf:
    """Serves the dead letters of a hosted service.

    Args of the constructor:
        hosted: The service.
        subscriptions: All of the app, by address.
        host: Clocks and ids.
    """

    def __init__(self, hosted: Hosted, subscriptions: Mapping[str, Subscription], host: Host) -> None:
        self.store: Store = hosted.store
        self._hosted = hosted
        self._store = hosted.store
        self._subscriptions = subscriptions
        self._host = host
        self._tally = Tally(hosted.store, host)

    async def groups(self, *, limit: int = 50, cursor: str | None = None) -> GroupPage:
        """See `Letters.groups`."""
        _ = await self._tally.catch_up()
        largest = Query(None, (Order(("size",), descending=True),), min(limit, PAGE_MAX), cursor)
        found = await self._store.find(GROUPS, largest)
        read = shape_of(LetterGroup).read
        return GroupPage(items=[read(row.value, row.id, row.rev) for row in found.rows], next=found.next)

    async def find(self, which: Selection, *, limit: int = 50, cursor: str | None = None) -> LetterPage:
        """See `Letters.find`."""
        found = await self._store.find(DEAD_LETTERS, Query(which.where(), (), min(limit, PAGE_MAX), cursor))
        return LetterPage(items=[_line(letter_in(row)) for row in found.rows], next=found.next)

    async def count(self, which: Selection) -> int:
        """See `Letters.count`."""
        return await self._store.count(DEAD_LETTERS, Query(which.where()))

    async def get(self, id: str) -> LetterShown:
        """See `Letters.get`."""
        return await self._shown(await self._there(id))

    async def edit(self, id: str, value: bytes, *, patch: bool = False, if_match: int | None = None) -> LetterShown:
        """See `Letters.edit`."""
        letter = await self._there(id)
        if if_match not in (None, letter.rev):
            raise PreconditionFailed("dead letter", id, str(if_match), str(letter.rev))
        message = message_in(letter)
        message = self._edited(message, _patched(message, value) if patch else value)
        edited = msgspec.structs.replace(letter, message=canonical(message), original=letter.original or letter.message)
        unit = self._unit()
        unit.put(DEAD_LETTERS, edited, letter.rev, insisted=True)
        self._note(unit, "edit", letter, edited)
        await unit.commit()
        return await self._shown(edited)

    async def rehearse(self, id: str) -> Rehearsed:
        """See `Letters.rehearse`."""
        letter = await self._there(id)
        message = message_in(letter)
        place = self._place(letter, message)
        if isinstance(place, Relay):
            raise NotInRehearsal(f"it would be sent to {message.address}, which handles it elsewhere")
        found = await rehearsed(self._hosted, place, message, self._host)
        self._note(self._unit(), "dry_run", letter)
        return found

    async def replay(self, which: Selection, *, rate: float = 0.0, halt: float = HALT_SHARE) -> LetterAction:
        """See `Letters.replay`."""
        if rate < 0.0 or not 0.0 < halt <= 1.0:
            raise Invalid("expected a rate of 0 or more, and a share above 0 up to 1 at which to halt", [])
        letters = await self._named(which)
        if len(letters) == 1 and (blocker := await self._blocker(letters[0])) is not None:
            raise Waits(letters[0].id, blocker.id)
        return await self._begun("replay", which, rate=rate, halt=halt)

    async def drop(self, which: Selection) -> LetterAction:
        """See `Letters.drop`."""
        _ = await self._named(which)
        return await self._begun("drop", which)

    async def stop(self, action: str) -> LetterAction:
        """See `Letters.stop`."""
        while True:
            found = await self.action(action)
            if found.state != "running":
                return found
            stopped = ended(found, "stopped", self._host.now(), _who())
            unit = self._unit()
            unit.put(ACTIONS, stopped, found.rev, insisted=True)
            try:
                await unit.commit()
            except PreconditionFailed:
                unit.clear()  # one more letter was counted meanwhile: the next look is at that
            else:
                return stopped

    async def action(self, id: str) -> LetterAction:
        """See `Letters.action`."""
        row = await self._store.load(ACTIONS, id)
        if row is None:
            raise NotFound("action on dead letters", id)
        return shape_of(LetterAction).read(row.value, row.id, row.rev)

    async def actions(self, *, limit: int = 50, cursor: str | None = None) -> ActionPage:
        """See `Letters.actions`."""
        newest = Query(None, (Order(("asked_at",), descending=True),), min(limit, PAGE_MAX), cursor)
        found = await self._store.find(ACTIONS, newest)
        read = shape_of(LetterAction).read
        return ActionPage(items=[read(row.value, row.id, row.rev) for row in found.rows], next=found.next)

    async def outcomes(self, action: str, *, limit: int = 50, cursor: str | None = None) -> OutcomePage:
        """See `Letters.outcomes`."""
        of_action = Query(Compare("eq", ("action",), action), (), min(limit, PAGE_MAX), cursor)
        found = await self._store.find(OUTCOMES, of_action)
        read = shape_of(LetterOutcome).read
        return OutcomePage(items=[read(row.value, row.id, row.rev) for row in found.rows], next=found.next)

    async def _there(self, id: str) -> DeadLetter:
        row = await self._store.load(DEAD_LETTERS, id)
        if row is None:
            raise NotFound("dead letter", id)
        return letter_in(row)

    async def _named(self, which: Selection) -> list[DeadLetter]:
        if len(which.ids) > IDS_MAX:
            raise Invalid(
                f"expected at most {IDS_MAX} ids at once, got {len(which.ids)}; choose by what they share", []
            )
        return [await self._there(id) for id in which.ids]

    async def _blocker(self, letter: DeadLetter) -> DeadLetter | None:
        """What a letter waits behind; None where it may be handled."""
        if letter.drawer < 0:
            return None
        oldest = await oldest_of(self._store, letter.group, letter.key)
        return None if oldest is None or oldest.id == letter.id else oldest

    async def _begun(
        self, kind: Kind, which: Selection, *, rate: float = 0.0, halt: float = HALT_SHARE
    ) -> LetterAction:
        action = self._action(kind, which, rate=rate, halt=halt, upto=await self._store.head())
        asked = await self._store.count(DEAD_LETTERS, Query(action.meant()))
        action = msgspec.structs.replace(action, asked=asked)
        unit = self._unit()
        unit.put(ACTIONS, action, 0)
        await unit.commit()
        return action

    def _action(self, kind: Kind, which: Selection, **more: object) -> LetterAction:
        made = LetterAction(id=self._host.new_id(), kind=kind, who=_who(), asked_at=self._host.now(), which=which)
        return msgspec.structs.replace(made, **more)

    def _note(self, unit: Unit, kind: Kind, letter: DeadLetter, edited: DeadLetter | None = None) -> None:
        """Stage that something was done about one letter, and by whom; where it was edited, what it tells then."""
        action = self._action(kind, Selection(ids=(letter.id,)), asked=1)
        action = ended(action, "done", self._host.now())
        what: What = "edited" if kind == "edit" else "tried"
        unit.put(ACTIONS, action, 0)
        outcome = outcome_of(action.id, letter, what, action.asked_at)
        if edited is not None:
            before, after = (_text_of(_entry_in(one.message)) for one in (letter, edited))
            outcome = msgspec.structs.replace(outcome, before=before, after=after)
        unit.put(OUTCOMES, outcome, 0)

    def _place(self, letter: DeadLetter, message: Message) -> Subscription | Relay:
        try:
            return place_of(letter, message, self._subscriptions, self._hosted)
        except UnknownOperation as fault:
            raise Conflict(f"{fault.detail}; drop it, or deploy what handles it") from None

    def _edited(self, message: Message, value: bytes) -> Message:
        """A message that tells of another value, as whoever handles it would have it, wherever that is."""
        subscription = self._subscriptions.get(message.address)
        if subscription is not None:
            return subscription.edited(message, value)
        kind = event_told(message, self._hosted)
        if kind is None:
            raise Conflict(f"nobody handles {message.address} any more; drop it, or deploy what handles it")
        return edited(kind, published_topic(kind), message, value)

    def _unit(self) -> Unit:
        return cast("Unit", unit_for(self._store))

    async def _shown(self, letter: DeadLetter) -> LetterShown:
        message = message_in(letter)
        headers, blocker = message.headers, await self._blocker(letter)
        behind = 0
        if letter.drawer >= 0 and blocker is None:
            behind = await self._store.count(DEAD_LETTERS, Query(of_key(letter.group, letter.key))) - 1
        entry = _entry_in(letter.message)
        return LetterShown(
            line=_line(letter),
            value=_text_of(entry),
            original=_text_of(_entry_in(letter.original)) if letter.original else "",
            **_told(entry),
            producer=headers.producer,
            subject=headers.identity.subject,
            traceparent=headers.traceparent,
            causation_id=headers.causation_id,
            correlation_id=headers.correlation_id,
            behind=behind,
            blocker="" if blocker is None else blocker.id,
            message=letter.message,
        )


def _who() -> str:
    """Who acts, as it is kept."""
    return current().identity.caller.lstrip("/") or "anonymous"


def _line(letter: DeadLetter) -> LetterLine:
    own = {name: getattr(letter, name) for name in LetterLine.__struct_fields__ if name != "edited"}
    return LetterLine(**own, edited=bool(letter.original))


def _entry_in(message: bytes) -> Entry | None:
    """What a message tells of; None where that cannot be read."""
    try:
        return _entries.decode(codec_for(Message).decode(message).body)
    except Fault:
        return None


def _told(entry: Entry | None) -> dict[str, Any]:
    if entry is None:
        return {}
    row, before = "" if entry.op is Op.EMITTED else entry.id, (entry.before or b"").decode(errors="replace")
    return {"op": str(entry.op), "name": entry.name, "row": row, "before": before, "at": entry.at}


def _text_of(entry: Entry | None) -> str:
    return "" if entry is None else (entry.after or b"").decode(errors="replace")


def _patched(message: Message, patch: bytes) -> bytes:
    """The value that a message tells, after a merge patch."""
    entry = _entries.decode(message.body)
    try:
        value, changes = msgspec.json.decode(entry.after or b"null"), msgspec.json.decode(patch)
    except msgspec.DecodeError as error:
        raise Malformed(f"expected JSON to patch, and a patch in JSON: {error}; give the value whole") from None
    return msgspec.json.encode(merge_patch(value, changes))
