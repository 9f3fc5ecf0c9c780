"""Writes what is committed: all that waits in one step of the server, one group after the other, on one connection.

A connection that breaks while a group is under way leaves open whether that was committed. That is found out as soon as
the server is back: the server keeps the number of this process's last group, and is told that this one is not to come
any more, should it still be on its way. Only where the server stays away is whoever waits told that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import cast, final

import msgspec

from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Unavailable
from hanse.kernel.resp import ReplyError
from hanse.store.base import Batch, Row
from hanse.store.group import Group, Outcome, Wanted
from hanse.store.plan import Address
from hanse.store.redis.failures import is_elsewhere, is_lost, is_of_value, meaning
from hanse.store.redis.group import Granted, Written, commands, is_sure, mark_field, needed, written
from hanse.store.redis.index import of_collections
from hanse.store.redis.judge import shortfall, waits_for_disk
from hanse.store.redis.link import Dialer, Link
from hanse.store.redis.opening import Opened, opened_in
from hanse.store.redis.packed import lua, pack
from hanse.store.redis.scripts import COMMIT, DECIDE, DONE, GONE, SHAPE, TURN
from hanse.store.remote.commits import Errors, Heard, applied, found_out

TRY_SECONDS = 5.0
"""For which a group is tried, against others who write and connections that break."""

TURN_SECONDS = 0.001
"""Between two tries, while it is somebody else's turn."""

KEPT_SECONDS = 5.0
"""For which the disk and replicas have the time to take a commit, where it waits for them."""

_ERRORS = Errors(is_of_value, meaning)


class _Planned(msgspec.Struct, frozen=True):
    """What a group comes to, on what, and what each of the batches that take effect adds to it.

    Attributes:
        base: The position that it begins behind; at least that of every row that is known.
    """

    group: Group
    granted: Granted
    base: int
    pieces: list[Written]


@final
class Committer:
    """What commits the groups of one process to one store.

    Attributes:
        author: Names this process.
        log_id: Names the log, as it was found last.
    """

    def __init__(self, dialer: Dialer, opened: Opened, author: str, heard: Heard) -> None:
        """Have nothing to do yet.

        Args:
            dialer: Makes connections.
            opened: What is there.
            author: Names this process.
            heard: Told of what was committed.
        """
        self.author: str = author
        self.log_id: str = opened.log_id
        self._dialer = dialer
        self._names = dialer.names
        self._opened = opened
        self._indexes = of_collections(opened.indexes)
        self._host = dialer.reach.host
        self._heard = heard
        self._number = 0
        self._head = 0
        self._link: Link | None = None

    def use(self, link: Link) -> None:
        """Begin with a connection that is there already."""
        self._link = link

    async def leave(self) -> None:
        """Write no more, and let go."""
        link, self._link = self._link, None
        if link is not None:
            with suppress(Exception):
                # At worst it stays for a day.
                _ = await link.ask(b"DEL", self._names.writer(self.author))
            link.give_up("the store was closed")

    def renamed(self, log_id: str) -> None:
        """Go on with a log that has another id, and maybe another head, since."""
        self.log_id, self._head = log_id, 0

    async def apply(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """What becomes of some batches; raises nothing but cancellation."""
        return await applied(batches, self._written, _ERRORS, self._dialer.place)

    async def _written(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        until, everything = self._host.monotonic() + TRY_SECONDS, False
        while self._host.monotonic() < until:
            planned = await self._planned(batches, everything=everything)
            if planned.group.nothing:
                return self._done(planned, planned.base)
            head = await self._sent(planned)
            if head is not None:
                return self._done(planned, head)
            everything = True
        raise Unavailable(f"the store {self._dialer.place} did nothing: others kept writing; try again")

    async def _planned(self, batches: Sequence[Batch], *, everything: bool) -> _Planned:
        """What some batches come to, on what is stored; it changes nothing."""
        schemas = self._opened.schemas
        wanted = Wanted.of(batches, schemas) if everything else needed(batches, schemas)
        granted = Granted(schemas, batches)
        if everything or not wanted.nothing or not self._head:
            await self._read(wanted, granted)
        base, group = self._head, Group(granted, self._head)
        group.plan(batches)
        if everything or is_sure(group, granted):
            return _Planned(group, granted, base, [written(batch, one, base) for batch, one in group.accepted])
        return await self._planned(batches, everything=True)

    async def _read(self, wanted: Wanted, granted: Granted) -> None:
        *replies, state = await self._asked(commands(wanted, self._names))
        head, shape, log_id = cast("list[bytes | None]", state)
        if head is None or shape is None or log_id is None:
            raise self._gone()
        if int(shape) != self._opened.shape:
            await self._look_again()
        granted.read(wanted, cast("list[list[bytes | None]]", replies))
        self._head = int(head)

    async def _asked(self, asked: Sequence[tuple[bytes, ...]]) -> list[object]:
        """Read; once more where a connection broke that had been idle."""
        worn = self._link is not None
        link = await self._ready()
        try:
            return await link.all(*asked)
        except Exception as error:
            if not is_lost(error) and not is_elsewhere(error):
                raise
            self._drop(link, str(error))
            if not worn or isinstance(error, TimeoutError):
                raise
        return await (await self._ready()).all(*asked)

    async def _sent(self, planned: _Planned) -> int | None:
        """Write it; the head that it was written behind, or None if it was not, as others wrote in between."""
        link = await self._ready()
        self._number += 1
        keys, arguments = self._command(planned)
        fault_point("store.before_commit")
        try:
            came = cast("list[bytes]", await link.run(COMMIT, keys, *arguments))
            if came[0] == DONE:
                await kept(link, self._dialer)
        except ReplyError as error:
            if is_elsewhere(error):
                self._drop(link, str(error))
            raise
        except (OSError, TimeoutError) as error:
            self._drop(link, str(error))
            head = await found_out(self._took_effect, self._dialer.reach, error)
        else:
            head = await self._told(came)
        if head is not None:
            fault_point("store.after_commit")
        return head

    async def _told(self, came: Sequence[bytes]) -> int | None:
        match came[0]:
            case word if word == DONE:
                return int(came[1])
            case word if word == TURN:
                await asyncio.sleep(TURN_SECONDS)
            case word if word == SHAPE:
                await self._look_again()
            case word if word == GONE:
                # The log may have got another id meanwhile, which a new connection tells.
                if self._link is not None:
                    self._drop(self._link, "the log has another name")
                _ = await self._ready()
            case _:
                pass
        return None

    async def _took_effect(self) -> int | None:
        """The head that the group was written behind that was sent last; None if it was not written, nor will be."""
        link = await self._ready()
        try:
            asked = link.run(DECIDE, [self._names.writer(self.author)], b"%d" % self._number)
            what, head = cast("list[bytes]", await asked)
            if what != DONE:
                return None
            await kept(link, self._dialer)
        except (OSError, TimeoutError, ReplyError) as again:
            self._drop(link, str(again))
            raise
        return int(head)

    def _done(self, planned: _Planned, head: int) -> Sequence[Outcome]:
        group, shift = planned.group, head - planned.base
        self._head = max(self._head, group.head + shift)
        if told := group.told:
            self._heard(told, self._head)
        if not shift:
            return group.outcomes
        return [
            one if isinstance(one, Exception) else tuple(position + shift for position in one) for one in group.outcomes
        ]

    async def _ready(self) -> Link:
        if self._link is None or self._link.is_closed:
            self._link = None
            link = await self._dialer.dial()
            if not link.log_id:
                link.give_up("there is no store any more")
                raise self._gone()
            # After a server has lost the end of its log, that goes on under another name.
            self.log_id = link.log_id
            self._link = link
        return self._link

    def _drop(self, link: Link, why: str) -> None:
        link.give_up(why)
        self._link = None

    def _gone(self) -> Unavailable:
        return Unavailable(
            f"the store {self._dialer.place} is gone from its server, which was emptied or lost what it kept; put its "
            "data back, or start anew"
        )

    async def _look_again(self) -> None:
        """Another version of this service shares the store."""
        found = await opened_in(await self._ready(), self._names)
        self._opened = msgspec.structs.replace(found, schemas=self._opened.schemas)
        self._indexes = of_collections(found.indexes)

    def _command(self, planned: _Planned) -> tuple[list[bytes], list[bytes]]:
        """Keys and arguments of `COMMIT`."""
        names, group, granted = self._names, planned.group, planned.granted
        keys = _Keys(
            *(names.meta, names.log, names.marks, names.marks_at, names.positions, names.turn),
            *(names.writer(self.author), names.dump),
        )
        rests = b"%d" % planned.base if any(one.rests_on_head for one in planned.pieces) else b""
        places = {name: (keys.number(names.rows(name)), keys.number(names.ids(name))) for name, _ in group.rows}
        before = {address: granted.rows[address] for address in group.rows}
        batches = [batch for batch, _ in group.accepted]
        checks = (
            [(places[name][0], id, str(row.rev if row else 0)) for (name, id), row in before.items()],
            [lua(mark_field(mark.scope, mark.key)) for batch in batches for mark in batch.marks],
            # One that the group itself has moved before was not looked at.
            [
                (name, str(granted.positions[name]))
                for name in {one.name for batch in batches for one in batch.expects}
                if name in granted.positions
            ],
        )
        after = [(places[name], id, row) for (name, id), row in group.rows.items()]
        left, joined = self._indexed(keys, before, group.rows)
        work = {
            "gone": [(*place, id) for place, id, row in after if row is None],
            "rows": [(*place, id, row.rev - planned.base, lua(row.value)) for place, id, row in after if row],
            "left": left,
            "joined": joined,
            "marks": _chained(one.marks for one in planned.pieces),
            "positions": _chained(one.positions for one in planned.pieces),
            "entries": _chained(one.entries for one in planned.pieces),
        }
        given = [self.author.encode(), b"%d" % self._number, self.log_id.encode(), b"%d" % self._opened.shape, rests]
        return keys.all, [*given, pack(checks), pack(work), names.channel]

    def _indexed(
        self, keys: _Keys, before: Mapping[Address, Row | None], after: Mapping[Address, Row | None]
    ) -> tuple[list[_Member], list[_Member]]:
        """What leaves indexes, and what joins them."""
        left: list[_Member] = []
        joined: list[_Member] = []
        for (name, id), row in after.items():
            for index in self._indexes.get(name, ()):
                old = before[name, id]
                was = None if old is None else index.member(old)
                now = None if row is None else index.member(row)
                key = keys.number(self._names.key(index.name))
                if was is not None and was != now:
                    left.append((key, lua(was)))
                # Who builds an index leaves out what others change meanwhile, also where its key stays.
                if now is not None and (was != now or not index.ready):
                    joined.append((key, lua(now)))
        return left, joined


async def kept(link: Link, dialer: Dialer) -> None:
    """Wait until the disk and as many replicas have what was written as are asked for.

    Args:
        link: Over which it was written.
        dialer: Made the connection.

    Raises:
        Unavailable: They do not say so in time.
    """
    url, timeout = dialer.url, b"%d" % (KEPT_SECONDS * 1_000)
    disks, replicas = 1, url.replicas
    with suppress(ReplyError):
        if waits_for_disk(link.told, url):
            disks, replicas = 0, 0
            disks, replicas = cast("list[int]", await link.ask(b"WAITAOF", b"1", b"%d" % url.replicas, timeout))
        elif url.replicas:
            replicas = 0
            replicas = cast("int", await link.ask(b"WAIT", b"%d" % url.replicas, timeout))
    if lacking := shortfall(disks, replicas, url):
        raise Unavailable(
            f"the store {dialer.place} has this commit, but {lacking} not within {KEPT_SECONDS:.0f} s: it "
            "may still be lost; a repeat with the same idempotency key or mark is safe"
        )


_Member = tuple[int, msgspec.Raw]
"""The number of an index's key, and what stands in it for a row."""


class _Keys:
    """Keys of a script, by number."""

    def __init__(self, *keys: bytes) -> None:
        self._numbers: dict[bytes, int] = {key: number for number, key in enumerate(keys, 1)}

    def number(self, key: bytes) -> int:
        """Of a key, which gets one where it has none."""
        return self._numbers.setdefault(key, len(self._numbers) + 1)

    @property
    def all(self) -> list[bytes]:
        """In the order of their numbers."""
        return list(self._numbers)


def _chained(pieces: Iterable[Iterable[object]]) -> list[object]:
    return [one for piece in pieces for one in piece]
