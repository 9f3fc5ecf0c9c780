"""The store suite on dumps: what one store tells of itself, another one takes in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from hanse.kernel.faults import NotFound, PreconditionFailed
from hanse.kernel.message import NO_HEADERS, Headers
from hanse.store.base import (
    AlreadyHandled,
    Batch,
    CollectionSchema,
    Delete,
    Emit,
    Entry,
    Mark,
    Op,
    Position,
    Put,
    Row,
    Store,
)
from hanse.store.dump import (
    PIECE_MAX,
    SKIPPED,
    Dumpable,
    Entries,
    MarkAt,
    Marks,
    Moment,
    Piece,
    Positions,
    Rows,
    StoreNotEmpty,
)
from hanse.store.query import Compare, Query
from hanse.testing.store_hooks import StoreHooks, batch, delete, emit, follow, put

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102

_PIECES_AMID = 20
_ODD = "\x00 o'clock \x1f ü"


async def _all(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]


async def _told(pieces: Sequence[Piece]) -> AsyncGenerator[Piece]:
    for piece in pieces:
        yield piece


async def _filled(store: Store) -> None:
    await store.commit(batch(put("1"), put("2"), put(_ODD, "coffee"), emit("k"), put("7", collection="notes")))
    await store.commit(
        Batch(
            2.0,
            (put("2", "cocoa"), delete("1"), Emit("paid", _ODD, b'{"n":2}', "m")),
            (Mark("mail", "m1", b"\x00d", b"r\xff"), Mark(_ODD, "m2")),
            (Position("relay", 3), Position(_ODD, 9)),
            Headers(tags={"booking": "b1"}, attempt=2),
        )
    )


class DumpTests(StoreHooks):
    """Of stores that are `Dumpable`."""

    @asynccontextmanager
    async def dumpable(self, *collections: CollectionSchema) -> AsyncGenerator[tuple[Store, Dumpable]]:
        """A new store, open, as both of what it is."""
        async with self.opened(*collections) as store:
            if not isinstance(store, Dumpable):
                await store.close()
                pytest.skip("the store cannot be dumped: it lacks the verbs of hanse.store.dump.Dumpable")
            yield store, store

    @asynccontextmanager
    async def copied(self) -> AsyncGenerator[tuple[Store, Store]]:
        """A store with a bit of everything, and another one that was restored from its dump."""
        async with self.dumpable() as (store, source), self.dumpable() as (other, target):
            await _filled(store)
            async with source.dump() as dump:
                await target.restore(dump.moment, dump.pieces)
            yield store, other

    async def test_a_restored_store_has_all_that_the_other_has(self) -> None:
        async with self.copied() as (store, other):
            for one in (store, other):
                assert await one.load("orders", "1") is None
                assert await one.load("orders", "2") == Row("2", 6, b'{"sku":"cocoa"}')
                assert await one.load("orders", _ODD) == Row(_ODD, 3, b'{"sku":"coffee"}')
                assert await one.count("notes", Query()) == 1
                assert await one.marked("mail", "m1") == Mark("mail", "m1", b"\x00d", b"r\xff")
                assert await one.marked(_ODD, "m2") == Mark(_ODD, "m2")
                assert [await one.position(name) for name in ("relay", _ODD)] == [3, 9]
            assert await follow(other, 0, 8) == await follow(store, 0, 8)

    async def test_queries_find_what_was_restored(self) -> None:
        async with self.copied() as (_, other):
            found = await other.find("orders", Query(where=Compare("eq", ("sku",), "coffee")))
            assert [row.id for row in found.rows] == [_ODD]

    async def test_a_restored_log_is_another_whose_positions_go_on_far_beyond(self) -> None:
        async with self.copied() as (store, other):
            assert other.log_id != store.log_id
            assert await other.head() == 8 + SKIPPED
            assert await other.commit(batch(put("3"))) == (9 + SKIPPED,)
            assert [one.seq for one in await follow(other, 0, await other.head())] == [*range(1, 9), 9 + SKIPPED]
            piece = await other.changes(8, limit=1)
            assert (piece.entries, piece.upto) == ((), 8 + SKIPPED) or piece.entries[0].seq == 9 + SKIPPED
            with pytest.raises(PreconditionFailed):
                await other.commit(batch(put("2", expected=5)))
            with pytest.raises(AlreadyHandled):
                await other.commit(Batch(3.0, marks=(Mark("mail", "m1"),)))

    async def test_a_reader_crosses_what_was_left_out_in_a_few_steps(self) -> None:
        async with self.copied() as (_, other):
            await other.commit(batch(emit("new")))
            after, found = 8, 0
            for _ in range(3):
                piece = await other.changes(after, limit=10)
                after, found = piece.upto, found + len(piece.entries)
            assert (found, after) == (1, await other.head())

    async def test_a_trimmed_log_is_trimmed_after_it_was_restored(self) -> None:
        async with self.dumpable() as (store, source), self.dumpable() as (other, target):
            await _filled(store)
            await store.trim(100.0, keep_after=5)
            async with source.dump() as dump:
                assert dump.moment == Moment(store.log_id, 8, 5)
                await target.restore(dump.moment, dump.pieces)
            piece = await other.changes(0, limit=10)
            assert piece.trimmed
            assert [one.seq for one in piece.entries] == [6, 7, 8]
            assert await other.trim(100.0, keep_after=2**40) == len(piece.entries)

    async def test_what_is_committed_amid_a_dump_is_not_in_it(self) -> None:
        async with self.dumpable() as (store, source):
            await store.commit(batch(*(put(f"{number:04}") for number in range(PIECE_MAX + 1))))
            async with source.dump() as dump:
                first = await anext(dump.pieces)
                await store.commit(batch(put("9999"), put("0000", "late"), emit("late")))
                pieces = [first, *await _all(dump.pieces)]
            rows = [row for one in pieces if isinstance(one, Rows) for row in one.rows]
            entries = [entry for one in pieces if isinstance(one, Entries) for entry in one.entries]
            assert len(rows) == len(entries) == dump.moment.head == PIECE_MAX + 1
            assert {row.value for row in rows} == {b'{"sku":"tea"}'}
            assert await store.count("orders", Query()) == PIECE_MAX + 2

    @pytest.mark.parametrize("seed", range(2))
    async def test_a_dump_amid_commits_is_what_its_log_comes_to(self, seed: int) -> None:
        ids = [f"{number:04}" for number in range(2 * PIECE_MAX + 200)]
        async with self.dumpable() as (store, source):
            await store.commit(batch(*map(put, ids[::2])))
            writing = _Writing(store, ids[seed::80])
            await writing.go_on()
            async with source.dump() as dump:
                told = writing.count
                await writing.go_on()
                pieces: list[Piece] = []
                async for piece in dump.pieces:
                    pieces.append(piece)
                    # A dump of all that is written amid it would never end.
                    if len(pieces) < _PIECES_AMID:
                        await writing.go_on()
        assert dump.moment.head == len(ids) // 2 + told < writing.count + len(ids) // 2
        entries = [entry for one in pieces if isinstance(one, Entries) for entry in one.entries]
        assert [entry.seq for entry in entries] == [*range(1, dump.moment.head + 1)]
        assert [row for one in pieces if isinstance(one, Rows) for row in one.rows] == _replayed(entries)
        marks = [mark.mark.key for one in pieces if isinstance(one, Marks) for mark in one.marks]
        assert sorted(marks) == [f"{number:04}" for number in range(told)]
        assert [one for piece in pieces if isinstance(piece, Positions) for one in piece.positions] == [
            Position("reader", told)
        ]

    async def test_pieces_are_small_and_in_order(self) -> None:
        async with self.dumpable() as (store, source):
            count = 2 * PIECE_MAX + 1
            names = [f"{number:05}" for number in range(count)]
            marks = tuple(Mark("s", name) for name in names)
            positions = tuple(Position(name, 1) for name in names)
            await store.commit(Batch(1.0, tuple(map(put, reversed(names))), marks, positions))
            async with source.dump() as dump:
                pieces = await _all(dump.pieces)
            things: dict[type, list[object]] = {}
            for piece in pieces:
                found = _ids(piece)
                assert 1 <= len(found) <= PIECE_MAX
                things.setdefault(type(piece), []).extend(found)
            assert things == {Rows: names, Entries: [*range(1, count + 1)], Marks: names, Positions: names}

    @pytest.mark.parametrize("there", [put("1"), emit("k"), Mark("a", "b")])
    async def test_a_store_that_is_not_empty_is_left_as_it_is(self, there: Put | Emit | Mark) -> None:
        async with self.dumpable() as (store, target):
            writes, marks = ((), (there,)) if isinstance(there, Mark) else ((there,), ())
            await store.commit(Batch(1.0, writes, marks))
            head = await store.head()
            with pytest.raises(StoreNotEmpty, match="expected a store with nothing in it"):
                await target.restore(Moment("x", 9, 0), _told([Rows("notes", [Row("9", 9, b"{}")])]))
            assert (await store.head(), await store.count("notes", Query())) == (head, 0)
            await store.commit(batch(put("7", collection="notes")))

    async def test_positions_alone_are_replaced(self) -> None:
        async with self.dumpable() as (store, target):
            await store.commit(Batch(1.0, positions=(Position("lease", 4), Position("relay", 2))))
            await target.restore(Moment("x", 9, 0), _told([Positions([Position("relay", 9)])]))
            assert [await store.position(name) for name in ("lease", "relay")] == [0, 9]

    async def test_a_restore_that_is_cut_short_has_not_happened(self) -> None:
        async with self.dumpable() as (store, target):
            log_id = store.log_id
            with pytest.raises(LookupError, match="torn"):
                await target.restore(Moment("x", 9, 0), _torn())
            assert (await store.head(), await store.count("orders", Query()), store.log_id) == (0, 0, log_id)
            assert (await store.changes(0, limit=9)).entries == ()
            await target.restore(Moment("x", 9, 0), _told([Rows("orders", [Row("1", 9, b"{}")])]))
            assert await store.load("orders", "1") == Row("1", 9, b"{}")

    async def test_numbers_beyond_32_bits_are_numbers_like_others(self) -> None:
        far, row = 2**40, Row("1", 2**40, b"{}")
        entry = Entry(far, 1.0, Op.UPDATED, "orders", "1", "m", b"{}", b"{}", far - 1, NO_HEADERS)
        pieces: list[Piece] = [Rows("orders", [row]), Entries([entry]), Positions([Position("lease", far)])]
        async with self.dumpable() as (store, target):
            await target.restore(Moment("x", far, far - 1), _told(pieces))
            async with target.dump() as dump:
                assert dump.moment == Moment(store.log_id, far + SKIPPED, far - 1)
                found = [*await _all(dump.pieces), dump.moment]
            assert found[:-1] == pieces
            read = [await store.load("orders", "1"), await store.changes(far - 1, limit=1)]
            told = [*found, *read, await store.position("lease"), await store.head()]
            # Whoever sends them on takes nothing but numbers.
            assert msgspec.json.encode(told)
            found_rows = await store.find("orders", Query())
            assert msgspec.json.encode([found_rows, *await store.commit(batch(put("2")))])

    async def test_rows_of_an_unknown_collection_are_refused(self) -> None:
        async with self.dumpable() as (store, target):
            pieces: list[Piece] = [Marks([MarkAt(Mark("a", "b"), 1.0)]), Rows("others", [Row("1", 1, b"{}")])]
            with pytest.raises(NotFound, match="others"):
                await target.restore(Moment("x", 9, 0), _told(pieces))
            assert await store.marked("a", "b") is None

    async def test_who_waits_is_refused_or_goes_on_after_a_restore(self) -> None:
        async with self.dumpable() as (store, target):
            await store.commit(Batch(1.0, positions=(Position("store/loading", 1),)))
            await target.restore(Moment("x", 9, 0), _told([Rows("orders", [Row("1", 9, b"{}")])]))
            assert await store.position("store/loading") == 0
            with pytest.raises(PreconditionFailed):
                await store.commit(batch(Delete("orders", "1", "m", 8)))
            assert await store.commit(batch(Delete("orders", "1", "m", 9))) == (10 + SKIPPED,)


class _Writing:
    """Writes, changes and removes some rows in turn, each with a mark and a position that tell how many it was."""

    def __init__(self, store: Store, ids: Sequence[str]) -> None:
        self.count: int = 0
        self._store = store
        self._ids = ids

    async def go_on(self) -> None:
        for _ in range(7):
            number = self.count
            id = self._ids[number * 4 % len(self._ids)]
            is_there = await self._store.load("orders", id) is not None
            change = delete(id) if is_there and number % 2 else put(id, f"sku{number}")
            mark, position = Mark("s", f"{number:04}"), Position("reader", number + 1)
            # Clocks of several writers differ.
            await self._store.commit(Batch(float(number % 3), (change,), (mark,), (position,)))
            self.count += 1


def _replayed(entries: Sequence[Entry]) -> list[Row]:
    rows: dict[str, Row] = {}
    for one in entries:
        if one.after is None:
            del rows[one.id]
        else:
            rows[one.id] = Row(one.id, one.seq, one.after)
    return [rows[id] for id in sorted(rows)]


async def _torn() -> AsyncGenerator[Piece]:
    yield Rows("orders", [Row("1", 1, b"{}")])
    raise LookupError("torn")


def _ids(piece: Piece) -> list[object]:
    match piece:
        case Rows(_, rows):
            return [row.id for row in rows]
        case Entries(entries):
            return [entry.seq for entry in entries]
        case Marks(marks):
            return [one.mark.key for one in marks]
        case Positions(positions):
            return [one.name for one in positions]
