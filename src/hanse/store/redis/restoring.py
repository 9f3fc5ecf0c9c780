"""A dump that is written beside a store, under keys of its own, which then become those of the store in one step.

So nobody sees a part of it, and one that is cut short has not happened. What it leaves is removed by the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar, cast

import msgspec

from hanse.kernel.codec import canonical
from hanse.kernel.faults import Malformed, NotFound, Unavailable
from hanse.store.base import CollectionSchema, Entry, Position, Row
from hanse.store.dump import Entries, MarkAt, Marks, Moment, Piece, Positions, Rows, base_after, not_empty
from hanse.store.redis.committer import kept
from hanse.store.redis.copying_scripts import FINISH, FULL, LOADED
from hanse.store.redis.group import mark_field
from hanse.store.redis.index import Index, of_collections
from hanse.store.redis.link import Dialer, Link
from hanse.store.redis.opening import Opened, opened_in
from hanse.store.redis.scripts import PIECE_BYTES_MAX

T = TypeVar("T")

_SEQ_MAX = 2**63 - 1
_pack = msgspec.msgpack.Encoder().encode
_Command = tuple[bytes, ...]


class Restoring:
    """Writes a dump into a store where there is nothing."""

    def __init__(self, link: Link, dialer: Dialer, schemas: Mapping[str, CollectionSchema]) -> None:
        """Begin.

        Args:
            link: A connection that is used for nothing else meanwhile.
            dialer: Made it.
            schemas: Of the collections that are open.
        """
        self._link = link
        self._dialer = dialer
        self._names = dialer.names
        self._schemas = schemas
        self._id = ""
        self._indexes: Mapping[str, Sequence[Index]] = {}
        self._newest = 0

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece], log_id: str) -> None:
        """Write all of it, or nothing.

        Args:
            moment: Of the dump.
            pieces: Of the dump.
            log_id: That the log gets.

        Raises:
            StoreNotEmpty: Something is stored already.
            NotFound: It has rows of a collection that is not open.
            Malformed: It holds something twice, or entries that are not in order.
            Unavailable: Others opened the store, or loaded another dump into it.
        """
        self._id = log_id
        opened = await opened_in(self._link, self._names)
        self._indexes = of_collections(opened.indexes)
        keys = self._keys(opened)
        await self._require_empty(keys)
        loaded = [self._loaded(key) for key in keys]
        try:
            await self._begin(loaded)
            async for piece in pieces:
                await self._write(piece)
            await self._finish(moment, keys, opened.shape)
        except BaseException:
            with suppress(Exception):
                _ = await self._link.all((b"UNLINK", *loaded), (b"SREM", self._names.load, *loaded))
            raise
        await kept(self._link, self._dialer)

    def _keys(self, opened: Opened) -> dict[bytes, str]:
        """All keys that a dump may fill, and what each of them holds; positions and log first."""
        names = self._names
        keys = {names.positions: "positions", names.log: "entries of the log"}
        keys |= {names.marks: "marks", names.marks_at: "marks"}
        for name in opened.schemas:
            keys |= {names.rows(name): name, names.ids(name): name}
        return keys | {names.key(one.name): one.collection for one in opened.indexes}

    def _loaded(self, key: bytes) -> bytes:
        return self._names.loaded(key, self._id)

    async def _require_empty(self, keys: Mapping[bytes, str]) -> None:
        positions, log, *others = keys
        found = await self._link.all((b"XLEN", log), *((b"EXISTS", key) for key in others))
        for key, count in zip((log, *others), found, strict=True):
            if count and key != positions:
                raise not_empty(keys[key])

    async def _begin(self, loaded: Sequence[bytes]) -> None:
        """Remove what an earlier one has left, and say what this one will write."""
        load = self._names.load
        left = cast("Iterable[bytes]", await self._link.ask(b"SMEMBERS", load))
        _ = await self._link.all((b"UNLINK", load, *left), (b"SADD", load, *loaded))

    async def _finish(self, moment: Moment, keys: Mapping[bytes, str], shape: int) -> None:
        names, loaded = self._names, [self._loaded(key) for key in keys]
        given = (loaded[0], b"%d" % shape, b"%d" % base_after(moment), b"%d" % moment.trimmed, self._id.encode())
        came = await self._link.run(FINISH, [names.meta, names.load, *keys, *loaded], *given, names.channel)
        what, *key = cast("list[bytes]", came)
        if what == FULL:
            raise not_empty(keys[key[0]])
        if what != LOADED:
            raise Unavailable(
                f"nothing was loaded into the store {self._dialer.place}: another load, or a node that opened the "
                "store, came in between; stop the nodes, then load it again"
            )

    async def _write(self, piece: Piece) -> None:
        match piece:
            case Rows(collection, rows):
                await self._write_rows(collection, rows)
            case Entries(entries):
                for some in _by_size(entries, _entry_bytes):
                    _ = await self._link.all(*map(self._entry, some))
            case Marks(marks):
                for few in _by_size(marks, _mark_bytes):
                    await self._write_marks(few)
            case Positions(positions):
                found = {one.name.encode(): b"%d" % _checked(one) for one in positions}
                await self._add(len(positions), [(b"HSET", self._loaded(self._names.positions), *_flat(found.items()))])

    async def _write_rows(self, collection: str, rows: Sequence[Row]) -> None:
        if collection not in self._schemas:
            raise NotFound("collection", collection)
        names, indexes = self._names, self._indexes.get(collection, ())
        for some in _by_size(rows, _row_bytes):
            ids = [row.id.encode() for row in some]
            values = [b"%d %s" % (row.rev, row.value) for row in some]
            commands: list[_Command] = [
                (b"HSET", self._loaded(names.rows(collection)), *_flat(zip(ids, values, strict=True))),
                (b"ZADD", self._loaded(names.ids(collection)), *_flat((b"0", id) for id in ids)),
            ]
            for index in indexes:
                members = _flat((b"0", index.member(row)) for row in some)
                commands.append((b"ZADD", self._loaded(names.key(index.name)), *members))
            await self._add(len(some), commands)

    async def _write_marks(self, marks: Sequence[MarkAt]) -> None:
        fields = [mark_field(one.mark.scope, one.mark.key) for one in marks]
        values = [_pack((one.mark.digest, one.mark.result)) for one in marks]
        seconds = [repr(one.at).encode() for one in marks]
        commands: list[_Command] = [
            (b"HSET", self._loaded(self._names.marks), *_flat(zip(fields, values, strict=True))),
            (b"ZADD", self._loaded(self._names.marks_at), *_flat(zip(seconds, fields, strict=True))),
        ]
        await self._add(len(marks), commands)

    async def _add(self, count: int, commands: Sequence[_Command]) -> None:
        """Write things that are new, each of them.

        Raises:
            Malformed: One is there already.
        """
        if any(added != count for added in await self._link.all(*commands)):
            raise Malformed("expected each row, mark and position of a dump once, got one of them twice")

    def _entry(self, one: Entry) -> _Command:
        if one.seq <= self._newest:
            raise Malformed(f"expected entries of a dump in order, got {one.seq} after {self._newest}")
        self._newest = one.seq
        rest = _pack((str(one.op), one.id, one.message_id, one.before, one.after, canonical(one.headers)))
        about = (b"n", one.name.encode(), b"a", repr(one.at).encode(), b"r", b"%d" % one.before_rev, b"e", rest)
        return (b"XADD", self._loaded(self._names.log), b"%d-0" % one.seq, *about)


def _by_size(things: Sequence[T], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """As many at a time as one command takes; one alone may be larger."""
    some: list[T] = []
    total = 0
    for one in things:
        total += size(one)
        if some and total > PIECE_BYTES_MAX:
            yield some
            some, total = [], size(one)
        some.append(one)
    if some:
        yield some


def _row_bytes(row: Row) -> int:
    return len(row.value)


def _entry_bytes(entry: Entry) -> int:
    return len(entry.before or b"") + len(entry.after or b"")


def _mark_bytes(one: MarkAt) -> int:
    return len(one.mark.result)


def _checked(one: Position) -> int:
    if not -_SEQ_MAX <= one.seq <= _SEQ_MAX:
        raise OverflowError(f"the position {one.name!r} does not fit into 64 bits")
    return one.seq


def _flat(pairs: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [one for pair in pairs for one in pair]
