"""What a store consists of: its format, its collections and indexes, and whether this version may touch it.

All names begin with the prefix: the state (one document: format, id of the log, newest position, who writes), the log,
the marks, the readers' positions, the schemas, and the rows of each collection. Whatever else has such a name is not
ours. Everything is looked at before anything is written. Schemas are changed in a transaction, so that nodes that start
at once do so one after the other; what else is made may be made twice.

Indexes are built beside whoever writes, and rows that lack keys get them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import cast

import msgspec
import pymongo
from pymongo import ReadPreference, UpdateOne
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure, PyMongoError

from hanse.kernel.faults import CouldNotStart, Unavailable
from hanse.store.base import CollectionSchema
from hanse.store.mongodb.failures import is_again, is_conflict, is_refusal, is_there
from hanse.store.mongodb.link import LASTING, OF_ONE_MOMENT, STATE, Books, Document, Link, Session
from hanse.store.mongodb.query import key_field, rows_name
from hanse.store.mongodb.row_keys import lacking, row_keys
from hanse.store.mongodb.stall import Stall, end_others
from hanse.store.mongodb.writing import Author, state_of
from hanse.store.schema import require_sound

FORMAT = 1
"""Raised when the collections change in a way that an older version cannot read."""

WIRE_MIN = 25
SERVER_MIN = "8.0"
"""MongoDB 8.0, of 2024, which writes to several collections at once; and the version of its protocol."""

OPEN_SECONDS = 30.0
OPEN_PAUSE_SECONDS = 0.05
"""For how long and how far apart a node asks for its turn to open a store."""

MAKE_SECONDS = 60.0
"""For which a collection, or the keys of some rows, may take to be made."""

INDEX_SECONDS = 24 * 3600.0
"""For which an index may take to be built."""

REKEYED_MAX = 500
"""Rows that get new keys in one turn."""

FORGOTTEN = timedelta(days=1)
"""After which nobody asks any more whether a process that was killed has committed."""

_BOOKS = ("state", "schemas", "log", "marks", "positions")
_INDEX = "key_"
_decode = msgspec.json.Decoder(dict[str, object]).decode


class Opened(msgspec.Struct, frozen=True):
    """What a store turned out to be.

    Attributes:
        log_id: The id of its log.
        schemas: Its collections by name.
        shape: How often those changed.
        author: Who this process is.
    """

    log_id: str
    schemas: dict[str, CollectionSchema]
    shape: int
    author: Author


async def prepare(link: Link, session: Session, wanted: Sequence[CollectionSchema]) -> Opened:
    """Check the server and what is stored, and make what is missing.

    Args:
        link: To the server.
        session: In which this process will write.
        wanted: The collections to open.

    Raises:
        CouldNotStart: This version cannot serve it; it was left as it is.
        Misdeclared: A collection is declared in a way that no store can keep.
        Unavailable: Other nodes kept opening it.
    """
    await require_server(link)
    before = await stored(link)
    _ = require_sound(before, wanted)
    log_id = await _create(link, wanted)
    opened = await _in_turn(link, session, wanted, log_id)
    for declared in wanted:
        schema = opened.schemas[declared.name]
        if lacking(before.get(declared.name, schema), schema):
            await _rekey(link, schema)
        await _build_indexes(link, schema)
    return opened


async def require_server(link: Link) -> None:
    """Refuse a server that cannot keep what is promised.

    Raises:
        CouldNotStart: It says what is wrong with it, and what to do.
    """
    try:
        found = cast("Document", await link.ask(lambda session: link.client.admin.command("hello", session=session)))
        version = cast("Document", await link.ask(lambda session: link.database.command("buildInfo", session=session)))
    except Unavailable as away:
        if away.__cause__ is not None and is_refusal(away.__cause__):
            raise CouldNotStart(
                f"cannot open the store {link.place}: {away.__cause__}; see to user and password in its URL"
            ) from away
        raise
    problem = _problem(found, str(version.get("version")))
    if problem:
        raise CouldNotStart(f"the store {link.place} cannot be used: {problem}")


def _problem(server: Mapping[str, object], version: str) -> str:
    """What is wrong with a server, given what it says of itself; empty where nothing is."""
    if cast("int", server.get("maxWireVersion", 0)) < WIRE_MIN:
        return f"expected MongoDB {SERVER_MIN} or newer, got {version}; upgrade the server"
    if "setName" not in server and server.get("msg") != "isdbgrid":
        return (
            "expected a replica set, got a server by itself, which has no transactions; one server does as a replica "
            "set of one: start it with --replSet rs0, and say rs.initiate() to it once"
        )
    if server.get("logicalSessionTimeoutMinutes") is None:
        return f"expected a server with sessions, got {version} without; see to the members of its replica set"
    return ""


async def stored(link: Link) -> dict[str, CollectionSchema]:
    """The collections that a store keeps, none where it is not there; nothing is touched.

    Raises:
        CouldNotStart: It is not ours, or was written by a newer version.
    """
    state = await _state(link)
    if state is None:
        taken = await _taken(link)
        # Another node may have begun to make it in between.
        state = await _state(link)
        if state is None and taken:
            raise CouldNotStart(
                f"collections of something else have names that begin with {link.url.collection('')}, such as "
                f"{min(taken)}, and were left as they are; choose another prefix= in the URL"
            )
    if state is None:
        return {}
    if (version := cast("int", state.get("format", 0))) > FORMAT:
        problem = (
            f"the store {link.place} has format {version}, written by a newer Hanse; this one reads up to {FORMAT}"
        )
        raise CouldNotStart(f"{problem}: upgrade it")
    return await link.ask(lambda session: schemas_in(link, session))


async def _state(link: Link) -> Document | None:
    return await link.ask(lambda session: link.books("state").find_one({"_id": STATE}, session=session))


async def _taken(link: Link) -> list[str]:
    """The names of a store that something has; those that another node has just made are empty."""
    names = await link.ask(lambda session: link.database.list_collection_names(session=session))
    own = {link.url.collection(name) for name in _BOOKS}
    others = [name for name in names if name.startswith(link.url.collection("")) and name not in own]
    return others + [name for name in own.intersection(names) if not await _is_empty(link, link.database[name])]


async def _is_empty(link: Link, books: Books) -> bool:
    return await link.ask(lambda session: books.find_one({}, session=session)) is None


async def schemas_in(link: Link, session: Session | None) -> dict[str, CollectionSchema]:
    """The collections of a store, by name, as its newest version declares them."""
    found = await link.books("schemas").find({}, session=session).to_list()
    schemas = [msgspec.json.decode(cast("str", one["schema"]), type=CollectionSchema) for one in found]
    return {schema.name: schema for schema in schemas}


async def _create(link: Link, wanted: Sequence[CollectionSchema]) -> str:
    """Make what is missing, the state first; the id of the log."""
    new: Document = {
        "format": FORMAT, "log_id": link.host.new_id(), "head": 0, "trimmed": 0, "shape": 0, "writers": {},
    }  # fmt: skip
    with suppress(DuplicateKeyError), pymongo.timeout(MAKE_SECONDS):
        # Of several who do so at once, one does.
        _ = await link.books("state").update_one({"_id": STATE}, {"$setOnInsert": new}, upsert=True)
    known = set(await link.ask(lambda session: link.database.list_collection_names(session=session)))
    for name in (*_BOOKS, *(rows_name(one.name) for one in wanted)):
        if link.url.collection(name) not in known:
            await _make(link, name)
    _ = await link.ask(lambda session: link.books("marks").create_index("at", session=session), seconds=MAKE_SECONDS)
    return cast("str", cast("Document", await _state(link))["log_id"])


async def _make(link: Link, name: str) -> None:
    try:
        with pymongo.timeout(MAKE_SECONDS):
            _ = await link.database.create_collection(link.url.collection(name))
    except CollectionInvalid:
        # Another node has made it.
        return
    except OperationFailure as error:
        if not is_there(error):
            raise


async def _in_turn(link: Link, session: Session, wanted: Sequence[CollectionSchema], log_id: str) -> Opened:
    until, stall, author = link.host.monotonic() + OPEN_SECONDS, Stall(), Author(link.host.new_id())
    while link.host.monotonic() < until:
        try:
            with pymongo.timeout(MAKE_SECONDS):
                async with await session.start_transaction(
                    read_concern=OF_ONE_MOMENT, write_concern=LASTING, read_preference=ReadPreference.PRIMARY
                ):
                    opened = await _entered(link, session, wanted, (author, log_id, stall))
        except PyMongoError as error:
            if not is_again(error):
                raise
            if is_conflict(error) and stall.is_stuck(link.host.monotonic()):
                await end_others(link, stall, author.id)
            await asyncio.sleep(OPEN_PAUSE_SECONDS * link.host.chance.random())
        else:
            link.saw(session)
            return opened
    raise Unavailable(f"other nodes have been opening the store {link.place} all the time; try again")


async def _entered(
    link: Link, session: Session, wanted: Sequence[CollectionSchema], who: tuple[Author, str, Stall]
) -> Opened:
    """Write down the schemas as they are now, and who writes."""
    author, log_id, stall = who
    found = cast("Document", await link.books("state").find_one({"_id": STATE}, session=session))
    state = state_of(found)
    stall.looked(state, link.host.monotonic())
    # Again, now that nobody else opens it: another node may have come first.
    before = await schemas_in(link, session)
    schemas = {one.name: one for one in require_sound(before, wanted)}
    changed = [schema for name, schema in schemas.items() if before.get(name) != schema]
    update: Document = {
        "$set": {
            f"{author.field}.session": session.session_id,
            f"{author.field}.n": author.number,
            # It says which marks are made while a dump is taken, as older versions do not.
            f"{author.field}.dumps": True,
        },
        "$inc": {"shape": 1 if changed else 0},
        "$currentDate": {f"{author.field}.at": True},
    }
    if old := await _forgotten(link, found):
        update["$unset"] = dict.fromkeys(old, "")
    _ = await link.books("state").update_one({"_id": STATE}, update, session=session)
    for schema in changed:
        text = msgspec.json.encode(schema).decode()
        _ = await link.books("schemas").update_one(
            {"_id": schema.name}, {"$set": {"schema": text}}, upsert=True, session=session
        )
    return Opened(log_id, schemas, state.shape + (1 if changed else 0), author)


async def _forgotten(link: Link, state: Document) -> list[str]:
    """Writers that are of no use any more. Whoever closed its store has removed itself; others were killed."""
    now = cast("datetime", cast("Document", await link.client.admin.command("hello"))["localTime"])
    writers = cast("dict[str, dict[str, datetime]]", state["writers"])
    return [Author(id).field for id, one in writers.items() if now - one.get("at", now) > FORGOTTEN]


def _indexes(schema: CollectionSchema) -> dict[str, list[tuple[str, int]]]:
    """The indexes that a collection is to have.

    Their names tell what is indexed and how: a field that changes its type or default gets another one.
    """
    fields = (key_field((field,), schema) for field in schema.indexed if field not in {"id", "rev"})
    return {_INDEX + blake2b(one.encode(), digest_size=8).hexdigest(): [(one, 1), ("_id", 1)] for one in fields}


async def _build_indexes(link: Link, schema: CollectionSchema) -> None:
    """Build those that are missing, and drop those that nobody declares any more."""
    books, wanted = link.books(rows_name(schema.name)), _indexes(schema)
    found = await link.ask(lambda session: _names_of_indexes(books, session))
    for name in found:
        if name.startswith(_INDEX) and name not in wanted:
            with pymongo.timeout(MAKE_SECONDS):
                await books.drop_index(name)
    for name, keys in wanted.items():
        if name not in found:
            with pymongo.timeout(INDEX_SECONDS):
                _ = await books.create_index(keys, name=name)


async def _names_of_indexes(books: Books, session: Session) -> list[str]:
    return [str(one["name"]) for one in await (await books.list_indexes(session=session)).to_list()]


async def _rekey(link: Link, schema: CollectionSchema) -> None:
    """Give rows from before the keys that are new; whoever writes now gives them already."""
    books, after, is_last = link.books(rows_name(schema.name)), "", False
    while not is_last:
        with pymongo.timeout(MAKE_SECONDS):
            found = books.find({"_id": {"$gt": after}}, {"value": 1, "rev": 1}).sort("_id").limit(REKEYED_MAX)
            rows = await found.to_list()
            if rows:
                _ = await books.bulk_write([_rekeyed(row, schema) for row in rows], ordered=False)
                after = cast("str", rows[-1]["_id"])
        is_last = len(rows) < REKEYED_MAX


def _rekeyed(row: Document, schema: CollectionSchema) -> UpdateOne:
    """At its revision: one that was written since has them."""
    keys = row_keys(_decode(cast("bytes", row["value"])), (schema,))
    sets: Iterable[tuple[str, object]] = ((f"keys.{name}", key) for name, key in keys.items())
    return UpdateOne({"_id": row["_id"], "rev": row["rev"]}, {"$set": dict(sets)})
