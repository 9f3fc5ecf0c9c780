"""A whole store, as of one moment, read beside whoever writes.

A server shows only what is. What was at the moment is made of that: the log has what rows were before they were
changed, and while a dump is taken, each commit notes the marks that it makes. Positions, which have no history, are
read at the moment itself. A dump is an id in the store for as long as somebody takes it. What does not know of it,
such as an older version of the service that trims or marks, shows in what is counted, and cuts it short.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import msgspec

from hanse.kernel.faults import Unavailable
from hanse.store.base import CHANGES_MAX, Mark, Position, Row
from hanse.store.dump import PIECE_MAX, Dump, Entries, MarkAt, Marks, Moment, Piece, Positions, Rows, cut
from hanse.store.redis.copying_scripts import BEGIN, END, GOING, MARKS
from hanse.store.redis.failures import raise_meaning
from hanse.store.redis.group import row_of
from hanse.store.redis.link import Dialer, Link
from hanse.store.redis.log import Lines, lines
from hanse.store.redis.scripts import CHANGES, PIECE_ROWS, SCAN
from hanse.store.undoing import Undoing

_named = msgspec.msgpack.Decoder(tuple[str, str]).decode
_kept = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode


@asynccontextmanager
async def dumped(dialer: Dialer, id: str, collections: Sequence[str]) -> AsyncGenerator[Dump]:
    """All that a store holds, read over a connection of its own.

    Args:
        dialer: Makes the connection.
        id: Of this dump.
        collections: Whose rows are wanted.
    """
    link = await dialer.dial()
    reading = _Reading(link, dialer, id.encode())
    try:
        yield Dump(await reading.begin(), reading.told(collections))
    finally:
        with suppress(Exception):
            await reading.end()
        link.give_up("the dump has ended")


class _Reading:
    """Reads what was at one moment."""

    def __init__(self, link: Link, dialer: Dialer, id: bytes) -> None:
        self._link = link
        self._place = dialer.place
        self._names = dialer.names
        self._id = id
        self._moment = Moment("", 0, 0)
        self._marks = 0
        self._positions: list[Position] = []
        self._undoing = Undoing(0)

    async def begin(self) -> Moment:
        names = self._names
        try:
            came = await self._link.run(BEGIN, [names.meta, names.dump, names.marks_at, names.positions], self._id)
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            raise_meaning(error, self._place)
        if came is None:
            raise Unavailable(f"the store {self._place} is gone from its server; nothing was dumped")
        log_id, head, trimmed, self._marks, found = cast("tuple[bytes, bytes, bytes, int, list[bytes]]", came)
        places = zip(found[::2], found[1::2], strict=True)
        self._positions = sorted((Position(name.decode(), int(seq)) for name, seq in places), key=_name)
        self._moment = Moment(log_id.decode(), int(head), int(trimmed))
        self._undoing = Undoing(self._moment.head)
        return self._moment

    async def end(self) -> None:
        _ = await self._link.run(END, [self._names.dump], self._id)

    async def told(self, collections: Sequence[str]) -> AsyncGenerator[Piece]:
        try:
            async for piece in self._pieces(collections):
                yield piece
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            raise_meaning(error, self._place)

    async def _pieces(self, collections: Sequence[str]) -> AsyncIterator[Piece]:
        for name in collections:
            async for rows in self._rows(name):
                for piece in cut(rows):
                    yield Rows(name, piece)
        after = self._moment.trimmed
        while after < self._moment.head:
            found = await self._changes(after, PIECE_MAX)
            if entries := [one for one in found.entries if one.seq <= self._moment.head]:
                yield Entries(entries)
            after = found.upto
        async for marks in self._marked():
            yield Marks(marks)
        for positions in cut(self._positions):
            yield Positions(positions)

    async def _rows(self, collection: str) -> AsyncIterator[list[Row]]:
        keys = [self._names.ids(collection), self._names.rows(collection)]
        begin, more = b"-", 1
        while more:
            came = await self._link.run(SCAN, keys, begin, b"%d" % PIECE_ROWS)
            more, found = cast("tuple[int, list[bytes]]", came)
            rows = [row_of(id.decode(), value) for id, value in zip(found[::2], found[1::2], strict=True)]
            await self._catch_up()
            yield self._undoing.rows(collection, rows, rows[-1].id if more else None)
            begin = b"(" + rows[-1].id.encode() if rows else b"-"

    async def _catch_up(self) -> None:
        """See all that was changed until now."""
        until = None
        while until is None or self._undoing.upto < until:
            found = await self._changes(self._undoing.upto, CHANGES_MAX)
            until = found.head if until is None else until
            self._undoing.saw(found.entries, found.upto)

    async def _changes(self, after: int, limit: int) -> Lines:
        came = await self._link.run(CHANGES, [self._names.meta, self._names.log], b"%d" % after, b"%d" % limit, b"")
        await self._go_on()
        return lines(came)

    async def _marked(self) -> AsyncIterator[list[MarkAt]]:
        names, last = self._names, b""
        while True:
            came = await self._link.run(MARKS, [names.marks, names.marks_at, names.dump], last, b"%d" % PIECE_MAX)
            await self._go_on()
            if came is None:
                raise self._torn()
            last, there, noted, found = cast("tuple[bytes, int, int, list[bytes]]", came)
            # One thing that is noted is the dump itself.
            if there != self._marks + noted - 1:
                raise self._torn()
            if found:
                yield [_mark_at(*found[at : at + 3]) for at in range(0, len(found), 3)]
            if not last:
                return

    async def _go_on(self) -> None:
        """Make sure that all is kept that the dump needs, and was until now.

        Raises:
            Unavailable: It was not.
        """
        came = await self._link.run(GOING, [self._names.meta, self._names.dump], self._id)
        log_id, trimmed = cast("list[bytes]", came or [b"", b"0"])
        if log_id.decode() != self._moment.log_id:
            raise Unavailable(
                f"the dump of the store {self._place} was cut short: another one began, it was left alone for too "
                "long, or the server lost it; dump it again, one at a time"
            )
        if int(trimmed) != self._moment.trimmed:
            raise self._torn()

    def _torn(self) -> Unavailable:
        return Unavailable(
            f"the dump of the store {self._place} was cut short: somebody who does not know of dumps changed it, such "
            "as an older version of the service; upgrade or stop all of its nodes, then dump it again"
        )


def _mark_at(field: bytes, at: bytes, stored: bytes) -> MarkAt:
    return MarkAt(Mark(*_named(field), *_kept(stored)), float(at))


def _name(one: Position) -> str:
    return one.name
