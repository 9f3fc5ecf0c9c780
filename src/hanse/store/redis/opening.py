"""A store on a server: its format, its collections, and whether this version may touch it.

Nothing of rows is changed by opening: what is new are names, and indexes, which are built beside whoever writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec

from hanse.kernel.faults import CouldNotStart, Unavailable
from hanse.kernel.resp import ReplyError
from hanse.store.base import CollectionSchema
from hanse.store.redis.group import row_of
from hanse.store.redis.index import Index, wanted_of
from hanse.store.redis.link import Link
from hanse.store.redis.names import Names
from hanse.store.redis.packed import lua, pack
from hanse.store.redis.scripts import BUILD, FORMAT, OPEN, PIECE_ROWS, PROBE, SCAN
from hanse.store.schema import require_sound

OPEN_TRIES_MAX = 100
"""How often a node opens a store anew, as others changed its collections in between."""

_FORBIDDEN = ("NOPERM", "ACL", "The user executing the script")
"""What servers say in an error, each in its own way, where a user may not do something."""


class Opened(msgspec.Struct, frozen=True):
    """What a store turned out to be.

    Attributes:
        log_id: Of its log.
        schemas: Its collections, by name.
        shape: How often those, or the indexes, changed.
        indexes: All that are kept, those of other versions of the service among them.
    """

    log_id: str
    schemas: dict[str, CollectionSchema]
    shape: int
    indexes: tuple[Index, ...]


async def prepare(link: Link, names: Names, wanted: Sequence[CollectionSchema], log_id: str) -> Opened:
    """Check what is there, and make what is missing.

    Args:
        link: To the server.
        names: Of its keys.
        wanted: The collections to open.
        log_id: Of the log, where there is none yet.

    Raises:
        CouldNotStart: This version cannot serve it; it was left as it is.
        Misdeclared: A collection is declared in a way that no store can keep.
        Unavailable: Other nodes kept opening it.
    """
    require_sound(await stored(link, names), wanted)
    await _try_all(link, names)
    for _ in range(OPEN_TRIES_MAX):
        if schemas := await _made(link, names, wanted, log_id):
            break
    else:
        raise Unavailable("other nodes have been opening the store all the time; try again")
    declared = {index.name for one in wanted for index in wanted_of(schemas[one.name])}
    for index in (await opened_in(link, names)).indexes:
        if index.name in declared and not index.ready:
            await _build(link, names, index)
            await _say_ready(link, names, index)
    return msgspec.structs.replace(await opened_in(link, names), schemas=schemas)


async def _made(
    link: Link, names: Names, wanted: Sequence[CollectionSchema], log_id: str
) -> dict[str, CollectionSchema] | None:
    """The collections, once they are there as they are wanted; None where others changed them meanwhile."""
    (shape,) = cast("list[bytes | None]", await link.ask(b"HMGET", names.meta, b"shape"))
    before = await stored(link, names)
    schemas = {one.name: one for one in require_sound(before, wanted)}
    known = {one.name: one for one in (await opened_in(link, names)).indexes}
    declared = {one.name: one for schema in schemas.values() for one in wanted_of(schema)}
    gone = [name for name, one in known.items() if one.collection in schemas and name not in declared]
    changes = (
        [(name, lua(msgspec.json.encode(one))) for name, one in schemas.items() if before.get(name) != one],
        [(name, lua(msgspec.json.encode(one))) for name, one in declared.items() if name not in known],
        gone,
    )
    return schemas if await _opened(link, names, shape, log_id, changes) else None


_Changes = tuple[list[tuple[str, msgspec.Raw]], list[tuple[str, msgspec.Raw]], list[str]]
"""Collections and indexes by their names, and names of indexes that go."""


async def _opened(link: Link, names: Names, shape: bytes | None, log_id: str, changes: _Changes) -> bool:
    keys = [names.meta, names.schemas, names.indexes, *map(names.key, changes[2])]
    given = (shape or b"", log_id.encode(), link.told.run.encode(), pack(changes))
    return bool(await link.run(OPEN, keys, *given))


async def _build(link: Link, names: Names, index: Index) -> None:
    """Have all rows in an index, beside whoever writes: those keep it already."""
    keys = [names.ids(index.collection), names.rows(index.collection)]
    begin, more = b"-", 1
    while more:
        came = await link.run(SCAN, keys, begin, b"%d" % PIECE_ROWS)
        more, found = cast("tuple[int, list[bytes]]", came)
        rows = [row_of(id.decode(), value) for id, value in zip(found[::2], found[1::2], strict=True)]
        if not rows:
            return
        given = [(row.id, str(row.rev), lua(index.member(row))) for row in rows]
        _ = await link.run(BUILD, [keys[1], names.key(index.name)], pack(given))
        begin = b"(" + rows[-1].id.encode()


async def _say_ready(link: Link, names: Names, index: Index) -> None:
    text = lua(msgspec.json.encode(msgspec.structs.replace(index, ready=True)))
    for _ in range(OPEN_TRIES_MAX):
        found = await opened_in(link, names)
        if not any(one.name == index.name and not one.ready for one in found.indexes):
            return  # somebody else has built it, or let it go
        if await _opened(link, names, b"%d" % found.shape, "", ([], [(index.name, text)], [])):
            return
    raise Unavailable("other nodes have been opening the store all the time; try again")


async def stored(link: Link, names: Names) -> dict[str, CollectionSchema]:
    """The collections of a store, none where it is not there; nothing is touched.

    Raises:
        CouldNotStart: The keys are not ours, or were written by a newer version.
    """
    kinds = (names.meta, names.schemas, names.indexes, names.log, names.marks, names.positions)
    found = await link.all(*((b"TYPE", key) for key in kinds))
    meta, *others = [str(one, "ascii") if isinstance(one, bytes) else str(one) for one in found]
    if meta == "none" and set(others) == {"none"}:
        return {}
    version = await link.ask(b"HGET", names.meta, b"format") if meta == "hash" else None
    if not isinstance(version, bytes):
        raise CouldNotStart(
            f"the keys {names.key('*').decode()} hold something else, and were left as they are; "
            "choose another prefix= in the URL"
        )
    if int(version) > FORMAT:
        problem = f"the store has format {version.decode()}, written by a newer Hanse; this one reads up to {FORMAT}"
        raise CouldNotStart(f"{problem}: upgrade it")
    return (await opened_in(link, names)).schemas


async def opened_in(link: Link, names: Names) -> Opened:
    """What a store is, as its newest version declares it."""
    meta, schemas, indexes = await link.all(
        (b"HMGET", names.meta, b"log_id", b"shape"), (b"HVALS", names.schemas), (b"HVALS", names.indexes)
    )
    log_id, shape = cast("list[bytes | None]", meta)
    found = [msgspec.json.decode(one, type=CollectionSchema) for one in cast("list[bytes]", schemas)]
    kept = tuple(msgspec.json.decode(one, type=Index) for one in cast("list[bytes]", indexes))
    return Opened((log_id or b"").decode(), {one.name: one for one in found}, int(shape or 0), kept)


async def _try_all(link: Link, names: Names) -> None:
    """Do once what commits do, on a key of its own: a script that fails in its middle is not undone.

    Raises:
        CouldNotStart: The user may not do it.
    """
    try:
        _ = await link.run(PROBE, [names.key("probe")], names.channel)
    except ReplyError as error:
        if not any(said in str(error) for said in _FORBIDDEN):
            raise
        raise CouldNotStart(
            f"the user may not do what a store needs ({error}); allow it the keys and channels that begin with "
            f"{names.key('').decode()}, scripts, and the commands on hashes, sorted sets and streams"
        ) from None
