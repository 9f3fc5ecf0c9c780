"""Where rows are: the contract that the owner of a collection serves to everybody else.

Rows travel as JSON bytes with their revision, so that whoever passes them on (the gateway, another service) neither
knows nor needs the class. The owner validates every write; nothing invalid is ever stored. Each collection's rows are
served under the contract name `rows/<collection>`, reachable within the system only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import Description, describe_as
from hanse.contract.model import Resource, collection_of
from hanse.kernel.closing import closing
from hanse.kernel.codec import stored_json
from hanse.kernel.faults import Conflict, Fault, Flaw, Invalid, Malformed, NotFound, PreconditionFailed, TooLarge
from hanse.kernel.message import Headers
from hanse.kernel.validate import FLAWS_MAX
from hanse.service.change import Created, Deleted, Existing, Followed, Ready, Reset, Updated
from hanse.service.local import LocalCollection, committed
from hanse.service.shape import Shape
from hanse.service.unit import unit_for
from hanse.store.base import Found, Row, Store
from hanse.store.query import PAGE_MAX, OneOf, Query, Where

R = TypeVar("R", bound=Resource)
T = TypeVar("T")
A = TypeVar("A")


PatchForm = Literal["merge", "json", "fields"]
"""How changes are written: a merge patch (RFC 7396), a JSON patch (RFC 6902), or fields that are replaced whole."""

ROWS_MAX = PAGE_MAX
"""Rows of one `many`, `create_many` or `delete_many`."""


THERE = -1
"""As `if_match` of `put`: over a row that is there, at whatever revision."""

WRITES = ("create", "put", "patch", "delete", "create_many", "delete_many")
"""The operations of `Rows` that write."""


class SomeExist(Conflict, retryable=False, detail="{problem}"):
    """Rows that should be added together are there in part; none was added. `errors` names them by their place."""

    errors: list[Flaw]


class SomeMissing(Fault, status=404, close_code=1008, detail="{problem}"):
    """Rows that should be removed together are not all there; none was removed. `errors` names them by their place."""

    problem: str
    errors: list[Flaw]


class Written(msgspec.Struct, frozen=True):
    """A row as it was written.

    Attributes:
        id, rev: The row and its new revision.
        value: The row as JSON.
        created: Whether it is new.
    """

    id: str
    rev: int
    value: bytes
    created: bool = False


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a feed tells.

    Attributes:
        event: `existing`, `ready`, `reset`, `created`, `updated` or `deleted`; `emitted` in the feed of a topic.
        cursor: Where to go on from after it; empty for `existing` and `reset`.
        id, rev: The row and its revision after it (before it, for a deletion).
        value: The row as JSON (as it was, for a deletion).
        before: What it was until an update, as JSON.
        at: Wall-clock second of the commit.
        headers: Who and what led to it.
    """

    event: str
    cursor: str = ""
    id: str = ""
    rev: int = 0
    value: bytes = b""
    before: bytes = b""
    before_rev: int = 0
    at: float = 0.0
    headers: Headers = Headers()


class Rows(Contract, Protocol):
    """The rows of one collection, as JSON."""

    @rpc(idempotent=True)
    async def get(self, id: str) -> Row:
        """One row. Raises NotFound."""
        ...

    @rpc(idempotent=True)
    async def find(self, query: Query) -> Found:
        """A page of rows."""
        ...

    @rpc(idempotent=True)
    async def count(self, where: Where | None = None) -> int:
        """How many rows match."""
        ...

    @rpc
    async def create(self, value: bytes, id: str = "") -> Written:
        """Add a row, under the id given, the value's own, or a new one. Raises Conflict, Invalid, Malformed."""
        ...

    @rpc
    async def put(self, id: str, value: bytes, if_match: int | None = None) -> Written:
        """Write a row whole (`if_match` of 0: a new one, `THERE`: over one). Raises PreconditionFailed, Invalid."""
        ...

    @rpc
    async def patch(
        self, id: str, changes: bytes, if_match: int | None = None, *, form: PatchForm = "merge"
    ) -> Written:
        """Change a row as a patch says. Raises NotFound, PreconditionFailed, PatchConflict, Invalid, Malformed."""
        ...

    @rpc
    async def delete(self, id: str, if_match: int | None = None) -> None:
        """Remove a row. Raises NotFound, PreconditionFailed."""
        ...

    @rpc(idempotent=True)
    async def many(self, ids: dict[str, list[str]]) -> dict[str, list[Row]]:
        """Those rows of these ids that there are, by collection, in the order of the ids.

        The collections may be any of the owner's, so that who needs rows of several asks it once. Raises NotFound where
        one is not, TooLarge over `ROWS_MAX` ids in all.
        """
        ...

    @rpc
    async def create_many(self, values: list[bytes]) -> list[Written]:
        """Add rows, all or none. Raises SomeExist, Invalid (pointers begin with the place), Malformed, TooLarge."""
        ...

    @rpc
    async def delete_many(self, ids: list[str]) -> None:
        """Remove rows, all or none. Raises SomeMissing, TooLarge."""
        ...

    @rpc(idempotent=True)
    async def cursor(self) -> str:
        """Where the log is now."""
        ...

    @rpc
    def follow(
        self, where: Where | None = None, after: str = "", *, snapshot: bool = True, caught_up: bool = False
    ) -> AsyncIterator[Line]:
        """The rows that match and then their changes, or the changes after a cursor; see `Collection.follow`.

        Without a snapshot, and without a cursor, the changes from now on. With `caught_up`, `ready` is told to who
        resumes, too, once it has what it missed; and again where the log went on, but nothing was told for a while.
        """
        ...


def rows_contract(kind: type[Resource]) -> Description:
    """The contract under which the rows of a resource are served, made once."""
    return rows_contract_named(collection_of(kind))


@lru_cache(maxsize=4096)
def rows_contract_named(collection: str) -> Description:
    """The same, by the name of the collection."""
    return describe_as(Rows, f"rows/{collection}")


class RowsOf(Generic[R]):
    """Serves the rows of a local collection.

    A write commits within its operation, not after it, so that the answer tells the revision that it was given.

    Args of the constructor:
        collection: The collection.
        store: Where it is.
        owned: The rows of all collections of its owner, by name, these among them once they are made.
    """

    def __init__(self, collection: LocalCollection[R], store: Store, owned: Mapping[str, RowsOf[Any]]) -> None:
        self._rows = collection
        self._shape = collection.shape
        self._store = store
        self._owned = owned
        self._patching: Mapping[PatchForm, Callable[[R, object], R]] = {
            "merge": self._shape.merged,
            "json": self._shape.edited,
            "fields": self._shape.replaced,
        }

    async def get(self, id: str) -> Row:
        """See `Rows.get`."""
        # Not `get`: a read that is the whole of its call writes nothing that could rest on it, and needs no unit.
        return _row(self._rows.there(id, await self._rows.stored(id)))

    async def find(self, query: Query) -> Found:
        """See `Rows.find`."""
        page = await self._rows.page(query)
        return Found(tuple(_row(row) for row in page.items), page.next)

    async def count(self, where: Where | None = None) -> int:
        """See `Rows.count`."""
        return await self._rows.count(where)

    async def create(self, value: bytes, id: str = "") -> Written:
        """See `Rows.create`."""
        row = self._shape.decode(value)
        named = self._shape.named(row, id or row.id)
        return await self._commit(lambda: self._rows.add(named), lambda row: _written(row, created=True))

    async def put(self, id: str, value: bytes, if_match: int | None = None) -> Written:
        """See `Rows.put`."""
        row = self._shape.named(self._shape.decode(value), id)
        was: list[R | None] = []

        def replace(old: R | None) -> R:
            if old is None and if_match == THERE:
                raise PreconditionFailed(self._shape.topic, id, "*", "none")
            was[:] = [old]
            return row

        return await self._commit(
            lambda: self._rows.change(id, replace, if_match=None if if_match == THERE else if_match),
            lambda changed: _written(self._rows.there(id, changed), created=was == [None]),
        )

    async def patch(
        self, id: str, changes: bytes, if_match: int | None = None, *, form: PatchForm = "merge"
    ) -> Written:
        """See `Rows.patch`."""
        try:
            patch: object = msgspec.json.decode(changes)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Malformed(f"expected a patch in JSON: {error}") from None

        apply = self._patching[form]

        def patched(row: R | None) -> R:
            return apply(self._rows.there(id, row), patch)

        return await self._commit(
            lambda: self._rows.change(id, patched, if_match=if_match),
            lambda changed: _written(self._rows.there(id, changed)),
        )

    async def delete(self, id: str, if_match: int | None = None) -> None:
        """See `Rows.delete`."""
        await self._commit(lambda: self._rows.delete(id, if_match=if_match), _nothing)

    async def many(self, ids: dict[str, list[str]]) -> dict[str, list[Row]]:
        """See `Rows.many`."""
        _check_count(sum(map(len, ids.values())))
        for name in ids:
            if name not in self._owned:
                raise NotFound("collection", name)
        return {name: await self._owned[name].those(some) for name, some in ids.items()}

    async def those(self, ids: Iterable[str]) -> list[Row]:
        """Those of its own rows that there are, in the order of the ids; at most `ROWS_MAX`."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return []
        page = await self._rows.page(Query(OneOf(("id",), tuple(wanted)), limit=len(wanted)))
        found = {row.id: row for row in page.items}
        return [_row(found[id]) for id in wanted if id in found]

    async def create_many(self, values: list[bytes]) -> list[Written]:
        """See `Rows.create_many`."""
        _check_count(len(values))
        rows = self._decoded(values)
        return await self._commit(
            lambda: self._created(rows), lambda created: [_written(row, created=True) for row in created]
        )

    def _decoded(self, values: list[bytes]) -> list[R]:
        rows: list[R] = []
        flaws: list[Flaw] = []
        for index, value in enumerate(values):
            try:
                rows.append(self._shape.decode(value))
            except Invalid as fault:
                flaws += [msgspec.structs.replace(flaw, pointer=f"/{index}{flaw.pointer}") for flaw in fault.errors]
        if flaws:
            raise Invalid(f"{flaws[0].pointer}: {flaws[0].detail}", flaws[:FLAWS_MAX])
        return rows

    async def _created(self, rows: list[R]) -> list[R]:
        created: list[R] = []
        taken: list[Flaw] = []
        for index, row in enumerate(rows):
            try:
                created.append(await self._rows.add(row))
            except Conflict as fault:
                taken.append(Flaw(f"/{index}/id", "conflict", fault.detail))
        if taken:
            raise SomeExist(f"{len(taken)} of {len(rows)} rows are there already; none was added", taken[:FLAWS_MAX])
        return created

    async def delete_many(self, ids: list[str]) -> None:
        """See `Rows.delete_many`."""
        _check_count(len(ids))
        await self._commit(lambda: self._deleted(list(dict.fromkeys(ids))), _nothing)

    async def _deleted(self, ids: list[str]) -> None:
        missing: list[Flaw] = []
        for index, id in enumerate(ids):
            try:
                await self._rows.delete(id)
            except NotFound as fault:
                missing.append(Flaw(f"/{index}", "not_found", fault.detail))
        if missing:
            problem = f"{len(missing)} of {len(ids)} rows are not there; none was removed"
            raise SomeMissing(problem, missing[:FLAWS_MAX])

    async def cursor(self) -> str:
        """See `Rows.cursor`."""
        return await self._rows.cursor()

    async def follow(
        self, where: Where | None = None, after: str = "", *, snapshot: bool = True, caught_up: bool = False
    ) -> AsyncIterator[Line]:
        """See `Rows.follow`."""
        if not snapshot and not after:
            after = await self._rows.cursor()
            if not caught_up:
                yield Line("ready", after)
        async with closing(self._rows.feed(where).follow(after or None, caught_up=caught_up)) as items:
            async for item in items:
                yield line_of(item)

    async def _commit(self, write: Callable[[], Awaitable[T]], tell: Callable[[T], A]) -> A:
        """Write, and give the answer; it is committed with what was written, where the call has an idempotency key."""
        unit = unit_for(self._store)
        return tell(await write() if unit is None else await committed(unit, lambda _: write(), tell))


def _nothing(_: None) -> None:
    """The answer to what has none."""


def _check_count(count: int) -> None:
    if count > ROWS_MAX:
        raise TooLarge("the number of rows at once", str(ROWS_MAX))


def _row(row: Resource) -> Row:
    return Row(row.id, row.rev, stored_json(row))


def _written(row: Resource, *, created: bool = False) -> Written:
    return Written(row.id, row.rev, stored_json(row), created)


def line_of(item: Followed[R]) -> Line:
    """What a feed told, as it travels."""
    match item:
        case Existing(value=row):
            return Line("existing", "", row.id, row.rev, stored_json(row))
        case Ready(cursor=cursor):
            return Line("ready", cursor)
        case Reset():
            return Line("reset")
        case Created(after=row):
            return Line("created", item.cursor, row.id, row.rev, stored_json(row), at=item.at, headers=item.headers)
        case Updated(before=old, after=row):
            value, before = stored_json(row), stored_json(old)
            return Line(
                "updated", item.cursor, row.id, row.rev, value, before, old.rev, at=item.at, headers=item.headers
            )
        case Deleted(before=row):
            return Line("deleted", item.cursor, row.id, row.rev, stored_json(row), at=item.at, headers=item.headers)


def told_by(line: Line, shape: Shape[R]) -> Followed[R]:
    """What a feed told, from how it travelled."""
    if line.event == "ready":
        return Ready(line.cursor)
    if line.event == "reset":
        return Reset()
    row = shape.read(line.value, line.id, line.rev)
    match line.event:
        case "existing":
            return Existing(row)
        case "created":
            return Created(row, line.cursor, line.at, line.headers)
        case "updated":
            before = shape.read(line.before, line.id, line.before_rev)
            return Updated(before, row, line.cursor, line.at, line.headers)
        case _:
            return Deleted(row, line.cursor, line.at, line.headers)
