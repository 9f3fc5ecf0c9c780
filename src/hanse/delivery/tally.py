"""The tally: how many messages failed in the same way, kept up to date, so that nobody has to count dead letters.

It is a copy of what the log says. Each commit of it has the counts and the position of the log that they stand for, and
rests on the position before: so nothing is counted twice, whoever counts, and parking a letter costs nothing for it.
Who wants to read it catches up first, and then it tells of everything that was committed until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import final

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.delivery.deadletter import DEAD_LETTERS
from hanse.delivery.pause import pause
from hanse.kernel.codec import codec_for, stored_json
from hanse.kernel.faults import Fault, PreconditionFailed, Unavailable
from hanse.kernel.host import Host
from hanse.store.base import CHANGES_MAX, Batch, Delete, Entry, Expect, Position, Put, Store
from hanse.store.query import PAGE_MAX, Compare, Query

_log = logging.getLogger("hanse.delivery")


SAVE_EVERY = 5_000
"""Positions of other things after which the tally's own is saved; fewer are read again by whoever is next."""

REST_SECONDS = 1.0
"""From one count to the next, while letters keep coming: each costs a commit."""

RACES_MAX = 10
"""How often a count is tried again because another instance counted as well, or letters came amid a first count."""


class LetterGroup(Resource, collection="dead_letter_groups", indexed=("size",)):
    """Dead letters that failed in the same way. Its id is their fingerprint.

    Attributes:
        group, topic, code, text: Of the one that failed last.
        count: How many failed so.
        waiting: How many wait behind these.
        size: Both.
        example: Id of one of them; empty where none is known.
    """

    group: str = ""
    topic: str = ""
    code: str = ""
    text: str = ""
    count: int = 0
    waiting: int = 0
    size: int = 0
    example: str = ""


GROUPS = collection_of(LetterGroup)

_codec = codec_for(LetterGroup)


class _Said(msgspec.Struct, frozen=True):
    """What the tally has to know of a dead letter."""

    fingerprint: str = ""
    group: str = ""
    topic: str = ""
    code: str = ""
    text: str = ""
    waits_for: str = ""


_said = msgspec.json.Decoder(_Said)


def tallied(groups: Mapping[str, LetterGroup], entries: Iterable[Entry]) -> dict[str, LetterGroup]:
    """The groups after some entries of the log; those that are empty then are there, with a size of 0.

    Args:
        groups: As they were, by fingerprint; one that is not there is new.
        entries: What happened to dead letters, in order.
    """
    found = dict(groups)
    for entry in entries:
        if entry.before is not None:
            gone = _said.decode(entry.before)
            found[gone.fingerprint] = _without(found.get(gone.fingerprint), gone, entry.id)
        if entry.after is not None:
            come = _said.decode(entry.after)
            found[come.fingerprint] = _with(found.get(come.fingerprint), come, entry.id)
    return found


def fingerprints_of(entries: Iterable[Entry]) -> set[str]:
    """The groups that some entries of the log are about."""
    values = (value for entry in entries for value in (entry.before, entry.after) if value is not None)
    return {_said.decode(value).fingerprint for value in values}


def _with(group: LetterGroup | None, letter: _Said, id: str) -> LetterGroup:
    group = group or LetterGroup(id=letter.fingerprint, group=letter.group, topic=letter.topic)
    if letter.waits_for:
        return _sized(group, group.count, group.waiting + 1, group.example or id)
    names = ("group", "topic", "code", "text")
    told = msgspec.structs.replace(group, **{name: getattr(letter, name) for name in names})
    return _sized(told, group.count + 1, group.waiting, id)


def _without(group: LetterGroup | None, letter: _Said, id: str) -> LetterGroup:
    assert group is not None, f"a dead letter of {letter.fingerprint!r} went that was never counted"
    waits = bool(letter.waits_for)
    example = "" if group.example == id else group.example
    return _sized(group, group.count - (not waits), group.waiting - waits, example)


def _sized(group: LetterGroup, count: int, waiting: int, example: str) -> LetterGroup:
    return msgspec.structs.replace(group, count=count, waiting=waiting, size=count + waiting, example=example)


@final
class Tally:
    """Keeps the groups of one store.

    Attributes:
        idle: Whether it has nothing to do at this moment.

    Args of the constructor:
        store: Opened with the collections of `DeadLetter` and `LetterGroup`.
        host: Clocks and ids.
        name: For the log.
    """

    def __init__(self, store: Store, host: Host, name: str = "tally") -> None:
        self.name: str = name
        self.idle: bool = True
        self._store = store
        self._host = host
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False

    async def run(self) -> None:
        """Count what comes, until `stop`."""
        self._running = True
        unlisten = self._store.listen(self._wake.set, names=[DEAD_LETTERS])
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                await self._try()
                _ = await pause(self._stopping, REST_SECONDS)
                _ = await self._wake.wait()
        finally:
            unlisten()
            self._ended.set()

    async def stop(self, grace: float) -> None:
        """Count nothing new; what was not counted is by whoever is next."""
        del grace
        self._stopping.set()
        self._wake.set()
        if self._running:
            _ = await self._ended.wait()

    async def catch_up(self, *, save_every: int = SAVE_EVERY) -> int:
        """Count all that is committed by now; the position that is saved, after which it needs the log.

        Args:
            save_every: Positions of other things after which that is saved.

        Raises:
            Unavailable: The store cannot be reached, or changes faster than it can be counted.
        """
        races = 0
        while races < RACES_MAX:
            saved = await self._store.position(self._place)
            try:
                saved, more = await self._step(saved, save_every)
            except PreconditionFailed:
                races += 1  # another instance has counted the same: on from where that has come to
            else:
                if not more:
                    return saved
        raise _too_fast()

    @property
    def _place(self) -> str:
        """Names the position that the groups stand for; that of another log, which these rows came from, is none."""
        return f"tally/{self._store.log_id}"

    async def _try(self) -> None:
        self.idle = False
        try:
            _ = await self.catch_up()
        except Fault as fault:
            _log.warning("the %s could not count: %s; it tries again", self.name, fault)
            self._wake.set()
        finally:
            self.idle = True

    async def _step(self, saved: int, save_every: int) -> tuple[int, bool]:
        """Count one piece of the log; how far that comes, and whether there is more."""
        if not saved and await self._store.head():
            return await self._count_anew(saved), True
        reached, more = saved, True
        entries: tuple[Entry, ...] = ()
        while more and not entries:
            piece = await self._store.changes(reached, limit=CHANGES_MAX, names=[DEAD_LETTERS])
            if piece.trimmed:
                return await self._count_anew(saved), True
            reached, more, entries = piece.upto, piece.more, piece.entries
        if not entries and reached - saved < save_every:
            return saved, False
        after = tallied(await self._stored(fingerprints_of(entries)), entries)
        await self._save(saved, reached, [await self._write(one) for one in after.values() if one.size or one.rev])
        return reached, more

    async def _stored(self, fingerprints: Iterable[str]) -> dict[str, LetterGroup]:
        found: dict[str, LetterGroup] = {}
        for fingerprint in sorted(fingerprints):
            row = await self._store.load(GROUPS, fingerprint)
            if row is not None:
                found[fingerprint] = msgspec.structs.replace(_codec.decode_json(row.value), id=row.id, rev=row.rev)
        return found

    async def _write(self, group: LetterGroup) -> Put | Delete:
        if not group.size:
            return Delete(GROUPS, group.id, self._host.new_id())
        if not group.example:
            same = Query(Compare("eq", ("fingerprint",), group.id), limit=1)
            rows = (await self._store.find(DEAD_LETTERS, same)).rows
            # One that is on its way out is told of as gone by the entries that are yet to be read.
            group = msgspec.structs.replace(group, example=rows[0].id if rows else "")
        return Put(GROUPS, group.id, stored_json(group), self._host.new_id())

    async def _save(self, at: int, reached: int, writes: Iterable[Put | Delete]) -> None:
        place, rests = Position(self._place, reached), Expect(self._place, at)
        _ = await self._store.commit(Batch(self._host.now(), tuple(writes), positions=(place,), expects=(rests,)))

    async def _count_anew(self, at: int) -> int:
        """Count the letters themselves: the log does not tell of all of them, or nobody has counted in it yet."""
        for _ in range(RACES_MAX):
            head = await self._store.head()
            groups = await self._counted()
            if await self._is_quiet(head):
                gone = [Delete(GROUPS, id, self._host.new_id()) for id in await self._ids() if id not in groups]
                await self._save(at, head, [*gone, *[await self._write(group) for group in groups.values()]])
                return head
        raise _too_fast()

    async def _counted(self) -> dict[str, LetterGroup]:
        groups: dict[str, LetterGroup] = {}
        cursor: str | None = None
        while True:
            found = await self._store.find(DEAD_LETTERS, Query(limit=PAGE_MAX, cursor=cursor))
            for row in found.rows:
                letter = _said.decode(row.value)
                groups[letter.fingerprint] = _with(groups.get(letter.fingerprint), letter, row.id)
            cursor = found.next
            if cursor is None:
                return groups

    async def _ids(self) -> list[str]:
        ids: list[str] = []
        cursor: str | None = None
        while True:
            found = await self._store.find(GROUPS, Query(limit=PAGE_MAX, cursor=cursor))
            ids += [row.id for row in found.rows]
            cursor = found.next
            if cursor is None:
                return ids

    async def _is_quiet(self, since: int) -> bool:
        """Whether no dead letter has changed since a position."""
        while True:
            piece = await self._store.changes(since, limit=1, names=[DEAD_LETTERS])
            if piece.entries or not piece.more:
                return not piece.entries
            since = piece.upto


def _too_fast() -> Unavailable:
    return Unavailable("the dead letters change faster than they are counted; ask again")
