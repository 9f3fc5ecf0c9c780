"""The schema: its format, its tables and indexes, and whether this version may touch it.

One table per collection (id, rev, value, and the keys that queries compare), and ours: the log, the marks, the
readers' positions, the collections' schemas, a few named values, the state (one row: the newest position, how often
anything was committed, and how often the collections changed), and who wrote last. A schema that holds anything else is
not ours. Everything is looked at before anything is written, and written in one transaction, under a lock that lets
nodes that start at once do so one after the other.

Indexes on tables that hold rows are built beside whoever writes, after that; rows that lack keys get them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import cast

import msgspec

from hanse.kernel.faults import CouldNotStart, Unavailable
from hanse.store.base import CollectionSchema
from hanse.store.postgresql.failures import is_again
from hanse.store.postgresql.fold import fold
from hanse.store.postgresql.link import Link
from hanse.store.postgresql.query import indexed_sql, table_name
from hanse.store.postgresql.url import PostgresqlUrl
from hanse.store.row_keys import row_keys, types_in
from hanse.store.schema import require_sound
from hanse.store.sql import identifier, literal
from hanse.store.text import meant, written

FORMAT = 1
"""Raised when the tables change in a way that an older version cannot read."""

SERVER_MIN = 140_000
"""PostgreSQL 14, of 2021."""

OPEN_TRIES_MAX = 600
OPEN_PAUSE_SECONDS = 0.05
"""How often and how far apart a node asks for its turn to open a store: for 30 s."""

OPEN_SECONDS = 60.0
"""For which the tables may take to be made."""

INDEX_SECONDS = 24 * 3600.0
"""For which an index may take to be built."""

INDEX_TRIES_MAX = 5
"""Of one index: builders in each other's way are told so."""

REKEYED_MAX = 500
"""Rows that get new keys in one transaction."""

_decode = msgspec.json.Decoder(dict[str, object]).decode

_TABLES = """
CREATE TABLE {s}.meta (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE {s}.state (
    head bigint NOT NULL, version bigint NOT NULL, trimmed bigint NOT NULL, shape bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE {s}.writers (
    id text PRIMARY KEY, last bigint NOT NULL, at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
CREATE TABLE {s}.collections (name text COLLATE "C" PRIMARY KEY, schema text NOT NULL);
CREATE TABLE {s}.log (
    seq bigint PRIMARY KEY, at double precision NOT NULL, op text NOT NULL, name text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL, message_id text NOT NULL, before_rev bigint NOT NULL, headers bytea NOT NULL,
    before bytea, after bytea
);
CREATE TABLE {s}.marks (
    scope text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, at double precision NOT NULL,
    digest bytea NOT NULL, result bytea NOT NULL, PRIMARY KEY (scope, key)
);
CREATE INDEX marks_at ON {s}.marks (at);
CREATE TABLE {s}.positions (name text COLLATE "C" PRIMARY KEY, seq bigint NOT NULL);
INSERT INTO {s}.state VALUES (0, 0, 0, 0);
INSERT INTO {s}.meta VALUES ('format', '{format}'), ('log_id', {log_id});
"""


class Opened(msgspec.Struct, frozen=True):
    """What a schema turned out to be: the id of its log, its collections by name, and how often those changed."""

    log_id: str
    schemas: dict[str, CollectionSchema]
    shape: int


async def prepare(link: Link, url: PostgresqlUrl, wanted: Sequence[CollectionSchema], log_id: str) -> Opened:
    """Check the server and the schema, and make what is missing.

    Args:
        link: To the server.
        url: What is opened.
        wanted: The collections to open.
        log_id: Of the log, where there is none yet.

    Raises:
        CouldNotStart: This version cannot serve it; it was left as it is.
        Misdeclared: A collection is declared in a way that no store can keep.
        Unavailable: Other nodes kept opening it.
    """
    await _require_server(link, url)
    require_sound(await stored(link, url), wanted)
    opened, lacking = await _in_turn(link, url, wanted, log_id)
    for schema in lacking:
        await _rekey(link, identifier(url.schema), schema)
    for declared in wanted:
        await _build_indexes(link, url.schema, opened.schemas[declared.name])
    return opened


_Made = tuple[Opened, list[CollectionSchema]]
"""What was opened, and the collections whose rows lack keys."""


async def _in_turn(link: Link, url: PostgresqlUrl, wanted: Sequence[CollectionSchema], log_id: str) -> _Made:
    for _ in range(OPEN_TRIES_MAX):
        made = await _transaction(link, url, wanted, log_id)
        if made is not None:
            return made
        await asyncio.sleep(OPEN_PAUSE_SECONDS)
    raise Unavailable(f"other nodes have been opening the store {url.place} all the time; try again")


async def _transaction(link: Link, url: PostgresqlUrl, wanted: Sequence[CollectionSchema], log_id: str) -> _Made | None:
    """None where it is somebody else's turn."""
    _ = await link.execute("BEGIN")
    try:
        lock = f"SELECT pg_try_advisory_xact_lock({_lock_of(url.schema)})"
        if not (await link.fetch(lock))[0][0]:
            _ = await link.execute("ROLLBACK")
            return None
        # Again, now that nobody else opens it: another node may have come first.
        before = await stored(link, url)
        schemas = require_sound(before, wanted)
        made = await _create(link, url.schema, before, schemas, log_id)
        _ = await link.execute("COMMIT")
    except BaseException:
        if not link.is_closed():
            _ = await link.execute("ROLLBACK")
        raise
    lacking = [one for one in schemas if one.name in before and types_in(one) - types_in(before[one.name])]
    return made, lacking


def _lock_of(schema: str) -> int:
    return int.from_bytes(blake2b(f"hanse {schema}".encode(), digest_size=8).digest(), "big", signed=True)


async def _require_server(link: Link, url: PostgresqlUrl) -> None:
    """Refuse a server that cannot keep what is promised.

    Raises:
        CouldNotStart: It says what is wrong with it, and what to do.
    """
    names = ("server_version_num", "server_encoding", "fsync", "synchronous_commit", "server_version")
    settings = ", ".join(f"current_setting('{name}')" for name in names)
    ((*told, standby, reads),) = (
        tuple(cast("Iterable[object]", row))
        for row in await link.fetch(f"SELECT {settings}, pg_is_in_recovery(), current_setting('transaction_read_only')")
    )
    number, encoding, fsync, commits, version = map(str, told)
    problem = ""
    if int(number) < SERVER_MIN:
        problem = f"expected PostgreSQL {SERVER_MIN // 10_000} or newer, got {version}; upgrade the server"
    elif encoding != "UTF8":
        problem = (
            f"expected a database in UTF8, got one in {encoding}; create another: CREATE DATABASE ... ENCODING 'UTF8'"
        )
    elif standby or reads == "on":
        problem = "expected a server that writes, got a standby or one that only reads; name the primary in the URL"
    elif url.synchronous == "on" and "off" in (fsync, commits):
        problem = (
            f"expected a server that keeps what it commits, got fsync={fsync} and synchronous_commit={commits}; "
            "turn both on, or say synchronous=off in the URL if commits may be lost when its machine goes down"
        )
    if problem:
        raise CouldNotStart(f"the store {url.place} cannot be used: {problem}")


async def stored(link: Link, url: PostgresqlUrl) -> dict[str, CollectionSchema]:
    """The collections that a schema keeps, none where it is not there; nothing is touched.

    Raises:
        CouldNotStart: It is not ours, or was written by a newer version.
    """
    place = literal(url.schema)
    tables = (
        "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        f"WHERE nspname = {place} AND relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
    names = {str(row[0]) for row in await link.fetch(tables)}
    if not names:
        return {}
    if not {"meta", "state", "collections", "log"} <= names:
        raise CouldNotStart(
            f"the schema {url.schema} holds tables of something else, and was left as it is; "
            "choose another with schema= in the URL"
        )
    schema = identifier(url.schema)
    ((version,),) = cast("list[tuple[str]]", await link.fetch(f"SELECT value FROM {schema}.meta WHERE name = 'format'"))
    if int(version) > FORMAT:
        problem = f"the store {url.place} has format {version}, written by a newer Hanse; this one reads up to {FORMAT}"
        raise CouldNotStart(f"{problem}: upgrade it")
    return await schemas_in(link, schema)


async def schemas_in(link: Link, place: str) -> dict[str, CollectionSchema]:
    """The collections of a store, by name, as its newest version declares them."""
    rows = await link.fetch(f"SELECT schema FROM {place}.collections")
    schemas = [msgspec.json.decode(meant(str(row[0])), type=CollectionSchema) for row in rows]
    return {schema.name: schema for schema in schemas}


async def _create(
    link: Link,
    name: str,
    before: Mapping[str, CollectionSchema],
    schemas: Sequence[CollectionSchema],
    log_id: str,
) -> Opened:
    place = identifier(name)
    known = await link.fetch(f"SELECT 1 FROM pg_namespace WHERE nspname = {literal(name)}")
    if not known:
        _ = await link.execute(f"CREATE SCHEMA {place}")
    if not await link.fetch(f"SELECT 1 FROM pg_tables WHERE schemaname = {literal(name)} AND tablename = 'meta'"):
        _ = await link.execute(_TABLES.format(s=place, format=FORMAT, log_id=literal(log_id)), timeout=OPEN_SECONDS)
    changed = [schema for schema in schemas if before.get(schema.name) != schema]
    for schema in changed:
        await _create_collection(link, name, schema, is_new=schema.name not in before)
    await _create_fold(link, name)
    if changed:
        # Whoever commits on what it knew before is refused once, and looks again.
        _ = await link.execute(f"UPDATE {place}.state SET shape = shape + 1, version = version + 1")
    # Whoever closed its store has removed its own; those of killed processes are of no use after a day.
    _ = await link.execute(f"DELETE FROM {place}.writers WHERE at < now() - interval '1 day'")
    ((found, shape),) = cast(
        "list[tuple[str, int]]",
        await link.fetch(f"SELECT value, shape FROM {place}.meta, {place}.state WHERE name = 'log_id'"),
    )
    return Opened(found, {schema.name: schema for schema in schemas}, shape)


async def _create_collection(link: Link, name: str, schema: CollectionSchema, *, is_new: bool) -> None:
    place = identifier(name)
    if is_new:
        _ = await link.execute(
            f"CREATE TABLE {place}.{identifier(table_name(schema.name))} "
            '(id text COLLATE "C" PRIMARY KEY, rev bigint NOT NULL, value bytea NOT NULL, keys jsonb NOT NULL)'
        )
        for index, expression in _indexes(schema).items():
            _ = await link.execute(_index_sql(name, schema, index, expression))
    text = msgspec.json.encode(schema).decode()
    _ = await link.fetch(
        f"INSERT INTO {place}.collections VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET schema = excluded.schema",
        written(schema.name),
        written(text),
    )


async def _create_fold(link: Link, name: str) -> None:
    known = (
        "SELECT 1 FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace "
        f"WHERE nspname = {literal(name)} AND proname = {literal(fold().name)}"
    )
    if not await link.fetch(known):
        _ = await link.execute(
            f"CREATE FUNCTION {identifier(name)}.{fold().name}(text text) RETURNS text "
            f"LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS {literal(fold().body)}"
        )


def _indexes(schema: CollectionSchema) -> dict[str, str]:
    """The indexes that a collection is to have.

    Their names tell what is indexed and how: a field that changes its type or default gets another one.
    """
    keys = (indexed_sql((field,), schema) for field in schema.indexed)
    return {f"index_{blake2b(f'{schema.name} {key}'.encode(), digest_size=8).hexdigest()}": key for key in keys}


def _index_sql(place: str, schema: CollectionSchema, index: str, expression: str, *, beside: bool = False) -> str:
    """Beside whoever writes, or (in a table that is empty) at once."""
    table = f"{identifier(place)}.{identifier(table_name(schema.name))}"
    how = "CONCURRENTLY IF NOT EXISTS " if beside else ""
    return f"CREATE INDEX {how}{identifier(index)} ON {table} (({expression}) NULLS FIRST, id)"


async def _build_indexes(link: Link, place: str, schema: CollectionSchema) -> None:
    """Build those that are missing or were left half built, and drop those that nobody declares any more."""
    listing = (
        "SELECT i.relname, x.indisvalid, p.index_relid IS NOT NULL FROM pg_index x "
        "JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid "
        "JOIN pg_namespace n ON n.oid = t.relnamespace "
        "LEFT JOIN pg_stat_progress_create_index p ON p.index_relid = i.oid "
        f"WHERE n.nspname = {literal(place)} AND t.relname = {literal(table_name(schema.name))} AND NOT x.indisprimary"
    )
    found = {str(row[0]): (bool(row[1]), bool(row[2])) for row in await link.fetch(listing)}
    wanted = _indexes(schema)
    for index, (is_valid, is_being_built) in found.items():
        if index.startswith("index_") and (index not in wanted or not (is_valid or is_being_built)):
            drop = f"DROP INDEX CONCURRENTLY IF EXISTS {identifier(place)}.{identifier(index)}"
            await _alone(link, drop)
    for index, expression in wanted.items():
        if not any(found.get(index, (False, False))):
            await _alone(link, _index_sql(place, schema, index, expression, beside=True))


async def _alone(link: Link, statement: str) -> None:
    """Run what cannot be in a transaction; two who build for one table may be told that they wait for each other."""
    for _ in range(INDEX_TRIES_MAX - 1):
        try:
            _ = await link.execute(statement, timeout=INDEX_SECONDS)
        except Exception as error:
            if not is_again(error):
                raise
        else:
            return
    _ = await link.execute(statement, timeout=INDEX_SECONDS)


async def _rekey(link: Link, place: str, schema: CollectionSchema) -> None:
    """Give rows from before the keys of types that are new; whoever writes now gives them already."""
    table, after = f"{place}.{identifier(table_name(schema.name))}", ""
    while True:
        _ = await link.execute("BEGIN")
        try:
            rows = await link.fetch(
                f"SELECT id, value FROM {table} WHERE id > $1 ORDER BY id LIMIT {REKEYED_MAX} FOR UPDATE", after
            )
            ids = [str(row[0]) for row in rows]
            keys = [_keys(cast("bytes", row[1]), schema) for row in rows]
            _ = await link.fetch(
                f"UPDATE {table} AS t SET keys = t.keys || r.keys::jsonb "
                "FROM unnest($1::text[], $2::text[]) AS r (id, keys) WHERE t.id = r.id",
                ids,
                keys,
            )
            _ = await link.execute("COMMIT")
        except BaseException:
            if not link.is_closed():
                _ = await link.execute("ROLLBACK")
            raise
        if len(rows) < REKEYED_MAX:
            return
        after = ids[-1]


def _keys(value: bytes, schema: CollectionSchema) -> str:
    return msgspec.json.encode(row_keys(_decode(value), (schema,))).decode()
