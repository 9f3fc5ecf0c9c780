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
from hanse.store.redis.link import Link
from hanse.store.redis.names import Names
from hanse.store.redis.packed import lua, pack
from hanse.store.redis.scripts import FORMAT, OPEN, PROBE
from hanse.store.schema import require_sound

OPEN_TRIES_MAX = 100
"""How often a node opens a store anew, as others changed its collections in between."""

_FORBIDDEN = ("NOPERM", "ACL", "The user executing the script")
"""What servers say in an error, each in its own way, where a user may not do something."""


class Opened(msgspec.Struct, frozen=True):
    """What a store turned out to be: the id of its log, its collections by name, and how often those changed."""

    log_id: str
    schemas: dict[str, CollectionSchema]
    shape: int


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
        (shape,) = cast("list[bytes | None]", await link.ask(b"HMGET", names.meta, b"shape"))
        before = await stored(link, names)
        schemas = require_sound(before, wanted)
        changed = [(one.name, lua(msgspec.json.encode(one))) for one in schemas if before.get(one.name) != one]
        given = [shape or b"", log_id.encode(), link.told.run.encode(), pack((changed, (), ()))]
        if await link.run(OPEN, [names.meta, names.schemas, names.indexes], *given):
            found = await opened_in(link, names)
            return msgspec.structs.replace(found, schemas={one.name: one for one in schemas})
    raise Unavailable("other nodes have been opening the store all the time; try again")


async def stored(link: Link, names: Names) -> dict[str, CollectionSchema]:
    """The collections of a store, none where it is not there; nothing is touched.

    Raises:
        CouldNotStart: The keys are not ours, or were written by a newer version.
    """
    kinds = (names.meta, names.schemas, names.log, names.marks, names.positions)
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
    meta, schemas = await link.all((b"HMGET", names.meta, b"log_id", b"shape"), (b"HVALS", names.schemas))
    log_id, shape = cast("list[bytes | None]", meta)
    found = [msgspec.json.decode(one, type=CollectionSchema) for one in cast("list[bytes]", schemas)]
    return Opened((log_id or b"").decode(), {one.name: one for one in found}, int(shape or 0))


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
