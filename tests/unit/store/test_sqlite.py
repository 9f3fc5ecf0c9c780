"""What is SQLite's own: the file's format, group commit, a full disk, threads and their limits, indexes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, nullcontext, suppress
from pathlib import Path
from typing import Literal, cast

import msgspec
import pytest

from hanse.kernel.faults import (
    Conflict,
    CouldNotStart,
    Malformed,
    Misconfigured,
    Overloaded,
    PreconditionFailed,
    TooLarge,
    Unavailable,
)
from hanse.kernel.message import Headers, Identity
from hanse.store.base import Batch, CollectionSchema, FieldSchema, Mark, Position, Put
from hanse.store.query import Compare, Not, OneOf, Order, Query, Text, Where
from hanse.store.sqlite import InlineDesk, SqliteStore, ThreadDesk
from hanse.store.sqlite.boots import LOST_MAX, NOTES_MAX, note, this_boot
from hanse.store.sqlite.desk import COMMITS_MAX, SCANS_MAX, _Call
from hanse.store.sqlite.query import find_sql
from hanse.store.sqlite.tables import FORMAT, OPEN_TRIES_MAX, Opening, connect, patiently, prepare, require_version
from hanse.store.sqlite.writer import LOOK_UP
from hanse.testing.store_hooks import ORDERS, batch, emit, follow, put


@asynccontextmanager
async def opened(path: Path | str, *collections: CollectionSchema) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open(collections or [ORDERS])
    try:
        yield store
    finally:
        await store.close()


def writing(store: SqliteStore) -> sqlite3.Connection:
    assert store._writer is not None
    return store._writer.connection


def made(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


async def refused(path: Path | str, why: str) -> None:
    with pytest.raises(CouldNotStart, match=why):
        await SqliteStore(path).open([ORDERS])


UNFORESEEN: dict[str, Callable[[SqliteStore], Awaitable[object]]] = {
    "load": lambda store: store.load("orders", "\ud800"),
    "find": lambda store: store.find("orders", Query(Compare("eq", ("sku",), "\ud800"))),
    "count": lambda store: store.count("orders", Query(Compare("eq", ("id",), "\ud800"))),
    "marked": lambda store: store.marked("a", "\ud800"),
    "position": lambda store: store.position("\ud800"),
    "changes": lambda store: store.changes(-(2**70), limit=1),
    "put": lambda store: store.commit(batch(put("\ud800"))),
    "mark": lambda store: store.commit(Batch(1.0, marks=(Mark("a", "\ud800"),))),
    "time": lambda store: store.commit(Batch(float("nan"), writes=(emit("1"),))),
    "large": lambda store: store.commit(Batch(1.0, positions=(Position("relay", 2**70),))),
}


class TestTheFile:
    async def test_a_database_of_something_else_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = made(tmp_path / "other.db", "CREATE TABLE users (name TEXT)")
        before = path.read_bytes()
        await refused(path, "a database of something else")
        assert path.read_bytes() == before

    async def test_a_store_of_a_newer_format_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "orders.db"
        async with opened(path):
            pass
        made(path, f"PRAGMA user_version = {FORMAT + 1}")
        before = path.read_bytes()
        await refused(path, "has format 2, written by a newer Hanse; this one reads up to 1")
        assert path.read_bytes() == before

    async def test_a_file_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("tea, ink and oil " * 100)
        await refused(path, "file is not a database; is it a Hanse store")

    async def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        await refused(tmp_path / "data" / "orders.db", f"create the folder {tmp_path / 'data'}")

    async def test_a_file_that_stays_locked_is_unavailable(self, tmp_path: Path) -> None:
        path = tmp_path / "orders.db"
        async with opened(path) as store:
            writing(store).execute("BEGIN IMMEDIATE")
            other = sqlite3.connect(path, timeout=0, isolation_level=None)
            with closing(other), pytest.raises(Unavailable, match="locked by another process"):
                prepare(other, str(path), [ORDERS], Opening("x"))
            writing(store).execute("ROLLBACK")

    def test_a_file_that_another_makes_meanwhile_is_not_half_seen(self, tmp_path: Path) -> None:
        path = str(tmp_path / "orders.db")
        with (
            closing(connect(path, synchronous="normal")) as mine,
            closing(connect(path, synchronous="normal")) as other,
        ):
            other.execute("PRAGMA busy_timeout = 0")

            def interfere(statement: str) -> None:
                if "sqlite_master" in statement:
                    mine.set_trace_callback(None)
                    with suppress(Unavailable):
                        prepare(other, path, [ORDERS], Opening("other"))

            mine.set_trace_callback(interfere)
            assert prepare(mine, path, [ORDERS], Opening("mine")).log_id

    @pytest.mark.parametrize(("locked", "tries"), [(2, 3), (OPEN_TRIES_MAX, OPEN_TRIES_MAX)])
    def test_a_file_that_is_locked_for_a_moment_is_waited_for(self, locked: int, tries: int) -> None:
        tried: list[int] = []

        def attempt() -> str:
            tried.append(1)
            if len(tried) <= locked:
                raise Unavailable("locked")
            return "open"

        with nullcontext() if locked < tries else pytest.raises(Unavailable):
            assert patiently(attempt) == "open"
        assert len(tried) == tries

    async def test_a_file_that_takes_no_log_beside_it_is_refused(self) -> None:
        # A temporary database stands for a network drive: neither can have a write-ahead log.
        connection = sqlite3.connect("", isolation_level=None)
        with closing(connection), pytest.raises(CouldNotStart, match="cannot use a write-ahead log"):
            prepare(connection, "/mnt/orders.db", [ORDERS], Opening("x"))

    def test_a_sqlite_that_is_too_old_is_refused(self) -> None:
        with pytest.raises(CouldNotStart, match=r"expected SQLite 3\.38 or newer, got 3\.37\.2"):
            require_version((3, 37, 2))

    async def test_opening_that_fails_on_the_way_changes_nothing(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            writing(store).execute("PRAGMA query_only = ON")
            with pytest.raises(CouldNotStart, match="readonly"):
                prepare(writing(store), "orders.db", [CollectionSchema("carts", {})], Opening("x"))
            assert not writing(store).in_transaction

    async def test_rows_can_be_read_with_any_tool(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            await store.commit(batch(put("1")))
            with closing(sqlite3.connect(tmp_path / "orders.db")) as tool:
                assert tool.execute('SELECT id, value FROM "rows:orders"').fetchall() == [("1", '{"sku":"tea"}')]

    async def test_safety_from_power_cuts_is_chosen_by_url(self, tmp_path: Path) -> None:
        for option, level in (("", 1), ("?synchronous=normal", 1), ("?synchronous=full", 2)):
            store = SqliteStore.from_url(f"sqlite:///{tmp_path}/orders.db{option}")
            await store.open([ORDERS])
            assert writing(store).execute("PRAGMA synchronous").fetchone() == (level,)
            await store.close()

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite:",
            "sqlite://orders.db",
            "sqlite:///",
            "sqlite:///orders.db?synchronous=off",
            "sqlite:///orders.db?sync=full",
            "postgresql:///orders",
        ],
    )
    def test_a_wrong_url_is_refused(self, url: str) -> None:
        with pytest.raises(Misconfigured, match="expected"):
            SqliteStore.from_url(url)

    @pytest.mark.parametrize("path", ["", ":memory:"])
    def test_threads_need_a_file_to_share(self, path: str) -> None:
        with pytest.raises(Misconfigured, match="expected the path of a file"):
            SqliteStore(path, desk=ThreadDesk())

    async def test_a_store_opens_again_after_it_was_closed(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            await store.commit(batch(put("1")))
            await store.close()
            await store.open([ORDERS])
            assert await store.commit(batch(put("2"))) == (2,)


def went_down(store: SqliteStore) -> None:
    """Let the file look as if the machine had been switched off and on again while the store was open."""
    writing(store).execute("UPDATE openings SET boot = 'an earlier one'")


class TestTheMachineGoesDown:
    async def test_positions_are_not_used_again_and_readers_are_told(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "o.db") as store:
            await store.commit(batch(put("1"), put("2")))
            went_down(store)
            async with opened(tmp_path / "o.db") as again:
                assert again.log_id != store.log_id
                assert await again.head() == 2 + LOST_MAX
                assert await again.commit(batch(put("3"))) == (3 + LOST_MAX,)
                assert await again.count("orders", Query()) == 3

    async def test_the_log_is_read_across_the_positions_that_were_skipped(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "o.db") as store:
            await store.commit(batch(put("1")))
            went_down(store)
            async with opened(tmp_path / "o.db") as again:
                assert (await again.changes(1, limit=10)).upto == await again.head()
                await again.commit(batch(put("2")))
                entries = await follow(again, 0, await again.head())
                assert [entry.id for entry in entries] == ["1", "2"]

    @pytest.mark.parametrize("synchronous", ["normal", "full"])
    async def test_a_store_that_was_closed_or_lost_nothing_goes_on(
        self, tmp_path: Path, synchronous: Literal["normal", "full"]
    ) -> None:
        first = SqliteStore(tmp_path / "o.db", synchronous=synchronous)
        await first.open([ORDERS])
        if synchronous == "full":
            went_down(first)
        else:
            await first.close()
        async with opened(tmp_path / "o.db") as again:
            assert (again.log_id, await again.head()) == (first.log_id, 0)
        await first.close()

    async def test_a_killed_process_leaves_a_note_that_means_nothing_in_the_same_boot(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "o.db") as killed, opened(tmp_path / "o.db") as again:
            assert (again.log_id, await again.head()) == (killed.log_id, 0)

    async def test_many_killed_processes_leave_one_note(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "o.db") as store:
            notes = [(str(n), "boot") for n in range(NOTES_MAX)]
            writing(store).executemany("INSERT INTO openings VALUES (?, ?)", notes)
            writing(store).execute("UPDATE openings SET boot = ?", (this_boot(),))
            async with opened(tmp_path / "o.db"):
                assert writing(store).execute("SELECT count(*) FROM openings").fetchone() == (2,)

    async def test_a_note_that_cannot_be_removed_stays(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "o.db") as store:
            writing(store).execute("PRAGMA query_only = ON")
        async with opened(tmp_path / "o.db") as again:
            assert writing(again).execute("SELECT count(*) FROM openings").fetchone() == (2,)

    def test_a_system_that_tells_no_boot_gets_no_note(self, tmp_path: Path) -> None:
        assert this_boot(tmp_path / "missing") == ""
        connection = sqlite3.connect(":memory:")
        with closing(connection):
            note(connection, "x", "", durable=False)


class TestIndexes:
    QUERIES = (
        Query(where=Compare("eq", ("sku",), "tea")),
        Query(where=OneOf(("sku",), ("tea", "ink"))),
        Query(where=Text("starts", ("sku",), "te")),
        Query(where=Compare("gt", ("total",), "9.5")),
        Query(order=(Order(("total",)),)),
        Query(order=(Order(("sku",), descending=True),)),
    )

    @pytest.mark.parametrize("query", QUERIES)
    async def test_an_indexed_field_is_found_without_looking_at_every_row(self, query: Query) -> None:
        async with opened(":memory:") as store:
            statement = find_sql(query, ORDERS, None)
            explained = writing(store).execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.values).fetchall()
            assert "INDEX index:" in explained[0][3]

    async def test_an_index_goes_with_its_declaration_and_comes_with_another_default(self, tmp_path: Path) -> None:
        for default, count in ((b'"green"', 1), (b'"red"', 0)):
            field = FieldSchema("string", required=False, default=default)
            async with opened(tmp_path / "o.db", CollectionSchema("orders", {"hue": field}, indexed=("hue",))) as store:
                if count:
                    await store.commit(batch(put("1")))
                assert await store.count("orders", Query(where=Compare("eq", ("hue",), "green"))) == count
        async with opened(tmp_path / "o.db", CollectionSchema("orders", {"hue": field})) as store:
            names = writing(store).execute("SELECT name FROM sqlite_master WHERE name LIKE 'index:%'").fetchall()
            assert names == []

    async def test_a_query_with_too_many_values_is_refused(self) -> None:
        async with opened(":memory:") as store:
            with pytest.raises(TooLarge, match="30000"):
                await store.count("orders", Query(where=OneOf(("sku",), tuple(map(str, range(30_001))))))


class TestConditions:
    """What drawn queries seldom meet."""

    @pytest.mark.parametrize(
        ("where", "found"),
        [
            (Text("contains", ("rev",), "1"), 0),
            (Text("ends", ("id",), "1"), 1),
            (Text("starts", ("sku",), ""), 3),
            (Text("starts", ("sku",), "\U0010ffff"), 1),
            (Text("starts", ("sku",), "\ud7ff"), 1),
            (Compare("ge", ("sku",), None), 0),
            (OneOf(("total",), (None, "0")), 3),
            (OneOf(("at",), (None,)), 3),
            (OneOf(("sku",), ()), 0),
            (Compare("eq", ("id",), 1), 0),
            (Not(Compare("lt", ("at",), "2026-01-01")), 3),
        ],
    )
    async def test_a_condition_finds_its_rows(self, where: Where, found: int) -> None:
        async with opened(":memory:") as store:
            await store.commit(batch(put("1", "tea"), put("2", "\U0010ffff!"), put("3", "\ud7ffx")))
            assert await store.count("orders", Query(where=where)) == found


class TestGroupCommit:
    async def test_commits_of_one_turn_share_a_transaction(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            statements: list[str] = []
            writing(store).set_trace_callback(statements.append)
            await asyncio.gather(*(store.commit(batch(put(str(n)))) for n in range(100)))
            assert statements.count("COMMIT") == 1

    async def test_what_cannot_be_stored_is_refused_alone(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            wrong = [
                Batch(at=float("nan"), writes=(emit("1"),)),
                Batch(at=1.0, positions=(Position("relay", 2**70),)),
                batch(put("\ud800")),
            ]
            fine = [batch(put(str(n))) for n in range(5)]
            outcomes = await asyncio.gather(*map(store.commit, [*wrong, *fine]), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [Malformed] * 3 + [tuple] * 5
            assert await store.count("orders", Query()) == await store.head() == 5

    @pytest.mark.parametrize("desk", [ThreadDesk, InlineDesk])
    async def test_a_full_disk_refuses_the_commit_and_spoils_nothing(
        self, tmp_path: Path, desk: type[ThreadDesk | InlineDesk]
    ) -> None:
        store = SqliteStore(tmp_path / "orders.db", desk=desk())
        await store.open([ORDERS])
        await store.commit(batch(put("1")))
        (pages,) = writing(store).execute("PRAGMA page_count").fetchone()
        writing(store).execute(f"PRAGMA max_page_count = {pages}")
        big = batch(Put("orders", "2", b'{"sku":"' + b"x" * 100_000 + b'"}', "m"))
        outcomes = await asyncio.gather(store.commit(big), store.commit(big), return_exceptions=True)
        assert ["disk is full" in str(cast("Unavailable", outcome)) for outcome in outcomes] == [True, True]
        assert (await store.head(), await store.load("orders", "2")) == (1, None)
        writing(store).execute("PRAGMA max_page_count = 100000")
        assert await store.commit(big) == (2,)
        await store.close()

    async def test_a_trim_that_fails_forgets_nothing(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            await store.commit(batch(put("1")))
            writing(store).execute("PRAGMA query_only = ON")
            with pytest.raises(Unavailable, match="readonly"):
                await store.trim(100.0, keep_after=1)
            assert len((await store.changes(0, limit=10)).entries) == 1


class TestThreads:
    async def test_too_many_commits_at_once_are_refused(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            commits = [store.commit(Batch(at=1.0)) for _ in range(COMMITS_MAX + 1)]
            outcomes = await asyncio.gather(*commits, return_exceptions=True)
            assert [str(outcome) for outcome in outcomes if isinstance(outcome, Overloaded)] == [
                "the limit of 10000 commits waiting for the store is reached"
            ]
            assert await store.commit(batch(put("1"))) == (1,)

    async def test_too_many_long_reads_at_once_are_refused(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            reads = [store.count("orders", Query()) for _ in range(SCANS_MAX + 1)]
            outcomes = await asyncio.gather(*reads, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes].count(Overloaded) == 1

    async def test_a_long_read_ends_when_nobody_waits_for_it(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            await store.commit(batch(*(put(str(n)) for n in range(10_000))))
            long = Query(where=Text("contains", ("sku",), "x"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await store.count("orders", long)
            reads = asyncio.gather(*(store.count("orders", long) for _ in range(5)), return_exceptions=True)
            await asyncio.sleep(0)
            await store.close()
            outcomes = await reads
            assert {str(outcome)[:42] for outcome in outcomes if outcome != 0} <= {
                "the store failed and did nothing: interrup"
            }

    async def test_a_lane_that_stops_takes_nothing_more(self) -> None:
        desk = ThreadDesk()
        desk.start(lambda batches: [() for _ in batches], lambda _: None)
        stopping = asyncio.gather(desk.stop())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="closing"):
            await desk.write(batch(put("1")))
        await stopping

    def test_the_writer_ends_when_its_loop_went_without_a_word(self, tmp_path: Path) -> None:
        desk = ThreadDesk()
        store = SqliteStore(tmp_path / "orders.db", desk=desk)
        asyncio.run(store.open([ORDERS]))
        desk._queue.put(_Call(lambda: lambda: None))
        desk._writer.join(10)
        assert not desk._writer.is_alive()
        desk._readers.shutdown()
        for connection in store._connections:
            connection.close()

    @pytest.mark.parametrize("verb", UNFORESEEN)
    async def test_a_value_that_it_cannot_take_is_no_outage(self, tmp_path: Path, verb: str) -> None:
        async with opened(tmp_path / "orders.db") as store:
            with pytest.raises(Malformed, match="cannot be stored or compared"):
                await UNFORESEEN[verb](store)
            assert await store.count("orders", Query()) == 0

    async def test_a_statement_that_makes_no_sense_is_no_outage(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            writing(store).execute("DROP TABLE marks")
            for ask in (store.marked("a", "b"), store.commit(Batch(1.0, marks=(Mark("a", "b"),)))):
                with pytest.raises(sqlite3.OperationalError, match="no such table"):
                    await ask
            with pytest.raises(sqlite3.OperationalError, match="no such table"):
                await store.trim(1.0, keep_after=0)
            assert await store.commit(batch(put("1"))) == (1,)

    async def test_a_cursor_that_is_none_is_malformed(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            with pytest.raises(Malformed):
                await store.find("orders", Query(cursor="\ud800"))

    async def test_nobody_polls_for_listeners_that_have_gone(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "orders.db") as store:
            stop = store.listen(lambda: None)
            store._poll()
            assert store._timer is not None
            stop()
            store._poll()
            assert store._timer is None


async def test_the_log_holds_the_same_bytes_for_the_same_commit() -> None:
    scopes = [f"scope-{number}" for number in range(20)]
    headers = Headers(identity=Identity("ada", scopes=frozenset(scopes)))
    async with opened(":memory:") as store:
        await store.commit(Batch(1.0, writes=(put("1"),), headers=headers))
        ((packed,),) = writing(store).execute("SELECT headers FROM log").fetchall()
        assert msgspec.msgpack.decode(packed)["identity"]["scopes"] == sorted(scopes)


class TestLookingUp:
    """Rows are looked for many at once before they are written; each is judged by what it is."""

    COUNT = 2 * LOOK_UP + 3

    async def test_each_row_of_a_large_batch_is_held_to_its_revision(self) -> None:
        async with opened(":memory:", ORDERS) as store:
            await store.commit(batch(*(put(f"{n}") for n in range(self.COUNT))))
            writes = [msgspec.structs.replace(put(f"{n}"), expected=n + 1) for n in range(self.COUNT)]
            late = msgspec.structs.replace(writes[LOOK_UP + 1], expected=1)
            with pytest.raises(PreconditionFailed):
                await store.commit(batch(*writes[: LOOK_UP + 1], late, *writes[LOOK_UP + 2 :]))
            await store.commit(batch(*writes))
            assert await store.head() == 2 * self.COUNT

    async def test_a_row_that_is_there_is_not_added_among_many_that_are_not(self) -> None:
        async with opened(":memory:", ORDERS) as store:
            await store.commit(batch(put("7")))
            new = [msgspec.structs.replace(put(f"{n}"), expected=0) for n in range(self.COUNT)]
            with pytest.raises(Conflict, match="'7' exists already"):
                await store.commit(batch(*new))
            assert await store.count("orders", Query()) == 1
