"""A group of batches, as MongoDB has it: what has to be known to plan it, and what then writes all of it.

Both are one command each, within one transaction. The first sees one state of the store; among what the second writes
is the document that says where the store is. Of two transactions that write one document at the same time MongoDB lets
one go on and has the other begin anew, so groups are planned and written one after the other, and positions are given
in the order of commits: a reader that has seen one never finds a new entry below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import msgspec
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

from hanse.kernel.codec import canonical
from hanse.kernel.message import Headers
from hanse.store.base import Batch, CollectionSchema, Entry, Mark, Op, Row
from hanse.store.group import Group, Known, Wanted
from hanse.store.mongodb.link import STATE, Document, Write
from hanse.store.mongodb.query import rows_name
from hanse.store.mongodb.row_keys import row_keys
from hanse.store.mongodb.url import MongodbUrl
from hanse.store.plan import Plan

_STATE, _MARKS, _POSITIONS = -3, -2, -1

_OPS = {op.value: op for op in Op}
_headers = msgspec.msgpack.Decoder(Headers).decode
_decode = msgspec.json.Decoder(dict[str, object]).decode


class State(msgspec.Struct, frozen=True):
    """Where a store is.

    Attributes:
        head: The newest position.
        shape: How often its collections changed.
        writers: For each process that writes, how often it has.
        sessions: Under which each of them does.
        dump: The id of a dump that is taken of it.
        loading: Whether a dump is being loaded into it.
    """

    head: int = 0
    shape: int = 0
    writers: Mapping[str, int] = {}
    sessions: Mapping[str, object] = {}
    dump: str = ""
    loading: bool = False


def state_of(found: Document) -> State:
    """The document that says where a store is, as what it says."""
    writers = cast("dict[str, Document]", found.get("writers") or {})
    return State(
        int(cast("int", found["head"])),
        cast("int", found["shape"]),
        {author: cast("int", one.get("n", 0)) for author, one in writers.items()},
        {author: one.get("session") for author, one in writers.items()},
        cast("str", cast("Document", found.get("dump") or {}).get("id", "")),
        "loading" in found,
    )


def mark_id(scope: str, key: str) -> Document:
    """The id of a mark; the order of its fields matters."""
    return {"scope": scope, "key": key}


def pipeline(wanted: Wanted, url: MongodbUrl) -> list[Document]:
    """Finds the state, and what is stored of all that is wanted; to be begun at the collection of the state.

    What is found says in `part` what it is: `read` understands it.
    """
    stages: list[Document] = [{"$match": {"_id": STATE}}, {"$addFields": {"part": {"$literal": _STATE}}}]
    if wanted.marks:
        stages.append(_part(url.collection("marks"), [mark_id(*one) for one in wanted.marks], _MARKS))
    if wanted.positions:
        stages.append(_part(url.collection("positions"), wanted.positions, _POSITIONS, "seq"))
    for number, (name, ids) in enumerate(wanted.rows.items()):
        stages.append(_part(url.collection(rows_name(name)), ids, number, "rev", "value"))
    return stages


def _part(books: str, ids: Sequence[object], part: int, *fields: str) -> Document:
    shown: Document = {**dict.fromkeys(fields, 1), "part": {"$literal": part}}
    return {"$unionWith": {"coll": books, "pipeline": [{"$match": {"_id": {"$in": list(ids)}}}, {"$project": shown}]}}


def read(found: Iterable[Document], wanted: Wanted, known: Known) -> State:
    """Take what was found, and tell where the store is."""
    state, collections = State(), list(wanted.rows)
    for one in found:
        part = cast("int", one["part"])
        if part == _STATE:
            state = state_of(one)
        elif part == _MARKS:
            id = cast("dict[str, str]", one["_id"])
            known.marks.add((id["scope"], id["key"]))
        elif part == _POSITIONS:
            known.positions[cast("str", one["_id"])] = int(cast("int", one["seq"]))
        else:
            row = row_of(one)
            known.rows[collections[part], row.id] = row
    return state


def row_of(found: Document) -> Row:
    """A row as it is stored. Its numbers are made those of Python: beyond 32 bits the driver has a class of its own."""
    return Row(cast("str", found["_id"]), int(cast("int", found["rev"])), cast("bytes", found["value"]))


class Author(msgspec.Struct, frozen=True):
    """Who writes, and how often it has: kept with each group, so that it can be told whether that was committed."""

    id: str
    number: int = 0

    @property
    def field(self) -> str:
        """Where the state keeps what is known of it."""
        return f"writers.{self.id}"


def writes(
    group: Group,
    known: Known,
    author: Author,
    schemas: Mapping[str, Sequence[CollectionSchema]],
    namespace: Mapping[str, str],
    dump: str = "",
) -> Iterator[Write]:
    """All that a group writes, the state first: whoever comes second is told so before it has written anything.

    Args:
        group: What it comes to.
        known: What was looked up for it: other rows are new.
        author: Who writes.
        schemas: What gives rows their keys, for each collection.
        namespace: Where the rows of each collection are, and of what is not rows behind a colon.
        dump: The id of one that is taken: marks that are made since its moment say so.
    """
    yield UpdateOne(
        {"_id": STATE},
        {
            "$set": {"head": group.head, f"{author.field}.n": author.number},
            "$currentDate": {f"{author.field}.at": True},
        },
        namespace=namespace[":state"],
    )
    for address, row in group.rows.items():
        collection, id = address
        if row is None:
            yield DeleteOne({"_id": id}, namespace=namespace[collection])
            continue
        document = row_document(row, schemas[collection])
        if address in known.rows:
            yield ReplaceOne({"_id": id}, document, namespace=namespace[collection])
        else:
            yield InsertOne({"_id": id, **document}, namespace=namespace[collection])
    positions: dict[str, int] = {}
    for batch, one in group.accepted:
        for entry in _entries(batch, one):
            yield InsertOne(entry, namespace=namespace[":log"])
        for mark in one.marks.values():
            since: Document = {"dump": dump} if dump else {}
            yield InsertOne({**mark_document(mark, batch.at), **since}, namespace=namespace[":marks"])
        positions.update((position.name, position.seq) for position in batch.positions)
    for name, seq in positions.items():
        yield UpdateOne({"_id": name}, {"$set": {"seq": seq}}, upsert=True, namespace=namespace[":positions"])


def row_document(row: Row, schemas: Sequence[CollectionSchema]) -> Document:
    """What is kept of a row, beside its id."""
    return {"rev": row.rev, "value": row.value, "keys": row_keys(_decode(row.value), schemas)}


def mark_document(mark: Mark, at: float) -> Document:
    """A mark as it is kept, and when it was made."""
    return {"_id": mark_id(mark.scope, mark.key), "at": at, "digest": mark.digest, "result": mark.result}


def mark_of(found: Document) -> Mark:
    """A mark as it is stored."""
    id = cast("dict[str, str]", found["_id"])
    return Mark(id["scope"], id["key"], cast("bytes", found["digest"]), cast("bytes", found["result"]))


def entry_document(one: Entry, packed: bytes) -> Document:
    """An entry as it is kept.

    Args:
        one: The entry.
        packed: Its headers.
    """
    return {
        "_id": one.seq,
        "at": one.at,
        "op": str(one.op),
        "name": one.name,
        "id": one.id,
        "message_id": one.message_id,
        "before": one.before,
        "after": one.after,
        "before_rev": one.before_rev,
        "headers": packed,
    }


def entry_of(found: Document) -> Entry:
    """An entry as it is stored."""
    return Entry(
        int(cast("int", found["_id"])),
        cast("float", found["at"]),
        _OPS[cast("str", found["op"])],
        cast("str", found["name"]),
        cast("str", found["id"]),
        cast("str", found["message_id"]),
        cast("bytes | None", found["before"]),
        cast("bytes | None", found["after"]),
        int(cast("int", found["before_rev"])),
        _headers(cast("bytes", found["headers"])),
    )


def _entries(batch: Batch, planned: Plan) -> Iterator[Document]:
    packed = canonical(batch.headers) if planned.entries else b""
    return (entry_document(one, packed) for one in planned.entries)
