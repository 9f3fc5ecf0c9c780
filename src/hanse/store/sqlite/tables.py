"""The file: its format, its tables and indexes, and whether this version may touch it.

One table per collection (id, rev, value as JSON text), and ours: the log, the marks, the readers' positions, the
collections' schemas, a few named values, and who has the file open (`hanse.store.sqlite.boots` says why).
`application_id` says that the file is ours, `user_version` which format it has. Everything is looked at before
anything is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from threading import Event
from typing import TypeVar

import msgspec

from hanse.kernel.faults import CouldNotStart, Unavailable
from hanse.store.base import CollectionSchema
from hanse.store.schema import require_sound
from hanse.store.sql import identifier
from hanse.store.sqlite.boots import note
from hanse.store.sqlite.functions import register
from hanse.store.sqlite.query import key_sql, table_name

T = TypeVar("T")

APPLICATION_ID = 0x484E5345
"""`HNSE`, in the header of each file of ours."""

FORMAT = 1
"""Raised when the tables change in a way that an older version cannot read."""

SQLITE_MIN = (3, 38)
"""The first SQLite with the operators that queries use (February 2022)."""

BUSY_MS_MAX = 5_000
"""How long a writer waits for another process's commit before it gives up."""

OPEN_TRIES_MAX = 20
OPEN_BUSY_MS = 250
OPEN_PAUSE_SECONDS = 0.02
"""How often, how long and how far apart a store tries to open a file that other processes hold: 5 s in all."""

JOURNAL_BYTES_MAX = 64 * 1024 * 1024
"""What the write-ahead log shrinks back to after a burst."""

CACHED_STATEMENTS = 256

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS collections (name TEXT PRIMARY KEY, schema TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, op TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL,
    message_id TEXT NOT NULL, before_rev INTEGER NOT NULL, headers BLOB NOT NULL, before BLOB, after BLOB
);
CREATE TABLE IF NOT EXISTS marks (
    scope TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL, digest BLOB NOT NULL, result BLOB NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX IF NOT EXISTS marks_at ON marks (at);
CREATE TABLE IF NOT EXISTS positions (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS openings (id TEXT PRIMARY KEY, boot TEXT NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('trimmed', 0);
INSERT OR IGNORE INTO meta VALUES ('base', 0);
"""


class Opened(msgspec.Struct, frozen=True):
    """What a file turned out to be: the id of its log, and its collections by name."""

    log_id: str
    schemas: dict[str, CollectionSchema]


def connect(path: str, *, synchronous: str) -> sqlite3.Connection:
    """A connection that knows our functions; one that writes makes each commit durable as `synchronous` says."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS
    )
    try:
        register(connection)
        connection.execute(f"PRAGMA busy_timeout = {OPEN_BUSY_MS}")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
        # Our indexes are built on our functions; some builds of SQLite distrust those unless told otherwise.
        connection.execute("PRAGMA trusted_schema = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def patiently(attempt: Callable[[], T]) -> T:
    """Try to open a file that others open too: SQLite queues writers, but not those who change a file's mode.

    Raises:
        Unavailable: It was locked each of `OPEN_TRIES_MAX` times.
    """
    for _ in range(OPEN_TRIES_MAX - 1):
        try:
            return attempt()
        except Unavailable:
            Event().wait(OPEN_PAUSE_SECONDS)
    return attempt()


@contextmanager
def transaction(connection: sqlite3.Connection, *, reads: bool = False) -> Generator[None]:
    """All statements of the block, or none of them; nobody else writes meanwhile.

    Where the block only reads, others may write, but it sees one state of the file throughout.
    """
    connection.execute("BEGIN" if reads else "BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some failures, a full disk among them, have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def require_version(version: tuple[int, ...]) -> None:
    """Refuse a SQLite that lacks what queries use.

    Raises:
        CouldNotStart: It is older than `SQLITE_MIN`.
    """
    if version < SQLITE_MIN:
        least, got = (".".join(map(str, one)) for one in (SQLITE_MIN, version))
        raise CouldNotStart(f"expected SQLite {least} or newer, got {got}; use a newer Python build")


class Opening(msgspec.Struct, frozen=True):
    """Who opens a file.

    Attributes:
        id: Names the opening, and the log where there is none yet.
        boot: The machine's present boot; empty to take no note of it.
        synchronous: How durable its commits are, as SQLite names it.
    """

    id: str
    boot: str = ""
    synchronous: str = "normal"


def prepare(connection: sqlite3.Connection, path: str, wanted: Sequence[CollectionSchema], opening: Opening) -> Opened:
    """Check the file and make what is missing in it.

    Args:
        connection: Writes to the file.
        path: The file, for messages.
        wanted: The collections to open.
        opening: Who opens it.

    Raises:
        CouldNotStart: It is not a file that this version can serve; it was left as it is.
        Unavailable: Another process kept it locked.
    """
    try:
        # In one state of the file: another process may be about to make it, and what is half seen looks foreign.
        with transaction(connection, reads=True):
            require_sound(_stored(connection, path), wanted)
        _use_wal(connection, path)
        # Flushed to the disk, whatever later commits are: a note that gets lost would be worth nothing.
        connection.execute("PRAGMA synchronous = full")
        with transaction(connection):
            # Again, now that nobody else can write: another process may have come first.
            schemas = require_sound(_stored(connection, path), wanted)
            log_id = _create(connection, schemas, opening)
        connection.execute(f"PRAGMA synchronous = {opening.synchronous}")
    except sqlite3.Error as error:
        raise cannot_open(path, error) from error
    return Opened(log_id, {schema.name: schema for schema in schemas})


def stored_schemas(path: str) -> dict[str, CollectionSchema]:
    """The collections that a file keeps, without touching it; none where there is no file yet.

    Raises:
        CouldNotStart: It is not a file that this version can serve.
        Unavailable: Another process keeps it locked.
    """
    if not Path(path).exists():
        return {}
    try:
        connection = sqlite3.connect(_reading(path), uri=True, isolation_level=None)
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS_MAX}")
            with transaction(connection, reads=True):
                return _stored(connection, path)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise cannot_open(path, error) from error


def _reading(path: str) -> str:
    """The file as SQLite is to open it for a look: without writing beside it, where nobody else does.

    Who reads a file that keeps a write-ahead log makes one, and may not remove it. Where there is none, nobody has the
    file open: it can be read as if it could not change.
    """
    journals = any(Path(path + end).exists() for end in ("-wal", "-journal"))
    return f"{Path(path).absolute().as_uri()}?mode=ro{'' if journals else '&immutable=1'}"


def cannot_open(path: str, error: sqlite3.Error) -> CouldNotStart | Unavailable:
    """Why a file could not be opened, with what to look at."""
    if "locked" in str(error):
        return Unavailable(f"the store {path} is locked by another process: {error}; try again")
    hint = "is it a Hanse store, and may this user write to it?"
    # Only then: the file of a simulated disk is in no folder of this machine.
    if "unable to open" in str(error) and not (folder := Path(path).absolute().parent).is_dir():
        hint = f"create the folder {folder}"
    return CouldNotStart(f"cannot open the store {path}: {error}; {hint}")


def _stored(connection: sqlite3.Connection, path: str) -> dict[str, CollectionSchema]:
    """The schemas in the file, none in a new one."""
    application = _number(connection, "PRAGMA application_id")
    version = _number(connection, "PRAGMA user_version")
    tables = _number(connection, "SELECT count(*) FROM sqlite_master")
    if application != APPLICATION_ID:
        if tables or application or version:
            raise CouldNotStart(f"{path} is a database of something else, and was left as it is; choose another file")
        return {}
    if version > FORMAT:
        problem = f"{path} has format {version}, written by a newer Hanse; this one reads up to {FORMAT}: upgrade it"
        raise CouldNotStart(problem)
    rows: list[tuple[str]] = connection.execute("SELECT schema FROM collections").fetchall()
    schemas = [msgspec.json.decode(text, type=CollectionSchema) for (text,) in rows]
    return {schema.name: schema for schema in schemas}


def _use_wal(connection: sqlite3.Connection, path: str) -> None:
    mode: tuple[str] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode[0] not in {"wal", "memory"}:
        problem = f"cannot use a write-ahead log for {path} (it stays {mode[0]}); choose a file on a local disk"
        raise CouldNotStart(problem)


def _create(connection: sqlite3.Connection, schemas: Sequence[CollectionSchema], opening: Opening) -> str:
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('log_id', ?)", (opening.id,))
    note(connection, opening.id, opening.boot, durable=opening.synchronous == "full")
    for schema in schemas:
        _create_collection(connection, schema)
    found: tuple[str] = connection.execute("SELECT value FROM meta WHERE name = 'log_id'").fetchone()
    return found[0]


def _create_collection(connection: sqlite3.Connection, schema: CollectionSchema) -> None:
    table = table_name(schema.name)
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table} "
        "(id TEXT PRIMARY KEY, rev INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID"
    )
    text = msgspec.json.encode(schema).decode()
    connection.execute(
        "INSERT INTO collections VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET schema = excluded.schema",
        (schema.name, text),
    )
    wanted = {_index_name(key := key_sql((name,), schema), schema.name): key for name in schema.indexed}
    listing = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    stored: set[str] = {name for (name,) in connection.execute(listing, (table.strip('"'),))}
    for name in sorted(stored - wanted.keys()):
        connection.execute(f"DROP INDEX {identifier(name)}")
    for name in sorted(wanted.keys() - stored):
        connection.execute(f"CREATE INDEX {identifier(name)} ON {table} ({wanted[name]})")


def _index_name(key: str, collection: str) -> str:
    """Names what is indexed and how: a field that changes its type or default gets another index."""
    return f"index:{blake2b(f'{collection} {key}'.encode(), digest_size=8).hexdigest()}"


def _number(connection: sqlite3.Connection, statement: str) -> int:
    found: tuple[int] = connection.execute(statement).fetchone()
    return found[0]
