"""`Prefer: respond-async` on a write of rows: a job of their owner, which stores what is to be done, and does it once.

What can be said at once is: what the exposure forbids, fields that there are not, and revisions that have passed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hanse.contract.derive import Operation
from hanse.gateway.asgi import Request, Response
from hanse.gateway.exposed import ExposedRows
from hanse.gateway.jobs import JobRoutes, Telling
from hanse.gateway.prefer import NONE, Preferences
from hanse.gateway.written import part_of_path, removed_response, several_response, written_response
from hanse.kernel.codec import codec_for
from hanse.service.rows import THERE, WRITES, PatchForm, Written, rows_contract

_written = codec_for(Written)
_several = codec_for(list[Written])


class LaterWrites:
    """The writes of one resource that are done later.

    Args of the constructor:
        exposed: Its rows.
        jobs: Takes them on.
        contract: Of the service that owns the rows: its jobs write them.
    """

    def __init__(self, exposed: ExposedRows, jobs: JobRoutes, contract: str) -> None:
        self._exposed = exposed
        self._jobs = jobs
        self._operations = {name: rows_contract(exposed.kind).operations[name] for name in WRITES}
        for name, operation in self._operations.items():
            jobs.add(operation, contract, _telling(exposed.resource.path, name, NONE))

    async def create(self, request: Request, preferences: Preferences, body: bytes, *, many: bool) -> Response:
        """A new row, or all rows of a list. Raises Invalid, Malformed, Forbidden."""
        if many:
            values = self._exposed.several(body, strict=preferences.strict)
            return await self._start(request, preferences, "create_many", values=values)
        self._exposed.check_write(body, strict=preferences.strict)
        return await self._start(request, preferences, "create", value=body)

    async def put(
        self, request: Request, preferences: Preferences, body: bytes, *, rev: int | None, over_any: bool
    ) -> Response:
        """A row, written whole. Raises Invalid, Forbidden, PreconditionRequired."""
        id = request.parameters["id"]
        self._exposed.check_write(body, strict=preferences.strict)
        self._exposed.check_revision(id, rev)
        expected = THERE if over_any else rev
        return await self._start(request, preferences, "put", id=id, value=body, if_match=expected)

    async def patch(
        self, request: Request, preferences: Preferences, body: bytes, *, rev: int | None, form: PatchForm
    ) -> Response:
        """Some fields of a row. Raises Invalid, Forbidden, PreconditionRequired."""
        id = request.parameters["id"]
        self._exposed.check_write(body, form, strict=preferences.strict)
        self._exposed.check_revision(id, rev)
        return await self._start(request, preferences, "patch", id=id, changes=body, if_match=rev, form=form)

    async def delete(self, request: Request, preferences: Preferences, *, rev: int | None) -> Response:
        """No row any more. Raises Forbidden, PreconditionRequired."""
        id = request.parameters["id"]
        self._exposed.check_write(b"")
        self._exposed.check_revision(id, rev)
        return await self._start(request, preferences, "delete", id=id, if_match=rev)

    async def delete_many(self, request: Request, preferences: Preferences, ids: Sequence[str]) -> Response:
        """None of these rows any more. Raises Invalid, Forbidden, PreconditionRequired."""
        self._exposed.check_many(ids)
        return await self._start(request, preferences, "delete_many", ids=list(ids))

    async def _start(self, request: Request, preferences: Preferences, name: str, **values: object) -> Response:
        operation = self._operations[name]
        arguments = _arguments(operation, values)
        told = _telling(self._exposed.resource.path, name, preferences)
        return await self._jobs.start(request, preferences, operation, arguments, told)


def _telling(path: str, name: str, preferences: Preferences) -> Telling:
    """How what an operation answers is told: as it would have been at once."""
    if name in {"delete", "delete_many"}:
        return lambda root, body: removed_response()  # noqa: ARG005 - nothing is left to tell of
    if name == "create_many":
        return lambda root, body: several_response(_several.decode(body), preferences)  # noqa: ARG005 - no place

    def told(root: str, body: bytes) -> Response:
        written = _written.decode(body)
        return written_response(written, f"{root}{path}/{part_of_path(written.id)}", preferences)

    return told


def _arguments(operation: Operation, values: dict[str, object]) -> msgspec.Struct:
    return operation.arguments(**values)
