"""What the outside may do with the rows of one resource, over any protocol: REST and sockets ask the same functions.

Rows come from their owner as JSON bytes and are passed on as they are: nothing is decoded and encoded again, but what
a client wants to see only in part.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import msgspec

from hanse.contract.model import Resource, topic_of
from hanse.contract.openapi_rest import ResourcePath
from hanse.gateway.expansion import Expansion, Step, joined
from hanse.gateway.fields import Wrong
from hanse.gateway.filters import Asked
from hanse.gateway.limits import LINES_PAGE
from hanse.gateway.preconditions import PreconditionRequired
from hanse.gateway.projection import Project
from hanse.gateway.unknown_fields import refuse_unknown
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Flaw, Forbidden, Invalid, Malformed
from hanse.service.rows import ROWS_MAX, THERE, PatchForm, Rows, Written
from hanse.store.base import Row

_values = msgspec.json.Decoder(list[msgspec.Raw])


class Shown(msgspec.Struct, frozen=True):
    """How rows are wanted.

    Attributes:
        project: Cuts the fields that are wanted; None for all of them.
        steps: Links to follow.
    """

    project: Project | None = None
    steps: tuple[Step, ...] = ()


WHOLE = Shown()


class ExposedRows:
    """The rows of one exposed resource.

    Args of the constructor:
        resource: What is exposed, and how.
        rows: Where its rows are.
        expansion: Follows the links of rows.
    """

    def __init__(self, resource: ResourcePath, rows: Rows, expansion: Expansion) -> None:
        self.resource: ResourcePath = resource
        self.kind: type[Resource] = resource.kind
        self.rows: Rows = rows
        self._expansion = expansion

    def shown(self, project: Project | None, expand: Sequence[str]) -> Shown:
        """How rows are wanted, of what was asked.

        Raises:
            Invalid: A link that should be followed is none.
        """
        if not expand:
            return Shown(project) if project is not None else WHOLE
        try:
            return Shown(project, self._expansion.steps(self.kind, expand))
        except Wrong as wrong:
            raise Invalid(wrong.flaw.detail, [wrong.flaw]) from None

    async def get(self, id: str, shown: Shown = WHOLE) -> Row:
        """One row. Raises NotFound."""
        row = await self.rows.get(id)
        if shown is WHOLE:
            return row
        [value] = await self._values([row], shown)
        return Row(row.id, row.rev, value)

    async def page(self, asked: Asked) -> tuple[bytes, str | None]:
        """A page as JSON, and the cursor of the next one."""
        shown = self.shown(asked.project, asked.expand)
        found = await self.rows.find(asked.query)
        total = await self.rows.count(asked.query.where) if asked.total else None
        return page_body(await self._values(found.rows, shown), found.next, total), found.next

    def lines(self, asked: Asked) -> AsyncGenerator[bytes, None]:
        """All rows that match, a line of JSON each, read page by page; with a limit, no more than that.

        Raises:
            Invalid: A link that should be followed is none, or a total is asked for.
        """
        if asked.total:
            flaw = Flaw(
                "/total", "choice", "rows that come one by one have no place for a total; count them, or ask for a page"
            )
            raise Invalid(flaw.detail, [flaw])
        return self._lines(asked, self.shown(asked.project, asked.expand))

    async def create(self, body: bytes, *, id: str = "", strict: bool | None = None) -> Written:
        """A new row. Raises Conflict, Invalid, Malformed."""
        self.check_write(body, strict=strict)
        return await self.rows.create(body, id)

    async def create_many(self, body: bytes, *, strict: bool | None = None) -> list[Written]:
        """A new row for each value of a JSON list, all or none. Raises SomeExist, Invalid, Malformed."""
        return await self.rows.create_many(self.several(body, strict=strict))

    def several(self, body: bytes, *, strict: bool | None = None) -> list[bytes]:
        """The values of a JSON list of new rows. Raises Invalid, Malformed, Forbidden."""
        self.check_write(body, strict=strict)
        try:
            values = [bytes(value) for value in _values.decode(body)]
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Malformed(f"expected a list of rows in JSON: {error}") from None
        _check_several(len(values), "")
        return values

    async def put(self, id: str, body: bytes, rev: int | None = None, *, strict: bool | None = None) -> Written:
        """A row, written whole; at a revision, where one is given (0: only a new one)."""
        self.check_write(body, strict=strict)
        self.check_revision(id, rev)
        return await self.rows.put(id, body, rev)

    async def replace(self, id: str, body: bytes, *, strict: bool | None = None) -> Written:
        """A row, written whole over one that is there, at whatever revision."""
        self.check_write(body, strict=strict)
        self.check_revision(id, None)
        return await self.rows.put(id, body, THERE)

    async def patch(
        self, id: str, body: bytes, rev: int | None = None, *, form: PatchForm = "merge", strict: bool | None = None
    ) -> Written:
        """A row, changed as a patch says; at a revision, where one is given."""
        self.check_write(body, form, strict=strict)
        self.check_revision(id, rev)
        return await self.rows.patch(id, body, rev, form=form)

    async def delete(self, id: str, rev: int | None = None) -> None:
        """No row any more; at a revision, where one is given."""
        self.check_write(b"")
        self.check_revision(id, rev)
        await self.rows.delete(id, rev)

    async def delete_many(self, ids: Sequence[str], *, at: str = "/id") -> None:
        """None of these rows any more, or all of them still; `at` is where the ids came from. Raises SomeMissing."""
        self.check_many(ids, at=at)
        await self.rows.delete_many(list(ids))

    def check_many(self, ids: Sequence[str], *, at: str = "/id") -> None:
        """Make sure that rows may be removed together. Raises Forbidden, PreconditionRequired, Invalid."""
        self.check_write(b"")
        if self.resource.require_match:
            raise PreconditionRequired(f"expected one DELETE for each {topic_of(self.kind)}, with its revision")
        _check_several(len(ids), at)

    async def _values(self, rows: Sequence[Row], shown: Shown) -> list[bytes]:
        project = shown.project
        values = [row.value if project is None else project(row.value) for row in rows]
        if not shown.steps:
            return values
        expanded = await self._expansion.expanded(self.kind, rows, shown.steps)
        return [joined(value, more) for value, more in zip(values, expanded, strict=True)]

    async def _lines(self, asked: Asked, shown: Shown) -> AsyncGenerator[bytes, None]:
        left = asked.query.limit if asked.limited else None
        query = asked.query
        while True:
            size = LINES_PAGE if left is None else min(LINES_PAGE, left)
            found = await self.rows.find(msgspec.structs.replace(query, limit=size))
            if found.rows:
                yield b"%b\n" % b"\n".join(await self._values(found.rows, shown))
            left = None if left is None else left - len(found.rows)
            if found.next is None or left == 0:
                return
            query = msgspec.structs.replace(query, cursor=found.next)

    def check_write(self, body: bytes, form: PatchForm | None = None, *, strict: bool | None = None) -> None:
        """Make sure that rows may be written, with these fields. Raises Forbidden, Invalid."""
        if not self.resource.write:
            raise Forbidden(f"{topic_of(self.kind)} rows are exposed for reading only")
        if body and (self.resource.strict if strict is None else strict):
            refuse_unknown(self.kind, body, form)

    def check_revision(self, id: str, rev: int | None) -> None:
        """Make sure that a write names a revision where one has to. Raises PreconditionRequired."""
        if rev is None and self.resource.require_match:
            raise PreconditionRequired(
                f"{topic_of(self.kind)} {id!r} is written only at a revision that was read: "
                f'get it, and send its ETag as If-Match (or "rev" over a socket), or If-None-Match: * for a new one'
            )


def page_body(values: Sequence[bytes], cursor: str | None, total: int | None) -> bytes:
    """A page as JSON, of rows that are JSON already."""
    counted = b"" if total is None else b',"total":%d' % total
    return b'{"items":[%b],"next":%b%b}' % (b",".join(values), encode_json(cursor), counted)


def _check_several(count: int, at: str) -> None:
    if not 1 <= count <= ROWS_MAX:
        flaw = Flaw(at, "length", f"expected from 1 to {ROWS_MAX} rows at once, got {count}")
        raise Invalid(flaw.detail, [flaw])
